//! The pointer that users hold: [`Address`], and the future of a request through it.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::Actor;
use actix::Message;
use actix::Recipient;
use actix::dev::MessageResponse;
use actix::dev::OneshotSender;
use actix::prelude::SendError;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use tokio::sync::oneshot;

use super::envelope::Parcel;
use super::pointer::Pointer;
use super::pointer::Route;
use super::reply::Reply;
use super::request::Ask;
use super::request::Request;
use super::uri;
use crate::handle::pointer::monitor;
use crate::handle::recipient::proxy;
use crate::handle::serde_scope;
use crate::ident::BoxId;
use crate::ident::NodeId;
use crate::message::RemoteMessage;
use crate::observe::event::CloseReason;
use crate::observe::stats::Losses;
use crate::reason::DropReason;

/// A pointer to a mailbox or to a published actor, in this process or in another.
///
/// It can be cloned, sent inside messages (`Address` implements serde's traits), compared, and used from any thread.
/// Nothing that is done through it waits: a message that cannot go on is dropped, counted in
/// [`Node::stats`](crate::Node::stats) and told to [subscribers](crate::Node::subscribe).
///
/// # Equality
/// Two addresses are equal if they were made of the same: the same endpoint text and name (and the same node, if they are
/// [pinned](Address::pinned)), or the same box of the same
/// node. An address by name and one that came inside a message are unequal even where both lead to one box.
///
/// # What each handle says
/// After something has happened and was noticed; a process that was killed, or cut off, was away for
/// [`forget_after`](crate::NodeBuilder::forget_after) by then. A mailbox's `Address` works again should its node come
/// back; a `Recipient` that has ended does not, because actix cannot open a channel anew. Of a name, `closed()` tells of
/// the box that was there when it was called.
///
#[doc = include_str!("handle_states.md")]
///
/// `Closed or Ok`: what is sent while a connection is tried again waits for it; between two attempts it is refused.
///
/// # Examples
/// ```
/// use actix::prelude::*;
/// use actix_hermod::{Address, Node};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[rtype(result = "()")]
/// struct Question { answer_to: Address<Answer> }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[rtype(result = "()")]
/// struct Answer(u32);
///
/// # System::new().block_on(async {
/// let node = Node::start();
/// let mut questions = node.mailbox::<Question>().open()?;
/// let mut answers = node.mailbox::<Answer>().open()?;
///
/// questions.address().do_send(Question { answer_to: answers.address() });
/// questions.recv().await.unwrap().answer_to.do_send(Answer(42));
/// assert_eq!(answers.recv().await.unwrap().0, 42);
/// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
/// ```
pub struct Address<M> {
    pub(super) pointer: Arc<Pointer>,
    message: PhantomData<fn(M)>,
}

impl<M> Address<M> {
    pub(crate) fn new(pointer: Arc<Pointer>) -> Address<M> {
        Address { pointer, message: PhantomData }
    }

    /// The id of the box, if it is one of this node.
    pub(crate) fn box_here(&self) -> Option<BoxId> {
        self.pointer.local().map(|local| local.id())
    }
}

impl<M: RemoteMessage> Address<M> {
    /// Sends a message and does not look back: it is delivered, or dropped and counted.
    ///
    /// To another process it is encoded at once and waits in the connection's outbox, which is bounded; the connection
    /// is made if there is none.
    pub fn do_send(&self, message: M) {
        self.pointer.send_plain(message);
    }

    /// Sends a message, or gives it back.
    ///
    /// `Ok` means that the box (a local one) or the connection's outbox has taken it, not that it arrives.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is no room now; [`SendError::Closed`] if the box is closed, there is no connection
    /// and none is being made, or the message cannot be encoded. What is given back counts neither as sent nor as
    /// dropped.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        if self.pointer.has_ended() {
            return Err(SendError::Closed(message));
        }
        match self.pointer.give_plain(message) {
            Ok(()) => {
                self.pointer.router().observer().sent_here();
                Ok(())
            }
            Err((message, DropReason::OutboxFull | DropReason::NewestShed)) => Err(SendError::Full(message)),
            Err((message, _)) => Err(SendError::Closed(message)),
        }
    }

    /// Sends a message and waits for its result, as actix's own `send` does.
    ///
    /// The message leaves at once, not when the future is first polled. To a mailbox, the future ends when the reader
    /// takes the message. It ends as [`MailboxError::Closed`](crate::MailboxError::Closed) as soon as the box, the
    /// connection or the peer says no;
    /// [`ask`](Address::ask) says why.
    pub fn send(&self, message: M) -> Request<M> {
        let (reply, answer) = oneshot::channel();
        let asking = self.pointer.send(Parcel::new(message, Some(Reply::Plain(reply))));
        Request { answer, asking, limit: None, sleep: None }
    }

    /// Asks: sends a message, and waits for its result or for the reason why there is none.
    ///
    /// To a mailbox, the future ends when the reader takes the message.
    ///
    /// Lazy: the message leaves when the future is first polled. A [`timeout`](Ask::timeout) travels along, so that the
    /// other side drops a request that has expired before it could be handled.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::{AskError, DropReason, Node};
    /// # #[derive(Message, serde::Serialize, serde::Deserialize)]
    /// # #[rtype(result = "u64")]
    /// # struct Square(u64);
    /// # struct Calculator;
    /// # impl Actor for Calculator { type Context = Context<Self>; }
    /// # impl Handler<Square> for Calculator {
    /// #     type Result = u64;
    /// #     fn handle(&mut self, Square(n): Square, _: &mut Context<Self>) -> u64 { n * n }
    /// # }
    /// # System::new().block_on(async {
    /// let there = Node::start();
    /// there.publish::<Square>("calculator", Calculator.start())?;
    /// let endpoint = there.listen("127.0.0.1:0").await?;
    ///
    /// let here = Node::start();
    /// assert_eq!(here.remote::<Square>(&endpoint, "calculator")?.ask(Square(7)).await?, 49);
    ///
    /// let nobody = here.remote::<Square>(&endpoint, "nobody")?.ask(Square(7)).await;
    /// assert_eq!(nobody, Err(AskError::NotDelivered { reason: DropReason::NoSuchBox, detail: None }));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn ask(&self, message: M) -> Ask<M> {
        Ask::new(Arc::clone(&self.pointer), message)
    }

    /// The same box as an actix `Recipient`, for code that knows nothing of this crate.
    ///
    /// Recipients of equal addresses are equal, and equal to those that came in messages, as long as any of them lives; see
    /// [`recipient`](crate::recipient#equality). Of an actor that was [exported](crate::Node::export), or sent as a
    /// `Recipient` and has come home, it is the actor's own; of a published actor, it leads to the box in front of it.
    ///
    /// Messages sent through it pass through a queue that the node's I/O thread empties, or the reader of the mailbox if it
    /// is there first. So `try_send` tells less than [`Address::try_send`]: its `Ok` means that the queue has taken the
    /// message, which is delivered or counted from then on, also if the node ends.
    ///
    /// Once this node has ended, the recipient is not connected any more: `try_send` gives the message back, and `send` says
    /// `Closed`. A message that `do_send` is given is not counted then, as it is through an address: for actix, to be
    /// connected and to take messages are one bit, and a recipient without it drops the message itself.
    pub fn recipient(&self) -> Recipient<M> {
        proxy::recipient(&self.pointer)
    }

    /// Whether a message sent now has somewhere to go; of a box elsewhere, whether there is a connection there. It does not
    /// dial: a fresh remote address is not connected before it is first used.
    ///
    /// An address by name tells of the connection alone, since a box of that name may open at any time. One of a box without
    /// a name is connected only to the node of that box, not to another one that has taken its place, and not any more once
    /// [`closed`](Address::closed) or a recipient has found that the box is gone. While a connection is made for the first
    /// time it counts as one, because messages wait for it; one that is made again does not. Of a box behind a third node,
    /// the connection is the one to that node.
    ///
    /// For each kind of handle, [the table above](Address#what-each-handle-says) has what is said after everything that can
    /// happen.
    pub fn connected(&self) -> bool {
        if self.pointer.router().is_stopped() {
            return false;
        }
        match self.pointer.route() {
            Route::Away { .. } if !self.pointer.is_local() => !self.pointer.has_ended() && self.pointer.is_linked(),
            _ => self.pointer.local().is_some_and(|local| local.is_open()),
        }
    }

    /// Whether the box is one of this node. Of an address by name, whether messages go straight into a box of this node: at
    /// once if the node itself listens at that endpoint, as [`Node::listen`](crate::Node::listen) says it, and else once it
    /// is connected to itself and what was sent before has arrived.
    pub fn is_local(&self) -> bool {
        self.pointer.is_local()
    }

    /// The name of the box; for an anonymous one, its id.
    pub fn name(&self) -> &str {
        self.pointer.name()
    }

    /// The node it leads to. Of an address that came in a message it is known at once; of one by name, it is `None` until
    /// the name was first reached, and then the node that was last reached, also while the connection is down. It is what
    /// [`PeerUp` and `PeerDown`](crate::Event) call the node by.
    pub fn node_id(&self) -> Option<NodeId> {
        self.pointer.node_id()
    }

    /// The address as text, which [`Node::resolve`](crate::Node::resolve) reads; `None` if the node of the box is not
    /// known to listen where others can dial it. One that listens at all addresses of its host (`0.0.0.0`, `[::]`) has to
    /// say where that is, by [`NodeBuilder::advertise`](crate::NodeBuilder::advertise).
    ///
    /// A URI names an endpoint and a name; what is resolved from it is an address by name. That of a
    /// [pinned](Address::pinned) address also names the node.
    pub fn uri(&self) -> Option<String> {
        uri::of(&self.pointer)
    }

    /// Ends when nothing reaches the box any more, and says why: it was closed, its node has ended, or the connection is
    /// lost and could not be made again. If there is no such box now, it ends at once. It does not keep the box alive.
    ///
    /// A connection that breaks is made again, and the future goes on waiting: it ends as
    /// [`ConnectionLost`](CloseReason::ConnectionLost) when nobody listens at the other end any more, or after
    /// `dead_after` without a connection. An address by name may lead to a box again later: call it again for that one.
    ///
    /// It ends after what was sent before: messages that the box's node had given to addresses of this node's boxes before the
    /// box closed, and that left by the same connection, are in their boxes by then, large ones included. Erlang's monitors
    /// and Akka's death watch promise the same.
    ///
    /// Where a node's peers wait for more of its boxes than it has room for ([`watches`](crate::NodeBuilder::watches): 16 of each
    /// connection in any case), or where more than 65,536 are waited for on one connection, the others are asked for anew, at
    /// first every second and after some time every 32 seconds: the end of such a box is noticed once there is room, and that of
    /// its node or of the connection at once. Of boxes at a node that does not know such questions only the latter is noticed.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future. It can be polled on any thread.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::{CloseReason, Node};
    /// # #[derive(Message, serde::Serialize, serde::Deserialize)]
    /// # #[rtype(result = "()")]
    /// # struct Ping;
    /// # System::new().block_on(async {
    /// let there = Node::start();
    /// let endpoint = there.listen("127.0.0.1:0").await?;
    /// let inbox = there.mailbox::<Ping>().name("pings").open()?;
    ///
    /// let here = Node::start();
    /// let pings = here.remote::<Ping>(&endpoint, "pings")?;
    /// let closed = pings.closed();
    /// drop(inbox);
    /// assert_eq!(closed.await, CloseReason::BoxClosed);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn closed(&self) -> impl Future<Output = CloseReason> + Send + 'static + use<M> {
        monitor::closed(&self.pointer)
    }

    /// How full the box is, or the way there, whichever is fuller: from 0, empty, to 1, full. Also 1 if nothing can be
    /// sent there now.
    ///
    /// The way is the connection's outbox here, of which large messages may have three quarters. Of a box at another node
    /// it is what that node has told last: soon after the box has become more than half full, and a few times a second
    /// from then on. A sender that waits, or sends less, while it is over a half loses little; one that does not look is
    /// told of its losses by [`lost`](Address::lost). A published actor's box stands before its own mailbox, so it fills
    /// after the actor has as many messages as its box holds.
    pub fn pressure(&self) -> f32 {
        self.pointer.pressure()
    }

    /// What is known to be lost of the messages sent through this address and its clones. Addresses of one box that came over
    /// one connection count together, also if the earlier ones are gone; what the other node has dropped
    /// ([`Losses::remote`]) is counted apart for each shape of message.
    pub fn lost(&self) -> Losses {
        self.pointer.losses(self.pointer.fingerprint::<M>())
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Address::new(Arc::clone(&self.pointer))
    }
}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        self.pointer.origin() == other.pointer.origin()
    }
}

impl<M> Eq for Address<M> {}

impl<M> Hash for Address<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pointer.origin().hash(state);
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address<{}>({self})", std::any::type_name::<M>())
    }
}

/// The URI if there is one, else the name and the node.
impl<M> fmt::Display for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (uri::of(&self.pointer), self.pointer.node_id()) {
            (Some(uri), _) => f.write_str(&uri),
            (None, Some(node)) => write!(f, "{} at node {node}", self.pointer.name()),
            (None, None) => f.write_str(self.pointer.name()),
        }
    }
}

/// Inside a message in postcard's format: a handle. In a format that people read: the URI.
///
/// # Errors
/// In a format that people read, if the address has no URI; in a binary one, outside a message that is sent.
impl<M: 'static> Serialize for Address<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_scope::serialize(&self.pointer, serializer)
    }
}

/// See [`Node::with`](crate::Node::with) for reading URIs outside a message.
impl<'de, M: 'static> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_scope::deserialize::<M, D>(deserializer).map(Address::new)
    }
}

impl<M: RemoteMessage> From<Address<M>> for Recipient<M> {
    fn from(address: Address<M>) -> Self {
        address.recipient()
    }
}

/// As actix does for `Addr<B>`: a handler may return an address.
impl<A: Actor, M: Message<Result = Self>, B: RemoteMessage> MessageResponse<A, M> for Address<B> {
    fn handle(self, _: &mut A::Context, reply: Option<OneshotSender<Self>>) {
        if let Some(reply) = reply {
            // The one who asked may have gone.
            let _ = reply.send(self);
        }
    }
}
