//! Messages as JSON: conversion into the bytes that a message has in a frame, and back, by the message's shape alone.
//!
//! Made for tools, which know a message's shape and not its Rust type. A value looks in JSON as `serde_json` writes the
//! same type, unless the type's `Serialize` asks whether the format is human-readable; see [`Shape::encode_json`].
//!
//! Neither direction trusts its input, the shape included: nesting is bounded, nothing is reserved for a claimed
//! length, and the size of a body as JSON is bounded by [`allowance`](mod@decode).

mod decode;
mod encode;
mod key;
mod scalar;
#[cfg(test)]
mod tests;

use serde_json::Value;

use self::decode::decode;
use self::encode::encode;
use super::Shape;
use super::model::Content;
use super::model::Model;
use super::model::Scalar;
use super::model::ShapeNode;
use super::model::ShapeNodeId;
use super::path::Start;
use super::path::Trail;
use super::show::Name;
use super::show::ShownNames;
use super::show::word;

/// Maximum number of nested levels, the same as for a message that a node receives: options that hold something,
/// newtypes, sequences, maps, tuples, structs and enums are levels.
const MAX_DEPTH: usize = 128;

/// Maximum number of characters of a text that an error shows.
const MAX_SHOWN: usize = 32;

/// Why JSON could not be turned into a message, or a message into JSON.
///
/// `path` is the place: `Ping.points[3].x`. The path begins with the name of the message; `::` goes into a variant.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    /// The JSON is of another kind than the message's content at this place.
    #[error("{path}: expected {expected}, found {found}")]
    Unexpected {
        /// The place.
        path: String,
        /// The message's content at this place.
        expected: String,
        /// The JSON's content at this place.
        found: String,
    },
    /// A number that the message's type at this place cannot hold.
    #[error("{path}: {found} is out of the range of {expected}")]
    OutOfRange {
        /// The place.
        path: String,
        /// The type.
        expected: &'static str,
        /// The number.
        found: String,
    },
    /// A field of the message that the JSON does not have. Only options may be left out.
    #[error("{path}: the field is missing")]
    MissingField {
        /// The field.
        path: String,
    },
    /// A field of the JSON that the message does not have.
    #[error("{path}: there is no such field")]
    UnknownField {
        /// The field.
        path: String,
    },
    /// The enum has no variant of that name.
    #[error("{path}: there is no variant {found:?}")]
    UnknownVariant {
        /// The place of the enum.
        path: String,
        /// The variant's name in the JSON.
        found: String,
    },
    /// A map whose keys cannot be the keys of a JSON object. Texts, characters, numbers, `bool`s and variants without
    /// content can be.
    #[error("{path}: {kind} cannot be a key in JSON")]
    NotAKey {
        /// The key.
        path: String,
        /// The kind of the keys.
        kind: String,
    },
    /// An address: a handle beside the message, which JSON cannot contain.
    #[error("{path}: the address of a box cannot be written as JSON")]
    Address {
        /// The place.
        path: String,
    },
    /// A part of the message whose shape is not known.
    #[error("{path}: cannot be written as JSON, because its shape is not known")]
    Opaque {
        /// The place.
        path: String,
    },
    /// A self-describing part of the message (`serde_json::Value`, untagged and tagged enums). Such a part does not
    /// travel in a message at all.
    #[error("{path}: describes itself, which a message's format does not carry")]
    SelfDescribing {
        /// The place.
        path: String,
    },
    /// The message or the JSON nests too many levels.
    #[error("{path}: more than {limit} levels of nesting")]
    TooDeep {
        /// The place.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The message would be so much larger as JSON than in a frame that the JSON is not made.
    #[error("{path}: the message would take more than {limit} bytes of memory as JSON")]
    TooLarge {
        /// The place that was reached.
        path: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are no message of this shape.
    #[error("{path}: {why}")]
    Malformed {
        /// The place that was reached.
        path: String,
        /// The fault.
        why: String,
    },
    /// Bytes are left over after the message: most likely the message is of another shape.
    #[error("{bytes} bytes are left over after {name}")]
    Remainder {
        /// The message's name.
        name: String,
        /// Number of bytes left over.
        bytes: usize,
    },
    /// The shape has no result: it is that of a value, or of a message without a result.
    #[error("{name} has no result")]
    NoResult {
        /// The name of the message or value.
        name: String,
    },
}

impl Shape {
    /// Turns JSON into the bytes that a message of this shape has in a frame (postcard's format).
    ///
    /// A value looks as `serde_json` would write it: a struct is an object; a tuple, an array and a byte string are
    /// arrays; a newtype is its content; `()` and a unit struct are `null`; a variant is `"Name"` or `{"Name": …}`; an
    /// option is `null` or its content; a `char` is a string of one character; a map is an object whose keys are texts.
    /// The exceptions:
    ///
    /// - Types that ask whether the format is human-readable (`Uuid`, `IpAddr`, dates of chrono) take their binary
    ///   form: a `Uuid` is an array of 16 numbers.
    /// - An `i128` or `u128` that no JSON number can hold is a string of its digits. Both forms are accepted as input.
    /// - Floats that are no numbers come out as `null`, as in `serde_json`, and `null` is not accepted as a float,
    ///   since the original value is lost.
    /// - `Some(None)` and `Some(())` look like `None`, as in `serde_json`, and are read as `None`.
    /// - A variant with aliases has the first of its names in alphabetical order; see [`Shape`].
    /// - The entries of a map are sorted by their keys, as in a `BTreeMap`, even if the reader depends on another
    ///   order.
    ///
    /// Objects must have exactly the fields of the struct, in any order; an option may be left out.
    ///
    /// # Examples
    /// ```
    /// use actix::Message;
    /// use actix_hermod::Shape;
    /// use serde::{Deserialize, Serialize};
    /// use serde_json::json;
    ///
    /// #[derive(Message, Serialize, Deserialize)]
    /// #[rtype(result = "f64")]
    /// struct Route { name: String, points: Vec<(f64, f64)> }
    ///
    /// let shape = Shape::of::<Route>();
    /// let home = json!({ "name": "home", "points": [[0.0, 0.5]] });
    /// assert_eq!(shape.decode_json(&shape.encode_json(&home)?)?, home);
    ///
    /// let wrong = shape.encode_json(&json!({ "name": "home", "points": [[0.0, "far"]] }));
    /// assert_eq!(wrong.unwrap_err().to_string(), r#"Route.points[0].1: expected f64, found string "far""#);
    ///
    /// assert_eq!(shape.decode_json_result(&7.5f64.to_le_bytes())?, json!(7.5));
    /// # Ok::<(), actix_hermod::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`], which names the place.
    pub fn encode_json(&self, json: &Value) -> Result<Vec<u8>, JsonError> {
        encode(Start::message(self.model()), json)
    }

    /// Turns JSON into the bytes of the result of a message of this shape, like [`encode_json`](Shape::encode_json).
    ///
    /// # Errors
    /// [`JsonError`], which names the place; [`JsonError::NoResult`] if there is none.
    pub fn encode_json_result(&self, json: &Value) -> Result<Vec<u8>, JsonError> {
        encode(self.result_start()?, json)
    }

    /// Turns the bytes of a message of this shape into JSON, in the form described at
    /// [`encode_json`](Shape::encode_json).
    ///
    /// The bytes may be a stranger's: memory and nesting are bounded. If a map has a key twice, the later entry counts.
    ///
    /// # Errors
    /// [`JsonError`], which names the place.
    pub fn decode_json(&self, body: &[u8]) -> Result<Value, JsonError> {
        decode(Start::message(self.model()), body)
    }

    /// Turns the bytes of the result of a message of this shape into JSON, like [`decode_json`](Shape::decode_json).
    ///
    /// # Errors
    /// [`JsonError`], which names the place; [`JsonError::NoResult`] if there is none.
    pub fn decode_json_result(&self, body: &[u8]) -> Result<Value, JsonError> {
        decode(self.result_start()?, body)
    }

    fn result_start(&self) -> Result<Start<'_>, JsonError> {
        let start = Start::result(self.model());
        start.ok_or_else(|| JsonError::NoResult { name: Start::message(self.model()).to_string() })
    }
}

/// Describes the JSON required for a value of that kind.
fn expected(model: &Model, id: ShapeNodeId) -> String {
    match model.node(id) {
        ShapeNode::Scalar(scalar) => expected_scalar(*scalar),
        ShapeNode::Seq(_) => "an array".to_owned(),
        ShapeNode::Map { .. } => "an object".to_owned(),
        ShapeNode::Tuple(parts) => format!("an array of {}", parts.len()),
        ShapeNode::Struct { name, content } => expected_content(name, content),
        ShapeNode::Enum { name, .. } => format!("a variant of {}", Name(name)),
        ShapeNode::Option(_) | ShapeNode::Address { .. } | ShapeNode::Opaque(_) | ShapeNode::SelfDescribing => {
            ShownNames::new(model).of(id).to_string()
        }
    }
}

fn expected_scalar(scalar: Scalar) -> String {
    match scalar {
        Scalar::Unit => "null",
        Scalar::Bytes => "an array of bytes",
        _ => word(scalar),
    }
    .to_owned()
}

/// Describes the JSON required for the struct or variant of that name.
fn expected_content(name: &str, content: &Content) -> String {
    let name = Name(name);
    match content {
        Content::Unit => "null".to_owned(),
        Content::Tuple(parts) => format!("an array of {} for {name}", parts.len()),
        Content::Fields(_) => format!("an object for {name}"),
        Content::Newtype(_) | Content::Opaque(_) => name.to_string(),
    }
}

/// Describes the JSON in a few words.
fn found(json: &Value) -> String {
    match json {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => format!("{truth}"),
        Value::Number(number) => format!("number {}", shown(&number.to_string())),
        Value::String(text) => format!("string {:?}", shown(text)),
        Value::Array(elements) => format!("array of {}", elements.len()),
        Value::Object(_) => "object".to_owned(),
    }
}

/// Returns the text, or its beginning.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn unexpected(expected: String, json: &Value, at: &Trail<'_>) -> JsonError {
    JsonError::Unexpected { path: at.to_string(), expected, found: found(json) }
}

/// Checks that the value is not nested too deep.
fn check_depth(at: &Trail<'_>) -> Result<(), JsonError> {
    if at.levels() > MAX_DEPTH {
        return Err(JsonError::TooDeep { path: at.to_string(), limit: MAX_DEPTH });
    }
    Ok(())
}
