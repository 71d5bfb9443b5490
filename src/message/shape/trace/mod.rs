//! Traces a type from outside: runs its `Deserialize` again and again and records what it asks for.
//!
//! A pass runs `T::deserialize` once with a [`Probe`](tracer::Probe), which records each request and offers a value.
//! Where there is a choice (a variant, whether an option holds something) a pass takes a branch that is not known yet,
//! and the next pass another; known parts get the shortest value there is. Passes go on until nothing new can come.
//!
//! The crate serde-reflection traces formats in the same way. It is not used here, because it knows containers by
//! their unqualified names, so that two types of one name are taken for one; because types that refuse the values it
//! offers (a port above 0, a text that is a date) need samples that the application has to write; and because enums
//! without tags and flattened structs, which ask the format what comes next, are outside of its scope.
//!
//! # Identity of nodes
//! A node is known by the visitor's type, by the kind it asks for and by the names it passes: so a type that contains
//! itself is recognised. Types are told apart by `TypeId`, not by name, as two types may have one name; none of this is
//! visible in the result, in which equal nodes are [merged](super::canon).
//!
//! # Types that refuse values
//! When a pass fails, the innermost slot whose content was not accepted is to blame. If the slot is a leaf, the value
//! offered there is not offered there again; if it is a composite whose parts were accepted, all of its leaves are
//! varied together. A slot that refuses everything has no value ([`stuck`](draft::DraftSlot::stuck)); then its owner
//! has none either if it needs one ([`barren`](draft::Draft::barren)), and otherwise goes on without. The other fields
//! of a barren struct are read by their names, so that its shape is known all the same; a map's values are read without
//! a key, if both are asked for at once. If a text refuses all candidates and its owner's error lists the accepted
//! texts, one of these is offered; a map's value that is asked for after such a key stays opaque, as another key may
//! lead to a value of another kind.
//!
//! A part that is not reached in any of these ways, for instance in a tuple behind a part that has no value, is known
//! by the name of the Rust type that was asked for there, or else of the type that it is a part of.
//!
//! # Termination
//! A pass that learns nothing strikes a candidate off a list; after some passes without even that, values of a
//! recursive type that never ended are given up, and then tracing stops. Passes, reads, nodes, parts and levels are
//! bounded. A level of the type takes a level of the stack, 128 at most, as when it is decoded. Panics of the type are
//! failures like others. A `Deserialize` that runs for ever by itself is not bounded.
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

/// The result of tracing a type.
pub(super) struct Traced {
    /// The graph of the type, not canonical.
    pub(super) model: Model,
    /// The maps in the graph that are structs with flattened fields.
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
