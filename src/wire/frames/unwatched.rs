//! Unwatched: there is no room for a watch.

use bytes::BytesMut;

use super::LENGTH;
use super::kind;
use super::put_frame;
use crate::ident::MAX_NAME;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::extensions::Extensions;
use crate::wire::target::Target;

/// A watch is not kept: its writer hears nothing of that box unless it watches it anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unwatched {
    /// All others if it is not said which watches are not kept.
    pub(crate) target: Target,
}

impl Unwatched {
    /// Bytes of one, at most.
    pub(crate) const LONGEST: usize = LENGTH + 2 + MAX_NUMBER + MAX_NAME;

    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::UNWATCHED, |out| self.target.put(out));
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Unwatched, Violation> {
        let mut reader = Reader::new(payload);
        let target = Target::read(&mut reader)?;
        Extensions::all(reader.rest())?;
        Ok(Unwatched { target })
    }
}
