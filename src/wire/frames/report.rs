//! Report: the number of messages that were read, and the numbers of those that were dropped.

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use super::refuse::code_of;
use super::refuse::reason_of;
use crate::reason::DropReason;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;
use crate::wire::target::Target;

/// The messages of one shape for one box, whose drops are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Account {
    pub(crate) target: Target,
    /// The fingerprint of their shape; 0 if the shape is not known.
    pub(crate) fingerprint: u64,
}

/// The number of messages of one account that were dropped for one reason, on this connection so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dropped {
    pub(crate) account: Account,
    /// The reason; `None` for one of a later version.
    pub(crate) reason: Option<DropReason>,
    pub(crate) count: u64,
}

/// Writes a report: the number of messages read on this connection so far, and the drops among them.
pub(crate) fn put_report(out: &mut BytesMut, read: u64, entries: impl IntoIterator<Item = (Account, DropReason, u64)>) {
    put_frame(out, kind::REPORT, |out| {
        put_number(out, read);
        for (Account { target, fingerprint }, reason, count) in entries {
            target.put(out);
            out.put_u64_le(fingerprint);
            out.put_u8(code_of(reason));
            put_number(out, count);
        }
    });
}

/// Reads a report written by [`put_report`]: the number of messages read, and the entries one at a time.
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
        let account = Account { target: Target::read(reader)?, fingerprint: reader.u64()? };
        Ok(Dropped { account, reason: reason_of(reader.u8()?), count: reader.number()? })
    }
}
