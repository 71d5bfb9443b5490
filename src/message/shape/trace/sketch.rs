//! Turns the drafts into a graph.

use std::collections::HashSet;

use super::Traced;
use super::draft::Draft;
use super::draft::DraftSlot;
use super::draft::Form;
use super::draft::Kind;
use crate::message::shape::fingerprint;
use crate::message::shape::model::Content;
use crate::message::shape::model::Field;
use crate::message::shape::model::Gap;
use crate::message::shape::model::Model;
use crate::message::shape::model::Opaque;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;
use crate::message::shape::model::ShapeNodeId;
use crate::message::shape::model::Variant;

/// Maximum number of parts that are believed of a type that announced them and then asked for fewer.
const MAX_ANNOUNCED: usize = 1024;

/// Turns drafts into a graph. Parts that were never reached are opaque, for the reason given.
pub(super) fn finish(drafts: &[Draft], root: &DraftSlot, result: Option<&DraftSlot>, unreached: Gap) -> Traced {
    let mut sketch =
        Sketch { drafts, nodes: Vec::new(), numbers: vec![None; drafts.len()], waiting: Vec::new(), unreached };
    sketch.number(root, "");
    let result = result.map(|slot| sketch.number(slot, ""));
    while let Some((number, draft)) = sketch.waiting.pop() {
        let node = sketch.node(draft);
        sketch.nodes[number.0 as usize] = node;
    }
    let flattened = |(number, draft): (&Option<ShapeNodeId>, &Draft)| number.filter(|_| draft.flattened);
    let flattened: HashSet<ShapeNodeId> = sketch.numbers.iter().zip(drafts).filter_map(flattened).collect();
    Traced { model: Model::new(sketch.nodes, result), flattened }
}

/// Maximum number of bytes kept of a Rust type's name; a longer name ends with its hash.
const MAX_TYPE_NAME: usize = 240;

/// Returns a part that is compared by the name of its Rust type, or of the type around it.
pub(in crate::message::shape) fn unchecked(gap: Gap, type_name: &str) -> Opaque {
    let name = match type_name.char_indices().find(|(at, _)| *at >= MAX_TYPE_NAME) {
        Some((end, _)) => format!("{}…{:016x}", &type_name[..end], fingerprint(type_name.as_bytes())).into(),
        None => type_name.into(),
    };
    Opaque::Unchecked(gap, Some(name))
}

const UNIT: ShapeNode = ShapeNode::Scalar(Scalar::Unit);

struct Sketch<'a> {
    drafts: &'a [Draft],
    nodes: Vec<ShapeNode>,
    numbers: Vec<Option<ShapeNodeId>>,
    /// Nodes that have a number and no content yet.
    waiting: Vec<(ShapeNodeId, &'a Draft)>,
    unreached: Gap,
}

impl<'a> Sketch<'a> {
    fn push(&mut self, node: ShapeNode) -> ShapeNodeId {
        self.nodes.push(node);
        ShapeNodeId(self.nodes.len() as u32 - 1)
    }

    /// Returns the node that a slot of the type `owner` refers to.
    fn number(&mut self, slot: &DraftSlot, owner: &str) -> ShapeNodeId {
        // A part that was never asked for, or not always as the same type, is known by the type around it.
        let own = slot.type_name.filter(|_| slot.opaque != Some(Gap::Varies) || owner.is_empty());
        let unchecked = |gap| ShapeNode::Opaque(unchecked(gap, own.unwrap_or(owner)));
        if let Some(gap) = slot.opaque {
            return self.push(unchecked(gap));
        }
        let Some(link) = slot.link else {
            // The slot was read, and asked for nothing: it takes no bytes.
            let node = if slot.good { UNIT } else { unchecked(self.unreached) };
            return self.push(node);
        };
        if let Some(number) = self.numbers[link] {
            return number;
        }
        let number = self.push(UNIT);
        self.numbers[link] = Some(number);
        self.waiting.push((number, &self.drafts[link]));
        number
    }

    /// Returns the parts by position, including announced parts that stand behind one that has no value.
    fn all(&mut self, draft: &Draft) -> Vec<ShapeNodeId> {
        let announced = if draft.whole { 0 } else { draft.declared.min(MAX_ANNOUNCED) };
        let missing = announced.saturating_sub(draft.slots.len());
        let missing = std::iter::repeat_n(DraftSlot::default(), missing);
        let slots = draft.slots.iter().cloned().chain(missing);
        slots.map(|slot| self.number(&slot, draft.type_name)).collect()
    }

    fn node(&mut self, draft: &'a Draft) -> ShapeNode {
        let of = draft.type_name;
        match (&draft.kind, draft.slots.as_slice()) {
            (Kind::Leaf(node), _) => node.clone(),
            (Kind::Option, [inner]) => ShapeNode::Option(self.number(inner, of)),
            (Kind::Seq, [inner]) => ShapeNode::Seq(self.number(inner, of)),
            (Kind::Map, [key, value]) => ShapeNode::Map { key: self.number(key, of), value: self.number(value, of) },
            (Kind::Tuple, _) => ShapeNode::Tuple(self.all(draft)),
            (Kind::Struct(name, form), _) => {
                ShapeNode::Struct { name: (*name).into(), content: self.content(*form, draft) }
            }
            (Kind::Enum(name, _), slots) => ShapeNode::Enum {
                name: (*name).into(),
                variants: draft.names().iter().zip(slots).map(|(name, slot)| self.variant(name, slot, of)).collect(),
            },
            _ => ShapeNode::Opaque(unchecked(self.unreached, of)),
        }
    }

    fn variant(&mut self, name: &str, slot: &DraftSlot, of: &str) -> Variant {
        let content = match (&slot.opaque, slot.link.map(|link| &self.drafts[link])) {
            (Some(gap), _) => Content::Opaque(unchecked(*gap, of)),
            (None, Some(draft @ Draft { kind: Kind::Variant(form), .. })) => self.content(*form, draft),
            (None, _) if slot.good => Content::Unit,
            (None, _) => Content::Opaque(unchecked(self.unreached, of)),
        };
        Variant { name: name.into(), content }
    }

    fn content(&mut self, form: Form, draft: &Draft) -> Content {
        match (form, draft.slots.as_slice()) {
            (Form::Unit, _) => Content::Unit,
            (Form::Newtype, [inner]) => Content::Newtype(self.number(inner, draft.type_name)),
            (Form::Newtype | Form::Tuple, _) => Content::Tuple(self.all(draft)),
            (Form::Fields(_), slots) => {
                let field = |(name, slot): (&&str, &DraftSlot)| {
                    let node = self.number(slot, draft.type_name);
                    Field { name: (*name).into(), node }
                };
                Content::Fields(draft.names().iter().zip(slots).map(field).collect())
            }
        }
    }
}
