//! The flags of a message, and its skippable extensions.

#[cfg(any(test, fuzzing))]
use bytes::BufMut;
#[cfg(any(test, fuzzing))]
use bytes::BytesMut;

use super::codec::Reader;
use super::codec::Violation;
#[cfg(any(test, fuzzing))]
use super::codec::put_number;

/// Numbers of extensions.
pub(crate) mod extension {
    /// Milliseconds until an ask expires, as a number.
    pub(crate) const DEADLINE: u64 = 1;
    /// How many relays have passed a post or an ask on, as a number.
    pub(crate) const HOPS: u64 = 3;
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
    /// Reads a block with its length before it.
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

    /// The first extension of that id.
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

/// Extensions as a frame carries them, for tests of readers that skip them.
#[cfg(any(test, fuzzing))]
pub(crate) fn put_extensions(out: &mut impl BufMut, pairs: &[(u64, &[u8])]) {
    let mut block = BytesMut::new();
    for (id, bytes) in pairs {
        put_number(&mut block, *id);
        super::codec::put_bytes(&mut block, bytes);
    }
    super::codec::put_bytes(out, &block);
}
