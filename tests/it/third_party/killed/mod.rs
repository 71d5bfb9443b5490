//! Pointers that reach their holder through others, in real processes: what becomes of them when the one that has passed
//! them on is killed in the middle of the traffic.
//!
//! The holder is the node of the test. The others are this program again (see [`support::process`]), in the [`roles`] of
//! an owner of boxes, of introducers that pass pointers to them on, and of a bystander.

mod chain;
mod direct;
mod relayed;
mod roles;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;
use support::process;
use support::process::Process;
use support::within;
use tokio::sync::mpsc;

/// Even numbers are answered at once, odd ones never.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Work(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Note(u64);

/// The handles that an owner gives away. The actor behind `notes` is held by nobody but those to whom it was given.
#[derive(Serialize, Deserialize)]
struct Gift {
    work: Address<Work>,
    /// Another box that does the same.
    spare: Address<Work>,
    #[serde(with = "actix_hermod::recipient")]
    notes: Recipient<Note>,
}

/// Leaves a gift with an introducer.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Keep(Gift);

/// Asks an introducer for the gift. It keeps nothing of it.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Option<Gift>")]
struct Hand;

/// Asks an introducer how many relays it has.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "usize")]
struct Relays;

/// A node that tries again soon after a connection is lost.
fn eager() -> NodeBuilder {
    Node::builder()
        .reconnect(Duration::from_millis(5)..=Duration::from_millis(50))
        .forget_after(Duration::from_millis(300))
}

/// The other process; see [`support::process`].
#[test]
fn child() {
    if let Some((role, at)) = process::role() {
        roles::play(&role, &at);
    }
}

/// An introducer, and where it listens. It has its gift from `before`, or from whoever brings it one.
async fn introducer(before: &str) -> (Process, String) {
    let mut introducer = Process::start(module_path!(), "introducer", before);
    let at = introducer.says("listening").await;
    (introducer, at)
}

/// One who answers as an owner does, and has nothing to do with the others.
async fn bystander() -> (Process, String) {
    let mut bystander = Process::start(module_path!(), "bystander", "");
    let at = bystander.says("listening").await;
    (bystander, at)
}

/// An owner that has left a gift with an introducer.
struct Owner {
    process: Process,
    heard: Vec<String>,
}

impl Owner {
    async fn start(role: &str, introducer: &str, bystander: &str) -> Owner {
        let mut process = Process::start(module_path!(), role, &format!("{introducer} {bystander}"));
        process.says("known").await;
        Owner { process, heard: Vec::new() }
    }

    /// Waits until it says something that begins with that word, before or after anything else; what follows.
    async fn says(&mut self, word: &str) -> String {
        loop {
            if let Some(at) = self.heard.iter().position(|line| line.starts_with(word)) {
                return self.heard.swap_remove(at)[word.len()..].trim_start().to_owned();
            }
            let line = self.process.line(word).await;
            self.heard.push(line);
        }
    }
}

/// The gift that an introducer hands on to this node.
async fn handed(node: &Node, introducer: &str) -> Gift {
    let hand = node.remote::<Hand>(introducer, "hand").expect("an address");
    within(hand.ask(Hand)).await.expect("it answers").expect("it has a gift")
}

/// Whether a future that was started has not ended. Nobody would announce that.
async fn still_waits<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = std::future::ready(()) => true,
    }
}

/// Requests that are asked by one address, and how they end.
struct Traffic {
    work: Address<Work>,
    asked: u64,
    tell: mpsc::UnboundedSender<(u64, Result<u64, AskError>)>,
    told: mpsc::UnboundedReceiver<(u64, Result<u64, AskError>)>,
    answered: u64,
    /// Those that certainly were not handled.
    refused: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
}

impl Traffic {
    fn by(work: &Address<Work>) -> Traffic {
        let (tell, told) = mpsc::unbounded_channel();
        let (refused, unknown) = (BTreeSet::new(), BTreeSet::new());
        Traffic { work: work.clone(), asked: 0, tell, told, answered: 0, refused, unknown }
    }

    /// Asks so many times, with numbers that go on by `step`.
    fn ask(&mut self, times: u64, step: u64) {
        for _ in 0..times {
            let (n, tell) = (self.asked * step, self.tell.clone());
            self.asked += 1;
            let asked = self.work.ask(Work(n));
            // If the test has failed, nobody listens.
            actix::spawn(async move { drop(tell.send((n, asked.await))) });
        }
    }

    /// Waits until so many are answered in all.
    async fn until_answered(&mut self, answered: u64) {
        while self.answered < answered {
            self.note().await;
        }
    }

    /// Waits until each has ended.
    async fn ends(&mut self) {
        while self.answered + (self.refused.len() + self.unknown.len()) as u64 != self.asked {
            self.note().await;
        }
    }

    /// Asks some more, which end at once: they certainly are not handled.
    async fn is_refused(&mut self) {
        const TIMES: usize = 10;
        let before = self.refused.len();
        self.ask(TIMES as u64, 1);
        self.ends().await;
        assert_eq!(self.refused.len() - before, TIMES, "{} of all are answered", self.answered);
    }

    async fn note(&mut self) {
        let (n, answer) = within(self.told.recv()).await.expect("we have a sender");
        match answer {
            Ok(answer) => {
                assert_eq!((answer, n % 2), (n, 0));
                self.answered += 1;
            }
            Err(error) if error.may_have_been_handled() => assert!(self.unknown.insert(n), "{n} ends twice"),
            Err(_) => assert!(self.refused.insert(n), "{n} ends twice"),
        }
    }
}
