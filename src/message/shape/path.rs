//! The path to a place in a value, as people write it: `Ping.points[3].x`, `Order.state::Paid.at`, `Ages["bob"]`.
//!
//! While a value is walked, each level has its [`Trail`] on the stack and knows the one above it. Nothing is allocated
//! until a fault is found and its path has to be shown.

use std::fmt;
use std::fmt::Display;

use super::model::Model;
use super::model::ShapeNodeId;
use super::show::Name;
use super::show::ShownNames;

/// Maximum number of characters of a map's key that a path shows: the author of the key chose its length.
const MAX_KEY: usize = 64;

/// The beginning of a path: a message, or its result.
#[derive(Clone, Copy)]
pub(crate) struct Start<'m> {
    pub(crate) model: &'m Model,
    pub(crate) node: ShapeNodeId,
    is_result: bool,
}

impl<'m> Start<'m> {
    /// Returns the start at the message, or at the value whose shape it is.
    pub(crate) fn message(model: &'m Model) -> Start<'m> {
        Start { model, node: model.root(), is_result: false }
    }

    /// Returns the start at the message's result; `None` if the shape is that of a value.
    pub(crate) fn result(model: &'m Model) -> Option<Start<'m>> {
        model.result().map(|node| Start { model, node, is_result: true })
    }
}

impl Display for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ShownNames::new(self.model);
        write!(f, "{}{}", name.of(self.model.root()), if self.is_result { " -> result" } else { "" })
    }
}

/// The step from a value to a part of it. Options and newtypes are no steps: they stand for their content.
#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    /// The outermost value, by its name.
    Start(&'a dyn Display),
    /// A field with a name.
    Field(&'a str),
    /// A field without a name, by its position.
    Position(usize),
    /// An element of a sequence.
    Element(usize),
    /// The value of a map's entry.
    #[cfg_attr(not(feature = "json"), expect(dead_code, reason = "only JSON's keys are all texts"))]
    Entry(&'a str),
    /// The key of a map's entry, by the entry's number.
    KeyOf(usize),
    /// The value of a map's entry whose key is not known, by the entry's number.
    ValueOf(usize),
    /// The content of an option or a newtype, which is shown as the same place.
    Inside,
}

/// The way from the outermost value to a part of it.
#[derive(Clone, Copy)]
pub(crate) struct Trail<'a> {
    above: Option<&'a Trail<'a>>,
    step: Step<'a>,
    /// If the value is that of an enum, the variant that is being walked.
    variant: Option<&'a str>,
    levels: usize,
}

impl<'a> Trail<'a> {
    /// Returns the way to the outermost value.
    pub(crate) fn new(name: &'a dyn Display) -> Trail<'a> {
        Trail { above: None, step: Step::Start(name), variant: None, levels: 0 }
    }

    /// Returns the way on to a part of this value.
    pub(crate) fn to<'b>(&'b self, step: Step<'b>) -> Trail<'b> {
        Trail { above: Some(self), step, variant: None, levels: self.levels + 1 }
    }

    /// Returns the way into a variant of this value, which is an enum.
    pub(crate) fn into_variant(self, name: &'a str) -> Trail<'a> {
        Trail { variant: Some(name), ..self }
    }

    /// Returns the number of values around this one.
    pub(crate) fn levels(&self) -> usize {
        self.levels
    }
}

impl Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut trails = vec![self];
        while let Some(above) = trails.last().and_then(|trail| trail.above) {
            trails.push(above);
        }
        for trail in trails.iter().rev() {
            match trail.step {
                Step::Start(name) => write!(f, "{name}")?,
                Step::Field(name) => write!(f, ".{}", Name(name))?,
                Step::Position(number) => write!(f, ".{number}")?,
                Step::Element(number) => write!(f, "[{number}]")?,
                Step::Entry(key) => write!(f, "[{:?}]", key.chars().take(MAX_KEY).collect::<String>())?,
                Step::KeyOf(number) => write!(f, "[key {number}]")?,
                Step::ValueOf(number) => write!(f, "[value {number}]")?,
                Step::Inside => {}
            }
            if let Some(variant) = trail.variant {
                write!(f, "::{}", Name(variant))?;
            }
        }
        Ok(())
    }
}
