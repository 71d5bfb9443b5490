//! What the two ends of a connection tell each other about messages that were dropped: so many for each box and reason,
//! as sums, so that a report that is left out or comes late costs nothing.

use std::collections::HashMap;
use std::collections::VecDeque;

use crate::reason::DropReason;
use crate::wire::target::Target;

/// Boxes that have a count of their own, in each direction; drops at others are summed up. A peer may send to as many
/// names as it likes, and report as many.
const MAX_COUNTED: usize = 4096;

/// Drops by reason.
pub(super) type ReasonCounts = [u64; DropReason::ALL.len()];

/// Drops by box.
#[derive(Debug, Default)]
struct DropCounts(HashMap<Target, ReasonCounts>);

impl DropCounts {
    /// The entry of a box, or of all others.
    fn of(&mut self, target: Target) -> (Target, &mut ReasonCounts) {
        let room = self.0.len() < MAX_COUNTED || self.0.contains_key(&target);
        let target = if room { target } else { Target::Others };
        (target.clone(), self.0.entry(target).or_default())
    }

    fn add(&mut self, other: DropCounts) {
        for (target, counts) in other.0 {
            let (_, sums) = self.of(target);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        }
    }
}

/// Drops here of messages that came over the connection.
#[derive(Debug, Default)]
pub(crate) struct LocalDrops {
    counts_by_box: DropCounts,
    /// What is not yet told, in the order in which it changed.
    untold: VecDeque<(Target, DropReason)>,
    /// Which of `untold` there are, as a bit for each reason.
    marked: HashMap<Target, u32>,
}

impl LocalDrops {
    /// Counts drops; whether there was nothing to tell before.
    pub(crate) fn dropped(&mut self, target: Target, reason: DropReason, count: u64) -> bool {
        let first = self.untold.is_empty();
        let (target, counts) = self.counts_by_box.of(target);
        if let Some(sum) = counts.get_mut(reason as usize) {
            *sum += count;
        }
        let marks = self.marked.entry(target.clone()).or_default();
        if *marks & 1 << reason as u32 == 0 {
            *marks |= 1 << reason as u32;
            self.untold.push_back((target, reason));
        }
        first
    }

    pub(crate) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// The next thing to tell.
    pub(crate) fn next(&mut self) -> Option<(Target, DropReason, u64)> {
        let (target, reason) = self.untold.pop_front()?;
        if let Some(marks) = self.marked.get_mut(&target) {
            *marks &= !(1 << reason as u32);
            if *marks == 0 {
                self.marked.remove(&target);
            }
        }
        let count = self.counts_by_box.0.get(&target).and_then(|counts| counts.get(reason as usize)).copied();
        Some((target, reason, count.unwrap_or_default()))
    }
}

/// Drops there of messages that went over the connection, as far as the peer has told.
#[derive(Debug, Default)]
pub(crate) struct PeerDrops {
    now: DropCounts,
    /// Those of the link's earlier connections.
    before: DropCounts,
    /// The sum of `now`.
    believed: u64,
}

impl PeerDrops {
    /// The peer tells a sum, of which by how much it has grown is given. One that shrinks is not believed, nor are more
    /// drops than messages were `written`.
    pub(crate) fn told(&mut self, target: Target, reason: DropReason, count: u64, written: u64) -> u64 {
        let (entry, counts) = self.now.of(target.clone());
        let Some(sum) = counts.get_mut(reason as usize) else { return 0 };
        if entry != target {
            // More entries than an honest peer keeps.
            return 0;
        }
        let grown = count.saturating_sub(*sum).min(written.saturating_sub(self.believed));
        *sum += grown;
        self.believed += grown;
        grown
    }

    /// The connection has ended: the next one counts from 0.
    pub(crate) fn close(&mut self) {
        let now = std::mem::take(&mut self.now);
        self.before.add(now);
        self.believed = 0;
    }

    /// What is known of the messages for a box.
    pub(crate) fn of(&self, target: &Target) -> ReasonCounts {
        let mut sum = self.before.0.get(target).copied().unwrap_or_default();
        if let Some(now) = self.now.0.get(target) {
            sum.iter_mut().zip(now).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(n: usize) -> Target {
        Target::Name(n.to_string().into())
    }

    #[test]
    fn boxes_without_end_have_one_account_in_common() {
        let mut ours = LocalDrops::default();
        let first = (0..2 * MAX_COUNTED).filter(|n| ours.dropped(target(*n), DropReason::NoSuchBox, 1)).count();
        assert_eq!(first, 1);
        assert_eq!(ours.counts_by_box.0.len(), MAX_COUNTED + 1);
        assert_eq!((ours.untold.len(), ours.marked.len()), (MAX_COUNTED + 1, MAX_COUNTED + 1));
        let told: u64 = std::iter::from_fn(|| ours.next()).map(|(_, _, count)| count).sum();
        assert_eq!(told, 2 * MAX_COUNTED as u64, "each is told, if not of which box it was");
    }

    #[test]
    fn a_peer_that_tells_of_boxes_without_end_is_believed_of_so_many() {
        let mut theirs = PeerDrops::default();
        let told = |n| theirs.told(target(n), DropReason::NoSuchBox, 1, u64::MAX);
        assert_eq!((0..2 * MAX_COUNTED).map(told).sum::<u64>(), MAX_COUNTED as u64);
        assert!(theirs.now.0.len() <= MAX_COUNTED + 1);
    }
}
