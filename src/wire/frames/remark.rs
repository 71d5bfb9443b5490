//! Remark: an explanation of drops that were reported.

use bytes::BufMut;
use bytes::BytesMut;

use super::LENGTH;
use super::kind;
use super::put_frame;
use super::refuse::MAX_DETAIL;
use super::refuse::clipped;
use super::refuse::code_of;
use super::refuse::reason_of;
use super::report::Account;
use crate::ident::MAX_NAME;
use crate::reason::DropReason;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_text;
use crate::wire::extensions::Extensions;
use crate::wire::target::Target;

/// An explanation of the last drop of one account for one reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remark<'a> {
    pub(crate) account: Account,
    /// The reason's code, which may be one of a later version.
    pub(crate) code: u8,
    /// For a person to read, at most [`MAX_DETAIL`] bytes.
    pub(crate) words: &'a str,
}

impl<'a> Remark<'a> {
    /// Maximum size of a remark, in bytes.
    pub(crate) const LONGEST: usize = LENGTH + 3 + 2 * MAX_NUMBER + MAX_NAME + size_of::<u64>() + MAX_DETAIL;

    pub(crate) fn new(account: Account, reason: DropReason, words: &'a str) -> Remark<'a> {
        Remark { account, code: code_of(reason), words }
    }

    /// Returns the reason; `None` for one of a later version.
    pub(crate) fn reason(&self) -> Option<DropReason> {
        reason_of(self.code)
    }

    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::REMARK, |out| {
            self.account.target.put(out);
            out.put_u64_le(self.account.fingerprint);
            out.put_u8(self.code);
            put_text(out, clipped(self.words));
        });
    }

    pub(crate) fn read(payload: &'a [u8]) -> Result<Remark<'a>, Violation> {
        let mut reader = Reader::new(payload);
        let account = Account { target: Target::read(&mut reader)?, fingerprint: reader.u64()? };
        let remark = Remark { account, code: reader.u8()?, words: reader.text(MAX_DETAIL)? };
        Extensions::all(reader.rest())?;
        Ok(remark)
    }
}
