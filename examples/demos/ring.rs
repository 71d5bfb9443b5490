//! Passes a counter round a ring of actors, as actix's own example of that name does; then round a ring whose second
//! half is in another process.
//!
//! ```text
//! cargo run --release --example ring                                    # 100 actors, 1,000 rounds
//! cargo run --release --example ring -- --actors 10 --rounds 20000
//! ```
//!
//! The demo starts its second self, which holds the second half of the ring.
//!
//! The actors are the same in both rings. The 15 lines that only the second ring needs are marked `// differs`; the
//! code that starts a second process is not counted, and is at the end.
//!
//! One message is under way at a time, and crosses from process to process twice in each round: with few actors the
//! second figure measures the network, with many it measures actix.

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use actix::prelude::*;
use actix_hermod::Node; // differs
use hermod_demos::Outcome;
use hermod_demos::arguments;
use hermod_demos::arguments::Arg;
use hermod_demos::arguments::Error;
use hermod_demos::arguments::Values;
use hermod_demos::child;
use hermod_demos::child::Child;
use hermod_demos::exit_code;
use serde::Deserialize; // differs
use serde::Serialize; // differs
use tokio::sync::oneshot;

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

impl Default for Size {
    fn default() -> Size {
        Size { actors: 100, rounds: 1_000 }
    }
}

impl arguments::Options for Size {
    const NAME: &'static str = "ring";
    const USAGE: &'static str = "usage: ring [--actors N] [--rounds N]

  --actors N    how many actors are in the ring, at least 2 (100)
  --rounds N    how many times the counter goes round (1,000)
  --help        this";

    fn take(&mut self, argument: Arg<'_>, values: &mut Values<'_>) -> Result<(), Error> {
        match argument {
            Arg::Long("actors") => self.actors = values.parse()?,
            Arg::Long("rounds") => self.rounds = values.parse()?,
            other => return Err(other.unexpected()),
        }
        if self.actors < 2 { Err("a ring in two processes needs two actors".into()) } else { Ok(()) }
    }
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
    let (mut other, there) = Child::start(&format!("second-half {here} {}", actors / 2), &[]).await?;
    let second_half = node.remote::<Counter>(there, "second half")?.recipient(); // differs
    let (end, ended) = oneshot::channel();
    let next = chain(actors - actors / 2 - 1, second_half); // differs
    let first = First { next, rounds_left: rounds, end: Some(end) }.start(); // differs
    node.publish::<Counter>("first", first.clone())?; // differs
    tokio::select! {
        timed = time("two processes", Size { actors, rounds }, &first, ended) => timed?,
        // Nothing else tells, since nobody hears of a lost message.
        status = other.ended() => return Err(format!("the other process has ended, and the counter with it: {}", status?).into()),
    }
    node.shutdown().await; // differs
    Ok(())
}

async fn second_half(first_is_at: &str, actors: u64) -> Outcome<()> {
    let node = Node::start(); // differs
    let first = node.remote::<Counter>(first_is_at, "first")?.recipient(); // differs
    node.publish::<Counter>("second half", chain(actors, first))?; // differs
    child::say(node.listen("127.0.0.1:0").await?.as_ref())?; // differs
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

fn main() -> ExitCode {
    if let Some(role) = child::role() {
        child::end_with_parent();
        let [_, first_is_at, actors] = role.as_slice() else { return ExitCode::from(2) };
        let half = async { second_half(first_is_at, actors.parse()?).await };
        return exit_code("ring", System::new().block_on(half).map(|()| true));
    }
    match arguments::of_this_program() {
        Ok(size) => exit_code("ring", System::new().block_on(rings(size)).map(|()| true)),
        Err(status) => status,
    }
}

async fn rings(size: Size) -> Outcome<()> {
    println!("{} actors, {} rounds: {} hops", size.actors, size.rounds, size.actors * size.rounds);
    in_one_process(size).await?;
    in_two_processes(size).await
}
