//! Addresses that expect a certain node at their endpoint: it alone is written to.

use std::time::Duration;

use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeId;
use actix_hermod::NodeKey;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::fresh_id;
use support::settled;
use support::within;
use tokio::net::TcpListener;

fn eager() -> NodeBuilder {
    Node::builder().reconnect(Duration::from_millis(5)..=Duration::from_millis(50))
}

/// Brings an address.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Introduced(Address<Number>);

#[test]
fn the_expected_node_is_written_to_as_any() {
    System::new().block_on(async {
        let (server, at) = listening(Node::builder()).await;
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().expect("a mailbox");
        let client = Node::start();
        let plain = client.remote::<Number>(&at, "numbers").expect("an address");
        let pinned = plain.pinned(server.id());
        pinned.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        assert_eq!((pinned.node_id(), pinned.connected()), (Some(server.id()), true));
        assert!(pinned != plain && pinned == pinned.pinned(server.id()));
        let uri = pinned.uri().expect("it has one");
        assert_eq!(uri, format!("hermod://{}@{at}/numbers", server.id()));
        let resolved = client.resolve::<Number>(&uri).expect("an address");
        assert_eq!(resolved, pinned);
        resolved.do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
}

#[test]
fn another_node_than_the_expected_one_is_told_nothing_and_named_to_the_user() {
    System::new().block_on(async {
        let expected = NodeKey::generate();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let node = eager().start();
        let mut ears = events(&node);
        let to = node.remote::<Number>(&at, "numbers").expect("an address").pinned(expected.id());
        to.do_send(Number(1));
        let closed = to.closed();
        let hello = Hello::of(fresh_id());
        let other: NodeId = uuid::Uuid::from_bytes(hello.node).to_string().parse().expect("an id");
        // Again and again: it goes on dialling, as the right one may come.
        for _ in 0..3 {
            let mut wrong = within(Peer::accept(&listener)).await;
            assert_eq!(wrong.answers(&hello).await, None, "the node has named itself");
            let why = |event: &Event| match event {
                Event::PeerDown { peer, why } if *peer == expected.id() => Some(why.clone()),
                _ => None,
            };
            let why = ears.find(why).await;
            assert_eq!(why, DownReason::AnotherNode { expected: expected.id(), answered: other });
            assert_eq!(why.to_string(), format!("node {} was expected, and node {other} has answered", expected.id()));
        }
        assert!(dropped(&node, DropReason::NotConnected) >= 1);
        assert_eq!(node.stats().connects, 0, "there was no connection");
        within(closed).await;
        drop(listener);

        let server = Node::builder().identity(expected.clone()).start();
        server.listen(&at).await.expect("the port is free again");
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().expect("a mailbox");
        settled(|| {
            to.do_send(Number(2));
            inbox.try_recv() == Some(Number(2))
        })
        .await;
        within(node.shutdown()).await;
        within(server.shutdown()).await;
    });
}

/// Other addresses at the endpoint have a connection of their own.
#[test]
fn an_address_that_expects_nobody_is_not_held_up_by_one_that_does() {
    System::new().block_on(async {
        let (server, at) = listening(Node::builder()).await;
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().expect("a mailbox");
        let client = eager().start();
        let plain = client.remote::<Number>(&at, "numbers").expect("an address");
        let mistaken = plain.pinned(NodeKey::generate().id());
        (0..10).for_each(|n| mistaken.do_send(Number(n)));
        plain.do_send(Number(10));
        assert_eq!(next(&mut inbox).await, Number(10));
        settled(|| dropped(&client, DropReason::NotConnected) == 10).await;
        assert!(!mistaken.connected() && plain.connected());
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
}

/// Also of an endpoint at which this very node listens: it is not the one that is meant.
#[test]
fn at_its_own_endpoint_a_node_takes_itself_only_for_itself() {
    System::new().block_on(async {
        let (node, at) = listening(eager()).await;
        let mut inbox: Mailbox<Number> = node.mailbox().name("numbers").open().expect("a mailbox");
        let plain = node.remote::<Number>(&at, "numbers").expect("an address");
        let (own, other) = (plain.pinned(node.id()), plain.pinned(NodeKey::generate().id()));
        assert!(own.is_local() && plain.is_local() && !other.is_local());
        other.do_send(Number(1));
        own.do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
        settled(|| dropped(&node, DropReason::NotConnected) == 1).await;
        assert!(inbox.try_recv().is_none());
        // A box of this node is one of no other.
        let unnamed: Mailbox<Number> = node.mailbox().open().expect("a mailbox");
        let astray = unnamed.address().pinned(NodeKey::generate().id());
        assert_eq!(unnamed.address().pinned(node.id()), unnamed.address());
        astray.do_send(Number(3));
        assert_eq!((unnamed.len(), dropped(&node, DropReason::BoxClosed)), (0, 1));
        within(node.shutdown()).await;
    });
}

#[test]
fn what_is_expected_is_expected_wherever_the_address_goes() {
    System::new().block_on(async {
        let (server, at) = listening(Node::builder()).await;
        let mut numbers: Mailbox<Number> = server.mailbox().name("numbers").open().expect("a mailbox");
        let mut homecoming: Mailbox<Introduced> = server.mailbox().name("inbox").open().expect("a mailbox");
        let (third, third_at) = listening(eager()).await;
        let mut inbox: Mailbox<Introduced> = third.mailbox().name("inbox").open().expect("a mailbox");
        let client = Node::start();
        let plain = client.remote::<Number>(&at, "numbers").expect("an address");
        let mistaken = plain.pinned(NodeKey::generate().id());
        let to_third = client.remote::<Introduced>(&third_at, "inbox").expect("an address");
        for (address, n) in [(plain.pinned(server.id()), 1), (mistaken, 2)] {
            to_third.do_send(Introduced(address.clone()));
            let Introduced(there) = next(&mut inbox).await;
            assert_eq!(there.uri(), address.uri());
            there.do_send(Number(n));
            // To the node itself it comes home, if it is the one.
            let own = client.remote::<Introduced>(&at, "inbox").expect("an address");
            own.do_send(Introduced(address.clone()));
            let Introduced(home) = next(&mut homecoming).await;
            assert_eq!((home.is_local(), home.uri()), (n == 1, address.uri()));
        }
        assert_eq!(next(&mut numbers).await, Number(1));
        settled(|| dropped(&third, DropReason::NotConnected) == 1).await;
        assert!(numbers.try_recv().is_none());
        for node in [client, third, server] {
            within(node.shutdown()).await;
        }
    });
}
