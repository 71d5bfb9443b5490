//! Peers that went without a goodbye and are expected back: their leases here stay meanwhile, and this side goes on
//! dialling if it is the side that dials.
//!
//! A peer that is back states the leases that it still holds, which replace those counted for it. Leases that it does
//! not state within `forget_after` are released. At most [`MAX_ABSENT`] connections are remembered; the oldest of the
//! peer that has most of them makes room for a new one. For each peer, the latest [`MAX_OF_ONE`] are remembered.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::settlement::ConnectionNames;
use crate::boxes::leases::Holder;
use crate::handle::pointer::holdings::MAX_RESTATED;
use crate::handle::ports::Outbound;
use crate::ident::ConnectionId;
use crate::ident::Epoch;
use crate::ident::Incarnation;

/// Connections that are remembered because their peers are expected back.
const MAX_ABSENT: usize = 1024;

/// Connections with one peer that are remembered: a peer restates the leases of no more.
const MAX_OF_ONE: usize = MAX_RESTATED;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct AbsenceTable {
    absent: HashMap<Connection, Absent>,
    by_age: BTreeMap<u64, Connection>,
    /// The ages of the connections, by their peer.
    by_peer: BTreeMap<Incarnation, BTreeSet<u64>>,
    next_age: u64,
    /// Whether nobody is expected back any more.
    is_over: bool,
}

/// A connection by its peer and by this side's name for it.
type Connection = (Incarnation, ConnectionId);

/// A connection that has ended, and whose peer holds boxes here. It is to be dropped when no lock is held.
#[derive(Debug)]
pub(crate) struct Absent {
    pub(crate) holder: Holder,
    age: u64,
    /// `None` if the time is too long to be represented.
    until: Option<Instant>,
    /// Dials as long as it is held.
    _link: Option<Arc<dyn Outbound>>,
}

impl AbsenceTable {
    /// Records that a connection with a peer that holds boxes here has ended; `link` is dialled until the peer is back,
    /// or until it is no longer expected, at `until`. Returns the connection that was removed to make room, if one was:
    /// its peer is no longer expected back on it.
    pub(crate) fn expect_back(
        &mut self,
        names: ConnectionNames,
        holder: Holder,
        link: Option<Arc<dyn Outbound>>,
        until: Option<Instant>,
    ) -> Option<Absent> {
        let oldest = self.make_room(names.peer);
        self.next_age += 1;
        let (age, connection) = (self.next_age, (names.peer, names.local));
        let absent = Absent { holder, age, until, _link: link };
        if self.is_over {
            return Some(absent);
        }
        self.by_age.insert(age, connection);
        self.by_peer.entry(names.peer).or_default().insert(age);
        self.absent.insert(connection, absent);
        oldest
    }

    /// Removes the connection of a peer that is back, and has stated its leases on that connection.
    pub(crate) fn on_restated(&mut self, peer: Incarnation, ours: ConnectionId) -> Option<Absent> {
        let age = self.absent.get(&(peer, ours))?.age;
        self.remove(age)
    }

    /// Removes the connections of a peer that has said goodbye: it is not expected back.
    #[must_use]
    pub(crate) fn on_goodbye(&mut self, peer: Incarnation) -> Vec<Absent> {
        let ages: Vec<u64> = self.by_peer.get(&peer).into_iter().flatten().copied().collect();
        ages.into_iter().filter_map(|age| self.remove(age)).collect()
    }

    /// Removes the connections of earlier runs of a node: they are not expected back.
    #[must_use]
    pub(crate) fn forget_earlier(&mut self, than: Incarnation) -> Vec<Absent> {
        let run = |epoch| Incarnation { epoch, ..than };
        let runs = self.by_peer.range(run(Epoch::FIRST)..=run(Epoch::LAST));
        let earlier: Vec<Incarnation> = runs.map(|(run, _)| *run).filter(|run| run.is_another_run_of(than)).collect();
        earlier.into_iter().flat_map(|node| self.on_goodbye(node)).collect()
    }

    /// Removes all connections, for good: nobody is expected back any more.
    #[must_use]
    pub(crate) fn end(&mut self) -> AbsenceTable {
        std::mem::replace(self, AbsenceTable { is_over: true, ..AbsenceTable::default() })
    }

    /// Removes a connection whose peer is no longer expected back, if there is one.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Absent> {
        self.pop_oldest(|absent| absent.until.is_some_and(|until| until <= now))
    }

    /// Returns when the [next](AbsenceTable::next_due) is due.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.oldest().and_then(|oldest| oldest.until)
    }

    fn oldest(&self) -> Option<&Absent> {
        self.by_age.first_key_value().and_then(|(_, oldest)| self.absent.get(oldest))
    }

    fn remove(&mut self, age: u64) -> Option<Absent> {
        let connection = self.by_age.remove(&age)?;
        if let Some(ages) = self.by_peer.get_mut(&connection.0) {
            ages.remove(&age);
            if ages.is_empty() {
                self.by_peer.remove(&connection.0);
            }
        }
        self.absent.remove(&connection)
    }

    /// Removes the connection that has to make room for one more of that peer, if one has.
    fn make_room(&mut self, peer: Incarnation) -> Option<Absent> {
        let crowded = match self.by_peer.get(&peer) {
            Some(ages) if ages.len() >= MAX_OF_ONE => ages,
            _ if self.absent.len() >= MAX_ABSENT => self.by_peer.values().max_by_key(|ages| ages.len())?,
            _ => return None,
        };
        let oldest = *crowded.first()?;
        self.remove(oldest)
    }

    fn pop_oldest(&mut self, is_to_go: impl FnOnce(&Absent) -> bool) -> Option<Absent> {
        if !is_to_go(self.oldest()?) {
            return None;
        }
        let (oldest, _) = self.by_age.first_key_value()?;
        self.remove(*oldest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PEER: Incarnation = Incarnation::of([1; 16]);
    const OTHER: Incarnation = Incarnation::of([2; 16]);

    fn names(peer: Incarnation, n: u64) -> ConnectionNames {
        let mut ours = [0; 16];
        ours[..8].copy_from_slice(&n.to_le_bytes());
        ConnectionNames { peer, local: ConnectionId(ours), remote: ConnectionId([9; 16]) }
    }

    fn absent(absences: &mut AbsenceTable, peer: Incarnation, n: u64) -> Option<Holder> {
        absences.expect_back(names(peer, n), n, None, None).map(|oldest| oldest.holder)
    }

    fn holders(absent: Vec<Absent>) -> Vec<Holder> {
        let mut holders: Vec<Holder> = absent.iter().map(|gone| gone.holder).collect();
        holders.sort_unstable();
        holders
    }

    #[test]
    fn each_is_expected_back_for_so_long_and_no_longer() {
        let (mut absences, began) = (AbsenceTable::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        for (n, peer) in [(1, PEER), (2, PEER), (3, OTHER)] {
            assert!(absences.expect_back(names(peer, n), n, None, Some(at(60 + n))).is_none());
        }
        let due = |absences: &mut AbsenceTable, seconds| absences.next_due(at(seconds)).map(|gone| gone.holder);
        assert_eq!(absences.on_restated(PEER, names(PEER, 2).local).map(|absent| absent.holder), Some(2));
        assert_eq!((absences.due_at(), due(&mut absences, 60)), (Some(at(61)), None));
        assert_eq!((due(&mut absences, 61), absences.due_at()), (Some(1), Some(at(63))));
        assert!(absences.on_restated(PEER, names(PEER, 1).local).is_none(), "it came too late");
        assert_eq!([62, 99, 99].map(|seconds| due(&mut absences, seconds)), [None, Some(3), None]);
        absent(&mut absences, PEER, 4);
        assert_eq!((absences.due_at(), due(&mut absences, 1 << 30)), (None, None), "it is expected for good");
    }

    #[test]
    fn a_peer_that_says_goodbye_is_not_expected_and_others_are() {
        let mut absences = AbsenceTable::default();
        (1..=3).for_each(|n| assert_eq!(absent(&mut absences, if n == 2 { OTHER } else { PEER }, n), None));
        assert_eq!(holders(absences.on_goodbye(PEER)), [1, 3]);
        assert!(absences.on_restated(PEER, names(OTHER, 2).local).is_none(), "that is another's");
        assert_eq!(absences.on_restated(OTHER, names(OTHER, 2).local).map(|absent| absent.holder), Some(2));
    }

    #[test]
    fn earlier_runs_of_a_node_that_is_back_are_not_expected_and_others_are() {
        let mut absences = AbsenceTable::default();
        let again = Incarnation { epoch: OTHER.epoch, ..PEER };
        absent(&mut absences, PEER, 1);
        absent(&mut absences, OTHER, 2);
        absent(&mut absences, again, 3);
        assert_eq!(holders(absences.forget_earlier(again)), [1]);
        let left = [OTHER, again].map(|peer| holders(absences.on_goodbye(peer)));
        assert_eq!(left, [[2], [3]]);
    }

    fn peer(n: u64) -> Incarnation {
        Incarnation::of(names(PEER, n).local.0)
    }

    #[test]
    fn so_many_are_remembered_and_whoever_has_most_makes_room() {
        let mut absences = AbsenceTable::default();
        let others = (MAX_ABSENT - 2) as u64;
        (0..others).for_each(|n| assert_eq!(absent(&mut absences, peer(n), n), None));
        (others..others + 2).for_each(|n| assert_eq!(absent(&mut absences, OTHER, n), None));
        assert_eq!(absent(&mut absences, PEER, 5_000), Some(others), "the other has two");
        assert_eq!(absences.by_age.len(), MAX_ABSENT);
    }

    #[test]
    fn of_one_peer_the_latest_are_remembered_and_nobody_else_makes_room_for_it() {
        let mut absences = AbsenceTable::default();
        absent(&mut absences, OTHER, 9_999);
        let most = MAX_OF_ONE as u64;
        (0..most).for_each(|n| assert_eq!(absent(&mut absences, PEER, n), None));
        (0..100).for_each(|n| assert_eq!(absent(&mut absences, PEER, most + n), Some(n)));
    }

    #[test]
    fn whoever_is_back_or_forgotten_leaves_nothing_behind() {
        let mut absences = AbsenceTable::default();
        (0..4).for_each(|n| assert_eq!(absent(&mut absences, if n < 2 { PEER } else { OTHER }, n), None));
        assert!(absences.on_restated(PEER, names(PEER, 0).local).is_some());
        assert_eq!(absences.on_goodbye(PEER).len(), 1);
        let state = &mut absences;
        assert_eq!(
            (0..3).filter_map(|_| state.pop_oldest(|_| true)).map(|gone| gone.holder).collect::<Vec<_>>(),
            [2, 3]
        );
        assert!(state.absent.is_empty() && state.by_age.is_empty() && state.by_peer.is_empty());
    }

    #[test]
    fn after_the_end_nobody_is_expected_back() {
        let mut absences = AbsenceTable::default();
        absent(&mut absences, PEER, 1);
        assert_eq!(absences.end().absent.len(), 1);
        assert_eq!(absent(&mut absences, PEER, 2), Some(2));
        assert!(absences.absent.is_empty());
    }
}
