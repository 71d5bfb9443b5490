//! The end of a run of a peer: after its goodbye, or once another run has come, the leases that it still holds are
//! released.

use super::shared::NodeInner;
use crate::ident::Incarnation;

impl NodeInner {
    /// Releases the leases of earlier runs of a node, one run of which has come.
    pub(crate) fn succeed(&self, node: Incarnation) {
        for gone in self.absences.forget_earlier(node) {
            self.registry.leases().release_all(gone.holder);
        }
        self.peers.succeed(node);
    }

    /// Releases the leases that a node, which has said goodbye, holds by connections that have ended before.
    pub(crate) fn forget_absent(&self, node: Incarnation) {
        for gone in self.absences.forget(node) {
            self.registry.leases().release_all(gone.holder);
        }
    }
}
