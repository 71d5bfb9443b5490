//! Messages with their origins, as actors are given them.

use std::sync::Arc;

use actix::Message;
use actix::Recipient;

use super::behind::ActorBehind;
use crate::handle::context::NodeContext;
use crate::handle::envelope::Source;
use crate::message::RemoteMessage;
use crate::observe::origin::Origin;
use crate::observe::peer_info::PeerInfo;

/// A message and its origin, for actors that are published by
/// [`handles_received`](crate::PublicationBuilder::handles_received). Others send them plain messages of type `M`; the
/// origin is added at the box, and never travels.
///
/// # Examples
/// ```
/// use actix::prelude::*;
/// use actix_hermod::{Node, Origin, Received};
/// # #[derive(Message, serde::Serialize, serde::Deserialize)]
/// # #[rtype(result = "bool")]
/// # struct Withdraw(u64);
///
/// struct Account;
/// # impl Actor for Account { type Context = Context<Self>; }
///
/// impl Handler<Received<Withdraw>> for Account {
///     type Result = bool;
///     fn handle(&mut self, withdrawal: Received<Withdraw>, _: &mut Context<Self>) -> bool {
///         // Small amounts for everybody, large ones for this process only.
///         withdrawal.message.0 < 100 || withdrawal.origin == Origin::ThisNode
///     }
/// }
///
/// # System::new().block_on(async {
/// # let node = Node::start();
/// let account = node.publish_actor("account", Account.start()).handles_received::<Withdraw>().open()?;
/// let withdrawals = account.address::<Withdraw>().expect("it is published for them");
/// assert!(withdrawals.ask(Withdraw(5_000)).await?);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// The origin of the message.
    pub origin: Origin,
}

impl<M> Received<M> {
    /// Makes a message with an origin, to try out a handler with.
    pub fn new(message: M, origin: Origin) -> Received<M> {
        Received { message, origin }
    }
}

impl<M: RemoteMessage> Message for Received<M> {
    type Result = M::Result;
}

/// The form in which an actor is given messages of type `M`.
pub(crate) trait GivenAs<M: RemoteMessage>: Message<Result = M::Result> + Send + Sized + 'static {
    fn given(message: M, from: Source, node: &NodeContext, origins: &mut Origins) -> Self;
    fn behind(actor: &Recipient<Self>) -> ActorBehind<M>;
}

impl<M: RemoteMessage> GivenAs<M> for M {
    #[inline]
    fn given(message: M, _: Source, _: &NodeContext, _: &mut Origins) -> M {
        message
    }

    fn behind(actor: &Recipient<M>) -> ActorBehind<M> {
        ActorBehind::Plain(actor.downgrade())
    }
}

impl<M: RemoteMessage> GivenAs<M> for Received<M> {
    fn given(message: M, from: Source, node: &NodeContext, origins: &mut Origins) -> Received<M> {
        Received { message, origin: origins.of(from, node) }
    }

    fn behind(actor: &Recipient<Received<M>>) -> ActorBehind<M> {
        ActorBehind::Received(actor.downgrade())
    }
}

/// The origins of the messages that one reader takes. The peer of the last message is kept, since the next is mostly
/// from the same one, and finding it takes a lock of the node.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Boxed, since few readers ask.
    last: Option<Box<(u64, Arc<PeerInfo>)>>,
}

impl Origins {
    /// Returns the origin of a message from that source.
    pub(crate) fn of(&mut self, from: Source, node: &NodeContext) -> Origin {
        let Some((connection, _)) = from.away() else { return Origin::ThisNode };
        if self.last.as_deref().is_none_or(|(last, _)| *last != connection) {
            self.last = node.peer_on(connection).map(|info| Box::new((connection, info)));
        }
        let relayed = from.is_relayed();
        let peer = |(_, info): &(u64, Arc<PeerInfo>)| Origin::Peer { info: Arc::clone(info), relayed };
        self.last.as_deref().map_or(Origin::Forgotten, peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::detached;

    #[test]
    fn the_origin_of_a_message_is_this_node_or_one_that_is_remembered() {
        let (pointer, mut origins) = (detached::pointer(), Origins::default());
        let node = pointer.this_node();
        assert_eq!(origins.of(Source::HERE, node), Origin::ThisNode);
        assert_eq!(origins.of(Source::connection(7, true, true), node), Origin::Forgotten);
    }

    #[test]
    fn a_source_keeps_its_parts() {
        for (by_id, relayed) in [(false, false), (false, true), (true, false), (true, true)] {
            let from = Source::connection(7, by_id, relayed);
            assert_eq!((from.away(), from.is_relayed()), (Some((7, by_id)), relayed));
        }
    }
}
