//! The state under the lock of a box: its messages, their weight, and the reader that waits for them.

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
    /// Whether the last message was dropped for lack of room for its weight, in a buffer that sheds none for another.
    pub(super) is_short: bool,
    /// Number of messages put into the box so far.
    pub(super) received: u64,
    pub(super) open: bool,
    pub(super) reader: Option<Waker>,
    /// Starts the reader, if it waits for the first message.
    pub(super) start: Option<StartReader>,
}

/// A message that was shed from a box, and the reason.
pub(super) type Shed<M> = (Parcel<M>, DropReason);

/// See [`start_when_needed`](super::BoxQueue::start_when_needed).
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

    /// Takes all waiting messages.
    pub(super) fn clear(&mut self) -> Batch<M> {
        self.weight.clear();
        self.backlog.take_all()
    }

    /// Puts a parcel with its weight into the buffer. Others that must make room for its weight are added to `shed`.
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

    /// Makes room for a parcel of weight `weighs`, now that the boxes of the node hold all that they may, and returns
    /// whether there is room. The buffer sheds by its own rule, but not for a parcel that would find no room in an
    /// empty buffer.
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
