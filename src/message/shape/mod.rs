//! The shape of a message: what its type looks like from outside, so that two processes can compare their types.
//!
//! [`trace`] looks at a type, by asking its `Deserialize` what it would read; [`model`] is what it finds; [`canon`]
//! makes one graph of all equal ones; [`encoding`] its bytes; [`show`] its text; [`diff`] says where two differ.

mod canon;
mod diff;
mod encoding;
pub(crate) mod mark;
pub(crate) mod model;
mod show;
mod trace;

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::fmt::Write;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::LazyLock;

use parking_lot::RwLock;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::de::DeserializeOwned;

pub use self::diff::Difference;
use self::encoding::MAX_ENCODED;
use self::encoding::MAX_NODES;
pub use self::mark::opaque;
use self::model::Model;
use self::model::Node;
use self::model::Opaque;
use super::RemoteMessage;

/// What a type looks like on the wire and by its names: everything that two processes must agree on.
#[derive(Clone)]
pub struct Shape {
    inner: Arc<Inner>,
}

struct Inner {
    /// Canonical.
    model: Model,
    encoded: Vec<u8>,
    fingerprint: u64,
}

/// Shapes that were traced: a type is looked at once.
static KNOWN: LazyLock<RwLock<HashMap<(TypeId, What), Shape>>> = LazyLock::new(RwLock::default);

/// What of a type was traced.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Value,
    Exchange,
}

impl Shape {
    /// The shape of a message and of its result.
    pub fn of<M: RemoteMessage>() -> Shape {
        known((TypeId::of::<M>(), What::Exchange), trace::exchange::<M, M::Result>)
    }

    /// The shape of any type that serde can read.
    pub fn of_value<T: DeserializeOwned>() -> Shape {
        known((typeid::of::<T>(), What::Value), trace::value::<T>)
    }

    /// The shape that a graph describes, which need not be canonical.
    pub(crate) fn new(model: &Model) -> Shape {
        let model = canon::canonical(model);
        let encoded = encoding::encode(&model);
        if encoded.len() > MAX_ENCODED || model.nodes().len() > MAX_NODES {
            return Shape::new(&Model::new(vec![Node::Opaque(Opaque::TooLarge)], None));
        }
        Shape::from_parts(model, encoded)
    }

    fn from_parts(model: Model, encoded: Vec<u8>) -> Shape {
        let fingerprint = fingerprint(&encoded);
        Shape { inner: Arc::new(Inner { model, encoded, fingerprint }) }
    }

    /// What it is made of.
    pub(crate) fn model(&self) -> &Model {
        &self.inner.model
    }

    /// A 64-bit hash of the canonical encoding; never 0.
    pub fn fingerprint(&self) -> u64 {
        self.inner.fingerprint
    }

    /// The places where the shape `there` differs from this one; none if they are equal.
    pub fn diff(&self, there: &Shape) -> Vec<Difference> {
        diff::differences(self.model(), there.model())
    }
}

/// The shape from the table, or traced now; no lock is held meanwhile, as code of the type runs.
fn known(which: (TypeId, What), trace: impl FnOnce() -> Model) -> Shape {
    if let Some(shape) = KNOWN.read().get(&which) {
        return shape.clone();
    }
    let shape = Shape::new(&trace());
    KNOWN.write().entry(which).or_insert(shape).clone()
}

/// The first eight bytes of SHA-1, most significant first. 0 means on the wire that nothing was compared.
fn fingerprint(encoded: &[u8]) -> u64 {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(encoded);
    let [a, b, c, d, e, f, g, h, ..] = hash.digest().bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1)
}

impl PartialEq for Shape {
    fn eq(&self, other: &Shape) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner.encoded == other.inner.encoded
    }
}

impl Eq for Shape {}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint().hash(state);
    }
}

/// The title and the fingerprint.
impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shape({}, {:016x})", show::Title(self.model()), self.fingerprint())
    }
}

/// The definitions of the types in it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::whole(f, self.model())
    }
}

/// In binary formats the canonical encoding, as a byte string; in those that people read, its digits in base 16.
impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = &self.inner.encoded;
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(encoded);
        }
        let mut digits = String::with_capacity(2 * encoded.len());
        for byte in encoded {
            // Writing to a String does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        serializer.serialize_str(&digits)
    }
}

/// # Errors
/// If the bytes are no canonical encoding of a shape.
impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Encoded)
        } else {
            deserializer.deserialize_bytes(Encoded)
        }
    }
}

/// Reads an encoding, in either form.
struct Encoded;

impl de::Visitor<'_> for Encoded {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the canonical encoding of a shape")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Shape, E> {
        let model = encoding::decode(bytes).map_err(E::custom)?;
        Ok(Shape::from_parts(model, bytes.to_vec()))
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<Shape, E> {
        // Two digits make a byte; with an odd number the last pair has one, and is refused.
        let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let bytes = pairs.collect::<Option<Vec<u8>>>();
        self.visit_bytes(&bytes.ok_or_else(|| E::custom("a shape is written in lower-case digits of base 16"))?)
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
