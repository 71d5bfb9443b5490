//! What is not yet known of connections that have ended without a goodbye: how much of what was written to them the peer
//! has read. The next connection between the two tells, in its greeting: the proof of the side that dials names them as that
//! side has called them, with its own counts, and the welcome gives the other side's counts under the same names.

use std::collections::HashMap;
use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::ident::ConnectionId;
use crate::ident::Incarnation;
use crate::observe::Observer;
use crate::observe::loss::DroppedMessage;
use crate::reason::DropReason;
use crate::wire::frames::proof::MAX_TOLD;

/// Connections that are remembered after their end; of older ones the peer can be told no more, and what was in doubt
/// stays so.
const MAX_REMEMBERED: usize = 65_536;

/// Both ends' names of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConnectionNames {
    pub(crate) peer: Incarnation,
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
    by_name: HashMap<(Incarnation, ConnectionId), EndedConnection>,
    by_age: VecDeque<(Incarnation, ConnectionId)>,
    /// Whether one was forgotten to make room: then a connection that is not known may have been read from.
    has_forgotten: bool,
    /// Connections of which the peer has not said how much it has read: the last [`MAX_TOLD`] of each peer.
    untold: HashMap<Incarnation, VecDeque<ConnectionId>>,
}

#[derive(Debug)]
struct EndedConnection {
    names: ConnectionNames,
    unsettled: Unsettled,
}

impl EndedConnections {
    fn record(&mut self, names: ConnectionNames, unsettled: Unsettled) {
        let key = (names.peer, names.theirs);
        if self.by_name.contains_key(&key) {
            return;
        }
        self.by_name.insert(key, EndedConnection { names, unsettled });
        self.by_age.push_back(key);
        let oldest = if self.by_age.len() > MAX_REMEMBERED { self.by_age.pop_front() } else { None };
        if let Some((peer, theirs)) = oldest {
            self.has_forgotten = true;
            self.by_name.remove(&(peer, theirs));
            self.is_told(peer, theirs);
        }
    }

    /// The peer is to say how much it has read of a connection.
    fn is_to_be_told(&mut self, peer: Incarnation, theirs: ConnectionId) {
        let untold = self.untold.entry(peer).or_default();
        if untold.len() == MAX_TOLD {
            untold.pop_front();
        }
        untold.push_back(theirs);
    }

    /// The peer need not be asked about a connection any more.
    fn is_told(&mut self, peer: Incarnation, theirs: ConnectionId) {
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
        ended.record(names, unsettled);
        ended.is_to_be_told(names.peer, names.theirs);
    }

    /// Connections that the peer is to be asked about in a proof: as this side has called them, and how much it has read,
    /// whichever link they were of, and whoever has dialled them.
    pub(crate) fn untold(&self, peer: Incarnation) -> Vec<(ConnectionId, u64)> {
        let ended = self.ended.lock();
        let untold = ended.untold.get(&peer).into_iter().flatten();
        let entries = untold.filter_map(|theirs| ended.by_name.get(&(peer, *theirs)));
        entries.map(|entry| (entry.names.ours, entry.unsettled.read)).collect()
    }

    /// The peer has dialled, and tells in its proof how much it has read of connections, by its own names of them. What this
    /// side has read of them, under the same names.
    ///
    /// Of one that is not known here nothing was read, and nothing ever will be: whoever calls this has ended the
    /// connections of those names that have not greeted yet, and those that are up. Only once some were forgotten is one that
    /// is not known left out, as it may be one of these.
    pub(crate) fn settle_asked(
        &self,
        observer: &Observer,
        peer: Incarnation,
        told: &[(ConnectionId, u64)],
    ) -> Vec<(ConnectionId, u64)> {
        let answers = {
            let ended = self.ended.lock();
            let read = |theirs: ConnectionId| match ended.by_name.get(&(peer, theirs)) {
                Some(entry) => Some(entry.unsettled.read),
                None => {
                    if ended.has_forgotten {
                        None
                    } else {
                        Some(0)
                    }
                }
            };
            told.iter().filter_map(|(theirs, _)| Some((*theirs, read(*theirs)?))).collect()
        };
        told.iter().for_each(|(theirs, read)| self.settle_one(observer, peer, *theirs, *read));
        answers
    }

    /// The peer was dialled, and tells in its welcome how much it has read of connections, by this side's names of them.
    pub(crate) fn settle_answered(&self, observer: &Observer, peer: Incarnation, told: &[(ConnectionId, u64)]) {
        for &(ours, read) in told {
            let theirs = {
                let ended = self.ended.lock();
                let untold = ended.untold.get(&peer).into_iter().flatten();
                let is_it = |theirs: &&ConnectionId| {
                    ended.by_name.get(&(peer, **theirs)).is_some_and(|entry| entry.names.ours == ours)
                };
                untold.filter(is_it).copied().next()
            };
            if let Some(theirs) = theirs {
                self.settle_one(observer, peer, theirs, read);
            }
        }
    }

    fn settle_one(&self, observer: &Observer, peer: Incarnation, theirs: ConnectionId, read: u64) {
        let Settled { messages, lost } = self.settle(peer, theirs, read);
        observer.settled(messages);
        let name = peer.to_string();
        let message = DroppedMessage { name: &name, type_name: "", detail: None, peer: Some(peer.node) };
        observer.dropped(message, DropReason::Lost, lost);
    }

    /// How many messages are in doubt of those connections.
    pub(crate) fn in_doubt(&self, of: impl IntoIterator<Item = ConnectionNames>) -> u64 {
        let ended = self.ended.lock();
        let balances = of.into_iter().filter_map(|names| ended.by_name.get(&(names.peer, names.theirs)));
        balances.map(|entry| entry.unsettled.in_doubt()).sum()
    }

    /// The peer tells how much it has read of a connection, by its own name of it. A count that was known to be larger,
    /// or that is more than was written, is not believed.
    fn settle(&self, peer: Incarnation, theirs: ConnectionId, read: u64) -> Settled {
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

    const PEER: Incarnation = Incarnation::of([1; 16]);
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
        assert_eq!(settlement.settle(Incarnation::of([9; 16]), NAMES.theirs, 4), Settled::default(), "another node's");
    }

    /// What a peer that tells nothing of its own is told.
    fn told(settlement: &Settlement, peer: Incarnation, theirs: ConnectionId) -> Vec<(ConnectionId, u64)> {
        settlement.settle_asked(&Observer::default(), peer, &[(theirs, 0)])
    }

    #[test]
    fn a_peer_is_told_of_its_own_connections_by_its_names() {
        let settlement = settlement(10, 4);
        assert_eq!(told(&settlement, PEER, NAMES.theirs), [(NAMES.theirs, 7)]);
        assert_eq!(told(&settlement, PEER, NAMES.ours), [(NAMES.ours, 0)], "nothing was read of it");
        assert_eq!(told(&settlement, Incarnation::of([9; 16]), NAMES.theirs), [(NAMES.theirs, 0)], "it is another's");
    }

    #[test]
    fn another_run_of_a_node_is_told_and_asked_nothing_of_the_connections_of_the_last() {
        let settlement = settlement(10, 4);
        let again = Incarnation { epoch: Incarnation::of([8; 16]).epoch, ..PEER };
        assert_eq!(settlement.untold(again), []);
        assert_eq!(told(&settlement, again, NAMES.theirs), [(NAMES.theirs, 0)]);
        settlement.settle_answered(&Observer::default(), again, &[(NAMES.ours, 10)]);
        assert_eq!(settlement.in_doubt([NAMES]), 6);
    }

    #[test]
    fn an_answer_settles_by_this_side_s_names_and_only_what_was_asked() {
        let (settlement, observer) = (settlement(10, 4), Observer::default());
        settlement.settle_answered(&observer, PEER, &[(NAMES.theirs, 9)]);
        assert_eq!(settlement.in_doubt([NAMES]), 6, "that is the peer's name");
        settlement.settle_answered(&observer, PEER, &[(NAMES.ours, 9)]);
        assert_eq!(settlement.in_doubt([NAMES]), 0);
    }

    #[test]
    fn a_peer_is_asked_about_each_connection_until_it_has_told() {
        let settlement = settlement(10, 4);
        assert_eq!(settlement.untold(PEER), [(NAMES.ours, 7)]);
        assert_eq!(settlement.untold(Incarnation::of([9; 16])), []);
        settlement.settle(PEER, NAMES.theirs, 4);
        assert_eq!(settlement.untold(PEER), []);
        let name = |n: usize| ConnectionId((n as u128 + 1000).to_le_bytes());
        for n in 0..=MAX_TOLD {
            settlement.record(
                ConnectionNames { theirs: name(n), ours: name(n + 5000), ..NAMES },
                Unsettled { written: 0, known: 0, read: 0 },
            );
        }
        let latest: Vec<_> = (1..=MAX_TOLD).map(|n| (name(n + 5000), 0)).collect();
        assert_eq!(settlement.untold(PEER), latest, "the oldest goes");
    }

    #[test]
    fn no_more_is_remembered_than_the_limit_says() {
        let settlement = settlement(10, 4);
        for n in 0..MAX_REMEMBERED as u64 {
            let theirs = ConnectionId((u128::from(n) + 1000).to_le_bytes());
            settlement.record(ConnectionNames { theirs, ..NAMES }, Unsettled { written: 0, known: 0, read: 0 });
        }
        assert_eq!(settlement.ended.lock().by_name.len(), MAX_REMEMBERED);
        assert_eq!(told(&settlement, PEER, NAMES.theirs), [], "it may have been read from");
    }
}
