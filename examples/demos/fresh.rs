//! Shows that an address that nobody holds any more costs nothing: sends an endless stream of messages, each with a
//! fresh address for its answer, while the memory of both processes stays flat.
//!
//! ```text
//! cargo run --release --example fresh                           # a million, each with a mailbox of its own
//! cargo run --release --example fresh -- --messages 10000000
//! cargo run --release --example fresh -- --actors               # each with an actor of its own
//! ```
//!
//! The demo starts its second self, which answers. After each tenth of the messages it waits until nothing is left
//! of them, and prints the rate and the resident memory of both processes. The memory is known only on Linux.
//!
//! The exit status is 0 if no box and no actor was left behind and neither process has grown since the first tenth, 1
//! otherwise, and 2 if the demo could not run.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::Stats;
use futures_util::future::try_join_all;
use hermod_demos::Outcome;
use hermod_demos::arguments;
use hermod_demos::arguments::Arg;
use hermod_demos::arguments::Error;
use hermod_demos::arguments::Values;
use hermod_demos::child;
use hermod_demos::child::Child;
use hermod_demos::exit_code;
use hermod_demos::memory::resident;
use hermod_demos::within;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::oneshot;

/// Messages that wait for their answers at a time.
const AT_A_TIME: u64 = 64;

/// The parts in which the messages are sent, with a look at the memory after each.
const PARTS: u64 = 10;

/// The growth of a process since the first part that is allowed, in KiB, because an allocator may keep that much. Half
/// a byte kept for each of ten million messages would be more.
const MARGIN: u64 = 4 << 10;

/// A message that is answered at a mailbox.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ping {
    n: u64,
    return_to: Address<Pong>,
}

/// A message that is answered to an actor.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Errand {
    n: u64,
    #[serde(with = "actix_hermod::recipient")]
    return_to: Recipient<Pong>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Pong(u64);

/// Asks for the statistics of the other process.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Look {
    return_to: Address<Seen>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Seen(Box<Stats>);

/// The options of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) messages: u64,
    /// Whether each message brings an actor along, instead of a mailbox.
    pub(crate) actors: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { messages: 1_000_000, actors: false }
    }
}

impl arguments::Options for Options {
    const NAME: &'static str = "fresh";
    const USAGE: &'static str = "usage: fresh [--messages N] [--actors]

  --messages N  how many messages are sent (1,000,000)
  --actors      each brings the `Recipient` of a fresh actor, and not the address of a fresh mailbox
  --help        this";

    fn take(&mut self, argument: Arg<'_>, values: &mut Values<'_>) -> Result<(), Error> {
        match argument {
            Arg::Long("messages") => self.messages = values.parse()?,
            Arg::Long("actors") => self.actors = true,
            other => return Err(other.unexpected()),
        }
        Ok(())
    }
}

#[allow(dead_code, reason = "a test that runs this has a head of its own")]
fn main() -> ExitCode {
    if child::role().is_some() {
        return exit_code("fresh", System::new().block_on(answer()).map(|()| true));
    }
    match arguments::of_this_program() {
        Ok(options) => exit_code("fresh", System::new().block_on(run(&options, &[]))),
        Err(status) => status,
    }
}

// ---- The asking process.

/// Runs the example, and returns whether its promise holds. This program, started with `arguments`, becomes the
/// answering process.
pub(crate) async fn run(options: &Options, arguments: &[&str]) -> Outcome<bool> {
    let (server, endpoint) = Child::start("answering", arguments).await?;
    let node = Node::start();
    let asking = Rc::new(Asking::of(node.clone(), &endpoint)?);
    let what = if options.actors { "actor" } else { "mailbox" };
    println!("{} messages, each with a fresh {what} to be answered at.\n", options.messages);
    println!("{:>12} {:>10} {:>14} {:>14} {:>8}", "messages", "a second", "memory here", "and there", "boxes");
    let mut looks: Vec<[u64; 2]> = Vec::new();
    for part in 1..=PARTS {
        let began = Instant::now();
        let (from, to) = (options.messages * (part - 1) / PARTS, options.messages * part / PARTS);
        asking.ask(from, to, options.actors).await?;
        let rate = (to - from) as f64 / began.elapsed().as_secs_f64();
        asking.is_left_with_nothing().await?;
        let look = [resident(std::process::id()), resident(server.id())];
        let [here, there] = look.map(|kib| format!("{:.1} MB", kib as f64 / 1024.0));
        println!("{to:>12} {rate:>10.0} {here:>14} {there:>14} {:>8}", node.stats().boxes.len());
        looks.push(look);
    }
    let dropped = node.stats().dropped_total() + asking.look().await?.dropped_total();
    node.shutdown().await;
    let grown = grown(&looks);
    let bytes = |kib: u64| (kib << 10) as f64 / (options.messages - options.messages / PARTS).max(1) as f64;
    println!(
        "\nGrown since the first tenth: {} KiB here and {} KiB there, {:.2} and {:.2} bytes a message.",
        grown[0],
        grown[1],
        bytes(grown[0]),
        bytes(grown[1])
    );
    println!("Dropped: {dropped}.");
    let is_well = dropped == 0 && grown.iter().all(|kib| *kib <= MARGIN);
    println!("{}", if is_well { "The memory is flat." } else { "THIS IS NOT AS IT SHOULD BE." });
    Ok(is_well)
}

/// Returns the growth of both processes from the first part to their peak, in KiB.
fn grown(looks: &[[u64; 2]]) -> [u64; 2] {
    [0, 1].map(|process| {
        let most = looks.iter().map(|look| look[process]).max().unwrap_or(0);
        most - looks.first().map_or(0, |look| look[process])
    })
}

/// The asking side, with its addresses of the answering process.
struct Asking {
    node: Node,
    pings: Address<Ping>,
    errands: Address<Errand>,
    looks: Address<Look>,
    /// The number of actors that live.
    actors: Rc<Cell<u64>>,
}

impl Asking {
    fn of(node: Node, endpoint: &str) -> Outcome<Asking> {
        let (pings, errands) = (node.remote(endpoint, "pings")?, node.remote(endpoint, "errands")?);
        let looks = node.remote(endpoint, "looks")?;
        Ok(Asking { node, pings, errands, looks, actors: Rc::default() })
    }

    /// Sends the messages with these numbers, a few at a time, and waits for all answers.
    async fn ask(&self, from: u64, to: u64, by_actors: bool) -> Outcome<()> {
        let next = Cell::new(from);
        let askers = (0..AT_A_TIME).map(|_| async {
            loop {
                let n = next.get();
                if n >= to {
                    return Outcome::Ok(());
                }
                next.set(n + 1);
                let answer = if by_actors { self.ask_by_actor(n).await? } else { self.ask_by_mailbox(n).await? };
                if answer != n {
                    return Err(format!("{answer} is the answer to {n}").into());
                }
            }
        });
        try_join_all(askers).await.map(drop)
    }

    async fn ask_by_mailbox(&self, n: u64) -> Outcome<u64> {
        let mut replies = self.node.mailbox::<Pong>().open()?;
        self.pings.do_send(Ping { n, return_to: replies.address() });
        let Pong(answer) = within("an answer", replies.recv()).await?.ok_or("the mailbox is closed")?;
        Ok(answer)
    }

    async fn ask_by_actor(&self, n: u64) -> Outcome<u64> {
        let (tell, hear) = oneshot::channel();
        self.actors.set(self.actors.get() + 1);
        let reporter = Reporter { tell: Some(tell), living: Rc::clone(&self.actors) };
        self.errands.do_send(Errand { n, return_to: reporter.start().recipient() });
        Ok(within("an answer", hear).await??)
    }

    /// Waits until no box is open here and no actor lives any more.
    async fn is_left_with_nothing(&self) -> Outcome<()> {
        let nothing = async {
            while !self.node.stats().boxes.is_empty() || self.actors.get() > 0 {
                actix::clock::sleep(Duration::from_millis(1)).await;
            }
        };
        within("the end of the last box or actor", nothing).await
    }

    async fn look(&self) -> Outcome<Stats> {
        let mut seen = self.node.mailbox::<Seen>().open()?;
        self.looks.do_send(Look { return_to: seen.address() });
        let Seen(stats) = within("a look", seen.recv()).await?.ok_or("the mailbox is closed")?;
        Ok(*stats)
    }
}

/// An actor that only the answering process holds.
struct Reporter {
    tell: Option<oneshot::Sender<u64>>,
    living: Rc<Cell<u64>>,
}

impl Actor for Reporter {
    type Context = Context<Self>;
}

impl Handler<Pong> for Reporter {
    type Result = ();

    fn handle(&mut self, Pong(n): Pong, _: &mut Context<Self>) {
        // The asker may have given up.
        let _ = self.tell.take().map(|tell| tell.send(n));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.living.set(self.living.get() - 1);
    }
}

// ---- The answering process.

/// Answers until the other process is gone.
pub(crate) async fn answer() -> Outcome<()> {
    child::end_with_parent();
    let node = Node::start();
    let mut pings: Mailbox<Ping> = node.mailbox().name("pings").open()?;
    let mut errands: Mailbox<Errand> = node.mailbox().name("errands").open()?;
    let mut looks: Mailbox<Look> = node.mailbox().name("looks").open()?;
    child::say(node.listen("127.0.0.1:0").await?.as_ref())?;
    actix::spawn(async move {
        while let Some(Ping { n, return_to }) = pings.recv().await {
            return_to.do_send(Pong(n));
        }
    });
    actix::spawn(async move {
        while let Some(Errand { n, return_to }) = errands.recv().await {
            return_to.do_send(Pong(n));
        }
    });
    while let Some(Look { return_to }) = looks.recv().await {
        return_to.do_send(Seen(Box::new(node.stats())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>, String> {
        arguments::parse(line.split_whitespace().map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parsed(""), Ok(Some(Options { messages: 1_000_000, actors: false })));
        assert_eq!(parsed("--actors --messages 7"), Ok(Some(Options { messages: 7, actors: true })));
        assert_eq!(parsed("--messages 7 --help"), Ok(None));
        assert!(parsed("--messages").is_err_and(|error| error.contains("missing argument for option '--messages'")));
        assert!(parsed("--messages x").is_err_and(|error| error.contains("cannot parse argument \"x\"")));
        assert!(parsed("--message 5").is_err_and(|error| error.contains("invalid option '--message'")));
        assert!(parsed("5").is_err_and(|error| error.contains("unexpected argument \"5\"")));
    }

    #[test]
    fn what_grows_is_seen_in_each_process() {
        assert_eq!(grown(&[[10, 20], [12, 20], [11, 19]]), [2, 0]);
        assert_eq!(grown(&[[10, 20], [10, 29]]), [0, 9]);
    }
}
