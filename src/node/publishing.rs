//! Publishing and exporting: existing actors become reachable by a name, or by an address alone.

use std::sync::Arc;

use actix::Actor;
use actix::Addr;
use actix::Recipient;

use super::Node;
use crate::boxes::actor_feed;
use crate::boxes::leases::OURSELVES;
use crate::boxes::publication;
use crate::boxes::publication::PublicationBuilder;
use crate::boxes::registry::OpenError;
use crate::boxes::registry::Registry;
use crate::boxes::window::Window;
use crate::handle::address::Address;
use crate::handle::ports::LocalBox;
use crate::handle::recipient::proxy;
use crate::message::RemoteMessage;

impl Node {
    /// Makes an existing actor, unchanged, known by a name: the actor handles the messages sent to the name.
    ///
    /// The actor sits behind a buffer like a mailbox's (1,024 messages by default) and is given the waiting messages in
    /// windows, so that a slow actor sheds messages instead of piling them up. It is kept alive until it is
    /// [unpublished](Node::unpublish) or the node stops. If it stops by itself, the node notices at the next message,
    /// or within a heartbeat, and frees the name.
    ///
    /// An `Addr` handles many types of messages, so the type has to be given: `publish::<Ping>("n", addr)`. From a
    /// `Recipient<Ping>` it is inferred.
    ///
    /// # Errors
    /// As [`MailboxBuilder::open`](crate::MailboxBuilder::open).
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::Node;
    /// # #[derive(Message, serde::Serialize, serde::Deserialize)]
    /// # #[rtype(result = "()")]
    /// # struct Ping;
    /// # struct Echo;
    /// # impl Actor for Echo { type Context = Context<Self>; }
    /// # impl Handler<Ping> for Echo { type Result = (); fn handle(&mut self, _: Ping, _: &mut Context<Self>) {} }
    /// # System::new().block_on(async {
    /// # let node = Node::start();
    /// let echo = Echo.start();
    /// node.publish::<Ping>("echo", echo.clone())?;
    /// node.publish("echo too", echo.recipient::<Ping>())?;
    /// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
    /// ```
    pub fn publish<M: RemoteMessage>(
        &self,
        name: impl Into<String>,
        actor: impl Into<Recipient<M>>,
    ) -> Result<Address<M>, OpenError> {
        let (node, window) = (self.this_node(), Window::of(&*self.this_node()));
        let (identity, actor) = ((name.into(), None), actor.into());
        let pointer = publication::publish::<M, M>(&node, &self.inner.registry, identity, actor, window)?;
        Ok(Address::new(pointer))
    }

    /// Publishes an actor as [`publish`](Node::publish) does, with a box and a window of its own:
    /// `node.publish_actor("n", addr).handles::<Ping>().open()?`.
    ///
    /// The actor is given [`at_once`](PublicationBuilder::at_once) messages at a time;
    /// [`capacity`](PublicationBuilder::capacity) more wait in its box; further ones are dropped. So an actor that
    /// serves 10,000 slow requests concurrently needs a window of 10,000. All messages pass through the box, even while
    /// the window is free: let it hold the largest burst to be taken.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::Node;
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
    /// # let node = Node::start();
    /// let calculator = node
    ///     .publish_actor("calculator", Calculator.start())
    ///     .handles::<Square>()
    ///     .capacity(4_096)
    ///     .at_once(10_000)
    ///     .open()?;
    /// let squares = calculator.address::<Square>().unwrap();
    /// assert_eq!(squares.ask(Square(7)).await.unwrap(), 49);
    /// calculator.close();
    /// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
    /// ```
    pub fn publish_actor<A: Actor>(&self, name: impl Into<String>, actor: Addr<A>) -> PublicationBuilder<A> {
        PublicationBuilder::new(self.this_node(), Arc::clone(&self.inner.registry), name.into(), actor)
    }

    /// Takes the name back from a published actor, and returns whether an actor had that name. Messages that wait in
    /// its box are still handled. Mailboxes are closed by their owners only.
    pub fn unpublish(&self, name: impl AsRef<str>) -> bool {
        self.inner.registry.unpublish(name.as_ref())
    }

    /// Makes an existing actor reachable without a name: only through the returned address, which can be sent in
    /// messages. The actor is kept alive until the node stops, or until [`unexport`](Node::unexport).
    ///
    /// Exporting an actor again changes nothing, and returns an equal address. A `Recipient` in a message needs no
    /// `export`; see [`recipient`](crate::recipient).
    ///
    /// # Errors
    /// [`OpenError::NotEncodable`] if no message of the type can travel; [`OpenError::Stopped`] once the node was shut
    /// down.
    pub fn export<M: RemoteMessage>(&self, actor: impl Into<Recipient<M>>) -> Result<Address<M>, OpenError> {
        if self.inner.closing.is_cancelled() {
            return Err(OpenError::Stopped);
        }
        Registry::admit::<M>()?;
        let actor = actor.into();
        let key = proxy::key_of(&actor);
        if let Some(pointer) = proxy::pointer_of(&key) {
            return Ok(Address::new(pointer));
        }
        let node = self.this_node();
        let make = |id| actor_feed::exported(&node, id, actor.clone()) as Arc<dyn LocalBox>;
        let pointer = node.export(key, &make);
        if let Some(local) = pointer.local()
            && let Some(evicted) = self.inner.registry.leases().lease(&pointer, &*local, OURSELVES)
        {
            evicted.close();
        }
        Ok(Address::new(pointer))
    }

    /// Ends an [`export`](Node::export), however often it was made, and returns whether there was one. From then on the
    /// actor lives as long as somebody holds its address, here or elsewhere, and messages sent to it are still handled.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::Node;
    /// # #[derive(Message, serde::Serialize, serde::Deserialize)]
    /// # #[rtype(result = "()")]
    /// # struct Ping;
    /// # struct Echo;
    /// # impl Actor for Echo { type Context = Context<Self>; }
    /// # impl Handler<Ping> for Echo { type Result = (); fn handle(&mut self, _: Ping, _: &mut Context<Self>) {} }
    /// # System::new().block_on(async {
    /// # let node = Node::start();
    /// let echo = Echo.start();
    /// let address = node.export::<Ping>(echo.clone())?;
    /// assert_eq!(node.export::<Ping>(echo)?, address);
    /// assert!(node.unexport(&address));
    /// assert!(!node.unexport(&address));
    /// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
    /// ```
    pub fn unexport<M: RemoteMessage>(&self, address: &Address<M>) -> bool {
        let id = address.box_here().filter(|_| address.node_id() == Some(self.id()));
        id.is_some_and(|id| self.inner.registry.leases().release(id, OURSELVES, u64::MAX))
    }
}
