//! Why a message was dropped, and on which side of a connection: the words that all layers share.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $words:literal),* $(,)?) => {
        /// One for each way to lose a message.
        ///
        /// Each says on which side it is counted, what the cause is, and what can be done. The *sender* is the node
        /// whose address or recipient was used (for what it passes on to a third node, one that stands between), and
        /// the *box* means the node where the box is. For a message that stays at home they are one. A *relay* is a node
        /// that passes messages on to a third node's box, because its peer got the address from it: it counts what it drops
        /// and tells the peer, as the node of a box does.
        ///
        /// The manual's page on [losses](crate::manual::losses) has all reasons in a table.
        #[non_exhaustive]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        pub enum DropReason { $($(#[$doc])* $name),* }

        impl DropReason {
            pub(crate) const ALL: &'static [DropReason] = &[$(DropReason::$name),*];
        }

        /// The cause in a few words, as part of a sentence: "the box is full".
        impl fmt::Display for DropReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(DropReason::$name => $words),*
                })
            }
        }
    };
}

drop_reasons! {
    /// **Sender.** More waits for the connection than `outbox` bytes: the peer or the network is slower than the
    /// sender. Send less, wait for answers now and then, or raise `outbox`.
    OutboxFull = "the connection's outbox is full",
    /// **Sender.** More waits behind the process's `Recipient`s than `proxy_queue` messages: they are sent faster than
    /// the node's I/O thread takes them up. Send through an `Address`, or less, or raise `proxy_queue`.
    HandleShed = "too many messages wait behind the recipients of the process",
    /// **Sender.** There is no connection: the message waited for an attempt that failed, or came in the pause before
    /// the next. `detail` says what the attempt met. Check that the peer runs and that the endpoint is right; send
    /// again later.
    NotConnected = "there is no connection",
    /// **Sender.** The connection broke before the message was written to it. It was not handled, and can be sent
    /// again; what was written and may have been handled is not dropped, but in doubt
    /// ([`Stats::in_doubt`](crate::Stats::in_doubt)).
    Lost = "the connection broke before the message was written",
    /// **Sender.** The message with its addresses is longer than `max_message`, here or at the peer, or has more addresses
    /// than `max_handles`; of a lower `max_handles` of its own the node of the box, or a relay, tells. Send it in parts, or
    /// raise the limit on both sides. `detail` says which.
    TooLarge = "the message is too large",
    /// **Sender.** The message's own `Serialize` failed or panicked, it is made of what postcard does not carry, or it
    /// holds an address that cannot travel. `detail` says which; change the message's type.
    NotEncodable = "the message cannot be encoded",
    /// **Box.** The node has no box of that name or id now. Check the name, open the box before others send to it, or
    /// send again later.
    NoSuchBox = "there is no such box",
    /// **Box.** It was closed, or its actor has stopped, with the message in it or on its way. Keep it open for longer,
    /// or read it to its end before it is dropped.
    BoxClosed = "the box is closed",
    /// **Box.** Its dropping buffer is full: it is read more slowly than it is sent to. Read faster, open it with a
    /// larger buffer, or send less.
    NewestShed = "the box is full",
    /// **Box.** Its sliding buffer was full, and let the oldest message go for a newer one. There is nothing to
    /// do if the newest are what is wanted; otherwise read faster, or open it with a larger buffer.
    OldestShed = "a newer message took its room in a full box",
    /// **Box.** A newer message of the same key took its place, in a box that keeps the newest of each
    /// ([`Buffer::latest_by`](crate::Buffer::latest_by)). There is nothing to do.
    Replaced = "a newer message of the same key took its place",
    /// **Box.** The [shape](crate::Shape) of its messages, or of their results, is not that of the one that was sent:
    /// the two sides run different builds, or the name is that of another box. `detail` says what differs, on both
    /// sides. Give a box whose message has changed a new name, or upgrade the other side as well.
    TypeMismatch = "the box takes messages of another type",
    /// **Box.** The message needs more than `decode_depth` or `decode_memory` allow, or the `Deserialize` of the box's
    /// type refused it or panicked. `detail` says which; raise the limit, or send what the type accepts.
    NotDecodable = "the message cannot be decoded",
    /// **Box.** The time that a request was given was over before the request was taken. Give it more, or make the
    /// handler faster.
    Expired = "its time was over before it was handled",
    /// **Box.** The sender took the request back before it was taken or, of one that an actor had already, before it was
    /// answered: whether an actor has begun what it has not answered cannot be seen. There is nothing to do.
    Cancelled = "the request was taken back",
    /// **Sender**, if more of its requests wait for answers on a connection than `pending_requests`; **box**, if it has
    /// as many of the sender's. Ask less at a time, or raise `pending_requests` on both sides.
    RequestsFull = "too many requests wait for answers",
    /// **Relay.** The policy of the node forbids it: it passes nothing on, as `relay_hops` is 0 there. Raise that, or get
    /// the address from a node that reaches the box.
    Refused = "the node's policy forbids it",
    /// **Relay.** Nothing leads to the box any more, nor will: its node, or the next on the way there, has said that it
    /// ends, or the box itself is known to be gone. Get a fresh address.
    NoRoute = "nothing leads to the box any more",
    /// **Relay.** The message was passed on by as many nodes already as `relay_hops` allows there. Have the address sent by
    /// fewer hands, or raise `relay_hops` at the relays.
    HopLimit = "too many relays have passed it on",
    /// **Either.** The node was shut down, or its System ended. There is nothing to do, or shut it down later.
    Shutdown = "the node was shut down",
}

/// On which side of a connection a message was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// By this node.
    Here,
    /// By the node at the other end.
    Peer,
}

/// As part of a sentence: "dropped here", "dropped at the peer".
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Here => "here",
            Side::Peer => "at the peer",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_and_side_has_words_of_its_own() {
        let words: BTreeSet<String> = DropReason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), DropReason::ALL.len());
        assert!(DropReason::ALL.iter().all(|reason| reason.to_string() != format!("{reason:?}")));
        assert_eq!(format!("dropped {}, {}", Side::Here, DropReason::NewestShed), "dropped here, the box is full");
        assert_eq!(format!("dropped {}", Side::Peer), "dropped at the peer");
    }
}
