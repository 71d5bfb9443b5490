//! The actix side of a pointer: a `Recipient` that leads anywhere, its entry in the process-wide table, and the
//! [`Pump`] that empties its [`RecipientQueue`] on the node's I/O thread.

use std::any::Any;
use std::any::TypeId;
use std::collections::HashMap;
use std::future::Future;
use std::future::poll_fn;
use std::hash::BuildHasherDefault;
use std::hash::Hash;
use std::hash::Hasher;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use actix::Recipient;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::permits::queued;
use super::queue::Drained;
use super::queue::RecipientQueue;
use super::queue::YIELD_AFTER;
use super::table::Found;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::pointer::monitor;
use crate::handle::ports::ExportKey;
use crate::ident::Incarnation;
use crate::message::RemoteMessage;
use crate::wire::numbering::KeyHasher;

/// Gives the pumps of this thread turns until they have taken the messages that wait behind recipients now: one turn
/// for each [`YIELD_AFTER`] messages, which is twice what they need, and some more, because other tasks have turns too.
/// The count is that of the whole process, and other threads may go on sending: this does not wait for either.
pub(crate) async fn catch_up() {
    const SPARE: usize = 64;
    for _ in 0..queued() / YIELD_AFTER + SPARE {
        if queued() == 0 {
            return;
        }
        // One turn for every task that is ready: tokio's own `yield_now` gives them many.
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

/// Empties a queue until no recipient is left or nothing can be reached through it any more.
struct Pump<M: RemoteMessage> {
    queue: Arc<RecipientQueue<M>>,
    /// The pointer by which messages leave now.
    pointer: Arc<Pointer>,
    key: ExportKey,
    /// The token that is cancelled when nothing can be reached any more, and the wait for it.
    gone: CancellationToken,
    waits: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The waker that is registered with everything that can end the pump: once, and not for each message.
    waker: Option<Waker>,
}

impl<M: RemoteMessage> Pump<M> {
    /// Returns whether the last recipient has gone. This is decided under the lock under which a recipient may be
    /// brought back.
    fn is_unheld(&self) -> bool {
        let recipients = self.pointer.this_node().recipients();
        recipients.forget(self.key, self.pointer.origin(), || !self.queue.is_held())
    }

    /// Returns whether nothing can be reached any more; if not, this task is woken when that changes.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.has_ended(cx) {
            if self.gone.is_cancelled() || !self.choose_pointer() {
                return true;
            }
        }
        false
    }

    /// Returns whether nothing can be reached by the present pointer any more.
    fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let may_end = self.pointer.is_away_for_good();
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return self.gone.is_cancelled() || (may_end && self.pointer.have_recipients_ended());
        }
        if self.waits.as_mut().poll(cx).is_ready() {
            return true;
        }
        self.waker = Some(cx.waker().clone());
        may_end && self.pointer.ends_for(self.key, cx.waker())
    }

    /// Changes to another of the equal pointers, if there is a better one. Returns whether anything can be reached by
    /// the chosen one.
    #[cold]
    fn choose_pointer(&mut self) -> bool {
        let Some(chosen) = self.queue.routes().choose() else { return false };
        if !Arc::ptr_eq(&chosen, &self.pointer) {
            self.pointer.forget_pump(self.key);
            self.pointer = chosen;
            // The waker is not registered with the new pointer yet.
            self.waker = None;
        }
        true
    }
}

impl<M: RemoteMessage> Future for Pump<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.queue.routes().has_offers() && !self.choose_pointer() {
            return Poll::Ready(());
        }
        let is_over = match self.queue.pass_on(&self.pointer, cx) {
            Drained::More => {
                cx.waker().wake_by_ref();
                false
            }
            Drained::Empty { is_held } => (!is_held && self.is_unheld()) || self.is_over(cx),
        };
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<M: RemoteMessage> Drop for Pump<M> {
    fn drop(&mut self) {
        // Removed before the channel is closed, whose address the next channel may get.
        let known = PROXIES.lock().remove(&self.key);
        drop(known);
        self.pointer.this_node().recipients().end(self.key, self.pointer.origin());
        self.pointer.forget_pump(self.key);
        self.queue.close(&self.pointer);
    }
}

/// The recipients of this process that are proxies.
static PROXIES: LazyLock<Mutex<HashMap<ExportKey, ProxyEntry, BuildHasherDefault<KeyHasher>>>> =
    LazyLock::new(Mutex::default);

/// Maximum number of cached recipients in the process: each takes some two kilobytes.
const MAX_CACHED: usize = 4_096;

/// The entry of a proxy.
struct ProxyEntry {
    queue: Weak<dyn AnyQueue>,
    /// The recipient itself, cached until the next sweep. If a peer's messages bring it again and again, it would
    /// otherwise be dropped before the next message arrives, and making its channel and its pump anew costs more than
    /// the message.
    kept: Option<CachedRecipient>,
    /// Whether the proxy existed at the last sweep.
    is_old: bool,
    /// The pointer that is watched, and the guard that ends the watch with the proxy.
    watch: Option<(Weak<Pointer>, DropGuard)>,
}

/// A queue behind recipients, whatever the type of its messages.
trait AnyQueue: Send + Sync {
    /// Returns the pointer by which messages leave now.
    fn pointer(&self) -> Arc<Pointer>;
}

impl<M: RemoteMessage> AnyQueue for RecipientQueue<M> {
    fn pointer(&self) -> Arc<Pointer> {
        self.routes().current()
    }
}

/// A cached recipient, which is counted while it is kept.
struct CachedRecipient(Option<Box<dyn Any + Send>>);

/// Number of cached recipients.
static CACHED: AtomicUsize = AtomicUsize::new(0);

impl CachedRecipient {
    /// Caches a recipient; `None` if there are too many.
    fn new<M: RemoteMessage>(recipient: &Recipient<M>) -> Option<CachedRecipient> {
        let one_more = |kept| (kept < MAX_CACHED).then_some(kept + 1);
        CACHED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(CachedRecipient(Some(Box::new(recipient.clone()))))
    }
}

impl Drop for CachedRecipient {
    fn drop(&mut self) {
        self.0 = None;
        CACHED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the pointer that a recipient stands for, if it is a proxy.
pub(crate) fn pointer_of(key: &ExportKey) -> Option<Arc<Pointer>> {
    let queue = PROXIES.lock().get(key)?.queue.upgrade();
    Some(queue?.pointer())
}

/// Watches the boxes of a node's lasting recipients, so that these are not connected any more once nothing can be
/// reached through them. Most recipients that come in messages are used once and dropped, and are not worth a watch.
/// Drops cached recipients.
pub(crate) fn sweep(node: Incarnation) {
    // The contents of these are dropped without the lock.
    let (mut lasting, mut kept, mut queues) = (Vec::new(), Vec::new(), Vec::new());
    for known in PROXIES.lock().values_mut() {
        let Some(queue) = known.queue.upgrade() else { continue };
        let pointer = queue.pointer();
        queues.push((queue, Arc::clone(&pointer)));
        // Proxies of other nodes in this process are aged by their own node's sweep.
        if !pointer.is_away_for_good() || pointer.this_node().id() != node {
            continue;
        }
        if let Some(recipient) = known.kept.take() {
            // The next sweep shows whether anybody else holds the recipient.
            kept.push((recipient, pointer));
            continue;
        }
        let is_watched = known.watch.as_ref().is_some_and(|(watched, _)| watched.as_ptr() == Arc::as_ptr(&pointer));
        if std::mem::replace(&mut known.is_old, true) && !is_watched {
            let unwanted = CancellationToken::new();
            let before = known.watch.replace((Arc::downgrade(&pointer), unwanted.clone().drop_guard()));
            lasting.push((pointer, unwanted, before));
        }
    }
    drop((kept, queues));
    lasting.into_iter().for_each(|(pointer, unwanted, _before)| monitor::end_when_gone(&pointer, unwanted));
}

/// Returns the key of a recipient.
pub(crate) fn key_of<M: RemoteMessage>(recipient: &Recipient<M>) -> ExportKey {
    /// A hasher that keeps the address of the actor's channel, which actix hashes.
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

/// Returns the queue of messages that were sent through the recipients of a pointer to a box of this node, if there is
/// one.
pub(crate) fn queue<M: RemoteMessage>(pointer: &Pointer) -> Option<Arc<RecipientQueue<M>>> {
    pointer.queue().lock().as_ref()?.downcast_ref::<Weak<RecipientQueue<M>>>()?.upgrade()
}

/// Returns a recipient for the pointer's box: the same one for equal pointers, as long as one is held. For an actor of
/// this node whose recipient was sent elsewhere, returns the actor's own.
pub(crate) fn recipient<M: RemoteMessage>(pointer: &Arc<Pointer>) -> Recipient<M> {
    let mut own: Option<Recipient<M>> = None;
    if let Some(local) = pointer.leased_here() {
        local.recall(&mut own);
    }
    if let Some(own) = own {
        return own;
    }
    match pointer.this_node().recipients().recipient(pointer, |recipient, queue| note(pointer, recipient, queue)) {
        Found::Known(recipient) => recipient,
        Found::New(recipient, queue) => {
            start_pump(pointer, &recipient, queue);
            recipient
        }
    }
}

/// Registers a new recipient as a proxy, before anybody can send it.
fn note<M: RemoteMessage>(
    pointer: &Arc<Pointer>,
    recipient: &Recipient<M>,
    queue: &Arc<RecipientQueue<M>>,
) -> ExportKey {
    pointer.begin_recipient();
    let key = key_of(recipient);
    // A recipient whose pointer has a lease is not cached: it is dropped with the last holder.
    let comes_again = pointer.has_proxy() && pointer.is_away_for_good() && pointer.held().is_none();
    let kept = if comes_again { CachedRecipient::new(recipient) } else { None };
    pointer.set_proxy();
    let erased: Arc<dyn AnyQueue> = Arc::clone(queue) as _;
    if matches!(pointer.route(), Route::Here(_)) {
        *pointer.queue().lock() = Some(Box::new(Arc::downgrade(queue)));
    }
    let entry = ProxyEntry { queue: Arc::downgrade(&erased), kept, is_old: false, watch: None };
    PROXIES.lock().insert(key, entry);
    key
}

fn start_pump<M: RemoteMessage>(pointer: &Arc<Pointer>, recipient: &Recipient<M>, queue: Arc<RecipientQueue<M>>) {
    let gone = match pointer.route() {
        Route::Here(local) => local.closed().clone(),
        _ => pointer.this_node().stopped().clone(),
    };
    let waits = Box::pin(gone.clone().cancelled_owned());
    let pump = Pump { queue, pointer: Arc::clone(pointer), key: key_of(recipient), gone, waits, waker: None };
    pointer.this_node().run(Box::pin(pump));
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use actix::prelude::Message;
    use serde::Deserialize;
    use serde::Serialize;

    use super::*;
    use crate::handle::detached;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Note;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_pointer_keeps_nothing_of_a_pump_that_has_ended() {
        let (pointer, gone) = (detached::elsewhere(), CancellationToken::new());
        let (recipient, queue) = RecipientQueue::<Note>::open(&pointer);
        let (key, waits) = (key_of(&recipient), Box::pin(gone.clone().cancelled_owned()));
        let pump = Pump { queue, pointer: Arc::clone(&pointer), key, gone, waits, waker: None };
        let task = Arc::new(Task);
        (0..2).for_each(|_| assert!(!pointer.ends_for(key, &Waker::from(Arc::clone(&task)))));
        assert_eq!(Arc::strong_count(&task), 2, "it is woken once");
        drop(pump);
        assert_eq!(Arc::strong_count(&task), 1);
    }
}
