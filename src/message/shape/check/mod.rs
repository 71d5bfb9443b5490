//! Whether what a type's `Serialize` writes is what its `Deserialize` reads: a value beside its shape.
//!
//! Postcard's bytes do not say what they are, so a `Serialize` that leaves out a field
//! (`#[serde(skip_serializing_if = "…")]`) or otherwise disagrees with the type's `Deserialize` makes a message that
//! arrives wrong, or not at all. A shape is traced from `Deserialize` alone; here a value is serialised into nothing while
//! its shape is walked along, and the first place at which the two part is named.
//!
//! What passes is what would be read as what the shape says, not only what is written in the very same words: newtypes
//! stand for what they hold; structs, tuples and `()` are their parts one after the other; a narrower integer is read as
//! a wider one, a `char` as a text, a text or a sequence of `u8` as bytes and bytes as such a sequence. Names that differ
//! between `Serialize` and `Deserialize` are let pass as long as the order is the same, since they do not travel.
//!
//! Opaque parts pass: nothing is known of them. So does what nests deeper than [`MAX_DEPTH`], and what comes after
//! [`MAX_VALUES`] values: a type is looked at here, and not all of its data.

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

/// In how many others a value may stand and still be looked at.
const MAX_DEPTH: usize = 128;

/// As many values of one message as are looked at.
const MAX_VALUES: usize = 1 << 20;

/// What does not fit between a type's `Serialize` and its `Deserialize`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unfit {
    /// Where, as in `Ping.points[3].x`.
    pub(crate) path: String,
    /// What, as a clause.
    pub(crate) why: String,
}

impl Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// What came of a look at a value.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is read as it is written.
    Fits,
    /// It is not.
    Unfit(Unfit),
    /// The type's own `Serialize` has failed, so that not all was seen.
    Interrupted,
}

/// Serialises the value beside what its type reads, and names the first place where they part, in a value of that
/// `name`. Writes nothing.
///
/// The type's `Serialize` may panic; who calls deals with that.
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

/// Whether there is a part in it that describes itself, so that it depends on the value whether it arrives.
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

/// What all places of one value share.
struct Checker<'m> {
    model: &'m Model,
    /// The first, which counts.
    unfit: RefCell<Option<Unfit>>,
    /// How many values are still looked at.
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
    /// What is wrong is noted in [`Checker::unfit`].
    Unfit,
    /// The type's own.
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
