//! The state under the lock of a box: its messages, what they weigh, and the reader that waits for them.

use std::sync::Arc;
use std::task::Waker;

use super::Batch;
use super::weight::OWN;
use super::weight::RowWeights;
use super::weight::Weight;
use crate::boxes::buffer::Backlog;
use crate::boxes::buffer::Buffer;
use crate::boxes::buffer::Pushed;
use crate::boxes::keyed::Key;
use crate::handle::envelope::Parcel;
use crate::message::RemoteMessage;
use crate::quota::Quota;
use crate::quota::Share;
use crate::reason::DropReason;

/// See the [module](self).
pub(super) struct QueueState<M: RemoteMessage> {
    pub(super) backlog: Backlog<Parcel<M>>,
    pub(super) weight: Weight,
    /// Whether a message was dropped last because there was no room for its weight, and none is shed for another.
    pub(super) is_short: bool,
    /// Messages put into it so far.
    pub(super) received: u64,
    pub(super) open: bool,
    pub(super) reader: Option<Waker>,
    /// Starts the reader, if it waits for the first message.
    pub(super) start: Option<StartReader>,
}

/// A message that was in a box and went, and why.
pub(super) type Shed<M> = (Parcel<M>, DropReason);

/// See [`BoxQueue::start_when_needed`].
pub(super) type StartReader = Box<dyn FnOnce() + Send>;

impl<M: RemoteMessage> QueueState<M> {
    pub(super) fn new(buffer: &Buffer<M>, boxes: &Arc<Quota>) -> QueueState<M> {
        let (backlog, weight) = (Backlog::new(buffer), Weight::new(Share::new(boxes, &OWN)));
        QueueState { backlog, weight, is_short: false, received: 0, open: true, reader: None, start: None }
    }

    /// Puts parcels into the buffer, if there is room for all of them.
    pub(super) fn push_all(&mut self, parcels: &mut Batch<M>, weights: &RowWeights<'_>, held: usize) {
        if self.weight.covers(weights.total()) {
            let before = self.backlog.weight();
            self.backlog.push_all(parcels, (weights.total(), weights.each()), held);
            self.weight.changed(before, self.backlog.weight());
        }
    }

    /// Takes all that waits.
    pub(super) fn clear(&mut self) -> Batch<M> {
        self.weight.clear();
        self.backlog.take_all()
    }

    /// Puts a parcel that weighs so much into the buffer. Others that have to go for it are among those that are `shed`.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        parcel: (Parcel<M>, usize),
        key: Option<Key>,
        held: usize,
        shed: &mut Vec<Shed<M>>,
    ) -> Pushed<Parcel<M>> {
        let ((parcel, weighs), before) = (parcel, self.backlog.weight());
        if !self.weight.covers(weighs) && !self.makes_room(weighs, key, held, shed) {
            self.is_short = self.backlog.drops_newest();
            return Pushed::Full(parcel);
        }
        let pushed = self.backlog.push((parcel, weighs), key, held);
        self.weight.changed(before, self.backlog.weight());
        pushed
    }

    /// Whether there is room for what weighs so much, now that the boxes of the node hold all that they may: the buffer sheds
    /// by its own rule, but not for one that would find no room in an empty one.
    #[cold]
    fn makes_room(&mut self, weighs: usize, key: Option<Key>, held: usize, shed: &mut Vec<Shed<M>>) -> bool {
        let is_hopeless = self.backlog.refuses(held) || self.backlog.drops_newest();
        if is_hopeless || !self.weight.would_cover(weighs, self.backlog.weight()) {
            return false;
        }
        loop {
            let before = self.backlog.weight();
            let Some(oldest) = self.backlog.shed(key) else { return false };
            shed.push(oldest);
            self.weight.changed(before, self.backlog.weight());
            if self.weight.covers(weighs) {
                return true;
            }
        }
    }
}
