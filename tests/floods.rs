//! Floods: threads that send as fast as they can cost counted drops, and not memory.
//!
//! One test, because the memory is the whole process's. The counts are smaller than a user's flood may be; what bounds
//! the memory does not depend on them. `examples/demos/flood.rs` prints the figures of larger ones.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;

use actix::Actor;
use actix::ActorFutureExt;
use actix::AtomicResponse;
use actix::Context;
use actix::Handler;
use actix::Recipient;
use actix::System;
use actix::WrapFuture;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
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
use support::watched;
use tokio::sync::Semaphore;

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

/// The capacity of a published box, and the messages that its actor is given ahead.
const ROOM: u64 = 1_024;

/// An actor whose own mailbox has no bound, as actix has it with a capacity of 0. It handles one message at a time, and
/// ends the first only when the gate is closed, of which nobody has a permit: that is slow.
struct Slow {
    gate: Arc<Semaphore>,
}

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(0);
    }
}

impl Handler<Large> for Slow {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Large { seq, body }: Large, _: &mut Context<Self>) -> Self::Result {
        let gate = Arc::clone(&self.gate);
        let handled = async move {
            drop(gate.acquire().await);
            tokio::task::yield_now().await;
            std::hint::black_box((seq, body));
        };
        AtomicResponse::new(Box::pin(handled.into_actor(self).map(|(), _, _| ())))
    }
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

/// A node elsewhere with a box that is read, one that never is, one that answers, and a slow actor.
async fn server(gate: Arc<Semaphore>) -> (Node, Endpoint) {
    let (node, endpoint) = listening(Node::builder()).await;
    node.publish::<Large>("slow", Slow { gate }.start()).expect("free");
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
        let gate = Arc::new(Semaphore::new(0));
        let (server, endpoint) = {
            let gate = Arc::clone(&gate);
            there.run(|| server(gate)).await
        };
        let here = Elsewhere::start();
        let node = here.run(|| async { Node::start() }).await;
        let pings = node.remote::<Ping>(&endpoint, "pings").expect("an address");
        still_answered(&node, &pings).await;
        let before = peak();
        for (name, threads, held_up) in [
            ("read", 1, false),
            ("read", 4, false),
            ("unread", 1, false),
            ("unread", 4, false),
            ("slow", 4, false),
            ("read", 4, true),
        ] {
            let to = node.remote::<Large>(&endpoint, name).expect("an address").recipient();
            let sent = node.stats().sent;
            flooded(&here, to, threads, held_up).await;
            let flood = EACH * threads as u64;
            settled(|| node.stats().sent >= sent + flood).await;
            if name == "slow" {
                held_by_the_actor(&node, &server).await;
                gate.close();
            }
            balanced(&[&node, &server]).await;
            still_answered(&node, &pings).await;
            let more = peak() - before;
            assert!(more < MEMORY, "{more} KiB more for {threads} threads to the box that is {name}");
        }
    });
}

/// Waits until everything has been read, of which no more is neither delivered nor dropped than the boxes that nobody
/// reads hold, and the actor.
async fn held_by_the_actor(node: &Node, server: &Node) {
    let kept = || {
        let (here, there) = (node.stats(), server.stats());
        let settled = here.dropped_total() + there.dropped_total() + here.delivered + there.delivered;
        // Counted before what ends them, so that it may be less by a few.
        here.sent + there.sent - settled.min(here.sent + there.sent)
    };
    // The box that is not read, the one in front of the actor, and what the actor has been given.
    watched(kept, |&kept| kept <= 3 * ROOM).await;
    let stats = server.stats();
    let slow = stats.boxes.iter().find(|stats| stats.name == "slow").expect("it is published");
    assert_eq!((slow.depth, slow.received), (ROOM, 2 * ROOM), "{slow:?}");
    assert!(slow.dropped[&DropReason::NewestShed] > 0, "{slow:?}");
}
