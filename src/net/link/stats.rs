//! A link's part in the statistics: its figures, and its pings.

use tokio::time::Instant;

use super::Link;
use super::outbox::Phase;
use crate::handle::ports::Outbound;
use crate::net::control::deferred_release::DeferredReleases;
use crate::observe::stats::ConnectionState;
use crate::observe::stats::ConnectionStats;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;

impl Link {
    /// Pings the peer, unless it does not read.
    pub(crate) fn ping(&self, nonce: u64) {
        self.put_control(|state| {
            state.beat();
            state.round_trips.asked(nonce, Instant::now());
            Ping { nonce, read: state.read.1 }.put(&mut state.control, kind::PING);
            let under_way = state.deferred.under_way();
            state.ping_behind(under_way);
        });
    }

    /// Takes the peer's answer to a ping.
    pub(crate) fn ponged(&self, pong: &Ping) {
        self.peer_has_read(pong.read);
        let mut state = self.state.lock();
        if !DeferredReleases::is_marked(pong.nonce) {
            state.round_trips.answered(pong.nonce, Instant::now());
            return;
        }
        let (given_back, next) = state.deferred.answered(pong.nonce);
        state.ping_behind(next);
        drop(state);
        drop(given_back);
    }

    /// Returns the figures of the link; `None` if it is not used.
    pub(crate) fn stats(&self) -> Option<ConnectionStats> {
        let in_doubt = self.settlement.in_doubt(self.unsettled());
        let peer = self.peer();
        let state = self.state.lock();
        let (written, read) = state.past;
        Some(ConnectionStats {
            peer: peer.map(|peer| peer.node),
            endpoint: self.endpoint().map(ToString::to_string),
            state: match state.phase {
                Phase::Dialling => ConnectionState::Dialling,
                Phase::Up => ConnectionState::Up,
                Phase::Pausing => ConnectionState::Pausing,
                Phase::Closing => ConnectionState::Closing,
                Phase::Idle | Phase::Over => return None,
            },
            rtt: state.round_trips.took,
            messages_sent: written + state.written(),
            messages_received: read + state.read.1,
            bytes_sent: self.meter.sent(),
            bytes_received: self.meter.received(),
            reconnects: state.times_up.saturating_sub(1),
            outbox_bytes: state.bytes() as u64,
            outbox_capacity: state.capacity as u64,
            in_doubt,
        })
    }
}
