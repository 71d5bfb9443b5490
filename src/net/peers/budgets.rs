//! The budgets of peers: how many messages and bytes are read from one party in a second, and how many names and ids it
//! may try that no box has.
//!
//! A budget only holds a party back. Its connections are not read until the budget covers what they have sent, and the
//! system's buffers hold up their senders: nothing is dropped, and no connection is cut.
//!
//! All connections of a party have one budget. A party is identified by the identity that its transport has proven, if
//! that tells it from others (a certificate, a user of this host), or else by its address. A budget for each node id would limit nothing, since a peer can make as many ids as it likes. A
//! budget outlives its connections until it is as good as new, so that connecting again gains nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Limits;
use crate::ident::NodeId;
use crate::net::control::allowance::Allowance;
use crate::net::transport::accepted::Origin;
use crate::observe::identity::Identity;

/// Parties without a connection whose budgets are remembered, at 300 bytes each and the length of their names. Beyond
/// that, all of them are forgotten.
const MAX_RESTING: usize = 4096;

/// The number of parties above which a sweep looks for parties that need not be remembered.
const SWEPT: usize = 64;

/// The party that a connection counts against.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Party {
    /// The peer's identity, if it tells the peer from others: a shared key does not.
    Proven(Identity),
    /// The peer's address, or the transport over which it has dialled.
    Origin(Origin),
    /// The id of a dialled node that has neither a proven identity nor a known address.
    Node(NodeId),
}

impl Party {
    /// Returns the party at the other end of a connection. `origin` is that of a connection which the peer has opened,
    /// and `address` its address if it is known.
    pub(crate) fn of(identity: &Identity, origin: Option<Origin>, address: Option<SocketAddr>, node: NodeId) -> Party {
        match identity {
            Identity::Unknown | Identity::Key { .. } => {
                origin.or_else(|| address.map(Origin::of)).map_or(Party::Node(node), Party::Origin)
            }
            identity => Party::Proven(identity.clone()),
        }
    }
}

/// The use of a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Used {
    /// Messages and requests.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Look-ups of names and ids that no box has.
    pub(crate) unknown_names: u64,
}

/// The budget of one party.
#[derive(Debug)]
pub(crate) struct Budget {
    allowances: Mutex<Allowances>,
    /// Whether messages or bytes are limited.
    limits_traffic: bool,
}

#[derive(Clone, Debug)]
struct Allowances {
    messages: Allowance,
    bytes: Allowance,
    unknown_names: Allowance,
}

impl Allowances {
    fn of(limits: &Limits) -> Allowances {
        Allowances {
            messages: Allowance::new(limits.peer_messages),
            bytes: Allowance::new(limits.peer_bytes),
            unknown_names: Allowance::new(limits.peer_unknown_names),
        }
    }

    fn each(&self) -> [&Allowance; 3] {
        [&self.messages, &self.bytes, &self.unknown_names]
    }
}

impl Budget {
    /// Whether this use has to be counted. Usually it need not be, and then no lock is taken.
    #[inline]
    pub(crate) fn counts(&self, used: &Used) -> bool {
        self.limits_traffic || used.unknown_names > 0
    }

    /// Counts a use. Returns the time until which the party is not to be read, if that time is in the future.
    pub(crate) fn charge(&self, used: Used, now: Instant) -> Option<Instant> {
        let mut allowances = self.allowances.lock();
        let waits = [
            allowances.messages.take(used.messages, now),
            allowances.bytes.take(used.bytes, now),
            allowances.unknown_names.take(used.unknown_names, now),
        ];
        waits.into_iter().flatten().max()
    }

    fn is_whole(&self, now: Instant) -> bool {
        self.allowances.lock().each().into_iter().all(|allowance| allowance.is_whole(now))
    }
}

/// The budgets of all parties.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// An unused budget.
    whole: Allowances,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    of_parties: HashMap<Party, Arc<Budget>>,
    /// The number of parties that were left by the last sweep.
    left: usize,
}

impl Budgets {
    pub(crate) fn new(limits: &Limits) -> Budgets {
        Budgets { whole: Allowances::of(limits), state: Mutex::default() }
    }

    /// Returns the budget of a party; `None` if nothing is limited.
    pub(crate) fn of(&self, party: Party, now: Instant) -> Option<Arc<Budget>> {
        if !self.whole.each().into_iter().any(Allowance::is_limited) {
            return None;
        }
        let State { of_parties, left } = &mut *self.state.lock();
        if let Some(known) = of_parties.get(&party) {
            return Some(Arc::clone(known));
        }
        if of_parties.len() >= 2 * *left + SWEPT {
            sweep(of_parties, now);
            *left = of_parties.len();
        }
        let limits_traffic = self.whole.messages.is_limited() || self.whole.bytes.is_limited();
        let budget = Arc::new(Budget { allowances: Mutex::new(self.whole.clone()), limits_traffic });
        of_parties.insert(party, Arc::clone(&budget));
        Some(budget)
    }
}

/// Forgets the parties that have neither a connection nor any recent use. If too many parties without a connection are
/// left then, forgets those as well.
fn sweep(of_parties: &mut HashMap<Party, Arc<Budget>>, now: Instant) {
    let has_connection = |budget: &Arc<Budget>| Arc::strong_count(budget) > 1;
    of_parties.retain(|_, budget| has_connection(budget) || !budget.is_whole(now));
    if of_parties.values().filter(|budget| !has_connection(budget)).count() > MAX_RESTING {
        of_parties.retain(|_, budget| has_connection(budget));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const ONE: Used = Used { messages: 1, bytes: 0, unknown_names: 0 };

    fn party(n: u32) -> Party {
        Party::Origin(Origin::of((Ipv4Addr::from_bits(n), 1).into()))
    }

    fn budgets(messages: usize, unknown_names: usize) -> Budgets {
        Budgets::new(&Limits { peer_messages: messages, peer_unknown_names: unknown_names, ..Limits::default() })
    }

    fn now() -> Instant {
        Instant::now() + Duration::from_secs(100)
    }

    #[test]
    fn a_party_is_its_identity_or_else_its_address() {
        let at = |port| Some((Ipv4Addr::LOCALHOST, port).into());
        let of = |identity, address, node| Party::of(&identity, None, address, NodeId([node; 16]));
        let user = |uid| Identity::Unix { uid, gid: 1 };
        assert_eq!(of(Identity::Unknown, at(1), 1), of(Identity::Unknown, at(2), 2), "whatever id it has");
        assert_eq!(of(user(1), None, 1), of(user(1), at(1), 2));
        assert_ne!(of(user(1), None, 1), of(user(2), None, 1));
        let key = || Identity::Key { name: "blue".to_owned() };
        assert_eq!(of(key(), at(1), 1), of(Identity::Unknown, at(1), 1), "all nodes have the key");
        assert_ne!(of(Identity::Unknown, None, 1), of(Identity::Unknown, None, 2));
        let origin = Origin::of((Ipv4Addr::BROADCAST, 1).into());
        let opened = Party::of(&Identity::Unknown, Some(origin), at(1), NodeId([1; 16]));
        assert_eq!(opened, Party::Origin(origin), "what the listener saw counts");
    }

    #[test]
    fn all_connections_of_a_party_have_one_budget_and_others_have_their_own() {
        let (budgets, now) = (budgets(10, 0), now());
        let [first, second, other] = [1, 1, 2].map(|n| budgets.of(party(n), now).expect("a limit"));
        assert_eq!(first.charge(Used { messages: 10, ..Used::default() }, now), None);
        assert!(second.charge(ONE, now).is_some_and(|until| until > now));
        assert_eq!(other.charge(ONE, now), None);
    }

    #[test]
    fn connecting_again_gains_nothing() {
        let (budgets, start) = (budgets(10, 0), now());
        let first = budgets.of(party(0), start).expect("a limit");
        first.charge(Used { messages: 100, ..Used::default() }, start);
        drop(first);
        // So many others that there is a sweep or two.
        (1..1000).for_each(|n| drop(budgets.of(party(n), start)));
        let again = |now| budgets.of(party(0), now).expect("a limit").charge(ONE, now);
        assert!(again(start).is_some());
        let rested = start + Duration::from_secs(11);
        assert_eq!(again(rested), None);
        assert!(budgets.state.lock().of_parties.len() <= 2 * SWEPT, "parties that used nothing are forgotten");
    }

    #[test]
    fn no_more_parties_without_a_connection_are_remembered_than_the_limit_says() {
        let (budgets, now) = (budgets(1, 0), now());
        let held = budgets.of(party(0), now).expect("a limit");
        let mut most = 0;
        for n in 1..u32::try_from(4 * MAX_RESTING).expect("it is small") {
            budgets.of(party(n), now).expect("a limit").charge(ONE, now);
            most = most.max(budgets.state.lock().of_parties.len());
        }
        assert!((MAX_RESTING..=2 * MAX_RESTING + SWEPT + 2).contains(&most), "{most}");
        assert!(Arc::ptr_eq(&held, &budgets.of(party(0), now).expect("a limit")), "one with a connection stays");
    }

    #[test]
    fn the_longest_wait_counts() {
        let limits = Limits { peer_messages: 1, peer_bytes: 1000, peer_unknown_names: 10, ..Limits::default() };
        let (budgets, now) = (Budgets::new(&limits), now());
        let budget = budgets.of(party(0), now).expect("a limit");
        let used = Used { messages: 3, bytes: 11_000, unknown_names: 30 };
        assert_eq!(budget.charge(used, now), Some(now + Duration::from_secs(10)));
    }

    #[test]
    fn only_limited_use_is_counted() {
        let now = now();
        assert!(budgets(0, 0).of(party(0), now).is_none());
        let names = budgets(0, 1).of(party(0), now).expect("a limit");
        assert!(!names.counts(&ONE) && names.counts(&Used { unknown_names: 1, ..ONE }));
        assert!(budgets(1, 0).of(party(0), now).is_some_and(|budget| budget.counts(&ONE)));
    }
}
