//! A link's part in drop reports: their time, their size, and the checks of the peer's reports.

use super::Link;
use super::outbox::MAX_CONTROL;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::ident::MAX_NAME;
use crate::net::control::drop_report::DropRun;
use crate::reason::DropReason;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::features::feature;
use crate::wire::frames::remark::Remark;
use crate::wire::frames::report::Account;
use crate::wire::frames::report::put_report;

impl Outbox {
    /// Writes reports of drops that the peer was not told of, in at most `room` bytes.
    pub(super) fn report(&mut self, room: usize) {
        const LONGEST: usize = 16 + MAX_NAME + size_of::<u64>() + MAX_NUMBER;
        let longest = self.outgoing.max_frame();
        let most = room.min(longest).saturating_sub(LONGEST) / LONGEST;
        let Outbox { control, ours, read, .. } = self;
        if most > 0 && !ours.is_told() {
            let before = control.len();
            put_report(control, read.1, std::iter::from_fn(|| ours.next()).take(most));
            for (account, reason, words) in ours.take_remarks() {
                // Details that do not fit are left out.
                if control.len() - before + Remark::LONGEST <= room && Remark::LONGEST <= longest {
                    Remark::new(account, reason, &words).put(control);
                }
            }
            self.wake();
        }
    }
}

impl Link {
    /// Counts messages of a connection that were dropped here. Returns whether that makes a report due.
    pub(crate) fn note_drop(&self, connection: u64, drops: DropRun) -> bool {
        let mut state = self.state.lock();
        if state.features & feature::REPORTS == 0 || state.connection != connection {
            return false;
        }
        let DropRun { account, reason, count, words } = drops;
        if let Some(words) = words {
            state.ours.remark(account.clone(), reason, &words);
        }
        state.ours.dropped(account, reason, count)
    }

    /// Sends the peer the pending reports. Returns whether the link needs no further reports.
    pub(crate) fn tell_peer(&self) -> bool {
        let is_at_ease = self.tell_pressure();
        let mut state = self.state.lock();
        if state.phase == Phase::Up {
            let room = MAX_CONTROL.saturating_sub(state.control.len());
            state.report(room);
        }
        (is_at_ease && state.ours.is_told()) || state.phase != Phase::Up
    }

    /// Takes a drop report of the peer. Returns by how much the sum has grown. A peer cannot have dropped more messages
    /// than it was sent.
    pub(crate) fn hear_drops(&self, account: Account, reason: DropReason, count: u64) -> u64 {
        let written = self.state.lock().written();
        self.theirs.lock().told(account, reason, count, written)
    }
}
