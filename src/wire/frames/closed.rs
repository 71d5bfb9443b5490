//! Closed: a watched box is gone.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::extensions::Extensions;
use crate::wire::extensions::extension;
use crate::wire::extensions::put_number_extension;
use crate::wire::target::Target;

/// The reason why nothing reaches a box any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// The box has closed, or there was none.
    Closed,
    /// The box belongs to a third node, which is gone.
    Node,
    /// The box belongs to a third node, to which there is no connection any more.
    Connection,
    /// A reason of a later version.
    Other(u8),
}

impl Gone {
    fn code(self) -> u8 {
        match self {
            Gone::Closed => 0,
            Gone::Node => 1,
            Gone::Connection => 2,
            Gone::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Gone {
        match code {
            0 => Gone::Closed,
            1 => Gone::Node,
            2 => Gone::Connection,
            _ => Gone::Other(code),
        }
    }
}

/// A notice that a watched box is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Closed {
    pub(crate) target: Target,
    pub(crate) why: Gone,
    /// Milliseconds for which there has been no connection to the box, if known.
    pub(crate) unreached: Option<u64>,
}

impl Closed {
    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::CLOSED, |out| {
            self.target.put(out);
            out.put_u8(self.why.code());
            put_number_extension(out, extension::UNREACHED, self.unreached);
        });
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Closed, Violation> {
        let mut reader = Reader::new(payload);
        let (target, why) = (Target::read(&mut reader)?, Gone::from_code(reader.u8()?));
        let unreached = Extensions::all(reader.rest())?.number(extension::UNREACHED)?;
        Ok(Closed { target, why, unreached })
    }
}
