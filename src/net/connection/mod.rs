//! One connection's life: from the dial or the accept to the goodbye, and what is read from it.

mod binding;
mod context;
mod delivery;
mod dispatch;
mod ending;
pub(crate) mod handshake;
mod lookup_cache;
mod reader;
pub(crate) mod router;
pub(crate) mod start;
mod writer;
