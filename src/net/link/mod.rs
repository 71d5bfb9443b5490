//! A link: one way to a peer, with the outbox that every thread writes into and the connection's writer takes from.
//!
//! The state is plain: the link puts a [lock] around it, and joins the sub-protocols of
//! [`control`](super::control) with the node.
//!
//! Invariant: under the one lock, a message is numbered and appended whole, or not at all; so a peer with the same
//! table can always read the bytes in the outbox from front to back. Messages not written when a connection ends are
//! dropped and counted, never carried over to the next one.

pub(crate) mod absences;
mod askers;
mod barriers;
mod control_queue;
pub(super) mod drain;
mod drop_report;
mod fragment_queue;
mod guard;
mod lease;
mod listing;
mod lock;
mod loopback;
#[cfg(test)]
#[cfg(hermod_loom)]
mod model;
pub(crate) mod outbound;
mod outbox;
pub(crate) mod post_queue;
mod pressure;
pub(crate) mod requests;
mod room;
pub(crate) mod session;
pub(crate) mod settling;
pub(crate) mod shape_query;
mod stats;
mod target;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::task::Context;
use std::task::Poll;

use tokio::time::Instant;

use self::absences::Absences;
use self::askers::Askers;
use self::drain::Chunk;
use self::drain::Next;
use self::guard::Guard;
use self::listing::Listing;
use self::lock::Lock;
use self::loopback::LoopbackState;
use self::outbox::Outbox;
use self::outbox::Phase;
use self::settling::Settlement;
use super::transport::Protection;
use super::transport::Stream;
use crate::boxes::registry::Registry;
use crate::handle::context::NodeContext;
use crate::handle::pointer::holdings::HoldingsTable;
use crate::handle::ports::Asker;
use crate::handle::ports::Outbound;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::net::control::drop_report::PeerDrops;
use crate::net::control::settlement::ConnectionNames;
use crate::net::transport::meter::ByteMeter;
use crate::observe::loss::Caller;
use crate::observe::loss::DroppedMessage;
use crate::observe::loss::Loss;
use crate::observe::loss::Nobody;
use crate::observe::loss::Parties;
use crate::observe::peer_info::PeerInfo;
use crate::quota::Quotas;
use crate::reason::DropReason;
use crate::sync::Mutex;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::hello::Hello;

/// The parts of a node that a link needs.
pub(crate) struct LinkContext {
    pub(crate) node: Arc<NodeContext>,
    /// The quotas of the link's connections.
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
    pub(super) node: Arc<NodeContext>,
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
    /// The facts that the last connection has proven about the peer.
    info: Mutex<Option<Arc<PeerInfo>>>,
    guard: Guard,
    /// The endpoints where the peer is said to listen.
    hints: Mutex<Arc<[Endpoint]>>,
    outbox: Lock,
    /// Drops at the other end, as far as it has reported them.
    peer_drops: Mutex<PeerDrops>,
    /// Connections of the link that have ended, and whose count the peer has not sent yet; at most `MAX_TOLD`.
    unsettled: Mutex<VecDeque<ConnectionNames>>,
    meter: Arc<ByteMeter>,
    loopback: LoopbackState,
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
        let guard = Guard::new(to.as_ref().and_then(|to| to.asked_by).is_some_and(|asker| asker.protected));
        let endpoint = to.map(|to| to.endpoint);
        let LinkContext { node, quotas, registry, settlement, absences, holdings } = link_context;
        let outbox = Lock::new(Outbox::new(phase, node.limits(), &quotas));
        let (peer, hints) = (Mutex::new(None), Mutex::new(Arc::default()));
        let (peer_drops, unsettled) = (Mutex::new(PeerDrops::default()), Mutex::new(VecDeque::new()));
        let meter = ByteMeter::new(Arc::clone(&node));
        Arc::new_cyclic(|me| Link {
            me: Weak::clone(me),
            node,
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
            info: Mutex::new(None),
            guard,
            hints,
            outbox,
            peer_drops,
            unsettled,
            meter,
            loopback: LoopbackState::default(),
            listing: Listing::default(),
        })
    }

    /// Returns the quotas in which its connections have their shares.
    pub(super) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Returns the names that both ends give the connection that is up.
    pub(crate) fn names(&self) -> Option<ConnectionNames> {
        self.outbox.with(|outbox| outbox.session.names)
    }

    /// Returns the node at the other end, or the last node there.
    pub(super) fn current_peer(&self) -> Option<Incarnation> {
        *self.peer.lock()
    }

    /// Returns the facts that the last connection has proven about the peer.
    pub(crate) fn info(&self) -> Option<Arc<PeerInfo>> {
        self.info.lock().clone()
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
        self.outbox.with(|outbox| outbox.session.connection)
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
        self.outbox.with(|outbox| {
            if matches!(outbox.phase, Phase::Pausing | Phase::Idle) {
                outbox.phase = Phase::Dialling;
            }
        });
    }

    /// Ends the pause without an attempt: the next one is made when the link is used again.
    pub(crate) fn rest(&self) {
        self.outbox.with(|outbox| {
            if outbox.phase == Phase::Pausing {
                outbox.phase = Phase::Idle;
            }
        });
    }

    /// Notes the endpoints where the peer has said that it listens.
    pub(crate) fn listens_at(&self, hints: Arc<[Endpoint]>) {
        *self.hints.lock() = hints;
    }

    /// Notes the facts that the connection, which is about to come up, has proven about the peer, and its protection.
    pub(crate) fn has_proven(&self, info: &Arc<PeerInfo>, protection: Protection) {
        *self.info.lock() = Some(Arc::clone(info));
        self.guard.note(protection);
    }

    /// Notes that the peer has greeted: waiting messages are written from now on. Returns the number of the connection.
    pub(crate) fn up(&self, hello: &Hello, names: ConnectionNames, hints: Arc<[Endpoint]>) -> u64 {
        *self.hints.lock() = hints;
        let (holdings, now) = (self.holdings.of(names.peer), Instant::now());
        if self.is_protection_demanded() {
            holdings.protect();
        }
        let (connection, unreadable, unanswerable) = self.outbox.with(|outbox| {
            *self.peer.lock() = Some(names.peer);
            let (unreadable, unanswerable) = outbox.greeted(hello, names, holdings, self.node.limits(), now);
            (outbox.session.connection, unreadable, unanswerable)
        });
        self.settle_loss(Loss::of(unreadable, DropReason::TooLarge), unanswerable);
        // A shutdown may wait for the last of these requests.
        self.node.shutdown().note_change();
        self.node.observer().connected();
        connection
    }

    /// Ends the connection, or the attempt at one. Messages that wait are dropped for `reason`; `detail`, if not empty,
    /// explains it to a person. With `over`, the link ends for good.
    pub(crate) fn down(&self, reason: DropReason, detail: &str, over: bool) {
        let now = Instant::now();
        let Some(mut old) = self.outbox.with(|outbox| self.replace(outbox, detail, over, now)) else { return };
        let (written, waiting) = (old.posts.written(), old.posts.unwritten());
        let (unread, unsettled) = (old.read.never_read(written), old.read.balance(written));
        // Counted as in doubt before the connection is recorded, since another thread may settle it as soon as it is.
        self.node.observer().in_doubt(unsettled.in_doubt());
        if let Some(names) = old.session.names {
            self.remember(names, unsettled);
        }
        self.peer_drops.lock().close();
        self.end_leases(&old, reason);
        let detail = Some(detail).filter(|detail| !detail.is_empty());
        let unanswerable = old.requests.take_pending(written - unread);
        self.settle_loss(Loss::of(waiting, reason).with_detail(detail), unanswerable);
        self.node.shutdown().note_change();
        old.shape_queries.end().run();
        old.requests.cancel_all().run();
        let (reason, detail) = match reason {
            DropReason::Refused => (reason, detail.unwrap_or_default()),
            _ => (DropReason::Shutdown, "the peer had said goodbye before it read them"),
        };
        self.settle_loss(Loss::of(unread, reason).with_detail(Some(detail)), Nobody);
    }

    /// Puts the outbox of the next connection in the place of one whose connection has ended; `None` if there is none.
    fn replace(&self, outbox: &mut Outbox, detail: &str, over: bool, now: Instant) -> Option<Outbox> {
        if outbox.phase == Phase::Over {
            return None;
        }
        let phase = if over { Phase::Over } else { Phase::Pausing };
        let mut next = Outbox::new(phase, self.node.limits(), &self.quotas);
        next.watches = if over { outbox.watches.over_for_good(now) } else { outbox.watches.over_to_next(now) };
        next.read = outbox.read.over_to_next(outbox.read.balance(outbox.posts.written()));
        next.session.loopback = self.loopback.reset(over);
        next.session.times_up = outbox.session.times_up;
        next.session.trouble = detail.into();
        Some(std::mem::replace(outbox, next))
    }

    /// Drops messages to the peer. They are bytes by now, so it is not known which pointers they were sent through.
    pub(super) fn settle_loss(&self, loss: Loss<'_>, caller: impl Caller) {
        loss.settle(Parties {
            node: self.node.observer(),
            message: DroppedMessage { name: &self.label(), type_name: "", peer: self.peer().map(|peer| peer.node) },
            mailbox: None,
            pointer: None,
            sender: Nobody,
            caller,
        });
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
        self.outbox.with(|outbox| outbox.close(why, detail));
    }

    /// Closes the link, unless a request of this side waits for its answer. Returns whether none does.
    pub(crate) fn close_when_answered(&self, why: Farewell) -> bool {
        self.outbox.with(|outbox| {
            let is_answered = outbox.requests.pending() == 0;
            if is_answered {
                outbox.close(why, "");
            }
            is_answered
        })
    }

    /// See [`Outbox::is_quiet`].
    pub(crate) fn is_quiet(&self) -> bool {
        self.outbox.with(|outbox| outbox.is_quiet())
    }

    /// Has a control frame written if the connection is up, unless the peer does not read them.
    fn put_control(&self, put: impl FnOnce(&mut Outbox)) {
        self.outbox.with(|outbox| {
            if outbox.phase == Phase::Up && outbox.control.room() > 0 {
                put(outbox);
                outbox.wake();
            }
        });
    }

    /// Notes the number of messages of a connection that were read here so far.
    pub(crate) fn have_read(&self, connection: u64, posts: u64) {
        self.outbox.with(|outbox| {
            if outbox.is(connection) {
                outbox.read.have_read(posts);
            }
        });
    }

    /// Takes the number of messages of this connection that the peer says it has read.
    pub(crate) fn peer_has_read(&self, posts: u64) {
        self.outbox.with(|outbox| {
            outbox.read.on_count(posts, outbox.posts.written());
            self.loopback.finish(outbox);
        });
    }

    /// Notes that the writer has written its last chunk, and comes for more later.
    pub(crate) fn has_written(&self, connection: u64) {
        self.outbox.with(|outbox| outbox.has_written(connection));
    }

    /// Moves the next bytes to write into `chunk`, which is empty.
    pub(crate) fn poll_next(&self, connection: u64, chunk: &mut Chunk, cx: &mut Context<'_>) -> Poll<Next> {
        self.outbox.with(|outbox| outbox.poll_next(connection, chunk, cx))
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
        let phase = self.outbox.with(|outbox| outbox.phase);
        f.debug_struct("Link").field("endpoint", &self.endpoint).field("phase", &phase).finish_non_exhaustive()
    }
}
