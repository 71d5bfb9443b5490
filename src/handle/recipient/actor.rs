//! The actor behind a `Recipient` of ours, its context, and the envelopes that wait for it.
//!
//! actix offers no way to make a `Recipient` of one's own, but an `Addr` of any actor can be made over any channel. The actor
//! here has a context of ours and no task; its channel is the [`RecipientQueue`](super::queue::RecipientQueue).
//!
//! actix's queue cannot refuse a message, so [`MailboxActorContext::pack`](ToEnvelope::pack) sheds above a process-wide
//! bound: it queues an empty tombstone instead, which is counted against its box when it is read, and slows down
//! threads that flood the queue.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Actor;
use actix::ActorContext;
use actix::ActorState;
use actix::Handler;
use actix::dev::Envelope;
use actix::dev::EnvelopeProxy;
use actix::dev::MessageResponse;
use actix::dev::OneshotSender;
use actix::dev::ToEnvelope;

use super::permits::Permits;
use crate::handle::envelope::Parcel;
use crate::handle::envelope::contained;
use crate::handle::pointer::Pointer;
use crate::handle::recipient::permits;
use crate::handle::reply::Reply;
use crate::message::RemoteMessage;
use crate::observe::loss::Nobody;
use crate::reason::DropReason;

/// Number of tombstones in all queues above which a sending thread yields; above twice this number it must wait. A
/// tombstone takes some 32 bytes that are not counted.
const TOMBSTONES: usize = 1 << 18;

/// Time that a thread waits for each message it sends above twice that number of tombstones.
const PENALTY: Duration = Duration::from_millis(1);

/// Number of tombstones in all queues.
static BURIED: AtomicUsize = AtomicUsize::new(0);

/// The actor behind a recipient: holds the messages that are read from its channel.
pub(crate) struct MailboxActor<M: RemoteMessage> {
    pub(super) read: VecDeque<Parcel<M>>,
}

/// The actor's context, which is empty, as the actor is never started.
#[derive(Debug)]
pub(crate) struct MailboxActorContext;

impl ActorContext for MailboxActorContext {
    fn stop(&mut self) {}
    fn terminate(&mut self) {}
    fn state(&self) -> ActorState {
        ActorState::Running
    }
}

// The actor is never pinned in place.
impl<M: RemoteMessage> Unpin for MailboxActor<M> {}

impl<M: RemoteMessage> Actor for MailboxActor<M> {
    type Context = MailboxActorContext;
}

impl<M: RemoteMessage> Handler<M> for MailboxActor<M> {
    type Result = Passed;

    fn handle(&mut self, message: M, _: &mut MailboxActorContext) -> Passed {
        self.read.push_back(Parcel::new(message, None));
        Passed
    }
}

/// The result of a message passed on without an answer.
#[derive(Debug)]
pub(crate) struct Passed;

impl<M: RemoteMessage> MessageResponse<MailboxActor<M>, M> for Passed {
    fn handle(self, _: &mut MailboxActorContext, _: Option<OneshotSender<M::Result>>) {}
}

impl<M: RemoteMessage> ToEnvelope<MailboxActor<M>, M> for MailboxActorContext {
    #[inline(always)]
    fn pack(message: M, reply: Option<OneshotSender<M::Result>>) -> Envelope<MailboxActor<M>> {
        if !permits::acquire() {
            return bury::<M>();
        }
        // Made empty, so that the message is moved directly to its final place on the heap, and not first to the stack.
        let mut packed = Box::new(Packed { message: None, reply: None });
        packed.message = Some(message);
        packed.reply = reply;
        Envelope::with_proxy(packed)
    }
}

/// Returns the tombstone of a message without room.
#[cold]
fn bury<M: RemoteMessage>() -> Envelope<MailboxActor<M>> {
    match BURIED.fetch_add(1, Ordering::Relaxed) {
        ..TOMBSTONES => {}
        n if n < 2 * TOMBSTONES => std::thread::yield_now(),
        _ => std::thread::sleep(PENALTY),
    }
    Envelope::with_proxy(Box::new(Tombstone::<M>(PhantomData)))
}

/// A message in the queue.
struct Packed<M: RemoteMessage> {
    message: Option<M>,
    reply: Option<OneshotSender<M::Result>>,
}

impl<M: RemoteMessage> Packed<M> {
    #[inline(always)]
    fn take(&mut self) -> Option<Parcel<M>> {
        self.message.take().map(|message| Parcel::new(message, self.reply.take().map(Reply::Plain)))
    }
}

impl<M: RemoteMessage> EnvelopeProxy<MailboxActor<M>> for Packed<M> {
    /// Moves the message to the actor; the reader returns its permit.
    fn handle(&mut self, proxy: &mut MailboxActor<M>, _: &mut MailboxActorContext) {
        if let Some(parcel) = self.take() {
            proxy.read.push_back(parcel);
        }
    }
}

impl<M: RemoteMessage> Drop for Packed<M> {
    fn drop(&mut self) {
        if self.message.is_some() {
            self.go_late();
        }
    }
}

impl<M: RemoteMessage> Packed<M> {
    /// Passes on a message that was not handled, as it came while its pump was ending. It takes the same way, to be
    /// delivered or counted.
    #[cold]
    fn go_late(&mut self) {
        let _left = Permits(1);
        if let (Some(parcel), Some(pointer)) = (self.take(), served()) {
            pass(&pointer, parcel);
        }
    }
}

/// Gives a message to the box, as an `Address` would. Like actix, this skips a request that nobody waits for any more;
/// only actix's own sender shows whether anybody waits.
pub(super) fn pass<M: RemoteMessage>(pointer: &Arc<Pointer>, parcel: Parcel<M>) {
    contained::<M, _>(|| pass_to_box(pointer, parcel));
}

/// Passes messages in their order. Panics are caught for all of them together, as most messages do not panic: after a
/// panic the next message follows.
pub(super) fn pass_all<M: RemoteMessage>(pointer: &Arc<Pointer>, parcels: &mut VecDeque<Parcel<M>>) {
    let mut pass_rest = || {
        while let Some(parcel) = parcels.pop_front() {
            pass_to_box(pointer, parcel);
        }
    };
    while contained::<M, _>(&mut pass_rest).is_none() {}
}

fn pass_to_box<M: RemoteMessage>(pointer: &Arc<Pointer>, parcel: Parcel<M>) {
    if parcel.reply.is_none() {
        pointer.send_plain(parcel.message);
    } else if let Some(reason) = parcel.lapsed() {
        pointer.this_node().observer().sent(1);
        pointer.settle_loss(reason.into(), std::any::type_name::<M>(), None, parcel);
    } else if let Some(asking) = pointer.send(parcel) {
        asking.detach();
    }
}

/// The tombstone of a message that was shed. It is empty, so that boxing it takes no memory.
struct Tombstone<M>(PhantomData<fn(M)>);

impl<M: RemoteMessage> EnvelopeProxy<MailboxActor<M>> for Tombstone<M> {
    fn handle(&mut self, _: &mut MailboxActor<M>, _: &mut MailboxActorContext) {}
}

impl<M> Drop for Tombstone<M> {
    /// Counts the shed message, whether the tombstone was read or dropped with its channel.
    fn drop(&mut self) {
        BURIED.fetch_sub(1, Ordering::Relaxed);
        if let Some(pointer) = served() {
            pointer.this_node().observer().sent(1);
            pointer.settle_loss(DropReason::HandleShed.into(), std::any::type_name::<M>(), None, Nobody);
        }
    }
}

thread_local! {
    /// The pointer whose channel is read, or dropped, on this thread: a dropped envelope does not know its pointer.
    static SERVED: RefCell<Option<Arc<Pointer>>> = const { RefCell::new(None) };
}

fn served() -> Option<Arc<Pointer>> {
    // On a thread that is being torn down no channel is served.
    SERVED.try_with(|served| served.borrow().clone()).ok().flatten()
}

/// Runs `work` on a pointer's channel.
pub(super) fn serving<R>(pointer: &Arc<Pointer>, work: impl FnOnce() -> R) -> R {
    /// Restores the outer pointer when the work ends, even by a panic.
    struct Outer(Option<Arc<Pointer>>);

    impl Drop for Outer {
        fn drop(&mut self) {
            SERVED.set(self.0.take());
        }
    }

    let _outer = Outer(SERVED.replace(Some(Arc::clone(pointer))));
    work()
}
