//! A sender sees that a box, or the way there, fills up before it loses anything.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::Text;
use support::balanced;
use support::catcher;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::watched;
use tokio::net::TcpListener;

fn open(node: &Node, name: &str, room: usize) -> Mailbox<Number> {
    node.mailbox().name(name).buffer(Buffer::dropping(room)).open().expect("the name is free")
}

fn send(to: &Address<Number>, count: u64) {
    (0..count).for_each(|n| to.do_send(Number(n)));
}

/// Waits until the pressure is about that.
async fn pressed<M: RemoteMessage>(to: &Address<M>, expected: f32) {
    watched(|| to.pressure(), |pressure| (pressure - expected).abs() < 0.04).await;
}

#[test]
fn a_box_of_this_node_is_as_full_as_it_is() {
    System::new().block_on(async {
        let node = Node::start();
        let mut inbox = open(&node, "inbox", 4);
        let to = inbox.address();
        assert_eq!(to.pressure(), 0.0);
        send(&to, 1);
        assert_eq!(to.pressure(), 63.0 / 255.0);
        send(&to, 9);
        assert_eq!(to.pressure(), 1.0);
        while inbox.try_recv().is_some() {}
        assert_eq!(to.pressure(), 0.0);
        drop(inbox);
        assert_eq!(
            node.remote::<Number>("127.0.0.1:1", "nowhere").unwrap().pressure(),
            0.0,
            "nothing waits for it yet"
        );
    });
}

#[test]
fn a_sender_hears_of_a_box_that_fills_and_empties() {
    on_either_thread(async |thread| {
        let (server, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = open(&server, "inbox", 100);
        let client = Node::builder().io_thread(thread).start();
        let to: Address<Number> = client.remote(&endpoint, "inbox").unwrap();
        send(&to, 40);
        settled(|| inbox.len() == 40).await;
        assert!(to.pressure() < 0.1, "below a half nothing is told");
        send(&to, 40);
        pressed(&to, 0.8).await;
        assert_eq!(inbox.dropped(), 0, "it is known before anything is lost");
        send(&to, 40);
        pressed(&to, 1.0).await;
        for _ in 0..50 {
            next(&mut inbox).await;
        }
        pressed(&to, 0.5).await;
        while inbox.try_recv().is_some() {}
        pressed(&to, 0.0).await;
        // And once more, as at first.
        send(&to, 90);
        pressed(&to, 0.9).await;
        drop(inbox);
        pressed(&to, 0.0).await;
        balanced(&[&server, &client]).await;
    });
}

/// A box has few messages, and nearly all the bytes that the boxes of its node may have.
#[test]
fn a_sender_hears_of_a_box_that_fills_with_bytes() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder().boxes(4 << 20).max_message(1 << 20)).await;
        let mut inbox: Mailbox<Text> = server.mailbox().name("inbox").open().expect("the name is free");
        let client = Node::start();
        let to: Address<Text> = client.remote(&endpoint, "inbox").expect("an address");
        let send = |count: usize| (0..count).for_each(|_| to.do_send(Text("x".repeat(100_000))));
        send(8);
        settled(|| inbox.len() == 8).await;
        assert!(to.pressure() < 0.1, "below a half nothing is told");
        send(8);
        watched(|| to.pressure(), |pressure| *pressure > 0.7).await;
        assert_eq!(inbox.dropped(), 0, "it is known before anything is lost");
        while inbox.try_recv().is_some() {}
        pressed(&to, 0.0).await;
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn a_sliding_buffer_is_full_too() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let inbox: Mailbox<Number> = server.mailbox().name("newest").buffer(Buffer::sliding(10)).open().unwrap();
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "newest").unwrap();
        send(&to, 25);
        pressed(&to, 1.0).await;
        drop(inbox);
    });
}

#[test]
fn a_box_that_others_have_filled_presses_who_is_turned_away() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let inbox = open(&server, "inbox", 10);
        send(&inbox.address(), 10);
        let to: Address<Number> = Node::start().remote(&endpoint, "inbox").unwrap();
        send(&to, 1);
        pressed(&to, 1.0).await;
    });
}

#[test]
fn a_box_that_was_empty_and_that_others_have_filled_again_presses_as_before() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox = open(&server, "inbox", 100);
        let to: Address<Number> = Node::start().remote(&endpoint, "inbox").unwrap();
        send(&to, 80);
        pressed(&to, 0.8).await;
        while inbox.try_recv().is_some() {}
        pressed(&to, 0.0).await;
        send(&inbox.address(), 79);
        send(&to, 1);
        pressed(&to, 0.8).await;
    });
}

#[test]
fn a_box_in_the_place_of_another_has_a_pressure_of_its_own() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let first = open(&server, "inbox", 100);
        let to: Address<Number> = Node::start().remote(&endpoint, "inbox").unwrap();
        send(&to, 80);
        pressed(&to, 0.8).await;
        drop(first);
        let second = open(&server, "inbox", 100);
        send(&second.address(), 99);
        send(&to, 1);
        pressed(&to, 1.0).await;
        // Not only for a moment, until the first is found to be gone.
        let others = open(&server, "others", 100);
        let to_others: Address<Number> = Node::start().remote(&endpoint, "others").unwrap();
        send(&to_others, 80);
        pressed(&to_others, 0.8).await;
        assert_eq!(to.pressure(), 1.0);
        drop((second, others));
    });
}

#[test]
fn each_box_has_a_pressure_of_its_own() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let _boxes = [open(&server, "one", 10), open(&server, "two", 1000)];
        let client = Node::start();
        let [one, two] = ["one", "two"].map(|name| client.remote::<Number>(&endpoint, name).unwrap());
        send(&one, 9);
        send(&two, 9);
        pressed(&one, 0.9).await;
        assert!(two.pressure() < 0.1);
    });
}

/// The actor lives on this thread, and has no turn while the test looks; both nodes have threads of their own.
#[test]
fn an_actor_that_does_not_keep_up_is_seen() {
    System::new().block_on(async {
        let builder = || Node::builder().io_thread(IoThread::Own).mailbox_buffer(10);
        let (server, endpoint) = listening(builder()).await;
        let (actor, mut caught) = catcher();
        server.publish("catcher", actor).unwrap();
        let client = builder().start();
        let to: Address<Number> = client.remote(&endpoint, "catcher").unwrap();
        send(&to, 1);
        caught.next().await;
        // Ten are given to the actor, and ten wait before it.
        let deadline = Instant::now() + support::LIMIT;
        while to.pressure() < 1.0 {
            assert!(Instant::now() < deadline, "the pressure is {} only", to.pressure());
            send(&to, 1);
            thread::sleep(Duration::from_millis(1));
        }
        pressed(&to, 0.0).await;
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn what_waits_for_the_connection_is_pressure() {
    System::new().block_on(async {
        // Somebody takes the connection, and never greets.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        let client = Node::builder().outbox(1 << 20).handshake_timeout(Duration::from_secs(3600)).start();
        let to: Address<Text> = client.remote(&endpoint, "inbox").unwrap();
        assert_eq!(to.pressure(), 0.0);
        to.do_send(Text("x".repeat(1 << 19)));
        let pressure = to.pressure();
        // Of what is large there may be three quarters of that.
        assert!((0.66..0.7).contains(&pressure), "{pressure}");
        (0..40).for_each(|_| to.do_send(Text("x".repeat(1 << 14))));
        let pressure = to.pressure();
        assert!((0.9..=1.0).contains(&pressure), "{pressure}");
    });
}

#[test]
fn where_nothing_can_be_sent_to_the_pressure_is_highest() {
    System::new().block_on(async {
        let endpoint = support::deserted().await;
        let client = Node::builder().reconnect(Duration::from_secs(3600)..=Duration::from_secs(3600)).start();
        let to: Address<Number> = client.remote(&endpoint, "inbox").unwrap();
        send(&to, 1);
        settled(|| to.pressure() == 1.0).await;
        assert!(!to.connected());
    });
}

/// A message that brings an address on.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Introduced(Address<Number>);

#[test]
fn a_box_of_a_third_node_presses_through_the_one_in_the_middle() {
    System::new().block_on(async {
        let (middle, at_middle) = listening(Node::builder()).await;
        let (third, at_third) = listening(Node::builder()).await;
        let mut at_the_middle: Mailbox<Introduced> = middle.mailbox().name("introductions").open().unwrap();
        let mut at_the_third: Mailbox<Introduced> = third.mailbox().name("introductions").open().unwrap();
        let owner = Node::start();
        let mut inbox: Mailbox<Number> = owner.mailbox().buffer(Buffer::dropping(500)).open().unwrap();
        owner.remote(&at_middle, "introductions").unwrap().do_send(Introduced(inbox.address()));
        let Introduced(known) = next(&mut at_the_middle).await;
        middle.remote(&at_third, "introductions").unwrap().do_send(Introduced(known));
        let Introduced(to) = next(&mut at_the_third).await;
        send(&to, 450);
        settled(|| inbox.len() == 450).await;
        // The one in the middle looks again with every few messages that it passes on.
        settled(|| {
            if inbox.len() > 400 {
                inbox.try_recv();
            }
            to.do_send(Number(0));
            to.pressure() > 0.7
        })
        .await;
        while inbox.try_recv().is_some() {}
        settled(|| to.pressure() == 0.0).await;
    });
}
