//! The queue behind an actix `Recipient` of a pointer, and its two readers.
//!
//! Two readers share the queue: the [pump](super::proxy) on the node's I/O thread, which gives each message to the box
//! as an `Address` would, and the reader of a mailbox, which takes its own messages without that detour if it comes
//! first.
//!
//! Invariant: while the pump puts messages that it has read into the box, nobody else reads the channel, and the reader
//! of the mailbox holds the channel's lock until it has the messages in its batch: so messages stay in order. The pump
//! holds no lock meanwhile, as putting a message into a box may run code of the application: the reader's waker, or the
//! `Drop` of a message that the box sheds. A message that comes into an empty channel wakes only the pump: the reader
//! checks the channel only when it finds nothing in the box.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use actix::Addr;
use actix::Recipient;
use actix::dev::Envelope;
use actix::dev::EnvelopeProxy;
use actix::dev::channel::AddressReceiver;
use actix::dev::channel::channel;
use futures_core::Stream;
use parking_lot::Mutex;
use parking_lot::MutexGuard;

use super::actor::MailboxActor;
use super::actor::MailboxActorContext;
use super::actor::pass_all;
use super::actor::serving;
use super::permits::Permits;
use super::routes::Routes;
use crate::handle::envelope::Parcel;
use crate::handle::pointer::Pointer;
use crate::message::RemoteMessage;

/// Number of messages that are read before others get a turn: other tasks of the pump's thread, or other readers of the
/// channel.
pub(crate) const YIELD_AFTER: usize = 256;

/// The reading end of the channel behind the recipients of equal pointers.
pub(crate) struct RecipientQueue<M: RemoteMessage> {
    routes: Routes,
    end: Mutex<ReadEnd<M>>,
}

struct ReadEnd<M: RemoteMessage> {
    /// The receiving end; `None` once it is closed.
    receiver: Option<AddressReceiver<MailboxActor<M>>>,
    proxy: MailboxActor<M>,
    /// Whether the pump has read messages that are not in the box yet.
    is_passing: bool,
    /// The waker of the pump, which must be woken even after the other reader has emptied the channel.
    waker: Option<Waker>,
}

/// The state of the channel after a turn of the pump.
pub(crate) enum Drained {
    /// There may be more.
    More,
    /// The channel was empty. `is_held` is whether a recipient was held then: dropping the last one wakes the pump.
    Empty { is_held: bool },
}

impl<M: RemoteMessage> ReadEnd<M> {
    /// Returns the state of a channel that was found empty.
    fn emptied(&self) -> Drained {
        Drained::Empty { is_held: self.receiver.as_ref().is_some_and(AddressReceiver::connected) }
    }

    /// Receives the next envelope and moves its message into `read`. Returns the emptied envelope; a tombstone holds no
    /// message.
    #[inline]
    fn read(&mut self, cx: &mut Context<'_>) -> Option<Envelope<MailboxActor<M>>> {
        match Pin::new(self.receiver.as_mut()?).poll_next(cx) {
            Poll::Ready(Some(mut envelope)) => {
                envelope.handle(&mut self.proxy, &mut MailboxActorContext);
                Some(envelope)
            }
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    /// Reads messages until `read` has `room` of them, or the turn ends. Returns whether there may be more.
    #[inline]
    fn read_turn(&mut self, cx: &mut Context<'_>, room: usize, shed: &mut Shed<'_, M>) -> bool {
        for _ in 0..YIELD_AFTER {
            let before = self.proxy.read.len();
            if before == room {
                break;
            }
            let Some(envelope) = self.read(cx) else { return false };
            if self.proxy.read.len() == before {
                shed.envelopes.push(envelope);
            }
        }
        true
    }

    /// Registers the pump's waker for further messages.
    fn wake_on_more(&mut self, cx: &mut Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl<M: RemoteMessage> RecipientQueue<M> {
    /// Makes a new channel, and a recipient that leads into it.
    pub(crate) fn open(pointer: &Arc<Pointer>) -> (Recipient<M>, Arc<RecipientQueue<M>>) {
        let (sender, receiver) = channel::<MailboxActor<M>>(0);
        let proxy = MailboxActor { read: VecDeque::new() };
        let end = ReadEnd { receiver: Some(receiver), proxy, is_passing: false, waker: None };
        let queue = RecipientQueue { routes: Routes::new(pointer), end: Mutex::new(end) };
        (Addr::new(sender).recipient(), Arc::new(queue))
    }

    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Gives the box the waiting messages, at most one turn's, by the pointer that the pump has chosen. The calling
    /// task is woken when there are more.
    pub(super) fn pass_on(&self, pointer: &Arc<Pointer>, cx: &mut Context<'_>) -> Drained {
        let mut shed = Shed { pointer, envelopes: Vec::new() };
        let (after, mut parcels) = {
            let end = &mut *self.end.lock();
            end.wake_on_more(cx);
            let after = if end.read_turn(cx, YIELD_AFTER, &mut shed) { Drained::More } else { end.emptied() };
            end.is_passing = !end.proxy.read.is_empty();
            (after, std::mem::take(&mut end.proxy.read))
        };
        if parcels.is_empty() {
            return after;
        }
        let _left = Permits(parcels.len());
        if !pointer.is_local() {
            self.routes.note_use();
        }
        pass_all(pointer, &mut parcels);
        let mut end = self.end.lock();
        end.is_passing = false;
        if matches!(after, Drained::More) {
            // The memory is used again in the next turn, which comes soon. There are as many queues as recipients, and
            // most are idle: these keep no room for a message.
            end.proxy.read = parcels;
        }
        after
    }

    /// Returns access to the waiting messages, for the reader of the box that `pointer` leads to; `None` while the pump
    /// reads them, which then puts them into the box.
    pub(crate) fn take<'a>(&'a self, pointer: &'a Arc<Pointer>) -> Option<DirectRead<'a, M>> {
        let end = self.end.try_lock().filter(|end| !end.is_passing)?;
        let shed = Shed { pointer, envelopes: Vec::new() };
        Some(DirectRead { end, taken: Permits::default(), shed })
    }

    /// Returns whether a recipient is held.
    pub(super) fn is_held(&self) -> bool {
        self.end.lock().receiver.as_ref().is_some_and(AddressReceiver::connected)
    }

    /// Closes the queue: it takes no more messages. Waiting messages go to the box, or are counted.
    pub(super) fn close(&self, pointer: &Arc<Pointer>) {
        let (receiver, _waker) = {
            let mut end = self.end.lock();
            (end.receiver.take(), end.waker.take())
        };
        serving(pointer, || drop(receiver));
    }
}

/// Access of the box's reader to the channel. While it lasts, no code of the application runs.
pub(crate) struct DirectRead<'a, M: RemoteMessage> {
    end: MutexGuard<'a, ReadEnd<M>>,
    taken: Permits,
    // Dropped after the lock, so that reporting shed messages does not hold it.
    shed: Shed<'a, M>,
}

impl<M: RemoteMessage> DirectRead<'_, M> {
    /// Puts up to `room` messages into `batch`, which is empty.
    pub(crate) fn fill(&mut self, batch: &mut VecDeque<Parcel<M>>, room: usize) {
        let end = &mut *self.end;
        // The pump registers its own waker when it first polls.
        let waker = end.waker.take();
        let mut cx = Context::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        std::mem::swap(batch, &mut end.proxy.read);
        end.read_turn(&mut cx, room, &mut self.shed);
        std::mem::swap(batch, &mut end.proxy.read);
        self.taken.0 += batch.len();
        end.waker = waker;
    }
}

impl<M: RemoteMessage> Drop for DirectRead<'_, M> {
    fn drop(&mut self) {
        self.shed.pointer.this_node().observer().sent(self.taken.0 as u64);
    }
}

/// Tombstones that were read.
struct Shed<'a, M: RemoteMessage> {
    pointer: &'a Arc<Pointer>,
    envelopes: Vec<Envelope<MailboxActor<M>>>,
}

impl<M: RemoteMessage> Drop for Shed<'_, M> {
    fn drop(&mut self) {
        if !self.envelopes.is_empty() {
            serving(self.pointer, || self.envelopes.clear());
        }
    }
}

impl<M: RemoteMessage> fmt::Debug for RecipientQueue<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientQueue").field("routes", &self.routes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use actix::prelude::Message;
    use serde::Deserialize;
    use serde::Serialize;

    use super::*;
    use crate::handle::detached;

    /// The queue of the test, and the number of dropped messages that could use it.
    static QUEUE: OnceLock<Arc<RecipientQueue<Nosy>>> = OnceLock::new();
    static FREE: AtomicUsize = AtomicUsize::new(0);

    /// A message that uses the queue when it is dropped.
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Nosy;

    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(queue) = QUEUE.get()
                && queue.end.try_lock().is_some()
            {
                let pointer = detached::elsewhere();
                assert!(queue.take(&pointer).is_none(), "what is about to be put into the box goes first");
                FREE.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A box that sheds the message drops it here, and so does a box that does not exist.
    #[test]
    fn a_message_that_is_shed_may_use_the_queue_that_it_came_by() {
        let pointer = detached::elsewhere();
        let (recipient, queue) = RecipientQueue::<Nosy>::open(&pointer);
        assert!(pointer.is_local() && QUEUE.set(Arc::clone(&queue)).is_ok());
        (0..3).for_each(|_| recipient.do_send(Nosy));
        assert!(matches!(
            queue.pass_on(&pointer, &mut Context::from_waker(Waker::noop())),
            Drained::Empty { is_held: true }
        ));
        assert_eq!(FREE.load(Ordering::Relaxed), 3);
        assert!(queue.take(&pointer).is_some(), "all of it is passed on");
    }
}
