//! What `Stats` says of connections: both ends say the same, and each figure moves when it should.

use std::time::Duration;
use std::time::Instant;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::ResponseFuture;
use actix::System;
use actix_hermod::Address;
use actix_hermod::ConnectionState;
use actix_hermod::ConnectionStats;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::Stats;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::Ping;
use support::Pong;
use support::listening;
use support::next;
use support::on_either_thread;
use support::peer;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::fresh_id;
use support::peer::kind;
use support::settled;
use support::watched;
use support::within;
use tokio::net::TcpListener;

use tokio::sync::oneshot;

/// Longer than any test lasts.
const LONG: Duration = Duration::from_secs(3600);

/// A node that pings only when a connection comes up, and dials once.
fn quiet() -> NodeBuilder {
    Node::builder().heartbeat(LONG).dead_after(3 * LONG).reconnect(LONG..=LONG)
}

/// Waits until the node has one connection, of which the condition holds.
#[track_caller]
fn connection(node: &Node, good: impl Fn(&ConnectionStats) -> bool) -> impl Future<Output = ConnectionStats> {
    let watched = watched(|| node.stats().connections, move |all| matches!(&**all, [one] if good(one)));
    async move { watched.await.remove(0) }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Double(u64);

struct Doubler;

impl Actor for Doubler {
    type Context = Context<Self>;
}

impl Handler<Double> for Doubler {
    type Result = u64;

    fn handle(&mut self, Double(n): Double, _: &mut Context<Self>) -> u64 {
        2 * n
    }
}

#[test]
fn both_ends_of_a_connection_count_the_same() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(quiet().io_thread(thread)).await;
        let mut there = server.mailbox::<Ping>().name("pings").open().unwrap();
        server.publish::<Double>("doubler", Doubler.start()).unwrap();
        let client = quiet().io_thread(thread).start();
        let mut here = client.mailbox().open().unwrap();
        let to = client.remote(&endpoint, "pings").unwrap();
        for _ in 0..10 {
            to.do_send(Ping { return_to: here.address(), n: 0 });
        }
        let back = next(&mut there).await.return_to;
        for n in 0..300 {
            back.do_send(Pong(n));
            next(&mut here).await;
        }
        // Nobody there: read all the same.
        client.remote::<Number>(&endpoint, "nobody").unwrap().do_send(Number(1));
        let doubler: Address<Double> = client.remote(&endpoint, "doubler").unwrap();
        for n in 0..5 {
            assert_eq!(within(doubler.ask(Double(n))).await.unwrap(), 2 * n);
        }

        let both = || [&client, &server].map(|node| node.stats());
        let [mine, theirs] = watched(both, |[mine, theirs]| {
            let ([mine], [theirs]) = (&*mine.connections, &*theirs.connections) else { return false };
            (mine.bytes_sent, mine.bytes_received) == (theirs.bytes_received, theirs.bytes_sent)
                && (mine.messages_sent, mine.messages_received) == (theirs.messages_received, theirs.messages_sent)
                && mine.rtt.is_some()
                && theirs.rtt.is_some()
        })
        .await;
        for stats in [&mine, &theirs] {
            let [one] = &*stats.connections else { unreachable!() };
            assert_eq!((stats.bytes_sent, stats.bytes_received), (one.bytes_sent, one.bytes_received));
            assert_eq!((one.state, one.outbox_bytes, one.outbox_capacity), (ConnectionState::Up, 0, 4 << 20));
            assert_eq!((one.reconnects, one.in_doubt, stats.connects), (0, 0, 1));
        }
        let ([mine], [theirs]) = (&*mine.connections, &*theirs.connections) else { unreachable!() };
        assert_eq!((mine.messages_sent, mine.messages_received), (10 + 1 + 5, 300));
        assert!(mine.bytes_sent > 100 && mine.bytes_received > 300, "{mine:?}");
        assert_eq!((mine.peer, theirs.peer), (Some(server.id()), Some(client.id())));
        assert_eq!((mine.endpoint.as_deref(), theirs.endpoint.as_deref()), (Some(endpoint.as_ref()), None));
    });
}

#[test]
fn how_far_a_peer_is_away_is_known_without_waiting_for_a_heartbeat() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(quiet().io_thread(thread)).await;
        let client = quiet().io_thread(thread).start();
        client.remote::<Number>(&endpoint, "nobody").unwrap().do_send(Number(1));
        connection(&client, |one| one.rtt.is_some_and(|rtt| rtt > Duration::ZERO)).await;
        connection(&server, |one| one.rtt.is_some_and(|rtt| rtt > Duration::ZERO)).await;
    });
}

/// The node's next ping.
async fn ping(peer: &mut Peer) -> u64 {
    loop {
        let frame = peer.frame().await.expect("the node goes on");
        if frame.kind == kind::PING {
            return u64::from_le_bytes(*frame.payload.first_chunk().expect("a number"));
        }
    }
}

/// Answers a ping, and waits until the node knows.
async fn pong(peer: &mut Peer, nonce: u64) {
    let pong = peer::frame(kind::PONG, &[&nonce.to_le_bytes(), &*peer::number(0)].concat());
    assert!(peer.send(&pong).await);
    assert!(peer.is_answered().await);
}

#[test]
fn a_round_trip_lasts_until_the_ping_is_answered_that_was_asked() {
    System::new().block_on(async {
        let (node, endpoint) = listening(quiet()).await;
        let mut peer = Peer::stranger(endpoint.as_ref()).await;
        let nonce = peer.first_ping.unwrap();
        assert_eq!(connection(&node, |_| true).await.rtt, None);
        pong(&mut peer, nonce + 1).await;
        assert_eq!(connection(&node, |_| true).await.rtt, None, "that was not asked");
        // That answer ended the measuring, as if the first had been left out.
        pong(&mut peer, nonce).await;
        assert_eq!(connection(&node, |_| true).await.rtt, None);
        drop(peer);

        let mut peer = Peer::stranger(endpoint.as_ref()).await;
        let nonce = peer.first_ping.unwrap();
        let asked = Instant::now();
        assert!(peer.is_answered().await);
        let least = asked.elapsed();
        pong(&mut peer, nonce).await;
        let rtt = connection(&node, |one| one.rtt.is_some()).await.rtt.unwrap();
        assert!(rtt >= least, "{rtt:?} and not {least:?}");
    });
}

#[test]
fn each_heartbeat_measures_anew() {
    System::new().block_on(async {
        let (node, endpoint) = listening(Node::builder().heartbeat(Duration::from_millis(5))).await;
        let mut peer = Peer::stranger(endpoint.as_ref()).await;
        let first = peer.first_ping.unwrap();
        let second = ping(&mut peer).await;
        // The first is left out.
        pong(&mut peer, second).await;
        assert!(second > first);
        assert_eq!(connection(&node, |_| true).await.rtt, None);
        let mut seen = None;
        for _ in 0..3 {
            let measured_again = async {
                loop {
                    let nonce = ping(&mut peer).await;
                    let pong = peer::frame(kind::PONG, &[&nonce.to_le_bytes(), &*peer::number(0)].concat());
                    assert!(peer.send(&pong).await);
                    let rtt = node.stats().connections[0].rtt;
                    if rtt.is_some() && rtt != seen {
                        return rtt;
                    }
                }
            };
            seen = within(measured_again).await;
        }
    });
}

#[test]
fn a_connection_goes_through_its_states() {
    System::new().block_on(async {
        let listener = within(TcpListener::bind("127.0.0.1:0")).await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let node = Node::builder().heartbeat(LONG).dead_after(3 * LONG).start();
        let to = node.remote::<Number>(&endpoint, "numbers").unwrap();
        assert_eq!(node.stats().connections, [], "nobody has used it");

        to.do_send(Number(1));
        let one = connection(&node, |one| one.state == ConnectionState::Dialling).await;
        assert_eq!((one.endpoint.as_deref(), one.peer, one.rtt), (Some(&*endpoint), None, None));
        assert!(one.outbox_bytes > 0);

        // Nobody is greeted.
        drop(within(Peer::accept(&listener)).await);
        let one = connection(&node, |one| one.state == ConnectionState::Pausing).await;
        assert_eq!((one.outbox_bytes, one.messages_sent, node.stats().connects), (0, 0, 0));
        assert!(one.bytes_sent > 0, "a hello at least");

        let hello = Hello::of(fresh_id());
        let mut peer = within(Peer::accept(&listener)).await;
        peer.welcomes(&hello).await;
        let one = connection(&node, |one| one.state == ConnectionState::Up).await;
        assert_eq!(one.peer.unwrap().to_string(), uuid::Uuid::from_bytes(hello.node).to_string());
        to.do_send(Number(2));
        to.do_send(Number(3));
        connection(&node, |one| one.messages_sent == 2).await;

        let shutting_down = {
            let node = node.clone();
            actix::spawn(async move { node.shutdown().await })
        };
        // The peer does not say goodbye.
        connection(&node, |one| one.state == ConnectionState::Closing).await;
        drop(peer);
        within(shutting_down).await.unwrap();
        assert_eq!(node.stats().connections, []);
    });
}

#[test]
fn a_link_counts_over_all_its_connections() {
    System::new().block_on(async {
        let (server, endpoint) = listening(quiet()).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().unwrap();
        let pause = Duration::from_millis(5);
        let client = Node::builder().reconnect(pause..=pause).start();
        let to = client.remote(&endpoint, "numbers").unwrap();
        for n in 0..10 {
            to.do_send(Number(n));
            next(&mut inbox).await;
        }
        let before = connection(&client, |one| one.rtt.is_some()).await;
        assert_eq!((before.messages_sent, before.reconnects), (10, 0));
        within(server.shutdown()).await;
        let between = connection(&client, |one| one.state != ConnectionState::Up).await;
        assert_eq!((between.messages_sent, between.rtt, between.peer), (10, None, Some(server.id())));
        assert_eq!((between.in_doubt, client.stats().in_doubt), (0, 0));

        let again = Node::start();
        within(again.listen(endpoint.to_string())).await.unwrap();
        let mut inbox = again.mailbox::<Number>().name("numbers").open().unwrap();
        connection(&client, |one| one.state == ConnectionState::Up).await;
        to.do_send(Number(10));
        next(&mut inbox).await;
        let after = connection(&client, |one| one.messages_sent == 11).await;
        assert_eq!((after.reconnects, after.peer, client.stats().connects), (1, Some(again.id()), 2));
        assert!(after.bytes_sent > before.bytes_sent && after.bytes_received > before.bytes_received);
        let theirs = connection(&again, |one| one.messages_received == 1).await;
        assert!(theirs.bytes_received < after.bytes_sent, "one connection, and not all of the link's");
    });
}

#[test]
fn what_was_written_to_a_peer_that_is_gone_is_in_doubt() {
    System::new().block_on(async {
        let listener = within(TcpListener::bind("127.0.0.1:0")).await.unwrap();
        let node = quiet().start();
        let to = node.remote::<Number>(listener.local_addr().unwrap().to_string(), "numbers").unwrap();
        to.do_send(Number(1));
        let mut peer = within(Peer::accept(&listener)).await;
        peer.welcomes(&Hello::of(fresh_id())).await;
        to.do_send(Number(2));
        connection(&node, |one| one.messages_sent == 2).await;
        drop(peer);
        let one = connection(&node, |one| one.state == ConnectionState::Pausing).await;
        assert_eq!((one.in_doubt, node.stats().in_doubt, one.messages_sent), (2, 2, 2));
    });
}

#[test]
fn stats_pass_through_json_unchanged() {
    System::new().block_on(async {
        let (server, endpoint) = listening(quiet()).await;
        let _inbox = server.mailbox::<Number>().name("numbers").open().unwrap();
        let client = quiet().start();
        for name in ["numbers", "nobody"] {
            client.remote::<Number>(&endpoint, name).unwrap().do_send(Number(1));
        }
        connection(&client, |one| one.rtt.is_some()).await;
        let sides = || [&client, &server].map(|node| node.stats());
        let sides = watched(sides, |[mine, theirs]| !mine.reported.is_empty() && !theirs.dropped.is_empty()).await;
        for stats in sides {
            let text = serde_json::to_string(&stats).unwrap();
            let read: Stats = serde_json::from_str(&text).unwrap();
            assert_eq!(read.connections, stats.connections);
            assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&stats).unwrap());
            assert!(text.contains(r#""state":"Up""#), "{text}");
        }
    });
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Question(u64);

/// Answers when it is told to.
struct Hesitant(Option<oneshot::Receiver<u64>>);

impl Actor for Hesitant {
    type Context = Context<Self>;
}

impl Handler<Question> for Hesitant {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, _: Question, _: &mut Context<Self>) -> Self::Result {
        let answer = self.0.take().expect("it is asked once");
        Box::pin(async move { answer.await.expect("it is told") })
    }
}

/// It neither waits in its box any more nor is it delivered, and the books balance all the same.
#[test]
fn a_request_that_is_being_handled_is_with_its_actor() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let (told, answer) = oneshot::channel();
        server.publish::<Question>("hesitant", Hesitant(Some(answer)).start()).unwrap();
        let client = Node::start();
        let asked = client.remote::<Question>(&endpoint, "hesitant").unwrap().send(Question(1));
        let of_box = || server.stats().boxes.first().map(|of| (of.depth, of.with_actor));
        settled(|| of_box() == Some((0, 1))).await;
        support::balanced(&[&server, &client]).await;
        told.send(42).expect("the actor waits");
        assert_eq!(within(asked).await, Ok(42));
        settled(|| of_box() == Some((0, 0))).await;
        support::balanced(&[&server, &client]).await;
        assert_eq!(server.stats().delivered, 1);
    });
}
