//! The paths of a shape's unchecked parts, of which only a name is compared.
//!
//! Invariant: the list is bounded in number and length, and so is the search, whatever a stranger's graph looks like.

use std::collections::HashSet;
use std::collections::VecDeque;

use super::diff::MAX_DIFFERENCES;
use super::diff::brief;
use super::diff::step;
use super::model::Content;
use super::model::Model;
use super::model::Opaque;
use super::model::ShapeNode;
use super::model::ShapeNodeId;
use super::show::Name;
use super::show::ShownNames;

/// Returns the paths of unchecked parts: those nearest to the root first, at most [`MAX_DIFFERENCES`].
pub(super) fn paths(model: &Model) -> Vec<String> {
    let mut search = Search { model, found: Vec::new(), seen: HashSet::new(), waiting: VecDeque::new() };
    let name = brief(ShownNames::new(model).of(model.root()));
    if let Some(result) = model.result() {
        search.waiting.push_back((format!("{name} -> result"), result));
    }
    search.waiting.push_front((name, model.root()));
    while let Some((path, id)) = search.waiting.pop_front() {
        search.node(&path, id);
        if search.found.len() >= MAX_DIFFERENCES {
            break;
        }
    }
    search.found
}

struct Search<'m> {
    model: &'m Model,
    found: Vec<String>,
    /// Parts with references that wait or were searched: types that contain themselves lead to the same part again.
    seen: HashSet<ShapeNodeId>,
    waiting: VecDeque<(String, ShapeNodeId)>,
}

impl Search<'_> {
    fn node(&mut self, path: &str, id: ShapeNodeId) {
        match self.model.node(id) {
            ShapeNode::Opaque(why) => self.opaque(path, why),
            ShapeNode::Option(inner) => self.wait(step(path, "?"), *inner),
            ShapeNode::Seq(inner) => self.wait(step(path, "[]"), *inner),
            ShapeNode::Map { key, value } => {
                self.wait(step(path, "[key]"), *key);
                self.wait(step(path, "[value]"), *value);
            }
            ShapeNode::Tuple(parts) => self.parts(path, parts),
            ShapeNode::Struct { content, .. } => self.content(path, content),
            ShapeNode::Enum { variants, .. } => {
                for variant in variants {
                    self.content(&step(path, &format!("::{}", Name(&variant.name))), &variant.content);
                }
            }
            ShapeNode::Scalar(_) | ShapeNode::Address { .. } | ShapeNode::SelfDescribing => {}
        }
    }

    fn content(&mut self, path: &str, content: &Content) {
        match content {
            Content::Unit => {}
            Content::Newtype(inner) => self.wait(step(path, ".0"), *inner),
            Content::Tuple(parts) => self.parts(path, parts),
            Content::Fields(fields) => {
                for field in fields {
                    self.wait(step(path, &format!(".{}", Name(&field.name))), field.node);
                }
            }
            Content::Opaque(why) => self.opaque(path, why),
        }
    }

    fn parts(&mut self, path: &str, parts: &[ShapeNodeId]) {
        for (at, part) in parts.iter().enumerate() {
            self.wait(step(path, &format!(".{at}")), *part);
        }
    }

    /// Searches a part later; a part that refers to nothing is handled at once, at each of its places.
    fn wait(&mut self, path: String, id: ShapeNodeId) {
        match self.model.node(id) {
            ShapeNode::Opaque(why) => self.opaque(&path, why),
            node if node.is_leaf() => {}
            _ if self.seen.insert(id) => self.waiting.push_back((path, id)),
            _ => {}
        }
    }

    fn opaque(&mut self, path: &str, why: &Opaque) {
        if let Opaque::Unchecked(..) = why
            && self.found.len() < MAX_DIFFERENCES
        {
            self.found.push(path.to_owned());
        }
    }
}
