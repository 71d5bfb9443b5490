//! Every kind of frame, one line each: functions to read it, to make one up, and to write either.
//!
//! A new kind of frame gets a line in [`KINDS`], and with it all the checks made here of every kind.

use std::sync::LazyLock;

use bytes::BufMut;
use bytes::BytesMut;

use super::super::codec::Violation;
use super::decided;
use super::plain::Understood;
use super::plain::meaning;
use super::plain::understood;
use super::values::AnyPost;
use super::values::Told;
use super::values::written;
use super::writer::Writer;
use crate::reason::DropReason;
use crate::wire::frames::cancel::put_cancel;
use crate::wire::frames::cancel::read_cancel;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::fragment::Fragment;
use crate::wire::frames::fragment::put_fragment_head;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::hold::put_hold;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;
use crate::wire::frames::pressure::put_pressure;
use crate::wire::frames::pressure::read_pressure;
use crate::wire::frames::proof::Proof;
use crate::wire::frames::put_frame;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::release::put_release;
use crate::wire::frames::release::read_counts;
use crate::wire::frames::remark::Remark;
use crate::wire::frames::report::Account;
use crate::wire::frames::report::put_report;
use crate::wire::frames::report::read_report;
use crate::wire::frames::restated::put_restated;
use crate::wire::frames::restated::read_restated;
use crate::wire::frames::shape::Question;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::Watch;
use crate::wire::frames::welcome::Welcome;
use crate::wire::incoming::Incoming;
use crate::wire::introduction::Handle;
use crate::wire::numbering::MIN_NUMBERS;

/// A kind of frame.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) number: u8,
    /// Reads a payload; the numbers in it have the meanings that the reader knows.
    pub(crate) read: fn(&[u8], &mut Incoming<String>) -> Result<Said, Violation>,
    /// Writes a made-up frame, if there is room for it.
    pub(crate) write: fn(&mut Writer<'_>),
}

/// The meaning of a frame.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Said {
    /// The whole meaning, as text.
    pub(crate) text: String,
    /// The frame that is written again from the meaning.
    pub(crate) again: BytesMut,
}

/// A kind without a body: its reader, its maker, and the code that writes the first value to the second.
macro_rules! plain {
    ($number:expr, $read:expr, $made:expr, |$it:ident, $out:ident| $put:expr) => {
        Kind {
            number: $number,
            read: |payload, _| {
                let $it = $read(payload)?;
                let mut again = BytesMut::new();
                let $out = &mut again;
                $put;
                Ok(Said { text: format!("{:?}", $it), again })
            },
            write: |writer| {
                let $it = $made(writer.choices());
                writer.frame(|$out| $put);
            },
        }
    };
}

/// A kind with a body.
macro_rules! with_body {
    ($number:expr) => {
        Kind {
            number: $number,
            read: |payload, incoming| with_body($number, payload, incoming),
            write: |writer| writer.message($number),
        }
    };
}

pub(crate) const KINDS: [Kind; 22] = [
    plain!(kind::PROOF, Proof::read, decided::proof, |it, out| it.put(out)),
    with_body!(kind::POST),
    with_body!(kind::ASK),
    with_body!(kind::ANSWER),
    plain!(kind::REFUSE, Refuse::read, decided::refuse, |it, out| it.put(out)),
    plain!(kind::CANCEL, read_cancel, decided::number, |it, out| put_cancel(out, it)),
    plain!(kind::RELEASE, all(read_counts), decided::counts, |it, out| put_release(out, it.iter().copied())),
    plain!(kind::REPORT, report, decided::report, |it, out| put_report(out, it.0, it.1.iter().cloned())),
    plain!(kind::REMARK, Remark::read, decided::remark, |it, out| it.put(out)),
    plain!(kind::PING, Ping::read, decided::ping, |it, out| it.put(out, kind::PING)),
    plain!(kind::PONG, Ping::read, decided::ping, |it, out| it.put(out, kind::PONG)),
    plain!(kind::GOODBYE, Goodbye::read, decided::goodbye, |it, out| it.put(out)),
    plain!(kind::WELCOME, Welcome::read, decided::welcome, |it, out| it.put(out)),
    plain!(kind::SHAPE_QUESTION, Question::read_asked, decided::question, |it, out| it.ask(out)),
    plain!(kind::SHAPE, Question::read_answered, decided::answered, |it, out| it.0.answer(out, it.1)),
    plain!(kind::WATCH, Watch::read, decided::watch, |it, out| it.put(out)),
    plain!(kind::CLOSED, Closed::read, decided::closed, |it, out| it.put(out)),
    plain!(kind::UNWATCHED, Unwatched::read, decided::unwatched, |it, out| it.put(out)),
    plain!(kind::PRESSURE, all(read_pressure), decided::fills, |it, out| put_pressure(out, it.iter().cloned())),
    plain!(kind::HOLD, all(read_counts), decided::counts, |it, out| put_hold(out, it.iter().copied())),
    plain!(kind::RESTATED, all(read_restated), decided::ended, |it, out| put_restated(out, it.iter().copied())),
    Kind {
        number: kind::FRAGMENT,
        read: |payload, _| {
            let fragment = Fragment::read(payload)?;
            let mut again = BytesMut::new();
            put_fragment(&mut again, fragment);
            Ok(Said { text: format!("{fragment:?}"), again })
        },
        write: |writer| writer.piece(),
    },
];

/// The kinds that end with extensions, which a reader skips if it does not know them.
pub(crate) const EXTENDED: [u8; 10] = [
    kind::REFUSE,
    kind::CANCEL,
    kind::PING,
    kind::PONG,
    kind::GOODBYE,
    kind::SHAPE_QUESTION,
    kind::WATCH,
    kind::CLOSED,
    kind::REMARK,
    kind::UNWATCHED,
];

pub(crate) fn put_fragment(out: &mut BytesMut, Fragment { stream, rest, piece }: Fragment<'_>) {
    put_fragment_head(out, stream, rest as usize, piece.len());
    out.put_slice(piece);
}

/// Returns the meaning of a frame, as text, by its kind; frames with a body are read by `incoming`.
pub(crate) fn said(kind: u8, payload: &[u8], incoming: &mut Incoming<String>) -> Result<String, Violation> {
    match KINDS.iter().find(|known| known.number == kind) {
        Some(known) => (known.read)(payload, incoming).map(|said| said.text),
        None => Err(Violation::UnknownKind(kind)),
    }
}

/// Returns a reader that knows a meaning for each of the numbers that are always allowed.
pub(crate) fn with_bindings() -> Incoming<String> {
    // Made once: a fuzzer asks for thousands of them in a second.
    static WITH_BINDINGS: LazyLock<Incoming<String>> = LazyLock::new(|| {
        let mut incoming = Incoming::new(MIN_NUMBERS);
        for number in 0..MIN_NUMBERS as u64 {
            let told = Told::your_name(&format!("box-{number}"));
            let payload = written(|out| {
                out.put_u8(0);
                Handle::Set(number, told.introduction()).put(out);
            });
            incoming.post(&payload, &mut meaning).expect("the number is allowed");
        }
        incoming
    });
    WITH_BINDINGS.clone()
}

/// Reads all entries of a frame whose entries are read one at a time.
fn all<'b, E, I: Iterator<Item = Result<E, Violation>>>(
    read: impl Fn(&'b [u8]) -> I,
) -> impl Fn(&'b [u8]) -> Result<Vec<E>, Violation> {
    move |payload| read(payload).collect()
}

/// A report. Reasons of a later version have no name here, so they are left out.
type Report = (u64, Vec<(Account, DropReason, u64)>);

fn report(payload: &[u8]) -> Result<Report, Violation> {
    let (read, entries) = read_report(payload)?;
    let mut known = Vec::new();
    for entry in entries {
        let entry = entry?;
        known.extend(entry.reason.map(|reason| (entry.account, reason, entry.count)));
    }
    Ok((read, known))
}

/// Reads a post, an ask or an answer.
fn with_body(kind: u8, payload: &[u8], incoming: &mut Incoming<String>) -> Result<Said, Violation> {
    let Understood { correlation, named, extensions, deadline, hops, body } = understood(kind, payload, incoming)?;
    let (number, post) = AnyPost::read(kind, payload).expect("what is understood can be taken apart");
    assert_eq!((number, post.body.as_slice()), (correlation, body));
    if kind != kind::ANSWER {
        let mut pairs = post.extensions.iter().flatten();
        assert!(pairs.all(|(id, _)| extensions.find(*id) == post.extension(*id)));
    }
    // The text has each handle as written and its meaning, since a number says nothing by itself.
    let text = format!("{correlation} {named:?} {deadline:?} {hops:?} {post:?}");
    let mut again = BytesMut::new();
    put_frame(&mut again, kind, |out| out.put_slice(&post.written_as(kind, correlation)));
    Ok(Said { text, again })
}
