//! Restated: the holds before this frame state all that the writer still holds by connections that have ended.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::ConnectionId;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;

/// Writes the ended connections, by the ids in the reader's hellos.
pub(crate) fn put_restated(out: &mut BytesMut, ended: impl IntoIterator<Item = ConnectionId>) {
    put_frame(out, kind::RESTATED, |out| ended.into_iter().for_each(|ended| out.put_slice(&ended.0)));
}

/// Reads the connections written by [`put_restated`], one at a time.
pub(crate) fn read_restated(payload: &[u8]) -> impl Iterator<Item = Result<ConnectionId, Violation>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let ended = reader.array().map(ConnectionId);
        if ended.is_err() {
            reader = Reader::new(&[]);
        }
        Some(ended)
    })
}
