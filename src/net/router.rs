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
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;
use tracing::Span;
use tracing::field;

use super::greeting;
use super::greeting::GreetError;
use super::greeting::Greeted;
use super::hints;
use super::house::House;
use super::inbound::Inbound;
use super::link::Link;
use super::links::Claim;
use super::links::Place;
use super::links::Unproven;
use super::pipe;
use super::pipe::Ended;
use super::transport;
use super::transport::Listener;
use super::transport::Stream;
use crate::handle::route::Household;
use crate::ident::NodeId;
use crate::observe::DownReason;
use crate::observe::DropReason;
use crate::observe::Event;
use crate::wire::codec::Violation;
use crate::wire::control::Farewell;
use crate::world;

/// How often requests are looked for that nobody waits for any more, and peers that read no refusals.
const SWEEP: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(crate) struct RemoteRouter {
    house: Arc<House>,
    /// Held while there is a connection or an attempt at one; in the pause between, only those who hold addresses do.
    link: Option<Arc<Link>>,
    waiting: Weak<Link>,
    /// The connection that a peer has opened, until it has greeted.
    accepted: Option<(Stream, Unproven)>,
    /// Held as `link` is.
    occupied: Option<Occupied>,
    live: Option<Live>,
    /// Attempts that failed since the last connection.
    failures: u32,
    nonce: u64,
    /// Of the connection, or of the attempt at one: what its tasks and this actor say is said in it.
    span: Span,
    /// The last heartbeat.
    beat: Instant,
}

/// A connection, or an attempt at one, counts; and a shutdown waits for it.
struct Occupied {
    _place: Place,
    _busy: TaskTrackerToken,
}

impl Occupied {
    fn new(house: &House) -> Option<Occupied> {
        if house.closing.is_cancelled() {
            return None;
        }
        Some(Occupied { _place: house.links.place()?, _busy: house.busy.token() })
    }
}

/// A connection that is up.
struct Live {
    connection: u64,
    peer: NodeId,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    /// Whether the peer has shown who it is, and others were told.
    announced: bool,
    /// Whether anything came since the last heartbeat.
    heard: Arc<AtomicBool>,
    silent: Duration,
    /// Why the peer has stopped sending, once it has.
    read_to_end: Option<DownReason>,
    written_to_end: bool,
}

/// The peer of a connection that was dialled from here has shown who it is.
#[derive(Message)]
#[rtype(result = "()")]
struct Proven;

/// The reader or the writer has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct PipeEnded {
    connection: u64,
    how: Ended,
}

/// Starts the router of a link that is used for the first time.
pub(crate) fn start(house: Arc<House>, link: Arc<Link>) {
    match Occupied::new(&house) {
        Some(occupied) => {
            RemoteRouter::new(house, link, None, occupied).start();
        }
        None => {
            tracing::warn!(target: "actix_hermod", to = link.label(), error = %GreetError::TooMany, "not dialled");
            link.down(DropReason::NotConnected, &GreetError::TooMany.to_string(), false);
            link.unreachable();
            // The next attempt is made when the address is used again, after the shortest pause.
            let pause = *house.limits.reconnect.start();
            actix_rt::spawn(async move {
                tokio::time::sleep(pause).await;
                link.rest();
                // There is no router that would look after those who began to wait in the pause.
                link.unreachable();
            });
        }
    }
}

/// Takes connections until the node wants no more.
pub(crate) async fn accept(house: Arc<House>, listener: Listener) {
    // Dropped after the listener, so that a shutdown leaves the port free.
    let _busy = house.busy.token();
    let listener = listener;
    loop {
        let stream = tokio::select! {
            biased;
            () = house.closing.cancelled() => return,
            stream = listener.accept() => stream,
        };
        match stream {
            Ok(stream) => match Occupied::new(&house) {
                Some(occupied) => {
                    let link = Link::accepted(house.ground());
                    let accepted = (stream, house.links.unproven());
                    RemoteRouter::new(Arc::clone(&house), link, Some(accepted), occupied).start();
                }
                None => tracing::warn!(target: "actix_hermod", error = %GreetError::TooMany, "not accepted"),
            },
            Err(error) => {
                // Out of files, or the peer has gone again: wait a little, so that the thread is not kept busy.
                tracing::warn!(target: "actix_hermod", %error, "could not accept a connection");
                tokio::time::sleep(*house.limits.reconnect.start()).await;
            }
        }
    }
}

impl RemoteRouter {
    fn new(
        house: Arc<House>,
        link: Arc<Link>,
        accepted: Option<(Stream, Unproven)>,
        occupied: Occupied,
    ) -> RemoteRouter {
        RemoteRouter {
            house,
            waiting: Arc::downgrade(&link),
            link: Some(link),
            accepted,
            occupied: Some(occupied),
            live: None,
            failures: 0,
            nonce: 0,
            span: Span::none(),
            beat: Instant::now(),
        }
    }

    /// Dials or, if the peer has, greets.
    fn connect(&mut self, ctx: &mut Context<Self>) {
        let Some(link) = &self.link else { return ctx.stop() };
        let (house, endpoint, accepted) = (Arc::clone(&self.house), link.endpoint().cloned(), self.accepted.take());
        let limit = house.limits.handshake_timeout;
        let link = Arc::clone(link);
        self.span = span(&house, &link);
        let attempt = link.endpoint().map(|_| house.links.attempt());
        let greet = async move {
            match (endpoint, accepted) {
                (Some(endpoint), _) => {
                    tracing::debug!(target: "actix_hermod", %endpoint, "dialling");
                    let dial = async {
                        let stream = link.metered(transport::dial(&endpoint).await?);
                        greeting::dialler(&house, stream).await
                    };
                    tokio::select! {
                        biased;
                        () = expelled(attempt.as_ref()) => Err(GreetError::TooMany),
                        greeted = dial => greeted,
                    }
                }
                (None, Some((stream, unproven))) => tokio::select! {
                    biased;
                    () = unproven.expelled.cancelled() => Err(GreetError::TooMany),
                    // Nobody would tell it goodbye: those that are told are up.
                    () = house.closing.cancelled() => Err(GreetError::Closing),
                    greeted = greeting::listener(&house, link.metered(stream)) => greeted,
                },
                (None, None) => Err(GreetError::Late),
            }
        };
        let greet = async move { tokio::time::timeout(limit, greet).await.unwrap_or(Err(GreetError::Late)) };
        ctx.spawn(greet.instrument(self.span.clone()).into_actor(self).map(|greeted, router, ctx| {
            router.in_span(|router| match greeted {
                Ok(greeted) => router.up(greeted, ctx),
                Err(error) => router.failed(&error, ctx),
            });
        }));
    }

    /// Does something as a part of the connection's span.
    fn in_span(&mut self, act: impl FnOnce(&mut RemoteRouter)) {
        let span = self.span.clone();
        span.in_scope(|| act(self));
    }

    fn failed(&mut self, error: &GreetError, ctx: &mut Context<Self>) {
        let to = self.link.as_ref().map(|link| link.label());
        tracing::warn!(target: "actix_hermod", to, %error, "no connection");
        self.failures = self.failures.saturating_add(1);
        let nobody_listens = error.nobody_listens();
        self.end(DropReason::NotConnected, &error.to_string(), ctx);
        if nobody_listens && let Some(link) = self.waiting.upgrade() {
            link.unreachable();
        }
    }

    fn up(&mut self, greeted: Greeted, ctx: &mut Context<Self>) {
        let Some(link) = &self.link else { return ctx.stop() };
        let Greeted { stream, hello, names, rest, resumed } = greeted;
        let peer = hello.node;
        if resumed && self.house.links.join(peer, link) == Claim::Refused {
            return self.failed(&GreetError::TooMany, ctx);
        }
        self.span.record("peer", field::display(peer));
        let hints = hints::believed(hello.endpoints.iter().map(String::as_str), stream.near);
        let connection = link.up(&hello, names, hints);
        let superseded = link.superseded();
        let inbound = Inbound::new(&self.house, Arc::clone(link), connection, (peer, stream.near), resumed);
        let heard = Arc::new(AtomicBool::new(true));
        let (router, max_frame) = (ctx.address(), self.house.limits.max_message);
        let proven = move || router.do_send(Proven);
        // Boxed: each future around it would have room for it twice, as it is given and as it is polled.
        let reading = Box::pin(pipe::read(stream.read, rest, inbound, Arc::clone(&heard), max_frame, proven));
        let writing = pipe::write(stream.write, Arc::clone(link), connection);
        let reading = async move {
            tokio::select! {
                biased;
                () = superseded.cancelled() => Ended::Lost(io::ErrorKind::ConnectionReset.into()),
                ended = reading => ended,
            }
        };
        let reader = Self::pipe(connection, reading.instrument(self.span.clone()), ctx);
        let writer = Self::pipe(connection, writing.instrument(self.span.clone()), ctx);
        let (announced, silent, written_to_end) = (false, Duration::ZERO, false);
        self.live = Some(Live {
            connection,
            peer,
            reader,
            writer,
            announced,
            heard,
            silent,
            read_to_end: None,
            written_to_end,
        });
        self.failures = 0;
        // How far away the peer is is known early.
        self.nonce += 1;
        link.ping(self.nonce);
        if resumed {
            self.announce();
        }
    }

    /// The peer of a connection that was dialled from here is who it says.
    fn proven(&mut self, ctx: &mut Context<Self>) {
        let (Some(live), Some(link)) = (&self.live, &self.link) else { return };
        match self.house.links.join(live.peer, link) {
            Claim::Proven => self.announce(),
            Claim::Refused => self.down(DownReason::Misbehaved(GreetError::TooMany.to_string()), ctx),
        }
    }

    /// The peer is who it says.
    fn announce(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.announced = true;
        tracing::info!(target: "actix_hermod", peer = %live.peer, "connected");
        self.house.observer.tell(&Event::PeerUp { peer: live.peer });
    }

    /// Runs one direction as a task, which tells when it has ended.
    fn pipe(connection: u64, direction: impl Future<Output = Ended> + 'static, ctx: &Context<Self>) -> JoinHandle<()> {
        let router = ctx.address();
        actix_rt::spawn(async move { router.do_send(PipeEnded { connection, how: direction.await }) })
    }

    /// The reader or the writer has ended.
    fn ended(&mut self, ended: PipeEnded, ctx: &mut Context<Self>) {
        let Some(live) = self.live.as_mut().filter(|live| live.connection == ended.connection) else { return };
        match ended.how {
            Ended::Goodbye(why, detail) => self.goodbye(why, &detail, ctx),
            Ended::Written => {
                live.written_to_end = true;
                if let Some(reason) = live.read_to_end.take() {
                    self.down(reason, ctx);
                }
            }
            Ended::Lost(error) => {
                tracing::debug!(target: "actix_hermod", peer = %live.peer, %error, "the connection broke");
                let why = if live.written_to_end { DownReason::Goodbye } else { DownReason::Lost };
                self.down(why, ctx);
            }
            Ended::Violation(violation) => self.violated(&violation, ctx),
        }
    }

    fn heartbeat(&mut self, ctx: &mut Context<Self>) {
        let every = self.every();
        // After the thread was kept busy the beats it missed come all at once, before what the peer has sent is read.
        if std::mem::replace(&mut self.beat, Instant::now()).elapsed() < every / 2 {
            return;
        }
        let (Some(live), Some(link)) = (&mut self.live, &self.link) else { return };
        if live.heard.swap(false, Ordering::Relaxed) {
            live.silent = Duration::ZERO;
        } else {
            live.silent += every;
        }
        if live.silent >= self.house.limits.dead_after {
            return self.down(DownReason::Silent, ctx);
        }
        self.nonce += 1;
        link.ping(self.nonce);
    }

    /// How often it beats: often enough to notice within `dead_after` that the peer is silent.
    fn every(&self) -> Duration {
        let limits = &self.house.limits;
        limits.heartbeat.min(limits.dead_after / 3).max(Duration::from_millis(1))
    }

    /// The peer says goodbye: what waits for it is still written, and then this side says it too.
    fn goodbye(&mut self, why: Farewell, detail: &str, ctx: &mut Context<Self>) {
        tracing::debug!(target: "actix_hermod", ?why, detail, "the peer says goodbye");
        if why == Farewell::Shutdown
            && let Some(live) = self.live.as_ref().filter(|live| live.announced)
        {
            self.house.links.gone(live.peer);
        }
        let reason = match why {
            Farewell::Violation | Farewell::Unproven => DownReason::Misbehaved(detail.to_owned()),
            Farewell::Shutdown | Farewell::Unneeded | Farewell::Other(_) => DownReason::Goodbye,
        };
        self.wind_up(reason, Farewell::Unneeded, "", ctx);
    }

    /// The peer broke the protocol.
    fn violated(&mut self, violation: &Violation, ctx: &mut Context<Self>) {
        let Some(live) = &self.live else { return };
        tracing::warn!(target: "actix_hermod", peer = %live.peer, %violation, "the peer broke the protocol");
        live.reader.abort();
        let (words, why) = (violation.to_string(), farewell_to(violation));
        self.wind_up(DownReason::Misbehaved(words.clone()), why, &words, ctx);
    }

    /// Takes back requests that nobody waits for any more, and looks whether the peer reads what it is told.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let Some(link) = self.link.clone().or_else(|| self.waiting.upgrade()) else { return };
        link.sweep_pending();
        link.sweep_inquiries();
        link.sweep_watches(self.house.limits.dead_after);
        let is_open = self.live.as_ref().is_some_and(|live| live.read_to_end.is_none());
        if is_open && link.is_overrun() {
            self.violated(&Violation::RefusalsUnread, ctx);
        }
    }

    /// Nothing more is read: what waits for the peer is still written, with a goodbye behind it.
    fn wind_up(&mut self, reason: DownReason, why: Farewell, detail: &str, ctx: &mut Context<Self>) {
        let (Some(live), Some(link)) = (&mut self.live, &self.link) else { return };
        link.close(why, detail);
        if live.written_to_end {
            return self.down(reason, ctx);
        }
        live.read_to_end = Some(reason.clone());
        // A peer that reads nothing is not waited for.
        let (limit, connection) = (self.house.limits.shutdown_timeout, live.connection);
        ctx.run_later(limit, move |router, ctx| {
            if router.live.as_ref().is_some_and(|live| live.connection == connection) {
                router.in_span(|router| router.down(reason, ctx));
            }
        });
    }

    /// The connection has ended, or is ended here.
    fn down(&mut self, why: DownReason, ctx: &mut Context<Self>) {
        let Some(live) = self.live.take() else { return };
        live.reader.abort();
        live.writer.abort();
        let reason = if self.house.closing.is_cancelled() { DropReason::Shutdown } else { DropReason::Lost };
        tracing::info!(target: "actix_hermod", peer = %live.peer, ?why, "disconnected");
        if let Some(link) = &self.link {
            self.house.links.leave(live.peer, link);
        }
        self.end(reason, &why.to_string(), ctx);
        // One that only claimed to be that node says nothing about it.
        if live.announced {
            self.house.observer.tell(&Event::PeerDown { peer: live.peer, why });
        }
    }

    /// There is no connection: another attempt is made after a pause, if there is somewhere to dial and somebody who
    /// wants it.
    fn end(&mut self, reason: DropReason, detail: &str, ctx: &mut Context<Self>) {
        let Some(link) = self.link.take() else { return };
        self.occupied = None;
        let over = link.endpoint().is_none() || self.house.closing.is_cancelled();
        link.down(reason, detail, over);
        drop(link);
        self.span = Span::none();
        if over {
            return ctx.stop();
        }
        ctx.run_later(self.pause(), Self::try_again);
    }

    fn try_again(&mut self, ctx: &mut Context<Self>) {
        let Some(link) = self.waiting.upgrade() else { return ctx.stop() };
        self.occupied = Occupied::new(&self.house);
        if self.occupied.is_none() {
            ctx.run_later(self.pause(), Self::try_again);
            return;
        }
        link.dialling();
        self.link = Some(link);
        self.connect(ctx);
    }

    /// Doubles with each failure, up to the limit; less up to half of it by chance, so that the clients of a restarted
    /// server do not all come back at once.
    fn pause(&self) -> Duration {
        let (first, longest) = (*self.house.limits.reconnect.start(), *self.house.limits.reconnect.end());
        let doubled = first.saturating_mul(1_u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(longest).mul_f64(1.0 - world::random_fraction() / 2.0)
    }
}

impl Actor for RemoteRouter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let stopped = self.house.stopped().clone();
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

impl Handler<Proven> for RemoteRouter {
    type Result = ();

    fn handle(&mut self, _: Proven, ctx: &mut Context<Self>) {
        self.in_span(|router| router.proven(ctx));
    }
}

impl Handler<PipeEnded> for RemoteRouter {
    type Result = ();

    fn handle(&mut self, ended: PipeEnded, ctx: &mut Context<Self>) {
        self.in_span(|router| router.ended(ended, ctx));
    }
}

/// Ends when an attempt has to make room.
async fn expelled(attempt: Option<&Unproven>) {
    match attempt {
        Some(attempt) => attempt.expelled.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Stands around all that is said of one connection, or of an attempt at one.
fn span(house: &House, link: &Link) -> Span {
    let endpoint = link.endpoint().map(field::display);
    tracing::info_span!(target: "actix_hermod", "connection", node = %house.id, endpoint, peer = field::Empty)
}

/// How a peer is told what it did wrong.
fn farewell_to(violation: &Violation) -> Farewell {
    match violation {
        Violation::Unproven => Farewell::Unproven,
        _ => Farewell::Violation,
    }
}

impl Drop for RemoteRouter {
    /// Also when the thread that it runs on ends.
    fn drop(&mut self) {
        if let Some(live) = &self.live
            && let Some(link) = &self.link
        {
            self.house.links.leave(live.peer, link);
        }
        if let Some(link) = self.link.take().or_else(|| self.waiting.upgrade()) {
            link.down(DropReason::Shutdown, "", true);
        }
    }
}
