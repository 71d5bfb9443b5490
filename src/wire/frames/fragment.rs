//! Fragment: a piece of a frame that is too long to be written at once.

use bytes::BufMut;
use bytes::BytesMut;

use super::LENGTH;
use super::kind;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;

/// Maximum length of a fragment besides its piece, in bytes.
pub(crate) const FRAGMENT_HEAD: usize = LENGTH + 1 + 2 * MAX_NUMBER;

/// Appends the head of a fragment, which stands before a piece of `piece` bytes. `rest` bytes of its frame come behind
/// the piece.
pub(crate) fn put_fragment_head(out: &mut BytesMut, stream: u64, rest: usize, piece: usize) {
    let mut numbers = [0; 2 * MAX_NUMBER];
    let mut unused = &mut numbers[..];
    put_number(&mut unused, stream);
    put_number(&mut unused, rest as u64);
    let taken = 2 * MAX_NUMBER - unused.len();
    out.put_u32_le((1 + taken + piece) as u32);
    out.put_u8(kind::FRAGMENT);
    out.put_slice(numbers.get(..taken).unwrap_or_default());
}

/// A piece of a larger frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fragment<'a> {
    /// Number of the frame that this piece is part of: counted up in each direction, from 0.
    pub(crate) stream: u64,
    /// Number of bytes of the frame behind this piece.
    pub(crate) rest: u64,
    pub(crate) piece: &'a [u8],
}

impl<'a> Fragment<'a> {
    pub(crate) fn read(payload: &'a [u8]) -> Result<Fragment<'a>, Violation> {
        let mut reader = Reader::new(payload);
        Ok(Fragment { stream: reader.number()?, rest: reader.number()?, piece: reader.rest() })
    }
}
