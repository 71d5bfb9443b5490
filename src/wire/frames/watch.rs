//! Watch: the peer is to tell when a box is gone.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::MAX_NAME;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::extensions::Extensions;
use crate::wire::target::Target;

/// The longest box in these frames, with its kind and a byte besides.
pub(crate) const LONGEST: usize = 3 + MAX_NUMBER + MAX_NAME;

/// Asks to be told once when a box closes, or takes that back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watch {
    pub(crate) target: Target,
    /// False takes it back.
    pub(crate) on: bool,
}

impl Watch {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::WATCH, |out| {
            out.put_u8(u8::from(self.on));
            self.target.put(out);
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Watch, Violation> {
        let mut reader = Reader::new(payload);
        let on = match reader.u8()? {
            0 => false,
            1 => true,
            form => return Err(Violation::UnknownForm(form)),
        };
        let watch = Watch { target: Target::read(&mut reader)?, on };
        Extensions::all(reader.rest())?;
        Ok(watch)
    }
}
