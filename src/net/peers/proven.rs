//! The facts that connections have proven about their peers, by the number of the connection. They outlive the
//! connection for a while, since its messages may still wait in boxes: a message itself has only the number, so that it
//! costs nothing more.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::observe::peer_info::PeerInfo;

/// Ended connections that are remembered, over all peers, at a few hundred bytes each. A message from an earlier
/// connection has the origin [`Forgotten`](crate::Origin::Forgotten).
const MAX_ENDED: usize = 4_096;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct ProvenPeers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_connection: HashMap<u64, Arc<PeerInfo>>,
    /// Connections that have ended, the oldest first; at most [`MAX_ENDED`].
    ended: VecDeque<u64>,
}

impl ProvenPeers {
    /// Notes a connection that comes up. It has not ended before.
    pub(crate) fn begin(&self, connection: u64, info: &Arc<PeerInfo>) {
        self.state.lock().by_connection.insert(connection, Arc::clone(info));
    }

    /// Notes the end of a connection.
    pub(crate) fn end(&self, connection: u64) {
        let mut state = self.state.lock();
        if state.ended.len() >= MAX_ENDED
            && let Some(oldest) = state.ended.pop_front()
        {
            state.by_connection.remove(&oldest);
        }
        state.ended.push_back(connection);
    }

    /// Returns the facts that a connection has proven, if it is remembered.
    pub(crate) fn on(&self, connection: u64) -> Option<Arc<PeerInfo>> {
        self.state.lock().by_connection.get(&connection).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::NodeId;
    use crate::observe::identity::Identity;

    #[test]
    fn the_latest_connections_that_have_ended_are_remembered_and_all_that_live() {
        let (peers, last) = (ProvenPeers::default(), MAX_ENDED as u64 + 2);
        let info = Arc::new(PeerInfo::new(NodeId([7; 16]), "tcp", None, Identity::Unknown));
        (0..=last).for_each(|connection| peers.begin(connection, &info));
        (1..=last).for_each(|connection| peers.end(connection));
        let remembered = |connection| peers.on(connection).is_some();
        assert_eq!([0, 1, 2, 3, last].map(remembered), [true, false, false, true, true]);
        assert_eq!(peers.state.lock().by_connection.len(), MAX_ENDED + 1);
    }
}
