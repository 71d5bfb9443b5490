//! From the bytes of a message to JSON.

use serde::Deserialize;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

use super::JsonError;
use super::check_depth;
use super::key;
use crate::message::shape::model::Content;
use crate::message::shape::model::Field;
use crate::message::shape::model::Model;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;
use crate::message::shape::model::ShapeNodeId;
use crate::message::shape::model::Variant;
use crate::message::shape::path::Start;
use crate::message::shape::path::Step;
use crate::message::shape::path::Trail;

/// Memory that JSON may take however short the body is, in bytes: elements without content take no byte of the body,
/// and no honest message has more of them than this allows for.
const FREE: usize = 16 << 20;

/// Memory that JSON may take for each byte of the body, in bytes. An object with one short field takes that much.
const PER_BYTE: usize = 1 << 10;

/// Maximum memory that JSON may take, in bytes.
const MAX_MEMORY: usize = 256 << 20;

/// Memory that an object with fields takes before it holds anything, in bytes: a node of its tree, most of which is
/// spare room.
const OBJECT: usize = 512;

/// Returns the JSON of the value whose encoding is the whole body.
pub(super) fn decode(start: Start<'_>, body: &[u8]) -> Result<Value, JsonError> {
    let limit = allowance(body.len());
    let mut reader = JsonReader { model: start.model, rest: body, limit, left: limit };
    let json = reader.value(start.node, Trail::new(&start))?;
    match reader.rest {
        [] => Ok(json),
        rest => Err(JsonError::Remainder { name: start.to_string(), bytes: rest.len() }),
    }
}

/// Returns the memory that the JSON of a body of that length may take, in bytes.
fn allowance(body: usize) -> usize {
    body.saturating_mul(PER_BYTE).saturating_add(FREE).min(MAX_MEMORY)
}

struct JsonReader<'m, 'b> {
    model: &'m Model,
    rest: &'b [u8],
    limit: usize,
    left: usize,
}

impl<'m, 'b> JsonReader<'m, 'b> {
    fn value(&mut self, id: ShapeNodeId, at: Trail<'_>) -> Result<Value, JsonError> {
        check_depth(&at)?;
        self.pay(size_of::<Value>(), &at)?;
        match self.model.node(id) {
            ShapeNode::Scalar(scalar) => self.scalar(*scalar, &at),
            ShapeNode::Option(inner) => self.option(*inner, &at),
            ShapeNode::Seq(element) => self.sequence(*element, &at),
            ShapeNode::Map { key, value } => self.map(*key, *value, &at),
            ShapeNode::Tuple(parts) => self.parts(parts, &at),
            ShapeNode::Struct { content, .. } => self.content(content, at),
            ShapeNode::Enum { variants, .. } => self.variant(variants, at),
            ShapeNode::Address { .. } => Err(JsonError::Address { path: at.to_string() }),
            ShapeNode::Opaque(_) => Err(JsonError::Opaque { path: at.to_string() }),
            ShapeNode::SelfDescribing => Err(JsonError::SelfDescribing { path: at.to_string() }),
        }
    }

    fn option(&mut self, inner: ShapeNodeId, at: &Trail<'_>) -> Result<Value, JsonError> {
        match self.read::<u8>(at)? {
            0 => Ok(Value::Null),
            1 => self.value(inner, at.to(Step::Inside)),
            tag => Err(malformed(at, format!("an option begins with 0 or 1, not with {tag}"))),
        }
    }

    /// Reads a sequence. Reserves nothing for the claimed count: the elements have to be there, and paid for.
    fn sequence(&mut self, element: ShapeNodeId, at: &Trail<'_>) -> Result<Value, JsonError> {
        let count: usize = self.read(at)?;
        let elements = (0..count).map(|n| self.value(element, at.to(Step::Element(n))));
        elements.collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    /// Reads a map. If two entries have one key, the later one counts, as it does for a `HashMap`.
    fn map(&mut self, key: ShapeNodeId, value: ShapeNodeId, at: &Trail<'_>) -> Result<Value, JsonError> {
        let count: usize = self.read(at)?;
        let mut entries = Map::new();
        for n in 0..count {
            let name = self.key(key, &at.to(Step::KeyOf(n)))?;
            self.pay_entry(&name, &entries, at)?;
            let json = self.value(value, at.to(Step::Entry(&name)))?;
            entries.insert(name, json);
        }
        Ok(Value::Object(entries))
    }

    fn parts(&mut self, parts: &[ShapeNodeId], at: &Trail<'_>) -> Result<Value, JsonError> {
        let parts = parts.iter().enumerate().map(|(n, part)| self.value(*part, at.to(Step::Position(n))));
        parts.collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    /// Reads the content of a struct or variant.
    fn content(&mut self, content: &Content, at: Trail<'_>) -> Result<Value, JsonError> {
        match content {
            Content::Unit => Ok(Value::Null),
            Content::Newtype(inner) => self.value(*inner, at.to(Step::Inside)),
            Content::Tuple(parts) => self.parts(parts, &at),
            Content::Fields(fields) => self.fields(fields, &at),
            Content::Opaque(_) => Err(JsonError::Opaque { path: at.to_string() }),
        }
    }

    fn fields(&mut self, fields: &[Field], at: &Trail<'_>) -> Result<Value, JsonError> {
        let mut entries = Map::new();
        for field in fields {
            self.pay_entry(&field.name, &entries, at)?;
            let json = self.value(field.node, at.to(Step::Field(&field.name)))?;
            entries.insert(field.name.to_string(), json);
        }
        Ok(Value::Object(entries))
    }

    fn variant(&mut self, variants: &[Variant], at: Trail<'_>) -> Result<Value, JsonError> {
        let variant = self.chosen(variants, &at)?;
        if variant.content == Content::Unit {
            // The name may be a stranger's, and longer than the whole body.
            self.pay(variant.name.len(), &at)?;
            return Ok(Value::String(variant.name.to_string()));
        }
        let name = variant.name.to_string();
        let mut entries = Map::new();
        self.pay_entry(&name, &entries, &at)?;
        let json = self.content(&variant.content, at.into_variant(&variant.name))?;
        entries.insert(name, json);
        Ok(Value::Object(entries))
    }

    /// Returns the variant whose number comes next in the body.
    fn chosen<'v>(&mut self, variants: &'v [Variant], at: &Trail<'_>) -> Result<&'v Variant, JsonError> {
        let number: u32 = self.read(at)?;
        let variant = usize::try_from(number).ok().and_then(|number| variants.get(number));
        variant.ok_or_else(|| malformed(at, format!("variant {number}, where there are {}", variants.len())))
    }

    fn scalar(&mut self, scalar: Scalar, at: &Trail<'_>) -> Result<Value, JsonError> {
        Ok(match scalar {
            Scalar::Unit => Value::Null,
            Scalar::Bool => self.read::<bool>(at)?.into(),
            Scalar::I8 => self.read::<i8>(at)?.into(),
            Scalar::I16 => self.read::<i16>(at)?.into(),
            Scalar::I32 => self.read::<i32>(at)?.into(),
            Scalar::I64 => self.read::<i64>(at)?.into(),
            Scalar::U8 => self.read::<u8>(at)?.into(),
            Scalar::U16 => self.read::<u16>(at)?.into(),
            Scalar::U32 => self.read::<u32>(at)?.into(),
            Scalar::U64 => self.read::<u64>(at)?.into(),
            Scalar::I128 => {
                let wide = self.read::<i128>(at)?;
                Number::from_i128(wide).map_or_else(|| wide.to_string().into(), Value::Number)
            }
            Scalar::U128 => {
                let wide = self.read::<u128>(at)?;
                Number::from_u128(wide).map_or_else(|| wide.to_string().into(), Value::Number)
            }
            Scalar::F32 => self.read::<f32>(at)?.into(),
            Scalar::F64 => self.read::<f64>(at)?.into(),
            Scalar::Char => self.read::<char>(at)?.to_string().into(),
            Scalar::Str => self.text(at)?.into(),
            Scalar::Bytes => {
                let bytes = self.read::<&[u8]>(at)?;
                self.pay(bytes.len().saturating_mul(size_of::<Value>()), at)?;
                bytes.iter().copied().map(Value::from).collect::<Vec<_>>().into()
            }
        })
    }

    fn text(&mut self, at: &Trail<'_>) -> Result<String, JsonError> {
        let text = self.read::<&str>(at)?;
        self.pay(text.len(), at)?;
        Ok(text.to_owned())
    }

    /// Reads a key of a map, as a text.
    fn key(&mut self, id: ShapeNodeId, at: &Trail<'_>) -> Result<String, JsonError> {
        check_depth(at)?;
        match self.model.node(id) {
            ShapeNode::Struct { content: Content::Newtype(inner), .. } => self.key(*inner, &at.to(Step::Inside)),
            ShapeNode::Enum { variants, .. } => match self.chosen(variants, at)? {
                Variant { name, content: Content::Unit } => Ok(name.to_string()),
                _ => Err(key::not_a_key(self.model, id, at)),
            },
            ShapeNode::Scalar(Scalar::Str) => self.text(at),
            ShapeNode::Scalar(Scalar::F32) => {
                self.read(at).and_then(|float: f32| float_key(float, float.is_finite(), at))
            }
            ShapeNode::Scalar(Scalar::F64) => {
                self.read(at).and_then(|float: f64| float_key(float, float.is_finite(), at))
            }
            ShapeNode::Scalar(scalar) if key::can_be_key(*scalar) => Ok(match self.scalar(*scalar, at)? {
                Value::String(text) => text,
                other => other.to_string(),
            }),
            _ => Err(key::not_a_key(self.model, id, at)),
        }
    }

    /// Pays for one more entry of an object, its value aside.
    fn pay_entry(&mut self, name: &str, entries: &Map<String, Value>, at: &Trail<'_>) -> Result<(), JsonError> {
        let object = if entries.is_empty() { OBJECT } else { 0 };
        self.pay(object + size_of::<String>() + name.len(), at)
    }

    fn pay(&mut self, bytes: usize, at: &Trail<'_>) -> Result<(), JsonError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(JsonError::TooLarge { path: at.to_string(), limit: self.limit }),
        }
    }

    fn read<T: Deserialize<'b>>(&mut self, at: &Trail<'_>) -> Result<T, JsonError> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|error| malformed(at, error.to_string()))?;
        self.rest = rest;
        Ok(value)
    }
}

/// Formats a float like `serde_json`, which writes a fraction or an exponent for a whole number too.
fn float_key<T: serde::Serialize>(float: T, finite: bool, at: &Trail<'_>) -> Result<String, JsonError> {
    match serde_json::to_string(&float) {
        Ok(text) if finite => Ok(text),
        _ => Err(JsonError::NotAKey { path: at.to_string(), kind: "a float that is no number".to_owned() }),
    }
}

fn malformed(at: &Trail<'_>, why: String) -> JsonError {
    JsonError::Malformed { path: at.to_string(), why }
}
