//! Handles that are given back to who has introduced a box only when the box's own node knows that they are held.
//!
//! The claim that a node is told directly goes by another connection than what is given back, and may be long on its way,
//! behind whatever waits there. If the other was quicker, the box would be gone before what was sent to it has arrived. So
//! what is given back waits for the answer to a ping that is written behind the claim. It is bounded by [`MAX_KEPT`], and
//! ends with the connection, as the claim does.

use std::collections::VecDeque;

use crate::handle::pointer::lease::Lease;

/// Counts that wait at a time; further ones are given back at once.
const MAX_KEPT: usize = 65_536;

/// Tells these pings from those that are measured.
const MARK: u64 = 1 << 63;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct DeferredReleases {
    /// By the ping that each waits for, in order.
    held: VecDeque<(u64, Lease)>,
    asked: u64,
    answered: u64,
}

impl DeferredReleases {
    /// Whether the answer is one to such a ping.
    pub(crate) fn is_marked(nonce: u64) -> bool {
        nonce & MARK != 0
    }

    /// Keeps a count until a ping is answered that is asked from now on. The ping, if it is to be asked now; the count, if
    /// there are too many.
    pub(crate) fn keep(&mut self, held: Lease) -> Result<Option<u64>, Lease> {
        if self.held.len() >= MAX_KEPT {
            return Err(held);
        }
        self.held.push_back((self.asked + 1, held));
        Ok(self.ask())
    }

    /// The ping that waits for its answer, to be asked once more: a peer that has much to say may leave the answer out.
    pub(crate) fn under_way(&self) -> Option<u64> {
        (self.asked > self.answered).then_some(MARK | self.asked)
    }

    /// The peer has answered. What is given back now, when no lock is held, and the ping that is to be asked next.
    pub(crate) fn answered(&mut self, nonce: u64) -> (Vec<Lease>, Option<u64>) {
        if self.under_way() != Some(nonce) {
            return (Vec::new(), None);
        }
        self.answered = self.asked;
        let count = self.held.partition_point(|(ping, _)| *ping <= self.answered);
        let given_back = self.held.drain(..count).map(|(_, held)| held).collect();
        (given_back, self.ask())
    }

    /// One ping is under way at a time, however many wait.
    fn ask(&mut self) -> Option<u64> {
        if self.held.is_empty() || self.asked > self.answered {
            return None;
        }
        self.asked += 1;
        self.under_way()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Weak;

    use super::*;
    use crate::ident::BoxId;
    use crate::net::peers::search_queue::SearchQueue;

    fn held(n: u64) -> Lease {
        Lease::new(Weak::<SearchQueue>::new(), n, BoxId([0; 16]), 1, Arc::default())
    }

    fn numbers(held: &[Lease]) -> Vec<u64> {
        held.iter().map(|held| held.connection).collect()
    }

    #[test]
    fn what_is_kept_waits_for_a_ping_behind_it_and_one_is_asked_at_a_time() {
        let mut kept = DeferredReleases::default();
        let first = kept.keep(held(1)).expect("there is room").expect("a ping");
        assert!(DeferredReleases::is_marked(first) && !DeferredReleases::is_marked(first & !MARK));
        for n in [2, 3] {
            assert_eq!(kept.keep(held(n)).expect("there is room"), None, "one is under way, before these");
        }
        assert_eq!(kept.answered(first + 1).0.len(), 0, "that was not asked");
        let (given_back, next) = kept.answered(first);
        assert_eq!(numbers(&given_back), [1]);
        assert_eq!(kept.answered(first).0.len(), 0, "it was answered twice");
        assert_eq!(kept.under_way(), next);
        let (given_back, next) = kept.answered(next.expect("another ping"));
        assert_eq!((numbers(&given_back), next, kept.under_way()), (vec![2, 3], None, None));
    }

    #[test]
    fn so_many_are_kept() {
        let mut kept = DeferredReleases::default();
        (0..MAX_KEPT as u64).for_each(|n| assert!(kept.keep(held(n)).is_ok()));
        assert_eq!(kept.keep(held(7)).expect_err("one too many").connection, 7);
    }
}
