//! Addresses that expect a certain node: [`Address::pinned`].

use super::address::Address;
use crate::ident::NodeId;
use crate::message::RemoteMessage;
#[cfg(doc)]
use crate::reason::DropReason;

impl<M: RemoteMessage> Address<M> {
    /// Returns the address of the same name at the same endpoint, but only of the node with that id.
    ///
    /// When the address is used and another node answers at the endpoint, this node hangs up before it has disclosed
    /// itself, a box, or any waiting message, and dials again later: messages sent meanwhile are dropped as
    /// [`NotConnected`](DropReason::NotConnected), and [`PeerDown`](crate::Event::PeerDown) has the expected node and
    /// the one that answered. The id is that of a key which [`NodeKey`](crate::NodeKey) keeps, or of a node that has
    /// been started already. In the URI the id stands before the endpoint: `hermod://ID@host:4242/name`.
    ///
    /// The address of a box of that very node is returned unchanged; for a box of another node, the result leads
    /// nowhere.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::{DropReason, Node, NodeKey};
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
    /// let key = NodeKey::generate();
    /// let written_down = key.id();
    /// let there = Node::builder().identity(key).start();
    /// there.publish::<Square>("calculator", Calculator.start())?;
    /// let endpoint = there.listen("127.0.0.1:0").await?;
    ///
    /// let here = Node::start();
    /// let calculator = here.remote::<Square>(&endpoint, "calculator")?.pinned(written_down);
    /// assert_eq!(calculator.ask(Square(7)).await?, 49);
    /// assert_eq!(calculator.uri(), Some(format!("hermod://{written_down}@{endpoint}/calculator")));
    ///
    /// let mistaken = here.remote::<Square>(&endpoint, "calculator")?.pinned(NodeKey::generate().id());
    /// assert!(mistaken.ask(Square(7)).await.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use = "the address itself leads to whatever node is there"]
    pub fn pinned(&self, id: NodeId) -> Address<M> {
        Address::new(self.pointer.pinned(id))
    }
}
