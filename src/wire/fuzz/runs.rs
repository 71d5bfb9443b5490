//! Fuzzed: posts in a row read as one, compared with a reader that reads each frame by itself. Both find the same
//! messages and counts, and end at the same place for the same reason.

use super::super::codec::Violation;
use super::kinds::with_bindings;
use super::plain::understood;
use crate::wire::batch::Posts;
use crate::wire::frames::Front;
use crate::wire::frames::Raw;
use crate::wire::frames::front;
use crate::wire::frames::kind;
use crate::wire::incoming::Incoming;

/// The content of one frame.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Said<'b> {
    pub(crate) kind: u8,
    /// The target and the handles.
    pub(crate) named: Vec<String>,
    /// The body, or the whole payload of a frame without one.
    pub(crate) body: &'b [u8],
    /// The end of the frame in the stream.
    pub(crate) end: usize,
    /// The number of relays that have passed it on, as it was read.
    pub(crate) hops: Result<u8, Violation>,
}

/// The content of a stream.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Heard<'b> {
    pub(crate) said: Vec<Said<'b>>,
    /// The number of bytes still missing, or the violation that ended the stream.
    pub(crate) end: Result<usize, Violation>,
    /// Number of posts by the reader's count.
    pub(crate) posts: u64,
}

/// Reads a stream whole, and in pieces of the given sizes and in rows of the given lengths, repeated in turn.
pub(crate) fn run(stream: &[u8], limit: usize, numbers: usize, pieces: &[usize], most: &[usize]) {
    for incoming in [Incoming::new(numbers), with_bindings()] {
        let expected = one_by_one(stream, limit, incoming.clone());
        assert_eq!(in_rows(stream, limit, incoming.clone(), &[stream.len().max(1)], most).0, expected);
        assert_eq!(in_rows(stream, limit, incoming, pieces, most).0, expected);
    }
}

/// Reads each frame by itself.
pub(crate) fn one_by_one(stream: &[u8], limit: usize, mut incoming: Incoming<String>) -> Heard<'_> {
    let (mut said, mut begin) = (Vec::new(), 0);
    let end = loop {
        match frame(stream, begin, limit, &mut incoming) {
            Ok(Ok(one)) => {
                begin = one.end;
                said.push(one);
            }
            Ok(Err(wants)) => break Ok(wants),
            Err(violation) => break Err(violation),
        }
    };
    Heard { said, end, posts: incoming.posts() }
}

/// Reads posts in rows of at most the given lengths from a stream that comes in pieces. Also returns how many posts
/// came in rows.
pub(crate) fn in_rows<'b>(
    stream: &'b [u8],
    limit: usize,
    mut incoming: Incoming<String>,
    pieces: &[usize],
    most: &[usize],
) -> (Heard<'b>, usize) {
    let (mut said, mut begin, mut in_rows) = (Vec::new(), 0, 0);
    let (mut pieces, mut most) = (pieces.iter().cycle(), most.iter().cycle());
    let mut come = &stream[..0];
    let end = loop {
        if let Some(posts) = Posts::at(&come[begin..], limit, most.next().copied().unwrap_or(0)) {
            let before = incoming.posts();
            match posts_in_a_row(&come[begin..], limit, posts, &mut incoming) {
                Ok(to) => said.extend(posts.bodies().scan(begin, |end, body| {
                    let named = vec![to.clone()];
                    *end += size(&come[*end..], limit);
                    Some(Said { kind: kind::POST, named, body, end: *end, hops: Ok(0) })
                })),
                Err(violation) => {
                    assert_eq!(incoming.posts(), before);
                    break Err(violation);
                }
            }
            assert_eq!(incoming.posts(), before + posts.count() as u64);
            (begin, in_rows) = (begin + posts.size(), in_rows + posts.count());
            continue;
        }
        match frame(come, begin, limit, &mut incoming) {
            Ok(Ok(one)) => {
                begin = one.end;
                said.push(one);
            }
            Ok(Err(wants)) if come.len() == stream.len() => break Ok(wants),
            Ok(Err(_)) => {
                let more = pieces.next().copied().unwrap_or(1).max(1);
                come = &stream[..stream.len().min(come.len() + more)];
            }
            Err(violation) => break Err(violation),
        }
    };
    (Heard { said, end, posts: incoming.posts() }, in_rows)
}

/// Reads posts in a row. Each of them must be a whole frame of its own, within the limit, with no flags.
fn posts_in_a_row(
    buffer: &[u8],
    limit: usize,
    posts: Posts<'_>,
    incoming: &mut Incoming<String>,
) -> Result<String, Violation> {
    assert!(posts.count() > 1 && posts.size() <= buffer.len(), "{} in {} bytes", posts.count(), posts.size());
    assert_eq!((posts.bodies().len(), posts.bodies().count()), (posts.count(), posts.count()));
    let mut rest = &buffer[..posts.size()];
    for body in posts.bodies() {
        let Ok(Front::Frame(Raw { kind: kind::POST, payload, size })) = front(rest, limit) else {
            panic!("not a whole post: {rest:?}");
        };
        assert_eq!(payload.first(), Some(&0), "flags");
        assert!(payload.ends_with(body) && body.len() + 2 <= payload.len());
        rest = &rest[size..];
    }
    assert!(rest.is_empty(), "more than frames: {rest:?}");
    incoming.posts_for(posts.number(), posts.count()).cloned()
}

/// Returns the size of the frame at the front, in bytes.
fn size(buffer: &[u8], limit: usize) -> usize {
    match front(buffer, limit) {
        Ok(Front::Frame(raw)) => raw.size,
        other => panic!("no frame, but {other:?}"),
    }
}

/// Returns the frame that begins at `begin`, or the number of bytes it lacks.
fn frame<'b>(
    stream: &'b [u8],
    begin: usize,
    limit: usize,
    incoming: &mut Incoming<String>,
) -> Result<Result<Said<'b>, usize>, Violation> {
    let raw = match front(&stream[begin..], limit)? {
        Front::Frame(raw) => raw,
        Front::Wants(wants) => return Ok(Err(wants)),
    };
    let end = begin + raw.size;
    if !matches!(raw.kind, kind::POST | kind::ASK | kind::ANSWER) {
        return Ok(Ok(Said { kind: raw.kind, named: Vec::new(), body: raw.payload, end, hops: Ok(0) }));
    }
    let read = understood(raw.kind, raw.payload, incoming)?;
    Ok(Ok(Said { kind: raw.kind, named: read.named, body: read.body, end, hops: read.hops }))
}
