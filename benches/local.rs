//! Messages to a box of the same process, measured against an actor with an empty handler and against a channel.
//!
//! ```text
//! cargo bench --bench local
//! ```
//!
//! Each sample sends a thousand messages on the thread of an actix System and receives them there; a mailbox holds that
//! many by default. The output shows the time of a thousand, and messages a second.

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::System;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use divan::Bencher;
use divan::counter::ItemsCount;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc;

/// Messages in a sample.
const MESSAGES: u64 = 1_000;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Data {
    seq: u64,
    body: [u8; 32],
}

/// A request whose answer shows that all messages before it are handled.
#[derive(Message)]
#[rtype(result = "()")]
struct Last;

fn main() {
    divan::main();
}

/// Sends through an address, and reads.
#[divan::bench]
fn address(bencher: Bencher<'_, '_>) {
    let system = System::new();
    let (address, mut mailbox) = system.block_on(async {
        let mailbox = open();
        (mailbox.address(), mailbox)
    });
    measure(bencher, &system, async || {
        each(|data| address.do_send(data));
        take(&mut mailbox).await;
    });
}

/// Sends through the address as an actix recipient, and reads.
#[divan::bench]
fn recipient(bencher: Bencher<'_, '_>) {
    let system = System::new();
    let (recipient, mut mailbox) = system.block_on(async {
        let mailbox = open();
        (mailbox.recipient(), mailbox)
    });
    measure(bencher, &system, async || {
        each(|data| recipient.do_send(data));
        take(&mut mailbox).await;
    });
}

/// Bare actix: a recipient of an actor whose handler does nothing.
#[divan::bench]
fn bare_actix_recipient(bencher: Bencher<'_, '_>) {
    let system = System::new();
    let actor = system.block_on(async { Idle.start() });
    let recipient = actor.clone().recipient();
    measure(bencher, &system, async || {
        each(|data| recipient.do_send(data));
        actor.send(Last).await.expect("the actor lives");
    });
}

/// A bounded channel of tokio's, with as much room as a mailbox.
#[divan::bench]
fn bare_tokio_channel(bencher: Bencher<'_, '_>) {
    let system = System::new();
    let (sender, mut receiver) = mpsc::channel(1_024);
    measure(bencher, &system, async || {
        each(|data| sender.try_send(data).expect("there is room"));
        for _ in 0..MESSAGES {
            divan::black_box(receiver.recv().await);
        }
    });
}

fn open() -> Mailbox<Data> {
    Node::start().mailbox().open().expect("a mailbox")
}

/// Takes the messages of one sample.
async fn take(mailbox: &mut Mailbox<Data>) {
    for _ in 0..MESSAGES {
        divan::black_box(mailbox.recv().await);
    }
}

/// Sends the messages of one sample.
fn each(send: impl FnMut(Data)) {
    (0..MESSAGES).map(|seq| Data { seq, body: [7; 32] }).for_each(send);
}

/// Times `sample` repeatedly.
fn measure(bencher: Bencher<'_, '_>, system: &actix::SystemRunner, mut sample: impl AsyncFnMut()) {
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| system.block_on(sample()));
}

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MESSAGES as usize);
    }
}

impl Handler<Data> for Idle {
    type Result = ();

    fn handle(&mut self, data: Data, _: &mut Context<Self>) {
        divan::black_box(data);
    }
}

impl Handler<Last> for Idle {
    type Result = ();

    fn handle(&mut self, _: Last, _: &mut Context<Self>) {}
}
