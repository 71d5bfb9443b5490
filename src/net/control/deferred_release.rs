//! Leases that are given back to the node that introduced a box only when the box's own node knows of this node's
//! lease.
//!
//! The lease is claimed directly over another connection than the one that carries the release, and the claim may be
//! delayed by messages that wait there. If the release were quicker, the box would be gone before messages sent to it
//! have arrived. So the release waits for the answer to a ping that is written behind the claim. The waiting releases
//! are bounded by [`MAX_KEPT`], and end with the connection, as the claim does.

use std::collections::VecDeque;

use crate::handle::pointer::lease::Lease;

/// Leases that wait at a time; further ones are given back at once.
const MAX_KEPT: usize = 65_536;

/// Marks these pings, to tell them from the measured ones.
const MARK: u64 = 1 << 63;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct DeferredReleases {
    /// The waiting leases, each with the ping that it waits for, in order.
    held: VecDeque<(u64, Lease)>,
    asked: u64,
    answered: u64,
}

impl DeferredReleases {
    /// Whether an answer belongs to such a ping.
    pub(crate) fn is_marked(nonce: u64) -> bool {
        nonce & MARK != 0
    }

    /// Keeps a lease until the peer answers a ping that is yet to be sent. Returns that ping, if it is to be sent now.
    ///
    /// # Errors
    ///
    /// Gives the lease back if too many wait.
    pub(crate) fn keep(&mut self, held: Lease) -> Result<Option<u64>, Lease> {
        if self.held.len() >= MAX_KEPT {
            return Err(held);
        }
        self.held.push_back((self.asked + 1, held));
        Ok(self.ask())
    }

    /// Returns the ping that waits for its answer, to be sent once more: a peer that has much to send may leave the
    /// answer out.
    pub(crate) fn under_way(&self) -> Option<u64> {
        (self.asked > self.answered).then_some(MARK | self.asked)
    }

    /// Handles the peer's answer. Returns the leases to give back now, when no lock is held, and the ping to send next.
    pub(crate) fn on_pong(&mut self, nonce: u64) -> (Vec<Lease>, Option<u64>) {
        if self.under_way() != Some(nonce) {
            return (Vec::new(), None);
        }
        self.answered = self.asked;
        let count = self.held.partition_point(|(ping, _)| *ping <= self.answered);
        let given_back = self.held.drain(..count).map(|(_, held)| held).collect();
        (given_back, self.ask())
    }

    /// Returns the next ping to send. One ping is under way at a time, however many leases wait.
    fn ask(&mut self) -> Option<u64> {
        if self.held.is_empty() || self.asked > self.answered {
            return None;
        }
        self.asked += 1;
        self.under_way()
    }
}

/// Makes a lease that came by the connection of that number, which has ended, for tests and fuzzers.
#[cfg(any(test, fuzzing))]
pub(super) fn ended_lease(connection: u64) -> Lease {
    let link = std::sync::Weak::<crate::net::link::Link>::new();
    Lease::new(link, connection, crate::ident::BoxId([0; 16]), 1, std::sync::Arc::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(held: &[Lease]) -> Vec<u64> {
        held.iter().map(|held| held.connection).collect()
    }

    #[test]
    fn what_is_kept_waits_for_a_ping_behind_it_and_one_is_asked_at_a_time() {
        let mut kept = DeferredReleases::default();
        let first = kept.keep(ended_lease(1)).expect("there is room").expect("a ping");
        assert!(DeferredReleases::is_marked(first) && !DeferredReleases::is_marked(first & !MARK));
        for n in [2, 3] {
            assert_eq!(kept.keep(ended_lease(n)).expect("there is room"), None, "one is under way, before these");
        }
        assert_eq!(kept.on_pong(first + 1).0.len(), 0, "that was not asked");
        let (given_back, next) = kept.on_pong(first);
        assert_eq!(numbers(&given_back), [1]);
        assert_eq!(kept.on_pong(first).0.len(), 0, "it was answered twice");
        assert_eq!(kept.under_way(), next);
        let (given_back, next) = kept.on_pong(next.expect("another ping"));
        assert_eq!((numbers(&given_back), next, kept.under_way()), (vec![2, 3], None, None));
    }

    #[test]
    fn so_many_are_kept() {
        let mut kept = DeferredReleases::default();
        (0..MAX_KEPT as u64).for_each(|n| assert!(kept.keep(ended_lease(n)).is_ok()));
        assert_eq!(kept.keep(ended_lease(7)).expect_err("one too many").connection, 7);
    }
}
