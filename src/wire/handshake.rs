//! The hello: what each side says first, before any frame, and which version they agree on. The resume frame that follows
//! it is in `frames/resume`.

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::Reader;
use super::codec::Violation;
use super::codec::put_number;
use super::codec::put_text;
use super::extensions::Extensions;
use super::introduction::MAX_ENDPOINTS;
use crate::ident::ConnectionId;
use crate::ident::MAX_ENDPOINT;
use crate::ident::NodeId;

/// The first bytes of a connection. The line end shows a transport that translates text.
pub(crate) const MAGIC: [u8; 8] = *b"HERMOD\r\n";

/// The version of the protocol that this crate speaks.
pub(crate) const VERSION: u16 = 1;

/// The oldest version that this crate speaks.
pub(crate) const OLDEST_VERSION: u16 = 1;

/// Bytes before the part whose length they give: magic, oldest and newest version, length.
pub(crate) const PREFIX: usize = 8 + 2 + 2 + 4;

/// Who a node is and what it accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    /// Bits of what the writer understands beyond the rest of version 1: see [`feature`](super::features::feature).
    pub(crate) features: u64,
    pub(crate) node: NodeId,
    /// The writer's name of this connection, fresh.
    pub(crate) connection: ConnectionId,
    /// The longest frame that the writer reads, in bytes behind the length field.
    pub(crate) max_frame: u32,
    /// How many handles the reader may give numbers to.
    pub(crate) numbers: u32,
    /// Where the writer can be dialled.
    pub(crate) endpoints: Vec<String>,
}

/// What the front of a connection's bytes is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HelloFront {
    /// The hello, and how many bytes it took.
    Hello(Hello, usize),
    /// So many bytes more are needed, at least.
    Wants(usize),
}

impl Hello {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        out.put_slice(&MAGIC);
        out.put_u16_le(self.versions.0);
        out.put_u16_le(self.versions.1);
        let mut rest = BytesMut::new();
        rest.put_u64_le(self.features);
        rest.put_slice(&self.node.0);
        rest.put_slice(&self.connection.0);
        rest.put_u32_le(self.max_frame);
        rest.put_u32_le(self.numbers);
        put_number(&mut rest, self.endpoints.len() as u64);
        for endpoint in &self.endpoints {
            put_text(&mut rest, endpoint);
        }
        out.put_u32_le(rest.len() as u32);
        out.put_slice(&rest);
    }

    /// Reads the hello at the front of `buffer`; it may take `limit` bytes in all. What is no hello is refused at its
    /// first wrong byte, so that a client of another protocol is not waited for.
    pub(crate) fn front(buffer: &[u8], limit: usize) -> Result<HelloFront, Violation> {
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
            Some(rest) => Ok(HelloFront::Hello(Hello::read(versions, rest)?, len)),
            None => Ok(HelloFront::Wants(len - buffer.len())),
        }
    }

    fn read(versions: (u16, u16), rest: &[u8]) -> Result<Hello, Violation> {
        agree(versions)?;
        let mut reader = Reader::new(rest);
        let hello = Hello {
            versions,
            features: reader.u64()?,
            node: NodeId(reader.array()?),
            connection: ConnectionId(reader.array()?),
            max_frame: reader.u32()?,
            numbers: reader.u32()?,
            endpoints: {
                let count = reader.count(MAX_ENDPOINTS)?;
                (0..count).map(|_| reader.text(MAX_ENDPOINT).map(str::to_owned)).collect::<Result<_, _>>()?
            },
        };
        Extensions::all(reader.rest())?;
        Ok(hello)
    }
}

/// The newest version that both sides speak. Checked before the rest of a hello is read, which a later version may lay
/// out anew.
fn agree((min, max): (u16, u16)) -> Result<u16, Violation> {
    let newest = max.min(VERSION);
    if newest >= min.max(OLDEST_VERSION) { Ok(newest) } else { Err(Violation::Version { min, max, ours: VERSION }) }
}
