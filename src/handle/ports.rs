//! The interfaces through which handles reach boxes, connections and the node. These live in layers above this one and
//! implement the traits.

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
use super::context::NodeContext;
use super::envelope::Arrival;
use super::envelope::Envelope;
use super::envelope::Source;
use super::peer_request::PeerRequest;
use super::pointer::Pointer;
use super::reply::AnswerTo;
use super::visibility::Visibility;
use crate::handle::pointer::lease::Lease;
use crate::handle::pointer::path::NamedLink;
use crate::handle::pointer::search_queue::SearchQueue;
use crate::ident::AddressError;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::message::shape::Shape;
use crate::observe::event::CloseReason;
use crate::observe::loss::DropNotice;
use crate::observe::loss::Drops;
use crate::observe::loss::Loss;
use crate::observe::peer_info::PeerInfo;
use crate::observe::stats::BoxStats;
use crate::reason::DropReason;
use crate::wire::batch::Bodies;
use crate::wire::body::Body;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::target::Target;

/// The parts of the node behind its [`NodeContext`]. Methods that make pointers or connections take the context, which
/// those keep.
pub(crate) trait Router: Send + Sync {
    /// Runs a pump on the node's I/O thread until it ends or the node stops.
    fn run(&self, pump: Pin<Box<dyn Future<Output = ()> + Send>>);
    /// Returns the pointer to the box of that name at any node that listens at the endpoint, or only at the given node.
    fn place(
        &self,
        context: &Arc<NodeContext>,
        endpoint: &Endpoint,
        node: Option<NodeId>,
        name: &str,
    ) -> Result<Arc<Pointer>, AddressError>;
    /// Returns the box that stands for an actor's recipient, which `make` makes if there is none yet.
    fn export(
        &self,
        context: &Arc<NodeContext>,
        key: ExportKey,
        make: &dyn Fn(BoxId) -> Arc<dyn LocalBox>,
    ) -> Arc<Pointer>;
    /// Forgets a box that has closed.
    fn forget(&self, id: BoxId, name: &str);
    /// Returns the box that has that name now.
    fn box_named(&self, name: &str) -> Option<Arc<dyn LocalBox>>;
    /// Returns a live connection to that node, when the one that a pointer came by has ended. If it is to be
    /// `protected`, others do not count.
    fn live_link(&self, node: Incarnation, protected: bool) -> Option<Arc<dyn Outbound>>;
    /// Searches for a path to that node by dialling the hinted endpoints; messages sent by it wait until it is known
    /// whether that node is there. The search counts against the peer that has named the endpoints. Returns `None` if a
    /// search was tried lately, or is impossible.
    fn discover(
        &self,
        context: &Arc<NodeContext>,
        node: Incarnation,
        hints: &[Endpoint],
        asked_by: Asker,
    ) -> Option<Arc<SearchQueue>>;
    /// Returns whether that run of a node has announced its end, or another run has taken its place.
    fn is_gone(&self, node: Incarnation) -> bool;
    /// Returns the time since which there is no connection to that run of a node any more, if it is remembered.
    fn left_since(&self, node: Incarnation) -> Option<Instant>;
    /// Returns the notifier of all that wait for a connection to that node, or for a run of it to announce its end. It
    /// must be held while waiting.
    fn news(&self, of: NodeId) -> Arc<Notify>;
    /// Returns the facts that a connection has proven about its peer, if they are remembered.
    fn peer_on(&self, connection: u64) -> Option<Arc<PeerInfo>>;
    /// Reports to the sending peer that messages for that box were dropped after the box had taken them.
    fn report(&self, from: Source, local: &dyn LocalBox, notice: &DropNotice<'_>);
}

/// The node, as seen by a pointer whose connection is made when it is first used.
pub(crate) trait Dialler: Send + Sync + fmt::Debug {
    /// Returns the connection to that endpoint, for the expected node, if any. Makes it if there is none, and then
    /// counts it against the peer that has asked for it, if any.
    fn link_at(self: Arc<Self>, endpoint: &Endpoint, expected: Option<NodeId>, asked_by: Option<Asker>) -> NamedLink;
}

/// A peer that has named an endpoint, which is dialled for it and counts against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asker {
    pub(crate) node: NodeId,
    /// Whether the peer is on this host, and may name endpoints that only this host can reach.
    pub(crate) near: bool,
    /// Whether the peer has named it over a protected channel: then only a protected one may lead there.
    pub(crate) protected: bool,
}

/// The connection by which a pointer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CameOver {
    /// Whether the peer is on this host.
    pub(crate) near: bool,
    /// Whether the channel is protected: then the pointer leads by protected paths only.
    pub(crate) protected: bool,
}

impl CameOver {
    /// Returns the asker for endpoints that were named over the connection, by that node.
    pub(crate) fn asker(self, node: NodeId) -> Asker {
        let CameOver { near, protected } = self;
        Asker { node, near, protected }
    }
}

/// A box of this node, whatever the type of its messages.
pub(crate) trait LocalBox: Send + Sync + fmt::Debug {
    fn id(&self) -> BoxId;
    /// Returns the name of the box; empty if the id serves as one.
    fn given_name(&self) -> &str;
    fn type_name(&self) -> &'static str;
    fn is_open(&self) -> bool;
    /// Returns the token that is cancelled when the box closes.
    fn closed(&self) -> &CancellationToken;
    /// Takes the parcel out of `parcel`, an `Option<Parcel<M>>`, or leaves it there and returns the reason.
    fn accept(&self, parcel: &mut dyn Any) -> Result<(), NotTaken>;
    /// Takes a message as it came from a connection, or returns its loss; then `answer` is left where it is.
    fn accept_encoded(
        &self,
        body: &[u8],
        handles: &mut Vec<Arc<Pointer>>,
        answer: &mut Option<AnswerTo>,
        arrival: Arrival,
    ) -> Result<(), Loss<'static>>;
    /// Takes messages in a row that carry nothing but their bodies; calls `rejected` for each that the box does not
    /// take.
    fn accept_all(&self, bodies: Bodies<'_>, arrival: Arrival, rejected: &mut dyn FnMut(Loss<'static>));
    /// Returns the shape of the messages that the box takes; `None` if it does not check.
    fn shape(&self) -> Option<Shape>;
    /// Returns the fill of the box, from 0 to 255.
    fn fill(&self) -> u8;
    /// Returns the fill level after the last message was put into the box, in a few steps that are cheap to read.
    fn fill_level(&self) -> u8;
    /// Returns the counts of the messages dropped at this box.
    fn drops(&self) -> &Drops;
    /// Records that from now on messages may come through an actix `Recipient`, too.
    fn note_recipient(&self);
    /// Returns whether remote holders of its address keep the box alive, so that each handle written is counted.
    fn is_leased(&self) -> bool;
    /// Puts the recipient of the actor that the box stands for into `recipient`, an `Option<Recipient<M>>`, if the box
    /// has no name of its own and its messages are of that type.
    fn recall(&self, recipient: &mut dyn Any);
    /// Returns a function that finds out whether the box's actor lives, even when the box is gone; `None` if there is
    /// no actor.
    fn actor(&self) -> Option<FindActor>;
    /// Returns the policy that says which peers may see the box; `None` if all may.
    fn visibility(&self) -> Option<&Visibility> {
        None
    }
    /// Checks whether the actor behind the box still lives, and closes the box if not.
    fn reap_if_dead(&self);
    /// Closes the box: it takes no more messages, and its name is free. Waiting messages can still be read.
    fn close(&self);
    /// Returns the target, for a relay.
    fn relays(&self) -> Option<&Arc<Pointer>>;
    /// Returns the number of messages that wait in the box, and its capacity.
    fn occupancy(&self) -> (u64, u64);
    fn stats(&self) -> BoxStats;
}

/// The notice that a watched box is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BoxGone {
    pub(crate) why: CloseReason,
    /// The time since which the box is out of reach, if another node has reported it.
    pub(crate) since: Option<Instant>,
}

impl From<CloseReason> for BoxGone {
    fn from(why: CloseReason) -> BoxGone {
        BoxGone { why, since: None }
    }
}

/// A link to another node, with a connection that is made when it is needed. The methods down to `cancel` send by it,
/// the others look after it.
pub(crate) trait Outbound: Send + Sync + fmt::Debug {
    /// Puts a message into the outbox, which never blocks. If there is no connection, a `patient` message has it made,
    /// and waits in the outbox meanwhile.
    fn post(&self, to: &Arc<Pointer>, message: &Envelope<'_>, patient: bool) -> Result<(), NotTaken>;
    /// Puts a request into the outbox. If the request is not taken, neither is `waiting`.
    fn ask(
        &self,
        to: &Arc<Pointer>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
        patient: bool,
    ) -> Result<Correlation, NotTaken>;
    /// Puts an answer into the outbox. Returns an error if it cannot: the peer does not read one of its length, or
    /// there is no room. Puts nothing there if the request was cancelled: its number may be that of another request by
    /// now.
    fn answer(
        &self,
        to: Correlation,
        asked: &PeerRequest,
        body: Body<'_>,
        handles: &[Arc<Pointer>],
    ) -> Result<(), Unanswered>;
    /// Tells the peer that there will be no answer, unless the request was cancelled.
    fn refuse(&self, to: Correlation, asked: &PeerRequest, why: Unanswered, detail: &str);
    /// Cancels a request, whose answer is not wanted any more.
    fn cancel(&self, which: Correlation);
    /// Returns whether there is a connection, or the first one is being made.
    fn is_up(&self) -> bool;
    /// Returns whether there is a connection.
    fn is_linked(&self) -> bool;
    /// Returns the time since which there is no connection, if there was one and the time is known.
    fn lost_since(&self) -> Option<Instant>;
    /// Returns whether the way has ended for good.
    fn is_over(&self) -> bool;
    /// Returns the maximum size of a message that both sides allow, in bytes, with its head and handles.
    fn longest_message(&self) -> usize;
    /// Returns the reason why there is no connection, if it is known, as text for a person.
    fn trouble(&self) -> Option<String>;
    /// Returns the node at the other end; `None` before the first greeting.
    fn peer(&self) -> Option<Incarnation>;
    /// Returns the drops that the peer has reported for one of its boxes, of messages of the shape with that
    /// fingerprint.
    fn losses(&self, target: &Target, fingerprint: u64) -> BTreeMap<DropReason, u64>;
    /// Sends to `told` once the box is gone, or not reached any more; drops `told` if the way has ended for good.
    /// `node` is the box's node, if it is known.
    fn watch(&self, target: &Target, node: Option<Incarnation>, told: oneshot::Sender<BoxGone>);
    /// Returns the fill level of the way to that box and of the box itself, from 0 to 1.
    fn pressure(&self, target: &Target) -> f32;
    /// Keeps a lease at another peer until this peer has read the messages sent to it on that connection. Returns the
    /// lease if there is no such connection any more, or too many leases are kept.
    fn keep(&self, connection: u64, held: Lease) -> Option<Lease>;
    /// Releases handles of the peer's box.
    fn release(&self, connection: u64, id: BoxId, count: u64);
}

/// A caller that waits for an answer from a connection.
pub(crate) trait PendingReply: Send {
    fn answered(self: Box<Self>, body: &[u8], handles: &mut Vec<Arc<Pointer>>);
    fn failed(self: Box<Self>, error: AskError);
    /// Returns whether nobody waits any more.
    fn is_gone(&self) -> bool;
    /// Becomes ready once nobody waits any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The key of a recipient: the message's type and actix's own identity of the actor.
pub(crate) type ExportKey = (TypeId, usize);

/// Returns the recipient of an actor if it lives; the result must be dropped without a lock, as it may be the last
/// recipient.
pub(crate) type FindActor = Box<dyn Fn() -> Option<Box<dyn Any + Send>> + Send>;

/// One request on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Correlation {
    pub(crate) connection: u64,
    pub(crate) number: u64,
}

/// The reason why a box or an outbox did not take a message: the message is dropped, or has another way to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotTaken {
    Dropped(DropReason),
    /// The box's messages are of another Rust type, perhaps of equal shape: it may take the message as bytes.
    OtherType,
    /// There is no connection now, and the message was not to wait for one.
    NotUp,
    /// The link has ended for good; another may lead to the same node.
    Over,
}

impl NotTaken {
    /// Returns whether a connection is missing: another one may take the message, or the same one later.
    #[inline]
    pub(crate) fn is_unlinked(self) -> bool {
        matches!(self, NotTaken::NotUp | NotTaken::Over)
    }

    /// Returns the drop reason of a message that has no other way to go.
    pub(crate) fn reason(self) -> DropReason {
        match self {
            NotTaken::Dropped(reason) => reason,
            NotTaken::OtherType => DropReason::TypeMismatch,
            NotTaken::NotUp | NotTaken::Over => DropReason::NotConnected,
        }
    }
}
