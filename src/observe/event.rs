//! What subscribers are told, and why connections and boxes end.

use std::fmt;

use actix::prelude::Message;

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
    /// Another node has answered than the one that an address is [pinned](crate::Address::pinned) to. There was no
    /// connection: this node has hung up, having named nothing, and dials again.
    AnotherNode {
        /// The node that the address is pinned to.
        expected: NodeId,
        /// The node that listens there.
        answered: NodeId,
    },
    /// One side had no room for the connection any more, as the text says: too many connections, or too much that was begun
    /// and not finished. It may have room again later.
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
    /// The box was closed, or there is none of that name or id.
    BoxClosed,
    /// The node of the box has said goodbye for good, another node answers in its place, it was started again with the same
    /// key, or this node was shut down.
    NodeGone,
    /// The connection broke and could not be made again: nobody listens at the other end, or for `dead_after` it was not
    /// reached. It may come back, and an address by name then leads there again.
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

/// What [`Node::subscribe`](crate::Node::subscribe)d recipients are told.
#[non_exhaustive]
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum Event {
    /// A connection to that node is up.
    PeerUp {
        /// The node at the other end.
        peer: NodeId,
    },
    /// A connection to that node has ended: the node may be gone, or only cut off. The side that dialled dials again
    /// while somebody holds an address, and addresses work again once it has; a restarted process is another node, unless
    /// it [keeps its key](crate::NodeKey). Also told, without a `PeerUp` before it, when
    /// [another node](DownReason::AnotherNode) listens where this one was expected.
    ///
    /// Whose peer it is tells [`Address::node_id`](crate::Address::node_id), which keeps saying which node was last
    /// reached: `address.node_id() == Some(peer)`.
    PeerDown {
        /// The node at the other end.
        peer: NodeId,
        /// What ended it.
        why: DownReason,
    },
    /// Messages were dropped. A flood of drops is a few events a second with counts.
    DeadLetter {
        /// The box they were for, as far as it is known.
        name: String,
        /// The type of the messages, as far as it is known.
        type_name: String,
        /// Why they were dropped.
        reason: DropReason,
        /// How many; 0 if only the detail of earlier ones is told.
        count: u64,
        /// On which side of the connection.
        side: Side,
        /// More about the last of them, for a person: what the encoder or the decoder says, what an attempt to connect
        /// has met, or where two types differ (``"`Ping.n`: u32 here, u64 there"``), which may be told in an event of its
        /// own, a moment later.
        detail: Option<String>,
    },
}
