//! The seams through which handles reach boxes, connections and the node. All of them live in layers above this one, which
//! implement these traits.

use std::any::Any;
use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ask_error::AskError;
use super::envelope::Arrival;
use super::envelope::Body;
use super::envelope::Envelope;
use super::envelope::Source;
use super::pointer::Pointer;
use super::reply::AnswerTo;
use super::reply::PeerRequest;
use super::shutdown::Shutdown;
use crate::config::Limits;
use crate::handle::pointer::lease::Lease;
use crate::handle::pointer::path::NamedLink;
use crate::handle::recipient::table::ProxyTable;
use crate::ident::AddressError;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::message::shape::Shape;
use crate::observe::Observer;
use crate::observe::event::CloseReason;
use crate::observe::stats::BoxStats;
use crate::quota::Quotas;
use crate::reason::DropReason;
use crate::wire::batch::Bodies;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::target::Target;

/// The node, as its handles see it.
pub(crate) trait Router: Send + Sync + fmt::Debug {
    /// This run of it.
    fn id(&self) -> Incarnation;
    fn limits(&self) -> &Limits;
    /// The bounds for all its connections, and for all its boxes.
    fn quotas(&self) -> &Quotas;
    fn observer(&self) -> &Observer;
    /// Whether the node has stopped.
    fn is_stopped(&self) -> bool;
    /// The work that its shutdown waits for.
    fn shutdown(&self) -> &Shutdown;
    /// Cancelled when the node stops.
    fn stopped(&self) -> &CancellationToken;
    /// Runs a pump on the node's I/O thread until it ends or the node stops.
    fn run(&self, pump: Pin<Box<dyn Future<Output = ()> + Send>>);
    /// The pointer to whatever has that name at that endpoint, or at that node there and no other.
    fn place(
        self: Arc<Self>,
        endpoint: &Endpoint,
        node: Option<NodeId>,
        name: &str,
    ) -> Result<Arc<Pointer>, AddressError>;
    /// The box that stands for an actor's recipient, which `make` makes if there is none yet.
    fn export(self: Arc<Self>, key: ExportKey, make: &dyn Fn(BoxId) -> Arc<dyn LocalBox>) -> Arc<Pointer>;
    /// A box has closed.
    fn forget(&self, id: BoxId, name: &str);
    /// A live connection to that node, when the one that a pointer came by has ended.
    fn live_link(&self, node: Incarnation) -> Option<Arc<dyn Outbound>>;
    /// A way to that node by a connection that is made now to where it is said to listen; what is sent by it waits until it
    /// is known whether that node is there. It counts against the peer that has told where to look. `None` if that was tried
    /// lately, or cannot be.
    fn discover(self: Arc<Self>, node: Incarnation, hints: &[Endpoint], asked_by: Asker) -> Option<Arc<dyn Outbound>>;
    /// Whether that run of a node has said that it ends, or another has taken its place.
    fn is_gone(&self, node: Incarnation) -> bool;
    /// Since when there is no connection to that run of a node any more, if that is remembered.
    fn left_since(&self, node: Incarnation) -> Option<Instant>;
    /// Where all who wait are told that a connection to that node has come up, or that a run of it has said that it ends. To
    /// be held while one waits.
    fn news(&self, of: NodeId) -> Arc<Notify>;
    /// The box that has that name now.
    fn box_named(&self, name: &str) -> Option<Arc<dyn LocalBox>>;
    /// Messages from elsewhere for that box were dropped after it had taken them: who sent them is to be told.
    fn report(&self, from: Source, local: &dyn LocalBox, reason: DropReason, count: u64);
    /// Where this node can be dialled.
    fn endpoints(&self) -> Vec<Endpoint>;
    /// The recipients that there are of pointers of this node.
    fn recipients(&self) -> &ProxyTable;
}

/// The node, as a pointer sees it whose connection is made when it is first used.
pub(crate) trait Dialler: Send + Sync + fmt::Debug {
    /// The connection to that endpoint, for the node that is expected there, if one is; made if there is none, and then
    /// counted against the peer that has asked for it, if one has.
    fn link_at(self: Arc<Self>, endpoint: &Endpoint, expected: Option<NodeId>, asked_by: Option<Asker>) -> NamedLink;
}

/// A peer that has named an endpoint, which is dialled for it and counts against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asker {
    pub(crate) node: NodeId,
    /// Whether it is on this host, and may name what only this host can reach.
    pub(crate) near: bool,
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
    fn fill_level(&self) -> u8;
    /// Counts messages dropped at this box.
    fn count_drop(&self, reason: DropReason);
    /// From now on messages may come to it through an actix `Recipient`, too.
    fn note_recipient(&self);
    /// Whether remote holders of its address keep the box alive, so that each handle written is counted.
    fn is_leased(&self) -> bool;
    /// Puts the recipient of the actor that the box stands for into the `Option<Recipient<M>>` that `recipient` is, if the box
    /// has no name of its own and its messages are of that type.
    fn recall(&self, recipient: &mut dyn Any);
    /// Finds out whether that actor lives, also when the box has gone; `None` if there is none.
    fn actor(&self) -> Option<FindActor>;
    /// Looks whether what the box stands for still lives, and closes it if not.
    fn reap_if_dead(&self);
    /// Takes no more messages; its name is free. What waits can still be read.
    fn close(&self);
    /// For a relay: what it stands for.
    fn relays(&self) -> Option<&Arc<Pointer>>;
    /// Messages that wait in it, and how many it holds.
    fn occupancy(&self) -> (u64, u64);
    fn stats(&self) -> BoxStats;
}

/// What becomes of a box that is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BoxGone {
    pub(crate) why: CloseReason,
    /// Since when it is out of reach, if another node has said so.
    pub(crate) since: Option<Instant>,
}

impl From<CloseReason> for BoxGone {
    fn from(why: CloseReason) -> BoxGone {
        BoxGone { why, since: None }
    }
}

/// A way to another node: one connection, or the place where one is made when it is needed.
pub(crate) trait Outbound: Send + Sync + fmt::Debug {
    /// Puts a message into the outbox, which never waits. One that is `patient` has the connection made if there is none, and
    /// waits in the outbox meanwhile.
    fn post(&self, to: &Arc<Pointer>, message: &Envelope<'_>, patient: bool) -> Result<(), NotPosted>;
    /// Puts a request into the outbox. If it is not taken, neither is `waiting`.
    fn ask(
        &self,
        to: &Arc<Pointer>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
        patient: bool,
    ) -> Result<Correlation, NotPosted>;
    /// Puts an answer into the outbox, or says why it cannot: the peer does not read one that is so long, or there is no
    /// room. Nothing is put there if the request was taken back: its number may be that of another by now.
    fn answer(
        &self,
        to: Correlation,
        asked: &PeerRequest,
        body: Body<'_>,
        handles: &[Arc<Pointer>],
    ) -> Result<(), Unanswered>;
    /// Says that there will be no answer, unless the request was taken back.
    fn refuse(&self, to: Correlation, asked: &PeerRequest, why: Unanswered, detail: &str);
    /// Wants no answer any more.
    fn cancel(&self, which: Correlation);
    /// Whether there is a connection, or the first one is being made.
    fn is_up(&self) -> bool;
    /// Whether there is a connection.
    fn is_linked(&self) -> bool;
    /// Since when there is no connection, if there was one and it is known.
    fn lost_since(&self) -> Option<Instant>;
    /// Whether it has ended for good.
    fn is_over(&self) -> bool;
    /// Bytes of the longest message that both sides allow, with its head and handles.
    fn longest_message(&self) -> usize;
    /// Why there is no connection, if that is known; for a person.
    fn trouble(&self) -> Option<String>;
    /// The node at the other end; `None` before the first greeting.
    fn peer(&self) -> Option<Incarnation>;
    /// What the peer has told of messages for one of its boxes that it dropped, of the shape with that fingerprint.
    fn losses(&self, target: &Target, fingerprint: u64) -> BTreeMap<DropReason, u64>;
    /// Has `told` told once the box is gone, or not reached any more; dropped if the way is over for good. `node` is whose
    /// box it is, if that is known.
    fn watch(&self, target: &Target, node: Option<Incarnation>, told: oneshot::Sender<BoxGone>);
    /// How full the way to that box and the box itself are, from 0 to 1.
    fn pressure(&self, target: &Target) -> f32;
    /// Keeps what another peer counts for us until this one has read what was sent to it on that connection. Gives it back
    /// if there is no such connection any more, or too much is kept.
    fn keep(&self, connection: u64, held: Lease) -> Option<Lease>;
    /// Handles of the peer's box were let go.
    fn release(&self, connection: u64, id: BoxId, count: u64);
}

/// One who waits for an answer from a connection.
pub(crate) trait PendingReply: Send {
    fn answered(self: Box<Self>, body: &[u8], handles: &mut Vec<Arc<Pointer>>);
    fn failed(self: Box<Self>, error: AskError);
    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool;
    /// Ready once nobody waits any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Tells recipients apart: the message's type and actix's own idea of the actor.
pub(crate) type ExportKey = (TypeId, usize);

/// Gives the recipient of an actor that lives, to be dropped without a lock: it may be the last.
pub(crate) type FindActor = Box<dyn Fn() -> Option<Box<dyn Any + Send>> + Send>;

/// Why a box did not take a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Full(DropReason),
    Closed,
    /// The box's messages are of another Rust type, perhaps of equal shape.
    OtherType,
}

/// Why a message from a connection was dropped.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) reason: DropReason,
    pub(crate) detail: Option<String>,
}

impl From<DropReason> for Rejection {
    fn from(reason: DropReason) -> Rejection {
        Rejection { reason, detail: None }
    }
}

/// One request on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Correlation {
    pub(crate) connection: u64,
    pub(crate) number: u64,
}

/// Why a message was not put into an outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotPosted {
    /// The link has ended for good; another may lead to the same node.
    Over,
    /// There is no connection now, and it was not to be waited for.
    NotUp,
    Dropped(DropReason),
}
