//! The figures as a chart: bars for workloads, curves for sweeps.

use crate::Result;
use crate::line::Line;
use crate::line::Unit;
use crate::line::thousands;
use crate::outcome::Outcome;
use crate::outcome::outcomes;
use crate::picture::Anchor;
use crate::picture::Picture;

/// A chart has panels in two columns below a head.
const PANEL: f64 = 470.0;
const HEAD: f64 = 84.0;
const FOOT: f64 = 30.0;
const MARGIN: f64 = 20.0;

/// A panel of bars: the x at which they begin, the length of the longest, and the distance between them.
const BAR_START: f64 = 74.0;
const BAR_LENGTH: f64 = 220.0;
const BAR_PITCH: f64 = 22.0;

/// A panel of curves: the room for their points.
const PLOT: (f64, f64) = (360.0, 190.0);
const PLOT_START: f64 = 72.0;

/// Draws lines of one run of the bench.
pub(crate) fn draw(lines: &[Line]) -> Result<Picture> {
    let first = lines.first().ok_or("there are no figures")?;
    let outcomes = outcomes(lines);
    Ok(if first.varied.is_none() { bars(first, &outcomes) } else { curves(first, &outcomes) })
}

/// A picture with its head and foot.
fn page(first: &Line, outcomes: &[Outcome], panels: usize, height: f64) -> Picture {
    let bottom = HEAD + panels.div_ceil(2) as f64 * height + FOOT;
    let mut picture = Picture::new(2.0 * PANEL + MARGIN, bottom);
    let title = "actix-hermod between two processes on loopback TCP";
    picture.text("title", (MARGIN, 30.0), Anchor::Start, title);
    let legend = [
        ("address", "through Address"),
        ("recipient", "through Recipient"),
        ("task", "by hand: a task and a channel for each box"),
        ("raw", "by hand: in the read loop, the limit"),
    ];
    let is_shown = |name| outcomes.iter().any(|outcome| outcome.of(name).is_some());
    let mut x = MARGIN;
    for (contender, text) in legend.into_iter().filter(|(contender, _)| is_shown(contender)) {
        picture.rect(contender, (x, 47.0), (12.0, 12.0));
        picture.text("", (x + 18.0, 57.0), Anchor::Start, text);
        x += 42.0 + 6.4 * text.len() as f64;
    }
    let which = if first.varied.is_none() { "Medians and ranges" } else { "Medians" };
    let fewer = if first.scale == 1.0 { String::new() } else { format!(", numbers of messages × {}", first.scale) };
    let foot = format!("{}. {which} over {} rounds{fewer}.", first.measured, first.rounds);
    picture.text("soft", (MARGIN, bottom - 14.0), Anchor::Start, &foot);
    picture
}

/// Returns the corner at which the panel of that number begins.
fn corner(number: usize, height: f64) -> (f64, f64) {
    (MARGIN + (number % 2) as f64 * PANEL, HEAD + (number / 2) as f64 * height)
}

// ------------------------------------------------------------------------------------------------------- bars

/// Returns the description of a workload, and whether less of its figure is better.
fn says(workload: &str) -> (&str, bool) {
    match workload {
        "rtt" => ("median round trip", true),
        "window" => ("round trips a second, 64 in flight", false),
        "oneway" => ("40-byte messages a second", false),
        "bulk" => ("64 KiB messages, MB a second", false),
        "boxes" => ("messages a second to 10,000 boxes", false),
        "idle_box" => ("memory of an idle box and its reader", true),
        "idle_connection" => ("memory of an idle connection", true),
        "fairness" => ("p99 of pings beside bulk / idle p99", true),
        other => (other, false),
    }
}

fn bars(first: &Line, outcomes: &[Outcome]) -> Picture {
    let most = outcomes.iter().map(|outcome| outcome.contenders.len()).max().unwrap_or(0);
    let height = 46.0 + BAR_PITCH * most as f64;
    let mut picture = page(first, outcomes, outcomes.len(), height);
    for (number, outcome) in outcomes.iter().enumerate() {
        panel(&mut picture, corner(number, height), outcome);
    }
    picture
}

/// The bars of one workload, with a scale of their own.
fn panel(picture: &mut Picture, (x, y): (f64, f64), outcome: &Outcome) {
    let (says, less_is_better) = says(&outcome.workload);
    let which = if less_is_better { "less is better" } else { "more is better" };
    picture.text("head", (x, y + 14.0), Anchor::Start, &outcome.workload);
    let beside = (x + 14.0 + 8.0 * outcome.workload.len() as f64, y + 14.0);
    picture.text("soft", beside, Anchor::Start, &format!("{says}; {which}"));
    let spreads = outcome.contenders.iter().filter_map(|(_, spread)| *spread);
    let most = spreads.map(|spread| spread.most).fold(f64::MIN_POSITIVE, f64::max);
    for ((name, spread), row) in outcome.contenders.iter().zip(0..) {
        let top = y + 24.0 + BAR_PITCH * f64::from(row);
        picture.text("", (x + BAR_START - 8.0, top + 12.0), Anchor::End, name);
        let Some(spread) = spread else {
            picture.text("soft", (x + BAR_START, top + 12.0), Anchor::Start, "failed");
            continue;
        };
        // Memory that shrank counts as none.
        let at = |value: f64| x + BAR_START + (value / most).max(0.0) * BAR_LENGTH;
        picture.rect(name, (x + BAR_START, top), (at(spread.median) - x - BAR_START, 16.0));
        picture.line("range", (at(spread.least), top + 8.0), (at(spread.most), top + 8.0));
        picture.text("", (at(spread.most) + 6.0, top + 12.0), Anchor::Start, &outcome.unit.show(spread.median));
    }
}

// ----------------------------------------------------------------------------------------------------- curves

/// Returns the description of a varied quantity.
fn varies(axis: &str) -> &str {
    match axis {
        "bytes" => "MB a second, by bytes in a message",
        "boxes" => "messages a second, by boxes",
        "connections" => "messages a second, by connections",
        "addresses" => "round trips a second, by addresses in a message",
        "windows" => "round trips a second, by how many are in flight",
        other => other,
    }
}

fn curves(first: &Line, outcomes: &[Outcome]) -> Picture {
    let height = PLOT.1 + 76.0;
    let mut axes: Vec<&str> = outcomes.iter().filter_map(|outcome| Some(outcome.varied.as_ref()?.0.as_str())).collect();
    axes.dedup();
    let mut picture = page(first, outcomes, axes.len(), height);
    for (number, axis) in axes.iter().enumerate() {
        let points: Vec<&Outcome> = outcomes.iter().filter(|outcome| position(outcome, axis).is_some()).collect();
        plot(&mut picture, corner(number, height), axis, &points);
    }
    picture
}

/// Returns the position of an outcome on an axis, if it is one of its points.
fn position(outcome: &Outcome, axis: &str) -> Option<f64> {
    outcome.varied.as_ref().filter(|(name, _)| name == axis).map(|(_, at)| *at)
}

/// A logarithmic scale, from one end of a plot to the other.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>) -> Scale {
        let logs = values.filter(|value| *value > 0.0).map(f64::log10);
        let (least, most) = logs.fold((f64::MAX, f64::MIN), |(least, most), log| (least.min(log), most.max(log)));
        Scale { least, most }
    }

    /// Returns the position of a value, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let span = self.most - self.least;
        if span > 0.0 { (value.log10() - self.least) / span } else { 0.5 }
    }

    /// Returns the scale widened to whole powers of ten.
    fn widened(self) -> Scale {
        Scale { least: self.least.floor(), most: self.most.ceil() }
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.least as i32..=self.most as i32).map(|power| 10f64.powi(power))
    }
}

/// The curves of one axis; both scales are logarithmic.
fn plot(picture: &mut Picture, (left, top): (f64, f64), axis: &str, points: &[&Outcome]) {
    let (x, y) = (left + PLOT_START, top + 28.0);
    picture.text("head", (left, top + 14.0), Anchor::Start, axis);
    picture.text("soft", (left + 14.0 + 8.0 * axis.len() as f64, top + 14.0), Anchor::Start, varies(axis));
    let spreads = points.iter().flat_map(|outcome| &outcome.contenders).filter_map(|(_, spread)| *spread);
    let rates = Scale::of(spreads.map(|spread| spread.median)).widened();
    let places = Scale::of(points.iter().filter_map(|outcome| position(outcome, axis)));
    let place = |at: f64, rate: f64| (x + places.at(at) * PLOT.0, y + (1.0 - rates.at(rate)) * PLOT.1);
    let unit = points.first().map_or(Unit::Messages, |outcome| outcome.unit);
    for decade in rates.decades() {
        let (_, level) = place(1.0, decade);
        picture.line("grid", (x, level), (x + PLOT.0, level));
        picture.text("soft", (x - 6.0, level + 4.0), Anchor::End, &tick(unit, decade));
    }
    for at in points.iter().filter_map(|outcome| position(outcome, axis)) {
        let (along, _) = place(at, 1.0);
        picture.text("soft", (along, y + PLOT.1 + 18.0), Anchor::Middle, &amount(axis, at));
    }
    for contender in ["raw", "task", "recipient", "address"] {
        let point = |outcome: &&Outcome| Some(place(position(outcome, axis)?, outcome.of(contender)?.median));
        picture.curve(contender, &points.iter().filter_map(point).collect::<Vec<_>>());
    }
}

/// A power of ten as a rate.
fn tick(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Megabytes => format!("{} MB/s", thousands(value)),
        _ if value >= 1e6 => format!("{} M/s", value / 1e6),
        _ if value >= 1e3 => format!("{} k/s", value / 1e3),
        _ => format!("{value} /s"),
    }
}

/// Returns the label of a point on an axis.
fn amount(axis: &str, at: f64) -> String {
    match axis {
        "bytes" if at >= 1024.0 * 1024.0 => format!("{} MiB", at / 1024.0 / 1024.0),
        "bytes" if at >= 1024.0 => format!("{} KiB", at / 1024.0),
        "bytes" => format!("{at} B"),
        _ => thousands(at),
    }
}
