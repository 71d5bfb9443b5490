//! Peers that name endpoints, which the node dials: how many connections it makes for one of them, and when they end.

use std::time::Duration;

use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::Run;
use support::peer::box_at;
use support::peer::box_named;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::id_of;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::post_with;
use support::peer::set_number;
use support::peer::text;
use support::peer::third_box;
use support::peer::third_box_at;
use support::peer::your_box;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::Echo;
use super::Ground;
use super::HOUR;
use super::Probe;
use super::on;
use super::until;

/// Longer than any test lasts: nothing ends because nobody needs it any more.
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

/// Passes on all that comes to that endpoint, both ways: whoever dials it greets the one behind it. Where it stands.
async fn man_in_the_middle(of: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    actix::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = TcpStream::connect(&of).await.expect("it listens");
            actix::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    at
}

/// The node at that endpoint, and the run of it.
async fn run_at(at: &str) -> Run {
    let mut peer = Peer::dial(at).await;
    assert!(peer.says_hello(&Hello::of(fresh_id())).await);
    let raw = peer.raw_hello().await.expect("a hello");
    let epoch = *raw[raw.len() - 112..].first_chunk().expect("an epoch");
    (id_of(&raw[raw.len() - 96..raw.len() - 64]), epoch)
}

/// A message whose answer is wanted by the box of a third node, as the peer introduces it.
fn probe_for(third: &[u8]) -> Vec<u8> {
    post_with(&inline(&your_box("probe")), &[inline(third)], &[0, 1])
}

/// Waits for a message from the node.
async fn is_sent_a_message(peer: &mut Peer) {
    while peer.frame().await.expect("the connection is up").kind != kind::POST {}
}

/// It goes by way of the peer that has introduced the box.
#[test]
fn another_node_at_a_hint_is_told_nothing() {
    on(Node::builder(), async |ground| {
        let (third, third_at, _inbox) = named().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let mut liar = Peer::stranger(&ground.endpoint).await;
        let introduced = third_box_at(run_at(&third_at).await, fresh_id(), fresh_id(), &at);
        assert!(liar.send(&probe_for(&introduced)).await);
        let mut other = Peer::accept(&listener).await;
        assert_eq!(other.answers(&Hello::of(fresh_id())).await, None, "the node has named itself");
        is_sent_a_message(&mut liar).await;
        third.shutdown().await;
    });
}

/// The node itself is there, as far as the greeting shows, and does not say that it listens there.
#[test]
fn a_hint_that_the_node_itself_does_not_confirm_is_no_way_to_it() {
    on(Node::builder(), async |ground| {
        let (third, third_at, _inbox) = named().await;
        let run = run_at(&third_at).await;
        let between = man_in_the_middle(third_at.clone()).await;
        let mut liar = Peer::stranger(&ground.endpoint).await;
        assert!(liar.send(&probe_for(&third_box_at(run, fresh_id(), fresh_id(), &between))).await);
        is_sent_a_message(&mut liar).await;
        assert_eq!(third.stats().connects, 1, "it was greeted there");
        third.shutdown().await;
    });
}

/// The connection was made by the node's own program, which has named that endpoint, and serves that address alone.
#[test]
fn a_connection_to_an_endpoint_that_its_node_does_not_name_serves_no_other_address() {
    on(Node::builder(), async |ground| {
        let (third, third_at, mut inbox) = named().await;
        let run = run_at(&third_at).await;
        let mut other = Peer::stranger(&ground.endpoint).await;
        let introduce = || probe_for(&third_box(run, fresh_id(), fresh_id()));
        let between = man_in_the_middle(third_at.clone()).await;
        let by_proxy = ground.node.remote(&between, "x").expect("an address");
        by_proxy.do_send(Echo(1));
        assert_eq!(inbox.recv().await, Some(Echo(1)));
        ground.log_says(&["INFO", " connected", &between]).await;
        assert!(other.send(&introduce()).await);
        is_sent_a_message(&mut other).await;
        // One to an endpoint that it names serves: the node knows no such box, and the introducer is not needed.
        let direct = ground.node.remote(&third_at, "x").expect("an address");
        direct.do_send(Echo(2));
        assert_eq!(inbox.recv().await, Some(Echo(2)));
        ground.log_says(&["INFO", " connected", &third_at]).await;
        assert!(other.send(&introduce()).await);
        let dropped = || third.stats().dropped.get(&DropReason::NoSuchBox) == Some(&1);
        until(dropped, || format!("{:?}", third.stats())).await;
        third.shutdown().await;
    });
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
        // Endpoints named by another peer, or by the node's own program, are dialled.
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

/// Reads and answers so many pings, having read `read` messages; false if a goodbye comes.
async fn answers_pings(peer: &mut Peer, count: usize, read: u64) -> bool {
    let mut answered = 0;
    while answered < count {
        let said = peer.frame().await.expect("the connection is up");
        if said.kind == kind::PING {
            let pong = frame(kind::PONG, &[&said.payload[..8], &number(read)].concat());
            assert!(peer.send(&pong).await);
            answered += 1;
        } else if said.kind == kind::GOODBYE {
            return false;
        }
    }
    true
}

/// Boxes of its own hold nothing here; boxes of this node do, as long as it wants to hear of them.
#[test]
fn a_connection_that_was_made_for_a_peer_is_held_by_what_its_own_watches_and_not_by_what_it_names() {
    const MANY: usize = 10;
    let beat = Duration::from_millis(20);
    on(Node::builder().max_connections(8).max_per_address(8).heartbeat(beat), async |ground| {
        let mut kept: Mailbox<Probe> = ground.open("kept");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let mut peer = Peer::stranger(&ground.endpoint).await;
        assert!(peer.send(&probe("kept", &at)).await);
        let held = kept.recv().await.expect("a message").return_to;
        held.do_send(Echo(1));
        let mut third = Peer::accept(&listener).await;
        third.welcomes(&Hello::of(fresh_id())).await;
        let mine = set_number(0, &[vec![2], vec![7; 16], text("mine")].concat());
        assert!(third.send(&post_with(&inline(&your_box("letters")), &[mine], &[])).await);
        let watch = |on: u8| frame(kind::WATCH, &[vec![on], box_named("kept")].concat());
        assert!(third.send(&watch(1)).await);
        drop(held);
        assert!(answers_pings(&mut third, MANY, 1).await, "it watches a box");
        assert!(third.send(&watch(0)).await);
        assert!(!answers_pings(&mut third, MANY, 1).await, "nothing holds it");
    });
}
