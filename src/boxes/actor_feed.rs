//! Existing actors behind a box: [`ActorFeed`] takes waiting messages out of the box and gives them to the actor.
//!
//! An actor's own mailbox cannot refuse a `do_send`, so the actor is fed by windows. A window consists of waiting
//! messages; the reply to the last one shows that the actor has begun all messages before it. At most as many messages
//! as the [`Window`] allows are unsettled at a time; beyond that, the box fills, and sheds. Only then does a slow
//! handler hold up the messages behind it.
//!
//! A request that is cancelled while the actor has it is given up: actix skips a message in the actor's queue whose
//! sender has gone. The moment at which the actor skips it is not visible, only that the actor has begun a later
//! message; until then the cancelled message may stay in the queue, where it takes memory. Other messages take its
//! place nevertheless, since the requests that the actor has may never be answered: see [`Window::room`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use actix::Recipient;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;

use super::buffer::Buffer;
use super::given::Given;
use super::given::How;
use super::given::Outcome;
use super::given::SenderCounts;
use super::given::ask;
use super::given::give;
use super::given::senders;
use super::queue::Batch;
use super::queue::BoxIdentity;
use super::queue::BoxQueue;
use super::received::GivenAs;
use super::received::Origins;
use super::window::Window;
use crate::handle::context::NodeContext;
use crate::handle::envelope::Parcel;
use crate::handle::envelope::Source;
use crate::handle::envelope::contained;
use crate::handle::ports::LocalBox;
use crate::handle::shutdown::Feed;
use crate::handle::shutdown::GIVEN_UP;
use crate::ident::BoxId;
use crate::message::RemoteMessage;
use crate::observe::loss::Loss;
use crate::observe::loss::Nobody;
use crate::reason::DropReason;

/// Puts an actor behind a new box, and starts feeding the actor. The box is not registered yet.
pub(crate) fn publication<M: RemoteMessage, G: GivenAs<M>>(
    node: &Arc<NodeContext>,
    identity: BoxIdentity,
    actor: Recipient<G>,
    window: Window,
) -> Arc<BoxQueue<M>> {
    let queue = inbox_before(node, identity, &actor, window);
    feed(&queue, actor, window);
    queue
}

/// Makes a box for an actor whose recipient is sent to others; both live for as long as the others hold the box.
/// Feeding starts with the first message: many such boxes never get one, because the message with the recipient in it
/// does not leave.
pub(crate) fn exported<M: RemoteMessage>(node: &Arc<NodeContext>, id: BoxId, actor: Recipient<M>) -> Arc<BoxQueue<M>> {
    let window = Window::of(&**node);
    let identity = BoxIdentity { id, name: "".into(), is_leased: true, visibility: None };
    let queue = inbox_before(node, identity, &actor, window);
    let weak = Arc::downgrade(&queue);
    queue.start_when_needed(move || {
        if let Some(queue) = weak.upgrade() {
            feed(&queue, actor, window);
        }
    });
    queue
}

fn inbox_before<M: RemoteMessage, G: GivenAs<M>>(
    node: &Arc<NodeContext>,
    identity: BoxIdentity,
    actor: &Recipient<G>,
    window: Window,
) -> Arc<BoxQueue<M>> {
    let buffer = Buffer::dropping(window.capacity);
    Arc::new(BoxQueue::new(identity, Arc::clone(node), &buffer, Some(G::behind(actor))))
}

fn feed<M: RemoteMessage, G: GivenAs<M>>(queue: &Arc<BoxQueue<M>>, actor: Recipient<G>, window: Window) {
    queue.keep_given();
    queue.this_node().run(Box::pin(ActorFeed {
        progress: queue.this_node().shutdown().feed(),
        round: Round::default(),
        queue: Arc::clone(queue),
        actor,
        origins: Origins::default(),
        window,
        given: FuturesUnordered::new(),
        asking: 0,
        unsettled: 0,
        senders: SenderCounts::default(),
        taken_back: BinaryHeap::new(),
        probe: None,
        next: 0,
        reached: 0,
        begun: 0,
        mark: 0,
        weighs: false,
        batch: Vec::new(),
        taken: Batch::new(),
    }));
}

/// The detail of a drop of a request that the actor was given, and has not answered.
const MAY_HAVE_BEGUN: &str = "the actor had it, and may have begun it";

/// Number of windows that an actor is given before other tasks of the thread get a turn.
const YIELD_AFTER: usize = 8;

/// A round of the node's shutdown; number 0 stands for no round.
#[derive(Default)]
struct Round {
    number: u32,
    /// Number of messages that the actor must have begun by the end of the round.
    until: u64,
}

/// Feeds one actor, which is given messages of type `M` as `G`, for as long as its box is there.
struct ActorFeed<M: RemoteMessage, G: GivenAs<M>> {
    /// Progress, as reported to the shutdown of the node.
    progress: Arc<Feed>,
    round: Round,
    queue: Arc<BoxQueue<M>>,
    actor: Recipient<G>,
    origins: Origins,
    window: Window,
    /// Windows that the actor has not wholly begun, and requests that it has not answered.
    given: FuturesUnordered<Given>,
    /// Number of requests among `given`.
    asking: u64,
    /// Number of messages in `given`, at most `at_once`, plus the cancelled ones.
    unsettled: u64,
    /// The sources of the messages that are neither settled nor cancelled, if not this node.
    senders: SenderCounts,
    /// Numbers of the cancelled requests that may still be in the actor's queue.
    taken_back: BinaryHeap<Reverse<u64>>,
    /// The number of the probe, which is kept even if cancelled, if the actor has one.
    probe: Option<u64>,
    /// The number of the next message that the actor is given.
    next: u64,
    /// All messages with a lower number are begun, or were skipped.
    reached: u64,
    /// The first `begun` messages are begun, or were skipped.
    begun: u64,
    /// The box releases weight once `begun` reaches `mark`, if `weighs` says that there is any to release.
    mark: u64,
    weighs: bool,
    batch: Vec<Parcel<M>>,
    /// Messages taken out of the box and not yet given.
    taken: Batch<M>,
}

enum Fed {
    Some,
    Nothing,
    Closed,
}

impl<M: RemoteMessage, G: GivenAs<M>> ActorFeed<M, G> {
    /// Counts the messages that the actor has begun or answered, and the cancelled ones.
    fn settle(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(outcome)) = Pin::new(&mut self.given).poll_next(cx) {
            self.note(outcome);
        }
    }

    fn note(&mut self, Outcome { number, count, from, asked, how }: Outcome) {
        self.senders.subtract(&from);
        self.asking -= u64::from(asked);
        self.probe.take_if(|probe| *probe == number);
        match how {
            How::TakenBack if number >= self.reached => {
                self.taken_back.push(Reverse(number));
                return self.lose(DropReason::Cancelled, MAY_HAVE_BEGUN, count, from);
            }
            How::Forsaken => {
                self.unsettled = self.unsettled.saturating_sub(count);
                return self.lose(DropReason::Shutdown, MAY_HAVE_BEGUN, count, from);
            }
            How::Begun | How::Unanswered | How::TakenBack => {}
        }
        self.unsettled = self.unsettled.saturating_sub(count);
        self.count(how != How::Unanswered, count, from);
        if how != How::TakenBack {
            self.reach(number);
        }
    }

    /// Records that the actor has begun message `number`: no earlier cancelled request is in its queue any more.
    fn reach(&mut self, number: u64) {
        (self.reached, self.begun) = (self.reached.max(number), self.begun.max(number + 1));
        while self.taken_back.peek().is_some_and(|Reverse(taken_back)| *taken_back < self.reached) {
            self.taken_back.pop();
            self.unsettled = self.unsettled.saturating_sub(1);
        }
    }

    /// Counts messages as delivered or lost. A stopped actor cannot report which of its messages it has begun: they
    /// count as lost with it. An actor that lives has begun them, if only to leave a request unanswered.
    fn count(&self, begun: bool, count: u64, from: impl IntoIterator<Item = (Source, u64)>) {
        if begun || self.actor.connected() {
            self.queue.this_node().observer().delivered(count);
        } else {
            self.lose(DropReason::BoxClosed, "the actor has stopped", count, from);
        }
    }

    /// Drops messages that the actor was given. Their callers have gone, or are told by the actor's end.
    fn lose(&self, reason: DropReason, detail: &str, count: u64, from: impl IntoIterator<Item = (Source, u64)>) {
        self.queue.settle_loss(Loss::of(count, reason).with_detail(Some(detail)), from, Nobody);
    }

    /// Gives the actor waiting messages, up to the number it may have at a time.
    fn feed(&mut self, cx: &mut Context<'_>) -> Fed {
        let (room, probing) = self.window.room(self.waiting_with_actor(), self.taken_back.len(), self.probe.is_some());
        let mut end = Fed::Some;
        while self.batch.len() < room {
            match self.queue.poll_take(&mut self.taken, cx) {
                Poll::Ready(Some(parcel)) => self.batch.push(parcel),
                Poll::Ready(None) => {
                    end = Fed::Closed;
                    break;
                }
                Poll::Pending => {
                    // The actor has been given the last batch, too.
                    self.weighs = true;
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
        self.probe = self.probe.or(probing.then_some(self.next));
        let mut batch = std::mem::take(&mut self.batch);
        self.unsettled += batch.len() as u64;
        self.senders.add(senders(batch.iter().map(|parcel| parcel.from)));
        let plain = || batch.iter().filter(|parcel| parcel.reply.is_none());
        let (count, mut from) = (plain().count() as u64, senders(plain().map(|parcel| parcel.from)));
        let last_plain = batch.iter().rposition(|parcel| parcel.reply.is_none());
        for (at, parcel) in batch.drain(..).enumerate() {
            let number = self.next;
            self.next += 1;
            let Parcel { message, reply, from: source } = parcel;
            let message = G::given(message, source, self.queue.this_node(), &mut self.origins);
            match reply {
                Some(reply) => {
                    let from = senders(std::iter::once(source));
                    let feed = Arc::clone(&self.progress);
                    self.given.push(ask(&self.actor, message, *reply, (number, from), probing, feed));
                    self.asking += 1;
                }
                None if Some(at) == last_plain => {
                    let from = std::mem::take(&mut from);
                    self.given.push(give(&self.actor, message, (number, from), count));
                }
                None => {
                    contained::<M, _>(|| self.actor.do_send(message));
                }
            }
        }
        self.batch = batch;
        self.weighs = true;
    }

    /// Reports begun messages to the box, where they weigh nothing any more.
    fn settle_weight(&mut self) {
        while self.weighs && self.begun >= self.mark {
            self.mark = self.next + (self.batch.len() + self.taken.len()) as u64;
            self.weighs = self.queue.settle_given();
        }
    }

    /// Returns the number of messages that the actor was given and whose outcome is not known. Cancelled ones are
    /// counted as dropped already.
    fn waiting_with_actor(&self) -> usize {
        (self.unsettled as usize).saturating_sub(self.taken_back.len())
    }

    /// Reports to the shutdown of the node, if it has begun, once the messages before its present round are settled.
    fn account(&mut self) {
        let round = self.progress.round();
        if round == 0 {
            return;
        }
        let waiting = self.queue.len() as u64;
        let is_idle = waiting == 0 && self.waiting_with_actor() == 0;
        if round != self.round.number {
            self.round = Round { number: round, until: self.next + waiting };
            if !is_idle {
                self.progress.note_work();
            }
        }
        // If earlier messages are cancelled, `begun` may never reach the mark, so an idle feed counts, too.
        if (is_idle || (self.asking == 0 && self.begun >= self.round.until)) && self.progress.settle(round) {
            self.queue.this_node().shutdown().note_change();
        }
    }

    /// Drops the messages that the actor was not given: the node ends, and there is no more time.
    fn forsake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.forsake_given();
        loop {
            match self.queue.poll_take(&mut self.taken, cx) {
                Poll::Ready(Some(parcel)) => self.queue.drop_taken(parcel, DropReason::Shutdown),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.queue.wait_with_actor(self.waiting_with_actor());
        if self.progress.settle(GIVEN_UP) {
            self.queue.this_node().shutdown().note_change();
        }
        Poll::Pending
    }

    /// Stops waiting for answers. The actor begins its other messages while it lives.
    fn forsake_given(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for mut given in std::mem::take(&mut self.given) {
            match given.as_mut().poll(&mut cx) {
                Poll::Ready(outcome) => self.note(outcome),
                Poll::Pending => self.given.push(given),
            }
        }
    }

    /// Drops all waiting messages, since none will be handled.
    fn give_up(&mut self) {
        let is_over = self.queue.this_node().is_stopped();
        if is_over {
            self.progress.set_given_up();
            self.forsake_given();
        }
        self.queue.close();
        self.queue.discard(&mut self.taken, if is_over { DropReason::Shutdown } else { DropReason::BoxClosed });
        self.given.clear();
        let unsettled = self.waiting_with_actor() as u64;
        self.unsettled = 0;
        self.taken_back.clear();
        self.queue.wait_with_actor(0);
        let senders = self.senders.take();
        self.count(false, unsettled, senders);
    }
}

impl<M: RemoteMessage, G: GivenAs<M>> Future for ActorFeed<M, G> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.progress.register(cx.waker());
        for _ in 0..YIELD_AFTER {
            this.settle(cx);
            if !this.actor.connected() {
                this.give_up();
                return Poll::Ready(());
            }
            if this.progress.is_given_up() {
                return this.forsake(cx);
            }
            let fed = this.feed(cx);
            this.settle_weight();
            this.queue.wait_with_actor(this.waiting_with_actor());
            this.account();
            match fed {
                Fed::Some => {}
                Fed::Closed if this.given.is_empty() => return Poll::Ready(()),
                Fed::Closed | Fed::Nothing => return Poll::Pending,
            }
        }
        // An actor on a thread of its own may begin messages as fast as it is fed: other tasks have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<M: RemoteMessage, G: GivenAs<M>> Drop for ActorFeed<M, G> {
    /// Gives up, also when the node ends: the actor keeps the messages that it was given, if it lives, and the messages
    /// that wait in the box are dropped.
    fn drop(&mut self) {
        self.give_up();
        self.queue.this_node().shutdown().forget(&self.progress);
    }
}

// No field is pinned in place: futures that must be are boxed.
impl<M: RemoteMessage, G: GivenAs<M>> Unpin for ActorFeed<M, G> {}
