//! The number of messages that an actor behind a box is given at a time.

use crate::handle::context::NodeContext;

/// The limits on messages that wait in front of an actor and with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Maximum number of messages that wait in the box.
    pub(crate) capacity: usize,
    /// Maximum number of messages that the actor has been given and has not settled, without cancelled ones.
    pub(crate) at_once: usize,
}

impl Window {
    /// Returns the default window.
    pub(crate) fn of(node: &NodeContext) -> Window {
        let buffer = node.limits().mailbox_buffer;
        Window { capacity: buffer, at_once: buffer.max(1) }
    }

    /// Returns how many more messages the actor may be given, and whether it is a probe, which is kept even if
    /// cancelled.
    ///
    /// It is not known whether a cancelled message is still in the actor's queue, so as many of them are tolerated as
    /// the actor may have other messages. Beyond that the actor is given one probe at a time: once the probe is begun,
    /// the actor is past all messages cancelled before.
    pub(super) fn room(&self, waiting: usize, taken_back: usize, has_probe: bool) -> (usize, bool) {
        let room = self.at_once.saturating_sub(waiting);
        let unseen = self.at_once.saturating_mul(2).saturating_sub(waiting.saturating_add(taken_back));
        if unseen > 0 { (room.min(unseen), false) } else { (room.min(usize::from(!has_probe)), true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_leaves_room_until_it_is_as_much_as_the_window() {
        let window = Window { capacity: 9, at_once: 3 };
        for (waiting, taken_back, has_probe, room) in [
            (0, 0, false, (3, false)),
            (3, 0, false, (0, false)),
            (2, 1, false, (1, false)),
            (0, 3, false, (3, false)),
            (0, 5, false, (1, false)),
            (0, 6, false, (1, true)),
            (1, 6, true, (0, true)),
            (3, 6, false, (0, true)),
        ] {
            assert_eq!(window.room(waiting, taken_back, has_probe), room, "{waiting} wait, {taken_back} taken back");
        }
    }
}
