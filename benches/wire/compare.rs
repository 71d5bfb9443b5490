//! Pairs of runs, ours and the baseline in turn, and what is printed of them.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::process::Run;
use crate::workload::{Contender, Figure, Workload, median};
use crate::{Options, Result};

/// Runs what was asked for; fails if a run did.
pub(crate) fn all(options: &Options) -> ExitCode {
    if !options.json {
        heading(options);
    }
    let mut failed = false;
    for &workload in &options.workloads {
        for &handle in &options.handles {
            let line = Line::of(workload, handle, compare(options, workload, handle));
            failed |= line.failed.is_some();
            if options.json { line.print_json() } else { line.print(workload) }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Ours, baseline, ours, baseline, …: up to the first run that fails.
fn compare(options: &Options, workload: Workload, handle: Contender) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for number in 1..=options.pairs {
        progress(&format!("{} {}: pair {number} of {}", workload.name(), handle.name(), options.pairs));
        let ours = Run { workload, contender: handle, scale: options.scale }.figure();
        let baseline = Run { workload, contender: Contender::Raw, scale: options.scale }.figure();
        pairs.push(Pair {
            ours: ours?,
            baseline: baseline.map_err(|why| format!("the baseline, not this crate: {why}"))?,
        });
    }
    progress("");
    Ok(pairs)
}

/// Two runs of the same minute.
struct Pair {
    ours: Figure,
    baseline: Figure,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.ours.value / self.baseline.value
    }
}

/// What is said of all pairs of one workload and handle; as it stands the line of JSON.
#[derive(Default, Serialize)]
struct Line {
    workload: &'static str,
    handle: &'static str,
    /// Medians; `null` if a run failed.
    value: Option<f64>,
    unit: &'static str,
    baseline: Option<f64>,
    ratio: Option<f64>,
    ratio_min: Option<f64>,
    ratio_max: Option<f64>,
    /// Of our runs, all together.
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

impl Line {
    fn of(workload: Workload, handle: Contender, pairs: Result<Vec<Pair>>) -> Line {
        let line = Line { workload: workload.name(), handle: handle.name(), unit: workload.unit(), ..Line::default() };
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(why) => return Line { failed: Some(why.to_string()), ..line },
        };
        let over_pairs = |of: fn(&Pair) -> f64| median(&mut pairs.iter().map(of).collect::<Vec<_>>()).map(rounded);
        Line {
            value: over_pairs(|pair| pair.ours.value),
            baseline: over_pairs(|pair| pair.baseline.value),
            ratio: over_pairs(Pair::ratio),
            ratio_min: pairs.iter().map(Pair::ratio).min_by(f64::total_cmp).map(rounded),
            ratio_max: pairs.iter().map(Pair::ratio).max_by(f64::total_cmp).map(rounded),
            lost: pairs.iter().map(|pair| pair.ours.lost).sum(),
            ..line
        }
    }

    fn print_json(&self) {
        match serde_json::to_string(self) {
            Ok(json) => println!("{json}"),
            Err(why) => eprintln!("{} {}: {why}", self.workload, self.handle),
        }
    }

    fn print(&self, workload: Workload) {
        print!("{:<9} {:<10}", self.workload, self.handle);
        if let Some(why) = &self.failed {
            println!(" FAILED: {why}");
            return;
        }
        let figure = |value: Option<f64>| value.map_or_else(String::new, |value| readable(value, workload));
        let ratio = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        let range = format!("{} to {}", ratio(self.ratio_min), ratio(self.ratio_max));
        let (ours, baseline) = (figure(self.value), figure(self.baseline));
        println!("{ours:>14} {baseline:>14} {:>8}   {range:<16} {:>6}", ratio(self.ratio), self.lost);
    }
}

fn heading(options: &Options) {
    println!("Two processes on loopback; {} pairs each, numbers of messages × {}.", options.pairs, options.scale);
    println!("Medians; ratio = ours / baseline of the same pair (rtt: a time, less is better; else a rate).\n");
    let (workload, handle, range) = ("workload", "handle", "range of ratios");
    println!("{workload:<9} {handle:<10}{:>14} {:>14} {:>8}   {range:<16} {:>6}", "ours", "baseline", "ratio", "lost");
}

/// 3.7 million a second is "3.70 M/s".
fn readable(value: f64, workload: Workload) -> String {
    match workload {
        Workload::Rtt => format!("{value:.1} µs p50"),
        Workload::Window | Workload::Oneway if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        Workload::Window | Workload::Oneway => format!("{:.0} k/s", value / 1e3),
    }
}

/// More digits than these would pretend a precision that no run has.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Overwrites the last line of somebody who watches.
fn progress(text: &str) {
    let mut screen = io::stderr();
    if screen.is_terminal() {
        // Nothing is lost if it cannot be shown.
        let _ = write!(screen, "\r{text:<40}\r").and_then(|()| screen.flush());
    }
}
