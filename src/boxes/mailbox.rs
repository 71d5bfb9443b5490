//! The reading end: [`Mailbox`], and the builder that opens one.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use actix::Message;
use actix::Recipient;
use futures_core::Stream;

use super::buffer::Buffer;
use super::queue::Batch;
use super::queue::BoxIdentity;
use super::queue::BoxQueue;
use super::received::Origins;
use super::registry::OpenError;
use super::registry::Registry;
use crate::handle::address::Address;
use crate::handle::context::NodeContext;
use crate::handle::envelope::Parcel;
use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::handle::recipient::proxy;
use crate::handle::reply::Reply;
use crate::handle::visibility::Visibility;
use crate::ident::BoxId;
use crate::message::RemoteMessage;
use crate::observe::origin::Origin;
use crate::observe::peer_info::PeerInfo;
use crate::reason::DropReason;

/// Opens a mailbox; made by [`Node::mailbox`](crate::Node::mailbox).
#[must_use = "a mailbox is opened by `open`"]
pub struct MailboxBuilder<M> {
    node: Arc<NodeContext>,
    registry: Arc<Registry>,
    name: Option<String>,
    buffer: Buffer<M>,
    visibility: Option<Visibility>,
}

impl<M> MailboxBuilder<M> {
    pub(crate) fn new(node: Arc<NodeContext>, registry: Arc<Registry>) -> MailboxBuilder<M> {
        let buffer = Buffer::dropping(node.limits().mailbox_buffer);
        MailboxBuilder { node, registry, name: None, buffer, visibility: None }
    }
}

impl<M: RemoteMessage + Message<Result = ()>> MailboxBuilder<M> {
    /// Gives the box a name by which others can address it without having been sent a pointer: 1 to 255 bytes of UTF-8.
    /// Without a name, the box is known by its id, which nobody can guess.
    pub fn name(self, name: impl Into<String>) -> Self {
        MailboxBuilder { name: Some(name.into()), ..self }
    }

    /// Replaces the default buffer, a dropping one for as many messages as the node's limit `mailbox_buffer` (1,024).
    pub fn buffer(self, buffer: Buffer<M>) -> Self {
        MailboxBuilder { buffer, ..self }
    }

    /// Sets the policy that says which peers may see the box. Default: all that may
    /// [come in](crate::NodeBuilder::accept). Senders in this process always see it.
    ///
    /// To a peer that may not see the box, it does not exist: messages, requests and waits by its name or its id find no
    /// such box, and its name is in no list. That holds also for a peer that was sent the box's address, so that an
    /// address is of no use in wrong hands. If another node passes messages on (a relay), the policy is asked about that
    /// node, which is the only one that is known.
    ///
    /// The policy is asked once for each connection, when its peer first calls the box, and must answer quickly: it
    /// runs on the node's I/O thread, with no lock held. A policy that panics shows the box to nobody.
    ///
    /// The policy guards against messages of peers, not against code of this process that sends to an address which a
    /// peer has given it.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// use actix_hermod::transport::Identity;
    /// # use actix_hermod::Node;
    /// # #[derive(Message, serde::Serialize, serde::Deserialize)]
    /// # #[rtype(result = "()")]
    /// # struct Command(String);
    /// # System::new().block_on(async {
    /// # let node = Node::start();
    /// # let our_uid = 1000;
    /// let admin = node
    ///     .mailbox::<Command>()
    ///     .name("admin")
    ///     .visible_to(move |peer| matches!(peer.identity, Identity::Unix { uid, .. } if uid == our_uid))
    ///     .open()?;
    /// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
    /// ```
    pub fn visible_to(self, policy: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        MailboxBuilder { visibility: Some(Visibility::new(policy)), ..self }
    }

    /// Opens the mailbox. Messages can be sent to it from now on.
    ///
    /// For the first box of a type in a process, the type's `Deserialize` is run a few times on made-up values, to find
    /// out its [shape](crate::Shape).
    ///
    /// # Errors
    /// [`OpenError::NameTaken`] while another box of the node has the name, whatever its messages;
    /// [`OpenError::NameEmpty`] and [`OpenError::NameTooLong`]; [`OpenError::NotEncodable`] if no message of the type can
    /// travel; [`OpenError::Stopped`] once the node was shut down or its System has ended.
    pub fn open(self) -> Result<Mailbox<M>, OpenError> {
        let name = Registry::check(self.name)?;
        Registry::admit::<M>()?;
        let identity =
            BoxIdentity { id: BoxId::random(), name, is_leased: false, visibility: self.visibility.map(Box::new) };
        let queue = Arc::new(BoxQueue::new(identity, Arc::clone(&self.node), &self.buffer, None));
        let local: Arc<dyn LocalBox> = Arc::clone(&queue) as _;
        let pointer = Arc::new(Pointer::here(self.node, local));
        self.registry.open(&pointer, &*queue, false)?;
        Ok(Mailbox { queue, batch: Batch::new(), origins: Origins::default(), pointer, acknowledge })
    }
}

/// Tells a waiting caller that the message was taken.
fn acknowledge(reply: Reply<()>) {
    reply.answer(());
}

impl<M> fmt::Debug for MailboxBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxBuilder").field("name", &self.name).field("buffer", &self.buffer).finish_non_exhaustive()
    }
}

/// The reading end of a box, which belongs to one owner. Others send to its [`address`](Mailbox::address).
///
/// A mailbox is a `Stream`, and `Send`: it can be read on any thread. Dropping it closes the box; messages that still
/// wait count as [`DropReason::BoxClosed`].
///
/// # Examples
/// ```
/// # use actix::prelude::*;
/// # use actix_hermod::Node;
/// # #[derive(Message, serde::Serialize, serde::Deserialize)]
/// # #[rtype(result = "()")]
/// # struct Note(String);
/// # System::new().block_on(async {
/// # let node = Node::start();
/// let mut inbox = node.mailbox::<Note>().name("notes").open()?;
/// inbox.address().do_send(Note("hello".to_owned()));
///
/// inbox.close();
/// assert_eq!(inbox.recv().await.unwrap().0, "hello");
/// assert!(inbox.recv().await.is_none());
/// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
/// ```
pub struct Mailbox<M: RemoteMessage> {
    queue: Arc<BoxQueue<M>>,
    batch: Batch<M>,
    origins: Origins,
    pointer: Arc<Pointer>,
    /// Answers a caller that waits for the message to be taken.
    acknowledge: fn(Reply<M::Result>),
}

impl<M: RemoteMessage> Mailbox<M> {
    /// Receives the next message, in the order of arrival; `None` once the box is closed and read to its end.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<M> {
        // Most messages are there already, and no caller waits for them: these are not moved through a future.
        if let Some(message) = self.take_plain() {
            return Some(message);
        }
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Returns the next message, if one waits now.
    pub fn try_recv(&mut self) -> Option<M> {
        self.try_take().map(|parcel| self.deliver(parcel))
    }

    /// Receives the next message and its origin, as [`recv`](Mailbox::recv) does.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::{Node, Origin};
    /// # #[derive(Message, serde::Serialize, serde::Deserialize)]
    /// # #[rtype(result = "()")]
    /// # struct Note(String);
    /// # System::new().block_on(async {
    /// # let node = Node::start();
    /// let mut inbox = node.mailbox::<Note>().name("notes").open()?;
    /// inbox.address().do_send(Note("hello".to_owned()));
    /// let (note, origin) = inbox.recv_from().await.expect("it is open");
    /// match origin {
    ///     Origin::ThisNode => println!("{} (our own)", note.0),
    ///     Origin::Peer { info, relayed: false } => println!("{} (from {}, {})", note.0, info.node, info.identity),
    ///     _ => println!("a note by somebody else"),
    /// }
    /// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
    /// ```
    pub async fn recv_from(&mut self) -> Option<(M, Origin)> {
        poll_fn(|cx| self.poll_parcel(cx)).await.map(|parcel| self.deliver_from(parcel))
    }

    /// Returns the next message and its origin, if one waits now.
    pub fn try_recv_from(&mut self) -> Option<(M, Origin)> {
        self.try_take().map(|parcel| self.deliver_from(parcel))
    }

    /// Takes the next message that is still wanted, if one waits now.
    #[inline]
    fn try_take(&mut self) -> Option<Parcel<M>> {
        loop {
            if let Some(parcel) = self.queue.hand_over(&mut self.batch) {
                return Some(parcel);
            }
            if !self.queue.take_batch(&mut self.batch) && !self.take_coming() {
                return None;
            }
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        let parcel = ready!(self.poll_parcel(cx));
        Poll::Ready(parcel.map(|parcel| self.deliver(parcel)))
    }

    #[inline]
    fn poll_parcel(&mut self, cx: &mut Context<'_>) -> Poll<Option<Parcel<M>>> {
        if self.queue.has_recipient()
            && let Some(parcel) = self.try_take()
        {
            return Poll::Ready(Some(parcel));
        }
        self.queue.poll_take(&mut self.batch, cx)
    }

    /// Takes messages that were sent through the box's recipient and are about to be put into the box, while nothing
    /// waits in the box. So a message is not moved from one queue to the next while its reader waits for nothing else.
    fn take_coming(&mut self) -> bool {
        let queue = proxy::queue(&self.pointer);
        let coming = queue.as_ref().and_then(|queue| queue.take(&self.pointer));
        coming.is_some_and(|mut coming| self.queue.intercept(&mut self.batch, |batch, room| coming.fill(batch, room)))
    }

    /// Takes the next message of the batch, if no caller waits for it to be taken.
    #[inline(always)]
    fn take_plain(&mut self) -> Option<M> {
        let message = self.queue.hand_over_plain(&mut self.batch)?;
        self.queue.this_node().observer().delivered_here();
        Some(message)
    }

    fn deliver_from(&mut self, parcel: Parcel<M>) -> (M, Origin) {
        let origin = self.origins.of(parcel.from, self.queue.this_node());
        (self.deliver(parcel), origin)
    }

    fn deliver(&mut self, parcel: Parcel<M>) -> M {
        self.queue.this_node().observer().delivered_here();
        if let Some(reply) = parcel.reply {
            (self.acknowledge)(*reply);
        }
        parcel.message
    }

    /// Returns the name of the mailbox; for an anonymous one, its id.
    pub fn name(&self) -> &str {
        self.pointer.name()
    }

    /// Returns an address of this box, through which messages are sent and which can itself be sent to others.
    pub fn address(&self) -> Address<M> {
        Address::new(Arc::clone(&self.pointer))
    }

    /// Returns the address as an actix `Recipient`; see [`Address::recipient`].
    pub fn recipient(&self) -> Recipient<M> {
        self.address().recipient()
    }

    /// Returns the number of messages that wait to be read.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of messages dropped at this box since it was opened, for any reason.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Closes the box: it takes no more messages, and its name is free. Waiting messages can still be read.
    pub fn close(&mut self) {
        self.queue.close();
    }
}

// No field is pinned in place.
impl<M: RemoteMessage> Unpin for Mailbox<M> {}

impl<M: RemoteMessage> Stream for Mailbox<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.poll_recv(cx)
    }
}

impl<M: RemoteMessage> Drop for Mailbox<M> {
    fn drop(&mut self) {
        self.queue.close();
        self.queue.discard(&mut self.batch, DropReason::BoxClosed);
    }
}

impl<M: RemoteMessage> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("name", &self.name()).field("len", &self.len()).finish_non_exhaustive()
    }
}
