//! The way back for the result of a request, here and over a connection.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ask_error::AskError;
use super::context::NodeContext;
use super::envelope::contained;
use super::peer_request::PeerRequest;
use super::pointer::Pointer;
use super::pointer::sending::RequestAt;
use super::ports::Correlation;
use super::ports::Outbound;
use super::ports::PendingReply;
use crate::handle::serde_scope;
use crate::message::RemoteMessage;
use crate::message::preflight;
use crate::reason::DropReason;
use crate::wire::body::Body;
use crate::wire::frames::refuse::Unanswered;

/// The way back for one answer, as bytes. If it is dropped without an answer, the asker is told that there will be
/// none.
pub(crate) struct AnswerTo {
    node: Arc<NodeContext>,
    /// The route; `None` once it is used.
    back: Option<ReplyRoute>,
    deadline: Option<Instant>,
}

/// The route of an answer.
enum ReplyRoute {
    /// To the connection that the request came from.
    Link { link: Arc<dyn Outbound>, correlation: Correlation, asked: Arc<PeerRequest> },
    /// To an asker at this node, whose message is of another Rust type than the box's.
    Here(Box<dyn PendingReply>),
}

impl ReplyRoute {
    fn refuse(self, why: Unanswered, detail: &str) {
        match self {
            ReplyRoute::Link { link, correlation, asked } => link.refuse(correlation, &asked, why, detail),
            ReplyRoute::Here(waiting) => waiting.failed(AskError::refused(why, detail)),
        }
    }
}

impl AnswerTo {
    pub(crate) fn new(
        node: Arc<NodeContext>,
        link: Arc<dyn Outbound>,
        correlation: Correlation,
        asked: Arc<PeerRequest>,
        deadline: Option<Instant>,
    ) -> AnswerTo {
        AnswerTo { node, back: Some(ReplyRoute::Link { link, correlation, asked }), deadline }
    }

    /// Makes the way back to a caller that waits at this node.
    pub(crate) fn here(node: Arc<NodeContext>, waiting: Box<dyn PendingReply>, deadline: Option<Instant>) -> AnswerTo {
        AnswerTo { node, back: Some(ReplyRoute::Here(waiting)), deadline }
    }

    pub(crate) fn this_node(&self) -> &Arc<NodeContext> {
        &self.node
    }

    /// Answers. Returns an error if the answer cannot be written; then the request must still be
    /// [refused](AnswerTo::refuse_unwritten).
    pub(crate) fn answer(&mut self, body: Body<'_>, handles: &[Arc<Pointer>]) -> Result<(), Unanswered> {
        match self.back.take() {
            Some(ReplyRoute::Link { link, correlation, asked }) => {
                let answered = link.answer(correlation, &asked, body, handles);
                if answered.is_err() {
                    self.back = Some(ReplyRoute::Link { link, correlation, asked });
                }
                answered
            }
            Some(ReplyRoute::Here(waiting)) => {
                waiting.answered(&body, &mut handles.to_vec());
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn refuse(mut self, why: Unanswered, detail: &str) {
        if let Some(back) = self.back.take() {
            back.refuse(why, detail);
        }
    }

    /// Refuses because the answer cannot be written: it is longer than the asker can read, or there is no room for it.
    pub(crate) fn refuse_unwritten(self, why: Unanswered) {
        let detail = if why == Unanswered::NotEncodable { "the answer does not fit" } else { "" };
        self.refuse(why, detail);
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline - Instant::now())
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Marks the request as about to be handled, or passed on, or returns the reason why it must not be.
    pub(crate) fn begin(&self) -> Result<(), DropReason> {
        match &self.back {
            Some(ReplyRoute::Link { asked, .. }) => asked.begin(),
            Some(ReplyRoute::Here(waiting)) if waiting.is_gone() => Err(DropReason::Cancelled),
            Some(ReplyRoute::Here(_)) => Ok(()),
            None => Err(DropReason::Cancelled),
        }
    }

    /// Gives up waiting for the answer to a request that may have begun. Over a connection the goodbye informs the
    /// asker.
    fn forsake(mut self, reason: DropReason) {
        if let Some(ReplyRoute::Here(waiting)) = self.back.take() {
            waiting.failed(AskError::OutcomeUnknown { reason });
        }
    }

    /// Returns whether the answer is not wanted any more.
    pub(crate) fn is_gone(&self) -> bool {
        match &self.back {
            Some(ReplyRoute::Link { asked, .. }) => asked.is_cancelled(),
            Some(ReplyRoute::Here(waiting)) => waiting.is_gone(),
            None => true,
        }
    }

    /// Becomes ready once the answer is not wanted any more.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.back {
            Some(ReplyRoute::Link { asked, .. }) => asked.poll_cancelled(cx),
            Some(ReplyRoute::Here(waiting)) => waiting.poll_gone(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for AnswerTo {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            back.refuse(Unanswered::Abandoned, "");
        }
    }
}

impl fmt::Debug for AnswerTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerTo").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// The way back for a result. Dropping it tells the asker that there will be none.
pub(crate) enum Reply<R> {
    /// To a `send`, which learns only that there is no result.
    Plain(oneshot::Sender<R>),
    /// To an `ask`, which learns the reason, and may have a deadline.
    Told { sender: oneshot::Sender<Result<R, AskError>>, deadline: Option<Instant> },
    /// As bytes, to the connection that the request came from, or to an asker here whose result is of another Rust
    /// type.
    Away { answer: AnswerTo, encode: fn(AnswerTo, R) },
}

impl<R> Reply<R> {
    pub(crate) fn answer(self, result: R) {
        // The caller may have gone; then the result is dropped here.
        contained::<R, _>(|| match self {
            Reply::Plain(sender) => drop(sender.send(result)),
            Reply::Told { sender, .. } => drop(sender.send(Ok(result))),
            Reply::Away { answer, encode } => encode(answer, result),
        });
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

    /// Returns the way back as bytes, if it is one.
    pub(crate) fn into_answer(self) -> Option<AnswerTo> {
        match self {
            Reply::Plain(_) | Reply::Told { .. } => None,
            Reply::Away { answer, .. } => Some(answer),
        }
    }

    /// Returns whether nobody waits any more.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Reply::Plain(sender) => sender.is_closed(),
            Reply::Told { sender, .. } => sender.is_closed(),
            Reply::Away { answer, .. } => answer.is_gone(),
        }
    }

    /// Becomes ready once nobody waits any more.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Reply::Plain(sender) => sender.poll_closed(cx),
            Reply::Told { sender, .. } => sender.poll_closed(cx),
            Reply::Away { answer, .. } => answer.poll_gone(cx),
        }
    }

    /// Gives up waiting for the result of a request that may have begun.
    pub(crate) fn forsake(self, reason: DropReason) {
        match self {
            Reply::Away { answer, .. } => answer.forsake(reason),
            near => near.fail(AskError::OutcomeUnknown { reason }),
        }
    }

    /// Marks the request as about to be handled, or returns the reason why it need not be any more.
    pub(super) fn begin(&self) -> Result<(), DropReason> {
        let begun = match self {
            Reply::Away { answer, .. } if !self.has_expired() => answer.begin(),
            _ => Ok(()),
        };
        begun.and_then(|()| self.lapsed().map_or(Ok(()), Err))
    }

    fn has_expired(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    pub(super) fn lapsed(&self) -> Option<DropReason> {
        match self.deadline() {
            _ if self.is_gone() => Some(DropReason::Cancelled),
            Some(deadline) if deadline <= Instant::now() => Some(DropReason::Expired),
            _ => None,
        }
    }

    /// Returns the time until which the caller waits, if it is known.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Reply::Plain(_) => None,
            Reply::Told { deadline, .. } => *deadline,
            Reply::Away { answer, .. } => answer.deadline(),
        }
    }

    /// Returns the time left until the deadline.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline - Instant::now())
    }
}

/// Makes the way back over a connection for the result of a message of type `M`.
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

/// A pending answer to a request of this node.
pub(crate) struct AwaitedReply<R> {
    pub(crate) node: Arc<NodeContext>,
    pub(crate) reply: Reply<R>,
}

impl<R: DeserializeOwned + Send> PendingReply for AwaitedReply<R> {
    fn answered(self: Box<Self>, body: &[u8], handles: &mut Vec<Arc<Pointer>>) {
        match serde_scope::read(&self.node, body, handles) {
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

/// Encodes the answer, and sends it back to the source of the request.
fn encode<M: RemoteMessage>(mut answer: AnswerTo, result: M::Result) {
    if answer.is_gone() {
        return;
    }
    let node = Arc::clone(answer.this_node());
    let check = preflight::of_result::<M>();
    match serde_scope::write(&node, &result, check, |body, handles| answer.answer(body, handles)) {
        Ok(Ok(())) => {}
        Ok(Err(why)) => answer.refuse_unwritten(why),
        Err(error) => answer.refuse(Unanswered::NotEncodable, &error.to_string()),
    }
}

/// A request on its way. When it is dropped, the answer is not wanted any more.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    request: Option<RequestAt>,
}

impl RequestGuard {
    pub(crate) fn new(request: RequestAt) -> RequestGuard {
        RequestGuard { request: Some(request) }
    }

    /// Detaches the guard, so that dropping it does not cancel the request; the sweep checks whether anybody still
    /// waits.
    pub(crate) fn detach(mut self) {
        self.request = None;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            request.cancel();
        }
    }
}
