//! From JSON to the bytes of a message.

use serde::Serialize;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

use super::JsonError;
use super::check_depth;
use super::expected;
use super::expected_content;
use super::expected_scalar;
use super::key;
use super::scalar::is_integer;
use super::scalar::put;
use super::scalar::write_integer;
use super::shown;
use super::unexpected;
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
use crate::message::shape::show::word;

/// Returns the bytes of the value that the JSON describes.
pub(super) fn encode(start: Start<'_>, json: &Value) -> Result<Vec<u8>, JsonError> {
    let mut writer = JsonWriter { model: start.model, out: Vec::new() };
    writer.value(start.node, json, Trail::new(&start))?;
    Ok(writer.out)
}

struct JsonWriter<'m> {
    model: &'m Model,
    out: Vec<u8>,
}

impl JsonWriter<'_> {
    fn value(&mut self, id: ShapeNodeId, json: &Value, at: Trail<'_>) -> Result<(), JsonError> {
        check_depth(&at)?;
        match (self.model.node(id), json) {
            (ShapeNode::Scalar(scalar), _) => self.scalar(*scalar, json, &at),
            (ShapeNode::Option(_), Value::Null) => {
                self.put(&0u8);
                Ok(())
            }
            (ShapeNode::Option(inner), _) => {
                self.put(&1u8);
                self.value(*inner, json, at.to(Step::Inside))
            }
            (ShapeNode::Seq(element), Value::Array(elements)) => {
                self.put(&elements.len());
                let mut numbered = elements.iter().enumerate();
                numbered.try_for_each(|(n, json)| self.value(*element, json, at.to(Step::Element(n))))
            }
            (ShapeNode::Map { key, value }, Value::Object(entries)) => self.map(*key, *value, entries, &at),
            (ShapeNode::Tuple(parts), Value::Array(elements)) if parts.len() == elements.len() => {
                self.parts(parts, elements, &at)
            }
            (ShapeNode::Struct { name, content }, _) => self.content(name, content, json, at),
            (ShapeNode::Enum { variants, .. }, _) => self.variant(id, variants, json, at),
            (ShapeNode::Address { .. }, _) => Err(JsonError::Address { path: at.to_string() }),
            (ShapeNode::Opaque(_), _) => Err(JsonError::Opaque { path: at.to_string() }),
            (ShapeNode::SelfDescribing, _) => Err(JsonError::SelfDescribing { path: at.to_string() }),
            (ShapeNode::Seq(_) | ShapeNode::Map { .. } | ShapeNode::Tuple(_), _) => {
                Err(unexpected(expected(self.model, id), json, &at))
            }
        }
    }

    fn parts(&mut self, parts: &[ShapeNodeId], elements: &[Value], at: &Trail<'_>) -> Result<(), JsonError> {
        let mut numbered = parts.iter().zip(elements).enumerate();
        numbered.try_for_each(|(n, (part, json))| self.value(*part, json, at.to(Step::Position(n))))
    }

    /// Writes the content of the struct or variant of that name.
    fn content(&mut self, name: &str, content: &Content, json: &Value, at: Trail<'_>) -> Result<(), JsonError> {
        match (content, json) {
            (Content::Unit, Value::Null) => Ok(()),
            (Content::Newtype(inner), _) => self.value(*inner, json, at.to(Step::Inside)),
            (Content::Tuple(parts), Value::Array(elements)) if parts.len() == elements.len() => {
                self.parts(parts, elements, &at)
            }
            (Content::Fields(fields), Value::Object(given)) => self.fields(fields, given, &at),
            (Content::Opaque(_), _) => Err(JsonError::Opaque { path: at.to_string() }),
            (Content::Unit | Content::Tuple(_) | Content::Fields(_), _) => {
                Err(unexpected(expected_content(name, content), json, &at))
            }
        }
    }

    fn fields(&mut self, fields: &[Field], given: &Map<String, Value>, at: &Trail<'_>) -> Result<(), JsonError> {
        let mut used = 0;
        for field in fields {
            let at = at.to(Step::Field(&field.name));
            match (given.get(&*field.name), self.model.node(field.node)) {
                (Some(json), _) => {
                    self.value(field.node, json, at)?;
                    used += 1;
                }
                (None, ShapeNode::Option(_)) => self.put(&0u8),
                (None, _) => return Err(JsonError::MissingField { path: at.to_string() }),
            }
        }
        if used == given.len() {
            return Ok(());
        }
        match given.keys().find(|name| !fields.iter().any(|field| *field.name == ***name)) {
            Some(name) => Err(JsonError::UnknownField { path: at.to(Step::Field(&shown(name))).to_string() }),
            None => Ok(()),
        }
    }

    fn variant(&mut self, id: ShapeNodeId, variants: &[Variant], json: &Value, at: Trail<'_>) -> Result<(), JsonError> {
        let (name, carried) = match json {
            Value::String(name) => (name, None),
            Value::Object(entries) if entries.len() == 1 => match entries.iter().next() {
                Some((name, carried)) => (name, Some(carried)),
                None => return Err(unexpected(expected(self.model, id), json, &at)),
            },
            _ => return Err(unexpected(expected(self.model, id), json, &at)),
        };
        let Some((number, variant)) = (0u32..).zip(variants).find(|(_, variant)| *variant.name == **name) else {
            return Err(JsonError::UnknownVariant { path: at.to_string(), found: shown(name) });
        };
        self.put(&number);
        let at = at.into_variant(&variant.name);
        match (&variant.content, carried) {
            (Content::Unit, None) => Ok(()),
            (Content::Unit, Some(_)) => Err(unexpected(format!("{:?}", variant.name), json, &at)),
            (Content::Opaque(_), _) => Err(JsonError::Opaque { path: at.to_string() }),
            (content, Some(json)) => self.content(&variant.name, content, json, at),
            (_, None) => Err(unexpected(format!("{{{:?}: …}}", variant.name), json, &at)),
        }
    }

    /// Writes a map, sorted by the keys and not by their texts, so that the bytes are those of a `BTreeMap`.
    fn map(
        &mut self,
        key: ShapeNodeId,
        value: ShapeNodeId,
        given: &Map<String, Value>,
        at: &Trail<'_>,
    ) -> Result<(), JsonError> {
        let mut entries = Vec::with_capacity(given.len());
        for (n, (text, json)) in given.iter().enumerate() {
            entries.push((key::parse(self.model, key, text, &at.to(Step::KeyOf(n)))?, text, json));
        }
        entries.sort_by(|(one, ..), (other, ..)| one.order(other));
        self.put(&entries.len());
        for (key, text, json) in entries {
            key.write(&mut self.out);
            self.value(value, json, at.to(Step::Entry(text)))?;
        }
        Ok(())
    }

    fn scalar(&mut self, scalar: Scalar, json: &Value, at: &Trail<'_>) -> Result<(), JsonError> {
        match (scalar, json) {
            (Scalar::Unit, Value::Null) => {}
            (Scalar::Bool, Value::Bool(truth)) => self.put(truth),
            (Scalar::Str, Value::String(text)) => self.put(text),
            (Scalar::Char, Value::String(text)) => {
                let mut characters = text.chars();
                match (characters.next(), characters.next()) {
                    (Some(only), None) => self.put(&only),
                    _ => return Err(unexpected("one character".to_owned(), json, at)),
                }
            }
            (Scalar::Bytes, Value::Array(elements)) => return self.bytes(elements, at),
            (Scalar::F32 | Scalar::F64, Value::Number(number)) => return self.float(scalar, number, at),
            (_, Value::Number(number)) if is_integer(scalar) => return self.integer(scalar, number, at),
            (Scalar::I128 | Scalar::U128, Value::String(digits)) => {
                let (signed, unsigned) = (digits.parse().ok(), digits.parse().ok());
                if write_integer(&mut self.out, scalar, signed, unsigned).is_none() {
                    return Err(unexpected(word(scalar).to_owned(), json, at));
                }
            }
            _ => return Err(unexpected(expected_scalar(scalar), json, at)),
        }
        Ok(())
    }

    fn bytes(&mut self, elements: &[Value], at: &Trail<'_>) -> Result<(), JsonError> {
        self.put(&elements.len());
        let mut numbered = elements.iter().enumerate();
        numbered.try_for_each(|(n, json)| self.scalar(Scalar::U8, json, &at.to(Step::Element(n))))
    }

    fn float(&mut self, scalar: Scalar, number: &Number, at: &Trail<'_>) -> Result<(), JsonError> {
        match (scalar, number.as_f64()) {
            // A number that is finite in JSON's own width need not be so in the narrower one.
            (Scalar::F32, Some(float)) if (float as f32).is_finite() => self.put(&(float as f32)),
            (Scalar::F64, Some(float)) => self.put(&float),
            _ => return Err(out_of_range(scalar, number, at)),
        }
        Ok(())
    }

    fn integer(&mut self, scalar: Scalar, number: &Number, at: &Trail<'_>) -> Result<(), JsonError> {
        if number.is_f64() {
            return Err(unexpected(word(scalar).to_owned(), &Value::Number(number.clone()), at));
        }
        write_integer(&mut self.out, scalar, number.as_i128(), number.as_u128())
            .ok_or_else(|| out_of_range(scalar, number, at))
    }

    fn put<T: Serialize + ?Sized>(&mut self, value: &T) {
        put(&mut self.out, value);
    }
}

fn out_of_range(scalar: Scalar, number: &Number, at: &Trail<'_>) -> JsonError {
    let (expected, found) = (word(scalar), shown(&number.to_string()));
    JsonError::OutOfRange { path: at.to_string(), expected, found }
}
