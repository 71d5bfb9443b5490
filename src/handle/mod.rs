//! What is held and sent through: pointers to boxes, and the actix recipients and serde forms they take.

pub(crate) mod address;
pub(crate) mod ask_error;
pub(crate) mod detached;
pub(crate) mod envelope;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
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

pub(crate) use self::uri::resolve;
