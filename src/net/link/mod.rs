//! A link: one way to a peer, with the outbox that every thread writes into and the connection's writer takes from.
//!
//! Invariant: under the one lock, a message is numbered and appended whole, or not at all; so a peer with the same
//! table can always read the bytes in the outbox from front to back. Messages not written when a connection ends are
//! dropped and counted, never carried over to the next one.

mod askers;
mod barriers;
pub(super) mod drain;
mod drop_report;
mod fragment_queue;
mod home;
mod lease;
mod listing;
#[cfg(test)]
#[cfg(hermod_loom)]
mod model;
pub(crate) mod outbound;
pub(crate) mod outbox;
pub(crate) mod pressure;
pub(crate) mod requests;
mod room;
mod settling;
pub(crate) mod shape_query;
mod stats;
pub(crate) mod target;
pub(crate) mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::task::Context;
use std::task::Poll;

use self::askers::Askers;
use self::drain::Chunk;
use self::drain::Next;
use self::home::Homecoming;
use self::listing::Listing;
use self::outbox::MAX_CONTROL;
use self::outbox::Outbox;
use self::outbox::Phase;
use self::requests::PendingRequest;
use self::requests::fail_all;
use super::transport::Stream;
use crate::boxes::registry::Registry;
use crate::handle::pointer::holdings::HoldingsTable;
use crate::handle::ports::Asker;
use crate::handle::ports::Outbound;
use crate::handle::ports::Router;
use crate::ident::Endpoint;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::net::control::absence::Absences;
use crate::net::control::drop_report::PeerDrops;
use crate::net::control::settlement::ConnectionNames;
use crate::net::control::settlement::Settlement;
use crate::net::control::settlement::Unsettled;
use crate::net::control::shape_query::end;
use crate::net::transport::meter::ByteMeter;
use crate::observe::loss::DroppedMessage;
use crate::quota::Quotas;
use crate::reason::DropReason;
use crate::sync::Mutex;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;
use crate::wire::handshake::Hello;
use crate::wire::outgoing::Outgoing;

/// The parts of a node that a link needs.
pub(crate) struct LinkContext {
    pub(crate) router: Arc<dyn Router>,
    /// As its connections have them.
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) settlement: Arc<Settlement>,
    pub(crate) absences: Arc<Absences>,
    pub(crate) holdings: Arc<HoldingsTable>,
}

/// Starts a router for a link that is used for the first time.
pub(crate) type StartDial = Box<dyn Fn(Arc<Link>) + Send + Sync>;

/// The destination of a link that this node dials.
pub(crate) struct Destination {
    pub(crate) endpoint: Endpoint,
    /// The only node that may answer there, if the caller has named one.
    pub(crate) expected: Option<NodeId>,
    /// The peer that has named the endpoint, if one has.
    pub(crate) asked_by: Option<Asker>,
}

/// See the [module](self).
pub(crate) struct Link {
    me: Weak<Link>,
    pub(super) router: Arc<dyn Router>,
    quotas: Arc<Quotas>,
    registry: Arc<Registry>,
    pub(super) settlement: Arc<Settlement>,
    absences: Arc<Absences>,
    holdings: Arc<HoldingsTable>,
    endpoint: Option<Endpoint>,
    /// The only node that a dialled link may lead to, if one was named.
    expected: Option<NodeId>,
    askers: Mutex<Askers>,
    start: Option<StartDial>,
    /// Has a lock of its own, because a message may hold addresses that lead through this very link.
    peer: Mutex<Option<Incarnation>>,
    /// The endpoints where the peer is said to listen.
    hints: Mutex<Arc<[Endpoint]>>,
    state: Mutex<Outbox>,
    /// Drops at the other end, as far as it has reported them.
    theirs: Mutex<PeerDrops>,
    /// Connections of the link that have ended, and whose count the peer has not sent yet; at most `MAX_TOLD`.
    unsettled: Mutex<VecDeque<ConnectionNames>>,
    meter: Arc<ByteMeter>,
    homecoming: Homecoming,
    listing: Listing,
}

impl Link {
    /// Makes a link that is dialled when it is first used.
    pub(crate) fn to(link_context: LinkContext, to: Destination, start: StartDial) -> Arc<Link> {
        Link::new(link_context, Some(to), Some(start), Phase::Idle)
    }

    /// Makes a link over a connection that a peer has opened.
    pub(crate) fn accepted(link_context: LinkContext) -> Arc<Link> {
        Link::new(link_context, None, None, Phase::Dialling)
    }

    fn new(link_context: LinkContext, to: Option<Destination>, start: Option<StartDial>, phase: Phase) -> Arc<Link> {
        let (expected, mut askers) = (to.as_ref().and_then(|to| to.expected), Askers::default());
        to.iter().for_each(|to| askers.add(to.asked_by));
        let endpoint = to.map(|to| to.endpoint);
        let LinkContext { router, quotas, registry, settlement, absences, holdings } = link_context;
        let state = Mutex::new(Outbox::new(phase, router.limits(), &quotas));
        let (peer, hints) = (Mutex::new(None), Mutex::new(Arc::default()));
        let (theirs, unsettled) = (Mutex::new(PeerDrops::default()), Mutex::new(VecDeque::new()));
        let meter = ByteMeter::new(Arc::clone(&router));
        Arc::new_cyclic(|me| Link {
            me: Weak::clone(me),
            router,
            quotas,
            registry,
            settlement,
            absences,
            holdings,
            endpoint,
            expected,
            askers: Mutex::new(askers),
            start,
            peer,
            hints,
            state,
            theirs,
            unsettled,
            meter,
            homecoming: Homecoming::default(),
            listing: Listing::default(),
        })
    }

    /// Returns the quotas in which its connections have their shares.
    pub(super) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Returns the names that both ends give the connection that is up.
    pub(crate) fn names(&self) -> Option<ConnectionNames> {
        self.state.lock().names
    }

    /// Returns the node at the other end, or the last node there.
    pub(super) fn current_peer(&self) -> Option<Incarnation> {
        *self.peer.lock()
    }

    /// Returns the endpoints where the peer is said to listen.
    pub(super) fn hints(&self) -> Arc<[Endpoint]> {
        Arc::clone(&self.hints.lock())
    }

    /// Returns the stream with its bytes counted for the link.
    pub(crate) fn metered(&self, stream: Stream) -> Stream {
        self.listing.begin(stream.reached);
        self.meter.count(stream)
    }

    /// Returns the number of the connection, or of the next one.
    pub(crate) fn connection(&self) -> u64 {
        self.state.lock().connection
    }

    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Returns the only node that may answer at the endpoint, if one was named.
    pub(crate) fn expected(&self) -> Option<NodeId> {
        self.expected
    }

    /// Ends the pause: the next attempt begins.
    pub(crate) fn dialling(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Pausing | Phase::Idle) {
            state.phase = Phase::Dialling;
        }
    }

    /// Ends the pause without an attempt: the next one is made when the link is used again.
    pub(crate) fn rest(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Pausing {
            state.phase = Phase::Idle;
        }
    }

    /// Notes the endpoints where the peer has said that it listens.
    pub(crate) fn listens_at(&self, hints: Arc<[Endpoint]>) {
        *self.hints.lock() = hints;
    }

    /// Notes that the peer has greeted: waiting messages are written from now on. Returns the number of the connection.
    pub(crate) fn up(&self, hello: &Hello, names: ConnectionNames, hints: Arc<[Endpoint]>) -> u64 {
        *self.hints.lock() = hints;
        let holdings = self.holdings.of(names.peer);
        let (mut state, mut unreadable) = (self.state.lock(), 0);
        if state.longest > hello.max_frame as usize {
            // Frames that the peer can read may use numbers set in frames that it cannot: all of them are dropped.
            state.outgoing = Outgoing::new(self.router.limits().max_message);
            state.posts.clear();
            unreadable = std::mem::take(&mut state.waiting);
        }
        let numbers = self.router.limits().interned.min(hello.numbers as usize);
        state.outgoing.peer_accepts(hello.max_frame as usize, numbers);
        let (too_large, asked) = state.drop_unreadable();
        *self.peer.lock() = Some(names.peer);
        if state.phase == Phase::Dialling {
            state.phase = Phase::Up;
        }
        state.times_up += 1;
        state.features = hello.features;
        state.names = Some(names);
        holdings.begin(state.connection);
        state.holdings = Some(holdings);
        state.trouble = Box::default();
        let connection = state.connection;
        // Requests in flows go on.
        let is_lost = |pending: &PendingRequest| unreadable > 0 && pending.flow.is_none();
        let pending: Vec<_> = state.pending.extract_if(|_, pending| is_lost(pending)).collect();
        let unanswered = state.ask_what_is_open();
        let strangers = state.watch_again(names.peer);
        state.wake();
        drop(state);
        strangers.tell();
        end(unanswered);
        fail_all(pending.into_iter().chain(asked), 0, DropReason::TooLarge, None);
        self.count_lost(DropReason::TooLarge, None, unreadable + too_large);
        // A shutdown may wait for the last of these requests.
        self.router.shutdown().note_change();
        self.router.observer().connected();
        connection
    }

    /// Ends the connection, or the attempt at one. Messages that wait are dropped for `reason`; `detail`, if not empty,
    /// explains it to a person. With `over`, the link ends for good.
    pub(crate) fn down(&self, reason: DropReason, detail: &str, over: bool) {
        let (mut old, waiting, unread, unsettled) = {
            let mut state = self.state.lock();
            if state.phase == Phase::Over {
                return;
            }
            let next = if over { Phase::Over } else { Phase::Pausing };
            let fresh = Outbox::new(next, self.router.limits(), &self.quotas);
            let mut old = std::mem::replace(&mut *state, fresh);
            state.watches = if over { old.watches.over_for_good() } else { old.watches.over_to_next() };
            state.home = self.homecoming.anew(over);
            state.times_up = old.times_up;
            state.trouble = detail.into();
            let (written, unread) = (old.written(), old.never_read());
            let unsettled = Unsettled { written, known: old.read.0 + unread, read: old.read.1 };
            state.past = (old.past.0 + unsettled.written, old.past.1 + unsettled.read);
            let waiting = old.unwritten();
            (old, waiting, unread, unsettled)
        };
        // Counted as in doubt before the connection is recorded, since another thread may settle it as soon as it is.
        self.router.observer().in_doubt(unsettled.in_doubt());
        if let Some(names) = old.names {
            self.remember(names, unsettled);
        }
        self.theirs.lock().close();
        self.end_leases(&old, reason);
        let handled = old.written() - unread;
        let detail = Some(detail).filter(|detail| !detail.is_empty());
        fail_all(old.pending.drain(), handled, reason, detail);
        self.router.shutdown().note_change();
        end(old.shape_queries.take_all());
        let mut asked: Vec<_> = old.asked.drain().collect();
        asked.sort_unstable_by_key(|(number, _)| *number);
        asked.iter().for_each(|(_, asked)| asked.cancel());
        self.count_lost(reason, detail, waiting);
        self.count_lost(DropReason::Shutdown, Some("the peer had said goodbye before it read them"), unread);
    }

    fn count_lost(&self, reason: DropReason, detail: Option<&str>, count: u64) {
        if count > 0 {
            self.router.observer().dropped(
                DroppedMessage { name: &self.label(), type_name: "", detail, peer: self.peer().map(|peer| peer.node) },
                reason,
                count,
            );
        }
    }

    /// Returns a name for the other end, for a person.
    pub(crate) fn label(&self) -> String {
        match (&self.endpoint, self.peer()) {
            (Some(endpoint), _) => endpoint.to_string(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => "a node that has not greeted".to_owned(),
        }
    }

    /// Says goodbye once all waiting messages are written; no more are taken.
    pub(crate) fn close(&self, why: Farewell, detail: &str) {
        self.state.lock().close(why, detail);
    }

    /// Closes the link, unless a request of this side waits for its answer. Returns whether none does.
    pub(crate) fn close_when_answered(&self, why: Farewell) -> bool {
        let mut state = self.state.lock();
        let is_answered = state.pending.is_empty();
        if is_answered {
            state.close(why, "");
        }
        is_answered
    }

    /// Whether nothing is under way on a connection that is up, and nothing can be expected: all sent messages were
    /// read, no answer is due, and the peer neither watches boxes of this side nor knows one that it may use at any
    /// time.
    pub(crate) fn is_quiet(&self) -> bool {
        let state = self.state.lock();
        let is_read = state.unwritten() == 0 && state.read.0 == state.written();
        let is_answered = state.pending.is_empty() && state.asked.is_empty();
        let is_released = state.releases.is_empty() && state.deferred.under_way().is_none();
        let is_known = state.outgoing.names_ours() || state.watches.is_watched();
        state.phase == Phase::Up && is_read && is_answered && is_released && !is_known
    }

    pub(crate) fn pong(&self, nonce: u64) {
        self.put_control(|state| Ping { nonce, read: state.read.1 }.put(&mut state.control, kind::PONG));
    }

    fn put_control(&self, put: impl FnOnce(&mut Outbox)) {
        let mut state = self.state.lock();
        if state.phase == Phase::Up && state.control.len() < MAX_CONTROL {
            put(&mut state);
            state.wake();
        }
    }

    /// Notes the number of messages of a connection that were read here so far.
    pub(crate) fn have_read(&self, connection: u64, posts: u64) {
        let mut state = self.state.lock();
        if state.connection == connection {
            state.read.1 = posts;
        }
    }

    /// Takes the number of messages of this connection that the peer says it has read. A count that shrinks, or exceeds
    /// the number written, is not believed.
    pub(crate) fn peer_has_read(&self, posts: u64) {
        let mut state = self.state.lock();
        let written = state.written();
        state.read.0 = posts.clamp(state.read.0, written.max(state.read.0));
        self.come_home(&mut state);
    }

    /// Notes that the writer has written its last chunk, and comes for more later.
    pub(crate) fn has_written(&self, connection: u64) {
        self.state.lock().has_written(connection);
    }

    /// Moves the next bytes to write into `chunk`, which is empty.
    pub(crate) fn poll_next(&self, connection: u64, chunk: &mut Chunk, cx: &mut Context<'_>) -> Poll<Next> {
        self.state.lock().poll_next(connection, chunk, cx)
    }

    /// Starts making the connection.
    #[cold]
    pub(super) fn begin(&self) {
        if let (Some(start), Some(me)) = (&self.start, self.me.upgrade()) {
            start(me);
        }
    }
}

impl Drop for Link {
    /// Counts messages that wait if no router did so, because the node stopped before.
    fn drop(&mut self) {
        self.down(DropReason::Shutdown, "", true);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Link").field("endpoint", &self.endpoint).field("phase", &state.phase).finish_non_exhaustive()
    }
}
