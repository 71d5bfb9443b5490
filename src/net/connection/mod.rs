//! One connection's life: from the dial or the accept to the goodbye, with its reader, its writer and its dispatcher.

pub(crate) mod accept;
mod attempt;
mod binder;
mod binding;
mod context;
mod delivery;
mod dispatch;
mod ending;
pub(crate) mod handshake;
mod lent;
mod lookup_cache;
mod numbers;
mod pieces;
mod reader;
mod reading_budget;
mod refusal;
pub(crate) mod router;
mod source;
pub(crate) mod start;
mod turn;
mod writer;
