//! A message on its way: typed inside this process ([`Parcel`]), encoded outside it ([`Envelope`]), and its source.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use actix::prelude::Message;
use bytes::Bytes;

use super::pointer::Pointer;
use super::reply::Reply;
use crate::reason::DropReason;
use crate::wire::body::Body;

/// A message, and the way back for its result if a caller waits for it.
#[derive(Debug)]
pub(crate) struct Parcel<M: Message> {
    pub(crate) message: M,
    /// The way back. Boxed, because most messages have none and all are moved several times.
    pub(crate) reply: Option<Box<Reply<M::Result>>>,
    pub(crate) from: Source,
}

impl<M: Message> Parcel<M> {
    /// Makes a parcel for a message sent on this node.
    #[inline]
    pub(crate) fn new(message: M, reply: Option<Reply<M::Result>>) -> Parcel<M> {
        Parcel { message, reply: reply.map(Box::new), from: Source::HERE }
    }

    /// Returns the reason why the message need not be handled any more, if there is one.
    pub(crate) fn lapsed(&self) -> Option<DropReason> {
        self.reply.as_ref().and_then(|reply| reply.lapsed())
    }

    /// Marks the message as about to be handled, or returns the reason why it need not be handled any more.
    pub(crate) fn begin(&self) -> Result<(), DropReason> {
        self.reply.as_ref().map_or(Ok(()), |reply| reply.begin())
    }
}

/// Runs code that may drop a message of type `M`, or its result. Catches a panic of their `Drop`, which must not end
/// the task that many other messages pass through. Returns `None` if there was a panic.
pub(crate) fn contained<M, R>(work: impl FnOnce() -> R) -> Option<R> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        let type_name = std::any::type_name::<M>();
        tracing::error!(target: "actix_hermod", type_name, "a message panicked when it was dropped");
    }
    done
}

/// A message in the form in which it travels, whichever connection it takes. The link that it leaves by names the
/// target and the handles as its peer knows them: that is a [`Post`](crate::wire::outgoing::Post), which is written at
/// once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) body: Body<'a>,
    pub(crate) handles: &'a [Arc<Pointer>],
    /// The fingerprint of the shape of its type; 0 if it is not known.
    pub(crate) fingerprint: u64,
    /// The name of its Rust type at this node; empty if it had none here.
    pub(crate) type_name: &'static str,
    /// Number of relays that have passed the message on.
    pub(crate) hops: u8,
}

impl Envelope<'_> {
    /// Returns the message in a form in which it can wait.
    pub(crate) fn keep(&self) -> KeptEnvelope {
        let &Envelope { body, handles, fingerprint, type_name, hops } = self;
        KeptEnvelope { body: body.keep(), handles: handles.to_vec(), fingerprint, type_name, hops }
    }
}

/// An [`Envelope`] that waits.
#[derive(Debug)]
pub(crate) struct KeptEnvelope {
    body: Bytes,
    handles: Vec<Arc<Pointer>>,
    fingerprint: u64,
    type_name: &'static str,
    hops: u8,
}

impl KeptEnvelope {
    /// Returns the message as it travels on.
    pub(crate) fn envelope(&self) -> Envelope<'_> {
        let &KeptEnvelope { ref body, ref handles, fingerprint, type_name, hops } = self;
        Envelope { body: Body::from(body), handles, fingerprint, type_name, hops }
    }
}

/// The source of a message, so that a later drop can be reported there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Source(u64);

impl Source {
    /// The source of a message sent on this node.
    pub(crate) const HERE: Source = Source(0);

    /// Returns the source of a message that came over a connection, for a box by its name or by its id, from the peer
    /// itself or passed on by it.
    #[inline]
    pub(crate) fn connection(connection: u64, by_id: bool, is_relayed: bool) -> Source {
        Source(connection << 2 | u64::from(is_relayed) << 1 | u64::from(by_id))
    }

    /// Returns the connection, and whether the box was addressed by its id.
    pub(crate) fn away(self) -> Option<(u64, bool)> {
        (self != Source::HERE).then_some((self.0 >> 2, self.0 & 1 == 1))
    }

    /// Whether the peer has passed the message on for another node.
    pub(crate) fn is_relayed(self) -> bool {
        self.0 & 2 == 2
    }
}

/// Facts about a message that has arrived, beside its content. Not an [`Envelope`]: the box takes the handles, and has
/// no use for a sender's name of the type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) from: Source,
    /// The fingerprint of its shape; 0 if it was not stated.
    pub(crate) fingerprint: u64,
    /// Number of relays that have passed the message on.
    pub(crate) hops: u8,
}
