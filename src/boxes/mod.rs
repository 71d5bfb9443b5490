//! Boxes with their buffers, the actors published behind them, and the registry of their names.

pub(crate) mod actor_feed;
pub(crate) mod behind;
pub(crate) mod buffer;
mod given;
mod holders;
mod keyed;
pub(crate) mod leases;
pub(crate) mod mailbox;
pub(crate) mod publication;
pub(crate) mod queue;
pub(crate) mod received;
pub mod recipient_serde;
pub(crate) mod registry;
pub(crate) mod relay;
pub(crate) mod view;
pub(crate) mod window;
