//! The processor time of this thread.

use std::fs;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// A moment in the processor time of this thread.
pub(crate) struct Cpu {
    had: Option<Duration>,
    /// The clock, for systems that do not report the processor time of a thread.
    clock: Instant,
}

impl Cpu {
    pub(crate) fn now() -> Cpu {
        Cpu { had: had(), clock: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        match (had(), self.had) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => self.clock.elapsed(),
        }
    }
}

/// Reads the processor time, as Linux reports it.
fn had() -> Option<Duration> {
    // Yields, since the time is counted only up to when the thread was last scheduled.
    thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
