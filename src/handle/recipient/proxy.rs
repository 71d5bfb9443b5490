//! The actix side of a pointer: a `Recipient` that leads anywhere, what is known of it, and the [`Pump`] that empties its
//! [`RecipientQueue`] on the node's I/O thread.

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
use actix::WeakRecipient;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::permits::queued;
use super::queue::Drained;
use super::queue::RecipientQueue;
use super::queue::YIELD_AFTER;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::pointer::monitor;
use crate::handle::ports::ExportKey;
use crate::ident::NodeId;
use crate::message::RemoteMessage;
use crate::wire::numbering::KeyHasher;

/// Gives the pumps of this thread turns until they have taken up what waits behind recipients now: one for each so many
/// messages, which is twice what they need, and some more, because other tasks have turns too. The count is that of the
/// whole process, and others may go on sending: neither is waited for longer.
pub(crate) async fn catch_up() {
    const SPARE: usize = 64;
    for _ in 0..queued() / YIELD_AFTER + SPARE {
        if queued() == 0 {
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

/// Empties a queue until no recipient is left or nothing can be reached through it any more.
struct Pump<M: RemoteMessage> {
    queue: Arc<RecipientQueue<M>>,
    key: ExportKey,
    /// Cancelled when nothing can be reached any more, and the wait for that.
    gone: CancellationToken,
    waits: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Who is woken by what ends it: told to all of that once, and not for each message.
    waker: Option<Waker>,
}

impl<M: RemoteMessage> Pump<M> {
    /// Whether the last recipient has gone. Decided under the lock under which a recipient may be brought back.
    fn is_unheld(&self) -> bool {
        let mut remembered = self.queue.pointer().proxy().lock();
        let unheld = !self.queue.is_held();
        // It may be that of another type by now.
        if unheld && remembered.as_ref().is_some_and(|(of, _)| *of == self.key.0) {
            *remembered = None;
        }
        unheld
    }

    /// Whether nothing can be reached any more, of which this task is told.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let pointer = self.queue.pointer();
        let may_end = pointer.is_away_for_good();
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return self.gone.is_cancelled() || (may_end && pointer.have_recipients_ended());
        }
        if self.waits.as_mut().poll(cx).is_ready() {
            return true;
        }
        self.waker = Some(cx.waker().clone());
        may_end && pointer.ends_for(self.key, cx.waker())
    }
}

impl<M: RemoteMessage> Future for Pump<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = match self.queue.pass_on(cx) {
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
        // Before the channel, whose address the next one may get.
        let known = PROXIES.lock().remove(&self.key);
        drop(known);
        self.queue.pointer().forget_pump(self.key);
        self.queue.close();
    }
}

/// Which recipients of this process are proxies, and for what.
static PROXIES: LazyLock<Mutex<HashMap<ExportKey, ProxyEntry, BuildHasherDefault<KeyHasher>>>> =
    LazyLock::new(Mutex::default);

/// Recipients of the process that are kept, at most: each has some two kilobytes.
const MAX_CACHED: usize = 4_096;

/// What is known of a proxy.
struct ProxyEntry {
    pointer: Weak<Pointer>,
    /// Until the next sweep: a recipient that a peer's messages bring again and again, and that is gone before the next one
    /// comes. To make its channel and its pump anew costs more than the message.
    kept: Option<CachedRecipient>,
    /// Whether it was there at the last sweep.
    is_old: bool,
    /// Ends the watch over its box with the proxy.
    watch: Option<DropGuard>,
}

/// A recipient that is kept, and counts as long as it is.
struct CachedRecipient(Option<Box<dyn Any + Send>>);

/// How many there are.
static CACHED: AtomicUsize = AtomicUsize::new(0);

impl CachedRecipient {
    /// `None` if there are too many.
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

/// The pointer that a recipient stands for, if it is a proxy.
pub(crate) fn pointer_of(key: &ExportKey) -> Option<Arc<Pointer>> {
    PROXIES.lock().get(key)?.pointer.upgrade()
}

/// Has the boxes watched that lasting recipients of a node lead to, so that they are not connected any more once nothing
/// can be reached through them. Most recipients that come in messages are used once and go: they are not worth it. Lets go
/// of those that were kept.
pub(crate) fn sweep(node: NodeId) {
    let (mut lasting, mut kept) = (Vec::new(), Vec::new());
    for known in PROXIES.lock().values_mut().filter(|known| known.watch.is_none() || known.kept.is_some()) {
        // That of another node of the process is old when that one says so.
        let is_ours = |pointer: &Arc<Pointer>| pointer.is_away_for_good() && pointer.router().id() == node;
        let Some(pointer) = known.pointer.upgrade().filter(is_ours) else { continue };
        if let Some(recipient) = known.kept.take() {
            // Whether anybody else holds it is seen the next time.
            kept.push((recipient, pointer));
            continue;
        }
        if std::mem::replace(&mut known.is_old, true) {
            let unwanted = CancellationToken::new();
            known.watch = Some(unwanted.clone().drop_guard());
            lasting.push((pointer, unwanted));
        }
    }
    drop(kept);
    lasting.into_iter().for_each(|(pointer, unwanted)| monitor::end_when_gone(&pointer, unwanted));
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

/// What a pointer remembers of its last proxy.
struct LastProxy<M: RemoteMessage> {
    recipient: WeakRecipient<M>,
    queue: Weak<RecipientQueue<M>>,
}

/// What is remembered of one for messages of that type.
fn remembered<M: RemoteMessage>(last: &Option<(TypeId, Box<dyn Any + Send>)>) -> Option<&LastProxy<M>> {
    last.as_ref().and_then(|(_, remembered)| remembered.downcast_ref())
}

/// Where messages wait that were sent through the pointer's recipients, if there are any.
pub(crate) fn queue<M: RemoteMessage>(pointer: &Pointer) -> Option<Arc<RecipientQueue<M>>> {
    remembered(&pointer.proxy().lock())?.queue.upgrade()
}

/// A recipient for what the pointer leads to: the same one as long as one is held.
pub(crate) fn recipient<M: RemoteMessage>(pointer: &Arc<Pointer>) -> Recipient<M> {
    let mut last = pointer.proxy().lock();
    if let Some(recipient) = remembered(&last).and_then(|remembered| remembered.recipient.upgrade())
        && recipient.connected()
    {
        return recipient;
    }
    pointer.begin_recipient();
    let (recipient, queue) = RecipientQueue::open(pointer);
    let key = key_of(&recipient);
    // Not one that lives for those who hold it: it is let go with the last of them.
    let comes_again = pointer.has_proxy() && pointer.is_away_for_good() && pointer.held().is_none();
    let kept = if comes_again { CachedRecipient::new(&recipient) } else { None };
    *last = Some((key.0, Box::new(LastProxy { recipient: recipient.downgrade(), queue: Arc::downgrade(&queue) })));
    pointer.set_proxy();
    drop(last);
    PROXIES.lock().insert(key, ProxyEntry { pointer: Arc::downgrade(pointer), kept, is_old: false, watch: None });
    let gone = match pointer.route() {
        Route::Here(local) => local.closed().clone(),
        _ => pointer.router().stopped().clone(),
    };
    let waits = Box::pin(gone.clone().cancelled_owned());
    pointer.router().run(Box::pin(Pump { queue, key, gone, waits, waker: None }));
    recipient
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
        let pump = Pump { queue, key, gone, waits, waker: None };
        let task = Arc::new(Task);
        (0..2).for_each(|_| assert!(!pointer.ends_for(key, &Waker::from(Arc::clone(&task)))));
        assert_eq!(Arc::strong_count(&task), 2, "it is woken once");
        drop(pump);
        assert_eq!(Arc::strong_count(&task), 1);
    }
}
