//! What frames without a message say: one struct a kind, with its encoding beside its decoding.

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::MAX_NUMBER;
use super::codec::Reader;
use super::codec::Violation;
use super::codec::put_bytes;
use super::codec::put_number;
use super::codec::put_text;
use super::frame::Extensions;
use super::frame::LENGTH;
use super::frame::extension;
use super::frame::kind;
use super::frame::put_frame;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::Token;
use crate::observe::DropReason;

/// The longest explanation in a goodbye or a refusal, in bytes.
pub(crate) const MAX_DETAIL: usize = 256;

/// Connections of which a resume tells at most.
pub(crate) const MAX_TOLD: usize = 32;

/// The first frame of each direction after the hello: what the writer knows of the reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Resume {
    /// Proves that the writer's node id is its own: the same for every connection between these two nodes.
    pub(crate) token: Token,
    /// Connections between the two that have ended, by the writer's names, and how many messages the writer has read on
    /// each; at most [`MAX_TOLD`].
    pub(crate) told: Vec<(ConnectionId, u64)>,
}

impl Resume {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        let mut told = self.told.iter().take(MAX_TOLD);
        put_frame(out, kind::RESUME, |out| {
            out.put_slice(&self.token.0);
            put_told(out, told.next().unwrap_or(&(ConnectionId::NONE, 0)));
            if told.len() > 0 {
                let mut further = BytesMut::new();
                told.for_each(|told| put_told(&mut further, told));
                put_number(out, extension::FURTHER);
                put_bytes(out, &further);
            }
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Resume, Violation> {
        let mut reader = Reader::new(payload);
        let token = Token(reader.array()?);
        let mut told = vec![read_told(&mut reader)?];
        // Wherever it stands: it names no connection that could be settled.
        let is_one = |(connection, _): &(ConnectionId, u64)| *connection != ConnectionId::NONE;
        told.retain(is_one);
        if let Some(further) = Extensions::all(reader.rest())?.find(extension::FURTHER) {
            let mut further = Reader::new(further);
            while !further.is_empty() && told.len() < MAX_TOLD {
                told.extend(Some(read_told(&mut further)?).filter(is_one));
            }
        }
        Ok(Resume { token, told })
    }
}

fn put_told(out: &mut BytesMut, (connection, read): &(ConnectionId, u64)) {
    out.put_slice(&connection.0);
    put_number(out, *read);
}

fn read_told(reader: &mut Reader<'_>) -> Result<(ConnectionId, u64), Violation> {
    Ok((ConnectionId(reader.array()?), reader.number()?))
}

/// Asks for a pong (or is one), and says how many messages its writer has read on this connection so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ping {
    /// Chosen by the ping's writer and given back by the pong.
    pub(crate) nonce: u64,
    pub(crate) read: u64,
}

impl Ping {
    pub(crate) fn put(&self, out: &mut BytesMut, kind: u8) {
        put_frame(out, kind, |out| {
            out.put_u64_le(self.nonce);
            put_number(out, self.read);
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Ping, Violation> {
        let mut reader = Reader::new(payload);
        let ping = Ping { nonce: reader.u64()?, read: reader.number()? };
        Extensions::all(reader.rest())?;
        Ok(ping)
    }
}

/// The last frame of a direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Goodbye<'a> {
    pub(crate) why: Farewell,
    /// Messages that the writer has read on this connection so far.
    pub(crate) read: u64,
    /// For a person to read, at most [`MAX_DETAIL`] bytes.
    pub(crate) detail: &'a str,
}

/// Why a node says goodbye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Farewell {
    /// The node shuts down.
    Shutdown,
    /// Nothing needs the connection any more, or the node has too many.
    Unneeded,
    /// The other side broke the protocol; the detail says how.
    Violation,
    /// The other side's token is not the one it first came with.
    Unproven,
    /// A reason of a later version.
    Other(u8),
}

impl Farewell {
    fn code(self) -> u8 {
        match self {
            Farewell::Shutdown => 0,
            Farewell::Unneeded => 1,
            Farewell::Violation => 2,
            Farewell::Unproven => 3,
            Farewell::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Farewell {
        match code {
            0 => Farewell::Shutdown,
            1 => Farewell::Unneeded,
            2 => Farewell::Violation,
            3 => Farewell::Unproven,
            _ => Farewell::Other(code),
        }
    }
}

impl<'a> Goodbye<'a> {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::GOODBYE, |out| {
            out.put_u8(self.why.code());
            put_number(out, self.read);
            put_text(out, clipped(self.detail));
        });
    }

    pub(crate) fn read(payload: &'a [u8]) -> Result<Goodbye<'a>, Violation> {
        let mut reader = Reader::new(payload);
        let goodbye = Goodbye {
            why: Farewell::from_code(reader.u8()?),
            read: reader.number()?,
            detail: reader.text(MAX_DETAIL)?,
        };
        Extensions::all(reader.rest())?;
        Ok(goodbye)
    }
}

fn clipped(detail: &str) -> &str {
    let fits = (0..=MAX_DETAIL.min(detail.len())).rev().find_map(|end| detail.get(..end));
    fits.unwrap_or_default()
}

/// The other answer to an ask: there will be none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refuse<'a> {
    pub(crate) correlation: u64,
    pub(crate) why: Unanswered,
    /// For a person to read, at most [`MAX_DETAIL`] bytes.
    pub(crate) detail: &'a str,
}

/// Why an ask is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unanswered {
    /// The actor stopped, or left it unanswered: it may have been handled.
    Abandoned,
    /// It was handled, and the result could not be encoded.
    NotEncodable,
    /// It was passed on, and the connection by which it went has ended: it may have been handled.
    LostOnTheWay,
    /// It was not, and will not be, handled.
    NotDelivered(DropReason),
    /// A reason of a later version: it may have been handled.
    Other(u8),
}

/// Drop reasons follow from here, in the order of the table in [`crate::wire`].
const FIRST_REASON: u8 = 16;

/// What a drop reason is written as.
pub(super) fn code_of(reason: DropReason) -> u8 {
    FIRST_REASON + reason as u8
}

/// The drop reason of that code; `None` for one of a later version.
pub(super) fn reason_of(code: u8) -> Option<DropReason> {
    DropReason::ALL.get(usize::from(code.checked_sub(FIRST_REASON)?)).copied()
}

impl Unanswered {
    fn code(self) -> u8 {
        match self {
            Unanswered::Abandoned => 0,
            Unanswered::NotEncodable => 1,
            Unanswered::LostOnTheWay => 3,
            Unanswered::NotDelivered(reason) => code_of(reason),
            Unanswered::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Unanswered {
        match code {
            0 => Unanswered::Abandoned,
            1 => Unanswered::NotEncodable,
            3 => Unanswered::LostOnTheWay,
            _ => reason_of(code).map_or(Unanswered::Other(code), Unanswered::NotDelivered),
        }
    }
}

impl<'a> Refuse<'a> {
    /// Bytes of one without words, at most.
    pub(crate) const TERSE: usize = LENGTH + 1 + MAX_NUMBER + 1 + 1;

    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::REFUSE, |out| {
            put_number(out, self.correlation);
            out.put_u8(self.why.code());
            put_text(out, clipped(self.detail));
        });
    }

    pub(crate) fn read(payload: &'a [u8]) -> Result<Refuse<'a>, Violation> {
        let mut reader = Reader::new(payload);
        let refuse = Refuse {
            correlation: reader.number()?,
            why: Unanswered::from_code(reader.u8()?),
            detail: reader.text(MAX_DETAIL)?,
        };
        Extensions::all(reader.rest())?;
        Ok(refuse)
    }
}

/// The asker wants no answer any more.
pub(crate) fn put_cancel(out: &mut BytesMut, correlation: u64) {
    put_frame(out, kind::CANCEL, |out| put_number(out, correlation));
}

pub(crate) fn read_cancel(payload: &[u8]) -> Result<u64, Violation> {
    let mut reader = Reader::new(payload);
    let correlation = reader.number()?;
    Extensions::all(reader.rest())?;
    Ok(correlation)
}

/// Handles given back: so many of each box.
pub(crate) fn put_release(out: &mut BytesMut, released: impl IntoIterator<Item = (BoxId, u64)>) {
    put_frame(out, kind::RELEASE, |out| put_counts(out, released));
}

/// Handles held that came by another node: so many of each box.
pub(crate) fn put_hold(out: &mut BytesMut, held: impl IntoIterator<Item = (BoxId, u64)>) {
    put_frame(out, kind::HOLD, |out| put_counts(out, held));
}

fn put_counts(out: &mut BytesMut, counts: impl IntoIterator<Item = (BoxId, u64)>) {
    for (id, count) in counts {
        out.put_slice(&id.0);
        put_number(out, count);
    }
}

/// Handles given back, in as many frames as it takes for none to be longer than `longest` bytes.
pub(crate) fn put_releases(out: &mut BytesMut, released: impl IntoIterator<Item = (BoxId, u64)>, longest: usize) {
    const ENTRY: usize = 16 + MAX_NUMBER;
    let most = (longest.saturating_sub(1) / ENTRY).max(1);
    let mut released = released.into_iter().peekable();
    while released.peek().is_some() {
        put_release(out, released.by_ref().take(most));
    }
}

/// Reads what [`put_release`] or [`put_hold`] wrote, one entry at a time.
pub(crate) fn read_counts(payload: &[u8]) -> impl Iterator<Item = Result<(BoxId, u64), Violation>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let entry = reader.array().and_then(|id| Ok((BoxId(id), reader.number()?)));
        if entry.is_err() {
            reader = Reader::new(&[]);
        }
        Some(entry)
    })
}
