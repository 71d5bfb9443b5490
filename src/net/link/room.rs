//! The room in an outbox: bounded by its own limit, and by the node's bytes for all outboxes.

use bytes::BytesMut;

use super::drain::Chunk;
use super::post_queue::OWN;
use super::post_queue::PostQueue;
use crate::reason::DropReason;
use crate::wire::outgoing::Correlated;
use crate::wire::outgoing::Handles;
use crate::wire::outgoing::Post;
use crate::wire::outgoing::Referent;

/// Bytes of overhead that a message in a flow takes.
const ITEM: usize = 192;

/// The room that a message may take.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// The room as a multiple of the outbox's capacity.
    times: usize,
    /// Bytes beyond the outbox's share of the node's bytes.
    beyond: usize,
}

impl Room {
    pub(super) const FOR_DATA: Room = Room { times: 1, beyond: 0 };
    /// Messages must not displace answers: answers have as much room again.
    pub(super) const FOR_ANSWERS: Room = Room { times: 2, beyond: OWN.own };

    pub(super) fn of(what: Option<Correlated>) -> Room {
        match what {
            None | Some(Correlated::Ask { .. }) => Room::FOR_DATA,
            Some(Correlated::Answer { .. }) => Room::FOR_ANSWERS,
        }
    }
}

impl PostQueue {
    /// Returns the bytes that may be appended to the posts.
    #[inline]
    pub(super) fn room(&self, room: Room) -> usize {
        if !self.fragments.is_empty() {
            return self.room_beside_flows(room);
        }
        let (used, granted) = (self.bytes.len() + self.writing, self.share.granted() + room.beyond);
        let of_its_own = if used == 0 { usize::MAX } else { (room.times * self.capacity).saturating_sub(used) };
        of_its_own.min(granted.saturating_sub(used))
    }

    /// Returns the bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.fragments.bytes() + self.writing
    }

    /// Returns the fill level, from 0 to slightly above 1. Large messages are also compared with the part of the outbox
    /// that they may fill.
    pub(super) fn fill(&self) -> f32 {
        let (whole, fragments) = (self.len() as f32, self.fragments.bytes() as f32);
        let of_its_own = (whole / self.capacity.max(1) as f32).max(fragments / large(self.capacity).max(1) as f32);
        of_its_own.max(self.share.fill(self.held()))
    }

    /// Returns the same room while messages wait in flows.
    #[cold]
    fn room_beside_flows(&self, room: Room) -> usize {
        self.room_of_its_own(room).min(self.room_of_the_nodes(room))
    }

    /// Returns the room by the outbox's own limit alone. Messages in flows leave a quarter of it to small ones. An
    /// empty outbox takes a message of any size, or some could never be sent.
    #[inline]
    fn room_of_its_own(&self, Room { times, .. }: Room) -> usize {
        let capacity = times * self.capacity;
        match self.len() {
            0 => usize::MAX,
            _ => capacity.saturating_sub(self.bytes.len() + self.writing + self.fragments.bytes().min(large(capacity))),
        }
    }

    /// Returns the room by the node's bytes alone, without bytes that would have to be reserved first.
    #[inline]
    fn room_of_the_nodes(&self, Room { beyond, .. }: Room) -> usize {
        (self.share.granted() + beyond).saturating_sub(self.held())
    }

    /// Returns the bytes that may be put into flows for a message, and reserves its part of the node's bytes. Empty
    /// flows take a message of any size.
    pub(super) fn flow_room<R: Referent, H: Handles>(
        &mut self,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
    ) -> Result<usize, DropReason> {
        let (bound, Room { times, beyond }) = (self.outgoing.bound(what, post, true)?, Room::of(what));
        let room = match self.fragments.is_empty() {
            true => usize::MAX,
            false => large(times * self.capacity).saturating_sub(self.in_flows()),
        };
        let covers = bound > room || self.share.covers((self.held() + bound + ITEM).saturating_sub(beyond));
        if covers { Ok(room) } else { Err(DropReason::OutboxFull) }
    }

    /// Returns the bytes that wait in flows, including the overhead of each message.
    #[inline]
    fn in_flows(&self) -> usize {
        self.fragments.bytes() + ITEM * self.fragments.messages() as usize
    }

    /// Returns the bytes that count against the node's.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.writing + self.in_flows()
    }

    /// Gives back to the node the bytes reserved for messages that are written by now. The buffers keep their memory,
    /// which counts, unless others need it.
    #[cold]
    pub(super) fn settle_share(&mut self, chunk: &mut Chunk) {
        if self.share.is_scarce() {
            give_back(&mut chunk.bytes, OWN.own);
            give_back(&mut self.bytes, OWN.own);
        }
        let spare = chunk.bytes.capacity() + self.bytes.capacity() - self.bytes.len();
        self.share.shrink_to(self.held() + spare);
    }

    #[cold]
    pub(super) fn reserve_for_post<R: Referent, H: Handles>(
        &mut self,
        reason: DropReason,
        post: &Post<'_, R, H>,
    ) -> Result<(), DropReason> {
        self.reserve(reason, None, &post.with_target())
    }

    /// Reserves bytes for a message that found no room, unless the outbox itself is full.
    #[cold]
    pub(super) fn reserve<R: Referent, H: Handles>(
        &mut self,
        reason: DropReason,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
    ) -> Result<(), DropReason> {
        let room = Room::of(what);
        let is_full = self.room_of_its_own(room) <= self.room_of_the_nodes(room);
        if reason == DropReason::TooLarge || is_full {
            return Err(reason);
        }
        let bound = self.outgoing.bound(what, post, false)?;
        if self.share.covers((self.held() + bound).saturating_sub(room.beyond)) { Ok(()) } else { Err(reason) }
    }
}

/// Returns the part of an outbox that large messages may fill.
fn large(capacity: usize) -> usize {
    capacity - capacity / 4
}

/// Frees the memory of an empty buffer, if that is more than `most` bytes.
pub(super) fn give_back(buffer: &mut BytesMut, most: usize) {
    if buffer.is_empty() && buffer.capacity() > most {
        *buffer = BytesMut::new();
    }
}
