//! What frames have in common: their envelope, the handles they name boxes by, and the parts that a reader may skip.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use super::codec::MAX_NUMBER;
use super::codec::Reader;
use super::codec::Violation;
use super::codec::packed_number;
use super::codec::put_number;
use super::codec::put_text;
use crate::ident::BoxId;
use crate::ident::MAX_ENDPOINT;
use crate::ident::MAX_NAME;
use crate::ident::NodeId;

/// Bytes of a frame's length field.
pub(crate) const LENGTH: usize = 4;

/// Endpoints named for one node: a host with several networks, not a list of guesses.
pub(crate) const MAX_ENDPOINTS: usize = 8;

/// Handles in one message.
pub(crate) const MAX_HANDLES: usize = 65_536;

/// Numbers of the kinds of frames. The table in [`crate::wire`] says what each is for.
pub(crate) mod kind {
    pub(crate) const RESUME: u8 = 1;
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
    pub(crate) const FRAGMENT: u8 = 13;
    pub(crate) const SHAPE_QUESTION: u8 = 14;
    pub(crate) const SHAPE: u8 = 15;
    pub(crate) const WATCH: u8 = 16;
    pub(crate) const CLOSED: u8 = 17;
    pub(crate) const PRESSURE: u8 = 18;
    pub(crate) const HOLD: u8 = 19;
    /// Kinds from here on may be skipped by a node that does not know them.
    pub(crate) const FIRST_SKIPPED: u8 = 128;
}

/// Numbers of extensions.
pub(crate) mod extension {
    /// Milliseconds until an ask expires, as a number.
    pub(crate) const DEADLINE: u64 = 1;
    /// How many relays have passed a post or an ask on, as a number.
    pub(crate) const HOPS: u64 = 3;
    /// Further connections that a resume tells of.
    pub(crate) const FURTHER: u64 = 4;
}

/// Flags of posts, asks and answers.
pub(crate) mod flag {
    pub(crate) const EXTENSIONS: u8 = 1;
    pub(crate) const HANDLES: u8 = 2;
    pub(crate) const KNOWN: u8 = EXTENSIONS | HANDLES;
}

/// A frame at the front of what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) kind: u8,
    pub(crate) payload: &'a [u8],
    /// Bytes of the whole frame, its length field included.
    pub(crate) size: usize,
}

/// What the front of a buffer holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front<'a> {
    Frame(Raw<'a>),
    /// So many bytes more are needed, at least.
    Wants(usize),
}

/// Splits the first frame off, of at most `limit` bytes behind its length field.
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

/// Appends the beginning of a frame, behind which the last so many bytes of its payload are to come.
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

/// A frame, with its length field, which may be in two parts: so the body of a large message stays where it was encoded.
#[derive(Debug)]
pub(crate) struct Framed {
    /// All of it, or what stands before the body: at least the length field.
    pub(crate) head: Bytes,
    /// Boxed, because very many frames may wait that have none of their own.
    pub(crate) body: Option<Box<Bytes>>,
}

impl Framed {
    /// Bytes of both.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.as_ref().map_or(0, |body| body.len())
    }
}

impl From<BytesMut> for Framed {
    fn from(frame: BytesMut) -> Framed {
        Framed { head: frame.freeze(), body: None }
    }
}

/// Whom a handle means, in words that both ends of this connection understand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Identity<'a> {
    /// The box of that name at the reader.
    YourName(&'a str),
    /// A box of the reader, a relay included.
    YourBox(BoxId),
    /// A box of the writer. Without a name, it is called by its id.
    MyBox { id: BoxId, name: &'a str },
    /// A box of a third node, which the writer can reach: what is sent to the writer's box `via` is passed on.
    Third { node: NodeId, id: BoxId, via: BoxId, name: &'a str, endpoints: Vec<&'a str> },
    /// Whatever box has that name at whatever node listens there.
    Place { endpoint: &'a str, name: &'a str },
    /// The same, and at the time of writing that node was the reader.
    YourPlace { endpoint: &'a str, name: &'a str },
}

/// What is said of a box when it is not named by a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Introduction<'a> {
    pub(crate) identity: Identity<'a>,
    /// Whether the writer counts this handle and wants it back in a release.
    pub(crate) counted: bool,
    /// The shape of the box's message and result; 0 is unchecked.
    pub(crate) fingerprint: u64,
}

mod form {
    pub(super) const YOUR_NAME: u8 = 0;
    pub(super) const YOUR_BOX: u8 = 1;
    pub(super) const MY_BOX: u8 = 2;
    pub(super) const THIRD: u8 = 3;
    pub(super) const PLACE: u8 = 4;
    pub(super) const YOUR_PLACE: u8 = 5;
    pub(super) const FORMS: u8 = 0x0f;
    pub(super) const FINGERPRINT: u8 = 0x10;
    pub(super) const COUNTED: u8 = 0x20;
}

impl<'a> Introduction<'a> {
    pub(crate) fn put(&self, out: &mut impl BufMut) {
        let mut first = self.form();
        if self.fingerprint != 0 {
            first |= form::FINGERPRINT;
        }
        if self.counted {
            first |= form::COUNTED;
        }
        out.put_u8(first);
        match &self.identity {
            Identity::YourName(name) => put_text(out, name),
            Identity::YourBox(id) => out.put_slice(&id.0),
            Identity::MyBox { id, name } => {
                out.put_slice(&id.0);
                put_text(out, name);
            }
            Identity::Third { node, id, via, name, endpoints } => {
                out.put_slice(&node.0);
                out.put_slice(&id.0);
                out.put_slice(&via.0);
                put_text(out, name);
                put_texts(out, endpoints);
            }
            Identity::Place { endpoint, name } | Identity::YourPlace { endpoint, name } => {
                put_text(out, endpoint);
                put_text(out, name);
            }
        }
        if self.fingerprint != 0 {
            out.put_u64_le(self.fingerprint);
        }
    }

    fn form(&self) -> u8 {
        match self.identity {
            Identity::YourName(_) => form::YOUR_NAME,
            Identity::YourBox(_) => form::YOUR_BOX,
            Identity::MyBox { .. } => form::MY_BOX,
            Identity::Third { .. } => form::THIRD,
            Identity::Place { .. } => form::PLACE,
            Identity::YourPlace { .. } => form::YOUR_PLACE,
        }
    }

    /// At least as many bytes as [`put`](Introduction::put) writes.
    pub(crate) fn size_bound(&self) -> usize {
        const FIXED: usize = 1 + 3 * 16 + 2 * MAX_NUMBER + 8;
        FIXED
            + match &self.identity {
                Identity::YourBox(_) => 0,
                Identity::YourName(name) | Identity::MyBox { name, .. } => name.len(),
                Identity::Third { name, endpoints, .. } => {
                    name.len() + MAX_NUMBER + endpoints.iter().map(|at| at.len() + MAX_NUMBER).sum::<usize>()
                }
                Identity::Place { endpoint, name } | Identity::YourPlace { endpoint, name } => {
                    endpoint.len() + name.len()
                }
            }
    }

    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Introduction<'a>, Violation> {
        let first = reader.u8()?;
        if first & !(form::FORMS | form::FINGERPRINT | form::COUNTED) != 0 {
            return Err(Violation::UnknownForm(first));
        }
        let identity = match first & form::FORMS {
            form::YOUR_NAME => Identity::YourName(reader.text(MAX_NAME)?),
            form::YOUR_BOX => Identity::YourBox(BoxId(reader.array()?)),
            form::MY_BOX => Identity::MyBox { id: BoxId(reader.array()?), name: reader.text(MAX_NAME)? },
            form::THIRD => Identity::Third {
                node: NodeId(reader.array()?),
                id: BoxId(reader.array()?),
                via: BoxId(reader.array()?),
                name: reader.text(MAX_NAME)?,
                endpoints: read_texts(reader)?,
            },
            form::PLACE => Identity::Place { endpoint: reader.text(MAX_ENDPOINT)?, name: reader.text(MAX_NAME)? },
            form::YOUR_PLACE => {
                Identity::YourPlace { endpoint: reader.text(MAX_ENDPOINT)?, name: reader.text(MAX_NAME)? }
            }
            _ => return Err(Violation::UnknownForm(first)),
        };
        let fingerprint = if first & form::FINGERPRINT != 0 { reader.u64()? } else { 0 };
        Ok(Introduction { identity, counted: first & form::COUNTED != 0, fingerprint })
    }
}

fn put_texts(out: &mut impl BufMut, texts: &[&str]) {
    put_number(out, texts.len() as u64);
    for text in texts {
        put_text(out, text);
    }
}

fn read_texts<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a str>, Violation> {
    let count = reader.count(MAX_ENDPOINTS)?;
    (0..count).map(|_| reader.text(MAX_ENDPOINT)).collect()
}

/// A handle as it stands in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Handle<'a> {
    Use(u64),
    Set(u64, Introduction<'a>),
    Inline(Introduction<'a>),
}

mod tag {
    pub(super) const USE: u64 = 0;
    pub(super) const SET: u64 = 1;
    pub(super) const INLINE: u64 = 2;
    pub(super) const BITS: u32 = 2;
    pub(super) const MASK: u64 = 3;
}

impl<'a> Handle<'a> {
    pub(crate) fn put(&self, out: &mut impl BufMut) {
        match self {
            Handle::Use(number) => put_number(out, number << tag::BITS | tag::USE),
            Handle::Set(number, introduction) => {
                put_number(out, number << tag::BITS | tag::SET);
                introduction.put(out);
            }
            Handle::Inline(introduction) => {
                put_number(out, tag::INLINE);
                introduction.put(out);
            }
        }
    }

    /// How a handle is written that has a number: as the low bytes of an integer, and how many they are.
    #[inline]
    pub(crate) fn used(number: u32) -> (u64, usize) {
        packed_number(u64::from(number) << tag::BITS | tag::USE)
    }

    #[inline]
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Handle<'a>, Violation> {
        let tagged = reader.number()?;
        let number = tagged >> tag::BITS;
        match tagged & tag::MASK {
            tag::USE => Ok(Handle::Use(number)),
            tag::SET => Ok(Handle::Set(number, Introduction::read(reader)?)),
            tag::INLINE if number == 0 => Ok(Handle::Inline(Introduction::read(reader)?)),
            _ => Err(Violation::UnknownForm(tagged as u8)),
        }
    }
}

/// Parts of a frame that a reader may not know, each skippable: (id, bytes) pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extensions<'a> {
    bytes: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// Reads a block with its length before it.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Extensions<'a>, Violation> {
        Extensions::all(reader.bytes()?)
    }

    /// Takes all of `bytes`. The pairs are checked now, so that looking one up cannot fail.
    pub(crate) fn all(bytes: &'a [u8]) -> Result<Extensions<'a>, Violation> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            reader.number()?;
            reader.bytes()?;
        }
        Ok(Extensions { bytes })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The first extension of that id.
    pub(crate) fn find(self, id: u64) -> Option<&'a [u8]> {
        let mut reader = Reader::new(self.bytes);
        loop {
            let found = reader.number().ok()?;
            let bytes = reader.bytes().ok()?;
            if found == id {
                return Some(bytes);
            }
        }
    }
}

/// Extensions as a frame carries them, for tests of readers that skip them.
#[cfg(any(test, fuzzing))]
pub(crate) fn put_extensions(out: &mut impl BufMut, pairs: &[(u64, &[u8])]) {
    let mut block = BytesMut::new();
    for (id, bytes) in pairs {
        put_number(&mut block, *id);
        super::codec::put_bytes(&mut block, bytes);
    }
    super::codec::put_bytes(out, &block);
}
