//! The messages, as a user of this crate would write them, and the two kinds of handle that they go through.

use actix::{Message, Recipient};
use actix_hermod::{Address, Mailbox, RemoteMessage};
use serde::{Deserialize, Serialize};

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

/// Tells the sender how far its messages have been read.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Ack {
    /// All before this sequence number were read or are lost.
    pub(crate) next: u64,
    /// How many were read.
    pub(crate) count: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct AddressPing {
    seq: u64,
    return_to: Address<Pong>,
}

/// Says where acknowledgements go, and how many messages there will be: the last is acknowledged whatever its number.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct AddressStart {
    total: u64,
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
pub(crate) struct RecipientStart {
    total: u64,
    #[serde(with = "actix_hermod::recipient")]
    return_to: Recipient<Ack>,
}

/// What a workload sends through in both directions: an [`Address`], or the actix [`Recipient`] made of it.
pub(crate) trait Handle: 'static {
    type To<M: RemoteMessage>: Clone;
    type Ping: RemoteMessage + Message<Result = ()>;
    type Start: RemoteMessage + Message<Result = ()>;

    /// To a box of the other process.
    fn to<M: RemoteMessage>(there: &Address<M>) -> Self::To<M>;
    /// To a mailbox of ours, to be given away.
    fn back_to<M: RemoteMessage>(here: &Mailbox<M>) -> Self::To<M>;
    fn send<M: RemoteMessage>(to: &Self::To<M>, message: M);

    fn ping(seq: u64, return_to: Self::To<Pong>) -> Self::Ping;
    fn answer(ping: Self::Ping);
    fn start(total: u64, return_to: Self::To<Ack>) -> Self::Start;
    fn started(start: Self::Start) -> (u64, Self::To<Ack>);
}

pub(crate) enum ByAddress {}

impl Handle for ByAddress {
    type To<M: RemoteMessage> = Address<M>;
    type Ping = AddressPing;
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
    fn start(total: u64, return_to: Address<Ack>) -> AddressStart {
        AddressStart { total, return_to }
    }
    fn started(start: AddressStart) -> (u64, Address<Ack>) {
        (start.total, start.return_to)
    }
}

pub(crate) enum ByRecipient {}

impl Handle for ByRecipient {
    type To<M: RemoteMessage> = Recipient<M>;
    type Ping = RecipientPing;
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
    fn start(total: u64, return_to: Recipient<Ack>) -> RecipientStart {
        RecipientStart { total, return_to }
    }
    fn started(start: RecipientStart) -> (u64, Recipient<Ack>) {
        (start.total, start.return_to)
    }
}
