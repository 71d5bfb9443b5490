//! The messages that wait while a path is searched for: in order, and bounded like an outbox. When the search is over
//! they leave by the connection that was found or, if none was, by the connection that introduced their pointers:
//! nothing is lost because a hint was wrong.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::handle::envelope::Body;
use crate::handle::envelope::Envelope;
use crate::handle::envelope::KeptEnvelope;
use crate::handle::peer_request::PeerRequest;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::lease::Lease;
use crate::handle::ports::BoxGone;
use crate::handle::ports::Correlation;
use crate::handle::ports::NotPosted;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::net::link::post_queue;
use crate::net::link::session;
use crate::quota::Quota;
use crate::quota::Share;
use crate::reason::DropReason;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::target::Target;

/// Rounds of passing messages on before other tasks of this thread have their turn.
const ROUNDS: u32 = 16;

/// One search: see the [module](self).
pub(crate) struct SearchQueue {
    limit: usize,
    /// Stands for the number of a connection in the correlations of requests that wait.
    number: u64,
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
    /// The requests that have waited, as the connection that took them knows them, so that they can be cancelled there.
    gone_on: HashMap<u64, (Arc<dyn Outbound>, Correlation)>,
}

/// Why a message does not wait.
enum NoWait {
    Found(Arc<dyn Outbound>),
    InVain,
    Full,
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
    pub(super) fn new(limit: usize, outboxes: &Arc<Quota>) -> SearchQueue {
        let state = SearchState {
            found: None,
            waiting: VecDeque::new(),
            bytes: 0,
            share: Share::new(outboxes, &post_queue::OWN),
            requests: 0,
            gone_on: HashMap::new(),
        };
        SearchQueue { limit, number: session::next_connection(), state: Mutex::new(state) }
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

    fn link(&self) -> Option<Arc<dyn Outbound>> {
        self.state.lock().found.clone().flatten()
    }

    /// Sends all waiting messages by the connection that was found or, if none was, by the connection that introduced
    /// their pointers; later messages follow.
    pub(super) async fn settle(&self, mut found: Option<Arc<dyn Outbound>>) {
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
            to.settle_search((&raw const *self).cast(), found.as_ref());
        }
    }

    /// Passes one message on. Clears `found` if that connection turns out to have broken.
    fn pass_on(&self, mut parcel: QueuedMessage, found: &mut Option<Arc<dyn Outbound>>) {
        let message = &parcel.message.envelope();
        let to = &parcel.to;
        let passed = match &mut parcel.request {
            None => send(to, found, |link, patient| link.post(to, message, patient)),
            Some(QueuedRequest { waiting, .. }) if waiting.as_ref().is_none_or(|waiting| waiting.is_gone()) => {
                Err(DropReason::Cancelled)
            }
            Some(QueuedRequest { number, deadline, waiting }) => {
                let time_left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let asked = send(to, found, |link, patient| {
                    let correlation = link.ask(to, message, time_left, waiting, patient)?;
                    Ok((Arc::clone(link), correlation))
                });
                asked.map(|gone| drop(self.state.lock().gone_on.insert(*number, gone)))
            }
        };
        if let Err(reason) = passed {
            parcel.drop_for(reason);
        }
    }

    pub(super) fn give_up(&self, reason: DropReason) {
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
pub(super) fn send<T>(
    to: &Arc<Pointer>,
    found: &mut Option<Arc<dyn Outbound>>,
    mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
) -> Result<T, DropReason> {
    match found.as_ref().map(|link| send(link, false)) {
        Some(Ok(sent)) => Ok(sent),
        Some(Err(NotPosted::Dropped(reason))) => Err(reason),
        None | Some(Err(NotPosted::Over | NotPosted::NotUp)) => {
            *found = None;
            to.send_by_primary(send)
        }
    }
}

impl Outbound for SearchQueue {
    fn post(&self, to: &Arc<Pointer>, message: &Envelope<'_>, patient: bool) -> Result<(), NotPosted> {
        self.or_wait(message, |_| (QueuedMessage::new(to, message, None), ())).or_else(|no_wait| match no_wait {
            NoWait::Found(link) => link.post(to, message, patient),
            NoWait::InVain => Err(NotPosted::NotUp),
            NoWait::Full => Err(NotPosted::Dropped(DropReason::OutboxFull)),
        })
    }

    fn ask(
        &self,
        to: &Arc<Pointer>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
        patient: bool,
    ) -> Result<Correlation, NotPosted> {
        let deadline = time_left.and_then(|left| Instant::now().checked_add(left));
        let waits = self.or_wait(message, |state| {
            state.requests += 1;
            let number = state.requests;
            let request = QueuedRequest { number, deadline, waiting: waiting.take() };
            (QueuedMessage::new(to, message, Some(request)), Correlation { connection: self.number, number })
        });
        waits.or_else(|no_wait| match no_wait {
            NoWait::Found(link) => link.ask(to, message, time_left, waiting, patient),
            NoWait::InVain => Err(NotPosted::NotUp),
            NoWait::Full => Err(NotPosted::Dropped(DropReason::OutboxFull)),
        })
    }

    /// Never called: requests arrive by connections.
    fn answer(&self, _: Correlation, _: &PeerRequest, _: Body<'_>, _: &[Arc<Pointer>]) -> Result<(), Unanswered> {
        Ok(())
    }

    fn refuse(&self, _: Correlation, _: &PeerRequest, _: Unanswered, _: &str) {}

    fn cancel(&self, which: Correlation) {
        // A request that still waits is not passed on, since nobody waits for its answer.
        let gone_on = if which.connection == self.number {
            self.state.lock().gone_on.remove(&which.number)
        } else {
            self.link().map(|link| (link, which))
        };
        if let Some((link, correlation)) = gone_on {
            link.cancel(correlation);
        }
    }

    fn is_up(&self) -> bool {
        match &self.state.lock().found {
            None => true,
            Some(found) => found.as_ref().is_some_and(|link| link.is_up()),
        }
    }

    fn is_linked(&self) -> bool {
        self.link().is_some_and(|link| link.is_linked())
    }

    fn lost_since(&self) -> Option<Instant> {
        self.link()?.lost_since()
    }

    fn is_over(&self) -> bool {
        matches!(self.state.lock().found, Some(None))
    }

    fn longest_message(&self) -> usize {
        self.link().map_or(0, |link| link.longest_message())
    }

    fn trouble(&self) -> Option<String> {
        self.link()?.trouble()
    }

    fn peer(&self) -> Option<Incarnation> {
        self.link()?.peer()
    }

    fn losses(&self, target: &Target, fingerprint: u64) -> BTreeMap<DropReason, u64> {
        self.link().map(|link| link.losses(target, fingerprint)).unwrap_or_default()
    }

    /// Boxes are watched by connections: this passes the watch on, if one was found.
    fn watch(&self, target: &Target, node: Option<Incarnation>, told: oneshot::Sender<BoxGone>) {
        if let Some(link) = self.link() {
            link.watch(target, node, told);
        }
    }

    fn pressure(&self, target: &Target) -> f32 {
        self.link().map_or(1.0, |link| link.pressure(target))
    }

    /// Leases are held by connections: this gives the lease back.
    fn keep(&self, _: u64, held: Lease) -> Option<Lease> {
        Some(held)
    }

    fn release(&self, connection: u64, id: BoxId, count: u64) {
        if let Some(link) = self.link() {
            link.release(connection, id, count);
        }
    }
}

impl fmt::Debug for SearchQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchQueue").field("waiting", &self.state.lock().waiting.len()).finish_non_exhaustive()
    }
}
