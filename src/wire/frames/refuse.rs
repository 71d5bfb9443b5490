//! Refuse: a request that will have no answer, with the reason. The codes of drop reasons.

use bytes::BufMut;
use bytes::BytesMut;

use super::LENGTH;
use super::kind;
use super::put_frame;
use crate::reason::DropReason;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;
use crate::wire::codec::put_text;
use crate::wire::extensions::Extensions;

/// Maximum length of the explanation in a goodbye or a refusal, in bytes.
pub(crate) const MAX_DETAIL: usize = 256;

pub(super) fn clipped(detail: &str) -> &str {
    let fits = (0..=MAX_DETAIL.min(detail.len())).rev().find_map(|end| detail.get(..end));
    fits.unwrap_or_default()
}

/// The notice that an ask will have no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refuse<'a> {
    pub(crate) correlation: u64,
    pub(crate) why: Unanswered,
    /// For a person to read, at most [`MAX_DETAIL`] bytes.
    pub(crate) detail: &'a str,
}

/// The reason why an ask is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unanswered {
    /// The actor stopped, or left the request unanswered: it may have been handled.
    Abandoned,
    /// The request was handled, and the result could not be encoded.
    NotEncodable,
    /// The request was handled, and there was no room for its result.
    NoRoom,
    /// The request was passed on, and the connection it left by has ended: it may have been handled.
    LostOnTheWay,
    /// The request was not, and will not be, handled.
    NotDelivered(DropReason),
    /// A reason of a later version: the request may have been handled.
    Other(u8),
}

/// Code of the first drop reason; the others follow in the order of the table in [`crate::wire`].
const FIRST_REASON: u8 = 16;

/// Returns the code of a drop reason.
pub(crate) fn code_of(reason: DropReason) -> u8 {
    FIRST_REASON + reason as u8
}

/// Returns the drop reason of that code; `None` for one of a later version.
pub(crate) fn reason_of(code: u8) -> Option<DropReason> {
    DropReason::ALL.get(usize::from(code.checked_sub(FIRST_REASON)?)).copied()
}

impl Unanswered {
    fn code(self) -> u8 {
        match self {
            Unanswered::Abandoned => 0,
            Unanswered::NotEncodable => 1,
            Unanswered::LostOnTheWay => 3,
            Unanswered::NoRoom => 4,
            Unanswered::NotDelivered(reason) => code_of(reason),
            Unanswered::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Unanswered {
        match code {
            0 => Unanswered::Abandoned,
            1 => Unanswered::NotEncodable,
            3 => Unanswered::LostOnTheWay,
            4 => Unanswered::NoRoom,
            _ => reason_of(code).map_or(Unanswered::Other(code), Unanswered::NotDelivered),
        }
    }
}

impl<'a> Refuse<'a> {
    /// Maximum size of a refusal without a detail, in bytes.
    pub(crate) const TERSE: usize = LENGTH + 1 + MAX_NUMBER + 1 + 1;

    pub(crate) fn put(&self, out: &mut BytesMut) {
        put_frame(out, kind::REFUSE, |out| {
            put_number(out, self.correlation);
            out.put_u8(self.why.code());
            put_text(out, clipped(self.detail));
        });
    }

    pub(crate) fn read(payload: &'a [u8]) -> Result<Refuse<'a>, Violation> {
        let mut reader = Reader::new(payload);
        let refuse = Refuse {
            correlation: reader.number()?,
            why: Unanswered::from_code(reader.u8()?),
            detail: reader.text(MAX_DETAIL)?,
        };
        Extensions::all(reader.rest())?;
        Ok(refuse)
    }
}
