//! For whom a link is dialled: for this node's own program, or for peers that have named its endpoint. A connection that is
//! made for peers counts against one of them, and leads to no place that only this host can reach unless one of them is on
//! it.

use std::collections::VecDeque;

use super::Link;
use crate::handle::ports::Asker;
use crate::ident::NodeId;

/// Peers that have named an endpoint which are remembered with its link; the oldest makes room. A connection counts against
/// the one of them that has most room, so that no peer uses up an endpoint for others by naming it first.
const MAX_ASKERS: usize = 8;

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Askers {
    /// Whether this node's program has asked for the link, which then is its own for good.
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
    /// This node's program uses the link, or the peer `asked_by` has named its endpoint.
    pub(crate) fn is_asked_for(&self, asked_by: Option<Asker>) {
        self.askers.lock().add(asked_by);
    }

    /// Whether it is dialled for peers alone, and the program itself has not named its endpoint.
    pub(crate) fn is_for_peers(&self) -> bool {
        self.endpoint.is_some() && !self.askers.lock().is_own
    }

    /// The peers for which the link is dialled; `None` if it is this node's own.
    pub(crate) fn askers(&self) -> Option<Vec<Asker>> {
        let askers = self.askers.lock();
        (!askers.is_own).then(|| askers.peers.iter().copied().collect())
    }

    /// For whom it is dialled by an attempt that counts against that peer. An endpoint that only this host can
    /// reach is dialled if any of them may name it.
    pub(crate) fn asked_by(&self, payer: NodeId) -> Asker {
        let askers = self.askers.lock();
        Asker { node: payer, near: askers.is_own || askers.peers.iter().any(|asker| asker.near) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_peers_are_remembered_and_the_latest_are() {
        let asker = |byte| Asker { node: NodeId([byte; 16]), near: false };
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
