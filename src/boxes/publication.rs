//! Actors published by name, with a buffer and a window of their own.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::Actor;
use actix::Addr;
use actix::Handler;
use actix::Recipient;
use actix::dev::ToEnvelope;

use super::actor_feed;
use super::queue::BoxIdentity;
use super::received::GivenAs;
use super::received::Received;
use super::registry::OpenError;
use super::registry::Registry;
use super::window::Window;
use crate::handle::address::Address;
use crate::handle::context::NodeContext;
use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::handle::visibility::Visibility;
use crate::ident::BoxId;
use crate::message::RemoteMessage;
use crate::observe::peer_info::PeerInfo;

/// Publishes an actor; made by [`Node::publish_actor`](crate::Node::publish_actor).
///
/// `H` is the type of message that the actor is published for, once [`handles`](PublicationBuilder::handles) has set
/// it.
#[must_use = "an actor is published by `open`"]
pub struct PublicationBuilder<A: Actor, H = ()> {
    node: Arc<NodeContext>,
    registry: Arc<Registry>,
    name: String,
    actor: Addr<A>,
    window: Window,
    visibility: Option<Visibility>,
    handles: PhantomData<fn(H)>,
}

impl<A: Actor> PublicationBuilder<A> {
    pub(crate) fn new(node: Arc<NodeContext>, registry: Arc<Registry>, name: String, actor: Addr<A>) -> Self {
        let window = Window::of(&*node);
        PublicationBuilder { node, registry, name, actor, window, visibility: None, handles: PhantomData }
    }

    /// Publishes the actor for messages of type `M`.
    pub fn handles<M: RemoteMessage>(self) -> PublicationBuilder<A, M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.for_messages()
    }

    /// Publishes the actor for messages of type `M`, which it is given together with their origins: it handles
    /// [`Received`] messages, and others send it plain ones. Messages from this process stay in memory, as always.
    pub fn handles_received<M: RemoteMessage>(self) -> PublicationBuilder<A, Received<M>>
    where
        A: Handler<Received<M>>,
        A::Context: ToEnvelope<A, Received<M>>,
    {
        self.for_messages()
    }

    fn for_messages<H>(self) -> PublicationBuilder<A, H> {
        let PublicationBuilder { node, registry, name, actor, window, visibility, .. } = self;
        PublicationBuilder { node, registry, name, actor, window, visibility, handles: PhantomData }
    }
}

impl<A: Actor, H> PublicationBuilder<A, H> {
    /// Sets the maximum number of messages that wait in the box before the actor; further ones are dropped as
    /// [`NewestShed`](crate::DropReason::NewestShed). The default is the limit `mailbox_buffer`, 1,024.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.window.capacity = messages;
        self
    }

    /// Sets the maximum number of messages that the actor is given at a time, at least 1: messages that it has not
    /// begun, and requests that it has begun and not answered. This number of requests run concurrently, if the actor's
    /// handlers do; the others wait in the box. The default is the limit `mailbox_buffer`, 1,024.
    ///
    /// A request that is cancelled makes room for another. The actor's own queue keeps it until the actor comes to it,
    /// and a handler that has begun goes on, as in actix: the actor may have as many cancelled requests at a time, and
    /// one more.
    pub fn at_once(mut self, messages: usize) -> Self {
        self.window.at_once = messages.max(1);
        self
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
    pub fn visible_to(mut self, policy: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        self.visibility = Some(Visibility::new(policy));
        self
    }
}

impl<A: Actor, M: RemoteMessage> PublicationBuilder<A, M>
where
    A: Handler<M>,
    A::Context: ToEnvelope<A, M>,
{
    /// Publishes the actor by its name.
    ///
    /// # Errors
    /// The same as for [`MailboxBuilder::open`](crate::MailboxBuilder::open).
    pub fn open(self) -> Result<Publication<A>, OpenError> {
        self.open_as::<M, M>()
    }
}

impl<A: Actor, M: RemoteMessage> PublicationBuilder<A, Received<M>>
where
    A: Handler<Received<M>>,
    A::Context: ToEnvelope<A, Received<M>>,
{
    /// Publishes the actor by its name. The [address](Publication::address) is one for messages of type `M`.
    ///
    /// # Errors
    /// The same as for [`MailboxBuilder::open`](crate::MailboxBuilder::open).
    pub fn open(self) -> Result<Publication<A>, OpenError> {
        self.open_as::<M, Received<M>>()
    }
}

impl<A: Actor, H> PublicationBuilder<A, H> {
    fn open_as<M: RemoteMessage, G: GivenAs<M>>(self) -> Result<Publication<A>, OpenError>
    where
        A: Handler<G>,
        A::Context: ToEnvelope<A, G>,
    {
        let PublicationBuilder { node, registry, name, actor, window, visibility, .. } = self;
        let pointer = publish::<M, G>(&node, &registry, (name, visibility), actor.recipient(), window)?;
        Ok(Publication { pointer, handles: TypeId::of::<M>(), actor: PhantomData })
    }
}

impl<A: Actor, H> fmt::Debug for PublicationBuilder<A, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { capacity, at_once } = self.window;
        f.debug_struct("PublicationBuilder")
            .field("name", &self.name)
            .field("capacity", &capacity)
            .field("at_once", &at_once)
            .finish_non_exhaustive()
    }
}

/// Opens a box of that name in front of an actor.
pub(crate) fn publish<M: RemoteMessage, G: GivenAs<M>>(
    node: &Arc<NodeContext>,
    registry: &Registry,
    (name, visibility): (String, Option<Visibility>),
    actor: Recipient<G>,
    window: Window,
) -> Result<Arc<Pointer>, OpenError> {
    let name = Registry::check(Some(name))?;
    Registry::admit::<M>()?;
    let identity = BoxIdentity { id: BoxId::random(), name, is_leased: false, visibility: visibility.map(Box::new) };
    let local = actor_feed::publication::<M, G>(node, identity, actor, window);
    let pointer = Arc::new(Pointer::here(Arc::clone(node), Arc::clone(&local) as Arc<dyn LocalBox>));
    // A box that did not open feeds no actor.
    registry.open(&pointer, &*local, true).inspect_err(|_| local.close())?;
    Ok(pointer)
}

/// An actor that is published by name.
///
/// This is a handle: when it is dropped, the actor stays published, until the publication is
/// [closed](Publication::close) or [unpublished](crate::Node::unpublish), the actor has stopped, or the node ends.
pub struct Publication<A: Actor> {
    pointer: Arc<Pointer>,
    /// The type of message that the actor is published for.
    handles: TypeId,
    actor: PhantomData<fn(A)>,
}

impl<A: Actor> Publication<A> {
    /// Returns the name of the box.
    pub fn name(&self) -> &str {
        self.pointer.name()
    }

    /// Returns the box's address for messages of type `M`; `None` if the actor is not published for them.
    pub fn address<M: RemoteMessage>(&self) -> Option<Address<M>> {
        (self.handles == TypeId::of::<M>()).then(|| Address::new(Arc::clone(&self.pointer)))
    }

    /// Withdraws the publication and frees the name. Messages that wait in the box are still handled; later ones find
    /// no such box.
    pub fn close(&self) {
        if let Some(local) = self.pointer.local() {
            local.close();
        }
    }
}

impl<A: Actor> Clone for Publication<A> {
    fn clone(&self) -> Self {
        Publication { pointer: Arc::clone(&self.pointer), handles: self.handles, actor: PhantomData }
    }
}

impl<A: Actor> fmt::Debug for Publication<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication").field("name", &self.name()).finish_non_exhaustive()
    }
}
