//! Which peers may see a box, as the application says.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use crate::observe::peer_info::PeerInfo;

/// The policy of one box. Each connection asks it once, and remembers the answer.
pub(crate) struct Visibility {
    policy: Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>,
}

impl Visibility {
    pub(crate) fn new(policy: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Visibility {
        Visibility { policy: Box::new(policy) }
    }

    /// Asks the policy about a peer. Runs code of the application: no lock may be held. A policy that panics shows the
    /// box to nobody.
    pub(crate) fn shows(&self, peer: &PeerInfo) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.policy)(peer))).unwrap_or_else(|_| {
            tracing::error!(target: "actix_hermod", %peer, "the policy of a box panicked");
            false
        })
    }
}

impl fmt::Debug for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visibility").finish_non_exhaustive()
    }
}
