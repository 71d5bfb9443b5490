//! The round trips over a connection: the ping that is being measured, and the result of the last measurement.

use std::time::Duration;

use tokio::time::Instant;

/// Pings of one connection, whose numbers grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrips {
    /// The measured ping, and when it was sent: the answer may take longer than the interval between pings.
    measured: Option<(u64, Instant)>,
    /// The last measured round trip.
    pub(crate) took: Option<Duration>,
}

impl RoundTrips {
    pub(crate) fn asked(&mut self, nonce: u64, now: Instant) {
        self.measured.get_or_insert((nonce, now));
    }

    /// Takes the peer's answer. An answer to a ping that was not sent is ignored; if the peer leaves an answer out, as
    /// it may when it has much to send, the next ping is measured.
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
