//! Threads that end while they hold handles, and threads that are kept busy.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Context;
use std::task::Wake;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use actix::System;
use actix_hermod::Address;
use actix_hermod::Mailbox;
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
fn an_address_may_be_read_from_text_when_its_thread_ends() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let client = Node::start();
        let uri = format!("\"hermod://{endpoint}/numbers\"");
        let send = move |n| {
            let to: Address<Number> = client.with(|| serde_json::from_str(&uri)).expect("the URI of a mailbox");
            to.do_send(Number(n));
        };
        let again = send.clone();
        say(move || send(1), move || again(2));
        assert_eq!(next(&mut inbox).await, Number(1));
        assert_eq!(next(&mut inbox).await, Number(2));
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

/// Each thread counts for itself, for one node at a time: what it counts is seen at once, and stays when it has ended.
#[test]
fn what_threads_send_for_two_nodes_is_counted_while_they_live_and_when_they_have_ended() {
    const THREADS: u64 = 4;
    // More than a thread counts for another node before it does so as it does for the first.
    const EACH: u64 = 3_000;

    System::new().block_on(async {
        let (one, other) = (Node::start(), Node::start());
        let open = |node: &Node| node.mailbox::<Number>().open().expect("a mailbox");
        let (to_one, to_other) = (open(&one), open(&other));
        let sent = || [one.stats().sent, other.stats().sent];
        let (told, tells) = mpsc::channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (told, [to_one, to_other]) = (told.clone(), [to_one.address(), to_other.address()]);
                let (go_on, goes_on) = mpsc::channel::<()>();
                let sends = move || {
                    // In turns, and then many for the one, and for the other.
                    (0..EACH).for_each(|n| [&to_one, &to_other].iter().for_each(|to| to.do_send(Number(n))));
                    told.send(()).expect("the test waits");
                    goes_on.recv().expect("the test goes on");
                    (0..thread * EACH).for_each(|n| to_one.do_send(Number(n)));
                    (0..EACH).for_each(|n| assert!(to_other.try_send(Number(n)).is_err()));
                    told.send(()).expect("the test waits");
                    goes_on.recv().expect("the test goes on");
                    to_one.do_send(Number(0));
                };
                (go_on, thread::spawn(sends))
            })
            .collect();
        (0..THREADS).for_each(|_| tells.recv().expect("each tells"));
        assert_eq!(sent(), [THREADS * EACH; 2]);
        threads.iter().for_each(|(go_on, _)| go_on.send(()).expect("it waits"));
        (0..THREADS).for_each(|_| tells.recv().expect("each tells"));
        // Of the fourth three times as many, of the third twice, and of the second once.
        let more = 6 * EACH;
        // What `try_send` gives back is not sent, and the other's box is full.
        assert_eq!(sent(), [THREADS * EACH + more, THREADS * EACH]);
        for (ended, (go_on, thread)) in (1..).zip(threads) {
            go_on.send(()).expect("it waits");
            thread.join().expect("it ends well");
            assert_eq!(sent(), [THREADS * EACH + more + ended, THREADS * EACH]);
        }
    });
}

/// A node of which a thread has counted goes, and another comes.
#[test]
fn a_thread_that_has_counted_for_nodes_that_are_gone_counts_for_others() {
    System::new().block_on(async {
        for n in 1..20 {
            let node = Node::start();
            let inbox = node.mailbox::<Number>().open().expect("a mailbox");
            (0..n * 100).for_each(|n| inbox.address().do_send(Number(n)));
            assert_eq!(node.stats().sent, n * 100);
            node.shutdown().await;
            assert_eq!(node.stats().sent, n * 100);
        }
    });
}

/// An executor may drop a task with its last waker, and the task may hold whatever it likes.
#[test]
fn a_waker_that_uses_the_box_may_go_when_the_box_takes_another() {
    /// Looks at the box when it goes.
    struct Nosy(Address<Number>);

    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            self.0.pressure();
        }
    }

    let (done, is_done) = std::sync::mpsc::channel();
    let waiting = thread::spawn(move || {
        let node = Node::start();
        let mut inbox: Mailbox<Number> = node.mailbox().open().expect("the node runs");
        for _ in 0..3 {
            // The one before is dropped: only the box has kept it.
            let waker = Waker::from(Arc::new(Nosy(inbox.address())));
            let mut reading = pin!(inbox.recv());
            assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        inbox.address().do_send(Number(1));
        assert_eq!(inbox.try_recv(), Some(Number(1)));
        done.send(()).expect("the test waits");
    });
    // Only a deadlock takes so long.
    is_done.recv_timeout(Duration::from_secs(30)).expect("the box waits for itself");
    waiting.join().expect("it has ended");
}
