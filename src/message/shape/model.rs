//! The graph of a shape: nodes, each the kind of one value, which refer to one another by number.
//!
//! It is a graph and not a tree, so that a type may contain itself. Any graph can be walked through here; only
//! [`canon`](super::canon) makes graphs that can be compared, and a [`Shape`](super::Shape) holds no others.
//!
//! Invariant: each [`ShapeNodeId`] in a [`Model`] is that of a node in it. A walk must expect circles and long chains:
//! bound the depth, or remember the visited nodes.

/// The number of a node in its [`Model`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ShapeNodeId(pub(crate) u32);

/// The number of the message itself, or of the value if there is no result.
pub(crate) const ROOT: ShapeNodeId = ShapeNodeId(0);

/// A message (or any value) and its result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Model {
    /// The root is [`ROOT`].
    nodes: Vec<ShapeNode>,
    result: Option<ShapeNodeId>,
}

impl Model {
    /// Makes a graph that need not be canonical. The first node is the root; a reference astray leads to an opaque
    /// node.
    pub(crate) fn new(nodes: Vec<ShapeNode>, result: Option<ShapeNodeId>) -> Model {
        Model { nodes, result }
    }

    /// Returns the number of the message, or of the value.
    pub(crate) fn root(&self) -> ShapeNodeId {
        ROOT
    }

    /// Returns the number of the message's result; `None` for the shape of a plain value.
    pub(crate) fn result(&self) -> Option<ShapeNodeId> {
        self.result
    }

    /// Returns the node of that number; an opaque one if there is none.
    pub(crate) fn node(&self, id: ShapeNodeId) -> &ShapeNode {
        const ASTRAY: ShapeNode = ShapeNode::Opaque(Opaque::Unchecked(Gap::Unreached, None));
        self.nodes.get(id.0 as usize).unwrap_or(&ASTRAY)
    }

    /// Returns all nodes, by number.
    pub(crate) fn nodes(&self) -> &[ShapeNode] {
        &self.nodes
    }
}

/// One kind of value: what `Deserialize` asks a deserializer for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ShapeNode {
    /// A value that is not made of other values.
    Scalar(Scalar),
    /// Nothing, or one value.
    Option(ShapeNodeId),
    /// Any number of values of one kind.
    Seq(ShapeNodeId),
    /// Any number of key-value pairs.
    Map {
        /// The kind of the keys.
        key: ShapeNodeId,
        /// The kind of the values.
        value: ShapeNodeId,
    },
    /// A fixed number of values, one after the other: also an array.
    Tuple(Vec<ShapeNodeId>),
    /// A struct, with serde's name for it.
    Struct {
        /// The name as serde has it: without path, renamed by serde's attributes.
        name: Box<str>,
        /// The content of the struct.
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
        /// The name of the message type that the address takes, without paths.
        message: Box<str>,
    },
    /// A part that is not traced.
    Opaque(Opaque),
    /// A value that finds out from its own bytes what it is (`deserialize_any`): postcard's bytes do not say it.
    SelfDescribing,
}

impl ShapeNode {
    /// Calls `show` with each node that this one refers to, in order.
    pub(crate) fn each_child(&self, mut show: impl FnMut(ShapeNodeId)) {
        // A copy, so that the references are listed in one function only, which needs the node as mutable.
        self.clone().each_reference(&mut |id| show(*id));
    }

    /// Returns whether the node is of a kind that refers to nothing.
    pub(crate) fn is_leaf(&self) -> bool {
        matches!(
            self,
            ShapeNode::Scalar(_) | ShapeNode::Address { .. } | ShapeNode::Opaque(_) | ShapeNode::SelfDescribing
        )
    }

    /// Calls `show` with each of the node's references, in order.
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

/// A value that is not made of other values.
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

/// The content of a struct or of a variant.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Content {
    /// Nothing.
    Unit,
    /// One value that stands for the whole, by serde's rules.
    Newtype(ShapeNodeId),
    /// Values by position.
    Tuple(Vec<ShapeNodeId>),
    /// Values by name, in the order of the wire.
    Fields(Vec<Field>),
    /// A variant that could not be traced; never in a struct.
    Opaque(Opaque),
}

/// A field with a name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Field {
    /// As serde has it.
    pub(crate) name: Box<str>,
    /// The field's kind.
    pub(crate) node: ShapeNodeId,
}

/// A variant of an enum.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Variant {
    /// As serde has it.
    pub(crate) name: Box<str>,
    /// The variant's content.
    pub(crate) content: Content,
}

/// The reason why a part is opaque. It is compared like everything else: two builds of one type are opaque for one
/// reason.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Opaque {
    /// The owner marked the part as opaque, and named it.
    Named(Box<str>),
    /// The part could not be traced. Only the name of its Rust type, or of the type around it, is compared. Shapes made
    /// by hand may have no name.
    Unchecked(Gap, Option<Box<str>>),
}

/// The reason why a part could not be traced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Gap {
    /// The part stands behind another of which no value could be made, or its type never asked for it.
    Unreached,
    /// The part nests too many levels.
    TooDeep,
    /// The type has too many parts, or takes too many attempts.
    TooLarge,
    /// The part is not always of the same kind.
    Varies,
}
