//! Peers that name endpoints, which the node dials: how many connections it makes for one of them, and when they end.

use std::time::Duration;

use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use tokio::net::TcpListener;

use super::Echo;
use super::Ground;
use super::Probe;
use super::on;
use super::until;
use crate::peer::Hello;
use crate::peer::Peer;
use crate::peer::box_at;
use crate::peer::fresh_id;
use crate::peer::inline;
use crate::peer::post_with;
use crate::peer::your_box;

/// Longer than any test lasts: nothing ends because nobody needs it any more.
const HOUR: Duration = Duration::from_secs(3600);

/// A message for that box whose answer is wanted at that endpoint.
fn probe(to: &str, at: &str) -> Vec<u8> {
    post_with(&inline(&your_box(to)), &[inline(&box_at(at, "x"))], &[0, 1])
}

/// Greets all who dial, each time as another node, and keeps their connections.
async fn greets_all(listener: TcpListener) {
    let mut greeted = Vec::new();
    loop {
        let mut dialled = Peer::over(listener.accept().await.expect("a connection").0);
        let hello = Hello::of(fresh_id());
        // The node may have given it up already.
        if dialled.answers(&hello).await.is_some() {
            let welcome = dialled.welcome(&hello, &[]);
            dialled.send(&welcome).await;
        }
        greeted.push(dialled);
    }
}

/// How many connections the node has at those endpoints.
fn dialled(ground: &Ground) -> usize {
    ground.node.stats().connections.iter().filter(|one| one.endpoint.is_some()).count()
}

/// A node that listens and has a box of that name "x".
async fn named() -> (Node, String, Mailbox<Echo>) {
    let node = Node::start();
    let at = node.listen("127.0.0.1:0").await.expect("a free port").to_string();
    let inbox = node.mailbox().name("x").open().expect("a mailbox");
    (node, at, inbox)
}

/// The endpoints are those of a listener of the peer's own, which greets as it should.
#[test]
fn for_one_peer_so_many_connections_are_made_and_the_other_places_are_for_others() {
    const SHARE: u64 = 8;
    const MANY: u64 = 100;
    let limits = Node::builder().max_connections(64).max_per_address(64).heartbeat(HOUR).dead_after(3 * HOUR);
    on(limits, async |ground| {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let greeting = actix::spawn(greets_all(listener));
        let mut greedy = Peer::stranger(&ground.endpoint).await;
        for n in 1..=MANY {
            assert!(greedy.send(&probe("probe", &format!("127.1.0.{n}:{port}"))).await);
        }
        ground.hearer.hears_of_drops(DropReason::NotConnected, MANY - SHARE).await;
        let are_up = || dialled(ground) as u64 == SHARE;
        until(are_up, || format!("{:?}", ground.node.stats().connections)).await;
        assert_eq!(ground.dropped(DropReason::NotConnected), MANY - SHARE);
        ground.log_says(&["WARN", "not dialled", "too many connections to what this peer has named"]).await;
        // What another peer names, and the node's own program, is dialled.
        let (other, at, mut inbox) = named().await;
        let mut honest = Peer::stranger(&ground.endpoint).await;
        assert!(honest.send(&probe("probe", &at)).await);
        assert_eq!(inbox.recv().await, Some(Echo(1)));
        let (third, at, mut inbox) = named().await;
        let own = ground.node.remote(&at, "x").expect("an address");
        own.do_send(Echo(2));
        assert_eq!(inbox.recv().await, Some(Echo(2)));
        assert!(greedy.is_answered().await && honest.is_answered().await);
        other.shutdown().await;
        third.shutdown().await;
        greeting.abort();
    });
}

/// The greedy peer has named the endpoint before: it counts against the one that has room, or against nobody.
#[test]
fn an_endpoint_that_one_peer_has_no_room_for_is_dialled_for_others() {
    let limits = Node::builder().max_connections(8).max_per_address(8).heartbeat(HOUR).dead_after(3 * HOUR);
    on(limits, async |ground| {
        let mut kept: Mailbox<Probe> = ground.open("kept");
        let ((first, first_at, mut first_inbox), (second, second_at, mut second_inbox)) =
            (named().await, named().await);
        let mut greedy = Peer::stranger(&ground.endpoint).await;
        assert!(greedy.send(&probe("probe", &first_at)).await);
        assert_eq!(first_inbox.recv().await, Some(Echo(1)));
        assert!(greedy.send(&probe("kept", &second_at)).await);
        let held = kept.recv().await.expect("a message").return_to;
        held.do_send(Echo(2));
        ground.hearer.hears_of_drops(DropReason::NotConnected, 1).await;
        let mut honest = Peer::stranger(&ground.endpoint).await;
        assert!(honest.send(&probe("kept", &second_at)).await);
        let same = kept.recv().await.expect("a message").return_to;
        assert_eq!(same, held);
        until(
            || {
                same.do_send(Echo(3));
                second_inbox.try_recv() == Some(Echo(3))
            },
            || format!("{:?}", ground.node.stats().connections),
        )
        .await;
        first.shutdown().await;
        second.shutdown().await;
    });
}

#[test]
fn a_connection_that_was_made_for_a_peer_ends_when_nothing_holds_it_and_its_share_is_scarce() {
    let beat = Duration::from_millis(20);
    on(Node::builder().max_connections(8).max_per_address(8).heartbeat(beat), async |ground| {
        let mut kept: Mailbox<Probe> = ground.open("kept");
        let mut peer = Peer::stranger(&ground.endpoint).await;
        let (node, at, mut inbox) = named().await;
        assert!(peer.send(&probe("kept", &at)).await);
        let held = kept.recv().await.expect("a message").return_to;
        held.do_send(Echo(1));
        assert_eq!(inbox.recv().await, Some(Echo(1)));
        // Many heartbeats later it is there, because it is held.
        let received = || node.stats().connections.first().map_or(0, |one| one.bytes_received);
        let before = received();
        until(|| received() > before + 200, || format!("{:?}", node.stats())).await;
        assert_eq!((dialled(ground), ground.node.stats().connects, node.stats().connects), (1, 3, 1));
        drop(held);
        until(|| dialled(ground) == 0, || format!("{:?}", ground.node.stats().connections)).await;
        // The next has its place.
        for _ in 0..3 {
            let (next, at, mut inbox) = named().await;
            assert!(peer.send(&probe("probe", &at)).await);
            assert_eq!(inbox.recv().await, Some(Echo(1)));
            until(|| dialled(ground) == 0, || format!("{:?}", ground.node.stats().connections)).await;
            next.shutdown().await;
        }
        assert_eq!(ground.dropped(DropReason::NotConnected), 0);
        node.shutdown().await;
    });
}
