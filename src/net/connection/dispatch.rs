//! What is read from one connection: frames are taken apart, and messages given to the boxes they are for.
//!
//! Runs on the connection's reader task alone; nothing here waits.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::binding::Contact;
use super::context::Around;
use super::lookup_cache::Acquaintances;
use crate::handle::ask_error::AskError;
use crate::handle::pointer::Pointer;
use crate::handle::ports::Outbound;
use crate::handle::reply::AnswerTo;
use crate::ident::NodeId;
use crate::net::control::deferred_release::Kept;
use crate::net::link::Link;
use crate::net::link::shape_query;
use crate::net::peers::identity::Proof;
use crate::net::shared::House;
use crate::reason::DropReason;
use crate::wire::assembly::Assembly;
use crate::wire::assembly::assembled;
use crate::wire::batch::Posts;
use crate::wire::codec::Violation;
use crate::wire::frames::Raw;
use crate::wire::frames::cancel::read_cancel;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::fragment::Fragment;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::release::read_counts;
use crate::wire::frames::report::Dropped;
use crate::wire::frames::report::read_report;
use crate::wire::frames::resume::Resume;
use crate::wire::frames::shape::Question;
use crate::wire::frames::watch::Watch;
use crate::wire::incoming::Incoming;
use crate::wire::introduction::Introduction;

/// What a frame means for the life of the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Tiding {
    Nothing,
    /// A heartbeat of this side was answered.
    Beat,
    /// The peer has shown the right token.
    Proven,
    /// The peer has said its last.
    Goodbye(Farewell, String),
}

/// The reading end of one connection.
pub(crate) struct Inbound {
    incoming: Incoming<Rc<Contact>>,
    known: Acquaintances,
    around: Around,
    handles: Vec<Arc<Pointer>>,
    assembly: Assembly,
    began: Instant,
    /// Whether a message or a piece of one has come since that was last looked at, and when it was so last.
    stirred: bool,
    stirred_at: Duration,
    /// Whether the peer's first frame has been read.
    resumed: bool,
}

impl Inbound {
    /// `peer` is the node at the other end, and whether it is on this host.
    pub(crate) fn new(
        house: &Arc<House>,
        link: Arc<Link>,
        connection: u64,
        peer: (NodeId, bool),
        resumed: bool,
    ) -> Inbound {
        let incoming = Incoming::new(house.limits.interned);
        let around = Around::new(house, link, connection, peer);
        let assembly = Assembly::new(house.limits.max_message);
        let (began, stirred, stirred_at) = (Instant::now(), false, Duration::ZERO);
        Inbound {
            incoming,
            known: Acquaintances::new(&house.registry),
            around,
            handles: Vec::new(),
            assembly,
            began,
            stirred,
            stirred_at,
            resumed,
        }
    }

    /// Messages read so far.
    pub(crate) fn posts(&self) -> u64 {
        self.incoming.posts()
    }

    /// Lets the peer know, with whatever is written to it next, how many messages were read.
    pub(crate) fn book(&mut self) {
        self.around.link.have_read(self.around.connection, self.posts());
        self.around.account_alike();
    }

    /// Drops messages of which no piece has come for as long as a silent peer is given, if nothing else has come either:
    /// on a slow connection with much to carry, very much may stand between two pieces. Looked at with pings and pongs,
    /// which stand behind what was written before them.
    fn drop_stopped(&mut self) {
        let now = self.began.elapsed();
        if std::mem::replace(&mut self.stirred, false) {
            self.stirred_at = now;
        }
        if self.assembly.is_empty() {
            return;
        }
        let Some(then) = now.checked_sub(self.around.home.limits().dead_after) else { return };
        let dropped = if self.stirred_at <= then { self.assembly.drop_older_than(then) } else { 0 };
        if dropped > 0 {
            tracing::warn!(target: "actix_hermod", peer = %self.around.peer, dropped, "messages stopped half way");
        }
    }

    /// Does what a frame says.
    pub(crate) fn frame(&mut self, raw: Raw<'_>) -> Result<Tiding, Violation> {
        if !self.resumed {
            return self.first_frame(raw);
        }
        match raw.kind {
            kind::POST | kind::ASK | kind::ANSWER => self.message(raw),
            kind::FRAGMENT => self.fragment(raw.payload),
            kind::REFUSE => self.refuse(raw.payload),
            kind::CANCEL => {
                self.around.link.cancelled_by_peer(self.around.correlation(read_cancel(raw.payload)?));
                Ok(Tiding::Nothing)
            }
            kind::RELEASE => self.release(raw.payload),
            kind::HOLD => self.hold(raw.payload),
            kind::REPORT => self.report(raw.payload),
            kind::SHAPE_QUESTION => self.shape_question(raw.payload),
            kind::SHAPE => self.around.link.answered(raw.payload).map(|()| Tiding::Nothing),
            kind::PING => {
                let ping = Ping::read(raw.payload)?;
                self.around.link.peer_has_read(ping.read);
                self.book();
                self.drop_stopped();
                self.around.link.pong(ping.nonce);
                Ok(Tiding::Nothing)
            }
            kind::PONG => self.pong(raw.payload),
            kind::GOODBYE => {
                let goodbye = Goodbye::read(raw.payload)?;
                self.around.link.peer_has_read(goodbye.read);
                self.book();
                Ok(Tiding::Goodbye(goodbye.why, goodbye.detail.to_owned()))
            }
            kind::WATCH => {
                let Around { link, home, registry, connection, .. } = &self.around;
                link.watched_by_peer(home, registry, *connection, Watch::read(raw.payload)?);
                Ok(Tiding::Nothing)
            }
            kind::CLOSED => {
                self.around.link.box_gone(&Closed::read(raw.payload)?);
                Ok(Tiding::Nothing)
            }
            kind::PRESSURE => self.around.link.hear_pressure(raw.payload).map(|()| Tiding::Nothing),
            kind::RESUME => Err(Violation::OutOfTurn(raw.kind)),
            kind::FIRST_SKIPPED.. => Ok(Tiding::Nothing),
            _ => Err(Violation::UnknownKind(raw.kind)),
        }
    }

    #[inline]
    fn message(&mut self, raw: Raw<'_>) -> Result<Tiding, Violation> {
        self.stirred = true;
        match raw.kind {
            kind::POST => self.post(raw.payload),
            kind::ASK => self.ask(raw.payload),
            _ => self.answer(raw.payload),
        }
    }

    fn fragment(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        self.stirred = true;
        let Some(whole) = self.assembly.add(Fragment::read(payload)?, self.began.elapsed())? else {
            return Ok(Tiding::Nothing);
        };
        let tiding = self.message(assembled(&whole)?)?;
        self.assembly.recycle(whole);
        Ok(tiding)
    }

    /// The peer resumes, or says why it does not.
    fn first_frame(&mut self, raw: Raw<'_>) -> Result<Tiding, Violation> {
        match raw.kind {
            kind::RESUME => {
                let resume = Resume::read(raw.payload)?;
                match self.around.links.prove(self.around.peer, resume.token) {
                    Proof::Proven => {
                        self.resumed = true;
                        self.around.settle(&resume.told);
                        Ok(Tiding::Proven)
                    }
                    Proof::Refused => Err(Violation::Unproven),
                }
            }
            kind::GOODBYE => {
                let goodbye = Goodbye::read(raw.payload)?;
                Ok(Tiding::Goodbye(goodbye.why, goodbye.detail.to_owned()))
            }
            kind => Err(Violation::OutOfTurn(kind)),
        }
    }

    #[inline]
    fn post(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let near = self.around.near;
        let known = &mut self.known;
        let acquaint = &mut |introduction: &Introduction<'_>| known.meet(introduction, near);
        let received = self.incoming.post(payload, acquaint)?;
        let hops = received.hops()?;
        if received.handles.is_empty() {
            received.to.deliver(&self.around, received.body, &mut self.handles, &mut None, hops);
            return Ok(Tiding::Nothing);
        }
        self.handles.extend(received.handles.iter().map(|contact| contact.pointer(&self.around)));
        received.to.deliver(&self.around, received.body, &mut self.handles, &mut None, hops);
        // What the message did not keep is let go, and with it what the peer counts.
        self.handles.clear();
        self.incoming.forget_handles();
        Ok(Tiding::Nothing)
    }

    /// Posts in a row, each as [`frame`](Inbound::frame) would take it.
    #[inline]
    pub(crate) fn run(&mut self, posts: Posts<'_>) -> Result<(), Violation> {
        if !self.resumed {
            return Err(Violation::OutOfTurn(kind::POST));
        }
        self.stirred = true;
        self.incoming.posts_for(posts.number(), posts.count())?.deliver_all(&self.around, posts.bodies());
        Ok(())
    }

    fn ask(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let near = self.around.near;
        let known = &mut self.known;
        let acquaint = &mut |introduction: &Introduction<'_>| known.meet(introduction, near);
        let (number, received) = self.incoming.ask(payload, acquaint)?;
        let around = &self.around;
        let which = around.correlation(number);
        let hops = received.hops()?;
        let deadline = received.deadline()?.and_then(|left| Instant::now().checked_add(Duration::from_millis(left)));
        self.handles.extend(received.handles.iter().map(|contact| contact.pointer(around)));
        match around.link.asked(which)? {
            Some(asked) => {
                let (home, link) = (Arc::clone(&around.home), Arc::clone(&around.link) as Arc<dyn Outbound>);
                let mut answer = Some(AnswerTo::new(home, link, which, asked, deadline));
                received.to.deliver(around, received.body, &mut self.handles, &mut answer, hops);
            }
            None => {
                around.link.refuse_at_once(which, DropReason::RequestsFull);
                received.to.dropped(around, None, DropReason::RequestsFull, None);
            }
        }
        self.handles.clear();
        self.incoming.forget_handles();
        Ok(Tiding::Nothing)
    }

    fn answer(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let near = self.around.near;
        let known = &mut self.known;
        let acquaint = &mut |introduction: &Introduction<'_>| known.meet(introduction, near);
        let (number, handles, body) = self.incoming.answer(payload, acquaint)?;
        self.handles.extend(handles.iter().map(|contact| contact.pointer(&self.around)));
        match self.around.link.take_pending(self.around.correlation(number)) {
            Some((waiting, _)) => waiting.answered(body, &mut self.handles),
            None => self.around.home.observer().late_answer(),
        }
        self.handles.clear();
        self.incoming.forget_handles();
        Ok(Tiding::Nothing)
    }

    fn refuse(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let Refuse { correlation, why, detail } = Refuse::read(payload)?;
        tracing::trace!(target: "actix_hermod", ?why, detail, "the peer refuses a request");
        let link = &self.around.link;
        if let Some((waiting, to)) = link.take_pending(self.around.correlation(correlation)) {
            match why {
                Unanswered::NotDelivered(DropReason::TypeMismatch) if detail.is_empty() => {
                    shape_query::refused(link, to.upgrade().map(|to| to.target_by(&**link)), waiting);
                }
                _ => waiting.failed(AskError::refused(why, detail)),
            }
        }
        Ok(Tiding::Nothing)
    }

    fn pong(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let pong = Ping::read(payload)?;
        self.around.link.ponged(&pong);
        self.drop_stopped();
        // The others may follow one upon another, as the peer's own pings may.
        if Kept::is_marked(pong.nonce) {
            return Ok(Tiding::Nothing);
        }
        self.assembly.shrink();
        Ok(Tiding::Beat)
    }

    fn report(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let (read, entries) = read_report(payload)?;
        self.around.link.peer_has_read(read);
        for entry in entries {
            let Dropped { target, reason, count } = entry?;
            if let Some(reason) = reason {
                self.around.told(target, reason, count);
            }
        }
        Ok(Tiding::Nothing)
    }

    fn shape_question(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let question = Question::read_asked(payload)?;
        shape_query::answer(&self.around.link, &self.around.registry, &question);
        Ok(Tiding::Nothing)
    }

    fn release(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        for entry in read_counts(payload) {
            let (id, count) = entry?;
            self.around.registry.exports().release(id, self.around.connection, count);
        }
        Ok(Tiding::Nothing)
    }

    /// The peer has handles that came to it by another node.
    fn hold(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        for entry in read_counts(payload) {
            let (id, count) = entry?;
            self.around.registry.exports().hold_also(id, self.around.connection, count);
        }
        Ok(Tiding::Nothing)
    }
}
