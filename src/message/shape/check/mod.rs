//! Checks whether a type's `Deserialize` reads what its `Serialize` writes, by walking a value beside its shape.
//!
//! Postcard's bytes do not carry their type, so a `Serialize` that leaves out a field
//! (`#[serde(skip_serializing_if = "…")]`) or otherwise disagrees with the type's `Deserialize` makes a message that
//! arrives wrong, or not at all. A shape is traced from `Deserialize` alone; here a value is serialised into nothing
//! while its shape is walked along, and the first place at which the two differ is reported.
//!
//! A value passes if it would be read as the shape says, not only if it is written in the very same words: newtypes
//! stand for their content; structs, tuples and `()` are their parts one after the other; a narrower integer is read as
//! a wider one, a `char` as a text, a text or a sequence of `u8` as bytes and bytes as such a sequence. Names that
//! differ between `Serialize` and `Deserialize` pass as long as the order is the same, since names do not travel.
//!
//! Opaque parts pass: nothing is known of them. So do values nested deeper than [`MAX_DEPTH`], and all values after the
//! first [`MAX_VALUES`]: the check is one of the type, not of all the data.

mod parts;
mod place;
#[cfg(test)]
mod tests;
mod value;

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::fmt::Display;

use serde::Serialize;
use serde::ser;

use self::place::ValuePlace;
use self::place::Wanted;
use super::model::Model;
use super::model::ShapeNode;
use super::path::Start;
use super::path::Trail;

/// Maximum number of enclosing values; deeper values are not checked.
const MAX_DEPTH: usize = 128;

/// Maximum number of values of one message that are checked.
const MAX_VALUES: usize = 1 << 20;

/// A mismatch between a type's `Serialize` and its `Deserialize`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unfit {
    /// The place, as in `Ping.points[3].x`.
    pub(crate) path: String,
    /// The mismatch, as a clause.
    pub(crate) why: String,
}

impl Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// The outcome of checking a value.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The value is read as it is written.
    Fits,
    /// The value is read as something else.
    Unfit(Unfit),
    /// The type's own `Serialize` has failed, so that not all was checked.
    Interrupted,
}

/// Serialises the value beside the shape that its type reads, and reports the first place where they differ, in a value
/// called `name`. Writes nothing.
///
/// The type's `Serialize` may panic; the caller handles that.
pub(crate) fn check<T: Serialize + ?Sized>(value: &T, start: Start<'_>, name: &dyn Display) -> Verdict {
    let checker = Checker { model: start.model, unfit: RefCell::new(None), left: Cell::new(MAX_VALUES) };
    let written = value.serialize(ValuePlace::new(&checker, Wanted::ShapeNode(start.node), Trail::new(name)));
    // First, because the type may have put the error into words of its own, or even ignored it.
    match (checker.unfit.into_inner(), written) {
        (Some(unfit), _) => Verdict::Unfit(unfit),
        (None, Err(_)) => Verdict::Interrupted,
        (None, Ok(())) => Verdict::Fits,
    }
}

/// Returns whether the shape has a self-describing part, so that it depends on the value whether it arrives.
pub(crate) fn describes_itself(start: Start<'_>) -> bool {
    let (mut seen, mut waiting) = (HashSet::from([start.node]), vec![start.node]);
    while let Some(id) = waiting.pop() {
        let node = start.model.node(id);
        if *node == ShapeNode::SelfDescribing {
            return true;
        }
        node.each_child(|child| {
            if seen.insert(child) {
                waiting.push(child);
            }
        });
    }
    false
}

/// State shared by all places of one value.
struct Checker<'m> {
    model: &'m Model,
    /// The first mismatch, which is the one reported.
    unfit: RefCell<Option<Unfit>>,
    /// Number of values that are still checked.
    left: Cell<usize>,
}

impl Checker<'_> {
    #[cold]
    fn refuse(&self, at: &Trail<'_>, why: String) -> Stop {
        self.unfit.borrow_mut().get_or_insert_with(|| Unfit { path: at.to_string(), why });
        Stop::Unfit
    }
}

/// The error that travels through serde.
#[derive(Debug)]
enum Stop {
    /// A mismatch, recorded in [`Checker::unfit`].
    Unfit,
    /// An error of the type's own.
    Own,
}

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Unfit => f.write_str("it does not fit its shape"),
            Stop::Own => f.write_str("the type's Serialize failed"),
        }
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Stop::Own
    }
}
