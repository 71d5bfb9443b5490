//! The accept policy of a node, by which the application decides whether a proven peer may connect.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use crate::observe::peer_info::PeerInfo;

/// The application's part of a policy.
type Judge = Box<dyn Fn(&PeerInfo) -> Result<(), String> + Send + Sync>;

/// The reason sent to a peer when the policy has panicked, since the panic itself concerns only the log of this node.
const PANICKED: &str = "the accept policy has failed";

/// See the [module](self). By default everybody may come in.
#[derive(Default)]
pub(crate) struct AcceptPolicy {
    judge: Option<Judge>,
}

impl AcceptPolicy {
    pub(crate) fn new(judge: impl Fn(&PeerInfo) -> Result<(), String> + Send + Sync + 'static) -> AcceptPolicy {
        AcceptPolicy { judge: Some(Box::new(judge)) }
    }

    /// Whether the application has set one.
    pub(crate) fn is_set(&self) -> bool {
        self.judge.is_some()
    }

    /// Asks the policy about a proven peer. Runs code of the application: no lock may be held. A panic refuses the peer.
    pub(crate) fn judge(&self, peer: &PeerInfo) -> Result<(), String> {
        let Some(judge) = &self.judge else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| judge(peer))).unwrap_or_else(|_| {
            tracing::error!(target: "actix_hermod", %peer, "the accept policy panicked");
            Err(PANICKED.to_owned())
        })
    }
}

impl fmt::Debug for AcceptPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptPolicy").field("is_set", &self.is_set()).finish()
    }
}
