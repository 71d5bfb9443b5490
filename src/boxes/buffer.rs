//! The buffer of a box: its waiting messages, and the rule for a further message when it is full.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;

use super::keyed::Key;
use super::keyed::KeyOf;
use super::keyed::Latest;
use crate::reason::DropReason;

/// Default number of keys whose newest message a [`Buffer::latest_by`] holds.
const KEYS: usize = 1024;

/// The buffer of a mailbox: the number of messages it holds, and the rule for dropping one when there is one too many.
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
    key: Option<KeyOf<M>>,
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
        Buffer { capacity, overflow: Overflow::DropNewest, key: None }
    }

    /// Holds `capacity` messages; when it is full, the oldest makes room for a new one
    /// ([`OldestShed`](crate::DropReason::OldestShed)). On the way here, a connection's outbox sheds the newest: a sender
    /// in another process that floods it in one go, without letting other tasks run, has its last messages dropped there.
    /// A capacity of 0 drops every message.
    pub fn sliding(capacity: usize) -> Self {
        Buffer { capacity, overflow: Overflow::DropOldest, key: None }
    }

    /// Holds one message for each key, and the newest wins: for readings, states and positions, of which only the last
    /// one matters.
    ///
    /// A message whose key is there already replaces the other one ([`Replaced`](crate::DropReason::Replaced)) and goes
    /// to the back, so that messages are read in the order in which they were sent. So a key that is renewed faster
    /// than the box is read waits behind the others, and each of them has its turn. A request that is replaced before
    /// it is read ends as [`NotDelivered`](crate::AskError::NotDelivered).
    ///
    /// The buffer holds at most 1,024 messages, or the number set by [`capacity`](Buffer::capacity). If a further key
    /// comes, the oldest message is dropped ([`OldestShed`](crate::DropReason::OldestShed)), as in a
    /// [sliding](Buffer::sliding) buffer.
    ///
    /// `key` is called once for each message, on the thread that sends it or that reads it from a connection: it should
    /// be short. Keys are told apart by their hashes: `Hash` must cover everything that `Eq` compares, as derived
    /// implementations do. If `key` panics, the message has no key: it replaces none, and none replaces it.
    ///
    /// # Examples
    /// ```
    /// # use actix::prelude::*;
    /// # use actix_hermod::{Buffer, Node};
    /// # #[derive(Message, serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// # #[rtype(result = "()")]
    /// # struct Reading { sensor: String, value: u32 }
    /// # System::new().block_on(async {
    /// # let node = Node::start();
    /// # let reading = |sensor: &str, value| Reading { sensor: sensor.to_owned(), value };
    /// let newest = Buffer::latest_by(|reading: &Reading| reading.sensor.clone());
    /// let mut readings = node.mailbox().buffer(newest).open()?;
    /// for (sensor, value) in [("door", 1), ("roof", 2), ("door", 3)] {
    ///     readings.address().do_send(reading(sensor, value));
    /// }
    /// assert_eq!(readings.recv().await, Some(reading("roof", 2)));
    /// assert_eq!(readings.recv().await, Some(reading("door", 3)));
    /// assert_eq!(readings.dropped(), 1);
    /// # Ok::<(), actix_hermod::OpenError>(()) }).unwrap();
    /// ```
    pub fn latest_by<K, F>(key: F) -> Self
    where
        K: Hash + Eq,
        F: Fn(&M) -> K + Send + Sync + 'static,
    {
        Buffer { capacity: KEYS, overflow: Overflow::DropOldest, key: Some(KeyOf::new(key)) }
    }

    /// Sets the maximum number of messages. A capacity of 0 drops every message.
    #[must_use]
    pub fn capacity(self, messages: usize) -> Self {
        Buffer { capacity: messages, ..self }
    }

    /// Returns the key function, if the buffer has one.
    pub(crate) fn key(&self) -> Option<&KeyOf<M>> {
        self.key.as_ref()
    }
}

impl<M> fmt::Debug for Buffer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .field("by_key", &self.key.is_some())
            .finish()
    }
}

/// Returns the level of a buffer that is filled to `fill` of 255: each level is reported when it is first reached.
pub(crate) fn fill_level_of(fill: u8) -> u8 {
    match fill {
        ..128 => 0,
        128..192 => 1,
        192..240 => 2,
        240..255 => 3,
        255 => 4,
    }
}

/// The messages of a buffer, as `T`s. There are never more than its capacity, including those that its reader holds.
pub(crate) struct Backlog<T> {
    /// The items in the order of arrival; empty if the buffer has keys.
    items: VecDeque<T>,
    /// Empty queues that are not in use, kept for their memory: the reader's batch needs one, and so do messages in a
    /// row.
    spares: Option<Box<[VecDeque<T>; 2]>>,
    capacity: usize,
    overflow: Overflow,
    /// The items with their weights, if the buffer keeps the newest of each key.
    latest: Option<Box<Latest<(T, usize)>>>,
    /// The weight of all items, and of each item if the oldest may have to be shed.
    weight: usize,
    #[expect(clippy::box_collection, reason = "most boxes shed nothing old, and an idle one is to be small")]
    weights: Option<Box<VecDeque<usize>>>,
}

/// Gives a spare queue's memory to `place`, if that has none.
#[inline]
fn take_up<T>(place: &mut VecDeque<T>, spares: &mut Option<Box<[VecDeque<T>; 2]>>) {
    if place.capacity() == 0
        && let Some(spares) = spares
    {
        let [first, second] = &mut **spares;
        std::mem::swap(place, if first.capacity() > 0 { first } else { second });
    }
}

/// The outcome of pushing an item.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Pushed<T> {
    Stored,
    /// Stored, in place of another item, which is dropped for that reason.
    Displaced(T, DropReason),
    /// Not stored.
    Full(T),
}

impl<T> Backlog<T> {
    pub(crate) fn new<M>(buffer: &Buffer<M>) -> Backlog<T> {
        let latest = buffer.key.is_some().then(Box::default);
        let Buffer { capacity, overflow, .. } = *buffer;
        let weights = (overflow == Overflow::DropOldest && latest.is_none()).then(Box::default);
        Backlog { items: VecDeque::new(), spares: None, capacity, overflow, latest, weight: 0, weights }
    }

    /// Stores an item of weight `weight`, while the reader holds `held` earlier ones. The key counts only if the buffer
    /// keeps the newest of each key.
    #[inline]
    pub(crate) fn push(&mut self, (item, weight): (T, usize), key: Option<Key>, held: usize) -> Pushed<T> {
        if self.latest.is_some() {
            return self.push_latest((item, weight), key);
        }
        if self.items.len() + held < self.capacity {
            take_up(&mut self.items, &mut self.spares);
            self.items.push_back(item);
            self.add_weight(weight);
            return Pushed::Stored;
        }
        if self.refuses(held) {
            return Pushed::Full(item);
        }
        // The reader of a sliding buffer holds an item only while it hands it over.
        let oldest = if self.items.len() < self.capacity { None } else { self.pop_front() };
        self.items.push_back(item);
        self.add_weight(weight);
        oldest.map_or(Pushed::Stored, |oldest| Pushed::Displaced(oldest, DropReason::OldestShed))
    }

    #[inline]
    fn add_weight(&mut self, weight: usize) {
        self.weight += weight;
        if let Some(weights) = &mut self.weights {
            weights.push_back(weight);
        }
    }

    /// Takes the oldest item of a sliding buffer.
    fn pop_front(&mut self) -> Option<T> {
        let item = self.items.pop_front();
        let weight = self.weights.as_mut().and_then(|weights| weights.pop_front());
        self.weight = self.weight.saturating_sub(weight.unwrap_or(0));
        item
    }

    fn pop_latest(&mut self) -> Option<T> {
        let (item, weight) = self.latest.as_mut()?.pop()?;
        self.weight = self.weight.saturating_sub(weight);
        Some(item)
    }

    /// Takes the item that the buffer's own rule drops first to make room for one with that key, although the buffer is
    /// not full; `None` if the rule drops the new one.
    pub(crate) fn shed(&mut self, key: Option<Key>) -> Option<(T, DropReason)> {
        let replaced = self.latest.as_mut().and_then(|latest| latest.take(key));
        if let Some((item, weight)) = replaced {
            self.weight = self.weight.saturating_sub(weight);
            return Some((item, DropReason::Replaced));
        }
        let oldest = match self.overflow {
            Overflow::DropNewest => None,
            Overflow::DropOldest if self.latest.is_some() => self.pop_latest(),
            Overflow::DropOldest => self.pop_front(),
        };
        oldest.map(|oldest| (oldest, DropReason::OldestShed))
    }

    /// Returns the weight of all items.
    #[inline]
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Returns whether the buffer drops a new item that finds no room, and none that it holds.
    pub(crate) fn drops_newest(&self) -> bool {
        self.overflow == Overflow::DropNewest
    }

    /// Stores items like [`push`](Backlog::push), if there is room for all of them; otherwise they are left in `items`.
    /// `weight` is their total weight, and `weights` has the weight of each.
    pub(crate) fn push_all(
        &mut self,
        items: &mut VecDeque<T>,
        (weight, weights): (usize, impl Iterator<Item = usize>),
        held: usize,
    ) {
        if self.latest.is_some() || self.items.len() + held + items.len() > self.capacity {
            return;
        }
        match self.overflow {
            Overflow::DropNewest => self.weight += weight,
            Overflow::DropOldest => weights.take(items.len()).for_each(|weight| self.add_weight(weight)),
        }
        if self.items.is_empty() {
            std::mem::swap(&mut self.items, items);
        } else {
            self.items.append(items);
        }
    }

    /// Returns the number of items in a row that can be stored without dropping one of them before the first is read,
    /// while the reader holds `held` earlier ones.
    pub(crate) fn room_in_a_row(&self, held: usize) -> usize {
        match self.overflow {
            Overflow::DropNewest => self.capacity.saturating_sub(self.len() + held),
            Overflow::DropOldest => self.capacity,
        }
    }

    fn push_latest(&mut self, (item, weight): (T, usize), key: Option<Key>) -> Pushed<T> {
        let Some(latest) = self.latest.as_mut().filter(|_| self.capacity > 0) else { return Pushed::Full(item) };
        // The reader holds an item only while it hands it over.
        let oldest = if latest.len() >= self.capacity && !latest.has(key) { latest.pop() } else { None };
        let replaced = latest.push(key, (item, weight));
        self.weight += weight;
        let mut weighed = |(item, weight): (T, usize)| {
            self.weight = self.weight.saturating_sub(weight);
            item
        };
        match (replaced, oldest) {
            (Some(older), _) => Pushed::Displaced(weighed(older), DropReason::Replaced),
            (None, Some(oldest)) => Pushed::Displaced(weighed(oldest), DropReason::OldestShed),
            (None, None) => Pushed::Stored,
        }
    }

    /// Returns whether the next item would not be stored.
    #[inline]
    pub(crate) fn refuses(&self, held: usize) -> bool {
        self.len() + held >= self.capacity && (self.overflow == Overflow::DropNewest || self.capacity == 0)
    }

    /// Moves waiting items into `batch`, which is empty: all of them, or one if the others must stay because they may
    /// be shed. Returns whether there was any.
    #[inline]
    pub(crate) fn take_batch(&mut self, batch: &mut VecDeque<T>) -> bool {
        match self.overflow {
            Overflow::DropNewest => {
                std::mem::swap(&mut self.items, batch);
                self.weight = 0;
            }
            Overflow::DropOldest if self.latest.is_some() => batch.extend(self.pop_latest()),
            Overflow::DropOldest => batch.extend(self.pop_front()),
        }
        !batch.is_empty()
    }

    /// Returns the number of items that `batch` may hold if it is filled directly with arriving items: none for a
    /// buffer that may shed its oldest. Gives `batch` the memory of a spare queue.
    pub(crate) fn room_for_batch(&mut self, batch: &mut VecDeque<T>) -> usize {
        take_up(batch, &mut self.spares);
        match self.overflow {
            Overflow::DropNewest => self.capacity,
            Overflow::DropOldest => 0,
        }
    }

    /// Returns a spare queue if there is one, else a new one.
    pub(crate) fn place(&mut self) -> VecDeque<T> {
        let mut place = VecDeque::new();
        take_up(&mut place, &mut self.spares);
        place
    }

    /// Keeps a queue, emptied, for the next batch or row. It is filled from its beginning again, so that a box whose
    /// messages are read one by one touches no more memory than that.
    pub(crate) fn keep(&mut self, place: &mut VecDeque<T>) {
        place.clear();
        let [first, second] = &mut **self.spares.get_or_insert_default();
        if let Some(free) = [first, second].into_iter().find(|spare| spare.capacity() == 0) {
            std::mem::swap(free, place);
        } else {
            *place = VecDeque::new();
        }
    }

    /// Frees the memory of empty queues.
    pub(crate) fn shrink(&mut self) {
        self.spares = None;
        if self.items.is_empty() {
            self.items = VecDeque::new();
            self.forget_weights();
        }
        if let Some(latest) = &mut self.latest {
            latest.shrink();
        }
    }

    /// Forgets the weights, when there are no items.
    fn forget_weights(&mut self) {
        if let Some(weights) = &mut self.weights {
            **weights = VecDeque::new();
        }
    }

    /// Returns the [fill level](fill_level_of) of the buffer, while the reader holds `held` items.
    #[inline]
    pub(crate) fn fill_level(&self, held: usize) -> u8 {
        if 2 * (self.len() + held) < self.capacity { 0 } else { fill_level_of(self.fill(held)) }
    }

    /// Returns the fill of the buffer, from 0 to 255, while the reader holds `held` items.
    pub(crate) fn fill(&self, held: usize) -> u8 {
        let waiting = self.len() + held;
        match waiting {
            0 => 0,
            _ if waiting >= self.capacity => u8::MAX,
            _ => u8::try_from(waiting * 255 / self.capacity).unwrap_or(u8::MAX),
        }
    }

    pub(crate) fn take_all(&mut self) -> VecDeque<T> {
        self.weight = 0;
        self.forget_weights();
        match &mut self.latest {
            Some(latest) => latest.take_all().into_iter().map(|(item, _)| item).collect(),
            None => std::mem::take(&mut self.items),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.latest {
            Some(latest) => latest.len(),
            None => self.items.len(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffer: &Buffer<()>, items: std::ops::Range<u32>) -> (Backlog<u32>, Vec<Pushed<u32>>) {
        let mut waiting = Backlog::new(buffer);
        let pushed = items.map(|item| waiting.push((item, 1), None, 0)).collect();
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
        assert_eq!(
            pushed,
            [
                Pushed::Stored,
                Pushed::Stored,
                Pushed::Displaced(1, DropReason::OldestShed),
                Pushed::Displaced(2, DropReason::OldestShed)
            ]
        );
        assert!(!waiting.refuses(0));
        assert_eq!(waiting.take_all(), [3, 4]);
    }

    #[test]
    fn what_the_reader_holds_takes_room_as_well() {
        let (mut waiting, _) = filled(&Buffer::dropping(3), 1..3);
        let mut batch = VecDeque::new();
        assert!(waiting.take_batch(&mut batch));
        assert_eq!(batch, [1, 2]);
        assert_eq!(waiting.push((3, 1), None, 2), Pushed::Stored);
        assert_eq!(waiting.push((4, 1), None, 2), Pushed::Full(4));
        assert_eq!(waiting.push((4, 1), None, 1), Pushed::Stored);
    }

    #[test]
    fn a_row_is_stored_as_a_whole_or_not_at_all() {
        let (mut waiting, _) = filled(&Buffer::dropping(5), 1..3);
        let mut row = VecDeque::from([3, 4]);
        waiting.push_all(&mut row, (2, [1, 1].into_iter()), 2);
        assert_eq!((&row, waiting.len(), waiting.room_in_a_row(2)), (&VecDeque::from([3, 4]), 2, 1));
        waiting.push_all(&mut row, (2, [1, 1].into_iter()), 1);
        assert_eq!((row.len(), waiting.len(), waiting.room_in_a_row(1)), (0, 4, 0));
        assert_eq!(waiting.room_in_a_row(9), 0);
        assert_eq!(waiting.take_all(), [1, 2, 3, 4]);
        // If the newest of each key is kept, each item is handled by itself.
        let mut by_key = Backlog::new(&Buffer::latest_by(|()| 1));
        let mut row = VecDeque::from([1, 2]);
        by_key.push_all(&mut row, (2, [1, 1].into_iter()), 0);
        assert_eq!((row.len(), by_key.len()), (2, 0));
    }

    #[test]
    fn so_many_places_are_kept_and_none_that_holds_nothing() {
        let (mut waiting, _) = filled(&Buffer::dropping(9), 0..0);
        (0..5).for_each(|_| waiting.keep(&mut VecDeque::with_capacity(4)));
        waiting.keep(&mut VecDeque::new());
        let places: Vec<_> = (0..3).map(|_| waiting.place().capacity() >= 4).collect();
        assert_eq!(places, [true, true, false]);
        waiting.keep(&mut VecDeque::with_capacity(4));
        waiting.shrink();
        assert_eq!(waiting.place().capacity(), 0);
    }

    #[test]
    fn a_sliding_buffer_keeps_its_oldest_at_hand() {
        let (mut waiting, _) = filled(&Buffer::sliding(2), 1..3);
        let mut batch = VecDeque::new();
        assert!(waiting.take_batch(&mut batch));
        assert_eq!(batch, [1]);
        // The item that is being handed over has left its place to the next.
        assert_eq!(waiting.push((3, 1), None, 1), Pushed::Stored);
        assert_eq!(waiting.push((4, 1), None, 1), Pushed::Displaced(2, DropReason::OldestShed));
        assert_eq!(waiting.take_all(), [3, 4]);
        assert!(!waiting.take_batch(&mut VecDeque::new()));
    }

    #[test]
    fn a_buffer_without_room_keeps_nothing() {
        for buffer in [Buffer::dropping(0), Buffer::sliding(0), Buffer::latest_by(|()| 1).capacity(0)] {
            let (waiting, pushed) = filled(&buffer, 1..3);
            assert_eq!(pushed, [Pushed::Full(1), Pushed::Full(2)]);
            assert!(waiting.refuses(0));
            assert_eq!(waiting.len(), 0);
        }
    }

    #[test]
    fn what_waits_weighs_what_was_put_and_neither_taken_nor_shed() {
        for buffer in [Buffer::dropping(4), Buffer::sliding(4), Buffer::latest_by(|()| 1).capacity(4)] {
            let mut waiting = Backlog::new(&buffer);
            let mut batch = VecDeque::new();
            (0..4_u32).for_each(|n| assert_eq!(waiting.push((n, 10 + n as usize), None, 0), Pushed::Stored));
            assert_eq!(waiting.weight(), 46);
            // A dropping buffer refuses the newest, others drop the oldest.
            let (is_dropping, pushed) = (waiting.drops_newest(), waiting.push((9, 100), None, 0));
            assert_eq!(matches!(pushed, Pushed::Full(9)), is_dropping);
            assert_eq!(waiting.weight(), if is_dropping { 46 } else { 136 });
            assert_eq!(waiting.shed(None), (!is_dropping).then_some((1, DropReason::OldestShed)));
            assert_eq!(waiting.weight(), if is_dropping { 46 } else { 125 });
            assert!(waiting.take_batch(&mut batch));
            assert_eq!((batch.len(), waiting.weight()), if is_dropping { (4, 0) } else { (1, 113) });
            let mut row = VecDeque::from([5]);
            waiting.push_all(&mut row, (7, [7].into_iter()), batch.len() - 1);
            waiting.take_all();
            assert_eq!(waiting.weight(), 0);
        }
    }

    #[test]
    fn what_is_replaced_weighs_nothing_any_more() {
        let buffer = Buffer::latest_by(|n: &u32| n % 10);
        let key_of = buffer.key().unwrap().clone();
        let mut waiting = Backlog::new(&buffer);
        for (n, weight) in [(1, 5), (2, 7), (11, 20)] {
            let _ = waiting.push((n, weight), key_of.find(&n), 0);
        }
        assert_eq!(waiting.weight(), 27);
        assert_eq!(waiting.shed(key_of.find(&21)), Some((11, DropReason::Replaced)));
        assert_eq!(waiting.shed(key_of.find(&21)), Some((2, DropReason::OldestShed)));
        assert_eq!((waiting.weight(), waiting.shed(None)), (0, None));
    }

    /// Returns a buffer of numbers whose keys are their last digits.
    fn by_last_digit() -> (Buffer<u32>, impl Fn(&mut Backlog<u32>, u32) -> Pushed<u32>) {
        let buffer = Buffer::latest_by(|n: &u32| n % 10);
        let key_of = buffer.key().unwrap().clone();
        (buffer, move |waiting, n| waiting.push((n, 1), key_of.find(&n), 0))
    }

    #[test]
    fn a_buffer_by_key_keeps_the_newest_of_each_in_the_order_in_which_they_came() {
        let (buffer, push) = by_last_digit();
        let mut waiting = Backlog::new(&buffer);
        assert_eq!([1, 2, 3].map(|n| push(&mut waiting, n)), [Pushed::Stored, Pushed::Stored, Pushed::Stored]);
        assert_eq!(push(&mut waiting, 11), Pushed::Displaced(1, DropReason::Replaced));
        assert_eq!(push(&mut waiting, 13), Pushed::Displaced(3, DropReason::Replaced));
        assert_eq!((waiting.len(), waiting.capacity(), waiting.refuses(0)), (3, 1024, false));
        let mut batch = VecDeque::new();
        assert!(waiting.take_batch(&mut batch));
        assert_eq!(batch, [2], "one at a time");
        // An item that is being handed over is not replaced.
        assert_eq!(push(&mut waiting, 12), Pushed::Stored);
        assert_eq!(waiting.take_all(), [11, 13, 12]);
        assert_eq!(push(&mut waiting, 21), Pushed::Stored);
    }

    #[test]
    fn a_buffer_by_key_lets_the_oldest_go_for_a_key_too_many() {
        let (buffer, push) = by_last_digit();
        let mut waiting = Backlog::new(&buffer.capacity(2));
        assert_eq!([1, 2].map(|n| push(&mut waiting, n)), [Pushed::Stored, Pushed::Stored]);
        assert_eq!(push(&mut waiting, 11), Pushed::Displaced(1, DropReason::Replaced));
        assert_eq!(push(&mut waiting, 3), Pushed::Displaced(2, DropReason::OldestShed));
        assert_eq!(push(&mut waiting, 4), Pushed::Displaced(11, DropReason::OldestShed));
        assert_eq!(waiting.push((5, 1), None, 0), Pushed::Displaced(3, DropReason::OldestShed));
        assert_eq!(waiting.take_all(), [4, 5]);
    }
}
