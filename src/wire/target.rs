//! The form of a box's name outside posts, common to both sides of a connection.

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::Reader;
use super::codec::Violation;
use super::codec::put_text;
use crate::ident::BoxId;
use crate::ident::MAX_NAME;

/// A box of one side, in the form used outside posts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Target {
    Name(Box<str>),
    Id(BoxId),
    /// All boxes for which no separate count is kept.
    Others,
}

impl Target {
    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            Target::Name(name) => {
                out.put_u8(0);
                put_text(out, name);
            }
            Target::Id(id) => {
                out.put_u8(1);
                out.put_slice(&id.0);
            }
            Target::Others => out.put_u8(2),
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Target, Violation> {
        match reader.u8()? {
            0 => Ok(Target::Name(reader.text(MAX_NAME)?.into())),
            1 => Ok(Target::Id(BoxId(reader.array()?))),
            2 => Ok(Target::Others),
            form => Err(Violation::UnknownForm(form)),
        }
    }
}
