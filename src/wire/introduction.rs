//! The naming of a target or a handle in a message: by number, or by an identity in full.

use bytes::BufMut;

use super::codec::MAX_NUMBER;
use super::codec::Reader;
use super::codec::Violation;
use super::codec::packed_number;
use super::codec::put_number;
use super::codec::put_text;
use crate::ident::BoxId;
use crate::ident::Epoch;
use crate::ident::Incarnation;
use crate::ident::MAX_NAME;
use crate::ident::NodeId;
use crate::ident::endpoint::MAX_ENDPOINT;

/// Maximum number of endpoints named for one node: enough for a host with several networks, not a list of guesses.
pub(crate) const MAX_ENDPOINTS: usize = 8;

/// Maximum number of handles in one message. To read as many takes a few milliseconds, even if no box takes the
/// message.
pub(crate) const MAX_HANDLES: usize = 16_384;

/// The box behind a handle, in terms that both ends of this connection understand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Identity<'a> {
    /// The box of that name at the reader.
    YourName(&'a str),
    /// A box of the reader, a relay included.
    YourBox(BoxId),
    /// A box of the writer. If it has no name, its id serves as one.
    MyBox { id: BoxId, name: &'a str },
    /// A box of a third node, which the writer can reach: messages to the writer's box `via` are passed on.
    Third { node: Incarnation, id: BoxId, via: BoxId, name: &'a str, endpoints: Vec<&'a str> },
    /// The box of that name at any node that listens at the endpoint.
    Place { endpoint: &'a str, name: &'a str },
    /// The box of that name at this node, if it is the one that listens at the endpoint.
    PlaceOf { node: NodeId, endpoint: &'a str, name: &'a str },
    /// The box of that name at any node that listens at the endpoint; at the time of writing that node was the reader.
    YourPlace { endpoint: &'a str, name: &'a str },
}

/// The description of a box that is not named by a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Introduction<'a> {
    pub(crate) identity: Identity<'a>,
    /// Whether the writer counts this handle and wants it back in a release.
    pub(crate) is_leased: bool,
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
    pub(super) const PLACE_OF: u8 = 6;
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
        if self.is_leased {
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
                out.put_slice(&node.node.0);
                out.put_slice(&node.epoch.0);
                out.put_slice(&id.0);
                out.put_slice(&via.0);
                put_text(out, name);
                put_texts(out, endpoints);
            }
            Identity::Place { endpoint, name } | Identity::YourPlace { endpoint, name } => {
                put_text(out, endpoint);
                put_text(out, name);
            }
            Identity::PlaceOf { node, endpoint, name } => {
                out.put_slice(&node.0);
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
            Identity::PlaceOf { .. } => form::PLACE_OF,
            Identity::YourPlace { .. } => form::YOUR_PLACE,
        }
    }

    /// Returns an upper bound on the bytes that [`put`](Introduction::put) writes.
    pub(crate) fn size_bound(&self) -> usize {
        const FIXED: usize = 1 + 3 * 16 + 2 * MAX_NUMBER + 8;
        FIXED
            + match &self.identity {
                Identity::YourBox(_) => 0,
                Identity::YourName(name) | Identity::MyBox { name, .. } => name.len(),
                Identity::Third { name, endpoints, .. } => {
                    16 + name.len() + MAX_NUMBER + endpoints.iter().map(|at| at.len() + MAX_NUMBER).sum::<usize>()
                }
                Identity::Place { endpoint, name }
                | Identity::PlaceOf { endpoint, name, .. }
                | Identity::YourPlace { endpoint, name } => endpoint.len() + name.len(),
            }
    }

    #[inline(never)]
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
                node: Incarnation { node: NodeId(reader.array()?), epoch: Epoch(reader.array()?) },
                id: BoxId(reader.array()?),
                via: BoxId(reader.array()?),
                name: reader.text(MAX_NAME)?,
                endpoints: read_texts(reader)?,
            },
            form::PLACE => Identity::Place { endpoint: reader.text(MAX_ENDPOINT)?, name: reader.text(MAX_NAME)? },
            form::YOUR_PLACE => {
                Identity::YourPlace { endpoint: reader.text(MAX_ENDPOINT)?, name: reader.text(MAX_NAME)? }
            }
            form::PLACE_OF => Identity::PlaceOf {
                node: NodeId(reader.array()?),
                endpoint: reader.text(MAX_ENDPOINT)?,
                name: reader.text(MAX_NAME)?,
            },
            _ => return Err(Violation::UnknownForm(first)),
        };
        let fingerprint = if first & form::FINGERPRINT != 0 { reader.u64()? } else { 0 };
        Ok(Introduction { identity, is_leased: first & form::COUNTED != 0, fingerprint })
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

    /// Returns the bytes of a handle that has a number, as the low bytes of an integer, and their number.
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
