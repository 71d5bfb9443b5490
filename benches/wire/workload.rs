//! The measurements: the workloads, their loads, the contenders, and the figure that a run returns.

use std::str::FromStr;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Deserialize;
use serde::Serialize;

use crate::error::Result;
use crate::line::Unit;

/// A kind of traffic. A new one needs its load and unit here, and a function on each side in `hermod` and in `raw`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Workload {
    /// One ping-pong in flight: the time of a round trip.
    Rtt,
    /// 64 ping-pongs in flight: round trips a second.
    Window,
    /// Small messages one way, acknowledged now and then: messages a second.
    Oneway,
    /// Large messages one way: bytes a second.
    Bulk,
    /// Small messages to many boxes in turn, each with a reader of its own: messages a second.
    Boxes,
    /// Named boxes that receive nothing: the server's memory for each.
    IdleBox,
    /// Connections that have become idle: the server's memory for each.
    IdleConnection,
    /// Pings while bulk is sent over the same connection: the factor by which the slowest hundredth becomes slower.
    Fairness,
}

impl Workload {
    pub(crate) const ALL: [Workload; 8] = [
        Workload::Rtt,
        Workload::Window,
        Workload::Oneway,
        Workload::Bulk,
        Workload::Boxes,
        Workload::IdleBox,
        Workload::IdleConnection,
        Workload::Fairness,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Rtt => "rtt",
            Workload::Window => "window",
            Workload::Oneway => "oneway",
            Workload::Bulk => "bulk",
            Workload::Boxes => "boxes",
            Workload::IdleBox => "idle_box",
            Workload::IdleConnection => "idle_connection",
            Workload::Fairness => "fairness",
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Workload::Rtt => Unit::Microseconds,
            Workload::Window => Unit::Trips,
            Workload::Oneway | Workload::Boxes => Unit::Messages,
            Workload::Bulk => Unit::Megabytes,
            Workload::IdleBox => Unit::BytesPerBox,
            Workload::IdleConnection => Unit::BytesPerConnection,
            Workload::Fairness => Unit::Times,
        }
    }

    /// Returns the load of a run.
    pub(crate) fn load(self, scale: f64) -> Load {
        let one = Load { warm: 0, timed: 1, body: 32, boxes: 1, connections: 1, addresses: 1, window: 1, every: 1 };
        let load = match self {
            Workload::Rtt => Load { warm: 2_000, timed: 20_000, ..one },
            Workload::Window => Load { warm: 20_000, timed: 300_000, window: 64, ..one },
            Workload::Oneway => Load { timed: 1_000_000, window: 8_192, every: 1_024, ..one },
            Workload::Bulk => Load { timed: 20_000, body: 64 << 10, window: 64, every: 16, ..one },
            Workload::Boxes => Load { timed: 1_000_000, boxes: 10_000, window: 8_192, every: 1_024, ..one },
            Workload::IdleBox => Load { boxes: 10_000, ..one },
            Workload::IdleConnection => Load { connections: 200, ..one },
            // Three messages fit into an outbox of the default size.
            Workload::Fairness => Load { warm: 10_000, timed: 1_024, body: 1 << 20, window: 3, ..one },
        };
        load.scaled(scale)
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Workload, String> {
        Self::ALL.into_iter().find(|workload| workload.name() == name).ok_or_else(|| format!("no workload '{name}'"))
    }
}

/// The load of a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Messages that only warm up, before the `timed` ones.
    pub(crate) warm: u64,
    pub(crate) timed: u64,
    /// Bytes of a message's body.
    pub(crate) body: usize,
    /// Boxes that messages go to in turn, for each connection.
    pub(crate) boxes: u64,
    pub(crate) connections: u64,
    /// Addresses in a message.
    pub(crate) addresses: u64,
    /// Messages that may be without an answer.
    pub(crate) window: u64,
    /// Messages for each acknowledgement.
    pub(crate) every: u64,
}

impl Load {
    fn scaled(self, scale: f64) -> Load {
        let scaled = |n: u64| if n > 1 { ((n as f64 * scale) as u64).max(16) } else { n };
        Load {
            warm: scaled(self.warm),
            timed: scaled(self.timed),
            boxes: scaled(self.boxes).min(self.boxes),
            connections: scaled(self.connections).min(self.connections),
            ..self
        }
    }

    pub(crate) fn total(self) -> u64 {
        self.warm + self.timed
    }

    /// Returns the share of one connection.
    pub(crate) fn share(self) -> Load {
        let share = |n: u64| (n / self.connections).max(1);
        Load { timed: share(self.timed), window: share(self.window), every: share(self.every), ..self }
    }

    /// Whether messages arrive in the order in which they were sent, so that a gap is a loss.
    pub(crate) fn in_order(self) -> bool {
        self.boxes == 1
    }

    /// Returns the bytes that may be in flight on a connection, doubled for their overhead.
    pub(crate) fn in_flight(self) -> usize {
        2 * self.window as usize * (self.body + 64)
    }
}

/// One workload with one load, the same for all contenders.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) workload: Workload,
    pub(crate) load: Load,
    /// The varied quantity, and its value.
    pub(crate) varied: Option<(&'static str, u64)>,
}

impl Subject {
    pub(crate) fn label(self) -> String {
        match self.varied {
            None => self.workload.name().to_owned(),
            Some((axis, at)) => format!("{axis} {at}"),
        }
    }
}

/// A contender: this crate through one of its handles, or a baseline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Contender {
    Address,
    Recipient,
    /// Messages are handled in the read loop: the limit.
    Raw,
    /// A task and a bounded channel for each box: the least cost of a mailbox.
    Task,
}

impl Contender {
    pub(crate) const OURS: [Contender; 2] = [Contender::Address, Contender::Recipient];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Address => "address",
            Contender::Recipient => "recipient",
            Contender::Raw => "raw",
            Contender::Task => "task",
        }
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Contender, String> {
        Self::OURS.into_iter().find(|handle| handle.name() == name).ok_or_else(|| format!("no handle '{name}'"))
    }
}

/// The result of a run, in the unit of its workload.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// Messages that never arrived, or were never answered, although the run went on.
    pub(crate) lost: u64,
    /// The parts of a ratio: the p99 of pings beside bulk and that of pings alone, in microseconds.
    pub(crate) of: Option<(f64, f64)>,
}

impl Figure {
    pub(crate) fn new(value: f64) -> Figure {
        Figure { value, lost: 0, of: None }
    }

    pub(crate) fn rate(messages: u64, took: Duration, lost: u64) -> Figure {
        Figure { lost, ..Figure::new(messages as f64 / took.as_secs_f64()) }
    }

    /// Returns the median time of all round trips except those that warm up.
    pub(crate) fn median_time(laps: &[Duration], warm: u64) -> Result<Figure> {
        Ok(Figure::new(microseconds(laps.iter().skip(usize::try_from(warm)?), 0.5)?))
    }

    /// Compares the times that one round trip in a hundred exceeds.
    pub(crate) fn fairness(loaded: &[Duration], idle: &[Duration]) -> Result<Figure> {
        let (loaded, idle) = (microseconds(loaded, 0.99)?, microseconds(idle, 0.99)?);
        Ok(Figure { of: Some((loaded, idle)), ..Figure::new(loaded / idle) })
    }
}

/// Returns a quantile of times in microseconds, to four digits.
fn microseconds<'a>(laps: impl IntoIterator<Item = &'a Duration>, quantile: f64) -> Result<f64> {
    let mut histogram = Histogram::<u64>::new(4)?;
    for lap in laps {
        histogram.record(u64::try_from(lap.as_nanos())?)?;
    }
    if histogram.is_empty() {
        return Err("no round trip was timed".into());
    }
    Ok(histogram.value_at_quantile(quantile) as f64 / 1e3)
}

/// Returns the middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}
