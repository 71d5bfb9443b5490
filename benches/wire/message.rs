//! The messages, as a user of this crate would write them, and the two kinds of handle that they go through.

use actix::Message;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::Mailbox;
use actix_hermod::RemoteMessage;
use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;

/// The answer to a ping.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Pong {
    pub(crate) seq: u64,
}

/// One of the many messages of `oneway`.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Data {
    pub(crate) seq: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) body: [u8; 32],
}

/// One of the messages of `bulk`. Its bytes are shared, since a sender of much data would not copy them.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Blob {
    pub(crate) seq: u64,
    pub(crate) body: Bytes,
}

/// Tells the sender how far its messages have been read.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Ack {
    /// All messages before this sequence number were read or are lost.
    pub(crate) next: u64,
    /// The number of messages that were read.
    pub(crate) count: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct AddressPing {
    seq: u64,
    return_to: Address<Pong>,
}

/// A ping with many addresses, of which the first is answered.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct AddressCrowd {
    seq: u64,
    members: Vec<Address<Pong>>,
}

/// Brings the address for acknowledgements.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct AddressStart {
    return_to: Address<Ack>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct RecipientPing {
    seq: u64,
    #[serde(with = "actix_hermod::recipient")]
    return_to: Recipient<Pong>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct RecipientCrowd {
    seq: u64,
    #[serde(with = "actix_hermod::recipient")]
    members: Vec<Recipient<Pong>>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct RecipientStart {
    #[serde(with = "actix_hermod::recipient")]
    return_to: Recipient<Ack>,
}

/// The kind of handle that a workload sends through in both directions: an [`Address`], or the actix [`Recipient`] made
/// of it.
pub(crate) trait Handle: 'static {
    type To<M: RemoteMessage>: Clone;
    type Ping: RemoteMessage + Message<Result = ()>;
    type Crowd: RemoteMessage + Message<Result = ()>;
    type Start: RemoteMessage + Message<Result = ()>;

    /// Returns the handle of a box of the other process.
    fn to<M: RemoteMessage>(there: &Address<M>) -> Self::To<M>;
    /// Returns the handle of a mailbox of ours, to be given away.
    fn back_to<M: RemoteMessage>(here: &Mailbox<M>) -> Self::To<M>;
    fn send<M: RemoteMessage>(to: &Self::To<M>, message: M);

    fn ping(seq: u64, return_to: Self::To<Pong>) -> Self::Ping;
    fn answer(ping: Self::Ping);
    fn crowd(seq: u64, members: Vec<Self::To<Pong>>) -> Self::Crowd;
    fn answer_crowd(crowd: Self::Crowd);
    fn start(return_to: Self::To<Ack>) -> Self::Start;
    fn started(start: Self::Start) -> Self::To<Ack>;
}

pub(crate) enum ByAddress {}

impl Handle for ByAddress {
    type To<M: RemoteMessage> = Address<M>;
    type Ping = AddressPing;
    type Crowd = AddressCrowd;
    type Start = AddressStart;

    fn to<M: RemoteMessage>(there: &Address<M>) -> Address<M> {
        there.clone()
    }
    fn back_to<M: RemoteMessage>(here: &Mailbox<M>) -> Address<M> {
        here.address()
    }
    fn send<M: RemoteMessage>(to: &Address<M>, message: M) {
        to.do_send(message);
    }
    fn ping(seq: u64, return_to: Address<Pong>) -> AddressPing {
        AddressPing { seq, return_to }
    }
    fn answer(ping: AddressPing) {
        ping.return_to.do_send(Pong { seq: ping.seq });
    }
    fn crowd(seq: u64, members: Vec<Address<Pong>>) -> AddressCrowd {
        AddressCrowd { seq, members }
    }
    fn answer_crowd(crowd: AddressCrowd) {
        if let Some(first) = crowd.members.first() {
            first.do_send(Pong { seq: crowd.seq });
        }
    }
    fn start(return_to: Address<Ack>) -> AddressStart {
        AddressStart { return_to }
    }
    fn started(start: AddressStart) -> Address<Ack> {
        start.return_to
    }
}

pub(crate) enum ByRecipient {}

impl Handle for ByRecipient {
    type To<M: RemoteMessage> = Recipient<M>;
    type Ping = RecipientPing;
    type Crowd = RecipientCrowd;
    type Start = RecipientStart;

    fn to<M: RemoteMessage>(there: &Address<M>) -> Recipient<M> {
        there.recipient()
    }
    fn back_to<M: RemoteMessage>(here: &Mailbox<M>) -> Recipient<M> {
        here.recipient()
    }
    fn send<M: RemoteMessage>(to: &Recipient<M>, message: M) {
        to.do_send(message);
    }
    fn ping(seq: u64, return_to: Recipient<Pong>) -> RecipientPing {
        RecipientPing { seq, return_to }
    }
    fn answer(ping: RecipientPing) {
        ping.return_to.do_send(Pong { seq: ping.seq });
    }
    fn crowd(seq: u64, members: Vec<Recipient<Pong>>) -> RecipientCrowd {
        RecipientCrowd { seq, members }
    }
    fn answer_crowd(crowd: RecipientCrowd) {
        if let Some(first) = crowd.members.first() {
            first.do_send(Pong { seq: crowd.seq });
        }
    }
    fn start(return_to: Recipient<Ack>) -> RecipientStart {
        RecipientStart { return_to }
    }
    fn started(start: RecipientStart) -> Recipient<Ack> {
        start.return_to
    }
}
