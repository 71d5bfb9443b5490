//! Processes that are stopped (SIGSTOP) or killed (SIGKILL) in the middle of their work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use actix::System;
use actix_hermod::Address;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::dropped;
use support::events;
use support::next;
use support::process::own_host;
use support::settled;
use support::transport::here;
use support::within;

use super::Ask;
use super::Told;
use super::eager;
use super::other_process;
use super::peer_down;
use super::peer_silent;
use super::peer_up;
use super::wary;

/// Pings until one of these numbers, or a later one, is answered.
async fn answered(to: &Address<Ask>, told: &mut Mailbox<Told>, from: u64) -> Told {
    let pinging = async {
        for n in from.. {
            to.do_send(Ask::light(&told.address(), n));
            tokio::time::sleep(Duration::from_millis(5)).await;
            while let Some(answer) = told.try_recv() {
                if answer.n >= from {
                    return answer;
                }
            }
        }
        unreachable!("numbers do not run out")
    };
    within(pinging).await
}

#[test]
fn a_server_that_is_stopped_is_taken_for_dead_and_found_again_when_it_goes_on() {
    System::new().block_on(async {
        let mut server = other_process("server", "127.0.0.1:0");
        let at = server.says("listening").await;
        let node = wary().start();
        let mut ears = events(&node);
        let to = node.remote::<Ask>(&at, "asked").expect("an address");
        let mut told = node.mailbox::<Told>().open().expect("a mailbox");
        let mut last = 0;
        for _ in 0..2 {
            last = answered(&to, &mut told, last + 1).await.n;
            let peer = peer_up(&mut ears).await;
            assert_eq!(to.node_id(), Some(peer));
            server.stop();
            peer_silent(&mut ears).await;
            // All that was answered before.
            last += 1_000_000;
            server.go_on();
            let answer = answered(&to, &mut told, last + 1).await;
            assert_eq!(answer.process, server.id(), "the same process, and the same address");
            last = answer.n;
        }
        // It was never gone, so nothing remains in doubt.
        settled(|| node.stats().in_doubt == 0).await;
        within(node.shutdown()).await;
    });
}

#[test]
fn a_client_that_was_stopped_notices_that_it_was_given_up_and_comes_back() {
    System::new().block_on(async {
        let node = wary().start();
        let mut ears = events(&node);
        let at = within(node.listen(here())).await.expect("a free port");
        let mut asked = node.mailbox::<Ask>().name("asked").open().expect("a mailbox");
        let answering = actix::spawn(async move {
            let mut taken = 0;
            while let Some(ask) = asked.recv().await {
                taken += 1;
                ask.return_to.do_send(Told { n: ask.n, process: std::process::id(), taken });
            }
        });
        let mut client = other_process("client", at.as_ref());
        let peer = peer_up(&mut ears).await;
        client.says("answered").await;
        for _ in 0..2 {
            client.stop();
            peer_silent(&mut ears).await;
            client.go_on();
            client.says_at_last("lost").await;
            assert_eq!(peer_up(&mut ears).await, peer, "the same node");
            client.says_at_last("answered").await;
        }
        settled(|| node.stats().in_doubt == 0).await;
        drop(client);
        answering.abort();
        within(node.shutdown()).await;
    });
}

/// Threads that send pings without a rest until they are told to end; how many they sent.
struct Load {
    end: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<u64>>,
}

impl Load {
    /// Each of the threads has numbers of its own.
    const APART: u64 = 1 << 32;

    fn start(threads: u64, to: &Address<Ask>, return_to: &Address<Told>) -> Load {
        let end = Arc::new(AtomicBool::new(false));
        let sender = |thread: u64| {
            let (to, return_to, end) = (to.clone(), return_to.clone(), Arc::clone(&end));
            thread::spawn(move || {
                let mut sent = 0;
                while !end.load(Ordering::Relaxed) {
                    to.do_send(Ask::light(&return_to, thread * Load::APART + sent));
                    sent += 1;
                }
                sent
            })
        };
        let threads = (0..threads).map(sender).collect();
        Load { end, threads }
    }

    fn end(self) -> u64 {
        self.end.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("it ends well")).sum()
    }
}

/// The answers, by the thread that had asked.
#[derive(Default)]
struct Seen {
    last: BTreeMap<(u32, u64), u64>,
    answers: u64,
    taken: BTreeMap<u32, u64>,
}

impl Seen {
    fn note(&mut self, told: Told) {
        let (thread, n) = (told.n / Load::APART, told.n % Load::APART);
        let last = self.last.insert((told.process, thread), n);
        assert!(last < Some(n), "in the order of each thread: {n} after {last:?}");
        // Each process counts what it takes: so no answer is of another process's message.
        assert!(self.taken.insert(told.process, told.taken) < Some(told.taken));
        self.answers += 1;
    }
}

#[test]
fn a_server_that_is_killed_under_load_costs_counted_messages() {
    System::new().block_on(async {
        let mut server = other_process("server", &own_host());
        let at = server.says("listening").await;
        let node = eager().start();
        let mut ears = events(&node);
        let to = node.remote::<Ask>(&at, "asked").expect("an address");
        let mut told = node.mailbox::<Told>().open().expect("a mailbox");
        let (mut seen, mut sent) = (Seen::default(), 0);
        for _ in 0..3 {
            let load = Load::start(2, &to, &told.address());
            let begun = seen.answers;
            while seen.answers < begun + 2_000 {
                seen.note(next(&mut told).await);
            }
            server.kill();
            assert_eq!(peer_down(&mut ears).await, DownReason::Lost);
            // Under load as well, there is nobody to send to.
            let before = dropped(&node, DropReason::NotConnected);
            settled(|| dropped(&node, DropReason::NotConnected) > before).await;
            sent += load.end();
            std::iter::from_fn(|| told.try_recv()).for_each(|answer| seen.note(answer));
            conserved(&node, sent, &seen);
            server = other_process("server", &at);
            assert_eq!(server.says("listening").await, at);
        }
        within(node.shutdown()).await;
    });
}

/// The knowledge of a node after its server was killed: each message was dropped here, or has left; of those that have
/// left the servers had no more than that.
fn conserved(node: &Node, sent: u64, seen: &Seen) {
    let stats = node.stats();
    assert_eq!(stats.sent, sent, "{stats:?}");
    let taken: u64 = seen.taken.values().sum();
    // Answers that did not fit the mailbox here are the servers' messages.
    let answers = dropped(node, DropReason::NewestShed);
    let left = sent - (stats.dropped_total() - answers);
    assert!(taken <= left, "{taken} were taken, of {left} that have left: {stats:?}");
    assert!(stats.in_doubt <= left, "{stats:?}");
    assert!(stats.in_doubt > 0, "a server under load was killed: {stats:?}");
}
