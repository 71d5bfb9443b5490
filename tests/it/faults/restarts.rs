//! A server that is killed and started anew, again and again, while a client sends.

use std::collections::BTreeMap;

use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::Number;
use support::dropped;
use support::process::Process;
use support::process::own_host;
use support::settled;
use support::within;

use super::Ask;
use super::Told;
use super::eager;
use super::listening;
use super::nothing_in_doubt;
use super::other_process;
use super::proxy::Proxy;

/// How often the server is started anew.
const RESTARTS: u64 = 50;

/// A client that sends pings all the time, and what comes back.
struct Client {
    node: Node,
    to: Address<Ask>,
    told: Mailbox<Told>,
    sent: u64,
    /// By process, the last number that it has answered and how many it had taken until then.
    seen: BTreeMap<u32, Told>,
    answers: u64,
}

impl Client {
    fn new(at: &str) -> Client {
        let node = eager().start();
        let to = node.remote(at, "asked").expect("an address");
        let told = node.mailbox().buffer(Buffer::dropping(100_000)).open().expect("a mailbox");
        Client { node, to, told, sent: 0, seen: BTreeMap::new(), answers: 0 }
    }

    /// Sends a few pings and looks at the answers that have come: whether that process has answered anything yet.
    fn go_on(&mut self, process: u32) -> bool {
        for _ in 0..10 {
            self.to.do_send(Ask::light(&self.told.address(), self.sent));
            self.sent += 1;
        }
        while let Some(told) = self.told.try_recv() {
            assert!(told.n < self.sent);
            self.answers += 1;
            let before = self.seen.insert(told.process, told);
            // In order, and none twice.
            let is_later = |before: Told| before.n < told.n && before.taken < told.taken;
            assert!(before.is_none_or(is_later), "{told:?} after {before:?}");
        }
        self.seen.contains_key(&process)
    }

    async fn until_answered_by(&mut self, server: &Process) {
        settled(|| self.go_on(server.id())).await;
    }
}

#[test]
fn a_server_that_is_restarted_fifty_times_is_found_each_time() {
    System::new().block_on(async {
        let mut server = other_process("server", &own_host());
        let at = server.says("listening").await;
        let mut client = Client::new(&at);
        client.until_answered_by(&server).await;
        for _ in 0..RESTARTS {
            server.kill();
            // There is nobody, and it is sent to all the same.
            let before = dropped(&client.node, DropReason::NotConnected);
            settled(|| {
                client.go_on(0);
                dropped(&client.node, DropReason::NotConnected) > before
            })
            .await;
            server = other_process("server", &at);
            assert_eq!(server.says("listening").await, at);
            client.until_answered_by(&server).await;
        }
        assert_eq!(client.seen.len() as u64, RESTARTS + 1);
        // The server that lives has taken all that was sent to it before this is answered.
        let last = client.sent;
        settled(|| client.go_on(server.id()) && client.seen[&server.id()].n >= last).await;
        conserved(&client, client.seen[&server.id()].taken);
        within(client.node.shutdown()).await;
    });
}

/// The knowledge of a node whose servers were killed, but for one that lives and has taken so many: each message was
/// dropped here, or has left for a server; what a server that is gone is not known to have read is in doubt; and what
/// was taken is no more than what has left.
fn conserved(client: &Client, taken_by_the_last: u64) {
    let stats = client.node.stats();
    let taken: u64 = client.seen.values().map(|last| last.taken).sum();
    assert_eq!((stats.sent, stats.delivered), (client.sent, client.answers), "{stats:?}");
    let left = stats.sent - stats.dropped_total();
    assert!(client.answers <= taken && taken <= left, "{taken} were taken, of {left} that have left: {stats:?}");
    assert!(stats.in_doubt + taken_by_the_last <= left, "{taken_by_the_last} of {left} are not in doubt: {stats:?}");
    let connection = stats.connections.first().expect("it is up");
    assert!(connection.reconnects >= RESTARTS, "{stats:?}");
}

#[test]
fn the_pauses_between_attempts_grow_no_longer_than_the_longest() {
    // If each were twice as long as the one before, the last of them would take an hour.
    const ATTEMPTS: u64 = 20;
    System::new().block_on(async {
        let (server, at) = listening(eager()).await;
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().expect("the name is free");
        let proxy = Proxy::to(at.as_ref()).await;
        let client = eager().start();
        let to = client.remote::<Number>(&proxy.endpoint, "numbers").expect("an address");
        proxy.close();
        to.do_send(Number(1));
        settled(|| proxy.accepted() >= ATTEMPTS).await;
        proxy.mend();
        settled(|| {
            to.do_send(Number(2));
            inbox.try_recv() == Some(Number(2))
        })
        .await;
        nothing_in_doubt(&[&server, &client]).await;
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
}
