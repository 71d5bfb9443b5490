//! What a box does with messages that wait, and with one more when it is full.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

/// The buffer that a mailbox is opened with: how many messages it holds, and which one goes when there is one too many.
///
/// # Examples
/// ```
/// # use actix::prelude::*;
/// # use actix_hermod::{Buffer, Node};
/// # #[derive(Message, serde::Serialize, serde::Deserialize)]
/// # #[rtype(result = "()")]
/// # struct Reading(u32);
/// # System::new().block_on(async {
/// # let node = Node::start();
/// let mut newest = node.mailbox::<Reading>().buffer(Buffer::sliding(2)).open()?;
/// for n in 1..=5 {
///     newest.address().do_send(Reading(n));
/// }
/// assert_eq!(newest.recv().await.unwrap().0, 4);
/// assert_eq!(newest.recv().await.unwrap().0, 5);
/// assert_eq!(newest.dropped(), 3);
/// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
/// ```
pub struct Buffer<M> {
    capacity: usize,
    overflow: Overflow,
    message: PhantomData<fn(M)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overflow {
    DropNewest,
    DropOldest,
}

impl<M> Buffer<M> {
    /// Holds `capacity` messages; when it is full, a new one is dropped
    /// ([`NewestShed`](crate::DropReason::NewestShed)). A capacity of 0 drops every message.
    pub fn dropping(capacity: usize) -> Self {
        Buffer { capacity, overflow: Overflow::DropNewest, message: PhantomData }
    }

    /// Holds `capacity` messages; when it is full, the oldest makes room for a new one
    /// ([`OldestShed`](crate::DropReason::OldestShed)). On the way here, a connection's outbox sheds the newest: a sender
    /// in another process that floods it in one go, without letting other tasks run, has its last messages dropped there.
    /// A capacity of 0 drops every message.
    pub fn sliding(capacity: usize) -> Self {
        Buffer { capacity, overflow: Overflow::DropOldest, message: PhantomData }
    }
}

impl<M> fmt::Debug for Buffer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("capacity", &self.capacity).field("overflow", &self.overflow).finish()
    }
}

/// The level of a buffer that is so full, of 255: each is reported when it is first reached.
pub(crate) fn level(fill: u8) -> u8 {
    match fill {
        ..128 => 0,
        128..192 => 1,
        192..240 => 2,
        240..255 => 3,
        255 => 4,
    }
}

/// The messages of a buffer, as `T`s. Never more than its capacity, those that its reader holds included.
pub(crate) struct Waiting<T> {
    items: VecDeque<T>,
    /// A place for items that is not in use.
    spare: VecDeque<T>,
    capacity: usize,
    overflow: Overflow,
}

/// What became of an item.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Pushed<T> {
    Stored,
    /// Stored, in the place of the oldest.
    Replaced(T),
    /// Not stored.
    Full(T),
}

impl<T> Waiting<T> {
    pub(crate) fn new<M>(buffer: &Buffer<M>) -> Waiting<T> {
        let (items, spare) = (VecDeque::new(), VecDeque::new());
        Waiting { items, spare, capacity: buffer.capacity, overflow: buffer.overflow }
    }

    /// Stores an item, while the reader holds `held` of those before it.
    #[inline]
    pub(crate) fn push(&mut self, item: T, held: usize) -> Pushed<T> {
        if self.items.len() + held < self.capacity {
            self.items.push_back(item);
            return Pushed::Stored;
        }
        if self.refuses(held) {
            return Pushed::Full(item);
        }
        // Of a sliding buffer the reader holds one only while it hands it over.
        let oldest = if self.items.len() < self.capacity { None } else { self.items.pop_front() };
        self.items.push_back(item);
        oldest.map_or(Pushed::Stored, Pushed::Replaced)
    }

    /// Whether the next item would not be stored.
    #[inline]
    pub(crate) fn refuses(&self, held: usize) -> bool {
        self.items.len() + held >= self.capacity && (self.overflow == Overflow::DropNewest || self.capacity == 0)
    }

    /// Moves what waits into `batch`, which is empty: everything, or one item where the oldest has to stay at hand
    /// because it may be shed. Whether there was any.
    #[inline]
    pub(crate) fn take_batch(&mut self, batch: &mut VecDeque<T>) -> bool {
        match self.overflow {
            Overflow::DropNewest => {
                std::mem::swap(&mut self.items, batch);
                if self.items.capacity() == 0 {
                    std::mem::swap(&mut self.items, &mut self.spare);
                }
            }
            Overflow::DropOldest => batch.extend(self.items.pop_front()),
        }
        !batch.is_empty()
    }

    /// Keeps the place of an empty batch for the next one.
    pub(crate) fn keep(&mut self, batch: &mut VecDeque<T>) {
        self.spare = std::mem::take(batch);
    }

    /// Gives back the memory of places that are empty.
    pub(crate) fn shrink(&mut self) {
        self.spare = VecDeque::new();
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
    }

    /// The [level] that it is full to, while the reader holds so many.
    #[inline]
    pub(crate) fn level(&self, held: usize) -> u8 {
        if 2 * (self.items.len() + held) < self.capacity { 0 } else { level(self.fill(held)) }
    }

    /// How full it is, from 0 to 255, while the reader holds so many.
    pub(crate) fn fill(&self, held: usize) -> u8 {
        let waiting = self.items.len() + held;
        match waiting {
            0 => 0,
            _ if waiting >= self.capacity => u8::MAX,
            _ => u8::try_from(waiting * 255 / self.capacity).unwrap_or(u8::MAX),
        }
    }

    pub(crate) fn take_all(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.items)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffer: &Buffer<()>, items: std::ops::Range<u32>) -> (Waiting<u32>, Vec<Pushed<u32>>) {
        let mut waiting = Waiting::new(buffer);
        let pushed = items.map(|item| waiting.push(item, 0)).collect();
        (waiting, pushed)
    }

    #[test]
    fn a_dropping_buffer_keeps_the_first() {
        let (mut waiting, pushed) = filled(&Buffer::dropping(2), 1..5);
        assert_eq!(pushed, [Pushed::Stored, Pushed::Stored, Pushed::Full(3), Pushed::Full(4)]);
        assert!(waiting.refuses(0));
        assert_eq!(waiting.take_all(), [1, 2]);
    }

    #[test]
    fn a_sliding_buffer_keeps_the_last() {
        let (mut waiting, pushed) = filled(&Buffer::sliding(2), 1..5);
        assert_eq!(pushed, [Pushed::Stored, Pushed::Stored, Pushed::Replaced(1), Pushed::Replaced(2)]);
        assert!(!waiting.refuses(0));
        assert_eq!(waiting.take_all(), [3, 4]);
    }

    #[test]
    fn what_the_reader_holds_takes_room_as_well() {
        let (mut waiting, _) = filled(&Buffer::dropping(3), 1..3);
        let mut batch = VecDeque::new();
        assert!(waiting.take_batch(&mut batch));
        assert_eq!(batch, [1, 2]);
        assert_eq!(waiting.push(3, 2), Pushed::Stored);
        assert_eq!(waiting.push(4, 2), Pushed::Full(4));
        assert_eq!(waiting.push(4, 1), Pushed::Stored);
    }

    #[test]
    fn a_sliding_buffer_keeps_its_oldest_at_hand() {
        let (mut waiting, _) = filled(&Buffer::sliding(2), 1..3);
        let mut batch = VecDeque::new();
        assert!(waiting.take_batch(&mut batch));
        assert_eq!(batch, [1]);
        // The one that is being handed over has left its place to the next.
        assert_eq!(waiting.push(3, 1), Pushed::Stored);
        assert_eq!(waiting.push(4, 1), Pushed::Replaced(2));
        assert_eq!(waiting.take_all(), [3, 4]);
        assert!(!waiting.take_batch(&mut VecDeque::new()));
    }

    #[test]
    fn a_buffer_without_room_keeps_nothing() {
        for buffer in [Buffer::dropping(0), Buffer::sliding(0)] {
            let (waiting, pushed) = filled(&buffer, 1..3);
            assert_eq!(pushed, [Pushed::Full(1), Pushed::Full(2)]);
            assert_eq!(waiting.len(), 0);
        }
    }
}
