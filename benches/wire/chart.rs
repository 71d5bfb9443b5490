//! The figures as a chart: bars for workloads, curves for sweeps.

use std::path::Path;

use crate::Options;
use crate::Result;
use crate::compare::Outcome;
use crate::machine::today_and_here;
use crate::svg::Anchor;
use crate::svg::Picture;
use crate::sweep::Axis;
use crate::workload::Contender;
use crate::workload::Workload;
use crate::workload::thousands;

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

/// Draws the outcomes that were measured.
pub(crate) fn draw(options: &Options, outcomes: &[Outcome], file: &Path) -> Result<()> {
    let picture = if options.axes.is_empty() { bars(options, outcomes) } else { curves(options, outcomes) };
    Ok(picture.save(file)?)
}

/// A picture with its head and foot.
fn page(options: &Options, panels: usize, height: f64) -> Picture {
    let bottom = HEAD + panels.div_ceil(2) as f64 * height + FOOT;
    let mut picture = Picture::new(2.0 * PANEL + MARGIN, bottom);
    let title = "actix-hermod between two processes on loopback TCP";
    picture.text("title", (MARGIN, 30.0), Anchor::Start, title);
    let legend = [
        (Contender::Address, "through Address"),
        (Contender::Recipient, "through Recipient"),
        (Contender::Task, "by hand: a task and a channel for each box"),
        (Contender::Raw, "by hand: in the read loop, the limit"),
    ];
    let mut x = MARGIN;
    for (contender, text) in legend.into_iter().filter(|(contender, _)| shown(options, *contender)) {
        picture.rect(contender.name(), (x, 47.0), (12.0, 12.0));
        picture.text("", (x + 18.0, 57.0), Anchor::Start, text);
        x += 42.0 + 6.4 * text.len() as f64;
    }
    let which = if options.axes.is_empty() { "Medians and ranges" } else { "Medians" };
    let fewer =
        if options.scale == 1.0 { String::new() } else { format!(", numbers of messages × {}", options.scale) };
    let foot = format!("{}. {which} over {} rounds{fewer}.", today_and_here(), options.pairs);
    picture.text("soft", (MARGIN, bottom - 14.0), Anchor::Start, &foot);
    picture
}

fn shown(options: &Options, contender: Contender) -> bool {
    !Contender::OURS.contains(&contender) || options.handles.contains(&contender)
}

/// Returns the corner at which the panel of that number begins.
fn corner(number: usize, height: f64) -> (f64, f64) {
    (MARGIN + (number % 2) as f64 * PANEL, HEAD + (number / 2) as f64 * height)
}

// ------------------------------------------------------------------------------------------------------- bars

fn bars(options: &Options, outcomes: &[Outcome]) -> Picture {
    let height = 46.0 + BAR_PITCH * (options.handles.len() + 2) as f64;
    let mut picture = page(options, outcomes.len(), height);
    for (number, outcome) in outcomes.iter().enumerate() {
        panel(&mut picture, corner(number, height), outcome);
    }
    picture
}

/// The bars of one workload, with a scale of their own.
fn panel(picture: &mut Picture, (x, y): (f64, f64), outcome: &Outcome) {
    let workload = outcome.subject.workload;
    let which = if workload.less_is_better() { "less is better" } else { "more is better" };
    picture.text("head", (x, y + 14.0), Anchor::Start, workload.name());
    let says = format!("{}; {which}", workload.says());
    picture.text("soft", (x + 14.0 + 8.0 * workload.name().len() as f64, y + 14.0), Anchor::Start, &says);
    let spreads = || outcome.contenders.iter().filter_map(|measured| measured.spread());
    let most = spreads().map(|spread| spread.most).fold(f64::MIN_POSITIVE, f64::max);
    for (measured, row) in outcome.contenders.iter().zip(0..) {
        let (top, name) = (y + 24.0 + BAR_PITCH * f64::from(row), measured.contender.name());
        picture.text("", (x + BAR_START - 8.0, top + 12.0), Anchor::End, name);
        let Some(spread) = measured.spread() else {
            picture.text("soft", (x + BAR_START, top + 12.0), Anchor::Start, "failed");
            continue;
        };
        // Memory that shrank counts as none.
        let at = |value: f64| x + BAR_START + (value / most).max(0.0) * BAR_LENGTH;
        picture.rect(name, (x + BAR_START, top), (at(spread.median) - x - BAR_START, 16.0));
        picture.line("range", (at(spread.least), top + 8.0), (at(spread.most), top + 8.0));
        let figure = workload.show(spread.median);
        picture.text("", (at(spread.most) + 6.0, top + 12.0), Anchor::Start, &figure);
    }
}

// ----------------------------------------------------------------------------------------------------- curves

fn curves(options: &Options, outcomes: &[Outcome]) -> Picture {
    let height = PLOT.1 + 76.0;
    let mut picture = page(options, options.axes.len(), height);
    for (number, axis) in options.axes.iter().enumerate() {
        let points: Vec<&Outcome> = outcomes.iter().filter(|outcome| position(outcome, *axis).is_some()).collect();
        plot(&mut picture, corner(number, height), *axis, &points);
    }
    picture
}

/// Returns the position of an outcome on an axis, if it is one of its points.
fn position(outcome: &Outcome, axis: Axis) -> Option<f64> {
    outcome.subject.varied.filter(|(name, _)| *name == axis.name()).map(|(_, at)| at as f64)
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
fn plot(picture: &mut Picture, (left, top): (f64, f64), axis: Axis, points: &[&Outcome]) {
    let (x, y) = (left + PLOT_START, top + 28.0);
    picture.text("head", (left, top + 14.0), Anchor::Start, axis.name());
    picture.text("soft", (left + 14.0 + 8.0 * axis.name().len() as f64, top + 14.0), Anchor::Start, axis.says());
    let medians = points.iter().flat_map(|outcome| &outcome.contenders).filter_map(|measured| measured.spread());
    let rates = Scale::of(medians.map(|spread| spread.median)).widened();
    let places = Scale::of(points.iter().filter_map(|outcome| position(outcome, axis)));
    let place = |at: f64, rate: f64| (x + places.at(at) * PLOT.0, y + (1.0 - rates.at(rate)) * PLOT.1);
    for decade in rates.decades() {
        let (_, level) = place(1.0, decade);
        picture.line("grid", (x, level), (x + PLOT.0, level));
        picture.text("soft", (x - 6.0, level + 4.0), Anchor::End, &tick(axis.workload(), decade));
    }
    for at in points.iter().filter_map(|outcome| position(outcome, axis)) {
        let (along, _) = place(at, 1.0);
        picture.text("soft", (along, y + PLOT.1 + 18.0), Anchor::Middle, &amount(axis, at));
    }
    for contender in [Contender::Raw, Contender::Task, Contender::Recipient, Contender::Address] {
        let point = |outcome: &&Outcome| {
            let rate = outcome.of(contender)?.spread()?.median;
            Some(place(position(outcome, axis)?, rate))
        };
        picture.curve(contender.name(), &points.iter().filter_map(point).collect::<Vec<_>>());
    }
}

/// A power of ten as a rate.
fn tick(workload: Workload, value: f64) -> String {
    match workload {
        Workload::Bulk => format!("{} MB/s", thousands(value)),
        _ if value >= 1e6 => format!("{} M/s", value / 1e6),
        _ if value >= 1e3 => format!("{} k/s", value / 1e3),
        _ => format!("{value} /s"),
    }
}

/// Returns the label of a point on an axis.
fn amount(axis: Axis, at: f64) -> String {
    match axis {
        Axis::Bytes if at >= 1024.0 * 1024.0 => format!("{} MiB", at / 1024.0 / 1024.0),
        Axis::Bytes if at >= 1024.0 => format!("{} KiB", at / 1024.0),
        Axis::Bytes => format!("{at} B"),
        _ => thousands(at),
    }
}
