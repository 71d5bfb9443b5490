//! Requests between two real processes: a worker that is killed with a thousand of them in flight, and one that takes
//! its place; and memory, which a great many requests leave as it was.

use std::collections::BTreeSet;
use std::future::Future;
use std::thread;
use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::ResponseFuture;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::MailboxError;
use actix_hermod::Node;
use futures_util::future::join_all;
use serde::Deserialize;
use serde::Serialize;
use support::process;
use support::process::Process;
use support::process::own_host;
use support::process::say;
use support::settled;
use support::within;
use tokio::sync::mpsc;

/// Requests in flight when the worker is killed.
const REQUESTS: u64 = 1_000;

/// The load of each of them: together more than the system's buffers hold, so that some have not left when the worker
/// is killed.
const LOAD: usize = 32 * 1024;

/// The number at which the worker does nothing any more, and reads nothing.
const STALL: u64 = u64::MAX;

/// How the asker asks, one after the other: by an address in two ways, and through an actix recipient.
const WAYS: [&str; 3] = ["ask", "send", "recipient"];

/// Even numbers are answered at once, odd ones never.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Work {
    n: u64,
    #[serde(with = "serde_bytes")]
    load: Vec<u8>,
}

impl Work {
    fn light(n: u64) -> Work {
        Work { n, load: Vec::new() }
    }

    fn heavy(n: u64) -> Work {
        Work { n, load: vec![0; LOAD] }
    }
}

// ------------------------------------------------------------------------------------------------------ the tests

#[test]
fn a_thousand_requests_all_end_when_the_worker_is_killed() {
    System::new().block_on(async {
        // From a worker that has seen hardly any, to one that has handled all of the first half.
        for answered_before in [0, 1, REQUESTS / 8, REQUESTS / 4] {
            let mut worker = Process::start(module_path!(), "worker", "127.0.0.1:0");
            let at = worker.says("listening").await;
            let node = roomy();
            let work = node.remote::<Work>(&at, "work").expect("an address");
            // So that there is a connection.
            assert_eq!(within(work.ask(Work::light(REQUESTS))).await, Ok(REQUESTS));
            let books = all_end(&mut worker, answered_before, |n| {
                let asked = work.ask(Work::heavy(n));
                async move { (n, asked.await) }
            })
            .await;
            assert_eq!(books.answered + books.refused.len() as u64 + books.unknown, REQUESTS, "{books:?}");
            assert!(books.answered >= answered_before && books.answered <= REQUESTS / 4, "{books:?}");
            let handled: BTreeSet<u64> = worker.rest().await.iter().filter_map(|line| numbered(line)).collect();
            assert!(handled.len() as u64 >= books.answered, "{books:?}, handled: {handled:?}");
            let wrong: Vec<_> = books.refused.intersection(&handled).collect();
            assert!(wrong.is_empty(), "said not to be handled, and they were: {wrong:?}");
            settled(|| node.stats().pending_requests == 0).await;
            within(node.shutdown()).await;
        }
    });
}

#[test]
fn a_thousand_requests_through_a_recipient_all_end_when_the_worker_is_killed() {
    System::new().block_on(async {
        let mut worker = Process::start(module_path!(), "worker", "127.0.0.1:0");
        let at = worker.says("listening").await;
        let node = roomy();
        let work = node.remote::<Work>(&at, "work").expect("an address").recipient();
        let books = all_end(&mut worker, REQUESTS / 4, |n| {
            let sent = work.send(Work::heavy(n));
            async move {
                let answer = sent.await.map_err(|error| {
                    assert_eq!(error, MailboxError::Closed);
                    // A recipient does not say why: it counts as unknown.
                    AskError::ActorStopped
                });
                (n, answer)
            }
        })
        .await;
        assert_eq!(books.answered + books.unknown, REQUESTS, "{books:?}");
        settled(|| node.stats().pending_requests == 0).await;
        within(node.shutdown()).await;
    });
}

#[test]
fn what_a_worker_that_reads_no_more_was_not_sent_is_refused_when_it_is_killed() {
    /// Lots that are sent one after the other: one write takes all that there is, and the writer is to be stuck before
    /// the last of them.
    const LOTS: u64 = 10;
    System::new().block_on(async {
        let mut worker = Process::start(module_path!(), "worker", "127.0.0.1:0");
        let at = worker.says("listening").await;
        let node = roomy();
        let work = node.remote::<Work>(&at, "work").expect("an address");
        work.do_send(Work::light(STALL));
        worker.says("stalled").await;
        let mut asked = Vec::new();
        for lot in 1..=LOTS {
            let so_far = lot * REQUESTS / LOTS;
            asked.extend((asked.len() as u64..so_far).map(|n| actix::spawn(work.ask(Work::heavy(n)))));
            settled(|| node.stats().pending_requests == so_far).await;
        }
        worker.kill();
        let ends = within(join_all(asked)).await.into_iter().map(|end| end.expect("no panic"));
        let errors: Vec<AskError> = ends.map(|end| end.expect_err("a stalled worker does not answer")).collect();
        let (left, stayed) = errors.split_at(errors.partition_point(AskError::may_have_been_handled));
        assert!(!left.is_empty() && !stayed.is_empty(), "{} have left, {} have not", left.len(), stayed.len());
        assert!(!stayed.iter().any(AskError::may_have_been_handled), "later ones left before earlier ones");
        assert_eq!(node.stats().pending_requests, 0);
        within(node.shutdown()).await;
    });
}

#[test]
fn a_worker_that_was_started_anew_at_the_same_endpoint_answers_again() {
    System::new().block_on(async {
        let mut worker = Process::start(module_path!(), "worker", &own_host());
        let at = worker.says("listening").await;
        let node = Node::builder().reconnect(Duration::from_millis(10)..=Duration::from_millis(100)).start();
        let work = node.remote::<Work>(&at, "work").expect("an address");
        for _ in 0..3 {
            let answers = async {
                loop {
                    match work.ask(Work::light(2)).await {
                        Ok(answer) => return answer,
                        // Nobody is there yet.
                        Err(error) => assert!(!error.may_have_been_handled(), "{error:?}"),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            assert_eq!(within(answers).await, 2);
            let unanswered = actix::spawn(work.ask(Work::light(1)));
            settled(|| node.stats().pending_requests == 1).await;
            worker.kill();
            within(unanswered).await.expect("no panic").expect_err("odd numbers are never answered");
            worker = Process::start(module_path!(), "worker", &at);
            assert_eq!(worker.says("listening").await, at);
        }
        within(node.shutdown()).await;
    });
}

/// In a process of its own, because the other tests need memory as well. Of ten million, and a million of each of the
/// other ways to ask, one after the other, it prints the figures after some minutes:
///
/// ```text
/// HERMOD_REQUESTS=10000000 cargo test --release --test it -- --nocapture a_great_many
/// ```
#[cfg(target_os = "linux")]
#[test]
fn a_great_many_requests_leave_memory_as_it_was() {
    /// More than 50 bytes for each request that is not forgotten, and less than the allocator's whims.
    const KIB: i64 = 8 * 1024;
    System::new().block_on(async {
        let mut child = Process::start(module_path!(), "asker", "127.0.0.1:0");
        for way in WAYS {
            child.says_at_last(&format!("asked by {way}")).await;
            let figures = child.says("resident").await;
            println!("{way}: resident {figures}");
            let grown: i64 = child.says("grown").await.parse().expect("a number");
            assert!(grown < KIB, "by {way}: {grown} KiB");
        }
        assert_eq!(child.says("pending").await, "0");
    });
}

/// The other process; see [`support::process`].
#[test]
fn child() {
    let Some((role, at)) = process::role() else { return };
    match role.as_str() {
        "worker" => serve(&at),
        "asker" => ask(&at),
        other => panic!("no such role: {other}"),
    }
}

// --------------------------------------------------------------------------------------------------- the children

/// Says which requests it handles, if it is to.
struct Worker {
    aloud: bool,
}

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Work> for Worker {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Work { n, .. }: Work, _: &mut Context<Self>) -> Self::Result {
        if n == STALL {
            say("stalled");
            loop {
                thread::park();
            }
        }
        if self.aloud {
            say(&format!("handled {n}"));
        }
        match n % 2 {
            0 => Box::pin(std::future::ready(n)),
            _ => Box::pin(std::future::pending()),
        }
    }
}

fn serve(at: &str) {
    System::new().block_on(async {
        let node = Node::start();
        node.publish::<Work>("work", Worker { aloud: true }.start()).expect("a free name");
        match node.listen(at).await {
            Ok(endpoint) => say(&format!("listening {endpoint}")),
            Err(error) => say(&format!("failed {error}")),
        }
        std::future::pending::<()>().await;
    });
}

/// Asks another node of the same process in each of the [`WAYS`], and says what that has cost since a tenth of it.
fn ask(at: &str) {
    System::new().block_on(async {
        let there = Node::start();
        there.publish::<Work>("work", Worker { aloud: false }.start()).expect("a free name");
        let endpoint = there.listen(at).await.expect("a free port");
        let here = Node::start();
        let work = here.remote::<Work>(&endpoint, "work").expect("an address");
        for way in WAYS {
            let (all, askers) = many(way);
            ask_in_turn(&work, way, all / 10, askers).await;
            let before = resident();
            ask_in_turn(&work, way, all - all / 10, askers).await;
            let after = resident();
            say(&format!("asked by {way}"));
            say(&format!("resident {before} KiB after {} requests, {after} KiB after {all}", all / 10));
            say(&format!("grown {}", after - before));
        }
        say(&format!("pending {}", here.stats().pending_requests));
    });
}

/// How many requests, from how many askers at a time: one alone would take a minute on a busy machine.
fn many(way: &str) -> (u64, u64) {
    let wanted = std::env::var("HERMOD_REQUESTS").ok().map(|requests| requests.parse::<u64>().expect("a number"));
    match (wanted, way) {
        (Some(requests), "ask") => (requests, 1),
        (Some(requests), _) => (requests / 10, 1),
        (None, "ask") => (150_000, 16),
        (None, _) => (50_000, 16),
    }
}

/// So many requests from a few askers, each of which asks one after the other.
async fn ask_in_turn(work: &Address<Work>, way: &str, requests: u64, askers: u64) {
    let recipient = work.recipient();
    join_all((0..askers).map(|asker| {
        let recipient = &recipient;
        async move {
            for n in 0..requests / askers {
                let light = Work::light(2 * n);
                let answer = match way {
                    "ask" => work.ask(light).await.ok(),
                    "send" => work.send(light).await.ok(),
                    _ => recipient.send(light).await.ok(),
                };
                assert_eq!(answer, Some(2 * n));
                if asker == 0 && n % 100 == 0 {
                    say(&format!("at {n}"));
                }
            }
        }
    }))
    .await;
}

/// The memory of this process, in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says how a process is");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory as well");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

// ------------------------------------------------------------------------------------------- the parent's helpers

/// A node that keeps all the requests, until the system takes them.
fn roomy() -> Node {
    Node::builder().outbox(2 * LOAD * REQUESTS as usize).start()
}

/// How the requests have ended.
#[derive(Debug, Default)]
struct Books {
    answered: u64,
    /// Those that certainly were not handled.
    refused: BTreeSet<u64>,
    unknown: u64,
}

impl Books {
    fn note(&mut self, n: u64, answer: Result<u64, AskError>) {
        match answer {
            Ok(answer) => {
                assert_eq!((answer, n % 2), (n, 0));
                self.answered += 1;
            }
            Err(error) if error.may_have_been_handled() => self.unknown += 1,
            Err(_) => assert!(self.refused.insert(n)),
        }
    }
}

/// Asks half, after so many answers the other half, kills the worker, and waits for the end of each request.
async fn all_end<F>(worker: &mut Process, answered_before: u64, ask: impl Fn(u64) -> F) -> Books
where
    F: Future<Output = (u64, Result<u64, AskError>)> + 'static,
{
    let (tell, mut told) = mpsc::unbounded_channel();
    let spawn = |n| {
        let (tell, asked) = (tell.clone(), ask(n));
        // If the test has failed, nobody listens.
        actix::spawn(async move { drop(tell.send(asked.await)) });
    };
    (0..REQUESTS / 2).for_each(spawn);
    let mut books = Books::default();
    while books.answered < answered_before {
        let (n, answer) = within(told.recv()).await.expect("we have a sender");
        books.note(n, answer);
    }
    (REQUESTS / 2..REQUESTS).for_each(spawn);
    drop(tell);
    worker.kill();
    // The senders are gone once every future has ended.
    within(async {
        while let Some((n, answer)) = told.recv().await {
            books.note(n, answer);
        }
    })
    .await;
    books
}

/// The request that a worker says it has handled.
fn numbered(line: &str) -> Option<u64> {
    line.strip_prefix("handled ")?.parse().ok()
}
