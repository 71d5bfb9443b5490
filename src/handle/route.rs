//! What an address points to and how one gets there: [`Pointer`], and the seams to the boxes, the connections and the
//! node, which live in rooms above this one.
//!
//! One file, and a long one: a pointer knows its node, whose seam speaks of pointers, as those of boxes and connections
//! do. Apart they would import one another in a circle. What stands apart is what can: the words of the seams
//! ([`terms`](super::terms)) and a pointer's connections ([`way`](super::way)) know none of them. Above this file is what
//! one does with a pointer: how it chooses its connection (`leading`), and how a message goes by it
//! ([`sending`](super::sending)).

use std::any::Any;
use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failure::AskError;
use super::terms::Arrival;
use super::terms::Asked;
use super::terms::Body;
use super::terms::Correlation;
use super::terms::ExportKey;
use super::terms::NotPosted;
use super::terms::Origin;
use super::terms::Refusal;
use super::terms::Rejection;
use super::terms::Source;
use super::way::Way;
use crate::config::Limits;
use crate::ident::AddressError;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::message::RemoteMessage;
use crate::message::shape::Shape;
use crate::observe::CloseReason;
use crate::observe::DropReason;
use crate::observe::Drops;
use crate::observe::Letter;
use crate::observe::Observer;
use crate::observe::stats::BoxStats;
use crate::wire::control::Unanswered;
use crate::wire::frame::Identity;
use crate::wire::frame::Introduction;
use crate::wire::report::Target;
use crate::wire::run::Bodies;

/// The node, as its handles see it.
pub(crate) trait Household: Send + Sync + fmt::Debug {
    fn id(&self) -> NodeId;
    fn limits(&self) -> &Limits;
    fn observer(&self) -> &Observer;
    /// Whether the node has stopped.
    fn is_stopped(&self) -> bool;
    /// Cancelled when the node stops.
    fn stopped(&self) -> &CancellationToken;
    /// Runs a pump on the node's I/O thread until it ends or the node stops.
    fn run(&self, pump: Pin<Box<dyn Future<Output = ()> + Send>>);
    /// The pointer to whatever has that name at that endpoint.
    fn place(self: Arc<Self>, endpoint: &Endpoint, name: &str) -> Result<Arc<Pointer>, AddressError>;
    /// The box that stands for an actor's recipient, which `make` makes if there is none yet.
    fn export(self: Arc<Self>, key: ExportKey, make: &dyn Fn(BoxId) -> Arc<dyn LocalBox>) -> Arc<Pointer>;
    /// A box has closed.
    fn forget(&self, id: BoxId, name: &str);
    /// A live connection to that node, when the one that a pointer came by has ended.
    fn way_to(&self, node: NodeId) -> Option<Arc<dyn Outbound>>;
    /// A way to that node by a connection that is made now to where it is said to listen; what is sent by it waits until it
    /// is known whether that node is there. `None` if that was tried lately, or cannot be.
    fn look_for(self: Arc<Self>, node: NodeId, hints: &[Endpoint]) -> Option<Arc<dyn Outbound>>;
    /// Whether that node has said that it ends.
    fn is_gone(&self, node: NodeId) -> bool;
    /// Tells all who wait that a connection has come up, or that a node has said that it ends.
    fn news(&self) -> &Notify;
    /// The box that has that name now.
    fn box_named(&self, name: &str) -> Option<Arc<dyn LocalBox>>;
    /// Messages from elsewhere for that box were dropped after it had taken them: who sent them is to be told.
    fn report(&self, from: Source, local: &dyn LocalBox, reason: DropReason, count: u64);
    /// Where this node can be dialled.
    fn endpoints(&self) -> Vec<Endpoint>;
}

/// A box of this node, whatever its messages' type.
pub(crate) trait LocalBox: Send + Sync + fmt::Debug {
    fn id(&self) -> BoxId;
    /// Empty if the box is called by its id.
    fn given_name(&self) -> &str;
    fn type_name(&self) -> &'static str;
    fn is_open(&self) -> bool;
    /// Cancelled when the box closes.
    fn closed(&self) -> &CancellationToken;
    /// Takes the `Some(Parcel<M>)` that `parcel` is, or leaves it where it is and says why.
    fn accept(&self, parcel: &mut dyn Any) -> Result<(), Refusal>;
    /// Takes a message as it came from a connection, or says why not; then `answer` is left where it is.
    fn accept_encoded(
        &self,
        body: &[u8],
        handles: &mut Vec<Arc<Pointer>>,
        answer: &mut Option<AnswerTo>,
        arrival: Arrival,
    ) -> Result<(), Rejection>;
    /// Takes messages in a row that carry nothing but their bodies; `rejected` is called for each that it does not take.
    fn accept_all(&self, bodies: Bodies<'_>, arrival: Arrival, rejected: &mut dyn FnMut(Rejection));
    /// The shape of the messages that it takes; `None` if it does not care.
    fn shape(&self) -> Option<Shape>;
    /// How full it is, from 0 to 255.
    fn fill(&self) -> u8;
    /// How full it was when the last message was put into it, in a few steps that cost nothing to look at.
    fn level(&self) -> u8;
    /// Counts messages dropped at this box.
    fn count_drop(&self, reason: DropReason);
    /// From now on messages may come to it through an actix `Recipient`, too.
    fn note_recipient(&self);
    /// Whether remote holders of its address keep the box alive, so that each handle written is counted.
    fn counted(&self) -> bool;
    /// Looks whether what the box stands for still lives, and closes it if not.
    fn look(&self);
    /// Takes no more messages; its name is free. What waits can still be read.
    fn close(&self);
    /// For a relay: what it stands for.
    fn relays(&self) -> Option<&Arc<Pointer>>;
    /// Messages that wait in it, and how many it holds.
    fn occupancy(&self) -> (u64, u64);
    fn stats(&self) -> BoxStats;
}

/// A way to another node: one connection, or the place where one is made when it is needed.
pub(crate) trait Outbound: Send + Sync + fmt::Debug {
    /// Puts a message into the outbox, which never waits. One that is `patient` has the connection made if there is none, and
    /// waits in the outbox meanwhile.
    fn post(&self, to: &Arc<Pointer>, message: &Encoded<'_>, patient: bool) -> Result<(), NotPosted>;
    /// Puts a request into the outbox. If it is not taken, neither is `waiting`.
    fn ask(
        &self,
        to: &Arc<Pointer>,
        message: &Encoded<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn Waiting>>,
        patient: bool,
    ) -> Result<Correlation, NotPosted>;
    /// Puts an answer into the outbox, whatever else waits there; whether the peer can read it. Nothing is put there if
    /// the request was taken back: its number may be that of another by now.
    fn answer(&self, to: Correlation, asked: &Asked, body: Body<'_>, handles: &[Arc<Pointer>]) -> bool;
    /// Says that there will be no answer, unless the request was taken back.
    fn refuse(&self, to: Correlation, asked: &Asked, why: Unanswered, detail: &str);
    /// Wants no answer any more.
    fn cancel(&self, which: Correlation);
    /// Whether messages given now would be written at once or after a dial under way.
    fn is_up(&self) -> bool;
    /// Whether there is a connection.
    fn is_linked(&self) -> bool;
    /// Whether it has ended for good.
    fn is_over(&self) -> bool;
    /// Why there is no connection, if that is known; for a person.
    fn trouble(&self) -> Option<String>;
    /// The node at the other end; `None` before the first greeting.
    fn peer(&self) -> Option<NodeId>;
    /// What the peer has told of messages for one of its boxes that it dropped.
    fn losses(&self, target: &Target) -> BTreeMap<DropReason, u64>;
    /// Has `told` told once the box is gone, or not reached any more; dropped if the way is over for good. `node` is whose
    /// box it is, if that is known.
    fn watch(&self, target: &Target, node: Option<NodeId>, told: oneshot::Sender<CloseReason>);
    /// How full the way to that box and the box itself are, from 0 to 1.
    fn pressure(&self, target: &Target) -> f32;
    /// Keeps what another peer counts for us until this one has read what was sent to it on that connection. Gives it back
    /// if there is no such connection any more, or too much is kept.
    fn keep(&self, connection: u64, held: Held) -> Option<Held>;
    /// Handles of the peer's box were let go.
    fn release(&self, connection: u64, id: BoxId, count: u64);
}

/// A message as it travels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) body: Body<'a>,
    pub(crate) handles: &'a [Arc<Pointer>],
    /// That of the shape of its type; 0 if it is not known.
    pub(crate) fingerprint: u64,
    /// How many relays have passed it on.
    pub(crate) hops: u8,
}

/// One who waits for an answer from a connection.
pub(crate) trait Waiting: Send {
    fn answered(self: Box<Self>, body: &[u8], handles: &mut Vec<Arc<Pointer>>);
    fn failed(self: Box<Self>, error: AskError);
    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool;
    /// Ready once nobody waits any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The way back for one answer, as bytes. If it is dropped without one, the asker is told that there will be none.
pub(crate) struct AnswerTo {
    home: Arc<dyn Household>,
    /// `None` once it is used.
    back: Option<Back>,
    deadline: Option<Instant>,
}

/// Where an answer goes.
enum Back {
    /// To the connection that the request came from.
    Link { link: Arc<dyn Outbound>, correlation: Correlation, asked: Arc<Asked> },
    /// To one of this node, whose message is of another Rust type than the box's.
    Here(Box<dyn Waiting>),
}

impl Back {
    fn refuse(self, why: Unanswered, detail: &str) {
        match self {
            Back::Link { link, correlation, asked } => link.refuse(correlation, &asked, why, detail),
            Back::Here(waiting) => waiting.failed(AskError::refused(why, detail)),
        }
    }
}

impl AnswerTo {
    pub(crate) fn new(
        home: Arc<dyn Household>,
        link: Arc<dyn Outbound>,
        correlation: Correlation,
        asked: Arc<Asked>,
        deadline: Option<Instant>,
    ) -> AnswerTo {
        AnswerTo { home, back: Some(Back::Link { link, correlation, asked }), deadline }
    }

    /// The way to one who waits at this node.
    pub(crate) fn here(home: Arc<dyn Household>, waiting: Box<dyn Waiting>, deadline: Option<Instant>) -> AnswerTo {
        AnswerTo { home, back: Some(Back::Here(waiting)), deadline }
    }

    pub(crate) fn home(&self) -> &Arc<dyn Household> {
        &self.home
    }

    /// Answers; if the asker cannot read it, it is still to be refused.
    pub(crate) fn answer(&mut self, body: Body<'_>, handles: &[Arc<Pointer>]) -> bool {
        match self.back.take() {
            Some(Back::Link { link, correlation, asked }) => {
                let answered = link.answer(correlation, &asked, body, handles);
                if !answered {
                    self.back = Some(Back::Link { link, correlation, asked });
                }
                answered
            }
            Some(Back::Here(waiting)) => {
                waiting.answered(&body, &mut handles.to_vec());
                true
            }
            None => true,
        }
    }

    pub(crate) fn refuse(mut self, why: Unanswered, detail: &str) {
        if let Some(back) = self.back.take() {
            back.refuse(why, detail);
        }
    }

    /// The answer is there, and longer than the asker reads or waits for.
    pub(crate) fn refuse_as_too_long(self) {
        self.refuse(Unanswered::NotEncodable, "the answer does not fit");
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline - Instant::now())
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the answer is not wanted any more.
    pub(crate) fn is_gone(&self) -> bool {
        match &self.back {
            Some(Back::Link { asked, .. }) => asked.is_cancelled(),
            Some(Back::Here(waiting)) => waiting.is_gone(),
            None => true,
        }
    }

    /// Ready once the answer is not wanted any more.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.back {
            Some(Back::Link { asked, .. }) => asked.poll_cancelled(cx),
            Some(Back::Here(waiting)) => waiting.poll_gone(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for AnswerTo {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            back.refuse(Unanswered::Abandoned, "");
        }
    }
}

impl fmt::Debug for AnswerTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerTo").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// How one gets there.
#[derive(Debug)]
pub(crate) enum Route {
    /// A box of this node.
    Here(Arc<dyn LocalBox>),
    /// Whatever box of this node has the origin's name.
    HereNamed,
    /// By a connection, which may be replaced by another to the same node when it has ended. `to` is the box's id there;
    /// `None` sends to the origin's name.
    Away { by: Way<dyn Outbound, Held>, to: Option<BoxId> },
    /// The box was this node's and is closed.
    Nowhere,
}

/// A count of handles that a peer keeps for us, given back when this goes.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) link: Weak<dyn Outbound>,
    /// The connection, of those that the link has had.
    pub(crate) connection: u64,
    pub(crate) id: BoxId,
    pub(crate) count: AtomicU64,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(link) = self.link.upgrade() {
            link.release(self.connection, self.id, *self.count.get_mut());
        }
    }
}

/// The connection's peer counts a handle for the pointer already.
pub(crate) struct AlreadyClaimed;

/// The type that first went by a pointer, and its shape.
#[derive(Debug)]
struct Stamp {
    /// `None` if its messages were passed on as they came.
    of: Option<TypeId>,
    fingerprint: u64,
}

/// What every clone of an address shares.
#[derive(Debug)]
pub(crate) struct Pointer {
    /// Tells pointers apart in the tables of connections; see [`key_of_target`](Pointer::key_of_target).
    key: u64,
    hints: [AtomicU32; 2],
    origin: Origin,
    name: Box<str>,
    /// Whether the name is only its id, spelled.
    anonymous: bool,
    home: Arc<dyn Household>,
    route: Route,
    held: Option<Held>,
    lost: Drops,
    settled: AtomicU64,
    stamp: OnceLock<Stamp>,
    introduced: AtomicU64,
    proxy: Mutex<Option<(TypeId, Box<dyn Any + Send>)>>,
    has_proxy: AtomicBool,
    /// Whether nothing can be reached by it any more, ever.
    ended: AtomicBool,
    /// Of its proxies' pumps, which end then: as many as there are.
    ending: Mutex<Vec<(ExportKey, Waker)>>,
}

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl Pointer {
    pub(crate) fn new(
        home: Arc<dyn Household>,
        origin: Origin,
        name: &str,
        route: Route,
        held: Option<Held>,
    ) -> Pointer {
        let (name, anonymous) = match &origin {
            Origin::Boxed { id, .. } if name.is_empty() => (id.to_string().into_boxed_str(), true),
            _ => (name.into(), false),
        };
        Pointer {
            key: NEXT_KEY.fetch_add(2, Ordering::Relaxed),
            hints: Default::default(),
            origin,
            name,
            anonymous,
            home,
            route,
            held,
            lost: Drops::default(),
            settled: AtomicU64::new(0),
            stamp: OnceLock::new(),
            introduced: AtomicU64::new(0),
            proxy: Mutex::new(None),
            has_proxy: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            ending: Mutex::new(Vec::new()),
        }
    }

    /// The pointer to a box of this node.
    pub(crate) fn here(home: Arc<dyn Household>, local: Arc<dyn LocalBox>) -> Pointer {
        let origin = Origin::Boxed { node: home.id(), id: local.id() };
        let name = local.given_name().to_owned();
        Pointer::new(home, origin, &name, Route::Here(local), None)
    }

    /// Tells pointers apart.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Identifies the pointer as the target of messages of that shape. What goes by a pointer has one shape as a rule;
    /// of any other, the key is 0 for the target of each message to be introduced anew.
    #[inline]
    pub(crate) fn key_of_target(&self, fingerprint: u64) -> (u64, &AtomicU32) {
        let [hint, _] = &self.hints;
        let stamped = self.stamp.get().map_or(0, |stamp| stamp.fingerprint);
        (if fingerprint == stamped { self.key } else { 0 }, hint)
    }

    /// The fingerprint of a type's shape.
    #[inline]
    pub(crate) fn fingerprint<M: RemoteMessage>(&self) -> u64 {
        match self.stamp.get() {
            Some(stamp) if stamp.of == Some(TypeId::of::<M>()) => stamp.fingerprint,
            _ => self.fingerprint_anew(TypeId::of::<M>(), Shape::of::<M>),
        }
    }

    #[cold]
    fn fingerprint_anew(&self, of: TypeId, shape: fn() -> Shape) -> u64 {
        let fingerprint = shape().fingerprint();
        self.stamp.get_or_init(|| Stamp { of: Some(of), fingerprint });
        fingerprint
    }

    /// Whether the pointer is introduced as a target on this connection for the first time.
    #[inline]
    pub(crate) fn is_new_to(&self, connection: u64) -> bool {
        self.introduced.load(Ordering::Relaxed) != connection
            && self.introduced.swap(connection, Ordering::Relaxed) != connection
    }

    /// How both ends of a connection by which it leads call the box.
    pub(crate) fn target_by(&self, link: &dyn Outbound) -> Target {
        self.target(self.is_direct_by(link))
    }

    /// The same; `direct` is as [`is_direct_by`](Pointer::is_direct_by) says.
    pub(crate) fn target(&self, direct: bool) -> Target {
        match (self.box_id(direct), &self.origin) {
            (Some(id), _) => Target::Id(id),
            (None, Origin::Boxed { id, .. }) => Target::Id(*id),
            (None, Origin::Named { name, .. }) => Target::Name(name.clone()),
        }
    }

    /// Whether that connection leads to the very node of a box that another node has introduced, and would pass messages
    /// on to.
    #[inline]
    pub(crate) fn is_direct_by(&self, link: &dyn Outbound) -> bool {
        match (&self.route, &self.origin) {
            (Route::Away { by, .. }, Origin::Boxed { node, .. }) => by.is_relayed() && link.peer() == Some(*node),
            _ => false,
        }
    }

    /// Messages of that shape are passed on as they came.
    pub(crate) fn passes_on(&self, fingerprint: u64) {
        self.stamp.get_or_init(|| Stamp { of: None, fingerprint });
    }

    /// Identifies the pointer as a handle inside a message, where it may be introduced in other words.
    pub(crate) fn key_of_handle(&self) -> (u64, &AtomicU32) {
        let [_, hint] = &self.hints;
        (self.key + 1, hint)
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn home(&self) -> &Arc<dyn Household> {
        &self.home
    }

    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The last type of which no more messages are looked at before they leave, by its [`key`](crate::message::fit::key);
    /// 0 if there is none.
    pub(crate) fn settled(&self) -> &AtomicU64 {
        &self.settled
    }

    /// Where the last proxy for this pointer is remembered, so that its recipients are equal.
    pub(crate) fn proxy(&self) -> &Mutex<Option<(TypeId, Box<dyn Any + Send>)>> {
        &self.proxy
    }

    /// One is there from now on.
    pub(crate) fn set_proxy(&self) {
        self.has_proxy.store(true, Ordering::Relaxed);
        if let Route::Here(local) = &self.route {
            local.note_recipient();
        }
    }

    /// Whether there is a proxy, or was one.
    #[inline]
    pub(crate) fn has_proxy(&self) -> bool {
        self.has_proxy.load(Ordering::Relaxed)
    }

    /// The box, if it is one of this node and there is one now.
    pub(crate) fn local(&self) -> Option<Arc<dyn LocalBox>> {
        match &self.route {
            Route::Here(local) => Some(Arc::clone(local)),
            Route::HereNamed => self.home.box_named(&self.name),
            Route::Away { .. } | Route::Nowhere => None,
        }
    }

    /// Whether it is a box of that node that does not live for its holders elsewhere: in a message from there, nothing is to
    /// be done for it but to name it. One of another node of this process is not: it needs a relay.
    #[inline]
    pub(crate) fn is_uncounted_at(&self, home: NodeId) -> bool {
        match (&self.route, &self.origin) {
            (Route::Here(local), Origin::Boxed { node, .. }) => *node == home && !local.counted(),
            _ => false,
        }
    }

    /// The box, if it is one of this node that lives for its holders elsewhere.
    #[inline]
    pub(crate) fn counted_here(&self) -> Option<&dyn LocalBox> {
        match &self.route {
            Route::Here(local) if local.counted() => Some(&**local),
            _ => None,
        }
    }

    /// Claims a handle from the box's own node, by a connection that leads there: that node is to be told if `Ok`, with what
    /// was claimed before, which is to be dropped without a lock.
    pub(crate) fn claim(
        &self,
        link: &Weak<dyn Outbound>,
        connection: u64,
    ) -> Result<Option<Box<Held>>, AlreadyClaimed> {
        let (Route::Away { by, .. }, Origin::Boxed { id, .. }) = (&self.route, &self.origin) else {
            return Err(AlreadyClaimed);
        };
        let mut claim = by.claim.lock();
        if claim.as_ref().is_some_and(|claim| claim.connection == connection) {
            return Err(AlreadyClaimed);
        }
        let held = Held { link: Weak::clone(link), connection, id: *id, count: AtomicU64::new(1) };
        Ok(claim.replace(Box::new(held)))
    }

    /// The id by which it calls a box at another node; none if by its name, or if the box is here.
    pub(crate) fn box_id(&self, direct: bool) -> Option<BoxId> {
        match (&self.route, &self.origin) {
            (Route::Away { .. }, Origin::Boxed { id, .. }) if direct => Some(*id),
            (Route::Away { to, .. }, _) => *to,
            _ => None,
        }
    }

    /// Whether it leads to one box at another node, and to no other if that goes.
    pub(crate) fn is_away_for_good(&self) -> bool {
        matches!((&self.route, &self.origin), (Route::Away { .. }, Origin::Boxed { .. }))
    }

    /// Nothing can be reached by it any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *self.ending.lock());
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether nothing can be reached by it any more; if it can, the pump of that proxy is woken when that ends, unless it
    /// is [forgotten](Pointer::forget_pump).
    pub(crate) fn ends_for(&self, pump: ExportKey, waker: &Waker) -> bool {
        let mut ending = self.ending.lock();
        // Looked at under the lock under which those who wait are woken.
        if self.has_ended() {
            return true;
        }
        match ending.iter_mut().find(|(of, _)| *of == pump) {
            Some((_, known)) => known.clone_from(waker),
            None => {
                // There is one pump as a rule.
                if ending.is_empty() {
                    ending.reserve_exact(1);
                }
                ending.push((pump, waker.clone()));
            }
        }
        false
    }

    /// That pump has ended.
    pub(crate) fn forget_pump(&self, pump: ExportKey) {
        let mut ending = self.ending.lock();
        let forgotten = ending.iter().position(|(of, _)| *of == pump).map(|place| ending.swap_remove(place));
        if ending.is_empty() {
            *ending = Vec::new();
        }
        drop(ending);
        drop(forgotten);
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    pub(crate) fn is_local(&self) -> bool {
        !matches!(self.route, Route::Away { .. })
    }

    /// The node it leads to; `None` until a name at an endpoint was first reached.
    pub(crate) fn node_id(&self) -> Option<NodeId> {
        match (&self.origin, &self.route) {
            (Origin::Boxed { node, .. }, _) => Some(*node),
            (_, Route::Away { by, .. }) => by.first().peer(),
            _ => Some(self.home.id()),
        }
    }

    /// Counts messages of type `type_name` sent through this pointer and dropped on this side.
    pub(crate) fn count_drop(&self, type_name: &'static str, reason: DropReason, detail: Option<&str>) {
        self.lost.add(reason, 1);
        self.home.observer().dropped(Letter { name: &self.name, type_name, detail }, reason, 1);
    }

    /// What was dropped on this side.
    pub(super) fn lost_here(&self) -> BTreeMap<DropReason, u64> {
        self.lost.to_map()
    }

    /// Its name as a message's target on a connection that it leads by; `direct` is as
    /// [`is_direct_by`](Pointer::is_direct_by) says.
    pub(crate) fn introduce_target(&self, fingerprint: u64, direct: bool) -> Introduction<'_> {
        let identity = match (self.box_id(direct), &self.origin) {
            (Some(id), _) => Identity::YourBox(id),
            (None, Origin::Boxed { id, .. }) => Identity::YourBox(*id),
            (None, Origin::Named { name, .. }) => Identity::YourName(name),
        };
        Introduction { identity, counted: false, fingerprint }
    }

    /// Its name as a handle in a message to `peer`. A box of a third node, be it one of this process, is introduced with
    /// `via`, the relay to it.
    pub(crate) fn introduce_handle(&self, peer: Option<NodeId>, via: Option<BoxId>) -> Introduction<'_> {
        let mut counted = false;
        let identity = match &self.origin {
            Origin::Named { endpoint, name } if peer.is_some() && self.node_id() == peer => {
                Identity::YourPlace { endpoint: endpoint.as_ref(), name }
            }
            Origin::Named { endpoint, name } => Identity::Place { endpoint: endpoint.as_ref(), name },
            Origin::Boxed { node, id } if Some(*node) == peer => Identity::YourBox(*id),
            Origin::Boxed { node, id } if *node == self.home.id() && via.is_none() => {
                counted = self.counted_here().is_some();
                Identity::MyBox { id: *id, name: self.travelling_name() }
            }
            Origin::Boxed { node, id } => {
                counted = true;
                let via = via.unwrap_or(*id);
                let endpoints = self.hints().iter().map(AsRef::as_ref).collect();
                Identity::Third { node: *node, id: *id, via, name: self.travelling_name(), endpoints }
            }
        };
        Introduction { identity, counted, fingerprint: 0 }
    }

    /// Where the node of a box elsewhere is said to listen.
    pub(crate) fn hints(&self) -> &[Endpoint] {
        match &self.route {
            Route::Away { by, .. } => by.hints(),
            _ => &[],
        }
    }

    /// The name, unless the id says it as well.
    fn travelling_name(&self) -> &str {
        if self.anonymous { "" } else { &self.name }
    }
}

impl Drop for Pointer {
    /// Nobody holds the address any more: a box that lives only for its holders takes no more messages. Those that wait in
    /// it are still handled. What peers count for us is given back as the rest of the pointer goes.
    fn drop(&mut self) {
        if let Some(local) = self.counted_here() {
            local.close();
        }
        // The box's own node may not have read yet that it has a handle to count itself.
        if let Route::Away { by, .. } = &mut self.route
            && let Some(claim) = by.claim.get_mut()
            && let Some(link) = claim.link.upgrade()
            && let Some(held) = self.held.take()
        {
            drop(link.keep(claim.connection, held));
        }
    }
}
