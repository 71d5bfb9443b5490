//! Pointers as they are written in a message on a connection: as its target, and as handles inside it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::ident::Incarnation;
use crate::net::control::flow::Flow;
use crate::sync::Mutex;
use crate::wire::introduction::Introduction;
use crate::wire::outgoing::Referent;

/// The target of a message, as the peer of one connection knows it.
#[derive(Clone, Copy)]
pub(super) struct TargetRef<'a> {
    pub(super) pointer: &'a Pointer,
    /// The result of [`Pointer::is_direct_by`].
    pub(super) direct: bool,
    /// The fingerprint of the shape of the message.
    pub(super) fingerprint: u64,
    /// The name of the message's Rust type, as far as it is known.
    pub(super) type_name: &'static str,
}

impl TargetRef<'_> {
    /// Returns the flow for messages that the pointer sends.
    pub(super) fn flow(self) -> Flow {
        self.pointer.box_id(self.direct).map_or(Flow::Name(self.pointer.key()), Flow::Box)
    }
}

impl Referent for TargetRef<'_> {
    fn key(&self) -> u64 {
        self.pointer.key_of_target(self.fingerprint).0
    }

    fn hint(&self) -> &AtomicU32 {
        self.pointer.key_of_target(self.fingerprint).1
    }

    fn introduction(&self) -> Introduction<'_> {
        self.pointer.introduce_target(self.fingerprint, self.direct)
    }
}

/// A handle in a message.
#[derive(Clone, Copy)]
pub(super) struct HandleRef<'a> {
    pub(super) pointer: &'a Pointer,
    /// The node of the reader, locked only when it is needed: most handles have a number.
    pub(super) peer: &'a Mutex<Option<Incarnation>>,
    /// The relay with which a box of a third node is introduced.
    pub(super) via: Option<&'a Relayed>,
}

/// A relay, as a pointer and as a box.
pub(super) struct Relayed {
    pub(super) relay: Arc<Pointer>,
    pub(super) local: Arc<dyn LocalBox>,
}

impl HandleRef<'_> {
    /// Returns the identity of the handle. With a relay, it is that of the relay: while the pointer lives, one relay
    /// may replace another, and a handle introduced with the first does not lead through the second.
    fn handle(&self) -> (u64, &AtomicU32) {
        match self.via {
            Some(via) => via.relay.key_of_handle(),
            None => self.pointer.key_of_handle(),
        }
    }
}

impl Referent for HandleRef<'_> {
    fn key(&self) -> u64 {
        self.handle().0
    }

    fn hint(&self) -> &AtomicU32 {
        self.handle().1
    }

    fn introduction(&self) -> Introduction<'_> {
        // Not locked during the call: a pointer by name asks its own connection for the peer, and that may be this one.
        let peer = *self.peer.lock();
        self.pointer.introduce_handle(peer, self.via.map(|via| via.local.id()))
    }
}
