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
        /// Whether that node has passed the message on for another. Then only the relay is known: it says itself that
        /// it is one, so a message that is not relayed is the relay's own word, too.
        relayed: bool,
    },
    /// The message came over a connection that has ended, and which is not remembered any more: that is so once 4,096
    /// connections have ended after it. Such a message is a stranger's.
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
