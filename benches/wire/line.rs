//! A line of figures: printed by the bench as JSON, and read by `benches/charts`, which includes this file.

use serde::Deserialize;
use serde::Serialize;

/// The results of one handle. Figures are medians, and `null` if a run failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) workload: String,
    pub(crate) handle: String,
    /// The varied quantity, and its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) varied: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    pub(crate) value: Option<f64>,
    pub(crate) value_min: Option<f64>,
    pub(crate) value_max: Option<f64>,
    pub(crate) unit: Unit,
    pub(crate) baseline: Option<f64>,
    pub(crate) baseline_min: Option<f64>,
    pub(crate) baseline_max: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) ratio_min: Option<f64>,
    pub(crate) ratio_max: Option<f64>,
    /// The baseline with a task and a channel for each box, and the ratio to it.
    pub(crate) task: Option<f64>,
    pub(crate) task_min: Option<f64>,
    pub(crate) task_max: Option<f64>,
    pub(crate) task_ratio: Option<f64>,
    /// Messages lost in all our runs together.
    pub(crate) lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loaded_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
    pub(crate) rounds: usize,
    /// The factor for the numbers of messages.
    pub(crate) scale: f64,
    /// The day and the machine.
    pub(crate) measured: String,
}

/// The unit of a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Unit {
    #[serde(rename = "us_p50")]
    Microseconds,
    #[serde(rename = "trips/s")]
    Trips,
    #[serde(rename = "msg/s")]
    Messages,
    #[serde(rename = "MB/s")]
    Megabytes,
    #[serde(rename = "B/box")]
    BytesPerBox,
    #[serde(rename = "B/connection")]
    BytesPerConnection,
    #[serde(rename = "p99/idle_p99")]
    Times,
}

impl Unit {
    /// Formats a figure: 3.7 million a second is "3.70 M/s".
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Unit::Microseconds => format!("{value:.1} µs"),
            Unit::Trips | Unit::Messages if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Unit::Trips | Unit::Messages => format!("{:.0} k/s", value / 1e3),
            Unit::Megabytes => format!("{} MB/s", thousands(value.round())),
            Unit::BytesPerBox | Unit::BytesPerConnection if value >= 1024.0 => format!("{:.1} KiB", value / 1024.0),
            Unit::BytesPerBox | Unit::BytesPerConnection => format!("{value:.0} B"),
            Unit::Times => format!("{value:.1} ×"),
        }
    }
}

/// Formats a number below a million: 12345 is "12,345".
pub(crate) fn thousands(value: f64) -> String {
    if value < 1e3 { value.to_string() } else { format!("{},{:03}", (value / 1e3).trunc(), value % 1e3) }
}
