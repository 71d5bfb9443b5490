//! A shape as text for people: the definitions of the types in it.
//!
//! Invariant: the text for one type where it is used is bounded, whatever a stranger's graph looks like.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::fmt::Write;

use super::model::Content;
use super::model::Gap;
use super::model::Model;
use super::model::Opaque;
use super::model::Scalar;
use super::model::ShapeNode;
use super::model::ShapeNodeId;

/// Maximum number of types shown where one is used, nested or side by side.
const MAX_INLINE: usize = 200;

/// Maximum number of levels of nested types.
const MAX_NESTED: usize = 24;

/// Maximum number of characters shown of a name.
const MAX_NAME: usize = 120;

/// Maximum number of characters shown of the name of a Rust type, which includes its path: the difference between two
/// names should be visible.
pub(super) const MAX_TYPE_NAME: usize = 256;

/// Maximum length of the text of a shape, in bytes.
pub(super) const MAX_PAGE: usize = 4 << 20;

/// The names of the types of one shape.
pub(super) struct ShownNames<'a> {
    model: &'a Model,
    /// The types that would have the same name, with their numbers.
    ambiguous: HashMap<ShapeNodeId, usize>,
}

impl<'a> ShownNames<'a> {
    pub(super) fn new(model: &'a Model) -> ShownNames<'a> {
        let mut named: HashMap<&str, Vec<ShapeNodeId>> = HashMap::new();
        for (at, node) in (0..).map(ShapeNodeId).zip(model.nodes()) {
            if let ShapeNode::Struct { name, .. } | ShapeNode::Enum { name, .. } = node {
                named.entry(name).or_default().push(at);
            }
        }
        let several = named.into_values().filter(|ids| ids.len() > 1);
        let ambiguous = several.flat_map(|ids| ids.into_iter().zip(1..)).collect();
        ShownNames { model, ambiguous }
    }

    pub(super) fn model(&self) -> &'a Model {
        self.model
    }

    /// Returns the type as it is written where it is used.
    pub(super) fn of(&self, id: ShapeNodeId) -> Inline<'_, 'a> {
        Inline { names: self, id, left: Cell::new(MAX_INLINE) }
    }
}

/// A type where it is used: a named type is shown by its name.
pub(super) struct Inline<'n, 'a> {
    names: &'n ShownNames<'a>,
    id: ShapeNodeId,
    left: Cell<usize>,
}

impl fmt::Display for Inline<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.left.set(MAX_INLINE);
        self.write(f, self.id, 0)
    }
}

impl Inline<'_, '_> {
    fn write(&self, f: &mut fmt::Formatter<'_>, id: ShapeNodeId, level: usize) -> fmt::Result {
        let Some(left) = self.left.get().checked_sub(1).filter(|_| level < MAX_NESTED) else {
            return f.write_str("…");
        };
        self.left.set(left);
        match self.names.model.node(id) {
            ShapeNode::Scalar(scalar) => f.write_str(word(*scalar)),
            ShapeNode::Option(inner) => self.wrapped(f, "Option<", &[*inner], level),
            ShapeNode::Seq(inner) => self.wrapped(f, "Vec<", &[*inner], level),
            ShapeNode::Map { key, value } => self.wrapped(f, "Map<", &[*key, *value], level),
            ShapeNode::Tuple(parts) => self.tuple(f, parts, level),
            ShapeNode::Struct { name, .. } | ShapeNode::Enum { name, .. } => match self.names.ambiguous.get(&id) {
                Some(number) => write!(f, "{}#{number}", Name(name)),
                None => write!(f, "{}", Name(name)),
            },
            ShapeNode::Address { message } => write!(f, "Address<{}>", Name(message)),
            ShapeNode::Opaque(why) => write!(f, "{}", ShownOpaque(why)),
            ShapeNode::SelfDescribing => f.write_str("any"),
        }
    }

    fn wrapped(&self, f: &mut fmt::Formatter<'_>, begin: &str, parts: &[ShapeNodeId], level: usize) -> fmt::Result {
        f.write_str(begin)?;
        self.list(f, parts, level)?;
        f.write_str(">")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, parts: &[ShapeNodeId], level: usize) -> fmt::Result {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            if self.left.get() == 0 {
                return f.write_str("…");
            }
            self.write(f, *part, level + 1)?;
        }
        Ok(())
    }

    /// Shows a tuple or an array: a row of four or more equal parts is shown as an array.
    fn tuple(&self, f: &mut fmt::Formatter<'_>, parts: &[ShapeNodeId], level: usize) -> fmt::Result {
        if let [first, _, _, _, ..] = parts
            && parts.iter().all(|part| part == first)
        {
            f.write_str("[")?;
            self.write(f, *first, level + 1)?;
            return write!(f, "; {}]", parts.len());
        }
        f.write_str("(")?;
        self.list(f, parts, level)?;
        f.write_str(if parts.len() == 1 { ",)" } else { ")" })
    }
}

/// A name that may be a stranger's: shown with bounded length, and without anything that moves a terminal's cursor.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        within(f, self.0, MAX_NAME)
    }
}

/// Shows at most `most` characters of a name.
fn within(f: &mut fmt::Formatter<'_>, name: &str, most: usize) -> fmt::Result {
    match name.char_indices().nth(most) {
        Some((end, _)) => write!(f, "{}…", name[..end].escape_debug()),
        None => write!(f, "{}", name.escape_debug()),
    }
}

pub(super) fn word(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool",
        Scalar::I8 => "i8",
        Scalar::I16 => "i16",
        Scalar::I32 => "i32",
        Scalar::I64 => "i64",
        Scalar::I128 => "i128",
        Scalar::U8 => "u8",
        Scalar::U16 => "u16",
        Scalar::U32 => "u32",
        Scalar::U64 => "u64",
        Scalar::U128 => "u128",
        Scalar::F32 => "f32",
        Scalar::F64 => "f64",
        Scalar::Char => "char",
        Scalar::Str => "String",
        Scalar::Bytes => "bytes",
        Scalar::Unit => "()",
    }
}

/// An opaque part, with the name by which it is compared.
pub(super) struct ShownOpaque<'a>(pub(super) &'a Opaque);

impl fmt::Display for ShownOpaque<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Opaque::Named(name) => write!(f, "opaque({})", Name(name)),
            Opaque::Unchecked(gap, None) => write!(f, "opaque({})", reason(*gap)),
            Opaque::Unchecked(gap, Some(name)) => {
                write!(f, "opaque({}: ", reason(*gap))?;
                within(f, name, MAX_TYPE_NAME)?;
                f.write_str(")")
            }
        }
    }
}

fn reason(gap: Gap) -> &'static str {
    match gap {
        Gap::Unreached => "not reached",
        Gap::TooDeep => "too deep",
        Gap::TooLarge => "too large",
        Gap::Varies => "varies",
    }
}

/// The name of the message, and its result.
pub(super) struct Title<'a>(pub(super) &'a Model);

impl fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ShownNames::new(self.0);
        names.of(self.0.root()).fmt(f)?;
        match self.0.result() {
            Some(result) => write!(f, " -> {}", names.of(result)),
            None => Ok(()),
        }
    }
}

/// Shows the title, then the definition of each type that has a name.
pub(super) fn whole(f: &mut fmt::Formatter<'_>, model: &Model) -> fmt::Result {
    let mut page = Page { f, left: MAX_PAGE };
    match definitions(&mut page, model) {
        Err(fmt::Error) if page.left == 0 => f.write_str("…"),
        written => written,
    }
}

/// A text of bounded length.
struct Page<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl Write for Page<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match self.left.checked_sub(text.len()) {
            Some(left) => {
                self.left = left;
                self.f.write_str(text)
            }
            None => {
                self.left = 0;
                Err(fmt::Error)
            }
        }
    }
}

fn definitions(page: &mut Page<'_, '_>, model: &Model) -> fmt::Result {
    let names = ShownNames::new(model);
    write!(page, "{}", Title(model))?;
    for (id, node) in (0..).map(ShapeNodeId).zip(model.nodes()) {
        match node {
            ShapeNode::Struct { content, .. } => {
                write!(page, "\n\nstruct {}", names.of(id))?;
                definition(page, &names, content, "")?;
            }
            ShapeNode::Enum { variants, .. } => {
                write!(page, "\n\nenum {} {{", names.of(id))?;
                for variant in variants {
                    write!(page, "\n    {}", Name(&variant.name))?;
                    definition(page, &names, &variant.content, "    ")?;
                    page.write_str(",")?;
                }
                page.write_str("\n}")?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn definition(page: &mut Page<'_, '_>, names: &ShownNames<'_>, content: &Content, indent: &str) -> fmt::Result {
    match content {
        Content::Unit => Ok(()),
        Content::Newtype(inner) => write!(page, "({})", names.of(*inner)),
        Content::Tuple(parts) => {
            page.write_str("(")?;
            for (at, part) in parts.iter().enumerate() {
                write!(page, "{}{}", if at > 0 { ", " } else { "" }, names.of(*part))?;
            }
            page.write_str(if parts.len() == 1 { ",)" } else { ")" })
        }
        Content::Fields(fields) => {
            page.write_str(" {")?;
            for field in fields {
                write!(page, "\n{indent}    {}: {},", Name(&field.name), names.of(field.node))?;
            }
            write!(page, "\n{indent}}}")
        }
        Content::Opaque(why) => write!(page, "({})", ShownOpaque(why)),
    }
}
