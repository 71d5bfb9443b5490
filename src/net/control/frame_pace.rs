//! How slowly a peer may send what it has begun: a frame, or messages in pieces.
//!
//! A bucket that leaks: time that this side waits for a peer fills it, bytes that come empty it, at the least rate, and a
//! peer that makes it overflow is too slow. Only time counts in which this side would have read: a reader that is busy, or
//! that holds the peer back, passes none of it on. Credit does not add up, so a frame that comes fast at first and then
//! stops is waited for no longer than one that stops at once.
//!
//! All bytes of the connection count, whichever frame they belong to: very much may stand between two pieces of a message.

use std::time::Duration;

use crate::wire::codec::Violation;

/// The longest wait that is passed on at once. A wait is noticed late by a thread that is busy with something else, and the
/// peer may have sent in the meantime: so one that took longer counts as this long.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct FramePace {
    /// How long the peer may send nothing at all.
    grace: Duration,
    /// Bytes a second; 0 asks for none.
    least_rate: usize,
    /// What is in the bucket.
    owed: Duration,
}

impl FramePace {
    pub(crate) fn new(grace: Duration, least_rate: usize) -> FramePace {
        FramePace { grace, least_rate, owed: Duration::ZERO }
    }

    /// How long to wait until [`waited`](FramePace::waited) is called, if nothing comes.
    pub(crate) fn turn(&self) -> Duration {
        (self.grace / 4).clamp(Duration::from_millis(1), LONGEST_WAIT)
    }

    /// The peer owes nothing: all that it has begun is whole.
    pub(crate) fn settled(&mut self) {
        self.owed = Duration::ZERO;
    }

    /// So many bytes came after a wait, or none did for a [turn](FramePace::turn).
    ///
    /// # Errors
    /// If the peer is too slow.
    pub(crate) fn waited(&mut self, wait: Duration, bytes: usize) -> Result<(), Violation> {
        if self.least_rate == 0 {
            return Ok(());
        }
        let paid = Duration::from_secs_f64(bytes as f64 / self.least_rate as f64);
        self.owed = (self.owed + wait.min(self.turn())).saturating_sub(paid);
        if self.owed > self.grace { Err(Violation::TooSlow { least: self.least_rate }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(15);
    const RATE: usize = 256;
    const TOO_SLOW: Result<(), Violation> = Err(Violation::TooSlow { least: RATE });

    /// Seconds for which bytes that come in so many seconds' distance are waited for; none if they are for an hour.
    fn patience(pace: &mut FramePace, bytes: usize, every: u64) -> Option<u64> {
        (1..=3600).find(|second| {
            let came = if second % every == 0 { bytes } else { 0 };
            pace.waited(Duration::from_secs(1), came) == TOO_SLOW
        })
    }

    #[test]
    fn a_frame_of_which_nothing_more_comes_is_waited_for_as_long_as_a_silent_peer() {
        assert_eq!(patience(&mut FramePace::new(GRACE, RATE), 0, 1), Some(16));
    }

    #[test]
    fn a_byte_now_and_then_is_not_waited_for() {
        assert_eq!(patience(&mut FramePace::new(GRACE, RATE), 1, 4), Some(16));
        assert_eq!(patience(&mut FramePace::new(GRACE, RATE), RATE / 2, 1), Some(31));
    }

    #[test]
    fn what_comes_at_the_least_rate_is_waited_for_also_in_bursts() {
        assert_eq!(patience(&mut FramePace::new(GRACE, RATE), RATE, 1), None);
        assert_eq!(patience(&mut FramePace::new(GRACE, RATE), RATE * 10, 10), None);
        assert_eq!(patience(&mut FramePace::new(GRACE, RATE), 10_000, 14), None);
    }

    #[test]
    fn what_came_fast_earns_no_credit() {
        let mut pace = FramePace::new(GRACE, RATE);
        assert_eq!(pace.waited(Duration::from_millis(1), 15 << 20), Ok(()));
        assert_eq!(patience(&mut pace, 0, 1), Some(16));
    }

    #[test]
    fn what_was_owed_for_one_frame_is_not_for_the_next() {
        let mut pace = FramePace::new(GRACE, RATE);
        for _ in 0..15 {
            assert_eq!(pace.waited(Duration::from_secs(1), 0), Ok(()));
        }
        pace.settled();
        assert_eq!(patience(&mut pace, 0, 1), Some(16));
    }

    #[test]
    fn a_wait_that_is_noticed_late_counts_as_one_turn() {
        let mut pace = FramePace::new(GRACE, RATE);
        for _ in 0..15 {
            assert_eq!(pace.waited(Duration::from_secs(3600), 0), Ok(()), "the thread was busy");
        }
        assert_eq!(pace.waited(Duration::from_secs(3600), 0), TOO_SLOW);
    }

    #[test]
    fn without_a_rate_everything_is_waited_for() {
        assert_eq!(patience(&mut FramePace::new(GRACE, 0), 0, 1), None);
    }
}
