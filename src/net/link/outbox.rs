//! The outbox: everything that waits for one connection, under the link's lock, namely messages, control frames, and
//! requests without an answer.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Waker;

use bytes::Bytes;
use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use super::fragment_queue::Flow;
use super::fragment_queue::FragmentQueue;
use super::fragment_queue::FrameRole;
use super::home::Home;
pub(super) use super::requests::PendingRequest;
use super::room::Room;
use super::target::TargetRef;
use super::target::TypeNames;
use crate::config::Limits;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::holdings::Holdings;
use crate::handle::ports::NotPosted;
use crate::handle::reply::PeerRequest;
use crate::ident::BoxId;
use crate::net::control::deferred_release::DeferredReleases;
use crate::net::control::drop_report::LocalDrops;
use crate::net::control::heartbeat::RoundTrips;
use crate::net::control::pressure::Pressures;
use crate::net::control::settlement::ConnectionNames;
use crate::net::control::shape_query::ShapeQueries;
use crate::net::control::watch::Watches;
use crate::quota::Quotas;
use crate::quota::Share;
use crate::quota::Terms;
use crate::reason::DropReason;
use crate::wire::frames::LENGTH;
use crate::wire::frames::cancel::put_cancel;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;
use crate::wire::frames::report::Account;
use crate::wire::introduction::Identity;
use crate::wire::outgoing::Correlated;
use crate::wire::outgoing::Handles;
use crate::wire::outgoing::Outgoing;
use crate::wire::outgoing::Post;
use crate::wire::outgoing::Referent;
use crate::wire::outgoing::Unwritten;

/// Bytes of pings, pongs and the like that wait at most: a peer that sends pings and never reads pongs gets no more.
pub(super) const MAX_CONTROL: usize = 32 << 10;

/// Bytes that may wait for each connection however much waits for others: 400 small messages. For refusals, the same
/// number as for other control frames.
pub(crate) const OWN: Terms = Terms { own: 16 << 10, chunk: 64 << 10 };
const OWN_REFUSALS: Terms = Terms { own: MAX_CONTROL, chunk: 64 << 10 };

/// Requests of each peer that may wait for an answer however many of others do.
const OWN_ANSWERS: Terms = Terms { own: 64, chunk: 64 };

/// Bytes up to which a frame is not cut, whatever the limit: a smaller one is not worth the heads of its pieces.
const MIN_FRAGMENT: usize = 256;

/// Numbers the connections of this process; no connection has number 0.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Returns a number that no other connection of this process has.
pub(crate) fn next_connection() -> u64 {
    NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed)
}

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

/// See the [module](self).
pub(super) struct Outbox {
    pub(super) phase: Phase,
    pub(super) home: Home,
    pub(super) connection: u64,
    pub(super) outgoing: Outgoing,
    pub(super) posts: BytesMut,
    /// Messages in `posts`.
    pub(super) waiting: u64,
    /// Messages too large to be written at once, and frames that wait behind them.
    pub(super) fragments: FragmentQueue,
    /// Bytes of a frame above which it is cut.
    pub(super) fragment: usize,
    /// Bytes that may wait.
    pub(super) capacity: usize,
    /// The outbox's share in the bytes that may wait for all connections of the node; `refusals` is its share for
    /// refusals.
    pub(super) share: Share,
    pub(super) refusals: Share,
    /// The longest frame written before the peer has greeted.
    pub(super) longest: usize,
    pub(super) control: BytesMut,
    pub(super) control_was_last: bool,
    pub(super) releases: BTreeMap<BoxId, u64>,
    /// Leases that are given back to other nodes once the peer has read this side's claims.
    pub(super) deferred: DeferredReleases,
    pub(super) goodbye: Option<(Farewell, String)>,
    /// Whether this node has said that it ends: messages that it reads from then on are not handled.
    pub(super) has_ended: Arc<AtomicBool>,
    /// Whether the peer has said so.
    pub(super) peer_has_ended: bool,
    /// Bytes that the writer has taken and not yet written.
    pub(super) writing: usize,
    /// Bytes that the writer has taken since the last heartbeat.
    pub(super) written_since: usize,
    /// Whether little was written between the last two heartbeats.
    pub(super) is_idle: bool,
    pub(super) writer: Option<Waker>,
    /// Requests of ours without an answer, and of the peer's.
    pub(super) pending: HashMap<u64, PendingRequest>,
    pub(super) asked: HashMap<u64, Arc<PeerRequest>>,
    /// The connection's share in the peers' requests that may wait for an answer of the node.
    pub(super) answers: Share,
    /// Requests of ours that somebody still waited for at the last sweep.
    pub(super) pending_swept: usize,
    pub(super) next_request: u64,
    /// Whether there was no room for a refusal.
    pub(super) overrun: bool,
    /// Messages that the peer says it has read, and messages read from it.
    pub(super) read: (u64, u64),
    /// Messages written to connections of the link that have ended, and messages read from them.
    pub(super) past: (u64, u64),
    pub(super) times_up: u64,
    pub(super) round_trips: RoundTrips,
    /// The features that the peer understands beyond the base of version 1.
    pub(super) features: u64,
    /// Drops here of messages that came over this connection.
    pub(super) ours: LocalDrops,
    /// The Rust types of messages sent to boxes of the peer.
    pub(super) sent: TypeNames,
    pub(super) shape_queries: ShapeQueries,
    pub(super) watches: Watches,
    pub(super) pressures: Pressures,
    /// The names that both ends give the connection, once they have greeted.
    pub(super) names: Option<ConnectionNames>,
    /// Leases of the peer's boxes, once it has greeted.
    pub(super) holdings: Option<Arc<Holdings>>,
    /// Cancelled when the peer has given the connection up for another one.
    pub(super) superseded: CancellationToken,
    /// Why there is no connection, for a person; empty if there is one, or none was tried.
    pub(super) trouble: Box<str>,
}

impl Outbox {
    pub(super) fn new(phase: Phase, limits: &Limits, quotas: &Quotas) -> Outbox {
        Outbox {
            phase,
            home: Home::default(),
            connection: next_connection(),
            outgoing: Outgoing::new(limits.max_message),
            posts: BytesMut::new(),
            waiting: 0,
            fragments: FragmentQueue::default(),
            fragment: limits.fragment.max(MIN_FRAGMENT),
            capacity: limits.outbox,
            share: Share::new(&quotas.outboxes, &OWN),
            refusals: Share::new(&quotas.outboxes, &OWN_REFUSALS),
            longest: 0,
            control: BytesMut::new(),
            control_was_last: false,
            releases: BTreeMap::new(),
            deferred: DeferredReleases::default(),
            goodbye: None,
            has_ended: Arc::default(),
            peer_has_ended: false,
            writing: 0,
            written_since: 0,
            is_idle: false,
            writer: None,
            pending: HashMap::new(),
            asked: HashMap::new(),
            answers: Share::new(&quotas.answers, &OWN_ANSWERS),
            pending_swept: 0,
            next_request: 1,
            overrun: false,
            read: (0, 0),
            past: (0, 0),
            times_up: 0,
            round_trips: RoundTrips::default(),
            features: 0,
            ours: LocalDrops::default(),
            sent: TypeNames::default(),
            shape_queries: ShapeQueries::default(),
            watches: Watches::new(limits.dead_after, &quotas.watches),
            pressures: Pressures::default(),
            names: None,
            holdings: None,
            superseded: CancellationToken::new(),
            trouble: Box::default(),
        }
    }

    /// Remembers the type of the messages for a box, so that it can be reported if the peer drops them.
    #[inline(always)]
    pub(super) fn remember(&mut self, to: TargetRef<'_>) {
        if to.pointer.is_new_to(self.connection) {
            self.note_type_sent(to);
        }
    }

    #[cold]
    fn note_type_sent(&mut self, to: TargetRef<'_>) {
        if !to.type_name.is_empty() {
            let account = Account { target: to.pointer.target(to.direct), fingerprint: to.fingerprint };
            self.sent.note(account, to.type_name);
        }
    }

    /// Numbers and appends a message, if it fits. Its body may be `kept`.
    #[inline]
    pub(super) fn post<R: Referent, H: Handles>(
        &mut self,
        to: TargetRef<'_>,
        post: &Post<'_, R, H>,
        kept: Option<&Bytes>,
    ) -> Result<(), Unwritten> {
        if post.body.len() > self.fragment || self.fragments.holds(to) {
            return self.post_in_flow(to, post, kept);
        }
        let before = self.posts.len();
        // A loop, so that the call is inlined in one place: usually there is no second pass, and never a third.
        loop {
            let room = self.room(Room::FOR_DATA);
            match self.outgoing.post(&mut self.posts, room, post) {
                Ok(()) => break,
                Err(unwritten) => self.reserve_for_post(unwritten, post)?,
            }
        }
        self.waiting += 1;
        if self.phase == Phase::Dialling {
            self.longest = self.longest.max((self.posts.len() - before).saturating_sub(LENGTH));
        }
        Ok(())
    }

    #[cold]
    fn post_in_flow<R: Referent, H: Handles>(
        &mut self,
        to: TargetRef<'_>,
        post: &Post<'_, R, H>,
        kept: Option<&Bytes>,
    ) -> Result<(), Unwritten> {
        let post = Post { to: Some(&post.to), handles: post.handles.clone(), body: post.body, hops: post.hops };
        let room = self.flow_room(None, &post)?;
        let frame = self.outgoing.in_full(room, None, &post, kept)?;
        self.fragments.put(Flow::of(to), frame, FrameRole::Post, named_of_peer(&post.handles));
        Ok(())
    }

    /// Numbers and appends a request, or an answer, which has no target, if it fits. Returns its flow, if it waits in
    /// one. Its body may be `kept`.
    pub(super) fn correlated<R: Referent, H: Handles>(
        &mut self,
        to: Option<TargetRef<'_>>,
        what: Correlated,
        post: &Post<'_, Option<R>, H>,
        kept: Option<&Bytes>,
    ) -> Result<Option<Flow>, Unwritten> {
        if post.body.len() > self.fragment || to.is_some_and(|to| self.fragments.holds(to)) {
            let room = self.flow_room(Some(what), post)?;
            let frame = self.outgoing.in_full(room, Some(what), post, kept)?;
            let flow = to.map_or_else(|| self.fragments.for_answer(), Flow::of);
            let what = match what {
                Correlated::Ask { correlation, .. } => FrameRole::Ask(correlation),
                Correlated::Answer { .. } => FrameRole::Answer,
            };
            self.fragments.put(flow, frame, what, named_of_peer(&post.handles));
            return Ok(Some(flow));
        }
        let before = self.posts.len();
        loop {
            let room = self.room(Room::of(Some(what)));
            match self.outgoing.correlated(&mut self.posts, room, what, post) {
                Ok(()) => break,
                Err(unwritten) => self.reserve(unwritten, Some(what), post)?,
            }
        }
        self.waiting += u64::from(matches!(what, Correlated::Ask { .. }));
        if self.phase == Phase::Dialling {
            self.longest = self.longest.max((self.posts.len() - before).saturating_sub(LENGTH));
        }
        Ok(None)
    }

    /// Returns the messages of the connection so far, without those in flows that are not completely written.
    pub(super) fn numbered(&self) -> u64 {
        self.outgoing.posts() + self.fragments.written()
    }

    /// Returns the messages that the writer has taken.
    pub(super) fn written(&self) -> u64 {
        self.numbered() - self.waiting
    }

    /// Returns the written messages that the peer never handles, because it had not read them when it said that it
    /// ends.
    pub(super) fn never_read(&self) -> u64 {
        if self.peer_has_ended { self.written().saturating_sub(self.read.0) } else { 0 }
    }

    /// Returns the messages that the writer has not taken, or not completely.
    pub(super) fn unwritten(&self) -> u64 {
        self.waiting + self.fragments.messages()
    }

    /// Returns the bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.posts.len() + self.fragments.bytes() + self.writing
    }

    /// Returns the fill level, from 0 to slightly above 1: large messages have less room than the whole.
    pub(super) fn fill(&self) -> f32 {
        let (whole, fragments) = (self.bytes() as f32, self.fragments.bytes() as f32);
        let of_its_own = (whole / self.capacity.max(1) as f32).max(fragments / large(self.capacity).max(1) as f32);
        of_its_own.max(self.share.fill(self.held()))
    }

    /// Cancels a request, behind the request itself.
    pub(super) fn cancel(&mut self, number: u64, flow: Option<Flow>) {
        match flow {
            Some(flow) => {
                let mut frame = BytesMut::new();
                put_cancel(&mut frame, number);
                self.fragments.put(flow, frame, FrameRole::Follower, Vec::new());
            }
            None => put_cancel(&mut self.posts, number),
        }
    }

    /// Pings the peer behind waiting messages, if the connection is up.
    pub(super) fn ping_behind(&mut self, nonce: Option<u64>) {
        if let Some(nonce) = nonce.filter(|_| self.phase == Phase::Up) {
            Ping { nonce, read: self.read.1 }.put(&mut self.posts, kind::PING);
            self.wake();
        }
    }

    /// Wakes the writer, which is a task of its own: waking it is a push to its thread's queue.
    pub(super) fn wake(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Whether the node that answers now is neither the one that introduced the pointer's box nor the one that has the
    /// box. After a link dials its endpoint again, another node may listen there.
    #[cold]
    pub(super) fn is_strange_to(&self, to: &Pointer) -> bool {
        let (Some(made_for), Some(names)) = (to.made_for(), &self.names) else { return false };
        names.peer != made_for && to.incarnation() != Some(names.peer)
    }

    /// Admits a message to the outbox. Returns whether a dial has to be started for it; an error if the message may not
    /// wait here, or if there is no connection and the caller is not `patient`.
    pub(super) fn admit(&mut self, patient: bool) -> Result<bool, NotPosted> {
        match self.phase {
            Phase::Idle | Phase::Dialling | Phase::Pausing if !patient => Err(NotPosted::NotUp),
            Phase::Idle => {
                self.phase = Phase::Dialling;
                Ok(true)
            }
            Phase::Dialling | Phase::Up => Ok(false),
            Phase::Closing => Err(NotPosted::Dropped(DropReason::Shutdown)),
            Phase::Pausing => Err(NotPosted::Dropped(DropReason::NotConnected)),
            Phase::Over => Err(NotPosted::Over),
        }
    }
}

/// Returns the boxes of the peer that are among the handles of a message.
fn named_of_peer<H: Handles>(handles: &H) -> Vec<BoxId> {
    let handles = handles.clone().into_iter();
    let of_peer = |handle: H::Item| match handle.introduction().identity {
        Identity::YourBox(id) => Some(id),
        _ => None,
    };
    handles.filter_map(of_peer).collect()
}

/// Returns the part of an outbox that large messages may fill.
pub(super) fn large(capacity: usize) -> usize {
    capacity - capacity / 4
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;
    use crate::net::link::drain::Chunk;
    use crate::quota::Quota;
    use crate::wire::features::feature;

    /// Returns the quotas of a node for whose connections that many bytes may wait.
    fn of_the_node(bytes: usize) -> Quotas {
        Quotas { outboxes: Quota::new(bytes), ..Quotas::new(&Limits::default()) }
    }

    /// Returns a full outbox, for which `bytes` are reserved, and the chunk that its writer takes.
    fn full(quotas: &Quotas, bytes: usize) -> (Outbox, Chunk) {
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), quotas);
        assert!(outbox.share.covers(bytes));
        outbox.posts.resize(bytes, 0);
        let mut chunk = Chunk::default();
        assert!(looks(&mut outbox, &mut chunk), "there is something to write");
        (outbox, chunk)
    }

    /// Polls as a writer that has written its chunk. Returns whether there is more.
    fn looks(outbox: &mut Outbox, chunk: &mut Chunk) -> bool {
        chunk.bytes.clear();
        let connection = outbox.connection;
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
        assert_eq!((chunk.bytes.capacity(), outbox.share.is_reserved()), (0, false));
    }

    #[test]
    fn an_idle_outbox_keeps_nothing_of_the_nodes() {
        let quotas = Quotas::new(&Limits::default());
        let (mut outbox, mut chunk) = full(&quotas, 300 << 10);
        assert!(!looks(&mut outbox, &mut chunk));
        assert!(outbox.share.is_reserved());
        outbox.written_since = 0;
        outbox.beat();
        assert!(!looks(&mut outbox, &mut chunk));
        assert_eq!((quotas.outboxes.used(), chunk.bytes.capacity()), (0, 0));
    }

    #[test]
    fn a_sender_sees_that_the_node_has_no_more_room() {
        let quotas = of_the_node(0);
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), &quotas);
        outbox.posts.resize(OWN.own / 2, 0);
        assert_eq!(outbox.fill(), 0.5);
        assert_eq!((outbox.room(Room::FOR_DATA), outbox.room(Room::FOR_ANSWERS)), (8 << 10, 24 << 10));
    }

    /// Behind a large message too, small messages are written in a few writes.
    #[test]
    fn a_million_messages_in_ten_thousand_lanes_are_not_written_one_by_one() {
        const FLOWS: u128 = 10_000;
        let mut outbox = Outbox::new(Phase::Up, &Limits::default(), &Quotas::new(&Limits::default()));
        outbox.features = feature::FRAGMENTS;
        for n in 0..100 * FLOWS {
            let flow = Flow::Box(BoxId((n % FLOWS).to_le_bytes()));
            outbox.fragments.put(flow, BytesMut::from(&[0; 16][..]), FrameRole::Post, Vec::new());
        }
        let (mut chunk, mut steps) = (Chunk::default(), 0);
        let connection = outbox.connection;
        while outbox.poll_next(connection, &mut chunk, &mut Context::from_waker(Waker::noop())).is_ready() {
            steps += 1;
            chunk = Chunk::default();
        }
        let left = (outbox.unwritten(), outbox.fragments.bytes());
        assert_eq!((outbox.written(), left), (100 * FLOWS as u64, (0, 0)));
        assert!(steps < 1000, "{steps} writes");
    }
}
