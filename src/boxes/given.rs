//! Messages that an actor was given, until they are settled: requests, and windows, which are settled once the actor
//! has begun all their messages.

use std::collections::BTreeMap;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use actix::Message;
use actix::Recipient;

use crate::handle::envelope::Source;
use crate::handle::envelope::contained;
use crate::handle::reply::Reply;
use crate::handle::shutdown::Feed;
use crate::reason::DropReason;

/// A window or a request that the actor was given, until it is settled.
pub(super) type Given = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The outcome of a window or a request.
pub(super) struct Outcome {
    /// The number of the message among all that the actor was given; for a window, of its last message.
    pub(super) number: u64,
    pub(super) count: u64,
    pub(super) from: Senders,
    /// Whether it was a request.
    pub(super) asked: bool,
    pub(super) how: How,
}

/// The number of messages from each source other than this node.
pub(super) type Senders = Vec<(Source, u64)>;

pub(super) fn senders(sources: impl Iterator<Item = Source>) -> Senders {
    let mut senders = Senders::new();
    for from in sources.filter(|from| *from != Source::HERE) {
        match senders.last_mut() {
            Some((last, count)) if *last == from => *count += 1,
            _ => senders.push((from, 1)),
        }
    }
    senders
}

/// The sources, other than this node, of the messages that an actor has.
#[derive(Default)]
pub(super) struct SenderCounts(BTreeMap<Source, u64>);

impl SenderCounts {
    pub(super) fn add(&mut self, from: Senders) {
        from.into_iter().for_each(|(from, count)| *self.0.entry(from).or_default() += count);
    }

    pub(super) fn subtract(&mut self, from: &Senders) {
        for (from, settled) in from {
            if let Some(count) = self.0.get_mut(from) {
                *count = count.saturating_sub(*settled);
                if *count == 0 {
                    self.0.remove(from);
                }
            }
        }
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> BTreeMap<Source, u64> {
        std::mem::take(&mut self.0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Begun,
    /// The request has no answer, and will have none.
    Unanswered,
    TakenBack,
    /// A request whose answer is not waited for, as the node ends.
    Forsaken,
}

/// Sends a message whose reply shows that the actor has begun it, which settles `count` messages. It goes through a
/// fresh clone, because actix parks a sender whose queue is full, and a request that is parked never ends.
pub(super) fn give<M: Message<Result: Send> + Send + 'static>(
    actor: &Recipient<M>,
    message: M,
    (number, from): (u64, Senders),
    count: u64,
) -> Given {
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
        Outcome { number, count, from, asked: false, how }
    })
}

/// Asks the actor on behalf of a waiting caller. Once the caller has gone, the request is given up, unless it is
/// `kept`.
pub(super) fn ask<M: Message<Result: Send> + Send + 'static>(
    actor: &Recipient<M>,
    message: M,
    mut reply: Reply<M::Result>,
    (number, from): (u64, Senders),
    kept: bool,
    feed: Arc<Feed>,
) -> Given {
    let answer = contained::<M, _>(|| actor.clone().send(message));
    Box::pin(async move {
        let (count, asked) = (1, true);
        let Some(answer) = answer else { return Outcome { number, count, from, asked, how: How::Unanswered } };
        let mut answer = pin!(answer);
        let ended = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending if feed.is_given_up() => Poll::Ready(Err(How::Forsaken)),
            Poll::Pending if kept => Poll::Pending,
            Poll::Pending => reply.poll_gone(cx).map(|()| Err(How::TakenBack)),
        });
        let how = match ended.await {
            Ok(Ok(answer)) => {
                reply.answer(answer);
                How::Begun
            }
            Ok(Err(_)) => How::Unanswered,
            Err(How::Forsaken) => {
                reply.forsake(DropReason::Shutdown);
                How::Forsaken
            }
            Err(how) => how,
        };
        Outcome { number, count, from, asked, how }
    })
}
