//! Messages and results whose `Drop` panics: each costs itself, wherever it is dropped, and nothing of what passes through
//! the same task.

use std::thread;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::MessageResult;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::dropped;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::within;

/// The value of one whose `Drop` panics.
const TOUCHY: u64 = 13;

#[derive(Message, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
struct Touchy {
    value: u64,
    /// One that was not read from a connection, or handed out as a result, may be dropped.
    #[serde(skip)]
    is_sent: bool,
}

impl Touchy {
    fn new(value: u64) -> Touchy {
        Touchy { value, is_sent: true }
    }

    /// Takes the fuse out of one that has arrived.
    fn unfused(mut self) -> u64 {
        std::mem::replace(&mut self.value, 0)
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        // The copy that the sender has written may go.
        assert!(self.value != TOUCHY || self.is_sent || thread::panicking(), "a Drop that panics");
    }
}

/// Sends to the box of touchy messages and then to the other one: all of that arrives, over the same connection.
async fn shed_by(buffer: Buffer<Touchy>, reason: DropReason, node: Node) {
    let (there, endpoint) = (node.clone(), node.listen("127.0.0.1:0").await.expect("a port"));
    let mut touchy = there.mailbox().name("touchy").buffer(buffer).open().expect("the name is free");
    let mut other: Mailbox<Number> = there.mailbox().name("other").open().expect("the name is free");
    let here = Node::start();
    let to: Address<Touchy> = here.remote(&endpoint, "touchy").expect("an address");
    let numbers: Address<Number> = here.remote(&endpoint, "other").expect("an address");
    to.do_send(Touchy::new(TOUCHY));
    settled(|| touchy.len() == 1).await;
    to.do_send(Touchy::new(if reason == DropReason::NewestShed { TOUCHY } else { 1 }));
    for n in 0..200 {
        numbers.do_send(Number(n));
        assert_eq!(next(&mut other).await, Number(n));
    }
    assert_eq!((there.stats().connects, dropped(&there, reason)), (1, 1));
    next(&mut touchy).await.unfused();
    within(here.shutdown()).await;
    within(there.shutdown()).await;
}

#[test]
fn one_that_a_box_sheds_costs_itself() {
    on_either_thread(async |thread| {
        let start = || Node::builder().io_thread(thread).start();
        shed_by(Buffer::sliding(1), DropReason::OldestShed, start()).await;
        shed_by(Buffer::latest_by(|_: &Touchy| ()), DropReason::Replaced, start()).await;
        shed_by(Buffer::dropping(1), DropReason::NewestShed, start()).await;
    });
}

#[test]
fn ones_that_a_box_is_left_with_do_not_keep_each_other_from_being_counted() {
    System::new().block_on(async {
        let (there, endpoint) = listening(Node::builder()).await;
        let touchy: Mailbox<Touchy> = there.mailbox().name("touchy").open().expect("the name is free");
        let here = Node::start();
        let to: Address<Touchy> = here.remote(&endpoint, "touchy").expect("an address");
        (0..10).for_each(|_| to.do_send(Touchy::new(TOUCHY)));
        settled(|| touchy.len() == 10).await;
        drop(touchy);
        assert_eq!(dropped(&there, DropReason::BoxClosed), 10);
    });
}

#[test]
fn one_that_is_sent_through_a_recipient_does_not_end_it() {
    /// Panics on whichever thread it is dropped after it was written.
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    #[serde(from = "u64", into = "u64")]
    struct Sent(u64);

    impl From<u64> for Sent {
        fn from(value: u64) -> Sent {
            Sent(value)
        }
    }

    impl From<Sent> for u64 {
        fn from(mut sent: Sent) -> u64 {
            std::mem::replace(&mut sent.0, 0)
        }
    }

    impl Clone for Sent {
        // Made only to be written.
        fn clone(&self) -> Sent {
            Sent(self.0)
        }
    }

    impl Drop for Sent {
        fn drop(&mut self) {
            assert!(self.0 != TOUCHY || thread::panicking(), "a Drop that panics");
        }
    }

    System::new().block_on(async {
        let (there, endpoint) = listening(Node::builder()).await;
        let mut inbox: Mailbox<Sent> = there.mailbox().name("sent").open().expect("the name is free");
        let here = Node::start();
        let to = here.remote::<Sent>(&endpoint, "sent").expect("an address").recipient();
        for n in [1, TOUCHY, 2, TOUCHY, 3] {
            to.do_send(Sent(n));
        }
        for n in [1, TOUCHY, 2, TOUCHY, 3] {
            assert_eq!(u64::from(next(&mut inbox).await), n);
        }
        assert!(to.connected());
    });
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Touchy")]
struct Question(u64);

struct Oracle;

impl Actor for Oracle {
    type Context = Context<Self>;
}

impl Handler<Question> for Oracle {
    type Result = MessageResult<Question>;

    fn handle(&mut self, Question(value): Question, _: &mut Context<Self>) -> MessageResult<Question> {
        MessageResult(Touchy { value, is_sent: false })
    }
}

#[test]
fn a_result_that_nobody_waits_for_costs_itself() {
    on_either_thread(async |thread| {
        let there = Node::builder().io_thread(thread).start();
        let endpoint = there.listen("127.0.0.1:0").await.expect("a port");
        let near = there.publish::<Question>("oracle", Oracle.start()).expect("the name is free");
        let far = Node::start().remote::<Question>(&endpoint, "oracle").expect("an address");
        for address in [near, far] {
            address.do_send(Question(TOUCHY));
            assert_eq!(within(address.ask(Question(1))).await.expect("an answer").unfused(), 1);
        }
    });
}
