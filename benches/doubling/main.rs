//! Checks that no table costs more than in proportion to its entries: each is filled with n entries, 2n, 4n and 8n, and
//! the event that ends all of them at once is measured.
//!
//! ```text
//! cargo bench --bench doubling                        # all tables, from 2,048 entries to 16,384
//! cargo bench --bench doubling -- watches             # those with that in their names
//! cargo bench --bench doubling -- --n 512             # from so many entries
//! cargo bench --bench doubling -- watches --once 512  # once, with so many: for valgrind to count instructions
//! ```
//!
//! A line shows the cost of each entry at each size, the growth of the cost from n entries to 8n, and the exponent of
//! that growth: 1 is right, and 2 means a table that is searched for each of its entries. The same figures follow for
//! the whole run, including filling the table and clearing up. The program ends with 1 if either growth is above
//! [`LIMIT`]: 8 is linear and 64 quadratic, and caches that are too small for the larger table cost up to a factor of
//! two. For a cost that should not depend on the number of entries, the limit is [`FLAT`].
//!
//! The cost is the processor time of the one thread that runs both nodes, so other work of the machine matters little.
//! A table that seems to grow too fast is measured again, and the least cost counts. Tables that have limits have fewer
//! entries.
//!
//! The files: `stage` has the two nodes, their messages, and a link that can be cut; `cpu` measures; each of the others
//! has the tables of one kind.
//!
//! Without the `--bench` that cargo adds (as under `cargo test --all-targets`) it is only a smoke test: each once, with a
//! few entries.

mod boxes;
mod cpu;
mod leases;
mod peers;
mod recipients;
mod requests;
mod stage;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use actix::System;

use cpu::Cpu;

/// The factor by which eight times as many entries may raise the cost.
const LIMIT: f64 = 20.0;

/// The same factor for a cost that should not depend on the number of entries.
const FLAT: f64 = 3.0;

/// The part of a limit above which a table is measured again, before its growth is believed.
const IN_DOUBT: f64 = 0.7;

/// Entries of the smallest table, unless the command line says otherwise.
const ENTRIES: usize = 2_048;

/// Repetitions for each of the four sizes, of which the least counts: the smallest wanders most.
const TIMES: [usize; 4] = [2, 1, 1, 1];

/// Repetitions in doubt.
const TIMES_IN_DOUBT: [usize; 4] = [3; 4];

/// The longest time of one measurement.
const PATIENCE: Duration = Duration::from_secs(120);

/// A measurement with a number of entries; returns the cost.
type Measure = fn(usize) -> Pin<Box<dyn Future<Output = Duration>>>;

/// A table that is doubled.
struct Table {
    name: &'static str,
    measure: Measure,
    /// Scales the requested entries by a power of two, because entries of some tables cost much, and of others little.
    scale: i32,
    /// The most entries that the table can have.
    most: usize,
    growth: Growth,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    Linear,
    /// The entries belong to others, and cost nothing.
    None,
}

impl Table {
    const fn new(name: &'static str, measure: Measure) -> Table {
        Table { name, measure, scale: 0, most: usize::MAX, growth: Growth::Linear }
    }

    /// Returns the table with fewer or more entries.
    const fn scaled(self, scale: i32) -> Table {
        Table { scale, ..self }
    }

    const fn up_to(self, most: usize) -> Table {
        Table { most, ..self }
    }

    const fn flat(self) -> Table {
        Table { growth: Growth::None, ..self }
    }

    fn entries(&self, n: usize) -> usize {
        (n as f64 * 2_f64.powi(self.scale)).max(1.0).min(self.most as f64 / 8.0) as usize
    }

    fn once(&self, entries: usize) -> Cost {
        let (cpu, measure) = (Cpu::now(), (self.measure)(entries));
        let measured = System::new().block_on(async { tokio::time::timeout(PATIENCE, measure).await });
        let part = measured.unwrap_or_else(|_| panic!("{} with {entries} entries has not come to its end", self.name));
        Cost { part, whole: cpu.elapsed() }
    }

    fn least(&self, sizes: [usize; 4], times: [usize; 4]) -> [Cost; 4] {
        let runs = |at: usize| (0..times[at]).map(move |_| self.once(sizes[at]));
        std::array::from_fn(|at| runs(at).fold(Cost::MAX, Cost::least))
    }

    /// Whether the growth is within that part of its limit.
    fn is_within(&self, limits: f64, costs: [Cost; 4]) -> bool {
        let limit = if self.growth == Growth::Linear { LIMIT } else { FLAT };
        growth(costs, |cost| cost.part) <= limits * limit && growth(costs, |cost| cost.whole) <= limits * LIMIT
    }

    /// Measures the table, and returns whether its growth is within its limit.
    fn judge(&self, n: usize) -> bool {
        let sizes = [1, 2, 4, 8].map(|times| times * self.entries(n));
        let mut costs = self.least(sizes, TIMES);
        if !self.is_within(IN_DOUBT, costs) {
            let again = self.least(sizes, TIMES_IN_DOUBT);
            costs = std::array::from_fn(|at| costs[at].least(again[at]));
        }
        let is_good = self.is_within(1.0, costs);
        self.print(sizes, costs, is_good);
        is_good
    }

    fn print(&self, sizes: [usize; 4], costs: [Cost; 4], is_good: bool) {
        print!("{:<34}{:>8}", self.name, sizes[0]);
        for (entries, cost) in sizes.iter().zip(costs) {
            print!("{:>9.2}", cost.part.as_secs_f64() * 1e6 / *entries as f64);
        }
        for growth in [growth(costs, |cost| cost.part), growth(costs, |cost| cost.whole)] {
            print!("{growth:>8.1}{:>6.2}", growth.log2() / 3.0);
        }
        println!("{}", if is_good { "" } else { "  TOO FAST" });
    }
}

/// The cost of a run: of the measured part, and of all of it.
#[derive(Clone, Copy)]
struct Cost {
    part: Duration,
    whole: Duration,
}

impl Cost {
    const MAX: Cost = Cost { part: Duration::MAX, whole: Duration::MAX };

    fn least(self, other: Cost) -> Cost {
        Cost { part: self.part.min(other.part), whole: self.whole.min(other.whole) }
    }
}

/// Returns the factor between the cost of the largest and the smallest size.
fn growth(costs: [Cost; 4], of: impl Fn(Cost) -> Duration) -> f64 {
    of(costs[3]).as_secs_f64() / of(costs[0]).as_secs_f64().max(1e-9)
}

/// A table whose measurement is an `async fn`.
macro_rules! table {
    ($name:literal, $measure:path) => {
        Table::new($name, |entries| Box::pin($measure(entries)))
    };
}

const TABLES: &[Table] = &[
    table!("watches that closing ends", watches::closing),
    table!("watches that a goodbye ends", watches::goodbye),
    table!("watches that a loss ends", watches::lost),
    table!("watches asked for again", watches::asked_again),
    table!("watches that are dropped", watches::dropped),
    table!("boxes that close", boxes::closing),
    table!("boxes that drop messages", boxes::dropping),
    table!("boxes that are pressed", boxes::pressed).scaled(-2).up_to(4_096),
    table!("boxes that wait behind large ones", boxes::behind_large),
    table!("boxes that are listed", boxes::listed).scaled(-1).up_to(16_384),
    table!("actors of a node that ends", boxes::shut_down),
    table!("keys of one box", boxes::keys),
    table!("leases that are released", leases::released),
    table!("leases that a goodbye ends", leases::goodbye),
    table!("leases that a loss ends", leases::lost),
    table!("leases that are restated", leases::restated),
    table!("leases over the limit", leases::over_the_limit),
    table!("leases of one actor", leases::of_one_actor),
    table!("leases of others at a goodbye", leases::of_others_at_goodbye).scaled(1).flat(),
    table!("leases of others at a loss", leases::of_others_at_loss).scaled(1).flat(),
    table!("requests that time out", requests::timed_out),
    table!("requests that are swept", requests::swept),
    table!("requests that a goodbye ends", requests::goodbye),
    table!("requests that a loss ends", requests::lost),
    table!("requests that are answered", requests::answered),
    table!("recipients made and dropped", recipients::made),
    table!("recipients found equal", recipients::equal),
    table!("recipients over a reconnection", recipients::reconnected),
    table!("recipients cut off", recipients::cut_off),
    table!("subscribers of a publisher", recipients::published),
    table!("subscriptions of one actor", recipients::subscribed_again),
    table!("recipients in one message", recipients::in_one_message),
    table!("addresses in one message", recipients::addresses_in_one_message),
    table!("peers that say goodbye", peers::goodbye).scaled(-6).up_to(2_048),
    table!("peers that come back", peers::come_back).scaled(-6).up_to(2_048),
    table!("holders over the limit of leases", peers::over_the_limit).scaled(-6).up_to(2_048),
];

const USAGE: &str = "usage: cargo bench --bench doubling -- [WORDS OF A TABLE]... [--n ENTRIES | --once ENTRIES]";

struct Options {
    words: Vec<String>,
    n: usize,
    once: Option<usize>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
        let mut options = Options { words: Vec::new(), n: ENTRIES, once: Some(64) };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => options.once = None,
                "--n" => options.n = arguments.next()?.parse().ok().filter(|n| *n > 0)?,
                "--once" => return Some(Options { once: Some(arguments.next()?.parse().ok()?), ..options }),
                word if word.starts_with('-') => return None,
                word => options.words.push(word.to_owned()),
            }
        }
        Some(options)
    }

    fn tables(&self) -> impl Iterator<Item = &'static Table> {
        TABLES.iter().filter(|table| self.words.is_empty() || self.words.iter().any(|word| table.name.contains(word)))
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(n) = options.once {
        for table in options.tables() {
            let (entries, cost) = (table.entries(n), table.once(table.entries(n)));
            println!("{:<34}{entries:>8}{:>9.2}", table.name, cost.part.as_secs_f64() * 1e6 / entries as f64);
        }
        return ExitCode::SUCCESS;
    }
    println!("{:<34}{:>8}{:>36}{:>14}{:>14}", "", "", "µs of each at", "", "in all");
    let columns = ["n", "2n", "4n", "8n"].map(|column| format!("{column:>9}")).concat();
    println!("{:<34}{:>8}{columns}{:>8}{:>6}{:>8}{:>6}", "", "n", "growth", "exp.", "growth", "exp.");
    // Judges all of them, even after one that grows too fast.
    let bad = options.tables().filter(|table| !table.judge(options.n)).count();
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
