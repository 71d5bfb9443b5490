//! A link's part in drop reports: when they are due, and the checks of the peer's reports.

use super::Link;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::net::control::drop_report::DropRun;
use crate::reason::DropReason;
use crate::wire::features::feature;
use crate::wire::frames::report::Account;

impl Outbox {
    /// Writes reports of drops that the peer was not told of, in at most `room` bytes.
    pub(super) fn report(&mut self, room: usize) {
        if self.reports.local.poll_frames(&mut self.control.frames, room, self.posts.max_frame(), self.read.here()) {
            self.wake();
        }
    }
}

impl Link {
    /// Counts messages of a connection that were dropped here. Returns whether that makes a report due.
    pub(crate) fn note_drop(&self, connection: u64, drops: DropRun) -> bool {
        self.outbox.with(|outbox| {
            let wanted = outbox.session.understands(feature::REPORTS) && outbox.is(connection);
            wanted && outbox.reports.local.add(drops)
        })
    }

    /// Sends the peer the pending reports. Returns whether the link needs no further reports.
    pub(crate) fn tell_peer(&self) -> bool {
        let is_at_ease = self.tell_pressure();
        self.outbox.with(|outbox| {
            if outbox.phase == Phase::Up {
                outbox.report(outbox.control.room());
            }
            (is_at_ease && outbox.reports.local.is_told()) || outbox.phase != Phase::Up
        })
    }

    /// Takes a drop report of the peer. Returns by how much the sum has grown. A peer cannot have dropped more messages
    /// than it was sent.
    pub(crate) fn hear_drops(&self, account: Account, reason: DropReason, count: u64) -> u64 {
        let written = self.outbox.with(|outbox| outbox.posts.written());
        self.peer_drops.lock().told(account, reason, count, written)
    }
}
