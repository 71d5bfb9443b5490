//! Conservation: every message that was sent is delivered, dropped for one reason, waiting, or in doubt; and nothing is in
//! doubt once the two nodes are connected again.

use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::Stats;
use support::Number;
use support::events;
use support::listening;
use support::next;
use support::settled;
use support::watched;
use support::wire::Wire;
use support::within;
use uuid::Uuid;

/// Sent, and what became of it.
fn books(nodes: [&Node; 2]) -> (u64, u64, u64) {
    let stats: Vec<Stats> = nodes.iter().map(|node| node.stats()).collect();
    let waiting = |stats: &Stats| stats.boxes.iter().map(|stats| stats.depth).sum::<u64>();
    let sent = stats.iter().map(|stats| stats.sent).sum();
    let ended = stats.iter().map(|stats| stats.delivered + stats.dropped_total() + waiting(stats)).sum();
    (sent, ended, stats.iter().map(|stats| stats.in_doubt).sum())
}

/// Waits until the books of both are balanced, with nothing in doubt.
async fn nothing_in_doubt(nodes: [&Node; 2]) {
    watched(|| books(nodes), |(sent, ended, in_doubt)| sent == ended && *in_doubt == 0).await;
}

fn impatient() -> actix_hermod::NodeBuilder {
    let pause = std::time::Duration::from_millis(5);
    Node::builder().reconnect(pause..=pause)
}

/// A node that listens and has a mailbox.
async fn station() -> (Node, Endpoint, Mailbox<Number>) {
    let (node, at) = listening(impatient()).await;
    let inbox = node.mailbox().name("numbers").buffer(Buffer::dropping(100_000)).open().expect("the name is free");
    (node, at, inbox)
}

/// A station, a wire to it, and a node at the wire's other end with the address of the mailbox.
async fn two() -> (Node, Mailbox<Number>, Wire, Node, Address<Number>) {
    let (server, at, inbox) = station().await;
    let wire = Wire::to(at.to_string()).await;
    let client = impatient().start();
    let to = client.remote(&wire.endpoint, "numbers").expect("an address");
    (server, inbox, wire, client, to)
}

/// Waits until the connection was made anew so often.
async fn reconnected(node: &Node, times: u64) {
    settled(|| node.stats().connections.first().is_some_and(|connection| connection.reconnects >= times)).await;
}

#[test]
fn what_was_in_doubt_is_settled_when_the_two_are_connected_again() {
    System::new().block_on(async {
        let (server, mut inbox, wire, client, to) = two().await;
        to.do_send(Number(0));
        next(&mut inbox).await;
        // Some of these are written and read, some are written and never arrive, some are not even written.
        wire.cut_after(5_000);
        for n in 1..=2_000 {
            to.do_send(Number(n));
        }
        settled(|| wire.is_cut()).await;
        wire.mend();
        reconnected(&client, 1).await;
        nothing_in_doubt([&server, &client]).await;
        assert!(support::dropped(&client, DropReason::Lost) > 0, "some were lost, and it is known");
        to.do_send(Number(9_999));
        let mut last = 0;
        while last != 9_999 {
            let Number(n) = next(&mut inbox).await;
            assert!(n > last, "in order, and none twice");
            last = n;
        }
    });
}

#[test]
fn a_peer_that_has_not_noticed_the_break_lets_the_old_connection_go() {
    System::new().block_on(async {
        let (server, mut inbox, wire, client, to) = two().await;
        let mut told = events(&client);
        for round in 1..=5 {
            to.do_send(Number(round));
            next(&mut inbox).await;
            wire.cut_after(0);
            to.do_send(Number(100 + round));
            told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
            let stats = client.stats();
            assert!(stats.in_doubt > 0);
            assert_eq!(stats.connections[0].in_doubt, stats.in_doubt, "it has left all of it");
            wire.mend();
            reconnected(&client, round).await;
            nothing_in_doubt([&server, &client]).await;
            assert_eq!(client.stats().connections[0].in_doubt, 0);
        }
        watched(|| server.stats().connections.len(), |&live| live == 1).await;
    });
}

/// Cuts at a different byte each time, in the middle of greetings too.
#[test]
fn the_books_balance_however_often_the_connection_is_cut() {
    System::new().block_on(async {
        let (server, mut there, wire, client, to) = two().await;
        // Less than a greeting takes, or more than some hundred messages.
        let chance = || (Uuid::new_v4().as_u128() % 3_000) as usize;
        let mut n = 0;
        for _ in 0..60 {
            wire.cut_after(chance());
            let until_cut = async {
                while !wire.is_cut() {
                    n += 1;
                    to.do_send(Number(n));
                    tokio::task::yield_now().await;
                    while there.try_recv().is_some() {}
                }
            };
            within(until_cut).await;
            wire.mend();
        }
        // Until a message passes, the last break is not mended.
        settled(|| {
            to.do_send(Number(u64::MAX));
            std::iter::from_fn(|| there.try_recv()).any(|number| number == Number(u64::MAX))
        })
        .await;
        nothing_in_doubt([&server, &client]).await;
    });
}

/// Messages in doubt with servers that are gone stay so, and do not stand in the way of those that can be settled.
#[test]
fn a_server_that_was_replaced_often_settles_its_own() {
    System::new().block_on(async {
        let (first, mut inbox, wire, client, to) = two().await;
        let mut told = events(&client);
        let mut servers = vec![first];
        for round in 1..=40 {
            to.do_send(Number(round));
            next(&mut inbox).await;
            let (server, at, other) = station().await;
            inbox = other;
            servers.push(server);
            wire.lead_to(&at);
            wire.cut_after(0);
            to.do_send(Number(100 + round));
            told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
            wire.mend();
            reconnected(&client, round).await;
        }
        let gone = client.stats().in_doubt;
        assert!(gone >= 40, "each server that is gone has left something in doubt");
        to.do_send(Number(200));
        next(&mut inbox).await;
        wire.cut_after(0);
        to.do_send(Number(201));
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        assert!(client.stats().in_doubt > gone);
        wire.mend();
        watched(|| client.stats().in_doubt, |&in_doubt| in_doubt == gone).await;
    });
}
