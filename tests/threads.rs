//! Threads that end while they hold handles, and threads that are kept busy.

mod support;

use std::cell::RefCell;
use std::thread;
use std::time::Duration;

use actix::System;
use actix_hermod::Address;
use actix_hermod::Node;

use support::Elsewhere;
use support::Number;
use support::Ping;
use support::Pong;
use support::listening;
use support::next;

/// Sends when its thread ends.
struct LastWords(RefCell<Option<Box<dyn FnOnce()>>>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if let Some(send) = self.0.take() {
            send();
        }
    }
}

thread_local! {
    static LAST_WORDS: LastWords = const { LastWords(RefCell::new(None)) };
}

/// Sends the first on a thread that ends then, and the last when what the crate keeps for the thread is gone already:
/// it came later, so it goes earlier.
fn say(first: impl FnOnce() + Send + 'static, last: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        LAST_WORDS.with(|words| words.0.replace(Some(Box::new(last))));
        first();
    });
    thread.join().expect("the thread ends well");
}

#[test]
fn a_thread_may_send_when_it_ends() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "numbers").expect("an address");
        let again = to.clone();
        say(move || to.do_send(Number(1)), move || again.do_send(Number(2)));
        assert_eq!(next(&mut inbox).await, Number(1));
        assert_eq!(next(&mut inbox).await, Number(2));
    });
}

#[test]
fn a_message_with_an_address_may_be_sent_when_its_thread_ends() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox = server.mailbox::<Ping>().name("pings").open().expect("the name is free");
        let client = Node::start();
        let to: Address<Ping> = client.remote(&endpoint, "pings").expect("an address");
        let replies = client.mailbox::<Pong>().open().expect("a mailbox");
        let (again, return_to) = (to.clone(), replies.address());
        let ping = move |n| Ping { return_to: return_to.clone(), n };
        let (one, other) = (ping(1), ping(2));
        say(move || to.do_send(one), move || again.do_send(other));
        assert_eq!(next(&mut inbox).await.n, 1);
        assert_eq!(next(&mut inbox).await.n, 2);
    });
}

#[test]
fn a_thread_that_was_kept_busy_does_not_take_its_peers_for_dead() {
    System::new().block_on(async {
        let elsewhere = Elsewhere::start();
        let (server, endpoint) = elsewhere.run(|| listening(Node::builder())).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let (heartbeat, dead_after) = (Duration::from_millis(500), Duration::from_secs(2));
        let client = Node::builder().heartbeat(heartbeat).dead_after(dead_after).start();
        let to = client.remote::<Number>(&endpoint, "numbers").expect("an address");
        to.do_send(Number(1));
        next(&mut inbox).await;
        // A handler that takes its time, on the thread that the node's sockets are on.
        thread::sleep(2 * dead_after);
        // All heartbeats that were due come before this.
        tokio::time::sleep(heartbeat).await;
        to.do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
        let reconnects: Vec<u64> = client.stats().connections.iter().map(|connection| connection.reconnects).collect();
        assert_eq!(reconnects, [0]);
    });
}
