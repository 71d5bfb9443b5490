//! Frames and messages that the peers of a node have begun and not finished. They count with the size of the buffers
//! allocated for them, which is the memory that they take.
//!
//! One bound holds for all connections together. When it is exceeded, the most wasteful connection is closed. The waste
//! of a connection is the sum of the waiting times of its unfinished bytes. An honest message has many unfinished bytes
//! for a moment; a peer that begins messages only to occupy memory has them for a long time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::wire::codec::Violation;

/// The unfinished bytes of one connection, and their age.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Unfinished {
    bytes: usize,
    /// The sum of their ages.
    byte_seconds: f64,
}

impl Unfinished {
    /// Adds bytes that have waited for `age`.
    pub(crate) fn add(&mut self, bytes: usize, age: Duration) {
        self.bytes += bytes;
        self.byte_seconds += bytes as f64 * age.as_secs_f64();
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct UnfinishedFrames {
    state: Mutex<UnfinishedState>,
    limit: usize,
    began: Instant,
}

#[derive(Debug, Default)]
struct UnfinishedState {
    /// One entry for each connection.
    of: BTreeMap<u64, Entry>,
    /// Unfinished bytes of all connections.
    total: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: usize,
    /// The sum of the arrival times of its bytes, in seconds.
    came: f64,
    /// Cancelled when the connection is to go.
    expelled: CancellationToken,
}

impl Entry {
    fn waste(&self, now: f64) -> f64 {
        // If the clock has not moved, as in a simulation, the connection with the most bytes wastes most.
        (self.bytes as f64).mul_add(now, -self.came) + self.bytes as f64 * 1e-6
    }
}

/// The part of one connection; freed when it is dropped.
#[derive(Debug)]
pub(crate) struct UnfinishedShare {
    frames: Arc<UnfinishedFrames>,
    number: u64,
    bytes: usize,
    /// Cancelled when the connection is to go.
    pub(crate) expelled: CancellationToken,
}

impl UnfinishedFrames {
    pub(crate) fn new(limit: usize) -> UnfinishedFrames {
        UnfinishedFrames { state: Mutex::default(), limit, began: Instant::now() }
    }

    /// Returns the part of a new connection.
    pub(crate) fn share(self: &Arc<Self>) -> UnfinishedShare {
        let expelled = CancellationToken::new();
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.of.insert(number, Entry { bytes: 0, came: 0.0, expelled: expelled.clone() });
        UnfinishedShare { frames: Arc::clone(self), number, bytes: 0, expelled }
    }

    /// Returns the violation that a connection which has to be closed ends with.
    pub(crate) fn violation(&self) -> Violation {
        Violation::Unfinished { limit: self.limit }
    }
}

impl UnfinishedShare {
    /// Records the bytes that are unfinished now.
    ///
    /// # Errors
    /// If this connection has to be closed.
    pub(crate) fn note(&mut self, unfinished: Unfinished, now: Instant) -> Result<(), Violation> {
        // Even an equal count may be the bytes of another, later frame.
        if unfinished.bytes == 0 && self.bytes == 0 {
            return Ok(());
        }
        let frames = &*self.frames;
        let now = now.saturating_duration_since(frames.began).as_secs_f64();
        let came = (unfinished.bytes as f64).mul_add(now, -unfinished.byte_seconds);
        let expelled = {
            let mut state = frames.state.lock();
            state.set(self.number, unfinished.bytes, came);
            self.bytes = unfinished.bytes;
            state.over(frames.limit, now)
        };
        // Outside the lock, since the woken tasks are foreign code.
        expelled.iter().for_each(CancellationToken::cancel);
        if self.expelled.is_cancelled() { Err(self.violation()) } else { Ok(()) }
    }

    /// Returns the violation that a connection which has to be closed ends with.
    pub(crate) fn violation(&self) -> Violation {
        self.frames.violation()
    }
}

impl Drop for UnfinishedShare {
    fn drop(&mut self) {
        let mut state = self.frames.state.lock();
        state.set(self.number, 0, 0.0);
        state.of.remove(&self.number);
    }
}

impl UnfinishedState {
    /// Sets the bytes of a connection. A connection that has to be closed no longer counts: it is as good as gone.
    fn set(&mut self, number: u64, bytes: usize, came: f64) {
        if let Some(entry) = self.of.get_mut(&number) {
            self.total = self.total.saturating_sub(entry.bytes) + bytes;
            (entry.bytes, entry.came) = (bytes, came);
        }
    }

    /// Removes the connections that waste most, until the others are within the limit.
    fn over(&mut self, limit: usize, now: f64) -> Vec<CancellationToken> {
        let mut expelled = Vec::new();
        while self.total > limit {
            let wasters = self.of.iter().filter(|(_, entry)| entry.bytes > 0);
            let most = wasters.max_by(|(_, one), (_, other)| one.waste(now).total_cmp(&other.waste(now)));
            let Some(number) = most.map(|(number, _)| *number) else { break };
            if let Some(entry) = self.of.remove(&number) {
                self.total = self.total.saturating_sub(entry.bytes);
                expelled.push(entry.expelled);
            }
        }
        expelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;

    fn aged(bytes: usize, seconds: u64) -> Unfinished {
        let mut unfinished = Unfinished::default();
        unfinished.add(bytes, Duration::from_secs(seconds));
        unfinished
    }

    fn has_to_go(share: &UnfinishedShare) -> bool {
        share.expelled.is_cancelled()
    }

    #[test]
    fn all_connections_together_keep_no_more_than_the_limit_says() {
        let frames = Arc::new(UnfinishedFrames::new(LIMIT));
        let now = frames.began;
        let mut shares: Vec<_> = (0..10).map(|_| frames.share()).collect();
        for share in &mut shares {
            assert_eq!(share.note(aged(10, 0), now), Ok(()));
        }
        assert!(!shares.iter().any(has_to_go), "that is as much as there may be");
        assert_eq!(shares[3].note(aged(11, 0), now), Err(frames.violation()), "it has most, and is told so");
        assert_eq!(shares.iter().filter(|share| has_to_go(share)).count(), 1);
        assert_eq!(frames.state.lock().total, 90);
        assert_eq!(shares[4].note(aged(20, 0), now), Ok(()), "there is room again");
    }

    #[test]
    fn the_one_goes_whose_bytes_have_waited_longest() {
        let frames = Arc::new(UnfinishedFrames::new(LIMIT));
        let at = |second| frames.began + Duration::from_secs(second);
        let [mut parked, mut old_byte, mut honest] = [(); 3].map(|()| frames.share());
        assert_eq!(parked.note(aged(30, 0), at(10)), Ok(()));
        assert_eq!(old_byte.note(aged(1, 0), at(0)), Ok(()));
        assert_eq!(honest.note(aged(69, 1), at(60)), Ok(()));
        // 30 bytes for 51 seconds waste more than one byte for 61, and more than 70 bytes for one.
        assert_eq!(honest.note(aged(70, 1), at(61)), Ok(()));
        assert!(has_to_go(&parked) && !has_to_go(&old_byte) && !has_to_go(&honest));
        assert_eq!(parked.note(aged(31, 0), at(61)), Err(frames.violation()));
        assert_eq!(frames.state.lock().total, 71, "what it has still got counts no more");
    }

    #[test]
    fn a_frame_that_takes_the_room_of_the_last_is_as_young_as_it_is() {
        let frames = Arc::new(UnfinishedFrames::new(LIMIT));
        let at = |second| frames.began + Duration::from_secs(second);
        let [mut busy, mut parked, mut last] = [(); 3].map(|()| frames.share());
        assert_eq!(busy.note(aged(50, 0), at(0)), Ok(()));
        assert_eq!(parked.note(aged(40, 0), at(40)), Ok(()));
        assert_eq!(busy.note(aged(50, 0), at(60)), Ok(()));
        assert_eq!(last.note(aged(11, 0), at(61)), Ok(()));
        assert!(has_to_go(&parked) && !has_to_go(&busy));
    }

    #[test]
    fn as_many_go_as_are_needed() {
        let frames = Arc::new(UnfinishedFrames::new(LIMIT));
        let at = |second| frames.began + Duration::from_secs(second);
        let mut shares: Vec<_> = (0..10).map(|_| frames.share()).collect();
        for share in &mut shares {
            assert_eq!(share.note(aged(10, 0), at(0)), Ok(()));
        }
        let mut large = frames.share();
        assert_eq!(large.note(aged(95, 0), at(9)), Ok(()));
        assert!(shares.iter().all(has_to_go));
    }

    #[test]
    fn a_connection_that_ends_gives_its_part_back() {
        let frames = Arc::new(UnfinishedFrames::new(LIMIT));
        let mut shares = [(); 2].map(|()| frames.share());
        for share in &mut shares {
            assert_eq!(share.note(aged(50, 0), frames.began), Ok(()));
        }
        assert_eq!(shares[0].note(aged(0, 0), frames.began), Ok(()));
        drop(shares);
        let state = frames.state.lock();
        assert_eq!((state.total, state.of.len()), (0, 0));
    }
}
