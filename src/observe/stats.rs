//! What a node tells of itself when it is asked: a picture of its counts, its connections and its boxes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::Observer;
use super::counters::Counter;
use crate::ident::NodeId;
use crate::reason::DropReason;

/// What a node has done so far, and how it stands.
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
    /// Drops that happened on this side. What peers report is in `reported`, and never here.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Drops that peers have reported of messages sent from here, a few times a second.
    pub reported: BTreeMap<DropReason, u64>,
    /// Written to a connection that broke, and not known to be read or lost. Peers tell how much they have read with
    /// each heartbeat, and with each answer to a request.
    pub in_doubt: u64,
    /// Requests of this node to others still without an answer.
    pub pending_requests: u64,
    /// Answers that came after their request was cancelled or timed out.
    pub late_answers: u64,
    /// Connections that came up, dialled from here or by peers.
    pub connects: u64,
    /// Bytes written to connections, greetings and heartbeats included. As everywhere, the same connection counts at both
    /// ends, and twice where both are of this node.
    pub bytes_sent: u64,
    /// Bytes read from connections.
    pub bytes_received: u64,
    /// The ways to others: what was dialled from here, up or to be dialled again, and the connections of peers that are
    /// up.
    pub connections: Vec<ConnectionStats>,
    /// The boxes open now: those of actors that peers hold, in the order of their ids, and then all others.
    pub boxes: Vec<BoxStats>,
}

impl Stats {
    /// The sum of `dropped`.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// How one way to another node stands.
///
/// One that is dialled from here lives for as long as somebody holds an address that leads by it, and is connected again
/// and again: messages, bytes and reconnects count over that whole life. One that a peer has opened lives for one
/// connection. The figures are read one after the other while traffic goes on, so they may be a moment apart.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionStats {
    /// The node at the other end, once it has greeted; in a pause, the one that was there last.
    pub peer: Option<NodeId>,
    /// Where it is dialled; `None` if the peer has opened it.
    pub endpoint: Option<String>,
    /// What it does now.
    pub state: ConnectionState,
    /// How long the last ping took that the peer has answered: there and back, with the wait behind what was being
    /// written. `None` until one was answered over this connection, which is pinged once it is up and then with each
    /// heartbeat. What is being made, or has broken, has none.
    pub rtt: Option<Duration>,
    /// Messages written to its connections, requests included and answers not.
    pub messages_sent: u64,
    /// Messages read from its connections, whether their boxes took them or not; requests included and answers not.
    pub messages_received: u64,
    /// Bytes written to its connections, greetings and heartbeats included, and those of attempts that failed.
    pub bytes_sent: u64,
    /// Bytes read from its connections.
    pub bytes_received: u64,
    /// How often the connection was made anew.
    pub reconnects: u64,
    /// Bytes that wait to be written: messages, and what of them is being written.
    pub outbox_bytes: u64,
    /// How many may wait; see [`NodeBuilder::outbox`](crate::NodeBuilder::outbox). An empty outbox takes one message of
    /// any size, and answers have as much room again, so `outbox_bytes` may be more.
    pub outbox_capacity: u64,
    /// Messages that were written to its connections that have broken, and are not known to be read or lost: the part of
    /// [`Stats::in_doubt`] that its next connection settles. Of the last 32 of them.
    pub in_doubt: u64,
}

/// What a connection does.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ConnectionState {
    /// It is being made and greeted; messages wait.
    Dialling,
    /// Messages are written and read.
    Up,
    /// The last attempt has failed, or the connection has broken; messages are dropped until the next attempt.
    Pausing,
    /// What waits is written, and no more is taken.
    Closing,
}

/// How one box stands.
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
    /// Of a published actor's box: messages that the actor was given and that are not yet `delivered`. They wait in the
    /// actor's own queue, or are being handled: a request is delivered once it is answered, because actix does not show
    /// earlier that it was begun.
    pub with_actor: u64,
    /// Messages dropped at it so far.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// What is known to be lost of the messages sent through one address (and its clones).
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Dropped on this side.
    pub local: BTreeMap<DropReason, u64>,
    /// Dropped by the node that the box lives at, as far as it has told, which it does a few times a second. It tells of
    /// the box and the connection: other addresses of the same box on this node have their part in it.
    pub remote: BTreeMap<DropReason, u64>,
}

impl Observer {
    /// The counts; what else there is to say the caller adds.
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
