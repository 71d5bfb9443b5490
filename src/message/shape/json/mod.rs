//! Messages as JSON: into the bytes that a message has in a frame, and back, by its shape alone.
//!
//! For tools, which know a message's shape and not its Rust type. What a value looks like in JSON is what `serde_json`
//! makes of the same type, as long as the type's `Serialize` does not ask whether people read along; see
//! [`Shape::encode_json`].
//!
//! Neither direction trusts what it is given, the shape included: nesting is bounded, nothing is reserved on the word of
//! a length, and what a body grows to as JSON is bounded by [`allowance`](decode).

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

/// In how many others a value may stand, as in a message that a node receives: options that hold something, newtypes,
/// sequences, maps, tuples, structs and enums are levels.
const MAX_DEPTH: usize = 128;

/// As much of a text as an error shows, in characters.
const MAX_SHOWN: usize = 32;

/// Why JSON could not be turned into a message, or a message into JSON.
///
/// `path` says where: `Ping.points[3].x`. It begins with the name of the message; `::` goes into a variant.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    /// The JSON is of another kind than the message has there.
    #[error("{path}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        path: String,
        /// What the message has there.
        expected: String,
        /// What the JSON has.
        found: String,
    },
    /// A number that the message's type there cannot hold.
    #[error("{path}: {found} is out of the range of {expected}")]
    OutOfRange {
        /// Where.
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
        /// Where the enum is.
        path: String,
        /// What the JSON calls it.
        found: String,
    },
    /// A map whose keys cannot be those of a JSON object. Texts, characters, numbers, `bool`s and variants without
    /// content can.
    #[error("{path}: {kind} cannot be a key in JSON")]
    NotAKey {
        /// The key.
        path: String,
        /// What the keys are.
        kind: String,
    },
    /// An address: it is a handle beside the message, which JSON cannot have.
    #[error("{path}: the address of a box cannot be written as JSON")]
    Address {
        /// Where.
        path: String,
    },
    /// A part of the message whose shape is not known.
    #[error("{path}: cannot be written as JSON, because its shape is not known")]
    Opaque {
        /// Where.
        path: String,
    },
    /// A part of the message that has to say by itself what it is (`serde_json::Value`, untagged and tagged enums). In a
    /// message it does not travel at all.
    #[error("{path}: describes itself, which a message's format does not carry")]
    SelfDescribing {
        /// Where.
        path: String,
    },
    /// It nests too many levels.
    #[error("{path}: more than {limit} levels of nesting")]
    TooDeep {
        /// Where.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The message is so much larger as JSON than it is in a frame that it is not made.
    #[error("{path}: the message would take more than {limit} bytes of memory as JSON")]
    TooLarge {
        /// How far it came.
        path: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are no message of this shape.
    #[error("{path}: {why}")]
    Malformed {
        /// How far it came.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Bytes are left over after the message: most likely it is of another shape.
    #[error("{bytes} bytes are left over after {name}")]
    Remainder {
        /// The message's name.
        name: String,
        /// How many bytes.
        bytes: usize,
    },
    /// The shape is that of a value, or of a message without one: it has no result.
    #[error("{name} has no result")]
    NoResult {
        /// Its name.
        name: String,
    },
}

impl Shape {
    /// Turns JSON into the bytes that a message of this shape has in a frame (postcard's format).
    ///
    /// A value looks as `serde_json` would write it: a struct is an object, a tuple, an array and a byte string an
    /// array, a newtype what it holds, `()` and a unit struct `null`, a variant `"Name"` or `{"Name": …}`, an option
    /// `null` or what it holds, a `char` a string of one, a map an object, its keys texts. The exceptions:
    ///
    /// - Types that ask whether people read along (`Uuid`, `IpAddr`, dates of chrono) look as they do to programs: a
    ///   `Uuid` is an array of 16 numbers.
    /// - An `i128` or `u128` that no JSON number can hold is a string of its digits. Both are taken as input.
    /// - Floats that are no numbers come out as `null`, as in `serde_json`, and `null` is not taken for a float: which
    ///   of them it was is lost.
    /// - `Some(None)` and `Some(())` look like `None`, as in `serde_json`, and are read as `None`.
    /// - Of a variant with aliases, the name is the first of them in alphabetical order; see [`Shape`].
    /// - The entries of a map are sorted by their keys, as a `BTreeMap` does; a reader that depends on another order
    ///   gets that one.
    ///
    /// Objects must have the fields that the struct has, in any order, and no others; an option may be left out.
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

    /// As [`encode_json`](Shape::encode_json), for the result that the message is answered with.
    ///
    /// # Errors
    /// [`JsonError`], which names the place; [`JsonError::NoResult`] if there is none.
    pub fn encode_json_result(&self, json: &Value) -> Result<Vec<u8>, JsonError> {
        encode(self.result_start()?, json)
    }

    /// Turns the bytes of a message of this shape into JSON. See [`encode_json`](Shape::encode_json) for what it looks
    /// like.
    ///
    /// The bytes may be a stranger's: memory and nesting are bounded. If a map has a key twice, the later entry counts.
    ///
    /// # Errors
    /// [`JsonError`], which names the place.
    pub fn decode_json(&self, body: &[u8]) -> Result<Value, JsonError> {
        decode(Start::message(self.model()), body)
    }

    /// As [`decode_json`](Shape::decode_json), for the result that the message is answered with.
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

/// What JSON must have for a value of that kind.
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

/// What JSON must have for the struct or variant of that name.
fn expected_content(name: &str, content: &Content) -> String {
    let name = Name(name);
    match content {
        Content::Unit => "null".to_owned(),
        Content::Tuple(parts) => format!("an array of {} for {name}", parts.len()),
        Content::Fields(_) => format!("an object for {name}"),
        Content::Newtype(_) | Content::Opaque(_) => name.to_string(),
    }
}

/// What the JSON is, in a few words.
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

/// The text, or its beginning.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn unexpected(expected: String, json: &Value, at: &Trail<'_>) -> JsonError {
    JsonError::Unexpected { path: at.to_string(), expected, found: found(json) }
}

/// Whether a value may stand so deep.
fn check_depth(at: &Trail<'_>) -> Result<(), JsonError> {
    if at.levels() > MAX_DEPTH {
        return Err(JsonError::TooDeep { path: at.to_string(), limit: MAX_DEPTH });
    }
    Ok(())
}
