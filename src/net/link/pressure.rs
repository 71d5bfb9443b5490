//! A link's part in reporting the fill levels of boxes.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;

use super::Link;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::handle::ports::LocalBox;
use crate::net::control::pressure::level;
use crate::wire::codec::Violation;
use crate::wire::features::feature;
use crate::wire::target::Target;

impl Outbox {
    fn tell_fills(&mut self, fills: &[(Target, u8)]) {
        if self.phase != Phase::Up {
            return;
        }
        let room = self.control.room().min(self.posts.max_frame());
        if self.pressures.poll_frames(&mut self.control.frames, room, fills) {
            self.wake();
        }
    }
}

impl Link {
    /// Returns the counter of reports to the peer that a box is empty, for the connection that is up.
    pub(crate) fn relieved(&self) -> Arc<AtomicU64> {
        self.outbox.with(|outbox| Arc::clone(&outbox.pressures.relieved))
    }

    /// Notes that messages from a connection have filled a box of this side to another level. Returns whether checks of
    /// the box have to begin.
    pub(crate) fn note_pressed(&self, connection: u64, target: Target, local: &Arc<dyn LocalBox>) -> bool {
        let fill = level(local.fill());
        self.outbox.with(|outbox| {
            let wanted = outbox.is(connection) && outbox.session.understands(feature::PRESSURE);
            if !wanted || fill == 0 {
                return false;
            }
            let Some(is_first) = outbox.pressures.press(&target, local) else { return false };
            outbox.tell_fills(&[(target, fill)]);
            is_first
        })
    }

    /// Reports the levels of the boxes that the peer presses. Returns whether none is pressed any more.
    pub(super) fn tell_pressure(&self) -> bool {
        let looked_at = self.outbox.with(|outbox| outbox.pressures.pressed());
        if looked_at.is_empty() {
            return true;
        }
        // Without the lock: boxes have their own. A box that has gone counts as empty.
        let fill = |local: Weak<dyn LocalBox>| {
            local.upgrade().filter(|local| local.is_open()).map_or(0, |local| level(local.fill()))
        };
        let fills: Vec<_> = looked_at.into_iter().map(|(target, local)| (target, fill(local))).collect();
        self.outbox.with(|outbox| {
            outbox.tell_fills(&fills);
            outbox.pressures.presses_none() || outbox.phase != Phase::Up
        })
    }

    /// Takes the peer's report of the levels of its boxes.
    pub(crate) fn hear_pressure(&self, payload: &[u8]) -> Result<(), Violation> {
        self.outbox.with(|outbox| outbox.pressures.on_frame(payload))
    }

    /// Returns the pressure towards a box of the peer, from 0 to 1: the fill of the outbox, and of the box itself.
    pub(super) fn pressure_of(&self, target: &Target) -> f32 {
        self.outbox.with(|outbox| {
            if matches!(outbox.phase, Phase::Pausing | Phase::Closing | Phase::Over) {
                return 1.0;
            }
            let there = f32::from(outbox.pressures.heard(target)) / f32::from(u8::MAX);
            outbox.posts.fill().min(1.0).max(there)
        })
    }
}
