//! Messages between two processes on loopback, measured against baselines that do the same by hand.
//!
//! ```text
//! cargo bench --bench wire                             # everything
//! cargo bench --bench wire -- rtt                      # a workload: see below
//! cargo bench --bench wire -- oneway recipient         # and a handle: address, recipient
//! cargo bench --bench wire -- --pairs 9 --scale 0.1    # more rounds (default 5), fewer messages
//! cargo bench --bench wire -- --sweep                  # how the cost grows (default 3 rounds)
//! cargo bench --bench wire -- --sweep bytes            # with one of: bytes, boxes, connections, addresses, windows
//! cargo bench --bench wire -- --json                   # a line of JSON for each workload and handle
//! cargo bench --bench wire -- --svg FILE               # a chart as well, of the workloads or of the sweep
//! ```
//!
//! | workload | what is measured |
//! |---|---|
//! | `rtt` | one ping-pong in flight: the median time of a round trip |
//! | `window` | 64 ping-pongs in flight: round trips a second |
//! | `oneway` | messages of 40 bytes, at most 8,192 unacknowledged, of which every 1,024th is: messages a second |
//! | `bulk` | messages of 64 KiB, at most 64 unacknowledged, of which every 16th is: MB a second |
//! | `boxes` | `oneway` over 10,000 boxes in turn, each with its own reader: messages a second |
//! | `idle` | bytes of the server's memory for each of 10,000 idle boxes, readers included, and of 200 idle connections |
//! | `fairness` | pings beside 1 GiB in messages of 1 MiB on the same connection: their p99 / that of pings alone |
//!
//! There are two baselines. `raw` handles each message in its read loop: it is the limit, and the reference of `ratio`.
//! `task` has a task and a bounded channel for each box: it shows the cost of a mailbox. Memory is the anonymous memory
//! of the process (`RssAnon`), so it is known only where there is a `/proc`, and to about a page.
//!
//! Each round runs every contender once, so that a ratio compares two runs of the same minute; each run has two fresh
//! processes, which are this program with hidden arguments. No time is ever asserted: on a busy machine the figures
//! wander, and the ratios less. A run in which no answer comes for ten seconds fails.
//!
//! The files: `workload` defines the measurements, and `sweep` the variations; `hermod` and `raw` run them, the former
//! with the messages of `message`; `process` starts the two halves of a run; `compare` turns runs into rounds and
//! figures; `chart` draws them with `svg`; `machine` describes the machine.
//!
//! Without the `--bench` that cargo adds (as under `cargo test --all-targets`) it is only a smoke test: one small round.

mod chart;
mod compare;
mod hermod;
mod machine;
mod message;
mod process;
mod raw;
mod svg;
mod sweep;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use compare::Outcome;
use compare::Subject;
use sweep::Axis;
use workload::Contender;
use workload::Workload;

/// The result with any error, since errors are only shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: cargo bench --bench wire -- [address|recipient]... [--pairs N] [--scale X] [--json] \
                     [--svg FILE]\n    \
                     [rtt|window|oneway|bulk|boxes|idle|fairness]... \
                     | --sweep [bytes|boxes|connections|addresses|windows]...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = process::hidden_half(&arguments) {
        return code;
    }
    match Options::parse(arguments) {
        Ok(options) => run(&options),
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for; fails if a run did.
fn run(options: &Options) -> ExitCode {
    if !options.json {
        compare::print_heading(options);
    }
    let mut outcomes = Vec::new();
    for subject in options.subjects() {
        let outcome = compare::measure(options, subject);
        outcome.print(options.json);
        outcomes.push(outcome);
    }
    if let Some(file) = &options.svg
        && let Err(why) = chart::draw(options, &outcomes, file)
    {
        eprintln!("{}: {why}", file.display());
        return ExitCode::FAILURE;
    }
    if outcomes.iter().any(Outcome::has_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The options: the measurements to run, and the form of the output.
struct Options {
    workloads: Vec<Workload>,
    /// The axes to vary, instead of workloads; empty if workloads are measured.
    axes: Vec<Axis>,
    handles: Vec<Contender>,
    pairs: usize,
    /// The factor for the numbers of messages.
    scale: f64,
    json: bool,
    svg: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: Vec<String>) -> Result<Options> {
        let measuring = arguments.iter().any(|argument| argument == "--bench");
        let sweeps = arguments.iter().any(|argument| argument == "--sweep");
        let (pairs, scale) = if measuring { (if sweeps { 3 } else { 5 }, 1.0) } else { (1, 0.01) };
        let (workloads, axes, handles) = (Vec::new(), Vec::new(), Vec::new());
        let mut options = Options { workloads, axes, handles, pairs, scale, json: false, svg: None };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" | "--sweep" => {}
                "--json" => options.json = true,
                "--svg" => options.svg = Some(value(&argument, arguments.next())?),
                "--pairs" => options.pairs = value(&argument, arguments.next())?,
                "--scale" => options.scale = value(&argument, arguments.next())?,
                word => options.pick(word, sweeps)?,
            }
        }
        if options.pairs == 0 || !(options.scale.is_finite() && options.scale > 0.0) {
            return Err("--pairs and --scale must be above 0".into());
        }
        options.fill(sweeps);
        Ok(options)
    }

    /// Takes a bare word, which picks a handle or a measurement.
    fn pick(&mut self, word: &str, sweeps: bool) -> Result<()> {
        if let Ok(handle) = word.parse() {
            self.handles.push(handle);
        } else if sweeps {
            self.axes.push(word.parse()?);
        } else if word == "idle" {
            self.workloads.extend([Workload::IdleBox, Workload::IdleConnection]);
        } else {
            self.workloads.push(word.parse()?);
        }
        Ok(())
    }

    /// Picks everything where nothing was picked.
    fn fill(&mut self, sweeps: bool) {
        if sweeps && self.axes.is_empty() {
            self.axes.extend(Axis::ALL);
        }
        if !sweeps && self.workloads.is_empty() {
            self.workloads.extend(Workload::ALL);
        }
        if self.handles.is_empty() {
            self.handles.extend(Contender::OURS);
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        let whole = |&workload: &Workload| Subject { workload, load: workload.load(self.scale), varied: None };
        let varied = self.axes.iter().flat_map(|axis| axis.subjects(self.scale));
        self.workloads.iter().map(whole).chain(varied).collect()
    }
}

/// Returns the value of an option that needs one.
fn value<T: FromStr>(option: &str, text: Option<String>) -> Result<T> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{option} needs a value").into())
}
