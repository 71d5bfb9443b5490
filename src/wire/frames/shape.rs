//! Questions for the shapes of messages, and their answers.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::MAX_NAME;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_text;
use crate::wire::extensions::Extensions;
use crate::wire::target::Target;

/// A question about shapes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Question {
    /// The shape that has this fingerprint.
    Fingerprint(u64),
    /// The shape of the messages that a box takes.
    Box(Target),
    /// The names of boxes that come after this one, in order.
    NamesAfter(Box<str>),
}

impl Question {
    /// Maximum size of a question, in bytes, with its frame's kind.
    pub(crate) const LONGEST: usize = 3 + MAX_NUMBER + MAX_NAME;

    fn put(&self, out: &mut BytesMut) {
        match self {
            Question::Fingerprint(fingerprint) => {
                out.put_u8(0);
                out.put_u64_le(*fingerprint);
            }
            Question::Box(target) => {
                out.put_u8(1);
                target.put(out);
            }
            Question::NamesAfter(name) => {
                out.put_u8(2);
                put_text(out, name);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Question, Violation> {
        match reader.u8()? {
            0 => Ok(Question::Fingerprint(reader.u64()?)),
            1 => Ok(Question::Box(Target::read(reader)?)),
            2 => Ok(Question::NamesAfter(reader.text(MAX_NAME)?.into())),
            form => Err(Violation::UnknownForm(form)),
        }
    }

    /// Writes the question.
    pub(crate) fn ask(&self, out: &mut BytesMut) {
        put_frame(out, kind::SHAPE_QUESTION, |out| self.put(out));
    }

    pub(crate) fn read_asked(payload: &[u8]) -> Result<Question, Violation> {
        let mut reader = Reader::new(payload);
        let question = Question::read(&mut reader)?;
        Extensions::all(reader.rest())?;
        Ok(question)
    }

    /// Writes the answer: a shape's encoding, which is empty if there is none, or names as written by [`put_names`].
    pub(crate) fn answer(&self, out: &mut BytesMut, answer: &[u8]) {
        put_frame(out, kind::SHAPE, |out| {
            self.put(out);
            out.put_slice(answer);
        });
    }

    pub(crate) fn read_answered(payload: &[u8]) -> Result<(Question, &[u8]), Violation> {
        let mut reader = Reader::new(payload);
        Ok((Question::read(&mut reader)?, reader.rest()))
    }
}

/// Appends names until they would take more than `limit` bytes; the peer asks for the remaining names after the last
/// one.
pub(crate) fn put_names<'a>(out: &mut BytesMut, limit: usize, names: impl IntoIterator<Item = &'a str>) {
    for name in names {
        if out.len() + name.len() + MAX_NUMBER > limit {
            return;
        }
        put_text(out, name);
    }
}

/// Reads the names written by [`put_names`], at most `limit`.
pub(crate) fn read_names(answer: &[u8], limit: usize) -> Result<Vec<&str>, Violation> {
    let mut reader = Reader::new(answer);
    let mut names = Vec::new();
    while !reader.is_empty() {
        if names.len() == limit {
            return Err(Violation::ListTooLong { len: limit as u64 + 1, limit });
        }
        names.push(reader.text(MAX_NAME)?);
    }
    Ok(names)
}
