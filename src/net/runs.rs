//! What a node does once a run of a peer is over: it has said goodbye, or another run of it has come.

use super::shared::NodeInner;
use crate::ident::Incarnation;

impl NodeInner {
    /// A run of a node is here: what earlier runs of it held they hold no more.
    pub(crate) fn succeed(&self, node: Incarnation) {
        for gone in self.absences.forget_earlier(node) {
            self.registry.leases().release_all(gone.holder);
        }
        self.peers.succeed(node);
    }

    /// A node has said goodbye, and holds nothing any more by connections that have ended before.
    pub(crate) fn forget_absent(&self, node: Incarnation) {
        for gone in self.absences.forget(node) {
            self.registry.leases().release_all(gone.holder);
        }
    }
}
