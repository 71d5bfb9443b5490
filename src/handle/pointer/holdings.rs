//! All leases by which this node keeps boxes of one peer alive, over all connections with it.
//!
//! A lease that came by a connection which has ended continues, as the peer keeps its counts for as long as it expects
//! this node back. On another connection all such leases are *restated*: from then on that connection counts one handle
//! for each box, which is released when the last of these leases of the box ends. A lease is counted here while it
//! lives, so no more is restated than there is.
//!
//! The lock of this table may be taken under a link's, and no lock is taken under it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::Incarnation;

/// Maximum number of connections listed when leases are restated. The peer forgets its counts for earlier ones by
/// itself.
pub(crate) const MAX_RESTATED: usize = 32;

/// Maximum number of peers with ended connections that are remembered although none of their boxes is held: handles in
/// their last messages may be lost, which must be reported to them. A peer that is forgotten releases these handles by
/// itself.
const MAX_PARTED: usize = 1024;

/// The [`Holdings`] of one node, by the peer. An entry is forgotten if the peer is neither connected, nor has boxes
/// held here, nor is among the last whose connection ended.
#[derive(Debug, Default)]
pub(crate) struct HoldingsTable {
    state: Mutex<HoldingsByPeer>,
}

#[derive(Debug, Default)]
struct HoldingsByPeer {
    by_peer: HashMap<Incarnation, Weak<Holdings>>,
    /// Number of entries left when unused ones were last removed.
    held: usize,
    /// The peers whose connections ended last, each once.
    parted: VecDeque<Arc<Holdings>>,
}

impl HoldingsTable {
    pub(crate) fn of(&self, peer: Incarnation) -> Arc<Holdings> {
        let mut state = self.state.lock();
        if let Some(holdings) = state.by_peer.get(&peer).and_then(Weak::upgrade) {
            return holdings;
        }
        // Unused entries are removed only when the number of entries has doubled.
        if state.by_peer.len() > 2 * state.held + 64 {
            state.by_peer.retain(|_, holdings| holdings.strong_count() > 0);
            state.held = state.by_peer.len();
        }
        let holdings = Arc::default();
        state.by_peer.insert(peer, Arc::downgrade(&holdings));
        holdings
    }

    /// Records that a connection with a peer has ended; see [`Holdings::end`].
    pub(crate) fn end(&self, holdings: &Arc<Holdings>, connection: u64, name: Option<ConnectionId>) {
        holdings.end(connection, name);
        if name.is_some() {
            self.remember(holdings);
        }
    }

    /// Records ended connections that a verified peer has listed, by its own ids. Some may never have been up at this
    /// side: the peer must release its counts for these as well.
    pub(crate) fn note_ended(&self, peer: Incarnation, names: impl IntoIterator<Item = ConnectionId>) {
        let holdings = self.of(peer);
        if holdings.note_ended(names) {
            self.remember(&holdings);
        }
    }

    fn remember(&self, holdings: &Arc<Holdings>) {
        let mut state = self.state.lock();
        state.parted.retain(|other| !Arc::ptr_eq(other, holdings));
        let oldest = if state.parted.len() == MAX_PARTED { state.parted.pop_front() } else { None };
        state.parted.push_back(Arc::clone(holdings));
        drop(state);
        drop(oldest);
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    state: Mutex<HoldingsState>,
    /// Whether some boxes became known over a protected channel: then their ids go over no plain one.
    is_protected: AtomicBool,
}

#[derive(Debug, Default)]
struct HoldingsState {
    /// Live leases, by the connection that counts them. Each connection that is up has an entry.
    up: HashMap<u64, HashMap<BoxId, u32>>,
    /// Live leases of connections that have ended.
    orphans: HashMap<BoxId, u32>,
    /// Ended connections, by the peer's ids: the latest, at most [`MAX_RESTATED`].
    ended: VecDeque<ConnectionId>,
    /// Whether some leases must be restated that were not yet.
    is_due: bool,
    restated: Option<Restated>,
}

#[derive(Debug)]
struct Restated {
    connection: u64,
    link: Weak<dyn Outbound>,
    /// Boxes for whose orphans the connection counts one handle.
    boxes: HashSet<BoxId>,
}

/// The connection to which the end of a lease must be reported.
#[derive(Debug)]
pub(crate) enum Counted {
    /// The connection that the lease came by.
    ByItsOwn,
    /// Another connection, which counts one handle.
    By(Arc<dyn Outbound>, u64),
    /// None: the lease is left out when leases are restated.
    Nowhere,
}

/// Leases to restate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restatement {
    pub(crate) boxes: Vec<BoxId>,
    /// The connections that counted them, by the peer's ids.
    pub(crate) ended: Vec<ConnectionId>,
}

impl Holdings {
    /// Notes that boxes become known over a protected channel.
    pub(crate) fn protect(&self) {
        self.is_protected.store(true, Ordering::Release);
    }

    /// Whether boxes became known over a protected channel.
    pub(crate) fn is_protected(&self) -> bool {
        self.is_protected.load(Ordering::Acquire)
    }

    /// Records that a connection is up.
    pub(crate) fn begin(&self, connection: u64) {
        self.state.lock().up.entry(connection).or_default();
    }

    /// Counts one more lease that came by a connection, which may have ended meanwhile.
    pub(crate) fn add(&self, connection: u64, id: BoxId) {
        let mut state = self.state.lock();
        let HoldingsState { up, orphans, .. } = &mut *state;
        *up.get_mut(&connection).unwrap_or(orphans).entry(id).or_default() += 1;
    }

    /// Ends a lease that came by a connection.
    pub(crate) fn remove(&self, connection: u64, id: BoxId) -> Counted {
        let mut state = self.state.lock();
        if let Some(leases) = state.up.get_mut(&connection) {
            remove_one(leases, id);
            return Counted::ByItsOwn;
        }
        if !remove_one(&mut state.orphans, id) {
            return Counted::Nowhere;
        }
        let Some(restated) = &mut state.restated else { return Counted::Nowhere };
        if !restated.boxes.remove(&id) {
            return Counted::Nowhere;
        }
        // The link is dropped with the returned value, and not under the lock.
        restated.link.upgrade().map_or(Counted::Nowhere, |link| Counted::By(link, restated.connection))
    }

    /// Records that a connection has ended, and with it the leases restated on it. `name` is the peer's id of the
    /// connection, if the peer keeps its counts.
    fn end(&self, connection: u64, name: Option<ConnectionId>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for (id, leases) in state.up.remove(&connection).into_iter().flatten() {
            *state.orphans.entry(id).or_default() += leases;
        }
        state.restated.take_if(|restated| restated.connection == connection);
        if let Some(name) = name {
            state.note_ended(name);
        }
        state.is_due = !state.ended.is_empty();
    }

    /// Records ended connections. Returns whether any of them was unknown to this side.
    fn note_ended(&self, names: impl IntoIterator<Item = ConnectionId>) -> bool {
        let mut state = self.state.lock();
        let mut is_new = false;
        for name in names {
            is_new |= state.note_ended(name);
            // This includes a connection that was restated before: the peer may not have known yet that it had ended.
            state.is_due = true;
        }
        is_new
    }

    /// Returns the leases to restate on that connection, if there are any. The caller holds the link's lock, and writes
    /// them before it releases the lock: a release of one of them must not come first.
    pub(crate) fn restate(&self, connection: u64, link: &Weak<dyn Outbound>) -> Option<Restatement> {
        let mut state = self.state.lock();
        let state = &mut *state;
        // Leases restated on another connection that is up stay there.
        if !state.is_due || state.restated.as_ref().is_some_and(|restated| restated.connection != connection) {
            return None;
        }
        state.is_due = false;
        let link = || Weak::clone(link);
        let restated =
            state.restated.get_or_insert_with(|| Restated { connection, link: link(), boxes: HashSet::new() });
        let boxes = state.orphans.keys().copied().filter(|id| restated.boxes.insert(*id)).collect();
        Some(Restatement { boxes, ended: state.ended.iter().copied().collect() })
    }
}

impl HoldingsState {
    /// Records an ended connection. Returns whether its end was not known before.
    fn note_ended(&mut self, name: ConnectionId) -> bool {
        if self.ended.contains(&name) {
            return false;
        }
        if self.ended.len() == MAX_RESTATED {
            self.ended.pop_front();
        }
        self.ended.push_back(name);
        true
    }
}

/// Removes one lease of a box. Returns whether it was the last.
fn remove_one(leases: &mut HashMap<BoxId, u32>, id: BoxId) -> bool {
    let Some(count) = leases.get_mut(&id) else { return false };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        leases.remove(&id);
    }
    is_last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::link::Link;

    fn name(n: usize) -> ConnectionId {
        ConnectionId((n as u128).to_le_bytes())
    }

    fn link() -> Weak<dyn Outbound> {
        Weak::<Link>::new()
    }

    const BOX: BoxId = BoxId([1; 16]);
    const OTHER: BoxId = BoxId([2; 16]);

    #[test]
    fn what_lives_is_restated_and_nothing_else() {
        let holdings = Holdings::default();
        holdings.begin(1);
        [BOX, BOX, OTHER].into_iter().for_each(|id| holdings.add(1, id));
        assert!(matches!(holdings.remove(1, OTHER), Counted::ByItsOwn));
        assert!(holdings.restate(1, &link()).is_none(), "nothing has ended");
        holdings.end(1, Some(name(1)));
        assert!(matches!(holdings.remove(1, BOX), Counted::Nowhere), "not restated yet, and another lives");
        let restatement = holdings.restate(2, &link()).expect("a connection has ended");
        assert_eq!(restatement, Restatement { boxes: vec![BOX], ended: vec![name(1)] });
        assert!(holdings.restate(2, &link()).is_none(), "it is restated once");
    }

    #[test]
    fn what_stands_on_a_connection_that_is_up_is_not_restated_there_again() {
        let holdings = Holdings::default();
        (1..=3).for_each(|connection| holdings.begin(connection));
        holdings.add(1, BOX);
        holdings.add(2, BOX);
        holdings.add(2, OTHER);
        holdings.end(1, Some(name(1)));
        assert_eq!(holdings.restate(3, &link()).expect("one has ended").boxes, [BOX]);
        holdings.end(2, Some(name(2)));
        assert!(holdings.restate(4, &link()).is_none(), "the other has it");
        let restatement = holdings.restate(3, &link()).expect("one more has ended");
        assert_eq!(restatement, Restatement { boxes: vec![OTHER], ended: vec![name(1), name(2)] });
        // When the third connection ends, all leases are restated on the next.
        holdings.end(3, Some(name(3)));
        let Restatement { mut boxes, ended } = holdings.restate(4, &link()).expect("it has ended");
        boxes.sort_unstable();
        assert_eq!((boxes, ended), (vec![BOX, OTHER], vec![name(1), name(2), name(3)]));
    }

    /// When leases were first restated, the peer may not have known yet that the connection had ended.
    #[test]
    fn a_connection_that_the_peer_names_is_restated_again() {
        let (table, peer) = (HoldingsTable::default(), Incarnation::of([9; 16]));
        let holdings = table.of(peer);
        holdings.begin(1);
        holdings.end(1, Some(name(1)));
        assert!(holdings.restate(2, &link()).is_some());
        holdings.end(2, Some(name(2)));
        assert!(holdings.restate(3, &link()).is_some());
        table.note_ended(peer, []);
        assert!(holdings.restate(3, &link()).is_none());
        table.note_ended(peer, [name(1)]);
        assert_eq!(holdings.restate(3, &link()).expect("it is named").ended, [name(1), name(2)]);
    }

    #[test]
    fn so_many_connections_are_named_and_the_latest_are() {
        let holdings = Holdings::default();
        for n in 0..=MAX_RESTATED {
            holdings.begin(n as u64);
            holdings.end(n as u64, Some(name(n)));
        }
        let ended = holdings.restate(99, &link()).expect("they have ended").ended;
        assert_eq!(ended, (1..=MAX_RESTATED).map(name).collect::<Vec<_>>());
    }

    #[test]
    fn so_many_peers_are_remembered_of_which_nothing_is_held() {
        let table = HoldingsTable::default();
        let peer = |n: usize| Incarnation::of((n as u128).to_le_bytes());
        for n in 0..=MAX_PARTED {
            table.end(&table.of(peer(n)), n as u64, Some(name(n)));
        }
        let is_due = |n: usize| table.of(peer(n)).restate(0, &link()).is_some();
        assert!(!is_due(0) && is_due(1) && is_due(MAX_PARTED));
        let held = table.state.lock().by_peer.values().filter(|holdings| holdings.strong_count() > 0).count();
        assert_eq!(held, MAX_PARTED);
    }
}
