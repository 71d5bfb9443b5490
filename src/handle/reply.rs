//! A message on its way into a box of this node, and who waits for its result.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use actix::prelude::Message;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::failure::AskError;
use super::route::AnswerTo;
use super::route::Household;
use super::route::Outbound;
use super::route::Pointer;
use super::route::Waiting;
use super::scope;
use super::terms::Correlation;
use super::terms::Source;
use crate::message::RemoteMessage;
use crate::message::fit;
use crate::observe::DropReason;
use crate::wire::control::Unanswered;

/// A message, and where its result goes if somebody waits for it.
#[derive(Debug)]
pub(crate) struct Parcel<M: Message> {
    pub(crate) message: M,
    /// Boxed, because most messages have none and all are moved several times.
    pub(crate) reply: Option<Box<Reply<M::Result>>>,
    pub(crate) from: Source,
}

impl<M: Message> Parcel<M> {
    /// One of this node.
    #[inline]
    pub(crate) fn new(message: M, reply: Option<Reply<M::Result>>) -> Parcel<M> {
        Parcel { message, reply: reply.map(Box::new), from: Source::HERE }
    }

    /// Why it is not worth handling any more.
    pub(crate) fn lapsed(&self) -> Option<DropReason> {
        self.reply.as_ref().and_then(|reply| reply.lapsed())
    }

    /// Tells the one who waits that it is dropped.
    pub(crate) fn drop_for(self, reason: DropReason, detail: Option<String>) {
        if let Some(reply) = self.reply {
            (*reply).fail(AskError::NotDelivered { reason, detail });
        }
    }
}

/// Where a result goes. Dropping it says that there will be none.
pub(crate) enum Reply<R> {
    /// To a `send`, which learns only that there is none.
    Plain(oneshot::Sender<R>),
    /// To an `ask`, which learns why, and may have set a time.
    Told { sender: oneshot::Sender<Result<R, AskError>>, deadline: Option<Instant> },
    /// As bytes, to the connection that the request came from, or to one here whose result is of another Rust type.
    Away { answer: AnswerTo, encode: fn(AnswerTo, R) },
}

impl<R> Reply<R> {
    pub(crate) fn answer(self, result: R) {
        // The one who waited may have gone.
        match self {
            Reply::Plain(sender) => drop(sender.send(result)),
            Reply::Told { sender, .. } => drop(sender.send(Ok(result))),
            Reply::Away { answer, encode } => encode(answer, result),
        }
    }

    pub(crate) fn fail(self, error: AskError) {
        match self {
            Reply::Plain(sender) => drop(sender),
            Reply::Told { sender, .. } => drop(sender.send(Err(error))),
            Reply::Away { answer, .. } => match error {
                AskError::NotDelivered { reason, detail } => {
                    answer.refuse(Unanswered::NotDelivered(reason), detail.as_deref().unwrap_or_default());
                }
                _ => drop(answer),
            },
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Reply::Plain(sender) => sender.is_closed(),
            Reply::Told { sender, .. } => sender.is_closed(),
            Reply::Away { answer, .. } => answer.is_gone(),
        }
    }

    /// Ready once nobody waits any more.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Reply::Plain(sender) => sender.poll_closed(cx),
            Reply::Told { sender, .. } => sender.poll_closed(cx),
            Reply::Away { answer, .. } => answer.poll_gone(cx),
        }
    }

    fn lapsed(&self) -> Option<DropReason> {
        match self.deadline() {
            _ if self.is_gone() => Some(DropReason::Cancelled),
            Some(deadline) if deadline <= Instant::now() => Some(DropReason::Expired),
            _ => None,
        }
    }

    /// Until when the one who waits does, if that is known.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Reply::Plain(_) => None,
            Reply::Told { deadline, .. } => *deadline,
            Reply::Away { answer, .. } => answer.deadline(),
        }
    }

    /// How long that is.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline - Instant::now())
    }
}

/// The way back over a connection for what a message of type `M` is answered with.
pub(crate) fn away<M: RemoteMessage>(answer: AnswerTo) -> Reply<M::Result> {
    Reply::Away { answer, encode: encode::<M> }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reply::Plain(_) => "Plain",
            Reply::Told { .. } => "Told",
            Reply::Away { .. } => "Away",
        })
    }
}

/// Waits for an answer to a request of this node.
pub(crate) struct Awaiting<R> {
    pub(crate) home: Arc<dyn Household>,
    pub(crate) reply: Reply<R>,
}

impl<R: DeserializeOwned + Send> Waiting for Awaiting<R> {
    fn answered(self: Box<Self>, body: &[u8], handles: &mut Vec<Arc<Pointer>>) {
        match scope::read(&self.home, body, handles) {
            Ok(result) => self.reply.answer(result),
            Err(error) => {
                tracing::trace!(target: "actix_hermod", %error, "an answer cannot be decoded");
                self.reply.fail(AskError::OutcomeUnknown { reason: DropReason::NotDecodable });
            }
        }
    }

    fn failed(self: Box<Self>, error: AskError) {
        self.reply.fail(error);
    }

    fn is_gone(&self) -> bool {
        self.reply.is_gone()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reply.poll_gone(cx)
    }
}

/// Writes the answer, and gives it back to where the request came from.
fn encode<M: RemoteMessage>(mut answer: AnswerTo, result: M::Result) {
    if answer.is_gone() {
        return;
    }
    let home = Arc::clone(answer.home());
    let look = fit::look_at_result_of::<M>();
    match scope::write(&home, &result, look, |body, handles| answer.answer(body, handles)) {
        Ok(true) => {}
        Ok(false) => answer.refuse_as_too_long(),
        Err(error) => answer.refuse(Unanswered::NotEncodable, &error.to_string()),
    }
}

/// A request on its way. When it is dropped, the answer is not wanted any more.
#[derive(Debug)]
pub(crate) struct Asking {
    way: Option<(Arc<dyn Outbound>, Correlation)>,
}

impl Asking {
    pub(crate) fn new(link: Arc<dyn Outbound>, correlation: Correlation) -> Asking {
        Asking { way: Some((link, correlation)) }
    }

    /// Leaves the request to itself: who waits for it is seen by the sweep.
    pub(crate) fn detach(mut self) {
        self.way = None;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some((link, correlation)) = self.way.take() {
            link.cancel(correlation);
        }
    }
}
