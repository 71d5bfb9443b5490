//! A pointer to one box of a node goes by any live connection to that node while its own is to be made anew.

use std::time::Duration;

use actix::System;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::balanced;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::settled;
use support::wire::Wire;

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Tell(Address<Given>);

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Given(Address<Number>);

#[test]
fn another_connection_to_the_same_node_serves_while_the_own_is_down() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut tells: Mailbox<Tell> = server.mailbox().name("tells").open().unwrap();
        let mut inbox: Mailbox<Number> = server.mailbox().open().unwrap();
        let wire = Wire::to(endpoint.to_string()).await;
        // It does not dial again in this test.
        let pause = Duration::from_secs(3600);
        let client = Node::builder().reconnect(pause..=pause).start();
        let mut told = events(&client);
        let mut given: Mailbox<Given> = client.mailbox().open().unwrap();
        client.remote(&wire.endpoint, "tells").unwrap().do_send(Tell(given.address()));
        next(&mut tells).await.0.do_send(Given(inbox.address()));
        let to = next(&mut given).await.0;
        to.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));

        // The same node, by another way.
        let direct: Address<Tell> = client.remote(&endpoint, "tells").unwrap();
        direct.do_send(Tell(given.address()));
        next(&mut tells).await;
        wire.cut_after(0);
        client.remote::<Number>(&wire.endpoint, "nobody").unwrap().do_send(Number(0));
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        for n in 2..100 {
            to.do_send(Number(n));
        }
        for n in 2..100 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        assert!(to.connected());
        assert!(to.recipient().connected());
        assert_eq!(to.pressure(), 0.0);
        // A message by name goes to that endpoint and to no other.
        let by_name: Address<Number> = client.remote(&wire.endpoint, "nobody").unwrap();
        assert!(!by_name.connected());
        by_name.do_send(Number(0));
        settled(|| dropped(&client, DropReason::NotConnected) == 1).await;
    });
}

/// Messages in doubt are asked about on whatever connection there is next, also if nobody holds an address any more of
/// the endpoint that the broken one was dialled at.
#[test]
fn doubts_are_settled_on_any_connection_to_the_same_node() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let wire = Wire::to(endpoint.to_string()).await;
        let client = Node::start();
        let mut told = events(&client);
        let to: Address<Number> = client.remote(&wire.endpoint, "numbers").unwrap();
        to.do_send(Number(1));
        next(&mut inbox).await;
        wire.cut_after(0);
        to.do_send(Number(2));
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        assert!(client.stats().in_doubt > 0);
        drop((to, wire));
        let direct: Address<Number> = client.remote(&endpoint, "numbers").unwrap();
        direct.do_send(Number(3));
        next(&mut inbox).await;
        settled(|| client.stats().in_doubt == 0).await;
        balanced(&[&server, &client]).await;
    });
}
