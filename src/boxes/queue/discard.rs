//! Drops messages that a box has taken and that nobody will read.

use std::sync::atomic::Ordering;

use super::Batch;
use super::BoxQueue;
use crate::handle::envelope::Parcel;
use crate::handle::envelope::Source;
use crate::handle::parties::SendersTo;
use crate::message::RemoteMessage;
use crate::observe::loss::Caller;
use crate::observe::loss::DroppedMessage;
use crate::observe::loss::Loss;
use crate::observe::loss::Parties;
use crate::reason::DropReason;

impl<M: RemoteMessage> BoxQueue<M> {
    /// Drops all waiting messages, in the reader's batch and behind it, for that reason.
    pub(crate) fn discard(&self, batch: &mut Batch<M>, reason: DropReason) {
        let (first, left) = (std::mem::take(batch), self.state.lock().clear());
        self.held.store(0, Ordering::Relaxed);
        first.into_iter().chain(left).for_each(|parcel| self.drop_taken(parcel, reason));
    }

    /// Drops a parcel that the box has taken.
    pub(crate) fn drop_taken(&self, parcel: Parcel<M>, reason: DropReason) {
        self.settle_loss(reason.into(), [(parcel.from, 1)], parcel);
    }

    /// Drops messages that the box has taken, each `from` one of those sources.
    pub(crate) fn settle_loss(
        &self,
        loss: Loss<'_>,
        from: impl IntoIterator<Item = (Source, u64)>,
        caller: impl Caller,
    ) {
        let id;
        let name = if self.identity.name.is_empty() {
            id = self.identity.id.to_string();
            &id
        } else {
            &*self.identity.name
        };
        loss.settle(Parties {
            node: self.node.observer(),
            message: DroppedMessage { name, type_name: std::any::type_name::<M>(), peer: None },
            mailbox: Some(&self.drops),
            pointer: None,
            sender: SendersTo { node: &*self.node, local: self, from },
            caller,
        });
    }
}

impl<M: RemoteMessage> Drop for BoxQueue<M> {
    /// Drops the waiting messages: the reader has gone, and no sender is left.
    fn drop(&mut self) {
        self.closed.cancel();
        self.discard(&mut Batch::new(), DropReason::BoxClosed);
    }
}
