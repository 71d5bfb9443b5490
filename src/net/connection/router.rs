//! The actor that owns a connection's life: dialling, greeting, heartbeats, and its end. Messages do not pass through
//! it: its reader and writer are tasks of their own, beside it on the I/O thread.

use std::io;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Actor;
use actix::ActorContext;
use actix::ActorFutureExt;
use actix::AsyncContext;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::WrapFuture;
use actix_rt::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::Span;
use tracing::field;

use super::attempt::dial;
use super::attempt::greet_caller;
use super::dispatch::Dispatcher;
use super::ending::DirectionEnded;
use super::handshake::Established;
use super::handshake::HandshakeError;
use super::handshake::Standing;
use super::reader::Ended;
use super::reading_budget::ReadingBudget;
use super::source::Source;
use super::start::Occupancy;
use crate::ident::Incarnation;
use crate::net::connection::reader;
use crate::net::connection::writer;
use crate::net::link::Link;
use crate::net::peers::admission::Group;
use crate::net::peers::admission::UnprovenConnection;
use crate::net::peers::budgets::Party;
use crate::net::peers::hints;
use crate::net::shared::NodeInner;
use crate::net::transport::Stream;
use crate::net::transport::accepted::Opening;
use crate::observe::event::DownReason;
use crate::observe::event::Event;
use crate::observe::identity::Identity;
use crate::observe::peer_info::PeerInfo;
use crate::reason::DropReason;
use crate::wire::codec::Violation;
use crate::wire::greeting::GreetingError;

/// The interval between sweeps for abandoned requests, and for peers that do not read refusals.
const SWEEP: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(crate) struct RemoteRouter {
    pub(super) node: Arc<NodeInner>,
    /// Held while there is a connection or an attempt at one. In the pause between, only the holders of addresses hold
    /// the link.
    pub(super) link: Option<Arc<Link>>,
    pub(super) waiting: Weak<Link>,
    /// The connection that a peer has opened, until the peer has greeted.
    accepted: Option<(Opening, UnprovenConnection)>,
    /// Held as `link` is.
    pub(super) occupancy: Option<Occupancy>,
    pub(super) live: Option<Live>,
    /// Attempts that failed since the last connection.
    pub(super) failures: u32,
    /// Whether the policy of one side has refused the last connection.
    pub(super) is_refused: bool,
    nonce: u64,
    /// Whether nothing needed the connection at the last heartbeat.
    pub(super) was_unneeded: bool,
    /// The span of the connection or the attempt, in which its tasks and this actor log.
    pub(super) span: Span,
    /// The last heartbeat.
    beat: Instant,
}

/// A connection that is up.
pub(super) struct Live {
    pub(super) connection: u64,
    pub(super) peer: Incarnation,
    pub(super) reader: JoinHandle<()>,
    pub(super) writer: JoinHandle<()>,
    /// Whether both sides are proven, and subscribers were told.
    pub(super) announced: bool,
    /// Whether anything came since the last heartbeat.
    pub(super) heard: Arc<AtomicBool>,
    pub(super) silent: Duration,
    /// Why the peer has stopped sending, once it has.
    pub(super) read_to_end: Option<DownReason>,
    pub(super) written: Option<Written>,
}

impl Live {
    fn new(
        connection: u64,
        peer: Incarnation,
        (reader, writer): (JoinHandle<()>, JoinHandle<()>),
        heard: Arc<AtomicBool>,
    ) -> Live {
        let (announced, silent) = (false, Duration::ZERO);
        Live { connection, peer, reader, writer, announced, heard, silent, read_to_end: None, written: None }
    }
}

/// The way in which the writing direction has ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Written {
    /// With this side's goodbye.
    ToEnd,
    /// Nothing more can be written.
    Broken,
}

/// The peer of a connection that was dialled from here has welcomed this node.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Welcomed {
    connection: u64,
}

impl RemoteRouter {
    pub(super) fn new(
        node: Arc<NodeInner>,
        link: Arc<Link>,
        accepted: Option<(Opening, UnprovenConnection)>,
        occupancy: Occupancy,
    ) -> RemoteRouter {
        RemoteRouter {
            node,
            waiting: Arc::downgrade(&link),
            link: Some(link),
            accepted,
            occupancy: Some(occupancy),
            live: None,
            failures: 0,
            is_refused: false,
            nonce: 0,
            was_unneeded: false,
            span: Span::none(),
            beat: Instant::now(),
        }
    }

    /// Dials or, if the peer has dialled, greets.
    pub(super) fn connect(&mut self, ctx: &mut Context<Self>) {
        let Some(link) = &self.link else { return ctx.stop() };
        let (node, endpoint, accepted) = (Arc::clone(&self.node), link.endpoint().cloned(), self.accepted.take());
        let limit = node.limits.handshake_timeout;
        let link = Arc::clone(link);
        self.span = span(&node, &link);
        let group = self.occupancy.as_ref().filter(|_| endpoint.is_some()).map(Occupancy::group);
        let attempt = group.map(|group| node.admission.attempt(group));
        let asked_by = group.and_then(Group::payer).map(|payer| link.asked_by(payer));
        let greet = async move {
            match (endpoint, accepted) {
                (Some(endpoint), _) => dial(&node, &link, &endpoint, asked_by, attempt.as_ref()).await,
                (None, Some((opening, unproven))) => greet_caller(&node, &link, opening, &unproven).await,
                (None, None) => Err(HandshakeError::Late),
            }
        };
        let greet = async move { tokio::time::timeout(limit, greet).await.unwrap_or(Err(HandshakeError::Late)) };
        ctx.spawn(greet.instrument(self.span.clone()).into_actor(self).map(|established, router, ctx| {
            router.in_span(|router| match established {
                Ok(established) => router.up(established, ctx),
                Err(error) => router.failed(&error, ctx),
            });
        }));
    }

    /// Runs `act` within the connection's span.
    pub(super) fn in_span(&mut self, act: impl FnOnce(&mut RemoteRouter)) {
        let span = self.span.clone();
        span.in_scope(|| act(self));
    }

    pub(super) fn failed(&mut self, error: &HandshakeError, ctx: &mut Context<Self>) {
        let to = self.link.as_ref().map(|link| link.label());
        tracing::warn!(target: "actix_hermod", to, %error, "no connection");
        self.failures = self.failures.saturating_add(1);
        let nobody_listens = error.nobody_listens();
        // A peer that is mistaken, or lies, must not cause events about the node that it names.
        let is_own = self.link.as_ref().is_some_and(|link| link.askers().is_none());
        if is_own && let HandshakeError::Greeting(GreetingError::AnotherNode { expected, answered }) = *error {
            let why = DownReason::AnotherNode { expected, answered };
            self.node.observer.tell(&Event::PeerDown { peer: expected, why });
        }
        self.is_refused = matches!(error, HandshakeError::Refused(_));
        self.end(error.drops_as(), &error.to_string(), ctx);
        if nobody_listens && let Some(link) = self.waiting.upgrade() {
            link.unreachable();
        }
    }

    fn up(&mut self, established: Established, ctx: &mut Context<Self>) {
        let Some(link) = &self.link else { return ctx.stop() };
        let info = Arc::clone(&established.info);
        link.has_proven(&info, established.stream.protection());
        let Established { stream, hello, names, numbers, rest, standing, .. } = established;
        let peer = names.peer;
        let (endpoints, unwelcomed) = match standing {
            Standing::Welcomed(endpoints) => (endpoints, None),
            Standing::Unwelcomed(unwelcomed) => (Vec::new(), Some(unwelcomed)),
        };
        let is_accepted = unwelcomed.is_none();
        if let Some(Err(why)) = self.occupancy.as_mut().map(|occupancy| occupancy.is_of(&stream.identity)) {
            return self.failed(&HandshakeError::NoRoom(why), ctx);
        }
        if is_accepted && !self.node.peers.join(peer, link, link.connection()) {
            return self.failed(&HandshakeError::TooMany, ctx);
        }
        self.name_in_span(peer, &stream.identity);
        let budget = self.budget_of(&stream, peer);
        let hints = hints::believed(endpoints.iter().map(String::as_str), stream.near, &self.node.transports);
        let before = link.current_peer().map(|before| before.node);
        let connection = link.up(&hello, names, hints);
        self.node.proven.begin(connection, &info);
        if link.endpoint().is_some() && before != Some(peer.node) {
            self.node.peers.leads_to(peer.node, before, link);
        }
        let superseded = link.superseded();
        let dispatcher =
            Dispatcher::new(&self.node, Arc::clone(link), connection, (peer, stream.near), numbers, unwelcomed);
        let heard = Arc::new(AtomicBool::new(true));
        let (router, max_frame) = (ctx.address(), self.node.limits.max_message);
        let welcomed = move || router.do_send(Welcomed { connection });
        // Boxed, because each future around it would reserve its size twice, once as the argument and once as the
        // polled future.
        let source = Source::new(stream.read, &self.node.limits, self.node.unfinished.share());
        let reading = Box::pin(reader::read(source, rest, dispatcher, budget, Arc::clone(&heard), max_frame, welcomed));
        let writing = writer::write(stream.write, stream.buffers, Arc::clone(link), connection);
        let reading = async move {
            tokio::select! {
                biased;
                () = superseded.cancelled() => Ended::Lost(io::ErrorKind::ConnectionReset.into()),
                ended = reading => ended,
            }
        };
        let reader = Self::pipe(connection, reading.instrument(self.span.clone()), ctx);
        let writer = Self::pipe(connection, writing.instrument(self.span.clone()), ctx);
        self.live = Some(Live::new(connection, peer, (reader, writer), heard));
        // Measures the round trip early.
        self.nonce += 1;
        link.ping(self.nonce);
        if is_accepted {
            self.announce();
        }
    }

    fn name_in_span(&self, peer: Incarnation, identity: &Identity) {
        self.span.record("peer", field::display(peer));
        if *identity != Identity::Unknown {
            self.span.record("identity", field::display(identity));
        }
    }

    /// Returns the budget of the party at the other end.
    fn budget_of(&self, stream: &Stream, peer: Incarnation) -> ReadingBudget {
        let origin = match self.occupancy.as_ref().map(Occupancy::group) {
            Some(Group::Accepted(origin)) => origin,
            _ => None,
        };
        let party = Party::of(&stream.identity, origin, stream.reached, peer.node);
        ReadingBudget::new(self.node.budgets.of(party, Instant::now()), self.every())
    }

    /// Takes up a dialled connection, whose peer has welcomed this node.
    pub(super) fn welcomed(&mut self, connection: u64, ctx: &mut Context<Self>) {
        let (Some(live), Some(link)) = (&self.live, &self.link) else { return };
        // The peer may have given the connection up meanwhile: then the link has the number of the next one.
        if live.connection != connection || link.connection() != connection {
            return;
        }
        if !self.node.peers.join(live.peer, link, connection) {
            return self.down(DownReason::Misbehaved(HandshakeError::TooMany.to_string()), ctx);
        }
        // Another run of this node does not count, since it has other boxes.
        if live.peer == self.node.id {
            self.nonce += 1;
            link.note_loopback(live.connection, self.nonce);
        }
        self.announce();
    }

    /// Announces the connection, once both sides are proven.
    fn announce(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.announced = true;
        (self.failures, self.is_refused) = (0, false);
        tracing::info!(target: "actix_hermod", peer = %live.peer, "connected");
        self.node.succeed(live.peer);
        if let Some(info) = self.link.as_ref().and_then(|link| link.info()) {
            self.node.observer.tell(&Event::PeerProven { peer: PeerInfo::clone(&info) });
        }
        self.node.observer.tell(&Event::PeerUp { peer: live.peer.node });
        self.node.peers.restate_leases(live.peer);
    }

    /// Runs one direction as a task, which reports its end to the router.
    fn pipe(connection: u64, direction: impl Future<Output = Ended> + 'static, ctx: &Context<Self>) -> JoinHandle<()> {
        let router = ctx.address();
        actix_rt::spawn(async move { router.do_send(DirectionEnded { connection, how: direction.await }) })
    }

    fn heartbeat(&mut self, ctx: &mut Context<Self>) {
        let every = self.every();
        // After the thread was kept busy, the missed beats come all at once, before bytes from the peer are read.
        if std::mem::replace(&mut self.beat, Instant::now()).elapsed() < every / 2 {
            return;
        }
        let Some(live) = &mut self.live else { return };
        if live.heard.swap(false, Ordering::Relaxed) {
            live.silent = Duration::ZERO;
        } else {
            live.silent += every;
        }
        if live.silent >= self.node.limits.dead_after {
            return self.down(DownReason::Silent, ctx);
        }
        if self.close_if_unneeded(ctx) {
            return;
        }
        self.nonce += 1;
        if let Some(link) = &self.link {
            link.ping(self.nonce);
        }
    }

    /// Returns the interval between heartbeats: short enough to notice within `dead_after` that the peer is silent.
    fn every(&self) -> Duration {
        let limits = &self.node.limits;
        limits.heartbeat.min(limits.dead_after / 3).max(Duration::from_millis(1))
    }

    /// Cancels abandoned requests, queries and watches, and checks that the peer reads its refusals.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let Some(link) = self.link.clone().or_else(|| self.waiting.upgrade()) else { return };
        link.sweep_pending();
        link.sweep_shape_queries();
        link.sweep_watches(self.node.limits.dead_after);
        let is_open = self.live.as_ref().is_some_and(|live| live.read_to_end.is_none() && live.written.is_none());
        if is_open && link.is_overrun() {
            self.violated(&Violation::RefusalsUnread, ctx);
        }
    }
}

impl Actor for RemoteRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let stopped = self.node.stopped().clone();
        let stop = async move { stopped.cancelled().await };
        ctx.spawn(stop.into_actor(self).map(|(), router, ctx| {
            router.in_span(|router| router.down(DownReason::Goodbye, ctx));
            ctx.stop();
        }));
        ctx.run_interval(self.every(), |router, ctx| router.in_span(|router| router.heartbeat(ctx)));
        ctx.run_interval(SWEEP, |router, ctx| router.in_span(|router| router.sweep(ctx)));
        self.connect(ctx);
    }
}

impl Handler<Welcomed> for RemoteRouter {
    type Result = ();

    fn handle(&mut self, Welcomed { connection }: Welcomed, ctx: &mut Context<Self>) {
        self.in_span(|router| router.welcomed(connection, ctx));
    }
}

/// Makes the span around all log lines of one connection, or of an attempt at one.
pub(super) fn span(node: &NodeInner, link: &Link) -> Span {
    let endpoint = link.endpoint().map(field::display);
    tracing::info_span!(
        target: "actix_hermod", "connection", node = %node.id, endpoint, peer = field::Empty, identity = field::Empty
    )
}

impl Drop for RemoteRouter {
    /// Runs also when the thread of the router ends.
    fn drop(&mut self) {
        if let Some(live) = &self.live
            && let Some(link) = &self.link
        {
            self.node.peers.leave(live.peer, link, live.connection);
            self.node.proven.end(live.connection);
        }
        if let Some(link) = self.link.take().or_else(|| self.waiting.upgrade()) {
            link.down(DropReason::Shutdown, "", true);
        }
    }
}
