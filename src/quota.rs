//! Bounds for a node, beside those for each connection and each box: a [`Quota`] of a resource, of which each
//! connection or box has a [`Share`].
//!
//! Each share has a small part of its own, which is never refused, and costs nothing to use. Beyond that, shares
//! reserve in chunks, so that a message usually touches no count that other threads touch. Invariant: `used` is the sum
//! of the amounts that the shares of a quota have reserved, and never more than its limit.
//!
//! Many connections from one address are one party: their shares belong to one [`Party`] of the quota.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::config::Limits;

/// The amount of a resource for the whole node.
///
/// The first half is given on a first-come basis. From the second half a share gets more only while it has less than an
/// equal part of that half, so that greedy shares leave something to others; but a share's first reservation, even for
/// a single long message, may also come from the third quarter. So no share ever has more than half.
///
/// The parts are equal among parties, and within a party among its shares. A party has no more than three quarters,
/// however many shares it has and although nobody else may have come yet: the last quarter is for others.
#[derive(Debug)]
pub(crate) struct Quota {
    whole: Arc<Whole>,
    /// `None` if each share is a party by itself.
    party: Option<Party>,
}

/// What all parties of a quota have in common.
#[derive(Debug)]
struct Whole {
    limit: usize,
    used: AtomicUsize,
    /// Number of parties of which a share has reserved something.
    parties: AtomicUsize,
}

/// The shares of one party.
#[derive(Debug, Default)]
struct Party {
    used: AtomicUsize,
    /// Number of shares that have reserved something.
    holders: AtomicUsize,
}

/// Adds to a count, unless that makes it more than so much.
fn add(count: &AtomicUsize, amount: usize, most: usize) -> bool {
    let more = |used: usize| used.checked_add(amount).filter(|used| *used <= most);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Quota {
    pub(crate) fn new(limit: usize) -> Arc<Quota> {
        let whole = Whole { limit, used: AtomicUsize::new(0), parties: AtomicUsize::new(0) };
        Arc::new(Quota { whole: Arc::new(whole), party: None })
    }

    /// The same one, as one party has it: all shares of this are its.
    fn for_party(&self) -> Arc<Quota> {
        Arc::new(Quota { whole: Arc::clone(&self.whole), party: Some(Party::default()) })
    }

    /// An equal part of the second half, for one that has reserved so much.
    fn equal_part(&self, reserved: usize) -> usize {
        let (parties, is_new) = (self.whole.parties.load(Ordering::Relaxed), usize::from(reserved == 0));
        let (parties, shares) = match &self.party {
            None => (parties + is_new, 1),
            Some(party) => {
                let holders = party.holders.load(Ordering::Relaxed);
                (parties + usize::from(holders == 0), holders + is_new)
            }
        };
        self.whole.limit / 2 / parties.max(1) / shares.max(1)
    }

    /// The most that a party has.
    fn most_of_party(&self) -> usize {
        self.whole.limit - self.whole.limit / 4
    }

    /// Reserves `amount` for a share that has reserved `before`. Returns false, and reserves nothing, if there is no
    /// room.
    fn reserve(&self, amount: usize, before: usize) -> bool {
        let (limit, second) = (self.whole.limit, self.whole.limit / 2);
        let has_little = before.saturating_add(amount) <= self.equal_part(before);
        let most = match has_little {
            true => limit,
            false if before == 0 && amount <= second => limit - second / 2,
            false => limit - second,
        };
        if let Some(party) = &self.party
            && !add(&party.used, amount, self.most_of_party())
        {
            return false;
        }
        let is_reserved = add(&self.whole.used, amount, most);
        if !is_reserved && let Some(party) = &self.party {
            party.used.fetch_sub(amount, Ordering::Relaxed);
        }
        if is_reserved && before == 0 {
            let others = self.party.as_ref().map_or(0, |party| party.holders.fetch_add(1, Ordering::Relaxed));
            self.whole.parties.fetch_add(usize::from(others == 0), Ordering::Relaxed);
        }
        is_reserved
    }

    /// Returns `amount` of a share that has `left` afterwards.
    fn give_back(&self, amount: usize, left: usize) {
        self.whole.used.fetch_sub(amount, Ordering::Relaxed);
        if let Some(party) = &self.party {
            party.used.fetch_sub(amount, Ordering::Relaxed);
        }
        if left == 0 {
            let holders = self.party.as_ref().map_or(1, |party| party.holders.fetch_sub(1, Ordering::Relaxed));
            self.whole.parties.fetch_sub(usize::from(holders == 1), Ordering::Relaxed);
        }
    }

    /// Returns the maximum that a share that has reserved `reserved` may reach at present, step by step.
    fn most_for(&self, reserved: usize) -> usize {
        let limit = self.whole.limit;
        let others = self.used().saturating_sub(reserved);
        let of_first = (limit - limit / 2).saturating_sub(others);
        let of_second = self.equal_part(reserved).min(limit.saturating_sub(others));
        let of_party = self.party.as_ref().map_or(limit, |party| {
            let others = party.used.load(Ordering::Relaxed).saturating_sub(reserved);
            self.most_of_party().saturating_sub(others)
        });
        of_first.max(of_second).min(of_party)
    }

    /// Returns the amount that all parties have reserved.
    pub(crate) fn used(&self) -> usize {
        self.whole.used.load(Ordering::Relaxed)
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
        self.quota.used() >= self.quota.whole.limit / 2
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

    /// The same ones, as the connections of one party have them. Boxes are of no connection.
    pub(crate) fn for_party(&self) -> Quotas {
        let Quotas { outboxes, boxes, reads, rooms, answers, watches, numbers } = self;
        Quotas {
            outboxes: outboxes.for_party(),
            boxes: Arc::clone(boxes),
            reads: reads.for_party(),
            rooms: rooms.for_party(),
            answers: answers.for_party(),
            watches: watches.for_party(),
            numbers: numbers.for_party(),
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

    fn parties(quota: &Quota) -> usize {
        quota.whole.parties.load(Ordering::Relaxed)
    }

    /// Takes all that can be had, little by little; how much that is in all, without what is its own.
    fn takes_all(shares: &mut [Share]) -> usize {
        shares.iter_mut().for_each(|share| while share.covers(share.granted() + 1) {});
        shares.iter().map(|share| share.granted() - TERMS.own).sum()
    }

    #[test]
    fn of_many_shares_of_one_party_all_together_leave_a_quarter_to_others() {
        let quota = Quota::new(8000);
        let (of_one, of_another) = (quota.for_party(), quota.for_party());
        let mut crowd: [Share; 256] = shares(&of_one);
        assert_eq!(takes_all(&mut crowd), 6000);
        let mut few: [Share; 2] = shares(&of_another);
        assert_eq!(takes_all(&mut few), 2000, "half of the second half");
        assert_eq!((takes_all(&mut crowd), quota.used(), parties(&quota)), (6000, 8000, 2));
        // What it gives back is for whoever has less.
        crowd.iter_mut().take(128).for_each(|share| share.shrink_to(0));
        assert!(few[0].covers(few[0].granted() + 1));
        drop(crowd);
        drop(few);
        let used = |quota: &Quota| quota.party.as_ref().map(|party| party.used.load(Ordering::Relaxed));
        assert_eq!((quota.used(), parties(&quota), used(&of_one), used(&of_another)), (0, 0, Some(0), Some(0)));
    }

    #[test]
    fn one_of_another_party_has_as_much_as_if_a_crowd_of_one_were_one() {
        let quota = Quota::new(8000);
        let of_one = quota.for_party();
        let mut crowd: [Share; 100] = shares(&of_one);
        // All that is for whoever comes first.
        assert!(crowd.iter_mut().all(|share| share.covers(50)) && !crowd[0].covers(51));
        assert_eq!((quota.used(), parties(&quota)), (4000, 1));
        let [mut alone] = shares(&quota);
        assert_eq!(alone.fill(10), 10.0 / (10.0 + 2000.0));
        assert_eq!(takes_all(std::slice::from_mut(&mut alone)), 2000);
        assert!(!crowd[0].covers(crowd[0].granted() + 1), "an equal part of that for each of the crowd is little");
    }

    #[test]
    fn a_party_sees_that_it_is_full_before_the_quota_is() {
        let quota = Quota::new(800);
        let of_one = quota.for_party();
        let mut crowd: [Share; 20] = shares(&of_one);
        assert_eq!((takes_all(&mut crowd), quota.used()), (600, 600));
        assert!(crowd.iter().all(|share| share.fill(share.granted()) == 1.0));
        let [other] = shares(&quota);
        assert!(other.fill(10) < 0.1);
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
        assert_eq!((quota.used(), share.granted(), parties(&quota)), (0, 10, 0));
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
        assert_eq!((quota.used(), parties(&quota)), (0, 0));
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
            assert_eq!((quota.used(), parties(&quota)), (reserved, holders));
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
        assert_eq!(
            (quotas.outboxes.whole.limit, quotas.boxes.whole.limit, quotas.numbers.whole.limit),
            (2000, 600, 14)
        );
        let quotas = Quotas::new(&Limits { max_message: 2000, ..limits });
        assert_eq!((quotas.outboxes.whole.limit, quotas.boxes.whole.limit), (4000, 4000));
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
