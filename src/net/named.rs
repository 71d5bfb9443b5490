//! Pointers as they stand in a message on a connection: as its target, and as handles in it.

use std::sync::atomic::AtomicU32;

use crate::handle::route::Pointer;
use crate::ident::BoxId;
use crate::ident::NodeId;
use crate::wire::frame::Introduction;
use crate::wire::session::Referent;

/// A pointer as it stands in a message on this connection.
#[derive(Clone)]
pub(super) struct Named<'a> {
    pub(super) pointer: &'a Pointer,
    pub(super) role: Role,
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

#[derive(Clone, Copy)]
pub(super) enum Role {
    /// Of messages with the fingerprint of a shape; `direct` is as [`Pointer::is_direct_by`] says.
    Target {
        fingerprint: u64,
        direct: bool,
    },
    Handle {
        peer: Option<NodeId>,
        via: Option<BoxId>,
    },
}

impl Referent for Named<'_> {
    fn key(&self) -> u64 {
        match self.role {
            Role::Target { fingerprint, .. } => self.pointer.key_of_target(fingerprint).0,
            Role::Handle { .. } => self.pointer.key_of_handle().0,
        }
    }

    fn hint(&self) -> &AtomicU32 {
        match self.role {
            Role::Target { fingerprint, .. } => self.pointer.key_of_target(fingerprint).1,
            Role::Handle { .. } => self.pointer.key_of_handle().1,
        }
    }

    fn introduction(&self) -> Introduction<'_> {
        match self.role {
            Role::Target { fingerprint, direct } => self.pointer.introduce_target(fingerprint, direct),
            Role::Handle { peer, via } => self.pointer.introduce_handle(peer, via),
        }
    }
}
