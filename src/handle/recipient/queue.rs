//! The queue behind an actix `Recipient` of a pointer, and how messages are taken out of it.
//!
//! Two readers share it: the [pump](super::proxy) on the node's I/O thread, which gives each message to the box as an `Address`
//! would, and the reader of a mailbox, which takes its own messages without that detour if it is there first.
//!
//! Invariant: whoever reads the channel holds its lock until what was read is in the box, or in the reader's hands: so
//! messages stay in order. A message that comes into an empty channel wakes the pump and nobody else: the reader only
//! looks in when it finds nothing in the box.

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
use super::actor::pass;
use super::actor::pass_all;
use super::actor::serving;
use super::permits::Permits;
use super::routes::Routes;
use crate::handle::envelope::Parcel;
use crate::handle::pointer::Pointer;
use crate::message::RemoteMessage;

/// Messages that are read before others get a turn: other tasks of the pump's thread, or other readers of the channel.
pub(crate) const YIELD_AFTER: usize = 256;

/// The reading end of the channel behind the recipients of equal pointers.
pub(crate) struct RecipientQueue<M: RemoteMessage> {
    routes: Routes,
    end: Mutex<ReadEnd<M>>,
}

struct ReadEnd<M: RemoteMessage> {
    /// `None` once it is closed.
    receiver: Option<AddressReceiver<MailboxActor<M>>>,
    proxy: MailboxActor<M>,
    /// Of the pump, which is to be woken also when somebody else has read what there was.
    waker: Option<Waker>,
}

/// How a turn of the pump has left the channel.
pub(crate) enum Drained {
    /// There may be more.
    More,
    /// It was empty. Whether somebody held a recipient then: who is the last to let one go wakes the pump.
    Empty { is_held: bool },
}

impl<M: RemoteMessage> ReadEnd<M> {
    /// How the channel is left by one who has seen it empty.
    fn emptied(&self) -> Drained {
        Drained::Empty { is_held: self.receiver.as_ref().is_some_and(AddressReceiver::connected) }
    }

    /// Puts the next message where those are that were read before. What is left of it, which is all there was of one that
    /// was shed.
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

    /// Puts up to `room` messages where those are that were read before; whether there may be more.
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

    /// Has the pump woken when there is more.
    fn wake_on_more(&mut self, cx: &mut Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl<M: RemoteMessage> RecipientQueue<M> {
    /// A new channel, and a recipient that leads into it.
    pub(crate) fn open(pointer: &Arc<Pointer>) -> (Recipient<M>, Arc<RecipientQueue<M>>) {
        let (sender, receiver) = channel::<MailboxActor<M>>(0);
        let end = ReadEnd { receiver: Some(receiver), proxy: MailboxActor { read: VecDeque::new() }, waker: None };
        let queue = RecipientQueue { routes: Routes::new(pointer), end: Mutex::new(end) };
        (Addr::new(sender).recipient(), Arc::new(queue))
    }

    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Gives the box what waits, up to a turn, by the pointer that the pump has chosen. The one who calls is woken when
    /// there is more.
    pub(super) fn pass_on(&self, pointer: &Arc<Pointer>, cx: &mut Context<'_>) -> Drained {
        if pointer.is_local() { self.pass_on_here(pointer, cx) } else { self.send_on(pointer, cx) }
    }

    /// To a box elsewhere, by encoding it: that runs code of the application, so the channel is not held meanwhile. Nobody
    /// else reads it.
    fn send_on(&self, pointer: &Arc<Pointer>, cx: &mut Context<'_>) -> Drained {
        let mut shed = Shed { pointer, envelopes: Vec::new() };
        let (after, mut parcels) = {
            let end = &mut *self.end.lock();
            end.wake_on_more(cx);
            let after = if end.read_turn(cx, YIELD_AFTER, &mut shed) { Drained::More } else { end.emptied() };
            (after, std::mem::take(&mut end.proxy.read))
        };
        let _left = Permits(parcels.len());
        if !parcels.is_empty() {
            self.routes.note_use();
        }
        pass_all(pointer, &mut parcels);
        if matches!(after, Drained::More) {
            // Its place is used again in the next turn, which comes soon.
            self.end.lock().proxy.read = parcels;
        }
        after
    }

    /// To a box of this node: in the order in which its reader would take it, which waits meanwhile.
    fn pass_on_here(&self, pointer: &Arc<Pointer>, cx: &mut Context<'_>) -> Drained {
        let end = &mut *self.end.lock();
        end.wake_on_more(cx);
        let mut left = Permits::default();
        serving(pointer, || {
            for _ in 0..YIELD_AFTER {
                let Some(_envelope) = end.read(cx) else {
                    // There are as many queues as recipients, and most are idle: none keeps room for a message.
                    end.proxy.read = VecDeque::new();
                    return end.emptied();
                };
                if let Some(parcel) = end.proxy.read.pop_front() {
                    left.0 += 1;
                    pass(pointer, parcel);
                }
            }
            Drained::More
        })
    }

    /// What waits, for the reader of the box that `pointer` leads to; `None` while somebody else reads it, who then
    /// puts it into the box.
    pub(crate) fn take<'a>(&'a self, pointer: &'a Arc<Pointer>) -> Option<DirectRead<'a, M>> {
        let end = self.end.try_lock()?;
        let shed = Shed { pointer, envelopes: Vec::new() };
        Some(DirectRead { end, taken: Permits::default(), shed })
    }

    /// Whether somebody holds a recipient.
    pub(super) fn is_held(&self) -> bool {
        self.end.lock().receiver.as_ref().is_some_and(AddressReceiver::connected)
    }

    /// Takes no more messages. Those that wait go to the box, or are counted.
    pub(super) fn close(&self, pointer: &Arc<Pointer>) {
        let (receiver, _waker) = {
            let mut end = self.end.lock();
            (end.receiver.take(), end.waker.take())
        };
        serving(pointer, || drop(receiver));
    }
}

/// The channel in the hands of the box's reader. While it has it, no code of the application runs.
pub(crate) struct DirectRead<'a, M: RemoteMessage> {
    end: MutexGuard<'a, ReadEnd<M>>,
    taken: Permits,
    // After the lock: telling of what was shed is nothing to hold it for.
    shed: Shed<'a, M>,
}

impl<M: RemoteMessage> DirectRead<'_, M> {
    /// Puts up to `room` messages into `batch`, which is empty.
    pub(crate) fn fill(&mut self, batch: &mut VecDeque<Parcel<M>>, room: usize) {
        let end = &mut *self.end;
        // The pump registers its own when it first looks in.
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
        self.shed.pointer.router().observer().sent(self.taken.0 as u64);
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
