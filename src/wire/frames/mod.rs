//! Frames: the length field, the kinds, and one file for each kind that is no message.

pub(crate) mod cancel;
pub(crate) mod closed;
pub(crate) mod fragment;
pub(crate) mod goodbye;
pub(crate) mod hold;
pub(crate) mod ping;
pub(crate) mod pressure;
pub(crate) mod proof;
pub(crate) mod refuse;
pub(crate) mod release;
pub(crate) mod remark;
pub(crate) mod report;
pub(crate) mod restated;
pub(crate) mod shape;
pub(crate) mod unwatched;
pub(crate) mod watch;
pub(crate) mod welcome;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use super::codec::Violation;

/// Size of a frame's length field, in bytes.
pub(crate) const LENGTH: usize = 4;

/// Numbers of the kinds of frames. The table in [`crate::wire`] describes each kind.
pub(crate) mod kind {
    pub(crate) const PROOF: u8 = 1;
    pub(crate) const POST: u8 = 2;
    pub(crate) const ASK: u8 = 3;
    pub(crate) const ANSWER: u8 = 4;
    pub(crate) const REFUSE: u8 = 5;
    pub(crate) const CANCEL: u8 = 6;
    pub(crate) const RELEASE: u8 = 7;
    pub(crate) const REPORT: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
    pub(crate) const GOODBYE: u8 = 11;
    pub(crate) const WELCOME: u8 = 12;
    pub(crate) const FRAGMENT: u8 = 13;
    pub(crate) const SHAPE_QUESTION: u8 = 14;
    pub(crate) const SHAPE: u8 = 15;
    pub(crate) const WATCH: u8 = 16;
    pub(crate) const CLOSED: u8 = 17;
    pub(crate) const PRESSURE: u8 = 18;
    pub(crate) const HOLD: u8 = 19;
    pub(crate) const RESTATED: u8 = 20;
    /// Kinds from here on may be skipped by a node that does not know them.
    pub(crate) const FIRST_SKIPPED: u8 = 128;
    pub(crate) const REMARK: u8 = 128;
    pub(crate) const UNWATCHED: u8 = 129;
}

/// A frame at the front of the bytes that were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) kind: u8,
    pub(crate) payload: &'a [u8],
    /// Size of the whole frame in bytes, its length field included.
    pub(crate) size: usize,
}

impl Raw<'_> {
    /// Returns whether the frame is a message or a part of one.
    pub(crate) fn is_of_messages(&self) -> bool {
        matches!(self.kind, kind::POST | kind::ASK | kind::ANSWER | kind::FRAGMENT)
    }
}

/// The content of a buffer's front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front<'a> {
    Frame(Raw<'a>),
    /// No whole frame: at least this number of further bytes is needed.
    Wants(usize),
}

impl Front<'_> {
    /// Returns the least number of missing bytes, or `None` if a whole frame stands there.
    pub(crate) fn wants(&self) -> Option<usize> {
        match self {
            Front::Frame(_) => None,
            Front::Wants(bytes) => Some(*bytes),
        }
    }
}

/// Splits off the first frame, of at most `limit` bytes behind its length field.
#[inline]
pub(crate) fn front(buffer: &[u8], limit: usize) -> Result<Front<'_>, Violation> {
    let Some((length, rest)) = buffer.split_first_chunk::<LENGTH>() else {
        return Ok(Front::Wants(LENGTH - buffer.len()));
    };
    let len = u32::from_le_bytes(*length) as usize;
    if len > limit {
        return Err(Violation::FrameTooLong { len, limit });
    }
    let Some((frame, _)) = rest.split_at_checked(len) else {
        return Ok(Front::Wants(len - rest.len()));
    };
    let (&kind, payload) = frame.split_first().ok_or(Violation::EmptyFrame)?;
    Ok(Front::Frame(Raw { kind, payload, size: LENGTH + len }))
}

/// Appends a frame: `write` writes its payload.
pub(crate) fn put_frame(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    put_frame_before(out, kind, 0, write);
}

/// Appends the beginning of a frame; the last `last` bytes of its payload are to come behind it.
pub(super) fn put_frame_before(out: &mut BytesMut, kind: u8, last: usize, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32_le(0);
    out.put_u8(kind);
    write(out);
    let len = (out.len() - at - LENGTH + last) as u32;
    if let Some(mut field) = out.get_mut(at..) {
        field.put_u32_le(len);
    }
}

/// A frame with its length field, perhaps in two parts, so that the body of a large message stays where it was encoded.
#[derive(Debug)]
pub(crate) struct Framed {
    /// The whole frame, or the part before the body: at least the length field.
    pub(crate) head: Bytes,
    /// The body, if it is a part of its own. Boxed, because very many of the waiting frames may have none.
    pub(crate) body: Option<Box<Bytes>>,
}

impl Framed {
    /// Returns the size of both parts, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.as_ref().map_or(0, |body| body.len())
    }
}

impl From<BytesMut> for Framed {
    fn from(frame: BytesMut) -> Framed {
        Framed { head: frame.freeze(), body: None }
    }
}
