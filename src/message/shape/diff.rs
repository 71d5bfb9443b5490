//! The differences between two shapes: a list of places with the content of each side.
//!
//! Invariants: shapes that are unequal have a difference, and shapes that are equal have none; the differences are
//! bounded in number and length, and so is the search, whatever a stranger's graph looks like.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write;

use serde::Deserialize;
use serde::Serialize;

use super::model::Content;
use super::model::Field;
use super::model::Model;
use super::model::ShapeNode;
use super::model::ShapeNodeId;
use super::model::Variant;
use super::show::Name;
use super::show::ShownNames;
use super::show::ShownOpaque;

/// Maximum number of differences reported.
pub(super) const MAX_DIFFERENCES: usize = 32;

/// Maximum number of pairs of parts compared: more than any type that people write has parts.
const MAX_PAIRS: usize = 1 << 16;

/// Maximum length of a path in bytes; deeper steps are replaced by an ellipsis.
pub(super) const MAX_PATH: usize = 1024;

/// Maximum length, in bytes, of the text for one side.
pub(super) const MAX_TOLD: usize = 1024;

/// Maximum number of names listed where their order differs.
const MAX_LISTED: usize = 12;

/// Stands for omitted text.
const MORE: &str = "…";

/// One place where two shapes differ. Shown as a sentence: ``"`Ping.return_to.n`: u32 here, u64 there"``.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// The place: the type's name, then a step for each level. `.n` is a field (or, by number, a part), `::A` a
    /// variant, `?` the content of an option, `[]` the elements of a sequence, `[key]` and `[value]` those of a map.
    /// Places in the result of a message begin with `Ping -> result`.
    pub path: String,
    /// The content of this place in the shape whose [`diff`](crate::Shape::diff) was called.
    pub here: String,
    /// The content of this place in the other shape.
    pub there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {} here, {} there", self.path, self.here, self.there)
    }
}

/// Returns the places where the two differ, nearest to the root first, at most [`MAX_DIFFERENCES`].
pub(super) fn differences(here: &Model, there: &Model) -> Vec<Difference> {
    if here == there {
        return Vec::new();
    }
    let mut search = Search {
        here: ShownNames::new(here),
        there: ShownNames::new(there),
        found: Vec::new(),
        seen: HashSet::new(),
        waiting: VecDeque::new(),
    };
    let name = brief(search.here.of(here.root()));
    search.wait(name.clone(), here.root(), there.root());
    let result = format!("{name} -> result");
    match (here.result(), there.result()) {
        (Some(of_here), Some(of_there)) => search.wait(result, of_here, of_there),
        (None, None) => {}
        (of_here, _) => {
            let words = |is_there| if is_there { "a message with a result" } else { "a value without a result" };
            search.tell(&result, words(of_here.is_some()), words(of_here.is_none()));
        }
    }
    while let Some((path, of_here, of_there)) = search.waiting.pop_front() {
        if search.is_full() {
            break;
        }
        search.compare(&path, here.node(of_here), there.node(of_there), (of_here, of_there));
    }
    if search.found.is_empty() {
        search.tell(&name, "one of many parts", "another");
    }
    search.found
}

struct Search<'a> {
    here: ShownNames<'a>,
    there: ShownNames<'a>,
    found: Vec<Difference>,
    /// Pairs that wait or were compared: types that contain themselves lead to the same pair again.
    seen: HashSet<(ShapeNodeId, ShapeNodeId)>,
    waiting: VecDeque<(String, ShapeNodeId, ShapeNodeId)>,
}

impl Search<'_> {
    fn tell(&mut self, path: &str, here: impl fmt::Display, there: impl fmt::Display) {
        if !self.is_full() {
            self.found.push(Difference { path: path.to_owned(), here: brief(here), there: brief(there) });
        }
    }

    /// Returns whether the maximum number of differences is reached.
    fn is_full(&self) -> bool {
        self.found.len() >= MAX_DIFFERENCES
    }

    /// Compares a pair, now or after the pairs that are nearer to the root. If a pair comes twice, only its first place
    /// is reported; a pair with a leaf is reported at each place, since nothing more can be said below it.
    fn wait(&mut self, path: String, here: ShapeNodeId, there: ShapeNodeId) {
        let nodes = (self.here.model().node(here), self.there.model().node(there));
        if nodes.0.is_leaf() || nodes.1.is_leaf() {
            self.compare(&path, nodes.0, nodes.1, (here, there));
        } else if self.seen.len() < MAX_PAIRS && self.seen.insert((here, there)) {
            self.waiting.push_back((path, here, there));
        }
    }

    fn compare(&mut self, path: &str, here: &ShapeNode, there: &ShapeNode, ids: (ShapeNodeId, ShapeNodeId)) {
        match (here, there) {
            _ if self.is_full() => {}
            (ShapeNode::Option(here), ShapeNode::Option(there)) => self.wait(step(path, "?"), *here, *there),
            (ShapeNode::Seq(here), ShapeNode::Seq(there)) => self.wait(step(path, "[]"), *here, *there),
            (ShapeNode::Map { key: here, value }, ShapeNode::Map { key: there, value: value_there }) => {
                self.wait(step(path, "[key]"), *here, *there);
                self.wait(step(path, "[value]"), *value, *value_there);
            }
            (ShapeNode::Tuple(here), ShapeNode::Tuple(there)) if here.len() == there.len() => {
                self.parts(path, here, there)
            }
            (ShapeNode::Struct { name, content }, ShapeNode::Struct { name: name_there, content: content_there }) => {
                self.names(path, name, name_there);
                self.content(path, content, content_there);
            }
            (ShapeNode::Enum { name, variants }, ShapeNode::Enum { name: name_there, variants: variants_there }) => {
                self.names(path, name, name_there);
                self.variants(path, variants, variants_there);
            }
            _ if here == there => {}
            _ => {
                let (here, there) = (brief(self.here.of(ids.0)), brief(self.there.of(ids.1)));
                self.tell(path, here, there);
            }
        }
    }

    fn names(&mut self, path: &str, here: &str, there: &str) {
        if here != there {
            self.tell(path, format!("named `{}`", Name(here)), format!("`{}`", Name(there)));
        }
    }

    fn parts(&mut self, path: &str, here: &[ShapeNodeId], there: &[ShapeNodeId]) {
        for (at, (here, there)) in here.iter().zip(there).enumerate() {
            self.wait(step(path, &format!(".{at}")), *here, *there);
        }
    }

    fn content(&mut self, path: &str, here: &Content, there: &Content) {
        match (here, there) {
            (Content::Newtype(here), Content::Newtype(there)) => self.wait(step(path, ".0"), *here, *there),
            (Content::Tuple(here), Content::Tuple(there)) if here.len() == there.len() => {
                self.parts(path, here, there);
            }
            (Content::Fields(here), Content::Fields(there)) => self.fields(path, here, there),
            _ if here == there => {}
            _ => {
                let (here, there) = (form(&self.here, here), form(&self.there, there));
                self.tell(path, here, there);
            }
        }
    }

    fn fields(&mut self, path: &str, here: &[Field], there: &[Field]) {
        let (names_here, names_there) = (names_of(here, |field| &field.name), names_of(there, |field| &field.name));
        let aligned = Aligned::new(&names_here, &names_there);
        for &at in aligned.only_here.iter().take(MAX_DIFFERENCES) {
            let is = brief(format_args!("a field of type {}", self.here.of(here[at].node)));
            self.tell(&step(path, &format!(".{}", Name(names_here[at]))), is, "no such field");
        }
        for &at in aligned.only_there.iter().take(MAX_DIFFERENCES) {
            let is = brief(format_args!("a field of type {}", self.there.of(there[at].node)));
            self.tell(&step(path, &format!(".{}", Name(names_there[at]))), "no such field", is);
        }
        self.order(path, "fields", &aligned, &names_here, &names_there);
        for (here, there) in aligned.pairs.iter().map(|&(at_here, at_there)| (&here[at_here], &there[at_there])) {
            let path = step(path, &format!(".{}", Name(&here.name)));
            self.names(&path, &here.name, &there.name);
            self.wait(path, here.node, there.node);
        }
    }

    fn variants(&mut self, path: &str, here: &[Variant], there: &[Variant]) {
        let (names_here, names_there) = (names_of(here, |variant| &variant.name), names_of(there, |v| &v.name));
        let aligned = Aligned::new(&names_here, &names_there);
        for &at in aligned.only_here.iter().take(MAX_DIFFERENCES) {
            self.tell(&step(path, &format!("::{}", Name(names_here[at]))), "a variant", "no such variant");
        }
        for &at in aligned.only_there.iter().take(MAX_DIFFERENCES) {
            self.tell(&step(path, &format!("::{}", Name(names_there[at]))), "no such variant", "a variant");
        }
        self.order(path, "variants", &aligned, &names_here, &names_there);
        for (here, there) in aligned.pairs.iter().map(|&(at_here, at_there)| (&here[at_here], &there[at_there])) {
            let path = step(path, &format!("::{}", Name(&here.name)));
            self.names(&path, &here.name, &there.name);
            self.content(&path, &here.content, &there.content);
        }
    }

    fn order(&mut self, path: &str, what: &str, aligned: &Aligned, names_here: &[&str], names_there: &[&str]) {
        if !aligned.pairs.is_sorted_by_key(|(_, at_there)| *at_there) {
            self.tell(path, format!("{what} in the order {}", list(names_here)), list(names_there));
        }
    }
}

fn names_of<'a, T>(items: &'a [T], name: impl Fn(&'a T) -> &'a str) -> Vec<&'a str> {
    items.iter().map(name).collect()
}

/// The pairing of fields, or variants, of the two sides.
struct Aligned {
    /// Pairs in the order of this side: items of one name; and among the items without a namesake, those at the same
    /// place, which count as renamed.
    pairs: Vec<(usize, usize)>,
    only_here: Vec<usize>,
    only_there: Vec<usize>,
}

impl Aligned {
    fn new(here: &[&str], there: &[&str]) -> Aligned {
        let mut by_name: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (at, name) in there.iter().enumerate() {
            by_name.entry(name).or_default().push_back(at);
        }
        let mut aligned = Aligned { pairs: Vec::new(), only_here: Vec::new(), only_there: Vec::new() };
        for (at, name) in here.iter().enumerate() {
            match by_name.get_mut(name).and_then(VecDeque::pop_front) {
                Some(at_there) => aligned.pairs.push((at, at_there)),
                None => aligned.only_here.push(at),
            }
        }
        let mut left: BTreeSet<usize> = by_name.into_values().flatten().collect();
        let pairs = &mut aligned.pairs;
        aligned.only_here.retain(|&at| {
            let renamed = left.remove(&at);
            if renamed {
                pairs.push((at, at));
            }
            !renamed
        });
        aligned.pairs.sort_unstable();
        aligned.only_there = left.into_iter().collect();
        aligned
    }
}

/// Describes the content of a struct or a variant.
fn form(names: &ShownNames<'_>, content: &Content) -> String {
    match content {
        Content::Unit => "no content".to_owned(),
        Content::Newtype(inner) => format!("({})", brief(names.of(*inner))),
        Content::Tuple(parts) => {
            let shown: Vec<String> = parts.iter().take(MAX_LISTED).map(|part| brief(names.of(*part))).collect();
            let more = if parts.len() > MAX_LISTED { ", …" } else { "" };
            format!("{} parts ({}{more})", parts.len(), shown.join(", "))
        }
        Content::Fields(fields) => format!("fields ({})", list(&names_of(fields, |field| &field.name))),
        Content::Opaque(why) => brief(ShownOpaque(why)),
    }
}

fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|name| Name(name).to_string()).collect();
    let more = if names.len() > MAX_LISTED { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Returns a text that ends where it gets too long, whatever a stranger's names are.
pub(super) fn brief(what: impl fmt::Display) -> String {
    let mut text = Brief(String::new());
    if write!(text, "{what}").is_err() {
        text.0.push_str(MORE);
    }
    text.0
}

/// A text of [`MAX_TOLD`] bytes at most.
struct Brief(String);

impl fmt::Write for Brief {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_TOLD {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Returns the path one level further down.
pub(super) fn step(path: &str, step: &str) -> String {
    if path.ends_with(MORE) {
        return path.to_owned();
    }
    format!("{path}{}", if path.len() + step.len() > MAX_PATH { MORE } else { step })
}
