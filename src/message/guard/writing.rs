//! Encoding: postcard's own serializer into a buffer with an end, keeping the words of a type's error.

use std::fmt;
use std::fmt::Display;

use serde::Serialize;
use serde::ser;

use super::fault::Fault;

/// A buffer that takes no byte beyond its end.
pub(super) struct Bounded<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// How long `out` may get.
    pub(super) end: usize,
    /// Something did not fit.
    pub(super) full: bool,
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
pub(super) struct Writer<'a> {
    pub(super) postcard: postcard::Serializer<Bounded<'a>>,
    /// A field was left out.
    pub(super) skipped: bool,
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
