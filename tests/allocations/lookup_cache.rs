//! Addresses that a connection keeps of those that come by it: the same one for as long as the peer may mean it by a
//! number, and nothing once that is over.
//!
//! Memory is counted for each thread by itself, so each test has both nodes on its own thread.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix::System;
use actix::WeakRecipient;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use allocation_counter::measure;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::Text;
use support::listening;
use support::next;
use support::process::alone;
use support::watched;
use support::within;

/// Brings an address along.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry(Address<Text>);

/// Brings an address along, to code that knows nothing of this crate.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ask {
    #[serde(with = "actix_hermod::recipient")]
    return_to: Recipient<Text>,
}

/// More than a connection has numbers for.
const CROWD: usize = 5_000;

/// The bytes that books and tables may grow by: far less than the addresses of one crowd take.
const MARGIN: i64 = 96 << 10;

/// A node that listens, and its mailbox for what is brought.
async fn station() -> (Node, Endpoint, Mailbox<Carry>) {
    let (node, endpoint) = listening(Node::builder()).await;
    let buffer = Buffer::dropping(4 * CROWD);
    let inbox = node.mailbox().name("carry").buffer(buffer).open().expect("the name is free");
    (node, endpoint, inbox)
}

/// Waits until the node has as many connections.
async fn connected(node: &Node, connections: usize) {
    watched(|| node.stats().connections, |all| all.len() == connections).await;
}

#[test]
fn an_address_that_comes_again_is_the_one_that_came_before() {
    System::new().block_on(async {
        let (server, endpoint, mut inbox) = station().await;
        let client = Node::builder().max_message(1 << 10).start();
        let replies: Mailbox<Text> = client.mailbox().buffer(Buffer::dropping(3)).open().expect("a mailbox");
        let to: Address<Carry> = client.remote(&endpoint, "carry").expect("an address");
        let too_long = || Text("x".repeat(2 << 10));
        let lost = |to: &Address<Text>| to.lost().local;
        // The first is introduced by itself, the second is given a number, and the others have it.
        (0..6).for_each(|_| to.do_send(Carry(replies.address())));
        let mut come = Vec::new();
        for _ in 0..6 {
            come.push(next(&mut inbox).await.0);
        }
        let original = client.id();
        assert!(come.iter().all(|address| *address == come[0] && address.node_id() == Some(original)));
        let numbered = come.split_off(2);
        for (n, address) in (1..).zip(&numbered) {
            address.do_send(too_long());
            let expected = BTreeMap::from([(DropReason::TooLarge, n)]);
            assert!(numbered.iter().all(|address| lost(address) == expected), "they count together");
        }
        // Nobody holds one any more, and the peer may still mean it.
        drop((come, numbered));
        to.do_send(Carry(replies.address()));
        let Carry(again) = next(&mut inbox).await;
        assert_eq!(lost(&again), [(DropReason::TooLarge, 4)].into());
        // So is what the peer tells of.
        (0..5).for_each(|_| again.do_send(Text(String::new())));
        watched(|| again.lost().remote, |lost| *lost == [(DropReason::NewestShed, 2)].into()).await;
        drop(again);
        to.do_send(Carry(replies.address()));
        let Carry(again) = next(&mut inbox).await;
        let both = again.lost();
        assert_eq!(both.remote, [(DropReason::NewestShed, 2)].into());
        assert_eq!(both.local, [(DropReason::TooLarge, 4)].into());
        assert_eq!(replies.len(), 3);
        within(server.shutdown()).await;
    });
}

/// An actor's recipient is counted, so that the actor ends with the last who holds it: it is not kept.
#[test]
fn what_the_peer_counts_is_not_kept() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Hire {
        #[serde(with = "actix_hermod::recipient")]
        worker: Recipient<Number>,
    }

    /// The same, as one reads it who wants an address.
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    #[serde(rename = "Hire")]
    struct Hired {
        worker: Address<Number>,
    }

    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder().heartbeat(Duration::from_secs(3_600))).await;
        let mut inbox: Mailbox<Hired> = server.mailbox().name("hire").open().expect("a mailbox");
        let client = Node::start();
        let to: Address<Hire> = client.remote(&endpoint, "hire").expect("an address");
        let (worker, caught) = support::catcher();
        for n in 0..4 {
            to.do_send(Hire { worker: worker.clone() });
            let Hired { worker } = next(&mut inbox).await;
            for _ in 0..4 {
                // Its last recipient has gone when the next is made.
                let recipient = worker.recipient();
                recipient.do_send(Number(n));
                let gone = recipient.downgrade();
                drop(recipient);
                watched(|| gone.upgrade().is_some(), |held| !held).await;
            }
        }
        drop(worker);
        caught.gone().await;
        connected(&server, 1).await;
    });
}

/// Sends the addresses of fresh mailboxes, each so often that it has a number, and lets all of them go.
async fn send_a_crowd(client: &Node, to: &Address<Carry>, inbox: &mut Mailbox<Carry>, crowd: usize) {
    let boxes: Vec<Mailbox<Text>> = (0..crowd).map(|_| client.mailbox().open().expect("a mailbox")).collect();
    for mailbox in &boxes {
        (0..3).for_each(|_| to.do_send(Carry(mailbox.address())));
        for _ in 0..3 {
            drop(next(inbox).await);
        }
    }
}

#[test]
fn a_connection_keeps_no_more_addresses_than_it_has_numbers_for() {
    let system = System::new();
    let (server, endpoint, mut inbox) = system.block_on(station());
    let (client, to) = system.block_on(async {
        let client = Node::start();
        let to = client.remote(&endpoint, "carry").expect("an address");
        (client, to)
    });
    let mut round = || measure(|| system.block_on(send_a_crowd(&client, &to, &mut inbox, CROWD))).bytes_current;
    let first = round();
    let later: Vec<_> = (0..3).map(|_| round()).collect();
    let grown: i64 = later.iter().sum();
    assert!(grown < MARGIN, "{first} bytes at first, and then {later:?}");
    system.block_on(connected(&server, 1));
}

#[test]
fn a_connection_that_has_ended_keeps_no_address() {
    let system = System::new();
    let (server, endpoint, mut inbox) = system.block_on(station());
    let mut round = || {
        let run = || {
            system.block_on(async {
                let client = Node::start();
                let to = client.remote(&endpoint, "carry").expect("an address");
                send_a_crowd(&client, &to, &mut inbox, 1_000).await;
                connected(&server, 1).await;
                within(client.shutdown()).await;
                connected(&server, 0).await;
            });
        };
        measure(run).bytes_current
    };
    let first = round();
    let later: Vec<_> = (0..10).map(|_| round()).collect();
    let grown: i64 = later.iter().sum();
    assert!(grown < MARGIN, "{first} bytes at first, and then {later:?}");
}

/// Sends a question with each of the addresses to the server, which answers it and lets the recipient go.
async fn ask_with(
    to: &Address<Ask>,
    inbox: &mut Mailbox<Ask>,
    replies: &mut [Mailbox<Text>],
) -> Vec<WeakRecipient<Text>> {
    let mut gone = Vec::new();
    for replies in replies {
        to.do_send(Ask { return_to: replies.recipient() });
        let Ask { return_to } = next(inbox).await;
        return_to.do_send(Text(String::new()));
        next(replies).await;
        gone.push(return_to.downgrade());
    }
    gone
}

/// Both ends of questions, with `count` mailboxes for the answers, and heartbeats as often.
async fn questions(heartbeat: Duration, count: usize) -> (Node, Address<Ask>, Mailbox<Ask>, Vec<Mailbox<Text>>) {
    let (server, endpoint) = listening(Node::builder().heartbeat(heartbeat).interned(2 * count)).await;
    let inbox = server.mailbox().name("ask").open().expect("a mailbox");
    let client = Node::builder().interned(2 * count).start();
    let to = client.remote(&endpoint, "ask").expect("an address");
    let replies = (0..count).map(|_| client.mailbox().open().expect("a mailbox")).collect();
    (server, to, inbox, replies)
}

fn held(recipients: &[WeakRecipient<Text>]) -> usize {
    recipients.iter().filter(|recipient| recipient.upgrade().is_some()).count()
}

#[test]
fn a_recipient_that_comes_again_and_again_is_kept_until_the_next_heartbeat() {
    System::new().block_on(async {
        let (server, to, mut inbox, mut replies) = questions(Duration::from_secs(3_600), 1).await;
        let mut of_each = Vec::new();
        for _ in 0..8 {
            of_each.extend(ask_with(&to, &mut inbox, &mut replies).await);
        }
        let (last, before) = of_each.split_last().expect("there are some");
        // By its second number it is known that it comes again; what is not kept goes with the next turn of its pump.
        assert_eq!((held(&before[..2]), held(&before[4..])), (0, 3));
        assert_eq!(before.last().and_then(WeakRecipient::upgrade), last.upgrade());
        assert!(last.upgrade().is_some_and(|kept| kept.connected()));
        within(server.shutdown()).await;
        watched(|| held(&of_each), |held| *held == 0).await;
    });
    System::new().block_on(async {
        let (server, to, mut inbox, mut replies) = questions(Duration::from_millis(20), 1).await;
        let mut of_each = Vec::new();
        for _ in 0..8 {
            of_each.extend(ask_with(&to, &mut inbox, &mut replies).await);
        }
        watched(|| held(&of_each), |held| *held == 0).await;
        within(server.shutdown()).await;
    });
}

/// The limit is the process's.
#[test]
fn no_more_recipients_are_kept_than_the_limit_says() {
    const LIMIT: usize = 4_096;
    alone(|| {
        System::new().block_on(async {
            let (server, to, mut inbox, mut replies) = questions(Duration::from_secs(3_600), LIMIT + 64).await;
            let mut last = Vec::new();
            for one in replies.chunks_mut(1) {
                for _ in 0..5 {
                    ask_with(&to, &mut inbox, one).await;
                }
                last.extend(ask_with(&to, &mut inbox, one).await);
            }
            // One that is not kept goes with the next turn of its pump.
            watched(|| held(&last), |held| *held == LIMIT).await;
            within(server.shutdown()).await;
        });
    });
}
