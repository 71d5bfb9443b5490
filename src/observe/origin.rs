//! The origin of a message, as far as the node of its box can know it.

use std::fmt;
use std::sync::Arc;

use super::peer_info::PeerInfo;

/// The origin of a message: [`Mailbox::recv_from`](crate::Mailbox::recv_from) returns it, and actors that handle
/// [`Received`](crate::Received) messages find it there.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The message was sent on the node of the box, and never left the process.
    ThisNode,
    /// The message came over a connection.
    Peer {
        /// The node at the other end of the connection: the sender, or the last relay.
        info: Arc<PeerInfo>,
        /// Whether that node has passed the message on for another. Then only this relay is known. That a message is
        /// relayed, or is not, is stated by the relay itself and not proven.
        relayed: bool,
    },
    /// The message came over a connection that has ended and is no longer remembered, because 4,096 other connections
    /// have ended since. Treat such a message like one from a stranger.
    Forgotten,
}

impl Origin {
    /// Returns the facts about the node at the other end of the connection, unless the message is from this node.
    pub fn peer(&self) -> Option<&PeerInfo> {
        match self {
            Origin::Peer { info, .. } => Some(info),
            Origin::ThisNode | Origin::Forgotten => None,
        }
    }

    /// Whether the message was sent on the node of the box.
    pub fn is_this_node(&self) -> bool {
        *self == Origin::ThisNode
    }

    /// Whether the [peer](Origin::peer) has passed the message on for another node.
    pub fn is_relayed(&self) -> bool {
        matches!(self, Origin::Peer { relayed: true, .. })
    }
}

/// Describes the origin in a few words.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::ThisNode => f.write_str("this node"),
            Origin::Peer { info, relayed: false } => info.fmt(f),
            Origin::Peer { info, relayed: true } => write!(f, "a node behind {info}"),
            Origin::Forgotten => f.write_str("a peer that is not remembered"),
        }
    }
}
