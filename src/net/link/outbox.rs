//! The outbox: everything that waits for one connection, under the link's lock.
//!
//! A value of plain state objects, one for each job: the messages, the control frames, and the sub-protocols of
//! [`control`](crate::net::control). This file and its neighbours say which of them has its turn.

use std::sync::Arc;
use std::sync::Weak;
use std::task::Waker;

use tokio::time::Instant;

use super::control_queue::ControlQueue;
use super::control_queue::MAX_CONTROL;
use super::post_queue::PostQueue;
use super::post_queue::Unreadable;
use super::session::Session;
use super::target::TargetRef;
use crate::config::Limits;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::holdings::Holdings;
use crate::handle::pointer::lease::Lease;
use crate::handle::ports::NotTaken;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::net::control::acknowledgement::Acknowledgement;
use crate::net::control::drop_report::DropReports;
use crate::net::control::effects::Effects;
use crate::net::control::heartbeat::Heartbeat;
use crate::net::control::peer_watch::PeerWatches;
use crate::net::control::pressure::Pressures;
use crate::net::control::release::Releases;
use crate::net::control::requests::Requests;
use crate::net::control::requests::Unanswerable;
use crate::net::control::settlement::ConnectionNames;
use crate::net::control::shape_query::ShapeQueries;
use crate::net::control::watch::Watches;
use crate::quota::Quotas;
use crate::reason::DropReason;
use crate::wire::features::feature;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;
use crate::wire::frames::report::Account;
use crate::wire::hello::Hello;

/// The least number of handles for which the table of releases is filled in one go; fewer are added one by one.
const MANY: usize = 32;

/// The phase of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The link is not used yet: the first message starts a dial.
    Idle,
    /// A connection is being made: messages wait.
    Dialling,
    Up,
    /// The last attempt failed, or the connection broke: messages are dropped until the next attempt.
    Pausing,
    /// No more messages are taken; those that wait are still written.
    Closing,
    Over,
}

/// The work that is left for the time after the lock is released.
#[derive(Default)]
pub(super) struct Afterwards {
    /// The waker of a writer that waits.
    writer: Option<Waker>,
    effects: Effects,
    wakes: bool,
    /// Whether there is any work: the one thing that each message checks.
    is_due: bool,
}

impl Afterwards {
    /// Returns the effects, to add some.
    #[cold]
    pub(super) fn effects(&mut self) -> &mut Effects {
        self.is_due = true;
        &mut self.effects
    }

    /// Takes the work, if there is any.
    #[inline]
    pub(super) fn take_due(&mut self) -> Option<Due> {
        if self.is_due { Some(self.take()) } else { None }
    }

    #[inline]
    fn take(&mut self) -> Due {
        self.is_due = false;
        let writer = if std::mem::take(&mut self.wakes) { self.writer.take() } else { None };
        let effects = if self.effects.is_empty() { None } else { Some(std::mem::take(&mut self.effects)) };
        Due { writer, effects }
    }
}

/// Work that is due once the lock is released.
pub(super) struct Due {
    writer: Option<Waker>,
    effects: Option<Effects>,
}

impl Due {
    /// Wakes the writer, and runs the effects.
    #[inline]
    pub(super) fn run(self) {
        if let Some(writer) = self.writer {
            writer.wake();
        }
        if let Some(effects) = self.effects {
            effects.run();
        }
    }
}

/// See the [module](self). The fields that each message touches come first.
#[repr(C)]
pub(super) struct Outbox {
    pub(super) phase: Phase,
    pub(super) afterwards: Afterwards,
    pub(super) posts: PostQueue,
    pub(super) session: Session,
    pub(super) control: ControlQueue,
    pub(super) requests: Requests,
    pub(super) releases: Releases,
    pub(super) heartbeat: Heartbeat,
    pub(super) read: Acknowledgement,
    pub(super) reports: DropReports,
    pub(super) shape_queries: ShapeQueries,
    pub(super) watches: Watches,
    pub(super) peer_watches: PeerWatches,
    pub(super) pressures: Pressures,
}

impl Outbox {
    pub(super) fn new(phase: Phase, limits: &Limits, quotas: &Quotas) -> Outbox {
        Outbox {
            phase,
            afterwards: Afterwards::default(),
            posts: PostQueue::new(limits, quotas),
            session: Session::new(),
            control: ControlQueue::new(&quotas.outboxes),
            requests: Requests::new(&quotas.answers),
            releases: Releases::default(),
            heartbeat: Heartbeat::default(),
            read: Acknowledgement::default(),
            reports: DropReports::default(),
            shape_queries: ShapeQueries::default(),
            watches: Watches::new(limits.dead_after),
            peer_watches: PeerWatches::new(&quotas.watches),
            pressures: Pressures::default(),
        }
    }

    /// Leaves effects to be run once the lock is released.
    pub(super) fn later(&mut self, effects: Effects) {
        if !effects.is_empty() {
            self.afterwards.effects().extend(effects);
        }
    }

    /// Has the writer woken once the lock is released, if it waits.
    #[inline]
    pub(super) fn wake(&mut self) {
        if self.afterwards.writer.is_some() {
            self.afterwards.wakes = true;
            self.afterwards.is_due = true;
        }
    }

    /// Sets the waker of the writer, which has found nothing to write.
    pub(super) fn set_writer(&mut self, writer: Waker) {
        self.afterwards.writer = Some(writer);
    }

    /// Whether this is still the connection of that number.
    #[inline]
    pub(super) fn is(&self, connection: u64) -> bool {
        self.session.connection == connection
    }

    /// Remembers the type of the messages for a box, so that it can be reported if the peer drops them.
    #[inline(always)]
    pub(super) fn remember(&mut self, to: TargetRef<'_>) {
        if to.pointer.is_new_to(self.session.connection) {
            self.note_type_sent(to);
        }
    }

    #[cold]
    fn note_type_sent(&mut self, to: TargetRef<'_>) {
        if !to.type_name.is_empty() {
            let account = Account { target: to.pointer.target(to.direct), fingerprint: to.fingerprint };
            self.reports.types.note(account, to.type_name);
        }
    }

    /// Takes up the connection on which the peer has greeted. Returns the number of messages that it cannot read, which
    /// are dropped, and the requests among them.
    pub(super) fn greeted(
        &mut self,
        hello: &Hello,
        names: ConnectionNames,
        holdings: Arc<Holdings>,
        limits: &Limits,
        now: Instant,
    ) -> (u64, Unanswerable) {
        let numbers = limits.interned.min(hello.numbers as usize);
        let Unreadable { unflowed, in_flows, asked } =
            self.posts.on_greeting(hello.max_frame as usize, numbers, limits);
        if self.phase == Phase::Dialling {
            self.phase = Phase::Up;
        }
        let Session { connection, .. } = self.session;
        self.session.times_up += 1;
        self.session.features = hello.features;
        self.session.names = Some(names);
        self.session.leases.on_greeting(holdings, connection, hello.features);
        self.session.trouble = Box::default();
        // Requests in flows go on.
        let unanswerable = self.requests.take_unreadable(asked, unflowed > 0);
        let unanswered =
            self.shape_queries.on_greeting(self.session.understands(feature::SHAPES), &mut self.control.frames);
        let strangers = self.watches.on_greeting(names.peer, self.session.understands(feature::WATCHES), now);
        [strangers, unanswered].into_iter().for_each(|effects| self.later(effects));
        self.wake();
        (unflowed + in_flows, unanswerable)
    }

    /// Cancels a request of this side, if it still waits.
    pub(super) fn cancel(&mut self, number: u64) {
        if let Some(pending) = self.requests.remove(number) {
            if matches!(self.phase, Phase::Dialling | Phase::Up) {
                self.posts.cancel(number, pending.flow);
                self.wake();
            }
            self.afterwards.effects().drop_later(pending);
        }
    }

    /// Pings the peer behind waiting messages, if the connection is up.
    pub(super) fn ping_behind(&mut self, nonce: Option<u64>) {
        if let Some(nonce) = nonce.filter(|_| self.phase == Phase::Up) {
            Ping { nonce, read: self.read.here() }.put(&mut self.posts.bytes, kind::PING);
            self.wake();
        }
    }

    /// Releases handles of the peer's box, behind messages sent to the box and behind frames that name it.
    pub(super) fn release(&mut self, id: BoxId, count: u64) {
        if !self.posts.release(id, count) {
            self.releases.release(id, count);
        }
    }

    /// Releases each as [`release`](Outbox::release) does. If nothing else waits, the table is filled in one go.
    pub(super) fn release_all(&mut self, handles: &[BoxId]) {
        let alike = handles.chunk_by(|one, next| one == next);
        let mut released = alike.filter_map(|ids| Some((*ids.first()?, ids.len() as u64)));
        if handles.len() >= MANY && self.releases.is_empty() && self.posts.fragments.is_empty() {
            self.releases.fill(&mut released);
        }
        released.for_each(|(id, count)| self.release(id, count));
    }

    /// Claims a lease of a box from its own node, to which this connection leads; see
    /// [`Leases::claim`](crate::net::control::lease::Leases::claim).
    #[cold]
    pub(super) fn lease(&mut self, to: &Pointer, link: &Weak<dyn Outbound>) -> Option<Box<Lease>> {
        self.session.leases.claim(to, link, &mut self.posts.bytes)
    }

    /// Restates the leases of connections that have ended, if there are any and this connection is up.
    pub(super) fn restate_leases(&mut self, link: &Weak<dyn Outbound>) {
        let longest = self.posts.max_frame();
        if self.phase == Phase::Up && self.session.leases.poll_frames(link, &mut self.posts.bytes, longest) {
            self.wake();
        }
    }

    /// Says goodbye once all waiting messages are written; no more are taken.
    pub(super) fn close(&mut self, why: Farewell, detail: &str) {
        if matches!(self.phase, Phase::Up | Phase::Dialling) {
            if self.session.understands(feature::REPORTS) {
                self.report(MAX_CONTROL);
            }
            self.phase = Phase::Closing;
            self.control.goodbye = Some((why, detail.to_owned()));
            self.wake();
        }
    }

    /// Whether nothing is under way on a connection that is up, and nothing can be expected: all sent messages were
    /// read, no answer is due, and the peer neither watches boxes of this side nor knows one that it may use at any
    /// time.
    pub(super) fn is_quiet(&self) -> bool {
        let is_read = self.posts.unwritten() == 0 && self.read.by_peer() == self.posts.written();
        let is_known = self.posts.outgoing.names_ours() || self.peer_watches.is_watched();
        let is_released = self.releases.is_empty() && self.releases.deferred.under_way().is_none();
        self.phase == Phase::Up && is_read && self.requests.is_empty() && is_released && !is_known
    }

    /// Whether the node that answers now is neither the one that introduced the pointer's box nor the one that has the
    /// box. After a link dials its endpoint again, another node may listen there.
    #[cold]
    pub(super) fn is_strange_to(&self, to: &Pointer) -> bool {
        let (Some(made_for), Some(names)) = (to.made_for(), &self.session.names) else { return false };
        names.peer != made_for && to.incarnation() != Some(names.peer)
    }

    /// Admits a message to the outbox. Returns whether a dial has to be started for it; an error if the message may not
    /// wait here, or if there is no connection and the caller is not `patient`.
    pub(super) fn admit(&mut self, patient: bool) -> Result<bool, NotTaken> {
        match self.phase {
            Phase::Idle | Phase::Dialling | Phase::Pausing if !patient => Err(NotTaken::NotUp),
            Phase::Idle => {
                self.phase = Phase::Dialling;
                Ok(true)
            }
            Phase::Dialling | Phase::Up => Ok(false),
            Phase::Closing => Err(NotTaken::Dropped(DropReason::Shutdown)),
            Phase::Pausing => Err(NotTaken::Dropped(DropReason::NotConnected)),
            Phase::Over => Err(NotTaken::Over),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem::offset_of;
    use std::task::Context;

    use bytes::BytesMut;

    use super::*;
    use crate::net::control::flow::Flow;
    use crate::net::link::drain::Chunk;
    use crate::net::link::fragment_queue::FrameRole;
    use crate::net::link::post_queue::OWN;
    use crate::net::link::room::Room;
    use crate::quota::Quota;
    use crate::quota::Share;

    /// Returns the quotas of a node whose outboxes may hold that many bytes together.
    fn of_the_node(bytes: usize) -> Quotas {
        Quotas { outboxes: Quota::new(bytes), ..Quotas::new(&Limits::default()) }
    }

    /// Returns a full outbox, for which `bytes` are reserved, and the chunk that its writer takes.
    fn full(quotas: &Quotas, bytes: usize) -> (Outbox, Chunk) {
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), quotas);
        assert!(outbox.posts.share.covers(bytes));
        outbox.posts.bytes.resize(bytes, 0);
        let mut chunk = Chunk::default();
        assert!(looks(&mut outbox, &mut chunk), "there is something to write");
        (outbox, chunk)
    }

    /// Polls as a writer that has written its chunk. Returns whether there is more.
    fn looks(outbox: &mut Outbox, chunk: &mut Chunk) -> bool {
        chunk.bytes.clear();
        let connection = outbox.session.connection;
        outbox.poll_next(connection, chunk, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn what_is_written_is_the_nodes_again_once_others_need_it() {
        const BYTES: usize = 300 << 10;
        let quotas = of_the_node(2 << 20);
        let (mut outbox, mut chunk) = full(&quotas, BYTES);
        assert!((BYTES - OWN.own..BYTES - OWN.own + OWN.chunk).contains(&quotas.outboxes.used()));
        // While they are being written, the bytes still count; afterwards, their buffer does.
        assert!(!looks(&mut outbox, &mut chunk));
        assert!(chunk.bytes.capacity() >= BYTES && quotas.outboxes.used() >= BYTES - OWN.own);
        let mut other = Share::new(&quotas.outboxes, &OWN);
        assert!(other.covers(720 << 10));
        assert!(!looks(&mut outbox, &mut chunk));
        assert_eq!((chunk.bytes.capacity(), outbox.posts.share.is_reserved()), (0, false));
    }

    #[test]
    fn an_idle_outbox_keeps_nothing_of_the_nodes() {
        let quotas = Quotas::new(&Limits::default());
        let (mut outbox, mut chunk) = full(&quotas, 300 << 10);
        assert!(!looks(&mut outbox, &mut chunk));
        assert!(outbox.posts.share.is_reserved());
        outbox.heartbeat = Heartbeat::default();
        outbox.heartbeat.ping(&Ping { nonce: 1, read: 0 }, Instant::now(), &mut BytesMut::new());
        assert!(!looks(&mut outbox, &mut chunk));
        assert_eq!((quotas.outboxes.used(), chunk.bytes.capacity()), (0, 0));
    }

    #[test]
    fn a_sender_sees_that_the_node_has_no_more_room() {
        let quotas = of_the_node(0);
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), &quotas);
        outbox.posts.bytes.resize(OWN.own / 2, 0);
        assert_eq!(outbox.posts.fill(), 0.5);
        assert_eq!((outbox.posts.room(Room::FOR_DATA), outbox.posts.room(Room::FOR_ANSWERS)), (8 << 10, 24 << 10));
    }

    /// The outbox is large, and it is seldom entirely in the cache of the thread that sends the next message.
    #[test]
    fn what_a_small_message_touches_is_in_few_cache_lines() {
        const LINE: usize = 64;
        let touched = [
            offset_of!(Outbox, phase),
            offset_of!(Outbox, afterwards.writer),
            offset_of!(Outbox, afterwards.is_due),
            offset_of!(Outbox, posts.bytes),
            offset_of!(Outbox, posts.waiting),
            offset_of!(Outbox, posts.fragment),
            offset_of!(Outbox, posts.capacity),
            offset_of!(Outbox, posts.writing),
            offset_of!(Outbox, posts.share),
            offset_of!(Outbox, posts.is_greeted),
            offset_of!(Outbox, session.connection),
            offset_of!(Outbox, session.times_up),
            offset_of!(Outbox, session.loopback),
        ];
        let lines: BTreeSet<usize> = touched.iter().map(|offset| offset / LINE).collect();
        // Beside these, the numbering and the table of flows.
        assert!(lines.len() <= 5, "{touched:?}");
    }

    /// Behind a large message too, small messages are written in a few writes.
    #[test]
    fn a_million_messages_in_ten_thousand_lanes_are_not_written_one_by_one() {
        const FLOWS: u128 = 10_000;
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), &Quotas::new(&Limits::default()));
        outbox.session.features = feature::FRAGMENTS;
        for n in 0..100 * FLOWS {
            let flow = Flow::Box(BoxId((n % FLOWS).to_le_bytes()));
            outbox.posts.fragments.put(flow, BytesMut::from(&[0; 16][..]), FrameRole::Post, Vec::new());
        }
        let (mut chunk, mut steps) = (Chunk::default(), 0);
        let connection = outbox.session.connection;
        while outbox.poll_next(connection, &mut chunk, &mut Context::from_waker(Waker::noop())).is_ready() {
            steps += 1;
            chunk = Chunk::default();
        }
        let left = (outbox.posts.unwritten(), outbox.posts.fragments.bytes());
        assert_eq!((outbox.posts.written(), left), (100 * FLOWS as u64, (0, 0)));
        assert!(steps < 1000, "{steps} writes");
    }
}
