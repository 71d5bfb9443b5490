//! What became of messages: the frame by which one side tells the other what did not arrive.

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::Reader;
use super::codec::Violation;
use super::codec::put_number;
use super::codec::put_text;
use super::control::code_of;
use super::control::reason_of;
use super::frame::kind;
use super::frame::put_frame;
use crate::ident::BoxId;
use crate::ident::MAX_NAME;
use crate::observe::DropReason;

/// Bits of the hello's features: what a node may be sent.
pub(crate) mod feature {
    /// Reports.
    pub(crate) const REPORTS: u64 = 1;
    /// Questions for shapes, and their answers.
    pub(crate) const SHAPES: u64 = 2;
    /// Watches, and what becomes of what is watched.
    pub(crate) const WATCHES: u64 = 4;
    /// How full boxes are.
    pub(crate) const PRESSURE: u64 = 8;
    /// Frames in pieces.
    pub(crate) const FRAGMENTS: u64 = 16;
    /// Handles held that came by another node.
    pub(crate) const HOLDS: u64 = 32;
    /// What this crate understands.
    pub(crate) const KNOWN: u64 = REPORTS | SHAPES | WATCHES | PRESSURE | FRAGMENTS | HOLDS;
}

/// A box of one side, as both call it outside posts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Target {
    Name(Box<str>),
    Id(BoxId),
    /// All for which no account of their own is kept.
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

/// How many messages for one box were dropped for one reason, on this connection so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dropped {
    pub(crate) target: Target,
    /// `None` for a reason of a later version.
    pub(crate) reason: Option<DropReason>,
    pub(crate) count: u64,
}

/// The messages read on this connection so far, and what became of some of them.
pub(crate) fn put_report(out: &mut BytesMut, read: u64, entries: impl IntoIterator<Item = (Target, DropReason, u64)>) {
    put_frame(out, kind::REPORT, |out| {
        put_number(out, read);
        for (target, reason, count) in entries {
            target.put(out);
            out.put_u8(code_of(reason));
            put_number(out, count);
        }
    });
}

/// Reads what [`put_report`] wrote: the messages read, and the entries one at a time.
pub(crate) fn read_report(
    payload: &[u8],
) -> Result<(u64, impl Iterator<Item = Result<Dropped, Violation>>), Violation> {
    let mut reader = Reader::new(payload);
    let read = reader.number()?;
    let entries = std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let entry = Dropped::read(&mut reader);
        if entry.is_err() {
            reader = Reader::new(&[]);
        }
        Some(entry)
    });
    Ok((read, entries))
}

impl Dropped {
    fn read(reader: &mut Reader<'_>) -> Result<Dropped, Violation> {
        Ok(Dropped { target: Target::read(reader)?, reason: reason_of(reader.u8()?), count: reader.number()? })
    }
}
