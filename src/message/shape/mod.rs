//! The shape of a message: the outside view of its type, so that two processes can compare their types.
//!
//! [`trace`] examines a type by running its `Deserialize` on made-up values; [`model`] is the resulting graph;
//! [`canon`] makes one graph of all equal ones; [`encoding`] is the graph as bytes, [`portable`] its form for serde and
//! [`show`] its text; [`diff`] finds the differences between two shapes, [`unchecked`] the parts that are not compared,
//! and [`travel`] whether any value of a type can be sent. [`check`] and `json` walk a value beside its shape: `check`
//! to see whether it is written as it is read, `json` to convert a message without its type; [`path`] names their place
//! in the value.

mod canon;
pub(crate) mod check;
mod diff;
mod encoding;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(feature = "json")]
pub(crate) mod json;
pub(crate) mod mark;
pub(crate) mod model;
pub(crate) mod path;
mod portable;
mod show;
#[cfg(test)]
mod tests;
mod trace;
mod travel;
mod unchecked;

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use serde::de::DeserializeOwned;

use self::check::Unfit;
pub use self::diff::Difference;
use self::encoding::MAX_ENCODED;
use self::encoding::MAX_NODES;
pub use self::mark::opaque;
use self::model::Gap;
use self::model::Model;
use self::model::Opaque;
use self::model::ShapeNode;
use self::trace::Traced;
use super::RemoteMessage;

/// The form of a type on the wire and its names: everything that two processes must agree on.
///
/// A shape is made from a type's `Deserialize` alone, once for each type in a process; nothing has to be derived or
/// written for it. Two shapes are equal if the types agree in the names (serde's, without paths) of structs, enums,
/// fields and variants, in the order of fields and variants, and in every scalar's kind. It makes no difference whether
/// both are one Rust type, in which crate they are, and which collection or pointer they use.
///
/// [`diff`](Shape::diff) lists the differences between two shapes; `Display` shows the definitions of a shape's types.
/// A clone costs a reference count.
///
/// # Examples
/// ```
/// use actix_hermod::Shape;
///
/// mod old {
///     # use serde::Deserialize;
///     #[derive(Deserialize)]
///     pub struct Reading { pub sensor: String, pub value: f32 }
/// }
/// mod new {
///     # use serde::Deserialize;
///     #[derive(Deserialize)]
///     pub struct Reading { pub sensor: String, pub value: f64 }
/// }
///
/// let (here, there) = (Shape::of_value::<old::Reading>(), Shape::of_value::<new::Reading>());
/// assert_eq!(here.diff(&there)[0].to_string(), "`Reading.value`: f32 here, f64 there");
/// assert_ne!(here.fingerprint(), there.fingerprint());
/// assert_eq!(here.to_string(), "Reading\n\nstruct Reading {\n    sensor: String,\n    value: f32,\n}");
/// ```
///
/// # Not part of a shape
/// - The meaning that a type gives to its bytes: `String`, a `Url` and a date that is written as text are all texts.
/// - *Unchecked* parts: parts behind a type of which no value could be guessed (a tuple's part behind a type that
///   accepts only signed bytes, say), parts that are read differently depending on the bytes before (behind the name of
///   a typetag object), parts nested more than 128 levels deep, and types larger than a shape may be (1 MiB encoded,
///   16,384 different types). Such a part equals only a part at the same path, unchecked for the same reason, with the
///   same Rust type name (`std::any::type_name`, path included): the part's own name if `Deserialize` came to ask for
///   the part, and the name of the struct, enum or tuple around it otherwise. So two programs that take the type from
///   one crate agree, and two that each define it, in modules of different names, do not; nor do two whose compilers
///   print the name differently. Between two versions of one crate, a change in such a part is *not noticed*;
///   [`unchecked`](Shape::unchecked) lists these parts, and a node warns of them when it opens a box.
///   [`opaque`](crate::opaque()), around the value that cannot be guessed, makes the rest known.
/// - Parts that their owner has marked as [`opaque`](crate::opaque()).
/// - *Self-describing* parts (`any`): types that find out from their bytes what they are. Postcard's bytes do not say
///   it.
/// - The output of `Serialize`. It is checked when messages leave: see [`RemoteMessage`](crate::RemoteMessage#limits).
/// - The own name of a variant with aliases: the first in alphabetical order counts. Fields are not affected.
///
/// While a shape is made, `Deserialize` is run several times and the values are dropped. `Deserialize` must not run for
/// ever on a value that it refuses; its panics are caught.
///
/// # The canonical encoding
/// These bytes are hashed, and they travel. A *number* is unsigned LEB128 in as few bytes as possible, at most four; a
/// *name* is its length in bytes as a number, then UTF-8; a *list* is its length as a number, then the items; a *ref*
/// is the number of a part.
///
/// | bytes | meaning |
/// |---|---|
/// | 1 | version of this format: 1 |
/// | number | 0: the shape of a value; *n* + 1: of a message whose result is part *n* |
/// | list of parts | part 0 is the message, or the value |
///
/// | part | bytes |
/// |---|---|
/// | scalar | one of 0 bool, 1 i8, 2 i16, 3 i32, 4 i64, 5 i128, 6 u8, 7 u16, 8 u32, 9 u64, 10 u128, 11 f32, 12 f64, 13 char, 14 text, 15 bytes, 16 unit |
/// | option | 32, ref |
/// | sequence | 33, ref |
/// | map | 34, ref of the key, ref of the value |
/// | tuple or array | 35, list of refs |
/// | struct | 36, name, content |
/// | enum | 37, name, list of variants: each a name and a content |
/// | address | 38, name of its message's type, without paths |
/// | opaque | 39, reason |
/// | self-describing | 40 |
///
/// | content | bytes |
/// |---|---|
/// | none | 0 |
/// | newtype | 1, ref |
/// | by position | 2, list of refs |
/// | by name | 3, list of fields: each a name and a ref |
/// | opaque | 4, reason |
///
/// A reason is 0 and a name (its owner's), 5 (not reached), 6 (too deep), 7 (too large) or 8 (varies) and the name of a
/// Rust type, or 1 to 4 for the same without a name. A type's name longer than 240 bytes is replaced by the characters
/// that begin within these bytes, `…`, and the first eight bytes of the SHA-1 of the whole name as 16 lower-case
/// hexadecimal digits.
///
/// Parts that no walk along refs can tell apart are one part. Parts are numbered in the order in which a depth-first
/// walk meets them: it begins at the message, follows the refs of a part in the order of its bytes, each with
/// everything below it before the next, and ends with the result. So a shape has exactly one encoding, and no other is
/// accepted.
#[derive(Clone)]
pub struct Shape {
    inner: Arc<Inner>,
}

struct Inner {
    /// The canonical graph.
    model: Model,
    encoded: Vec<u8>,
    fingerprint: u64,
    /// The reason why no value of the type can travel; only for a type that was traced in this process.
    obstacle: Option<Unfit>,
    /// The unchecked parts were reported once.
    warned: AtomicBool,
}

/// Maximum length, in bytes, of the line that lists the differences: one is kept for each box that a peer has
/// introduced.
const MAX_LINE: usize = 4096;

/// Shapes that were traced: each type is traced once.
static KNOWN: LazyLock<RwLock<HashMap<(TypeId, ShapePart), Shape>>> = LazyLock::new(RwLock::default);

/// The part of a type that was traced.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum ShapePart {
    Value,
    Exchange,
}

impl Shape {
    /// Returns the shape of a message and of its result.
    ///
    /// # Examples
    /// ```
    /// # use actix::Message;
    /// # use actix_hermod::Shape;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Message, Serialize, Deserialize)]
    /// #[rtype(result = "Option<String>")]
    /// struct Lookup { key: u64 }
    ///
    /// let shape = Shape::of::<Lookup>();
    /// assert_eq!(shape.to_string(), "Lookup -> Option<String>\n\nstruct Lookup {\n    key: u64,\n}");
    /// ```
    pub fn of<M: RemoteMessage>() -> Shape {
        known::<M>((TypeId::of::<M>(), ShapePart::Exchange), trace::exchange::<M, M::Result>)
    }

    /// Returns the shape of any type that serde can read. The shape made in this way of a message has no result, and
    /// differs from [`of`](Shape::of).
    pub fn of_value<T: DeserializeOwned>() -> Shape {
        known::<T>((typeid::of::<T>(), ShapePart::Value), trace::value::<T>)
    }

    /// Returns the shape of a graph, which need not be canonical.
    pub(crate) fn new(model: &Model) -> Shape {
        let model = canon::canonical(model);
        let encoded = encoding::encode(&model);
        if encoded.len() > MAX_ENCODED || model.nodes().len() > MAX_NODES {
            return Shape::new(&Model::new(vec![ShapeNode::Opaque(Opaque::Unchecked(Gap::TooLarge, None))], None));
        }
        Shape::from_parts(model, encoded)
    }

    /// Returns the shape of a type that was traced.
    fn traced<T>(traced: &Traced) -> Shape {
        let mut shape = Shape::new(&traced.model);
        if let [ShapeNode::Opaque(Opaque::Unchecked(Gap::TooLarge, None))] = shape.model().nodes() {
            let large = trace::unchecked(Gap::TooLarge, std::any::type_name::<T>());
            shape = Shape::new(&Model::new(vec![ShapeNode::Opaque(large)], None));
        }
        if let Some(inner) = Arc::get_mut(&mut shape.inner) {
            inner.obstacle = travel::obstacle(&traced.model, &traced.flattened, &mark::short_name::<T>());
        }
        shape
    }

    fn from_parts(model: Model, encoded: Vec<u8>) -> Shape {
        let fingerprint = fingerprint(&encoded);
        Shape { inner: Arc::new(Inner { model, encoded, fingerprint, obstacle: None, warned: AtomicBool::new(false) }) }
    }

    /// Returns the part because of which no message of the type can be sent, if there is one; the shape must have been
    /// traced in this process.
    pub(crate) fn obstacle(&self) -> Option<&Unfit> {
        self.inner.obstacle.as_ref()
    }

    /// Returns the canonical encoding of the shape.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.inner.encoded
    }

    /// Returns the shape that has this canonical encoding.
    pub(crate) fn decode(encoded: &[u8]) -> Option<Shape> {
        let model = encoding::decode(encoded).ok()?;
        Some(Shape::from_parts(model, encoded.to_vec()))
    }

    /// Returns a shape that was traced in this process, by its fingerprint.
    pub(crate) fn known(fingerprint: u64) -> Option<Shape> {
        KNOWN.read().values().find(|shape| shape.fingerprint() == fingerprint).cloned()
    }

    /// Returns the differences in one line, as far as there is room; empty if there are none.
    pub(crate) fn differences(&self, there: &Shape) -> String {
        let mut line = String::new();
        for difference in self.diff(there).iter().map(Difference::to_string) {
            if line.len() + difference.len() > MAX_LINE {
                line.push('…');
                break;
            }
            line.push_str(if line.is_empty() { "" } else { "; " });
            line.push_str(&difference);
        }
        line
    }

    /// Returns the graph of the shape.
    pub(crate) fn model(&self) -> &Model {
        &self.inner.model
    }

    /// Returns a hash of the [canonical encoding](Shape#the-canonical-encoding): the first eight bytes of its SHA-1
    /// (FIPS 180-4), the most significant first; 1 if that is 0.
    ///
    /// The fingerprint is equal in all processes and all versions of this crate that have the same version of the
    /// encoding. By accident two types have one fingerprint once in 2<sup>64</sup>; the hash is no protection against
    /// somebody who searches for two such types.
    pub fn fingerprint(&self) -> u64 {
        self.inner.fingerprint
    }

    /// Returns the places where the shape `there` differs from this one, nearest to the message first, at most 32; none
    /// if they are equal.
    ///
    /// # Examples
    /// ```
    /// # use actix_hermod::Shape;
    /// let (here, there) = (Shape::of_value::<Option<(u8, String)>>(), Shape::of_value::<Option<(u8, char)>>());
    /// let differences = here.diff(&there);
    /// assert_eq!(differences[0].path, "Option<(u8, String)>?.1");
    /// assert_eq!((differences[0].here.as_str(), differences[0].there.as_str()), ("String", "char"));
    /// ```
    pub fn diff(&self, there: &Shape) -> Vec<Difference> {
        diff::differences(self.model(), there.model())
    }

    /// Returns the paths of the unchecked parts, in the form of [`Difference::path`]: those nearest to the message
    /// first, at most 32. A node warns of them when it opens a box for the type.
    ///
    /// Such a part equals only a part at the same path with the same Rust type name, so a change inside that keeps this
    /// name is not noticed. [`opaque`](crate::opaque()) around the value that cannot be guessed makes the rest known.
    /// Parts that are marked by `opaque` are not in the list: their owner chose a name for them.
    ///
    /// # Examples
    /// ```
    /// # use actix_hermod::Shape;
    /// # use serde::Deserialize;
    /// #[derive(Deserialize)]
    /// struct Order(Signed, u32);
    ///
    /// #[derive(Deserialize)]
    /// #[serde(try_from = "u64")]
    /// struct Signed;
    ///
    /// impl TryFrom<u64> for Signed {
    ///     type Error = &'static str;
    ///     fn try_from(signature: u64) -> Result<Signed, &'static str> {
    ///         if signature == 6_274_331_021 { Ok(Signed) } else { Err("not signed") }
    ///     }
    /// }
    ///
    /// assert_eq!(Shape::of_value::<Order>().unchecked(), ["Order.1"]);
    /// assert!(Shape::of_value::<(u8, Vec<Signed>)>().unchecked().is_empty());
    /// ```
    pub fn unchecked(&self) -> Vec<String> {
        unchecked::paths(self.model())
    }

    /// Returns the unchecked parts of a type of this process, if there are some and this is the first call.
    pub(crate) fn untold_unchecked(&self) -> Option<Vec<String>> {
        // Read first, as each box of the type calls this, from any thread.
        if self.inner.warned.load(Ordering::Relaxed) || self.inner.warned.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(self.unchecked()).filter(|paths| !paths.is_empty())
    }
}

/// Returns the shape from the table, or traces it now; no lock is held meanwhile, as code of the type runs.
fn known<T>(which: (TypeId, ShapePart), trace: impl FnOnce() -> Traced) -> Shape {
    if let Some(shape) = KNOWN.read().get(&which) {
        return shape.clone();
    }
    let shape = Shape::traced::<T>(&trace());
    KNOWN.write().entry(which).or_insert(shape).clone()
}

/// Returns the first eight bytes of SHA-1, most significant first. 0 means on the wire that nothing was compared, so it
/// is replaced by 1.
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

/// Shows the title and the fingerprint.
impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shape({}, {:016x})", show::Title(self.model()), self.fingerprint())
    }
}

/// Shows the definitions of the types in the shape.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::whole(f, self.model())
    }
}
