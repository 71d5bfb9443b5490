//! Pointers as they stand in a message on a connection: as its target, and as handles in it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::ident::NodeId;
use crate::sync::Mutex;
use crate::wire::introduction::Introduction;
use crate::wire::outgoing::Referent;

/// A pointer as it stands in a message on this connection.
#[derive(Clone)]
pub(super) struct Named<'a> {
    pub(super) pointer: &'a Pointer,
    pub(super) role: Role<'a>,
}

/// Where a message goes.
#[derive(Clone, Copy)]
pub(super) struct Heading<'a> {
    pub(super) pointer: &'a Pointer,
    /// As [`Pointer::is_direct_by`] says.
    pub(super) direct: bool,
}

impl<'a> Heading<'a> {
    /// What it is on the wire, for messages with the fingerprint of a shape.
    #[inline]
    pub(super) fn named(self, fingerprint: u64) -> Named<'a> {
        Named { pointer: self.pointer, role: Role::Target { fingerprint, direct: self.direct } }
    }
}

/// A relay, and the box that it is.
pub(super) struct Relayed {
    pub(super) relay: Arc<Pointer>,
    pub(super) local: Arc<dyn LocalBox>,
}

#[derive(Clone, Copy)]
pub(super) enum Role<'a> {
    /// Of messages with the fingerprint of a shape; `direct` is as [`Pointer::is_direct_by`] says.
    Target { fingerprint: u64, direct: bool },
    /// To a reader at the node `peer`, which is looked at when it is needed: most handles have a number. That to a box of a
    /// third node is introduced with the relay `via`.
    Handle { peer: &'a Mutex<Option<NodeId>>, via: Option<&'a Relayed> },
}

impl Named<'_> {
    /// What tells the handle apart. With a relay that is the relay's: while the pointer lives, one relay may go and another
    /// come, and what was introduced with the one does not lead by the other.
    fn handle(&self) -> (u64, &AtomicU32) {
        match self.role {
            Role::Handle { via: Some(via), .. } => via.relay.key_of_handle(),
            _ => self.pointer.key_of_handle(),
        }
    }
}

impl Referent for Named<'_> {
    fn key(&self) -> u64 {
        match self.role {
            Role::Target { fingerprint, .. } => self.pointer.key_of_target(fingerprint).0,
            Role::Handle { .. } => self.handle().0,
        }
    }

    fn hint(&self) -> &AtomicU32 {
        match self.role {
            Role::Target { fingerprint, .. } => self.pointer.key_of_target(fingerprint).1,
            Role::Handle { .. } => self.handle().1,
        }
    }

    fn introduction(&self) -> Introduction<'_> {
        match self.role {
            Role::Target { fingerprint, direct } => self.pointer.introduce_target(fingerprint, direct),
            Role::Handle { peer, via } => {
                // Not held meanwhile: a pointer by name asks its own connection who is there, and that may be this one.
                let peer = *peer.lock();
                self.pointer.introduce_handle(peer, via.map(|via| via.local.id()))
            }
        }
    }
}
