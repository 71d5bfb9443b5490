//! Shows addresses that are handed on: a directory hands out addresses of workers that listen nowhere, clients ask the
//! workers through them, and when a worker's process is killed, its addresses report that.
//!
//! ```text
//! cargo run --example handoff
//! ```
//!
//! starts every process of the story, kills one of them, and shows the output of each. The exit status is 1 if anything
//! is not as promised. The same by hand, in four terminals, where you can kill any process you like:
//!
//! ```text
//! cargo run --example handoff -- directory 127.0.0.1:4242
//! cargo run --example handoff -- worker 127.0.0.1:4242 ada
//! cargo run --example handoff -- worker 127.0.0.1:4242 bob
//! cargo run --example handoff -- client 127.0.0.1:4242
//! ```
//!
//! Only the directory listens. A worker dials it, and leaves an `Address` of its actor there, in an ordinary message.
//! The client dials the directory too, and gets that `Address` in an ordinary answer. Its messages to the worker go
//! through the directory, over the two existing connections, and so do the results. None of the actors knows where the
//! others are.

mod client;
mod directory;
pub(crate) mod stage;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Node;
use hermod_demos::child;
use serde::Deserialize;
use serde::Serialize;

const HELP: &str = "\
A directory hands out pointers to workers that listen nowhere; clients ask the workers through them.

    handoff                           plays all of it, in processes of its own
    handoff directory HOST:PORT       the directory, which listens there
    handoff worker HOST:PORT NAME     a worker, which dials the directory there
    handoff client HOST:PORT          a client, which asks the directory there for workers
    handoff --help                    says this
";

/// The time for which a silent process may still come back. Its addresses report its end only then, so the usual 15
/// seconds would make a slow story.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3);

// ---- The messages. Addresses are fields like any other.

/// Work for a worker: counting words. It takes some time, as work does.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Counted")]
pub(crate) struct Job {
    pub(crate) text: String,
    pub(crate) takes: Duration,
}

/// The number of words, and the process that has counted them.
#[derive(MessageResponse, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) words: usize,
    pub(crate) by: u32,
}

/// A worker, as the directory knows it and tells others.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) worker: Address<Job>,
}

/// Enters a worker in the directory.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Register(pub(crate) Entry);

/// Asks the directory for the connected workers.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Vec<Entry>")]
pub(crate) struct WhoIsThere;

// ---- The command line.

fn main() -> ExitCode {
    let role = child::role().inspect(|_| child::end_with_parent());
    let words = role.unwrap_or_else(|| std::env::args().skip(1).collect());
    ExitCode::from(status(&words, &[]))
}

/// Runs the command of a process, and returns its exit status. The processes that it starts are this program again,
/// with the arguments `again`.
pub(crate) fn status(words: &[String], again: &[&str]) -> u8 {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] => stage::play(again),
        ["directory", at] => System::new().block_on(directory::serve(at)),
        ["worker", at, name] => System::new().block_on(worker::work(at, name)),
        ["client", at] => System::new().block_on(client::ask(at)),
        ["--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("handoff: '{}' is not understood; see --help", words.join(" "));
            return 2;
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("handoff: {error}");
            1
        }
    }
}

/// Starts the node of any of the processes.
pub(crate) fn node() -> Node {
    Node::builder().dead_after(GIVEN_UP_AFTER).heartbeat(GIVEN_UP_AFTER / 3).start()
}

/// Prints a line of a process of the story.
pub(crate) fn say(who: &str, what: &str) {
    println!("{who}: {what}");
}
