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

// Paths are given because the default would be beside this file, where each file is an example.
#[path = "handoff/client.rs"]
mod client;
#[path = "handoff/directory.rs"]
mod directory;
#[path = "handoff/stage.rs"]
pub(crate) mod stage;
#[path = "handoff/worker.rs"]
mod worker;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Node;
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

/// The longest wait for anything that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The time for which a silent process may still come back. Its addresses report its end only then, so the usual 15
/// seconds would make a slow story.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3);

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

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
    let words = stage::role().unwrap_or_else(|| std::env::args().skip(1).collect());
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
            eprint!("handoff: '{}' is not understood\n\n{HELP}", words.join(" "));
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
