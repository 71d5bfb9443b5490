//! Watch: asks the peer to report when a box is gone.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::MAX_NAME;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::extensions::Extensions;
use crate::wire::extensions::LONGEST_NUMBER;
use crate::wire::extensions::extension;
use crate::wire::extensions::put_number_extension;
use crate::wire::target::Target;

/// Maximum size of a watch or closed frame, in bytes: its kind, one byte besides the box, and an extension.
pub(crate) const LONGEST: usize = 3 + MAX_NUMBER + MAX_NAME + LONGEST_NUMBER;

/// A request to be told once when a box closes, or its withdrawal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watch {
    pub(crate) target: Target,
    /// False withdraws the watch.
    pub(crate) on: bool,
    /// Milliseconds for which the box may be out of reach before this is reported.
    pub(crate) patience: Option<u64>,
}

impl Watch {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::WATCH, |out| {
            out.put_u8(u8::from(self.on));
            self.target.put(out);
            put_number_extension(out, extension::PATIENCE, self.patience);
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Watch, Violation> {
        let mut reader = Reader::new(payload);
        let on = match reader.u8()? {
            0 => false,
            1 => true,
            form => return Err(Violation::UnknownForm(form)),
        };
        let target = Target::read(&mut reader)?;
        let patience = Extensions::all(reader.rest())?.number(extension::PATIENCE)?;
        Ok(Watch { target, on, patience })
    }
}
