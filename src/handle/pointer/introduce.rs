//! A pointer's name on the wire: as the target of a message, and as a handle inside one.

use super::Pointer;
use super::Route;
use super::identity::Origin;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::ident::endpoint::Endpoint;
use crate::wire::introduction::Identity;
use crate::wire::introduction::Introduction;
use crate::wire::target::Target;

impl Pointer {
    /// Returns the name of the box that both ends of a connection use, if the pointer leads by that connection.
    pub(crate) fn target_by(&self, link: &dyn Outbound) -> Target {
        self.target(self.is_direct_by(link))
    }

    /// Like [`target_by`](Pointer::target_by); `direct` is the result of [`is_direct_by`](Pointer::is_direct_by).
    pub(crate) fn target(&self, direct: bool) -> Target {
        match (self.box_id(direct), &self.origin) {
            (Some(id), _) => Target::Id(id),
            (None, Origin::Boxed { id, .. }) => Target::Id(*id),
            (None, Origin::Named { name, .. }) => Target::Name(name.clone()),
        }
    }

    /// Returns whether that connection leads to the box's own node, if another node has introduced the box and would
    /// pass messages on.
    #[inline]
    pub(crate) fn is_direct_by(&self, link: &dyn Outbound) -> bool {
        match (&self.route, &self.origin) {
            (Route::Away { path, .. }, Origin::Boxed { node, .. }) => path.is_relayed() && link.peer() == Some(*node),
            _ => false,
        }
    }

    /// Returns the id by which the pointer names a box at another node; `None` if by its name, or if the box is here.
    pub(crate) fn box_id(&self, direct: bool) -> Option<BoxId> {
        match (&self.route, &self.origin) {
            (Route::Away { .. }, Origin::Boxed { id, .. }) if direct => Some(*id),
            (Route::Away { to, .. }, _) => *to,
            _ => None,
        }
    }

    /// Returns the introduction of the pointer as a message's target on a connection that it leads by; `direct` is the
    /// result of [`is_direct_by`](Pointer::is_direct_by).
    pub(crate) fn introduce_target(&self, fingerprint: u64, direct: bool) -> Introduction<'_> {
        let identity = match (self.box_id(direct), &self.origin) {
            (Some(id), _) => Identity::YourBox(id),
            (None, Origin::Boxed { id, .. }) => Identity::YourBox(*id),
            (None, Origin::Named { name, .. }) => Identity::YourName(name),
        };
        Introduction { identity, is_leased: false, fingerprint }
    }

    /// Returns the introduction of the pointer as a handle in a message to `peer`. A box of a third node, even one of
    /// this process, is introduced with `via`, the relay to it.
    pub(crate) fn introduce_handle(&self, peer: Option<Incarnation>, via: Option<BoxId>) -> Introduction<'_> {
        let mut is_leased = false;
        let identity = match &self.origin {
            Origin::Named { endpoint, node: Some(node), name } => {
                Identity::PlaceOf { node: *node, endpoint: endpoint.as_ref(), name }
            }
            Origin::Named { endpoint, name, .. } if peer.is_some() && self.incarnation() == peer => {
                Identity::YourPlace { endpoint: endpoint.as_ref(), name }
            }
            Origin::Named { endpoint, name, .. } => Identity::Place { endpoint: endpoint.as_ref(), name },
            Origin::Boxed { node, id } if Some(*node) == peer => Identity::YourBox(*id),
            Origin::Boxed { node, id } if *node == self.node.id() && via.is_none() => {
                is_leased = self.leased_here().is_some();
                Identity::MyBox { id: *id, name: self.travelling_name() }
            }
            Origin::Boxed { node, id } => {
                is_leased = true;
                let via = via.unwrap_or(*id);
                let endpoints = self.hints().iter().map(AsRef::as_ref).collect();
                Identity::Third { node: *node, id: *id, via, name: self.travelling_name(), endpoints }
            }
        };
        Introduction { identity, is_leased, fingerprint: 0 }
    }

    /// Returns the endpoints at which the node of a remote box is said to listen.
    pub(crate) fn hints(&self) -> &[Endpoint] {
        match &self.route {
            Route::Away { path, .. } => path.hints(),
            _ => &[],
        }
    }

    /// Returns the name; empty if it is only the id, spelled out.
    fn travelling_name(&self) -> &str {
        if self.anonymous { "" } else { &self.name }
    }
}
