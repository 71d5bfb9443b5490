//! An amount a second that a peer may use: the generic cell rate algorithm (ITU-T I.371, annex A), as a virtual
//! schedule.
//!
//! Each use moves a point in time forward, by the amount divided by the rate; the user has to wait until that point.
//! Idle time is credited, up to one second. So the amount of one second may be used at once, and in the long run no
//! more than the rate.

use std::time::Duration;

use tokio::time::Instant;

/// Unused time that is credited.
const CREDIT: Duration = Duration::from_secs(1);

/// The longest time that one use takes, however much is used: a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    /// The amount a second; 0 sets no limit.
    per_second: usize,
    /// The time at which all that was used is paid for; `None` before the first use.
    paid_at: Option<Instant>,
}

impl Allowance {
    pub(crate) fn new(per_second: usize) -> Allowance {
        Allowance { per_second, paid_at: None }
    }

    /// Whether there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.per_second > 0
    }

    /// Uses an amount. Returns the time until which to wait before the next use, if that time is in the future.
    pub(crate) fn take(&mut self, amount: u64, now: Instant) -> Option<Instant> {
        if self.per_second == 0 || amount == 0 {
            return self.paid_at.filter(|paid_at| *paid_at > now);
        }
        let takes = Duration::try_from_secs_f64(amount as f64 / self.per_second as f64).unwrap_or(LONGEST);
        let credited = now.checked_sub(CREDIT).unwrap_or(now);
        let from = self.paid_at.map_or(credited, |paid_at| paid_at.max(credited));
        let paid_at = from + takes.min(LONGEST);
        self.paid_at = Some(paid_at);
        (paid_at > now).then_some(paid_at)
    }

    /// Whether it is as if nothing had ever been used.
    pub(crate) fn is_whole(&self, now: Instant) -> bool {
        self.paid_at.is_none_or(|paid_at| paid_at + CREDIT <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds to wait, for each amount that is used without waiting in between.
    fn waits(allowance: &mut Allowance, amounts: &[u64], now: Instant) -> Vec<f64> {
        let wait = |amount: &u64| allowance.take(*amount, now).map_or(0.0, |until| (until - now).as_secs_f64());
        amounts.iter().map(wait).collect()
    }

    fn later(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn the_amount_of_a_second_may_be_used_at_once_and_more_is_waited_for() {
        let (mut allowance, now) = (Allowance::new(100), later(Instant::now(), 100));
        assert_eq!(waits(&mut allowance, &[50, 50, 50, 100, 0], now), [0.0, 0.0, 0.5, 1.5, 1.5]);
        assert_eq!(waits(&mut allowance, &[100], later(now, 1)), [1.5], "half a second was still to wait for");
    }

    #[test]
    fn time_without_use_is_credited_up_to_a_second() {
        let (mut allowance, now) = (Allowance::new(100), later(Instant::now(), 100));
        assert_eq!(waits(&mut allowance, &[200], now), [1.0]);
        assert!(!allowance.is_whole(later(now, 1)) && allowance.is_whole(later(now, 2)));
        assert_eq!(waits(&mut allowance, &[200], later(now, 3600)), [1.0], "an hour is worth no more than a second");
    }

    #[test]
    fn over_an_hour_no_more_is_used_than_the_rate_allows() {
        let (mut allowance, start) = (Allowance::new(1000), later(Instant::now(), 100));
        let (mut now, mut used) = (start, 0_u64);
        while now < later(start, 3600) {
            used += 700;
            now = allowance.take(700, now).unwrap_or(now);
        }
        assert!((3_600_000..=3_602_400).contains(&used), "{used}");
    }

    #[test]
    fn without_a_rate_nothing_is_waited_for() {
        let (mut allowance, now) = (Allowance::new(0), Instant::now());
        assert_eq!(waits(&mut allowance, &[u64::MAX, 1], now), [0.0, 0.0]);
        assert!(allowance.is_whole(now) && !allowance.is_limited());
    }

    #[test]
    fn no_amount_is_waited_for_longer_than_a_day() {
        let (mut allowance, now) = (Allowance::new(1), later(Instant::now(), 100));
        assert!(allowance.take(u64::MAX, now).is_some_and(|until| until - now <= LONGEST));
    }
}
