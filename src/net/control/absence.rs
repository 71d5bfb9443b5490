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
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
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
#[derive(Debug)]
pub(crate) struct Absences {
    state: Mutex<AbsenceTable>,
    came: Notify,
    forget_after: Duration,
}

#[derive(Debug, Default)]
struct AbsenceTable {
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

impl Absences {
    pub(crate) fn new(forget_after: Duration) -> Absences {
        Absences { state: Mutex::default(), came: Notify::new(), forget_after }
    }

    /// Records that a connection with a peer that holds boxes here has ended; `link` is dialled until the peer is back.
    /// Returns the connection that had to make room, whose peer is no longer expected on it.
    pub(crate) fn expect_back(
        &self,
        names: ConnectionNames,
        holder: Holder,
        link: Option<Arc<dyn Outbound>>,
    ) -> Option<Absent> {
        let oldest = {
            let mut state = self.state.lock();
            let oldest = state.make_room(names.peer);
            state.next_age += 1;
            let (age, until) = (state.next_age, Instant::now().checked_add(self.forget_after));
            let connection = (names.peer, names.ours);
            let absent = Absent { holder, age, until, _link: link };
            if state.is_over {
                drop(state);
                return Some(absent);
            }
            state.by_age.insert(age, connection);
            state.by_peer.entry(names.peer).or_default().insert(age);
            state.absent.insert(connection, absent);
            oldest
        };
        self.came.notify_one();
        oldest
    }

    /// Removes the connection of a peer that is back, and has stated its leases on that connection.
    pub(crate) fn is_back(&self, peer: Incarnation, ours: ConnectionId) -> Option<Absent> {
        let mut state = self.state.lock();
        let age = state.absent.get(&(peer, ours))?.age;
        state.remove(age)
    }

    /// Removes the connections of a peer that has said goodbye: it is not expected back.
    #[must_use]
    pub(crate) fn forget(&self, peer: Incarnation) -> Vec<Absent> {
        let mut state = self.state.lock();
        let ages: Vec<u64> = state.by_peer.get(&peer).into_iter().flatten().copied().collect();
        ages.into_iter().filter_map(|age| state.remove(age)).collect()
    }

    /// Removes the connections of earlier runs of a node: they are not expected back.
    #[must_use]
    pub(crate) fn forget_earlier(&self, than: Incarnation) -> Vec<Absent> {
        let earlier: Vec<Incarnation> = {
            let state = self.state.lock();
            let run = |epoch| Incarnation { epoch, ..than };
            let runs = state.by_peer.range(run(Epoch::FIRST)..=run(Epoch::LAST));
            runs.map(|(run, _)| *run).filter(|run| run.is_another_run_of(than)).collect()
        };
        earlier.into_iter().flat_map(|node| self.forget(node)).collect()
    }

    /// Removes all connections, for good: nobody is expected back any more.
    pub(crate) fn clear(&self) {
        let over = AbsenceTable { is_over: true, ..AbsenceTable::default() };
        let cleared = std::mem::replace(&mut *self.state.lock(), over);
        drop(cleared);
    }

    /// Returns the next connection whose peer is no longer expected back, once there is one.
    pub(crate) async fn next_forgotten(&self) -> Absent {
        loop {
            let until = {
                let mut state = self.state.lock();
                let now = Instant::now();
                if let Some(forgotten) = state.pop_oldest(|absent| absent.until.is_some_and(|until| until <= now)) {
                    return forgotten;
                }
                state.oldest().and_then(|oldest| oldest.until)
            };
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                // `Notify` keeps a permit for a later waiter, so nothing is missed.
                None => self.came.notified().await,
            }
        }
    }
}

impl AbsenceTable {
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
    use super::*;

    const PEER: Incarnation = Incarnation::of([1; 16]);
    const OTHER: Incarnation = Incarnation::of([2; 16]);
    const FORGET_AFTER: Duration = Duration::from_secs(60);

    fn names(peer: Incarnation, n: u64) -> ConnectionNames {
        let mut ours = [0; 16];
        ours[..8].copy_from_slice(&n.to_le_bytes());
        ConnectionNames { peer, ours: ConnectionId(ours), theirs: ConnectionId([9; 16]) }
    }

    fn absent(absences: &Absences, peer: Incarnation, n: u64) -> Option<Holder> {
        absences.expect_back(names(peer, n), n, None).map(|oldest| oldest.holder)
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_expected_back_for_so_long_and_no_longer() {
        let absences = Absences::new(FORGET_AFTER);
        let began = Instant::now();
        absent(&absences, PEER, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        absent(&absences, PEER, 2);
        absent(&absences, OTHER, 3);
        assert_eq!(absences.is_back(PEER, names(PEER, 2).ours).map(|absent| absent.holder), Some(2));
        assert_eq!(absences.next_forgotten().await.holder, 1);
        assert_eq!(began.elapsed(), FORGET_AFTER);
        assert_eq!(absences.next_forgotten().await.holder, 3);
        assert_eq!(began.elapsed(), FORGET_AFTER + Duration::from_secs(1));
        assert!(absences.is_back(PEER, names(PEER, 1).ours).is_none(), "it came too late");
        let more = tokio::time::timeout(10 * FORGET_AFTER, absences.next_forgotten()).await;
        assert!(more.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_nobody_is_absent_is_noticed() {
        let absences = Arc::new(Absences::new(FORGET_AFTER));
        let waiting = tokio::spawn({
            let absences = Arc::clone(&absences);
            async move { absences.next_forgotten().await.holder }
        });
        tokio::task::yield_now().await;
        absent(&absences, PEER, 7);
        assert_eq!(waiting.await.expect("it does not panic"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_goodbye_is_not_expected_and_others_are() {
        let absences = Absences::new(FORGET_AFTER);
        (1..=3).for_each(|n| assert_eq!(absent(&absences, if n == 2 { OTHER } else { PEER }, n), None));
        let mut gone: Vec<Holder> = absences.forget(PEER).iter().map(|gone| gone.holder).collect();
        gone.sort_unstable();
        assert_eq!(gone, [1, 3]);
        assert!(absences.is_back(PEER, names(OTHER, 2).ours).is_none(), "that is another's");
        assert_eq!(absences.next_forgotten().await.holder, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_runs_of_a_node_that_is_back_are_not_expected_and_others_are() {
        let absences = Absences::new(FORGET_AFTER);
        let again = Incarnation { epoch: OTHER.epoch, ..PEER };
        absent(&absences, PEER, 1);
        absent(&absences, OTHER, 2);
        absent(&absences, again, 3);
        let gone: Vec<Holder> = absences.forget_earlier(again).iter().map(|gone| gone.holder).collect();
        assert_eq!(gone, [1]);
        assert_eq!(absences.next_forgotten().await.holder, 2);
        assert_eq!(absences.next_forgotten().await.holder, 3);
    }

    fn peer(n: u64) -> Incarnation {
        Incarnation::of(names(PEER, n).ours.0)
    }

    #[test]
    fn so_many_are_remembered_and_whoever_has_most_makes_room() {
        let absences = Absences::new(FORGET_AFTER);
        let others = (MAX_ABSENT - 2) as u64;
        (0..others).for_each(|n| assert_eq!(absent(&absences, peer(n), n), None));
        (others..others + 2).for_each(|n| assert_eq!(absent(&absences, OTHER, n), None));
        assert_eq!(absent(&absences, PEER, 5_000), Some(others), "the other has two");
        assert_eq!(absences.state.lock().by_age.len(), MAX_ABSENT);
    }

    #[test]
    fn of_one_peer_the_latest_are_remembered_and_nobody_else_makes_room_for_it() {
        let absences = Absences::new(FORGET_AFTER);
        absent(&absences, OTHER, 9_999);
        let most = MAX_OF_ONE as u64;
        (0..most).for_each(|n| assert_eq!(absent(&absences, PEER, n), None));
        (0..100).for_each(|n| assert_eq!(absent(&absences, PEER, most + n), Some(n)));
    }

    #[test]
    fn whoever_is_back_or_forgotten_leaves_nothing_behind() {
        let absences = Absences::new(Duration::ZERO);
        (0..4).for_each(|n| assert_eq!(absent(&absences, if n < 2 { PEER } else { OTHER }, n), None));
        assert!(absences.is_back(PEER, names(PEER, 0).ours).is_some());
        assert_eq!(absences.forget(PEER).len(), 1);
        let mut state = absences.state.lock();
        assert_eq!(
            (0..3).filter_map(|_| state.pop_oldest(|_| true)).map(|gone| gone.holder).collect::<Vec<_>>(),
            [2, 3]
        );
        assert!(state.absent.is_empty() && state.by_age.is_empty() && state.by_peer.is_empty());
    }

    #[test]
    fn after_the_end_nobody_is_expected_back() {
        let absences = Absences::new(FORGET_AFTER);
        absences.clear();
        assert_eq!(absent(&absences, PEER, 1), Some(1));
        assert!(absences.state.lock().absent.is_empty());
    }
}
