//! The control frames that wait for one connection, the room for them, and the goodbye behind everything else.

use std::sync::Arc;

use bytes::BytesMut;

use crate::net::control::peer_watch::put_if_readable;
use crate::quota::Quota;
use crate::quota::Share;
use crate::quota::Terms;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::refuse::MAX_DETAIL;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::unwatched::Unwatched;

/// The most bytes of pings, pongs and similar frames that wait, even for a peer that sends pings and never reads pongs.
pub(super) const MAX_CONTROL: usize = 32 << 10;

/// Bytes of refusals that may wait for each connection however much waits for others: as for other control frames.
const OWN_REFUSALS: Terms = Terms { own: MAX_CONTROL, chunk: 64 << 10 };

/// See the [module](self).
pub(super) struct ControlQueue {
    pub(super) frames: BytesMut,
    /// Whether the writer's last chunk was of control frames: these and messages take turns.
    pub(super) was_last: bool,
    /// The share for refusals in the bytes that may wait for all connections of the node.
    refusals: Share,
    /// Whether there was no room for a refusal.
    overrun: bool,
    pub(super) goodbye: Option<(Farewell, String)>,
}

impl ControlQueue {
    pub(super) fn new(outboxes: &Arc<Quota>) -> ControlQueue {
        ControlQueue {
            frames: BytesMut::new(),
            was_last: false,
            refusals: Share::new(outboxes, &OWN_REFUSALS),
            overrun: false,
            goodbye: None,
        }
    }

    /// Returns the bytes of control frames, other than refusals, for which there is room.
    pub(super) fn room(&self) -> usize {
        MAX_CONTROL.saturating_sub(self.frames.len())
    }

    /// Writes a refusal of a request, in a room of `room` bytes. Refusals have room of their own, beside messages and
    /// other control frames; beyond [`MAX_CONTROL`] it comes from the node's quota, as the room of messages does. No
    /// refusal is left out silently, since the asker would wait forever: a peer that asks and does not read its
    /// refusals has [overrun](ControlQueue::is_overrun) its room. Returns whether the refusal was written.
    pub(super) fn refuse(&mut self, refuse: Refuse<'_>, room: usize) -> bool {
        let len = self.frames.len();
        if len >= room || !self.refusals.covers(len + Refuse::TERSE) {
            self.overrun = true;
            return false;
        }
        // Details are only for peers that read.
        let is_told = len < room / 2 && len + Refuse::TERSE + MAX_DETAIL <= self.refusals.granted();
        let detail = if is_told { refuse.detail } else { "" };
        Refuse { detail, ..refuse }.put(&mut self.frames);
        true
    }

    /// Whether the peer asks, and does not read its refusals.
    pub(super) fn is_overrun(&self) -> bool {
        self.overrun
    }

    /// Whether there is room to refuse a watch, if the outbox takes `capacity` bytes. Such frames take at most half of
    /// the room of refusals, because the peer is cut off once a refusal of a request finds no room.
    pub(super) fn has_room_to_refuse_watch(&mut self, capacity: usize) -> bool {
        let (len, room) = (self.frames.len() + Unwatched::LONGEST, capacity.max(MAX_CONTROL) / 2);
        len <= room && self.refusals.covers(2 * len)
    }

    /// Writes that a watch is not kept, in a frame of at most `longest` bytes.
    pub(super) fn refuse_watch(&mut self, refused: &Unwatched, longest: usize) {
        put_if_readable(&mut self.frames, longest, |out| refused.put(out));
    }

    /// Moves the frames into a chunk, which is empty.
    pub(super) fn take(&mut self, chunk: &mut BytesMut) {
        std::mem::swap(chunk, &mut self.frames);
        self.refusals.shrink_to(0);
        self.was_last = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::MAX_NAME;
    use crate::reason::DropReason;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;
    use crate::wire::frames::refuse::Unanswered;
    use crate::wire::target::Target;

    const ROOM: usize = 2 * MAX_CONTROL;

    fn refuse(queue: &mut ControlQueue) -> bool {
        let (why, detail) = (Unanswered::NotDelivered(DropReason::RequestsFull), "there is no room");
        queue.refuse(Refuse { correlation: 7, why, detail }, ROOM)
    }

    /// Returns the refusals that are taken: with details, and without.
    fn taken(queue: &mut ControlQueue) -> (usize, usize) {
        let mut chunk = BytesMut::new();
        queue.take(&mut chunk);
        let (mut rest, mut counts) = (&chunk[..], (0, 0));
        while let Ok(Front::Frame(raw)) = front(rest, 1024) {
            match Refuse::read(raw.payload).expect("it was just written").detail {
                "" => counts.1 += 1,
                _ => counts.0 += 1,
            }
            rest = &rest[raw.size..];
        }
        counts
    }

    #[test]
    fn refusals_are_short_in_a_room_that_fills_and_none_is_left_out_silently() {
        let quota = Quota::new(1 << 20);
        let mut queue = ControlQueue::new(&quota);
        while refuse(&mut queue) {}
        assert!(queue.is_overrun() && queue.frames.len() >= ROOM && quota.used() > 0);
        let (told, terse) = taken(&mut queue);
        assert!(told > 100 && terse > 100, "{told} with details, {terse} without");
        assert_eq!((quota.used(), queue.frames.len()), (0, 0), "what is taken is the node's again");
    }

    #[test]
    fn without_the_nodes_bytes_refusals_have_a_room_of_their_own() {
        let mut queue = ControlQueue::new(&Quota::new(0));
        let count = std::iter::repeat_with(|| refuse(&mut queue)).take_while(|is_written| *is_written).count();
        assert!((MAX_CONTROL - Refuse::TERSE..=MAX_CONTROL).contains(&queue.frames.len()));
        let (told, terse) = taken(&mut queue);
        assert_eq!((told + terse, queue.frames.len()), (count, 0));
    }

    #[test]
    fn refused_watches_leave_half_of_the_room_to_refusals_of_requests() {
        let mut queue = ControlQueue::new(&Quota::new(0));
        let refused = Unwatched { target: Target::Name("n".repeat(MAX_NAME).into()) };
        while queue.has_room_to_refuse_watch(0) {
            queue.refuse_watch(&refused, 1024);
        }
        assert!((MAX_CONTROL / 4..=MAX_CONTROL / 2).contains(&queue.frames.len()), "{}", queue.frames.len());
        let before = queue.frames.len();
        queue.refuse_watch(&refused, MAX_NAME);
        assert_eq!(queue.frames.len(), before, "a peer that reads no frame so long is sent none");
        assert!(refuse(&mut queue) && !queue.is_overrun());
    }

    #[test]
    fn other_control_frames_have_so_much_room() {
        let mut queue = ControlQueue::new(&Quota::new(0));
        assert_eq!(queue.room(), MAX_CONTROL);
        queue.frames.resize(MAX_CONTROL + 1, 0);
        assert_eq!(queue.room(), 0);
    }
}
