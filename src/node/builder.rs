//! How a node is started: [`NodeBuilder`] and its limits.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::config::IoThread;
use crate::config::Limits;
use crate::handle::recipient::permits;
use crate::ident::Endpoint;
use crate::key::NodeKey;
use crate::net::connection::start;
use crate::net::io_thread;
use crate::net::shared::NodeInner;
use crate::net::shared::StopOnDrop;

/// The limits of a node to be started. Each has a default that suits an application server; each is there because
/// something would otherwise grow or wait without end. The manual has [all limits in a table](crate::manual::limits).
#[derive(Debug)]
#[must_use = "a node is started by `start`"]
pub struct NodeBuilder {
    limits: Limits,
    thread: IoThread,
    advertised: Vec<Endpoint>,
    key: Option<NodeKey>,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident($argument:ident: $type:ty)),* $(,)?) => {
        impl NodeBuilder { $(
            $(#[$doc])*
            pub fn $name(mut self, $argument: $type) -> Self {
                // One that has its default from another is none until it is set.
                self.limits.$name = $argument.into();
                self
            }
        )* }
    };
}

limits! {
    /// Messages that a mailbox or a published actor's box holds, unless it is opened with a buffer of its own. 1,024.
    mailbox_buffer(messages: usize),
    /// Bytes of messages from other nodes that wait in all boxes of this one together, beyond 1 KiB of each box, which it may
    /// always hold: mailboxes, and what published actors were given and have not begun. They count as they were encoded, with
    /// about 0.5 KiB for each address in them. In memory they take more: texts and vectors up to twice as much, since they grow
    /// while they are read; a message some 100 bytes beside its own; and one of a type that is much larger than its encoding,
    /// such as an enum of which one variant is large, up to `decode_memory`. So in memory it is up to twice this bound with
    /// messages of some KiB, and ten times with messages of a few bytes. Messages sent on this node were never encoded, and
    /// count nothing. The first half is for whoever comes first, and of the second one box gets more only while it has less than an
    /// equal part, but for the first message that is more than its 1 KiB, while a quarter is left. So no box has more than
    /// half. A box for which there is no more sheds by its own rule, as where it is full: a
    /// [dropping](crate::Buffer::dropping) one drops the new message, others the oldest or the one of the same key, and the new
    /// one only if there is no room for it even so. 64 MiB, at least twice `max_message`: a thousand
    /// messages of 100 bytes in each of 300 boxes fit.
    boxes(bytes: usize),
    /// Bytes that wait for one connection; a message that does not fit is dropped. Messages above `fragment` fill three
    /// quarters of it, and leave the rest to small ones; if no other waits, any one is taken, however large. 4 MiB.
    ///
    /// So by default 48 messages of 64 KiB wait at most: of a burst of 64, sent in one go without looking at
    /// [`Address::pressure`](crate::Address::pressure), the rest is dropped as
    /// [`OutboxFull`](crate::DropReason::OutboxFull).
    outbox(bytes: usize),
    /// Bytes that wait for all connections of the node together, beyond 16 KiB of each (and as much again of its answers),
    /// which it always has. The first half is for whoever comes first, and of the second one connection gets more only while
    /// it has less than an equal part: so one alone may have half. A message that does not fit is dropped as where its own
    /// outbox is full ([`OutboxFull`](crate::DropReason::OutboxFull)), and an answer refused as one that does not fit; of a
    /// peer that asks and does not read that it is refused, the connection ends. 64 MiB, at least twice `outbox` and twice
    /// `max_message`.
    outboxes(bytes: usize),
    /// Bytes of one message with its addresses, sent or received. 16 MiB.
    max_message(bytes: usize),
    /// Bytes of memory for what all connections of the node together have begun to send and not finished. It counts with
    /// the room that a message is given while it arrives, which is up to twice what has come. Where it is more, the
    /// connection ends that wastes most of it, in bytes times how long they have waited for the rest
    /// ([`DownReason::NoRoom`](crate::DownReason::NoRoom)). 96 MiB, at least `max_message` four times.
    unfinished(bytes: usize),
    /// Bytes a second, on the average of `dead_after`, at which a peer has to send while a message that it has begun is not
    /// whole; one that is slower is taken for one that only keeps its place, and its connection ends. Time in which this
    /// node did not read does not count. 256; with 0 any rate will do.
    least_rate(bytes_per_second: usize),
    /// Bytes of a message above which it is sent in pieces of that size, between which messages for other boxes pass. 32 KiB,
    /// at least 256.
    fragment(bytes: usize),
    /// Time for a connection to be made and greeted. 5 s.
    handshake_timeout(limit: Duration),
    /// Bytes of a peer's hello, and of the endpoints that it names once it has shown who it is. 1 KiB; hellos of this version
    /// have 192, and a few more of later ones.
    handshake_bytes(bytes: usize),
    /// How often connections are probed and stopped actors are looked for. 5 s.
    heartbeat(every: Duration),
    /// A peer that was silent for so long is taken for dead. 15 s.
    dead_after(silence: Duration),
    /// The pause before a broken connection is dialled again: the first, and the longest that it grows to. What is sent
    /// in the pause is dropped. 100 ms to 10 s; an interactive client wants a shorter longest one.
    reconnect(from_to: RangeInclusive<Duration>),
    /// Connections at a time, dialled and accepted together. Where all places are taken, one of those that have not greeted
    /// makes room for one more: the oldest of the address that has most of them. If all have greeted, the newcomer is told
    /// so. An eighth of the places, at least one, is for endpoints that one peer has named in addresses that it sends, and
    /// half of them for what all peers have named; what there is no room for is not dialled
    /// ([`NotConnected`](crate::DropReason::NotConnected)). 1,024.
    max_connections(connections: usize),
    /// Connections that are accepted from one address at a time, or from one /64 network of IPv6: one more is turned away,
    /// unless one of them has not greeted and makes room. Connections by Unix sockets, and those that this node dials, are
    /// not counted. Many nodes on one host, or behind one address, may need more. A quarter of `max_connections`, at least
    /// one.
    max_per_address(connections: usize),
    /// Connections that have not shown yet who they are. When one more comes, the oldest is closed of the address that has
    /// most of them: of those that have said nothing, if they are more than half, or else of those that have said hello. 128.
    max_unproven(connections: usize),
    /// Greetings of those who dial this node that are answered in a second, each of which costs a signature; one address, or
    /// one /64 network of IPv6, has a quarter of them while others wait. Whoever comes too soon waits, for as long as
    /// `handshake_timeout` and `max_unproven` allow. 2,000, which is about half of what one thread can do; at least 1.
    max_greetings(a_second: usize),
    /// Addresses that have short numbers on a connection, in each direction; others are written in full. 4,096, at
    /// least 64.
    interned(per_direction: usize),
    /// Short numbers that all peers together may use, beyond the 64 that each may in any case: what stands for each is kept
    /// until its connection ends. A connection that is made when half of them are in use, and more than an equal part of the
    /// rest would be needed, gets half as many as `interned` says, or a quarter, and so on. Messages mean the same with fewer
    /// numbers; they only are longer. 32,768, at least twice `interned`.
    numbers(addresses: usize),
    /// Actors kept alive because somebody elsewhere holds their address. When one more comes, one goes that only a node holds
    /// which is away and expected back (see `forget_after`), or else the oldest of the node that holds most. 65,536.
    exports(boxes: usize),
    /// Requests of one connection that wait for their answers; one more is refused
    /// ([`RequestsFull`](crate::DropReason::RequestsFull)). As many of the peer's are accepted. 65,536.
    pending_requests(per_connection: usize),
    /// Requests of all peers together that wait for this node's answers, beyond 64 of each connection, which it may always
    /// have. The first half is for whoever comes first, and of the second one connection gets more only while it has less
    /// than an equal part. One more is refused, as where its own connection has too many
    /// ([`RequestsFull`](crate::DropReason::RequestsFull)). 131,072.
    pending_answers(requests: usize),
    /// Boxes of this node that all peers together watch, because somebody there waits for them to close
    /// ([`Address::closed`](crate::Address::closed), or a `Recipient`), beyond 16 of each connection, which it may always have.
    /// The first half is for whoever comes first, and of the second one connection gets more only while it has less than an
    /// equal part. Of a further box its peer is told nothing but that the connection has ended. 16,384.
    watches(boxes: usize),
    /// Messages that wait behind all `Recipient`s of the process to be taken up; further ones are dropped. The process
    /// has one such limit: that of the node started last. 65,536.
    proxy_queue(envelopes: usize),
    /// Addresses and `Recipient`s in one message, sent or received; one with more is dropped as
    /// [`TooLarge`](crate::DropReason::TooLarge). 16,384, which is also as many as the protocol has room for.
    max_handles(handles: usize),
    /// Levels of nesting in a message that is received. 128.
    decode_depth(levels: usize),
    /// Bytes that decoding one message may reserve. 64 MiB.
    decode_memory(bytes: usize),
    /// Relays that a message may have passed, this node's included, when the node passes it on to a third node's box. An
    /// address that is sent on to a node which cannot reach its box leads through the node that sent it, a *relay*, and one
    /// that is sent on again through two. A message that has passed as many already is dropped
    /// ([`HopLimit`](crate::DropReason::HopLimit)): no honest one goes in a circle, and one that a peer sends round has an
    /// end. With 0 the node passes nothing on ([`Refused`](crate::DropReason::Refused)). 4.
    relay_hops(hops: u8),
    /// Time for [`Node::shutdown`] to have what has begun finished, and what waits handled and written. 5 s.
    shutdown_timeout(limit: Duration),
    /// How long a peer that went without a goodbye is expected back. Until then the actors whose `Recipient`s it holds are
    /// kept alive, and a connection that this node had dialled is dialled again for their sake. Once it is back it states
    /// what it still holds; what it does not state, and all of it after this time or a goodbye, is let go. 60 s.
    forget_after(absence: Duration),
}

impl NodeBuilder {
    pub(super) fn new() -> NodeBuilder {
        NodeBuilder { limits: Limits::default(), thread: IoThread::default(), advertised: Vec::new(), key: None }
    }

    /// The thread that sockets and pumps run on: by default the current one. See [`IoThread`] for what speaks for each.
    pub fn io_thread(mut self, thread: IoThread) -> Self {
        self.thread = thread;
        self
    }

    /// Tells peers that the node can be dialled at that endpoint, as well as where it listens: behind a proxy, or when
    /// it listens at all addresses of its host (`0.0.0.0`, `[::]`), which nobody else can dial. The first such endpoint
    /// stands in the [`uri`](crate::Address::uri) of the node's boxes. Peers tell it to those that they pass its addresses on to, who dial it
    /// there; that it is this node is believed only once it has greeted.
    ///
    /// # Panics
    /// If the text is no endpoint: `host:port`, `[ipv6]:port` or `unix:/path`. To check a text that is read at run time,
    /// parse it as an [`Endpoint`] first.
    #[track_caller]
    pub fn advertise(mut self, endpoint: &str) -> Self {
        match endpoint.parse() {
            Ok(endpoint) => self.advertised.push(endpoint),
            Err(error) => panic!("not advertised: {error}"),
        }
        self
    }

    /// Gives the node a key that was kept, and with it the id that others may have written down: see [`NodeKey`]. Without,
    /// a fresh key is made, and the node has an id that it never had before.
    ///
    /// Boxes without names do not outlive their process all the same: to peers, a node that was started again with the
    /// same key is another run of the same node, which has none of the boxes of the last.
    pub fn identity(mut self, key: NodeKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Starts the node.
    ///
    /// Called in an actix System (or any tokio runtime with a `LocalSet`), the node ends with it. Called on a thread
    /// without a runtime, it runs on a thread of its own until it is [shut down](Node::shutdown).
    ///
    /// # Panics
    /// In a current-thread tokio runtime without a `LocalSet`, such as that of `#[tokio::test]`, unless the I/O thread is
    /// [`IoThread::Own`]: there nothing could run the node's tasks. `#[actix::test]` has one.
    #[track_caller]
    pub fn start(self) -> Node {
        permits::limit_queue(self.limits.proxy_queue);
        let (handle, io) = io_thread::io();
        let inner = NodeInner::new(self.limits, self.advertised, self.key, handle, start::start);
        let stop = || StopOnDrop(Arc::downgrade(&inner));
        let keeping = Arc::clone(&inner).housekeep(stop());
        let ending = Arc::clone(&inner);
        io.start(self.thread, keeping, move || ending.publish_last(), stop());
        Node { inner }
    }
}
