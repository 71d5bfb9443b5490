//! Sends random messages between processes for a given time, over links that break and stall, and accounts for every
//! one of them at the end.
//!
//! ```text
//! cargo run --release --example soak                       # a minute
//! cargo run --release --example soak -- --seconds 600
//! cargo run --release --example soak -- --seconds 600 --seed 7
//! ```
//!
//! For two thirds of the time, three processes send each other every kind of message (see [`player`]), over links that
//! are cut at any byte and stall (see [`link`]). Then the links are mended, and the balance is drawn over all three:
//! each sent message is delivered, waits, or was dropped for one reason, and none is in doubt. In the last third, a
//! server is killed and restarted repeatedly. A line every few seconds shows the progress, with the memory of each
//! process.
//!
//! The exit status is 0 if the balance is even, nothing is in doubt, no request is left without an outcome, and no
//! message came damaged, twice or out of order; otherwise 1, or 2 if the demo could not run.

mod child;
mod link;
mod player;
mod reader;
mod sheet;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use actix::System;
use hermod_demos::Outcome;
use hermod_demos::PATIENCE;
use hermod_demos::arguments;
use hermod_demos::arguments::Arg;
use hermod_demos::arguments::Error;
use hermod_demos::arguments::Values;
use hermod_demos::exit_code;
use hermod_demos::within;

use child::Child;
pub(crate) use child::live;
use link::Chance;
use link::Faults;
use link::Link;
use player::Player;
use player::Report;
use sheet::Memory;
use sheet::Sheet;

/// The options of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { seconds: 60, seed: link::time_of_day() }
    }
}

impl arguments::Options for Options {
    const NAME: &'static str = "soak";
    const USAGE: &'static str = "usage: soak [--seconds N] [--seed S]

  --seconds N   how long to send, in seconds (60)
  --seed S      what to do and when to break what: the same for the same number, as far as threads and the network
                let it (the time of day)
  --help        this";

    fn take(&mut self, argument: Arg<'_>, values: &mut Values<'_>) -> Result<(), Error> {
        match argument {
            Arg::Long("seconds") => self.seconds = values.parse()?,
            Arg::Long("seed") => self.seed = values.parse()?,
            other => return Err(other.unexpected()),
        }
        Ok(())
    }
}

#[allow(dead_code, reason = "a test that runs this has a head of its own")]
fn main() -> ExitCode {
    if hermod_demos::child::role().is_some() {
        return exit_code("soak", System::new().block_on(live()).map(|()| true));
    }
    match arguments::of_this_program() {
        Ok(options) => exit_code("soak", System::new().block_on(run(&options, &[]))),
        Err(status) => status,
    }
}

/// Runs the demo, and returns whether its promise holds. This program, started with `arguments`, becomes a child.
pub(crate) async fn run(options: &Options, arguments: &[&str]) -> Outcome<bool> {
    println!("{} s with seed {}.", options.seconds, options.seed);
    let third = Duration::from_secs(options.seconds) / 3;
    let links = bad_links(2 * third, options.seed, arguments).await?;
    let kills = killed_servers(third, options.seed, arguments).await?;
    println!("\n{}", if links && kills { "All is accounted for." } else { "THIS IS NOT AS IT SHOULD BE." });
    Ok(links && kills)
}

// ---- Three processes and the links between them.

/// All senders: this process, and the children.
struct Crowd {
    player: Player,
    children: Vec<Child>,
}

impl Crowd {
    async fn gather(arguments: &[&str]) -> Outcome<Crowd> {
        let player = Player::open().await?;
        let mut children = Vec::new();
        for _ in 0..2 {
            children.push(Child::start(arguments).await?);
        }
        Ok(Crowd { player, children })
    }

    fn processes(&self) -> Vec<u32> {
        std::iter::once(std::process::id()).chain(self.children.iter().map(Child::process)).collect()
    }

    async fn reports(&mut self) -> Outcome<Vec<Report>> {
        let mut reports = vec![self.player.report()];
        for child in &mut self.children {
            reports.push(child.report().await?);
        }
        Ok(reports)
    }

    /// Gives each process the links to the others, and has all begin.
    async fn begin(&mut self, links: &[Link], seed: u64) -> Outcome<()> {
        let others = |me: usize| -> Vec<String> {
            let others = links.iter().enumerate().filter(|(at, _)| *at != me);
            others.map(|(_, link)| link.endpoint.clone()).collect()
        };
        self.player.begin(&others(0), seed);
        for (at, child) in (1..).zip(&mut self.children) {
            child.begin(&others(at), seed + at as u64).await?;
        }
        Ok(())
    }

    /// Stops all senders.
    async fn hold(&mut self) -> Outcome<()> {
        self.player.hold();
        for child in &mut self.children {
            child.hold().await?;
        }
        Ok(())
    }
}

async fn bad_links(lasts: Duration, seed: u64, arguments: &[&str]) -> Outcome<bool> {
    println!("\nThree processes, over links that are cut and stall:");
    let mut crowd = Crowd::gather(arguments).await?;
    let (mut links, mut memory) = (Vec::new(), Memory::of(crowd.processes()));
    for endpoint in std::iter::once(&crowd.player.endpoint).chain(crowd.children.iter().map(|child| &child.endpoint)) {
        links.push(Link::to(endpoint)?);
    }
    crowd.begin(&links, seed).await?;
    let faults = Faults::begin(&links, Chance::new(seed));
    let (begun, every) = (Instant::now(), sheet::pace(lasts));
    while begun.elapsed() < lasts {
        tokio::time::sleep(every.min(lasts.saturating_sub(begun.elapsed()))).await;
        let sheet = Sheet::of(&crowd.reports().await?);
        println!("{:>6} s  {sheet}  {}", begun.elapsed().as_secs(), memory.look());
    }
    let faults = faults.end();
    crowd.hold().await?;
    let (sheet, settled) = settled(&mut crowd).await?;
    println!("\n{faults}\n\n{sheet:#}");
    if !settled {
        println!(
            "\nThe balance is not even, something is in doubt, or a request has not ended:\n{:#?}",
            crowd.reports().await?
        );
    }
    println!("\n{memory}");
    for child in &mut crowd.children {
        child.end().await?;
    }
    crowd.player.end().await;
    Ok(settled && sheet.wrong == 0)
}

/// Draws the balance until no figure changes any more and all messages are accounted for, or the time is up.
async fn settled(crowd: &mut Crowd) -> Outcome<(Sheet, bool)> {
    let begun = Instant::now();
    let mut before = None;
    loop {
        let sheet = Sheet::of(&crowd.reports().await?);
        // Twice the same, since the processes report one after the other.
        let even = sheet.is_even() && before.as_ref() == Some(&sheet);
        if even || begun.elapsed() > PATIENCE {
            return Ok((sheet, even));
        }
        before = Some(sheet);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

// ---- A server that is killed.

async fn killed_servers(lasts: Duration, seed: u64, arguments: &[&str]) -> Outcome<bool> {
    println!("\nA server that is killed and started anew:");
    let mut chance = Chance::new(seed ^ 0xdead);
    let player = Player::open().await?;
    let mut server = Child::start(arguments).await?;
    let link = Link::to(&server.endpoint)?;
    player.begin(std::slice::from_ref(&link.endpoint), seed);
    let (begun, every) = (Instant::now(), sheet::pace(lasts));
    let (mut told, mut restarts, mut wrong) = (Instant::now(), 0, 0);
    while begun.elapsed() < lasts {
        tokio::time::sleep(chance.duration(100, 2_000)).await;
        // The report of a server is lost with it, so it is read first.
        wrong += server.report().await?.wrong();
        server.kill();
        tokio::time::sleep(chance.duration(0, 500)).await;
        server = Child::start(arguments).await?;
        link.lead_to(&server.endpoint);
        player.is_answered().await?;
        restarts += 1;
        if told.elapsed() >= every {
            told = Instant::now();
            let memory = Memory::of([std::process::id(), server.process()]).look();
            println!(
                "{:>6} s  {restarts} restarts  {}  {memory}",
                begun.elapsed().as_secs(),
                Sheet::of(&[player.report()])
            );
        }
    }
    player.hold();
    let ended = within("the end of all requests", player.requests_end()).await;
    let report = player.report();
    wrong += server.report().await?.wrong() + report.wrong();
    let mut text = String::new();
    writeln!(text, "\nFound again after each of {restarts} restarts; {} requests were answered.", report.answered)?;
    writeln!(text, "In doubt with servers that are gone: {}.", report.stats.in_doubt)?;
    write!(text, "Damaged, twice, out of order, or answered wrongly: {wrong}.")?;
    println!("{text}");
    if let Err(error) = &ended {
        println!("{error}: {report:#?}");
    }
    server.end().await?;
    player.end().await;
    Ok(wrong == 0 && ended.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>, String> {
        arguments::parse(line.split_whitespace().map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parsed("--seconds 5 --seed 7"), Ok(Some(Options { seconds: 5, seed: 7 })));
        assert_eq!(parsed("--seed 7 --help"), Ok(None));
        assert_eq!(parsed("").map(|options| options.map(|options| options.seconds)), Ok(Some(60)));
        for line in ["--seconds", "--seconds x", "--second 5", "5"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
