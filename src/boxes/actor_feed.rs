//! Existing actors behind a box: [`ActorFeed`] takes what waits in the box and gives it to the actor.
//!
//! An actor's own mailbox cannot refuse a `do_send`, so the actor is fed by windows: whatever waits, its last message
//! sent so that the reply shows that all before it were begun. No more messages than its [`Window`] says are unsettled at
//! a time; beyond, the box fills, and sheds. A handler that takes long holds up what comes behind it only then.
//!
//! A request that is taken back while the actor has it is let go: actix passes over a message in the actor's queue whose
//! sender has gone. It keeps its place until the actor has begun something that was given later, because what was passed
//! over cannot be seen, and what lies in the queue takes memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use actix::Recipient;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;

use super::buffer::Buffer;
use super::queue::Batch;
use super::queue::BoxIdentity;
use super::queue::BoxQueue;
use crate::handle::envelope::Parcel;
use crate::handle::envelope::Source;
use crate::handle::envelope::contained;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Router;
use crate::handle::reply::Reply;
use crate::ident::BoxId;
use crate::message::RemoteMessage;
use crate::reason::DropReason;

/// How many messages wait before an actor and with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Messages that wait in the box.
    pub(crate) capacity: usize,
    /// Messages that the actor has been given and has not settled.
    pub(crate) at_once: usize,
}

impl Window {
    /// Of actors for which nothing else was said.
    pub(crate) fn of(router: &dyn Router) -> Window {
        let buffer = router.limits().mailbox_buffer;
        Window { capacity: buffer, at_once: buffer.max(1) }
    }
}

/// Puts an actor behind a new box, and starts feeding it. The box is not yet known to anybody.
pub(crate) fn publication<M: RemoteMessage>(
    router: &Arc<dyn Router>,
    identity: BoxIdentity,
    actor: Recipient<M>,
    window: Window,
) -> Arc<BoxQueue<M>> {
    let queue = inbox_before(router, identity, &actor, window);
    feed(&queue, actor, window);
    queue
}

/// A box for an actor whose recipient is sent to others, and which lives for as long as they hold it. It is fed from the
/// first message on: many such boxes never get one, because the message with the recipient in it does not leave.
pub(crate) fn exported<M: RemoteMessage>(router: &Arc<dyn Router>, id: BoxId, actor: Recipient<M>) -> Arc<BoxQueue<M>> {
    let window = Window::of(&**router);
    let queue = inbox_before(router, BoxIdentity { id, name: "".into(), is_leased: true }, &actor, window);
    let weak = Arc::downgrade(&queue);
    queue.start_when_needed(move || {
        if let Some(queue) = weak.upgrade() {
            feed(&queue, actor, window);
        }
    });
    queue
}

fn inbox_before<M: RemoteMessage>(
    router: &Arc<dyn Router>,
    identity: BoxIdentity,
    actor: &Recipient<M>,
    window: Window,
) -> Arc<BoxQueue<M>> {
    let buffer = Buffer::dropping(window.capacity);
    Arc::new(BoxQueue::new(identity, Arc::clone(router), &buffer, Some(actor.downgrade())))
}

fn feed<M: RemoteMessage>(queue: &Arc<BoxQueue<M>>, actor: Recipient<M>, window: Window) {
    queue.router().run(Box::pin(ActorFeed {
        queue: Arc::clone(queue),
        actor,
        at_once: window.at_once,
        given: FuturesUnordered::new(),
        unsettled: 0,
        senders: BTreeMap::new(),
        taken_back: BinaryHeap::new(),
        next: 0,
        reached: 0,
        batch: Vec::new(),
        taken: Batch::new(),
    }));
}

/// Windows that an actor is given before other pumps of the thread get a turn.
const YIELD_AFTER: usize = 8;

/// A window or a request that the actor was given, until it is settled.
type Given = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What has become of it.
struct Outcome {
    /// Which of all the messages that the actor was given it was; of a window, the last.
    number: u64,
    count: u64,
    from: Senders,
    how: How,
}

/// How many messages came from where, if not from this node.
type Senders = Vec<(Source, u64)>;

fn senders(sources: impl Iterator<Item = Source>) -> Senders {
    let mut senders = Senders::new();
    for from in sources.filter(|from| *from != Source::HERE) {
        match senders.last_mut() {
            Some((last, count)) if *last == from => *count += 1,
            _ => senders.push((from, 1)),
        }
    }
    senders
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Begun,
    /// There is no answer, and will be none.
    Unanswered,
    TakenBack,
}

/// Feeds one actor for as long as its box is there.
struct ActorFeed<M: RemoteMessage> {
    queue: Arc<BoxQueue<M>>,
    actor: Recipient<M>,
    at_once: usize,
    /// Windows that the actor has not begun to the end, and requests that it has not answered.
    given: FuturesUnordered<Given>,
    /// Messages in them, and those taken back; no more than `at_once`.
    unsettled: u64,
    /// Where those came from that are neither settled nor taken back, if not from this node.
    senders: BTreeMap<Source, u64>,
    /// Numbers of those taken back of which the actor may still have to pass over the place.
    taken_back: BinaryHeap<Reverse<u64>>,
    /// The number of the next message that the actor is given.
    next: u64,
    /// All with a lower number are begun, or were passed over.
    reached: u64,
    batch: Vec<Parcel<M>>,
    /// What was taken out of the box and not yet given.
    taken: Batch<M>,
}

enum Fed {
    Some,
    Nothing,
    Closed,
}

impl<M: RemoteMessage> ActorFeed<M> {
    /// Counts what the actor has begun or answered, and what was taken back.
    fn settle(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(Outcome { number, count, from, how })) = Pin::new(&mut self.given).poll_next(cx) {
            self.forget(&from);
            if how == How::TakenBack && number >= self.reached {
                self.taken_back.push(Reverse(number));
                self.lose(DropReason::Cancelled, "the actor had it, and may have begun it", count, from);
                continue;
            }
            self.unsettled = self.unsettled.saturating_sub(count);
            self.count(how != How::Unanswered, count, from);
            if how != How::TakenBack {
                self.reach(number);
            }
        }
    }

    /// The actor has come so far: it has nothing any more of what was taken back before.
    fn reach(&mut self, number: u64) {
        self.reached = self.reached.max(number);
        while self.taken_back.peek().is_some_and(|Reverse(taken_back)| *taken_back < self.reached) {
            self.taken_back.pop();
            self.unsettled = self.unsettled.saturating_sub(1);
        }
    }

    /// An actor that has stopped cannot say which of the messages it was given it has begun: they count as lost with it.
    /// One that lives has begun them, if only to leave a request unanswered.
    fn count(&self, begun: bool, count: u64, from: impl IntoIterator<Item = (Source, u64)>) {
        if begun || self.actor.connected() {
            self.queue.router().observer().delivered(count);
        } else {
            self.lose(DropReason::BoxClosed, "the actor has stopped", count, from);
        }
    }

    /// Counts messages that the actor was given as dropped, and tells those who sent them.
    fn lose(&self, reason: DropReason, detail: &str, count: u64, from: impl IntoIterator<Item = (Source, u64)>) {
        self.queue.tell_drop(reason, count, Some(detail));
        from.into_iter().for_each(|(from, count)| self.queue.router().report(from, &*self.queue, reason, count));
    }

    /// What came from there is settled, or taken back.
    fn forget(&mut self, from: &Senders) {
        for (from, settled) in from {
            if let Some(count) = self.senders.get_mut(from) {
                *count = count.saturating_sub(*settled);
                if *count == 0 {
                    self.senders.remove(from);
                }
            }
        }
    }

    /// Gives the actor what waits, up to what it may have at a time.
    fn feed(&mut self, cx: &mut Context<'_>) -> Fed {
        let mut room = self.at_once.saturating_sub(self.unsettled as usize);
        // All that it was given was taken back: how far it has come, only one more can show, which is not let go.
        let probing = room == 0 && self.given.is_empty();
        room += usize::from(probing);
        let mut end = Fed::Some;
        while self.batch.len() < room {
            match self.queue.poll_take(&mut self.taken, cx) {
                Poll::Ready(Some(parcel)) => self.batch.push(parcel),
                Poll::Ready(None) => {
                    end = Fed::Closed;
                    break;
                }
                Poll::Pending => {
                    end = Fed::Nothing;
                    break;
                }
            }
        }
        if self.batch.is_empty() {
            return if room == 0 { Fed::Nothing } else { end };
        }
        self.give_batch(probing);
        Fed::Some
    }

    fn give_batch(&mut self, probing: bool) {
        let mut batch = std::mem::take(&mut self.batch);
        self.unsettled += batch.len() as u64;
        for (from, count) in senders(batch.iter().map(|parcel| parcel.from)) {
            *self.senders.entry(from).or_default() += count;
        }
        let plain = || batch.iter().filter(|parcel| parcel.reply.is_none());
        let (count, mut from) = (plain().count() as u64, senders(plain().map(|parcel| parcel.from)));
        let last_plain = batch.iter().rposition(|parcel| parcel.reply.is_none());
        for (at, parcel) in batch.drain(..).enumerate() {
            let number = self.next;
            self.next += 1;
            match parcel.reply {
                Some(reply) => {
                    let from = senders(std::iter::once(parcel.from));
                    self.given.push(ask(&self.actor, parcel.message, *reply, (number, from), probing));
                }
                None if Some(at) == last_plain => {
                    let from = std::mem::take(&mut from);
                    self.given.push(give(&self.actor, parcel.message, (number, from), count));
                }
                None => {
                    contained::<M, _>(|| self.actor.do_send(parcel.message));
                }
            }
        }
        self.batch = batch;
    }

    /// Messages that the actor was given, and of which it is not known what has become of them. Those taken back are counted
    /// already.
    fn waiting_with_actor(&self) -> usize {
        (self.unsettled as usize).saturating_sub(self.taken_back.len())
    }

    /// Nothing of what waits will be handled.
    fn give_up(&mut self) {
        self.queue.close();
        self.queue.discard(&mut self.taken, DropReason::BoxClosed);
        self.given.clear();
        let unsettled = self.waiting_with_actor() as u64;
        self.unsettled = 0;
        self.taken_back.clear();
        self.queue.wait_with_actor(0);
        let senders = std::mem::take(&mut self.senders);
        self.count(false, unsettled, senders);
    }
}

/// Sends so that it is heard when the actor has begun, which settles `count` messages. Through a fresh clone, because
/// actix parks a sender whose queue is full, and a request that is parked never ends.
fn give<M: RemoteMessage>(actor: &Recipient<M>, message: M, (number, from): (u64, Senders), count: u64) -> Given {
    let answer = contained::<M, _>(|| actor.clone().send(message));
    Box::pin(async move {
        let how = match answer {
            Some(answer) => match answer.await {
                Ok(result) => {
                    contained::<M, _>(|| drop(result));
                    How::Begun
                }
                Err(_) => How::Unanswered,
            },
            None => How::Unanswered,
        };
        Outcome { number, count, from, how }
    })
}

/// Asks the actor for one who waits. Once nobody does, the request is let go, unless it is `kept`.
fn ask<M: RemoteMessage>(
    actor: &Recipient<M>,
    message: M,
    mut reply: Reply<M::Result>,
    (number, from): (u64, Senders),
    kept: bool,
) -> Given {
    let answer = contained::<M, _>(|| actor.clone().send(message));
    Box::pin(async move {
        let Some(answer) = answer else { return Outcome { number, count: 1, from, how: How::Unanswered } };
        let mut answer = pin!(answer);
        let ended = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if kept => Poll::Pending,
            Poll::Pending => reply.poll_gone(cx).map(|()| None),
        });
        let how = match ended.await {
            Some(Ok(answer)) => {
                reply.answer(answer);
                How::Begun
            }
            Some(Err(_)) => How::Unanswered,
            None => How::TakenBack,
        };
        Outcome { number, count: 1, from, how }
    })
}

impl<M: RemoteMessage> Future for ActorFeed<M> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..YIELD_AFTER {
            this.settle(cx);
            if !this.actor.connected() {
                this.give_up();
                return Poll::Ready(());
            }
            let fed = this.feed(cx);
            this.queue.wait_with_actor(this.waiting_with_actor());
            match fed {
                Fed::Some => {}
                Fed::Closed if this.given.is_empty() => return Poll::Ready(()),
                Fed::Closed | Fed::Nothing => return Poll::Pending,
            }
        }
        // The actor may begin as fast as it is fed, on a thread of its own: other pumps have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<M: RemoteMessage> Drop for ActorFeed<M> {
    /// Also when the node ends: what the actor was given it has, if it lives, and what waits in the box it will not get.
    fn drop(&mut self) {
        self.give_up();
    }
}

// Nothing in it is pinned in place: what must be is behind a box.
impl<M: RemoteMessage> Unpin for ActorFeed<M> {}
