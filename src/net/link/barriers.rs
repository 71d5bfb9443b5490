//! Barriers between frames that are written in any order: a barrier is past once all frames queued before it are
//! written.
//!
//! Frames are not numbered one by one, which would take memory for each of very many small ones: all frames queued
//! between two barriers share an epoch, and only their count is kept.

use std::collections::VecDeque;

/// The number of an epoch. It may wrap, because only epochs since the oldest barrier that matters are compared.
pub(super) type Epoch = u32;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Barriers {
    /// The epoch of frames queued now, and the number of its unwritten frames.
    epoch: Epoch,
    unfinished: usize,
    /// The numbers of unwritten frames in earlier epochs, from the oldest that has one. There are no more epochs than
    /// barriers that are not past, which [`Watches`](crate::net::control::watch::Watches) bounds.
    earlier: VecDeque<usize>,
}

impl Barriers {
    /// Counts one more queued frame. Returns its epoch, to be passed when it is [`finished`](Barriers::finished).
    pub(super) fn queued(&mut self) -> Epoch {
        self.unfinished += 1;
        self.epoch
    }

    /// Notes that a frame of that epoch is written completely, or dropped.
    pub(super) fn finished(&mut self, epoch: Epoch) {
        let since = self.epoch.wrapping_sub(epoch) as usize;
        let at = self.earlier.len().wrapping_sub(since);
        let count = if since == 0 { Some(&mut self.unfinished) } else { self.earlier.get_mut(at) };
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
        while self.earlier.front() == Some(&0) {
            self.earlier.pop_front();
        }
    }

    /// Makes a barrier behind all frames queued now; see [`is_past`](Barriers::is_past).
    pub(super) fn make(&mut self) -> Epoch {
        if self.unfinished > 0 {
            self.earlier.push_back(std::mem::take(&mut self.unfinished));
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.epoch
    }

    /// Whether all frames queued when the barrier was made are written.
    pub(super) fn is_past(&self, barrier: Epoch) -> bool {
        self.earlier.len() <= self.epoch.wrapping_sub(barrier) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_is_past_when_all_before_it_are_finished_in_whatever_order() {
        // Also when the numbers of epochs wrap.
        for epoch in [0, Epoch::MAX - 1, Epoch::MAX] {
            let mut barriers = Barriers { epoch, ..Barriers::default() };
            let nothing = barriers.make();
            assert!(barriers.is_past(nothing));
            let first = [barriers.queued(), barriers.queued()];
            let one = barriers.make();
            let second = barriers.queued();
            let two = barriers.make();
            let after = barriers.queued();
            let past = |barriers: &Barriers| [one, two].map(|barrier| barriers.is_past(barrier));
            barriers.finished(first[1]);
            barriers.finished(second);
            assert_eq!(past(&barriers), [false, false], "one that came before both is left");
            barriers.finished(first[0]);
            assert_eq!(past(&barriers), [true, true], "what comes after them does not matter");
            barriers.finished(after);
            assert_eq!((past(&barriers), barriers.unfinished, barriers.earlier.len()), ([true, true], 0, 0));
        }
    }

    #[test]
    fn barriers_without_frames_between_them_take_no_room() {
        let mut barriers = Barriers::default();
        let oldest = barriers.queued();
        for _ in 0..1000 {
            let between = barriers.queued();
            barriers.finished(between);
            barriers.make();
        }
        assert_eq!(barriers.earlier.len(), 1);
        barriers.finished(oldest);
        assert!(barriers.earlier.is_empty());
    }
}
