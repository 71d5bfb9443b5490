//! What is not yet known of connections that have ended without a goodbye: how much of what was written to them the peer
//! has read. The next connection between the two tells, in its resume frames.

use std::collections::HashMap;
use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::ident::ConnectionId;
use crate::ident::NodeId;
use crate::observe::Observer;
use crate::observe::loss::DroppedMessage;
use crate::reason::DropReason;
use crate::wire::frames::resume::MAX_TOLD;

/// Connections that are remembered after their end; of older ones the peer can be told no more, and what was in doubt
/// stays so.
const MAX_REMEMBERED: usize = 65_536;

/// As above, of those whose other end has not shown who it is: nothing is read from them.
const MAX_UNPROVEN: usize = 1024;

/// Both ends' names of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConnectionNames {
    pub(crate) peer: NodeId,
    pub(crate) ours: ConnectionId,
    pub(crate) theirs: ConnectionId,
}

/// How a connection stood when it ended, in messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsettled {
    /// Written to it.
    pub(crate) written: u64,
    /// Of these, those that the peer is known to have read.
    pub(crate) known: u64,
    /// Read from it.
    pub(crate) read: u64,
}

impl Unsettled {
    pub(crate) fn in_doubt(&self) -> u64 {
        self.written.saturating_sub(self.known)
    }
}

/// What a peer's count makes of the messages in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Settled {
    /// No longer in doubt.
    messages: u64,
    /// Of these, those that were never read.
    lost: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    ended: Mutex<EndedConnections>,
}

#[derive(Debug, Default)]
struct EndedConnections {
    /// By the peer and its name of the connection.
    by_name: HashMap<(NodeId, ConnectionId), EndedConnection>,
    by_age: VecDeque<(NodeId, ConnectionId)>,
    unproven_by_age: VecDeque<(NodeId, ConnectionId)>,
    /// Connections of which the peer has not said how much it has read: the last [`MAX_TOLD`] of each peer.
    untold: HashMap<NodeId, VecDeque<ConnectionId>>,
}

#[derive(Debug)]
struct EndedConnection {
    names: ConnectionNames,
    unsettled: Unsettled,
    /// Whether the peer was told how much was read, so that nothing may be read from it any more.
    told: bool,
}

impl EndedConnections {
    fn record(
        &mut self,
        names: ConnectionNames,
        unsettled: Unsettled,
        limit: usize,
        by_age: fn(&mut EndedConnections) -> &mut VecDeque<(NodeId, ConnectionId)>,
    ) {
        let key = (names.peer, names.theirs);
        if self.by_name.contains_key(&key) {
            return;
        }
        self.by_name.insert(key, EndedConnection { names, unsettled, told: false });
        let ages = by_age(self);
        ages.push_back(key);
        let oldest = if ages.len() > limit { ages.pop_front() } else { None };
        if let Some((peer, theirs)) = oldest {
            self.by_name.remove(&(peer, theirs));
            self.is_told(peer, theirs);
        }
    }

    /// The peer is to say how much it has read of a connection.
    fn is_to_be_told(&mut self, peer: NodeId, theirs: ConnectionId) {
        let untold = self.untold.entry(peer).or_default();
        if untold.len() == MAX_TOLD {
            untold.pop_front();
        }
        untold.push_back(theirs);
    }

    /// The peer need not be asked about a connection any more.
    fn is_told(&mut self, peer: NodeId, theirs: ConnectionId) {
        if let Some(untold) = self.untold.get_mut(&peer) {
            untold.retain(|other| *other != theirs);
            if untold.is_empty() {
                self.untold.remove(&peer);
            }
        }
    }
}

impl Settlement {
    /// A connection has ended.
    pub(crate) fn record(&self, names: ConnectionNames, unsettled: Unsettled) {
        let mut ended = self.ended.lock();
        ended.record(names, unsettled, MAX_REMEMBERED, |ended| &mut ended.by_age);
        ended.is_to_be_told(names.peer, names.theirs);
    }

    /// The other end of a connection has not shown who it is, and may take it for up. It is as good as ended until it has:
    /// a peer may give it up, and ask on another one what became of it, before it ends here.
    pub(crate) fn record_unproven(&self, names: ConnectionNames) {
        let nothing = Unsettled { written: 0, known: 0, read: 0 };
        self.ended.lock().record(names, nothing, MAX_UNPROVEN, |ended| &mut ended.unproven_by_age);
    }

    /// The other end of such a connection has shown who it is. Whether it may be read from: not if the peer was told
    /// meanwhile that nothing was.
    pub(crate) fn prove(&self, names: ConnectionNames) -> bool {
        let (mut ended, key) = (self.ended.lock(), (names.peer, names.theirs));
        if ended.by_name.get(&key).is_some_and(|entry| entry.told) {
            return false;
        }
        ended.unproven_by_age.retain(|other| *other != key);
        ended.by_name.remove(&key);
        true
    }

    /// Connections of which the peer is to say how much it has read, by its own names of them: whichever link they were of,
    /// and whoever has dialled them.
    pub(crate) fn untold(&self, peer: NodeId) -> Vec<ConnectionId> {
        self.ended.lock().untold.get(&peer).into_iter().flatten().copied().collect()
    }

    /// The peer tells how much it has read of connections, by its own names of them.
    pub(crate) fn settle_all(&self, observer: &Observer, peer: NodeId, told: &[(ConnectionId, u64)]) {
        for &(theirs, read) in told {
            let Settled { messages, lost } = self.settle(peer, theirs, read);
            observer.settled(messages);
            let message = DroppedMessage { name: &peer.to_string(), type_name: "", detail: None, peer: Some(peer) };
            observer.dropped(message, DropReason::Lost, lost);
        }
    }

    /// How many messages are in doubt of those connections.
    pub(crate) fn in_doubt(&self, of: impl IntoIterator<Item = ConnectionNames>) -> u64 {
        let ended = self.ended.lock();
        let balances = of.into_iter().filter_map(|names| ended.by_name.get(&(names.peer, names.theirs)));
        balances.map(|entry| entry.unsettled.in_doubt()).sum()
    }

    /// What this side tells of those connections: its own names of them, and how much it has read.
    pub(crate) fn tell(
        &self,
        peer: NodeId,
        theirs: impl IntoIterator<Item = ConnectionId>,
    ) -> Vec<(ConnectionId, u64)> {
        let mut ended = self.ended.lock();
        let told = theirs.into_iter().filter_map(|theirs| {
            let entry = ended.by_name.get_mut(&(peer, theirs))?;
            entry.told = true;
            Some((entry.names.ours, entry.unsettled.read))
        });
        told.collect()
    }

    /// The peer tells how much it has read of a connection, by its own name of it. A count that was known to be larger,
    /// or that is more than was written, is not believed.
    fn settle(&self, peer: NodeId, theirs: ConnectionId, read: u64) -> Settled {
        let mut ended = self.ended.lock();
        ended.is_told(peer, theirs);
        let Some(EndedConnection { unsettled, .. }) = ended.by_name.get_mut(&(peer, theirs)) else {
            return Settled::default();
        };
        let messages = unsettled.in_doubt();
        // What was known to be read is not in doubt, so no more is lost than was.
        let lost = unsettled.written.saturating_sub(read).min(messages);
        // Settled once and for all.
        unsettled.known = unsettled.written;
        Settled { messages, lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId([1; 16]);
    const NAMES: ConnectionNames =
        ConnectionNames { peer: PEER, ours: ConnectionId([2; 16]), theirs: ConnectionId([3; 16]) };

    fn settlement(written: u64, known: u64) -> Settlement {
        let settlement = Settlement::default();
        settlement.record(NAMES, Unsettled { written, known, read: 7 });
        settlement
    }

    #[test]
    fn what_was_not_read_is_lost_and_the_rest_is_not() {
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.theirs, 9), Settled { messages: 6, lost: 1 });
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.theirs, 10), Settled { messages: 6, lost: 0 });
    }

    #[test]
    fn a_count_that_cannot_be_is_not_believed() {
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.theirs, 0), Settled { messages: 6, lost: 6 });
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.theirs, u64::MAX), Settled { messages: 6, lost: 0 });
    }

    #[test]
    fn a_connection_is_settled_once() {
        let settlement = settlement(10, 4);
        settlement.settle(PEER, NAMES.theirs, 4);
        assert_eq!(settlement.settle(PEER, NAMES.theirs, 4), Settled::default());
        assert_eq!(settlement.settle(NodeId([9; 16]), NAMES.theirs, 4), Settled::default(), "another node's");
    }

    #[test]
    fn a_peer_is_told_of_its_own_connections_by_our_names() {
        let settlement = settlement(10, 4);
        assert_eq!(settlement.tell(PEER, [NAMES.theirs, NAMES.ours]), [(NAMES.ours, 7)]);
        assert_eq!(settlement.tell(NodeId([9; 16]), [NAMES.theirs]), []);
    }

    #[test]
    fn what_the_peer_was_told_stays_true() {
        let settlement = Settlement::default();
        settlement.record_unproven(NAMES);
        assert!(settlement.prove(NAMES));
        assert_eq!(settlement.tell(PEER, [NAMES.theirs]), [], "it is up, and may be read from");
        settlement.record_unproven(NAMES);
        assert_eq!(settlement.tell(PEER, [NAMES.theirs]), [(NAMES.ours, 0)]);
        assert!(!settlement.prove(NAMES), "the peer knows that nothing was read");
        assert_eq!(settlement.tell(PEER, [NAMES.theirs]), [(NAMES.ours, 0)], "it may not have heard it");
    }

    #[test]
    fn a_connection_that_was_proven_is_remembered_like_others() {
        let settlement = Settlement::default();
        settlement.record_unproven(NAMES);
        assert!(settlement.prove(NAMES));
        settlement.record(NAMES, Unsettled { written: 10, known: 4, read: 7 });
        for n in 0..MAX_UNPROVEN as u64 {
            settlement.record_unproven(ConnectionNames {
                theirs: ConnectionId((u128::from(n) + 1000).to_le_bytes()),
                ..NAMES
            });
        }
        assert_eq!(settlement.tell(PEER, [NAMES.theirs]), [(NAMES.ours, 7)]);
    }

    #[test]
    fn a_peer_is_asked_about_each_connection_until_it_has_told() {
        let settlement = settlement(10, 4);
        assert_eq!(settlement.untold(PEER), [NAMES.theirs]);
        assert_eq!(settlement.untold(NodeId([9; 16])), []);
        settlement.settle(PEER, NAMES.theirs, 4);
        assert_eq!(settlement.untold(PEER), []);
        let name = |n: usize| ConnectionId((n as u128 + 1000).to_le_bytes());
        for n in 0..=MAX_TOLD {
            settlement
                .record(ConnectionNames { theirs: name(n), ..NAMES }, Unsettled { written: 0, known: 0, read: 0 });
        }
        assert_eq!(settlement.untold(PEER), (1..=MAX_TOLD).map(name).collect::<Vec<_>>(), "the oldest goes");
    }

    #[test]
    fn no_more_is_remembered_than_the_limit_says() {
        let settlement = settlement(10, 4);
        for n in 0..MAX_REMEMBERED as u64 {
            let theirs = ConnectionId((u128::from(n) + 1000).to_le_bytes());
            settlement.record(ConnectionNames { theirs, ..NAMES }, Unsettled { written: 0, known: 0, read: 0 });
        }
        assert_eq!(settlement.ended.lock().by_name.len(), MAX_REMEMBERED);
        assert_eq!(settlement.tell(PEER, [NAMES.theirs]), []);
    }
}
