//! The actor behind a box, which does not keep it alive.

use std::any::Any;

use actix::Recipient;
use actix::WeakRecipient;

use super::received::Received;
use crate::message::RemoteMessage;

/// See the [module](self).
pub(crate) enum ActorBehind<M: RemoteMessage> {
    /// It handles the messages themselves.
    Plain(WeakRecipient<M>),
    /// It handles the messages with their origins.
    Received(WeakRecipient<Received<M>>),
}

impl<M: RemoteMessage> Clone for ActorBehind<M> {
    fn clone(&self) -> Self {
        match self {
            ActorBehind::Plain(actor) => ActorBehind::Plain(actor.clone()),
            ActorBehind::Received(actor) => ActorBehind::Received(actor.clone()),
        }
    }
}

impl<M: RemoteMessage> ActorBehind<M> {
    /// Whether the actor lives.
    pub(crate) fn lives(&self) -> bool {
        match self {
            ActorBehind::Plain(actor) => actor.upgrade().is_some_and(|actor| actor.connected()),
            ActorBehind::Received(actor) => actor.upgrade().is_some_and(|actor| actor.connected()),
        }
    }

    /// Returns the recipient of the actor for the messages themselves, if the actor handles those and lives.
    pub(crate) fn plain(&self) -> Option<Recipient<M>> {
        match self {
            ActorBehind::Plain(actor) => actor.upgrade(),
            ActorBehind::Received(_) => None,
        }
    }

    /// Returns the recipient of the actor, of whatever type, if the actor lives.
    pub(crate) fn any(&self) -> Option<Box<dyn Any + Send>> {
        match self {
            ActorBehind::Plain(actor) => Some(Box::new(actor.upgrade().filter(Recipient::connected)?)),
            ActorBehind::Received(actor) => Some(Box::new(actor.upgrade().filter(Recipient::connected)?)),
        }
    }
}
