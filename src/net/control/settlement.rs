//! Settles connections that have ended without a goodbye: how many of the messages written to them the peer has read.
//! The greeting of the next connection between the two nodes tells: the proof of the dialling side lists the
//! connections by that side's names, with its own counts, and the welcome gives the other side's counts under the same
//! names.

use std::collections::HashMap;
use std::collections::VecDeque;

use crate::ident::ConnectionId;
use crate::ident::Incarnation;
use crate::wire::frames::proof::MAX_TOLD;

/// Connections that are remembered after their end; older ones are never settled, and their messages stay in doubt.
const MAX_REMEMBERED: usize = 65_536;

/// The names that both ends give a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConnectionNames {
    pub(crate) peer: Incarnation,
    pub(crate) local: ConnectionId,
    pub(crate) remote: ConnectionId,
}

/// The message counts of a connection when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsettled {
    /// Messages written to the connection.
    pub(crate) written: u64,
    /// Written messages that the peer is known to have read.
    pub(crate) known: u64,
    /// Messages read from the connection.
    pub(crate) read: u64,
}

impl Unsettled {
    pub(crate) fn in_doubt(&self) -> u64 {
        self.written.saturating_sub(self.known)
    }
}

/// The effect of a peer's count on the messages in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Settled {
    /// Messages that are no longer in doubt.
    pub(crate) messages: u64,
    /// Messages among these that were never read.
    pub(crate) lost: u64,
}

/// The connections of a node that have ended.
#[derive(Debug, Default)]
pub(crate) struct EndedConnections {
    /// The connections by the peer and by its name for them.
    by_name: HashMap<(Incarnation, ConnectionId), EndedConnection>,
    by_age: VecDeque<(Incarnation, ConnectionId)>,
    /// Whether a connection was forgotten to make room: then messages of an unknown connection may have been read.
    has_forgotten: bool,
    /// Connections whose count the peer has not sent yet: the last [`MAX_TOLD`] of each peer.
    untold: HashMap<Incarnation, VecDeque<ConnectionId>>,
}

#[derive(Debug)]
struct EndedConnection {
    names: ConnectionNames,
    unsettled: Unsettled,
}

impl EndedConnections {
    /// Records a connection that has ended.
    pub(crate) fn record(&mut self, names: ConnectionNames, unsettled: Unsettled) {
        self.insert(names, unsettled);
        self.is_to_be_told(names.peer, names.remote);
    }

    fn insert(&mut self, names: ConnectionNames, unsettled: Unsettled) {
        let key = (names.peer, names.remote);
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

    /// Notes that the peer has to be asked how much it has read of a connection.
    fn is_to_be_told(&mut self, peer: Incarnation, theirs: ConnectionId) {
        let untold = self.untold.entry(peer).or_default();
        if untold.len() == MAX_TOLD {
            untold.pop_front();
        }
        untold.push_back(theirs);
    }

    /// Notes that the peer need not be asked about a connection any more.
    fn is_told(&mut self, peer: Incarnation, theirs: ConnectionId) {
        if let Some(untold) = self.untold.get_mut(&peer) {
            untold.retain(|other| *other != theirs);
            if untold.is_empty() {
                self.untold.remove(&peer);
            }
        }
    }

    /// Returns the connections that the peer is to be asked about in a proof, by this side's names and with this side's
    /// counts: those of all links, dialled from either side.
    pub(crate) fn untold(&self, peer: Incarnation) -> Vec<(ConnectionId, u64)> {
        let untold = self.untold.get(&peer).into_iter().flatten();
        let entries = untold.filter_map(|theirs| self.by_name.get(&(peer, *theirs)));
        entries.map(|entry| (entry.names.local, entry.unsettled.read)).collect()
    }

    /// Settles the connections in the proof of a peer that has dialled: their names are the peer's, and the counts are
    /// the messages that it has read. Returns this side's counts under the same names, and what is settled of each.
    ///
    /// From a connection that is unknown here nothing was read, and nothing ever will be: the caller has ended the
    /// connections of those names, both those that have not greeted yet and those that are up. Once some connections
    /// were forgotten, unknown ones are left out, since they may be among the forgotten.
    pub(crate) fn on_proof(
        &mut self,
        peer: Incarnation,
        told: &[(ConnectionId, u64)],
    ) -> (Vec<(ConnectionId, u64)>, Vec<Settled>) {
        let of_unknown = if self.has_forgotten { None } else { Some(0) };
        let read = |theirs: &ConnectionId| {
            self.by_name.get(&(peer, *theirs)).map_or(of_unknown, |entry| Some(entry.unsettled.read))
        };
        let answers = told.iter().filter_map(|(theirs, _)| Some((*theirs, read(theirs)?))).collect();
        let settled = told.iter().map(|(theirs, read)| self.settle(peer, *theirs, *read)).collect();
        (answers, settled)
    }

    /// Settles the connections in the welcome of a dialled peer: their names are this side's, and the counts are the
    /// messages that the peer has read. Returns what is settled of each that the peer was asked about.
    pub(crate) fn on_welcome(&mut self, peer: Incarnation, told: &[(ConnectionId, u64)]) -> Vec<Settled> {
        let settle = |&(ours, read): &(ConnectionId, u64)| {
            let untold = self.untold.get(&peer).into_iter().flatten();
            let is_it = |theirs: &&ConnectionId| {
                self.by_name.get(&(peer, **theirs)).is_some_and(|entry| entry.names.local == ours)
            };
            let theirs = untold.copied().find(|theirs| is_it(&theirs))?;
            Some(self.settle(peer, theirs, read))
        };
        told.iter().filter_map(settle).collect()
    }

    /// Returns the number of messages in doubt on those connections.
    pub(crate) fn in_doubt(&self, of: impl IntoIterator<Item = ConnectionNames>) -> u64 {
        let balances = of.into_iter().filter_map(|names| self.by_name.get(&(names.peer, names.remote)));
        balances.map(|entry| entry.unsettled.in_doubt()).sum()
    }

    /// Takes the peer's count for a connection, given by the peer's name for it. A count smaller than the known one, or
    /// larger than the number written, is not believed.
    fn settle(&mut self, peer: Incarnation, theirs: ConnectionId, read: u64) -> Settled {
        self.is_told(peer, theirs);
        let Some(EndedConnection { unsettled, .. }) = self.by_name.get_mut(&(peer, theirs)) else {
            return Settled::default();
        };
        let messages = unsettled.in_doubt();
        // Messages known to be read are not in doubt, so no more can be lost than were in doubt.
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
        ConnectionNames { peer: PEER, local: ConnectionId([2; 16]), remote: ConnectionId([3; 16]) };

    fn settlement(written: u64, known: u64) -> EndedConnections {
        let mut settlement = EndedConnections::default();
        settlement.record(NAMES, Unsettled { written, known, read: 7 });
        settlement
    }

    #[test]
    fn what_was_not_read_is_lost_and_the_rest_is_not() {
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.remote, 9), Settled { messages: 6, lost: 1 });
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.remote, 10), Settled { messages: 6, lost: 0 });
    }

    #[test]
    fn a_count_that_cannot_be_is_not_believed() {
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.remote, 0), Settled { messages: 6, lost: 6 });
        assert_eq!(settlement(10, 4).settle(PEER, NAMES.remote, u64::MAX), Settled { messages: 6, lost: 0 });
    }

    #[test]
    fn a_connection_is_settled_once() {
        let mut settlement = settlement(10, 4);
        settlement.settle(PEER, NAMES.remote, 4);
        assert_eq!(settlement.settle(PEER, NAMES.remote, 4), Settled::default());
        assert_eq!(settlement.settle(Incarnation::of([9; 16]), NAMES.remote, 4), Settled::default(), "another node's");
    }

    /// Returns the counts sent to a peer which has read nothing itself.
    fn told(settlement: &mut EndedConnections, peer: Incarnation, theirs: ConnectionId) -> Vec<(ConnectionId, u64)> {
        settlement.on_proof(peer, &[(theirs, 0)]).0
    }

    #[test]
    fn a_peer_is_told_of_its_own_connections_by_its_names() {
        let mut settlement = settlement(10, 4);
        assert_eq!(told(&mut settlement, PEER, NAMES.remote), [(NAMES.remote, 7)]);
        assert_eq!(told(&mut settlement, PEER, NAMES.local), [(NAMES.local, 0)], "nothing was read of it");
        assert_eq!(
            told(&mut settlement, Incarnation::of([9; 16]), NAMES.remote),
            [(NAMES.remote, 0)],
            "it is another's"
        );
    }

    #[test]
    fn another_run_of_a_node_is_told_and_asked_nothing_of_the_connections_of_the_last() {
        let mut settlement = settlement(10, 4);
        let again = Incarnation { epoch: Incarnation::of([8; 16]).epoch, ..PEER };
        assert_eq!(settlement.untold(again), []);
        assert_eq!(told(&mut settlement, again, NAMES.remote), [(NAMES.remote, 0)]);
        assert_eq!(settlement.on_welcome(again, &[(NAMES.local, 10)]), []);
        assert_eq!(settlement.in_doubt([NAMES]), 6);
    }

    #[test]
    fn an_answer_settles_by_this_side_s_names_and_only_what_was_asked() {
        let mut settlement = settlement(10, 4);
        assert_eq!(settlement.on_welcome(PEER, &[(NAMES.remote, 9)]), [], "that is the peer's name");
        assert_eq!(settlement.in_doubt([NAMES]), 6);
        let settled = settlement.on_welcome(PEER, &[(NAMES.local, 9), (NAMES.local, 9)]);
        assert_eq!(settled, [Settled { messages: 6, lost: 1 }]);
        assert_eq!(settlement.in_doubt([NAMES]), 0);
    }

    #[test]
    fn a_peer_is_asked_about_each_connection_until_it_has_told() {
        let mut settlement = settlement(10, 4);
        assert_eq!(settlement.untold(PEER), [(NAMES.local, 7)]);
        assert_eq!(settlement.untold(Incarnation::of([9; 16])), []);
        settlement.settle(PEER, NAMES.remote, 4);
        assert_eq!(settlement.untold(PEER), []);
        let name = |n: usize| ConnectionId((n as u128 + 1000).to_le_bytes());
        for n in 0..=MAX_TOLD {
            settlement.record(
                ConnectionNames { remote: name(n), local: name(n + 5000), ..NAMES },
                Unsettled { written: 0, known: 0, read: 0 },
            );
        }
        let latest: Vec<_> = (1..=MAX_TOLD).map(|n| (name(n + 5000), 0)).collect();
        assert_eq!(settlement.untold(PEER), latest, "the oldest goes");
    }

    #[test]
    fn no_more_is_remembered_than_the_limit_says() {
        let mut settlement = settlement(10, 4);
        for n in 0..MAX_REMEMBERED as u64 {
            let theirs = ConnectionId((u128::from(n) + 1000).to_le_bytes());
            settlement.record(ConnectionNames { remote: theirs, ..NAMES }, Unsettled { written: 0, known: 0, read: 0 });
        }
        assert_eq!(settlement.by_name.len(), MAX_REMEMBERED);
        assert_eq!(told(&mut settlement, PEER, NAMES.remote), [], "it may have been read from");
    }
}
