//! The serializer of one value: its writes beside the kind that is read at its place.

use serde::Serialize;
use serde::Serializer;

use super::Stop;
use super::parts::Parts;
use super::parts::Plan;
use super::parts::Row;
use super::place::Read;
use super::place::ValuePlace;
use crate::message::shape::mark::ADDRESS;
use crate::message::shape::model::Content;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;
use crate::message::shape::model::Variant;
use crate::message::shape::show::word;

impl<'a> ValuePlace<'a> {
    fn scalar(&self, written: Scalar) -> Result<(), Stop> {
        match self.read()? {
            Read::Anything => Ok(()),
            Read::Kind(ShapeNode::Scalar(read)) if is_read_as(written, *read) => Ok(()),
            Read::Kind(ShapeNode::Seq(element)) if written == Scalar::Bytes => match self.inner(*element).plain() {
                None | Some(ShapeNode::Scalar(Scalar::U8) | ShapeNode::Opaque(_)) => Ok(()),
                Some(_) => Err(self.differs(word(written))),
            },
            Read::Kind(_) => Err(self.differs(word(written))),
        }
    }

    /// Checks a row of `len` values, one after the other.
    fn row(self, written: impl FnOnce() -> String, len: usize) -> Result<Parts<'a>, Stop> {
        let read = match self.read()? {
            Read::Anything => return Ok(Parts::new(self, Plan::Anything, len)),
            Read::Kind(read) => read,
        };
        let row = match read {
            ShapeNode::Tuple(parts) => Some(Row::Positions(parts)),
            ShapeNode::Struct { content, .. } => Row::of(content),
            ShapeNode::Scalar(Scalar::Unit) => Some(Row::Positions(&[])),
            _ => None,
        };
        match row {
            Some(row) => Ok(Parts::new(self, Plan::Row(row), len)),
            None => Err(self.differs(&written())),
        }
    }

    /// Returns the variant that is written; `None` if it is not checked.
    fn variant(&self, index: u32, name: &str) -> Result<Option<&'a Variant>, Stop> {
        let variants = match self.read()? {
            Read::Anything => return Ok(None),
            Read::Kind(ShapeNode::Enum { variants, .. }) => variants,
            Read::Kind(_) => return Err(self.differs(&format!("the variant {name}"))),
        };
        let found = usize::try_from(index).ok().and_then(|index| variants.get(index));
        match found {
            Some(variant) if *variant.name == *name => Ok(Some(variant)),
            // A variant renamed for one direction only, unless another variant has that name.
            Some(variant) if !variants.iter().any(|other| *other.name == *name) => Ok(Some(variant)),
            Some(variant) => Err(self.misnumbered(index, name, &format!("that is {}", variant.name))),
            None => Err(self.misnumbered(index, name, &format!("there are {}", variants.len()))),
        }
    }

    #[cold]
    fn misnumbered(&self, index: u32, name: &str, read: &str) -> Stop {
        let why =
            format!("Serialize writes {name} as variant {index}, where {read} for Deserialize (skipped variants?)");
        self.checker.refuse(&self.at, why)
    }

    /// Checks the content of a variant of several values.
    fn row_of_variant(mut self, index: u32, name: &'static str, len: usize) -> Result<Parts<'a>, Stop> {
        let variant = self.variant(index, name)?;
        self.at = self.at.into_variant(name);
        let plan = match variant.map(|variant| &variant.content) {
            None | Some(Content::Opaque(_)) => Plan::Anything,
            Some(content) => match Row::of(content) {
                Some(row) => Plan::Row(row),
                None => {
                    return Err(self.checker.refuse(&self.at, format!("Serialize writes {len} values, {ONE_READ}")));
                }
            },
        };
        Ok(Parts::new(self, plan, len))
    }

    #[cold]
    fn endless(&self, why: &str) -> Stop {
        self.checker.refuse(&self.at, why.to_owned())
    }
}

const UNKNOWN_LENGTH: &str = "Serialize writes a sequence without saying its length";
const UNKNOWN_ENTRIES: &str = "Serialize writes a map without saying its length (serde(flatten) does)";
const ONE_READ: &str = "where Deserialize reads one value by itself";
const ONE_WRITTEN: &str = "Serialize writes one value by itself, where Deserialize reads another number of them";

/// Returns whether the bytes of `written` mean the same when they are read as `read`.
fn is_read_as(written: Scalar, read: Scalar) -> bool {
    use Scalar::*;
    match read {
        U32 => matches!(written, U16 | U32),
        U64 => matches!(written, U16 | U32 | U64),
        U128 => matches!(written, U16 | U32 | U64 | U128),
        I32 => matches!(written, I16 | I32),
        I64 => matches!(written, I16 | I32 | I64),
        I128 => matches!(written, I16 | I32 | I64 | I128),
        Str => matches!(written, Str | Char),
        Bytes => matches!(written, Bytes | Str | Char),
        _ => written == read,
    }
}

macro_rules! scalars {
    ($($method:ident($kind:ty) $scalar:ident,)*) => { $(
        fn $method(self, _: $kind) -> Result<(), Stop> {
            self.scalar(Scalar::$scalar)
        }
    )* };
}

impl<'a> Serializer for ValuePlace<'a> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    scalars! {
        serialize_bool(bool) Bool,
        serialize_i8(i8) I8, serialize_i16(i16) I16, serialize_i32(i32) I32, serialize_i64(i64) I64,
        serialize_i128(i128) I128,
        serialize_u8(u8) U8, serialize_u16(u16) U16, serialize_u32(u32) U32, serialize_u64(u64) U64,
        serialize_u128(u128) U128,
        serialize_f32(f32) F32, serialize_f64(f64) F64,
        serialize_char(char) Char, serialize_str(&str) Str, serialize_bytes(&[u8]) Bytes,
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, _: &T) -> Result<(), Stop> {
        self.scalar(Scalar::Str)
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        self.row(|| "()".to_owned(), 0)?.finish()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Stop> {
        self.row(|| name.to_owned(), 0)?.finish()
    }

    fn serialize_none(self) -> Result<(), Stop> {
        match self.read()? {
            Read::Anything | Read::Kind(ShapeNode::Option(_)) => Ok(()),
            Read::Kind(_) => Err(self.differs("an option")),
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        match self.read()? {
            Read::Anything => Ok(()),
            Read::Kind(ShapeNode::Option(inner)) => value.serialize(self.inner(*inner)),
            Read::Kind(_) => Err(self.differs("an option")),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Stop> {
        match self.plain() {
            Some(ShapeNode::Address { .. }) if name == ADDRESS => Ok(()),
            _ => value.serialize(self),
        }
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, variant: &'static str) -> Result<(), Stop> {
        self.row_of_variant(index, variant, 0)?.finish()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        index: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        let variant = self.variant(index, name)?;
        self.at = self.at.into_variant(name);
        match variant.map(|variant| &variant.content) {
            None | Some(Content::Opaque(_)) => Ok(()),
            Some(Content::Newtype(inner)) => value.serialize(self.inner(*inner)),
            Some(_) => Err(self.checker.refuse(&self.at, ONE_WRITTEN.to_owned())),
        }
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'a>, Stop> {
        let plan = match self.read()? {
            Read::Anything => Plan::Anything,
            Read::Kind(ShapeNode::Seq(element)) => Plan::Elements(*element),
            Read::Kind(ShapeNode::Scalar(Scalar::Bytes)) => Plan::Bytes,
            Read::Kind(_) => return Err(self.differs("a sequence")),
        };
        match len {
            Some(len) => Ok(Parts::new(self, plan, len)),
            None => Err(self.endless(UNKNOWN_LENGTH)),
        }
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'a>, Stop> {
        let plan = match (self.read()?, len) {
            (_, None) => return Err(self.endless(UNKNOWN_ENTRIES)),
            (Read::Anything, _) => Plan::Anything,
            (Read::Kind(ShapeNode::Map { key, value }), _) => Plan::Entries(*key, *value),
            (Read::Kind(_), _) => return Err(self.differs("a map")),
        };
        Ok(Parts::new(self, plan, len.unwrap_or_default()))
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'a>, Stop> {
        self.row(|| format!("a tuple of {len}"), len)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Parts<'a>, Stop> {
        self.row(|| name.to_owned(), len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Parts<'a>, Stop> {
        self.row(|| format!("the fields of {name}"), len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Stop> {
        self.row_of_variant(index, variant, len)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Stop> {
        self.row_of_variant(index, variant, len)
    }
}
