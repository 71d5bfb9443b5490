//! actix `Recipient`s of pointers: the actor behind them, its queue, and the pump that empties it.

pub(crate) mod actor;
pub(crate) mod permits;
pub(crate) mod proxy;
pub(crate) mod queue;
mod routes;
pub(crate) mod table;
