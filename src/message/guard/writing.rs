//! Encoding: postcard's own serializer into a bounded buffer, keeping the text of a type's error.

use std::fmt;
use std::fmt::Display;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::ser;

use super::fault::Fault;
use crate::wire::codec::LARGEST_PACKED;
use crate::wire::codec::packed_number;

/// A buffer that takes no byte beyond its end.
pub(super) struct Bounded<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// Maximum length of `out`, in bytes.
    pub(super) end: usize,
    /// Something did not fit.
    pub(super) full: bool,
}

impl Flavor for Bounded<'_> {
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

impl Bounded<'_> {
    /// Writes a variable-length number as postcard does, but not byte by byte: bytes written one by one could not be
    /// copied at once.
    #[inline]
    fn push_number(&mut self, value: u64) -> postcard::Result<()> {
        if value < 0x80 {
            return self.try_push(value as u8);
        }
        if value > LARGEST_PACKED {
            return self.push_long_number(value);
        }
        let (packed, size) = packed_number(value);
        if size > self.end.saturating_sub(self.out.len()) {
            self.full = true;
            return Err(postcard::Error::SerializeBufferFull);
        }
        let len = self.out.len() + size;
        self.out.extend_from_slice(&packed.to_le_bytes());
        self.out.truncate(len);
        Ok(())
    }

    /// Writes the number one byte at a time.
    fn push_long_number(&mut self, mut value: u64) -> postcard::Result<()> {
        while value >= 0x80 {
            self.try_push(value as u8 | 0x80)?;
            value >>= 7;
        }
        self.try_push(value as u8)
    }
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_extend(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Postcard's serializer, with an error that keeps the type's text.
pub(super) struct GuardedWriter<'a> {
    pub(super) postcard: postcard::Serializer<Bounded<'a>>,
    /// A field was left out.
    pub(super) skipped: bool,
}

/// Methods for the values that postcard writes by itself.
macro_rules! written {
    ($($method:ident($($name:ident: $kind:ty),*);)*) => { $(
        #[inline]
        fn $method(self, $($name: $kind),*) -> Result<(), Fault> {
            Ok(self.postcard.$method($($name),*)?)
        }
    )* };
}

/// Integers of more than one byte.
macro_rules! numbers {
    ($($method:ident($v:ident: $kind:ty) $number:expr;)*) => { $(
        #[inline]
        fn $method(self, $v: $kind) -> Result<(), Fault> {
            Ok(self.postcard.output.push_number($number)?)
        }
    )* };
}

/// Maps numbers close to zero, of either sign, to small numbers.
#[inline]
fn zigzag(v: i64) -> u64 {
    (v << 1 ^ v >> 63) as u64
}

/// Methods for the composites that postcard begins and whose content then comes through this writer.
macro_rules! begun {
    ($($method:ident($($name:ident: $kind:ty),*);)*) => { $(
        #[inline]
        fn $method(self, $($name: $kind),*) -> Result<Self, Fault> {
            self.postcard.$method($($name),*)?;
            Ok(self)
        }
    )* };
}

impl ser::Serializer for &mut GuardedWriter<'_> {
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
        serialize_i8(v: i8); serialize_u8(v: u8);
        serialize_i128(v: i128); serialize_u128(v: u128);
        serialize_f32(v: f32); serialize_f64(v: f64); serialize_char(v: char); serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none(); serialize_unit(); serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    numbers! {
        serialize_u16(v: u16) u64::from(v); serialize_u32(v: u32) u64::from(v); serialize_u64(v: u64) v;
        serialize_i16(v: i16) zigzag(i64::from(v)); serialize_i32(v: i32) zigzag(i64::from(v));
        serialize_i64(v: i64) zigzag(v);
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
        impl ser::$kind for &mut GuardedWriter<'_> {
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
        impl ser::$kind for &mut GuardedWriter<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Fault> {
                value.serialize(&mut **self)
            }

            fn skip_field(&mut self, _: &'static str) -> Result<(), Fault> {
                self.skipped = true;
                Ok(())
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )* };
}

named_parts! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for &mut GuardedWriter<'_> {
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
