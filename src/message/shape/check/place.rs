//! One place in a shape: the kind that is read there, and the path of the place in the value.

use super::Checker;
use super::MAX_DEPTH;
use super::Stop;
use crate::message::shape::model::Content;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;
use crate::message::shape::model::ShapeNodeId;
use crate::message::shape::path::Step;
use crate::message::shape::path::Trail;
use crate::message::shape::show::ShownNames;
use crate::message::shape::show::word;

const SELF_DESCRIBING: &str = "Deserialize reads what describes itself (deserialize_any: serde_json::Value, untagged and \
                               tagged enums do), which a message does not";

/// The serializer of one value.
#[derive(Clone, Copy)]
pub(super) struct ValuePlace<'a> {
    pub(super) checker: &'a Checker<'a>,
    pub(super) at: Trail<'a>,
    wanted: Wanted,
}

/// The content of the shape at a place.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    ShapeNode(ShapeNodeId),
    /// A byte of a byte string: no node, as a byte string is one leaf.
    Byte,
}

/// The kind that is read where a value is written.
pub(super) enum Read<'a> {
    /// A value of this kind, which is no newtype.
    Kind(&'a ShapeNode),
    /// Anything: the value is not checked.
    Anything,
}

impl<'a> ValuePlace<'a> {
    pub(super) fn new(checker: &'a Checker<'a>, wanted: Wanted, at: Trail<'a>) -> ValuePlace<'a> {
        ValuePlace { checker, at, wanted }
    }

    /// Returns the kind that is read here.
    pub(super) fn read(&self) -> Result<Read<'a>, Stop> {
        let left = self.checker.left.get();
        if left == 0 || self.at.levels() > MAX_DEPTH {
            return Ok(Read::Anything);
        }
        self.checker.left.set(left - 1);
        match self.plain() {
            Some(ShapeNode::SelfDescribing) => Err(self.checker.refuse(&self.at, SELF_DESCRIBING.to_owned())),
            Some(ShapeNode::Opaque(_)) | None => Ok(Read::Anything),
            Some(node) => Ok(Read::Kind(node)),
        }
    }

    /// Returns the kind below all newtypes; `None` if they never end.
    pub(super) fn plain(&self) -> Option<&'a ShapeNode> {
        let model = self.checker.model;
        let mut node = match self.wanted {
            Wanted::ShapeNode(id) => model.node(id),
            Wanted::Byte => const { &ShapeNode::Scalar(Scalar::U8) },
        };
        for _ in 0..MAX_DEPTH {
            match node {
                ShapeNode::Struct { content: Content::Newtype(inner), .. } => node = model.node(*inner),
                _ => return Some(node),
            }
        }
        None
    }

    /// Returns the place of the content of an option or a newtype, which is no step of the path.
    pub(super) fn inner(&self, wanted: ShapeNodeId) -> ValuePlace<'_> {
        ValuePlace { checker: self.checker, wanted: Wanted::ShapeNode(wanted), at: self.at.to(Step::Inside) }
    }

    #[cold]
    pub(super) fn differs(&self, written: &str) -> Stop {
        let read = match self.wanted {
            Wanted::ShapeNode(id) => ShownNames::new(self.checker.model).of(id).to_string(),
            Wanted::Byte => word(Scalar::U8).to_owned(),
        };
        let why = format!("Serialize writes {written}, where Deserialize reads {read}");
        self.checker.refuse(&self.at, why)
    }
}
