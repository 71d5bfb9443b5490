//! Settling connections that have ended: the table of the node with its lock, and a link's part in it, and in ending
//! connections that the peer has given up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Link;
use crate::ident::ConnectionId;
use crate::ident::Incarnation;
use crate::net::control::settlement::ConnectionNames;
use crate::net::control::settlement::EndedConnections;
use crate::net::control::settlement::Settled;
use crate::net::control::settlement::Unsettled;
use crate::observe::Observer;
use crate::observe::loss::DroppedMessage;
use crate::observe::loss::Loss;
use crate::observe::loss::Nobody;
use crate::observe::loss::Parties;
use crate::reason::DropReason;
use crate::wire::frames::proof::MAX_TOLD;

/// The connections of the node that have ended, for all of its links.
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    ended: Mutex<EndedConnections>,
}

impl Settlement {
    /// Records a connection that has ended.
    fn record(&self, names: ConnectionNames, unsettled: Unsettled) {
        self.ended.lock().record(names, unsettled);
    }

    /// See [`EndedConnections::untold`].
    pub(crate) fn untold(&self, peer: Incarnation) -> Vec<(ConnectionId, u64)> {
        self.ended.lock().untold(peer)
    }

    /// Returns the number of messages in doubt on those connections.
    pub(super) fn in_doubt(&self, of: impl IntoIterator<Item = ConnectionNames>) -> u64 {
        self.ended.lock().in_doubt(of)
    }

    /// Settles the connections in the proof of a peer that has dialled. Returns this side's counts; see
    /// [`EndedConnections::on_proof`].
    pub(crate) fn settle_asked(
        &self,
        observer: &Observer,
        peer: Incarnation,
        told: &[(ConnectionId, u64)],
    ) -> Vec<(ConnectionId, u64)> {
        let (answers, settled) = self.ended.lock().on_proof(peer, told);
        note(observer, peer, &settled);
        answers
    }

    /// Settles the connections in the welcome of a dialled peer.
    pub(crate) fn settle_answered(&self, observer: &Observer, peer: Incarnation, told: &[(ConnectionId, u64)]) {
        let settled = self.ended.lock().on_welcome(peer, told);
        note(observer, peer, &settled);
    }
}

/// Counts what is settled, and what is lost of it.
fn note(observer: &Observer, peer: Incarnation, settled: &[Settled]) {
    let name = peer.to_string();
    for &Settled { messages, lost } in settled {
        observer.settled(messages);
        Loss::of(lost, DropReason::Lost).settle(Parties {
            node: observer,
            message: DroppedMessage { name: &name, type_name: "", peer: Some(peer.node) },
            mailbox: None,
            pointer: None,
            sender: Nobody,
            // The requests among them ended with their connection.
            caller: Nobody,
        });
    }
}

impl Link {
    /// Returns the ended connections whose count the peer has yet to send.
    pub(crate) fn unsettled(&self) -> VecDeque<ConnectionNames> {
        self.unsettled.lock().clone()
    }

    /// Removes the connections whose counts the peer has sent, by this side's names.
    pub(crate) fn settled(&self, told: &[(ConnectionId, u64)]) {
        self.unsettled.lock().retain(|names| !told.iter().any(|(ours, _)| *ours == names.local));
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
