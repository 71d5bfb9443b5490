//! A link's part in the statistics: its figures, and its pings.

use std::time::Duration;

use tokio::time::Instant;

use super::Link;
use super::outbox::Phase;
use crate::handle::ports::Outbound;
use crate::net::control::deferred_release::DeferredReleases;
use crate::observe::peer_info::PeerInfo;
use crate::observe::stats::ConnectionState;
use crate::observe::stats::ConnectionStats;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;

impl Link {
    /// Pings the peer, unless it does not read.
    pub(crate) fn ping(&self, nonce: u64) {
        let now = Instant::now();
        self.put_control(|outbox| {
            let ping = Ping { nonce, read: outbox.read.here() };
            outbox.heartbeat.ping(&ping, now, &mut outbox.control.frames);
            let under_way = outbox.releases.deferred.under_way();
            outbox.ping_behind(under_way);
        });
    }

    pub(crate) fn pong(&self, nonce: u64) {
        self.put_control(|outbox| {
            Ping { nonce, read: outbox.read.here() }.put(&mut outbox.control.frames, kind::PONG);
        });
    }

    /// Takes the peer's answer to a ping.
    pub(crate) fn ponged(&self, pong: &Ping) {
        let now = Instant::now();
        self.outbox.with(|outbox| {
            outbox.read.on_count(pong.read, outbox.posts.written());
            self.loopback.finish(outbox);
            if !DeferredReleases::is_marked(pong.nonce) {
                return outbox.heartbeat.on_pong(pong.nonce, now);
            }
            let (given_back, next) = outbox.releases.deferred.on_pong(pong.nonce);
            if !given_back.is_empty() {
                outbox.afterwards.effects().drop_later(given_back);
            }
            outbox.ping_behind(next);
        });
    }

    /// Notes that the link's connection was not read for that long, because its peer's budget was used up.
    pub(crate) fn was_held_back(&self, time: Duration) {
        self.meter.was_held_back(time);
    }

    /// Returns the figures of the link; `None` if it is not used.
    pub(crate) fn stats(&self) -> Option<ConnectionStats> {
        let in_doubt = self.settlement.in_doubt(self.unsettled());
        let (peer, endpoint) = (self.peer().map(|peer| peer.node), self.endpoint().map(ToString::to_string));
        let info = self.info().map(|info| PeerInfo::clone(&info));
        let (bytes_sent, bytes_received) = (self.meter.sent(), self.meter.received());
        self.outbox.with(|outbox| {
            let (messages_sent, messages_received) = outbox.read.totals(outbox.posts.written());
            Some(ConnectionStats {
                peer,
                info,
                endpoint,
                state: outbox.phase.state()?,
                rtt: outbox.heartbeat.round_trip(),
                messages_sent,
                messages_received,
                bytes_sent,
                bytes_received,
                reconnects: outbox.session.times_up.saturating_sub(1),
                outbox_bytes: outbox.posts.len() as u64,
                outbox_capacity: outbox.posts.capacity as u64,
                in_doubt,
                held_back: self.meter.held_back(),
            })
        })
    }
}

impl Phase {
    /// Returns the phase as the statistics have it; `None` if the link is not used.
    fn state(self) -> Option<ConnectionState> {
        match self {
            Phase::Dialling => Some(ConnectionState::Dialling),
            Phase::Up => Some(ConnectionState::Up),
            Phase::Pausing => Some(ConnectionState::Pausing),
            Phase::Closing => Some(ConnectionState::Closing),
            Phase::Idle | Phase::Over => None,
        }
    }
}
