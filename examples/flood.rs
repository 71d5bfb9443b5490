//! Shows that a flood costs counted drops, and not memory: threads give a remote box far more messages than it can take.
//!
//! Run it with `cargo run --release --example flood`; the number of messages a thread sends may be given as an argument
//! (10,000,000 unless it is). The example starts its second self as the server.
//!
//! Each case floods a `Recipient` with messages of 40 bytes: from one thread and from four; to a box that is read and
//! to one that never is; and with the I/O thread of the sending node stopped for two seconds in the middle, as a
//! debugger would stop it. Afterwards all messages must be accounted for, a ping on the same connection must pass, and
//! the process must have stayed below 200 MB; otherwise the exit status is 1.

use std::error::Error;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Node;
use actix_hermod::Stats;
use serde::Deserialize;
use serde::Serialize;

/// The most memory that any case may need, in MB.
const MEMORY: u64 = 200;

/// The longest wait for an answer, or for the end of the drops.
const PATIENCE: Duration = Duration::from_secs(60);

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

type Outcome<T> = Result<T, Box<dyn Error>>;

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

fn main() -> Outcome<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("--server") {
        return serve();
    }
    let messages = argument.map_or(Ok(10_000_000), |count| count.parse())?;
    println!("Each thread sends {messages} messages of 40 bytes.\n");
    println!("{:<46} {:>9} {:>10} {:>10} {:>12} {:>8}", "case", "seconds", "sent", "delivered", "dropped", "peak MB");
    let mut failed = false;
    for case in &CASES {
        if let Err(error) = System::new().block_on(flood(case, messages)) {
            println!("{:<46} failed: {error}", case.what);
            failed = true;
        }
    }
    if failed { Err("a case failed".into()) } else { Ok(()) }
}

/// The server: one box that is read, one that never is, and one that answers with the node's statistics.
fn serve() -> Outcome<()> {
    thread::spawn(|| {
        // Ends with the process that holds its standard input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    System::new().block_on(async {
        let node = Node::start();
        let mut read = node.mailbox::<Drop40>().name("read").buffer(Buffer::dropping(4_096)).open()?;
        let _unread = node.mailbox::<Drop40>().name("unread").open()?;
        let mut pings = node.mailbox::<Ping>().name("pings").open()?;
        println!("{}", node.listen("127.0.0.1:0").await?);
        actix::spawn(async move {
            while let Some(message) = read.recv().await {
                std::hint::black_box((message.seq, message.body));
            }
        });
        while let Some(ping) = pings.recv().await {
            ping.return_to.do_send(Pong { stats: Box::new(node.stats()) });
        }
        Ok(())
    })
}

async fn flood(case: &Case, messages: u64) -> Outcome<()> {
    reset_peak();
    let (_server, endpoint) = Server::start()?;
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
        peak()
    );
    if peak() > MEMORY { Err(format!("{} MB is more than {MEMORY}", peak()).into()) } else { Ok(()) }
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

/// The second process; dropping this ends it.
struct Server(Child);

impl Server {
    fn start() -> Outcome<(Server, String)> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let server = Server(child);
        let mut endpoint = String::new();
        BufReader::new(output).read_line(&mut endpoint)?;
        Ok((server, endpoint.trim().to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the peak of resident memory since the last reset, in MB; 0 where the system does not report it.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib / 1024
}

fn reset_peak() {
    // Where this is not possible, the peak covers all cases so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
