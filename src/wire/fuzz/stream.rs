//! Fuzzed: the reading end of a connection, given any bytes in any cuts. It says the same in whatever pieces they come,
//! means by each number what a plain map would have it mean, waits for no more than its limit, keeps no more than it has
//! announced, and reads posts in a row as it reads each.

use std::fmt::Write;
use std::rc::Rc;

use super::super::codec::Violation;
use super::super::handshake::Hello;
use super::super::handshake::HelloFront;
use super::kinds::said;
use super::kinds::with_bindings;
use super::pieces;
use super::plain::Plain;
use super::plain::Understood;
use super::plain::understood;
use super::runs;
use crate::unstructured::Unstructured;
use crate::wire::frames::Front;
use crate::wire::frames::LENGTH;
use crate::wire::frames::Raw;
use crate::wire::frames::front;
use crate::wire::frames::kind;
use crate::wire::incoming::Incoming;
use crate::wire::introduction::Introduction;

/// Pieces in which a stream comes, over and over.
const PIECES: usize = 4;

/// More than are read in a row.
const ROW: usize = 40;

/// The longest hello that is read.
const HELLO: usize = 4_096;

/// What the reading end has announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    /// Whether a hello comes first; if not it has come already.
    pub(crate) hello: bool,
    pub(crate) max_frame: usize,
    pub(crate) numbers: usize,
}

/// The first bytes say what was announced and how the rest of them comes.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let announced =
        Announced { hello: choices.below(2) == 0, max_frame: 1 + choices.below(4_096), numbers: choices.below(256) };
    let pieces = [(); PIECES].map(|()| 1 + choices.below(256));
    let stream = choices.rest();
    let whole = heard(stream, &[stream.len().max(1)], announced);
    assert_eq!(heard(stream, &pieces, announced), whole);
    assert_eq!(heard(stream, &[1], announced), whole);
    understands(stream, announced);
    pieces::run(stream, announced.max_frame);
    runs::run(stream, announced.max_frame, announced.numbers, &pieces, &pieces.map(|piece| piece % ROW));
}

/// What the stream says, delivered in pieces of those sizes, over and over, up to the violation that ends it.
pub(crate) fn heard(stream: &[u8], pieces: &[usize], announced: Announced) -> String {
    let mut incoming = with_bindings();
    let mut text = String::new();
    let (mut begin, mut end) = (0, 0);
    for piece in pieces.iter().cycle() {
        end = stream.len().min(end + piece);
        loop {
            let buffer = &stream[begin..end];
            let limit = if announced.hello && begin == 0 { HELLO } else { announced.max_frame + LENGTH };
            match next(buffer, announced, begin == 0, &mut incoming) {
                Ok(Next::Said(what, size)) => {
                    assert!(size > 0 && size <= limit);
                    begin += size;
                    text += &what;
                }
                Ok(Next::Wants(more)) => {
                    assert!(more > 0 && buffer.len() + more <= limit, "{more} more than {} bytes", buffer.len());
                    break;
                }
                Err(violation) => {
                    write!(text, " {violation}").expect("a text takes all");
                    return text;
                }
            }
        }
        if end == stream.len() {
            return text;
        }
    }
    text
}

enum Next {
    Said(String, usize),
    Wants(usize),
}

/// What stands at the front. A frame that means nothing ends a stream no less than one that cannot be told from others.
fn next(
    buffer: &[u8],
    announced: Announced,
    is_first: bool,
    incoming: &mut Incoming<String>,
) -> Result<Next, Violation> {
    if announced.hello && is_first {
        return Ok(match Hello::front(buffer, HELLO)? {
            HelloFront::Hello(hello, size) => Next::Said(format!("{hello:?}"), size),
            HelloFront::Wants(more) => Next::Wants(more),
        });
    }
    Ok(match front(buffer, announced.max_frame)? {
        Front::Frame(raw) if raw.kind >= kind::FIRST_SKIPPED => Next::Said(String::new(), raw.size),
        Front::Frame(raw) => Next::Said(format!(" {}", said(raw.kind, raw.payload, incoming)?), raw.size),
        Front::Wants(more) => Next::Wants(more),
    })
}

/// Reads the messages of the stream beside a plain reader, and counts what is kept of them.
fn understands(stream: &[u8], announced: Announced) {
    let mut rest = stream;
    if announced.hello {
        let Ok(HelloFront::Hello(_, size)) = Hello::front(stream, HELLO) else { return };
        rest = &stream[size..];
    }
    let (mut incoming, mut keeper) = (Incoming::new(announced.numbers), Keeper::new(announced.numbers));
    let mut messages = 0;
    while let Ok(Front::Frame(raw)) = front(rest, announced.max_frame) {
        rest = &rest[raw.size..];
        if !matches!(raw.kind, kind::POST | kind::ASK | kind::ANSWER) {
            continue;
        }
        let read = understood(raw.kind, raw.payload, &mut incoming);
        assert_eq!(read, keeper.take(raw));
        if read.is_err() {
            return;
        }
        // An answer is not counted as a message.
        messages += u64::from(raw.kind != kind::ANSWER);
        assert_eq!(incoming.posts(), messages);
    }
}

/// Knows how much a reading end keeps.
pub(crate) struct Keeper {
    incoming: Incoming<Rc<()>>,
    kept: Rc<()>,
    plain: Plain,
}

impl Keeper {
    pub(crate) fn new(numbers: usize) -> Keeper {
        Keeper { incoming: Incoming::new(numbers), kept: Rc::new(()), plain: Plain::new(numbers) }
    }

    /// Reads a message, and says what a plain reader makes of it.
    pub(crate) fn take<'b>(&mut self, raw: Raw<'b>) -> Result<Understood<'b>, Violation> {
        let understood = self.plain.read(raw.kind, raw.payload);
        // What numbers mean, and the target.
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
