//! The dispatcher of one connection: decodes the frames that are read, and hands messages to their boxes.
//!
//! Runs on the connection's reader task alone; nothing here waits.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::binder::Binder;
use super::binder::Late;
use super::binding::Binding;
use super::context::ConnectionContext;
use super::delivery::Delivery;
use super::lookup_cache::LookupCache;
use super::numbers::AnnouncedNumbers;
use super::pieces::Pieces;
use crate::handle::ask_error::AskError;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::holdings::MAX_RESTATED;
use crate::handle::ports::Outbound;
use crate::handle::reply::AnswerTo;
use crate::ident::Incarnation;
use crate::net::link::Link;
use crate::net::link::requests::NotNoted;
use crate::net::link::shape_query;
use crate::net::peers::unfinished::Unfinished;
use crate::net::shared::NodeInner;
use crate::reason::DropReason;
use crate::wire::assembly::assembled;
use crate::wire::batch::Posts;
use crate::wire::codec::Violation;
use crate::wire::frames::Raw;
use crate::wire::frames::cancel::read_cancel;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;
use crate::wire::frames::proof::BESIDE_ENDPOINTS;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::release::read_counts;
use crate::wire::frames::remark::Remark;
use crate::wire::frames::report::Dropped;
use crate::wire::frames::report::read_report;
use crate::wire::frames::restated::read_restated;
use crate::wire::frames::shape::Question;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::Watch;
use crate::wire::greeting::Unwelcomed;
use crate::wire::incoming::Incoming;
use crate::wire::incoming::Received;
use crate::wire::incoming::ReceivedAnswer;

/// The effect of a frame on the life of the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    Nothing,
    /// The peer has welcomed this node.
    Welcomed,
    /// The peer has said goodbye.
    Goodbye(Farewell, String),
}

/// Handles the frames of one connection.
pub(crate) struct Dispatcher {
    incoming: Incoming<Rc<Binding>>,
    /// The reservation for the numbers of `incoming`.
    _numbers: AnnouncedNumbers,
    cache: LookupCache,
    pub(super) context: ConnectionContext,
    handles: Vec<Arc<Pointer>>,
    pieces: Pieces,
    /// Set on a dialled connection, until the peer has welcomed this node.
    unwelcomed: Option<Box<Unwelcomed>>,
}

impl Dispatcher {
    /// Makes the dispatcher of a connection. `peer` is the node at the other end, and whether it is on this host.
    pub(crate) fn new(
        node: &Arc<NodeInner>,
        link: Arc<Link>,
        connection: u64,
        peer: (Incarnation, bool),
        numbers: AnnouncedNumbers,
        unwelcomed: Option<Box<Unwelcomed>>,
    ) -> Dispatcher {
        let incoming = Incoming::new(numbers.count());
        let context = ConnectionContext::new(node, link, connection, peer);
        Dispatcher {
            incoming,
            _numbers: numbers,
            cache: LookupCache::new(&node.registry),
            handles: Vec::new(),
            pieces: Pieces::new(&node.limits, context.link.quotas()),
            unwelcomed,
            context,
        }
    }

    /// Returns the longest frame that may come next, without its length field; `limit` is the length that this node has
    /// announced.
    pub(crate) fn longest(&self, limit: usize) -> usize {
        match &self.unwelcomed {
            Some(_) => self.context.node.limits().handshake_bytes.saturating_add(BESIDE_ENDPOINTS),
            None => limit,
        }
    }

    /// Returns the messages read so far.
    pub(crate) fn posts(&self) -> u64 {
        self.incoming.posts()
    }

    /// Notes the number of messages read, for the next frame to the peer that carries it.
    pub(crate) fn acknowledge(&mut self) {
        self.context.link.have_read(self.context.connection, self.posts());
        self.context.note_drop_run();
        if self.pieces.have_long_room() {
            self.pieces.shrink(self.context.node.limits());
        }
    }

    fn drop_stopped(&mut self) {
        let dropped = self.pieces.drop_stopped(self.context.node.limits());
        if dropped > 0 {
            tracing::warn!(target: "actix_hermod", peer = %self.context.peer, dropped, "messages stopped half way");
        }
    }

    /// Notes that nothing was read for that long, which is no fault of the peer.
    pub(super) fn was_held_back(&mut self, time: Duration) {
        self.pieces.was_held_back(time);
    }

    /// Adds the bytes of incomplete messages in pieces.
    pub(super) fn add_unfinished(&self, unfinished: &mut Unfinished) {
        self.pieces.add_unfinished(unfinished);
    }

    /// Handles a frame.
    pub(crate) fn frame(&mut self, raw: Raw<'_>) -> Result<Signal, Violation> {
        if let Some(unwelcomed) = self.unwelcomed.take() {
            return self.first_frame(*unwelcomed, raw);
        }
        match raw.kind {
            kind::POST | kind::ASK | kind::ANSWER => self.message(raw),
            kind::FRAGMENT => self.fragment(raw.payload),
            kind::REFUSE => self.refuse(raw.payload),
            kind::CANCEL => {
                self.context.link.cancelled_by_peer(self.context.correlation(read_cancel(raw.payload)?));
                Ok(Signal::Nothing)
            }
            kind::RELEASE => self.release(raw.payload),
            kind::HOLD => self.hold(raw.payload),
            kind::RESTATED => self.restated(raw.payload),
            kind::REPORT => self.report(raw.payload),
            kind::REMARK => self.remark(raw.payload),
            kind::SHAPE_QUESTION => self.shape_question(raw.payload),
            kind::SHAPE => self.context.link.answered(raw.payload).map(|()| Signal::Nothing),
            kind::PING => {
                let ping = Ping::read(raw.payload)?;
                self.context.link.peer_has_read(ping.read);
                self.acknowledge();
                self.drop_stopped();
                self.context.link.pong(ping.nonce);
                Ok(Signal::Nothing)
            }
            kind::PONG => self.pong(raw.payload),
            kind::GOODBYE => {
                let goodbye = Goodbye::read(raw.payload)?;
                self.context.link.peer_has_read(goodbye.read);
                self.acknowledge();
                Ok(Signal::Goodbye(goodbye.why, goodbye.detail.to_owned()))
            }
            kind::WATCH => self.watch(raw.payload),
            kind::CLOSED => {
                self.context.link.box_gone(&Closed::read(raw.payload)?);
                Ok(Signal::Nothing)
            }
            kind::UNWATCHED => {
                self.context.link.not_watched(self.context.connection, &Unwatched::read(raw.payload)?);
                Ok(Signal::Nothing)
            }
            kind::PRESSURE => self.context.link.hear_pressure(raw.payload).map(|()| Signal::Nothing),
            kind::PROOF | kind::WELCOME => Err(Violation::OutOfTurn(raw.kind)),
            unknown if unknown >= kind::FIRST_SKIPPED => Ok(Signal::Nothing),
            _ => Err(Violation::UnknownKind(raw.kind)),
        }
    }

    #[inline]
    fn message(&mut self, raw: Raw<'_>) -> Result<Signal, Violation> {
        self.pieces.stir();
        match raw.kind {
            kind::POST => self.post(raw.payload),
            kind::ASK => self.ask(raw.payload),
            _ => self.answer(raw.payload),
        }
    }

    fn fragment(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let Some(whole) = self.pieces.add(payload)? else { return Ok(Signal::Nothing) };
        let signal = self.message(assembled(&whole)?)?;
        self.pieces.recycle(whole);
        Ok(signal)
    }

    /// Handles a message that comes after this node has said that it ends. An answer is taken as usual; from other
    /// messages only introductions of numbers are taken, and their handles are given back.
    #[cold]
    pub(super) fn late(&mut self, raw: Raw<'_>) -> Result<(), Violation> {
        if self.unwelcomed.is_some() {
            return Err(Violation::OutOfTurn(raw.kind));
        }
        let bind = &mut Late(Binder { cache: &mut self.cache, context: &self.context });
        match raw.kind {
            kind::POST => self.incoming.post(raw.payload, bind).map(|_| ())?,
            kind::ASK => self.incoming.ask(raw.payload, bind).map(|_| ())?,
            kind::ANSWER => self.answer(raw.payload).map(|_| ())?,
            _ => {
                if let Some(whole) = self.pieces.add(raw.payload)? {
                    self.late(assembled(&whole)?)?;
                    self.pieces.recycle(whole);
                }
            }
        }
        self.forget_handles();
        Ok(())
    }

    #[inline]
    fn post(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let bind = &mut Binder { cache: &mut self.cache, context: &self.context };
        let received = self.incoming.post(payload, bind)?;
        let hops = received.hops()?;
        let Received { to, handles, skipped, body, .. } = received;
        let has_handles = !handles.is_empty() || skipped > 0;
        to.deliver(&self.context, Delivery { body, handles, skipped, hops }, &mut self.handles, &mut None);
        if has_handles {
            self.forget_handles();
        }
        Ok(Signal::Nothing)
    }

    /// Drops the handles that the message did not keep, and releases their leases at the peer.
    fn forget_handles(&mut self) {
        self.handles.clear();
        self.context.release_given_back();
        self.incoming.forget_handles();
    }

    /// Handles consecutive posts, each as [`frame`](Dispatcher::frame) would.
    #[inline]
    pub(crate) fn run(&mut self, posts: Posts<'_>) -> Result<(), Violation> {
        if self.unwelcomed.is_some() {
            return Err(Violation::OutOfTurn(kind::POST));
        }
        self.pieces.stir();
        self.incoming.posts_for(posts.number(), posts.count())?.deliver_all(&self.context, posts.bodies());
        Ok(())
    }

    fn ask(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let bind = &mut Binder { cache: &mut self.cache, context: &self.context };
        let (number, received) = self.incoming.ask(payload, bind)?;
        let context = &self.context;
        let which = context.correlation(number);
        let hops = received.hops()?;
        let deadline = received.deadline()?.and_then(|left| Instant::now().checked_add(Duration::from_millis(left)));
        let Received { to, handles, skipped, body, .. } = received;
        match context.link.asked(which)? {
            Ok(asked) => {
                let (node, link) = (Arc::clone(&context.node), Arc::clone(&context.link) as Arc<dyn Outbound>);
                let mut answer = Some(AnswerTo::new(node, link, which, asked, deadline));
                to.deliver(context, Delivery { body, handles, skipped, hops }, &mut self.handles, &mut answer);
            }
            Err(reason) => {
                handles.iter().for_each(|binding| binding.skip(context));
                to.settle_loss(context, None, reason.into(), NotNoted { link: &context.link, which });
            }
        }
        self.forget_handles();
        Ok(Signal::Nothing)
    }

    fn answer(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let bind = &mut Binder { cache: &mut self.cache, context: &self.context };
        let ReceivedAnswer { correlation, handles, skipped, body } = self.incoming.answer(payload, bind)?;
        let context = &self.context;
        match context.link.take_pending(context.correlation(correlation)) {
            Some(request) if skipped > 0 => {
                request.waiting.failed(AskError::OutcomeUnknown { reason: DropReason::NotDecodable });
            }
            Some(request) => {
                self.handles.extend(handles.iter().map(|binding| binding.pointer(context)));
                request.waiting.answered(body, &mut self.handles);
            }
            None => {
                handles.iter().for_each(|binding| binding.skip(context));
                context.node.observer().late_answer();
            }
        }
        self.forget_handles();
        Ok(Signal::Nothing)
    }

    fn refuse(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let Refuse { correlation, why, detail } = Refuse::read(payload)?;
        tracing::trace!(target: "actix_hermod", ?why, detail, "the peer refuses a request");
        let link = &self.context.link;
        if let Some(request) = link.take_pending(self.context.correlation(correlation)) {
            match why {
                Unanswered::NotDelivered(DropReason::TypeMismatch) if detail.is_empty() => {
                    shape_query::refused(link, request);
                }
                _ => {
                    if let (Unanswered::NotDelivered(reason), Some(account)) = (why, request.account(&**link)) {
                        self.context.explain_drop(&account, reason, detail);
                    }
                    request.waiting.failed(AskError::refused(why, detail));
                }
            }
        }
        Ok(Signal::Nothing)
    }

    fn pong(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let pong = Ping::read(payload)?;
        self.context.link.ponged(&pong);
        self.drop_stopped();
        Ok(Signal::Nothing)
    }

    fn report(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let (read, entries) = read_report(payload)?;
        self.context.link.peer_has_read(read);
        for entry in entries {
            self.context.add_work(1);
            let Dropped { account, reason, count } = entry?;
            if let Some(reason) = reason {
                self.context.hear_drops(account, reason, count);
            }
        }
        Ok(Signal::Nothing)
    }

    fn remark(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let remark = Remark::read(payload)?;
        let link = &self.context.link;
        let was_told =
            |reason: &DropReason| link.losses(&remark.account.target, remark.account.fingerprint).contains_key(reason);
        // A remark about a drop that was never reported is ignored.
        if let Some(reason) = remark.reason().filter(was_told) {
            self.context.explain_drop(&remark.account, reason, remark.words);
        }
        Ok(Signal::Nothing)
    }

    fn watch(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let ConnectionContext { link, node, view, connection, .. } = &self.context;
        link.watched_by_peer(node, view, *connection, Watch::read(payload)?);
        Ok(Signal::Nothing)
    }

    fn shape_question(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        let question = Question::read_asked(payload)?;
        self.context.add_work(shape_query::answer(&self.context.link, &self.context.view, &question));
        Ok(Signal::Nothing)
    }

    fn release(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        for entry in read_counts(payload) {
            let (id, count) = entry?;
            self.context.add_work(1);
            self.context.registry.leases().release(id, self.context.connection, count);
        }
        Ok(Signal::Nothing)
    }

    /// Notes that the peer has restated, in hold frames, its leases by connections that have ended.
    fn restated(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        for ended in read_restated(payload).take(MAX_RESTATED) {
            self.context.restated(ended?);
        }
        Ok(Signal::Nothing)
    }

    /// Adds leases for handles that the peer received from another node, or over a connection that has ended.
    fn hold(&mut self, payload: &[u8]) -> Result<Signal, Violation> {
        for entry in read_counts(payload) {
            let (id, count) = entry?;
            self.context.add_work(1);
            self.context.registry.leases().add_leases(id, self.context.connection, count);
        }
        Ok(Signal::Nothing)
    }
}
