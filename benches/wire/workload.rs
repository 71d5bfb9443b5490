//! What is measured: the workloads with their sizes, who contends, and the figure that a run brings back.

use std::str::FromStr;
use std::time::Duration;

use crate::Result;

/// Ping-pongs in flight in `window`.
pub(crate) const WINDOW: u64 = 64;
/// Messages that may be unacknowledged in `oneway`.
pub(crate) const UNACKNOWLEDGED: u64 = 8_192;
/// After how many messages the server acknowledges in `oneway`.
pub(crate) const ACKNOWLEDGE_EVERY: u64 = 1_024;

/// A kind of traffic. A new one needs its size and unit here, and a function on each side in `hermod` and in `raw`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One ping-pong in flight: how long does it take?
    Rtt,
    /// 64 ping-pongs in flight: how many a second?
    Window,
    /// Small messages one way, acknowledged now and then: how many a second?
    Oneway,
}

impl Workload {
    pub(crate) const ALL: [Workload; 3] = [Workload::Rtt, Workload::Window, Workload::Oneway];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Rtt => "rtt",
            Workload::Window => "window",
            Workload::Oneway => "oneway",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Workload::Rtt => "us_p50",
            Workload::Window => "trips/s",
            Workload::Oneway => "msg/s",
        }
    }

    /// How many messages, after how many that only warm up.
    pub(crate) fn size(self, scale: f64) -> Size {
        let (warm, timed) = match self {
            Workload::Rtt => (2_000, 20_000),
            Workload::Window => (20_000, 300_000),
            Workload::Oneway => (0, 1_000_000),
        };
        let scaled = |n: u64| (n as f64 * scale) as u64;
        Size { warm: scaled(warm), timed: scaled(timed).max(1) }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Workload, String> {
        Self::ALL.into_iter().find(|workload| workload.name() == name).ok_or_else(|| format!("no workload '{name}'"))
    }
}

/// How many messages a run sends.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) warm: u64,
    pub(crate) timed: u64,
}

impl Size {
    pub(crate) fn total(self) -> u64 {
        self.warm + self.timed
    }
}

/// Who does the work: this crate through one of its handles, or the baseline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Address,
    Recipient,
    Raw,
}

impl Contender {
    pub(crate) const OURS: [Contender; 2] = [Contender::Address, Contender::Recipient];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Address => "address",
            Contender::Recipient => "recipient",
            Contender::Raw => "raw",
        }
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Contender, String> {
        let all = [Contender::Address, Contender::Recipient, Contender::Raw];
        all.into_iter().find(|contender| contender.name() == name).ok_or_else(|| format!("no contender '{name}'"))
    }
}

/// What a run brings back, in the unit of its workload.
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// Messages that never arrived, or were never answered, although the run went on.
    pub(crate) lost: u64,
}

impl Figure {
    pub(crate) fn rate(messages: u64, took: Duration, lost: u64) -> Figure {
        Figure { value: messages as f64 / took.as_secs_f64(), lost }
    }

    /// The middle one of the times of all round trips but those that warm up.
    pub(crate) fn median_time(laps: &[Duration], warm: u64) -> Result<Figure> {
        let mut timed: Vec<f64> = laps.iter().skip(usize::try_from(warm)?).map(|lap| lap.as_secs_f64() * 1e6).collect();
        Ok(Figure { value: median(&mut timed).ok_or("no round trip was timed")?, lost: 0 })
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}
