//! What happened: every message sent, delivered or dropped is counted here and nowhere else, and drops are told.
//!
//! Counting is an atomic addition. Telling is coalesced: drops of one kind between two flushes are one
//! [`Event::DeadLetter`] with a count, and those for one reason are one line in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use actix::prelude::Message;
use actix::prelude::Recipient;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Notify;

use self::tally::Tallies;
use self::tally::What;
use crate::ident::NodeId;

#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod stats;
mod tally;

/// Kinds of dead letters remembered between two flushes; further ones are told without their box's name.
const MAX_UNTOLD: usize = 256;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One for each way to lose a message.
        ///
        /// Each says on which side it is counted, what the cause is, and what can be done. The *sender* is the node
        /// whose address or recipient was used (for what it passes on to a third node, one that stands between), and
        /// the *box* means the node where the box is. For a message that stays at home they are one. A *relay* is a node
        /// that passes messages on to a third node's box, because its peer got the address from it: it counts what it drops
        /// and tells the peer, as the node of a box does.
        #[non_exhaustive]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        pub enum DropReason { $($(#[$doc])* $name),* }

        impl DropReason {
            pub(crate) const ALL: &'static [DropReason] = &[$(DropReason::$name),*];
        }
    };
}

drop_reasons! {
    /// **Sender.** More waits for the connection than `outbox` bytes: the peer or the network is slower than the
    /// sender. Send less, wait for answers now and then, or raise `outbox`.
    OutboxFull,
    /// **Sender.** More waits behind the process's `Recipient`s than `proxy_queue` messages: they are sent faster than
    /// the node's I/O thread takes them up. Send through an `Address`, or less, or raise `proxy_queue`.
    HandleShed,
    /// **Sender.** There is no connection: the message waited for an attempt that failed, or came in the pause before
    /// the next. `detail` says what the attempt met. Check that the peer runs and that the endpoint is right; send
    /// again later.
    NotConnected,
    /// **Sender.** The connection broke before the message was written to it. It was not handled, and can be sent
    /// again; what was written and may have been handled is not dropped, but in doubt
    /// ([`Stats::in_doubt`](crate::Stats::in_doubt)).
    Lost,
    /// **Sender.** The message with its addresses is longer than `max_message`, here or at the peer. Send it in parts,
    /// or raise `max_message` on both sides.
    TooLarge,
    /// **Sender.** The message's own `Serialize` failed or panicked, it is made of what postcard does not carry, or it
    /// holds an address that cannot travel. `detail` says which; change the message's type.
    NotEncodable,
    /// **Box.** The node has no box of that name or id now. Check the name, open the box before others send to it, or
    /// send again later.
    NoSuchBox,
    /// **Box.** It was closed, or its actor has stopped, with the message in it or on its way. Keep it open for longer,
    /// or read it to its end before it is dropped.
    BoxClosed,
    /// **Box.** Its dropping buffer is full: it is read more slowly than it is sent to. Read faster, open it with a
    /// larger buffer, or send less.
    NewestShed,
    /// **Box.** Its sliding buffer was full, and let the oldest message go for a newer one. There is nothing to
    /// do if the newest are what is wanted; otherwise read faster, or open it with a larger buffer.
    OldestShed,
    /// **Box.** A newer message of the same key took its place, in a box that keeps the newest of each
    /// ([`Buffer::latest_by`](crate::Buffer::latest_by)). There is nothing to do.
    Replaced,
    /// **Box.** The [shape](crate::Shape) of its messages, or of their results, is not that of the one that was sent:
    /// the two sides run different builds, or the name is that of another box. `detail` says what differs, on both
    /// sides. Give a box whose message has changed a new name, or upgrade the other side as well.
    TypeMismatch,
    /// **Box.** The message needs more than `decode_depth` or `decode_memory` allow, or the `Deserialize` of the box's
    /// type refused it or panicked. `detail` says which; raise the limit, or send what the type accepts.
    NotDecodable,
    /// **Box.** The time that a request was given was over before the request was taken. Give it more, or make the
    /// handler faster.
    Expired,
    /// **Box.** The sender took the request back before it was taken or, of one that an actor had already, before it was
    /// answered: whether an actor has begun what it has not answered cannot be seen. There is nothing to do.
    Cancelled,
    /// **Sender**, if more of its requests wait for answers on a connection than `pending_requests`; **box**, if it has
    /// as many of the sender's. Ask less at a time, or raise `pending_requests` on both sides.
    RequestsFull,
    /// **Relay.** The policy of the node forbids it: it passes nothing on, as `relay_hops` is 0 there. Raise that, or get
    /// the address from a node that reaches the box.
    Refused,
    /// **Relay.** Nothing leads to the box any more, nor will: its node, or the next on the way there, has said that it
    /// ends, or the box itself is known to be gone. Get a fresh address.
    NoRoute,
    /// **Relay.** The message was passed on by as many nodes already as `relay_hops` allows there. Have the address sent by
    /// fewer hands, or raise `relay_hops` at the relays.
    HopLimit,
    /// **Either.** The node was shut down, or its System ended. There is nothing to do, or shut it down later.
    Shutdown,
}

/// On which side of a connection a message was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// By this node.
    Here,
    /// By the node at the other end.
    Peer,
}

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
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DownReason::Goodbye => "one side said goodbye",
            DownReason::Lost => "the connection broke",
            DownReason::Silent => "the peer was silent for too long",
            DownReason::Misbehaved(how) => return write!(f, "the peer broke the protocol: {how}"),
        })
    }
}

/// Why [`Address::closed`](crate::Address::closed) has ended.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The box was closed, or there is none of that name or id.
    BoxClosed,
    /// The node of the box has said goodbye for good, another node answers in its place, or this node was shut down.
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
    /// while somebody holds an address, and addresses work again once it has; a restarted process is another node.
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

/// Drops by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// Made at the first drop: every box and every address has these, and most never lose a message.
    counts: OnceLock<Box<[AtomicU64; DropReason::ALL.len()]>>,
}

impl Drops {
    pub(crate) fn add(&self, reason: DropReason, count: u64) {
        if let Some(counter) = self.counts.get_or_init(Box::default).get(reason as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts().sum()
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.get().into_iter().flat_map(|counts| counts.iter()).map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn to_map(&self) -> BTreeMap<DropReason, u64> {
        DropReason::ALL.iter().copied().zip(self.counts()).filter(|&(_, count)| count > 0).collect()
    }
}

/// What a dropped message was for, in words for a person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) name: &'a str,
    pub(crate) type_name: &'static str,
    pub(crate) detail: Option<&'a str>,
}

/// The books of one node.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    tallies: Tallies,
    in_doubt: AtomicU64,
    late_answers: AtomicU64,
    connects: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    dropped: Drops,
    reported: Drops,
    watched: AtomicBool,
    audience: Mutex<Audience>,
    /// What of `dropped` and of `reported` was logged.
    logged: Mutex<[BTreeMap<DropReason, u64>; 2]>,
    /// Whether anything was dropped since the last flush.
    stirred: AtomicBool,
    noted: Notify,
}

#[derive(Debug, Default)]
struct Audience {
    subscribers: Vec<Recipient<Event>>,
    untold: BTreeMap<Kind, (u64, Option<String>)>,
}

/// Drops that are told together.
type Kind = (Arc<str>, &'static str, DropReason, There);

/// Whether the peer has dropped it.
type There = bool;

impl Observer {
    pub(crate) fn sent(&self, count: u64) {
        self.tallies.add(What::Sent, count);
    }

    /// One more was sent on this thread.
    #[inline]
    pub(crate) fn sent_here(&self) {
        self.tallies.count(What::Sent);
    }

    pub(crate) fn delivered(&self, count: u64) {
        self.tallies.add(What::Delivered, count);
    }

    /// One more was delivered on this thread.
    #[inline]
    pub(crate) fn delivered_here(&self) {
        self.tallies.count(What::Delivered);
    }

    pub(crate) fn in_doubt(&self, count: u64) {
        self.in_doubt.fetch_add(count, Ordering::Relaxed);
    }

    /// So many messages are no longer in doubt.
    pub(crate) fn settled(&self, count: u64) {
        self.in_doubt.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn late_answer(&self) {
        self.late_answers.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has come up.
    pub(crate) fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bytes_sent(&self, count: u64) {
        self.bytes_sent.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn bytes_received(&self, count: u64) {
        self.bytes_received.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts messages dropped here; subscribers hear of it at the next [`flush`](Observer::flush).
    pub(crate) fn dropped(&self, letter: Letter<'_>, reason: DropReason, count: u64) {
        if count == 0 {
            return;
        }
        self.dropped.add(reason, count);
        tracing::trace!(target: "actix_hermod", name = letter.name, ?reason, count, detail = letter.detail, "dropped");
        if self.watched.load(Ordering::Relaxed) {
            self.note(letter, reason, count, false);
        }
        self.stir();
    }

    /// A peer has dropped messages sent from here.
    pub(crate) fn reported(&self, letter: Letter<'_>, reason: DropReason, count: u64) {
        self.reported.add(reason, count);
        if self.watched.load(Ordering::Relaxed) {
            self.note(letter, reason, count, true);
        }
        self.stir();
    }

    /// Says more about drops that were counted, to be told with them or, if they were told already, behind them.
    pub(crate) fn explain(&self, name: &str, type_name: &'static str, reason: DropReason, side: Side, words: &str) {
        if self.watched.load(Ordering::Relaxed) {
            self.note(Letter { name, type_name, detail: Some(words) }, reason, 0, side == Side::Peer);
            self.stir();
        }
    }

    fn note(&self, letter: Letter<'_>, reason: DropReason, count: u64, there: There) {
        let mut audience = self.audience.lock();
        let name: Arc<str> = if audience.untold.len() < MAX_UNTOLD { letter.name.into() } else { "".into() };
        let (sum, detail) = audience.untold.entry((name, letter.type_name, reason, there)).or_default();
        *sum += count;
        if letter.detail.is_some() {
            *detail = letter.detail.map(str::to_owned);
        }
    }

    /// Something is to be told at the next flush. Writes even what is written already: so a flush either sees what came
    /// before, or comes again.
    fn stir(&self) {
        if !self.stirred.swap(true, Ordering::AcqRel) {
            self.noted.notify_one();
        }
    }

    /// Ends when there are drops that were not told.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    pub(crate) fn subscribe(&self, subscriber: Recipient<Event>) {
        self.audience.lock().subscribers.push(subscriber);
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Tells subscribers at once; those that have stopped, or are full, miss it.
    pub(crate) fn tell(&self, event: &Event) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let mut audience = self.audience.lock();
        audience.subscribers.retain(Recipient::connected);
        self.watched.store(!audience.subscribers.is_empty(), Ordering::Relaxed);
        for subscriber in &audience.subscribers {
            // Not through a fresh clone, which actix would let past a full mailbox.
            let _ = subscriber.try_send(event.clone());
        }
    }

    /// Tells the log and subscribers of the drops since the last flush.
    pub(crate) fn flush(&self, node: NodeId) {
        self.stirred.swap(false, Ordering::AcqRel);
        self.log(node);
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let untold = std::mem::take(&mut self.audience.lock().untold);
        for ((name, type_name, reason, there), (count, detail)) in untold {
            let (name, type_name) = (name.as_ref().to_owned(), type_name.to_owned());
            let side = if there { Side::Peer } else { Side::Here };
            self.tell(&Event::DeadLetter { name, type_name, reason, count, side, detail });
        }
    }
    /// Logs the drops since the last flush: one line for each reason, however many there were.
    fn log(&self, node: NodeId) {
        for (side, counts, logged) in [("here", &self.dropped, 0), ("peer", &self.reported, 1)] {
            for (reason, count) in self.unlogged(counts, logged) {
                if is_by_choice(reason) {
                    tracing::debug!(target: "actix_hermod", %node, ?reason, count, side, "messages were dropped");
                } else {
                    tracing::warn!(target: "actix_hermod", %node, ?reason, count, side, "messages were dropped");
                }
            }
        }
    }

    /// By how much these counts have grown since they were last logged.
    fn unlogged(&self, counts: &Drops, which: usize) -> Vec<(DropReason, u64)> {
        let mut logged = self.logged.lock();
        let Some(logged) = logged.get_mut(which) else { return Vec::new() };
        let counts = counts.to_map();
        let before = std::mem::replace(logged, counts.clone());
        let grown = counts.into_iter().map(|(reason, count)| (reason, count - before.get(&reason).unwrap_or(&0)));
        grown.filter(|&(_, count)| count > 0).collect()
    }
}

/// Whether it was somebody's wish that such messages are dropped: one who opened a box for the newest only, or who takes a
/// request back.
fn is_by_choice(reason: DropReason) -> bool {
    matches!(reason, DropReason::OldestShed | DropReason::Replaced | DropReason::Cancelled)
}
