//! The box itself, the common part of a mailbox and a published actor. Messages go in from any thread and are taken out
//! by one reader.
//!
//! Invariant: a message that was accepted is taken by the reader, or counted as dropped with exactly one reason. The
//! lock is never held while code of the application runs.

mod discard;
mod local_box;
#[cfg(test)]
#[cfg(hermod_loom)]
pub(crate) mod model;
#[cfg(test)]
#[cfg(not(hermod_loom))]
mod rows;
mod state;
mod weight;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use tokio_util::sync::CancellationToken;

use self::state::QueueState;
use self::weight::RowWeights;
use super::behind::ActorBehind;
use super::buffer::Buffer;
use super::buffer::Pushed;
use super::keyed::KeyOf;
use crate::handle::context::NodeContext;
use crate::handle::envelope::Parcel;
use crate::handle::ports::LocalBox;
use crate::handle::visibility::Visibility;
use crate::ident::BoxId;
use crate::message::RemoteMessage;
use crate::observe::loss::Drops;
use crate::reason::DropReason;
use crate::sync::AtomicU8;
use crate::sync::AtomicUsize;
use crate::sync::Mutex;

/// The identity of a box, fixed before it is open.
pub(crate) struct BoxIdentity {
    pub(crate) id: BoxId,
    /// The box's name; if empty, the id serves as one.
    pub(crate) name: Box<str>,
    /// See [`LocalBox::is_leased`].
    pub(crate) is_leased: bool,
    /// The policy that says which peers may see the box; `None` if all may.
    /// Boxed, since few boxes have one.
    pub(crate) visibility: Option<Box<Visibility>>,
}

/// A box for messages of type `M`.
///
/// The fields that each message touches come first and stand together: with very many boxes, the cost of a message is
/// the number of cache misses.
#[repr(C)]
pub(crate) struct BoxQueue<M: RemoteMessage> {
    /// The fill level of the buffer, or the marks for full and closed: for callers that check before they decode.
    fill_level: AtomicU8,
    /// Whether messages may come through an actix `Recipient`, too.
    has_recipient: AtomicBool,
    state: Mutex<QueueState<M>>,
    /// Number of messages that the reader has taken out of `state` and not yet handed over: they count as waiting. Only
    /// the reader changes this number, so that handing over a message costs no lock.
    held: AtomicUsize,
    node: Arc<NodeContext>,
    /// The key function, if the box keeps the newest message of each key.
    key: Option<KeyOf<M>>,
    identity: BoxIdentity,
    closed: CancellationToken,
    /// Number of messages that an actor was given and has not begun, as far as that is visible.
    given: AtomicUsize,
    drops: Drops,
    /// The actor that the box stands for. Weak, because addresses and connections hold the box longer than it is open.
    actor: Option<Box<ActorBehind<M>>>,
}

/// Marks above the [levels](super::buffer::fill_level_of) of a box that takes messages.
mod level {
    pub(super) const FULL: u8 = 254;
    pub(super) const CLOSED: u8 = 255;
}

/// Messages that a reader has taken out of the box together, or that come in a row.
pub(crate) type Batch<M> = VecDeque<Parcel<M>>;

/// Maximum number of messages that are [intercepted](BoxQueue::intercept) at a time, while other senders to the box
/// wait.
const AT_ONCE: usize = 64;

impl<M: RemoteMessage> BoxQueue<M> {
    pub(crate) fn new(
        identity: BoxIdentity,
        node: Arc<NodeContext>,
        buffer: &Buffer<M>,
        actor: Option<ActorBehind<M>>,
    ) -> BoxQueue<M> {
        let state = QueueState::new(buffer, &node.quotas().boxes);
        // A box without room is full from the beginning.
        let fill_level = if state.backlog.refuses(0) { level::FULL } else { 0 };
        BoxQueue {
            fill_level: AtomicU8::new(fill_level),
            has_recipient: AtomicBool::new(false),
            state: Mutex::new(state),
            held: AtomicUsize::new(0),
            node,
            key: buffer.key().cloned(),
            identity,
            closed: CancellationToken::new(),
            given: AtomicUsize::new(0),
            drops: Drops::default(),
            actor: actor.map(Box::new),
        }
    }

    /// Calls `start` when the first message arrives; `start` is dropped if the box closes before.
    pub(crate) fn start_when_needed(&self, start: impl FnOnce() + Send + 'static) {
        self.state.lock().start = Some(Box::new(start));
    }

    pub(crate) fn this_node(&self) -> &Arc<NodeContext> {
        &self.node
    }

    /// Whether messages may come through an actix `Recipient`, too.
    #[inline]
    pub(crate) fn has_recipient(&self) -> bool {
        self.has_recipient.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().backlog.len() + self.held()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.drops.total()
    }

    /// Takes the next message that is still wanted; `None` once the box is closed and read to its end. `batch` is the
    /// reader's, and holds the messages taken before.
    #[inline]
    pub(crate) fn poll_take(&self, batch: &mut Batch<M>, cx: &mut Context<'_>) -> Poll<Option<Parcel<M>>> {
        let mut waker = None;
        loop {
            if let Some(parcel) = self.hand_over(batch) {
                return Poll::Ready(Some(parcel));
            }
            let mut state = self.state.lock();
            if self.refill(&mut state, batch) {
                continue;
            }
            if !state.open {
                return Poll::Ready(None);
            }
            state.backlog.keep(batch);
            if state.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            // A waker runs code of the executor's, so it is cloned and dropped without the lock.
            let before = match waker.take() {
                Some(waker) => state.reader.replace(waker),
                None => {
                    drop(state);
                    waker = Some(cx.waker().clone());
                    continue;
                }
            };
            drop(state);
            drop(before);
            return Poll::Pending;
        }
    }

    /// Takes the next batch, if there is any, into `batch`, which is empty.
    pub(crate) fn take_batch(&self, batch: &mut Batch<M>) -> bool {
        self.refill(&mut self.state.lock(), batch)
    }

    /// Fills the reader's batch, which is empty: with messages that wait in the box, or else by calling `fill` with the
    /// number of messages, about to be put into the box, that it may take. Returns whether the batch has any now.
    /// During this call no other thread may put one of those messages into the box, so that none overtakes another.
    pub(crate) fn intercept(&self, batch: &mut Batch<M>, fill: impl FnOnce(&mut Batch<M>, usize)) -> bool {
        let mut state = self.state.lock();
        if self.refill(&mut state, batch) {
            return true;
        }
        if state.open {
            let room = state.backlog.room_for_batch(batch).min(AT_ONCE);
            fill(batch, room);
            state.received += batch.len() as u64;
            self.held.store(batch.len(), Ordering::Relaxed);
            self.update_fill_level(&state);
        }
        !batch.is_empty()
    }

    /// Takes the next message of the batch, if no caller waits for it.
    #[inline(always)]
    pub(crate) fn hand_over_plain(&self, batch: &mut Batch<M>) -> Option<M> {
        if batch.front()?.reply.is_some() {
            return None;
        }
        let message = batch.pop_front()?.message;
        self.held.store(batch.len(), Ordering::Relaxed);
        Some(message)
    }

    /// Takes the next message of the batch that is still wanted.
    #[inline]
    pub(crate) fn hand_over(&self, batch: &mut Batch<M>) -> Option<Parcel<M>> {
        while let Some(parcel) = batch.pop_front() {
            self.held.store(batch.len(), Ordering::Relaxed);
            match parcel.begin() {
                Ok(()) => return Some(parcel),
                Err(reason) => self.drop_taken(parcel, reason),
            }
        }
        None
    }

    /// Takes the next batch. Returns whether there was anything to take.
    #[inline]
    fn refill(&self, state: &mut QueueState<M>, batch: &mut Batch<M>) -> bool {
        let before = state.backlog.weight();
        let any = state.backlog.take_batch(batch);
        state.weight.taken(before - state.backlog.weight());
        self.held.store(batch.len(), Ordering::Relaxed);
        any
    }

    /// Sets the number of messages that wait with the actor behind the box.
    pub(crate) fn wait_with_actor(&self, given: usize) {
        self.given.store(given, Ordering::Relaxed);
    }

    /// Lets messages that are taken out keep their weight until [`settle_given`](BoxQueue::settle_given), as an actor
    /// is behind the box.
    pub(crate) fn keep_given(&self) {
        self.state.lock().weight.keep_given();
    }

    /// Settles the weight of all messages that were taken out of the box before the last call, as the actor has begun
    /// them. Returns whether more weight is left to settle.
    pub(crate) fn settle_given(&self) -> bool {
        self.state.lock().weight.begun()
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Puts a parcel of weight `weighs` into the buffer, or returns it.
    fn put(&self, parcel: Parcel<M>, weighs: usize) -> Result<(), (Parcel<M>, DropReason)> {
        // The key function is the application's code, so it runs before the lock is taken.
        let key = self.key.as_ref().and_then(|key| key.find(&parcel.message));
        let mut shed = Vec::new();
        let (displaced, reader, start) = {
            let mut state = self.state.lock();
            if !state.open {
                return Err((parcel, DropReason::BoxClosed));
            }
            let pushed = state.push((parcel, weighs), key, self.held(), &mut shed);
            self.update_fill_level(&state);
            let displaced = match pushed {
                Pushed::Full(parcel) => return Err((parcel, DropReason::NewestShed)),
                Pushed::Stored => None,
                Pushed::Displaced(older, reason) => Some((older, reason)),
            };
            state.received += 1;
            (displaced, state.reader.take(), state.start.take())
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        if let Some(start) = start {
            start();
        }
        if !shed.is_empty() {
            shed.into_iter().for_each(|(older, reason)| self.drop_taken(older, reason));
        }
        if let Some((older, reason)) = displaced {
            self.drop_taken(older, reason);
        }
        Ok(())
    }

    /// Puts parcels into the buffer, in order, and passes those it does not take to `refused`.
    fn put_all(
        &self,
        mut parcels: Batch<M>,
        weights: &RowWeights<'_>,
        mut refused: impl FnMut((Parcel<M>, DropReason)),
    ) {
        if self.key.is_some() {
            let weighed = parcels.drain(..).zip(weights.each());
            weighed.for_each(|(parcel, weighs)| self.put(parcel, weighs).unwrap_or_else(&mut refused));
            return self.state.lock().backlog.keep(&mut parcels);
        }
        if parcels.is_empty() {
            return self.state.lock().backlog.keep(&mut parcels);
        }
        let (mut displaced, mut full) = (Vec::new(), Vec::new());
        let (reader, start) = {
            let mut state = self.state.lock();
            if !state.open {
                drop(state);
                return parcels.into_iter().for_each(|parcel| refused((parcel, DropReason::BoxClosed)));
            }
            let (held, mut stored) = (self.held(), parcels.len());
            state.push_all(&mut parcels, weights, held);
            for weighed in parcels.drain(..).zip(weights.each()) {
                match state.push(weighed, None, held, &mut displaced) {
                    Pushed::Stored => {}
                    Pushed::Displaced(older, reason) => displaced.push((older, reason)),
                    Pushed::Full(parcel) => full.push(parcel),
                }
            }
            stored -= full.len();
            state.backlog.keep(&mut parcels);
            self.update_fill_level(&state);
            state.received += stored as u64;
            if stored > 0 { (state.reader.take(), state.start.take()) } else { (None, None) }
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        if let Some(start) = start {
            start();
        }
        displaced.into_iter().for_each(|(older, reason)| self.drop_taken(older, reason));
        full.into_iter().for_each(|parcel| refused((parcel, DropReason::NewestShed)));
    }

    /// Returns a queue for messages that come in a row, and the number of them that the box has room for now, so that
    /// none is decoded without room. The number is at least 1.
    fn row(&self) -> (Batch<M>, usize) {
        let mut state = self.state.lock();
        let room = state.backlog.room_in_a_row(self.held());
        (state.backlog.place(), room.max(1))
    }

    /// Returns the reason why a message would not be taken, before work is spent on decoding it; `weighs` is called
    /// only if there may be no room.
    #[inline]
    fn refusal(&self, weighs: impl FnOnce() -> usize) -> Option<DropReason> {
        match self.fill_level.load(Ordering::Relaxed) {
            level::FULL => self.still_full(weighs()),
            level::CLOSED => Some(DropReason::BoxClosed),
            _ => None,
        }
    }

    /// Checks again whether a full box has room, since the reader makes room without updating the fill level.
    #[cold]
    fn still_full(&self, weighs: usize) -> Option<DropReason> {
        let mut state = self.state.lock();
        state.is_short = state.is_short && !state.weight.covers(weighs);
        self.update_fill_level(&state);
        (state.is_short || state.backlog.refuses(self.held())).then_some(DropReason::NewestShed)
    }

    /// Updates the fill level; called under the lock when the queue may have become fuller, or has closed.
    #[inline]
    fn update_fill_level(&self, state: &QueueState<M>) {
        let fill_level = match () {
            () if !state.open => level::CLOSED,
            () if state.is_short || state.backlog.refuses(self.held()) => level::FULL,
            () => state.backlog.fill_level(self.held()).max(state.weight.fill_level()),
        };
        self.fill_level.store(fill_level, Ordering::Relaxed);
    }
}

impl<M: RemoteMessage> fmt::Debug for BoxQueue<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxQueue")
            .field("id", &self.identity.id)
            .field("name", &self.identity.name)
            .field("type", &self.type_name())
            .finish_non_exhaustive()
    }
}
