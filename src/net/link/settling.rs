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
    /// Returns the ended connections whose count the peer has yet to send.
    pub(crate) fn unsettled(&self) -> VecDeque<ConnectionNames> {
        self.unsettled.lock().clone()
    }

    /// Removes the connections whose counts the peer has sent, by this side's names.
    pub(crate) fn settled(&self, told: &[(ConnectionId, u64)]) {
        self.unsettled.lock().retain(|names| !told.iter().any(|(ours, _)| *ours == names.ours));
    }

    /// Returns the flag that is set once this node has said on the connection that it ends.
    pub(crate) fn has_ended(&self) -> Arc<AtomicBool> {
        self.outbox.with(|outbox| Arc::clone(&outbox.session.has_ended))
    }

    /// Returns the token that is cancelled when the peer has given the connection up for another.
    pub(crate) fn superseded(&self) -> CancellationToken {
        self.outbox.with(|outbox| outbox.session.superseded.clone())
    }

    /// Ends the connection, which the peer has given up: nothing more is read from it.
    pub(crate) fn supersede(&self) {
        let superseded = self.superseded();
        self.down(DropReason::Lost, "the peer has given the connection up", self.endpoint.is_none());
        superseded.cancel();
    }

    /// Remembers a connection that has ended: the greeting of the next one settles the messages written to it.
    pub(super) fn remember(&self, names: ConnectionNames, unsettled: Unsettled) {
        self.settlement.record(names, unsettled);
        if self.endpoint.is_none() {
            return;
        }
        let mut unsettled = self.unsettled.lock();
        if unsettled.len() == MAX_TOLD {
            // Drops the oldest, which may have led to a node that is gone, and would never be settled.
            unsettled.pop_front();
        }
        unsettled.push_back(names);
    }
}
