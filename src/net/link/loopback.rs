//! Links that lead to this very node: messages sent to a name over such a link go straight into the box, once no
//! earlier message is under way.
//!
//! A link leads to this node permanently if the node itself listens at the link's endpoint. Otherwise it does so only
//! while it has a connection whose other end has proven to be this node: the next time, a host name or a network proxy
//! may lead elsewhere.
//!
//! Invariant: `Session::loopback` changes under the link's lock, and under the same lock a message by name is refused
//! while it is [`Loopback::Yes`]. So the messages that a thread sends into a box come after its earlier ones, and a
//! sender that has encoded a message meanwhile sends it again, into the box.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::Link;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::identity::Origin;

/// Whether a link leads to this very node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Loopback {
    /// The link leads to another node, as far as is known.
    #[default]
    No,
    /// The link leads to this node, and messages go by its connection until all of them have arrived.
    Draining,
    /// The link leads to this node, and messages sent by name go into the boxes.
    Yes,
}

/// The part of that state that a link keeps outside of its lock.
#[derive(Debug, Default)]
pub(super) struct LoopbackState {
    /// Whether the node listens at the link's endpoint.
    listens: AtomicBool,
    /// Whether the outbox is [`Loopback::Yes`], for all senders over the link.
    is_loopback: Arc<AtomicBool>,
}

impl LoopbackState {
    /// Returns the state for a connection that has yet to be made, or, if the link is `over`, for none.
    pub(super) fn reset(&self, over: bool) -> Loopback {
        let loopback = if self.listens.load(Ordering::Relaxed) && !over { Loopback::Yes } else { Loopback::No };
        self.is_loopback.store(loopback == Loopback::Yes, Ordering::Release);
        loopback
    }
}

impl Link {
    /// Returns whether messages by name go into boxes of this node, as a flag shared with senders.
    pub(crate) fn is_loopback(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.loopback.is_loopback)
    }

    /// Notes that the node listens at the link's endpoint.
    pub(crate) fn listened_at(&self) {
        if !self.loopback.listens.swap(true, Ordering::Relaxed) {
            self.outbox.with(|outbox| self.loopback.drain(outbox));
        }
    }

    /// Notes that the other end of that connection is this very node. A ping with that nonce finds out when earlier
    /// messages have arrived; if it comes too early, the next heartbeats do.
    pub(crate) fn note_loopback(&self, connection: u64, nonce: u64) {
        self.outbox.with(|outbox| {
            // A connection that has ended meanwhile says nothing about the next one.
            if outbox.is(connection) && outbox.phase == Phase::Up {
                outbox.ping_behind(Some(nonce));
                self.loopback.drain(outbox);
            }
        });
    }
}

impl LoopbackState {
    /// Begins to wait until the messages under way have arrived.
    fn drain(&self, outbox: &mut Outbox) {
        if outbox.session.loopback == Loopback::No {
            outbox.session.loopback = Loopback::Draining;
            self.finish(outbox);
        }
    }

    /// Turns [`Loopback::Draining`] into [`Loopback::Yes`] if no message is under way any more.
    pub(super) fn finish(&self, outbox: &mut Outbox) {
        if outbox.session.loopback == Loopback::Draining && outbox.nothing_is_under_way() {
            outbox.session.loopback = Loopback::Yes;
            self.is_loopback.store(true, Ordering::Release);
        }
    }
}

impl Outbox {
    /// Whether all sent messages have been put into their boxes.
    fn nothing_is_under_way(&self) -> bool {
        match self.phase {
            Phase::Idle | Phase::Pausing => true,
            Phase::Up => self.posts.unwritten() == 0 && self.read.by_peer() == self.posts.written(),
            Phase::Dialling | Phase::Closing | Phase::Over => false,
        }
    }

    /// Whether a message from that pointer belongs into a box of this node.
    #[inline]
    pub(super) fn is_for_loopback(&self, to: &Pointer) -> bool {
        self.session.loopback == Loopback::Yes && matches!(to.origin(), Origin::Named { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::context::NodeContext;
    use crate::handle::envelope::Envelope;
    use crate::handle::ports::NotTaken;
    use crate::handle::ports::Outbound;
    use crate::ident::endpoint::Endpoint;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::net::shared::Setup;
    use crate::reason::DropReason;
    use crate::wire::body::Body;

    #[test]
    fn a_link_is_home_while_the_node_listens_there_and_nothing_is_under_way() {
        let (io, _not_started) = io_thread::io();
        let node = NodeInner::new(Setup::default(), io, |_, _| {});
        let endpoint: Endpoint = "localhost:1".parse().expect("an endpoint");
        let to = (Arc::clone(&node) as Arc<NodeContext>).place(&endpoint, None, "box").expect("a name");
        let link = node.link_to(&endpoint, None);
        link.note_loopback(link.connection(), 1);
        assert!(!to.is_local(), "there is no connection that could lead anywhere");
        let message =
            || Envelope { body: Body::from(&[0; 8][..]), handles: &[], fingerprint: 0, hops: 0, type_name: "" };
        assert_eq!(link.post(&to, &message(), true), Ok(()));
        node.listens(&endpoint, true);
        assert!(!to.is_local(), "the message would be overtaken");
        link.down(DropReason::NotConnected, "", false);
        assert!(to.is_local());
        assert_eq!(link.post(&to, &message(), true), Err(NotTaken::NotUp), "it belongs into the box");
        // Pointers made later are local from the start.
        let other = (Arc::clone(&node) as Arc<NodeContext>).place(&endpoint, None, "other").expect("a name");
        assert!(other.is_local());
        link.down(DropReason::Shutdown, "", true);
        assert!(!to.is_local());
    }

    #[test]
    fn a_name_that_has_addresses_elsewhere_is_not_known_to_lead_home() {
        let (io, _not_started) = io_thread::io();
        let node = NodeInner::new(Setup::default(), io, |_, _| {});
        let endpoint: Endpoint = "several.example:1".parse().expect("an endpoint");
        node.listens(&endpoint, false);
        assert!(!(Arc::clone(&node) as Arc<NodeContext>).place(&endpoint, None, "box").expect("a name").is_local());
    }
}
