//! Which connections a node has room for: all that are open or being made, and among them those that have not shown yet
//! who is at their other end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

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
    unproven: BTreeMap<u64, CancellationToken>,
    attempts: BTreeMap<u64, CancellationToken>,
    next: u64,
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

/// A connection that has not shown yet who is at its other end. It is to end when `expelled` is cancelled.
#[derive(Debug)]
pub(crate) struct UnprovenConnection {
    admission: Weak<Admission>,
    number: u64,
    pub(crate) expelled: CancellationToken,
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
        let expelled = CancellationToken::new();
        let (number, oldest) = {
            let mut state = self.state.lock();
            let number = state.next_number();
            state.unproven.insert(number, expelled.clone());
            let oldest = if state.unproven.len() > self.max_unproven { state.unproven.pop_first() } else { None };
            (number, oldest)
        };
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        }
        UnprovenConnection { admission: Arc::downgrade(self), number, expelled }
    }

    /// Notes a connection that this node is making.
    pub(crate) fn attempt(self: &Arc<Self>) -> UnprovenConnection {
        let expelled = CancellationToken::new();
        let mut state = self.state.lock();
        let number = state.next_number();
        state.attempts.insert(number, expelled.clone());
        UnprovenConnection { admission: Arc::downgrade(self), number, expelled }
    }
}

impl AdmissionState {
    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Removes and returns the oldest connection, inbound or outbound, that has not completed its handshake.
    fn pop_ungreeted(&mut self) -> Option<CancellationToken> {
        let first = |of: &BTreeMap<u64, CancellationToken>| of.keys().next().copied().unwrap_or(u64::MAX);
        let is_theirs = first(&self.unproven) < first(&self.attempts);
        let oldest = if is_theirs { self.unproven.pop_first() } else { self.attempts.pop_first() };
        oldest.map(|(_, expelled)| expelled)
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
}
