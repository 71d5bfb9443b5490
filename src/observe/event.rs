//! The events that subscribers receive, and the reasons why connections and boxes end.

use std::fmt;

use actix::prelude::Message;

use super::peer_info::PeerInfo;
use crate::ident::NodeId;
use crate::reason::DropReason;
use crate::reason::Side;

/// Why a connection ended.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DownReason {
    /// One side said goodbye.
    Goodbye,
    /// The connection broke.
    Lost,
    /// The peer was silent for longer than `dead_after`.
    Silent,
    /// The peer broke the protocol, as the text says.
    Misbehaved(String),
    /// The node that answered is not the one that an address is [pinned](crate::Address::pinned) to. No connection came
    /// about: this node hung up before it disclosed anything, and dials again.
    AnotherNode {
        /// The node that the address is pinned to.
        expected: NodeId,
        /// The node that listens there.
        answered: NodeId,
    },
    /// One side had no room left for the connection, as the text says: too many connections, or too much unfinished
    /// data. It may have room again later.
    NoRoom(String),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DownReason::Goodbye => "one side said goodbye",
            DownReason::Lost => "the connection broke",
            DownReason::Silent => "the peer was silent for too long",
            DownReason::NoRoom(why) => return write!(f, "one side has no room for the connection: {why}"),
            DownReason::Misbehaved(how) => return write!(f, "the peer broke the protocol: {how}"),
            DownReason::AnotherNode { expected, answered } => {
                return write!(f, "node {expected} was expected, and node {answered} has answered");
            }
        })
    }
}

/// Why [`Address::closed`](crate::Address::closed) has ended.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The box was closed, or no box has that name or id.
    BoxClosed,
    /// The node of the box has said goodbye for good, another node answers in its place, it was started again with the same
    /// key, or this node was shut down.
    NodeGone,
    /// The connection broke and could not be made again: nobody listens at the other end, or the node was unreachable
    /// for `dead_after`. The node may come back, and an address by name then leads there again.
    ConnectionLost,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::BoxClosed => "the box is closed",
            CloseReason::NodeGone => "the node of the box is gone",
            CloseReason::ConnectionLost => "the connection to the node of the box is lost",
        })
    }
}

/// An event that [`Node::subscribe`](crate::Node::subscribe)d recipients receive.
#[non_exhaustive]
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum Event {
    /// A peer has proven its id, and the [accept policies](crate::NodeBuilder::accept) of both sides let the connection
    /// come about. [`PeerUp`](Event::PeerUp) follows at once.
    PeerProven {
        /// The peer, and the facts that its transport has proven.
        peer: PeerInfo,
    },
    /// A connection did not come about, because the [accept policy](crate::NodeBuilder::accept) of one side has refused
    /// the other. The side that has dialled tries again after the longest pause of
    /// [`reconnect`](crate::NodeBuilder::reconnect).
    PeerRefused {
        /// The peer. `None` for a node that has dialled this one and has refused it: it hangs up without a word about
        /// itself.
        peer: Option<NodeId>,
        /// The side whose policy has refused the other.
        by: Side,
        /// The reason given by the policy. A peer receives at most 256 bytes of it.
        reason: String,
    },
    /// A connection to a node is up.
    PeerUp {
        /// The node at the other end.
        peer: NodeId,
    },
    /// A connection to a node has ended: the node may be gone, or only cut off. The side that dialled dials again while
    /// somebody holds an address, and addresses work again once the connection is back; a restarted process is another
    /// node, unless it [keeps its key](crate::NodeKey). Also sent, without a `PeerUp` before it, when
    /// [another node](DownReason::AnotherNode) listens where this one was expected.
    ///
    /// [`Address::node_id`](crate::Address::node_id) tells whether an address leads to this peer, since it keeps
    /// returning the node that was last reached: `address.node_id() == Some(peer)`.
    PeerDown {
        /// The node at the other end.
        peer: NodeId,
        /// Why the connection ended.
        why: DownReason,
    },
    /// Messages were dropped. A flood of drops is summed up in a few events a second.
    DeadLetter {
        /// The box that they were sent to, as far as it is known.
        name: String,
        /// The type of the messages, as far as it is known.
        type_name: String,
        /// Why they were dropped.
        reason: DropReason,
        /// The number of dropped messages; 0 if the event only adds detail to earlier drops.
        count: u64,
        /// The side of the connection that dropped them.
        side: Side,
        /// More about the last of them, for a person: the error of the encoder or the decoder, the error of an attempt
        /// to connect, or the difference between two types (``"`Ping.n`: u32 here, u64 there"``). That difference may
        /// follow a moment later, in an event of its own.
        detail: Option<String>,
    },
}
