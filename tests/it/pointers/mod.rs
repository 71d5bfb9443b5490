//! Addresses and recipients as values: inside messages, equal, pinned, and for as long as somebody holds them.

mod equality;
mod in_messages;
mod leases;
mod lifetime;
mod pinned;
