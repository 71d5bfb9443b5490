//! [`NodeBuilder`]: the limits of a node, and its start.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::config::IoThread;
use crate::config::Limits;
use crate::handle::recipient::permits;
use crate::ident::endpoint::Endpoint;
use crate::key::NodeKey;
use crate::net::connection::start;
use crate::net::io_thread;
use crate::net::peers::policy::AcceptPolicy;
use crate::net::shared::NodeInner;
use crate::net::shared::Setup;
use crate::net::shared::StopOnDrop;
use crate::net::transport::schemes::NotTaken;
use crate::net::transport::schemes::Transports;
use crate::net::transport::seam::Transport;
use crate::observe::peer_info::PeerInfo;

/// The limits of a node to be started. Each has a default that suits an application server; each bounds something that
/// would otherwise grow or wait without end. The manual has [all limits in a table](crate::manual::limits).
#[derive(Debug)]
#[must_use = "a node is started by `start`"]
pub struct NodeBuilder {
    limits: Limits,
    thread: IoThread,
    advertised: Vec<Endpoint>,
    key: Option<NodeKey>,
    transports: Transports,
    policy: AcceptPolicy,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident($argument:ident: $type:ty)),* $(,)?) => {
        impl NodeBuilder { $(
            $(#[$doc])*
            pub fn $name(mut self, $argument: $type) -> Self {
                // A limit whose default depends on another limit is `None` until it is set.
                self.limits.$name = $argument.into();
                self
            }
        )* }
    };
}

limits! {
    /// Messages that a mailbox or a published actor's box holds, unless it is opened with a buffer of its own. Default:
    /// 1,024.
    mailbox_buffer(messages: usize),
    /// Bytes of messages from other nodes that wait in all boxes of this node together: in mailboxes, and given to
    /// published actors that have not begun to handle them. Beside these bytes, each box may always hold 1 KiB.
    /// Default: 64 MiB, at least twice `max_message`: enough for a thousand messages of 100 bytes in each of 300 boxes.
    ///
    /// Messages count as they were encoded, with about 0.5 KiB for each address in them. In memory they take more:
    /// texts and vectors up to twice as much, since they grow while they are read; a message some 100 bytes beside its
    /// own; and a message of a type that is much larger than its encoding, such as an enum of which one variant is
    /// large, up to `decode_memory`. So the memory is up to twice this bound with messages of some KiB, and ten times
    /// with messages of a few bytes. Messages sent on this node were never encoded, and count nothing.
    ///
    /// The first half is first come, first served. A box gets more of the second half only while it has less than an
    /// equal part, except for the first message beyond its 1 KiB, which it gets while a quarter is left. So no box has
    /// more than half. A box that gets no more sheds by its own rule, as if it were full: a
    /// [dropping](crate::Buffer::dropping) one drops the new message, others the oldest or the one of the same key, and
    /// the new one only if there is no room for it even so.
    boxes(bytes: usize),
    /// Bytes that wait for one connection; a message that does not fit is dropped. Messages above `fragment` fill at
    /// most three quarters, and leave the rest to small ones; if no other message waits, one of any size is taken.
    /// Default: 4 MiB.
    ///
    /// So by default 48 messages of 64 KiB wait at most: of a burst of 64, sent in one go without looking at
    /// [`Address::pressure`](crate::Address::pressure), the rest is dropped as
    /// [`OutboxFull`](crate::DropReason::OutboxFull).
    outbox(bytes: usize),
    /// Bytes that wait for all connections of the node together. Beside these bytes, each connection always has 16 KiB
    /// (and as much again for its answers). Default: 64 MiB, at least twice `outbox` and twice `max_message`.
    ///
    /// The first half is first come, first served. A connection gets more of the second half only while it has less
    /// than an equal part: so a single one may have half. A message that does not fit is dropped as if its own outbox
    /// were full ([`OutboxFull`](crate::DropReason::OutboxFull)), and an answer that does not fit is refused; if a peer
    /// asks and does not read such refusals, its connection ends.
    outboxes(bytes: usize),
    /// Bytes of one message with its addresses, sent or received. Default: 16 MiB.
    max_message(bytes: usize),
    /// Bytes of memory for the unfinished messages that arrive on all connections of the node together. A message
    /// counts with the room that it is given while it arrives, which is up to twice the bytes that have come. Beyond
    /// the limit, the connection that wastes most of it ends ([`DownReason::NoRoom`](crate::DownReason::NoRoom)): waste
    /// is the bytes times the time that they have waited for the rest. Default: 96 MiB, at least four times
    /// `max_message`.
    unfinished(bytes: usize),
    /// Bytes a second, averaged over `dead_after`, at which a peer has to send while a message that it has begun is
    /// incomplete. A slower peer is assumed to be occupying its place only, and its connection ends. Time in which this
    /// node did not read does not count. Default: 256; with 0 any rate will do.
    ///
    /// Over TLS and a shared key, bytes come a record at a time: a link that does not carry 16 KiB within `dead_after`
    /// is too slow for them.
    least_rate(bytes_per_second: usize),
    /// Bytes of a message above which it is sent in pieces of that size, between which messages for other boxes pass.
    /// Default: 32 KiB, at least 256.
    fragment(bytes: usize),
    /// Time for a connection to be made and greeted. Default: 5 s.
    handshake_timeout(limit: Duration),
    /// Bytes of a peer's hello, and of the endpoints that the peer names once it has proven its id. Default: 1 KiB;
    /// hellos of this version have 192 bytes, those of later versions a few more.
    handshake_bytes(bytes: usize),
    /// The interval at which connections are probed and stopped actors are looked for. Default: 5 s.
    heartbeat(every: Duration),
    /// The silence after which a peer is taken for dead. Default: 15 s.
    dead_after(silence: Duration),
    /// The pause before a broken connection is dialled again: the first, and the longest that it grows to. Messages
    /// sent in the pause are dropped. Default: 100 ms to 10 s; for an interactive client, shorten the longest pause.
    reconnect(from_to: RangeInclusive<Duration>),
    /// Connections at a time, dialled and accepted together. Default: 1,024.
    ///
    /// Where all places are taken, a connection that has not greeted makes room for a new one: the oldest of the
    /// address that has most of them. If all have greeted, the newcomer is told so. An eighth of the places, at least
    /// one, is for endpoints that one peer has named in addresses that it sends, and half of the places for those that
    /// all peers have named; endpoints beyond that are not dialled ([`NotConnected`](crate::DropReason::NotConnected)).
    max_connections(connections: usize),
    /// Connections that are accepted from one address at a time, or from one /64 network of IPv6: one more is turned
    /// away, unless one of them has not greeted and makes room. A connection whose peer has proven a certificate of its
    /// own counts for that certificate instead, which may have as many. Connections over Unix sockets, those over a
    /// [transport](NodeBuilder::transport) that does not say where its peers come from, and those that this node dials,
    /// are not counted. Many nodes on one host, or behind one address, may need more. Default: a quarter of
    /// `max_connections`, at least one.
    ///
    /// However many connections it has, one address gets at most three quarters of the amounts that all connections of
    /// the node share (`outboxes`, `numbers`, `pending_answers`, `watches`), and its connections have equal parts of
    /// one part.
    max_per_address(connections: usize),
    /// Accepted connections whose peer has not proven its id yet. When one more comes, the oldest of the address that
    /// has most of them is closed: among those that have said nothing, if they are more than half, or else among those
    /// that have said hello. Default: 128.
    max_unproven(connections: usize),
    /// Greetings of dialling peers that are answered in a second; each costs a signature. One address, or one /64
    /// network of IPv6, has a quarter of them while others wait. A peer that comes too soon waits, for as long as
    /// `handshake_timeout` and `max_unproven` allow. Default: 2,000, which is about half of what one thread can do; at
    /// least 1.
    max_greetings(a_second: usize),
    /// Messages and requests that are read from one peer in a second, over all of its connections; twice as many in the
    /// first. A peer is a certificate or a user of this host ([`Identity`](crate::Identity)), or else an address (or a
    /// /64 network of IPv6). A peer that sends more is not cut off: this node reads its connections more slowly, and
    /// its messages wait at the sender, whose `outbox` decides which are dropped. The wait counts neither against
    /// `least_rate` nor as silence; [`ConnectionStats::held_back`](crate::ConnectionStats::held_back) adds it up.
    /// Default: 0, which sets no limit.
    peer_messages(a_second: usize),
    /// Bytes that are read from one peer in a second, answers and heartbeats included, and otherwise as with
    /// `peer_messages`. Default: 0, which sets no limit.
    peer_bytes(a_second: usize),
    /// Names and ids without a box that one peer may try in a second, and otherwise as with `peer_messages`; 0 sets no
    /// limit. A name with a short number is looked up, and counts,
    /// again only after boxes have opened or closed. Default: 10,000.
    peer_unknown_names(a_second: usize),
    /// Addresses that have short numbers on a connection, in each direction; others are written in full. Default:
    /// 4,096, at least 64.
    interned(per_direction: usize),
    /// Short numbers that all peers together may use, beyond the 64 that each may use in any case: the address behind a
    /// number is kept until its connection ends. If half of the numbers are in use when a connection is made, and the
    /// connection would need more than an equal part of the rest, it gets half as many as `interned` says, or a
    /// quarter, and so on. Messages mean the same with fewer numbers; they are only longer. Default: 32,768, at least
    /// twice `interned`.
    numbers(addresses: usize),
    /// Actors kept alive because another node holds their address. When one more comes, another is released: an actor
    /// held only by a node that is away and expected back (see `forget_after`), or else the oldest of the node that
    /// holds most. Default: 65,536.
    exports(boxes: usize),
    /// Requests of one connection that wait for their answers; one more is refused
    /// ([`RequestsFull`](crate::DropReason::RequestsFull)). The same number of the peer's requests is accepted.
    /// Default: 65,536.
    pending_requests(per_connection: usize),
    /// Requests of all peers together that wait for this node's answers, beyond 64 of each connection, which are always
    /// accepted. The first half is first come, first served. A connection gets more of the second half only while it
    /// has less than an equal part. One more is refused, as if its own connection had too many
    /// ([`RequestsFull`](crate::DropReason::RequestsFull)). Default: 131,072.
    pending_answers(requests: usize),
    /// Boxes of this node that all peers together watch, because somebody there waits for them to close
    /// ([`Address::closed`](crate::Address::closed), or a `Recipient`), beyond 16 of each connection, which are always
    /// watched. The first half is first come, first served. A connection gets more of the second half only while it has
    /// less than an equal part. A peer for whose watch there is no room is told so, and asks anew after pauses of up to
    /// 32 seconds. Default: 16,384.
    watches(boxes: usize),
    /// Messages that wait behind all `Recipient`s of the process to be taken up; further ones are dropped. The process
    /// has one such limit: that of the node started last. Default: 65,536.
    proxy_queue(envelopes: usize),
    /// Addresses and `Recipient`s in one message, sent or received; a message with more is dropped as
    /// [`TooLarge`](crate::DropReason::TooLarge). Default: 16,384, which is also the most that the protocol has room
    /// for.
    max_handles(handles: usize),
    /// Levels of nesting in a message that is received. Default: 128.
    decode_depth(levels: usize),
    /// Bytes that decoding one message may reserve. Default: 64 MiB.
    decode_memory(bytes: usize),
    /// Relays that a message may have passed, this node included, when the node passes it on to a third node's box. An
    /// address sent on to a node that cannot reach its box leads through the node that sent it, a *relay*; an address
    /// sent on twice may lead through two. A message that has passed as many relays already is dropped
    /// ([`HopLimit`](crate::DropReason::HopLimit)): no honest message goes in a circle, and one that peers send round
    /// comes to an end. With 0 the node passes nothing on ([`Refused`](crate::DropReason::Refused)). Default: 4.
    relay_hops(hops: u8),
    /// Time for [`Node::shutdown`] to finish work that has begun, and to have waiting messages handled and written.
    /// Default: 5 s.
    shutdown_timeout(limit: Duration),
    /// The time for which a peer that went without a goodbye is expected back. Until then the actors whose `Recipient`s
    /// it holds are kept alive, and a connection that this node had dialled is dialled again for their sake. Once the
    /// peer is back, it states the actors that it still holds, and the others are released; after this time, or a
    /// goodbye, all are. Default: 60 s.
    forget_after(absence: Duration),
}

impl NodeBuilder {
    pub(super) fn new() -> NodeBuilder {
        NodeBuilder {
            limits: Limits::default(),
            thread: IoThread::default(),
            advertised: Vec::new(),
            key: None,
            transports: Transports::default(),
            policy: AcceptPolicy::default(),
        }
    }

    /// Sets the thread that sockets and pumps run on: by default the current one. See [`IoThread`] for the reasons to
    /// choose each.
    pub fn io_thread(mut self, thread: IoThread) -> Self {
        self.thread = thread;
        self
    }

    /// Tells peers that the node can be dialled at that endpoint, as well as where it listens. For a node behind a
    /// proxy, or one that listens at all addresses of its host (`0.0.0.0`, `[::]`), which nobody else can dial. The
    /// first such endpoint stands in the [`uri`](crate::Address::uri) of the node's boxes. Peers that pass its
    /// addresses on pass the endpoint on too, and the receivers dial it; they believe that this node listens there only
    /// once it has greeted as such.
    ///
    /// # Panics
    /// If the text is not an endpoint. To check a text that is read at run time, parse it as an [`Endpoint`] first.
    /// [`start`](NodeBuilder::start) panics if the node has no [transport](NodeBuilder::transport) of its scheme.
    #[track_caller]
    pub fn advertise(mut self, endpoint: &str) -> Self {
        match endpoint.parse() {
            Ok(endpoint) => self.advertised.push(endpoint),
            Err(error) => panic!("not advertised: {error}"),
        }
        self
    }

    /// Gives the node a key that was kept, and with it the id that others may have written down: see [`NodeKey`].
    /// Otherwise a fresh key is made, and the node has an id that it never had before.
    ///
    /// Boxes without names do not outlive their process all the same: to peers, a node that was started again with the
    /// same key is another run of the same node, which has none of the boxes of the last.
    pub fn identity(mut self, key: NodeKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Gives the node a further way to reach others, beside TCP and Unix sockets: one for each
    /// [scheme](Transport::scheme). From then on [`listen`](Node::listen), [`remote`](Node::remote), URIs and
    /// [`advertise`](NodeBuilder::advertise) take endpoints of that scheme.
    ///
    /// # Panics
    /// If the scheme is not one, or is that of another transport of the node, of TCP (`tcp`) or of Unix sockets
    /// (`unix`).
    #[track_caller]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        let scheme = transport.scheme().to_owned();
        match self.transports.add(transport) {
            Ok(()) => self,
            Err(NotTaken::Invalid) => panic!("{scheme:?} is no scheme: write lower-case letters, digits, +, - and ."),
            Err(NotTaken::Taken) => panic!("there is a transport {scheme} already"),
        }
    }

    /// Sets the permissions of the files of Unix sockets at which the node listens, as `chmod` takes them: `0o600` lets
    /// in the node's own user, `0o660` also its group. They are in force before anybody can connect. On systems that do
    /// not check the permissions of sockets, protect the folder of the file instead. Default: as the process's umask
    /// has it.
    ///
    /// The user of a peer on a Unix socket is known: see [`Identity::Unix`](crate::Identity::Unix).
    ///
    /// # Panics
    /// If the mode has more than the nine bits of permissions.
    #[cfg(unix)]
    #[track_caller]
    pub fn socket_mode(mut self, mode: u32) -> Self {
        assert!(mode <= 0o777, "{mode:o} are no permissions: they go from 0 to 777");
        self.transports.socket_mode = Some(mode);
        self
    }

    /// Sets the policy that decides which peers may come in: it is asked about each peer that has proven its id,
    /// whether the peer has dialled this node or was dialled by it, before anything is disclosed to the peer or done
    /// for it. Default: everybody may come in. The last policy that was set counts.
    ///
    /// A peer that is refused is told the words of the error, 256 bytes of them at most, and both nodes send
    /// [`Event::PeerRefused`](crate::Event::PeerRefused). Messages that wait for the connection are dropped as
    /// [`DropReason::Refused`](crate::DropReason::Refused), and requests end with it. The side that has dialled tries
    /// again after the longest pause of [`reconnect`](NodeBuilder::reconnect).
    ///
    /// The policy runs on the node's I/O thread, with no lock held, and must not block: all connections wait for it. A
    /// policy that panics refuses that peer. A node that dials an endpoint which leads back to itself is a peer of its
    /// own, about which the policy is asked as well.
    ///
    /// Over plain TCP an id is proven, and nothing else is protected: see [`PeerInfo`].
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// use std::collections::HashSet;
    ///
    /// use actix_hermod::{Node, NodeId, NodeKey};
    ///
    /// # System::new().block_on(async {
    /// # let friends = [NodeKey::generate().id()];
    /// let friends: HashSet<NodeId> = friends.into();
    /// let node = Node::builder()
    ///     .accept(move |peer| match friends.contains(&peer.node) {
    ///         true => Ok(()),
    ///         false => Err("only friends come in".to_owned()),
    ///     })
    ///     .start();
    /// # });
    /// ```
    pub fn accept(mut self, policy: impl Fn(&PeerInfo) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.policy = AcceptPolicy::new(policy);
        self
    }

    /// Starts the node.
    ///
    /// Called in an actix System (or any tokio runtime with a `LocalSet`), the node ends with it. Called on a thread
    /// without a runtime, it runs on a thread of its own until it is [shut down](Node::shutdown).
    ///
    /// # Panics
    /// In a current-thread tokio runtime without a `LocalSet`, such as that of `#[tokio::test]`, unless the I/O thread
    /// is [`IoThread::Own`]: nothing there could run the node's tasks. `#[actix::test]` has a `LocalSet`.
    ///
    /// If an [advertised](NodeBuilder::advertise) endpoint has the scheme of no transport of the node.
    #[track_caller]
    pub fn start(self) -> Node {
        for endpoint in &self.advertised {
            if let Err(words) = self.transports.check(endpoint) {
                panic!("not advertised: {words}");
            }
        }
        permits::limit_queue(self.limits.proxy_queue);
        let (handle, io) = io_thread::io();
        let NodeBuilder { limits, thread, advertised, key, transports, policy } = self;
        let setup = Setup { limits, advertised, key, transports, policy };
        let inner = NodeInner::new(setup, handle, start::start);
        let stop = || StopOnDrop(Arc::downgrade(&inner));
        let keeping = Arc::clone(&inner).housekeep(stop());
        let ending = Arc::clone(&inner);
        io.start(thread, keeping, move || ending.publish_last(), stop());
        Node { inner }
    }
}
