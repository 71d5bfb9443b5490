//! Whether the peer of a dialled link says itself, in its signed list, that it listens where the link was dialled. Whoever
//! stands at an endpoint can pass a live greeting on to another node, and is then in the middle of a plain stream: so a link
//! serves only the pointers that came with its endpoint, unless the peer itself names that endpoint.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Link;
use crate::net::peers::hints;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The address that the endpoint had when it was dialled.
    reached: Mutex<Option<SocketAddr>>,
    is_listed: AtomicBool,
}

impl Listing {
    /// A stream was opened, and nothing was heard on it yet.
    pub(super) fn begin(&self, reached: Option<SocketAddr>) {
        *self.reached.lock() = reached;
        self.is_listed.store(false, Ordering::Release);
    }
}

impl Link {
    /// The peer, which is `near`, on this host, or not, has told in its welcome where it listens.
    pub(super) fn note_listing<'a>(&self, listed: impl IntoIterator<Item = &'a str>, near: bool) {
        let Some(endpoint) = self.endpoint() else { return };
        let reached = *self.listing.reached.lock();
        let is_listed = hints::is_listed(endpoint, reached, listed, near);
        self.listing.is_listed.store(is_listed, Ordering::Release);
    }

    /// Whether it may serve pointers that did not come by it or with its endpoint. A peer that has dialled this node has
    /// looked itself whether it has come to the right one.
    pub(crate) fn serves_others(&self) -> bool {
        self.endpoint().is_none() || self.listing.is_listed.load(Ordering::Acquire)
    }
}
