//! Transports that applications bring, and what they prove about peers.

mod downgrade;
mod memory;
mod origin;
mod own_transport;
mod policy;
mod visibility;
