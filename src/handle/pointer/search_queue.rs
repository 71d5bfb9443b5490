//! The messages that wait while a path is searched for: in order, and bounded like an outbox. When the search is over
//! they leave by the connection that was found or, if none was, by the connection that introduced their pointers:
//! nothing is lost because a hint was wrong.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Pointer;
use super::sending::Next;
use super::sending::RequestAt;
use crate::handle::envelope::Envelope;
use crate::handle::envelope::KeptEnvelope;
use crate::handle::ports::NotTaken;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::quota::Share;
use crate::reason::DropReason;

/// Rounds of passing messages on before other tasks of this thread have their turn.
const ROUNDS: u32 = 16;

/// One search: see the [module](self).
pub(crate) struct SearchQueue {
    /// Maximum number of bytes that wait.
    limit: usize,
    state: Mutex<SearchState>,
}

struct SearchState {
    /// The result, once it is known: the connection that was found, or `None` inside if none was.
    found: Option<Option<Arc<dyn Outbound>>>,
    waiting: VecDeque<QueuedMessage>,
    bytes: usize,
    /// The share of this queue in the bytes that may wait for all connections.
    share: Share,
    requests: u64,
    /// The connections that took the requests that have waited, so that they can be cancelled there.
    gone_on: HashMap<u64, RequestAt>,
}

/// Why a message does not wait.
enum NoWait {
    Found(Arc<dyn Outbound>),
    InVain,
    Full,
}

impl NoWait {
    /// Sends by the connection that was found, or returns the reason why the message was not posted.
    fn next<T>(self, send: impl FnOnce(Next<'_>) -> Result<T, NotTaken>) -> Result<T, NotTaken> {
        match self {
            NoWait::Found(link) => send(Next::Outbox { link: &link, patient: false }),
            NoWait::InVain => Err(NotTaken::NotUp),
            NoWait::Full => Err(NotTaken::Dropped(DropReason::OutboxFull)),
        }
    }
}

/// A message that waits.
struct QueuedMessage {
    to: Arc<Pointer>,
    message: KeptEnvelope,
    /// Set if the message is a request.
    request: Option<QueuedRequest>,
}

struct QueuedRequest {
    number: u64,
    deadline: Option<Instant>,
    waiting: Option<Box<dyn PendingReply>>,
}

impl QueuedMessage {
    fn new(to: &Arc<Pointer>, message: &Envelope<'_>, request: Option<QueuedRequest>) -> QueuedMessage {
        QueuedMessage { to: Arc::clone(to), message: message.keep(), request }
    }

    fn drop_for(mut self, reason: DropReason) {
        let waiting = self.request.as_mut().and_then(|request| request.waiting.take());
        self.to.settle_loss(reason.into(), self.message.envelope().type_name, None, waiting);
    }
}

impl SearchQueue {
    /// Returns the queue of a search, for at most `limit` bytes, which count against `share`.
    pub(crate) fn new(limit: usize, share: Share) -> SearchQueue {
        let state = SearchState {
            found: None,
            waiting: VecDeque::new(),
            bytes: 0,
            share,
            requests: 0,
            gone_on: HashMap::new(),
        };
        SearchQueue { limit, state: Mutex::new(state) }
    }

    /// Queues a message that `wait` makes, if there is room, or returns the result of the search as the reason not to
    /// wait.
    fn or_wait<T>(
        &self,
        message: &Envelope<'_>,
        wait: impl FnOnce(&mut SearchState) -> (QueuedMessage, T),
    ) -> Result<T, NoWait> {
        let mut state = self.state.lock();
        if let Some(found) = &state.found {
            return Err(found.clone().map_or(NoWait::InVain, NoWait::Found));
        }
        let size = size_of::<QueuedMessage>() + message.body.len() + size_of_val(message.handles);
        // An empty queue takes a message of any size, as an outbox does.
        let waits = state.bytes + size;
        if (state.bytes > 0 && waits > self.limit) || !state.share.covers(waits) {
            return Err(NoWait::Full);
        }
        let (parcel, value) = wait(&mut state);
        state.bytes += size;
        state.waiting.push_back(parcel);
        Ok(value)
    }

    /// Queues a message, or sends it by the connection that was found.
    pub(super) fn post(&self, to: &Arc<Pointer>, message: &Envelope<'_>) -> Result<(), NotTaken> {
        match self.or_wait(message, |_| (QueuedMessage::new(to, message, None), ())) {
            Ok(()) => Ok(()),
            Err(no_wait) => no_wait.next(|next| next.post(to, message)),
        }
    }

    /// Queues a request, or sends it by the connection that was found. If the request is not taken, neither is
    /// `waiting`.
    pub(super) fn ask(
        self: &Arc<Self>,
        to: &Arc<Pointer>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
    ) -> Result<RequestAt, NotTaken> {
        let deadline = time_left.and_then(|left| Instant::now().checked_add(left));
        let waits = self.or_wait(message, |state| {
            state.requests += 1;
            let number = state.requests;
            let request = QueuedRequest { number, deadline, waiting: waiting.take() };
            (QueuedMessage::new(to, message, Some(request)), number)
        });
        match waits {
            Ok(number) => Ok(RequestAt::Search(Arc::clone(self), number)),
            Err(no_wait) => no_wait.next(|next| next.ask(to, message, time_left, waiting)),
        }
    }

    /// Cancels a request that has waited. One that still waits is not passed on, since nobody waits for its answer.
    pub(super) fn cancel(&self, request: u64) {
        let gone_on = self.state.lock().gone_on.remove(&request);
        if let Some(gone_on) = gone_on {
            gone_on.cancel();
        }
    }

    /// Returns the connection that was found, once the search is over.
    pub(super) fn found(&self) -> Option<Arc<dyn Outbound>> {
        self.state.lock().found.clone().flatten()
    }

    /// Returns whether the search is over and has found nothing.
    #[cfg(test)]
    pub(crate) fn is_in_vain(&self) -> bool {
        matches!(self.state.lock().found, Some(None))
    }

    /// Sends all waiting messages by the connection that was found or, if none was, by the connection that introduced
    /// their pointers; later messages follow.
    pub(crate) async fn settle(self: &Arc<Self>, mut found: Option<Arc<dyn Outbound>>) {
        let mut settled: Vec<Arc<Pointer>> = Vec::new();
        for round in 1_u32.. {
            let batch = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.found = Some(found.clone());
                    break;
                }
                state.bytes = 0;
                state.share.shrink_to(0);
                std::mem::take(&mut state.waiting)
            };
            for parcel in batch {
                let to = Arc::clone(&parcel.to);
                self.pass_on(parcel, &mut found);
                if settled.last().is_none_or(|last| !Arc::ptr_eq(last, &to)) {
                    settled.push(to);
                }
            }
            // Other threads may send as fast as this loop passes on. A task of this thread that sends whenever it runs
            // would never let the loop end, if it ran between any two rounds.
            if round.is_multiple_of(ROUNDS) {
                tokio::task::yield_now().await;
            }
        }
        for to in settled {
            to.settle_search(self, found.as_ref());
        }
    }

    /// Passes one message on. Clears `found` if that connection turns out to have broken.
    fn pass_on(&self, mut parcel: QueuedMessage, found: &mut Option<Arc<dyn Outbound>>) {
        let message = &parcel.message.envelope();
        let to = &parcel.to;
        let passed = match &mut parcel.request {
            None => send(to, found, |next| next.post(to, message)),
            Some(QueuedRequest { waiting, .. }) if waiting.as_ref().is_none_or(|waiting| waiting.is_gone()) => {
                Err(DropReason::Cancelled)
            }
            Some(QueuedRequest { number, deadline, waiting }) => {
                let time_left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let asked = send(to, found, |next| next.ask(to, message, time_left, waiting));
                asked.map(|gone| drop(self.state.lock().gone_on.insert(*number, gone)))
            }
        };
        if let Err(reason) = passed {
            parcel.drop_for(reason);
        }
    }

    /// Ends the search without a result, and drops the waiting messages.
    pub(crate) fn give_up(&self, reason: DropReason) {
        let waiting = {
            let mut state = self.state.lock();
            state.found.get_or_insert(None);
            state.share.shrink_to(0);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|parcel| parcel.drop_for(reason));
    }
}

/// Sends by the connection that was found, or else through the relay; then all later messages go through the relay as
/// well, so that none overtakes by a connection that has come back.
fn send<T>(
    to: &Arc<Pointer>,
    found: &mut Option<Arc<dyn Outbound>>,
    mut send: impl FnMut(Next<'_>) -> Result<T, NotTaken>,
) -> Result<T, DropReason> {
    match found.as_ref().map(|link| send(Next::Outbox { link, patient: false })) {
        Some(Ok(sent)) => Ok(sent),
        Some(Err(not_taken)) if !not_taken.is_unlinked() => Err(not_taken.reason()),
        None | Some(Err(_)) => {
            *found = None;
            to.send_by_primary(send)
        }
    }
}

impl fmt::Debug for SearchQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchQueue").field("waiting", &self.state.lock().waiting.len()).finish_non_exhaustive()
    }
}
