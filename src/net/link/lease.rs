//! A link's part in leases: claims and releases of this side's leases, and the end of both sides' leases with a
//! connection.

use std::sync::Arc;
use std::sync::Weak;

use bytes::BytesMut;

use super::Link;
use super::fragment_queue::Flow;
use super::fragment_queue::FrameRole;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::holdings::Restatement;
use crate::handle::pointer::lease::Lease;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::reason::DropReason;
use crate::wire::features::feature;
use crate::wire::frames::hold::put_hold;
use crate::wire::frames::hold::put_holds;
use crate::wire::frames::release::put_releases;
use crate::wire::frames::restated::put_restated;

/// Boxes whose handles wait to be released at most; those of further boxes are released when the connection ends.
const MAX_RELEASES: usize = 65_536;

/// So many handles are worth a table that is made at once; fewer are added one by one.
const MANY: usize = 32;

impl Outbox {
    /// Releases handles of the peer's box, behind messages sent to the box and behind frames that name it.
    pub(super) fn release(&mut self, id: BoxId, count: u64) {
        if self.fragments.release(id, count) {
            return;
        }
        if self.fragments.holds_box(id) {
            let mut frame = BytesMut::new();
            put_releases(&mut frame, [(id, count)], self.outgoing.max_frame());
            self.fragments.put(Flow::Box(id), frame, FrameRole::Follower, Vec::new());
        } else if self.releases.len() < MAX_RELEASES || self.releases.contains_key(&id) {
            *self.releases.entry(id).or_default() += count;
        }
    }

    /// Releases each as [`release`](Outbox::release) does. If nothing else waits, the table is filled in one go.
    fn release_all(&mut self, handles: &[BoxId]) {
        let alike = handles.chunk_by(|one, next| one == next);
        let mut released = alike.filter_map(|ids| Some((*ids.first()?, ids.len() as u64)));
        if handles.len() >= MANY && self.releases.is_empty() && self.fragments.is_empty() {
            self.releases = released.by_ref().take(MAX_RELEASES).collect();
        }
        released.for_each(|(id, count)| self.release(id, count));
    }

    /// Claims a lease of a box, which another node has introduced, from the node of the box, once for each pointer:
    /// behind messages sent by the pointer, and before the release that may follow. Returns the earlier lease that was
    /// claimed elsewhere, to be dropped without a lock.
    #[cold]
    pub(super) fn lease(&mut self, to: &Pointer, link: &Weak<dyn Outbound>) -> Option<Box<Lease>> {
        if self.features & feature::HOLDS == 0 {
            return None;
        }
        let before = to.lease(link, self.connection, self.holdings.as_ref()?).ok()?;
        if let Some(id) = to.box_id(true) {
            put_hold(&mut self.posts, [(id, 1)]);
        }
        before
    }

    /// Restates the leases of connections that have ended, if there are any and the peer understands it.
    pub(super) fn restate_leases(&mut self, link: &Weak<dyn Outbound>) {
        if self.phase != Phase::Up || self.features & feature::RESTATED == 0 {
            return;
        }
        let restatement = self.holdings.as_ref().and_then(|holdings| holdings.restate(self.connection, link));
        if let Some(Restatement { boxes, ended }) = restatement {
            put_holds(&mut self.posts, boxes.into_iter().map(|id| (id, 1)), self.outgoing.max_frame());
            let most = self.outgoing.max_frame().saturating_sub(1) / size_of::<ConnectionId>();
            put_restated(&mut self.posts, ended.into_iter().rev().take(most));
            self.wake();
        }
    }
}

impl Link {
    /// Ends the leases of a connection that has ended, in both directions. Leases of a peer that may come back stay
    /// until it has, or is expected no longer.
    pub(super) fn end_leases(&self, old: &Outbox, reason: DropReason) {
        let (leases, holder) = (self.registry.leases(), old.connection);
        // A closing connection has had its goodbye, in one direction or the other; or the peer has said goodbye on
        // another connection.
        let is_open = old.phase == Phase::Up && reason == DropReason::Lost;
        let names = old.names.filter(|names| is_open && !self.router.is_gone(names.peer));
        if let Some(holdings) = &old.holdings {
            self.holdings.end(holdings, holder, names.map(|names| names.theirs));
        }
        let Some(names) = names.filter(|_| leases.set_absent(holder)) else { return leases.release_all(holder) };
        let me = self.me.upgrade().filter(|link| link.endpoint.is_some());
        let oldest = self.absences.expect_back(names, holder, me.map(|link| link as Arc<dyn Outbound>));
        if let Some(oldest) = oldest {
            leases.release_all(oldest.holder);
        }
    }

    /// Releases handles of the peer's boxes, each box with a count; no box comes twice.
    pub(crate) fn release_all(&self, connection: u64, handles: &[BoxId]) {
        let mut state = self.state.lock();
        if state.connection == connection {
            state.release_all(handles);
            state.wake();
        }
    }

    /// Restates the leases held by ended connections with the same peer, if there are any and this connection is up.
    pub(crate) fn restate_leases(&self) {
        self.state.lock().restate_leases(&(Weak::clone(&self.me) as Weak<dyn Outbound>));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::relay::Relay;
    use crate::config::Limits;
    use crate::handle::detached;
    use crate::handle::pointer::holdings::HoldingsTable;
    use crate::handle::pointer::holdings::MAX_RESTATED;
    use crate::ident::Incarnation;
    use crate::net::control::settlement::ConnectionNames;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::quota::Quotas;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;
    use crate::wire::frames::kind;
    use crate::wire::frames::restated::read_restated;
    use crate::wire::handshake::Hello;

    const PEER: Incarnation = Incarnation::of([9; 16]);
    const BOX: BoxId = BoxId([1; 16]);

    /// Returns the releases that the peer is sent: the boxes, with the counts.
    fn released(link: &Link) -> Vec<(BoxId, u64)> {
        let releases = std::mem::take(&mut link.state.lock().releases);
        releases.into_iter().collect()
    }

    #[test]
    fn what_is_released_together_is_released_as_one_by_one() {
        let (io, _not_started) = io_thread::io();
        let node = NodeInner::new(Limits::default(), Vec::new(), None, io, |_, _| {});
        let link = holding(&node);
        let connection = link.state.lock().connection;
        let [one, two, three] = [1, 2, 3].map(|n| BoxId([n; 16]));
        link.release_all(connection, &[one, one, two]);
        link.release_all(connection, &[two, two, two, two, three]);
        assert_eq!(released(&link), [(one, 2), (two, 5), (three, 1)]);
        link.release_all(connection, &[one; MANY]);
        link.release_all(connection, &[one; MANY]);
        assert_eq!(released(&link), [(one, 2 * MANY as u64)]);
        link.release_all(connection + 1, &[one]);
        assert_eq!(released(&link), [], "of a connection that has ended");
        let id = |n: u32| BoxId([n.to_be_bytes(); 4].concat().try_into().unwrap());
        let many = |from: usize, count: usize| (from..from + count).map(|n| id(n as u32)).collect::<Vec<_>>();
        link.release_all(connection, &many(0, MAX_RELEASES + 10));
        link.release_all(connection, &many(MAX_RELEASES - 1, 2));
        let released = released(&link);
        assert_eq!((released.len(), released.last().map(|(_, count)| *count)), (MAX_RELEASES, Some(2)));
    }

    /// Returns a link of the node over which a peer holds one of its boxes.
    fn holding(node: &Arc<NodeInner>) -> Arc<Link> {
        let link = Link::accepted(node.link_context());
        let (ours, theirs) = (ConnectionId::random(), ConnectionId::random());
        let hello = Hello {
            versions: (1, 1),
            features: feature::KNOWN,
            connection: theirs,
            max_frame: 1 << 20,
            numbers: 64,
            nonce: [0; 32],
        };
        let connection = link.up(&hello, ConnectionNames { peer: PEER, ours, theirs }, Arc::default());
        let local = Relay::new(BOX, detached::pointer(), 1);
        node.registry.leases().lease(&detached::pointer(), &local, connection);
        link
    }

    #[test]
    fn a_peer_that_has_said_goodbye_on_another_connection_is_not_expected_back_on_this() {
        for has_said_it in [false, true] {
            let (io, _not_started) = io_thread::io();
            let node = NodeInner::new(Limits::default(), Vec::new(), None, io, |_, _| {});
            let link = holding(&node);
            if has_said_it {
                node.peers.gone(PEER);
            }
            link.down(DropReason::Lost, "", true);
            assert_eq!(node.registry.leases().find(BOX).is_none(), has_said_it);
        }
    }

    #[test]
    fn no_frame_that_restates_is_longer_than_the_peer_reads() {
        const LONGEST: usize = 100;
        let (table, link) = (HoldingsTable::default(), Weak::<Link>::new() as Weak<dyn Outbound>);
        let holdings = table.of(PEER);
        holdings.begin(0);
        (0..50_u128).for_each(|n| holdings.add(0, BoxId(n.to_le_bytes())));
        table.note_ended(PEER, (0..MAX_RESTATED as u128).map(|n| ConnectionId(n.to_le_bytes())));
        table.end(&holdings, 0, Some(ConnectionId([7; 16])));
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), &Quotas::new(&Limits::default()));
        outbox.features = feature::KNOWN;
        outbox.holdings = Some(holdings);
        outbox.outgoing.peer_accepts(LONGEST, 64);
        outbox.restate_leases(&link);
        let (mut rest, mut kinds, mut named) = (&outbox.posts[..], Vec::new(), Vec::new());
        while let Front::Frame(raw) = front(rest, LONGEST).expect("the peer reads it") {
            kinds.push(raw.kind);
            if raw.kind == kind::RESTATED {
                named.extend(read_restated(raw.payload).map(|ended| ended.expect("a name")));
            }
            rest = &rest[raw.size..];
        }
        assert!(rest.is_empty() && kinds.len() > 2);
        assert_eq!(kinds.pop(), Some(kind::RESTATED), "behind all holds");
        assert!(kinds.iter().all(|of| *of == kind::HOLD));
        assert_eq!((named.len(), named[0]), (6, ConnectionId([7; 16])), "the latest, as many as there is room for");
    }

    #[test]
    fn so_many_boxes_wait_to_be_released() {
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), &Quotas::new(&Limits::default()));
        let id = |n: usize| BoxId((n as u128).to_le_bytes());
        (0..=MAX_RELEASES).for_each(|n| outbox.release(id(n), 1));
        assert_eq!(outbox.releases.len(), MAX_RELEASES);
        outbox.release(id(0), 2);
        assert_eq!(outbox.releases[&id(0)], 3);
    }
}
