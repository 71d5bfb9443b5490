//! Cancel: the answer to a request is not wanted any more.

use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;
use crate::wire::extensions::Extensions;

/// Writes a cancel: the asker wants no answer any more.
pub(crate) fn put_cancel(out: &mut BytesMut, correlation: u64) {
    put_frame(out, kind::CANCEL, |out| put_number(out, correlation));
}

pub(crate) fn read_cancel(payload: &[u8]) -> Result<u64, Violation> {
    let mut reader = Reader::new(payload);
    let correlation = reader.number()?;
    Extensions::all(reader.rest())?;
    Ok(correlation)
}
