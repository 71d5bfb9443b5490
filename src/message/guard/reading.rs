//! Decoding: postcard reads scalars and strings; composites are entered and counted here.

use postcard::de_flavors::Slice;
use serde::Deserialize;
use serde::de;
use serde::de::DeserializeSeed;
use serde::de::IntoDeserializer;
use serde::de::Visitor;

use super::DecodeError;
use super::DecodeLimits;
use super::fault::Fault;

/// The charge for an element of no size, in bytes: it may take no byte of the body, yet a `LinkedList<()>` allocates
/// this much for it.
const EMPTY_ELEMENT: usize = 32;

/// Largest size hint given to a container, in elements, because not all containers bound their reservation.
const MAX_HINT: usize = 4096;

/// Maximum number of bytes that serde's own containers reserve on a hint. With less than this left no hint is given.
const MAX_RESERVED: usize = 1 << 20;

/// The rest of the body, and of the memory that decoding it may cost.
pub(super) struct BudgetedReader<'de> {
    pub(super) postcard: postcard::Deserializer<'de, Slice<'de>>,
    pub(super) memory: usize,
    pub(super) limits: DecodeLimits,
    /// The guard's refusal, if there was one.
    pub(super) verdict: Option<Box<DecodeError>>,
}

impl BudgetedReader<'_> {
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
        self.verdict = Some(Box::new(verdict));
        fault
    }

    /// Returns the size hint for a container of `count` elements. Serde's containers reserve memory for the hint before
    /// the first element is paid for.
    #[inline]
    fn hint(&self, count: usize) -> Option<usize> {
        (self.memory >= MAX_RESERVED).then_some(count.min(MAX_HINT))
    }
}

/// The deserializer of one value inside the message.
pub(super) struct Guard<'a, 'de> {
    pub(super) reader: &'a mut BudgetedReader<'de>,
    /// Number of levels that may still be entered.
    pub(super) levels: usize,
    /// A value of this size (in bytes) or less lies in memory that is paid for.
    pub(super) paid: usize,
}

impl<'de> Guard<'_, 'de> {
    /// Returns the guard of a value inside this one, of whose memory `paid` bytes are paid for.
    #[inline]
    fn inner(&mut self, paid: usize) -> Guard<'_, 'de> {
        Guard { reader: self.reader, levels: self.levels, paid }
    }

    /// Pays for a composite of type `T`, and goes on to its content.
    #[inline]
    fn pay_for<T>(&mut self) -> Result<(), Fault> {
        let size = size_of::<T>();
        if size > self.paid {
            self.reader.pay(size)?;
        }
        // Less one: a part as large as the whole must be behind a pointer.
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

/// Methods for the values that postcard reads by itself: the value is read first and then passed to the visitor, so
/// that an error keeps the visitor's text.
macro_rules! plain {
    ($($method:ident $visit:ident $kind:ty,)*) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.read::<$kind>()?)
        }
    )* };
}

/// Methods for the values that postcard cannot read, since its bytes do not carry their type.
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
        // A newtype is as large as its content, and cannot hold itself without another type in between.
        visitor.visit_newtype_struct(self.inner(size_of::<V::Value>()))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        self.enter()?;
        let left = self.read::<usize>()?;
        visitor.visit_seq(GuardedElements { guard: self, left, price: 0 })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        self.pay_for::<V::Value>()?;
        self.enter()?;
        let left = self.read::<usize>()?;
        visitor.visit_map(GuardedEntries { guard: self, left, key_price: 0, value_price: 0 })
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
struct GuardedElements<'a, 'de> {
    guard: Guard<'a, 'de>,
    left: usize,
    /// Bytes already paid for each remaining element.
    price: usize,
}

impl<'de> de::SeqAccess<'de> for GuardedElements<'_, 'de> {
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
struct GuardedEntries<'a, 'de> {
    guard: Guard<'a, 'de>,
    left: usize,
    /// Bytes already paid for each remaining key, and for each of their values.
    key_price: usize,
    value_price: usize,
}

impl<'de> de::MapAccess<'de> for GuardedEntries<'_, 'de> {
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
        // One more than the remaining keys: the key of this value has been read.
        self.guard.reader.pay_elements::<T::Value>(self.left.saturating_add(1), &mut self.value_price)?;
        seed.deserialize(self.guard.inner(size_of::<T::Value>()))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.guard.reader.hint(self.left)
    }
}

/// The fields of a tuple, an array or a struct: the type fixes their number, and its own size covers them.
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
