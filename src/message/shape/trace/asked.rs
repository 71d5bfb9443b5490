//! The record of requests made by the type: the drafts by their keys, and the slots that refer to them.

use std::any::TypeId;

use super::draft::Draft;
use super::draft::DraftSlot;
use super::draft::Kind;
use super::draft::Names;
use super::tracer::Listed;
use super::tracer::TracePlace;
use super::tracer::TraceQuery;
use super::tracer::TraceSubject;
use super::tracer::Tracer;
use crate::message::shape::model::Gap;
use crate::message::shape::model::ShapeNode;

impl Tracer {
    pub(super) fn slot(&self, place: TracePlace) -> &DraftSlot {
        &self.drafts[place.draft].slots[place.slot]
    }

    pub(super) fn slot_mut(&mut self, place: TracePlace) -> &mut DraftSlot {
        &mut self.drafts[place.draft].slots[place.slot]
    }

    /// Returns whether nothing more can be learnt about a slot, apart from the drafts that are being read around it.
    pub(super) fn is_settled(&self, place: TracePlace) -> bool {
        let slot = self.slot(place);
        match slot.link.map(|link| &self.drafts[link]) {
            None => slot.good || slot.stuck,
            Some(draft) => draft.done || draft.reading > 0 || slot.stuck && !draft.barren,
        }
    }

    /// Returns whether the slot is settled and it is known, too, whether there is a value for it.
    pub(super) fn is_decided(&self, place: TracePlace) -> bool {
        let slot = self.slot(place);
        (slot.good || slot.stuck) && self.is_settled(place)
    }

    /// Records the draft that is asked for in a slot.
    pub(super) fn link(&mut self, place: TracePlace, draft: usize) {
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

    /// Records that the kind in a slot depends on the values read before. If one of the two drafts is self-describing,
    /// as with flattened fields, the slot counts as self-describing.
    #[cold]
    fn varies(&mut self, place: TracePlace, link: usize, draft: usize) {
        let describes_itself =
            |&draft: &usize| matches!(self.drafts[draft].kind, Kind::Leaf(ShapeNode::SelfDescribing));
        let describing = [link, draft].into_iter().find(describes_itself);
        let slot = self.slot_mut(place);
        match describing {
            Some(describing) => slot.link = Some(describing),
            None => slot.opaque = Some(Gap::Varies),
        }
    }

    pub(super) fn leaf(&mut self, node: ShapeNode) -> usize {
        let next = self.drafts.len();
        let draft = *self.leaves.entry(node.clone()).or_insert(next);
        if draft == next {
            self.drafts.push(Draft::new(Kind::Leaf(node), ""));
        }
        draft
    }

    pub(super) fn composite(
        &mut self,
        visitor: TypeId,
        what: TraceSubject,
        type_name: &'static str,
        kind: impl FnOnce() -> Kind,
    ) -> usize {
        let next = self.drafts.len();
        let draft = *self.known.entry(TraceQuery { visitor, what }).or_insert(next);
        if draft == next {
            self.drafts.push(Draft::new(kind(), type_name));
            self.parts += self.drafts[draft].slots.len();
        }
        draft
    }

    pub(super) fn listed(&mut self, names: Names) -> Listed {
        let next = self.list_contents.len();
        let place = (names.as_ptr() as usize, names.len());
        *self.lists.entry(place).or_insert_with(|| *self.list_contents.entry(names).or_insert(next))
    }
}
