//! The plain facts about a link's connection and the peer that has greeted on it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::loopback::Loopback;
use crate::net::control::lease::Leases;
use crate::net::control::settlement::ConnectionNames;

/// Numbers the connections of this process; no connection has number 0.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// Returns a number that no other connection of this process has.
pub(crate) fn next_connection() -> u64 {
    NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed)
}

/// See the [module](self). The first fields are looked at for each message.
#[repr(C)]
pub(super) struct Session {
    pub(super) connection: u64,
    /// The number of connections of the link on which a peer has greeted.
    pub(super) times_up: u64,
    pub(super) loopback: Loopback,
    /// The features that the peer understands beyond the base of version 1; none until it has greeted.
    pub(super) features: u64,
    /// The names that both ends give the connection, once they have greeted.
    pub(super) names: Option<ConnectionNames>,
    /// Leases of the peer's boxes, once it has greeted.
    pub(super) leases: Leases,
    /// Whether this node has said that it ends: messages that it reads from then on are not handled.
    pub(super) has_ended: Arc<AtomicBool>,
    /// Cancelled when the peer has given the connection up for another one.
    pub(super) superseded: CancellationToken,
    /// Why there is no connection, for a person; empty if there is one, or none was tried.
    pub(super) trouble: Box<str>,
}

impl Session {
    pub(super) fn new() -> Session {
        Session {
            connection: next_connection(),
            times_up: 0,
            loopback: Loopback::default(),
            features: 0,
            names: None,
            leases: Leases::default(),
            has_ended: Arc::default(),
            superseded: CancellationToken::new(),
            trouble: Box::default(),
        }
    }

    /// Whether the peer understands a feature, one of [`feature`](crate::wire::features::feature).
    #[inline]
    pub(super) fn understands(&self, of: u64) -> bool {
        self.features & of != 0
    }
}
