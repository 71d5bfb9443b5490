//! Shows publish/subscribe as actix programs have it, over two processes: a publisher keeps its subscribers in a set of
//! `Recipient`s, and each is in the set once, however often and over whatever path it has subscribed.
//!
//! ```text
//! cargo run --example pub_sub
//! ```
//!
//! The example starts its second self, a process with two readers that dials the publisher and listens nowhere. Readers
//! subscribe again and again, unsubscribe, and do so on behalf of others; the publisher's node is started anew; the
//! readers' process is killed, and started again. After each step an edition is published, and each of its expected
//! readers has to receive it once. The exit status is 1 if anything is not as promised.

// Paths are given because the default would be beside this file, where each file is an example.
#[path = "pub_sub/publisher.rs"]
mod publisher;
#[path = "pub_sub/reader.rs"]
pub(crate) mod reader;

use std::error::Error;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Endpoint;
use publisher::Publisher;
use reader::Reader;
use serde::Deserialize;
use serde::Serialize;

/// The environment variable that makes a process the readers' process, and gives the publisher's endpoint.
const ROLE: &str = "HERMOD_PUB_SUB_READERS";

/// The longest wait for anything that has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time for which a silent process may still come back. Its readers are kept for as long, so the usual 15 seconds
/// would make a slow story.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);

/// The number of times that each reader subscribes.
const TIMES: usize = 3;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

// ---- The messages.

/// A publication, by its number.
#[derive(Message, Serialize, Deserialize, Clone)]
#[rtype(result = "()")]
pub(crate) struct Edition(u32);

/// Subscribes a reader to each edition from now on.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Subscribe {
    #[serde(with = "actix_hermod::recipient")]
    reader: Recipient<Edition>,
    /// The process of the caller, if it is not the publisher's.
    process: Option<Address<Order>>,
}

/// Unsubscribes a reader.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Unsubscribe {
    #[serde(with = "actix_hermod::recipient")]
    reader: Recipient<Edition>,
}

/// An order to the readers' process.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) enum Order {
    /// Unsubscribes the process's reader of that name.
    Unsubscribe(String),
    /// Subscribes somebody else's reader.
    Subscribe {
        #[serde(with = "actix_hermod::recipient")]
        reader: Recipient<Edition>,
    },
}

/// A reader's report that it has received an edition.
#[derive(Message, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[rtype(result = "()")]
pub(crate) struct Heard {
    edition: u32,
    reader: String,
}

// ---- The story.

fn main() -> ExitCode {
    let outcome = match role() {
        Some(at) => System::new().block_on(reader::read(&at)),
        None => System::new().block_on(play(&[])),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pub_sub: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the publisher's endpoint, if this is the readers' process. Then it ends with its standard input, and so with
/// the publisher's process, however that ends.
pub(crate) fn role() -> Option<String> {
    let at = std::env::var(ROLE).ok()?;
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    Some(at)
}

/// Plays the story. An error is the first broken promise. The other process is this program again, with the arguments
/// `again`.
pub(crate) async fn play(again: &[&str]) -> Outcome<()> {
    let mut publisher = Publisher::open("127.0.0.1:0").await?;
    let at = publisher.endpoint().clone();
    say(&format!("the publisher listens at {at}"));
    let readers = Readers::start(&at, again)?;
    say(&format!("process {} has two readers, ada and bob; each subscribes {TIMES} times", readers.0.id()));
    publisher.has_heard_of(2 * TIMES, 2).await?;
    publisher.publish(&["ada", "bob"]).await?;

    say("bob unsubscribes, once");
    publisher.order(Order::Unsubscribe("bob".to_owned()));
    publisher.has_only(1).await?;
    publisher.publish(&["ada"]).await?;

    say("carl, an actor beside the publisher, subscribes; the readers' process subscribes him, too");
    let carl = Reader::start("carl", publisher.ear());
    publisher.subscribe(&carl);
    publisher.order(Order::Subscribe { reader: carl });
    publisher.has_heard_of(2 * TIMES + 2, 2).await?;
    publisher.publish(&["ada", "carl"]).await?;

    say("the publisher's node ends, and another one starts that knows nobody; ada finds it");
    publisher = publisher.start_again().await?;
    publisher.has_heard_of(TIMES, 1).await?;
    publisher.publish(&["ada"]).await?;

    say(&format!("the readers' process is killed, and given up after {GIVEN_UP_AFTER:?}"));
    drop(readers);
    publisher.has_only(0).await?;
    publisher.publish(&[]).await?;

    let readers = Readers::start(&at, again)?;
    say(&format!("it is started again as process {}", readers.0.id()));
    publisher.has_heard_of(3 * TIMES, 2).await?;
    publisher.publish(&["ada", "bob"]).await?;
    publisher.close().await
}

/// The other process; dropping this kills it.
struct Readers(Child);

impl Readers {
    fn start(at: &Endpoint, again: &[&str]) -> Outcome<Readers> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(again).env(ROLE, at.to_string()).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Readers(command.spawn()?))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints a line of the story.
pub(crate) fn say(what: &str) {
    println!("{what}");
}

/// Returns an error if a promise does not hold.
pub(crate) fn promised(what: &str, holds: bool) -> Outcome<()> {
    if holds { Ok(()) } else { Err(format!("it was promised that {what}").into()) }
}
