//! Fuzzed: the state objects of one side of a connection, and of the connections that follow it, by decisions of a
//! program, a peer and a clock. The peer's frames are well-formed, or any bytes.
//!
//! These functions are compiled for tests and for fuzzers only, so they may panic where the objects may not: that is
//! how they fail.

mod answers;
mod counts;
mod watched;

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use self::answers::Answers;
use self::counts::Counts;
use self::watched::Watched;
use crate::ident::BoxId;
use crate::unstructured::Unstructured;
use crate::wire::frames::Front;
use crate::wire::frames::front;
use crate::wire::target::Target;

/// A frame length that is sufficient for everything that the objects write.
const ENOUGH: usize = 4 << 10;

/// The clock, and the state of the connection, that all objects are told.
struct World {
    began: Instant,
    now: Instant,
    /// The longest frame that the peer reads.
    longest: usize,
    /// The features that the peer understands; `None` while there is no connection.
    features: Option<u64>,
}

/// Runs one input: each step is a decision for one of the groups of objects, or for the world around them.
pub(crate) fn run(bytes: &[u8]) {
    let (mut choices, began) = (Unstructured::new(bytes), Instant::now());
    let mut world = World { began, now: began, longest: ENOUGH, features: None };
    let (mut watched, mut answers, mut counts) = (Watched::new(), Answers::new(), Counts::new());
    while !choices.is_over() {
        match choices.below(16) {
            0 => world.now += Duration::from_millis(choices.below(1 << 16) as u64),
            1 if world.features.is_none() => {
                world.greet(&mut choices);
                watched.greet(&world);
                answers.greet(&world);
                counts.greet(&world);
            }
            1 | 2 => {
                world.features = None;
                watched.down(&world, choices.below(8) == 0);
                answers.down();
                counts.down();
            }
            3..=7 => watched.step(&mut choices, &world),
            8..=11 => answers.step(&mut choices, &world),
            _ => counts.step(&mut choices, &world),
        }
    }
    watched.finish();
    answers.finish();
    counts.finish();
}

impl World {
    /// Makes a connection to a peer that may read little, and understands any of the features.
    fn greet(&mut self, choices: &mut Unstructured<'_>) {
        self.longest = if choices.below(4) == 0 { choices.below(ENOUGH) } else { ENOUGH };
        self.features = Some(u64::from(choices.byte()));
    }

    fn understands(&self, feature: u64) -> bool {
        self.features.is_some_and(|features| features & feature != 0)
    }
}

/// Returns one of few boxes.
fn target(choices: &mut Unstructured<'_>) -> Target {
    match choices.byte() % 16 {
        15 => Target::Others,
        n @ 8.. => Target::Id(BoxId([n; 16])),
        n => Target::Name("name".repeat(usize::from(n) + 1).into()),
    }
}

/// Returns the payload of a frame of the peer: as it writes one, or any bytes.
fn payload(choices: &mut Unstructured<'_>, put: impl FnOnce(&mut BytesMut, &mut Unstructured<'_>)) -> Vec<u8> {
    if choices.below(4) == 0 {
        let len = choices.below(48);
        return (0..len).map(|_| choices.byte()).collect();
    }
    let mut out = BytesMut::new();
    put(&mut out, choices);
    match front(&out, usize::MAX >> 1) {
        Ok(Front::Frame(raw)) => raw.payload.to_vec(),
        other => panic!("{other:?} was just written"),
    }
}

/// Reads frames that an object has written, none of which is longer than `longest` bytes.
fn frames(out: &BytesMut, longest: usize) -> Vec<(u8, Vec<u8>)> {
    let (mut rest, mut frames) = (&out[..], Vec::new());
    while !rest.is_empty() {
        let Ok(Front::Frame(raw)) = front(rest, longest) else { panic!("the peer does not read {rest:?}") };
        frames.push((raw.kind, raw.payload.to_vec()));
        rest = &rest[raw.size..];
    }
    frames
}
