//! Limits the connections of a node: all that are open or being made, those of one address, and those that are
//! unproven, whose peer has not shown yet who it is.
//!
//! When there are too many unproven connections, the oldest of the address that has most of them is closed: an address
//! that opens very many loses its own, and not those of others. If the connections come from many addresses, silent
//! ones get half of the slots, and those that have said hello the other half.

use std::cmp::Ordering;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::ident::ConnectionId;
use crate::ident::NodeId;
use crate::net::transport::accepted::Origin;

/// Divides the number of all slots: the quotient may be used for connections to endpoints that one peer has named. All
/// such peers together get half of the slots; this node's own program and the peers that dial it get the rest.
const PEERS: usize = 8;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<AdmissionState>,
    limits: AdmissionLimits,
}

/// The numbers of connections that are allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionLimits {
    pub(crate) connections: usize,
    /// Accepted from one address, or one network of IPv6. Unix sockets have no address, and no such limit.
    pub(crate) per_address: usize,
    /// Accepted, without a greeting yet.
    pub(crate) unproven: usize,
    /// Dialled for one peer that has named their endpoints.
    pub(crate) for_peer: usize,
    /// Dialled for all such peers.
    pub(crate) for_peers: usize,
}

impl AdmissionLimits {
    pub(crate) fn of(limits: &Limits) -> AdmissionLimits {
        AdmissionLimits {
            connections: limits.max_connections,
            per_address: limits.max_per_address.unwrap_or(limits.max_connections / 4).max(1),
            unproven: limits.max_unproven,
            for_peer: (limits.max_connections / PEERS).max(1),
            for_peers: (limits.max_connections / 2).max(1),
        }
    }
}

/// The reason why there is no room for a connection, in the words that the peer is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error("too many connections")]
    Connections,
    #[error("too many connections from this address")]
    OfAddress,
    #[error("too many connections with this certificate")]
    OfIdentity,
    #[error("too few files for one more connection")]
    Files,
    #[error("too many connections to what this peer has named")]
    ForPeer,
    #[error("too many connections to what peers have named")]
    ForPeers,
}

#[derive(Debug, Default)]
struct AdmissionState {
    /// Connections open or being made.
    open: usize,
    /// The number of open connections by group, for groups that have a share of their own: no more entries than
    /// connections.
    by_group: HashMap<Group, usize>,
    /// Open connections that are dialled for peers.
    for_peers: usize,
    /// Unproven connections, by group and in the order in which they began.
    unproven: HashMap<Group, BTreeMap<u64, Unproven>>,
    /// The number of accepted connections in `unproven`.
    accepted: usize,
    next: u64,
}

/// The group that a connection counts against.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Group {
    /// Dialled by this node, for a peer that has named the endpoint, or for itself.
    Dialled(Option<NodeId>),
    /// Opened by a peer, from that origin or over a Unix socket.
    Accepted(Option<Origin>),
}

impl Group {
    /// Returns the peer that a connection counts against, if it is dialled for one.
    pub(crate) fn payer(self) -> Option<NodeId> {
        match self {
            Group::Dialled(payer) => payer,
            Group::Accepted(_) => None,
        }
    }

    fn is_for_peer(self) -> bool {
        matches!(self, Group::Dialled(Some(_)))
    }

    /// Whether the group has a share of its own.
    fn has_share(self) -> bool {
        self.is_for_peer() || matches!(self, Group::Accepted(Some(_)))
    }
}

/// An unproven connection, as the table knows it.
#[derive(Clone, Debug, Default)]
struct Unproven {
    /// Cancelled when the connection has to end.
    expelled: CancellationToken,
    /// Cancelled when the connection has ended, and its stream is closed.
    gone: CancellationToken,
    /// Cancelled when the peer says that it has given the connection up.
    given_up: CancellationToken,
    /// The name that the other side gives the connection, once it has said so.
    remote: Option<ConnectionId>,
}

impl Unproven {
    /// Whether the other side has said nothing yet. Connections that this node dials for itself never count as silent.
    fn is_silent(&self, group: Group) -> bool {
        self.remote.is_none() && group != Group::Dialled(None)
    }
}

/// A slot among the connections of a node; freed when it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    admission: Weak<Admission>,
    pub(crate) group: Group,
}

impl ConnectionSlot {
    /// Counts an accepted connection against an identity that its transport has proven, and no longer against its
    /// address: so that many peers behind one address have a share each, and one peer at many addresses has one.
    ///
    /// # Errors
    /// If the identity has as many connections as an address may have; then the slot stays as it was.
    pub(crate) fn is_of(&mut self, identity: Origin) -> Result<(), NoRoom> {
        let Some(admission) = self.admission.upgrade() else { return Ok(()) };
        let (group, mut state) = (Group::Accepted(Some(identity)), admission.state.lock());
        if state.count(group) >= admission.limits.per_address {
            return Err(NoRoom::OfIdentity);
        }
        state.leave(self.group);
        state.enter(group);
        self.group = group;
        Ok(())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.upgrade() {
            admission.state.lock().leave(self.group);
        }
    }
}

/// An unproven connection, as its own tasks hold it. It has to end when `expelled` is cancelled, because there are too
/// many, or when `given_up` is, because its peer goes on with another connection.
#[derive(Debug)]
pub(crate) struct UnprovenConnection {
    admission: Weak<Admission>,
    group: Group,
    number: u64,
    pub(crate) expelled: CancellationToken,
    gone: CancellationToken,
    pub(crate) given_up: CancellationToken,
}

impl UnprovenConnection {
    /// Returns where the connection comes from, if a peer has opened it from an address.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match self.group {
            Group::Accepted(origin) => origin,
            Group::Dialled(_) => None,
        }
    }

    /// Notes the name that the other side gives the connection.
    pub(crate) fn is_called(&self, theirs: ConnectionId) {
        if let Some(admission) = self.admission.upgrade()
            && let Some(group) = admission.state.lock().unproven.get_mut(&self.group)
            && let Some(unproven) = group.get_mut(&self.number)
        {
            unproven.remote = Some(theirs);
        }
    }
}

impl Drop for UnprovenConnection {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.upgrade() {
            admission.state.lock().remove(self.group, self.number);
        }
        self.gone.cancel();
    }
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Admission {
        Admission { state: Mutex::default(), limits }
    }

    /// Takes a slot for one more connection of that group. If all slots are taken, a connection that has not greeted
    /// makes room: a peer can open as many as it likes, or have this node dial an address that never answers. If all
    /// slots of an address are taken, or all for a peer, one of its own connections makes room. Until that connection
    /// is gone, which takes a moment, there is one too many.
    ///
    /// # Errors
    /// If all connections that could make room have greeted.
    pub(crate) fn slot(self: &Arc<Self>, group: Group) -> Result<ConnectionSlot, NoRoom> {
        let oldest = {
            let mut state = self.state.lock();
            let oldest = state.make_room_for(group, &self.limits)?;
            state.enter(group);
            oldest
        };
        if let Some(oldest) = oldest {
            oldest.expelled.cancel();
        }
        Ok(ConnectionSlot { admission: Arc::downgrade(self), group })
    }

    /// Takes a slot for a connection that this node makes: for itself, or for the one of the `askers`, the peers that
    /// have named the endpoint, that has the fewest.
    pub(crate) fn slot_for(self: &Arc<Self>, askers: Option<&[NodeId]>) -> Result<ConnectionSlot, NoRoom> {
        let payer = askers.and_then(|askers| {
            let state = self.state.lock();
            askers.iter().copied().min_by_key(|asker| state.count(Group::Dialled(Some(*asker))))
        });
        self.slot(Group::Dialled(payer))
    }

    /// Whether half of the connections that are allowed to that peer, or to all such peers, are in use, if the group is
    /// dialled for a peer.
    pub(crate) fn is_scarce(&self, group: Group) -> bool {
        let state = self.state.lock();
        let is_scarce = state.count(group) * 2 >= self.limits.for_peer || state.for_peers * 2 >= self.limits.for_peers;
        group.is_for_peer() && is_scarce
    }

    /// Notes a connection that a peer has opened. If there are too many unproven ones, one of them is closed.
    pub(crate) fn unproven(self: &Arc<Self>, origin: Option<Origin>) -> UnprovenConnection {
        let (unproven, oldest) = {
            let mut state = self.state.lock();
            let unproven = state.add(Group::Accepted(origin), self);
            let is_accepted = |group: Group| !matches!(group, Group::Dialled(_));
            let is_full = state.accepted > self.limits.unproven;
            (unproven, if is_full { state.pop_of_most(is_accepted) } else { None })
        };
        if let Some(oldest) = oldest {
            oldest.expelled.cancel();
        }
        unproven
    }

    /// Ends the connections that a proven peer has given up, listed by the peer's own names, if they have not greeted
    /// yet: so that nothing is read from them any more. The names are random, so only the peer, and whoever overhears
    /// it, can end one of its connections in this way.
    pub(crate) fn give_up(&self, given_up: &[(ConnectionId, u64)]) {
        if given_up.is_empty() {
            return;
        }
        let is_given_up = |unproven: &&Unproven| given_up.iter().any(|(theirs, _)| Some(*theirs) == unproven.remote);
        let ended: Vec<_> = {
            let state = self.state.lock();
            let unproven = state.unproven.values().flat_map(BTreeMap::values);
            unproven.filter(is_given_up).map(|unproven| unproven.given_up.clone()).collect()
        };
        ended.iter().for_each(CancellationToken::cancel);
    }

    /// Closes a connection that has not greeted, because a limit outside of the node leaves no room for another. The
    /// returned token is cancelled once that connection is gone.
    pub(crate) fn make_room(&self) -> Option<CancellationToken> {
        let oldest = self.state.lock().pop_of_most(|_| true)?;
        oldest.expelled.cancel();
        Some(oldest.gone)
    }

    /// Notes a connection that this node is making.
    pub(crate) fn attempt(self: &Arc<Self>, group: Group) -> UnprovenConnection {
        self.state.lock().add(group, self)
    }
}

impl AdmissionState {
    fn count(&self, group: Group) -> usize {
        self.by_group.get(&group).copied().unwrap_or(0)
    }

    /// Returns the connection that has to end, if one has, to make room for one of that group.
    fn make_room_for(&mut self, group: Group, limits: &AdmissionLimits) -> Result<Option<Unproven>, NoRoom> {
        let (share, full) = match group {
            Group::Accepted(Some(Origin::Address(_))) => (limits.per_address, NoRoom::OfAddress),
            Group::Accepted(Some(Origin::Certificate(_))) => (limits.per_address, NoRoom::OfIdentity),
            // So that other ways into the node stay open.
            Group::Accepted(Some(Origin::Transport(_))) => {
                (limits.connections - limits.connections / 4, NoRoom::Connections)
            }
            Group::Dialled(Some(_)) => (limits.for_peer, NoRoom::ForPeer),
            Group::Accepted(None) | Group::Dialled(None) => (usize::MAX, NoRoom::Connections),
        };
        if self.count(group) >= share {
            self.pop_oldest(group).map(Some).ok_or(full)
        } else if group.is_for_peer() && self.for_peers >= limits.for_peers {
            self.pop_of_most(Group::is_for_peer).map(Some).ok_or(NoRoom::ForPeers)
        } else if self.open >= limits.connections {
            self.pop_of_most(|_| true).map(Some).ok_or(NoRoom::Connections)
        } else {
            Ok(None)
        }
    }

    fn enter(&mut self, group: Group) {
        self.open += 1;
        self.for_peers += usize::from(group.is_for_peer());
        if group.has_share() {
            *self.by_group.entry(group).or_default() += 1;
        }
    }

    fn leave(&mut self, group: Group) {
        self.open -= 1;
        self.for_peers -= usize::from(group.is_for_peer());
        if let Some(count) = self.by_group.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.by_group.remove(&group);
            }
        }
    }

    fn add(&mut self, group: Group, admission: &Arc<Admission>) -> UnprovenConnection {
        self.next += 1;
        let (number, unproven) = (self.next, Unproven::default());
        self.unproven.entry(group).or_default().insert(number, unproven.clone());
        self.accepted += usize::from(!matches!(group, Group::Dialled(_)));
        let Unproven { expelled, gone, given_up, .. } = unproven;
        UnprovenConnection { admission: Arc::downgrade(admission), group, number, expelled, gone, given_up }
    }

    /// Removes a connection; `None` if it was popped before.
    fn remove(&mut self, group: Group, number: u64) -> Option<Unproven> {
        let members = self.unproven.get_mut(&group)?;
        let removed = members.remove(&number)?;
        if members.is_empty() {
            self.unproven.remove(&group);
        }
        self.accepted -= usize::from(!matches!(group, Group::Dialled(_)));
        Some(removed)
    }

    fn pop_oldest(&mut self, group: Group) -> Option<Unproven> {
        let members = self.unproven.get(&group)?;
        let silent = members.values().filter(|unproven| unproven.is_silent(group)).count();
        let number = oldest(group, members, silent_goes(silent, members.len()))?;
        self.remove(group, number)
    }

    /// Removes and returns the oldest connection that has not shown who it is, of the group that has most of them.
    /// Among groups with equally many, silent connections and those that have said hello get half of the slots each, so
    /// that silent connections from many addresses do not push out peers that are about to prove their identity.
    fn pop_of_most(&mut self, is_it: impl Fn(Group) -> bool) -> Option<Unproven> {
        let groups = || self.unproven.iter().filter(|(group, _)| is_it(**group));
        let all = groups().flat_map(|(group, members)| members.values().map(|unproven| unproven.is_silent(*group)));
        let (silent, count) = all.fold((0, 0), |(silent, count), is| (silent + usize::from(is), count + 1));
        let goes = silent_goes(silent, count);
        let candidates = groups().filter_map(|(group, members)| {
            // This node's own attempts weigh one each: no peer can push them out by having many addresses.
            let weight = if *group == Group::Dialled(None) { 1 } else { members.len() };
            let of_those = oldest(*group, members, goes);
            let number = of_those.or_else(|| oldest(*group, members, None))?;
            Some((weight, of_those.is_some(), Reverse(number), *group))
        });
        let (_, _, Reverse(number), group) =
            candidates.max_by_key(|(weight, is_of_those, age, _)| (*weight, *is_of_those, *age))?;
        self.remove(group, number)
    }
}

/// Whether the connection to close is a silent one, or else one that has said hello; `None` if there are equally many
/// of both, or none at all.
fn silent_goes(silent: usize, count: usize) -> Option<bool> {
    match (2 * silent).cmp(&count) {
        Ordering::Less => Some(false),
        Ordering::Equal => None,
        Ordering::Greater => Some(true),
    }
}

/// Returns the oldest connection: among the silent ones, among those that have said hello, or among all.
fn oldest(of: Group, members: &BTreeMap<u64, Unproven>, is_silent: Option<bool>) -> Option<u64> {
    let is_it = |unproven: &Unproven| is_silent.is_none_or(|is| unproven.is_silent(of) == is);
    members.iter().find(|(_, unproven)| is_it(unproven)).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, per_address: usize, unproven: usize) -> Arc<Admission> {
        Arc::new(Admission::new(AdmissionLimits {
            connections,
            per_address,
            unproven,
            for_peer: connections,
            for_peers: connections,
        }))
    }

    fn origin(octet: u8) -> Option<Origin> {
        Some(Origin::of(([192, 0, 2, octet], 4242).into()))
    }

    fn from(octet: u8) -> Group {
        Group::Accepted(origin(octet))
    }

    fn peer(byte: u8) -> Group {
        Group::Dialled(Some(NodeId([byte; 16])))
    }

    fn gone(of: &[UnprovenConnection]) -> Vec<bool> {
        of.iter().map(|one| one.expelled.is_cancelled()).collect()
    }

    #[test]
    fn the_oldest_that_has_not_greeted_makes_room_whoever_makes_it() {
        let admission = admission(3, 10, 10);
        let _slots: Vec<ConnectionSlot> = (0..3).filter_map(|_| admission.slot(Group::Accepted(None)).ok()).collect();
        let began = [
            admission.attempt(Group::Dialled(None)),
            admission.unproven(None),
            admission.attempt(Group::Dialled(None)),
        ];
        for expected in [[true, false, false], [true, true, false], [true, true, true]] {
            assert!(admission.slot(Group::Accepted(None)).is_ok());
            // The new slot is given back at once here; that of the closed connection is not.
            admission.state.lock().open = 3;
            assert_eq!(gone(&began), expected);
        }
        assert_eq!(admission.slot(Group::Accepted(None)).map(|_| ()), Err(NoRoom::Connections), "all have greeted");
    }

    #[test]
    fn an_address_has_so_many_places_and_the_others_are_for_others() {
        let admission = admission(100, 2, 100);
        let mut slots: Vec<_> = (0..2).map(|_| admission.slot(from(1)).unwrap()).collect();
        let ungreeted = [admission.unproven(origin(2)), admission.attempt(Group::Dialled(None))];
        assert_eq!(admission.slot(from(1)).map(|_| ()), Err(NoRoom::OfAddress));
        assert_eq!(gone(&ungreeted), [false, false], "others make no room for it");
        assert!(admission.slot(from(2)).is_ok() && admission.slot(Group::Accepted(None)).is_ok());
        let own = [admission.unproven(origin(1))];
        slots.push(admission.slot(from(1)).expect("one of its own makes room"));
        assert_eq!(gone(&own), [true]);
        slots.truncate(1);
        assert!(admission.slot(from(1)).is_ok());
        drop(slots);
        assert!(admission.state.lock().by_group.is_empty());
    }

    #[test]
    fn a_certificate_has_places_of_its_own_and_takes_none_of_its_address() {
        let (admission, certificate) = (admission(100, 2, 100), |n| Origin::Certificate(n));
        let mut slots: Vec<_> = (0..10)
            .map(|n| {
                let mut slot = admission.slot(from(1)).expect("the others have a share of their own");
                slot.is_of(certificate(n)).map(|()| slot).expect("it is the first of its own")
            })
            .collect();
        let mut second = admission.slot(from(2)).expect("room");
        assert_eq!(second.is_of(certificate(0)), Ok(()));
        let mut third = admission.slot(from(3)).expect("room");
        assert_eq!(third.is_of(certificate(0)), Err(NoRoom::OfIdentity), "at whatever address");
        assert_eq!(third.group, from(3));
        slots.clear();
        assert_eq!(third.is_of(certificate(0)), Ok(()));
        drop((second, third));
        let state = admission.state.lock();
        assert!(state.by_group.is_empty() && state.open == 0);
    }

    /// A peer can name endpoints that never answer, and have them dialled.
    #[test]
    fn what_is_dialled_for_a_peer_counts_against_that_peer() {
        let admission = admission(20, 20, 20);
        let _slots: Vec<_> = (0..20).filter_map(|_| admission.slot(Group::Accepted(None)).ok()).collect();

        let others =
            [admission.attempt(Group::Dialled(None)), admission.attempt(peer(1)), admission.unproven(origin(1))];
        let asked: Vec<_> = (0..10).map(|_| admission.attempt(peer(2))).collect();
        let newcomers: Vec<_> = (0..9).filter_map(|_| admission.slot(from(2)).ok()).collect();
        assert_eq!((newcomers.len(), gone(&others)), (9, vec![false; 3]));
        assert_eq!(gone(&asked), [vec![true; 9], vec![false]].concat());
    }

    /// Connections dialled for a peer keep counting against that peer once they have greeted.
    #[test]
    fn a_peer_has_so_many_places_for_what_it_names_and_all_peers_have_half() {
        let limits = AdmissionLimits::of(&Limits { max_connections: 32, ..Limits::default() });
        let admission = Arc::new(Admission::new(limits));
        let take = |byte| admission.slot(peer(byte));
        let mut slots: Vec<_> = (0..4).map(|_| take(1).expect("it has an eighth")).collect();
        assert_eq!(take(1).map(|_| ()), Err(NoRoom::ForPeer));
        slots.extend((2..5).flat_map(|byte| (0..4).map(move |_| byte)).map(|byte| take(byte).expect("it has its own")));
        assert_eq!(take(5).map(|_| ()), Err(NoRoom::ForPeers));
        // The rest is for others, and so are the slots that a peer gives back.
        slots.extend((0..16).map(|_| admission.slot(Group::Dialled(None)).expect("there is room")));
        assert_eq!(admission.slot(Group::Dialled(None)).map(|_| ()), Err(NoRoom::Connections));
        slots.remove(0);
        assert!(take(5).is_ok() && take(1).is_ok());
        assert_eq!(take(2).map(|_| ()), Err(NoRoom::ForPeer));
        drop(slots);
        let state = admission.state.lock();
        assert_eq!((state.open, state.for_peers, state.by_group.len()), (0, 0, 0));
    }

    #[test]
    fn where_a_peer_has_all_its_places_its_own_oldest_that_has_not_greeted_makes_room() {
        let limits = AdmissionLimits::of(&Limits { max_connections: 32, ..Limits::default() });
        let admission = Arc::new(Admission::new(limits));
        let others = [admission.attempt(peer(2)), admission.attempt(Group::Dialled(None)), admission.unproven(None)];
        let mut slots: Vec<_> = (0..4).map(|_| admission.slot(peer(1)).expect("it has an eighth")).collect();
        let own = [admission.attempt(peer(1)), admission.attempt(peer(1))];
        slots.push(admission.slot(peer(1)).expect("one of its own makes room"));
        assert_eq!((gone(&own), gone(&others)), (vec![true, false], vec![false; 3]));
    }

    #[test]
    fn what_several_peers_have_named_counts_against_the_one_that_has_fewest() {
        let admission = Arc::new(Admission::new(AdmissionLimits::of(&Limits::default())));
        let [greedy, other] = [1, 2].map(|byte| NodeId([byte; 16]));
        let _slots: Vec<_> = (0..128).map(|_| admission.slot_for(Some(&[greedy])).expect("its share")).collect();
        assert_eq!(admission.slot_for(Some(&[greedy])).map(|_| ()), Err(NoRoom::ForPeer));
        let shared = admission.slot_for(Some(&[greedy, other])).expect("the other has room");
        assert_eq!(shared.group, Group::Dialled(Some(other)));
        assert_eq!(admission.slot_for(None).expect("its own").group, Group::Dialled(None));
        assert!(admission.is_scarce(Group::Dialled(Some(greedy))) && !admission.is_scarce(shared.group));
    }

    #[test]
    fn unix_sockets_have_no_places_of_their_own() {
        let admission = admission(100, 2, 100);
        let slots: Vec<_> = (0..100).map_while(|_| admission.slot(Group::Accepted(None)).ok()).collect();
        assert_eq!(slots.len(), 100);
    }

    #[test]
    fn the_address_with_most_makes_room_and_not_the_oldest_of_all() {
        let admission = admission(100, 100, 5);
        let slow = admission.unproven(origin(1));
        let crowd: Vec<_> = (0..50).map(|_| admission.unproven(origin(2))).collect();
        assert!(!slow.expelled.is_cancelled(), "it has its share");
        assert_eq!(gone(&crowd).iter().filter(|gone| **gone).count(), 46);
        assert!(gone(&crowd)[..46].iter().all(|gone| *gone), "the oldest of its own go");
        // With as many addresses as places, the oldest goes.
        let others: Vec<_> = (3..8).map(|octet| admission.unproven(origin(octet))).collect();
        assert!(slow.expelled.is_cancelled());
        assert_eq!(gone(&others), [false; 5]);
        drop((slow, crowd, others));
        let state = admission.state.lock();
        assert_eq!((state.accepted, state.unproven.len()), (0, 0));
    }

    #[test]
    fn a_crowd_that_says_nothing_pushes_out_nobody_who_has_said_hello() {
        let admission = admission(1000, 1000, 10);
        let greeting: Vec<_> = (1..=5).map(|octet| admission.unproven(origin(octet))).collect();
        greeting.iter().for_each(|one| one.is_called(ConnectionId([1; 16])));
        let crowd: Vec<_> = (6..100).map(|octet| admission.unproven(origin(octet))).collect();
        assert_eq!(gone(&greeting), [false; 5]);
        assert_eq!(gone(&crowd).iter().filter(|gone| !**gone).count(), 5);
        // Nor do peers that have said hello, and nothing since, keep out newcomers.
        let greeting_on: Vec<_> = (100..200).map(|octet| admission.unproven(origin(octet))).collect();
        greeting_on.iter().for_each(|one| one.is_called(ConnectionId([2; 16])));
        let newcomer = admission.unproven(origin(200));
        let more: Vec<_> = (201..204).map(|octet| admission.unproven(origin(octet))).collect();
        assert!(!newcomer.expelled.is_cancelled());
        assert_eq!(gone(&more), [false; 3]);
    }

    #[test]
    fn an_address_that_says_nothing_on_many_makes_room_for_those_who_have_said_hello() {
        let admission = admission(1000, 1000, 10);
        let silent: Vec<_> = (0..3).map(|_| admission.unproven(origin(1))).collect();
        let greeting: Vec<_> = (2..10).map(|octet| admission.unproven(origin(octet))).collect();
        greeting.iter().for_each(|one| one.is_called(ConnectionId([1; 16])));
        let newcomer = admission.unproven(origin(11));
        assert_eq!(gone(&silent), [true, true, false], "it had most");
        assert_eq!(gone(&greeting), [false; 8]);
        assert!(!newcomer.expelled.is_cancelled());
    }

    #[test]
    fn of_those_that_have_not_greeted_a_peer_gives_up_its_own() {
        let admission = admission(9, 9, 9);
        let unproven = [origin(1), origin(2), None].map(|origin| admission.unproven(origin));
        let names = [1, 2].map(|byte| ConnectionId([byte; 16]));
        unproven[0].is_called(names[0]);
        unproven[1].is_called(names[1]);
        admission.give_up(&[(ConnectionId([0; 16]), 0), (names[1], 7)]);
        let given_up = || unproven.each_ref().map(|one| one.given_up.is_cancelled());
        assert_eq!(given_up(), [false, true, false]);
        assert!(unproven.iter().all(|one| !one.expelled.is_cancelled()));
    }

    #[test]
    fn a_crowd_of_a_transport_without_addresses_is_one_party() {
        let admission = admission(8, 2, 4);
        let transport = Some(Origin::Transport(0));
        let local = admission.unproven(None);
        let crowd: Vec<_> = (0..20).map(|_| admission.unproven(transport)).collect();
        assert!(!local.expelled.is_cancelled(), "it makes room for its own");
        assert_eq!(crowd.iter().filter(|one| !one.expelled.is_cancelled()).count(), 3);
        drop((local, crowd));
        let slots: Vec<_> = (0..8).map_while(|_| admission.slot(Group::Accepted(transport)).ok()).collect();
        assert_eq!(slots.len(), 6, "more than from one address, and not all");
        assert!(admission.slot(Group::Accepted(None)).is_ok());
    }
}
