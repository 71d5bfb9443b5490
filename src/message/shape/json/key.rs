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
use crate::message::shape::model::Node;
use crate::message::shape::model::NodeId;
use crate::message::shape::model::Scalar;
use crate::message::shape::path::Step;
use crate::message::shape::path::Trail;
use crate::message::shape::show::Names;

/// A key as the map has it. All keys of a map are of one kind, and sorted as a `BTreeMap` sorts that kind.
#[derive(Debug)]
pub(super) enum Key<'a> {
    Bool(bool),
    Signed(Scalar, i128),
    Unsigned(Scalar, u128),
    Float32(f32),
    Float64(f64),
    Char(char),
    Str(&'a str),
    /// By its number.
    Variant(u32),
}

impl Key<'_> {
    /// Appends what postcard makes of it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Key::Bool(truth) => put(out, truth),
            // Parsed as that scalar, so it fits.
            Key::Signed(scalar, number) => write_integer(out, *scalar, Some(*number), None).unwrap_or_default(),
            Key::Unsigned(scalar, number) => write_integer(out, *scalar, None, Some(*number)).unwrap_or_default(),
            Key::Float32(float) => put(out, float),
            Key::Float64(float) => put(out, float),
            Key::Char(character) => put(out, character),
            Key::Str(text) => put(out, text),
            Key::Variant(number) => put(out, number),
        }
    }

    pub(super) fn order(&self, other: &Key<'_>) -> Ordering {
        match (self, other) {
            (Key::Bool(one), Key::Bool(other)) => one.cmp(other),
            (Key::Signed(_, one), Key::Signed(_, other)) => one.cmp(other),
            (Key::Unsigned(_, one), Key::Unsigned(_, other)) => one.cmp(other),
            (Key::Float32(one), Key::Float32(other)) => one.total_cmp(other),
            (Key::Float64(one), Key::Float64(other)) => one.total_cmp(other),
            (Key::Char(one), Key::Char(other)) => one.cmp(other),
            (Key::Str(one), Key::Str(other)) => one.cmp(other),
            (Key::Variant(one), Key::Variant(other)) => one.cmp(other),
            // Not in one map.
            _ => Ordering::Equal,
        }
    }
}

/// The key that the text is.
pub(super) fn parse<'a>(model: &Model, id: NodeId, text: &'a str, at: &Trail<'_>) -> Result<Key<'a>, JsonError> {
    check_depth(at)?;
    let parsed = match model.node(id) {
        Node::Scalar(scalar) if can_be_key(*scalar) => scalar_key(*scalar, text),
        Node::Struct { content: Content::Newtype(inner), .. } => {
            return parse(model, *inner, text, &at.to(Step::Inside));
        }
        Node::Enum { variants, .. } => match (0u32..).zip(variants).find(|(_, variant)| *variant.name == *text) {
            Some((number, variant)) => match variant.content {
                Content::Unit => Some(Key::Variant(number)),
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

fn scalar_key(scalar: Scalar, text: &str) -> Option<Key<'_>> {
    let fits = |signed, unsigned| write_integer(&mut Vec::new(), scalar, signed, unsigned);
    Some(match scalar {
        Scalar::Bool => Key::Bool(text.parse().ok()?),
        Scalar::F32 => Key::Float32(text.parse().ok().filter(|float: &f32| float.is_finite())?),
        Scalar::F64 => Key::Float64(text.parse().ok().filter(|float: &f64| float.is_finite())?),
        Scalar::Char => Key::Char(text.parse().ok()?),
        Scalar::Str => Key::Str(text),
        Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 | Scalar::I128 => {
            let number = text.parse().ok()?;
            fits(Some(number), None)?;
            Key::Signed(scalar, number)
        }
        _ => {
            let number = text.parse().ok()?;
            fits(None, Some(number))?;
            Key::Unsigned(scalar, number)
        }
    })
}

/// Whether values of that kind are texts in JSON when they are keys.
pub(super) fn can_be_key(scalar: Scalar) -> bool {
    !matches!(scalar, Scalar::Bytes | Scalar::Unit)
}

/// Addresses and what is not known say so themselves.
pub(super) fn not_a_key(model: &Model, id: NodeId, at: &Trail<'_>) -> JsonError {
    let path = at.to_string();
    match model.node(id) {
        Node::Address { .. } => JsonError::Address { path },
        Node::Opaque(_) => JsonError::Opaque { path },
        Node::SelfDescribing => JsonError::SelfDescribing { path },
        _ => JsonError::NotAKey { path, kind: Names::new(model).of(id).to_string() },
    }
}
