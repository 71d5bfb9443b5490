//! Streams by a grammar: decisions choose frames that a writer may write at this point of the stream, and the places to
//! deviate from that.

use std::collections::BTreeSet;

use bytes::BufMut;
use bytes::BytesMut;

use super::decided;
use super::deviation::Deviation;
use super::kinds::EXTENDED;
use super::kinds::KINDS;
use super::kinds::put_fragment;
use super::stream::HELLO;
use super::values::AnyPost;
use super::values::Held;
use super::values::Told;
use super::values::written;
use crate::unstructured::Unstructured;
use crate::wire::assembly::MAX_OPEN;
use crate::wire::extensions::put_number_extension;
use crate::wire::frames::LENGTH;
use crate::wire::frames::fragment::Fragment;
use crate::wire::frames::kind;
use crate::wire::frames::put_frame;
use crate::wire::numbering::MIN_NUMBERS;

/// Maximum length of a stream in bytes, but for its last step. A few decisions make a long stream.
const LONGEST: usize = 2_500;

/// Maximum number of posts in a row of one step.
const ROW: usize = 40;

/// Tags of [`Held`].
const USE: u8 = 0;
const SET: u8 = 1;
const INLINE: u8 = 2;

/// A stream that was made up.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) bytes: Vec<u8>,
    /// Number of posts and asks in the stream, those in pieces included, if nothing in it deviates.
    pub(crate) messages: Option<u64>,
}

/// The writing end of a stream, for a reader that has announced the maximum length of frames and the number of numbers.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    choices: Unstructured<'b>,
    stream: Vec<u8>,
    max_frame: usize,
    numbers: Numbers,
    /// Messages under way in pieces.
    open: Vec<Cut>,
    /// Number of messages cut into pieces so far.
    cut: u64,
    messages: u64,
    /// A deviation of this step, until it is made.
    deviation: Option<Deviation>,
    has_deviated: bool,
}

/// The numbers that may have a meaning, and those that have one.
#[derive(Debug)]
struct Numbers {
    limit: usize,
    set: BTreeSet<u64>,
}

#[derive(Debug)]
struct Message {
    kind: u8,
    payload: Vec<u8>,
    /// The numbers that the message sets once it is whole.
    sets: Vec<u64>,
}

/// A message under way.
#[derive(Debug)]
struct Cut {
    number: u64,
    message: Message,
    /// The part of kind and payload that is not written yet.
    rest: Vec<u8>,
}

/// Makes up a stream. The first decision is how often it deviates; one stream in four never does.
pub(crate) fn stream(choices: Unstructured<'_>, hello: bool, max_frame: usize, numbers: usize) -> Stream {
    let mut writer = Writer::new(choices, max_frame, numbers);
    let steps = [None, Some(64), Some(16), Some(4)][writer.choices.below(4)];
    if hello {
        writer.begin_step(steps);
        let hello = decided::hello(&mut writer.choices);
        writer.put(written(|out| hello.put(out)), HELLO);
    }
    while !writer.choices.is_over() && writer.stream.len() < LONGEST {
        writer.begin_step(steps);
        writer.step();
    }
    let messages = (!writer.has_deviated).then_some(writer.messages);
    Stream { bytes: writer.stream, messages }
}

impl<'b> Writer<'b> {
    fn new(choices: Unstructured<'b>, max_frame: usize, numbers: usize) -> Writer<'b> {
        Writer {
            choices,
            stream: Vec::new(),
            max_frame,
            numbers: Numbers { limit: numbers.max(MIN_NUMBERS), set: BTreeSet::new() },
            open: Vec::new(),
            cut: 0,
            messages: 0,
            deviation: None,
            has_deviated: false,
        }
    }

    pub(crate) fn choices(&mut self) -> &mut Unstructured<'b> {
        &mut self.choices
    }

    /// Begins a step. One of `steps` steps deviates, if any does.
    fn begin_step(&mut self, steps: Option<usize>) {
        let deviates = steps.is_some_and(|steps| self.choices.below(steps) == 0);
        self.deviation = deviates.then(|| Deviation::decided(&mut self.choices));
    }

    fn step(&mut self) {
        match self.choices.below(16) {
            0..=4 => self.message(kind::POST),
            5..=6 => self.row(),
            7..=9 => self.piece(),
            10 => self.skipped(),
            _ => (KINDS[self.choices.below(KINDS.len())].write)(self),
        }
    }

    /// Writes a frame without a body, sometimes with an extension of a later version.
    pub(crate) fn frame(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut frame = written(write);
        if EXTENDED.contains(&frame[LENGTH]) && self.choices.below(8) == 0 {
            let (id, value) = (self.choices.below(128) as u64, decided::number(&mut self.choices));
            frame.extend(written(|out| put_number_extension(out, id, Some(value))));
            let len = (frame.len() - LENGTH) as u32;
            frame[..LENGTH].copy_from_slice(&len.to_le_bytes());
        }
        self.put_frame(frame);
    }

    /// Writes a frame of an unknown kind that may be skipped.
    fn skipped(&mut self) {
        let kind = kind::UNWATCHED + 1 + self.choices.below(126) as u8;
        let payload = decided::bytes(&mut self.choices, self.max_frame);
        self.put_frame(written(|out| put_frame(out, kind, |out| out.put_slice(&payload))));
    }

    /// Writes a message in a frame of its own.
    pub(crate) fn message(&mut self, kind: u8) {
        let message = self.made_up(kind);
        self.put_message(message);
    }

    /// Writes a row of posts for a number with a meaning, if there is one.
    fn row(&mut self) {
        let (count, longest) = (1 + self.choices.below(ROW), 1 + self.choices.below(64));
        let number = match self.deviates_in_value() {
            true => Some(decided::number(&mut self.choices)),
            false => self.numbers.any_set(&mut self.choices, &[]),
        };
        let Some(number) = number else { return };
        for _ in 0..count {
            let body = decided::bytes(&mut self.choices, longest);
            let to = (USE, number, Told::your_name(""));
            let post = AnyPost { extensions: None, to, handles: None, body };
            self.put_message(Message { kind: kind::POST, payload: post.written_as(kind::POST, 0), sets: Vec::new() });
        }
    }

    /// Writes a piece of a message that is under way, or of a new one if there is room for it.
    pub(crate) fn piece(&mut self) {
        let is_new = self.open.is_empty() || self.choices.below(3) == 0;
        let cut = if is_new {
            self.begin()
        } else {
            let at = self.choices.below(self.open.len());
            Some(self.open.swap_remove(at))
        };
        let Some(mut cut) = cut else { return };
        let len = match self.choices.below(3) {
            0 => cut.rest.len(),
            _ => 1 + self.choices.below(cut.rest.len()),
        };
        let frame = self.fragment(&cut, len);
        if self.put_frame(frame) {
            self.cut += u64::from(is_new);
            cut.rest.drain(..len);
        } else if is_new {
            return;
        }
        if cut.rest.is_empty() { self.is_whole(cut.message) } else { self.open.push(cut) }
    }

    fn begin(&mut self) -> Option<Cut> {
        let kind = [kind::POST, kind::ASK, kind::ANSWER][self.choices.below(3)];
        let message = self.made_up(kind);
        let cut = Cut { number: self.cut, rest: [&[message.kind], &message.payload[..]].concat(), message };
        let announced: usize = self.open.iter().chain([&cut]).map(Cut::len).sum();
        let fits = self.open.len() < MAX_OPEN && announced <= self.max_frame;
        (fits || self.deviates_in_value()).then_some(cut)
    }

    /// Returns a fragment with the next bytes of a message under way, or a lie about them.
    fn fragment(&mut self, cut: &Cut, len: usize) -> Vec<u8> {
        let rest = (cut.rest.len() - len) as u64;
        let mut fragment = Fragment { stream: cut.number, rest, piece: &cut.rest[..len] };
        if self.deviates_in_value() {
            match self.choices.below(5) {
                0 => fragment.rest += 1,
                1 => fragment.rest = rest.saturating_sub(1),
                2 => fragment.rest = self.choices.number(),
                3 => fragment.stream = decided::number(&mut self.choices),
                _ => fragment.piece = &[],
            }
        }
        written(|out| put_fragment(out, fragment))
    }

    /// Makes up a message whose handles have numbers with a meaning, unless it deviates.
    fn made_up(&mut self, kind: u8) -> Message {
        let lies = self.deviates_in_value();
        let (choices, numbers) = (&mut self.choices, &self.numbers);
        let correlation = if kind == kind::POST { 0 } else { decided::number(choices) };
        let mut sets = Vec::new();
        let to = match kind {
            kind::ANSWER => (INLINE, 0, Told::your_name("")),
            _ => numbers.held(choices, &mut sets, lies),
        };
        let held = |choices: &mut Unstructured<'b>| numbers.held(choices, &mut sets, lies);
        let payload = decided::post(choices, to, held, self.max_frame).written_as(kind, correlation);
        Message { kind, payload, sets }
    }

    fn put_message(&mut self, message: Message) {
        if self.put_frame(written(|out| put_frame(out, message.kind, |out| out.put_slice(&message.payload)))) {
            self.is_whole(message);
        }
    }

    fn is_whole(&mut self, message: Message) {
        self.numbers.set.extend(message.sets);
        self.messages += u64::from(message.kind != kind::ANSWER);
    }

    fn put_frame(&mut self, frame: Vec<u8>) -> bool {
        self.put(frame, LENGTH + self.max_frame)
    }

    /// Writes bytes and returns true, or leaves them out if they are too long, unless they are made to deviate.
    fn put(&mut self, mut bytes: Vec<u8>, limit: usize) -> bool {
        if let Some(deviation) = self.deviation.take_if(|deviation| *deviation != Deviation::InValue) {
            self.has_deviated = true;
            deviation.done_to(&mut bytes, &mut self.choices);
        } else if bytes.len() > limit {
            return false;
        }
        self.stream.extend(bytes);
        true
    }

    /// Returns whether the next frame should say something untrue.
    fn deviates_in_value(&mut self) -> bool {
        let deviates = self.deviation.take_if(|deviation| *deviation == Deviation::InValue).is_some();
        self.has_deviated |= deviates;
        deviates
    }
}

impl Numbers {
    /// Makes up a handle that is named by a number, or given one, or neither.
    fn held(&self, choices: &mut Unstructured<'_>, sets: &mut Vec<u64>, lies: bool) -> Held {
        match (choices.below(8), self.any_set(choices, sets)) {
            (0..=3, _) if lies => (USE, decided::number(choices), Told::your_name("")),
            (0..=3, Some(number)) => (USE, number, Told::your_name("")),
            (4..=5, _) if lies => (SET, decided::number(choices), decided::told(choices)),
            (4..=5, _) => {
                let number = choices.below(self.limit) as u64;
                sets.push(number);
                (SET, number, decided::told(choices))
            }
            _ => (INLINE, 0, decided::told(choices)),
        }
    }

    /// Returns a number that has a meaning, or will have one by then.
    fn any_set(&self, choices: &mut Unstructured<'_>, sets: &[u64]) -> Option<u64> {
        let count = self.set.len() + sets.len();
        let any = if count > 0 { choices.below(count) } else { 0 };
        self.set.iter().chain(sets).nth(any).copied()
    }
}

impl Cut {
    /// Returns the total size in bytes.
    fn len(&self) -> usize {
        1 + self.message.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sha2::Digest;
    use sha2::Sha256;

    use super::super::deviation;
    use super::super::stream::Announced;
    use super::super::stream::heard;
    use super::*;
    use crate::wire::codec::Violation;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;
    use crate::wire::incoming::Incoming;

    const FRAME: usize = 2_000;
    const NUMBERS: usize = 100;

    /// Returns decisions that are the same in each run. The first is how often the stream deviates.
    fn decisions(serial: u32, first: u8) -> Vec<u8> {
        let blocks = (0..40_u32).flat_map(|block| Sha256::digest([serial.to_le_bytes(), block.to_le_bytes()].concat()));
        [first].into_iter().chain(blocks).collect()
    }

    fn end(stream: &[u8]) -> Result<usize, Violation> {
        let announced = Announced { hello: false, max_frame: FRAME, numbers: NUMBERS };
        heard(stream, &[usize::MAX >> 1], announced, Incoming::new(NUMBERS)).end
    }

    /// Guards against promises about streams that hold only because there is nothing in the streams.
    #[test]
    #[cfg_attr(miri, ignore = "it takes many streams")]
    fn a_stream_without_deviations_has_frames_of_every_kind() {
        let (mut kinds, mut messages) = (BTreeMap::new(), 0);
        for serial in 0..100 {
            let stream = stream(Unstructured::new(&decisions(serial, 0)), false, FRAME, NUMBERS);
            messages += stream.messages.expect("it does not deviate");
            let mut rest = &stream.bytes[..];
            while let Ok(Front::Frame(raw)) = front(rest, FRAME) {
                *kinds.entry(raw.kind).or_insert(0) += 1;
                rest = &rest[raw.size..];
            }
            assert!(rest.is_empty());
        }
        assert!(KINDS.iter().all(|kind| kinds[&kind.number] > 10), "{kinds:?}");
        assert!(kinds.keys().any(|kind| *kind > kind::UNWATCHED), "{kinds:?}");
        let whole = kinds[&kind::POST] + kinds[&kind::ASK];
        assert!(messages > whole + 50, "{messages} messages of which {whole} are not in pieces");
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes many streams")]
    fn each_deviation_is_refused_now_and_then() {
        for deviation in deviation::ALL {
            let refused = (0..200).filter(|serial| {
                let decisions = decisions(*serial, 0);
                let mut writer = Writer::new(Unstructured::new(&decisions), FRAME, NUMBERS);
                (0..8).for_each(|_| writer.step());
                writer.deviation = Some(deviation);
                writer.step();
                end(&writer.stream).is_err()
            });
            let refused = refused.count();
            assert!((1..200).contains(&refused), "{refused} of 200 that deviate: {deviation:?}");
        }
    }
}
