//! How long it takes there and back over a connection: which ping is measured, and what the last one took.

use std::time::Duration;

use tokio::time::Instant;

/// Pings of one connection, whose numbers grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrips {
    /// The one that is measured, and when it was asked: the peer may take longer to answer than it is until the next.
    measured: Option<(u64, Instant)>,
    /// How long the last took that was measured.
    pub(crate) took: Option<Duration>,
}

impl RoundTrips {
    pub(crate) fn asked(&mut self, nonce: u64, now: Instant) {
        self.measured.get_or_insert((nonce, now));
    }

    /// The peer has answered. One that answers what it was not asked is not believed; one that leaves an answer out, as it
    /// may when it has much to say, is measured by the next.
    pub(crate) fn answered(&mut self, nonce: u64, now: Instant) {
        let Some((measured, asked)) = self.measured else { return };
        if nonce == measured {
            self.took = Some(now.saturating_duration_since(asked));
        }
        if nonce >= measured {
            self.measured = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_measured_by_its_own_answer_however_late_it_comes() {
        let (mut pings, began) = (RoundTrips::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        pings.asked(1, at(0));
        pings.asked(2, at(5));
        pings.answered(0, at(6));
        assert_eq!(pings.took, None, "that was not asked");
        pings.answered(1, at(7));
        assert_eq!(pings.took, Some(Duration::from_secs(7)));
        pings.answered(2, at(8));
        assert_eq!(pings.took, Some(Duration::from_secs(7)), "not measured: the first was under way");
        pings.asked(3, at(10));
        pings.answered(3, at(12));
        assert_eq!(pings.took, Some(Duration::from_secs(2)));
    }

    #[test]
    fn an_answer_that_is_left_out_ends_no_measuring() {
        let (mut pings, began) = (RoundTrips::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        pings.asked(1, at(0));
        pings.asked(2, at(5));
        pings.answered(2, at(6));
        assert_eq!(pings.took, None);
        pings.asked(3, at(10));
        pings.answered(3, at(11));
        assert_eq!(pings.took, Some(Duration::from_secs(1)));
    }
}
