//! A message on its way: typed inside this process ([`Parcel`]), encoded outside of it ([`Envelope`]), and where it came from.

use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use actix::prelude::Message;
use bytes::Bytes;

use super::ask_error::AskError;
use super::pointer::Pointer;
use super::reply::Reply;
use crate::reason::DropReason;

/// A message, and where its result goes if somebody waits for it.
#[derive(Debug)]
pub(crate) struct Parcel<M: Message> {
    pub(crate) message: M,
    /// Boxed, because most messages have none and all are moved several times.
    pub(crate) reply: Option<Box<Reply<M::Result>>>,
    pub(crate) from: Source,
}

impl<M: Message> Parcel<M> {
    /// One of this node.
    #[inline]
    pub(crate) fn new(message: M, reply: Option<Reply<M::Result>>) -> Parcel<M> {
        Parcel { message, reply: reply.map(Box::new), from: Source::HERE }
    }

    /// Why it is not worth handling any more.
    pub(crate) fn lapsed(&self) -> Option<DropReason> {
        self.reply.as_ref().and_then(|reply| reply.lapsed())
    }

    /// It is about to be handled; or why it is not worth that any more.
    pub(crate) fn begin(&self) -> Result<(), DropReason> {
        self.reply.as_ref().map_or(Ok(()), |reply| reply.begin())
    }

    /// Drops the message, and tells the one who waits for its result. A panic of its `Drop` costs nothing else.
    pub(crate) fn drop_for(self, reason: DropReason, detail: Option<String>) {
        let Parcel { message, reply, .. } = self;
        if let Some(reply) = reply {
            (*reply).fail(AskError::NotDelivered { reason, detail });
        }
        contained::<M, _>(|| drop(message));
    }
}

/// Runs code that may drop a message of type `M`, or its result. A panic of their `Drop` ends here: it must not end the task
/// that many other messages pass through. `None` if there was one.
pub(crate) fn contained<M, R>(work: impl FnOnce() -> R) -> Option<R> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        let type_name = std::any::type_name::<M>();
        tracing::error!(target: "actix_hermod", type_name, "a message panicked when it was dropped");
    }
    done
}

/// A message as it travels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) body: Body<'a>,
    pub(crate) handles: &'a [Arc<Pointer>],
    /// That of the shape of its type; 0 if it is not known.
    pub(crate) fingerprint: u64,
    /// Of the Rust type that it was here; empty if it was none.
    pub(crate) type_name: &'static str,
    /// How many relays have passed it on.
    pub(crate) hops: u8,
}

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
