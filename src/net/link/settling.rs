//! A link's part in settling connections that have ended, and in ending those that the peer has given up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::Link;
use crate::ident::ConnectionId;
use crate::net::control::settlement::ConnectionNames;
use crate::net::control::settlement::Unsettled;
use crate::reason::DropReason;
use crate::wire::frames::proof::MAX_TOLD;

impl Link {
    /// Connections of which the peer is to say how much it has read.
    pub(crate) fn unsettled(&self) -> VecDeque<ConnectionNames> {
        self.unsettled.lock().clone()
    }

    /// The peer has said how much it has read of these, by this side's names.
    pub(crate) fn settled(&self, told: &[(ConnectionId, u64)]) {
        self.unsettled.lock().retain(|names| !told.iter().any(|(ours, _)| *ours == names.ours));
    }

    /// Whether this node has said on the connection that it ends.
    pub(crate) fn has_ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.state.lock().has_ended)
    }

    /// Cancelled when the peer has given the connection up for another.
    pub(crate) fn superseded(&self) -> CancellationToken {
        self.state.lock().superseded.clone()
    }

    /// The peer has given the connection up: nothing more is read from it.
    pub(crate) fn supersede(&self) {
        let superseded = self.superseded();
        self.down(DropReason::Lost, "the peer has given the connection up", self.endpoint.is_none());
        superseded.cancel();
    }

    /// A connection has ended: the next one tells what became of what was written to it.
    pub(super) fn remember(&self, names: ConnectionNames, unsettled: Unsettled) {
        self.settlement.record(names, unsettled);
        if self.endpoint.is_none() {
            return;
        }
        let mut unsettled = self.unsettled.lock();
        if unsettled.len() == MAX_TOLD {
            // The oldest, which may have been to a node that is gone: nobody would ever settle it.
            unsettled.pop_front();
        }
        unsettled.push_back(names);
    }
}
