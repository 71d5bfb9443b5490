//! Shows the worth of `Address::pressure`: two senders have the same readings for boxes that cannot take them all, and
//! only one of the two checks the pressure.
//!
//! ```text
//! cargo run --release --example overload                   # for 10 seconds
//! cargo run --release --example overload -- --seconds 60
//! ```
//!
//! A sensor makes more readings than the readers can take. One sender sends them all, so its box is always full: most
//! of its readings are dropped there, and the others are read only after waiting in a full box. The other sender checks
//! the pressure before each reading, and skips it while the box is more than half full. So it sends no more than there
//! is room for, and only the newest readings: its reader gets as many, but fresher ones, and hardly any is lost on the
//! way.
//!
//! The demo starts its second self, which has the boxes and reads them. While it runs, a chart shows both senders;
//! at the end, a balance sheet accounts for every message. The exit status is 1 if it does not balance, or if the
//! sender that checks the pressure has lost more than the other, and 2 if the demo could not run.

pub(crate) mod books;
pub(crate) mod chart;

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use actix::clock::Instant;
use actix::clock::Interval;
use actix::clock::interval;
use actix::clock::interval_at;
use actix::clock::sleep;
use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::AddressError;
use actix_hermod::Buffer;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::Stats;
use hermod_demos::Outcome;
use hermod_demos::arguments;
use hermod_demos::arguments::Arg;
use hermod_demos::arguments::Error;
use hermod_demos::arguments::Values;
use hermod_demos::child;
use hermod_demos::child::Child;
use hermod_demos::exit_code;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use books::Account;
use books::Sheet;
use books::by_reason;
use chart::Gauge;
use chart::Meter;
use chart::Screen;
use chart::grouped;

/// The names of the two senders and of their boxes, always in this order.
pub(crate) const NAMES: [&str; 2] = ["heeds", "ignores"];

/// Readings that the sensor makes in a second.
const MADE: u64 = 2_000;

/// Readings that each reader takes in a second.
const TAKEN: u64 = 500;

/// Readings that each box has room for. They last its reader a second; pressure is reported every quarter of a second,
/// so half a box does not run empty before its sender hears that there is room again.
const ROOM: usize = 500;

/// The portions a second in which the sensor makes readings, and the readers take them.
const PORTIONS: u64 = 100;

/// The pressure above which the sender that heeds it sends nothing. The level of a box that is less full is not
/// reported, and the other half is room for readings sent before the report arrives.
const ENOUGH: f32 = 0.5;

/// The interval at which the chart is drawn. Pressure is reported every 250 ms; in step with that, the chart would
/// always show its peak.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// The longest wait for an answer of the readers, and for the books to balance.
const PATIENCE: Duration = Duration::from_secs(10);

// ---- The messages.

/// A reading of the sensor. Its number shows its age: how many were made since.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Reading {
    pub(crate) number: u64,
    pub(crate) celsius: f32,
}

/// Asks the readers for their progress.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Figures")]
struct Question;

/// The progress of the readers, all at one moment.
#[derive(Serialize, Deserialize)]
struct Figures {
    /// Readings taken from each box.
    taken: [u64; 2],
    /// The number of the reading taken last from each box.
    last: [u64; 2],
    /// The books of the node that has the boxes.
    stats: Stats,
}

// ---- The command line.

#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) lasting: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { lasting: Duration::from_secs(10) }
    }
}

impl arguments::Options for Options {
    const NAME: &'static str = "overload";
    const USAGE: &'static str = "usage: overload [--seconds N]

  --seconds N   how long the senders send, in seconds, from 1 to 86400 (10)
  --help        this";

    fn take(&mut self, argument: Arg<'_>, values: &mut Values<'_>) -> Result<(), Error> {
        match argument {
            Arg::Long("seconds") => match values.parse()? {
                seconds @ 1..=86_400 => self.lasting = Duration::from_secs(seconds),
                other => return Err(format!("{other} is not a number of seconds from 1 to 86400").into()),
            },
            other => return Err(other.unexpected()),
        }
        Ok(())
    }
}

#[allow(dead_code, reason = "a test that runs parts of this has a head of its own")]
fn main() -> ExitCode {
    if child::role().is_some() {
        return exit_code("overload", System::new().block_on(read()).map(|()| true));
    }
    match arguments::of_this_program() {
        Ok(Options { lasting }) => exit_code("overload", System::new().block_on(send(lasting))),
        Err(status) => status,
    }
}

// ---- The senders.

/// A sender. The point of the example is its method `offer`.
pub(crate) struct Sender {
    to: Address<Reading>,
    heeds: bool,
    pub(crate) sent: Cell<u64>,
    pub(crate) skipped: Cell<u64>,
}

impl Sender {
    pub(crate) fn new(to: Address<Reading>, heeds: bool) -> Sender {
        Sender { to, heeds, sent: Cell::new(0), skipped: Cell::new(0) }
    }

    /// Sends a reading, or skips it: once there is room again, a newer one is sent in its place.
    pub(crate) fn offer(&self, reading: Reading) {
        if self.heeds && self.to.pressure() > ENOUGH {
            self.skipped.set(self.skipped.get() + 1);
            return;
        }
        self.to.do_send(reading);
        self.sent.set(self.sent.get() + 1);
    }

    /// Returns the known losses among the sent readings.
    pub(crate) fn lost(&self) -> u64 {
        by_reason(&self.to.lost()).values().sum()
    }
}

/// Runs the demo, and returns whether its promise holds.
async fn send(lasting: Duration) -> Outcome<bool> {
    println!("A sensor makes {} readings a second, and two senders have them all.", grouped(MADE));
    println!("Each sends to a box with room for {ROOM}, whose reader takes {TAKEN} a second.");
    println!("One heeds the pressure, the other ignores it.\n");
    // Kept until the end of this function: dropping it ends the readers.
    let (_readers, endpoints) = Child::start("readers", &[]).await?;
    let (readings, figures) = endpoints.split_once(' ').ok_or("the readers do not say where they listen")?;
    let desk = Desk::new(readings, figures)?;
    // Makes the connection before the clock starts.
    desk.ask().await?;
    let until = Instant::now() + lasting;
    tokio::try_join!(desk.sense(until), desk.watch(lasting, until))?;
    let sheet = desk.settle().await?;
    println!("\n{sheet}");
    desk.node.shutdown().await;
    if let Err(error) = sheet.verdict() {
        println!("{error}");
        return Ok(false);
    }
    Ok(true)
}

/// The sensor with its two senders, and the questions to the readers.
struct Desk {
    node: Node,
    /// Readings made so far.
    made: Cell<u64>,
    senders: [Sender; 2],
    figures: Address<Question>,
    /// The average number of readings that each reader was behind.
    behind: Cell<[u64; 2]>,
}

impl Desk {
    fn new(readings: &str, figures: &str) -> Outcome<Desk> {
        let node = Node::start();
        let senders = [(NAMES[0], true), (NAMES[1], false)];
        let [heeding, ignoring] =
            senders.map(|(name, heeds)| Ok::<_, AddressError>(Sender::new(node.remote(readings, name)?, heeds)));
        // Questions go from a node of their own, so that the other node counts readings only.
        let figures = Node::start().remote(figures, "figures")?;
        Ok(Desk { node, made: Cell::new(0), senders: [heeding?, ignoring?], figures, behind: Cell::default() })
    }

    async fn ask(&self) -> Outcome<Figures> {
        let answer = self.figures.ask(Question).timeout(PATIENCE).await;
        Ok(answer.map_err(|error| format!("the readers do not say how far they are: {error}"))?)
    }

    /// Makes readings, and offers each to both senders.
    async fn sense(&self, until: Instant) -> Outcome<()> {
        let mut portions = portions();
        while Instant::now() < until {
            portions.tick().await;
            for _ in 0..MADE / PORTIONS {
                let number = self.made.get() + 1;
                self.made.set(number);
                let celsius = 20.0 + (number as f32 / 1000.0).sin();
                self.senders.iter().for_each(|sender| sender.offer(Reading { number, celsius }));
            }
        }
        Ok(())
    }

    /// Shows the chart while the senders run.
    async fn watch(&self, lasting: Duration, until: Instant) -> Outcome<()> {
        let began = until - lasting;
        let mut screen = Screen::standard();
        let mut meters = [Meter::start(began), Meter::start(began)];
        let (mut looks, mut behind) = (0, [0; 2]);
        let mut draws = interval_at(began + DRAW_EVERY, DRAW_EVERY);
        draws.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < until {
            draws.tick().await;
            let figures = self.ask().await?;
            let gauges = [0, 1].map(|at: usize| self.gauge(at, &mut meters[at], &figures));
            screen.show(began.elapsed(), lasting, &gauges)?;
            looks += 1;
            behind = [0, 1].map(|at: usize| behind[at] + gauges[at].behind);
            self.behind.set(behind.map(|sum| sum / looks));
        }
        Ok(())
    }

    fn gauge(&self, at: usize, meter: &mut Meter, figures: &Figures) -> Gauge {
        let sender = &self.senders[at];
        let (sent_per_second, lost_per_second) = meter.rates(Instant::now(), sender.sent.get(), sender.lost());
        let behind = self.made.get().saturating_sub(figures.last[at]);
        Gauge { pressure: sender.to.pressure(), sent_per_second, lost_per_second, behind }
    }

    /// Waits until the books balance, since drops are reported a moment later. If they do not, the last sheet shows
    /// why.
    async fn settle(&self) -> Outcome<Sheet> {
        let began = Instant::now();
        loop {
            let sheet = self.sheet(&self.ask().await?);
            if sheet.balances() || began.elapsed() > PATIENCE {
                return Ok(sheet);
            }
            sleep(DRAW_EVERY / 4).await;
        }
    }

    fn sheet(&self, figures: &Figures) -> Sheet {
        let account = |at: usize| Account {
            sent: self.senders[at].sent.get(),
            delivered: figures.taken[at],
            waiting: figures.stats.boxes.iter().filter(|one| one.name == NAMES[at]).map(|one| one.depth).sum(),
            dropped: by_reason(&self.senders[at].to.lost()),
            in_doubt: 0,
        };
        let skipped = self.senders.each_ref().map(|sender| sender.skipped.get());
        let nodes = Account::of(&self.node.stats()).with(&Account::of(&figures.stats));
        Sheet { senders: [0, 1].map(account), nodes, skipped, behind: self.behind.get() }
    }
}

/// Returns the ticks for portions of work. Ticks that a stall prevented are not made up for: the pace stays the same.
fn portions() -> Interval {
    let mut portions = interval(Duration::from_secs(1) / PORTIONS as u32);
    portions.set_missed_tick_behavior(MissedTickBehavior::Delay);
    portions
}

// ---- The readers.

async fn read() -> Outcome<()> {
    child::end_with_parent();
    let node = Node::start();
    let readers = NAMES.map(|_| Rc::<Reader>::default());
    for (name, reader) in NAMES.iter().zip(&readers) {
        let inbox = node.mailbox::<Reading>().name(*name).buffer(Buffer::dropping(ROOM)).open()?;
        actix::spawn(Rc::clone(reader).read(inbox));
    }
    let office = Node::start();
    office.publish::<Question>("figures", Clerk { node: node.clone(), readers }.start())?;
    child::say(&format!("{} {}", node.listen("127.0.0.1:0").await?, office.listen("127.0.0.1:0").await?))?;
    std::future::pending().await
}

/// The progress of one reader.
#[derive(Default)]
struct Reader {
    taken: Cell<u64>,
    last: Cell<u64>,
}

impl Reader {
    /// Takes only [`TAKEN`] readings a second, as if each were much work.
    async fn read(self: Rc<Self>, mut inbox: Mailbox<Reading>) {
        let mut portions = portions();
        loop {
            portions.tick().await;
            for reading in (0..TAKEN / PORTIONS).map_while(|_| inbox.try_recv()) {
                std::hint::black_box(reading.celsius);
                self.taken.set(self.taken.get() + 1);
                self.last.set(reading.number);
            }
        }
    }
}

/// Answers questions, on the thread of the readers and of their node, so that all figures are of one moment.
struct Clerk {
    node: Node,
    readers: [Rc<Reader>; 2],
}

impl Actor for Clerk {
    type Context = Context<Self>;
}

impl Handler<Question> for Clerk {
    type Result = MessageResult<Question>;

    fn handle(&mut self, _: Question, _: &mut Context<Self>) -> Self::Result {
        let taken = self.readers.each_ref().map(|reader| reader.taken.get());
        let last = self.readers.each_ref().map(|reader| reader.last.get());
        MessageResult(Figures { taken, last, stats: self.node.stats() })
    }
}
