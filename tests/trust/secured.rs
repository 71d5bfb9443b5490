//! The transports that encrypt, TLS and the shared key: nodes over them, and each reason for which they refuse a peer.

mod certificates;
mod conversation;
mod eavesdropping;
mod proxy;

mod shared_key;
mod tls;
mod tls_refusals;
