//! Hermod's own cases, and what Hermod promised and did not do: each of them is a test here, so that whoever comes from
//! there finds what to expect. Then what is refused, in words or in the log, and what threads may do.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use super::server;
use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AddressError;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::ListenError;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeId;
use actix_hermod::OpenError;
#[cfg(unix)]
use actix_hermod::ShapesError;
use serde::Deserialize;
use serde::Serialize;
use support::Elsewhere;
use support::Events;
use support::Number;
use support::Ping;
use support::Pong;
use support::Scratch;
use support::Text;
use support::balanced;
use support::catcher;
use support::dropped;
use support::events;
use support::listening;
use support::log::Log;
use support::next;
use support::on_either_thread;
use support::settled;
use support::within;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Dials again at once, so that a test need not wait.
const EAGER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(5);

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// The longest name of a mailbox, in bytes.
const LONGEST_NAME: usize = 255;

/// Brings an address along.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry(Address<Number>);

/// A value that postcard would write and could not read: one that says itself what it is.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Anything(Option<serde_json::Value>);

/// A value that can be written and not read: the type accepts only zero.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[serde(try_from = "u64")]
struct Picky(u64);

impl TryFrom<u64> for Picky {
    type Error = &'static str;

    fn try_from(n: u64) -> Result<Picky, &'static str> {
        if n == 0 { Ok(Picky(n)) } else { Err("not zero") }
    }
}

// ---- shared

/// Is answered by the server there.
async fn is_served(node: &Node, at: &Endpoint) {
    let ping_box = node.remote::<Ping>(at, "ping-box").unwrap();
    let mut replies = node.mailbox::<Pong>().open().unwrap();
    ping_box.do_send(Ping { return_to: replies.address(), n: 42 });
    assert_eq!(next(&mut replies).await, Pong(42));
}

/// Is answered by the server there, and leaves pings under way.
async fn leaves_in_a_hurry(thread: IoThread, at: Endpoint) -> Node {
    let node = Node::builder().io_thread(thread).start();
    is_served(&node, &at).await;
    let ping_box = node.remote::<Ping>(&at, "ping-box").unwrap();
    let replies = node.mailbox::<Pong>().open().unwrap();
    (0..50).for_each(|n| ping_box.do_send(Ping { return_to: replies.address(), n }));
    node
}

async fn peer_down(ears: &mut Events, who: NodeId) {
    ears.find(|event| matches!(event, Event::PeerDown { peer, .. } if *peer == who).then_some(())).await;
}

/// Sends numbers from a thread of its own, which is left behind if a send does not return. In ten portions, so that
/// what is waited for is that they end and not that they are quick.
async fn sends_return(to: &Address<Number>, count: u64) {
    for _ in 0..10 {
        let to = to.clone();
        let (done, returned) = oneshot::channel();
        thread::spawn(move || {
            (0..count / 10).for_each(|n| to.do_send(Number(n)));
            // The test may have given up.
            let _ = done.send(());
        });
        within(returned).await.expect("no send panics");
    }
}

// ---- Hermod's own cases

#[actix::test]
async fn a_message_is_sent_and_received_in_one_process() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Text>().name("texts").open().unwrap();
    inbox.address().do_send(Text("hello".to_owned()));
    assert_eq!(next(&mut inbox).await.0, "hello");
    assert!(inbox.try_recv().is_none());
}

#[test]
fn a_name_appears_and_disappears_with_its_box() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        let names = || there.stats().boxes.into_iter().map(|open| open.name).collect::<Vec<_>>();
        for round in 1..=3 {
            assert_eq!(names(), Vec::<String>::new());
            to.do_send(Number(0));
            settled(|| dropped(&there, DropReason::NoSuchBox) == round).await;
            let mut inbox = there.mailbox::<Number>().name("numbers").open().unwrap();
            assert_eq!(names(), ["numbers"]);
            to.do_send(Number(round));
            assert_eq!(next(&mut inbox).await, Number(round));
        }
    });
}

#[test]
fn a_message_is_sent_and_received_through_the_nodes_own_listener() {
    on_either_thread(|thread| async move {
        let (node, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = node.mailbox::<Text>().name("texts").open().unwrap();
        // By another name than it listens at: by that one nothing would be dialled.
        let to = node.remote::<Text>(format!("localhost:{}", endpoint.port().unwrap()), "texts").unwrap();
        to.do_send(Text("hello".to_owned()));
        assert_eq!(next(&mut inbox).await.0, "hello");
        assert!(node.stats().bytes_sent > 0, "it went by the listener");
        assert_eq!(to.node_id(), Some(node.id()));
    });
}

#[test]
fn a_mailbox_sent_inside_a_message_is_answered() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut pings = there.mailbox::<Ping>().name("ping-box").open().unwrap();
        // Does not listen: it is answered on the connection that it opened.
        let here = Node::builder().io_thread(thread).start();
        let mut replies = here.mailbox::<Pong>().open().unwrap();
        let ping_box = here.remote::<Ping>(&endpoint, "ping-box").unwrap();
        ping_box.do_send(Ping { return_to: replies.address(), n: 7 });
        let ping = next(&mut pings).await;
        assert!(!ping.return_to.is_local());
        ping.return_to.do_send(Pong(ping.n));
        assert_eq!(next(&mut replies).await, Pong(7));
    });
}

#[test]
fn a_hundred_pings_to_a_known_name_come_back() {
    on_either_thread(|thread| async move {
        let (_there, endpoint) = server(thread, "127.0.0.1:0").await;
        let here = Node::builder().io_thread(thread).start();
        let ping_box = here.remote::<Ping>(&endpoint, "ping-box").unwrap();
        let mut replies = here.mailbox::<Pong>().open().unwrap();
        (0..100).for_each(|n| ping_box.do_send(Ping { return_to: replies.address(), n }));
        for n in 0..100 {
            assert_eq!(next(&mut replies).await, Pong(n));
        }
        assert_eq!(here.stats().dropped_total(), 0);
    });
}

/// Messages of growing size, and how many of them are under way at a time.
const LOADS: usize = 300;
const WINDOW: usize = 8;

/// Wants its body back.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Load {
    return_to: Address<Unload>,
    n: usize,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Unload {
    n: usize,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

/// The body of the nth load, from 4 bytes to 299 KiB: a different piece for each, of bytes that do not repeat soon.
fn body(n: usize) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let step = |x: &u32| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        std::iter::successors(Some(1), step).map(|x: u32| x.to_be_bytes()[0]).take(LOADS * 1100).collect()
    });
    &BYTES[n * 7..][..4 + n * 1024]
}

/// Sends back what comes.
async fn unload(mut loads: Mailbox<Load>) {
    while let Some(Load { return_to, n, body }) = loads.recv().await {
        return_to.do_send(Unload { n, body });
    }
}

/// Sends each load, and has it back as it was.
async fn loads_come_back(node: &Node, to: &Address<Load>) {
    let mut back = node.mailbox::<Unload>().buffer(Buffer::dropping(WINDOW)).open().unwrap();
    let load = |n| to.do_send(Load { return_to: back.address(), n, body: body(n).to_vec() });
    (0..WINDOW).for_each(load);
    for expected in 0..LOADS {
        let Unload { n, body: came } = next(&mut back).await;
        assert_eq!((n, came.len()), (expected, body(expected).len()));
        assert!(came == body(n), "load {n} is damaged");
        if n + WINDOW < LOADS {
            to.do_send(Load { return_to: back.address(), n: n + WINDOW, body: body(n + WINDOW).to_vec() });
        }
    }
}

#[test]
fn three_hundred_messages_of_growing_size_are_echoed_intact_both_ways_at_once() {
    on_either_thread(|thread| async move {
        // Room for what is under way: two windows, of which one is echoes.
        let builder = || Node::builder().io_thread(thread).outbox(8 << 20);
        let ((one, one_at), (two, two_at)) = (listening(builder()).await, listening(builder()).await);
        for node in [&one, &two] {
            actix::spawn(unload(node.mailbox().name("loads").buffer(Buffer::dropping(WINDOW)).open().unwrap()));
        }
        let to_one = two.remote::<Load>(&one_at, "loads").unwrap();
        let to_two = one.remote::<Load>(&two_at, "loads").unwrap();
        tokio::join!(loads_come_back(&one, &to_two), loads_come_back(&two, &to_one));
        for stats in [one.stats(), two.stats()] {
            assert_eq!((stats.sent, stats.delivered), (2 * LOADS as u64, 2 * LOADS as u64));
            assert_eq!(stats.dropped_total(), 0, "{:?}", stats.dropped);
        }
    });
}

// ---- promised: sends never block

#[test]
fn sends_never_block_when_the_peer_does_not_greet() {
    on_either_thread(|thread| async move {
        // Its system takes the connection; nobody reads it.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = Node::builder().io_thread(thread).handshake_timeout(HOUR).outbox(1 << 16).start();
        let to = here.remote::<Number>(silent.local_addr().unwrap().to_string(), "numbers").unwrap();
        sends_return(&to, 100_000).await;
        let full = dropped(&here, DropReason::OutboxFull);
        let stats = here.stats();
        assert_eq!((stats.sent, stats.dropped_total()), (100_000, full));
        let waiting = 100_000 - full;
        assert!(waiting > 1024 && full > 0, "{waiting} wait and {full} did not fit");
        assert!(waiting * 4 < 1 << 16, "{waiting} are more than fit the outbox");
        // Then the peer is gone, and what waited is counted as well.
        drop(silent);
        settled(|| dropped(&here, DropReason::NotConnected) == waiting).await;
        assert_eq!(here.stats().dropped_total(), 100_000);
    });
}

#[test]
fn sends_never_block_when_the_peer_does_not_read() {
    on_either_thread(|thread| async move {
        let elsewhere = Elsewhere::start();
        let quiet = |builder: NodeBuilder| builder.heartbeat(HOUR).dead_after(HOUR);
        // Its I/O is on the thread that is going to be held up.
        let (there, endpoint) =
            elsewhere.run(move || listening(quiet(Node::builder().io_thread(IoThread::Current)))).await;
        let mut inbox = there.mailbox::<Number>().name("numbers").open().unwrap();
        let here = quiet(Node::builder().io_thread(thread).outbox(1 << 16)).start();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        to.do_send(Number(0));
        assert_eq!(next(&mut inbox).await, Number(0));
        let (hold, held) = std_mpsc::channel::<()>();
        let (stop, stopped) = oneshot::channel();
        let busy = elsewhere.run(move || async move {
            stop.send(()).expect("the test waits");
            // Ends when the test lets go, also by a panic.
            let _ = held.recv();
        });
        within(stopped).await.unwrap();
        let large = here.remote::<Text>(&endpoint, "texts").unwrap();
        // Until nothing moves: what the systems' buffers hold on the way is full as well.
        let mut stuck = 0;
        settled(|| {
            let before = dropped(&here, DropReason::OutboxFull);
            (0..16).for_each(|_| large.do_send(Text("x".repeat(4000))));
            stuck = if dropped(&here, DropReason::OutboxFull) == before + 16 { stuck + 1 } else { 0 };
            stuck == 20
        })
        .await;
        sends_return(&to, 100_000).await;
        drop(hold);
        busy.await;
        balanced(&[&here, &there]).await;
        while inbox.try_recv().is_some() {}
        to.do_send(Number(u64::MAX));
        assert_eq!(next(&mut inbox).await, Number(u64::MAX));
        assert_eq!(here.stats().connections[0].reconnects, 0, "the connection has lasted");
    });
}

#[test]
fn sends_never_block_when_the_connection_is_gone() {
    on_either_thread(|thread| async move {
        let directory = Scratch::new();
        let (elsewhere, at) = (Elsewhere::start(), directory.endpoint());
        let mut inbox = elsewhere
            .run(move || async move {
                let there = Node::builder().io_thread(thread).start();
                within(there.listen(at)).await.unwrap();
                there.mailbox::<Number>().name("numbers").open().unwrap()
            })
            .await;
        let here = Node::builder().io_thread(thread).reconnect(EAGER).start();
        let to = here.remote::<Number>(directory.endpoint(), "numbers").unwrap();
        to.do_send(Number(0));
        assert_eq!(next(&mut inbox).await, Number(0));
        elsewhere.end();
        sends_return(&to, 100_000).await;
        assert_eq!(here.stats().sent, 100_001);
        // The first is in doubt if the peer has not come to say that it has read it.
        settled(|| here.stats().dropped_total() + here.stats().in_doubt >= 100_000).await;
        assert!(dropped(&here, DropReason::NotConnected) > 0);
    });
}

// ---- promised: a pointer in a message works

#[test]
fn a_pointer_in_a_message_works_from_a_to_b_to_c() {
    on_either_thread(|thread| async move {
        // Neither listens nor knows C.
        let a = Node::builder().io_thread(thread).start();
        let (b, b_at) = listening(Node::builder().io_thread(thread)).await;
        let (c, c_at) = listening(Node::builder().io_thread(thread)).await;
        let mut at_b = b.mailbox::<Carry>().name("carry").open().unwrap();
        let mut at_c = c.mailbox::<Carry>().name("carry").open().unwrap();
        let mut numbers = a.mailbox::<Number>().open().unwrap();
        a.remote::<Carry>(&b_at, "carry").unwrap().do_send(Carry(numbers.address()));
        b.remote::<Carry>(&c_at, "carry").unwrap().do_send(next(&mut at_b).await);
        let Carry(to_a) = next(&mut at_c).await;
        (1..=10).for_each(|n| to_a.do_send(Number(n)));
        for n in 1..=10 {
            assert_eq!(next(&mut numbers).await, Number(n));
        }
        balanced(&[&a, &b, &c]).await;
    });
}

#[test]
fn a_pointer_in_a_message_from_a_to_b_to_a_is_local_again() {
    on_either_thread(|thread| async move {
        let (a, a_at) = listening(Node::builder().io_thread(thread)).await;
        let (b, b_at) = listening(Node::builder().io_thread(thread)).await;
        let mut at_a = a.mailbox::<Carry>().name("carry").open().unwrap();
        let mut at_b = b.mailbox::<Carry>().name("carry").open().unwrap();
        let mut numbers = a.mailbox::<Number>().open().unwrap();
        a.remote::<Carry>(&b_at, "carry").unwrap().do_send(Carry(numbers.address()));
        // Back on a connection of its own.
        b.remote::<Carry>(&a_at, "carry").unwrap().do_send(next(&mut at_b).await);
        let Carry(home) = next(&mut at_a).await;
        assert!(home.is_local());
        assert_eq!(home, numbers.address());
        home.try_send(Number(1)).unwrap();
        assert_eq!(numbers.try_recv(), Some(Number(1)), "no connection lies between");
    });
}

// ---- promised: best effort, message by message

#[test]
fn a_missing_name_and_an_undecodable_message_end_nothing_else_on_their_connection() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let names = ["one", "two", "three", "four", "five"];
        let mut boxes = names.map(|name| there.mailbox::<Number>().name(name).open().unwrap());
        let _picky = there.mailbox::<Picky>().name("picky").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let addresses = names.map(|name| here.remote::<Number>(&endpoint, name).unwrap());
        let missing = here.remote::<Number>(&endpoint, "missing").unwrap();
        let undecodable = here.remote::<Picky>(&endpoint, "picky").unwrap();
        for n in 1..=3 {
            missing.do_send(Number(n));
            undecodable.do_send(Picky(n));
            addresses.iter().for_each(|to| to.do_send(Number(n)));
            for inbox in &mut boxes {
                assert_eq!(next(inbox).await, Number(n));
            }
        }
        assert_eq!(there.stats().dropped, [(DropReason::NoSuchBox, 3), (DropReason::NotDecodable, 3)].into());
        let connections = here.stats().connections;
        assert_eq!(connections.iter().map(|connection| connection.reconnects).collect::<Vec<_>>(), [0]);
    });
}

// ---- promised: the server goes on when a client leaves

#[test]
fn the_server_goes_on_when_twenty_clients_leave() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = server(thread, "127.0.0.1:0").await;
        let mut ears = events(&there);
        // Is there all the time.
        let stays = Node::builder().io_thread(thread).start();
        for _ in 0..20 {
            let (elsewhere, at) = (Elsewhere::start(), endpoint.clone());
            let client = elsewhere.run(move || leaves_in_a_hurry(thread, at)).await;
            elsewhere.end();
            peer_down(&mut ears, client.id()).await;
            is_served(&stays, &endpoint).await;
        }
        is_served(&Node::builder().io_thread(thread).start(), &endpoint).await;
        let connections = stays.stats().connections;
        assert_eq!(connections.iter().map(|connection| connection.reconnects).collect::<Vec<_>>(), [0]);
    });
}

// ---- promised: recovers when the server is back

/// A host that is this one and that no other test uses, so that nobody is given the port while it is free.
fn own_host() -> String {
    if cfg!(target_os = "linux") {
        let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
        format!("127.{}.{b}.{}:0", a.max(1), c.clamp(1, 254))
    } else {
        "127.0.0.1:0".to_owned()
    }
}

/// Whether somebody listens there. A node with a thread of its own lets go of its port a little later than its System
/// ends, and not in the same moment as of its connections.
fn is_taken(endpoint: &Endpoint) -> bool {
    match endpoint.as_ref().strip_prefix("unix:") {
        Some(path) => Path::new(path).exists(),
        None => std::net::TcpStream::connect(endpoint.as_ref()).is_ok(),
    }
}

async fn recovers(thread: IoThread, at: String) {
    let first = Elsewhere::start();
    let (there, endpoint) = first.run(move || async move { server(thread, &at).await }).await;
    let here = Node::builder().io_thread(thread).reconnect(EAGER).start();
    let mut ears = events(&here);
    let ping_box = here.remote::<Ping>(&endpoint, "ping-box").unwrap();
    let mut replies = here.mailbox::<Pong>().open().unwrap();
    ping_box.do_send(Ping { return_to: replies.address(), n: 1 });
    assert_eq!(next(&mut replies).await, Pong(1));
    first.end();
    peer_down(&mut ears, there.id()).await;
    // Meanwhile sends return, and are counted.
    let lost = here.remote::<Number>(&endpoint, "numbers").unwrap();
    sends_return(&lost, 1000).await;
    settled(|| dropped(&here, DropReason::NotConnected) == 1000).await;
    settled(|| !is_taken(&endpoint)).await;
    let second = Elsewhere::start();
    second.run(move || async move { server(thread, endpoint.as_ref()).await }).await;
    settled(|| {
        // The same address as before.
        ping_box.do_send(Ping { return_to: replies.address(), n: 2 });
        replies.try_recv() == Some(Pong(2))
    })
    .await;
    second.end();
}

#[test]
fn a_client_recovers_when_its_server_is_back() {
    on_either_thread(|thread| async move {
        recovers(thread, own_host()).await;
        let directory = Scratch::new();
        recovers(thread, directory.endpoint()).await;
    });
}

// ---- promised: garbage is harmless

#[test]
fn lengths_that_are_garbage_are_harmless() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = server(thread, "127.0.0.1:0").await;
        let before = Node::builder().io_thread(thread).start();
        is_served(&before, &endpoint).await;
        for length in [0, -1, i32::MAX] {
            let mut garbage = TcpStream::connect(endpoint.as_ref()).await.unwrap();
            garbage.write_all(&length.to_be_bytes()).await.unwrap();
            // Enough of it to be no hello, for those who wait for all of that.
            let _ = garbage.write_all(&[0; 64]).await;
            // Hung up on: the end, or a reset for what was not read.
            while within(garbage.read(&mut [0; 1024])).await.is_ok_and(|read| read > 0) {}
            is_served(&before, &endpoint).await;
            is_served(&Node::builder().io_thread(thread).start(), &endpoint).await;
        }
        assert_eq!(before.stats().connections[0].reconnects, 0);
        assert_eq!(there.stats().dropped_total(), 0);
    });
}

// ---- promised: names are unique

#[actix::test]
async fn names_are_unique_and_free_again_when_their_box_closes() {
    let (node, endpoint) = listening(Node::builder()).await;
    let to = node.remote::<Number>(&endpoint, "numbers").unwrap();
    let mut first = node.mailbox::<Number>().name("numbers").open().unwrap();
    let second = node.mailbox::<Number>().name("numbers").open();
    assert!(matches!(second, Err(OpenError::NameTaken { name }) if name == "numbers"));
    to.do_send(Number(1));
    assert_eq!(next(&mut first).await, Number(1), "the first still has the name");
    drop(first);
    assert!(node.stats().boxes.is_empty(), "nothing is left of it");
    to.do_send(Number(2));
    settled(|| dropped(&node, DropReason::NoSuchBox) == 1).await;
    let mut again = node.mailbox::<Number>().name("numbers").open().unwrap();
    assert!(again.is_empty());
    to.do_send(Number(3));
    assert_eq!(next(&mut again).await, Number(3));
}

#[actix::test]
async fn an_old_box_that_is_closed_late_leaves_its_successor_alone() {
    let node = Node::start();
    let mut first = node.mailbox::<Number>().name("numbers").open().unwrap();
    first.close();
    let mut second = node.mailbox::<Number>().name("numbers").open().unwrap();
    first.close();
    drop(first);
    assert!(matches!(node.mailbox::<Number>().name("numbers").open(), Err(OpenError::NameTaken { .. })));
    second.address().do_send(Number(1));
    assert_eq!(next(&mut second).await, Number(1));
}

// ---- promised: the first message arrives

#[test]
fn the_first_message_arrives_though_there_was_no_connection_when_it_was_sent() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Number>().name("numbers").open().unwrap();
        for n in 0..20 {
            let here = Node::builder().io_thread(thread).start();
            let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
            assert!(here.stats().connections.is_empty());
            to.do_send(Number(n));
            assert_eq!(next(&mut inbox).await, Number(n));
            assert_eq!(here.stats().dropped_total(), 0);
            within(here.shutdown()).await;
        }
    });
}

#[test]
fn a_message_to_a_box_that_is_not_open_yet_is_lost_and_the_later_ones_arrive() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        to.do_send(Number(0));
        settled(|| dropped(&there, DropReason::NoSuchBox) == 1).await;
        let mut inbox = there.mailbox::<Number>().name("numbers").open().unwrap();
        (1..=100).for_each(|n| to.do_send(Number(n)));
        for n in 1..=100 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        assert_eq!(there.stats().dropped_total(), 1);
    });
}

// ---- refusals, and how they are told

#[actix::test]
async fn what_is_no_endpoint_is_refused_with_its_text() {
    let node = Node::start();
    for text in ["", "nowhere", "host:", ":80", "host:99999", "host:-1", "::1:80", "a b:1", "unix:", "http://host:80"] {
        let remote = node.remote::<Number>(text, "numbers");
        assert!(matches!(&remote, Err(AddressError::InvalidEndpoint(told)) if told == text), "{text:?}: {remote:?}");
        let listened = within(node.listen(text)).await;
        assert!(matches!(&listened, Err(ListenError::InvalidEndpoint(told)) if told == text), "{text:?}: {listened:?}");
        let (remote, listened) = (remote.unwrap_err().to_string(), listened.unwrap_err().to_string());
        assert!(remote.contains("write host:port") && listened.contains("write host:port"), "{remote}; {listened}");
    }
}

#[cfg(unix)]
#[actix::test]
async fn a_path_that_is_too_long_is_refused_wherever_it_is_said_with_the_longest_there_may_be() {
    use std::os::unix::net::SocketAddr;

    let node = Node::start();
    let longest = (1..300).rfind(|length| SocketAddr::from_pathname("p".repeat(*length)).is_ok()).unwrap();
    let endpoint = format!("unix:/{}", "p".repeat(longest));
    let uri = format!("hermod+unix://%2F{}/numbers", "p".repeat(longest));
    let parsed = endpoint.parse::<Endpoint>().map(drop);
    let remote = node.remote::<Number>(&endpoint, "numbers").map(drop);
    let resolved = node.resolve::<Number>(&uri).map(drop);
    for refused in [parsed, remote, resolved] {
        let Err(refused) = refused else { panic!("it is longer than {longest}") };
        assert!(matches!(refused, AddressError::PathTooLong { limit } if limit == longest), "{refused:?}");
        assert!(refused.to_string().contains(&longest.to_string()), "{refused}");
    }
    let listened = within(node.listen(&endpoint)).await;
    assert!(matches!(listened, Err(ListenError::PathTooLong { limit }) if limit == longest), "{listened:?}");
    let asked = within(node.shapes_at(&endpoint)).await;
    assert_eq!(asked, Err(ShapesError::PathTooLong { limit: longest }));
    let config = node.with(|| serde_json::from_str::<Address<Number>>(&format!("{uri:?}")));
    assert!(config.unwrap_err().to_string().contains(&longest.to_string()));
}

#[actix::test]
async fn a_name_that_is_empty_or_too_long_is_refused() {
    let node = Node::start();
    let publish = |name: &str| node.publish(name, catcher().0).map(drop);
    let open = |name: &str| node.mailbox::<Number>().name(name).open().map(drop);
    let remote = |name: &str| node.remote::<Number>("localhost:1", name).map(drop);
    let (longest, long) = ("n".repeat(LONGEST_NAME), "n".repeat(LONGEST_NAME + 1));
    for refused in [open(""), publish("")] {
        assert!(matches!(refused, Err(OpenError::NameEmpty)), "{refused:?}");
    }
    for refused in [open(&long), publish(&long)] {
        assert!(matches!(refused, Err(OpenError::NameTooLong { limit: LONGEST_NAME })), "{refused:?}");
    }
    assert!(matches!(remote(""), Err(AddressError::NameEmpty)));
    assert!(matches!(remote(&long), Err(AddressError::NameTooLong { limit: LONGEST_NAME })));
    open(&longest).unwrap();
    publish(&longest).unwrap();
    remote(&longest).unwrap();
}

#[actix::test]
async fn a_name_that_is_taken_is_refused_whoever_has_it() {
    let node = Node::start();
    let _inbox = node.mailbox::<Number>().name("box").open().unwrap();
    node.publish("actor", catcher().0).unwrap();
    for taken in ["box", "actor"] {
        let opened = node.mailbox::<Text>().name(taken).open().map(drop);
        let published = node.publish(taken, catcher().0).map(drop);
        for refused in [opened, published] {
            assert!(matches!(&refused, Err(OpenError::NameTaken { name }) if name == taken), "{refused:?}");
        }
    }
}

#[actix::test]
async fn a_port_that_is_taken_is_refused_with_the_systems_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::start();
    let refused = within(node.listen(taken.local_addr().unwrap().to_string())).await;
    assert!(matches!(&refused, Err(ListenError::Io(why)) if why.kind() == io::ErrorKind::AddrInUse), "{refused:?}");
    within(node.listen("127.0.0.1:0")).await.expect("it may still listen elsewhere");
}

/// Sends to an endpoint that cannot be reached: the message is counted, the log says why, and the node goes on.
async fn is_not_reached(at: &str) {
    let (log, _logging) = Log::start(tracing::Level::TRACE);
    let (there, endpoint) = server(IoThread::Current, "127.0.0.1:0").await;
    // One attempt, and then a pause that outlasts the test.
    let here = Node::builder().io_thread(IoThread::Current).reconnect(HOUR..=HOUR).start();
    let mut ears = events(&here);
    let to = here.remote::<Number>(at, "numbers").unwrap();
    to.do_send(Number(1));
    is_served(&here, &endpoint).await;
    // Messages that waited for the dial are reported by their destination.
    assert_eq!(ears.count_drops(at, DropReason::NotConnected, 1).await, 1);
    log.says(&["WARN", "no connection", at]).await;
    assert!(!to.connected());
    is_served(&here, &endpoint).await;
    let stats = here.stats();
    assert_eq!(stats.dropped, [(DropReason::NotConnected, 1)].into());
    assert_eq!(there.stats().dropped_total(), 0);
}

#[actix::test]
async fn a_host_that_does_not_exist_costs_counted_messages_and_nothing_else() {
    is_not_reached("no-such-host.invalid:4242").await;
}

#[actix::test]
async fn a_port_at_which_nobody_listens_costs_counted_messages_and_nothing_else() {
    // Ours, so that nobody else takes it; but it does not listen.
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    is_not_reached(&deaf.local_addr().unwrap().to_string()).await;
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Flats(Vec<Flat>);

/// A value that postcard cannot even write: a map whose length serde does not know beforehand.
#[derive(Serialize, Deserialize)]
struct Flat {
    n: u64,
    #[serde(flatten)]
    others: BTreeMap<String, u64>,
}

/// The detail of the next dead letter for that reason.
async fn detail(ears: &mut Events, reason: DropReason) -> String {
    ears.find(|event| match event {
        Event::DeadLetter { reason: why, detail: Some(detail), .. } if *why == reason => Some(detail.clone()),
        _ => None,
    })
    .await
}

#[actix::test]
async fn a_message_that_cannot_be_read_is_counted_and_told_at_the_sender() {
    let (log, _logging) = Log::start(tracing::Level::TRACE);
    let (there, endpoint) = listening(Node::builder().io_thread(IoThread::Current)).await;
    let mut inbox = there.mailbox::<Anything>().name("anything").open().unwrap();
    let here = Node::builder().io_thread(IoThread::Current).start();
    let mut ears = events(&here);
    let to = here.remote::<Anything>(&endpoint, "anything").unwrap();
    to.do_send(Anything(Some(serde_json::json!({ "a": [1, "two", null] }))));
    let detail = detail(&mut ears, DropReason::NotEncodable).await;
    assert!(detail.contains("Anything: Deserialize reads what describes itself"), "{detail}");
    log.says(&["dropped", "anything", "NotEncodable"]).await;
    assert_eq!(here.stats().dropped, [(DropReason::NotEncodable, 1)].into());
    assert_eq!((inbox.dropped(), there.stats().dropped_total()), (0, 0));
    // In one process nothing is written, and so nothing fails.
    inbox.address().do_send(Anything(Some(serde_json::json!(null))));
    assert!(next(&mut inbox).await.0.unwrap().is_null());
}

#[actix::test]
async fn a_message_that_cannot_be_written_is_counted_and_told_at_the_sender() {
    let (log, _logging) = Log::start(tracing::Level::TRACE);
    let (there, endpoint) = listening(Node::builder().io_thread(IoThread::Current)).await;
    let mut inbox = there.mailbox::<Flats>().name("flat").open().unwrap();
    let here = Node::builder().io_thread(IoThread::Current).start();
    let mut ears = events(&here);
    let to = here.remote::<Flats>(&endpoint, "flat").unwrap();
    let flat = || Flats(vec![Flat { n: 1, others: [("two".to_owned(), 2)].into() }]);
    to.do_send(flat());
    assert!(!detail(&mut ears, DropReason::NotEncodable).await.is_empty());
    log.says(&["dropped", "flat", "NotEncodable"]).await;
    assert_eq!(here.stats().dropped, [(DropReason::NotEncodable, 1)].into());
    assert_eq!(to.lost().local, [(DropReason::NotEncodable, 1)].into());
    // In one process nothing is written, and so nothing fails.
    inbox.address().do_send(flat());
    assert_eq!(next(&mut inbox).await.0[0].others, flat().0[0].others);
}

// ---- threads and Systems

/// Makes handles of both kinds, clones them, sends through each, and drops them: four numbers a round.
fn use_handles(node: &Node, at: &Endpoint, rounds: u64) {
    assert!(System::try_current().is_none(), "there is a System on this thread");
    for n in 0..rounds {
        let to = node.remote::<Number>(at, "numbers").unwrap();
        let clone = to.clone();
        let recipient = to.recipient();
        let clone_of_recipient = recipient.clone();
        to.do_send(Number(n));
        drop(to);
        clone.do_send(Number(n));
        recipient.do_send(Number(n));
        drop(recipient);
        clone_of_recipient.do_send(Number(n));
        drop((clone, clone_of_recipient));
    }
}

#[test]
fn handles_are_made_cloned_used_and_dropped_on_threads_without_a_system() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Number>().name("numbers").buffer(Buffer::dropping(1600)).open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let threads = [(); 4].map(|()| {
            let (here, endpoint) = (here.clone(), endpoint.clone());
            thread::spawn(move || use_handles(&here, &endpoint, 100))
        });
        let mut came = vec![0; 100];
        for _ in 0..1600 {
            came[next(&mut inbox).await.0 as usize] += 1;
        }
        assert_eq!(came, vec![16; 100], "how often each number came");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((here.stats().sent, here.stats().dropped_total()), (1600, 0));
    });
}

/// Opens a mailbox and reads the answer to a ping and a local message, in a runtime that knows nothing of actix.
fn use_mailbox(node: &Node, at: &Endpoint) {
    let mut replies = node.mailbox::<Pong>().name("replies").open().unwrap();
    let ping_box = node.remote::<Ping>(at, "ping-box").unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        assert!(System::try_current().is_none(), "there is a System on this thread");
        ping_box.do_send(Ping { return_to: replies.address(), n: 1 });
        assert_eq!(next(&mut replies).await, Pong(1));
        replies.address().do_send(Pong(2));
        assert_eq!(replies.try_recv(), Some(Pong(2)));
        replies.recipient().do_send(Pong(3));
        assert_eq!(next(&mut replies).await, Pong(3));
    });
    replies.close();
    assert_eq!(tokio_test::block_on(within(replies.recv())), None);
}

#[test]
fn a_mailbox_is_opened_read_and_closed_on_a_thread_without_a_system() {
    on_either_thread(|thread| async move {
        let (_there, endpoint) = server(thread, "127.0.0.1:0").await;
        let here = Node::builder().io_thread(thread).start();
        let (done, ended) = oneshot::channel();
        let node = here.clone();
        let reader = thread::spawn(move || {
            use_mailbox(&node, &endpoint);
            done.send(()).expect("the test waits");
        });
        assert!(within(ended).await.is_ok(), "the thread panicked");
        reader.join().unwrap();
        assert!(here.mailbox::<Number>().name("replies").open().is_ok(), "the name is free again");
    });
}

async fn talk_until_one_stops(thread: IoThread, the_dialler_stops: bool) {
    let (first, second) = (Elsewhere::start(), Elsewhere::start());
    let (dialled, at) = first.run(move || server(thread, "127.0.0.1:0")).await;
    let endpoint = at.clone();
    let (dialler, dialler_at) = second
        .run(move || async move {
            let (dialler, dialler_at) = server(thread, "127.0.0.1:0").await;
            is_served(&dialler, &endpoint).await;
            (dialler, dialler_at)
        })
        .await;
    let (stops, goes_on) = if the_dialler_stops { (second, first) } else { (first, second) };
    let (gone, left, left_at) = if the_dialler_stops { (dialler, dialled, at) } else { (dialled, dialler, dialler_at) };
    let mut ears = events(&left);
    stops.end();
    peer_down(&mut ears, gone.id()).await;
    settled(|| left.stats().connections.is_empty()).await;
    // The one that is left goes on, by itself and with others.
    let mut own = left.mailbox::<Number>().open().unwrap();
    own.recipient().do_send(Number(1));
    assert_eq!(next(&mut own).await, Number(1));
    is_served(&Node::builder().io_thread(thread).start(), &left_at).await;
    goes_on.end();
}

#[test]
fn two_nodes_of_one_process_talk_and_one_goes_on_when_the_system_of_the_other_stops() {
    on_either_thread(|thread| async move {
        talk_until_one_stops(thread, true).await;
        talk_until_one_stops(thread, false).await;
    });
}
