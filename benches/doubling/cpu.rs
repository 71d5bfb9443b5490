//! The processor's time that this thread has had.

use std::fs;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// A moment in the time of this thread.
pub(crate) struct Cpu {
    had: Option<Duration>,
    /// Where the system does not say how much a thread has had, the time of the clock has to do.
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

/// As Linux says it.
fn had() -> Option<Duration> {
    // It is counted up to the last time that the thread was scheduled.
    thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
