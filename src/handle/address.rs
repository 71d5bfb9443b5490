//! The handle that users hold: [`Address`].

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

/// The address of a mailbox or of a published actor, in this process or in another.
///
/// An address can be cloned, sent inside messages (`Address` implements serde's traits), compared, and used from any
/// thread. Sending never blocks: a message that cannot go on is dropped, counted in [`Node::stats`](crate::Node::stats)
/// and reported to [subscribers](crate::Node::subscribe).
///
/// # Equality
/// Two addresses are equal if they have the same origin: the same endpoint text and name (and the same node, if they
/// are [pinned](Address::pinned)), or the same box of the same node. An address by name and one that came inside a
/// message are unequal even where both lead to one box.
///
/// # State of each handle
/// The table shows each handle after an event was noticed; a process that was killed, or cut off, was away for
/// [`forget_after`](crate::NodeBuilder::forget_after) by then. A mailbox's `Address` works again if its node comes
/// back; a `Recipient` that has ended does not, because actix cannot open a channel anew. For an address by name,
/// `closed()` concerns the box that had the name when it was called.
///
#[doc = include_str!("handle_states.md")]
///
/// `Closed or Ok`: a message sent during an attempt to connect waits for the connection; between two attempts it is
/// refused.
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

    /// Returns the id of the box, if it is one of this node.
    pub(crate) fn box_here(&self) -> Option<BoxId> {
        self.pointer.local().map(|local| local.id())
    }
}

impl<M: RemoteMessage> Address<M> {
    /// Returns the pointer that all clones share.
    #[cfg(test)]
    pub(crate) fn pointer(&self) -> &Arc<Pointer> {
        &self.pointer
    }

    /// Sends a message without waiting for any outcome: it is delivered, or dropped and counted.
    ///
    /// A message to another process is encoded at once and waits in the connection's outbox, which is bounded; the
    /// connection is made if there is none.
    pub fn do_send(&self, message: M) {
        self.pointer.send_plain(message);
    }

    /// Sends a message, or returns it in the error.
    ///
    /// `Ok` means that the local box or the connection's outbox has taken the message, not that it arrives.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is no room now; [`SendError::Closed`] if the box is closed, there is no connection
    /// and none is being made, or the message cannot be encoded. A returned message counts neither as sent nor as
    /// dropped.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        if self.pointer.has_ended() {
            return Err(SendError::Closed(message));
        }
        match self.pointer.give_plain(message) {
            Ok(()) => {
                self.pointer.this_node().observer().sent_here();
                Ok(())
            }
            Err((message, DropReason::OutboxFull | DropReason::NewestShed)) => Err(SendError::Full(message)),
            Err((message, _)) => Err(SendError::Closed(message)),
        }
    }

    /// Sends a message and waits for its result, like actix's own `send`.
    ///
    /// The message leaves at once, not when the future is first polled. For a mailbox, the future ends when the reader
    /// takes the message. It ends as [`MailboxError::Closed`](crate::MailboxError::Closed) as soon as the box, the
    /// connection or the peer refuses; use [`ask`](Address::ask) to get the reason.
    pub fn send(&self, message: M) -> Request<M> {
        let (reply, answer) = oneshot::channel();
        let asking = self.pointer.send(Parcel::new(message, Some(Reply::Plain(reply))));
        Request { answer, asking, limit: None, sleep: None }
    }

    /// Sends a message, and waits for its result or for the reason why there is none.
    ///
    /// For a mailbox, the future ends when the reader takes the message.
    ///
    /// The future is lazy: the message leaves when it is first polled. A [`timeout`](Ask::timeout) travels with the
    /// message, so that the other side drops a request that has expired before it could be handled.
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

    /// Returns an actix `Recipient` for the same box, for code that does not know this crate.
    ///
    /// Recipients of equal addresses are equal, and equal to those that came in messages, as long as any of them lives;
    /// see [`recipient`](crate::recipient#equality). For an actor that was [exported](crate::Node::export), or sent as
    /// a `Recipient` and has come home, the recipient is the actor's own; for a published actor, it leads to the box in
    /// front of the actor.
    ///
    /// Messages sent through the recipient pass through a queue that the node's I/O thread empties, or the reader of
    /// the mailbox if it is faster. So its `try_send` guarantees less than [`Address::try_send`]: `Ok` means that the
    /// queue has taken the message, which is delivered or counted from then on, even if the node ends.
    ///
    /// Once this node has ended, the recipient is not connected any more: `try_send` returns the message, and `send`
    /// fails with `Closed`. Unlike with an address, a message passed to `do_send` is not counted then: actix has a
    /// single flag for being connected and for taking messages, and a recipient without it drops the message itself.
    pub fn recipient(&self) -> Recipient<M> {
        proxy::recipient(&self.pointer)
    }

    /// Returns whether a message sent now would be taken; for a box at another node, whether there is a connection to
    /// that node. This does not dial: a fresh remote address is not connected before it is first used. To find out
    /// whether the other end is there, [`ask`](Address::ask).
    ///
    /// For an address by name only the connection counts, since a box of that name may open at any time. The address of
    /// a box without a name is connected only to the node of that box, not to another node that has taken its place,
    /// and not any more once [`closed`](Address::closed) or a recipient has found that the box is gone. A connection
    /// that is being made for the first time counts as one, because messages wait for it; one that is being made again
    /// does not. For a box behind a third node, the connection is the one to that third node.
    ///
    /// For each kind of handle, [the table above](Address#state-of-each-handle) has the result after each event.
    pub fn connected(&self) -> bool {
        if self.pointer.this_node().is_stopped() {
            return false;
        }
        match self.pointer.route() {
            Route::Away { .. } if !self.pointer.is_local() => !self.pointer.has_ended() && self.pointer.is_linked(),
            _ => self.pointer.local().is_some_and(|local| local.is_open()),
        }
    }

    /// Returns whether the box is one of this node. For an address by name, returns whether messages go straight into a
    /// box of this node: at once if the node itself listens at that endpoint, in the text returned by
    /// [`Node::listen`](crate::Node::listen), and otherwise once the node is connected to itself and earlier messages
    /// have arrived.
    pub fn is_local(&self) -> bool {
        self.pointer.is_local()
    }

    /// Returns the name of the box; for an anonymous one, its id.
    pub fn name(&self) -> &str {
        self.pointer.name()
    }

    /// Returns the id of the node that the address leads to. For an address that came in a message the id is known at
    /// once; for an address by name, it is `None` until the name was first reached, and then the id of the node that
    /// was last reached, even while the connection is down. [`PeerUp` and `PeerDown`](crate::Event) use the same id.
    pub fn node_id(&self) -> Option<NodeId> {
        self.pointer.node_id()
    }

    /// Returns the address as text, which [`Node::resolve`](crate::Node::resolve) reads; `None` if the node of the box
    /// is not known to listen where others can dial it. A node that listens at all addresses of its host (`0.0.0.0`,
    /// `[::]`) has to state its endpoints, by [`NodeBuilder::advertise`](crate::NodeBuilder::advertise).
    ///
    /// A URI contains an endpoint and a name; resolving it gives an address by name. The URI of a
    /// [pinned](Address::pinned) address also contains the node's id.
    pub fn uri(&self) -> Option<String> {
        uri::of(&self.pointer)
    }

    /// Waits until nothing reaches the box any more, and returns the reason: the box was closed, its node has ended, or
    /// the connection is lost and could not be made again. If there is no such box now, the future ends at once. It
    /// does not keep the box alive.
    ///
    /// A connection that breaks is made again, and the future goes on waiting: it ends as
    /// [`ConnectionLost`](CloseReason::ConnectionLost) when nobody listens at the other end any more, or after
    /// `dead_after` without a connection. An address by name may lead to a new box later: call `closed` again for that
    /// box.
    ///
    /// The future ends after earlier messages have arrived: messages that the box's node had sent to addresses of this
    /// node's boxes before the box closed, and that left by the same connection, are in their boxes by then, large ones
    /// included. Erlang's monitors and Akka's death watch promise the same.
    ///
    /// A node keeps a limited number of watches for its peers ([`watches`](crate::NodeBuilder::watches), and 16 of each
    /// connection in any case), and 65,536 for one connection. For boxes beyond that, the watch is asked for anew, at
    /// first every second and later every 32 seconds: the end of such a box is noticed once there is room, and the end
    /// of its node or of the connection at once. For boxes at a node that does not know watches, only the latter is
    /// noticed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing. It can be polled on any thread.
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

    /// Returns the fill level of the box or of the way there, whichever is fuller: from 0, empty, to 1, full. Returns 1
    /// if nothing can be sent there now.
    ///
    /// The way is the connection's outbox here, of which large messages may take three quarters. For a box at another
    /// node the level is the one that the node has reported last: it reports soon after the box has become more than
    /// half full, and a few times a second from then on. A sender that waits, or sends less, while the level is over a
    /// half loses little; a sender that does not check finds its losses in [`lost`](Address::lost). A published actor's
    /// box stands in front of the actor's own mailbox, so the box fills only after the actor has as many messages as
    /// the box holds.
    pub fn pressure(&self) -> f32 {
        self.pointer.pressure()
    }

    /// Returns the known losses among the messages sent through this address and its clones. Addresses of one box that
    /// came over one connection count together, even if the earlier ones are gone; drops at the other node
    /// ([`Losses::remote`]) are counted separately for each shape of message.
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

/// Shows the URI if there is one, else the name and the node.
impl<M> fmt::Display for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (uri::of(&self.pointer), self.pointer.node_id()) {
            (Some(uri), _) => f.write_str(&uri),
            (None, Some(node)) => write!(f, "{} at node {node}", self.pointer.name()),
            (None, None) => f.write_str(self.pointer.name()),
        }
    }
}

/// Writes a handle inside a message in postcard's format, and the URI in a human-readable format.
///
/// # Errors
/// Fails in a human-readable format if the address has no URI; in a binary format, outside a message that is sent.
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

/// Lets a handler return an address, as actix does for `Addr<B>`.
impl<A: Actor, M: Message<Result = Self>, B: RemoteMessage> MessageResponse<A, M> for Address<B> {
    fn handle(self, _: &mut A::Context, reply: Option<OneshotSender<Self>>) {
        if let Some(reply) = reply {
            // The asker may have gone.
            let _ = reply.send(self);
        }
    }
}
