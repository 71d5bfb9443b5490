//! A link's part in leases: their releases, and the end of both sides' leases with a connection.

use std::sync::Arc;
use std::sync::Weak;

use super::Link;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::reason::DropReason;

impl Link {
    /// Ends the leases of a connection that has ended, in both directions. Leases of a peer that may come back stay
    /// until it has, or is expected no longer.
    pub(super) fn end_leases(&self, old: &Outbox, reason: DropReason) {
        let (leases, holder) = (self.registry.leases(), old.session.connection);
        // A closing connection has had its goodbye, in one direction or the other; or the peer has said goodbye on
        // another connection.
        let is_open = old.phase == Phase::Up && reason == DropReason::Lost;
        let names = old.session.names.filter(|names| is_open && !self.node.is_gone(names.peer));
        if let Some(holdings) = old.session.leases.holdings() {
            self.holdings.end(holdings, holder, names.map(|names| names.remote));
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
        self.outbox.with(|outbox| {
            if outbox.is(connection) {
                outbox.release_all(handles);
                outbox.wake();
            }
        });
    }

    /// Restates the leases held by ended connections with the same peer, if there are any and this connection is up.
    ///
    /// Over a plain connection nothing is restated that became known over a protected one.
    pub(crate) fn restate_leases(&self) {
        let is_low = |peer| self.holdings.of(peer).is_protected() && !self.is_protected();
        if self.peer().is_some_and(is_low) {
            return;
        }
        self.outbox.with(|outbox| outbox.restate_leases(&(Weak::clone(&self.me) as Weak<dyn Outbound>)));
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::boxes::relay::Relay;
    use crate::handle::detached;
    use crate::ident::ConnectionId;
    use crate::ident::Incarnation;
    use crate::net::control::release::MAX_RELEASES;
    use crate::net::control::settlement::ConnectionNames;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::net::shared::Setup;
    use crate::wire::features::feature;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;
    use crate::wire::frames::release::read_counts;
    use crate::wire::hello::Hello;

    const PEER: Incarnation = Incarnation::of([9; 16]);
    const BOX: BoxId = BoxId([1; 16]);

    /// Returns the releases that the peer is sent: the boxes, with the counts.
    fn released(link: &Link) -> Vec<(BoxId, u64)> {
        let mut out = BytesMut::new();
        link.outbox.with(|outbox| outbox.releases.poll_frames(&mut out, 1 << 30));
        let Ok(Front::Frame(raw)) = front(&out, 1 << 30) else { return Vec::new() };
        read_counts(raw.payload).map(|entry| entry.expect("it was just written")).collect()
    }

    #[test]
    fn what_is_released_together_is_released_as_one_by_one() {
        let (io, _not_started) = io_thread::io();
        let node = NodeInner::new(Setup::default(), io, |_, _| {});
        let link = holding(&node);
        let connection = link.connection();
        let [one, two, three] = [1, 2, 3].map(|n| BoxId([n; 16]));
        link.release_all(connection, &[one, one, two]);
        link.release_all(connection, &[two, two, two, two, three]);
        assert_eq!(released(&link), [(one, 2), (two, 5), (three, 1)]);
        link.release_all(connection, &[one; 100]);
        link.release_all(connection, &[one; 100]);
        assert_eq!(released(&link), [(one, 200)]);
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
        let connection = link.up(&hello, ConnectionNames { peer: PEER, local: ours, remote: theirs }, Arc::default());
        let local = Relay::new(BOX, detached::pointer(), 1);
        node.registry.leases().lease(&detached::pointer(), &local, connection);
        link
    }

    #[test]
    fn a_peer_that_has_said_goodbye_on_another_connection_is_not_expected_back_on_this() {
        for has_said_it in [false, true] {
            let (io, _not_started) = io_thread::io();
            let node = NodeInner::new(Setup::default(), io, |_, _| {});
            let link = holding(&node);
            if has_said_it {
                node.peers.gone(PEER);
            }
            link.down(DropReason::Lost, "", true);
            assert_eq!(node.registry.leases().find(BOX).is_none(), has_said_it);
        }
    }
}
