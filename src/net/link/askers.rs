//! The askers of a link: it is dialled for this node's own program, or for peers that have named its endpoint. A
//! connection made for peers counts against one of them. Unless one of them is on this host, it does not lead to an
//! endpoint that only this host can reach.

use std::collections::VecDeque;

use super::Link;
use crate::handle::ports::Asker;
use crate::ident::NodeId;

/// Peers that are remembered as having named the endpoint of a link; a further one replaces the oldest. A connection
/// counts against the peer among them that has the fewest connections, so that no peer can block an endpoint for others
/// by naming it first.
const MAX_ASKERS: usize = 8;

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Askers {
    /// Whether this node's program has asked for the link; then it stays the program's own.
    is_own: bool,
    peers: VecDeque<Asker>,
}

impl Askers {
    pub(super) fn add(&mut self, asked_by: Option<Asker>) {
        let Some(asker) = asked_by else {
            self.is_own = true;
            return;
        };
        if !self.peers.contains(&asker) {
            if self.peers.len() == MAX_ASKERS {
                self.peers.pop_front();
            }
            self.peers.push_back(asker);
        }
    }
}

impl Link {
    /// Notes that this node's program uses the link, or that the peer `asked_by` has named its endpoint.
    pub(crate) fn is_asked_for(&self, asked_by: Option<Asker>) {
        self.askers.lock().add(asked_by);
    }

    /// Whether the link is dialled for peers alone, and the program itself has not named its endpoint.
    pub(crate) fn is_for_peers(&self) -> bool {
        self.endpoint.is_some() && !self.askers.lock().is_own
    }

    /// Returns the peers for which the link is dialled; `None` if it is this node's own.
    pub(crate) fn askers(&self) -> Option<Vec<Asker>> {
        let askers = self.askers.lock();
        (!askers.is_own).then(|| askers.peers.iter().copied().collect())
    }

    /// Returns the asker for an attempt that counts against `payer`. An endpoint that only this host can reach is
    /// dialled if any of the askers may name it.
    pub(crate) fn asked_by(&self, payer: NodeId) -> Asker {
        let askers = self.askers.lock();
        let near = askers.is_own || askers.peers.iter().any(|asker| asker.near);
        Asker { node: payer, near, protected: self.is_for_protected() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_peers_are_remembered_and_the_latest_are() {
        let asker = |byte| Asker { node: NodeId([byte; 16]), near: false, protected: false };
        let mut askers = Askers::default();
        for byte in (0..20).flat_map(|byte| [byte, byte]) {
            askers.add(Some(asker(byte)));
        }
        assert_eq!(askers.peers, (12..20).map(asker).collect::<Vec<_>>());
        assert!(!askers.is_own);
        askers.add(None);
        askers.add(Some(asker(0)));
        assert!(askers.is_own);
    }
}
