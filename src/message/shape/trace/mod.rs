//! Looks at a type from outside: asks its `Deserialize`, again and again, what it would read.
//!
//! A pass runs `T::deserialize` once with a [`Probe`](tracer::Probe), which notes what is asked for and offers a value.
//! Where there is a choice (a variant, whether an option holds something) a pass takes one that is not known yet, and the
//! next pass another; what is known gets the shortest value there is. So passes go on until nothing new can come.
//!
//! # What is the same
//! A node is known by the visitor's type, by what it asks for and by the names that it says: so a type that contains
//! itself is recognised. Types are told apart by `TypeId`, not by name, as two may have one name; none of this is seen
//! in the result, in which equal nodes are [made one](super::canon).
//!
//! # Types that are picky
//! When a pass fails, the innermost slot of which the content was not accepted is to blame. If it is a leaf, the value
//! offered there is not offered there again; if it is a composite whose parts were accepted, all of its leaves are
//! varied together. What refuses everything has no value ([`stuck`](draft::DraftSlot::stuck)); then its owner has none either
//! if it needs one ([`barren`](draft::Draft::barren)), and otherwise goes on without. The other fields of a barren struct
//! are read by their names, so that its shape is known all the same; so are a map's values without a key, if both are asked
//! for at once. A text whose owner's error lists the texts that it accepts is given one of these, if it refuses all others;
//! a map's value that is asked for after such a key is not looked into, as it may be another behind another key.
//!
//! A part that is not reached in any of these ways, in a tuple behind a part that has no value for instance, is known by the name of
//! the Rust type that was asked for there, or else of the type that it is a part of.
//!
//! # Why it ends, and does not fall
//! A pass that learns nothing strikes a candidate off a list; after some without even that, values of a recursive type
//! that never ended are given up, and then there is no other pass. Passes, reads, nodes, parts and levels are bounded. A level of the type takes a level of the stack, 128 at most, as when it is decoded.
//! Panics of the type are failures like others. What is not bounded is a `Deserialize` that runs for ever by itself.
//!
//! No lock is held while code of the type runs, and nothing depends on time, chance or addresses.

mod access;
mod asked;
mod candidates;
mod draft;
mod naming;
mod probe;
mod sketch;
mod tracer;

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use self::tracer::Tracer;
use super::model::Model;
use super::model::ShapeNodeId;

pub(super) use self::sketch::unchecked;

/// What was found out about a type.
pub(super) struct Traced {
    /// Its graph, not canonical.
    pub(super) model: Model,
    /// The maps in it that are structs with flattened fields.
    pub(super) flattened: HashSet<ShapeNodeId>,
}

/// Traces a type.
pub(super) fn value<T: DeserializeOwned>() -> Traced {
    let mut tracer = Tracer::new();
    tracer.explore::<T>(0);
    tracer.finish(false)
}

/// Traces a message and its result.
pub(super) fn exchange<M: DeserializeOwned, R: DeserializeOwned>() -> Traced {
    let mut tracer = Tracer::new();
    tracer.explore::<M>(0);
    tracer.explore::<R>(1);
    tracer.finish(true)
}
