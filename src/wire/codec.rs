//! Numbers, texts and ids as bytes, and the reader that cannot read past its end.
//!
//! Everything a peer sends passes through [`Reader`]: it never indexes, never allocates, and refuses values that are
//! cut short, too long or not UTF-8.

use bytes::BufMut;

/// A peer's violation of the protocol. Each violation ends the connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the peer speaks another protocol")]
    NotHermod,
    #[error("the peer speaks versions {min} to {max} of the protocol and this node version {own}")]
    Version { min: u16, max: u16, own: u16 },
    #[error("a hello of {len} bytes is over the limit of {limit}")]
    HelloTooLong { len: usize, limit: usize },
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    FrameTooLong { len: usize, limit: usize },
    #[error("a frame is empty")]
    EmptyFrame,
    #[error("a frame ends too early")]
    Truncated,
    #[error("a number has more than 64 bits")]
    NumberTooLong,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a text of {len} bytes is over the limit of {limit}")]
    TextTooLong { len: u64, limit: usize },
    #[error("a list of {len} entries is over the limit of {limit}")]
    ListTooLong { len: u64, limit: usize },
    #[error("frames of kind {0} are not known")]
    UnknownKind(u8),
    #[error("flags {0:#04x} are not known")]
    UnknownFlags(u8),
    #[error("a form {0:#04x} of handle is not known")]
    UnknownForm(u8),
    #[error("handle number {number} is over the limit of {limit}")]
    NumberOutOfRange { number: u64, limit: usize },
    #[error("handle number {0} was never set")]
    NumberUnset(u64),
    #[error("a frame of kind {0} came at the wrong time")]
    OutOfTurn(u8),
    #[error("a piece of frame {0} does not fit to what came before")]
    FragmentAstray(u64),
    #[error("the peer goes on asking and reads no refusals")]
    RefusalsUnread,
    #[error("request number {0} is asked again before it is answered")]
    AskedAgain(u64),
    #[error("what the peer has begun comes more slowly than {least} bytes a second")]
    TooSlow { least: usize },
    #[error("unfinished messages of all connections are over the limit of {limit} bytes, and this peer's waste most")]
    Unfinished { limit: usize },
    #[error("a greeting is not signed by the key that it shows")]
    Unproven,
}

/// Reads a frame from its front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns all remaining bytes.
    #[inline]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        let (&first, rest) = self.rest.split_first().ok_or(Violation::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Violation::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Violation> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a variable-length number: seven bits a byte, lowest first, the high bit set on all but the last (LEB128,
    /// as in DWARF 5 section 7.6 and in postcard). Longer encodings than needed are accepted up to ten bytes.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, Violation> {
        let first = self.u8()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.long_number(first) }
    }

    fn long_number(&mut self, first: u8) -> Result<u64, Violation> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Violation::NumberTooLong);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Violation::NumberTooLong)
    }

    /// Reads bytes with their length before them.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Violation> {
        let len = usize::try_from(self.number()?).map_err(|_| Violation::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Violation::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads UTF-8 with its length before it.
    pub(crate) fn text(&mut self, limit: usize) -> Result<&'a str, Violation> {
        let bytes = self.bytes()?;
        if bytes.len() > limit {
            return Err(Violation::TextTooLong { len: bytes.len() as u64, limit });
        }
        str::from_utf8(bytes).map_err(|_| Violation::NotUtf8)
    }

    /// Reads the number of entries of a list.
    pub(crate) fn count(&mut self, limit: usize) -> Result<usize, Violation> {
        let len = self.number()?;
        match usize::try_from(len) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(Violation::ListTooLong { len, limit }),
        }
    }
}

/// Maximum number of bytes that [`put_number`] writes.
pub(crate) const MAX_NUMBER: usize = 10;

#[inline]
pub(crate) fn put_number(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// The largest number that [`packed_number`] takes.
pub(crate) const LARGEST_PACKED: u64 = (1 << 56) - 1;

/// Returns the bytes that [`put_number`] writes, as the low bytes of an integer, and their number.
#[inline]
pub(crate) fn packed_number(mut value: u64) -> (u64, usize) {
    let (mut packed, mut size) = (value & 0x7f, 1);
    while value >= 0x80 && size < 8 {
        value >>= 7;
        packed |= (value & 0x7f) << (8 * size) | 0x80 << (8 * (size - 1));
        size += 1;
    }
    (packed, size)
}

pub(crate) fn put_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.put_slice(bytes);
}

pub(crate) fn put_text(out: &mut impl BufMut, text: &str) {
    put_bytes(out, text.as_bytes());
}
