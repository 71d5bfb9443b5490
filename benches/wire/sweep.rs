//! Sweeps, which show how the cost grows: one quantity of a workload is varied, and the rest stays as it is.

use std::str::FromStr;

use crate::workload::Load;
use crate::workload::Subject;
use crate::workload::Workload;

/// The varied quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Axis {
    /// Bytes in a message.
    Bytes,
    /// Boxes that messages go to in turn.
    Boxes,
    /// Connections to one server, each from a node of its own.
    Connections,
    /// Addresses in a message.
    Addresses,
    /// Ping-pongs in flight.
    Windows,
}

/// Bytes in flight in a run of messages of any size, unless two messages are more.
const IN_FLIGHT: u64 = 2 << 20;
/// Bytes sent in such a run, unless that makes too few messages or too many.
const SENT: u64 = 1 << 30;

impl Axis {
    pub(crate) const ALL: [Axis; 5] = [Axis::Bytes, Axis::Boxes, Axis::Connections, Axis::Addresses, Axis::Windows];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Axis::Bytes => "bytes",
            Axis::Boxes => "boxes",
            Axis::Connections => "connections",
            Axis::Addresses => "addresses",
            Axis::Windows => "windows",
        }
    }

    pub(crate) fn workload(self) -> Workload {
        match self {
            Axis::Bytes => Workload::Bulk,
            Axis::Boxes => Workload::Boxes,
            Axis::Connections => Workload::Oneway,
            Axis::Addresses | Axis::Windows => Workload::Window,
        }
    }

    fn points(self) -> &'static [u64] {
        match self {
            Axis::Bytes => &[16, 256, 4 << 10, 64 << 10, 1 << 20, 16 << 20],
            Axis::Boxes => &[1, 10, 100, 1_000, 10_000, 100_000],
            Axis::Connections => &[1, 10, 100, 1_000],
            Axis::Addresses => &[1, 10, 100, 1_000],
            Axis::Windows => &[1, 4, 16, 64, 256, 1_024, 4_096],
        }
    }

    /// Returns the subjects of this axis. The points are the same at every scale, only with fewer messages.
    pub(crate) fn subjects(self, scale: f64) -> impl Iterator<Item = Subject> {
        self.points().iter().map(move |&at| {
            let (workload, load) = (self.workload(), self.load(at, scale));
            Subject { workload, load, varied: Some((self.name(), at)) }
        })
    }

    fn load(self, at: u64, scale: f64) -> Load {
        let load = self.workload().load(scale);
        match self {
            Axis::Bytes => {
                let window = (IN_FLIGHT / at).clamp(2, 8_192);
                let timed = (SENT / at).clamp(64, 1_000_000) as f64 * scale;
                Load { body: at as usize, window, every: (window / 4).max(1), timed: (timed as u64).max(8), ..load }
            }
            // Enough that each box and connection gets a few.
            Axis::Boxes => Load { boxes: at, timed: load.timed.max(2 * at), ..load },
            Axis::Connections => Load { connections: at, timed: load.timed.max(16 * at), ..load },
            Axis::Addresses => {
                let fewer = |n: u64| (n / (1 + at / 10)).max(64);
                Load { addresses: at, warm: fewer(load.warm), timed: fewer(load.timed), ..load }
            }
            Axis::Windows => {
                let fewer = |n: u64| if at < 16 { n / 4 } else { n };
                Load { window: at, warm: fewer(load.warm), timed: fewer(load.timed).max(at), ..load }
            }
        }
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Axis, String> {
        Self::ALL.into_iter().find(|axis| axis.name() == name).ok_or_else(|| format!("nothing to vary is '{name}'"))
    }
}
