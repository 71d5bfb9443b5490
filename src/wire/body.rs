//! The body of a message, between its encoding and its frame.

use std::ops::Deref;

use bytes::Bytes;

/// Maximum length, in bytes, of a body that is copied to be kept: sharing it would cost more than the copy.
const COPIED: usize = 4 << 10;

/// The body of a message, as it was encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    bytes: &'a [u8],
    /// The shared buffer of a large body, which can be kept without a copy.
    kept: Option<&'a Bytes>,
}

impl Body<'_> {
    /// Returns the shared buffer, if there is one, so that the body can be kept at no cost.
    #[inline]
    pub(crate) fn kept(&self) -> Option<&Bytes> {
        self.kept
    }

    /// Returns the bytes in a form that can be kept.
    pub(crate) fn keep(&self) -> Bytes {
        self.kept.map_or_else(|| Bytes::copy_from_slice(self.bytes), Bytes::clone)
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl<'a> From<&'a [u8]> for Body<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Body<'a> {
        Body { bytes, kept: None }
    }
}

impl<'a> From<&'a Bytes> for Body<'a> {
    fn from(bytes: &'a Bytes) -> Body<'a> {
        Body { bytes, kept: (bytes.len() > COPIED).then_some(bytes) }
    }
}
