//! A link's part in reporting the fill levels of boxes.
//!
//! A box is reported soon after it has become more than half full. From then on its level is checked a few times a
//! second, as drops are, and reported when it has changed, until the box is nearly empty.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;

use super::Link;
use super::outbox::MAX_CONTROL;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::handle::ports::LocalBox;
use crate::net::control::pressure::NEARLY_EMPTY;
use crate::wire::codec::Violation;
use crate::wire::features::feature;
use crate::wire::frames::pressure::put_pressure;
use crate::wire::frames::pressure::read_pressure;
use crate::wire::frames::watch::LONGEST;
use crate::wire::target::Target;

/// Returns the level to report for a box.
fn fill_of(local: &dyn LocalBox) -> u8 {
    match local.fill() {
        ..NEARLY_EMPTY => 0,
        fill => fill,
    }
}

impl Outbox {
    fn tell_fills(&mut self, fills: &[(Target, u8)]) {
        if self.phase != Phase::Up {
            return;
        }
        let room = MAX_CONTROL.saturating_sub(self.control.len()).min(self.outgoing.max_frame());
        let news = self.pressures.news(fills, room / LONGEST);
        if !news.is_empty() {
            put_pressure(&mut self.control, news);
            self.wake();
        }
    }
}

impl Link {
    /// Returns the counter of reports to the peer that a box is empty, for the connection that is up.
    pub(crate) fn relieved(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state.lock().pressures.relieved)
    }

    /// Notes that messages from a connection have filled a box of this side to another level. Returns whether checks of
    /// the box have to begin.
    pub(crate) fn note_pressed(&self, connection: u64, target: Target, local: &Arc<dyn LocalBox>) -> bool {
        let fill = fill_of(&**local);
        let mut state = self.state.lock();
        let wanted = state.connection == connection && state.features & feature::PRESSURE != 0;
        if !wanted || fill == 0 {
            return false;
        }
        let Some(is_first) = state.pressures.press(&target, local) else { return false };
        state.tell_fills(&[(target, fill)]);
        is_first
    }

    /// Reports the levels of the boxes that the peer presses. Returns whether none is pressed any more.
    pub(super) fn tell_pressure(&self) -> bool {
        let looked_at = self.state.lock().pressures.pressed();
        if looked_at.is_empty() {
            return true;
        }
        // Without the lock: boxes have their own. A box that has gone counts as empty.
        let fill =
            |local: Weak<dyn LocalBox>| local.upgrade().filter(|local| local.is_open()).map(|local| fill_of(&*local));
        let fills: Vec<_> = looked_at.into_iter().map(|(target, local)| (target, fill(local).unwrap_or(0))).collect();
        let mut state = self.state.lock();
        state.tell_fills(&fills);
        state.pressures.presses_none() || state.phase != Phase::Up
    }

    /// Takes the peer's report of the levels of its boxes.
    pub(crate) fn hear_pressure(&self, payload: &[u8]) -> Result<(), Violation> {
        let mut state = self.state.lock();
        for entry in read_pressure(payload) {
            let (target, fill) = entry?;
            state.pressures.hear(target, fill);
        }
        Ok(())
    }

    /// Returns the pressure towards a box of the peer, from 0 to 1: the fill of the outbox, and of the box itself.
    pub(super) fn pressure_of(&self, target: &Target) -> f32 {
        let state = self.state.lock();
        if matches!(state.phase, Phase::Pausing | Phase::Closing | Phase::Over) {
            return 1.0;
        }
        let way = state.fill();
        let there = f32::from(state.pressures.heard(target)) / f32::from(u8::MAX);
        way.min(1.0).max(there)
    }
}
