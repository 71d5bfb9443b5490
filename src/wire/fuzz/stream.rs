//! Fuzzed: the reading end of a connection, given any bytes in any pieces. Its result does not depend on the pieces; it
//! gives each number the meaning that a plain map gives it, waits for no more bytes than its limit, keeps no more than
//! it has announced, and reads posts in a row like single ones. A stream as a writer may write it is never refused.

use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;

use super::super::codec::Violation;
use super::super::hello::Hello;
use super::super::hello::HelloFront;
use super::kinds::said;
use super::kinds::with_bindings;
use super::pieces;
use super::plain::Plain;
use super::plain::Understood;
use super::plain::understood;
use super::runs;
use super::writer;
use super::writer::Stream;
use crate::unstructured::Unstructured;
use crate::wire::assembly::Assembly;
use crate::wire::assembly::assembled;
use crate::wire::frames::Front;
use crate::wire::frames::LENGTH;
use crate::wire::frames::Raw;
use crate::wire::frames::fragment::Fragment;
use crate::wire::frames::front;
use crate::wire::frames::kind;
use crate::wire::incoming::Incoming;
use crate::wire::introduction::Introduction;

/// Number of sizes of pieces in which a stream comes, repeated in turn.
const PIECES: usize = 4;

/// More posts than are read in a row.
const ROW: usize = 40;

/// Maximum length of a hello, in bytes.
pub(super) const HELLO: usize = 4_096;

/// The limits that the reading end has announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    /// Whether a hello comes first; otherwise it has come already.
    pub(crate) hello: bool,
    pub(crate) max_frame: usize,
    pub(crate) numbers: usize,
}

/// Runs one input: the first decisions choose the announced limits and the pieces of the stream; the rest of the bytes
/// are the stream, or decide what a writer writes.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let first = choices.below(4);
    let announced =
        Announced { hello: first.is_multiple_of(2), max_frame: 1 + choices.below(4_096), numbers: choices.below(256) };
    let pieces = [(); PIECES].map(|()| 1 + choices.below(256));
    if first < 2 {
        // The stream may be read or refused, either is right.
        let _ = check(choices.rest(), announced, &pieces, with_bindings());
        return;
    }
    let Announced { hello, max_frame, numbers } = announced;
    let Stream { bytes, messages } = writer::stream(choices, hello, max_frame, numbers);
    let heard = check(&bytes, announced, &pieces, Incoming::new(numbers));
    if let Some(messages) = messages {
        assert_eq!(heard, Ok((messages, 0)), "messages, and bytes left over, of what may be written");
    }
}

/// Checks the promises for any stream, with a reader that may know meanings of some numbers already. Returns the number
/// of messages in the stream and the number of bytes of an unfinished frame at its end, or the violation.
fn check(
    stream: &[u8],
    announced: Announced,
    pieces: &[usize; PIECES],
    incoming: Incoming<String>,
) -> Result<(u64, usize), Violation> {
    let whole = heard(stream, &[stream.len().max(1)], announced, incoming.clone());
    assert_eq!(heard(stream, pieces, announced, incoming.clone()), whole);
    assert_eq!(heard(stream, &[1], announced, incoming), whole);
    let understood = understands(stream, announced);
    pieces::run(stream, announced.max_frame);
    runs::run(stream, announced.max_frame, announced.numbers, pieces, &pieces.map(|piece| piece % ROW));
    understood.and(whole.end).map(|left| (whole.posts, left))
}

/// The content of a stream.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) text: String,
    /// Number of bytes of an unfinished frame at the end, or the violation that ends the stream.
    pub(crate) end: Result<usize, Violation>,
    /// Number of posts and asks, by the reader's count.
    pub(crate) posts: u64,
}

/// Reads a stream that is delivered in pieces of the given sizes, repeated in turn, up to the violation that ends it.
pub(crate) fn heard(stream: &[u8], pieces: &[usize], announced: Announced, incoming: Incoming<String>) -> Heard {
    let mut ear = Ear { announced, incoming, assembly: Assembly::new(announced.max_frame), text: String::new() };
    let end = ear.hears(stream, pieces);
    Heard { text: ear.text, end, posts: ear.incoming.posts() }
}

/// Takes a stream apart.
struct Ear {
    announced: Announced,
    incoming: Incoming<String>,
    assembly: Assembly,
    text: String,
}

impl Ear {
    fn hears(&mut self, stream: &[u8], pieces: &[usize]) -> Result<usize, Violation> {
        let Announced { hello, max_frame, .. } = self.announced;
        let (mut begin, mut end) = (0, 0);
        for piece in pieces.iter().cycle() {
            end = stream.len().min(end + piece);
            loop {
                let buffer = &stream[begin..end];
                let limit = if hello && begin == 0 { HELLO } else { max_frame + LENGTH };
                match self.next(buffer, begin == 0)? {
                    Next::Took(size) => {
                        assert!(size > 0 && size <= limit);
                        begin += size;
                    }
                    Next::Wants(more) => {
                        let has = buffer.len();
                        assert!(more > 0 && has + more <= limit, "{more} more than {has} bytes");
                        break;
                    }
                }
            }
            if end == stream.len() {
                break;
            }
        }
        Ok(stream.len() - begin)
    }

    /// Reads the frame at the front. A frame without a meaning ends a stream just like one whose end cannot be found.
    fn next(&mut self, buffer: &[u8], is_first: bool) -> Result<Next, Violation> {
        if self.announced.hello && is_first {
            return Ok(match Hello::front(buffer, HELLO)? {
                HelloFront::Hello(hello, size) => {
                    write!(self.text, "{hello:?}").expect("a text takes all");
                    Next::Took(size)
                }
                HelloFront::Wants(more) => Next::Wants(more),
            });
        }
        let raw = match front(buffer, self.announced.max_frame)? {
            Front::Frame(raw) => raw,
            Front::Wants(more) => return Ok(Next::Wants(more)),
        };
        if raw.kind < kind::FIRST_SKIPPED || matches!(raw.kind, kind::REMARK | kind::UNWATCHED) {
            self.says(raw)?;
        }
        if let Some(whole) = put_together(raw, &mut self.assembly)? {
            self.says(assembled(&whole)?)?;
        }
        Ok(Next::Took(raw.size))
    }

    fn says(&mut self, raw: Raw<'_>) -> Result<(), Violation> {
        self.text += " ";
        self.text += &said(raw.kind, raw.payload, &mut self.incoming)?;
        Ok(())
    }
}

enum Next {
    Took(usize),
    Wants(usize),
}

/// Returns the frame that becomes whole with this frame, if this is its last piece.
fn put_together(raw: Raw<'_>, assembly: &mut Assembly) -> Result<Option<BytesMut>, Violation> {
    if raw.kind == kind::FRAGMENT { assembly.add(Fragment::read(raw.payload)?, Duration::ZERO) } else { Ok(None) }
}

/// Reads the messages of the stream, including those in pieces, beside a plain reader, and counts the meanings that are
/// kept. An extension without its proper meaning is a violation only at the end.
fn understands(stream: &[u8], announced: Announced) -> Result<(), Violation> {
    let mut rest = stream;
    if announced.hello {
        let HelloFront::Hello(_, size) = Hello::front(stream, HELLO)? else { return Ok(()) };
        rest = &stream[size..];
    }
    let mut assembly = Assembly::new(announced.max_frame);
    let (mut incoming, mut keeper) = (Incoming::new(announced.numbers), Keeper::new(announced.numbers));
    let (mut messages, mut violation) = (0, Ok(()));
    while let Front::Frame(raw) = front(rest, announced.max_frame)? {
        rest = &rest[raw.size..];
        let whole = put_together(raw, &mut assembly)?;
        let raw = whole.as_deref().map(assembled).transpose()?.unwrap_or(raw);
        if !matches!(raw.kind, kind::POST | kind::ASK | kind::ANSWER) {
            continue;
        }
        let read = understood(raw.kind, raw.payload, &mut incoming);
        assert_eq!(read, keeper.take(raw));
        let read = read?;
        violation = violation.and(read.deadline.and(read.hops).map(drop));
        // An answer is not counted as a message.
        messages += u64::from(raw.kind != kind::ANSWER);
        assert_eq!(incoming.posts(), messages);
    }
    violation
}

/// A reading end whose kept meanings are counted.
pub(crate) struct Keeper {
    incoming: Incoming<Rc<()>>,
    kept: Rc<()>,
    plain: Plain,
}

impl Keeper {
    pub(crate) fn new(numbers: usize) -> Keeper {
        Keeper { incoming: Incoming::new(numbers), kept: Rc::new(()), plain: Plain::new(numbers) }
    }

    /// Reads a message, and returns the result of the plain reader.
    pub(crate) fn take<'b>(&mut self, raw: Raw<'b>) -> Result<Understood<'b>, Violation> {
        let understood = self.plain.read(raw.kind, raw.payload);
        // The meanings of the numbers, and the target.
        let most = self.plain.known() + 1;
        let mut met = 0;
        let mut bind = |_: &Introduction<'_>| {
            met += 1;
            Rc::clone(&self.kept)
        };
        let read = match raw.kind {
            kind::ANSWER => self.incoming.answer(raw.payload, &mut bind).map(|got| (got.handles, got.body)),
            kind::ASK => self.incoming.ask(raw.payload, &mut bind).map(|(_, got)| (got.handles, got.body)),
            _ => self.incoming.post(raw.payload, &mut bind).map(|got| (got.handles, got.body)),
        };
        if let Ok((handles, body)) = read {
            assert!(handles.len() + body.len() < raw.payload.len(), "more than there was");
        }
        // A tag, a form and at least the length of a name.
        assert!(met <= raw.payload.len() / 3, "{met} introductions in {} bytes", raw.payload.len());
        let kept = Rc::strong_count(&self.kept) - 1;
        assert!(kept <= most + raw.payload.len(), "{kept} are kept");
        self.incoming.forget_handles();
        let kept = Rc::strong_count(&self.kept) - 1;
        assert!(kept <= most, "{kept} are kept between messages, of {most} at most");
        understood
    }
}
