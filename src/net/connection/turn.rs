//! Bounds how long a direction of a connection keeps its thread before other tasks get a turn.
//!
//! A stream that is always ready, as between two processes of a host, would keep the thread for as long as there are
//! bytes to carry. And if very many peers send at once, a peer that sends little would wait for a turn of each of them,
//! several times over until its answer is written. So busy readers wait in a queue, of which the
//! [`ReadScheduler`] serves a few in a round; only a short burst is handled at once.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::net::peers::read_scheduler::LONGEST;
use crate::net::peers::read_scheduler::ReadScheduler;
use crate::net::peers::read_scheduler::SHORTEST;
use crate::wire::frames::kind;

/// The work of a frame that is not a post, in posts.
const COSTLY: usize = 8;

/// The posts left in a turn that are enough for the burst of a peer that sends little.
const FRESH: usize = LONGEST / 2;

/// Bytes written before other tasks of the thread get a turn.
const BYTES: usize = 128 << 10;

/// Bytes read that take as much of a turn as a post does.
const UNIT: usize = 512;

/// The turns of one reader.
#[derive(Debug)]
pub(super) struct ReadingTurn {
    scheduler: Arc<ReadScheduler>,
    /// The posts that may still be handled in this turn.
    pub(super) left: usize,
    /// The allowance at the beginning of the turn.
    given: usize,
    /// Whether the peer's last burst, or the present one, is more than a short one.
    is_busy: bool,
    /// The permit to be one of the busy readers that are served.
    place: Option<OwnedSemaphorePermit>,
}

impl ReadingTurn {
    pub(super) fn new(scheduler: Arc<ReadScheduler>) -> ReadingTurn {
        let given = scheduler.first_turn();
        ReadingTurn { scheduler, left: given, given, is_busy: false, place: None }
    }

    /// Ends the turn while there is more to handle. Others have their turn first: the readers before this one in the
    /// queue, and peers whose bytes have just come, since the thread polls for them between two rounds.
    pub(super) async fn ends(&mut self) {
        self.is_busy(true);
        self.place = None;
        self.place = self.scheduler.place().await;
        tokio::task::yield_now().await;
        self.given = self.scheduler.busy_turn();
        self.left = self.given;
    }

    /// Deducts received bytes from the turn, whatever their content.
    #[inline]
    pub(super) fn take_bytes(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes / UNIT);
    }

    /// Whether enough of the turn is left that a wait for the peer need not be noted.
    #[inline]
    pub(super) fn is_fresh(&self) -> bool {
        !self.is_busy && self.left >= FRESH
    }

    /// Notes that nothing is left to handle, and that no more bytes have come.
    pub(super) fn has_waited(&mut self) {
        self.is_busy(self.place.is_some() || self.given - self.left > SHORTEST);
        self.place = None;
        self.given = self.scheduler.first_turn();
        self.left = self.given;
    }

    /// Notes that the reader waits for something other than its peer: another busy reader can be served meanwhile.
    pub(super) fn pauses(&mut self) {
        if self.place.take().is_some() {
            self.left = 0;
        }
    }

    fn is_busy(&mut self, is_busy: bool) {
        match (std::mem::replace(&mut self.is_busy, is_busy), is_busy) {
            (false, true) => self.scheduler.join(),
            (true, false) => self.scheduler.leave(),
            _ => {}
        }
    }
}

impl Drop for ReadingTurn {
    fn drop(&mut self) {
        self.is_busy(false);
    }
}

/// Returns the work of a frame of that kind, in posts.
#[inline]
pub(super) fn cost(of: u8) -> usize {
    if of == kind::POST { 1 } else { COSTLY }
}

/// The bytes that a writer has written since it last yielded.
#[derive(Default)]
pub(super) struct YieldBudget(usize);

impl YieldBudget {
    /// Whether other tasks of the thread have to run after that many more bytes.
    pub(super) fn ends_after(&mut self, bytes: usize) -> bool {
        self.0 += bytes;
        let is_over = self.0 >= BYTES;
        if is_over {
            self.0 = 0;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::yield_now;

    use super::*;
    use crate::net::peers::read_scheduler::ROUND;
    use crate::net::peers::read_scheduler::SERVED;
    use crate::net::peers::read_scheduler::SHORTEST;

    fn readers<const N: usize>(scheduler: &Arc<ReadScheduler>) -> [ReadingTurn; N] {
        std::array::from_fn(|_| ReadingTurn::new(Arc::clone(scheduler)))
    }

    #[tokio::test]
    async fn turns_are_the_shorter_the_more_have_more_to_handle() {
        let scheduler = Arc::new(ReadScheduler::default());
        let [mut first, mut second, mut others @ ..] = readers::<SERVED>(&scheduler);
        first.ends().await;
        assert_eq!(first.left, LONGEST, "nobody else has anything to handle");
        for other in &mut others {
            other.ends().await;
        }
        first.ends().await;
        assert_eq!(first.left, ROUND / (SERVED - 1));
        second.ends().await;
        assert_eq!(second.left, ROUND / SERVED);
        // Each has been silent twice, and sent nothing in between.
        for other in others.iter_mut().chain([&mut second]) {
            other.has_waited();
            assert!(!other.is_fresh() && other.place.is_none());
            other.has_waited();
        }
        first.ends().await;
        assert_eq!(first.left, LONGEST, "the others are not busy any more");
        // A reader whose connection ends in the middle of its turn.
        second.place = None;
        assert!(second.ends().now_or_never().is_none());
        drop(second);
        first.has_waited();
        assert_eq!(first.left, LONGEST);
    }

    /// A peer that is silent after each burst gets no more than a peer that sends without a break.
    #[tokio::test]
    async fn long_bursts_count_as_busy_and_short_ones_do_not() {
        let scheduler = Arc::new(ReadScheduler::default());
        let mut readers = readers::<{ 2 * ROUND / SHORTEST }>(&scheduler);
        for reader in &mut readers {
            reader.left -= SHORTEST;
            reader.has_waited();
            assert_eq!(reader.left, LONGEST, "it was short");
        }
        for reader in &mut readers {
            reader.left -= reader.given.min(SHORTEST + 1);
            reader.has_waited();
        }
        let [mut quiet] = self::readers(&scheduler);
        assert_eq!(quiet.given, SHORTEST, "very many had long bursts");
        quiet.left -= SHORTEST;
        quiet.has_waited();
        readers.iter_mut().for_each(ReadingTurn::has_waited);
        assert!(readers.iter().all(|reader| !reader.is_busy) && !quiet.is_busy);
    }

    #[tokio::test]
    async fn bytes_take_their_part_of_a_turn_and_nobody_keeps_a_place_while_it_waits_for_something_else() {
        let scheduler = Arc::new(ReadScheduler::default());
        let [mut reader] = readers(&scheduler);
        reader.take_bytes(LONGEST * UNIT - 1);
        assert_eq!(reader.left, 1);
        reader.take_bytes(usize::MAX);
        assert_eq!(reader.left, 0);
        reader.ends().await;
        reader.pauses();
        assert!(reader.place.is_none() && reader.left == 0, "it has to queue again");
    }

    #[tokio::test]
    async fn few_of_those_who_are_busy_are_served_in_a_round_and_who_says_little_is_not_behind_them() {
        let scheduler = Arc::new(ReadScheduler::default());
        let mut busy = readers::<{ 100 * SERVED }>(&scheduler);
        let mut rounds = Vec::new();
        for round in 0..100 {
            // Each reader has its turn before any has another.
            let (had, have) = busy.split_at_mut(round * SERVED);
            let (served, have_not) = have.split_at_mut(SERVED);
            for reader in &mut *served {
                reader.ends().await;
                rounds.push(reader.left);
            }
            let mut others: Vec<_> = had.iter_mut().chain(have_not).map(|other| Box::pin(other.ends())).collect();
            for _ in 0..2 {
                assert!(others.iter_mut().all(|other| other.as_mut().now_or_never().is_none()));
                yield_now().await;
            }
            drop(others);
            served.iter_mut().for_each(|served| served.place = None);
        }
        assert!(rounds.iter().all(|left| (ROUND / SERVED..=LONGEST).contains(left)), "{rounds:?}");
        let [mut quiet] = readers(&scheduler);
        assert_eq!(quiet.left, SHORTEST);
        quiet.left = 1;
        quiet.has_waited();
        assert_eq!(quiet.left, SHORTEST, "its peer was silent");
    }

    #[tokio::test]
    async fn who_waits_for_a_place_is_served_first_come_first_served_and_not_in_the_same_round() {
        let scheduler = Arc::new(ReadScheduler::default());
        let mut served = readers::<SERVED>(&scheduler);
        for reader in &mut served {
            reader.ends().await;
        }
        let [mut next, mut last] = readers(&scheduler);
        let (mut next, mut last) = (Box::pin(next.ends()), Box::pin(last.ends()));
        assert!(next.as_mut().now_or_never().is_none() && last.as_mut().now_or_never().is_none());
        served[0].has_waited();
        assert!(last.as_mut().now_or_never().is_none(), "the place is that of the first");
        assert!(next.as_mut().now_or_never().is_none(), "others have a round before it");
        yield_now().await;
        assert!(next.as_mut().now_or_never().is_some());
    }
}
