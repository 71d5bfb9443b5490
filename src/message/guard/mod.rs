//! The codec of message bodies: plain postcard on the wire, safe to point at bytes from a stranger.
//!
//! Postcard alone is not safe. A length or a level of nesting costs a peer one byte and costs us an element of memory
//! or a level of stack: 1 MiB of ones read as `Rec(Option<Box<Rec>>)` overflows the stack, five bytes read as
//! `HashSet<()>` burn half a minute, four bytes read as `LinkedList<()>` take 4 GB, and left-over bytes are silently
//! accepted. So [`decode`] drives the type through a [`Guard`], which leaves scalars and strings to postcard and does
//! the composites itself, counting the cost of each. [`encode`] is bounded too, while it writes. Both keep the text of
//! a type's own error, which postcard drops, and turn a panic of the type's `Serialize` or `Deserialize` into an error.
//!
//! Invariants: the bytes are exactly those of `postcard::to_stdvec`; no body makes [`decode`] panic, nest deeper than
//! [`DecodeLimits::depth`], or take memory out of proportion to [`DecodeLimits::memory`] and its own length; a failed
//! [`encode`] leaves its buffer as it was. The stack space of a single level is not bounded: a type that contains
//! itself and has 16 KiB of its own in each level overflows 2 MiB within 128 levels, at least in a debug build.
//!
//! # Charges
//! - All elements of a sequence, all keys and all values of a map: their number times their size, when the first is
//!   asked for. A container's reservation for them is thus paid for before anything inside the first is read.
//! - A composite larger than the memory its surroundings have paid for, as it must then be behind a pointer. A directly
//!   held value is smaller than its holder, or the holder is a newtype; so a type that holds itself in a `Box` is
//!   charged for each `Box`. Too little is charged only for boxed types that are smaller than their holder, a factor
//!   that the type's author chooses and no peer; too much (twice) for a value that fills its option, enum or struct
//!   entirely.
//! - Strings and byte strings are not charged: postcard takes them out of the body, so the body's length bounds them.

mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod reading;
#[cfg(test)]
mod tests;
mod writing;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::fault::panic_words;
use self::reading::BudgetedReader;
use self::reading::Guard;
use self::writing::Bounded;
use self::writing::GuardedWriter;

/// Upper bounds on the cost of decoding one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodeLimits {
    /// Maximum number of nested levels. Options that hold something, newtypes, sequences, maps, tuples, structs and
    /// enums are levels.
    pub(crate) depth: usize,
    /// Maximum size of the value in bytes, strings and byte strings aside.
    pub(crate) memory: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { depth: 128, memory: 64 << 20 }
    }
}

/// Why a body could not be turned into a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The message nests more levels than [`DecodeLimits::depth`].
    #[error("the message nests more than {limit} levels, the limit `decode_depth` of the node")]
    TooDeep {
        /// The limit, in levels.
        limit: usize,
    },
    /// The message would occupy more than [`DecodeLimits::memory`].
    #[error("the message would occupy more than {limit} bytes once decoded, the limit `decode_memory` of the node")]
    TooMuchMemory {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message ended before its body did: most likely the two sides mean different types.
    #[error("{bytes} bytes are left over after the message")]
    Remainder {
        /// Number of bytes left over.
        bytes: usize,
    },
    /// The bytes are no value of the type, in the words of postcard or of the type's `Deserialize`.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The type's `Deserialize` panicked.
    #[error("decoding the message panicked: {0}")]
    Panicked(String),
}

/// Decodes a message whose whole encoding is `body`.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8], limits: DecodeLimits) -> Result<T, Box<DecodeError>> {
    let mut message = None;
    decode_to(body, limits, |decoded| message = Some(decoded))?;
    message.ok_or_else(|| Box::new(DecodeError::Malformed(String::new())))
}

/// Decodes like [`decode`] and passes the message to `keep`, so that it is moved only once, to its final place.
#[inline]
pub(crate) fn decode_to<T: DeserializeOwned>(
    body: &[u8],
    limits: DecodeLimits,
    keep: impl FnOnce(T),
) -> Result<(), Box<DecodeError>> {
    let decoding = || {
        let postcard = postcard::Deserializer::from_bytes(body);
        let mut reader = BudgetedReader { postcard, memory: limits.memory, limits, verdict: None };
        let decoded = T::deserialize(Guard { reader: &mut reader, levels: limits.depth, paid: 0 });
        // First, because the type may have put the guard's error into words of its own, or even ignored it.
        if let Some(verdict) = reader.verdict {
            return Err(verdict);
        }
        let message = decoded.map_err(|fault| Box::new(DecodeError::Malformed(fault.to_string())))?;
        match reader.postcard.finalize() {
            Ok([]) => {
                keep(message);
                Ok(())
            }
            Ok(rest) => Err(Box::new(DecodeError::Remainder { bytes: rest.len() })),
            Err(error) => Err(Box::new(DecodeError::Malformed(error.to_string()))),
        }
    };
    match catch_unwind(AssertUnwindSafe(decoding)) {
        Ok(decoded) => decoded,
        Err(panic) => Err(Box::new(DecodeError::Panicked(panic_words(&*panic)))),
    }
}

/// Why a message could not be turned into a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    /// The message's encoding is longer than allowed.
    #[error("the message takes more than {limit} bytes, the limit `max_message` of the node")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message has more addresses than allowed.
    #[error("the message has {count} addresses, more than {limit}, the limit `max_handles` of the node")]
    TooManyHandles {
        /// Number of addresses in the message.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The message cannot be encoded, in the words of postcard or of the type's `Serialize`.
    #[error("the message cannot be encoded: {0}")]
    Refused(String),
    /// The message was encoded, but its type's `Deserialize` reads something else.
    #[error("the message would not arrive as it was sent: {0}")]
    Unfit(String),
    /// The type's `Serialize` panicked.
    #[error("encoding the message panicked: {0}")]
    Panicked(String),
}

/// Facts about a message that was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// A field was left out (`skip_serializing_if`), so the bytes after it stand in its place.
    pub(crate) skipped: bool,
}

/// Appends the postcard encoding of `value` to `out`; on error `out` is as long as before. At most `limit` bytes are
/// added, which is checked while writing, so that a message of endless size stops.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<Encoded, Box<EncodeError>> {
    let start = out.len();
    let encoding = || {
        let output = Bounded { end: start.saturating_add(limit), out: &mut *out, full: false };
        let mut writer = GuardedWriter { postcard: postcard::Serializer { output }, skipped: false };
        let encoded = value.serialize(&mut writer);
        // First, because the type may have put the error into words of its own, or even ignored it.
        if writer.postcard.output.full {
            return Err(Box::new(EncodeError::TooLarge { limit }));
        }
        encoded.map_err(|fault| Box::new(EncodeError::Refused(fault.to_string())))?;
        Ok(Encoded { skipped: writer.skipped })
    };
    let encoded = match catch_unwind(AssertUnwindSafe(encoding)) {
        Ok(encoded) => encoded,
        Err(panic) => Err(Box::new(EncodeError::Panicked(panic_words(&*panic)))),
    };
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}
