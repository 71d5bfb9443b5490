//! Floods: threads that send as fast as they can cost counted drops, and not memory.
//!
//! One test, because the memory is the whole process's. The counts are smaller than a user's flood may be; what bounds
//! the memory does not depend on them. `examples/flood.rs` prints the figures of larger ones.

mod support;

use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;

use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Endpoint;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;

use support::Elsewhere;
use support::Ping;
use support::Pong;
use support::balanced;
use support::listening;
use support::settled;

/// The most memory that the floods may add, in KiB.
const MEMORY: u64 = 170 << 10;

/// Messages that each thread sends: without a bound, four threads' would take 270 MB in actix's queue. Fewer than are
/// needed for the senders to be slowed down when the I/O thread is held up, which would take long.
const EACH: u64 = 140_000;

/// Larger than most, so that fewer make the point.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Large {
    seq: u64,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

fn flood(to: &Recipient<Large>, threads: usize) -> Vec<JoinHandle<()>> {
    let sender = |to: Recipient<Large>| {
        thread::spawn(move || (0..EACH).for_each(|seq| to.do_send(Large { seq, body: vec![7; 400] })))
    };
    (0..threads).map(|_| sender(to.clone())).collect()
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the test runs on Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
    peak.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("in KiB")
}

/// A node elsewhere with a box that is read, one that never is, and one that answers.
async fn server() -> (Node, Endpoint) {
    let (node, endpoint) = listening(Node::builder()).await;
    let mut read = node.mailbox::<Large>().name("read").buffer(Buffer::dropping(4_096)).open().expect("free");
    let unread = node.mailbox::<Large>().name("unread").open().expect("free");
    let mut pings = node.mailbox::<Ping>().name("pings").open().expect("free");
    actix::spawn(async move {
        let _unread = unread;
        while let Some(Large { seq, body }) = read.recv().await {
            std::hint::black_box((seq, body));
        }
    });
    actix::spawn(async move {
        while let Some(ping) = pings.recv().await {
            ping.return_to.do_send(Pong(ping.n));
        }
    });
    (node, endpoint)
}

/// A ping passes on the connection that was flooded. Each attempt is given a moment; the first may be shed.
async fn still_answered(node: &Node, pings: &Address<Ping>) {
    let mut replies = node.mailbox::<Pong>().open().expect("open");
    settled(|| {
        pings.do_send(Ping { return_to: replies.address(), n: 1 });
        replies.try_recv().is_some()
    })
    .await;
}

/// Floods and waits for the threads; the System of `client` goes on meanwhile, unless it is held up until they are done.
async fn flooded(client: &Elsewhere, to: Recipient<Large>, threads: usize, held_up: bool) {
    let (go_on, wait) = mpsc::channel::<()>();
    if held_up {
        drop(client.run(move || async move { wait.recv().unwrap_or(()) }));
    }
    let senders = flood(&to, threads);
    // Not within the limit for waits: this is work, and slow in a debug build.
    while senders.iter().any(|sender| !sender.is_finished()) {
        tokio::task::yield_now().await;
        thread::yield_now();
    }
    drop(go_on);
}

#[test]
fn a_flood_costs_counted_drops_and_no_memory() {
    System::new().block_on(async {
        let there = Elsewhere::start();
        let (server, endpoint) = there.run(server).await;
        let here = Elsewhere::start();
        let node = here.run(|| async { Node::start() }).await;
        let pings = node.remote::<Ping>(&endpoint, "pings").expect("an address");
        still_answered(&node, &pings).await;
        let before = peak();
        for (name, threads, held_up) in
            [("read", 1, false), ("read", 4, false), ("unread", 1, false), ("unread", 4, false), ("read", 4, true)]
        {
            let to = node.remote::<Large>(&endpoint, name).expect("an address").recipient();
            let sent = node.stats().sent;
            flooded(&here, to, threads, held_up).await;
            let flood = EACH * threads as u64;
            settled(|| node.stats().sent >= sent + flood).await;
            balanced(&[&node, &server]).await;
            still_answered(&node, &pings).await;
            let more = peak() - before;
            assert!(more < MEMORY, "{more} KiB more for {threads} threads to the box that is {name}");
        }
    });
}
