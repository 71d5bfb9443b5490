//! Goodbye: the last frame of a direction, with its reason.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use super::refuse::MAX_DETAIL;
use super::refuse::clipped;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;
use crate::wire::codec::put_text;
use crate::wire::extensions::Extensions;

/// The last frame of a direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Goodbye<'a> {
    pub(crate) why: Farewell,
    /// Number of messages that the writer has read on this connection so far.
    pub(crate) read: u64,
    /// For a person to read, at most [`MAX_DETAIL`] bytes.
    pub(crate) detail: &'a str,
}

/// The reason for a goodbye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Farewell {
    /// The node shuts down.
    Shutdown,
    /// Nothing needs the connection any more, or the node has too many.
    Unneeded,
    /// The other side broke the protocol; the detail says how.
    Violation,
    /// The node has no room for the connection. This goodbye may also stand in place of a hello.
    NoRoom,
    /// The policy of the node does not let the other side in, as the detail says. This goodbye may stand in place of a
    /// proof or a welcome.
    Refused,
    /// A reason of a later version.
    Other(u8),
}

impl Farewell {
    fn code(self) -> u8 {
        match self {
            Farewell::Shutdown => 0,
            Farewell::Unneeded => 1,
            Farewell::Violation => 2,
            Farewell::NoRoom => 3,
            Farewell::Refused => 4,
            Farewell::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Farewell {
        match code {
            0 => Farewell::Shutdown,
            1 => Farewell::Unneeded,
            2 => Farewell::Violation,
            3 => Farewell::NoRoom,
            4 => Farewell::Refused,
            _ => Farewell::Other(code),
        }
    }
}

impl<'a> Goodbye<'a> {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::GOODBYE, |out| {
            out.put_u8(self.why.code());
            put_number(out, self.read);
            put_text(out, clipped(self.detail));
        });
    }

    pub(crate) fn read(payload: &'a [u8]) -> Result<Goodbye<'a>, Violation> {
        let mut reader = Reader::new(payload);
        let goodbye = Goodbye {
            why: Farewell::from_code(reader.u8()?),
            read: reader.number()?,
            detail: reader.text(MAX_DETAIL)?,
        };
        Extensions::all(reader.rest())?;
        Ok(goodbye)
    }
}
