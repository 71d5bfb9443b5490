//! Handles, through which messages are sent: pointers to boxes, and their forms as actix recipients and serde values.

pub(crate) mod address;
pub(crate) mod ask_error;
pub(crate) mod context;
pub(crate) mod detached;
pub(crate) mod envelope;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod parties;
pub(crate) mod peer_request;
mod pinned;
pub(crate) mod pointer;
pub(crate) mod ports;
pub(crate) mod recipient;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod send;
pub(crate) mod serde_scope;
pub(crate) mod shutdown;
mod uri;
pub(crate) mod visibility;

pub(crate) use self::uri::resolve;
