//! Messages between two processes on loopback, measured against a baseline that does the same by hand.
//!
//! ```text
//! cargo bench --bench wire                             # everything
//! cargo bench --bench wire -- rtt                      # a workload: rtt, window, oneway
//! cargo bench --bench wire -- oneway recipient         # and a handle: address, recipient
//! cargo bench --bench wire -- --pairs 9 --scale 0.1    # more pairs (default 5), fewer messages
//! cargo bench --bench wire -- --json                   # a line of JSON for each workload and handle
//! ```
//!
//! Each workload runs in pairs, ours and the baseline in turn, so that a ratio compares two runs of the same minute;
//! each run has two fresh processes, which are this program with hidden arguments. No time is ever asserted: on a busy
//! machine the figures wander, and the ratios less. A run in which no answer comes for ten seconds fails.
//!
//! The files: `workload` says what is measured, `hermod` and `raw` do it, with the messages of `message`; `process`
//! starts the two halves of a run; `compare` makes pairs and figures of runs.
//!
//! Without the `--bench` that cargo adds (as under `cargo test --all-targets`) it is only a smoke test: one small pair.

mod compare;
mod hermod;
mod message;
mod process;
mod raw;
mod workload;

use std::process::ExitCode;
use std::str::FromStr;

use workload::{Contender, Workload};

/// As in most programs: any error is good enough to be shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: cargo bench --bench wire -- [rtt|window|oneway]... [address|recipient]... \
                     [--pairs N] [--scale X] [--json]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = process::hidden_half(&arguments) {
        return code;
    }
    match Options::parse(arguments) {
        Ok(options) => compare::all(&options),
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What to run, and how to print it.
struct Options {
    workloads: Vec<Workload>,
    handles: Vec<Contender>,
    pairs: usize,
    /// By how much the numbers of messages are multiplied.
    scale: f64,
    json: bool,
}

impl Options {
    fn parse(arguments: Vec<String>) -> Result<Options> {
        let measuring = arguments.iter().any(|argument| argument == "--bench");
        let (pairs, scale) = if measuring { (5, 1.0) } else { (1, 0.01) };
        let mut options = Options { workloads: Vec::new(), handles: Vec::new(), pairs, scale, json: false };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--json" => options.json = true,
                "--pairs" => options.pairs = value(&argument, arguments.next())?,
                "--scale" => options.scale = value(&argument, arguments.next())?,
                word => options.filter(word)?,
            }
        }
        if options.pairs == 0 || !(options.scale.is_finite() && options.scale > 0.0) {
            return Err("--pairs and --scale must be above 0".into());
        }
        options.fill();
        Ok(options)
    }

    /// A bare word picks a workload or a handle.
    fn filter(&mut self, word: &str) -> Result<()> {
        if let Ok(workload) = word.parse() {
            self.workloads.push(workload);
        } else if let Some(handle) = word.parse().ok().filter(|handle| Contender::OURS.contains(handle)) {
            self.handles.push(handle);
        } else {
            return Err(format!("'{word}' is neither a workload nor a handle").into());
        }
        Ok(())
    }

    /// Nothing picked is everything.
    fn fill(&mut self) {
        if self.workloads.is_empty() {
            self.workloads.extend(Workload::ALL);
        }
        if self.handles.is_empty() {
            self.handles.extend(Contender::OURS);
        }
    }
}

/// The value of an option that needs one.
fn value<T: FromStr>(option: &str, text: Option<String>) -> Result<T> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{option} needs a number").into())
}
