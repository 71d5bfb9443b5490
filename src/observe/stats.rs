//! The statistics of a node: a snapshot of its counts, its connections and its boxes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::Observer;
use super::counters::Counter;
use super::peer_info::PeerInfo;
use crate::ident::NodeId;
use crate::reason::DropReason;

/// The counts of a node so far, and the state of its connections and boxes.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stats {
    /// The node.
    pub node: NodeId,
    /// Messages given to an address or recipient of this node, local or remote, and not handed back.
    pub sent: u64,
    /// Messages that a reader took from a mailbox of this node, or that an actor published here began to handle: counted
    /// where the box is, as `sent` is where the sender is.
    pub delivered: u64,
    /// Drops that happened on this side. Drops that peers report are in `reported`, and never here.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Drops that peers have reported of messages sent from here, a few times a second.
    pub reported: BTreeMap<DropReason, u64>,
    /// Messages written to a connection that broke, and not known to be read or lost. Peers report how much they have
    /// read with each heartbeat, and with each answer to a request.
    pub in_doubt: u64,
    /// Requests of this node to others that are still without an answer.
    pub pending_requests: u64,
    /// Answers that came after their request was cancelled or timed out.
    pub late_answers: u64,
    /// Connections that came up, dialled from here or by peers.
    pub connects: u64,
    /// Bytes written to connections, greetings and heartbeats included. As in all counts, a connection counts at both
    /// ends, so twice if this node has connected to itself.
    pub bytes_sent: u64,
    /// Bytes read from connections.
    pub bytes_received: u64,
    /// The links to other nodes: those dialled from here, up or to be dialled again, and the connections of peers that
    /// are up.
    pub connections: Vec<ConnectionStats>,
    /// The boxes open now: first those of actors that peers hold, in the order of their ids, then all others.
    pub boxes: Vec<BoxStats>,
}

impl Stats {
    /// Returns the sum of `dropped`.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// The state of one link to another node.
///
/// A link dialled from here lives for as long as somebody holds an address that leads through it, and reconnects
/// whenever its connection breaks: messages, bytes and reconnects count over that whole life. A link that a peer has
/// opened lives for one connection. The figures are read one after the other while traffic goes on, so they may be a
/// moment apart.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionStats {
    /// The node at the other end, once it has greeted; between two connections, the one of the last.
    pub peer: Option<NodeId>,
    /// The facts about that node that its connection has proven: its transport, address and identity.
    #[serde(default)]
    pub info: Option<PeerInfo>,
    /// The endpoint that is dialled; `None` if the peer has opened the connection.
    pub endpoint: Option<String>,
    /// The current state.
    pub state: ConnectionState,
    /// The round trip of the last ping that the peer has answered, including its wait behind data that was being
    /// written. `None` until a ping was answered over this connection, which is pinged once it is up and then with each
    /// heartbeat. `None` also while no connection is up.
    pub rtt: Option<Duration>,
    /// Messages written to the connections of this link, including requests but not answers.
    pub messages_sent: u64,
    /// Messages read from the connections of this link, whether their boxes took them or not, including requests but
    /// not answers.
    pub messages_received: u64,
    /// Bytes written to the connections of this link, including greetings, heartbeats and attempts that failed.
    pub bytes_sent: u64,
    /// Bytes read from the connections of this link.
    pub bytes_received: u64,
    /// The number of times that the connection was made anew.
    pub reconnects: u64,
    /// Bytes that wait to be written: messages, including the unwritten rest of one that is being written.
    pub outbox_bytes: u64,
    /// Bytes that may wait; see [`NodeBuilder::outbox`](crate::NodeBuilder::outbox). An empty outbox takes one message
    /// of any size, and answers have as much room again, so `outbox_bytes` may be more.
    pub outbox_capacity: u64,
    /// Messages that were written to connections of this link that have broken, and are not known to be read or lost:
    /// the part of [`Stats::in_doubt`] that its next connection settles. Covers the last 32 broken connections.
    pub in_doubt: u64,
    /// The time for which connections of this link were not read, because their peer had used its budget up: see
    /// [`NodeBuilder::peer_messages`](crate::NodeBuilder::peer_messages),
    /// [`peer_bytes`](crate::NodeBuilder::peer_bytes) and
    /// [`peer_unknown_names`](crate::NodeBuilder::peer_unknown_names).
    pub held_back: Duration,
}

/// The state of a connection.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ConnectionState {
    /// The connection is being made, or greets; messages wait.
    Dialling,
    /// Messages are written and read.
    Up,
    /// The last attempt has failed, or the connection has broken; messages are dropped until the next attempt.
    Pausing,
    /// Messages that wait are written, and no more are taken.
    Closing,
}

/// The state of one box.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoxStats {
    /// Its name.
    pub name: String,
    /// The Rust type of its messages.
    pub type_name: String,
    /// Messages waiting in it now.
    pub depth: u64,
    /// Messages it holds at most.
    pub capacity: u64,
    /// Messages put into it so far.
    pub received: u64,
    /// For a published actor: messages that the actor was given and that are not yet `delivered`. They wait in the
    /// actor's own queue, or are being handled: a request counts as delivered once it is answered, because actix does
    /// not show earlier that its handling has begun.
    pub with_actor: u64,
    /// Messages dropped at it so far.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// The known losses among the messages sent through one address (and its clones).
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Dropped on this side.
    pub local: BTreeMap<DropReason, u64>,
    /// Drops that the node of the box has reported, which it does a few times a second. They are counted by box and
    /// connection: messages sent through other addresses of the same box on this node are included.
    pub remote: BTreeMap<DropReason, u64>,
}

impl Observer {
    /// Returns the counts; the caller adds the connections and the boxes.
    pub(crate) fn stats(&self, node: NodeId) -> Stats {
        Stats {
            node,
            sent: self.counters.sum(Counter::Sent),
            delivered: self.counters.sum(Counter::Delivered),
            dropped: self.dropped.to_map(),
            reported: self.reported.to_map(),
            in_doubt: self.in_doubt.load(Ordering::Relaxed),
            pending_requests: 0,
            late_answers: self.late_answers.load(Ordering::Relaxed),
            connects: self.connects.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            connections: Vec::new(),
            boxes: Vec::new(),
        }
    }
}
