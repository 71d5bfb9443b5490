//! The pointer that users hold: [`Address`], and the future of a request through it.

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

use super::failure::AskError;
use super::proxy;
use super::reply::Asking;
use super::reply::Awaiting;
use super::reply::Parcel;
use super::reply::Reply;
use super::request::Ask;
use super::request::Request;
use super::route::AnswerTo;
use super::route::Encoded;
use super::route::LocalBox;
use super::route::Pointer;
use super::route::Route;
use super::route::Waiting;
use super::scope;
use super::terms::Arrival;
use super::terms::Refusal;
use super::terms::Source;
use super::uri;
use crate::ident::NodeId;
use crate::message::RemoteMessage;
use crate::message::fit;
use crate::message::fit::Look;
use crate::message::guard::EncodeError;
use crate::message::shape::Shape;
use crate::observe::DropReason;
use crate::observe::Losses;
use crate::wire::control::Unanswered;

/// A pointer to a mailbox or to a published actor, in this process or in another.
///
/// It can be cloned, sent inside messages (`Address` implements serde's traits), compared, and used from any thread.
/// Nothing that is done through it waits: a message that cannot go on is dropped, counted in
/// [`Node::stats`](crate::Node::stats) and told to [subscribers](crate::Node::subscribe).
///
/// # Equality
/// Two addresses are equal if they were made of the same: the same endpoint text and name, or the same box of the same
/// node. An address by name and one that came inside a message are unequal even where both lead to one box.
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
    pointer: Arc<Pointer>,
    message: PhantomData<fn(M)>,
}

impl<M> Address<M> {
    pub(crate) fn new(pointer: Arc<Pointer>) -> Address<M> {
        Address { pointer, message: PhantomData }
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
        match self.pointer.give_plain(message) {
            Ok(()) => {
                self.pointer.home().observer().sent(1);
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
    /// Recipients of one address (and of its clones) are equal. Messages sent through it pass through a queue to the
    /// node's I/O thread, so `try_send` tells less than [`Address::try_send`]: its `Ok` means that the queue has taken the
    /// message.
    pub fn recipient(&self) -> Recipient<M> {
        proxy::recipient(&self.pointer)
    }

    /// Whether a message sent now has somewhere to go: the box is open or, for another process, the connection is up or
    /// being made.
    pub fn connected(&self) -> bool {
        if self.pointer.home().is_stopped() {
            return false;
        }
        match self.pointer.route() {
            Route::Away { .. } => self.pointer.link().is_some_and(|link| link.is_up()),
            _ => self.pointer.local().is_some_and(|local| local.is_open()),
        }
    }

    /// Whether the box is one of this node.
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
    /// known to listen.
    ///
    /// A URI names an endpoint and a name; what is resolved from it is an address by name.
    pub fn uri(&self) -> Option<String> {
        uri::of(&self.pointer)
    }

    /// What is known to be lost of the messages sent through this address and its clones.
    pub fn lost(&self) -> Losses {
        self.pointer.losses()
    }
}

/// A message that was not taken.
pub(crate) struct Returned<M: Message> {
    parcel: Parcel<M>,
    reason: DropReason,
    detail: Option<String>,
}

impl<M: Message> Returned<M> {
    fn new(parcel: Parcel<M>, reason: DropReason) -> Returned<M> {
        Returned { parcel, reason, detail: None }
    }
}

/// Why a message could not be written to another process.
struct Unwritten {
    reason: DropReason,
    detail: Option<String>,
}

impl Pointer {
    /// Sends a message for which no answer is wanted. Most messages go this way, to another process: one that is written
    /// there is not moved once more.
    #[inline]
    pub(crate) fn send_plain<M: RemoteMessage>(self: &Arc<Self>, message: M) {
        if !matches!(self.route(), Route::Away { .. }) {
            self.send(Parcel::new(message, None));
            return;
        }
        self.home().observer().sent(1);
        if let Err(Unwritten { reason, detail }) = self.write_plain(&message) {
            self.count_drop(std::any::type_name::<M>(), reason, detail.as_deref());
        }
    }

    /// Hands on a message for which no answer is wanted, or gives it back.
    fn give_plain<M: RemoteMessage>(self: &Arc<Self>, message: M) -> Result<(), (M, DropReason)> {
        match self.route() {
            Route::Away { .. } => self.write_plain(&message).map_err(|unwritten| (message, unwritten.reason)),
            _ => {
                let given = self.give(Parcel::new(message, None));
                given.map(drop).map_err(|returned| (returned.parcel.message, returned.reason))
            }
        }
    }

    #[inline]
    fn write_plain<M: RemoteMessage>(self: &Arc<Self>, message: &M) -> Result<(), Unwritten> {
        if self.home().is_stopped() {
            return Err(Unwritten { reason: DropReason::Shutdown, detail: None });
        }
        let fingerprint = self.fingerprint::<M>();
        self.encode(message, |body, handles| self.post(Encoded { body, handles, fingerprint }))
    }

    /// Sends: the message is counted as sent, and as dropped if it is.
    pub(crate) fn send<M: RemoteMessage>(self: &Arc<Self>, parcel: Parcel<M>) -> Option<Asking> {
        self.home().observer().sent(1);
        match self.give(parcel) {
            Ok(asking) => asking,
            Err(Returned { parcel, reason, detail }) => {
                if let Some(local) = self.local() {
                    local.count_drop(reason);
                }
                self.count_drop(std::any::type_name::<M>(), reason, detail.as_deref());
                parcel.drop_for(reason, detail);
                None
            }
        }
    }

    /// Hands the message on, or back.
    fn give<M: RemoteMessage>(self: &Arc<Self>, parcel: Parcel<M>) -> Result<Option<Asking>, Returned<M>> {
        if self.home().is_stopped() {
            return Err(Returned::new(parcel, DropReason::Shutdown));
        }
        match self.route() {
            Route::Here(local) => self.give_local(&**local, parcel),
            Route::HereNamed => match self.home().box_named(self.name()) {
                Some(local) => self.give_local(&*local, parcel),
                None => Err(Returned::new(parcel, DropReason::NoSuchBox)),
            },
            Route::Away { .. } => match parcel.reply {
                None => match self.write_plain(&parcel.message) {
                    Ok(()) => Ok(None),
                    Err(Unwritten { reason, detail }) => Err(Returned { parcel, reason, detail }),
                },
                Some(reply) => self.request(parcel.message, *reply),
            },
            Route::Nowhere => Err(Returned::new(parcel, DropReason::BoxClosed)),
        }
    }

    fn give_local<M: RemoteMessage>(
        &self,
        local: &dyn LocalBox,
        parcel: Parcel<M>,
    ) -> Result<Option<Asking>, Returned<M>> {
        let mut slot = Some(parcel);
        let refusal = local.accept(&mut slot);
        match (refusal, slot) {
            (Err(refusal), Some(parcel)) => match refusal {
                Refusal::Full(reason) => Err(Returned::new(parcel, reason)),
                Refusal::Closed => Err(Returned::new(parcel, DropReason::BoxClosed)),
                Refusal::OtherType => self.give_encoded(local, parcel).map(|()| None),
            },
            _ => Ok(None),
        }
    }

    /// Gives a message to a box of this node whose messages are of another Rust type, perhaps of equal shape: as bytes,
    /// and so its result comes back.
    #[cold]
    fn give_encoded<M: RemoteMessage>(&self, local: &dyn LocalBox, parcel: Parcel<M>) -> Result<(), Returned<M>> {
        let mut answer = parcel.reply.map(|reply| {
            let (home, deadline) = (Arc::clone(self.home()), reply.deadline());
            let waiting = Box::new(Awaiting { home: Arc::clone(&home), reply: *reply });
            AnswerTo::here(home, waiting, deadline)
        });
        let mut words = None;
        let shape = Shape::of::<M>();
        let arrival = Arrival { from: Source::HERE, fingerprint: shape.fingerprint() };
        let given = match local.shape().filter(|takes| *takes != shape) {
            Some(takes) => {
                let detail = Some(shape.differences(&takes));
                Err(Unwritten { reason: DropReason::TypeMismatch, detail })
            }
            None => self.encode(&parcel.message, |body, handles| {
                local.accept_encoded(body, &mut handles.to_vec(), &mut answer, arrival).map_err(|rejection| {
                    words = rejection.detail;
                    rejection.reason
                })
            }),
        };
        given.map_err(|Unwritten { reason, detail }| {
            let detail = detail.or(words);
            if let Some(answer) = answer {
                answer.refuse(Unanswered::NotDelivered(reason), detail.as_deref().unwrap_or_default());
            }
            Returned { parcel: Parcel::new(parcel.message, None), reason, detail }
        })
    }

    #[inline]
    fn encode<M: RemoteMessage, T>(
        &self,
        message: &M,
        send: impl FnOnce(&[u8], &[Arc<Pointer>]) -> Result<T, DropReason>,
    ) -> Result<T, Unwritten> {
        let (reason, detail) = match scope::write(self.home(), message, self.look(), send) {
            Ok(Ok(sent)) => return Ok(sent),
            Ok(Err(reason)) => (reason, self.trouble(reason)),
            Err(EncodeError::TooLarge { .. }) => (DropReason::TooLarge, None),
            Err(error) => (DropReason::NotEncodable, Some(error.to_string())),
        };
        Err(Unwritten { reason, detail })
    }

    /// How the message is looked at before it leaves: a comparison, once enough of its type were.
    #[inline]
    fn look<M: RemoteMessage>(&self) -> Look<M> {
        let key = fit::key::<M>();
        if self.settled().load(Ordering::Relaxed) == key {
            return fit::glance();
        }
        let look = fit::look();
        if !look.anyway {
            self.settled().store(key, Ordering::Relaxed);
        }
        look
    }

    /// Sends a message that is to be answered over a connection.
    fn request<M: RemoteMessage>(
        self: &Arc<Self>,
        message: M,
        reply: Reply<M::Result>,
    ) -> Result<Option<Asking>, Returned<M>> {
        let time_left = reply.time_left();
        let mut waiting: Option<Box<dyn Waiting>> = Some(Box::new(Awaiting { home: Arc::clone(self.home()), reply }));
        let fingerprint = self.fingerprint::<M>();
        let asked = self.encode(&message, |body, handles| {
            self.ask_encoded(Encoded { body, handles, fingerprint }, time_left, &mut waiting)
        });
        match asked {
            Ok((link, correlation)) => Ok(Some(Asking::new(link, correlation))),
            Err(Unwritten { reason, detail }) => {
                if let Some(waiting) = waiting {
                    waiting.failed(AskError::NotDelivered { reason, detail: detail.clone() });
                }
                Err(Returned { parcel: Parcel::new(message, None), reason, detail })
            }
        }
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
        scope::serialize(&self.pointer, serializer)
    }
}

/// See [`Node::with`](crate::Node::with) for reading URIs outside a message.
impl<'de, M: 'static> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scope::deserialize::<M, D>(deserializer).map(Address::new)
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
