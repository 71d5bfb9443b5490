//! One way to a peer: the outbox that every thread writes into and the connection's writer takes from.
//!
//! Invariant: under the one lock, a message is numbered and appended whole, or not at all; so the bytes in the outbox
//! are always what a peer with the same table can read from front to back. What was not written when a connection ends
//! is dropped and counted, never carried over to the next one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use bytes::BytesMut;
use parking_lot::Mutex;

use crate::boxes::exports::Evicted;
use crate::boxes::registry::Registry;
use crate::boxes::relay::Relay;
use crate::handle::route::Household;
use crate::handle::route::LocalBox;
use crate::handle::route::NotPosted;
use crate::handle::route::Origin;
use crate::handle::route::Outbound;
use crate::handle::route::Pointer;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::observe::ConnectionStats;
use crate::observe::DropReason;
use crate::observe::Letter;
use crate::wire::frame::Farewell;
use crate::wire::frame::Goodbye;
use crate::wire::frame::Introduction;
use crate::wire::frame::LENGTH;
use crate::wire::frame::Ping;
use crate::wire::frame::kind;
use crate::wire::frame::put_releases;
use crate::wire::handshake::Hello;
use crate::wire::session::Handles;
use crate::wire::session::Outgoing;
use crate::wire::session::Post;
use crate::wire::session::Referent;
use crate::wire::session::Unwritten;

/// Boxes of which handles wait to be released at most; beyond, they are released when the connection ends.
const MAX_RELEASES: usize = 65_536;

/// Bytes of pings, pongs and the like that wait at most: a peer that sends pings and never reads pongs gets no more.
const MAX_CONTROL: usize = 64 << 10;

/// Numbers connections in this process; 0 is nobody's.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Starts a router for a link that is used for the first time.
pub(crate) type Start = Box<dyn Fn(Arc<Link>) + Send + Sync>;

/// See the [module](self).
pub(crate) struct Link {
    me: Weak<Link>,
    home: Arc<dyn Household>,
    registry: Arc<Registry>,
    endpoint: Option<Endpoint>,
    start: Option<Start>,
    /// Bytes that may wait.
    outbox: usize,
    /// Has a lock of its own, because a message may hold addresses that lead by this very link.
    peer: Mutex<Option<NodeId>>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not used yet: the first message starts a dial.
    Idle,
    /// A connection is being made: messages wait.
    Dialling,
    Up,
    /// The last attempt failed: messages are dropped until the next.
    Pausing,
    /// Nothing more is sent; what waits is still written.
    Closing,
    Over,
}

struct State {
    phase: Phase,
    connection: u64,
    outgoing: Outgoing,
    posts: BytesMut,
    /// Messages in `posts`.
    waiting: u64,
    /// The longest frame written before the peer has greeted.
    longest: usize,
    control: BytesMut,
    control_was_last: bool,
    releases: HashMap<BoxId, u64>,
    goodbye: Option<(Farewell, String)>,
    /// Bytes that the writer has taken and not yet written.
    writing: usize,
    writer: Option<Waker>,
    /// Messages the peer says it has read, and messages read from it.
    read: (u64, u64),
    times_up: u64,
}

/// What the writer is to do next; it has the bytes already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Write,
    /// Everything is written: end the direction.
    Finish,
}

impl Link {
    /// A link to be dialled when it is first used.
    pub(crate) fn to(home: Arc<dyn Household>, registry: Arc<Registry>, endpoint: Endpoint, start: Start) -> Arc<Link> {
        Link::new(home, registry, Some(endpoint), Some(start), Phase::Idle)
    }

    /// A link over a connection that a peer has opened.
    pub(crate) fn accepted(home: Arc<dyn Household>, registry: Arc<Registry>) -> Arc<Link> {
        Link::new(home, registry, None, None, Phase::Dialling)
    }

    fn new(
        home: Arc<dyn Household>,
        registry: Arc<Registry>,
        endpoint: Option<Endpoint>,
        start: Option<Start>,
        phase: Phase,
    ) -> Arc<Link> {
        let state = Mutex::new(State::new(phase, home.limits().max_message));
        let (outbox, peer) = (home.limits().outbox, Mutex::new(None));
        Arc::new_cyclic(|me| Link { me: Weak::clone(me), home, registry, endpoint, start, outbox, peer, state })
    }

    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// The pause is over, and the next attempt begins.
    pub(crate) fn dialling(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Pausing | Phase::Idle) {
            state.phase = Phase::Dialling;
        }
    }

    /// No attempt is made before the link is used again.
    pub(crate) fn rest(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Pausing {
            state.phase = Phase::Idle;
        }
    }

    /// The peer has greeted; what waits is written from now on. The number of the connection.
    pub(crate) fn up(&self, hello: &Hello) -> u64 {
        let (mut state, mut unreadable) = (self.state.lock(), 0);
        if state.longest > hello.max_frame as usize {
            // Numbers set in what the peer cannot read may be used in what it could: all of it goes.
            state.outgoing = Outgoing::new(self.home.limits().max_message);
            state.posts.clear();
            unreadable = std::mem::take(&mut state.waiting);
        }
        let numbers = self.home.limits().interned.min(hello.numbers as usize);
        state.outgoing.peer_accepts(hello.max_frame as usize, numbers);
        *self.peer.lock() = Some(hello.node);
        if state.phase == Phase::Dialling {
            state.phase = Phase::Up;
        }
        state.times_up += 1;
        let connection = state.connection;
        state.wake();
        drop(state);
        self.count_lost(DropReason::TooLarge, unreadable);
        connection
    }

    /// The connection, or the attempt at one, has ended. Messages that wait are dropped for `reason`. `over` is for good.
    pub(crate) fn down(&self, reason: DropReason, over: bool) {
        let (old, waiting, in_doubt) = {
            let mut state = self.state.lock();
            if state.phase == Phase::Over {
                return;
            }
            let fresh = State::new(if over { Phase::Over } else { Phase::Pausing }, self.home.limits().max_message);
            let old = std::mem::replace(&mut *state, fresh);
            state.times_up = old.times_up;
            let written = old.outgoing.posts() - old.waiting;
            (old.connection, old.waiting, written.saturating_sub(old.read.0))
        };
        self.registry.exports().release_all(old);
        self.home.observer().in_doubt(in_doubt);
        self.count_lost(reason, waiting);
    }

    fn count_lost(&self, reason: DropReason, count: u64) {
        if count > 0 {
            self.home.observer().dropped(Letter { name: &self.label(), type_name: "", detail: None }, reason, count);
        }
    }

    /// The other end, for a person.
    pub(crate) fn label(&self) -> String {
        match (&self.endpoint, self.peer()) {
            (Some(endpoint), _) => endpoint.to_string(),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => "a node that has not greeted".to_owned(),
        }
    }

    /// Says goodbye once what waits is written; nothing more is taken.
    pub(crate) fn close(&self, why: Farewell, detail: &str) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Up | Phase::Dialling) {
            state.phase = Phase::Closing;
            state.goodbye = Some((why, detail.to_owned()));
            state.wake();
        }
    }

    pub(crate) fn ping(&self, nonce: u64) {
        self.put_control(|state| Ping { nonce, read: state.read.1 }.put(&mut state.control, kind::PING));
    }

    pub(crate) fn pong(&self, nonce: u64) {
        self.put_control(|state| Ping { nonce, read: state.read.1 }.put(&mut state.control, kind::PONG));
    }

    fn put_control(&self, put: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        if state.phase == Phase::Up && state.control.len() < MAX_CONTROL {
            put(&mut state);
            state.wake();
        }
    }

    /// Books how many messages of this connection were read here so far.
    pub(crate) fn have_read(&self, posts: u64) {
        self.state.lock().read.1 = posts;
    }

    /// The peer says how many messages of this connection it has read. A count that shrinks, or is more than was
    /// written, is not believed.
    pub(crate) fn peer_has_read(&self, posts: u64) {
        let mut state = self.state.lock();
        let written = state.outgoing.posts() - state.waiting;
        state.read.0 = posts.clamp(state.read.0, written.max(state.read.0));
    }

    /// Takes what is to be written next into `chunk`, which is empty.
    pub(crate) fn poll_next(&self, connection: u64, chunk: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.connection != connection {
            return Poll::Ready(Next::Finish);
        }
        state.writing = 0;
        let posts_wait = !state.posts.is_empty() || !state.releases.is_empty();
        // In turns, so that a peer that pings without end does not keep messages and releases from being written.
        let posts_turn = posts_wait && state.control_was_last;
        if !state.control.is_empty() && !posts_turn {
            std::mem::swap(chunk, &mut state.control);
            state.control_was_last = true;
        } else if posts_wait {
            std::mem::swap(chunk, &mut state.posts);
            // Behind the messages: a box must not be let go before what was sent to it has arrived.
            put_releases(chunk, state.releases.drain(), state.outgoing.max_frame());
            state.waiting = 0;
            state.control_was_last = false;
        } else if let Some((why, detail)) = state.goodbye.take() {
            Goodbye { why, read: state.read.1, detail: &detail }.put(chunk);
        } else if state.phase == Phase::Closing {
            return Poll::Ready(Next::Finish);
        } else {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.writing = chunk.len();
        Poll::Ready(Next::Write)
    }

    pub(crate) fn stats(&self) -> Option<ConnectionStats> {
        let state = self.state.lock();
        (!matches!(state.phase, Phase::Idle | Phase::Over)).then(|| ConnectionStats {
            peer: *self.peer.lock(),
            reconnects: state.times_up.saturating_sub(1),
            outbox_bytes: (state.posts.len() + state.writing) as u64,
        })
    }

    /// The relays through which boxes of third nodes among `handles` are introduced; empty if there are none.
    fn relays(&self, handles: &[Arc<Pointer>]) -> Vec<Option<Relayed>> {
        if handles.is_empty() {
            return Vec::new();
        }
        let (home, peer) = (self.home.id(), self.peer());
        let third = |pointer: &Arc<Pointer>| matches!(pointer.origin(), Origin::Boxed { node, .. } if *node != home && Some(*node) != peer);
        if !handles.iter().any(third) {
            return Vec::new();
        }
        let relay = |pointer: &Arc<Pointer>| {
            let relay =
                Arc::clone(&self.home).export(Relay::key(pointer), &|id| Arc::new(Relay::new(id, Arc::clone(pointer))));
            let local = relay.local()?;
            Some(Relayed { relay, local })
        };
        handles.iter().map(|pointer| if third(pointer) { relay(pointer) } else { None }).collect()
    }

    /// Appends a message under the lock, and calls `hold` with the connection's number if it fits. What may run code of
    /// others is left for after the lock.
    #[inline]
    fn append<H: Handles, E: Default>(
        &self,
        to: &Pointer,
        handles: H,
        body: &[u8],
        hold: impl FnOnce(u64) -> E,
    ) -> Result<E, NotPosted> {
        let post = Post { to: Named { pointer: to, role: Role::Target }, handles, body };
        let mut state = self.state.lock();
        let starts = state.admit()?;
        let room = self.room(&state);
        let result = state.post(room, &post);
        let (held, writer) = match result {
            Ok(()) => (hold(state.connection), if state.phase == Phase::Up { state.writer.take() } else { None }),
            Err(_) => (E::default(), None),
        };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        if starts && let (Some(start), Some(me)) = (&self.start, self.me.upgrade()) {
            start(me);
        }
        match result {
            Ok(()) => Ok(held),
            Err(Unwritten::TooLarge) => Err(NotPosted::Dropped(DropReason::TooLarge)),
            Err(Unwritten::NoRoom) => Err(NotPosted::Dropped(DropReason::OutboxFull)),
        }
    }

    /// Bytes that may be appended. What is empty takes any one message, or one larger than the outbox could never be sent.
    #[inline]
    fn room(&self, state: &State) -> usize {
        match state.posts.len() + state.writing {
            0 => usize::MAX,
            used => self.outbox.saturating_sub(used),
        }
    }

    fn post_with_handles(&self, to: &Pointer, body: &[u8], handles: &[Arc<Pointer>]) -> Result<(), NotPosted> {
        let (peer, relays) = (self.peer(), self.relays(handles));
        let via = |at: usize| relays.get(at).and_then(Option::as_ref).map(|relayed| relayed.local.id());
        let named = handles.iter().enumerate();
        let named = named.map(|(at, pointer)| Named { pointer, role: Role::Handle { peer, via: via(at) } });
        let evicted = self.append(to, named, body, |connection| self.hold(handles, &relays, connection))?;
        evicted.into_iter().for_each(Evicted::close);
        Ok(())
    }

    /// Counts the handles of a message that has been appended.
    fn hold(&self, handles: &[Arc<Pointer>], relays: &[Option<Relayed>], connection: u64) -> Vec<Evicted> {
        let exports = self.registry.exports();
        let held = handles.iter().enumerate().filter_map(|(at, pointer)| match relays.get(at) {
            Some(Some(relayed)) => exports.hold(&relayed.relay, &*relayed.local, connection),
            _ => {
                let local = pointer.local().filter(|local| local.counted())?;
                exports.hold(pointer, &*local, connection)
            }
        });
        held.collect()
    }
}

/// A relay, and the box that it is.
struct Relayed {
    relay: Arc<Pointer>,
    local: Arc<dyn LocalBox>,
}

impl State {
    fn new(phase: Phase, max_message: usize) -> State {
        State {
            phase,
            connection: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed),
            outgoing: Outgoing::new(max_message),
            posts: BytesMut::new(),
            waiting: 0,
            longest: 0,
            control: BytesMut::new(),
            control_was_last: false,
            releases: HashMap::new(),
            goodbye: None,
            writing: 0,
            writer: None,
            read: (0, 0),
            times_up: 0,
        }
    }

    /// Numbers and appends a message, if it fits.
    #[inline]
    fn post<R: Referent, H: Handles>(&mut self, room: usize, post: &Post<'_, R, H>) -> Result<(), Unwritten> {
        let before = self.posts.len();
        self.outgoing.post(&mut self.posts, room, post)?;
        self.waiting += 1;
        if self.phase == Phase::Dialling {
            self.longest = self.longest.max((self.posts.len() - before).saturating_sub(LENGTH));
        }
        Ok(())
    }

    /// Wakes the writer, which is a task of its own: waking it is a push to its thread's queue.
    fn wake(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Whether a message may be put into the outbox now, and whether a dial has to be started for it.
    fn admit(&mut self) -> Result<bool, NotPosted> {
        match self.phase {
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

/// A pointer as it stands in a message on this connection.
#[derive(Clone)]
struct Named<'a> {
    pointer: &'a Pointer,
    role: Role,
}

#[derive(Clone, Copy)]
enum Role {
    Target,
    Handle { peer: Option<NodeId>, via: Option<BoxId> },
}

impl Referent for Named<'_> {
    fn key(&self) -> u64 {
        match self.role {
            Role::Target => self.pointer.key_of_target().0,
            Role::Handle { .. } => self.pointer.key_of_handle().0,
        }
    }

    fn hint(&self) -> &AtomicU32 {
        match self.role {
            Role::Target => self.pointer.key_of_target().1,
            Role::Handle { .. } => self.pointer.key_of_handle().1,
        }
    }

    fn introduction(&self) -> Introduction<'_> {
        match self.role {
            Role::Target => self.pointer.introduce_target(),
            Role::Handle { peer, via } => self.pointer.introduce_handle(peer, via),
        }
    }
}

impl Outbound for Link {
    fn post(&self, to: &Arc<Pointer>, body: &[u8], handles: &[Arc<Pointer>]) -> Result<(), NotPosted> {
        if handles.is_empty() {
            const NONE: [Named<'_>; 0] = [];
            self.append(to, NONE, body, |_| ())
        } else {
            self.post_with_handles(to, body, handles)
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Dialling | Phase::Up)
    }

    fn is_over(&self) -> bool {
        self.state.lock().phase == Phase::Over
    }

    fn peer(&self) -> Option<NodeId> {
        *self.peer.lock()
    }

    fn release(&self, connection: u64, id: BoxId, count: u64) {
        let mut state = self.state.lock();
        if state.connection != connection || (state.releases.len() >= MAX_RELEASES && !state.releases.contains_key(&id))
        {
            return;
        }
        *state.releases.entry(id).or_default() += count;
        state.wake();
    }
}

impl Drop for Link {
    /// Counts what waits if no router has come to do so, because the node stopped before.
    fn drop(&mut self) {
        self.down(DropReason::Shutdown, true);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Link").field("endpoint", &self.endpoint).field("phase", &state.phase).finish_non_exhaustive()
    }
}
