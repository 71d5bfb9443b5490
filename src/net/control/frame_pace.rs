//! The least pace at which a peer has to send a frame, or messages in pieces, that it has begun.
//!
//! A leaky bucket: time spent waiting for the peer fills it, arriving bytes drain it at the least rate, and a peer that
//! makes it overflow is too slow. Only time in which this side would have read counts: a reader that is busy, or that
//! holds the peer back, adds none. Credit does not add up, so a frame that comes fast at first and then stops is waited
//! for no longer than one that stops at once.
//!
//! All bytes of the connection count, whichever frame they belong to: much may stand between two pieces of a message.

use std::time::Duration;

use crate::wire::codec::Violation;

/// The longest wait that is counted at once; a longer one counts as this long. A thread that is busy with something
/// else notices the end of a wait late, and the peer may have sent in the meantime.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct FramePace {
    /// The time for which the peer may send nothing at all.
    grace: Duration,
    /// Bytes a second; 0 sets no limit.
    least_rate: usize,
    /// The content of the bucket.
    owed: Duration,
}

impl FramePace {
    pub(crate) fn new(grace: Duration, least_rate: usize) -> FramePace {
        FramePace { grace, least_rate, owed: Duration::ZERO }
    }

    /// Returns how long to wait before [`waited`](FramePace::waited) is called, if nothing comes.
    pub(crate) fn turn(&self) -> Duration {
        (self.grace / 4).clamp(Duration::from_millis(1), LONGEST_WAIT)
    }

    /// Empties the bucket: everything that the peer has begun is complete.
    pub(crate) fn settled(&mut self) {
        self.owed = Duration::ZERO;
    }

    /// Counts a wait, after which bytes came, or a [turn](FramePace::turn) without any.
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

    /// Returns the seconds until a peer that sends `bytes` every `every` seconds is too slow; `None` if it is not
    /// within an hour.
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
