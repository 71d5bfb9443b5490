//! The actix side of a pointer: a small actor that stands for a box, so that a `Recipient` can lead anywhere.
//!
//! actix offers no way to make a `Recipient` of one's own, but an `Addr` of any actor can be made over any channel. The
//! actor here has a context of ours and no task: its channel is read by a [`Pump`] on the node's I/O thread, which gives
//! each message to the box as an `Address` would.
//!
//! actix's queue cannot refuse a message, so [`ProxyContext::pack`](ToEnvelope::pack) sheds above a process-wide bound:
//! it queues an empty tombstone instead, which the pump counts against its box, and slows threads that flood it.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::future::poll_fn;
use std::hash::Hash;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use actix::Actor;
use actix::ActorContext;
use actix::ActorState;
use actix::Addr;
use actix::Handler;
use actix::Recipient;
use actix::WeakRecipient;
use actix::dev::Envelope;
use actix::dev::EnvelopeProxy;
use actix::dev::MessageResponse;
use actix::dev::OneshotSender;
use actix::dev::ToEnvelope;
use actix::dev::channel::AddressReceiver;
use actix::dev::channel::channel;
use futures_core::Stream;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::fate;
use super::reply::Parcel;
use super::reply::Reply;
use super::route::Pointer;
use super::route::Route;
use super::terms::ExportKey;
use crate::ident::NodeId;
use crate::message::RemoteMessage;
use crate::observe::DropReason;

/// Messages a pump handles before other tasks of its thread get a turn.
const TURN: usize = 256;

/// Tombstones in all queues above which a sending thread gives up its turn, and above twice which it is made to wait: a
/// tombstone takes some 32 bytes that nobody counts.
const TOMBSTONES: usize = 1 << 18;

/// How long a thread waits for each message it sends in spite of twice that many tombstones.
const PENALTY: Duration = Duration::from_millis(1);

/// Messages in all queues; at most [`LIMIT`].
static QUEUED: AtomicUsize = AtomicUsize::new(0);
static BURIED: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(65_536);

/// Sets how many messages may wait behind the recipients of this process.
pub(crate) fn limit_queue(envelopes: usize) {
    LIMIT.store(envelopes, Ordering::Relaxed);
}

/// Gives the pumps of this thread turns until they have taken up what waits behind recipients now: one for each so many
/// messages, which is twice what they need, and some more, because other tasks have turns too. The count is that of the
/// whole process, and others may go on sending: neither is waited for longer.
pub(crate) async fn catch_up() {
    const SPARE: usize = 64;
    for _ in 0..QUEUED.load(Ordering::Relaxed) / TURN + SPARE {
        if QUEUED.load(Ordering::Relaxed) == 0 {
            return;
        }
        // One turn of every task that is ready: tokio's own `yield_now` gives them many.
        let mut had_turn = false;
        poll_fn(|cx| match std::mem::replace(&mut had_turn, true) {
            true => Poll::Ready(()),
            false => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }
}

/// The actor behind a recipient.
#[derive(Debug)]
pub(crate) struct Proxy {
    pointer: Arc<Pointer>,
}

/// Its context: there is nothing to it, as the actor is never started.
#[derive(Debug)]
pub(crate) struct ProxyContext;

impl ActorContext for ProxyContext {
    fn stop(&mut self) {}
    fn terminate(&mut self) {}
    fn state(&self) -> ActorState {
        ActorState::Running
    }
}

impl Actor for Proxy {
    type Context = ProxyContext;
}

impl<M: RemoteMessage> Handler<M> for Proxy {
    type Result = Passed;

    fn handle(&mut self, message: M, _: &mut ProxyContext) -> Passed {
        self.pointer.send_plain(message);
        Passed
    }
}

/// The result of a message passed on without an answer.
#[derive(Debug)]
pub(crate) struct Passed;

impl<M: RemoteMessage> MessageResponse<Proxy, M> for Passed {
    fn handle(self, _: &mut ProxyContext, _: Option<OneshotSender<M::Result>>) {}
}

impl<M: RemoteMessage> ToEnvelope<Proxy, M> for ProxyContext {
    fn pack(message: M, reply: Option<OneshotSender<M::Result>>) -> Envelope<Proxy> {
        if QUEUED.load(Ordering::Relaxed) < LIMIT.load(Ordering::Relaxed) {
            QUEUED.fetch_add(1, Ordering::Relaxed);
            return Envelope::with_proxy(Box::new(Packed {
                parcel: Some(Parcel::new(message, reply.map(Reply::Plain))),
            }));
        }
        match BURIED.fetch_add(1, Ordering::Relaxed) {
            ..TOMBSTONES => {}
            n if n < 2 * TOMBSTONES => std::thread::yield_now(),
            _ => std::thread::sleep(PENALTY),
        }
        Envelope::with_proxy(Box::new(Tombstone::<M>(PhantomData)))
    }
}

/// A message in the queue.
struct Packed<M: RemoteMessage> {
    parcel: Option<Parcel<M>>,
}

impl<M: RemoteMessage> EnvelopeProxy<Proxy> for Packed<M> {
    fn handle(&mut self, proxy: &mut Proxy, _: &mut ProxyContext) {
        if let Some(parcel) = self.parcel.take() {
            QUEUED.fetch_sub(1, Ordering::Relaxed);
            pass(&proxy.pointer, parcel);
        }
    }
}

impl<M: RemoteMessage> Drop for Packed<M> {
    /// Not handled: it came while its pump was ending. It goes the same way, to be delivered or counted.
    fn drop(&mut self) {
        if let Some(parcel) = self.parcel.take() {
            QUEUED.fetch_sub(1, Ordering::Relaxed);
            if let Some(pointer) = served() {
                pass(&pointer, parcel);
            }
        }
    }
}

/// Gives a message to the box, as an `Address` would; actix, too, passes over a request that nobody waits for any more.
/// Of one who does, only actix's own sender is seen.
fn pass<M: RemoteMessage>(pointer: &Arc<Pointer>, parcel: Parcel<M>) {
    if parcel.reply.is_none() {
        pointer.send_plain(parcel.message);
    } else if let Some(reason) = parcel.lapsed() {
        pointer.home().observer().sent(1);
        pointer.count_drop(std::any::type_name::<M>(), reason, None);
    } else if let Some(asking) = pointer.send(parcel) {
        asking.detach();
    }
}

/// The place of a message that was shed: nothing in it, so that its box takes no memory.
struct Tombstone<M>(PhantomData<fn(M)>);

impl<M: RemoteMessage> EnvelopeProxy<Proxy> for Tombstone<M> {
    fn handle(&mut self, _: &mut Proxy, _: &mut ProxyContext) {}
}

impl<M> Drop for Tombstone<M> {
    /// Counted when it goes, whether it was read or dropped with its channel.
    fn drop(&mut self) {
        BURIED.fetch_sub(1, Ordering::Relaxed);
        if let Some(pointer) = served() {
            pointer.home().observer().sent(1);
            pointer.count_drop(std::any::type_name::<M>(), DropReason::HandleShed, None);
        }
    }
}

thread_local! {
    /// The pointer whose channel is read, or dropped, on this thread: an envelope that is dropped does not know whose it
    /// is.
    static SERVED: RefCell<Option<Arc<Pointer>>> = const { RefCell::new(None) };
}

fn served() -> Option<Arc<Pointer>> {
    // On a thread that is being torn down no channel is served.
    SERVED.try_with(|served| served.borrow().clone()).ok().flatten()
}

/// Does something to a pointer's channel.
fn serving<R>(pointer: &Arc<Pointer>, work: impl FnOnce() -> R) -> R {
    /// Ends with the work, also by a panic.
    struct Outer(Option<Arc<Pointer>>);

    impl Drop for Outer {
        fn drop(&mut self) {
            SERVED.set(self.0.take());
        }
    }

    let _outer = Outer(SERVED.replace(Some(Arc::clone(pointer))));
    work()
}

/// Reads one proxy's channel until no recipient is left or nothing can be reached through it any more.
struct Pump {
    /// `None` only while it is dropped.
    receiver: Option<AddressReceiver<Proxy>>,
    proxy: Proxy,
    key: ExportKey,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Pump {
    /// Handles what waits, up to a turn; whether there may be more.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(receiver) = &mut self.receiver else { return false };
        let pointer = Arc::clone(&self.proxy.pointer);
        serving(&pointer, || {
            for _ in 0..TURN {
                match Pin::new(&mut *receiver).poll_next(cx) {
                    Poll::Ready(Some(mut envelope)) => envelope.handle(&mut self.proxy, &mut ProxyContext),
                    Poll::Ready(None) | Poll::Pending => return false,
                }
            }
            true
        })
    }

    /// Whether the last recipient has gone. Decided under the lock under which a recipient may be brought back.
    fn is_unheld(&self) -> bool {
        let mut known = self.proxy.pointer.proxy().lock();
        let unheld = !self.receiver.as_ref().is_some_and(AddressReceiver::connected);
        if unheld {
            *known = None;
        }
        unheld
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn(cx) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.gone.as_mut().poll(cx).is_ready() || self.is_unheld() {
            return Poll::Ready(());
        }
        // Last: one that ends here must not take the place of the next, which may wait for that already.
        if self.proxy.pointer.is_away_for_good() { self.proxy.pointer.poll_ended(cx) } else { Poll::Pending }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Before the channel, whose address the next one may get.
        let known = PROXIES.lock().remove(&self.key);
        drop(known);
        let receiver = self.receiver.take();
        serving(&self.proxy.pointer, || drop(receiver));
    }
}

/// Which recipients of this process are proxies, and for what.
static PROXIES: LazyLock<Mutex<HashMap<ExportKey, Known>>> = LazyLock::new(Mutex::default);

/// What is known of a proxy.
#[derive(Debug)]
struct Known {
    pointer: Weak<Pointer>,
    /// Whether it was there at the last sweep.
    is_old: bool,
    /// Ends the watch over its box with the proxy.
    watch: Option<DropGuard>,
}

/// The pointer that a recipient stands for, if it is a proxy.
pub(crate) fn pointer_of(key: &ExportKey) -> Option<Arc<Pointer>> {
    PROXIES.lock().get(key)?.pointer.upgrade()
}

/// Has the boxes watched that lasting recipients of a node lead to, so that they are not connected any more once nothing
/// can be reached through them. Most recipients that come in messages are used once and go: they are not worth it.
pub(crate) fn sweep(node: NodeId) {
    let mut lasting = Vec::new();
    for known in PROXIES.lock().values_mut().filter(|known| known.watch.is_none()) {
        // That of another node of the process is old when that one says so.
        let is_ours = |pointer: &Arc<Pointer>| pointer.is_away_for_good() && pointer.home().id() == node;
        let Some(pointer) = known.pointer.upgrade().filter(is_ours) else { continue };
        if std::mem::replace(&mut known.is_old, true) {
            let unwanted = CancellationToken::new();
            known.watch = Some(unwanted.clone().drop_guard());
            lasting.push((pointer, unwanted));
        }
    }
    lasting.into_iter().for_each(|(pointer, unwanted)| fate::end_when_gone(&pointer, unwanted));
}

/// What tells this recipient apart from others.
pub(crate) fn key_of<M: RemoteMessage>(recipient: &Recipient<M>) -> ExportKey {
    /// actix hashes the address of the actor's channel; this keeps it.
    #[derive(Default)]
    struct Channel(usize);

    impl Hasher for Channel {
        fn finish(&self) -> u64 {
            self.0 as u64
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ usize::from(byte));
        }
        fn write_usize(&mut self, channel: usize) {
            self.0 = channel;
        }
    }

    let mut channel = Channel::default();
    recipient.hash(&mut channel);
    (TypeId::of::<M>(), channel.0)
}

/// A recipient for what the pointer leads to: the same one as long as one is held.
pub(crate) fn recipient<M: RemoteMessage>(pointer: &Arc<Pointer>) -> Recipient<M> {
    let mut known = pointer.proxy().lock();
    if let Some((of, weak)) = &*known
        && *of == TypeId::of::<M>()
        && let Some(recipient) = weak.downcast_ref::<WeakRecipient<M>>().and_then(WeakRecipient::upgrade)
        && recipient.connected()
    {
        return recipient;
    }
    let (sender, receiver) = channel::<Proxy>(0);
    let recipient: Recipient<M> = Addr::new(sender).recipient();
    let key = key_of(&recipient);
    *known = Some((key.0, Box::new(recipient.downgrade())));
    drop(known);
    PROXIES.lock().insert(key, Known { pointer: Arc::downgrade(pointer), is_old: false, watch: None });
    let gone = match pointer.route() {
        Route::Here(local) => local.closed().clone(),
        _ => pointer.home().stopped().clone(),
    };
    let proxy = Proxy { pointer: Arc::clone(pointer) };
    pointer.home().run(Box::pin(Pump { receiver: Some(receiver), proxy, key, gone: Box::pin(gone.cancelled_owned()) }));
    recipient
}
