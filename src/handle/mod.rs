//! What is held and sent through: pointers to boxes, and the actix recipients and serde forms they take.

pub(crate) mod address;
pub(crate) mod failure;
pub(crate) mod fate;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod intake;
mod leading;
pub(crate) mod nowhere;
pub(crate) mod places;
pub(crate) mod proxy;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod route;
pub(crate) mod scope;
pub(crate) mod sending;
pub(crate) mod terms;
mod uri;
pub(crate) mod way;

pub(crate) use uri::resolve;
