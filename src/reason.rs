//! The reason of a drop, and the side of a connection on which it happened: types shared by all layers.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $words:literal),* $(,)?) => {
        /// The reason why a message was dropped.
        ///
        /// The description of each reason has the side on which the drop is counted, its cause, and a remedy. The
        /// *sender* is the node whose address or recipient was used (for a message that is passed on to a third node,
        /// the node in between), and the *box* means the node where the box is. For a message within one node they are
        /// the same. A *relay* is a node that passes messages on to a third node's box, because its peer got the
        /// address from it: it counts its drops and reports them to the peer, like the node of a box.
        ///
        /// The manual's page on [losses](crate::manual::losses) has all reasons in a table.
        #[non_exhaustive]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        pub enum DropReason { $($(#[$doc])* $name),* }

        impl DropReason {
            pub(crate) const ALL: &'static [DropReason] = &[$(DropReason::$name),*];
        }

        /// Shows the cause in a few words, as part of a sentence: "the box is full".
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
    // The order is that of the codes on the wire (`wire/frames/refuse`): new reasons go to the end.
    /// **Sender.** More than `outbox` bytes wait for the connection, or more than `outboxes` for all connections: a
    /// peer or the network is slower than the sender. Send less, wait for answers now and then, or raise the limit.
    OutboxFull = "the connection's outbox is full",
    /// **Sender.** More than `proxy_queue` messages wait behind the process's `Recipient`s: they are sent faster than
    /// the node's I/O thread processes them. Send through an `Address`, or less, or raise `proxy_queue`.
    HandleShed = "too many messages wait behind the recipients of the process",
    /// **Sender.** There is no connection: the message waited for an attempt that failed, or came in the pause before
    /// the next. `detail` has the error of the attempt. Check that the peer runs and that the endpoint is right; send
    /// again later.
    NotConnected = "there is no connection",
    /// **Sender.** The connection broke before the message was written to it, or the peer has reported since that it
    /// had not read it. It was not handled, and can be sent again; a message that was written and may have been handled
    /// is not dropped, but in doubt ([`Stats::in_doubt`](crate::Stats::in_doubt)).
    Lost = "the connection broke before the message was written",
    /// **Sender.** The message with its addresses is longer than `max_message`, here or at the peer, or has more
    /// addresses than `max_handles`; if `max_handles` is lower at the node of the box, or at a relay, that node reports
    /// the drop. Send the message in parts, or raise the limit on both sides. `detail` has the limit.
    TooLarge = "the message is too large",
    /// **Sender.** The message's own `Serialize` failed or panicked, the message contains types that postcard does not
    /// carry, or it holds an address that cannot travel. `detail` has the cause; change the message's type.
    NotEncodable = "the message cannot be encoded",
    /// **Box.** The node has no box of that name or id now. Check the name, open the box before others send to it, or
    /// send again later.
    NoSuchBox = "there is no such box",
    /// **Box.** The box was closed, or its actor has stopped, with the message in it or on its way. Keep the box open
    /// for longer, or read it to its end before dropping it.
    BoxClosed = "the box is closed",
    /// **Box.** The box's dropping buffer is full, or all boxes of the node hold `boxes` bytes: messages come faster
    /// than they are read. Read faster, open the box with a larger buffer, raise `boxes`, or send less.
    NewestShed = "the box is full",
    /// **Box.** The box's sliding buffer was full, and dropped the oldest message for a newer one. There is nothing to
    /// do if only the newest messages are wanted; otherwise read faster, or open the box with a larger buffer.
    OldestShed = "a newer message took its room in a full box",
    /// **Box.** A newer message of the same key took its place, in a box that keeps the newest of each
    /// ([`Buffer::latest_by`](crate::Buffer::latest_by)). There is nothing to do.
    Replaced = "a newer message of the same key took its place",
    /// **Box.** The [shape](crate::Shape) of the box's messages, or of their results, differs from that of the message:
    /// the two sides run different builds, or the name is that of another box. `detail` has the differences, on both
    /// sides. Give a box whose message has changed a new name, or upgrade the other side as well.
    TypeMismatch = "the box takes messages of another type",
    /// **Box.** The message needs more than `decode_depth` or `decode_memory` allow, or the `Deserialize` of the box's
    /// type refused it or panicked. `detail` has the cause; raise the limit, or send values that the type accepts.
    NotDecodable = "the message cannot be decoded",
    /// **Box.** The timeout of a request was over before the request was taken. Set a longer one, or make the handler
    /// faster.
    Expired = "its time was over before it was handled",
    /// **Box.** The sender cancelled the request before it was taken or, if an actor had it already, before it was
    /// answered: it is not visible whether an actor has begun a request that it has not answered. There is nothing to
    /// do.
    Cancelled = "the request was taken back",
    /// **Sender**, if more than `pending_requests` of its requests wait for answers on a connection; **box**, if it
    /// already has this number of the sender's requests, or `pending_answers` of all peers. Send fewer requests at a
    /// time, or raise `pending_requests` on both sides.
    RequestsFull = "too many requests wait for answers",
    /// **Sender**, if the [accept policy](crate::NodeBuilder::accept) of this node or of the peer has refused the
    /// connection: `detail` has the words of the policy. **Relay**, if the node passes nothing on, as `relay_hops` is 0
    /// there: raise `relay_hops`, or get the address from a node that reaches the box.
    Refused = "the node's policy forbids it",
    /// **Relay.** Nothing leads to the box any more, or ever will: its node, or the next node on the way, has announced
    /// its end, or the box itself is known to be gone. Get a fresh address.
    NoRoute = "nothing leads to the box any more",
    /// **Relay.** The message was already passed on by as many nodes as `relay_hops` allows there. Pass the address on
    /// through fewer nodes, or raise `relay_hops` at the relays.
    HopLimit = "too many relays have passed it on",
    /// **Either.** The node was shut down, or its System ended. There is nothing to do, except to shut the node down
    /// later.
    Shutdown = "the node was shut down",
}

/// The side of a connection on which a message was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// By this node.
    Here,
    /// By the node at the other end.
    Peer,
}

/// Shows the side as part of a sentence: "dropped here", "dropped at the peer".
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
