//! Connections: the streams they run on, the actor that owns each one's life, and the I/O thread that runs them all.

pub(crate) mod accounts;
pub(crate) mod books;
pub(crate) mod catalogue;
pub(crate) mod contact;
pub(crate) mod driver;
pub(crate) mod greeting;
pub(crate) mod house;
pub(crate) mod inbound;
pub(crate) mod inquiries;
pub(crate) mod lanes;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod meter;
mod mismatch;
pub(crate) mod named;
pub(crate) mod outbox;
mod pings;
pub(crate) mod pipe;
pub(crate) mod pressure;
pub(crate) mod pressures;
pub(crate) mod reports;
pub(crate) mod requests;
pub(crate) mod router;
mod standing;
pub(crate) mod transport;
pub(crate) mod watches;
pub(crate) mod watching;
