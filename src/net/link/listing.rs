//! Whether the peer of a dialled link says itself, in its signed list, that it listens where the link was dialled. A
//! man in the middle at an endpoint can pass a live greeting on to another node, and then controls a plain stream: so a
//! link serves only the pointers that came with its endpoint, unless the peer itself names that endpoint.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Link;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The address that the endpoint had when it was dialled.
    reached: Mutex<Option<SocketAddr>>,
    is_listed: AtomicBool,
}

impl Listing {
    /// Begins a stream that was opened, and on which nothing was read yet.
    pub(super) fn begin(&self, reached: Option<SocketAddr>) {
        *self.reached.lock() = reached;
        self.is_listed.store(false, Ordering::Release);
    }
}

impl Link {
    /// Returns the address at which the endpoint was reached.
    pub(crate) fn reached(&self) -> Option<SocketAddr> {
        *self.listing.reached.lock()
    }

    /// Notes whether the dialled endpoint is among those that the peer lists in its welcome.
    pub(crate) fn note_listing(&self, is_listed: bool) {
        self.listing.is_listed.store(is_listed, Ordering::Release);
    }

    /// Whether the link may serve pointers that did not come over it or with its endpoint. A peer that has dialled this
    /// node has checked itself that it reached the right one.
    pub(crate) fn serves_others(&self) -> bool {
        self.endpoint().is_none() || self.listing.is_listed.load(Ordering::Acquire)
    }
}
