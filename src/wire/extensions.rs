//! The flags of a message, and its skippable extensions.

use bytes::BufMut;
#[cfg(any(test, fuzzing))]
use bytes::BytesMut;

use super::codec::MAX_NUMBER;
use super::codec::Reader;
use super::codec::Violation;
use super::codec::put_bytes;
use super::codec::put_number;

/// Numbers of extensions.
pub(crate) mod extension {
    /// Milliseconds until an ask expires, as a number.
    pub(crate) const DEADLINE: u64 = 1;
    /// Count of relays that have passed on a post or an ask, as a number.
    pub(crate) const HOPS: u64 = 3;
    /// Milliseconds for which a watched box may be out of reach before this is reported, as a number.
    pub(crate) const PATIENCE: u64 = 5;
    /// Milliseconds since a watched box was reached, as a number.
    pub(crate) const UNREACHED: u64 = 6;
}

/// Flags of posts, asks and answers.
pub(crate) mod flag {
    pub(crate) const EXTENSIONS: u8 = 1;
    pub(crate) const HANDLES: u8 = 2;
    pub(crate) const KNOWN: u8 = EXTENSIONS | HANDLES;
}

/// Parts of a frame that a reader may not know, each skippable: (id, bytes) pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extensions<'a> {
    bytes: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// Reads a block of extensions with its length before it.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Extensions<'a>, Violation> {
        Extensions::all(reader.bytes()?)
    }

    /// Takes all of `bytes`. The pairs are checked now, so that looking one up cannot fail.
    pub(crate) fn all(bytes: &'a [u8]) -> Result<Extensions<'a>, Violation> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            reader.number()?;
            reader.bytes()?;
        }
        Ok(Extensions { bytes })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the number at the front of the first extension of that id.
    pub(crate) fn number(self, id: u64) -> Result<Option<u64>, Violation> {
        self.find(id).map(|value| Reader::new(value).number()).transpose()
    }

    /// Returns the first extension of that id.
    pub(crate) fn find(self, id: u64) -> Option<&'a [u8]> {
        let mut reader = Reader::new(self.bytes);
        loop {
            let found = reader.number().ok()?;
            let bytes = reader.bytes().ok()?;
            if found == id {
                return Some(bytes);
            }
        }
    }
}

/// Maximum length, in bytes, of an extension that is a number and whose id is below 128.
pub(crate) const LONGEST_NUMBER: usize = 2 + MAX_NUMBER;

/// Appends an extension that is a number, if there is one.
pub(crate) fn put_number_extension(out: &mut impl BufMut, id: u64, value: Option<u64>) {
    if let Some(value) = value {
        let (bytes, len) = packed(value);
        put_number(out, id);
        put_bytes(out, bytes.get(..len).unwrap_or_default());
    }
}

/// Returns a number as it is written, and its length in bytes.
pub(super) fn packed(value: u64) -> ([u8; MAX_NUMBER], usize) {
    let mut bytes = [0; MAX_NUMBER];
    let mut unused = &mut bytes[..];
    put_number(&mut unused, value);
    let len = MAX_NUMBER - unused.len();
    (bytes, len)
}

/// Writes extensions as a frame carries them, for tests of readers that skip them.
#[cfg(any(test, fuzzing))]
pub(crate) fn put_extensions(out: &mut impl BufMut, pairs: &[(u64, &[u8])]) {
    let mut block = BytesMut::new();
    for (id, bytes) in pairs {
        put_number(&mut block, *id);
        put_bytes(&mut block, bytes);
    }
    put_bytes(out, &block);
}
