//! The machine and the day of a measurement, and the memory of a process.

use std::fs;
use std::thread;
use std::time::SystemTime;

use chrono::DateTime;
use chrono::Utc;

use crate::error::Result;

/// Returns the bytes of its own, not of files, that a process has in memory. Memory that the kernel holds for it is not
/// included.
pub(crate) fn memory(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))
        .map_err(|why| format!("memory is measured only where there is a /proc: {why}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon in /proc")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim_end().parse()?;
    Ok(kib * 1024.0)
}

/// Returns the date and the machine, for later readers of the figures.
pub(crate) fn today_and_here() -> String {
    let today = DateTime::<Utc>::from(SystemTime::now()).format("%Y-%m-%d");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(':').nth(1));
    format!("{today}, {}, {cores} cores", model.map_or("unknown processor", str::trim))
}
