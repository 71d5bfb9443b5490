//! A shape as bytes: the form that is hashed and that travels. The docs of [`Shape`](super::Shape) describe the format.
//!
//! Invariants: one shape has one encoding, and [`decode`] takes no other; no bytes make it panic, recurse, or take
//! memory out of proportion to their number.

use super::canon;
use super::model::Content;
use super::model::Field;
use super::model::Gap;
use super::model::Model;
use super::model::Opaque;
use super::model::Scalar;
use super::model::ShapeNode;
use super::model::ShapeNodeId;
use super::model::Variant;

/// Maximum length of the encoding of a shape, in bytes. An enum of ten thousand variants takes a quarter of it.
pub(super) const MAX_ENCODED: usize = 1 << 20;

/// Maximum number of nodes of a shape.
pub(super) const MAX_NODES: usize = 1 << 14;

/// The version of the format, which is the first byte.
const VERSION: u8 = 1;

/// The scalars; the position of each is its tag.
const SCALARS: [Scalar; 17] = [
    Scalar::Bool,
    Scalar::I8,
    Scalar::I16,
    Scalar::I32,
    Scalar::I64,
    Scalar::I128,
    Scalar::U8,
    Scalar::U16,
    Scalar::U32,
    Scalar::U64,
    Scalar::U128,
    Scalar::F32,
    Scalar::F64,
    Scalar::Char,
    Scalar::Str,
    Scalar::Bytes,
    Scalar::Unit,
];

const OPTION: u8 = 32;
const SEQ: u8 = 33;
const MAP: u8 = 34;
const TUPLE: u8 = 35;
const STRUCT: u8 = 36;
const ENUM: u8 = 37;
const ADDRESS: u8 = 38;
const OPAQUE: u8 = 39;
const SELF_DESCRIBING: u8 = 40;

/// Added to the number of a reason that comes with the name of a Rust type.
const NAMED_GAP: u8 = 4;

fn gap_number(gap: Gap) -> u8 {
    match gap {
        Gap::Unreached => 1,
        Gap::TooDeep => 2,
        Gap::TooLarge => 3,
        Gap::Varies => 4,
    }
}

fn gap(number: u8) -> Result<Gap, NoShape> {
    match number {
        1 => Ok(Gap::Unreached),
        2 => Ok(Gap::TooDeep),
        3 => Ok(Gap::TooLarge),
        4 => Ok(Gap::Varies),
        number => Err(NoShape::UnknownTag(number)),
    }
}

/// Returns the encoding of a canonical graph.
pub(super) fn encode(model: &Model) -> Vec<u8> {
    let mut out = ShapeWriter { out: vec![VERSION] };
    out.number(model.result().map_or(0, |id| id.0 as usize + 1));
    out.list(model.nodes(), ShapeWriter::node);
    out.out
}

struct ShapeWriter {
    out: Vec<u8>,
}

impl ShapeWriter {
    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    fn number(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn name(&mut self, name: &str) {
        self.number(name.len());
        self.out.extend_from_slice(name.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.number(items.len());
        items.iter().for_each(|item| write(self, item));
    }

    fn reference(&mut self, id: &ShapeNodeId) {
        self.number(id.0 as usize);
    }

    fn node(&mut self, node: &ShapeNode) {
        match node {
            ShapeNode::Scalar(scalar) => self.byte(SCALARS.iter().position(|known| known == scalar).unwrap_or(0) as u8),
            ShapeNode::Option(inner) => self.tagged(OPTION, |out| out.reference(inner)),
            ShapeNode::Seq(inner) => self.tagged(SEQ, |out| out.reference(inner)),
            ShapeNode::Map { key, value } => self.tagged(MAP, |out| {
                out.reference(key);
                out.reference(value);
            }),
            ShapeNode::Tuple(parts) => self.tagged(TUPLE, |out| out.list(parts, ShapeWriter::reference)),
            ShapeNode::Struct { name, content } => self.tagged(STRUCT, |out| {
                out.name(name);
                out.content(content);
            }),
            ShapeNode::Enum { name, variants } => self.tagged(ENUM, |out| {
                out.name(name);
                out.list(variants, ShapeWriter::variant);
            }),
            ShapeNode::Address { message } => self.tagged(ADDRESS, |out| out.name(message)),
            ShapeNode::Opaque(why) => self.tagged(OPAQUE, |out| out.opaque(why)),
            ShapeNode::SelfDescribing => self.byte(SELF_DESCRIBING),
        }
    }

    fn tagged(&mut self, tag: u8, rest: impl FnOnce(&mut Self)) {
        self.byte(tag);
        rest(self);
    }

    fn variant(&mut self, variant: &Variant) {
        self.name(&variant.name);
        self.content(&variant.content);
    }

    fn content(&mut self, content: &Content) {
        match content {
            Content::Unit => self.byte(0),
            Content::Newtype(inner) => self.tagged(1, |out| out.reference(inner)),
            Content::Tuple(parts) => self.tagged(2, |out| out.list(parts, ShapeWriter::reference)),
            Content::Fields(fields) => self.tagged(3, |out| out.list(fields, ShapeWriter::field)),
            Content::Opaque(why) => self.tagged(4, |out| out.opaque(why)),
        }
    }

    fn field(&mut self, field: &Field) {
        self.name(&field.name);
        self.reference(&field.node);
    }

    fn opaque(&mut self, why: &Opaque) {
        match why {
            Opaque::Named(name) => self.tagged(0, |out| out.name(name)),
            Opaque::Unchecked(gap, None) => self.byte(gap_number(*gap)),
            Opaque::Unchecked(gap, Some(name)) => self.tagged(gap_number(*gap) + NAMED_GAP, |out| out.name(name)),
        }
    }
}

/// The reason why bytes are no shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NoShape {
    #[error("the shape ends too early, or has a number that is too large")]
    Truncated,
    #[error("the shape is of format {0}, and this is format {VERSION}")]
    OtherFormat(u8),
    #[error("there is no such part of a shape as {0}")]
    UnknownTag(u8),
    #[error("a name in the shape is no UTF-8")]
    NotText,
    #[error("the shape refers to parts that it does not have")]
    Dangling,
    #[error("the shape has more than {MAX_ENCODED} bytes or {MAX_NODES} parts")]
    TooLarge,
    #[error("the shape could be written shorter or in another order")]
    NotCanonical,
}

/// Returns the canonical graph whose encoding is `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Model, NoShape> {
    if bytes.len() > MAX_ENCODED {
        return Err(NoShape::TooLarge);
    }
    let mut reader = ShapeReader { rest: bytes };
    match reader.byte()? {
        VERSION => {}
        other => return Err(NoShape::OtherFormat(other)),
    }
    let result = reader.number()?.checked_sub(1).map(ShapeNodeId);
    let nodes = reader.list(ShapeReader::node)?;
    if nodes.len() > MAX_NODES {
        return Err(NoShape::TooLarge);
    }
    let model = Model::new(nodes, result);
    if !is_whole(&model) {
        return Err(NoShape::Dangling);
    }
    // This also finds left-over bytes, and numbers with idle bytes.
    let canonical = canon::canonical(&model);
    if encode(&canonical) == bytes { Ok(canonical) } else { Err(NoShape::NotCanonical) }
}

/// Returns whether there is a root, and a node behind each reference.
fn is_whole(model: &Model) -> bool {
    let count = model.nodes().len();
    let is_there = |id: ShapeNodeId| (id.0 as usize) < count;
    let mut whole = is_there(model.root()) && model.result().is_none_or(is_there);
    for node in model.nodes() {
        node.each_child(|child| whole &= is_there(child));
    }
    whole
}

struct ShapeReader<'a> {
    rest: &'a [u8],
}

impl ShapeReader<'_> {
    fn byte(&mut self) -> Result<u8, NoShape> {
        let (&byte, rest) = self.rest.split_first().ok_or(NoShape::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u32, NoShape> {
        let mut number = 0_u32;
        // Four bytes hold more than any length or count that is allowed.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(NoShape::Truncated)
    }

    fn name(&mut self) -> Result<Box<str>, NoShape> {
        let len = self.number()? as usize;
        let (name, rest) = self.rest.split_at_checked(len).ok_or(NoShape::Truncated)?;
        self.rest = rest;
        Ok(str::from_utf8(name).map_err(|_| NoShape::NotText)?.into())
    }

    /// Reads a list. Reserves nothing for the number of items that the bytes claim: each item takes a byte at least.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, NoShape>) -> Result<Vec<T>, NoShape> {
        let count = self.number()?;
        (0..count).map(|_| read(self)).collect()
    }

    fn reference(&mut self) -> Result<ShapeNodeId, NoShape> {
        self.number().map(ShapeNodeId)
    }

    fn node(&mut self) -> Result<ShapeNode, NoShape> {
        Ok(match self.byte()? {
            OPTION => ShapeNode::Option(self.reference()?),
            SEQ => ShapeNode::Seq(self.reference()?),
            MAP => ShapeNode::Map { key: self.reference()?, value: self.reference()? },
            TUPLE => ShapeNode::Tuple(self.list(ShapeReader::reference)?),
            STRUCT => ShapeNode::Struct { name: self.name()?, content: self.content()? },
            ENUM => ShapeNode::Enum { name: self.name()?, variants: self.list(ShapeReader::variant)? },
            ADDRESS => ShapeNode::Address { message: self.name()? },
            OPAQUE => ShapeNode::Opaque(self.opaque()?),
            SELF_DESCRIBING => ShapeNode::SelfDescribing,
            tag => ShapeNode::Scalar(*SCALARS.get(usize::from(tag)).ok_or(NoShape::UnknownTag(tag))?),
        })
    }

    fn variant(&mut self) -> Result<Variant, NoShape> {
        Ok(Variant { name: self.name()?, content: self.content()? })
    }

    fn content(&mut self) -> Result<Content, NoShape> {
        Ok(match self.byte()? {
            0 => Content::Unit,
            1 => Content::Newtype(self.reference()?),
            2 => Content::Tuple(self.list(ShapeReader::reference)?),
            3 => Content::Fields(self.list(ShapeReader::field)?),
            4 => Content::Opaque(self.opaque()?),
            tag => return Err(NoShape::UnknownTag(tag)),
        })
    }

    fn field(&mut self) -> Result<Field, NoShape> {
        Ok(Field { name: self.name()?, node: self.reference()? })
    }

    fn opaque(&mut self) -> Result<Opaque, NoShape> {
        Ok(match self.byte()? {
            0 => Opaque::Named(self.name()?),
            tag @ 1..=4 => Opaque::Unchecked(gap(tag)?, None),
            tag => Opaque::Unchecked(gap(tag.wrapping_sub(NAMED_GAP))?, Some(self.name()?)),
        })
    }
}
