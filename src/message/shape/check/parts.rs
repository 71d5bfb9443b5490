//! The check of composites: each part beside the place where it is read.

use serde::Serialize;
use serde::ser;

use super::Checker;
use super::Stop;
use super::place::ValuePlace;
use super::place::Wanted;
use crate::message::shape::model::Content;
use crate::message::shape::model::Field;
use crate::message::shape::model::ShapeNodeId;
use crate::message::shape::path::Step;
use crate::message::shape::path::Trail;

/// The parts that are read, one after the other.
pub(super) enum Plan<'a> {
    /// Anything: the parts are not checked.
    Anything,
    /// Elements of one kind, as many as the sequence announced.
    Elements(ShapeNodeId),
    /// Elements of a sequence where bytes are read.
    Bytes,
    /// Pairs, as many as the map announced.
    Entries(ShapeNodeId, ShapeNodeId),
    /// One value for each place.
    Row(Row<'a>),
}

/// The places of a tuple, a struct or a variant.
#[derive(Clone, Copy)]
pub(super) enum Row<'a> {
    Positions(&'a [ShapeNodeId]),
    Fields(&'a [Field]),
}

impl<'a> Row<'a> {
    /// Returns the places of a content that is neither a newtype nor opaque.
    pub(super) fn of(content: &'a Content) -> Option<Row<'a>> {
        match content {
            Content::Unit => Some(Row::Positions(&[])),
            Content::Tuple(parts) => Some(Row::Positions(parts)),
            Content::Fields(fields) => Some(Row::Fields(fields)),
            Content::Newtype(_) | Content::Opaque(_) => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Row::Positions(parts) => parts.len(),
            Row::Fields(fields) => fields.len(),
        }
    }

    fn place(&self, number: usize) -> Option<(Step<'a>, ShapeNodeId)> {
        match self {
            Row::Positions(parts) => parts.get(number).map(|part| (Step::Position(number), *part)),
            Row::Fields(fields) => fields.get(number).map(|field| (Step::Field(&field.name), field.node)),
        }
    }

    /// Returns the position at which the field of that name is read.
    fn position(&self, name: &str) -> Option<usize> {
        match self {
            Row::Positions(_) => None,
            Row::Fields(fields) => fields.iter().position(|field| *field.name == *name),
        }
    }
}

/// The serializer of a composite.
pub(super) struct Parts<'a> {
    checker: &'a Checker<'a>,
    at: Trail<'a>,
    plan: Plan<'a>,
    /// Number of parts that the value announced.
    announced: usize,
    /// Number of parts written so far.
    written: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn new(place: ValuePlace<'a>, plan: Plan<'a>, announced: usize) -> Parts<'a> {
        Parts { checker: place.checker, at: place.at, plan, announced, written: 0 }
    }

    /// Checks the next part, which has no name.
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        let number = self.written;
        self.written += 1;
        let (step, wanted) = match &self.plan {
            Plan::Anything => return Ok(()),
            Plan::Bytes => (Step::Element(number), Wanted::Byte),
            Plan::Elements(element) => (Step::Element(number), Wanted::ShapeNode(*element)),
            Plan::Entries(_, value) => (Step::ValueOf(number), Wanted::ShapeNode(*value)),
            Plan::Row(row) => match row.place(number) {
                Some((step, part)) => (step, Wanted::ShapeNode(part)),
                None => {
                    let why = "Serialize writes it, and Deserialize does not read it";
                    return Err(self.checker.refuse(&self.at.to(Step::Position(number)), why.to_owned()));
                }
            },
        };
        value.serialize(ValuePlace::new(self.checker, wanted, self.at.to(step)))
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        let Plan::Entries(wanted, _) = self.plan else { return Ok(()) };
        key.serialize(ValuePlace::new(self.checker, Wanted::ShapeNode(wanted), self.at.to(Step::KeyOf(self.written))))
    }

    /// Checks the next part, which has that name. Names do not travel, so a name that is not read at all is that of a
    /// field renamed for one direction, unless more is written than is read.
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
        let Plan::Row(row) = &self.plan else { return self.part(value) };
        match row.position(name) {
            Some(position) if position > self.written => Err(self.skipped()),
            Some(position) if position < self.written => {
                Err(self.wrong(name, "Serialize writes it later than Deserialize reads it"))
            }
            None if matches!(row, Row::Fields(_)) && self.announced > row.len() => {
                Err(self.wrong(name, "Serialize writes it, and Deserialize does not read it (skip_deserializing?)"))
            }
            _ => self.part(value),
        }
    }

    #[cold]
    fn wrong(&self, name: &str, why: &str) -> Stop {
        self.checker.refuse(&self.at.to(Step::Field(name)), why.to_owned())
    }

    /// Reports that nothing is written for the next place, which is read.
    #[cold]
    fn skipped(&self) -> Stop {
        let Plan::Row(row) = &self.plan else { return Stop::Unfit };
        let Some((step, _)) = row.place(self.written) else { return Stop::Unfit };
        let why = "Serialize leaves it out (skip_serializing_if or skip_serializing?), and Deserialize reads it";
        self.checker.refuse(&self.at.to(step), why.to_owned())
    }

    /// Ends the check once all parts have been written.
    pub(super) fn finish(self) -> Result<(), Stop> {
        match &self.plan {
            Plan::Row(row) if self.written < row.len() => Err(self.skipped()),
            Plan::Elements(_) | Plan::Entries(..) if self.written != self.announced => {
                let why = format!("Serialize says that there are {}, and writes {}", self.announced, self.written);
                Err(self.checker.refuse(&self.at, why))
            }
            _ => Ok(()),
        }
    }
}

macro_rules! parts {
    ($($kind:ident $method:ident,)*) => { $(
        impl ser::$kind for Parts<'_> {
            type Ok = ();
            type Error = Stop;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
                self.part(value)
            }

            fn end(self) -> Result<(), Stop> {
                self.finish()
            }
        }
    )* };
}

parts! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! named_parts {
    ($($kind:ident)*) => { $(
        impl ser::$kind for Parts<'_> {
            type Ok = ();
            type Error = Stop;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
                self.field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Stop> {
                match &self.plan {
                    // A field that is not read either may be left out.
                    Plan::Row(row) if row.position(name).is_some() => Err(self.skipped()),
                    _ => Ok(()),
                }
            }

            fn end(self) -> Result<(), Stop> {
                self.finish()
            }
        }
    )* };
}

named_parts! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.part(value)
    }

    fn end(self) -> Result<(), Stop> {
        self.finish()
    }
}
