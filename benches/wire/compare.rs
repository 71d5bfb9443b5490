//! Rounds of runs, with each contender in turn, and their printed results.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use crate::line::Line;
use crate::machine::today_and_here;
use crate::process;
use crate::run::Run;
use crate::workload::Contender;
use crate::workload::Figure;
use crate::workload::Subject;
use crate::workload::median;

/// How often the contenders run, and which of ours take part.
pub(crate) struct Rounds {
    pub(crate) handles: Vec<Contender>,
    pub(crate) pairs: usize,
    /// The factor for the numbers of messages.
    pub(crate) scale: f64,
}

/// The results of all rounds of one subject.
pub(crate) struct Outcome {
    subject: Subject,
    /// The contenders, in the order in which they are shown.
    contenders: Vec<Measured>,
}

/// The figures of one contender, a round each.
struct Measured {
    contender: Contender,
    figures: Vec<Figure>,
    failed: Option<String>,
}

/// Runs every contender once a round, each round beginning with another, so that ratios compare runs of the same minute.
pub(crate) fn measure(rounds: &Rounds, subject: Subject) -> Outcome {
    let all = rounds.handles.iter().copied().chain([Contender::Raw, Contender::Task]);
    let new = |contender| Measured { contender, figures: Vec::new(), failed: None };
    let mut contenders: Vec<Measured> = all.map(new).collect();
    for round in 0..rounds.pairs {
        progress(&format!("{}: round {} of {}", subject.label(), round + 1, rounds.pairs));
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            contenders[at].run(subject);
        }
    }
    progress("");
    Outcome { subject, contenders }
}

impl Measured {
    fn run(&mut self, Subject { workload, load, .. }: Subject) {
        if self.failed.is_some() {
            return;
        }
        match process::figure(Run { workload, contender: self.contender, load }) {
            Ok(figure) => self.figures.push(figure),
            Err(why) => self.failed = Some(why.to_string()),
        }
    }

    /// Returns the median, and the range.
    fn spread(&self) -> Option<Spread> {
        if self.failed.is_some() { None } else { Spread::of(self.figures.iter().map(|figure| figure.value)) }
    }
}

/// The summary of several figures.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        let median = median(&mut values)?;
        Some(Spread { median, least: *values.first()?, most: *values.last()? })
    }
}

impl Outcome {
    fn of(&self, contender: Contender) -> Option<&Measured> {
        self.contenders.iter().find(|measured| measured.contender == contender)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.contenders.iter().any(|measured| measured.failed.is_some())
    }

    /// Prints a line for each handle.
    pub(crate) fn print(&self, rounds: &Rounds, json: bool) {
        for measured in self.contenders.iter().filter(|measured| Contender::OURS.contains(&measured.contender)) {
            let line = self.line(rounds, measured);
            if json { print_json(&line) } else { print_row(&line, self.subject) }
        }
    }

    fn line(&self, rounds: &Rounds, ours: &Measured) -> Line {
        let Subject { workload, varied, .. } = self.subject;
        let baseline = |contender| self.of(contender).filter(|measured| measured.failed.is_none());
        let ratio = |contender| {
            let baseline = baseline(contender)?;
            let pairs = ours.figures.iter().zip(&baseline.figures);
            Spread::of(pairs.map(|(ours, baseline)| ours.value / baseline.value))
        };
        let spread = |contender| baseline(contender).and_then(Measured::spread);
        let (to_raw, raw, task) = (ratio(Contender::Raw), spread(Contender::Raw), spread(Contender::Task));
        let part = |of: fn((f64, f64)) -> f64| {
            let mut parts: Vec<f64> = ours.figures.iter().filter_map(|figure| figure.of.map(of)).collect();
            median(&mut parts).map(rounded)
        };
        let (median, least, most) = (figure(|of| of.median), figure(|of| of.least), figure(|of| of.most));
        Line {
            workload: workload.name().to_owned(),
            handle: ours.contender.name().to_owned(),
            varied: varied.map(|(axis, _)| axis.to_owned()),
            at: varied.map(|(_, at)| at),
            value: median(ours.spread()),
            value_min: least(ours.spread()),
            value_max: most(ours.spread()),
            unit: workload.unit(),
            baseline: median(raw),
            baseline_min: least(raw),
            baseline_max: most(raw),
            ratio: median(to_raw),
            ratio_min: least(to_raw),
            ratio_max: most(to_raw),
            task: median(task),
            task_min: least(task),
            task_max: most(task),
            task_ratio: median(ratio(Contender::Task)),
            lost: ours.figures.iter().map(|figure| figure.lost).sum(),
            loaded_us: part(|(loaded, _)| loaded),
            idle_us: part(|(_, idle)| idle),
            failed: self.failure(ours),
            rounds: rounds.pairs,
            scale: rounds.scale,
            measured: today_and_here(),
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

fn print_json(line: &Line) {
    match serde_json::to_string(line) {
        Ok(json) => println!("{json}"),
        Err(why) => eprintln!("{} {}: {why}", line.workload, line.handle),
    }
}

/// Prints a row of the table.
fn print_row(line: &Line, subject: Subject) {
    print!("{:<16} {:<10}", subject.label(), line.handle);
    if let Some(why) = &line.failed {
        println!(" FAILED: {why}");
        return;
    }
    let figure = |value: Option<f64>| value.map_or_else(String::new, |value| line.unit.show(value));
    let ratio = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    let range = format!("{} to {}", ratio(line.ratio_min), ratio(line.ratio_max));
    let (ours, raw, task) = (figure(line.value), figure(line.baseline), figure(line.task));
    let (to_raw, to_task) = (ratio(line.ratio), ratio(line.task_ratio));
    println!("{ours:>12} {raw:>12} {to_raw:>8}   {range:<16} {task:>12} {to_task:>8} {:>6}", line.lost);
    if let (Some(loaded), Some(idle)) = (line.loaded_us, line.idle_us) {
        println!("{:27} p99 {loaded:.0} µs beside bulk, {idle:.0} µs alone", "");
    }
}

/// Prints the heading of the table.
pub(crate) fn print_heading(rounds: &Rounds) {
    println!("Two processes on loopback; {} rounds, numbers of messages × {}.", rounds.pairs, rounds.scale);
    println!("Medians; ratio = ours / baseline of the same round. Of times and bytes less is better, of rates more.\n");
    let range = "range of ratios";
    print!("{:<16} {:<10}{:>12} {:>12} {:>8}   {range:<16} ", "workload", "handle", "ours", "raw", "ratio");
    println!("{:>12} {:>8} {:>6}", "task", "ratio", "lost");
}

/// Picks one figure of a summary, rounded.
fn figure(pick: fn(Spread) -> f64) -> impl Fn(Option<Spread>) -> Option<f64> {
    move |spread| spread.map(|spread| rounded(pick(spread)))
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
