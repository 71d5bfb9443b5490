//! A link's part in telling each other of drops and shapes: when, how much at a time, and what is believed.

use std::sync::Arc;

use super::inquiries::Hear;
use super::inquiries::Told;
use super::inquiries::end;
use super::link::Link;
use super::outbox::MAX_CONTROL;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::ident::MAX_NAME;
use crate::observe::DropReason;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Violation;
use crate::wire::question::Question;
use crate::wire::report::Target;
use crate::wire::report::feature;
use crate::wire::report::put_report;

impl Outbox {
    /// Tells the peer of drops here that it was not told of, in at most `room` bytes.
    pub(super) fn report(&mut self, room: usize) {
        const LONGEST: usize = 16 + MAX_NAME + MAX_NUMBER;
        let most = room.min(self.outgoing.max_frame()).saturating_sub(LONGEST) / LONGEST;
        let Outbox { control, ours, read, .. } = self;
        if most > 0 && !ours.is_told() {
            put_report(control, read.1, std::iter::from_fn(|| ours.next()).take(most));
            self.wake();
        }
    }

    /// Asks what was noted before the peer has greeted; if it does not understand it, nobody waits any longer.
    pub(super) fn ask_what_is_open(&mut self) -> Vec<Hear> {
        if self.features & feature::SHAPES == 0 {
            return self.inquiries.take_all();
        }
        let Outbox { inquiries, control, .. } = self;
        inquiries.questions().for_each(|question| question.ask(control));
        Vec::new()
    }

    /// Notes a question, and asks it if there is a connection; gives it back if it cannot be asked.
    pub(super) fn inquire(&mut self, question: &Question, hear: Hear) -> Result<(), Hear> {
        let is_up = self.phase == Phase::Up;
        if is_up && (self.features & feature::SHAPES == 0 || self.control.len() >= MAX_CONTROL) {
            return Err(hear);
        }
        if self.inquiries.note(question, hear)? && is_up {
            question.ask(&mut self.control);
            self.wake();
        }
        Ok(())
    }
}

impl Link {
    /// Accounts for messages of a connection that were dropped here; whether a report is due that was not before.
    pub(crate) fn account(&self, connection: u64, target: Target, reason: DropReason, count: u64) -> bool {
        let mut state = self.state.lock();
        let wanted = state.features & feature::REPORTS != 0;
        wanted && state.connection == connection && state.ours.dropped(target, reason, count)
    }

    /// Tells the peer what it was not told yet; whether there is nothing more to look after.
    pub(super) fn report(&self) -> bool {
        let is_at_ease = self.tell_pressure();
        let mut state = self.state.lock();
        if state.phase == Phase::Up {
            let room = MAX_CONTROL.saturating_sub(state.control.len());
            state.report(room);
        }
        (is_at_ease && state.ours.is_told()) || state.phase != Phase::Up
    }

    /// The peer tells of drops; by how much the sum has grown. It cannot have dropped more than it was sent.
    pub(crate) fn told(&self, target: Target, reason: DropReason, count: u64) -> u64 {
        let written = self.state.lock().written();
        self.theirs.lock().told(target, reason, count, written)
    }

    /// Has `hear` called with what the peer answers. Makes the connection if there is none.
    pub(crate) fn inquire(self: &Arc<Self>, question: &Question, hear: Hear) {
        let mut state = self.state.lock();
        let admitted = state.admit(true);
        let refused = match admitted {
            Ok(_) => state.inquire(question, hear).err(),
            Err(_) => Some(hear),
        };
        drop(state);
        end(refused.into_iter().collect());
        if matches!(admitted, Ok(true)) {
            self.begin();
        }
    }

    /// The peer has answered a question.
    pub(crate) fn answered(&self, payload: &[u8]) -> Result<(), Violation> {
        let (question, answer) = Question::read_answered(payload)?;
        let waiting = self.state.lock().inquiries.take(&question);
        let told = Told::new(answer);
        waiting.into_iter().for_each(|hear| hear(Some(&told)));
        Ok(())
    }

    /// How many bytes an answer to the peer may have; `None` if it does not read those that it has, so that none is
    /// looked for.
    pub(crate) fn room_to_tell(&self) -> Option<usize> {
        let state = self.state.lock();
        let reads = state.phase == Phase::Up && state.control.len() < MAX_CONTROL;
        reads.then(|| state.outgoing.max_frame().saturating_sub(Question::LONGEST))
    }

    /// Answers a question of the peer's, unless it does not read.
    pub(crate) fn tell(&self, question: &Question, answer: &[u8]) {
        self.put_control(|state| question.answer(&mut state.control, answer));
    }

    pub(crate) fn sweep_inquiries(&self) {
        let waited = self.state.lock().inquiries.sweep();
        end(waited);
    }
}
