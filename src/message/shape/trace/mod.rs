//! Looks at a type from outside: asks its `Deserialize`, again and again, what it would read.
//!
//! A pass runs `T::deserialize` once with a [`Probe`], which notes what is asked for and offers a value. Where there is
//! a choice (a variant, whether an option holds something) a pass takes one that is not known yet, and the next pass
//! another; what is known gets the shortest value there is. So passes go on until nothing new can come.
//!
//! # What is the same
//! A node is known by the visitor's type, by what it asks for and by the names that it says: so a type that contains
//! itself is recognised. Types are told apart by `TypeId`, not by name, as two may have one name; none of this is seen
//! in the result, in which equal nodes are [made one](super::canon).
//!
//! # Types that are picky
//! When a pass fails, the innermost slot of which the content was not accepted is to blame. If it is a leaf, the value
//! offered there is not offered there again; if it is a composite whose parts were accepted, all of its leaves are
//! varied together. What refuses everything has no value ([`Slot::stuck`]); then its owner has none either if it needs
//! one ([`Draft::barren`]), and otherwise goes on without. The other fields of a barren struct are read by their names,
//! so that its shape is known all the same.
//!
//! # Why it ends, and does not fall
//! A pass that learns nothing strikes a candidate off a list; without one, it is the last. Passes, reads, nodes, parts
//! and levels are bounded besides. A level of the type takes a level of the stack, 128 at most, as when it is decoded.
//! Panics of the type are failures like others. What is not bounded is a `Deserialize` that runs for ever by itself.
//!
//! No lock is held while code of the type runs, and nothing depends on time, chance or addresses.

mod access;
mod candidates;
mod draft;
mod naming;
mod probe;

use std::any::TypeId;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use serde::de::DeserializeOwned;

use self::draft::Draft;
use self::draft::Form;
use self::draft::Kind;
use self::draft::Names;
use self::draft::Slot;
use self::probe::Fault;
use self::probe::Probe;
use super::model::Model;
use super::model::Node;
use super::model::Opaque;

/// Levels of nesting: as many as a message may have when it is decoded.
const MAX_LEVELS: usize = 128;

/// How often something may be read. Types that people write take thousands.
const MAX_READS: usize = 4_000_000;

/// Passes, of which each learns something.
const MAX_PASSES: usize = 200_000;

/// Passes in a row that learn nothing: a pass may be lost because a value of a recursive type became too deep, or on
/// one variant while another has more to show.
const MAX_IDLE: usize = 32;

/// Drafts: more than a shape may have nodes, as some turn out to be the same.
const MAX_DRAFTS: usize = 1 << 16;

/// Parts of all tuples and sequences of fields together.
const MAX_PARTS: usize = 1 << 18;

/// The graph of a type, not canonical.
pub(super) fn value<T: DeserializeOwned>() -> Model {
    let mut tracer = Tracer::new();
    tracer.explore::<T>(0);
    tracer.finish(false)
}

/// The graph of a message and its result, not canonical.
pub(super) fn exchange<M: DeserializeOwned, R: DeserializeOwned>() -> Model {
    let mut tracer = Tracer::new();
    tracer.explore::<M>(0);
    tracer.explore::<R>(1);
    tracer.finish(true)
}

/// What a visitor asks for: one [`Draft`] for each.
#[derive(PartialEq, Eq, Hash)]
struct Ask {
    visitor: TypeId,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Option,
    Seq,
    Map,
    Tuple,
    Unit(&'static str),
    Newtype(&'static str),
    TupleStruct(&'static str),
    Struct(&'static str, Listed),
    Enum(&'static str, Listed),
    /// A variant of that draft's, and which of the forms it asks for.
    Variant(usize, usize, u8),
}

/// A list of names: one number for each list of equal content.
type Listed = usize;

/// A slot of a draft.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    draft: usize,
    slot: usize,
}

/// Something that is being read.
enum Step {
    Slot(Place),
    Draft(usize),
}

/// Why a pass failed.
#[derive(Clone, Copy)]
enum Blame {
    /// It did not, or nothing is known yet.
    None,
    /// Known and dealt with.
    Settled,
    /// What was offered there is not accepted.
    At(Place),
}

struct Tracer {
    drafts: Vec<Draft>,
    known: HashMap<Ask, usize>,
    leaves: HashMap<Node, usize>,
    /// Lists by where they lie, so that their names need not be compared each time; and by content.
    lists: HashMap<(usize, usize), Listed>,
    list_contents: HashMap<Names, Listed>,
    /// What is being read, innermost last.
    trail: Vec<Step>,
    blame: Blame,
    /// This pass has learnt something.
    progress: bool,
    /// Where the last value that became too deep took a way that did not end.
    endless: Option<Place>,
    /// The deepest level that was reached since it was last set back.
    deepest: usize,
    /// Leaves read in this pass.
    leaf_count: usize,
    reads: usize,
    parts: usize,
}

/// The draft whose slots are what is traced.
const START: usize = 0;

impl Tracer {
    fn new() -> Tracer {
        Tracer {
            drafts: vec![Draft::new(Kind::Start)],
            known: HashMap::new(),
            leaves: HashMap::new(),
            lists: HashMap::new(),
            list_contents: HashMap::new(),
            trail: Vec::new(),
            blame: Blame::None,
            progress: false,
            endless: None,
            deepest: 0,
            leaf_count: 0,
            reads: 0,
            parts: 0,
        }
    }

    fn explore<T: DeserializeOwned>(&mut self, slot: usize) {
        let place = Place { draft: START, slot };
        let mut idle = 0;
        for _ in 0..MAX_PASSES {
            self.pass::<T>(place);
            if self.is_decided(place) || self.is_exhausted() {
                return;
            }
            idle = if self.learn() { 0 } else { idle + 1 };
            if idle > MAX_IDLE {
                // There may be no value that ends; what needs none goes on.
                let Some(endless) = self.endless.take() else { return };
                self.slot_mut(endless).stuck = true;
                idle = 0;
            }
        }
    }

    fn pass<T: DeserializeOwned>(&mut self, place: Place) {
        (self.blame, self.progress) = (Blame::None, false);
        (self.deepest, self.leaf_count) = (0, 0);
        // The value goes here, where a panic of its destructor is one of its slot.
        let _ = self.read(place, 0, 0, |probe| T::deserialize(probe).map(drop));
    }

    /// Draws a conclusion from a pass; whether another may be of use.
    fn learn(&mut self) -> bool {
        let Blame::At(place) = self.blame else { return self.progress };
        let is_leaf = match self.slot(place).link {
            Some(link) => matches!(self.drafts[link].kind, Kind::Leaf(_)),
            None => true,
        };
        let progress = self.progress;
        let slot = self.slot_mut(place);
        if slot.link.is_none() {
            // It failed before it asked for anything, so nothing that is offered can change that.
            slot.stuck = true;
        } else if is_leaf {
            slot.refused |= 1_u64.checked_shl(slot.offered).unwrap_or(0);
        } else if !progress {
            // With progress the failure may have come from what was new, and not be there the next time.
            slot.variation += 1;
            slot.stuck |= slot.variation >= candidates::VARIATIONS;
        }
        true
    }

    fn is_exhausted(&self) -> bool {
        self.reads > MAX_READS || self.drafts.len() > MAX_DRAFTS || self.parts > MAX_PARTS
    }

    fn finish(self, with_result: bool) -> Model {
        let why = if self.is_exhausted() { Opaque::TooLarge } else { Opaque::Unreached };
        let slots = &self.drafts[START].slots;
        draft::finish(&self.drafts, &slots[0], with_result.then(|| &slots[1]), why)
    }

    fn slot(&self, place: Place) -> &Slot {
        &self.drafts[place.draft].slots[place.slot]
    }

    fn slot_mut(&mut self, place: Place) -> &mut Slot {
        &mut self.drafts[place.draft].slots[place.slot]
    }

    /// Whether nothing more can be learnt there, but for what is being read around it.
    fn is_settled(&self, place: Place) -> bool {
        let slot = self.slot(place);
        match slot.link.map(|link| &self.drafts[link]) {
            None => slot.good || slot.stuck,
            Some(draft) => draft.done || draft.reading > 0 || slot.stuck && !draft.barren,
        }
    }

    /// Besides, whether it is known if there is a value for it.
    fn is_decided(&self, place: Place) -> bool {
        let slot = self.slot(place);
        (slot.good || slot.stuck) && self.is_settled(place)
    }

    // ------------------------------------------------------------------------------------------------ reading

    /// Reads what belongs into a slot.
    fn read<'de, R>(
        &mut self,
        place: Place,
        level: usize,
        variation: usize,
        read: impl FnOnce(Probe<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let before = self.trail.len();
        self.trail.push(Step::Slot(place));
        let slot = self.slot_mut(place);
        slot.reading += 1;
        slot.entered = true;
        let variation = variation + slot.variation;
        let probe = Probe { tracer: &mut *self, place, level, variation };
        let result = catch_unwind(AssertUnwindSafe(|| read(probe))).unwrap_or(Err(Fault::Refused));
        self.go_back(before);
        match &result {
            Ok(_) => self.went_well(place),
            Err(_) => self.went_wrong(place),
        }
        result
    }

    fn went_well(&mut self, place: Place) {
        let slot = self.slot_mut(place);
        let new = !slot.good;
        slot.good = true;
        self.progress |= new;
    }

    fn went_wrong(&mut self, place: Place) {
        let slot = self.slot(place);
        if slot.link.is_some_and(|link| self.drafts[link].barren) && !slot.stuck {
            self.slot_mut(place).stuck = true;
            self.progress = true;
        }
        if let Blame::None = self.blame {
            self.blame = if self.slot(place).stuck { Blame::Settled } else { Blame::At(place) };
        }
    }

    /// Forgets what was being read from there on.
    fn go_back(&mut self, to: usize) {
        for step in self.trail.drain(to.min(self.trail.len())..) {
            match step {
                Step::Slot(place) => self.drafts[place.draft].slots[place.slot].reading -= 1,
                Step::Draft(draft) => self.drafts[draft].reading -= 1,
            }
        }
    }

    /// Gives up this pass, for a reason for which nothing that was offered is to blame.
    fn give_up(&mut self) -> Fault {
        self.blame = Blame::Settled;
        Fault::Refused
    }

    /// Notes what is asked for in a slot.
    fn link(&mut self, place: Place, draft: usize) {
        let slot = self.slot_mut(place);
        match slot.link {
            None => {
                slot.link = Some(draft);
                self.progress = true;
            }
            Some(link) if link != draft => self.varies(place, link, draft),
            Some(_) => {}
        }
    }

    /// It depends on what was read before. If that goes as far as what describes itself, as with flattened fields, then
    /// this is what is said of it.
    #[cold]
    fn varies(&mut self, place: Place, link: usize, draft: usize) {
        let describing = [link, draft].into_iter().find(|&draft| match self.drafts[draft].kind {
            Kind::Leaf(Node::SelfDescribing) => true,
            _ => false,
        });
        let slot = self.slot_mut(place);
        match describing {
            Some(describing) => slot.link = Some(describing),
            None => slot.opaque = Some(Opaque::Varies),
        }
    }

    fn leaf(&mut self, node: Node) -> usize {
        let next = self.drafts.len();
        let draft = *self.leaves.entry(node.clone()).or_insert(next);
        if draft == next {
            self.drafts.push(Draft::new(Kind::Leaf(node)));
        }
        draft
    }

    fn composite(&mut self, visitor: TypeId, what: What, kind: impl FnOnce() -> Kind) -> usize {
        let next = self.drafts.len();
        let draft = *self.known.entry(Ask { visitor, what }).or_insert(next);
        if draft == next {
            self.drafts.push(Draft::new(kind()));
            self.parts += self.drafts[draft].slots.len();
        }
        draft
    }

    fn listed(&mut self, names: Names) -> Listed {
        let next = self.list_contents.len();
        let place = (names.as_ptr() as usize, names.len());
        *self.lists.entry(place).or_insert_with(|| *self.list_contents.entry(names).or_insert(next))
    }

    /// Reads a composite: what `read` does to the draft.
    fn enter<R>(
        &mut self,
        place: Place,
        draft: usize,
        level: usize,
        read: impl FnOnce(&mut Tracer) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.link(place, draft);
        self.reads += 1;
        if self.is_exhausted() {
            return Err(self.give_up());
        }
        if level > MAX_LEVELS {
            return Err(self.too_deep(place));
        }
        let before = self.trail.len();
        self.trail.push(Step::Draft(draft));
        self.drafts[draft].reading += 1;
        self.deepest = self.deepest.max(level);
        let progress = std::mem::take(&mut self.progress);
        let result = read(self);
        self.go_back(before);
        self.judge(draft, result.is_ok());
        self.progress |= progress;
        result
    }

    #[cold]
    fn too_deep(&mut self, place: Place) -> Fault {
        let recursive = self.trail.iter().any(|step| match step {
            Step::Draft(draft) => self.drafts[*draft].reading > 1,
            Step::Slot(_) => false,
        });
        if recursive {
            let slots = self.trail.iter().rev().filter_map(|step| match step {
                Step::Slot(place) => Some(*place),
                Step::Draft(_) => None,
            });
            let is_choice = |place: &Place| {
                let draft = &self.drafts[place.draft];
                draft.reading > 1 && matches!(draft.kind, Kind::Enum(..))
            };
            let choice = slots.into_iter().find(is_choice);
            self.endless = Some(choice.unwrap_or(place)).filter(|place| !self.slot(*place).stuck);
        } else {
            let slot = self.slot_mut(place);
            slot.stuck = true;
            slot.opaque = Some(Opaque::TooDeep);
            self.progress = true;
        }
        self.give_up()
    }

    /// Decides whether there is more to learn about a draft that was just read.
    fn judge(&mut self, draft: usize, well: bool) {
        self.drafts[draft].whole |= well;
        let of = &self.drafts[draft];
        if of.done {
            return;
        }
        let mut slots = (0..of.slots.len()).map(|slot| Place { draft, slot });
        let stuck = of.needs_all() && of.slots.iter().any(|slot| slot.stuck);
        let done = match &of.kind {
            Kind::Enum(..) => of.open.is_empty(),
            Kind::Option | Kind::Seq | Kind::Map => {
                slots.all(|place| self.is_decided(place) || well && !self.slot(place).entered)
            }
            // What was not asked for in a value that is complete never will be.
            _ if well => slots.all(|place| !self.slot(place).entered || self.is_settled(place)),
            Kind::Struct(_, Form::Fields(_)) | Kind::Variant(Form::Fields(_)) => {
                stuck && slots.all(|place| self.is_settled(place))
            }
            _ => stuck,
        };
        let done = done && !self.drafts[draft].is_unnamed();
        let of = &self.drafts[draft];
        let barren = stuck || matches!(of.kind, Kind::Enum(..)) && of.open.is_empty() && of.shortest.is_none();
        self.progress |= done || barren && !of.barren;
        let idle = barren && !self.progress;
        let of = &mut self.drafts[draft];
        of.idle += usize::from(idle);
        (of.done, of.barren) = (done || of.idle > MAX_IDLE, barren);
    }
}
