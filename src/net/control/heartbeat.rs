//! The heartbeat of a connection: the ping that is being measured, the result of the last measurement, and whether the
//! connection is idle between two pings.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;

/// The bytes since the last heartbeat up to which a connection is idle: it keeps no memory for more.
pub(crate) const IDLE: usize = 4 << 10;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    round_trips: RoundTrips,
    /// Bytes that the writer has taken since the last heartbeat.
    written: usize,
    /// Whether little was written between the last two heartbeats.
    is_idle: bool,
}

impl Heartbeat {
    /// Pings the peer. Only bytes written before decide whether the connection is idle.
    pub(crate) fn ping(&mut self, ping: &Ping, now: Instant, out: &mut BytesMut) {
        self.is_idle = std::mem::take(&mut self.written) <= IDLE;
        self.round_trips.asked(ping.nonce, now);
        ping.put(out, kind::PING);
    }

    /// Takes the peer's answer to a ping.
    pub(crate) fn on_pong(&mut self, nonce: u64, now: Instant) {
        self.round_trips.answered(nonce, now);
    }

    /// Counts bytes that the writer has taken.
    #[inline]
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// Whether little was written between the last two heartbeats, as far as is known without
    /// [looking](Heartbeat::is_still_idle) at what was written since.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Whether little was written since, either.
    pub(crate) fn is_still_idle(&mut self) -> bool {
        self.is_idle = self.written <= IDLE;
        self.is_idle
    }

    /// Returns the last measured round trip.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trips.took
    }
}

/// Pings of one connection, whose numbers grow.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTrips {
    /// The measured ping, and when it was sent: the answer may take longer than the interval between pings.
    measured: Option<(u64, Instant)>,
    /// The last measured round trip.
    took: Option<Duration>,
}

impl RoundTrips {
    fn asked(&mut self, nonce: u64, now: Instant) {
        self.measured.get_or_insert((nonce, now));
    }

    /// Takes the peer's answer. An answer to a ping that was not sent is ignored; if the peer leaves an answer out, as
    /// it may when it has much to send, the next ping is measured.
    fn answered(&mut self, nonce: u64, now: Instant) {
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
    use crate::wire::frames::Front;
    use crate::wire::frames::front;

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

    #[test]
    fn a_connection_is_idle_if_little_was_written_between_two_pings_and_since() {
        let (mut heartbeat, mut out, now) = (Heartbeat::default(), BytesMut::new(), Instant::now());
        let mut beat = |heartbeat: &mut Heartbeat, written: usize| {
            heartbeat.wrote(written);
            heartbeat.ping(&Ping { nonce: 1, read: 2 }, now, &mut out);
            heartbeat.is_idle()
        };
        assert_eq!([IDLE, IDLE + 1, 0].map(|written| beat(&mut heartbeat, written)), [true, false, true]);
        heartbeat.wrote(IDLE);
        assert!(heartbeat.is_still_idle());
        heartbeat.wrote(1);
        assert!(heartbeat.is_idle() && !heartbeat.is_still_idle() && !heartbeat.is_idle());
        assert!(!beat(&mut heartbeat, 0), "what was written since the last ping counts");
    }

    #[test]
    fn a_ping_says_how_much_was_read_and_its_answer_is_measured() {
        let (mut heartbeat, mut out, began) = (Heartbeat::default(), BytesMut::new(), Instant::now());
        let ping = Ping { nonce: 7, read: 300 };
        heartbeat.ping(&ping, began, &mut out);
        let Ok(Front::Frame(raw)) = front(&out, 100) else { panic!("{out:?}") };
        assert_eq!((raw.kind, Ping::read(raw.payload)), (kind::PING, Ok(ping)));
        heartbeat.on_pong(6, began + Duration::from_secs(1));
        assert_eq!(heartbeat.round_trip(), None, "that was not asked");
        heartbeat.on_pong(7, began + Duration::from_secs(2));
        assert_eq!(heartbeat.round_trip(), Some(Duration::from_secs(2)));
    }
}
