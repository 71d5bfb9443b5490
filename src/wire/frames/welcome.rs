//! Welcome: the side that was dialled has verified the dialling node, and says so.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::proof::Disclosure;
use super::put_frame;
use crate::key::SIGNATURE;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::extensions::Extensions;

/// The first frame of the side that was dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Welcome {
    pub(crate) disclosed: Disclosure,
    pub(crate) signature: [u8; SIGNATURE],
}

impl Welcome {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::WELCOME, |out| {
            self.disclosed.put(out);
            out.put_slice(&self.signature);
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Welcome, Violation> {
        let (rest, signature) = payload.split_last_chunk().ok_or(Violation::Truncated)?;
        let mut reader = Reader::new(rest);
        let disclosed = Disclosure::read(&mut reader)?;
        Extensions::all(reader.rest())?;
        Ok(Welcome { disclosed, signature: *signature })
    }
}
