//! What a shape is made of: a graph of nodes, each the kind of one value, which refer to one another by number.
//!
//! A graph and not a tree, so that a type may contain itself. Any graph can be walked through here; only
//! [`canon`](super::canon) makes one that can be compared, and a [`Shape`](super::Shape) holds no other.
//!
//! Invariant: each [`ShapeNodeId`] in a [`Model`] is that of a node in it. Who walks must expect circles and long chains:
//! bound the depth, or remember where you have been.

/// The number of a node in its [`Model`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ShapeNodeId(pub(crate) u32);

/// The number of the message itself, or of the value if there is no result.
pub(crate) const ROOT: ShapeNodeId = ShapeNodeId(0);

/// A message (or any value) and what it is answered with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Model {
    /// The root is [`ROOT`].
    nodes: Vec<ShapeNode>,
    result: Option<ShapeNodeId>,
}

impl Model {
    /// The first node is the root. Not canonical; a reference astray leads to an opaque node.
    pub(crate) fn new(nodes: Vec<ShapeNode>, result: Option<ShapeNodeId>) -> Model {
        Model { nodes, result }
    }

    /// The message, or the value.
    pub(crate) fn root(&self) -> ShapeNodeId {
        ROOT
    }

    /// What a message is answered with; `None` for the shape of a plain value.
    pub(crate) fn result(&self) -> Option<ShapeNodeId> {
        self.result
    }

    /// The node of that number; an opaque one if there is none.
    pub(crate) fn node(&self, id: ShapeNodeId) -> &ShapeNode {
        const ASTRAY: ShapeNode = ShapeNode::Opaque(Opaque::Unchecked(Gap::Unreached, None));
        self.nodes.get(id.0 as usize).unwrap_or(&ASTRAY)
    }

    /// All nodes, by number.
    pub(crate) fn nodes(&self) -> &[ShapeNode] {
        &self.nodes
    }
}

/// One kind of value: what `Deserialize` asks a deserializer for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ShapeNode {
    /// What is not made of other values.
    Scalar(Scalar),
    /// Nothing, or one of it.
    Option(ShapeNodeId),
    /// Any number of it.
    Seq(ShapeNodeId),
    /// Any number of pairs.
    Map {
        /// What is looked up.
        key: ShapeNodeId,
        /// What is found.
        value: ShapeNodeId,
    },
    /// So many, one after the other: also an array.
    Tuple(Vec<ShapeNodeId>),
    /// A struct, with serde's name for it.
    Struct {
        /// As serde has it: without path, renamed if serde was told so.
        name: Box<str>,
        /// What is in it.
        content: Content,
    },
    /// An enum with all of its variants, in the order of their numbers.
    Enum {
        /// As serde has it.
        name: Box<str>,
        /// The position here is the number on the wire.
        variants: Vec<Variant>,
    },
    /// An `Address`, or a `Recipient`, of this crate.
    Address {
        /// The name of the message that it takes, without paths.
        message: Box<str>,
    },
    /// What cannot be looked into.
    Opaque(Opaque),
    /// What must be told by its own bytes what it is (`deserialize_any`): postcard's bytes do not tell.
    SelfDescribing,
}

impl ShapeNode {
    /// Shows what the node refers to, in order.
    pub(crate) fn each_child(&self, mut show: impl FnMut(ShapeNodeId)) {
        // One list of the places where references are; that of the copy is as long.
        self.clone().each_reference(&mut |id| show(*id));
    }

    /// Whether it is of a kind that refers to nothing.
    pub(crate) fn is_leaf(&self) -> bool {
        matches!(
            self,
            ShapeNode::Scalar(_) | ShapeNode::Address { .. } | ShapeNode::Opaque(_) | ShapeNode::SelfDescribing
        )
    }

    /// Shows the places where the node refers to others, in order.
    pub(super) fn each_reference(&mut self, show: &mut impl FnMut(&mut ShapeNodeId)) {
        match self {
            ShapeNode::Option(inner) | ShapeNode::Seq(inner) => show(inner),
            ShapeNode::Map { key, value } => {
                show(key);
                show(value);
            }
            ShapeNode::Tuple(parts) => parts.iter_mut().for_each(show),
            ShapeNode::Struct { content, .. } => content.each_reference(show),
            ShapeNode::Enum { variants, .. } => {
                variants.iter_mut().for_each(|variant| variant.content.each_reference(show));
            }
            ShapeNode::Scalar(_) | ShapeNode::Address { .. } | ShapeNode::Opaque(_) | ShapeNode::SelfDescribing => {}
        }
    }
}

impl Content {
    fn each_reference(&mut self, show: &mut impl FnMut(&mut ShapeNodeId)) {
        match self {
            Content::Newtype(inner) => show(inner),
            Content::Tuple(parts) => parts.iter_mut().for_each(show),
            Content::Fields(fields) => fields.iter_mut().for_each(|field| show(&mut field.node)),
            Content::Unit | Content::Opaque(_) => {}
        }
    }
}

/// What is not made of other values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Scalar {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    /// A text, owned or borrowed.
    Str,
    /// A byte string, owned or borrowed.
    Bytes,
    Unit,
}

/// What is in a struct or in a variant.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Content {
    /// Nothing.
    Unit,
    /// One value, of which serde says that it stands for the whole.
    Newtype(ShapeNodeId),
    /// Values by position.
    Tuple(Vec<ShapeNodeId>),
    /// Values by name, in the order in which they are on the wire.
    Fields(Vec<Field>),
    /// A variant that could not be looked into; never in a struct.
    Opaque(Opaque),
}

/// A field with a name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Field {
    /// As serde has it.
    pub(crate) name: Box<str>,
    /// Its kind.
    pub(crate) node: ShapeNodeId,
}

/// A variant of an enum.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Variant {
    /// As serde has it.
    pub(crate) name: Box<str>,
    /// What it carries.
    pub(crate) content: Content,
}

/// Why something is not looked into. Compared as all else: two builds of one type are opaque for one reason.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Opaque {
    /// Its owner wants it so, and named it.
    Named(Box<str>),
    /// It could not be. With the name of the Rust type that it is, or that it is a part of: that name is all that is
    /// compared of it. Shapes made by hand may have none.
    Unchecked(Gap, Option<Box<str>>),
}

/// Why something could not be looked into.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Gap {
    /// It stands behind something of which no value could be made, or its type never asked for it.
    Unreached,
    /// It nests too many levels.
    TooDeep,
    /// It has too many parts, or takes too many attempts.
    TooLarge,
    /// It is not always of the same kind.
    Varies,
}
