//! Pointers as they stand in a message on a connection: as its target, and as handles inside it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::ident::NodeId;
use crate::sync::Mutex;
use crate::wire::introduction::Introduction;
use crate::wire::outgoing::Referent;
use crate::wire::target::Target;

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

/// The Rust types of what was sent to boxes of the peer. Very many boxes are remembered, and there are few types: so a box
/// has a place here only if its messages have the shape of another type's.
#[derive(Default)]
pub(super) struct TypeNames {
    /// By the fingerprints of their shapes: one for each type that this node sends.
    by_shape: HashMap<u64, &'static str>,
    /// At most as many as boxes are remembered.
    others: HashMap<Target, &'static str>,
}

impl TypeNames {
    /// A message is sent to that box.
    pub(super) fn note(&mut self, target: &Target, to: TargetRef<'_>) {
        if to.type_name.is_empty() {
            return;
        }
        if *self.by_shape.entry(to.fingerprint).or_insert(to.type_name) == to.type_name {
            self.others.remove(target);
        } else {
            self.others.insert(target.clone(), to.type_name);
        }
    }

    /// Of what was sent to that box, which is of that shape.
    pub(super) fn of(&self, target: &Target, fingerprint: u64) -> &'static str {
        self.others.get(target).or_else(|| self.by_shape.get(&fingerprint)).copied().unwrap_or_default()
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
