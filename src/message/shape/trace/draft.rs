//! What the tracer knows so far: a draft of each node, with a slot for everything that the node refers to.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use crate::message::shape::model::Gap;
use crate::message::shape::model::ShapeNode;

/// A list of names as serde passes it.
pub(super) type Names = &'static [&'static str];

/// What a node is to become.
#[derive(PartialEq, Debug)]
pub(super) enum Kind {
    /// It refers to nothing.
    Leaf(ShapeNode),
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
    /// The Rust type that it is of.
    pub(super) type_name: &'static str,
    pub(super) slots: Vec<DraftSlot>,
    /// What is being found out about its names, and what came of it if they are not those of the kind.
    pub(super) naming: Option<DraftNaming>,
    pub(super) names: Option<Vec<&'static str>>,
    /// Of a map: its keys are read as names of fields, as those of a struct with flattened fields are.
    pub(super) flattened: bool,
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
    pub(super) fn new(kind: Kind, type_name: &'static str) -> Draft {
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
        slots.resize_with(count, DraftSlot::default);
        let open = if matches!(kind, Kind::Enum(..)) { (0..count).collect() } else { VecDeque::new() };
        let done = matches!(kind, Kind::Leaf(_));
        Draft {
            kind,
            type_name,
            slots,
            naming: None,
            names: None,
            flattened: false,
            whole: false,
            declared: 0,
            reading: 0,
            done,
            barren: false,
            idle: 0,
            open,
            shortest: None,
        }
    }

    /// The list of names that it has come with.
    pub(super) fn listed(&self) -> Option<Names> {
        match self.kind {
            Kind::Enum(_, names) => Some(names),
            Kind::Struct(_, Form::Fields(names)) | Kind::Variant(Form::Fields(names)) => Some(names),
            _ => None,
        }
    }

    /// The names of its slots: there may be fewer than slots, of which the last are none then.
    pub(super) fn names(&self) -> &[&'static str] {
        self.names.as_deref().or_else(|| self.listed()).unwrap_or_default()
    }

    /// Whether it is a map of which no key was ever accepted, so that nothing was asked for behind one.
    pub(super) fn lacks_keys(&self) -> bool {
        matches!((&self.kind, self.slots.as_slice()), (Kind::Map, [key, value]) if key.stuck && !value.entered)
    }

    /// Whether a value needs something in each slot.
    pub(super) fn needs_all(&self) -> bool {
        matches!(self.kind, Kind::Tuple | Kind::Struct(..) | Kind::Variant(_))
    }
}

/// Something that a node refers to.
#[derive(Clone, Default, Debug)]
pub(super) struct DraftSlot {
    /// The draft of what was asked for here.
    pub(super) link: Option<usize>,
    /// The Rust type that was asked for here.
    pub(super) type_name: Option<&'static str>,
    /// Of a variant: what its number was read as.
    pub(super) key: Option<DraftKey>,
    /// It was asked for.
    pub(super) entered: bool,
    /// It was read at least once without an error.
    pub(super) good: bool,
    /// Nothing offered here was accepted, and nothing more is tried.
    pub(super) stuck: bool,
    /// Says why it is not looked into, whatever the link is.
    pub(super) opaque: Option<Gap>,
    /// Of a leaf: the candidates that were refused, and the last that was offered.
    pub(super) refused: u64,
    pub(super) offered: u32,
    /// Of a text: the texts that are accepted, as its owner's error has them; and whether these are offered by now, as
    /// all others were refused.
    pub(super) listed: Option<Names>,
    pub(super) by_list: bool,
    /// Of a composite: how often its values were refused as a whole.
    pub(super) variation: usize,
    /// It is being read at this moment.
    pub(super) reading: usize,
}

/// What a name, or a number, was read as: the variant of the enum that derived code has for that. Of anything else it
/// says nothing, and all are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct DraftKey(u64);

impl DraftKey {
    pub(super) fn of<T>(read: &T) -> DraftKey {
        let mut hash = DefaultHasher::new();
        std::mem::discriminant(read).hash(&mut hash);
        DraftKey(hash.finish())
    }
}

/// What is known of the names of a draft.
#[derive(Default, Debug)]
pub(super) struct DraftNaming {
    /// For each name of the list, what it was read as; `None` if it was refused.
    pub(super) keys: Vec<Option<DraftKey>>,
    /// For each field so far its own name.
    pub(super) own: Vec<&'static str>,
}

impl DraftNaming {
    /// For each different key, the first name that gives it.
    pub(super) fn groups(&self, names: Names) -> Vec<(DraftKey, &'static str)> {
        let mut seen = BTreeSet::new();
        let known = self.keys.iter().zip(names).filter_map(|(key, name)| key.map(|key| (key, *name)));
        known.filter(|(key, _)| seen.insert(*key)).collect()
    }
}
