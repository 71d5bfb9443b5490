//! Existing actors behind a box: [`Feeder`] takes what waits in the box and gives it to the actor.
//!
//! An actor's own mailbox cannot refuse a `do_send`, so the actor is fed by windows: whatever waits, its last message
//! sent so that the reply shows that all before it were begun. No more messages than the box's capacity are unsettled at
//! a time; beyond, the box fills, and sheds. A handler that takes long holds up what comes behind it only then.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use actix::Recipient;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;

use super::buffer::Buffer;
use super::inbox::Batch;
use super::inbox::Identity;
use super::inbox::Inbox;
use crate::handle::reply::Parcel;
use crate::handle::reply::Reply;
use crate::handle::route::Household;
use crate::handle::route::LocalBox;
use crate::ident::BoxId;
use crate::message::RemoteMessage;
use crate::observe::DropReason;

/// Puts an actor behind a new box, and starts feeding it. The box is not yet known to anybody.
pub(crate) fn publication<M: RemoteMessage>(
    home: &Arc<dyn Household>,
    identity: Identity,
    actor: Recipient<M>,
) -> Arc<Inbox<M>> {
    let inbox = inbox_before(home, identity, &actor);
    feed(&inbox, actor);
    inbox
}

/// A box for an actor whose recipient is sent to others, and which lives for as long as they hold it. It is fed from the
/// first message on: many such boxes never get one, because the message with the recipient in it does not leave.
pub(crate) fn exported<M: RemoteMessage>(home: &Arc<dyn Household>, id: BoxId, actor: Recipient<M>) -> Arc<Inbox<M>> {
    let inbox = inbox_before(home, Identity { id, name: "".into(), counted: true }, &actor);
    let weak = Arc::downgrade(&inbox);
    inbox.start_when_needed(move || {
        if let Some(inbox) = weak.upgrade() {
            feed(&inbox, actor);
        }
    });
    inbox
}

fn inbox_before<M: RemoteMessage>(
    home: &Arc<dyn Household>,
    identity: Identity,
    actor: &Recipient<M>,
) -> Arc<Inbox<M>> {
    let buffer = Buffer::dropping(home.limits().mailbox_buffer);
    // Weak, because addresses and connections hold the box longer than it is open.
    let actor = actor.downgrade();
    let alive = move || actor.upgrade().is_some_and(|actor| actor.connected());
    Arc::new(Inbox::new(identity, Arc::clone(home), &buffer, alive))
}

fn feed<M: RemoteMessage>(inbox: &Arc<Inbox<M>>, actor: Recipient<M>) {
    let (given, batch, taken) = (FuturesUnordered::new(), Vec::new(), Batch::new());
    inbox.home().run(Box::pin(Feeder { inbox: Arc::clone(inbox), actor, given, unsettled: 0, batch, taken }));
}

/// Ends when the actor has begun (or answered) what it was given; whether it did, and how many messages that were.
type Given = Pin<Box<dyn Future<Output = (bool, u64)> + Send>>;

/// Feeds one actor for as long as its box is there.
struct Feeder<M: RemoteMessage> {
    inbox: Arc<Inbox<M>>,
    actor: Recipient<M>,
    /// Windows that the actor has not begun to the end, and requests that it has not answered.
    given: FuturesUnordered<Given>,
    /// Messages in them; no more than the box's capacity.
    unsettled: u64,
    batch: Vec<Parcel<M>>,
    /// What was taken out of the box and not yet given.
    taken: Batch<M>,
}

enum Fed {
    Some,
    Nothing,
    Closed,
}

impl<M: RemoteMessage> Feeder<M> {
    /// Counts what the actor has begun or answered.
    fn settle(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some((begun, count))) = Pin::new(&mut self.given).poll_next(cx) {
            self.unsettled = self.unsettled.saturating_sub(count);
            self.count(begun, count);
        }
    }

    /// An actor that has stopped cannot say which of the messages it was given it has begun: they count as lost with it.
    /// One that lives has begun them, if only to leave a request unanswered.
    fn count(&self, begun: bool, count: u64) {
        if begun || self.actor.connected() {
            self.inbox.home().observer().delivered(count);
        } else {
            self.inbox.tell_drop(DropReason::BoxClosed, count, Some("the actor has stopped"));
        }
    }

    /// Gives the actor what waits, up to what it may have at a time.
    fn feed(&mut self, cx: &mut Context<'_>) -> Fed {
        let room = self.inbox.capacity().max(1).saturating_sub(self.unsettled as usize);
        let mut end = Fed::Some;
        while self.batch.len() < room {
            match self.inbox.poll_take(&mut self.taken, cx) {
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
        self.give_batch();
        Fed::Some
    }

    fn give_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.unsettled += batch.len() as u64;
        let plain = batch.iter().filter(|parcel| parcel.reply.is_none()).count() as u64;
        let last_plain = batch.iter().rposition(|parcel| parcel.reply.is_none());
        for (at, parcel) in batch.drain(..).enumerate() {
            match parcel.reply {
                Some(reply) => self.given.push(give(&self.actor, parcel.message, Some(*reply), 1)),
                None if Some(at) == last_plain => self.given.push(give(&self.actor, parcel.message, None, plain)),
                None => self.actor.do_send(parcel.message),
            }
        }
        self.batch = batch;
    }

    /// Nothing of what waits will be handled.
    fn give_up(&mut self) {
        self.inbox.close();
        self.inbox.discard(&mut self.taken, DropReason::BoxClosed);
        self.given.clear();
        let unsettled = std::mem::take(&mut self.unsettled);
        self.count(false, unsettled);
    }
}

/// Sends so that the actor's answer is heard, which settles `count` messages. Through a fresh clone, because actix parks
/// a sender whose queue is full, and a request that is parked never ends.
fn give<M: RemoteMessage>(actor: &Recipient<M>, message: M, reply: Option<Reply<M::Result>>, count: u64) -> Given {
    let answer = actor.clone().send(message);
    Box::pin(async move {
        let answer = answer.await;
        let begun = answer.is_ok();
        if let (Ok(answer), Some(reply)) = (answer, reply) {
            reply.answer(answer);
        }
        (begun, count)
    })
}

impl<M: RemoteMessage> Future for Feeder<M> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            this.settle(cx);
            if !this.actor.connected() {
                this.give_up();
                return Poll::Ready(());
            }
            match this.feed(cx) {
                Fed::Some => {}
                Fed::Closed if this.given.is_empty() => return Poll::Ready(()),
                Fed::Closed | Fed::Nothing => return Poll::Pending,
            }
        }
    }
}

impl<M: RemoteMessage> Drop for Feeder<M> {
    /// Also when the node ends: what the actor was given it has, if it lives, and what waits in the box it will not get.
    fn drop(&mut self) {
        self.give_up();
    }
}

// Nothing in it is pinned in place: what must be is behind a box.
impl<M: RemoteMessage> Unpin for Feeder<M> {}
