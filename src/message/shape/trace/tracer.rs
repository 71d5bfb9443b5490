//! The knowledge about a type so far, and the conclusions drawn from one pass.

use std::any::TypeId;
use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use serde::de;
use serde::de::DeserializeOwned;

use super::Traced;
use super::candidates;
use super::draft::Draft;
use super::draft::Form;
use super::draft::Kind;
use super::draft::Names;
use super::sketch;
use crate::message::shape::model::Gap;
use crate::message::shape::model::Scalar;
use crate::message::shape::model::ShapeNode;

/// Maximum levels of nesting: the same as for a message when it is decoded.
const MAX_LEVELS: usize = 128;

/// Maximum number of reads. Types that people write take thousands.
const MAX_READS: usize = 4_000_000;

/// Maximum number of passes.
const MAX_PASSES: usize = 200_000;

/// Maximum number of passes in a row that learn nothing: a pass may be lost because a value of a recursive type became
/// too deep, or on one variant while another has more to show.
const MAX_IDLE: usize = 32;

/// Maximum number of drafts: more than a shape may have nodes, as some turn out to be the same.
const MAX_DRAFTS: usize = 1 << 16;

/// Maximum number of parts of all tuples and sequences of fields together.
pub(super) const MAX_PARTS: usize = 1 << 18;

/// The request of a visitor: there is one [`Draft`] for each.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct TraceQuery {
    pub(super) visitor: TypeId,
    pub(super) what: TraceSubject,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TraceSubject {
    Option,
    Seq,
    Map,
    Tuple,
    Unit(&'static str),
    Newtype(&'static str),
    TupleStruct(&'static str),
    Struct(&'static str, Listed),
    Enum(&'static str, Listed),
    /// A variant: the enum's draft, the slot, and the number of the form it asks for.
    Variant(usize, usize, u8),
}

/// The number of a list of names: the same for lists of equal content.
pub(super) type Listed = usize;

/// A slot of a draft.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TracePlace {
    pub(super) draft: usize,
    pub(super) slot: usize,
}

/// A slot or a draft that is being read.
enum TraceStep {
    DraftSlot(TracePlace),
    Draft(usize),
}

/// The reason why a pass failed.
#[derive(Clone, Copy)]
pub(super) enum Blame {
    /// The pass did not fail, or nothing is known yet.
    None,
    /// The reason is known and dealt with.
    Settled,
    /// The value offered at this place is not accepted.
    At(TracePlace),
}

pub(super) struct Tracer {
    pub(super) drafts: Vec<Draft>,
    pub(super) known: HashMap<TraceQuery, usize>,
    pub(super) leaves: HashMap<ShapeNode, usize>,
    /// Lists of names by their address in memory, so that the names need not be compared each time; and by content.
    pub(super) lists: HashMap<(usize, usize), Listed>,
    pub(super) list_contents: HashMap<Names, Listed>,
    /// The slots and drafts that are being read, innermost last.
    trail: Vec<TraceStep>,
    pub(super) blame: Blame,
    /// Whether this pass has learnt something.
    pub(super) progress: bool,
    /// The place at which the last value that became too deep took a way that did not end.
    pub(super) endless: Option<TracePlace>,
    /// The deepest level reached since this was last reset.
    pub(super) deepest: usize,
    /// Number of leaves read in this pass.
    pub(super) leaf_count: usize,
    pub(super) reads: usize,
    pub(super) parts: usize,
}

/// The draft whose slots are the traced types.
const START: usize = 0;

impl Tracer {
    pub(super) fn new() -> Tracer {
        Tracer {
            drafts: vec![Draft::new(Kind::Start, "")],
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

    pub(super) fn explore<T: DeserializeOwned>(&mut self, slot: usize) {
        let place = TracePlace { draft: START, slot };
        self.slot_mut(place).type_name = Some(type_name::<T>());
        let mut idle = 0;
        for _ in 0..MAX_PASSES {
            self.pass::<T>(place);
            if self.is_decided(place) || self.is_exhausted() {
                return;
            }
            idle = if self.learn() { 0 } else { idle + 1 };
            if idle > MAX_IDLE {
                // Perhaps no value of this slot ends: it is given up, and types that can do without it go on.
                let Some(endless) = self.endless.take() else { return };
                self.slot_mut(endless).stuck = true;
                idle = 0;
            }
        }
    }

    fn pass<T: DeserializeOwned>(&mut self, place: TracePlace) {
        (self.blame, self.progress) = (Blame::None, false);
        (self.deepest, self.leaf_count) = (0, 0);
        // The value is dropped here, where a panic of its destructor counts as a failure of its slot.
        let _ = self.read(place, 0, 0, |probe| T::deserialize(probe).map(drop));
    }

    /// Draws a conclusion from a pass. Returns whether another pass may be of use.
    fn learn(&mut self) -> bool {
        let Blame::At(place) = self.blame else { return self.progress };
        let is_leaf = match self.slot(place).link {
            Some(link) => matches!(self.drafts[link].kind, Kind::Leaf(_)),
            None => true,
        };
        let progress = self.progress;
        let slot = self.slot_mut(place);
        if slot.link.is_none() {
            // The type failed before it asked for anything, so no other value can change that.
            slot.stuck = true;
        } else if is_leaf {
            slot.refused |= 1_u64.checked_shl(slot.offered).unwrap_or(0);
        } else if !progress {
            // With progress the failure may have come from a new part, and may not come again.
            slot.variation += 1;
            slot.stuck |= slot.variation >= candidates::VARIATIONS;
        }
        true
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.reads > MAX_READS || self.drafts.len() > MAX_DRAFTS || self.parts > MAX_PARTS
    }

    pub(super) fn finish(self, with_result: bool) -> Traced {
        let why = if self.is_exhausted() { Gap::TooLarge } else { Gap::Unreached };
        let slots = &self.drafts[START].slots;
        sketch::finish(&self.drafts, &slots[0], with_result.then(|| &slots[1]), why)
    }

    /// Reads the content of a slot.
    pub(super) fn read<R>(
        &mut self,
        place: TracePlace,
        level: usize,
        variation: usize,
        read: impl FnOnce(Probe<'_>) -> Result<R, TraceFault>,
    ) -> Result<R, TraceFault> {
        let before = self.trail.len();
        self.trail.push(TraceStep::DraftSlot(place));
        let slot = self.slot_mut(place);
        slot.reading += 1;
        slot.entered = true;
        slot.type_name.get_or_insert(type_name::<R>());
        let variation = variation + slot.variation;
        let probe = Probe { tracer: &mut *self, place, level, variation };
        let result = catch_unwind(AssertUnwindSafe(|| read(probe))).unwrap_or(Err(TraceFault::Refused));
        self.go_back(before);
        match &result {
            Ok(_) => self.went_well(place),
            Err(fault) => self.went_wrong(place, *fault),
        }
        result
    }

    fn went_well(&mut self, place: TracePlace) {
        let slot = self.slot_mut(place);
        let new = !slot.good;
        slot.good = true;
        self.progress |= new;
    }

    fn went_wrong(&mut self, place: TracePlace, fault: TraceFault) {
        if let TraceFault::Unlisted(names) = fault {
            self.list(place, names);
        }
        let slot = self.slot(place);
        if slot.link.is_some_and(|link| self.drafts[link].barren) && !slot.stuck {
            self.slot_mut(place).stuck = true;
            self.progress = true;
        }
        if let Blame::None = self.blame {
            self.blame = if self.slot(place).stuck { Blame::Settled } else { Blame::At(place) };
        }
    }

    /// Records the texts that are accepted in a slot, if its content is a text.
    #[cold]
    fn list(&mut self, place: TracePlace, names: Names) {
        let text = Kind::Leaf(ShapeNode::Scalar(Scalar::Str));
        let is_text = self.slot(place).link.is_some_and(|link| self.drafts[link].kind == text);
        if is_text && !names.is_empty() {
            self.slot_mut(place).listed = Some(names);
        }
    }

    /// Ends the readings from index `to` of the trail on.
    pub(super) fn go_back(&mut self, to: usize) {
        for step in self.trail.drain(to.min(self.trail.len())..) {
            match step {
                TraceStep::DraftSlot(place) => self.drafts[place.draft].slots[place.slot].reading -= 1,
                TraceStep::Draft(draft) => self.drafts[draft].reading -= 1,
            }
        }
    }

    /// Gives up this pass, for a reason that is not the fault of a value that was offered.
    pub(super) fn give_up(&mut self) -> TraceFault {
        self.blame = Blame::Settled;
        TraceFault::Refused
    }

    /// Reads a composite by calling `read`, and updates its draft.
    pub(super) fn enter<R>(
        &mut self,
        place: TracePlace,
        draft: usize,
        level: usize,
        read: impl FnOnce(&mut Tracer) -> Result<R, TraceFault>,
    ) -> Result<R, TraceFault> {
        self.link(place, draft);
        self.reads += 1;
        if self.is_exhausted() {
            return Err(self.give_up());
        }
        if level > MAX_LEVELS {
            return Err(self.too_deep(place));
        }
        let before = self.trail.len();
        self.trail.push(TraceStep::Draft(draft));
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
    fn too_deep(&mut self, place: TracePlace) -> TraceFault {
        let recursive = self.trail.iter().any(|step| match step {
            TraceStep::Draft(draft) => self.drafts[*draft].reading > 1,
            TraceStep::DraftSlot(_) => false,
        });
        if recursive {
            let slots = self.trail.iter().rev().filter_map(|step| match step {
                TraceStep::DraftSlot(place) => Some(*place),
                TraceStep::Draft(_) => None,
            });
            let is_choice = |place: &TracePlace| {
                let draft = &self.drafts[place.draft];
                draft.reading > 1 && matches!(draft.kind, Kind::Enum(..))
            };
            let choice = slots.into_iter().find(is_choice);
            self.endless = Some(choice.unwrap_or(place)).filter(|place| !self.slot(*place).stuck);
        } else {
            let slot = self.slot_mut(place);
            slot.stuck = true;
            slot.opaque = Some(Gap::TooDeep);
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
        let mut slots = (0..of.slots.len()).map(|slot| TracePlace { draft, slot });
        let stuck = of.needs_all() && of.slots.iter().any(|slot| slot.stuck);
        let done = match &of.kind {
            Kind::Enum(..) => of.open.is_empty(),
            // If no key can be made, the value behind it is never asked for.
            Kind::Map if of.lacks_keys() => of.reading == 0 && self.is_settled(TracePlace { draft, slot: 0 }),
            Kind::Option | Kind::Seq | Kind::Map => {
                slots.all(|place| self.is_decided(place) || well && !self.slot(place).entered)
            }
            // A part that was not asked for in a complete value never will be.
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

/// The error that travels through serde while a type is traced; nobody reads its text.
#[derive(Clone, Copy, Debug)]
pub(super) enum TraceFault {
    Refused,
    /// A field of that name came twice.
    Duplicate(&'static str),
    /// The text is none of these accepted ones.
    Unlisted(Names),
}

impl Display for TraceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value offered is not accepted")
    }
}

impl std::error::Error for TraceFault {}

impl de::Error for TraceFault {
    fn custom<T: Display>(_: T) -> TraceFault {
        TraceFault::Refused
    }

    fn duplicate_field(name: &'static str) -> TraceFault {
        TraceFault::Duplicate(name)
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> TraceFault {
        TraceFault::Unlisted(names)
    }
}

/// The deserializer of the content of one slot.
pub(super) struct Probe<'t> {
    pub(super) tracer: &'t mut Tracer,
    pub(super) place: TracePlace,
    /// Number of levels around the slot.
    pub(super) level: usize,
    /// Number of times the values around the slot were refused as a whole.
    pub(super) variation: usize,
}
