//! Whether the time of an answer tells a box that a peer may not see from one that does not exist.
//!
//! ```text
//! cargo bench --bench hidden
//! ```
//!
//! A client asks 2,000 boxes that are hidden from it and 2,000 that do not exist, one of each in turn, each for the first
//! time and then once more. Both are refused in the same words; the medians of the times are compared with the spread of
//! the times (the interquartile range). Nothing is asserted: on a busy machine the figures wander.
//!
//! Without the `--bench` that cargo adds it is only a smoke test.

use std::error::Error;
use std::time::Duration;
use std::time::Instant;

use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;

/// Boxes of each kind.
const BOXES: usize = 2_000;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Knock;

/// The times of one kind of box.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn quantile(&mut self, part: usize) -> f64 {
        self.0.sort_unstable();
        let at = self.0.len() * part / 4;
        self.0.get(at).copied().unwrap_or_default().as_secs_f64() * 1e6
    }

    /// Returns the median and the interquartile range, in microseconds.
    fn summary(&mut self) -> (f64, f64) {
        (self.quantile(2), self.quantile(3) - self.quantile(1))
    }
}

async fn knock(at: &Address<Knock>, times: &mut Times) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let answer = at.ask(Knock).await;
    times.0.push(begun.elapsed());
    match answer {
        Err(error) if error.to_string().contains("no such box") => Ok(()),
        other => Err(format!("the answer is {other:?}").into()),
    }
}

async fn measure(boxes: usize) -> Result<(), Box<dyn Error>> {
    let server = Node::start();
    let endpoint = server.listen("127.0.0.1:0").await?;
    // Names of both kinds alternate in the order of the node's table of names, so that they are found in the same time.
    let open = |n: usize| server.mailbox::<Knock>().name(format!("box-{:05}", 2 * n)).visible_to(|_| false).open();
    let _boxes = (0..boxes).map(open).collect::<Result<Vec<_>, _>>()?;
    let client = Node::start();
    let address = |n: usize| client.remote::<Knock>(&endpoint, format!("box-{n:05}"));
    // The connection is made, and both kinds are known to the caches of the processor.
    for n in 0..boxes.min(100) {
        knock(&address(n)?, &mut Times::default()).await?;
    }
    for round in ["first", "second"] {
        let (mut hidden, mut absent) = (Times::default(), Times::default());
        for n in 0..boxes {
            // Which comes first alternates, too.
            let (one, other) = (address(2 * n)?, address(2 * n + 1)?);
            if n % 2 == 0 {
                knock(&one, &mut hidden).await?;
                knock(&other, &mut absent).await?;
            } else {
                knock(&other, &mut absent).await?;
                knock(&one, &mut hidden).await?;
            }
        }
        let ((hidden, spread), (absent, _)) = (hidden.summary(), absent.summary());
        let share = (hidden - absent).abs() / spread.max(f64::MIN_POSITIVE);
        println!(
            "{round} request: hidden {hidden:.2} µs, absent {absent:.2} µs, spread {spread:.2} µs; \
             the medians differ by {share:.2} of the spread"
        );
    }
    client.shutdown().await;
    server.shutdown().await;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    System::new().block_on(measure(if is_bench { BOXES } else { 16 }))
}
