//! The words in which the seams of this room speak.

use std::any::TypeId;
use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::observe::DropReason;

/// Tells recipients apart: the message's type and actix's own idea of the actor.
pub(crate) type ExportKey = (TypeId, usize);

/// Where a message came from, for those who have to say there that it was dropped later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Source(u64);

impl Source {
    /// Sent on this node.
    pub(crate) const HERE: Source = Source(0);

    /// Came over a connection, for a box by its name or by its id.
    #[inline]
    pub(crate) fn connection(connection: u64, by_id: bool) -> Source {
        Source(connection << 1 | u64::from(by_id))
    }

    /// The connection, and whether the box was called by its id.
    pub(crate) fn away(self) -> Option<(u64, bool)> {
        (self != Source::HERE).then_some((self.0 >> 1, self.0 & 1 == 1))
    }
}

/// What is known of a message that has arrived, beside what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) from: Source,
    /// That of its shape; 0 if that was not told.
    pub(crate) fingerprint: u64,
    /// How many relays have passed it on.
    pub(crate) hops: u8,
}

/// A body that is no longer is copied to be kept: what keeps it would cost more than it.
const COPIED: usize = 4 << 10;

/// The body of a message, as it was encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    bytes: &'a [u8],
    /// The same, of a large one: to keep that costs no copy.
    kept: Option<&'a Bytes>,
}

impl Body<'_> {
    /// What it is kept in, if to keep it costs nothing.
    #[inline]
    pub(crate) fn kept(&self) -> Option<&Bytes> {
        self.kept
    }

    /// The bytes, to be kept.
    pub(crate) fn keep(&self) -> Bytes {
        self.kept.map_or_else(|| Bytes::copy_from_slice(self.bytes), Bytes::clone)
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl<'a> From<&'a [u8]> for Body<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Body<'a> {
        Body { bytes, kept: None }
    }
}

impl<'a> From<&'a Bytes> for Body<'a> {
    fn from(bytes: &'a Bytes) -> Body<'a> {
        Body { bytes, kept: (bytes.len() > COPIED).then_some(bytes) }
    }
}

/// Why a box did not take a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Full(DropReason),
    Closed,
    /// The box's messages are of another Rust type, perhaps of equal shape.
    OtherType,
}

/// Why a message from a connection was dropped.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) reason: DropReason,
    pub(crate) detail: Option<String>,
}

impl From<DropReason> for Rejection {
    fn from(reason: DropReason) -> Rejection {
        Rejection { reason, detail: None }
    }
}

/// One request on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Correlation {
    pub(crate) connection: u64,
    pub(crate) number: u64,
}

/// What a pointer was made of. It never changes, and equality is over it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Origin {
    /// Whatever box has that name at whatever node listens there.
    Named { endpoint: Endpoint, name: Box<str> },
    /// One incarnation of a box.
    Boxed { node: NodeId, id: BoxId },
}

/// Why a message was not put into an outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotPosted {
    /// The link has ended for good; another may lead to the same node.
    Over,
    /// There is no connection now, and it was not to be waited for.
    NotUp,
    Dropped(DropReason),
}

/// A request that came from a connection and is not yet answered, as the connection knows it.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    cancelled: AtomicBool,
    /// Of one who would not go on if it were.
    waker: AtomicWaker,
}

impl Asked {
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    pub(crate) fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_cancelled() {
            self.waker.register(cx.waker());
        }
        // Again, for one that came in between.
        if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
