//! A run, as its two processes see it: the endpoint of the other one, reports to the parent, and the end of a client
//! that receives no answers.

use std::fmt::Display;
use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Result;
use crate::workload::Contender;
use crate::workload::Load;
use crate::workload::Workload;

/// Seconds that may pass without an answer.
pub(crate) const PATIENCE: u64 = 10;

/// One run: its workload, its contender, and its load.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) workload: Workload,
    pub(crate) contender: Contender,
    pub(crate) load: Load,
}

/// The server, as its client knows it.
pub(crate) struct There {
    pub(crate) endpoint: String,
    pub(crate) process: u32,
}

impl Run {
    /// Whether the messages of the run have bodies of any size.
    pub(crate) fn sends_blobs(self) -> bool {
        matches!(self.workload, Workload::Bulk | Workload::Fairness)
    }
}

/// Prints the reason, and ends the process.
pub(crate) fn fail(why: &impl Display) -> ! {
    println!("failed {why}");
    std::process::exit(1)
}

/// Tells the parent where this server listens.
pub(crate) fn announce(endpoint: &str) -> Result<()> {
    println!("listening {endpoint}");
    Ok(io::stdout().flush()?)
}

/// Counts the answers that a client has received. A thread of its own watches the number, so that even a client that
/// hangs with its runtime is noticed.
#[derive(Clone)]
pub(crate) struct Answers(Arc<AtomicU64>);

impl Answers {
    pub(crate) fn watched() -> Answers {
        let number = Arc::new(AtomicU64::new(0));
        let watched = number.clone();
        thread::spawn(move || watch(&watched));
        Answers(number)
    }

    /// Counts one more answer; only one thread counts.
    pub(crate) fn came(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Ends the process when the number has not changed for too long.
fn watch(number: &AtomicU64) {
    let (mut seen, mut silent) = (0, 0);
    while silent < PATIENCE {
        thread::sleep(Duration::from_secs(1));
        let now = number.load(Ordering::Relaxed);
        silent = if now == seen { silent + 1 } else { 0 };
        seen = now;
    }
    fail(&format!("no answer for {PATIENCE} s after {seen} of them"));
}
