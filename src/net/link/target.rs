//! Pointers as they stand in a message on a connection: as its target, and as handles inside it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::ident::NodeId;
use crate::sync::Mutex;
use crate::wire::introduction::Introduction;
use crate::wire::outgoing::Referent;

/// The target of a message.
#[derive(Clone, Copy)]
pub(super) struct TargetRef<'a> {
    pub(super) pointer: &'a Pointer,
    /// As [`Pointer::is_direct_by`] says.
    pub(super) direct: bool,
    /// Of the shape of the message.
    pub(super) fingerprint: u64,
    /// Of the message's Rust type, as far as it is known.
    pub(super) type_name: &'static str,
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
    /// The node of the reader, which is looked at when it is needed: most handles have a number.
    pub(super) peer: &'a Mutex<Option<NodeId>>,
    /// The relay with which a box of a third node is introduced.
    pub(super) via: Option<&'a Relayed>,
}

/// A relay, and the box that it is.
pub(super) struct Relayed {
    pub(super) relay: Arc<Pointer>,
    pub(super) local: Arc<dyn LocalBox>,
}

impl HandleRef<'_> {
    /// What tells the handle apart. With a relay that is the relay's: while the pointer lives, one relay may go and another
    /// come, and what was introduced with the one does not lead by the other.
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
        // Not held meanwhile: a pointer by name asks its own connection who is there, and that may be this one.
        let peer = *self.peer.lock();
        self.pointer.introduce_handle(peer, self.via.map(|via| via.local.id()))
    }
}
