//! The codec of message bodies: plain postcard on the wire, safe to point at bytes from a stranger.
//!
//! Postcard alone is not. A length or a nesting costs a peer one byte and costs us an element of memory or a level of
//! stack: 1 MiB of ones read as `Rec(Option<Box<Rec>>)` overflows the stack, five bytes read as `HashSet<()>` burn half
//! a minute, four bytes read as `LinkedList<()>` take 4 GB, and left-over bytes are silently accepted. So [`decode`]
//! drives the type through a [`Guard`], which leaves scalars and strings to postcard and does the composites itself,
//! counting what each one costs. [`encode`] is bounded too, while it writes. Both keep the words of a type's own error,
//! which postcard drops, and turn a panic of the type's `Serialize` or `Deserialize` into an error.
//!
//! Invariants: the bytes are exactly those of `postcard::to_stdvec`; no body makes [`decode`] panic, nest deeper than
//! [`DecodeLimits::depth`], or take memory out of proportion to [`DecodeLimits::memory`] and its own length; a failed
//! [`encode`] leaves its buffer as it was. Not bounded is what a single level takes of the stack: a type that contains
//! itself and has 16 KiB of its own in each level overflows 2 MiB within 128 levels, at least in a debug build.
//!
//! # What is charged
//! - All elements of a sequence, all keys and all values of a map: their number times their size, when the first is
//!   asked for. What a container reserves for them is thus paid for before anything inside of the first is read.
//! - A composite larger than what its surroundings have paid for, as it must be behind a pointer then. What a value
//!   holds directly is smaller than the value, or the value is a newtype; so a type that holds itself in a `Box` is
//!   charged for each. Too little is charged only for boxed types that are smaller than their holder, which is a factor
//!   that the type's author chooses and no peer; too much (twice) for what fills its option, enum or struct entirely.
//! - Strings and byte strings are not charged: postcard takes them out of the body, so the body's length bounds them.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use postcard::de_flavors::Slice;
use serde::de;
use serde::de::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::DeserializeSeed;
use serde::de::IntoDeserializer;
use serde::de::Visitor;
use serde::ser;
use serde::ser::Serialize;

/// What an element of no size is charged, in bytes: it may take no byte of the body, yet a `LinkedList<()>` allocates
/// this much for it.
const EMPTY_ELEMENT: usize = 32;

/// As many elements as a container is told to reserve for, at most, because not all containers bound what they reserve.
const MAX_HINT: usize = 4096;

/// As many bytes as serde's own containers reserve on a hint, at most. With less than this left no hint is given.
const MAX_RESERVED: usize = 1 << 20;

/// As many characters of an error's or a panic's text as are kept: a peer chooses some of them.
const MAX_WORDS: usize = 256;

/// What decoding one message may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodeLimits {
    /// How many levels the value may nest. Options that hold something, newtypes, sequences, maps, tuples, structs and
    /// enums are levels.
    pub(crate) depth: usize,
    /// How many bytes the value may occupy, strings and byte strings aside.
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
    /// It nests more levels than [`DecodeLimits::depth`].
    #[error("the message nests more than {limit} levels")]
    TooDeep {
        /// The limit, in levels.
        limit: usize,
    },
    /// It would occupy more than [`DecodeLimits::memory`].
    #[error("the message would occupy more than {limit} bytes once decoded")]
    TooMuchMemory {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message ended before its body did: most likely the two sides mean different types.
    #[error("{bytes} bytes are left over after the message")]
    Remainder {
        /// How many bytes were left.
        bytes: usize,
    },
    /// The bytes are no value of the type, in postcard's words or in those of the type's `Deserialize`.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The type's `Deserialize` panicked.
    #[error("decoding the message panicked: {0}")]
    Panicked(String),
}

/// Reads a message of which `body` is the whole encoding.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8], limits: DecodeLimits) -> Result<T, DecodeError> {
    let decoding = || {
        let postcard = postcard::Deserializer::from_bytes(body);
        let mut reader = Reader { postcard, memory: limits.memory, limits, verdict: None };
        let decoded = T::deserialize(Guard { reader: &mut reader, levels: limits.depth, paid: 0 });
        // First, because the type may have put the guard's error into words of its own, or even ignored it.
        if let Some(verdict) = reader.verdict {
            return Err(verdict);
        }
        let message = decoded.map_err(|fault| DecodeError::Malformed(fault.to_string()))?;
        match reader.postcard.finalize() {
            Ok([]) => Ok(message),
            Ok(rest) => Err(DecodeError::Remainder { bytes: rest.len() }),
            Err(error) => Err(DecodeError::Malformed(error.to_string())),
        }
    };
    match catch_unwind(AssertUnwindSafe(decoding)) {
        Ok(decoded) => decoded,
        Err(panic) => Err(DecodeError::Panicked(panic_words(&*panic))),
    }
}

/// Why a message could not be turned into a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    /// Its encoding is longer than allowed.
    #[error("the message takes more than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It cannot be encoded, in postcard's words or in those of the type's `Serialize`.
    #[error("the message cannot be encoded: {0}")]
    Refused(String),
    /// The type's `Serialize` panicked.
    #[error("encoding the message panicked: {0}")]
    Panicked(String),
}

/// Appends the postcard encoding of `value` to `out`; on error `out` is as long as before. At most `limit` bytes are
/// added, which is checked while writing, so that a message of endless size stops.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>, limit: usize) -> Result<(), EncodeError> {
    let start = out.len();
    let encoding = || {
        let output = Bounded { end: start.saturating_add(limit), out: &mut *out, full: false };
        let mut writer = Writer { postcard: postcard::Serializer { output } };
        let encoded = value.serialize(&mut writer);
        // First, because the type may have put the error into words of its own, or even ignored it.
        if writer.postcard.output.full {
            return Err(EncodeError::TooLarge { limit });
        }
        encoded.map_err(|fault| EncodeError::Refused(fault.to_string()))
    };
    let encoded = match catch_unwind(AssertUnwindSafe(encoding)) {
        Ok(encoded) => encoded,
        Err(panic) => Err(EncodeError::Panicked(panic_words(&*panic))),
    };
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

/// The error that travels through serde. One byte, because every element of every array returns one: with the words in
/// it a small message took three times as long to decode. What the guard itself refuses is recorded in
/// [`Reader::verdict`] and [`Bounded::full`], where the type being decoded cannot lose it.
#[derive(Clone, Debug)]
enum Fault {
    /// Postcard's own.
    Postcard(postcard::Error),
    /// The type's: its words are in [`WORDS`], as serde gives us no other place to put them.
    Custom,
}

thread_local! {
    /// The words of this thread's last [`Fault::Custom`]. They are only looked at when one comes out, so those of an
    /// error that a type dealt with by itself may stay here.
    static WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Fault {
    #[cold]
    fn custom(words: impl Display) -> Self {
        let words = short(&words.to_string());
        // A thread that is being torn down has no place for them; the error stands all the same.
        let _ = WORDS.try_with(|place| place.replace(words));
        Self::Custom
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postcard(error) => error.fmt(f),
            Self::Custom => WORDS.try_with(|words| f.write_str(&words.borrow())).unwrap_or(Ok(())),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(words: T) -> Self {
        Self::custom(words)
    }
}

impl ser::Error for Fault {
    fn custom<T: Display>(words: T) -> Self {
        Self::custom(words)
    }
}

impl From<postcard::Error> for Fault {
    #[inline]
    fn from(error: postcard::Error) -> Self {
        Self::Postcard(error)
    }
}

fn short(words: &str) -> String {
    words.chars().take(MAX_WORDS).collect()
}

#[cold]
fn panic_words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied();
    short(words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message"))
}

/// What is left of the body, and of the memory that decoding it may cost.
struct Reader<'de> {
    postcard: postcard::Deserializer<'de, Slice<'de>>,
    memory: usize,
    limits: DecodeLimits,
    /// What the guard refused, if it did.
    verdict: Option<DecodeError>,
}

impl Reader<'_> {
    #[inline]
    fn pay(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.memory.checked_sub(bytes) {
            Some(left) => {
                self.memory = left;
                Ok(())
            }
            None => Err(self.refuse(DecodeError::TooMuchMemory { limit: self.limits.memory })),
        }
    }

    /// Pays for `count` more elements of type `T`, of which `price` bytes each are paid already.
    #[inline]
    fn pay_elements<T>(&mut self, count: usize, price: &mut usize) -> Result<(), Fault> {
        let full = const { if size_of::<T>() == 0 { EMPTY_ELEMENT } else { size_of::<T>() } };
        if full > *price {
            self.pay(count.saturating_mul(full - *price))?;
            *price = full;
        }
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, verdict: DecodeError) -> Fault {
        let fault = Fault::custom(&verdict);
        self.verdict = Some(verdict);
        fault
    }

    /// How many of `count` elements a container may be told of. Serde's reserve for them before the first is paid for.
    #[inline]
    fn hint(&self, count: usize) -> Option<usize> {
        (self.memory >= MAX_RESERVED).then_some(count.min(MAX_HINT))
    }
}

/// The deserializer of one value inside the message.
struct Guard<'a, 'de> {
    reader: &'a mut Reader<'de>,
    /// How many levels may still be entered.
    levels: usize,
    /// A value of this size or less lies in memory that is paid for.
    paid: usize,
}

impl<'de> Guard<'_, 'de> {
    /// The guard of a value inside this one, in memory of which `paid` bytes are paid for.
    #[inline]
    fn inner(&mut self, paid: usize) -> Guard<'_, 'de> {
        Guard { reader: self.reader, levels: self.levels, paid }
    }

    /// Pays for a composite of type `T`, and goes over to what is inside of it.
    #[inline]
    fn pay_for<T>(&mut self) -> Result<(), Fault> {
        let size = size_of::<T>();
        if size > self.paid {
            self.reader.pay(size)?;
        }
        // Less one: if something as large is in there then it is behind a pointer.
        self.paid = size.saturating_sub(1);
        Ok(())
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Fault> {
        match self.levels.checked_sub(1) {
            Some(left) => {
                self.levels = left;
                Ok(())
            }
            None => Err(self.reader.refuse(DecodeError::TooDeep { limit: self.reader.limits.depth })),
        }
    }

    #[inline]
    fn read<T: Deserialize<'de>>(&mut self) -> Result<T, Fault> {
        Ok(T::deserialize(&mut self.reader.postcard)?)
    }
}

/// What postcard reads by itself: it is read plainly, then shown to the visitor, whose words an error thus keeps.
macro_rules! plain {
    ($($method:ident $visit:ident $kind:ty,)*) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.read::<$kind>()?)
        }
    )* };
}

/// What postcard cannot read, since its bytes do not say what they are.
macro_rules! never {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
            Err(postcard::Error::WontImplement.into())
        }
    )* };
}

impl<'de> de::Deserializer<'de> for Guard<'_, 'de> {
    type Error = Fault;

    plain! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64, deserialize_char visit_char char,
        deserialize_str visit_borrowed_str &'de str, deserialize_string visit_str &'de str,
        deserialize_bytes visit_borrowed_bytes &'de [u8], deserialize_byte_buf visit_bytes &'de [u8],
    }

    never! { deserialize_any deserialize_ignored_any deserialize_identifier }

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        match self.read::<u8>()? {
            0 => visitor.visit_none(),
            1 => {
                self.enter()?;
                visitor.visit_some(self)
            }
            _ => Err(postcard::Error::DeserializeBadOption.into()),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(mut self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        self.enter()?;
        // A newtype is as large as its content, and cannot hold itself without something else in between.
        visitor.visit_newtype_struct(self.inner(size_of::<V::Value>()))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        self.enter()?;
        let left = self.read::<usize>()?;
        visitor.visit_seq(Elements { guard: self, left, price: 0 })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        self.enter()?;
        let left = self.read::<usize>()?;
        visitor.visit_map(Entries { guard: self, left, key_price: 0, value_price: 0 })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(mut self, left: usize, visitor: V) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        self.enter()?;
        visitor.visit_seq(Fields { guard: self, left })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        self.enter()?;
        visitor.visit_enum(self)
    }
}

/// A sequence whose length the peer chose.
struct Elements<'a, 'de> {
    guard: Guard<'a, 'de>,
    left: usize,
    /// What each of the elements left is paid for.
    price: usize,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.guard.reader.pay_elements::<T::Value>(self.left, &mut self.price)?;
        self.left = left;
        seed.deserialize(self.guard.inner(size_of::<T::Value>())).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.guard.reader.hint(self.left)
    }
}

/// A map whose length the peer chose.
struct Entries<'a, 'de> {
    guard: Guard<'a, 'de>,
    left: usize,
    /// What each of the keys left, and each of their values, is paid for.
    key_price: usize,
    value_price: usize,
}

impl<'de> de::MapAccess<'de> for Entries<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.guard.reader.pay_elements::<K::Value>(self.left, &mut self.key_price)?;
        self.left = left;
        seed.deserialize(self.guard.inner(size_of::<K::Value>())).map(Some)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        // One more than the keys left: the key of this value has been read.
        self.guard.reader.pay_elements::<T::Value>(self.left.saturating_add(1), &mut self.value_price)?;
        seed.deserialize(self.guard.inner(size_of::<T::Value>()))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.guard.reader.hint(self.left)
    }
}

/// A tuple, an array or a struct: the type says how many there are, and its own size covers them.
struct Fields<'a, 'de> {
    guard: Guard<'a, 'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(self.guard.inner(self.guard.paid)).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.guard.reader.hint(self.left)
    }
}

impl<'de> de::EnumAccess<'de> for Guard<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self), Fault> {
        let index: de::value::U32Deserializer<Fault> = self.read::<u32>()?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

/// The content of a variant is part of the enum's level and of its size, both of which are paid for.
impl<'de> de::VariantAccess<'de> for Guard<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Fields { guard: self, left })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Fields { guard: self, left: fields.len() })
    }
}

/// A buffer that takes no byte beyond its end.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    /// How long `out` may get.
    end: usize,
    /// Something did not fit.
    full: bool,
}

impl postcard::ser_flavors::Flavor for Bounded<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.out.len() >= self.end {
            self.full = true;
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.out.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > self.end.saturating_sub(self.out.len()) {
            self.full = true;
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        postcard::ser_flavors::Flavor::try_extend(self, text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Postcard's serializer, with an error that keeps the type's words.
struct Writer<'a> {
    postcard: postcard::Serializer<Bounded<'a>>,
}

/// What postcard writes by itself.
macro_rules! written {
    ($($method:ident($($name:ident: $kind:ty),*);)*) => { $(
        #[inline]
        fn $method(self, $($name: $kind),*) -> Result<(), Fault> {
            Ok(self.postcard.$method($($name),*)?)
        }
    )* };
}

/// What postcard begins, and whose content then comes through this writer.
macro_rules! begun {
    ($($method:ident($($name:ident: $kind:ty),*);)*) => { $(
        #[inline]
        fn $method(self, $($name: $kind),*) -> Result<Self, Fault> {
            self.postcard.$method($($name),*)?;
            Ok(self)
        }
    )* };
}

impl ser::Serializer for &mut Writer<'_> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    written! {
        serialize_bool(v: bool);
        serialize_i8(v: i8); serialize_i16(v: i16); serialize_i32(v: i32); serialize_i64(v: i64);
        serialize_u8(v: u8); serialize_u16(v: u16); serialize_u32(v: u32); serialize_u64(v: u64);
        serialize_i128(v: i128); serialize_u128(v: u128);
        serialize_f32(v: f32); serialize_f64(v: f64); serialize_char(v: char); serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none(); serialize_unit(); serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    begun! {
        serialize_seq(len: Option<usize>);
        serialize_map(len: Option<usize>);
        serialize_tuple(len: usize);
        serialize_tuple_struct(name: &'static str, len: usize);
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize);
        serialize_struct(name: &'static str, len: usize);
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize);
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.postcard.serialize_u8(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.postcard.serialize_unit_variant(name, index, variant)?;
        value.serialize(self)
    }

    /// Postcard formats twice, the first time without a limit. Here the text is written once, and then moved up to make
    /// room for its length.
    fn collect_str<T: Display + ?Sized>(self, text: &T) -> Result<(), Fault> {
        let start = self.postcard.output.out.len();
        fmt::write(&mut self.postcard.output, format_args!("{text}"))
            .map_err(|fmt::Error| postcard::Error::CollectStrError)?;
        let end = self.postcard.output.out.len();
        (end - start).serialize(&mut self.postcard)?;
        let out = &mut self.postcard.output.out;
        let length_bytes = out.len() - end;
        if let Some(written) = out.get_mut(start..) {
            written.rotate_right(length_bytes);
        }
        Ok(())
    }
}

/// The composites whose parts come one after the other, without names.
macro_rules! parts {
    ($($kind:ident $method:ident,)*) => { $(
        impl ser::$kind for &mut Writer<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )* };
}

parts! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

/// The composites whose parts have names, which postcard does not write.
macro_rules! named_parts {
    ($($kind:ident)*) => { $(
        impl ser::$kind for &mut Writer<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Fault> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )* };
}

named_parts! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for &mut Writer<'_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        key.serialize(&mut **self)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::HashMap;
    use std::collections::HashSet;
    use std::collections::LinkedList;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;
    use serde::ser::SerializeSeq;

    use super::*;

    const MIB: usize = 1 << 20;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Nest(Option<Box<Nest>>);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Wrap(Box<Tree>),
        Fork(Box<Tree>, Box<Tree>),
        Named { below: Box<Tree> },
        Many(Vec<Tree>),
    }

    /// Over 8 KiB, out of 32 bytes of zero.
    type Wide = [Option<[u64; 32]>; 32];

    fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
        decode(body, DecodeLimits::default())
    }

    fn within<T: DeserializeOwned>(body: &[u8], memory: usize) -> Result<T, DecodeError> {
        decode(body, DecodeLimits { memory, ..DecodeLimits::default() })
    }

    fn too_deep<T>() -> Result<T, DecodeError> {
        Err(DecodeError::TooDeep { limit: 128 })
    }

    fn too_much<T>() -> Result<T, DecodeError> {
        Err(DecodeError::TooMuchMemory { limit: 64 * MIB })
    }

    fn written<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out, usize::MAX).unwrap();
        out
    }

    /// A length, then that many bytes of zero.
    fn zeros(count: usize) -> Vec<u8> {
        let mut body = written(&count);
        body.resize(body.len() + count, 0);
        body
    }

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: T) {
        let body = written(&value);
        assert_eq!(body, postcard::to_stdvec(&value).unwrap());
        assert_eq!(read::<T>(&body), Ok(value));
    }

    #[test]
    fn a_mebibyte_of_ones_does_not_overflow_the_stack() {
        assert_eq!(read::<Nest>(&vec![1; MIB]), too_deep());
        for variant in 1..=3 {
            assert_eq!(read::<Tree>(&vec![variant; MIB]), too_deep(), "variant {variant}");
        }
        assert_eq!(read::<Tree>(&[4, 1].repeat(MIB / 2)), too_deep());
    }

    #[test]
    fn a_few_bytes_do_not_make_elements_of_no_size_without_end() {
        assert_eq!(read::<HashSet<()>>(&[0xff, 0xff, 0xff, 0xff, 0x0f]), too_much());
        assert_eq!(read::<LinkedList<()>>(&[0xff, 0xff, 0xff, 0x3f]), too_much());
        assert_eq!(read::<HashMap<(), ()>>(&[0xff, 0xff, 0xff, 0x3f]), too_much());
        let nodes = within::<LinkedList<()>>(&written(&(MIB / 2)), MIB);
        assert_eq!(nodes, Err(DecodeError::TooMuchMemory { limit: MIB }), "an element of no size still has a node");
        assert_eq!(read::<Vec<()>>(&written(&MIB)), Ok(vec![(); MIB]));
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        assert_eq!(read::<u8>(&[1, 2, 3]), Err(DecodeError::Remainder { bytes: 2 }));
        assert_eq!(read::<()>(&[0]), Err(DecodeError::Remainder { bytes: 1 }));
        assert_eq!(read::<()>(&[]), Ok(()));
    }

    #[test]
    fn zeros_do_not_become_large_elements() {
        assert_eq!(read::<Vec<Option<[u64; 32]>>>(&zeros(MIB)), too_much());
        assert_eq!(read::<BTreeMap<u8, Option<[u64; 32]>>>(&zeros(MIB)), too_much());
    }

    #[test]
    fn what_is_behind_a_box_is_charged() {
        type Array = Box<Vec<Option<[u64; 32]>>>;
        assert_eq!(read::<Vec<Array>>(&written(&vec![vec![None::<[u64; 32]>; 1000]; 1000])), too_much());
        assert_eq!(read::<Vec<Box<Wide>>>(&[written(&30_000_u32), vec![0; 32 * 30_000]].concat()), too_much());
        assert_eq!(
            read::<Vec<Box<Wide>>>(&[written(&1000_u32), vec![0; 32 * 1000]].concat()).map(|v| v.len()),
            Ok(1000)
        );
    }

    #[test]
    fn a_type_that_boxes_itself_is_charged_for_each_box() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[allow(clippy::large_enum_variant, reason = "that is the point")]
        enum Chain {
            Next(Box<Chain>),
            End(Wide),
        }
        let chain = |links| [vec![0; links], vec![1], vec![0; 32]].concat();
        let links = size_of::<Chain>();
        assert!(within::<Chain>(&chain(0), 2 * links).is_ok());
        assert!(within::<Chain>(&chain(50), 52 * links).is_ok());
        assert_eq!(within::<Chain>(&chain(50), 50 * links), Err(DecodeError::TooMuchMemory { limit: 50 * links }));
    }

    #[test]
    fn elements_are_charged_once_with_all_that_they_hold_directly() {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        struct Id([u8; 16]);
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        struct Entry {
            id: Id,
            at: Option<u64>,
            pair: (u32, bool),
        }
        let entries = vec![Entry { id: Id([7; 16]), at: Some(1), pair: (2, true) }; 100];
        let price = size_of::<Vec<Entry>>() + 100 * size_of::<Entry>();
        assert_eq!(within(&written(&entries), price), Ok(entries.clone()));
        assert_eq!(
            within::<Vec<Entry>>(&written(&entries), price - 1),
            Err(DecodeError::TooMuchMemory { limit: price - 1 })
        );
    }

    #[test]
    fn nothing_is_reserved_that_the_budget_does_not_cover() {
        struct Hint;
        impl<'de> Deserialize<'de> for Hint {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_seq(Self)
            }
        }
        impl<'de> Visitor<'de> for Hint {
            type Value = Self;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Self, A::Error> {
                Err(de::Error::custom(format_args!("{:?}", seq.size_hint())))
            }
        }
        let hint = |length: u64, memory| within::<Hint>(&written(&length), memory).map(|_| ());
        assert_eq!(hint(u64::MAX, MIB), Err(DecodeError::Malformed("Some(4096)".into())));
        assert_eq!(hint(7, MIB), Err(DecodeError::Malformed("Some(7)".into())));
        assert_eq!(hint(7, MIB - 1), Err(DecodeError::Malformed("None".into())));
    }

    #[test]
    fn a_depth_of_the_limit_passes_and_one_more_fails() {
        type Four = Vec<(Option<[u8; 1]>,)>;
        let four: Four = vec![(Some([7]),)];
        let deep = |depth| decode::<Four>(&written(&four), DecodeLimits { depth, ..DecodeLimits::default() });
        assert_eq!(deep(4), Ok(four.clone()));
        assert_eq!(deep(3), Err(DecodeError::TooDeep { limit: 3 }));

        let tree = (0..127).fold(Tree::Leaf, |below, _| Tree::Named { below: Box::new(below) });
        assert_eq!(read(&written(&tree)), Ok(tree.clone()));
        assert_eq!(read::<Tree>(&written(&Tree::Wrap(Box::new(tree)))), too_deep());
    }

    #[test]
    fn newtypes_and_tuples_are_levels() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Newtype(Box<Newtype>);
        #[derive(Debug, PartialEq, Deserialize)]
        struct Tuple((), Box<Tuple>);
        #[derive(Debug, PartialEq, Deserialize)]
        struct Struct {
            below: Box<Struct>,
        }
        assert_eq!(read::<Newtype>(&[]), too_deep());
        assert_eq!(read::<Tuple>(&[]), too_deep());
        assert_eq!(read::<Struct>(&[]), too_deep());
    }

    #[test]
    fn the_guards_verdict_stands_even_if_the_type_ignores_it() {
        #[derive(Debug, PartialEq)]
        struct Careless;
        impl<'de> Deserialize<'de> for Careless {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let _ = Vec::<()>::deserialize(deserializer);
                Ok(Self)
            }
        }
        assert_eq!(read::<Careless>(&[0xff, 0xff, 0xff, 0x3f]), too_much());
        assert_eq!(read::<Careless>(&[1]), Ok(Careless));
    }

    #[test]
    fn a_length_beyond_the_body_is_malformed() {
        let lie = [written(&u64::MAX), b"abc".to_vec()].concat();
        let ended = || DecodeError::Malformed(postcard::Error::DeserializeUnexpectedEnd.to_string());
        assert_eq!(read::<String>(&lie), Err(ended()));
        assert_eq!(read::<char>(&lie), Err(DecodeError::Malformed(postcard::Error::DeserializeBadChar.to_string())));
        assert_eq!(read::<serde_bytes::ByteBuf>(&lie), Err(ended()));
        assert_eq!(read::<String>(&[4, b'a', b'b', b'c']), Err(ended()));
        assert_eq!(read::<serde_bytes::ByteBuf>(&[4, 1, 2, 3]), Err(ended()));
        assert_eq!(read::<Vec<u16>>(&[4, 1, 2, 3]), Err(ended()));
        assert_eq!(read::<BTreeMap<u8, u8>>(&[2, 1, 2, 3]), Err(ended()));
        assert_eq!(read::<Vec<u8>>(&lie), too_much());
    }

    #[test]
    fn an_error_keeps_the_types_own_words_but_not_all_of_them() {
        #[derive(Debug, PartialEq, Deserialize)]
        enum Two {
            A,
            B,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(try_from = "String")]
        struct Fussy;
        impl TryFrom<String> for Fussy {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Err(text)
            }
        }
        let malformed = |result| match result {
            Err(DecodeError::Malformed(words)) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            read::<Two>(&[9]),
            Err(DecodeError::Malformed("invalid value: integer `9`, expected variant index 0 <= i < 2".into()))
        );
        assert_eq!(malformed(read::<Fussy>(&written("not today"))), "not today");
        assert_eq!(malformed(read::<Fussy>(&written(&"ü".repeat(MIB)))), "ü".repeat(MAX_WORDS));
    }

    #[test]
    fn what_postcard_cannot_read_is_refused_in_its_words() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(untagged)]
        enum Untagged {
            Number(u8),
        }
        let wont = || DecodeError::Malformed(postcard::Error::WontImplement.to_string());
        assert_eq!(read::<Untagged>(&[1]), Err(wont()));
        assert_eq!(read::<de::IgnoredAny>(&[1]).map(|_| ()), Err(wont()));
        assert_eq!(
            read::<Option<u8>>(&[2]),
            Err(DecodeError::Malformed(postcard::Error::DeserializeBadOption.to_string()))
        );
    }

    struct Panics;
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let number = u8::deserialize(deserializer)?;
            panic!("no use for {number}")
        }
    }
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u8(1)?;
            panic!("not this one")
        }
    }

    #[test]
    fn a_panic_of_the_type_is_an_error() {
        assert_eq!(read::<Panics>(&[7]).map(|_| ()), Err(DecodeError::Panicked("no use for 7".into())));
        let mut out = vec![1, 2, 3];
        assert_eq!(encode(&(5, Panics), &mut out, 100), Err(EncodeError::Panicked("not this one".into())));
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn a_type_that_refuses_to_be_encoded_is_quoted() {
        struct Refuses;
        impl Serialize for Refuses {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("not over the wire"))
            }
        }
        let mut out = vec![1];
        assert_eq!(encode(&(5, Some(Refuses)), &mut out, 100), Err(EncodeError::Refused("not over the wire".into())));
        assert_eq!(out, [1]);
    }

    #[test]
    fn a_message_over_the_limit_leaves_the_buffer_as_it_was() {
        let mut out = vec![1, 2, 3];
        assert_eq!(encode("abcd", &mut out, 4), Err(EncodeError::TooLarge { limit: 4 }));
        assert_eq!(encode(&[9_u8; 5], &mut out, 4), Err(EncodeError::TooLarge { limit: 4 }));
        assert_eq!(out, [1, 2, 3]);
        assert_eq!(encode("abc", &mut out, 4), Ok(()));
        assert_eq!(out, [1, 2, 3, 3, b'a', b'b', b'c']);
        assert_eq!(encode(&(), &mut out, 0), Ok(()));
    }

    #[test]
    fn a_message_without_end_stops_at_the_limit() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut seq = serializer.serialize_seq(Some(usize::MAX))?;
                loop {
                    seq.serialize_element(&7_u8)?;
                }
            }
        }
        struct Babble;
        impl Display for Babble {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("bla ")?;
                }
            }
        }
        impl Serialize for Babble {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        let mut out = Vec::new();
        assert_eq!(encode(&Endless, &mut out, MIB), Err(EncodeError::TooLarge { limit: MIB }));
        assert_eq!(encode(&Babble, &mut out, MIB), Err(EncodeError::TooLarge { limit: MIB }));
        assert!(out.is_empty());
    }

    #[test]
    fn text_that_is_formatted_while_encoding_is_written_as_postcard_does() {
        struct Shown(String);
        impl Serialize for Shown {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("<{}>", self.0))
            }
        }
        for length in [0, 1, 125, 126, 20_000] {
            let shown = Shown("x".repeat(length));
            let mut out = vec![9];
            encode(&shown, &mut out, MIB).unwrap();
            assert_eq!(out.get(1..), Some(&*postcard::to_stdvec(&shown).unwrap()));
        }
    }

    #[test]
    fn every_kind_of_value_makes_the_round_trip() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Unit;
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Kinds {
            Unit,
            Newtype(u64),
            Tuple(u8, String),
            Struct { a: i8, b: Option<char> },
        }
        round_trip((
            u128::MAX,
            i128::MIN,
            u64::MAX,
            i64::MIN,
            u32::MAX,
            i32::MIN,
            u16::MAX,
            i16::MIN,
            u8::MAX,
            i8::MIN,
        ));
        round_trip((true, 'ß', '🦀', 1.5_f32, f64::MIN_POSITIVE, (), Unit, usize::MAX));
        round_trip((String::from("text"), serde_bytes::ByteBuf::from(vec![1, 2, 3]), Some(Some(1)), None::<u8>));
        round_trip(vec![
            Kinds::Unit,
            Kinds::Newtype(1 << 40),
            Kinds::Tuple(7, "seven".into()),
            Kinds::Struct { a: -1, b: Some('x') },
            Kinds::Struct { a: -1, b: None },
        ]);
        round_trip(HashMap::from([(1_u8, vec!["one".to_string()]), (2, vec![])]));
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Moderate {
        id: u128,
        name: String,
        tags: Vec<Option<i16>>,
        table: BTreeMap<u8, (f64, char)>,
        blob: serde_bytes::ByteBuf,
        tree: Tree,
        flag: Result<bool, ()>,
        hash: [u8; 4],
    }

    prop_compose! {
        fn moderate()(
            id in any::<u128>(),
            name in ".{0,8}",
            tags in proptest::collection::vec(any::<Option<i16>>(), 0..6),
            table in proptest::collection::btree_map(any::<u8>(), (-1e300..1e300, any::<char>()), 0..4),
            blob in proptest::collection::vec(any::<u8>(), 0..9),
            tree in tree(),
            flag in any::<Result<bool, ()>>(),
            hash in any::<[u8; 4]>(),
        ) -> Moderate {
            Moderate { id, name, tags, table, blob: blob.into(), tree, flag, hash }
        }
    }

    fn tree() -> impl Strategy<Value = Tree> {
        Just(Tree::Leaf).prop_recursive(4, 16, 3, |below| {
            prop_oneof![
                below.clone().prop_map(|below| Tree::Wrap(below.into())),
                (below.clone(), below.clone()).prop_map(|(a, b)| Tree::Fork(a.into(), b.into())),
                below.clone().prop_map(|below| Tree::Named { below: below.into() }),
                proptest::collection::vec(below, 0..3).prop_map(Tree::Many),
            ]
        })
    }

    /// The guard reads what postcard reads, and refuses what postcard refuses.
    fn agrees_with_postcard(body: &[u8]) -> Result<(), TestCaseError> {
        // As bytes, since a NaN is not equal to itself.
        let plain = postcard::take_from_bytes::<Moderate>(body).map(|(value, rest)| (written(&value), rest.len()));
        match (read::<Moderate>(body), plain) {
            (Ok(value), Ok((plain, 0))) => prop_assert_eq!(written(&value), plain),
            (Err(DecodeError::Remainder { bytes }), Ok((_, rest))) => prop_assert_eq!(bytes, rest),
            (Err(DecodeError::Malformed(_) | DecodeError::TooMuchMemory { .. }), Err(_)) => {}
            (Err(DecodeError::TooDeep { .. }), _) => {}
            (guarded, plain) => prop_assert!(false, "{guarded:?}, but postcard {plain:?}"),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn encode_is_postcard_and_decode_inverts_it(value in moderate()) {
            let body = written(&value);
            prop_assert_eq!(&body, &postcard::to_stdvec(&value).unwrap());
            prop_assert_eq!(read::<Moderate>(&body), Ok(value));
        }

        #[test]
        fn arbitrary_bytes_are_read_as_postcard_reads_them(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            agrees_with_postcard(&body)?;
        }

        #[test]
        fn a_damaged_body_is_read_as_postcard_reads_it(
            value in moderate(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut body = written(&value);
            let at = at.index(body.len());
            if cut { body.truncate(at) } else { body[at] = byte }
            agrees_with_postcard(&body)?;
        }
    }
}
