//! The holders of leased boxes, with the boxes of each in the order in which it got them.
//!
//! While boxes are being evicted, the holder of most boxes is looked up again and again. So the order of holders is
//! kept from the first eviction on, until it is no longer needed; a node below its limit spends no work on it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use super::leases::Holder;
use super::leases::OURSELVES;
use crate::ident::BoxId;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// The boxes of each holder that has any, by the age of the lease.
    boxes: HashMap<Holder, BTreeMap<u64, BoxId>>,
    /// The holders except the node itself, ordered from the one with fewest boxes; `None` while the order is not
    /// needed.
    ranks: Option<BTreeSet<Rank>>,
    #[cfg(test)]
    ranked: usize,
}

/// The number of boxes and the age of the oldest lease: among holders of equally many boxes, the one with the oldest
/// lease comes last.
type Rank = (usize, Reverse<u64>, Holder);

fn rank(holder: Holder, boxes: &BTreeMap<u64, BoxId>) -> Option<Rank> {
    let (oldest, _) = boxes.first_key_value()?;
    (holder != OURSELVES).then_some((boxes.len(), Reverse(*oldest), holder))
}

impl Holders {
    pub(super) fn has(&self, holder: Holder) -> bool {
        self.boxes.contains_key(&holder)
    }

    /// Returns the boxes of a holder, from the oldest lease on.
    pub(super) fn of(&self, holder: Holder) -> impl Iterator<Item = BoxId> {
        self.boxes.get(&holder).into_iter().flat_map(|boxes| boxes.values().copied())
    }

    /// Adds a box to a holder; `age` is greater than that of all leases before it.
    pub(super) fn add(&mut self, holder: Holder, age: u64, id: BoxId) {
        self.change(holder, |boxes| _ = boxes.insert(age, id));
    }

    pub(super) fn remove(&mut self, holder: Holder, age: u64) {
        self.change(holder, |boxes| _ = boxes.remove(&age));
    }

    fn change(&mut self, holder: Holder, change: impl FnOnce(&mut BTreeMap<u64, BoxId>)) {
        let boxes = self.boxes.entry(holder).or_default();
        let before = rank(holder, boxes);
        change(boxes);
        let now = rank(holder, boxes);
        if boxes.is_empty() {
            self.boxes.remove(&holder);
        }
        if let Some(ranks) = &mut self.ranks {
            before.map(|before| ranks.remove(&before));
            ranks.extend(now);
        }
    }

    /// Returns the holder of most boxes, and of several the one with the oldest lease; the node itself only if there is
    /// no other.
    pub(super) fn greatest(&mut self) -> Option<Holder> {
        if self.ranks.is_none() {
            self.ranks = Some(self.boxes.iter().filter_map(|(holder, boxes)| rank(*holder, boxes)).collect());
            #[cfg(test)]
            {
                self.ranked += self.boxes.len();
            }
        }
        let greatest = self.ranks.as_ref().and_then(BTreeSet::last).map(|(_, _, holder)| *holder);
        greatest.or_else(|| self.has(OURSELVES).then_some(OURSELVES))
    }

    /// Drops the order, as it will not be needed soon.
    pub(super) fn forget_ranks(&mut self) {
        self.ranks = None;
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.boxes.is_empty() && self.ranks.as_ref().is_none_or(BTreeSet::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: BoxId = BoxId([1; 16]);

    fn held(holders: &Holders) -> usize {
        holders.boxes.values().map(BTreeMap::len).sum()
    }

    /// Finds the greatest holder by comparing all.
    fn found(holders: &Holders) -> Option<Holder> {
        let others = holders.boxes.iter().filter_map(|(holder, boxes)| rank(*holder, boxes));
        let nobody_else = || holders.has(OURSELVES).then_some(OURSELVES);
        others.max().map(|(_, _, holder)| holder).or_else(nobody_else)
    }

    #[test]
    fn whoever_holds_most_is_known_whatever_is_got_and_returned() {
        let (mut holders, mut leases, mut seed) = (Holders::default(), Vec::new(), 7_u64);
        for age in 1..5_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let chance = seed >> 33;
            holders.add(chance % 20, age, BOX);
            leases.push((chance % 20, age));
            if chance.is_multiple_of(3) || age > 4_000 {
                let (holder, age) = leases.swap_remove(chance as usize % leases.len());
                holders.remove(holder, age);
            }
            if chance.is_multiple_of(1_000) {
                holders.forget_ranks();
            }
            assert_eq!(holders.greatest(), found(&holders));
        }
        leases.into_iter().for_each(|(holder, age)| holders.remove(holder, age));
        assert!(holders.is_empty());
    }

    /// Returns how many holders were ranked, when `count` holders have three boxes each and every further box evicts
    /// one.
    fn looks(count: u64) -> usize {
        let mut holders = Holders::default();
        let all = (0..3).flat_map(|_| 1..=count).zip(1..);
        all.for_each(|(holder, age)| holders.add(holder, age, BOX));
        for (holder, age) in (1..=count).cycle().zip(3 * count + 1..).take(3 * count as usize) {
            holders.add(holder, age, BOX);
            let greatest = holders.greatest().expect("there are holders");
            let oldest = *holders.boxes[&greatest].first_key_value().expect("it holds some").0;
            holders.remove(greatest, oldest);
        }
        assert_eq!(held(&holders), 3 * count as usize);
        holders.ranked
    }

    #[test]
    fn holders_are_not_looked_through_for_each_box_that_makes_room() {
        for count in [100, 200, 400, 800] {
            assert_eq!(looks(count), count as usize);
        }
    }
}
