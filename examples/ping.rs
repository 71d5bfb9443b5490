//! A hundred thousand pings between two processes, one at a time.
//!
//! ```text
//! cargo run --release --example ping             # 100,000 pings
//! cargo run --release --example ping -- 5000     # as many as you like
//! ```
//!
//! The example starts itself a second time as the server, which listens on a free port and opens the mailbox
//! "ping-box". The first process only knows that endpoint and that name. It listens nowhere; each ping carries the
//! address of an unnamed mailbox of the first process, and the server answers to the address that it finds in the ping.

use std::error::Error;
use std::io;
use std::io::Write;
use std::num::NonZeroU32;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use actix::{Message, Recipient};
use actix_hermod::{Address, Mailbox, Node};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The argument with which the example starts itself as the server.
const SERVE: &str = "--serve";
/// The time after which an unanswered ping counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pings between two lines of progress.
const REPORT_EVERY: u32 = 10_000;
/// The last line.
const NEXT: &str = "\nNext: README.md has this program in short; `cargo run --example pub_sub` shows subscribers.";

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ping {
    return_to: Address<Pong>,
    n: u32,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Pong(u32);

#[actix::main]
async fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let outcome = match argument.as_deref() {
        Some(SERVE) => serve().await,
        Some(count) => match count.parse() {
            Ok(count) => play(count).await,
            Err(_) => Err(format!("'{count}' is not a number of pings; try: ping 5000").into()),
        },
        None => play(NonZeroU32::new(100_000).unwrap_or(NonZeroU32::MIN)).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ping: {error}");
            ExitCode::FAILURE
        }
    }
}

// ------------------------------------------------------------------------------------------------- the server

/// Answers pings until the parent, which holds the other end of our standard input, is gone.
async fn serve() -> Result<(), Box<dyn Error>> {
    let node = Node::start();
    let mut inbox = node.mailbox::<Ping>().name("ping-box").open()?;
    let endpoint = node.listen("127.0.0.1:0").await?;
    println!("{endpoint}");
    io::stdout().flush()?;

    tokio::select! {
        () = answer(&mut inbox) => {}
        ended = parent_gone() => ended?,
    }
    node.shutdown().await;
    Ok(())
}

async fn answer(inbox: &mut Mailbox<Ping>) {
    while let Some(ping) = inbox.recv().await {
        ping.return_to.do_send(Pong(ping.n));
    }
}

async fn parent_gone() -> io::Result<()> {
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

// ------------------------------------------------------------------------------------------------- the player

async fn play(count: NonZeroU32) -> Result<(), Box<dyn Error>> {
    // Kept until the end of this function: dropping it ends the server.
    let (server, endpoint) = start_server().await?;
    println!("The server is process {}, listening on {endpoint}.", server.id().unwrap_or_default());
    println!("Sending {} pings to its mailbox \"ping-box\", one at a time.\n", grouped(count.get().into()));

    let node = Node::start();
    let ping_box = node.remote::<Ping>(&endpoint, "ping-box")?.recipient();
    let mut replies = node.mailbox::<Pong>().open()?;
    let game = exchange(count.get(), &ping_box, &mut replies).await?;

    println!("\n{game}");
    node.shutdown().await;
    if game.out_of_order > 0 {
        return Err(format!("{} pongs came out of order", grouped(game.out_of_order)).into());
    }
    println!("{NEXT}");
    Ok(())
}

/// Starts this program a second time, and reads from its standard output where it listens.
async fn start_server() -> Result<(Child, String), Box<dyn Error>> {
    let mut server = Command::new(std::env::current_exe()?)
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = server.stdout.take().ok_or("the server has no standard output")?;
    let mut lines = BufReader::new(output).lines();
    let first = timeout(PATIENCE, lines.next_line()).await.map_err(|_| "the server does not start")??;
    let endpoint = first.ok_or("the server ended before it listened")?;
    Ok((server, endpoint))
}

/// Sends pings one at a time. From here on nothing shows that the mailbox is in another process.
async fn exchange(count: u32, ping_box: &Recipient<Ping>, replies: &mut Mailbox<Pong>) -> Result<Game, Box<dyn Error>> {
    let mut game = Game::begin(count);
    for n in 1..=count {
        let sent = Instant::now();
        ping_box.do_send(Ping { return_to: replies.address(), n });
        let Ok(reply) = timeout(PATIENCE, replies.recv()).await else {
            let (answered, count) = (grouped(game.answered()), grouped(count.into()));
            return Err(format!("no pong within {PATIENCE:?}: {answered} of {count} pings were answered").into());
        };
        let Pong(answered) = reply.ok_or("our own mailbox was closed")?;
        game.note(answered == n, sent.elapsed());
        if n % REPORT_EVERY == 0 {
            println!("{:>12} pings, {} round trips per second", grouped(n.into()), grouped(game.per_second()));
        }
    }
    game.end();
    Ok(game)
}

// -------------------------------------------------------------------------------------------------- the score

/// The answers, and their times.
struct Game {
    count: u32,
    began: Instant,
    lasted: Duration,
    round_trips: Vec<Duration>,
    out_of_order: u64,
}

impl Game {
    fn begin(count: u32) -> Game {
        Game { count, began: Instant::now(), lasted: Duration::ZERO, round_trips: Vec::new(), out_of_order: 0 }
    }

    fn note(&mut self, in_order: bool, took: Duration) {
        self.round_trips.push(took);
        self.out_of_order += u64::from(!in_order);
    }

    fn end(&mut self) {
        self.lasted = self.began.elapsed();
        self.round_trips.sort_unstable();
    }

    fn answered(&self) -> u64 {
        self.round_trips.len() as u64
    }

    fn per_second(&self) -> u64 {
        let lasted = if self.lasted.is_zero() { self.began.elapsed() } else { self.lasted };
        (self.answered() as f64 / lasted.as_secs_f64()) as u64
    }

    /// Returns the time in µs that this share of the round trips did not exceed. Called after the end.
    fn percentile(&self, share: f64) -> u64 {
        let last = self.round_trips.len().saturating_sub(1);
        let at = (last as f64 * share) as usize;
        self.round_trips.get(at).map_or(0, |took| took.as_micros() as u64)
    }
}

impl std::fmt::Display for Game {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lost = u64::from(self.count) - self.answered();
        writeln!(f, "  pings               {}, in {:.1} s", grouped(self.count.into()), self.lasted.as_secs_f64())?;
        writeln!(f, "  lost                {}", grouped(lost))?;
        writeln!(f, "  out of order        {}", grouped(self.out_of_order))?;
        writeln!(f, "  round trips         {} per second", grouped(self.per_second()))?;
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| grouped(self.percentile(share)));
        write!(f, "  each took           p50 {half} µs, p99 {most} µs, max {all} µs")
    }
}

/// Formats a number: 1234567 is "1,234,567".
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
