//! Ping and pong: signs of life that carry how many messages were read.

use bytes::BufMut;
use bytes::BytesMut;

use super::put_frame;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;
use crate::wire::extensions::Extensions;

/// A ping, which asks for a pong, or the pong; either states the number of messages that its writer has read on this
/// connection so far.
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
