//! Bounds for a node, beside those for each connection and each box: a [`Quota`] of a resource, of which each
//! connection or box has a [`Share`].
//!
//! Each share has a small part of its own, which is never refused, and costs nothing to use. Beyond that, shares
//! reserve in chunks, so that a message usually touches no count that other threads touch. Invariant: `used` is the sum
//! of the amounts that the shares of a quota have reserved, and never more than its limit.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::config::Limits;

/// The amount of a resource for the whole node.
///
/// The first half is given on a first-come basis. From the second half a share gets more only while it has less than an
/// equal part of that half, so that greedy shares leave something to others; but a share's first reservation, even for
/// a single long message, may also come from the third quarter. So no share ever has more than half.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: usize,
    used: AtomicUsize,
    /// Number of shares that have reserved something.
    holders: AtomicUsize,
}

impl Quota {
    pub(crate) fn new(limit: usize) -> Arc<Quota> {
        Arc::new(Quota { limit, used: AtomicUsize::new(0), holders: AtomicUsize::new(0) })
    }

    /// Reserves `amount` for a share that has reserved `before`. Returns false, and reserves nothing, if there is no
    /// room.
    fn reserve(&self, amount: usize, before: usize) -> bool {
        let second = self.limit / 2;
        let holders = self.holders.load(Ordering::Relaxed) + usize::from(before == 0);
        let has_little = before.saturating_add(amount) <= second / holders.max(1);
        let most = match has_little {
            true => self.limit,
            false if before == 0 && amount <= second => self.limit - second / 2,
            false => self.limit - second,
        };
        let more = |used: usize| used.checked_add(amount).filter(|used| *used <= most);
        let is_reserved = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if is_reserved && before == 0 {
            self.holders.fetch_add(1, Ordering::Relaxed);
        }
        is_reserved
    }

    /// Returns `amount` of a share that has `left` afterwards.
    fn give_back(&self, amount: usize, left: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
        if left == 0 {
            self.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns the maximum that a share that has reserved `reserved` may reach at present, step by step.
    fn most_for(&self, reserved: usize) -> usize {
        let second = self.limit / 2;
        let others = self.used().saturating_sub(reserved);
        let holders = self.holders.load(Ordering::Relaxed) + usize::from(reserved == 0);
        let of_first = (self.limit - second).saturating_sub(others);
        let of_second = (second / holders.max(1)).min(self.limit.saturating_sub(others));
        of_first.max(of_second)
    }

    /// Returns the amount that is reserved.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The terms by which a share grows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The amount that each share has without reserving.
    pub(crate) own: usize,
    /// The amount that a share reserves at a time beyond that, while it is available.
    pub(crate) chunk: usize,
}

/// A part of a [`Quota`], returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    quota: Arc<Quota>,
    terms: &'static Terms,
    /// The share's own part, and the reserved amount.
    granted: usize,
}

impl Share {
    pub(crate) fn new(quota: &Arc<Quota>, terms: &'static Terms) -> Share {
        Share { quota: Arc::clone(quota), terms, granted: terms.own }
    }

    /// Returns another share of the same quota, which has reserved nothing.
    pub(crate) fn anew(&self) -> Share {
        Share::new(&self.quota, self.terms)
    }

    /// Returns the amount that the share may use without a further reservation.
    #[inline]
    pub(crate) fn granted(&self) -> usize {
        self.granted
    }

    /// Returns whether anything is reserved.
    #[inline]
    pub(crate) fn is_reserved(&self) -> bool {
        self.granted > self.terms.own
    }

    /// Returns whether the share may use `amount` in all; reserves the missing part, if there is room for it.
    #[inline]
    pub(crate) fn covers(&mut self, amount: usize) -> bool {
        amount <= self.granted || self.grow(amount)
    }

    #[cold]
    fn grow(&mut self, amount: usize) -> bool {
        let before = self.granted - self.terms.own;
        let missing = amount - self.granted;
        let chunks = missing.checked_next_multiple_of(self.terms.chunk.max(1)).unwrap_or(missing);
        let granted = [chunks, missing].into_iter().find(|more| self.quota.reserve(*more, before));
        self.granted += granted.unwrap_or(0);
        granted.is_some()
    }

    /// Returns the part that is not needed for `amount` to the quota, except for the rest of the last chunk.
    #[inline]
    pub(crate) fn shrink_to(&mut self, amount: usize) {
        if self.is_reserved() {
            self.give_back(amount);
        }
    }

    fn give_back(&mut self, amount: usize) {
        let beyond = amount.saturating_sub(self.terms.own);
        let kept = beyond.checked_next_multiple_of(self.terms.chunk.max(1)).unwrap_or(beyond);
        let reserved = self.granted - self.terms.own;
        if kept < reserved {
            self.granted = self.terms.own + kept;
            self.quota.give_back(reserved - kept, kept);
        }
    }

    /// Returns whether so much of the quota is reserved that a share should keep nothing for later use.
    pub(crate) fn is_scarce(&self) -> bool {
        self.quota.used() >= self.quota.limit / 2
    }

    /// Returns the fill of the share with `amount`, relative to the maximum it may have at present: from 0 to 1.
    pub(crate) fn fill(&self, amount: usize) -> f32 {
        let own = self.terms.own;
        let most = own + self.quota.most_for(self.granted - own);
        amount as f32 / most.max(self.granted).max(1) as f32
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Bytes of buffers for reading: enough for 200 connections that are read at full speed.
const READS: usize = 48 << 20;

/// The quotas of a node.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// Bytes that wait for connections.
    pub(crate) outboxes: Arc<Quota>,
    /// Bytes that wait in boxes.
    pub(crate) boxes: Arc<Quota>,
    /// Bytes of the buffers into which connections are read, while nothing is unfinished in them.
    pub(crate) reads: Arc<Quota>,
    /// Bytes of room that connections keep for the next message in pieces.
    pub(crate) rooms: Arc<Quota>,
    /// Requests of peers without an answer.
    pub(crate) answers: Arc<Quota>,
    /// Boxes that peers watch, and those whose end must be reported to them.
    pub(crate) watches: Arc<Quota>,
    /// Numbers that peers may use.
    pub(crate) numbers: Arc<Quota>,
}

impl Quotas {
    /// Makes the quotas. No bound for the node keeps a single connection or message from reaching its own limit: one
    /// share may have half of a quota.
    pub(crate) fn new(limits: &Limits) -> Quotas {
        let &Limits { outbox, outboxes, boxes, max_message, interned, numbers, .. } = limits;
        let of_two = |of_one: usize| of_one.saturating_mul(2);
        Quotas {
            outboxes: Quota::new(outboxes.max(of_two(outbox.max(max_message)))),
            boxes: Quota::new(boxes.max(of_two(max_message))),
            reads: Quota::new(READS),
            rooms: Quota::new(of_two(max_message)),
            answers: Quota::new(limits.pending_answers),
            watches: Quota::new(limits.watches),
            numbers: Quota::new(numbers.max(of_two(interned))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { own: 10, chunk: 20 };

    fn shares<const N: usize>(quota: &Arc<Quota>) -> [Share; N] {
        std::array::from_fn(|_| Share::new(quota, &TERMS))
    }

    #[test]
    fn what_is_its_own_is_covered_whatever_others_have() {
        let quota = Quota::new(0);
        let [mut share] = shares(&quota);
        assert!(share.covers(10) && !share.covers(11) && share.covers(10));
        assert_eq!((quota.used(), share.granted(), share.is_reserved()), (0, 10, false));
    }

    #[test]
    fn it_is_reserved_in_chunks_and_given_back_in_chunks() {
        let quota = Quota::new(1000);
        let [mut share] = shares(&quota);
        assert!(share.covers(11));
        assert_eq!((quota.used(), share.granted()), (20, 30));
        assert!(share.covers(30) && share.covers(51));
        assert_eq!((quota.used(), share.granted()), (60, 70));
        // The whole amount is needed, or all but a little of the last chunk.
        for enough in [70, 51] {
            share.shrink_to(enough);
            assert_eq!(quota.used(), 60);
        }
        share.shrink_to(50);
        assert_eq!((quota.used(), share.granted()), (40, 50));
        share.shrink_to(3);
        assert_eq!((quota.used(), share.granted(), quota.holders.load(Ordering::Relaxed)), (0, 10, 0));
    }

    #[test]
    fn the_last_of_it_need_not_be_a_whole_chunk() {
        let quota = Quota::new(50);
        let [mut share] = shares(&quota);
        // A single share gets half.
        assert!(!share.covers(36) && share.covers(35));
        assert_eq!((quota.used(), share.granted()), (25, 35));
        share.shrink_to(11);
        assert_eq!(quota.used(), 20);
    }

    #[test]
    fn a_share_that_is_dropped_leaves_all_to_others() {
        let quota = Quota::new(100);
        let [mut first, mut second] = shares(&quota);
        assert!(first.covers(60) && !second.covers(60));
        drop(first);
        assert!(second.covers(60));
        drop(second);
        assert_eq!((quota.used(), quota.holders.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn the_second_half_is_for_those_who_have_little() {
        let quota = Quota::new(800);
        let [mut greedy, mut modest, mut third] = shares(&quota);
        while greedy.covers(greedy.granted() + 1) {}
        assert_eq!(quota.used(), 400);
        while modest.covers(modest.granted() + 1) {}
        assert_eq!((modest.granted(), quota.used()), (210, 600));
        while third.covers(third.granted() + 1) {}
        assert_eq!((third.granted(), quota.used()), (10 + 133, 733));
        assert!(!greedy.covers(greedy.granted() + 1));
        // When the greedy share has returned its part, there is room again.
        greedy.shrink_to(0);
        assert!(modest.covers(modest.granted() + 1));
    }

    #[test]
    fn one_that_has_nothing_gets_more_at_first() {
        let quota = Quota::new(1000);
        let [mut greedy, mut first, mut second] = shares(&quota);
        assert!(greedy.covers(510) && !greedy.covers(511));
        // The amount is neither an equal part nor within the first half.
        assert!(!first.covers(261 + 10) && first.covers(250 + 10), "but a quarter is left");
        assert!(!second.covers(200) && second.covers(100));
    }

    #[test]
    fn all_shares_together_never_have_more_than_the_limit() {
        let quota = Quota::new(1000);
        let mut shares: [Share; 100] = shares(&quota);
        for round in 0..50 {
            for (n, share) in shares.iter_mut().enumerate() {
                match (n * 7 + round) % 5 {
                    0 => share.shrink_to(share.granted() / 2),
                    _ => drop(share.covers(share.granted() + n % 37)),
                }
                assert!(quota.used() <= 1000);
            }
            let reserved: usize = shares.iter().map(|share| share.granted() - TERMS.own).sum();
            let holders = shares.iter().filter(|share| share.is_reserved()).count();
            assert_eq!((quota.used(), quota.holders.load(Ordering::Relaxed)), (reserved, holders));
        }
    }

    #[test]
    fn one_alone_has_what_its_own_limit_allows() {
        let limits = Limits {
            outboxes: 0,
            boxes: 0,
            numbers: 0,
            outbox: 1000,
            max_message: 300,
            interned: 7,
            ..Limits::default()
        };
        let quotas = Quotas::new(&limits);
        assert_eq!((quotas.outboxes.limit, quotas.boxes.limit, quotas.numbers.limit), (2000, 600, 14));
        let quotas = Quotas::new(&Limits { max_message: 2000, ..limits });
        assert_eq!((quotas.outboxes.limit, quotas.boxes.limit), (4000, 4000));
        assert!(Share::new(&quotas.boxes, &TERMS).covers(2000));
    }

    #[test]
    fn it_is_full_when_there_is_no_more_to_be_had_by_it() {
        let quota = Quota::new(40);
        let [mut first, mut second, third] = shares(&quota);
        assert!(first.covers(30));
        assert_eq!((first.fill(30), first.fill(15)), (1.0, 0.5), "that is the half");
        assert_eq!(third.fill(5), 0.25, "of its own and of a half of the other half");
        assert!(second.covers(20) && first.covers(20));
        let mut others: [Share; 10] = shares(&quota);
        others.iter_mut().for_each(|other| while other.covers(other.granted() + 1) {});
        assert_eq!(quota.used(), 40);
        assert_eq!((first.fill(30), third.fill(5)), (1.0, 0.5));
    }
}
