//! Fuzzed: bodies, decoded as types whose decoding costs far more than the body's length.
//!
//! Decoding ends whatever the bytes are, within its limits of depth and memory; a decoded value can be encoded again
//! and then decodes to the same value; and bodies that postcard reads by itself are read alike.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::LinkedList;
use std::collections::VecDeque;
use std::fmt;
use std::fmt::Debug;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::de::DeserializeOwned;
use serde::de::Visitor;

use super::DecodeError;
use super::DecodeLimits;
use super::decode;
use super::encode;
use crate::unstructured::AllocMeter;
use crate::unstructured::Unstructured;

/// A `BTreeMap` of one entry has room for eleven, and a vector that grows is there twice: this is the memory that a
/// value may take for each byte it is charged.
const PER_CHARGE: u64 = 16;

/// Memory allowed for each byte of the body: texts and byte strings are not charged, and those in vectors grow by
/// doubling.
const PER_BYTE: u64 = 4;

/// Memory allowed in any case: the text of an error.
const AT_LEAST: u64 = 4_096;

/// The limits that are tried: levels, and bytes. With the last of them, containers get a size hint.
const DEPTHS: [usize; 4] = [3, 16, 64, 128];
const MEMORIES: [usize; 4] = [64, 1 << 10, 64 << 10, 2 << 20];

/// The check of one type that bodies are decoded as.
type TypeCheck = fn(&[u8], DecodeLimits, AllocMeter);

/// One line for each type; the order is part of the corpus, so new types come last.
const TYPES: [TypeCheck; 24] = [
    check::<Nest>,
    check::<Tree>,
    check::<HashSet<()>>,
    check::<LinkedList<()>>,
    check::<HashMap<(), ()>>,
    check::<Vec<()>>,
    check::<Vec<u64>>,
    check::<BTreeMap<u8, BTreeMap<String, Vec<u16>>>>,
    check::<HashMap<String, HashMap<u8, Vec<String>>>>,
    check::<Vec<Option<[u64; 32]>>>,
    check::<Vec<Box<Wide>>>,
    check::<BTreeMap<u8, Option<[u64; 32]>>>,
    check::<VecDeque<LinkedList<Vec<()>>>>,
    check::<Chain>,
    check::<String>,
    check::<Blob>,
    check::<Vec<Blob>>,
    check::<Vec<(char, bool, Option<Option<()>>)>>,
    check::<(u128, i128, u64, i64, u32, i32, u16, i16, u8, i8)>,
    check::<Vec<Duration>>,
    check::<HashSet<std::net::IpAddr>>,
    check::<BTreeMap<Vec<()>, Result<LinkedList<()>, Nest>>>,
    check::<Vec<HashMap<u8, u8>>>,
    agrees_with_postcard,
];

/// Runs one input: the first bytes choose the type and the limits, the rest is the body.
pub(crate) fn run(bytes: &[u8], meter: AllocMeter) {
    let mut choices = Unstructured::new(bytes);
    let check = TYPES[choices.below(TYPES.len())];
    let depth = DEPTHS[choices.below(DEPTHS.len())];
    let memory = MEMORIES[choices.below(MEMORIES.len())];
    check(choices.rest(), DecodeLimits { depth, memory }, meter);
}

/// Decodes the body as the type, within limits.
fn check<T: Levels + Serialize + DeserializeOwned + PartialEq + Debug>(
    body: &[u8],
    limits: DecodeLimits,
    meter: AllocMeter,
) {
    let mut decoded = None;
    let held = meter(&mut || decoded = Some(decode::<T>(body, limits)));
    let most = AT_LEAST + PER_CHARGE * limits.memory as u64 + PER_BYTE * body.len() as u64;
    assert!(held <= most, "{held} bytes held, of {most} for {} and {limits:?}", body.len());
    let value = match decoded.expect("it was decoded").map_err(|error| *error) {
        Ok(value) => value,
        Err(DecodeError::Panicked(words)) => panic!("decoding panicked: {words}"),
        Err(DecodeError::TooDeep { limit }) => return assert_eq!(limit, limits.depth),
        Err(DecodeError::TooMuchMemory { limit }) => return assert_eq!(limit, limits.memory),
        Err(DecodeError::Remainder { bytes }) => return assert!(bytes > 0 && bytes <= body.len()),
        Err(DecodeError::Malformed(_)) => return,
    };
    assert!(value.levels() <= limits.depth, "{} levels deep", value.levels());
    let mut again = Vec::new();
    encode(&value, &mut again, body.len()).expect("numbers are written in the fewest bytes");
    assert_eq!(decode::<T>(&again, limits).as_ref(), Ok(&value));
    // A body that decodes within narrow limits decodes to the same value within wide ones.
    assert_eq!(decode::<T>(body, DecodeLimits::default()), Ok(value));
}

/// Checks that the guard accepts and refuses the same bodies as postcard.
pub(super) fn agrees_with_postcard(body: &[u8], limits: DecodeLimits, meter: AllocMeter) {
    let mut guarded = None;
    meter(&mut || guarded = Some(decode::<Moderate>(body, limits)));
    let guarded = guarded.expect("it was decoded").map_err(|error| *error);
    if matches!(guarded, Err(DecodeError::TooDeep { .. })) {
        // Postcard has no limit of depth.
        return;
    }
    // Compared as bytes, since a NaN is not equal to itself.
    let bytes = |value: &Moderate| postcard::to_stdvec(value).expect("it can be written");
    let plain = postcard::take_from_bytes::<Moderate>(body).map(|(value, rest)| (bytes(&value), rest.len()));
    match (guarded, plain) {
        (Ok(value), Ok((plain, 0))) => assert_eq!(bytes(&value), plain),
        (Err(DecodeError::Remainder { bytes }), Ok((_, rest))) => assert_eq!(bytes, rest),
        (Err(DecodeError::Malformed(_)), Err(_)) => {}
        // The guard may run out of memory on a body that postcard reads, or refuses further on.
        (Err(DecodeError::TooMuchMemory { .. }), _) => {}
        (guarded, plain) => panic!("{guarded:?}, but postcard {plain:?}"),
    }
}

/// The depth of a value, counted without a decoder.
trait Levels {
    /// Returns the number of levels; 0 for types whose depth is fixed by the type.
    fn levels(&self) -> usize {
        0
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Nest(pub(super) Option<Box<Nest>>);

impl Levels for Nest {
    fn levels(&self) -> usize {
        1 + self.0.as_ref().map_or(0, |inner| 1 + inner.levels())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Tree {
    Leaf,
    Wrap(Box<Tree>),
    Fork(Box<Tree>, Box<Tree>),
    Named { below: Box<Tree> },
    Many(Vec<Tree>),
}

impl Levels for Tree {
    fn levels(&self) -> usize {
        1 + match self {
            Tree::Leaf => 0,
            Tree::Wrap(below) | Tree::Named { below } => below.levels(),
            Tree::Fork(one, other) => one.levels().max(other.levels()),
            Tree::Many(trees) => 1 + trees.iter().map(Tree::levels).max().unwrap_or_default(),
        }
    }
}

/// Over 8 KiB, out of 32 bytes of zero.
pub(super) type Wide = [Option<[u64; 32]>; 32];

/// A link is as large in memory as the end, and takes one byte of the body.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "that is the point")]
pub(super) enum Chain {
    Next(Box<Chain>),
    End(Wide),
}

impl Levels for Chain {
    fn levels(&self) -> usize {
        1 + match self {
            Chain::Next(next) => next.levels(),
            Chain::End(_) => 0,
        }
    }
}

/// A byte string.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// A type with a bit of everything, none of which harms postcard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Moderate {
    pub(super) id: u128,
    pub(super) name: String,
    pub(super) tags: Vec<Option<i16>>,
    pub(super) table: BTreeMap<u8, (f64, char)>,
    pub(super) blob: Blob,
    pub(super) tree: Tree,
    pub(super) flag: Result<bool, ()>,
    pub(super) hash: [u8; 4],
}

macro_rules! flat {
    ($($flat:ty,)*) => { $( impl Levels for $flat {} )* };
}

flat! {
    HashSet<()>, LinkedList<()>, HashMap<(), ()>, Vec<()>, Vec<u64>,
    BTreeMap<u8, BTreeMap<String, Vec<u16>>>, HashMap<String, HashMap<u8, Vec<String>>>,
    Vec<Option<[u64; 32]>>, Vec<Box<Wide>>, BTreeMap<u8, Option<[u64; 32]>>, VecDeque<LinkedList<Vec<()>>>,
    String, Blob, Vec<Blob>, Vec<(char, bool, Option<Option<()>>)>,
    (u128, i128, u64, i64, u32, i32, u16, i16, u8, i8), Vec<Duration>, HashSet<std::net::IpAddr>,
    BTreeMap<Vec<()>, Result<LinkedList<()>, Nest>>, Vec<HashMap<u8, u8>>,
}
