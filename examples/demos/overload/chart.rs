//! The chart of both senders, as bars or as lines.

use std::collections::VecDeque;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;

use actix::clock::Instant;

use super::MADE;
use super::NAMES;
use super::ROOM;
use super::TAKEN;

/// The time over which rates are measured.
const SPAN: Duration = Duration::from_secs(1);

/// Columns of a full bar.
const COLUMNS: usize = 44;

/// The figures of one sender.
#[derive(Clone, Copy, Default)]
pub(crate) struct Gauge {
    pub(crate) pressure: f32,
    pub(crate) sent_per_second: u64,
    pub(crate) lost_per_second: u64,
    /// The number of readings that its reader is behind.
    pub(crate) behind: u64,
}

/// Turns sums into rates.
pub(crate) struct Meter {
    /// The readings sent and lost so far, at times within the last [`SPAN`] and once before.
    sums: VecDeque<(Instant, u64, u64)>,
}

impl Meter {
    pub(crate) fn start(now: Instant) -> Meter {
        Meter { sums: [(now, 0, 0)].into() }
    }

    /// Returns the readings sent and lost a second, given their sums now.
    pub(crate) fn rates(&mut self, now: Instant, sent: u64, lost: u64) -> (u64, u64) {
        self.sums.push_back((now, sent, lost));
        while self.sums.get(1).is_some_and(|(at, ..)| now - *at >= SPAN) {
            self.sums.pop_front();
        }
        let (since, sent_then, lost_then) = self.sums[0];
        let seconds = (now - since).as_secs_f64().max(0.001);
        let rate = |count: u64| (count as f64 / seconds).round() as u64;
        (rate(sent - sent_then), rate(lost - lost_then))
    }
}

/// The output of the chart.
pub(crate) enum Screen {
    /// A terminal, in which the chart is redrawn in place, `drawn` lines up.
    Terminal { drawn: usize },
    /// A file or a pipe, which gets a line at the time `next` and once a second from then on.
    Lines { next: Duration },
}

impl Screen {
    pub(crate) fn standard() -> Screen {
        if io::stdout().is_terminal() { Screen::Terminal { drawn: 0 } } else { Screen::Lines { next: SPAN } }
    }

    pub(crate) fn show(&mut self, at: Duration, lasting: Duration, gauges: &[Gauge; 2]) -> io::Result<()> {
        let mut text = String::new();
        match self {
            Screen::Terminal { drawn } => {
                if *drawn > 0 {
                    text += &format!("\x1b[{drawn}A");
                }
                let chart = chart(at, lasting, gauges);
                // Each line erases the rest of the one before it.
                chart.iter().for_each(|line| text += &format!("{line}\x1b[K\n"));
                *drawn = chart.len();
            }
            Screen::Lines { next } if at >= *next => {
                if *next == SPAN {
                    text += &heads();
                }
                text += &line(at, gauges);
                *next += SPAN;
            }
            Screen::Lines { .. } => {}
        }
        // Written at once, so that it does not flicker.
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// Returns the chart as bars: equally many lines each time, and none wider than a terminal.
pub(crate) fn chart(at: Duration, lasting: Duration, gauges: &[Gauge; 2]) -> Vec<String> {
    // The lag of readings from a box that is always full.
    let longest = ROOM as u64 * MADE / TAKEN;
    let rows = [
        ("pressure", 1, gauges.map(|gauge| gauge.pressure.into())),
        ("sent per second", MADE, gauges.map(|gauge| gauge.sent_per_second as f64)),
        ("lost per second", MADE, gauges.map(|gauge| gauge.lost_per_second as f64)),
        ("readings behind", longest, gauges.map(|gauge| gauge.behind as f64)),
    ];
    let mut lines = vec![format!("after {:.1} of {} seconds", at.as_secs_f64(), lasting.as_secs())];
    for (mut what, full, values) in rows {
        lines.push(String::new());
        for (name, value) in NAMES.iter().zip(values) {
            let figure = if full == 1 { format!("{value:.2}") } else { grouped(value as u64) };
            lines.push(format!("{what:<16}{name:>8}  {} {figure:>8}", bar(value / full as f64)));
            // The label stands before the first of the two only.
            what = "";
        }
    }
    lines
}

/// Returns a bar for a share of 1, drawn to an eighth of a column.
pub(crate) fn bar(share: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (COLUMNS * 8) as f64).round() as usize;
    let bar = "█".repeat(eighths / 8) + PARTS[eighths % 8];
    format!("{bar:<COLUMNS$}")
}

fn heads() -> String {
    let names = format!("{:>7}   {:<33}   {}\n", "", NAMES[0], NAMES[1]);
    let columns = format!("{:<8}  {:>6}  {:>6}  {:>7}", "pressure", "sent/s", "lost/s", "behind");
    format!("{names}{:>7}   {columns}   {columns}\n", "seconds")
}

/// Returns the chart as one line.
fn line(at: Duration, gauges: &[Gauge; 2]) -> String {
    let [heeds, ignores] = gauges.map(|gauge| {
        let [sent, lost, behind] = [gauge.sent_per_second, gauge.lost_per_second, gauge.behind].map(grouped);
        format!("{:<8.2}  {sent:>6}  {lost:>6}  {behind:>7}", gauge.pressure)
    });
    format!("{:>7.1}   {heeds}   {ignores}\n", at.as_secs_f64())
}

/// Formats a number: 1234567 is "1,234,567".
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
