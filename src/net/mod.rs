//! Connections: the streams they run on, the actor that owns each one's life, and the I/O thread that runs them all.

pub(crate) mod connection;
pub(crate) mod control;
mod housekeeping;
pub(crate) mod io_thread;
pub(crate) mod link;
pub(crate) mod peers;
mod runs;
pub(crate) mod shared;
mod shutdown;
pub(crate) mod transport;
