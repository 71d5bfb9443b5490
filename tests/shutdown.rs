//! How a connection and a node end: nobody waits for what says nothing, and the end of one thing is not that of the
//! next.

#[allow(dead_code)]
mod peer;
mod support;

use std::sync::mpsc;
use std::time::Duration;

use actix::Actor;
use actix::Arbiter;
use actix::Context;
use actix::Handler;
use actix::System;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Node;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use peer::Hello;
use peer::Peer;
use support::Events;
use support::LIMIT;
use support::Number;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::within;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(86_400);

async fn peer_up(ears: &mut Events) {
    ears.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
}

async fn peer_down(ears: &mut Events) {
    ears.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
}

#[test]
fn a_goodbye_ends_its_own_connection_and_not_the_next_one() {
    System::new().block_on(async {
        let limit = Duration::from_millis(200);
        let pauses = Duration::from_millis(1)..=Duration::from_millis(20);
        let (server, endpoint) = listening(Node::builder()).await;
        let client = Node::builder().shutdown_timeout(limit).reconnect(pauses).start();
        let mut ears = events(&client);
        let to = client.remote::<Number>(&endpoint, "numbers").expect("an address");
        to.do_send(Number(1));
        peer_up(&mut ears).await;
        within(server.shutdown()).await;
        peer_down(&mut ears).await;

        let again = Node::start();
        within(again.listen(&endpoint)).await.expect("the port is free");
        peer_up(&mut ears).await;
        // Longer than a peer that has said goodbye is waited for; a busy machine makes this test kinder, never harsher.
        tokio::time::sleep(5 * limit).await;
        let reconnects: Vec<u64> = client.stats().connections.iter().map(|connection| connection.reconnects).collect();
        assert_eq!(reconnects, [1], "the second connection is still the one there is");
    });
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_a_shutdown() {
    on_either_thread(|thread| async move {
        let builder = Node::builder().io_thread(thread).shutdown_timeout(NEVER).handshake_timeout(NEVER);
        let (server, endpoint) = listening(builder).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let silent = within(TcpStream::connect(endpoint.as_ref())).await.expect("a connection");
        let client = Node::builder().io_thread(thread).start();
        client.remote::<Number>(&endpoint, "numbers").expect("an address").do_send(Number(1));
        // The silent one was accepted before this one's.
        next(&mut inbox).await;
        within(server.shutdown()).await;
        drop(silent);
    });
}

#[test]
fn a_flood_through_a_recipient_does_not_hold_up_a_shutdown() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder()).await;
        let client = Node::builder().io_thread(thread).shutdown_timeout(Duration::from_millis(200)).start();
        let to = client.remote::<Number>(&endpoint, "nobody").expect("an address").recipient();
        let (done, end) = mpsc::channel::<()>();
        let flood = std::thread::spawn(move || {
            while end.try_recv() == Err(mpsc::TryRecvError::Empty) {
                to.do_send(Number(1));
            }
        });
        settled(|| client.stats().sent > 1_000).await;
        within(client.shutdown()).await;
        drop(done);
        flood.join().expect("the flood ends");
        within(server.shutdown()).await;
    });
}

#[test]
fn what_was_read_before_a_goodbye_is_not_in_doubt() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let client = Node::builder().io_thread(thread).start();
        let mut ears = events(&client);
        let to = client.remote::<Number>(&endpoint, "numbers").expect("an address");
        for n in 0..100 {
            to.do_send(Number(n));
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        within(server.shutdown()).await;
        peer_down(&mut ears).await;
        let books = client.stats();
        assert_eq!((books.sent, books.dropped_total(), books.in_doubt), (100, 0, 0));
    });
}

/// Says its last and is gone at once, in both directions: the node can write nothing more.
fn vanish_after(peer: Peer, bytes: &[u8]) {
    assert_eq!(peer.stream.try_write(bytes).expect("the system has room"), bytes.len());
    SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).expect("a reset instead of an end");
}

/// The writer of a connection may find out before its reader that the peer is gone.
#[test]
fn the_last_words_of_a_peer_are_read_although_nothing_can_be_written_to_it() {
    System::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        // On this thread, so that the node does nothing between the peer's end and the message that is to be written.
        let node = Node::builder().io_thread(IoThread::Current).start();
        let mut ears = events(&node);
        let mut inbox = node.mailbox::<Number>().name("inbox").open().expect("the name is free");
        let to = node.remote::<Number>(&at, "box").expect("an address");
        to.do_send(Number(0));
        let mut other = Peer::accept(&listener).await;
        assert!(other.send(&[Hello::of(peer::fresh_id()).bytes(), peer::resume(peer::fresh_id())].concat()).await);
        other.hello().await.expect("a hello");
        // The node waits for nothing any more once it has been asked and has answered.
        assert!(other.is_answered().await);
        peer_up(&mut ears).await;

        let last_words = [peer::post(&peer::inline(&peer::your_box("inbox")), &peer::number(7)), peer::goodbye(0)];
        vanish_after(other, &last_words.concat());
        to.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(7));
        let why = ears.find(|event| if let Event::PeerDown { why, .. } = event { Some(why.clone()) } else { None });
        assert_eq!(why.await, DownReason::Goodbye);
    });
}

/// Handles a message when it is let.
struct Slow(mpsc::Receiver<()>);

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<Number> for Slow {
    type Result = ();

    fn handle(&mut self, _: Number, _: &mut Context<Self>) {
        // Ends when the test does, too.
        let _ = self.0.recv_timeout(LIMIT);
    }
}

#[test]
fn subscribers_hear_of_what_a_shutdown_drops() {
    on_either_thread(|thread| async move {
        let node = Node::builder().mailbox_buffer(5).io_thread(thread).start();
        let mut ears = events(&node);
        let (arbiter, (release, released), (started, starting)) = (Arbiter::new(), mpsc::channel(), mpsc::channel());
        assert!(arbiter.spawn_fn(move || started.send(Slow(released).start()).expect("the test waits")));
        let actor = starting.recv_timeout(LIMIT).expect("the actor starts");
        let to = node.publish::<Number>("slow", actor).expect("the name is free");
        let depth = || node.stats().boxes.iter().map(|stats| stats.depth).sum::<u64>();
        // As many as the actor is given before it has begun them, and as many behind them.
        (0..5).for_each(|n| to.do_send(Number(n)));
        settled(|| depth() == 0).await;
        (5..10).for_each(|n| to.do_send(Number(n)));
        assert_eq!(depth(), 5);
        within(node.shutdown()).await;
        assert_eq!(ears.count_drops("slow", DropReason::BoxClosed, 5).await, 5);
        drop(release);
        arbiter.stop();
    });
}
