//! Which connections a node has room for: all that are open or being made, and among them those that have not shown yet
//! who is at their other end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::ident::ConnectionId;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<AdmissionState>,
    max_connections: usize,
    max_unproven: usize,
}

#[derive(Debug, Default)]
struct AdmissionState {
    /// Connections open or being made.
    open: usize,
    /// Connections that somebody has opened and that have not greeted, and those that this node is making: by the order in
    /// which they began.
    unproven: BTreeMap<u64, Unproven>,
    attempts: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// A connection that somebody has opened and that has not greeted.
#[derive(Debug)]
struct Unproven {
    expelled: CancellationToken,
    given_up: CancellationToken,
    /// As the other side calls it, once it has said so.
    theirs: Option<ConnectionId>,
}

/// A slot among the connections of a node; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    admission: Weak<Admission>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.upgrade() {
            admission.state.lock().open -= 1;
        }
    }
}

/// A connection that has not shown yet who is at its other end. It is to end when `expelled` is cancelled, because there are
/// too many, or `given_up`, because its peer goes on by another.
#[derive(Debug)]
pub(crate) struct UnprovenConnection {
    admission: Weak<Admission>,
    number: u64,
    pub(crate) expelled: CancellationToken,
    pub(crate) given_up: CancellationToken,
}

impl UnprovenConnection {
    /// Notes how the other side calls the connection.
    pub(crate) fn is_called(&self, theirs: ConnectionId) {
        if let Some(admission) = self.admission.upgrade()
            && let Some(unproven) = admission.state.lock().unproven.get_mut(&self.number)
        {
            unproven.theirs = Some(theirs);
        }
    }
}

impl Drop for UnprovenConnection {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.upgrade() {
            let mut state = admission.state.lock();
            state.unproven.remove(&self.number);
            state.attempts.remove(&self.number);
        }
    }
}

impl Admission {
    pub(crate) fn new(max_connections: usize, max_unproven: usize) -> Admission {
        Admission { state: Mutex::default(), max_connections, max_unproven }
    }

    /// Takes a slot for one more connection, if there is one. Where all are taken, the oldest connection that has not
    /// greeted makes room: a peer can open as many as it likes, or have this node dial an address that never answers. Until
    /// that connection is gone, which is a moment, there is one too many.
    pub(crate) fn slot(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let oldest = {
            let mut state = self.state.lock();
            let is_full = state.open >= self.max_connections;
            let oldest = if is_full { Some(state.pop_ungreeted()?) } else { None };
            state.open += 1;
            oldest
        };
        if let Some(oldest) = oldest {
            oldest.cancel();
        }
        Some(ConnectionSlot { admission: Arc::downgrade(self) })
    }

    /// Notes a connection that somebody has opened. If it is one too many, the oldest that has not shown who it is goes.
    pub(crate) fn unproven(self: &Arc<Self>) -> UnprovenConnection {
        let (expelled, given_up) = (CancellationToken::new(), CancellationToken::new());
        let (number, oldest) = {
            let mut state = self.state.lock();
            let number = state.next_number();
            let unproven = Unproven { expelled: expelled.clone(), given_up: given_up.clone(), theirs: None };
            state.unproven.insert(number, unproven);
            let oldest = if state.unproven.len() > self.max_unproven { state.unproven.pop_first() } else { None };
            (number, oldest)
        };
        if let Some((_, oldest)) = oldest {
            oldest.expelled.cancel();
        }
        UnprovenConnection { admission: Arc::downgrade(self), number, expelled, given_up }
    }

    /// A peer that has shown who it is has given up connections, of which it tells by its own names: those that have not
    /// greeted yet end, so that nothing is read from them any more. The names are random, so nobody but the peer, and who
    /// overhears it, can end one of its connections by this.
    pub(crate) fn give_up(&self, given_up: &[(ConnectionId, u64)]) {
        let is_given_up = |unproven: &&Unproven| given_up.iter().any(|(theirs, _)| Some(*theirs) == unproven.theirs);
        let ended: Vec<_> = {
            let state = self.state.lock();
            state.unproven.values().filter(is_given_up).map(|unproven| unproven.given_up.clone()).collect()
        };
        ended.iter().for_each(CancellationToken::cancel);
    }

    /// Notes a connection that this node is making.
    pub(crate) fn attempt(self: &Arc<Self>) -> UnprovenConnection {
        let expelled = CancellationToken::new();
        let mut state = self.state.lock();
        let number = state.next_number();
        state.attempts.insert(number, expelled.clone());
        UnprovenConnection { admission: Arc::downgrade(self), number, expelled, given_up: CancellationToken::new() }
    }
}

impl AdmissionState {
    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Removes and returns the oldest connection, inbound or outbound, that has not completed its handshake.
    fn pop_ungreeted(&mut self) -> Option<CancellationToken> {
        let theirs = self.unproven.keys().next().copied().unwrap_or(u64::MAX);
        let ours = self.attempts.keys().next().copied().unwrap_or(u64::MAX);
        if theirs < ours {
            self.unproven.pop_first().map(|(_, unproven)| unproven.expelled)
        } else {
            self.attempts.pop_first().map(|(_, expelled)| expelled)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_greeted_makes_room_whoever_makes_it() {
        let admission = Arc::new(Admission::new(3, 10));
        let _slots: Vec<ConnectionSlot> = (0..3).filter_map(|_| admission.slot()).collect();
        let began = [admission.attempt(), admission.unproven(), admission.attempt()];
        let gone = || began.iter().map(|one| one.expelled.is_cancelled()).collect::<Vec<_>>();
        for expected in [[true, false, false], [true, true, false], [true, true, true]] {
            assert!(admission.slot().is_some());
            // Its own slot is given back at once here; that of the one that is gone is not.
            admission.state.lock().open = 3;
            assert_eq!(gone(), expected);
        }
        assert!(admission.slot().is_none(), "all have greeted");
    }

    #[test]
    fn of_those_that_have_not_greeted_a_peer_gives_up_its_own() {
        let admission = Arc::new(Admission::new(9, 9));
        let unproven = [(); 3].map(|()| admission.unproven());
        let names = [1, 2].map(|byte| ConnectionId([byte; 16]));
        unproven[0].is_called(names[0]);
        unproven[1].is_called(names[1]);
        admission.give_up(&[(ConnectionId([0; 16]), 0), (names[1], 7)]);
        let given_up = || unproven.each_ref().map(|one| one.given_up.is_cancelled());
        assert_eq!(given_up(), [false, true, false]);
        assert!(unproven.iter().all(|one| !one.expelled.is_cancelled()));
    }
}
