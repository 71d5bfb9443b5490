//! Resume: the token, and how much was read of earlier connections.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::ConnectionId;
use crate::ident::Token;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_bytes;
use crate::wire::codec::put_number;
use crate::wire::extensions::Extensions;
use crate::wire::extensions::extension;

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
