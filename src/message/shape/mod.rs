//! The shape of a message: what its type looks like from outside, so that two processes can compare their types.
//!
//! [`trace`] looks at a type, by asking its `Deserialize` what it would read; [`model`] is what it finds; [`canon`]
//! makes one graph of all equal ones; [`encoding`] its bytes, and [`portable`] its form for serde; [`show`] its text;
//! [`diff`] says where two differ, [`unchecked`] where that is not known, and [`travel`] whether any value of a type can
//! be sent. [`check`] and `json` walk a value beside its shape: the one to see whether it is written as it is read, the
//! other to know a message without its type; [`path`] says where they are.

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

/// What a type looks like on the wire and by its names: everything that two processes must agree on.
///
/// A shape is made from a type's `Deserialize` alone, once for each type in a process; nothing has to be derived or
/// written for it. Two shapes are equal if the types are read alike and called alike: the names (serde's, without paths)
/// of structs, enums, fields and variants, the order of fields and variants, and every scalar's kind. Whether both are
/// one Rust type, in which crate they are, and which collection or pointer they use makes no difference.
///
/// [`diff`](Shape::diff) says where two shapes differ; `Display` shows the definitions of the types in it. A clone costs
/// a reference count.
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
/// # What a shape does not know
/// - What a type makes of what it reads: `String`, a `Url` and a date that is written as text are all texts.
/// - What is *unchecked*: parts behind something of which no value could be guessed (a tuple's part behind a type that
///   accepts only what is signed, say), parts that are read differently depending on what was read before (behind the name
///   of a typetag object), and what nests more than 128 levels or is larger than a shape may be (1 MiB encoded, 16,384
///   different types). Such a part equals only one at the same path, unchecked for the same reason, with the same Rust type
///   name (`std::any::type_name`, path included): that of the part if `Deserialize` came to ask for it, and that of the
///   struct, enum or tuple around it otherwise. So two programs that take the type from one crate agree, and two that
///   each define it, in modules of different names, do not; nor do two whose compilers print the name differently.
///   Between two versions of one crate, a change in such a part is *not noticed*; [`unchecked`](Shape::unchecked) lists
///   these parts, and a node warns of them when it opens a box. [`opaque`](crate::opaque()), around the value that cannot
///   be guessed, makes the rest known.
/// - What its owner does not want to be looked into and has marked by [`opaque`](crate::opaque()).
/// - What is *self-describing* (`any`): types that ask their bytes what they are. Postcard's bytes do not say.
/// - What `Serialize` writes. Messages are looked at for that when they leave: see
///   [`RemoteMessage`](crate::RemoteMessage#limits).
/// - Which name is a variant's own if it has aliases: the first in alphabetical order counts. Fields are not affected.
///
/// While a shape is made, `Deserialize` is run several times and the values are dropped. It must not run for ever on a
/// value that it does not like; panics are caught.
///
/// # The canonical encoding
/// What is hashed and what travels. A *number* is unsigned LEB128 in as few bytes as possible, at most four; a *name* is
/// its length in bytes as a number, then UTF-8; a *list* is its length as a number, then the items; a *ref* is the
/// number of a part.
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
/// A reason is 0 and a name (its owner's), 5 (not reached), 6 (too deep), 7 (too large) or 8 (varies) and the name of a Rust
/// type, or 1 to 4 for the same without a name. Of a type's name that is longer than 240 bytes there are the characters that
/// begin within these, `…`, and in 16 lower-case digits of base 16 the first eight bytes of the SHA-1 of the whole.
///
/// Parts that no walk along refs can tell apart are one part. Parts are numbered in the order in which a walk meets
/// them that begins at the message, goes through the refs of a part in the order of its bytes, each with all that is
/// below it before the next, and ends with the result. So a shape has exactly one encoding, and no other is read.
#[derive(Clone)]
pub struct Shape {
    inner: Arc<Inner>,
}

struct Inner {
    /// Canonical.
    model: Model,
    encoded: Vec<u8>,
    fingerprint: u64,
    /// Of a type that was traced here: why no value of it can travel.
    obstacle: Option<Unfit>,
    /// Somebody was told what in it is unchecked.
    warned: AtomicBool,
}

/// As many bytes as the line takes in which differences are told: it is kept for each box that a peer has introduced.
const MAX_LINE: usize = 4096;

/// Shapes that were traced: a type is looked at once.
static KNOWN: LazyLock<RwLock<HashMap<(TypeId, ShapePart), Shape>>> = LazyLock::new(RwLock::default);

/// What of a type was traced.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum ShapePart {
    Value,
    Exchange,
}

impl Shape {
    /// The shape of a message and of its result.
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

    /// The shape of any type that serde can read. That of a message so made has no result, and differs from
    /// [`of`](Shape::of).
    pub fn of_value<T: DeserializeOwned>() -> Shape {
        known::<T>((typeid::of::<T>(), ShapePart::Value), trace::value::<T>)
    }

    /// The shape that a graph describes, which need not be canonical.
    pub(crate) fn new(model: &Model) -> Shape {
        let model = canon::canonical(model);
        let encoded = encoding::encode(&model);
        if encoded.len() > MAX_ENCODED || model.nodes().len() > MAX_NODES {
            return Shape::new(&Model::new(vec![ShapeNode::Opaque(Opaque::Unchecked(Gap::TooLarge, None))], None));
        }
        Shape::from_parts(model, encoded)
    }

    /// The shape of a type, as it was traced.
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

    /// The part because of which no message of the type can be sent, if there is one; the shape is of this process.
    pub(crate) fn obstacle(&self) -> Option<&Unfit> {
        self.inner.obstacle.as_ref()
    }

    /// Its canonical encoding.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.inner.encoded
    }

    /// The shape that has this canonical encoding.
    pub(crate) fn decode(encoded: &[u8]) -> Option<Shape> {
        let model = encoding::decode(encoded).ok()?;
        Some(Shape::from_parts(model, encoded.to_vec()))
    }

    /// A shape of this process that was traced, by its fingerprint.
    pub(crate) fn known(fingerprint: u64) -> Option<Shape> {
        KNOWN.read().values().find(|shape| shape.fingerprint() == fingerprint).cloned()
    }

    /// The differences in one line, as far as there is room; empty if there are none.
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

    /// What it is made of.
    pub(crate) fn model(&self) -> &Model {
        &self.inner.model
    }

    /// A hash of the [canonical encoding](Shape#the-canonical-encoding): the first eight bytes of its SHA-1 (FIPS 180-4),
    /// the most significant first; 1 if that is 0.
    ///
    /// Equal in all processes and all versions of this crate that have the same version of the encoding. By accident two
    /// types have one fingerprint once in 2<sup>64</sup>; it is no protection from who looks for two such types.
    pub fn fingerprint(&self) -> u64 {
        self.inner.fingerprint
    }

    /// The places where the shape `there` differs from this one, those nearest to the message first, at most 32; none
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

    /// The paths of the parts that could not be looked into, as [`Difference::path`] has them: those nearest to the
    /// message first, at most 32. A node warns of them when it opens a box for the type.
    ///
    /// Such a part equals only one at the same path with the same Rust type name, so a change inside that keeps this name
    /// is not noticed. [`opaque`](crate::opaque()) around the value that cannot be guessed makes the rest known. Parts
    /// that are marked by `opaque` are not in the list: their owner chose a name for them.
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

    /// The unchecked parts of a type of this process, if there are some and this is the first to ask.
    pub(crate) fn untold_unchecked(&self) -> Option<Vec<String>> {
        // Read first, as each box of the type comes here, from any thread.
        if self.inner.warned.load(Ordering::Relaxed) || self.inner.warned.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(self.unchecked()).filter(|paths| !paths.is_empty())
    }
}

/// The shape from the table, or traced now; no lock is held meanwhile, as code of the type runs.
fn known<T>(which: (TypeId, ShapePart), trace: impl FnOnce() -> Traced) -> Shape {
    if let Some(shape) = KNOWN.read().get(&which) {
        return shape.clone();
    }
    let shape = Shape::traced::<T>(&trace());
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
