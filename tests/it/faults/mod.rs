//! Faults: processes that are killed or stopped in the middle of their work, and links that break, stall, pass bytes in
//! one direction only, or one byte at a time. The tests check the reports on both sides, the fate of the messages, and
//! that the two find each other again.
//!
//! The other process is this program again (see [`support::process`]); the bad link is a [`proxy`]. All of it also runs
//! over the transports that encrypt: see [`support::transport`].

mod ends;
mod handles;
mod healing;
mod hubs;
mod leases;
mod proxy;
mod restarts;
mod runs;
mod several;
mod signals;
mod slow;

use std::time::Duration;

use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::DownReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeId;
use actix_hermod::Stats;
use serde::Deserialize;
use serde::Serialize;
use support::Events;
use support::process;
use support::process::Process;
use support::process::say;
use support::transport;
use support::transport::here;
use support::transport::over;
use support::watched;
use support::within;

/// A ping with a number, as heavy as one likes.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ask {
    return_to: Address<Told>,
    n: u64,
    load: String,
}

impl Ask {
    fn light(return_to: &Address<Told>, n: u64) -> Ask {
        Ask { return_to: return_to.clone(), n, load: String::new() }
    }
}

/// The number of the ping, the process that had it, and how many it had until then.
#[derive(Message, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Told {
    n: u64,
    process: u32,
    taken: u64,
}

/// A node that tries again soon after a connection is lost.
fn eager() -> NodeBuilder {
    over(Node::builder()).reconnect(Duration::from_millis(5)..=Duration::from_millis(50))
}

/// The same, and it takes a silent peer for dead within half a second or so. A busy machine may make it wrong: no test is
/// the worse for a connection that was lost once more, unless it says so.
fn wary() -> NodeBuilder {
    eager().heartbeat(Duration::from_millis(100)).dead_after(Duration::from_millis(500))
}

/// Starts a node that listens at a port that the system chooses.
async fn listening(builder: NodeBuilder) -> (Node, Endpoint) {
    let node = builder.start();
    let endpoint = within(node.listen(here())).await.expect("a free port");
    (node, endpoint)
}

async fn peer_up(ears: &mut Events) -> NodeId {
    ears.find(|event| if let Event::PeerUp { peer } = event { Some(*peer) } else { None }).await
}

async fn peer_down(ears: &mut Events) -> DownReason {
    ears.find(|event| if let Event::PeerDown { why, .. } = event { Some(why.clone()) } else { None }).await
}

/// Waits until a peer is taken for dead, whatever other connections end before.
async fn peer_silent(ears: &mut Events) {
    ears.find(|event| matches!(event, Event::PeerDown { why: DownReason::Silent, .. }).then_some(())).await;
}

/// Waits until all that these nodes have sent is delivered, dropped or waiting, and nothing is in doubt.
#[track_caller]
fn nothing_in_doubt(nodes: &[&Node]) -> impl Future<Output = ()> {
    let books = || nodes.iter().map(|node| node.stats()).collect::<Vec<_>>();
    let watched = watched(books, |books| {
        let waiting = |stats: &Stats| stats.boxes.iter().map(|stats| stats.depth).sum::<u64>();
        let sent: u64 = books.iter().map(|stats| stats.sent).sum();
        let ended: u64 = books.iter().map(|stats| stats.delivered + stats.dropped_total() + waiting(stats)).sum();
        sent == ended && books.iter().all(|stats| stats.in_doubt == 0)
    });
    async move { drop(watched.await) }
}

/// How often the connections of a node were made anew, in all.
fn reconnects(node: &Node) -> u64 {
    node.stats().connections.iter().map(|connection| connection.reconnects).sum()
}

// --------------------------------------------------------------------------------------------------- the children

/// Starts the other process of a test of this folder, at a host and a port.
fn other_process(role: &str, at: &str) -> Process {
    Process::start(module_path!(), role, &transport::endpoint(transport::host_and_port(at)))
}

/// The other process; see [`support::process`].
#[test]
fn child() {
    let Some((role, at)) = process::role() else { return };
    match role.as_str() {
        "server" => System::new().block_on(serve(&at)),
        "client" => System::new().block_on(play(&at)),
        other => panic!("no such role: {other}"),
    }
}

/// Answers pings.
async fn serve(at: &str) {
    let node = over(Node::builder()).start();
    let mut asked: Mailbox<Ask> = node.mailbox().name("asked").open().expect("a mailbox");
    let endpoint = node.listen(at).await.expect("the endpoint is free");
    say(&format!("listening {endpoint}"));
    let mut taken = 0;
    while let Some(ask) = asked.recv().await {
        taken += 1;
        ask.return_to.do_send(Told { n: ask.n, process: std::process::id(), taken });
    }
}

/// Sends pings, one every few milliseconds, and says when it has lost the other side and when it is answered again.
async fn play(at: &str) {
    let node = eager().start();
    let mut ears = support::events(&node);
    let to = node.remote::<Ask>(at, "asked").expect("an address");
    let mut told: Mailbox<Told> = node.mailbox().open().expect("a mailbox");
    let return_to = told.address();
    let pinging = async {
        for n in 1.. {
            to.do_send(Ask::light(&return_to, n));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let telling = async {
        loop {
            told.recv().await.expect("our mailbox is open");
            say("answered");
            peer_down(&mut ears).await;
            say("lost");
            // Answers from before the loss say nothing of what comes after.
            peer_up(&mut ears).await;
            while told.try_recv().is_some() {}
        }
    };
    tokio::select! {
        () = pinging => {}
        () = telling => {}
    }
}
