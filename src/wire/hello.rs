//! The hellos: the first message of each side, before any frame, and the choice of the version. The frames that end the
//! greeting are in `frames/proof` and `frames/welcome`; `greeting` has the order of the four messages.

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::Reader;
use super::codec::Violation;
use super::extensions::Extensions;
use crate::ident::ConnectionId;
use crate::ident::Epoch;
use crate::key::PublicKey;
use crate::key::SIGNATURE;

/// The first bytes of a connection. The line end exposes a transport that translates text.
pub(crate) const MAGIC: [u8; 8] = *b"HERMOD\r\n";

/// The version of the protocol that this crate speaks.
pub(crate) const VERSION: u16 = 1;

/// The oldest version that this crate speaks.
pub(crate) const OLDEST_VERSION: u16 = 1;

/// Number of bytes before the part whose length they give: magic, oldest and newest version, length.
pub(crate) const PREFIX: usize = 8 + 2 + 2 + 4;

/// The terms that a node accepts on a connection. The dialling side says no more than this before it knows the
/// listener's identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    /// Bits of the features that the writer understands beyond the rest of version 1: see
    /// [`feature`](super::features::feature).
    pub(crate) features: u64,
    /// The writer's name of this connection, fresh.
    pub(crate) connection: ConnectionId,
    /// Maximum length of a frame that the writer reads, in bytes behind the length field.
    pub(crate) max_frame: u32,
    /// Number of handles that the reader may give numbers to.
    pub(crate) numbers: u32,
    /// Fresh random bytes that make each greeting unique.
    pub(crate) nonce: [u8; 32],
}

/// The hello of the side that was dialled, which also states its identity, and is signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ListenerHello {
    pub(crate) hello: Hello,
    pub(crate) epoch: Epoch,
    pub(crate) key: PublicKey,
    pub(crate) signature: [u8; SIGNATURE],
}

/// The content of the front of a connection's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HelloFront<H = Hello> {
    /// The hello, and its size in bytes.
    Hello(H, usize),
    /// No whole hello: at least this number of further bytes is needed.
    Wants(usize),
}

impl Hello {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_hello(out, self.versions, |rest| self.put_rest(rest));
    }

    fn put_rest(&self, rest: &mut BytesMut) {
        rest.put_u64_le(self.features);
        rest.put_slice(&self.connection.0);
        rest.put_u32_le(self.max_frame);
        rest.put_u32_le(self.numbers);
        rest.put_slice(&self.nonce);
    }

    /// Reads the hello of a dialling node at the front of `buffer`; it may take `limit` bytes in all. Bytes that begin
    /// no hello are refused at the first wrong one, so that the node does not wait for the rest from a client of
    /// another protocol.
    pub(crate) fn front(buffer: &[u8], limit: usize) -> Result<HelloFront, Violation> {
        front(buffer, limit, |versions, rest| {
            let mut reader = Reader::new(rest);
            let hello = Hello::read(versions, &mut reader)?;
            Extensions::all(reader.rest())?;
            Ok(hello)
        })
    }

    fn read(versions: (u16, u16), reader: &mut Reader<'_>) -> Result<Hello, Violation> {
        Ok(Hello {
            versions,
            features: reader.u64()?,
            connection: ConnectionId(reader.array()?),
            max_frame: reader.u32()?,
            numbers: reader.u32()?,
            nonce: reader.array()?,
        })
    }
}

impl ListenerHello {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_hello(out, self.hello.versions, |rest| {
            self.hello.put_rest(rest);
            rest.put_slice(&self.epoch.0);
            rest.put_slice(&self.key.0);
            rest.put_slice(&self.signature);
        });
    }

    /// Reads the hello of a node that was dialled, like [`Hello::front`].
    pub(crate) fn front(buffer: &[u8], limit: usize) -> Result<HelloFront<ListenerHello>, Violation> {
        front(buffer, limit, |versions, rest| {
            let (rest, signature) = rest.split_last_chunk().ok_or(Violation::Truncated)?;
            let mut reader = Reader::new(rest);
            let hello = Hello::read(versions, &mut reader)?;
            let (epoch, key) = (Epoch(reader.array()?), PublicKey(reader.array()?));
            Extensions::all(reader.rest())?;
            Ok(ListenerHello { hello, epoch, key, signature: *signature })
        })
    }
}

/// Writes the answer to a hello of other versions: only the versions that this crate speaks, so that the peer, too, can
/// report the mismatch.
pub(crate) fn put_versions(out: &mut BytesMut) {
    put_hello(out, (OLDEST_VERSION, VERSION), |_| {});
}

fn put_hello(out: &mut BytesMut, versions: (u16, u16), put_rest: impl FnOnce(&mut BytesMut)) {
    out.put_slice(&MAGIC);
    out.put_u16_le(versions.0);
    out.put_u16_le(versions.1);
    let mut rest = BytesMut::new();
    put_rest(&mut rest);
    out.put_u32_le(rest.len() as u32);
    out.put_slice(&rest);
}

fn front<H>(
    buffer: &[u8],
    limit: usize,
    read: impl FnOnce((u16, u16), &[u8]) -> Result<H, Violation>,
) -> Result<HelloFront<H>, Violation> {
    let known = buffer.len().min(MAGIC.len());
    if buffer.get(..known) != MAGIC.get(..known) {
        return Err(Violation::NotHermod);
    }
    if buffer.len() < PREFIX {
        return Ok(HelloFront::Wants(PREFIX - buffer.len()));
    }
    let mut reader = Reader::new(buffer);
    reader.array::<{ MAGIC.len() }>()?;
    let versions = (reader.u16()?, reader.u16()?);
    let size = reader.u32()? as usize;
    let len = size.saturating_add(PREFIX);
    if len > limit {
        return Err(Violation::HelloTooLong { len, limit });
    }
    match reader.rest().get(..size) {
        Some(rest) => {
            agree(versions)?;
            Ok(HelloFront::Hello(read(versions, rest)?, len))
        }
        None => Ok(HelloFront::Wants(len - buffer.len())),
    }
}

/// Returns the newest version that both sides speak. It is checked before the rest of a hello is read, whose layout may
/// differ in a later version.
fn agree((min, max): (u16, u16)) -> Result<u16, Violation> {
    let newest = max.min(VERSION);
    if newest >= min.max(OLDEST_VERSION) { Ok(newest) } else { Err(Violation::Version { min, max, own: VERSION }) }
}
