//! Rounds of runs, with each contender in turn, and their printed results.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use serde::Serialize;

use crate::Options;
use crate::process::Run;
use crate::workload::Contender;
use crate::workload::Figure;
use crate::workload::Load;
use crate::workload::Workload;
use crate::workload::median;

/// One workload with one load, the same for all contenders.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) workload: Workload,
    pub(crate) load: Load,
    /// The varied quantity, and its value.
    pub(crate) varied: Option<(&'static str, u64)>,
}

/// The results of all rounds of one subject.
pub(crate) struct Outcome {
    pub(crate) subject: Subject,
    /// The contenders, in the order in which they are shown.
    pub(crate) contenders: Vec<Measured>,
}

/// The figures of one contender, a round each.
pub(crate) struct Measured {
    pub(crate) contender: Contender,
    pub(crate) figures: Vec<Figure>,
    pub(crate) failed: Option<String>,
}

/// Runs every contender once a round, each round beginning with another, so that ratios compare runs of the same minute.
pub(crate) fn measure(options: &Options, subject: Subject) -> Outcome {
    let all = options.handles.iter().copied().chain([Contender::Raw, Contender::Task]);
    let new = |contender| Measured { contender, figures: Vec::new(), failed: None };
    let mut contenders: Vec<Measured> = all.map(new).collect();
    for round in 0..options.pairs {
        progress(&format!("{}: round {} of {}", subject.label(), round + 1, options.pairs));
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            contenders[at].run(subject);
        }
    }
    progress("");
    Outcome { subject, contenders }
}

impl Subject {
    fn label(&self) -> String {
        match self.varied {
            None => self.workload.name().to_owned(),
            Some((axis, at)) => format!("{axis} {at}"),
        }
    }
}

impl Measured {
    fn run(&mut self, Subject { workload, load, .. }: Subject) {
        if self.failed.is_some() {
            return;
        }
        match (Run { workload, contender: self.contender, load }).figure() {
            Ok(figure) => self.figures.push(figure),
            Err(why) => self.failed = Some(why.to_string()),
        }
    }

    /// Returns the median, and the range.
    pub(crate) fn spread(&self) -> Option<Spread> {
        if self.failed.is_some() { None } else { Spread::of(self.figures.iter().map(|figure| figure.value)) }
    }
}

/// The summary of several figures.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        let median = median(&mut values)?;
        Some(Spread { median, least: *values.first()?, most: *values.last()? })
    }
}

impl Outcome {
    pub(crate) fn of(&self, contender: Contender) -> Option<&Measured> {
        self.contenders.iter().find(|measured| measured.contender == contender)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.contenders.iter().any(|measured| measured.failed.is_some())
    }

    /// Prints a line for each handle.
    pub(crate) fn print(&self, json: bool) {
        for measured in self.contenders.iter().filter(|measured| Contender::OURS.contains(&measured.contender)) {
            let line = self.line(measured);
            if json { line.print_json() } else { line.print(self.subject) }
        }
    }

    fn line(&self, ours: &Measured) -> Line {
        let Subject { workload, varied, .. } = self.subject;
        let baseline = |contender| self.of(contender).filter(|measured| measured.failed.is_none());
        let ratio = |contender| {
            let baseline = baseline(contender)?;
            let pairs = ours.figures.iter().zip(&baseline.figures);
            Spread::of(pairs.map(|(ours, baseline)| ours.value / baseline.value))
        };
        let (spread, raw) = (ours.spread(), ratio(Contender::Raw));
        let middle = |contender| baseline(contender).and_then(Measured::spread).map(|spread| rounded(spread.median));
        let part = |of: fn((f64, f64)) -> f64| {
            let mut parts: Vec<f64> = ours.figures.iter().filter_map(|figure| figure.of.map(of)).collect();
            median(&mut parts).map(rounded)
        };
        Line {
            workload: workload.name(),
            handle: ours.contender.name(),
            varied: varied.map(|(axis, _)| axis),
            at: varied.map(|(_, at)| at),
            value: spread.map(|spread| rounded(spread.median)),
            value_min: spread.map(|spread| rounded(spread.least)),
            value_max: spread.map(|spread| rounded(spread.most)),
            unit: workload.unit(),
            baseline: middle(Contender::Raw),
            ratio: raw.map(|ratio| rounded(ratio.median)),
            ratio_min: raw.map(|ratio| rounded(ratio.least)),
            ratio_max: raw.map(|ratio| rounded(ratio.most)),
            task: middle(Contender::Task),
            task_ratio: ratio(Contender::Task).map(|ratio| rounded(ratio.median)),
            lost: ours.figures.iter().map(|figure| figure.lost).sum(),
            loaded_us: part(|(loaded, _)| loaded),
            idle_us: part(|(_, idle)| idle),
            failed: self.failure(ours),
        }
    }

    fn failure(&self, ours: &Measured) -> Option<String> {
        let baseline = |contender: Contender| {
            let why = self.of(contender)?.failed.as_ref()?;
            Some(format!("the baseline '{}', not this crate: {why}", contender.name()))
        };
        ours.failed.clone().or_else(|| baseline(Contender::Raw)).or_else(|| baseline(Contender::Task))
    }
}

/// The results of one handle, serialized as they are for the line of JSON. Figures are medians, and `null` if a run
/// failed.
#[derive(Serialize)]
struct Line {
    workload: &'static str,
    handle: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    varied: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    value: Option<f64>,
    value_min: Option<f64>,
    value_max: Option<f64>,
    unit: &'static str,
    baseline: Option<f64>,
    ratio: Option<f64>,
    ratio_min: Option<f64>,
    ratio_max: Option<f64>,
    /// The baseline with a task and a channel for each box, and the ratio to it.
    task: Option<f64>,
    task_ratio: Option<f64>,
    /// Messages lost in all our runs together.
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

impl Line {
    fn print_json(&self) {
        match serde_json::to_string(self) {
            Ok(json) => println!("{json}"),
            Err(why) => eprintln!("{} {}: {why}", self.workload, self.handle),
        }
    }

    fn print(&self, subject: Subject) {
        print!("{:<16} {:<10}", subject.label(), self.handle);
        if let Some(why) = &self.failed {
            println!(" FAILED: {why}");
            return;
        }
        let figure = |value: Option<f64>| value.map_or_else(String::new, |value| subject.workload.show(value));
        let ratio = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        let range = format!("{} to {}", ratio(self.ratio_min), ratio(self.ratio_max));
        let (ours, raw, task) = (figure(self.value), figure(self.baseline), figure(self.task));
        let (to_raw, to_task) = (ratio(self.ratio), ratio(self.task_ratio));
        println!("{ours:>12} {raw:>12} {to_raw:>8}   {range:<16} {task:>12} {to_task:>8} {:>6}", self.lost);
        if let (Some(loaded), Some(idle)) = (self.loaded_us, self.idle_us) {
            println!("{:27} p99 {loaded:.0} µs beside bulk, {idle:.0} µs alone", "");
        }
    }
}

/// Prints the heading of the table.
pub(crate) fn print_heading(options: &Options) {
    println!("Two processes on loopback; {} rounds, numbers of messages × {}.", options.pairs, options.scale);
    println!("Medians; ratio = ours / baseline of the same round. Of times and bytes less is better, of rates more.\n");
    let range = "range of ratios";
    print!("{:<16} {:<10}{:>12} {:>12} {:>8}   {range:<16} ", "workload", "handle", "ours", "raw", "ratio");
    println!("{:>12} {:>8} {:>6}", "task", "ratio", "lost");
}

/// Rounds a figure: more digits would suggest a precision that no run has.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Overwrites the last line on a terminal.
fn progress(text: &str) {
    let mut screen = io::stderr();
    if screen.is_terminal() {
        // No harm is done if it cannot be shown.
        let _ = write!(screen, "\r{text:<40}\r").and_then(|()| screen.flush());
    }
}
