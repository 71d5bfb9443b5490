//! A message on its way into a box of this node, and who waits for its result.

use actix::prelude::Message;
use tokio::sync::oneshot;

/// A message, and where its result goes if somebody waits for it. Dropping it tells the one who waits that there will
/// be none.
#[derive(Debug)]
pub(crate) struct Parcel<M: Message> {
    pub(crate) message: M,
    pub(crate) reply: Option<oneshot::Sender<M::Result>>,
}

impl<M: Message> Parcel<M> {
    /// Whether the one who waited for its result has gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}
