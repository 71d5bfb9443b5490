//! A link's part in telling each other of drops: when, how much at a time, and what is believed.

use super::link::Link;
use super::link::MAX_CONTROL;
use super::outbox::Phase;
use crate::observe::DropReason;
use crate::wire::report::Target;
use crate::wire::report::feature;

impl Link {
    /// Accounts for messages of a connection that were dropped here; whether a report is due that was not before.
    pub(crate) fn account(&self, connection: u64, target: Target, reason: DropReason, count: u64) -> bool {
        let mut state = self.state.lock();
        let wanted = state.features & feature::REPORTS != 0;
        wanted && state.connection == connection && state.ours.dropped(target, reason, count)
    }

    /// Tells the peer what it was not told yet; whether all of it.
    pub(super) fn report(&self) -> bool {
        let mut state = self.state.lock();
        if state.phase == Phase::Up {
            let room = MAX_CONTROL.saturating_sub(state.control.len());
            state.report(room);
        }
        state.ours.is_told() || state.phase != Phase::Up
    }

    /// The peer tells of drops; by how much the sum has grown.
    pub(crate) fn told(&self, target: Target, reason: DropReason, count: u64) -> u64 {
        self.theirs.lock().told(target, reason, count)
    }
}
