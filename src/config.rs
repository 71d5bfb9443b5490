//! Every limit of a node in one place, with its default and the reason for it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::message::guard::DecodeLimits;

/// The thread on which a node's sockets and the pumps of its `Recipient`s run.
///
/// Measured between two processes on a machine with two cores (`cargo bench --bench wire`, and the same with
/// `HERMOD_IO=own`), [`Current`](IoThread::Current) makes 1.3 to 1.6 times as many round trips a second as
/// [`Own`](IoThread::Own), and passes twice as many messages one way. So it is the default.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoThread {
    /// On the thread (actix arbiter) that starts the node: a message to or from an actor of that arbiter changes no
    /// thread on its way. A handler that keeps the arbiter busy holds up the node's connections for as long, heartbeats
    /// included: peers consider the node dead after `dead_after`.
    ///
    /// Started on a thread without a runtime, or in tokio's multi-thread runtime, the node takes a thread of its own.
    #[default]
    Current,
    /// On a thread of the node's own, where no handler of the application runs: connections are served, heartbeats
    /// included, however long a handler takes. Each message crosses threads twice, which costs a wake-up when the
    /// other thread sleeps.
    Own,
}

/// The limits of one node. The public builder's methods have the same names.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Messages that a mailbox holds unless it is opened with a buffer of its own.
    pub(crate) mailbox_buffer: usize,
    /// Bytes, as they came from connections, that wait in all boxes, beyond 1 KiB of each: four of the longest
    /// messages, or 32 boxes full of messages of 1 KiB. In memory this is up to twice as much for messages of texts and
    /// byte vectors.
    pub(crate) boxes: usize,
    /// Bytes that wait for one connection: 50 ms of a 1 Gbit/s link, so that messages are fresh when they are sent.
    pub(crate) outbox: usize,
    /// Bytes that wait for all connections, beyond a small part of each: the amount that a dozen peers that read
    /// nothing can make wait. Including its buffers, this takes a quarter of the GiB that all bounds of a node add up to
    /// at most.
    pub(crate) outboxes: usize,
    /// Bytes of one message with its addresses: the amount that a peer can make a connection hold while the message
    /// arrives.
    pub(crate) max_message: usize,
    /// Bytes of room for the unfinished messages of all connections together: as much as four of the longest messages
    /// take in pieces, and half of that in addition.
    pub(crate) unfinished: usize,
    /// Minimum rate, in bytes a second, at which an unfinished message must arrive: a fiftieth of the slowest links in
    /// use, and enough that a crowd of peers that hold their places in this way is noticed on any link.
    pub(crate) least_rate: usize,
    /// Bytes of a frame that is written in one piece; two are written at a time. They take half a millisecond of a 1
    /// Gbit/s link, which is the time that a small message waits for a large one.
    pub(crate) fragment: usize,
    /// Time for a connection to be opened and greeted: several round trips to the other side of the world.
    pub(crate) handshake_timeout: Duration,
    /// Bytes of a hello, and of the endpoints that are named behind it: three endpoints of the maximum length fit,
    /// eight would not.
    pub(crate) handshake_bytes: usize,
    /// Interval at which idle connections are probed and stopped actors are searched for.
    pub(crate) heartbeat: Duration,
    /// Time of silence after which a peer counts as gone: three heartbeats, so that one lost packet is not an outage.
    pub(crate) dead_after: Duration,
    /// The pause before a broken connection is dialled again, from the first to the longest.
    pub(crate) reconnect: RangeInclusive<Duration>,
    /// Connections at a time, both directions together: as many files as most systems let a process open. A connection
    /// that has not completed its greeting makes room for a new one.
    pub(crate) max_connections: usize,
    /// Connections accepted from one address; a quarter of `max_connections` if not set, so that it takes four
    /// addresses to keep everybody else out.
    pub(crate) max_per_address: Option<usize>,
    /// Connections without a proved identity; when one more comes, the oldest from the address with the most of them is
    /// closed.
    pub(crate) max_unproven: usize,
    /// Greetings of dialling peers that this node answers in a second: signing one and checking another's signature
    /// takes 0.1 to 0.2 ms, and the rest of a connection as much again, so that this is about half of the I/O thread's
    /// time.
    pub(crate) max_greetings: usize,
    /// Messages that are read from one peer in a second; 0 sets no limit, since honest peers send as fast as both
    /// processors can, and turns are shared anyway.
    pub(crate) peer_messages: usize,
    /// Bytes that are read from one peer in a second; 0 sets no limit.
    pub(crate) peer_bytes: usize,
    /// Names and ids without a box that one peer may try in a second: far more than a peer whose boxes have just closed
    /// tries, and so few that guessing takes long.
    pub(crate) peer_unknown_names: usize,
    /// Addresses that have numbers on a connection, in each direction.
    pub(crate) interned: usize,
    /// Numbers that peers may use on all connections, beyond the 64 of each: a number with a long name and four
    /// endpoints takes 2.4 KB, so that all numbers of a thousand connections would take 10 GB.
    pub(crate) numbers: usize,
    /// Actors kept alive for remote holders of their addresses; the oldest is dropped when one more comes.
    pub(crate) exports: usize,
    /// Requests without an answer yet, for each connection and direction.
    pub(crate) pending_requests: usize,
    /// Requests of peers that wait for this node's answers, over all connections and beyond a small part of each: as
    /// many as actors handle in a second or so, at some 300 bytes each.
    pub(crate) pending_answers: usize,
    /// Boxes that peers watch, over all connections and beyond a few of each: a quarter of the maximum number of
    /// exports. Each has a task, and with a long name takes 2.3 KB.
    pub(crate) watches: usize,
    /// Messages given to `Recipient`s and not yet pumped, in the whole process.
    pub(crate) proxy_queue: usize,
    /// Addresses in one message: the protocol's maximum, which exceeds the number of an actor's subscribers in all but
    /// the largest systems.
    pub(crate) max_handles: usize,
    /// Levels of nesting in a message.
    pub(crate) decode_depth: usize,
    /// Bytes that decoding one message may reserve.
    pub(crate) decode_memory: usize,
    /// Relays that pass a message on before one refuses it: in systems that people build, an introduction is passed on
    /// a few times, and a message that goes further goes in a circle built on purpose. 0 passes nothing on.
    pub(crate) relay_hops: u8,
    /// Time for `shutdown` to write waiting messages.
    pub(crate) shutdown_timeout: Duration,
    /// Time for which a peer that left without a goodbye is expected back: long enough for a process to be started
    /// again, and for a laptop to sleep briefly.
    pub(crate) forget_after: Duration,
}

impl Limits {
    pub(crate) fn decode(&self) -> DecodeLimits {
        DecodeLimits { depth: self.decode_depth, memory: self.decode_memory }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            mailbox_buffer: 1024,
            boxes: 64 << 20,
            outbox: 4 << 20,
            outboxes: 64 << 20,
            max_message: 16 << 20,
            unfinished: 96 << 20,
            least_rate: 256,
            fragment: 32 << 10,
            handshake_timeout: Duration::from_secs(5),
            handshake_bytes: 1024,
            heartbeat: Duration::from_secs(5),
            dead_after: Duration::from_secs(15),
            reconnect: Duration::from_millis(100)..=Duration::from_secs(10),
            max_connections: 1024,
            max_per_address: None,
            max_unproven: 128,
            max_greetings: 2000,
            peer_messages: 0,
            peer_bytes: 0,
            peer_unknown_names: 10_000,
            interned: 4096,
            numbers: 32_768,
            exports: 65_536,
            pending_requests: 65_536,
            pending_answers: 131_072,
            watches: 16_384,
            proxy_queue: 65_536,
            max_handles: 16_384,
            decode_depth: 128,
            decode_memory: 64 << 20,
            relay_hops: 4,
            shutdown_timeout: Duration::from_secs(5),
            forget_after: Duration::from_secs(60),
        }
    }
}
