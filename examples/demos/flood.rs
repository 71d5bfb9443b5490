//! Shows that a flood costs counted drops, and not memory: threads give a remote box far more messages than it can take.
//!
//! ```text
//! cargo run --release --example flood                         # ten million messages a thread
//! cargo run --release --example flood -- --messages 100000
//! ```
//!
//! The demo starts its second self as the server.
//!
//! Each case floods a `Recipient` with messages of 40 bytes: from one thread and from four; to a box that is read and
//! to one that never is; and with the I/O thread of the sending node stopped for two seconds in the middle, as a
//! debugger would stop it. Afterwards all messages must be accounted for, a ping on the same connection must pass, and
//! the process must have stayed below 200 MB; otherwise the exit status is 1, or 2 if the demo could not run.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Node;
use actix_hermod::Stats;
use hermod_demos::Outcome;
use hermod_demos::PATIENCE;
use hermod_demos::arguments;
use hermod_demos::arguments::Arg;
use hermod_demos::arguments::Error;
use hermod_demos::arguments::Values;
use hermod_demos::child;
use hermod_demos::child::Child;
use hermod_demos::exit_code;
use hermod_demos::memory::own_peak;
use hermod_demos::memory::reset_peak;
use serde::Deserialize;
use serde::Serialize;

/// The most memory that any case may need, in MB.
const MEMORY: u64 = 200;

struct Options {
    messages: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { messages: 10_000_000 }
    }
}

impl arguments::Options for Options {
    const NAME: &'static str = "flood";
    const USAGE: &'static str = "usage: flood [--messages N]

  --messages N  how many messages each thread sends (10,000,000)
  --help        this";

    fn take(&mut self, argument: Arg<'_>, values: &mut Values<'_>) -> Result<(), Error> {
        match argument {
            Arg::Long("messages") => self.messages = values.parse()?,
            other => return Err(other.unexpected()),
        }
        Ok(())
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Drop40 {
    seq: u64,
    body: [u8; 32],
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ping {
    return_to: Address<Pong>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Pong {
    /// The messages that the server's boxes received, handed out, and dropped.
    stats: Box<Stats>,
}

struct Case {
    what: &'static str,
    threads: u64,
    to: &'static str,
    pause: bool,
}

const CASES: [Case; 5] = [
    Case { what: "one thread, to a box that is read", threads: 1, to: "read", pause: false },
    Case { what: "four threads, to a box that is read", threads: 4, to: "read", pause: false },
    Case { what: "one thread, to a box that is never read", threads: 1, to: "unread", pause: false },
    Case { what: "four threads, to a box that is never read", threads: 4, to: "unread", pause: false },
    Case { what: "four threads, the I/O thread stopped for 2 s", threads: 4, to: "read", pause: true },
];

fn main() -> ExitCode {
    if child::role().is_some() {
        return exit_code("flood", System::new().block_on(serve()).map(|()| true));
    }
    match arguments::of_this_program() {
        Ok(options) => exit_code("flood", Ok(all(&options))),
        Err(status) => status,
    }
}

/// Runs all cases. Returns whether each has kept the promise.
fn all(&Options { messages }: &Options) -> bool {
    println!("Each thread sends {messages} messages of 40 bytes.\n");
    println!("{:<46} {:>9} {:>10} {:>10} {:>12} {:>8}", "case", "seconds", "sent", "delivered", "dropped", "peak MB");
    let mut is_kept = true;
    for case in &CASES {
        if let Err(error) = System::new().block_on(flood(case, messages)) {
            println!("{:<46} failed: {error}", case.what);
            is_kept = false;
        }
    }
    is_kept
}

/// The server: one box that is read, one that never is, and one that answers with the node's statistics.
async fn serve() -> Outcome<()> {
    child::end_with_parent();
    let node = Node::start();
    let mut read = node.mailbox::<Drop40>().name("read").buffer(Buffer::dropping(4_096)).open()?;
    let _unread = node.mailbox::<Drop40>().name("unread").open()?;
    let mut pings = node.mailbox::<Ping>().name("pings").open()?;
    child::say(node.listen("127.0.0.1:0").await?.as_ref())?;
    actix::spawn(async move {
        while let Some(message) = read.recv().await {
            std::hint::black_box((message.seq, message.body));
        }
    });
    while let Some(ping) = pings.recv().await {
        ping.return_to.do_send(Pong { stats: Box::new(node.stats()) });
    }
    Ok(())
}

async fn flood(case: &Case, messages: u64) -> Outcome<()> {
    reset_peak();
    let (_server, endpoint) = Child::start("server", &[]).await?;
    let node = Node::start();
    let to = node.remote::<Drop40>(&endpoint, case.to)?.recipient();
    let pings = node.remote::<Ping>(&endpoint, "pings")?;
    ping(&node, &pings).await?;
    let began = Instant::now();
    let senders: Vec<_> = (0..case.threads)
        .map(|_| {
            let to = to.clone();
            thread::spawn(move || (0..messages).for_each(|seq| to.do_send(Drop40 { seq, body: [7; 32] })))
        })
        .collect();
    if case.pause {
        // The System's thread is the node's I/O thread.
        thread::sleep(Duration::from_secs(2));
    }
    let sent = case.threads * messages;
    while senders.iter().any(|sender| !sender.is_finished()) {
        actix::clock::sleep(Duration::from_millis(5)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let (ours, theirs) = balance(&node, &pings, sent).await?;
    let dropped = ours.dropped_total() + theirs.dropped_total();
    let waiting: u64 = theirs.boxes.iter().map(|one| one.depth).sum();
    println!(
        "{:<46} {seconds:>9.1} {sent:>10} {:>10} {dropped:>12} {:>8}",
        case.what,
        theirs.delivered + waiting,
        own_peak()
    );
    if own_peak() > MEMORY { Err(format!("{} MB is more than {MEMORY}", own_peak()).into()) } else { Ok(()) }
}

/// Asks for the server's statistics until they and ours account for every message.
async fn balance(node: &Node, pings: &Address<Ping>, sent: u64) -> Outcome<(Stats, Stats)> {
    let began = Instant::now();
    loop {
        let (asked, theirs) = ping(node, pings).await?;
        let ours = node.stats();
        let waiting: u64 = theirs.boxes.iter().map(|one| one.depth).sum();
        // The pings count like any message; they were delivered on both sides.
        let accounted = ours.dropped_total() + theirs.dropped_total() + theirs.delivered + waiting;
        if ours.sent >= sent && accounted > sent && ours.in_doubt == 0 {
            return Ok((ours, theirs));
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{accounted} of {sent} messages are accounted for, after {asked} pings").into());
        }
        actix::clock::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends a ping that must pass; it may be shed while the connection is full, so it is sent again. Returns the number of
/// attempts, and the answer.
async fn ping(node: &Node, pings: &Address<Ping>) -> Outcome<(u64, Stats)> {
    let mut answers = node.mailbox::<Pong>().open()?;
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < PATIENCE {
        pings.do_send(Ping { return_to: answers.address() });
        asked += 1;
        let answer = actix_rt::time::timeout(Duration::from_millis(500), answers.recv()).await;
        if let Ok(Some(pong)) = answer {
            return Ok((asked, *pong.stats));
        }
    }
    Err("no ping passes".into())
}
