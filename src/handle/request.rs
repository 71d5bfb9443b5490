//! The futures of requests: [`Request`], which is like actix's own, and [`Ask`], which gives the reason of a failure.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use actix::MailboxError;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::Sleep;

use super::ask_error::AskError;
use super::envelope::Parcel;
use super::pointer::Pointer;
use super::reply::Reply;
use super::reply::RequestGuard;
use crate::message::RemoteMessage;

/// The future of [`Address::send`](crate::Address::send).
///
/// # Cancel safety
/// The message was sent when the future was made. Dropping the future cancels the request: if it has not reached its
/// handler, it never does.
#[must_use = "a request that is dropped is cancelled"]
pub struct Request<M: RemoteMessage> {
    pub(super) answer: oneshot::Receiver<M::Result>,
    pub(super) asking: Option<RequestGuard>,
    pub(super) limit: Option<Duration>,
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
}

impl<M: RemoteMessage> Request<M> {
    /// Sets a timeout, counted from the first poll; then the future ends as [`MailboxError::Timeout`] and cancels the
    /// request.
    ///
    /// # Panics
    /// The first poll of a future with a timeout panics outside a tokio runtime, as actix's own does.
    pub fn timeout(self, limit: Duration) -> Self {
        Request { limit: Some(limit), ..self }
    }
}

impl<M: RemoteMessage> fmt::Debug for Request<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("timeout", &self.limit).finish_non_exhaustive()
    }
}

impl<M: RemoteMessage> Future for Request<M> {
    type Output = Result<M::Result, MailboxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer.map_err(|_| MailboxError::Closed));
        }
        if let Some(limit) = self.limit.take() {
            self.sleep = Some(Box::pin(tokio::time::sleep(limit)));
        }
        let timed_out = self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if timed_out {
            self.answer.close();
            self.asking = None;
            return Poll::Ready(Err(MailboxError::Timeout));
        }
        Poll::Pending
    }
}

/// The future of [`Address::ask`](crate::Address::ask).
///
/// # Cancel safety
/// Nothing is sent before the first poll. Dropping the future after that cancels the request: if it has not reached its
/// handler, it never does.
#[must_use = "nothing is asked before the future is polled"]
pub struct Ask<M: RemoteMessage> {
    stage: Stage<M>,
    limit: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
}

enum Stage<M: RemoteMessage> {
    New(Arc<Pointer>, M),
    /// The request is under way; dropping the guard cancels it.
    PeerRequest {
        answer: oneshot::Receiver<Result<M::Result, AskError>>,
        _asking: Option<RequestGuard>,
    },
    Over,
}

// No field is pinned in place.
impl<M: RemoteMessage> Unpin for Ask<M> {}

impl<M: RemoteMessage> Ask<M> {
    pub(crate) fn new(pointer: Arc<Pointer>, message: M) -> Ask<M> {
        Ask { stage: Stage::New(pointer, message), limit: None, sleep: None }
    }

    /// Sets a timeout, counted from the first poll; then the future ends as [`AskError::Timeout`], or as
    /// [`AskError::NotDelivered`] with [`DropReason::Expired`](crate::DropReason::Expired), if the other side reports
    /// in time that the request expired before it could be handled.
    ///
    /// # Panics
    /// The first poll of a future with a timeout panics outside a tokio runtime, as actix's own does.
    pub fn timeout(self, limit: Duration) -> Self {
        Ask { limit: Some(limit), ..self }
    }

    fn begin(&mut self, pointer: &Arc<Pointer>, message: M) -> Stage<M> {
        let (sender, answer) = oneshot::channel();
        // A deadline beyond the range of the clock counts as none.
        let deadline = self.limit.and_then(|limit| Instant::now().checked_add(limit));
        self.sleep = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let asking = pointer.send(Parcel::new(message, Some(Reply::Told { sender, deadline })));
        Stage::PeerRequest { answer, _asking: asking }
    }
}

impl<M: RemoteMessage> fmt::Debug for Ask<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("timeout", &self.limit).finish_non_exhaustive()
    }
}

impl<M: RemoteMessage> Future for Ask<M> {
    type Output = Result<M::Result, AskError>;

    /// # Panics
    /// Panics when it is polled after it has ended, as futures may.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.stage = match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::New(pointer, message) => this.begin(&pointer, message),
            stage => stage,
        };
        let Stage::PeerRequest { answer, .. } = &mut this.stage else { panic!("an Ask was polled after it had ended") };
        if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
            this.stage = Stage::Over;
            // The handler has gone without an answer.
            return Poll::Ready(answer.unwrap_or(Err(AskError::ActorStopped)));
        }
        if this.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
            this.stage = Stage::Over;
            return Poll::Ready(Err(AskError::Timeout));
        }
        Poll::Pending
    }
}
