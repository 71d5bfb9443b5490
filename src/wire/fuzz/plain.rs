//! The meanings of numbers as the specification defines them, in the plainest form: a map.

use std::collections::HashMap;

use super::super::codec::Reader;
use super::super::codec::Violation;
use crate::wire::extensions::Extensions;
use crate::wire::extensions::extension;
use crate::wire::extensions::flag;
use crate::wire::frames::kind;
use crate::wire::incoming::Incoming;
use crate::wire::incoming::ReceivedAnswer;
use crate::wire::introduction::Handle;
use crate::wire::introduction::Introduction;
use crate::wire::introduction::MAX_HANDLES;
use crate::wire::numbering::MIN_NUMBERS;

/// Returns the meaning of an introduction where only its content matters.
pub(crate) fn meaning(introduction: &Introduction<'_>) -> String {
    format!("{introduction:?}")
}

/// A frame with a body, with the meanings of its numbers.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Understood<'b> {
    pub(crate) correlation: u64,
    /// The target, if there is one, and the handles.
    pub(crate) named: Vec<String>,
    /// The extensions; those of an answer have no meaning so far.
    pub(crate) extensions: Extensions<'b>,
    pub(crate) deadline: Result<Option<u64>, Violation>,
    pub(crate) hops: Result<u8, Violation>,
    pub(crate) body: &'b [u8],
}

/// A reader that is easy to understand.
#[derive(Debug)]
pub(crate) struct Plain {
    map: HashMap<u64, String>,
    limit: usize,
}

impl Plain {
    pub(crate) fn new(numbers: usize) -> Plain {
        Plain { map: HashMap::new(), limit: numbers.max(MIN_NUMBERS) }
    }

    /// Returns how many numbers have a meaning; never more than were announced.
    pub(crate) fn known(&self) -> usize {
        assert!(self.map.len() <= self.limit);
        self.map.len()
    }

    pub(crate) fn look_up(&mut self, handle: &Handle<'_>) -> Result<String, Violation> {
        match handle {
            Handle::Use(number) => self.map.get(number).cloned().ok_or(Violation::NumberUnset(*number)),
            Handle::Inline(introduction) => Ok(meaning(introduction)),
            Handle::Set(number, _) if *number >= self.limit as u64 => {
                Err(Violation::NumberOutOfRange { number: *number, limit: self.limit })
            }
            Handle::Set(number, introduction) => {
                self.map.insert(*number, meaning(introduction));
                Ok(meaning(introduction))
            }
        }
    }

    /// Reads a post, an ask or an answer.
    pub(crate) fn read<'b>(&mut self, kind: u8, payload: &'b [u8]) -> Result<Understood<'b>, Violation> {
        let mut reader = Reader::new(payload);
        let flags = reader.u8()?;
        if flags > flag::KNOWN {
            return Err(Violation::UnknownFlags(flags));
        }
        let correlation = if kind == kind::POST { 0 } else { reader.number()? };
        let extensions = match flags & flag::EXTENSIONS {
            0 => Extensions::default(),
            _ => Extensions::read(&mut reader)?,
        };
        let extensions = if kind == kind::ANSWER { Extensions::default() } else { extensions };
        let deadline = extensions.find(extension::DEADLINE).map(|value| Reader::new(value).number()).transpose();
        let hops = match extensions.find(extension::HOPS) {
            Some(value) => Reader::new(value).number().map(|hops| hops.min(255) as u8),
            None => Ok(0),
        };
        let mut named = Vec::new();
        if kind != kind::ANSWER {
            named.push(self.look_up(&Handle::read(&mut reader)?)?);
        }
        let handles = if flags & flag::HANDLES == 0 { 0 } else { reader.count(MAX_HANDLES)? };
        for _ in 0..handles {
            named.push(self.look_up(&Handle::read(&mut reader)?)?);
        }
        Ok(Understood { correlation, named, extensions, deadline, hops, body: reader.rest() })
    }
}

/// Reads a frame with the real reader, in the form of [`Plain::read`].
pub(crate) fn understood<'b>(
    kind: u8,
    payload: &'b [u8],
    incoming: &mut Incoming<String>,
) -> Result<Understood<'b>, Violation> {
    let (correlation, received) = match kind {
        kind::ANSWER => {
            let ReceivedAnswer { correlation, handles, body, .. } = incoming.answer(payload, &mut meaning)?;
            let (named, extensions) = (handles.to_vec(), Extensions::default());
            return Ok(Understood { correlation, named, extensions, deadline: Ok(None), hops: Ok(0), body });
        }
        kind::ASK => incoming.ask(payload, &mut meaning)?,
        _ => (0, incoming.post(payload, &mut meaning)?),
    };
    Ok(Understood {
        correlation,
        named: [std::slice::from_ref(received.to), received.handles].concat(),
        extensions: received.extensions,
        deadline: received.deadline(),
        hops: received.hops(),
        body: received.body,
    })
}
