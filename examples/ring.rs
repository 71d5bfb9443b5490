//! Passes a counter round a ring of actors, as actix's own example of that name does; then round a ring whose second
//! half is in another process.
//!
//! Run it with `cargo run --release --example ring`; the number of actors and of rounds may be given as arguments (100
//! and 1,000 unless they are). The example starts its second self, which holds the second half of the ring.
//!
//! The actors are the same in both rings. The 15 lines that only the second ring needs are marked `// differs`; the
//! code that starts a second process is not counted, and is at the end.
//!
//! One message is under way at a time, and crosses from process to process twice in each round: with few actors the
//! second figure measures the network, with many it measures actix.

use std::error::Error;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use actix::prelude::*;
use actix_hermod::Node; // differs
use serde::Deserialize; // differs
use serde::Serialize; // differs
use tokio::sync::oneshot;

type Outcome<T> = Result<T, Box<dyn Error>>;

// ---- The actors.

/// The message that goes round.
#[derive(Message, Serialize, Deserialize)] // differs
#[rtype(result = "()")]
struct Counter {
    hops: u64,
}

impl Counter {
    fn hop(self) -> Counter {
        Counter { hops: self.hops + 1 }
    }
}

/// Passes the counter on.
struct Member {
    next: Recipient<Counter>,
}

impl Actor for Member {
    type Context = Context<Self>;
}

impl Handler<Counter> for Member {
    type Result = ();

    fn handle(&mut self, counter: Counter, _: &mut Context<Self>) {
        self.next.do_send(counter.hop());
    }
}

/// The first member, which begins, and ends after `rounds_left` rounds.
struct First {
    next: Recipient<Counter>,
    rounds_left: u64,
    end: Option<oneshot::Sender<Counter>>,
}

impl Actor for First {
    type Context = Context<Self>;
}

impl Handler<Counter> for First {
    type Result = ();

    fn handle(&mut self, counter: Counter, ctx: &mut Context<Self>) {
        if self.rounds_left > 0 {
            self.rounds_left -= 1;
            return self.next.do_send(counter.hop());
        }
        if let Some(end) = self.end.take() {
            // The waiting task may have given up.
            let _ = end.send(counter);
        }
        ctx.stop();
    }
}

/// Starts that many actors, the last of which passes on to `next`. Returns the first.
fn chain(actors: u64, next: Recipient<Counter>) -> Recipient<Counter> {
    (0..actors).fold(next, |next, _| Member { next }.start().recipient())
}

// ---- The rings.

#[derive(Clone, Copy)]
struct Size {
    actors: u64,
    rounds: u64,
}

async fn in_one_process(Size { actors, rounds }: Size) -> Outcome<()> {
    let (end, ended) = oneshot::channel();
    let first = First::create(|ctx| {
        let next = chain(actors - 1, ctx.address().recipient());
        First { next, rounds_left: rounds, end: Some(end) }
    });
    time("one process", Size { actors, rounds }, &first, ended).await
}

async fn in_two_processes(Size { actors, rounds }: Size) -> Outcome<()> {
    let node = Node::start(); // differs
    let here = node.listen("127.0.0.1:0").await?; // differs
    let (mut other, there) = Other::start(here.as_ref(), actors / 2)?;
    let second_half = node.remote::<Counter>(there, "second half")?.recipient(); // differs
    let (end, ended) = oneshot::channel();
    let next = chain(actors - actors / 2 - 1, second_half); // differs
    let first = First { next, rounds_left: rounds, end: Some(end) }.start(); // differs
    node.publish::<Counter>("first", first.clone())?; // differs
    tokio::select! {
        timed = time("two processes", Size { actors, rounds }, &first, ended) => timed?,
        error = other.fails() => return Err(error),
    }
    node.shutdown().await; // differs
    Ok(())
}

async fn second_half(first_is_at: &str, actors: u64) -> Outcome<()> {
    let node = Node::start(); // differs
    let first = node.remote::<Counter>(first_is_at, "first")?.recipient(); // differs
    node.publish::<Counter>("second half", chain(actors, first))?; // differs
    println!("{}", node.listen("127.0.0.1:0").await?); // differs
    std::future::pending().await
}

async fn time(what: &str, size: Size, first: &Addr<First>, ended: oneshot::Receiver<Counter>) -> Outcome<()> {
    let began = Instant::now();
    first.do_send(Counter { hops: 0 });
    let counter = ended.await?;
    let lasted = began.elapsed();
    if counter.hops != size.actors * size.rounds {
        return Err(format!("the counter came back as {}", counter.hops).into());
    }
    println!("{what:<14} {:>12} hops per second ({:.2} s)", per_second(counter.hops, lasted), lasted.as_secs_f64());
    Ok(())
}

fn per_second(hops: u64, lasted: Duration) -> u64 {
    (hops as f64 / lasted.as_secs_f64()) as u64
}

// ---- The processes.

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, first_is_at, actors] = arguments.as_slice()
        && role == "--second-half"
    {
        std::thread::spawn(|| {
            // Ends with the process that holds its standard input.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        return System::new().block_on(second_half(first_is_at, actors.parse()?));
    }
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |argument| argument.parse());
    let size = Size { actors: number(0, 100)?, rounds: number(1, 1_000)? };
    if size.actors < 2 {
        return Err("a ring in two processes needs two actors".into());
    }
    println!("{} actors, {} rounds: {} hops", size.actors, size.rounds, size.actors * size.rounds);
    System::new().block_on(async {
        in_one_process(size).await?;
        in_two_processes(size).await
    })
}

/// The second process; dropping this ends it.
struct Other {
    child: Child,
    /// Closed when the process has ended. Nothing else tells, since nobody hears of a lost message.
    output: oneshot::Receiver<()>,
}

impl Other {
    fn start(first_is_at: &str, actors: u64) -> Outcome<(Other, String)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--second-half", first_is_at, &actors.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("the other process has no output")?);
        let (ends, output) = oneshot::channel();
        let other = Other { child, output };
        let mut endpoint = String::new();
        if lines.read_line(&mut endpoint)? == 0 {
            return Err("the other process has ended before it was ready".into());
        }
        std::thread::spawn(move || {
            // The content, or a read error, does not matter, only the end.
            let _ = lines.read_to_end(&mut Vec::new());
            drop(ends);
        });
        Ok((other, endpoint.trim().to_owned()))
    }

    /// Waits until the process has ended prematurely.
    async fn fails(&mut self) -> Box<dyn Error> {
        // Nothing is sent on the channel; only its closing matters.
        let _ = (&mut self.output).await;
        match self.child.wait() {
            Ok(status) => format!("the other process has ended, and the counter with it: {status}").into(),
            Err(error) => error.into(),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
