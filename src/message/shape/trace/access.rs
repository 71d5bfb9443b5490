//! The content of composites, and the choice of the values that are offered.

use serde::de;
use serde::de::DeserializeSeed;
use serde::de::IntoDeserializer;

use super::candidates;
use super::draft::DraftKey;
use super::draft::DraftSlot;
use super::draft::Names;
use super::tracer::Blame;
use super::tracer::MAX_PARTS;
use super::tracer::Probe;
use super::tracer::TraceFault;
use super::tracer::TracePlace;
use super::tracer::Tracer;
use crate::message::shape::model::Gap;

impl Tracer {
    /// Returns whether a value should be put into a slot that may be left empty, in order to learn more about the slot.
    pub(super) fn wants(&self, place: TracePlace) -> bool {
        // A slot that is being read already is learnt about by that reading.
        self.slot(place).reading == 0 && !self.is_decided(place)
    }

    /// Returns whether other values than the shortest may be offered: not in a type that contains itself, or they might
    /// not end.
    pub(super) fn may_vary(&self, draft: usize) -> bool {
        self.drafts[draft].done && self.drafts[draft].reading == 1
    }

    /// Returns the number of elements, or pairs, to offer.
    pub(super) fn how_many(&self, draft: usize, variation: usize) -> usize {
        if self.drafts[draft].done && self.drafts[draft].lacks_keys() {
            return 0;
        }
        let count = self.drafts[draft].slots.len();
        let mut slots = (0..count).map(|slot| TracePlace { draft, slot });
        if slots.any(|place| self.wants(place)) {
            1
        } else if variation > 0 && self.may_vary(draft) && self.drafts[draft].slots.iter().all(|slot| slot.good) {
            candidates::length(variation)
        } else {
            0
        }
    }

    /// Returns the variant to offer.
    pub(super) fn choose(&mut self, draft: usize, variation: usize) -> Option<usize> {
        let of = &self.drafts[draft];
        let shortest = of.shortest.map(|(slot, _)| slot);
        let chosen = if of.reading > 1 {
            // The shortest value ends; a variant that is not being read may end.
            shortest.or_else(|| of.open.iter().copied().find(|&slot| of.slots[slot].reading == 0))
        } else if let Some(&next) = of.open.front() {
            Some(next)
        } else if variation > 0 && self.may_vary(draft) {
            let good = (0..of.slots.len()).filter(|&slot| of.slots[slot].good);
            good.cycle().nth(variation % of.slots.len().max(1)).or(shortest)
        } else {
            shortest
        };
        if chosen.is_none() {
            let inner = self.drafts[draft].slots.iter().rposition(|slot| slot.reading > 0);
            self.endless = inner.map(|slot| TracePlace { draft, slot }).or(self.endless);
            self.give_up();
        }
        chosen
    }

    /// Records the outcome of reading a variant: `levels` is the number of levels it took, if it was accepted.
    pub(super) fn chosen(&mut self, draft: usize, slot: usize, levels: Option<usize>) {
        let decided = self.is_decided(TracePlace { draft, slot });
        let of = &mut self.drafts[draft];
        if let Some(levels) = levels
            && of.shortest.is_none_or(|(_, shortest)| levels < shortest)
        {
            of.shortest = Some((slot, levels));
            self.progress = true;
        }
        // The variants take turns, so that a failing one does not keep the others from being read.
        if of.open.front() == Some(&slot) {
            of.open.pop_front();
        } else if let Some(at) = of.open.iter().position(|&open| open == slot) {
            of.open.remove(at);
        } else {
            return;
        }
        if !decided {
            of.open.push_back(slot);
        }
    }

    /// Returns the slot of a part by its number.
    ///
    /// # Errors
    /// Gives up the pass if there are too many parts.
    fn part(&mut self, draft: usize, slot: usize) -> Result<TracePlace, TraceFault> {
        if self.drafts[draft].slots.len() <= slot {
            self.parts += 1;
            if self.parts > MAX_PARTS {
                return Err(self.give_up());
            }
            self.drafts[draft].slots.push(DraftSlot::default());
        }
        Ok(TracePlace { draft, slot })
    }
}

/// The parts of a tuple or a struct, in order.
pub(super) struct TracedParts<'t> {
    pub(super) tracer: &'t mut Tracer,
    pub(super) draft: usize,
    pub(super) next: usize,
    pub(super) count: usize,
    pub(super) level: usize,
    pub(super) variation: usize,
}

impl<'de> de::SeqAccess<'de> for TracedParts<'_> {
    type Error = TraceFault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TraceFault> {
        if self.next >= self.count {
            return Ok(None);
        }
        let place = self.tracer.part(self.draft, self.next)?;
        self.next += 1;
        self.tracer.read(place, self.level, self.variation, |probe| seed.deserialize(probe)).map(Some)
    }
}

/// Some parts of a struct, read by their names.
pub(super) struct NamedParts<'t> {
    pub(super) tracer: &'t mut Tracer,
    pub(super) draft: usize,
    pub(super) names: Names,
    /// The slots still to be offered, the next one last.
    pub(super) left: Vec<usize>,
    /// The slot whose name was just read.
    pub(super) value_of: Option<usize>,
    pub(super) level: usize,
    pub(super) variation: usize,
}

impl<'de> de::MapAccess<'de> for NamedParts<'_> {
    type Error = TraceFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TraceFault> {
        self.value_of = self.left.pop();
        let Some(name) = self.value_of.and_then(|slot| self.names.get(slot)) else {
            // A missing field is expected here: the struct is known to be barren.
            self.tracer.blame = Blame::Settled;
            return Ok(None);
        };
        let name: de::value::StrDeserializer<'_, TraceFault> = (*name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, TraceFault> {
        let Some(slot) = self.value_of.take() else { return Err(TraceFault::Refused) };
        let place = TracePlace { draft: self.draft, slot };
        self.tracer.read(place, self.level, self.variation, |probe| seed.deserialize(probe))
    }
}

/// The elements of a sequence.
pub(super) struct TracedElements<'t> {
    pub(super) tracer: &'t mut Tracer,
    pub(super) draft: usize,
    pub(super) left: usize,
    pub(super) level: usize,
    pub(super) variation: usize,
}

impl<'de> de::SeqAccess<'de> for TracedElements<'_> {
    type Error = TraceFault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TraceFault> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let place = TracePlace { draft: self.draft, slot: 0 };
        self.tracer.read(place, self.level, self.variation, |probe| seed.deserialize(probe)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The pairs of a map.
pub(super) struct TracedEntries<'t> {
    pub(super) tracer: &'t mut Tracer,
    pub(super) draft: usize,
    pub(super) left: usize,
    pub(super) level: usize,
    pub(super) variation: usize,
}

impl<'de> de::MapAccess<'de> for TracedEntries<'_> {
    type Error = TraceFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TraceFault> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let place = TracePlace { draft: self.draft, slot: 0 };
        self.tracer.read(place, self.level, self.variation, |probe| seed.deserialize(probe)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, TraceFault> {
        let place = TracePlace { draft: self.draft, slot: 1 };
        if self.tracer.slot(TracePlace { slot: 0, ..place }).by_list {
            // One of several names was read, and the kind of the value may depend on the name.
            self.tracer.slot_mut(place).opaque = Some(Gap::Varies);
        }
        self.tracer.read(place, self.level, self.variation, |probe| seed.deserialize(probe))
    }

    /// Reads a pair. A type that asks for both at once reads a value that does not depend on its key, so the value can
    /// be traced without a key.
    fn next_entry_seed<K, T>(&mut self, key: K, value: T) -> Result<Option<(K::Value, T::Value)>, TraceFault>
    where
        K: DeserializeSeed<'de>,
        T: DeserializeSeed<'de>,
    {
        let [of_key, of_value] = [0, 1].map(|slot| TracePlace { draft: self.draft, slot });
        let (level, variation) = (self.level, self.variation);
        let read = self.next_key_seed(key);
        let has_none = read.is_err() && self.tracer.slot(of_key).stuck && self.tracer.is_settled(of_key);
        if has_none && self.tracer.wants(of_value) {
            self.tracer.blame = Blame::None;
            let read = self.tracer.read(of_value, level, variation, |probe| value.deserialize(probe).map(drop));
            if read.is_ok() {
                self.tracer.blame = Blame::Settled;
            }
            return Err(TraceFault::Refused);
        }
        let Some(key) = read? else { return Ok(None) };
        let value = self.tracer.read(of_value, level, variation, |probe| value.deserialize(probe))?;
        Ok(Some((key, value)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// An enum whose variant is chosen: the probe is at the variant's slot.
pub(super) struct Choice<'t> {
    pub(super) probe: Probe<'t>,
}

impl<'de, 't> de::EnumAccess<'de> for Choice<'t> {
    type Error = TraceFault;
    type Variant = Probe<'t>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Probe<'t>), TraceFault> {
        let index: de::value::U32Deserializer<TraceFault> = (self.probe.place.slot as u32).into_deserializer();
        let read = seed.deserialize(index)?;
        self.probe.tracer.slot_mut(self.probe.place).key = Some(DraftKey::of(&read));
        Ok((read, self.probe))
    }
}
