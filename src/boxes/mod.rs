//! What lives here: boxes with their buffers, the actors published behind them, and who knows them by what name.

pub(crate) mod buffer;
pub(crate) mod exports;
pub(crate) mod inbox;
mod latest;
pub(crate) mod mailbox;
pub(crate) mod publication;
pub mod recipient;
pub(crate) mod registry;
pub(crate) mod relay;
