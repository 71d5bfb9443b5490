//! Restated: all that the writer still holds by connections that have ended stands in the holds before this frame.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::ConnectionId;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;

/// The connections that have ended, as the reader has called them in its hellos.
pub(crate) fn put_restated(out: &mut BytesMut, ended: impl IntoIterator<Item = ConnectionId>) {
    put_frame(out, kind::RESTATED, |out| ended.into_iter().for_each(|ended| out.put_slice(&ended.0)));
}

/// Reads what [`put_restated`] wrote, one connection at a time.
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
