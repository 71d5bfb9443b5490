//! Holds a reader back while its party's [budget](crate::net::peers::budgets) is used up.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::net::link::Link;
use crate::net::peers::budgets::Budget;
use crate::net::peers::budgets::Used;

/// The time after which the log says again that a connection is held back.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(super) struct ReadingBudget {
    budget: Option<Arc<Budget>>,
    /// The messages of the connection that were charged.
    charged: u64,
    /// The longest time between two signs of life for the router, while the peer is not read.
    beat: Duration,
    said: Option<Instant>,
}

impl ReadingBudget {
    /// Makes the budget of one connection. The peer is taken for alive at least once in each `beat`.
    pub(super) fn new(budget: Option<Arc<Budget>>, beat: Duration) -> ReadingBudget {
        ReadingBudget { budget, charged: 0, beat, said: None }
    }

    /// Charges the bytes of a read, and the look-ups of names that no box has. `messages` are all that the connection
    /// has brought so far. Returns the time until which it is not to be read, if there is one.
    #[inline]
    pub(super) fn charge(&mut self, messages: u64, bytes: usize, unknown_names: u64) -> Option<Instant> {
        let budget = self.budget.as_ref()?;
        let used = Used { messages: messages - self.charged, bytes: bytes as u64, unknown_names };
        if !budget.counts(&used) {
            return None;
        }
        self.charged = messages;
        budget.charge(used, Instant::now())
    }

    /// Waits, unless the connection has to go. The peer may be silent meanwhile, since nobody reads: `heard` is set.
    #[cold]
    pub(super) async fn rest(&mut self, until: Instant, link: &Link, heard: &AtomicBool, expelled: &CancellationToken) {
        let mut now = Instant::now();
        if self.said.is_none_or(|said| now - said >= SAID_AGAIN) {
            self.said = Some(now);
            tracing::warn!(target: "actix_hermod", time = ?(until - now), "a peer is read more slowly");
        }
        while now < until && !expelled.is_cancelled() {
            let beat = tokio::time::sleep_until(until.min(now + self.beat));
            expelled.run_until_cancelled(beat).await;
            heard.store(true, Ordering::Relaxed);
            let since = std::mem::replace(&mut now, Instant::now());
            link.was_held_back(now - since);
        }
    }
}
