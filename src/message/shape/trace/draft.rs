//! What the tracer knows so far: a draft of each node, with a slot for everything that the node refers to.

use std::collections::VecDeque;

use super::naming::Key;
use super::naming::Naming;
use crate::message::shape::model::Content;
use crate::message::shape::model::Field;
use crate::message::shape::model::Model;
use crate::message::shape::model::Node;
use crate::message::shape::model::NodeId;
use crate::message::shape::model::Opaque;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::Variant;

/// As many parts as are believed to come, of what announced them and then asked for fewer.
const MAX_ANNOUNCED: usize = 1024;

/// A list of names as serde passes it.
pub(super) type Names = &'static [&'static str];

/// What a node is to become.
#[derive(Debug)]
pub(super) enum Kind {
    /// It refers to nothing.
    Leaf(Node),
    Option,
    Seq,
    /// Slot 0 is the key, slot 1 the value.
    Map,
    Tuple,
    Struct(&'static str, Form),
    /// What is in a variant.
    Variant(Form),
    /// A slot for each variant.
    Enum(&'static str, Names),
    /// The place that types are traced from: never a node.
    Start,
}

/// What is in a struct or a variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Unit,
    Newtype,
    Tuple,
    Fields(Names),
}

#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) slots: Vec<Slot>,
    /// What is being found out about its names, and what came of it if they are not those of the kind.
    pub(super) naming: Option<Naming>,
    pub(super) names: Option<Vec<&'static str>>,
    /// A value of it was made.
    pub(super) whole: bool,
    /// Of what has its parts by position: how many it said that it would ask for.
    pub(super) declared: usize,
    /// How often it is being read at this moment: more than once, and the type contains itself.
    pub(super) reading: usize,
    /// Nothing new can be learnt by reading it, but for what is being read around it.
    pub(super) done: bool,
    /// No value of it can be made, because some part of it has none.
    pub(super) barren: bool,
    /// How often it was read in vain since it is known to be barren.
    pub(super) idle: usize,
    /// Of an enum: variants still to be read, the next one first.
    pub(super) open: VecDeque<usize>,
    /// Of an enum: the variant that ends after the fewest levels, and after how many.
    pub(super) shortest: Option<(usize, usize)>,
}

impl Draft {
    pub(super) fn new(kind: Kind) -> Draft {
        let mut slots = Vec::new();
        let count = match &kind {
            Kind::Option | Kind::Seq => 1,
            Kind::Map | Kind::Start => 2,
            Kind::Enum(_, names) => names.len(),
            Kind::Struct(_, form) | Kind::Variant(form) => match form {
                Form::Unit | Form::Tuple => 0,
                Form::Newtype => 1,
                Form::Fields(names) => names.len(),
            },
            Kind::Leaf(_) | Kind::Tuple => 0,
        };
        slots.resize_with(count, Slot::default);
        let open = if matches!(kind, Kind::Enum(..)) { (0..count).collect() } else { VecDeque::new() };
        let done = matches!(kind, Kind::Leaf(_));
        Draft { kind, slots, naming: None, names: None, whole: false, declared: 0, reading: 0, done, barren: false, idle: 0, open, shortest: None }
    }

    /// Whether a value needs something in each slot.
    pub(super) fn needs_all(&self) -> bool {
        matches!(self.kind, Kind::Tuple | Kind::Struct(..) | Kind::Variant(_))
    }
}

/// Something that a node refers to.
#[derive(Clone, Default, Debug)]
pub(super) struct Slot {
    /// The draft of what was asked for here.
    pub(super) link: Option<usize>,
    /// Of a variant: what its number was read as.
    pub(super) key: Option<Key>,
    /// It was asked for.
    pub(super) entered: bool,
    /// It was read at least once without an error.
    pub(super) good: bool,
    /// Nothing offered here was accepted, and nothing more is tried.
    pub(super) stuck: bool,
    /// Says why it is not looked into, whatever the link is.
    pub(super) opaque: Option<Opaque>,
    /// Of a leaf: the candidates that were refused, and the last that was offered.
    pub(super) refused: u64,
    pub(super) offered: u32,
    /// Of a composite: how often its values were refused as a whole.
    pub(super) variation: usize,
    /// It is being read at this moment.
    pub(super) reading: usize,
}

/// Turns drafts into a graph. What was never reached is opaque, for the reason given.
pub(super) fn finish(drafts: &[Draft], root: &Slot, result: Option<&Slot>, unreached: Opaque) -> Model {
    let mut sketch =
        Sketch { drafts, nodes: Vec::new(), numbers: vec![None; drafts.len()], waiting: Vec::new(), unreached };
    sketch.number(root);
    let result = result.map(|slot| sketch.number(slot));
    while let Some((number, draft)) = sketch.waiting.pop() {
        let node = sketch.node(draft);
        sketch.nodes[number.0 as usize] = node;
    }
    Model::new(sketch.nodes, result)
}

const UNIT: Node = Node::Scalar(Scalar::Unit);

struct Sketch<'a> {
    drafts: &'a [Draft],
    nodes: Vec<Node>,
    numbers: Vec<Option<NodeId>>,
    /// Nodes that have a number and no content yet.
    waiting: Vec<(NodeId, &'a Draft)>,
    unreached: Opaque,
}

impl<'a> Sketch<'a> {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// The node that a slot refers to.
    fn number(&mut self, slot: &Slot) -> NodeId {
        if let Some(why) = &slot.opaque {
            return self.push(Node::Opaque(why.clone()));
        }
        let Some(link) = slot.link else {
            // It was read, and asked for nothing: it takes none of the bytes.
            let node = if slot.good { UNIT } else { Node::Opaque(self.unreached.clone()) };
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

    /// Parts by position, also those that were announced, but stand behind one that has no value.
    fn all(&mut self, draft: &Draft) -> Vec<NodeId> {
        let announced = if draft.whole { 0 } else { draft.declared.min(MAX_ANNOUNCED) };
        let missing = announced.saturating_sub(draft.slots.len());
        let missing = std::iter::repeat_n(Slot::default(), missing);
        let slots = draft.slots.iter().cloned().chain(missing);
        slots.map(|slot| self.number(&slot)).collect()
    }

    fn node(&mut self, draft: &'a Draft) -> Node {
        match (&draft.kind, draft.slots.as_slice()) {
            (Kind::Leaf(node), _) => node.clone(),
            (Kind::Option, [inner]) => Node::Option(self.number(inner)),
            (Kind::Seq, [inner]) => Node::Seq(self.number(inner)),
            (Kind::Map, [key, value]) => Node::Map { key: self.number(key), value: self.number(value) },
            (Kind::Tuple, _) => Node::Tuple(self.all(draft)),
            (Kind::Struct(name, form), _) => {
                Node::Struct { name: (*name).into(), content: self.content(*form, draft) }
            }
            (Kind::Enum(name, _), slots) => Node::Enum {
                name: (*name).into(),
                variants: draft.names().iter().zip(slots).map(|(name, slot)| self.variant(name, slot)).collect(),
            },
            _ => Node::Opaque(self.unreached.clone()),
        }
    }

    fn variant(&mut self, name: &str, slot: &Slot) -> Variant {
        let content = match (&slot.opaque, slot.link.map(|link| &self.drafts[link])) {
            (Some(why), _) => Content::Opaque(why.clone()),
            (None, Some(draft @ Draft { kind: Kind::Variant(form), .. })) => self.content(*form, draft),
            (None, _) if slot.good => Content::Unit,
            (None, _) => Content::Opaque(self.unreached.clone()),
        };
        Variant { name: name.into(), content }
    }

    fn content(&mut self, form: Form, draft: &Draft) -> Content {
        match (form, draft.slots.as_slice()) {
            (Form::Unit, _) => Content::Unit,
            (Form::Newtype, [inner]) => Content::Newtype(self.number(inner)),
            (Form::Newtype | Form::Tuple, _) => Content::Tuple(self.all(draft)),
            (Form::Fields(_), slots) => {
                let field = |(name, slot): (&&str, &Slot)| Field { name: (*name).into(), node: self.number(slot) };
                Content::Fields(draft.names().iter().zip(slots).map(field).collect())
            }
        }
    }
}
