//! Looks whether a node is where it is said to listen, before its boxes are reached the long way, through the node that
//! introduced them.
//!
//! What is sent meanwhile waits here, in order, and then goes whichever way it is: nothing is lost because a hint was
//! wrong. What waits is bounded like an outbox; how long, by `handshake_timeout`; and what ends it otherwise is the end of
//! the node. A node that was looked for in vain is not looked for again before the longest pause between two dials is over.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::links::Links;
use super::outbox;
use crate::config::Limits;
use crate::handle::failure::AskError;
use crate::handle::route::Encoded;
use crate::handle::route::Held;
use crate::handle::route::Outbound;
use crate::handle::route::Pointer;
use crate::handle::route::Waiting;
use crate::handle::terms::Asked;
use crate::handle::terms::Body;
use crate::handle::terms::Correlation;
use crate::handle::terms::NotPosted;
use crate::ident::BoxId;
use crate::ident::NodeId;
use crate::observe::CloseReason;
use crate::observe::DropReason;
use crate::wire::control::Unanswered;
use crate::wire::question::Question;
use crate::wire::report::Target;

/// Nodes that are looked for at a time; boxes of further ones are reached the long way.
const MAX_SEARCHES: usize = 64;

/// Nodes that were looked for in vain which are remembered; while there are so many, no others are looked for.
const MAX_MISSED: usize = 1024;

/// Times that what waits is passed on before others of this thread have their turn.
const ROUNDS: u32 = 16;

/// The searches of one node.
#[derive(Debug, Default)]
pub(crate) struct Scouts {
    tables: Mutex<Tables>,
    /// Cancelled when no connection is waited for any more.
    hurry: CancellationToken,
    has_ended: Notify,
}

#[derive(Debug, Default)]
struct Tables {
    under_way: HashMap<NodeId, Arc<Scout>>,
    /// Nodes that were looked for in vain, and when they may be looked for again.
    missed: HashMap<NodeId, Instant>,
}

impl Scouts {
    /// The search for a node, begun with `begin` if there is none; `None` if there is to be none.
    pub(super) fn search(
        &self,
        node: NodeId,
        limit: usize,
        begin: impl FnOnce(Arc<Scout>),
    ) -> Option<Arc<dyn Outbound>> {
        let scout = {
            let mut tables = self.tables.lock();
            if let Some(scout) = tables.under_way.get(&node) {
                return Some(Arc::clone(scout) as _);
            }
            let now = Instant::now();
            if tables.missed.get(&node).is_some_and(|until| now < *until) {
                return None;
            }
            if tables.missed.len() >= MAX_MISSED {
                tables.missed.retain(|_, until| now < *until);
            }
            if self.hurry.is_cancelled() || tables.under_way.len() >= MAX_SEARCHES || tables.missed.len() >= MAX_MISSED
            {
                return None;
            }
            let scout = Arc::new(Scout::new(limit));
            tables.under_way.insert(node, Arc::clone(&scout));
            scout
        };
        begin(Arc::clone(&scout));
        Some(scout)
    }

    fn ended(&self, node: NodeId, again: Option<Instant>) {
        let mut tables = self.tables.lock();
        let ended = tables.under_way.remove(&node);
        match again {
            Some(again) => tables.missed.insert(node, again),
            None => tables.missed.remove(&node),
        };
        drop(tables);
        drop(ended);
        self.has_ended.notify_waiters();
    }

    /// Ends all searches, and waits until what waited for them has gone the long way.
    pub(super) async fn hurry(&self) {
        self.hurry.cancel();
        loop {
            let mut ended = std::pin::pin!(self.has_ended.notified());
            // From here on nothing is missed.
            ended.as_mut().enable();
            if self.tables.lock().under_way.is_empty() {
                return;
            }
            ended.await;
        }
    }
}

/// One search: see the [module](self).
pub(crate) struct Scout {
    limit: usize,
    /// Instead of a connection's, in the numbers of requests that wait.
    number: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Once it is known: the connection that was found, or that there is none.
    found: Option<Option<Arc<dyn Outbound>>>,
    waiting: VecDeque<Parcel>,
    bytes: usize,
    requests: u64,
    /// The requests that have waited, as they are known to the connection by which they went, for who takes them back.
    gone_on: HashMap<u64, (Arc<dyn Outbound>, Correlation)>,
}

/// Why a message does not wait.
enum NoWait {
    Found(Arc<dyn Outbound>),
    InVain,
    Full,
}

/// A message that waits.
struct Parcel {
    to: Arc<Pointer>,
    body: Bytes,
    handles: Vec<Arc<Pointer>>,
    fingerprint: u64,
    hops: u8,
    /// Of a request.
    request: Option<Request>,
}

struct Request {
    number: u64,
    deadline: Option<Instant>,
    waiting: Option<Box<dyn Waiting>>,
}

impl Parcel {
    fn new(to: &Arc<Pointer>, message: &Encoded<'_>, request: Option<Request>) -> Parcel {
        let &Encoded { body, handles, fingerprint, hops } = message;
        Parcel { to: Arc::clone(to), body: body.keep(), handles: handles.to_vec(), fingerprint, hops, request }
    }

    fn drop_for(mut self, reason: DropReason) {
        self.to.count_drop("", reason, None);
        if let Some(waiting) = self.request.as_mut().and_then(|request| request.waiting.take()) {
            waiting.failed(AskError::NotDelivered { reason, detail: None });
        }
    }
}

impl Scout {
    fn new(limit: usize) -> Scout {
        Scout { limit, number: outbox::next_connection(), state: Mutex::default() }
    }

    /// What was found, once that is known. Until then `wait` makes something of a message that waits, if there is room.
    fn or_wait<T>(&self, message: &Encoded<'_>, wait: impl FnOnce(&mut State) -> (Parcel, T)) -> Result<T, NoWait> {
        let mut state = self.state.lock();
        if let Some(found) = &state.found {
            return Err(found.clone().map_or(NoWait::InVain, NoWait::Found));
        }
        let size = size_of::<Parcel>() + message.body.len() + size_of_val(message.handles);
        // One takes any one message, as an outbox does.
        if state.bytes > 0 && state.bytes + size > self.limit {
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

    /// Everything that waits goes by the connection that was found or, if there is none, the way that its pointer came by;
    /// and then whatever else is sent.
    async fn settle(&self, mut found: Option<Arc<dyn Outbound>>) {
        let mut settled: Vec<Arc<Pointer>> = Vec::new();
        for round in 1_u32.. {
            let batch = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.found = Some(found.clone());
                    break;
                }
                state.bytes = 0;
                std::mem::take(&mut state.waiting)
            };
            for parcel in batch {
                let to = Arc::clone(&parcel.to);
                self.pass_on(parcel, &mut found);
                if settled.last().is_none_or(|last| !Arc::ptr_eq(last, &to)) {
                    settled.push(to);
                }
            }
            // Other threads may send as fast as this passes on. One of this thread that sends whenever it runs would never let
            // this end, if it ran between any two rounds.
            if round.is_multiple_of(ROUNDS) {
                tokio::task::yield_now().await;
            }
        }
        for to in settled {
            to.settle_way((&raw const *self).cast(), found.as_ref());
        }
    }

    /// There is no connection `found` any more if it turns out to have broken.
    fn pass_on(&self, mut parcel: Parcel, found: &mut Option<Arc<dyn Outbound>>) {
        let message = &Encoded {
            body: Body::from(&parcel.body),
            handles: &parcel.handles,
            fingerprint: parcel.fingerprint,
            hops: parcel.hops,
        };
        let to = &parcel.to;
        let passed = match &mut parcel.request {
            None => send(to, found, |link, patient| link.post(to, message, patient)),
            Some(Request { waiting, .. }) if waiting.as_ref().is_none_or(|waiting| waiting.is_gone()) => {
                Err(DropReason::Cancelled)
            }
            Some(Request { number, deadline, waiting }) => {
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

    fn give_up(&self, reason: DropReason) {
        let waiting = {
            let mut state = self.state.lock();
            state.found.get_or_insert(None);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|parcel| parcel.drop_for(reason));
    }
}

/// By the connection that was found, and else the long way; then everything after it goes the long way as well, so that
/// nothing overtakes it by a connection that has come back.
fn send<T>(
    to: &Arc<Pointer>,
    found: &mut Option<Arc<dyn Outbound>>,
    mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
) -> Result<T, DropReason> {
    match found.as_ref().map(|link| send(link, false)) {
        Some(Ok(sent)) => Ok(sent),
        Some(Err(NotPosted::Dropped(reason))) => Err(reason),
        None | Some(Err(NotPosted::Over | NotPosted::NotUp)) => {
            *found = None;
            to.send_the_long_way(send)
        }
    }
}

/// A search that is under way.
struct Search {
    scouts: Arc<Scouts>,
    node: NodeId,
    scout: Arc<Scout>,
    /// When the node may be looked for again, if it was not found.
    again: Option<Instant>,
}

impl Drop for Search {
    fn drop(&mut self) {
        // Nothing waits any more unless the search is cut off.
        self.scout.give_up(DropReason::Shutdown);
        self.scouts.ended(self.node, self.again);
    }
}

/// Looks for a node by the `dialled` links to where it is said to listen, until it is found or `handshake_timeout` is over.
pub(super) fn search(
    scouts: Arc<Scouts>,
    node: NodeId,
    links: Arc<Links>,
    dialled: Vec<Arc<Link>>,
    limits: Limits,
    scout: Arc<Scout>,
) -> impl Future<Output = ()> + Send {
    // Made at once: what waits is also counted if the node ends before this is begun with.
    let mut search = Search { scouts, node, scout, again: None };
    async move {
        let hurry = search.scouts.hurry.clone();
        let found = tokio::select! {
            biased;
            found = find(node, &links, dialled) => found,
            () = hurry.cancelled() => None,
            () = tokio::time::sleep(limits.handshake_timeout) => None,
        };
        tracing::debug!(target: "actix_hermod", peer = %node, found = found.is_some(), "looked for a shorter way");
        if found.is_none() {
            search.again = Some(Instant::now() + *limits.reconnect.end());
        }
        search.scout.settle(found.map(|link| link as Arc<dyn Outbound>)).await;
    }
}

async fn find(node: NodeId, links: &Links, dialled: Vec<Arc<Link>>) -> Option<Arc<Link>> {
    let mut dials: FuturesUnordered<_> = dialled.into_iter().map(|link| leads_to(node, links, link)).collect();
    while let Some(led) = dials.next().await {
        if led.is_some() {
            return led;
        }
    }
    None
}

/// The link, if that node is there and has shown that it is.
async fn leads_to(node: NodeId, links: &Links, link: Arc<Link>) -> Option<Arc<Link>> {
    greeted(&link).await;
    // One that answers no questions may have said who it is and not shown it yet.
    loop {
        let mut news = std::pin::pin!(links.news().notified());
        // From here on nothing is missed.
        news.as_mut().enable();
        if !link.is_linked() || link.peer() != Some(node) {
            return None;
        }
        if links.is_live(node, &link) {
            return Some(link);
        }
        news.await;
    }
}

/// Waits until whoever is there has greeted and answered, or nobody is.
async fn greeted(link: &Arc<Link>) {
    let (told, answered) = oneshot::channel();
    // There is no such shape; whoever was looked for answers that.
    link.inquire(&Question::Fingerprint(0), Box::new(move |_| told.send(()).unwrap_or_default()));
    // Dropped is as good as answered.
    answered.await.unwrap_or_default();
}

impl Outbound for Scout {
    fn post(&self, to: &Arc<Pointer>, message: &Encoded<'_>, patient: bool) -> Result<(), NotPosted> {
        self.or_wait(message, |_| (Parcel::new(to, message, None), ())).or_else(|no_wait| match no_wait {
            NoWait::Found(link) => link.post(to, message, patient),
            NoWait::InVain => Err(NotPosted::NotUp),
            NoWait::Full => Err(NotPosted::Dropped(DropReason::OutboxFull)),
        })
    }

    fn ask(
        &self,
        to: &Arc<Pointer>,
        message: &Encoded<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn Waiting>>,
        patient: bool,
    ) -> Result<Correlation, NotPosted> {
        let deadline = time_left.and_then(|left| Instant::now().checked_add(left));
        let waits = self.or_wait(message, |state| {
            state.requests += 1;
            let number = state.requests;
            let request = Request { number, deadline, waiting: waiting.take() };
            (Parcel::new(to, message, Some(request)), Correlation { connection: self.number, number })
        });
        waits.or_else(|no_wait| match no_wait {
            NoWait::Found(link) => link.ask(to, message, time_left, waiting, patient),
            NoWait::InVain => Err(NotPosted::NotUp),
            NoWait::Full => Err(NotPosted::Dropped(DropReason::OutboxFull)),
        })
    }

    /// Requests come by connections.
    fn answer(&self, _: Correlation, _: &Asked, _: Body<'_>, _: &[Arc<Pointer>]) -> bool {
        true
    }

    fn refuse(&self, _: Correlation, _: &Asked, _: Unanswered, _: &str) {}

    fn cancel(&self, which: Correlation) {
        // One that waits does not go on, as nobody waits for its answer.
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

    fn is_over(&self) -> bool {
        matches!(self.state.lock().found, Some(None))
    }

    fn trouble(&self) -> Option<String> {
        self.link()?.trouble()
    }

    fn peer(&self) -> Option<NodeId> {
        self.link()?.peer()
    }

    fn losses(&self, target: &Target) -> BTreeMap<DropReason, u64> {
        self.link().map(|link| link.losses(target)).unwrap_or_default()
    }

    /// Boxes are watched by connections.
    fn watch(&self, target: &Target, node: Option<NodeId>, told: oneshot::Sender<CloseReason>) {
        if let Some(link) = self.link() {
            link.watch(target, node, told);
        }
    }

    fn pressure(&self, target: &Target) -> f32 {
        self.link().map_or(1.0, |link| link.pressure(target))
    }

    /// Boxes are claimed by connections.
    fn keep(&self, _: u64, held: Held) -> Option<Held> {
        Some(held)
    }

    fn release(&self, connection: u64, id: BoxId, count: u64) {
        if let Some(link) = self.link() {
            link.release(connection, id, count);
        }
    }
}

impl fmt::Debug for Scout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scout").field("waiting", &self.state.lock().waiting.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> NodeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        NodeId(id)
    }

    fn begins(scouts: &Scouts, n: usize) -> bool {
        let mut has_begun = false;
        scouts.search(node(n), 1, |_| has_begun = true);
        has_begun
    }

    #[test]
    fn no_more_nodes_are_looked_for_at_a_time_than_the_limit_says() {
        let scouts = Scouts::default();
        assert!((0..MAX_SEARCHES).all(|n| begins(&scouts, n)));
        assert!(!begins(&scouts, MAX_SEARCHES));
        assert!(scouts.search(node(0), 1, |_| panic!("it is looked for already")).is_some());
        scouts.ended(node(0), None);
        assert!(begins(&scouts, MAX_SEARCHES));
    }

    /// The node has ended before.
    #[test]
    fn a_search_that_is_never_begun_with_is_over() {
        let (scouts, links) = (Arc::new(Scouts::default()), Arc::new(Links::new(1, 1)));
        let begin = |scout| {
            drop(search(Arc::clone(&scouts), node(0), links, Vec::new(), Limits::default(), scout));
        };
        let scout = scouts.search(node(0), 1, begin).expect("there was none");
        assert!(scout.is_over());
        assert!(scouts.tables.lock().under_way.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_nodes_that_were_not_found_are_remembered_until_they_may_be_looked_for_again() {
        let scouts = Scouts::default();
        let pause = Duration::from_secs(10);
        for n in 0..MAX_MISSED {
            assert!(begins(&scouts, n));
            scouts.ended(node(n), Some(Instant::now() + pause));
        }
        assert!(!begins(&scouts, 0), "it was not found a moment ago");
        assert!(!begins(&scouts, MAX_MISSED), "there are too many");
        tokio::time::advance(pause).await;
        assert!(begins(&scouts, MAX_MISSED) && begins(&scouts, 0));
    }
}
