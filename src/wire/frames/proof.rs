//! Proof: the identity of the dialling node, the endpoints at which it can be dialled, and the number of messages it
//! has read on connections that have ended.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::ConnectionId;
use crate::ident::Epoch;
use crate::ident::endpoint::MAX_ENDPOINT;
use crate::key::PublicKey;
use crate::key::SIGNATURE;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;
use crate::wire::codec::put_text;
use crate::wire::extensions::Extensions;
use crate::wire::introduction::MAX_ENDPOINTS;

/// Maximum number of ended connections listed in a proof or a welcome.
pub(crate) const MAX_TOLD: usize = 32;

/// Maximum size, in bytes, of a proof or a welcome besides endpoints: a frame's head, an epoch, a key, a signature, two
/// counts, the maximum number of ended connections, and room for extensions.
pub(crate) const BESIDE_ENDPOINTS: usize = 5 + 16 + 32 + SIGNATURE + 2 + MAX_TOLD * (16 + 10) + 64;

/// The first frame of the dialling side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Proof {
    pub(crate) epoch: Epoch,
    pub(crate) key: PublicKey,
    pub(crate) disclosed: Disclosure,
    pub(crate) signature: [u8; SIGNATURE],
}

/// The facts that both sides disclose once each knows the other's identity.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Disclosure {
    /// The endpoints at which the writer can be dialled.
    pub(crate) endpoints: Vec<String>,
    /// Connections between the two that have ended, by the ids in the dialling side's hellos, and the number of
    /// messages that the writer has read on each; at most [`MAX_TOLD`].
    pub(crate) told: Vec<(ConnectionId, u64)>,
}

impl Proof {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::PROOF, |out| {
            out.put_slice(&self.epoch.0);
            out.put_slice(&self.key.0);
            self.disclosed.put(out);
            out.put_slice(&self.signature);
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Proof, Violation> {
        let (rest, signature) = payload.split_last_chunk().ok_or(Violation::Truncated)?;
        let mut reader = Reader::new(rest);
        let (epoch, key) = (Epoch(reader.array()?), PublicKey(reader.array()?));
        let disclosed = Disclosure::read(&mut reader)?;
        Extensions::all(reader.rest())?;
        Ok(Proof { epoch, key, disclosed, signature: *signature })
    }
}

impl Disclosure {
    pub(super) fn put(&self, out: &mut BytesMut) {
        put_number(out, self.endpoints.len() as u64);
        self.endpoints.iter().for_each(|endpoint| put_text(out, endpoint));
        let told = self.told.iter().take(MAX_TOLD);
        put_number(out, told.len() as u64);
        for (connection, read) in told {
            out.put_slice(&connection.0);
            put_number(out, *read);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Disclosure, Violation> {
        let count = reader.count(MAX_ENDPOINTS)?;
        let endpoints = (0..count).map(|_| reader.text(MAX_ENDPOINT).map(str::to_owned)).collect::<Result<_, _>>()?;
        let count = reader.count(MAX_TOLD)?;
        let told =
            (0..count).map(|_| Ok((ConnectionId(reader.array()?), reader.number()?))).collect::<Result<_, _>>()?;
        Ok(Disclosure { endpoints, told })
    }

    /// Leaves out endpoints, which are hints, until they take no more than `limit` bytes.
    pub(crate) fn shorten(&mut self, limit: usize) {
        while self.endpoints.iter().map(|endpoint| endpoint.len() + 2).sum::<usize>() > limit {
            self.endpoints.pop();
        }
    }
}
