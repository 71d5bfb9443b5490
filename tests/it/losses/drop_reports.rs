//! Reports to a sender about messages that were dropped at the other end.

use std::collections::BTreeMap;

use actix::Actor;
use actix::ActorContext;
use actix::Context;
use actix::Handler;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::Side;
use support::Number;
use support::Ping;
use support::balanced;
use support::events;
use support::listening;
use support::next;
use support::watched;
use support::within;

fn send_all(to: &Address<Number>, count: u64) {
    (0..count).for_each(|n| to.do_send(Number(n)));
}

/// Waits until the sender knows of so many drops at the other end, and of no others.
async fn told(to: &Address<Number>, expected: &[(DropReason, u64)]) {
    let expected: BTreeMap<_, _> = expected.iter().copied().collect();
    watched(|| to.lost().remote, |remote| *remote == expected).await;
}

#[test]
fn a_sender_is_told_what_a_full_box_did_not_take() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let inbox = server.mailbox::<Number>().name("small").buffer(Buffer::dropping(3)).open().unwrap();
        let client = Node::start();
        let mut told_here = events(&client);
        let to: Address<Number> = client.remote(&endpoint, "small").unwrap();
        send_all(&to, 10);
        told(&to, &[(DropReason::NewestShed, 7)]).await;
        assert_eq!(client.stats().reported, [(DropReason::NewestShed, 7)].into());
        assert_eq!(client.stats().dropped_total(), 0, "nothing was dropped on this side");
        assert_eq!(to.lost().local, BTreeMap::new());
        let heard = told_here.find(|event| match event {
            Event::DeadLetter { name, type_name, reason: DropReason::NewestShed, count, side: Side::Peer, .. } => {
                Some((name.clone(), type_name.clone(), *count))
            }
            _ => None,
        });
        let type_name = std::any::type_name::<Number>();
        assert_eq!(heard.await, ("small".to_owned(), type_name.to_owned(), 7));
        // Sums, not differences: what is told again is not counted again.
        send_all(&to, 5);
        told(&to, &[(DropReason::NewestShed, 12)]).await;
        assert_eq!(client.stats().reported, [(DropReason::NewestShed, 12)].into());
        balanced(&[&server, &client]).await;
        drop(inbox);
    });
}

#[test]
fn a_sender_is_told_what_was_dropped_after_the_box_had_taken_it() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox = server.mailbox::<Number>().name("newest").buffer(Buffer::sliding(3)).open().unwrap();
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "newest").unwrap();
        send_all(&to, 10);
        told(&to, &[(DropReason::OldestShed, 7)]).await;
        assert_eq!(next(&mut inbox).await, Number(7));
        drop(inbox);
        told(&to, &[(DropReason::OldestShed, 7), (DropReason::BoxClosed, 2)]).await;
        send_all(&to, 4);
        told(&to, &[(DropReason::OldestShed, 7), (DropReason::BoxClosed, 2), (DropReason::NoSuchBox, 4)]).await;
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn each_box_has_an_account_of_its_own() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let open = |name: &str, room| -> Mailbox<Number> {
            server.mailbox().name(name).buffer(Buffer::dropping(room)).open().unwrap()
        };
        let _boxes = [open("one", 1), open("two", 2)];
        let client = Node::start();
        let to = |name: &str| -> Address<Number> { client.remote(&endpoint, name).unwrap() };
        let [one, two, none] = [to("one"), to("two"), to("none")];
        for to in [&one, &two, &none] {
            send_all(to, 5);
        }
        told(&one, &[(DropReason::NewestShed, 4)]).await;
        told(&two, &[(DropReason::NewestShed, 3)]).await;
        told(&none, &[(DropReason::NoSuchBox, 5)]).await;
        assert_eq!(client.stats().reported, [(DropReason::NewestShed, 7), (DropReason::NoSuchBox, 5)].into());
    });
}

#[test]
fn what_is_dropped_of_the_replies_is_told_to_who_replies() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut pings = server.mailbox::<Ping>().name("pings").open().unwrap();
        let client = Node::start();
        let replies = client.mailbox().buffer(Buffer::dropping(2)).open().unwrap();
        let to: Address<Ping> = client.remote(&endpoint, "pings").unwrap();
        to.do_send(Ping { return_to: replies.address(), n: 0 });
        let back = next(&mut pings).await.return_to;
        (0..6).for_each(|n| back.do_send(support::Pong(n)));
        let lost = watched(|| back.lost().remote, |remote| !remote.is_empty()).await;
        assert_eq!(lost, [(DropReason::NewestShed, 4)].into());
    });
}

#[test]
fn what_is_lost_is_still_known_when_the_connection_has_ended() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let client = Node::start();
        let mut told_here = events(&client);
        let to: Address<Number> = client.remote(&endpoint, "nobody").unwrap();
        send_all(&to, 3);
        told(&to, &[(DropReason::NoSuchBox, 3)]).await;
        within(server.shutdown()).await;
        told_here.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        told(&to, &[(DropReason::NoSuchBox, 3)]).await;
    });
}

#[test]
fn drops_that_were_not_yet_told_are_told_with_the_goodbye() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox = server.mailbox::<Number>().name("small").buffer(Buffer::dropping(1)).open().unwrap();
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "small").unwrap();
        send_all(&to, 5);
        next(&mut inbox).await;
        watched(|| support::dropped(&server, DropReason::NewestShed), |&dropped| dropped == 4).await;
        within(server.shutdown()).await;
        told(&to, &[(DropReason::NewestShed, 4)]).await;
    });
}

/// Begins one message, and stops.
struct Mayfly;

impl Actor for Mayfly {
    type Context = Context<Self>;
}

impl Handler<Number> for Mayfly {
    type Result = ();

    fn handle(&mut self, _: Number, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[test]
fn a_sender_is_told_what_a_published_actor_left_behind_when_it_stopped() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        server.publish::<Number>("mayfly", Mayfly.start()).unwrap();
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "mayfly").unwrap();
        send_all(&to, 10);
        assert!(within(to.send(Number(10))).await.is_err());
        let both = || (support::dropped(&server, DropReason::BoxClosed), to.lost().remote);
        let agree = |(dropped, told): &(u64, BTreeMap<DropReason, u64>)| {
            *dropped > 1 && told.get(&DropReason::BoxClosed) == Some(dropped)
        };
        watched(both, agree).await;
        balanced(&[&server, &client]).await;
    });
}
