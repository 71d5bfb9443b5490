//! Existing actors behind a box: [`Feeder`] takes what waits in the box and gives it to the actor.
//!
//! An actor's own mailbox cannot refuse a `do_send`, so the actor is fed by windows: at most the box's capacity, the
//! last message of each sent so that its reply, which shows that all before it were begun, opens the next. Until then
//! the box fills, and sheds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use actix::Recipient;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::buffer::Buffer;
use super::inbox::Identity;
use super::inbox::Inbox;
use crate::handle::reply::Parcel;
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
    let buffer = Buffer::dropping(home.limits().mailbox_buffer);
    let alive = actor.clone();
    let inbox = Arc::new(Inbox::new(identity, Arc::clone(home), &buffer, move || alive.connected()));
    let (asked, batch) = (FuturesUnordered::new(), Vec::new());
    home.run(Box::pin(Feeder { inbox: Arc::clone(&inbox), actor, window: None, asked, batch }));
    inbox
}

/// A box for an actor whose recipient is sent to others, and which lives for as long as they hold it.
pub(crate) fn exported<M: RemoteMessage>(home: &Arc<dyn Household>, id: BoxId, actor: Recipient<M>) -> Arc<Inbox<M>> {
    publication(home, Identity { id, name: "".into(), counted: true }, actor)
}

/// Ends when the actor has begun (or answered) a message; whether it did.
type Begun = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Feeds one actor for as long as its box is there.
struct Feeder<M: RemoteMessage> {
    inbox: Arc<Inbox<M>>,
    actor: Recipient<M>,
    window: Option<Window>,
    /// Requests that the actor has not answered; no more than the box's capacity.
    asked: FuturesUnordered<Begun>,
    batch: Vec<Parcel<M>>,
}

/// Messages given to the actor, of which it is not known that they were begun.
struct Window {
    count: u64,
    last: Begun,
}

enum Fed {
    Some,
    Nothing,
    Closed,
}

impl<M: RemoteMessage> Feeder<M> {
    /// Counts what the actor has begun or answered.
    fn settle(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(begun)) = Pin::new(&mut self.asked).poll_next(cx) {
            self.count(begun, 1);
        }
        if let Some(Window { count, last }) = &mut self.window
            && let Poll::Ready(begun) = last.as_mut().poll(cx)
        {
            let count = *count;
            self.window = None;
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

    /// Whether all that was given to the actor is settled.
    fn is_settled(&self) -> bool {
        self.window.is_none() && self.asked.is_empty()
    }

    /// Gives the actor what waits, up to one window.
    fn feed(&mut self, cx: &mut Context<'_>) -> Fed {
        let room = self.inbox.capacity().max(1).saturating_sub(self.asked.len());
        let mut end = Fed::Some;
        while self.batch.len() < room {
            match self.inbox.poll_take(cx) {
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
        let plain = batch.iter().filter(|parcel| parcel.reply.is_none()).count() as u64;
        let last_plain = batch.iter().rposition(|parcel| parcel.reply.is_none());
        for (at, parcel) in batch.drain(..).enumerate() {
            match parcel.reply {
                Some(reply) => self.asked.push(ask(&self.actor, parcel.message, Some(reply))),
                None if Some(at) == last_plain => {
                    self.window = Some(Window { count: plain, last: ask(&self.actor, parcel.message, None) });
                }
                None => self.actor.do_send(parcel.message),
            }
        }
        self.batch = batch;
    }

    /// Nothing of what waits will be handled.
    fn give_up(&mut self) {
        self.inbox.close();
        self.inbox.discard(DropReason::BoxClosed);
        let unsettled = self.asked.len() as u64 + self.window.take().map_or(0, |window| window.count);
        self.asked.clear();
        self.count(false, unsettled);
    }
}

/// Sends so that the actor's answer is heard. Through a fresh clone, because actix parks a sender whose queue is full,
/// and a request that is parked never ends.
fn ask<M: RemoteMessage>(actor: &Recipient<M>, message: M, reply: Option<oneshot::Sender<M::Result>>) -> Begun {
    let answer = actor.clone().send(message);
    Box::pin(async move {
        let answer = answer.await;
        let begun = answer.is_ok();
        if let (Ok(answer), Some(reply)) = (answer, reply) {
            // The one who asked may have gone.
            let _ = reply.send(answer);
        }
        begun
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
            if this.window.is_some() {
                return Poll::Pending;
            }
            match this.feed(cx) {
                Fed::Some => {}
                Fed::Closed if this.is_settled() => return Poll::Ready(()),
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
