//! The tracer's knowledge so far: a draft of each node, with a slot for each reference of the node.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use crate::message::shape::model::Gap;
use crate::message::shape::model::ShapeNode;

/// A list of names as serde passes it.
pub(super) type Names = &'static [&'static str];

/// The kind that a node will have.
#[derive(PartialEq, Debug)]
pub(super) enum Kind {
    /// A node that refers to nothing.
    Leaf(ShapeNode),
    Option,
    Seq,
    /// Slot 0 is the key, slot 1 the value.
    Map,
    Tuple,
    Struct(&'static str, Form),
    /// The content of a variant.
    Variant(Form),
    /// An enum, with a slot for each variant.
    Enum(&'static str, Names),
    /// The place at which tracing starts: never a node.
    Start,
}

/// The form of the content of a struct or a variant.
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
    /// The name of the Rust type.
    pub(super) type_name: &'static str,
    pub(super) slots: Vec<DraftSlot>,
    /// The search for the draft's names while it runs, and its outcome if the names are not those of the kind.
    pub(super) naming: Option<DraftNaming>,
    pub(super) names: Option<Vec<&'static str>>,
    /// For a map: whether its keys are read as names of fields, like those of a struct with flattened fields.
    pub(super) flattened: bool,
    /// Whether a value of this draft was made.
    pub(super) whole: bool,
    /// For a composite whose parts have positions: the number of parts it announced that it would ask for.
    pub(super) declared: usize,
    /// Number of readings of this draft in progress: if more than one, the type contains itself.
    pub(super) reading: usize,
    /// Nothing new can be learnt by reading this draft, apart from the drafts that are being read around it.
    pub(super) done: bool,
    /// No value of this draft can be made, because some part of it has none.
    pub(super) barren: bool,
    /// Number of times this draft was read in vain since it is known to be barren.
    pub(super) idle: usize,
    /// For an enum: the variants still to be read, the next one first.
    pub(super) open: VecDeque<usize>,
    /// For an enum: the variant that ends after the fewest levels, and the number of these levels.
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

    /// Returns the list of names that the type passed to serde.
    pub(super) fn listed(&self) -> Option<Names> {
        match self.kind {
            Kind::Enum(_, names) => Some(names),
            Kind::Struct(_, Form::Fields(names)) | Kind::Variant(Form::Fields(names)) => Some(names),
            _ => None,
        }
    }

    /// Returns the names of the slots. If there are fewer names than slots, the last slots do not count.
    pub(super) fn names(&self) -> &[&'static str] {
        self.names.as_deref().or_else(|| self.listed()).unwrap_or_default()
    }

    /// Returns whether this is a map of which no key was ever accepted, so that no value was asked for either.
    pub(super) fn lacks_keys(&self) -> bool {
        matches!((&self.kind, self.slots.as_slice()), (Kind::Map, [key, value]) if key.stuck && !value.entered)
    }

    /// Returns whether a value needs something in each slot.
    pub(super) fn needs_all(&self) -> bool {
        matches!(self.kind, Kind::Tuple | Kind::Struct(..) | Kind::Variant(_))
    }
}

/// A reference of a node.
#[derive(Clone, Default, Debug)]
pub(super) struct DraftSlot {
    /// The draft that was asked for here.
    pub(super) link: Option<usize>,
    /// The Rust type that was asked for here.
    pub(super) type_name: Option<&'static str>,
    /// For a variant: the key as which its number was read.
    pub(super) key: Option<DraftKey>,
    /// Whether the slot was asked for.
    pub(super) entered: bool,
    /// Whether the slot was read at least once without an error.
    pub(super) good: bool,
    /// Whether nothing offered here was accepted, so that nothing more is tried.
    pub(super) stuck: bool,
    /// The reason why the slot is opaque, whatever the link is.
    pub(super) opaque: Option<Gap>,
    /// For a leaf: the candidates that were refused, and the last that was offered.
    pub(super) refused: u64,
    pub(super) offered: u32,
    /// For a text: the accepted texts according to its owner's error; and whether these are offered now, as all others
    /// were refused.
    pub(super) listed: Option<Names>,
    pub(super) by_list: bool,
    /// For a composite: the number of times its values were refused as a whole.
    pub(super) variation: usize,
    /// Number of readings of this slot in progress.
    pub(super) reading: usize,
}

/// The key as which a name, or a number, was read: the variant of the enum that derived code uses for names. For types
/// other than enums all keys are equal and say nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct DraftKey(u64);

impl DraftKey {
    pub(super) fn of<T>(read: &T) -> DraftKey {
        let mut hash = DefaultHasher::new();
        std::mem::discriminant(read).hash(&mut hash);
        DraftKey(hash.finish())
    }
}

/// The knowledge about the names of a draft.
#[derive(Default, Debug)]
pub(super) struct DraftNaming {
    /// For each name of the list, the key as which it was read; `None` if it was refused.
    pub(super) keys: Vec<Option<DraftKey>>,
    /// The own name of each field asked about so far.
    pub(super) own: Vec<&'static str>,
}

impl DraftNaming {
    /// Returns, for each different key, the first name that gives it.
    pub(super) fn groups(&self, names: Names) -> Vec<(DraftKey, &'static str)> {
        let mut seen = BTreeSet::new();
        let known = self.keys.iter().zip(names).filter_map(|(key, name)| key.map(|key| (key, *name)));
        known.filter(|(key, _)| seen.insert(*key)).collect()
    }
}
