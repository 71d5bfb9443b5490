//! Keys of maps, which are texts in JSON.

use std::cmp::Ordering;

use super::JsonError;
use super::check_depth;
use super::expected;
use super::scalar::put;
use super::scalar::write_integer;
use super::shown;
use crate::message::shape::model::Content;
use crate::message::shape::model::Model;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;
use crate::message::shape::model::ShapeNodeId;
use crate::message::shape::path::Step;
use crate::message::shape::path::Trail;
use crate::message::shape::show::ShownNames;

/// A key of a map. All keys of a map are of one kind, and sorted as a `BTreeMap` sorts that kind.
#[derive(Debug)]
pub(super) enum JsonKey<'a> {
    Bool(bool),
    Signed(Scalar, i128),
    Unsigned(Scalar, u128),
    Float32(f32),
    Float64(f64),
    Char(char),
    Str(&'a str),
    /// A variant without content, by its number.
    Variant(u32),
}

impl JsonKey<'_> {
    /// Appends postcard's encoding of the key.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            JsonKey::Bool(truth) => put(out, truth),
            // The number was parsed as that scalar, so it fits.
            JsonKey::Signed(scalar, number) => write_integer(out, *scalar, Some(*number), None).unwrap_or_default(),
            JsonKey::Unsigned(scalar, number) => write_integer(out, *scalar, None, Some(*number)).unwrap_or_default(),
            JsonKey::Float32(float) => put(out, float),
            JsonKey::Float64(float) => put(out, float),
            JsonKey::Char(character) => put(out, character),
            JsonKey::Str(text) => put(out, text),
            JsonKey::Variant(number) => put(out, number),
        }
    }

    pub(super) fn order(&self, other: &JsonKey<'_>) -> Ordering {
        match (self, other) {
            (JsonKey::Bool(one), JsonKey::Bool(other)) => one.cmp(other),
            (JsonKey::Signed(_, one), JsonKey::Signed(_, other)) => one.cmp(other),
            (JsonKey::Unsigned(_, one), JsonKey::Unsigned(_, other)) => one.cmp(other),
            (JsonKey::Float32(one), JsonKey::Float32(other)) => one.total_cmp(other),
            (JsonKey::Float64(one), JsonKey::Float64(other)) => one.total_cmp(other),
            (JsonKey::Char(one), JsonKey::Char(other)) => one.cmp(other),
            (JsonKey::Str(one), JsonKey::Str(other)) => one.cmp(other),
            (JsonKey::Variant(one), JsonKey::Variant(other)) => one.cmp(other),
            // One map does not have keys of two kinds.
            _ => Ordering::Equal,
        }
    }
}

/// Parses the text as a key.
pub(super) fn parse<'a>(
    model: &Model,
    id: ShapeNodeId,
    text: &'a str,
    at: &Trail<'_>,
) -> Result<JsonKey<'a>, JsonError> {
    check_depth(at)?;
    let parsed = match model.node(id) {
        ShapeNode::Scalar(scalar) if can_be_key(*scalar) => scalar_key(*scalar, text),
        ShapeNode::Struct { content: Content::Newtype(inner), .. } => {
            return parse(model, *inner, text, &at.to(Step::Inside));
        }
        ShapeNode::Enum { variants, .. } => match (0u32..).zip(variants).find(|(_, variant)| *variant.name == *text) {
            Some((number, variant)) => match variant.content {
                Content::Unit => Some(JsonKey::Variant(number)),
                _ => return Err(not_a_key(model, id, at)),
            },
            None => return Err(JsonError::UnknownVariant { path: at.to_string(), found: shown(text) }),
        },
        _ => return Err(not_a_key(model, id, at)),
    };
    parsed.ok_or_else(|| {
        let (expected, found) = (expected(model, id), format!("key {:?}", shown(text)));
        JsonError::Unexpected { path: at.to_string(), expected, found }
    })
}

fn scalar_key(scalar: Scalar, text: &str) -> Option<JsonKey<'_>> {
    let fits = |signed, unsigned| write_integer(&mut Vec::new(), scalar, signed, unsigned);
    Some(match scalar {
        Scalar::Bool => JsonKey::Bool(text.parse().ok()?),
        Scalar::F32 => JsonKey::Float32(text.parse().ok().filter(|float: &f32| float.is_finite())?),
        Scalar::F64 => JsonKey::Float64(text.parse().ok().filter(|float: &f64| float.is_finite())?),
        Scalar::Char => JsonKey::Char(text.parse().ok()?),
        Scalar::Str => JsonKey::Str(text),
        Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 | Scalar::I128 => {
            let number = text.parse().ok()?;
            fits(Some(number), None)?;
            JsonKey::Signed(scalar, number)
        }
        _ => {
            let number = text.parse().ok()?;
            fits(None, Some(number))?;
            JsonKey::Unsigned(scalar, number)
        }
    })
}

/// Returns whether values of that kind are texts in JSON when they are keys.
pub(super) fn can_be_key(scalar: Scalar) -> bool {
    !matches!(scalar, Scalar::Bytes | Scalar::Unit)
}

/// Returns the error for a key that cannot be one in JSON; addresses and unknown parts have errors of their own.
pub(super) fn not_a_key(model: &Model, id: ShapeNodeId, at: &Trail<'_>) -> JsonError {
    let path = at.to_string();
    match model.node(id) {
        ShapeNode::Address { .. } => JsonError::Address { path },
        ShapeNode::Opaque(_) => JsonError::Opaque { path },
        ShapeNode::SelfDescribing => JsonError::SelfDescribing { path },
        _ => JsonError::NotAKey { path, kind: ShownNames::new(model).of(id).to_string() },
    }
}
