//! Fuzzed: two ends of a connection, which write and read posts, asks and answers in any order, with little room and
//! few numbers, are cut off and begin anew. Every message reaches the box that it was sent to, with the handles that it
//! was sent with, in order; a message that is not written leaves no trace.

use std::collections::VecDeque;

use bytes::BufMut;
use bytes::BytesMut;

use super::meant::Came;
use super::meant::Meant;
use super::meant::Whom;
use super::meant::pool;
use crate::reason::DropReason;
use crate::unstructured::Unstructured;
use crate::wire::frames::Front;
use crate::wire::frames::front;
use crate::wire::incoming::Incoming;
use crate::wire::outgoing::Correlated;
use crate::wire::outgoing::Outgoing;

/// Maximum number of boxes that messages are sent to.
pub(crate) const BOXES: usize = 300;

/// Runs one input: the bytes decide the terms of both ends, then the events.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let size = 1 + choices.below(BOXES);
    let terms = [(); 2].map(|()| Terms {
        numbers: choices.below(BOXES),
        max_frame: ENOUGH + choices.below(OWN_MAX_FRAME),
        capacity: ENOUGH + choices.below(OWN_MAX_FRAME),
    });
    let events = std::iter::from_fn(|| (!choices.is_over()).then(|| event(&mut choices)));
    play(size, terms, events);
}

/// Returns the next event, and the end at which it happens.
fn event(choices: &mut Unstructured<'_>) -> (bool, Event) {
    let first = choices.byte();
    let event = match first & 0x7f {
        0 => Event::Break,
        1 => Event::PeerAccepts,
        2..40 => Event::Deliver(1 + choices.below(2_500)),
        _ => {
            let what = match choices.below(6) {
                0 => Wanted::Ask { deadline: None },
                1 => Wanted::Ask { deadline: Some(choices.number()) },
                2 => Wanted::Answer(u16::from(choices.byte())),
                _ => Wanted::Post,
            };
            let handles = (0..choices.below(7)).map(|_| place(choices)).collect();
            let padding = match choices.below(256) {
                over @ 250.. => OWN_MAX_FRAME + over - 250,
                fits => fits % 200,
            };
            Event::Write { what, to: place(choices), handles, padding }
        }
    };
    (first & 0x80 != 0, event)
}

/// Returns a box. Half of them are among the first few, so that some are named often and others rarely.
fn place(choices: &mut Unstructured<'_>) -> u16 {
    let any = choices.byte();
    if any < 0x80 { u16::from(any % 8) } else { u16::from_le_bytes([any, choices.byte()]) }
}

/// Plays the events between two ends, and then lets everything arrive.
pub(crate) fn play(size: usize, terms: [Terms; 2], events: impl IntoIterator<Item = (bool, Event)>) {
    let pool = pool(size);
    let mut links = terms.map(|terms| Link::new(&pool, terms));
    for (second, event) in events {
        let [first, last] = &mut links;
        let (link, back) = if second { (last, first) } else { (first, last) };
        match event {
            Event::Write { what, to, handles, padding } => {
                let place = |any: u16| u32::from(any) % size as u32;
                let handles = handles.into_iter().map(place).collect();
                write(link, back, &what, place(to), handles, padding);
            }
            Event::Deliver(bytes) => link.deliver(bytes),
            Event::PeerAccepts => link.peer_accepts(),
            Event::Break => link.break_off(),
        }
    }
    links.iter_mut().for_each(Link::finish);
}

/// Maximum frame length of the writing end itself, in bytes; the reading end may announce less.
pub(crate) const OWN_MAX_FRAME: usize = 4_096;

/// A size, in bytes, above the bound of any message of less than 200 bytes of padding and at most 6 handles.
pub(crate) const ENOUGH: usize = 2_000;

/// The limits announced by the reader of a link, and the number of bytes that its writer may hold back.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) numbers: usize,
    pub(crate) max_frame: usize,
    pub(crate) capacity: usize,
}

/// One direction of a connection, and of those that follow it: the writer, the bytes written and not yet under way, the
/// bytes that have come, the reader. `sent` are the messages still to arrive, `unanswered` the requests that have
/// arrived and want an answer in the other direction.
struct Link<'p> {
    pool: &'p [Whom],
    terms: Terms,
    outgoing: Outgoing,
    out: BytesMut,
    come: BytesMut,
    incoming: Incoming<u32>,
    sent: VecDeque<Meant>,
    unanswered: Vec<u64>,
    serial: u32,
}

impl<'p> Link<'p> {
    fn new(pool: &'p [Whom], terms: Terms) -> Link<'p> {
        Link {
            pool,
            outgoing: Outgoing::new(OWN_MAX_FRAME),
            out: BytesMut::new(),
            come: BytesMut::new(),
            incoming: Incoming::new(terms.numbers),
            terms,
            sent: VecDeque::new(),
            unanswered: Vec::new(),
            serial: 0,
        }
    }

    /// Writes an ask; the correlations have every length.
    fn ask(&mut self, deadline: Option<u64>, to: u32, handles: Vec<u32>, padding: usize) {
        let serial = u64::from(self.serial);
        let what = Correlated::Ask { correlation: serial << (serial % 4 * 16), deadline };
        self.write(Some(what), to, handles, padding);
    }

    /// Writes a message. Returns whether it was written.
    fn write(&mut self, what: Option<Correlated>, to: u32, handles: Vec<u32>, padding: usize) -> bool {
        self.serial += 1;
        let meant = Meant { sender: 0, serial: self.serial, to, handles, padding, what };
        let (before, posts) = (self.out.clone(), self.outgoing.posts());
        let room = self.terms.capacity - self.out.len();
        let written = meant.write(self.pool, &mut self.outgoing, &mut self.out, room);
        assert!(self.out.starts_with(&before));
        assert!(self.out.len() <= self.terms.capacity);
        assert_eq!(written == Err(DropReason::TooLarge), meant.padding >= OWN_MAX_FRAME, "{meant:?}");
        if written.is_ok() {
            assert_eq!(self.outgoing.posts(), posts + u64::from(meant.counts()));
            self.sent.push_back(meant);
        } else {
            assert_eq!((&self.out, self.outgoing.posts()), (&before, posts));
            assert!(written != Err(DropReason::OutboxFull) || room < ENOUGH, "no room in {room} bytes for {meant:?}");
        }
        written.is_ok()
    }

    /// Passes `bytes` bytes to the other side, which reads all whole frames.
    fn deliver(&mut self, bytes: usize) {
        self.come.put(self.out.split_to(bytes.min(self.out.len())));
        while let Front::Frame(raw) = front(&self.come, self.terms.max_frame).expect("what is written can be read") {
            let expected = self.sent.pop_front().expect("nothing more was sent");
            let came = Came::read(&mut self.incoming, raw);
            assert_eq!((came.what, came.hops), (expected.what, expected.hops()));
            if let Some(Correlated::Ask { correlation, .. }) = came.what {
                self.unanswered.push(correlation);
            }
            // Some bodies are no message, or there is no room for them: then nobody reads the received message.
            if !expected.serial.is_multiple_of(4) {
                assert_eq!(came.to, expected.counts().then_some(expected.to));
                assert_eq!((came.handles, came.body), (&*expected.handles, &*expected.body()));
            }
            let size = raw.size;
            let _ = self.come.split_to(size);
        }
    }

    fn peer_accepts(&mut self) {
        self.outgoing.peer_accepts(self.terms.max_frame, self.terms.numbers);
    }

    /// Breaks the connection: both ends start afresh and everything under way is lost; the knowledge about each box
    /// stays.
    fn break_off(&mut self) {
        *self = Link { serial: self.serial, ..Link::new(self.pool, self.terms.clone()) };
    }

    /// Lets all written messages arrive.
    fn finish(&mut self) {
        self.deliver(usize::MAX);
        assert!(self.come.is_empty() && self.sent.is_empty());
        assert_eq!(self.outgoing.posts(), self.incoming.posts());
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write { what: Wanted, to: u16, handles: Vec<u16>, padding: usize },
    Deliver(usize),
    PeerAccepts,
    Break,
}

#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Post,
    Ask {
        deadline: Option<u64>,
    },
    /// An answer to one of the asks that have come, if any has.
    Answer(u16),
}

/// Writes to `link`; an answer is for an ask that came from `back`.
fn write(link: &mut Link<'_>, back: &mut Link<'_>, what: &Wanted, to: u32, handles: Vec<u32>, padding: usize) {
    match what {
        Wanted::Ask { deadline } => link.ask(*deadline, to, handles, padding),
        Wanted::Answer(which) if !back.unanswered.is_empty() => {
            let at = usize::from(*which) % back.unanswered.len();
            let correlation = back.unanswered[at];
            if link.write(Some(Correlated::Answer { correlation }), to, handles, padding) {
                back.unanswered.remove(at);
            }
        }
        Wanted::Post | Wanted::Answer(_) => {
            link.write(None, to, handles, padding);
        }
    }
}
