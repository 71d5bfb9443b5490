//! The accept policy: it judges peers that dial and peers that were dialled, and a refusal is told, counted and not
//! retried in a hurry.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::Identity;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeId;
use actix_hermod::PeerInfo;
use actix_hermod::Side;

use crate::memory::Memory;
use support::Events;
use support::Number;
use support::balanced;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::goodbye;
use support::peer::kind;
use support::settled;
use support::within;

/// Peers that a policy was asked about.
type Asked = Arc<Mutex<Vec<PeerInfo>>>;

/// Returns a policy that answers the same to all, and notes about whom it was asked.
fn always(answer: Result<(), &str>) -> (Asked, impl Fn(&PeerInfo) -> Result<(), String> + use<>) {
    let (asked, answer) = (Asked::default(), answer.map_err(str::to_owned));
    let noted = Arc::clone(&asked);
    (asked, move |peer: &PeerInfo| {
        noted.lock().expect("no test panics under it").push(peer.clone());
        answer.clone()
    })
}

async fn refusal(told: &mut Events) -> (Option<NodeId>, Side, String) {
    let refused = |event: &Event| match event {
        Event::PeerRefused { peer, by, reason } => Some((*peer, *by, reason.clone())),
        _ => None,
    };
    told.find(refused).await
}

/// Sends a message and a request from a node to a box of another, and returns the error of the request.
async fn refused_ask(client: &Node, to: &Address<Number>) -> AskError {
    to.do_send(Number(1));
    let error = within(to.ask(Number(2))).await.expect_err("nobody is there");
    settled(|| dropped(client, DropReason::Refused) == 2).await;
    error
}

#[test]
fn a_peer_that_dials_is_refused_with_the_reason_and_what_waits_is_dropped_for_it() {
    System::new().block_on(async {
        let (asked, policy) = always(Err("not on the list"));
        let (server, endpoint) = listening(Node::builder().accept(policy)).await;
        let _inbox: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let client = Node::start();
        let (mut at_server, mut at_client) = (events(&server), events(&client));
        let to: Address<Number> = client.remote(&endpoint, "numbers").unwrap();
        let error = refused_ask(&client, &to).await;
        let AskError::NotDelivered { reason, detail } = error else { panic!("{error}") };
        assert_eq!(reason, DropReason::Refused);
        assert!(detail.unwrap().contains("not on the list"));
        let words = || "not on the list".to_owned();
        assert_eq!(refusal(&mut at_server).await, (Some(client.id()), Side::Here, words()));
        assert_eq!(refusal(&mut at_client).await, (Some(server.id()), Side::Peer, words()));
        let asked = asked.lock().unwrap().clone();
        let [peer] = &asked[..] else { panic!("it was asked once") };
        assert_eq!((peer.node, peer.transport.as_str(), &peer.identity), (client.id(), "tcp", &Identity::Unknown));
        assert!(peer.address.unwrap().ip().is_loopback());
        assert_eq!((server.stats().connects, client.stats().in_doubt), (0, 0));
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn a_peer_that_was_dialled_is_refused_and_learns_nothing_about_the_dialler() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let (asked, policy) = always(Err("I do not talk to you"));
        let client = Node::builder().accept(policy).start();
        let (mut at_server, mut at_client) = (events(&server), events(&client));
        let to: Address<Number> = client.remote(&endpoint, "numbers").unwrap();
        let error = refused_ask(&client, &to).await;
        assert!(matches!(error, AskError::NotDelivered { reason: DropReason::Refused, .. }), "{error}");
        let words = || "I do not talk to you".to_owned();
        assert_eq!(refusal(&mut at_client).await, (Some(server.id()), Side::Here, words()));
        assert_eq!(refusal(&mut at_server).await, (None, Side::Peer, words()));
        assert_eq!(asked.lock().unwrap()[0].node, server.id());
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn waits_for_a_box_end_when_the_connection_is_refused() {
    System::new().block_on(async {
        let (_, policy) = always(Err("no"));
        let (_server, endpoint) = listening(Node::builder().accept(policy)).await;
        let to: Address<Number> = Node::start().remote(&endpoint, "numbers").unwrap();
        within(to.closed()).await;
    });
}

/// The clock jumps whenever all wait: a minute is over at once.
#[test]
fn a_refused_node_dials_again_after_the_longest_pause_only() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let memory = Memory::default();
        for refuses in [true, false] {
            let (_, policy) = always(if refuses { Err("no") } else { Ok(()) });
            let (_, policy_there) = always(if refuses { Ok(()) } else { Err("no") });
            let server = Node::builder().transport(memory.clone()).accept(policy).start();
            let endpoint = server.listen("memory:any").await.unwrap();
            let longest = Duration::from_secs(50);
            let pauses = Duration::from_millis(10)..=longest;
            let client = Node::builder().transport(memory.clone()).reconnect(pauses).accept(policy_there).start();
            let mut told = events(&client);
            let to: Address<Number> = client.remote(&endpoint, "numbers").unwrap();
            let (before, began) = (memory.dials(), tokio::time::Instant::now());
            to.do_send(Number(1));
            refusal(&mut told).await;
            let watch = tokio::task::spawn_local({
                let to = to.clone();
                async move { to.closed().await }
            });
            watch.await.unwrap();
            // The next attempt is made for the address that is held.
            while memory.dials() < before + 2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(began.elapsed() >= longest, "{:?}", began.elapsed());
            server.shutdown().await;
            client.shutdown().await;
        }
    });
}

#[test]
fn a_policy_that_panics_refuses_that_peer_and_the_node_goes_on() {
    System::new().block_on(async {
        let banned = Arc::new(Mutex::new(None));
        let named = Arc::clone(&banned);
        let policy = move |peer: &PeerInfo| {
            let banned: Option<NodeId> = *named.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            assert_ne!(Some(peer.node), banned, "on purpose");
            Ok(())
        };
        let (server, endpoint) = listening(Node::builder().accept(policy)).await;
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let (good, bad) = (Node::start(), Node::start());
        *banned.lock().unwrap() = Some(bad.id());
        let mut told = events(&bad);
        bad.remote::<Number>(&endpoint, "numbers").unwrap().do_send(Number(1));
        let (peer, by, reason) = refusal(&mut told).await;
        assert_eq!((peer, by), (Some(server.id()), Side::Peer));
        assert!(!reason.contains("on purpose"), "a panic's words stay here: {reason}");
        good.remote::<Number>(&endpoint, "numbers").unwrap().do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
    });
}

#[test]
fn a_proven_peer_is_told_of_before_it_is_up_and_stands_in_the_statistics() {
    System::new().block_on(async {
        let memory = Memory::default();
        let server = Node::builder().transport(memory.clone()).start();
        let endpoint = within(server.listen("memory:any")).await.unwrap();
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let client = Node::builder().transport(memory.clone()).start();
        let (mut at_server, mut at_client) = (events(&server), events(&client));
        let to = client.remote::<Number>(&endpoint, "numbers").unwrap();
        to.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        for (told, peer, node) in [(&mut at_server, &client, &server), (&mut at_client, &server, &client)] {
            // The first event that was not looked for yet.
            let proven = told
                .find(|event| match event {
                    Event::PeerProven { peer } => Some(peer.clone()),
                    Event::PeerUp { .. } => panic!("it was not proven before"),
                    _ => None,
                })
                .await;
            told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
            assert_eq!((proven.node, proven.transport.as_str(), proven.address), (peer.id(), "memory", None));
            let stats = node.stats();
            assert_eq!(stats.connections[0].info.as_ref(), Some(&proven));
        }
    });
}

/// A refused peer may have sent messages behind its proof already, and still reads why.
#[test]
fn the_goodbye_arrives_although_messages_have_followed_the_proof() {
    System::new().block_on(async {
        let (_, policy) = always(Err("not on the list"));
        let (server, endpoint) = listening(Node::builder().accept(policy)).await;
        let hello = Hello::of([5; 16]);
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let address = endpoint.as_ref().parse().unwrap();
        let mut peer = Peer::over(within(socket.connect(address)).await.unwrap());
        assert!(peer.says_hello(&hello).await);
        assert!(peer.hello().await.is_some());
        let proof = peer.proof(&hello, &[]);
        let posts = support::peer::post(&support::peer::inline(&support::peer::your_box("numbers")), &[0; 1 << 15]);
        // More than the system keeps for the node: the rest can be written only if the node reads on.
        let all = [proof, posts.repeat(96)].concat();
        assert!(peer.send(&all).await);
        let frames = peer.frames_to_end().await;
        let [farewell] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!((farewell.kind, &farewell.payload[..2]), (kind::GOODBYE, &[4, 0][..]));
        assert!(String::from_utf8_lossy(&farewell.payload).contains("not on the list"));
        assert_eq!(server.stats().connects, 0);
    });
}

#[test]
fn a_goodbye_of_another_reason_in_place_of_a_proof_is_no_refusal_by_policy() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut told = events(&server);
        for why in [1, 4] {
            let mut peer = Peer::dial(endpoint.as_ref()).await;
            assert!(peer.says_hello(&Hello::of([5; 16])).await);
            assert!(peer.hello().await.is_some());
            assert!(peer.send(&goodbye(why)).await);
            peer.end().await;
        }
        assert_eq!(refusal(&mut told).await, (None, Side::Peer, "enough".to_owned()));
        assert_eq!(server.stats().connects, 0);
    });
}
