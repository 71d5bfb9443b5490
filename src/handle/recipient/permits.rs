//! How many messages may wait behind the recipients of this process: a place for each.
//!
//! actix's queues have no bound of their own, and what packs a message for one does not know which it is for. So the
//! bound is one for all of them.

use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Places in all queues that are taken, or kept for a thread that sends; at most [`LIMIT`].
static QUEUED: AtomicUsize = AtomicUsize::new(0);

static LIMIT: AtomicUsize = AtomicUsize::new(65_536);

/// Places that are kept for a thread at a time, so that not each of its messages costs a count that all threads share.
/// None are while half of all are taken: threads that have places and do not send leave the other half to those that do.
const BATCH: usize = 16;

/// Sets how many messages may wait behind the recipients of this process.
pub(crate) fn limit_queue(envelopes: usize) {
    LIMIT.store(envelopes, Ordering::Relaxed);
}

/// How many places are taken now. Of those kept for threads, those for other threads than this count.
pub(crate) fn queued() -> usize {
    // A thread that is being torn down has none.
    let _ = THREAD.try_with(ThreadPermits::give_back);
    QUEUED.load(Ordering::Relaxed)
}

thread_local! {
    static THREAD: ThreadPermits = const { ThreadPermits(Cell::new(0)) };
}

/// How many places are kept for a thread.
struct ThreadPermits(Cell<usize>);

impl ThreadPermits {
    /// Takes a place, unless all are taken.
    #[inline]
    fn take(&self) -> bool {
        match self.0.get() {
            0 => self.refill(),
            kept => {
                self.0.set(kept - 1);
                true
            }
        }
    }

    #[cold]
    fn refill(&self) -> bool {
        let limit = LIMIT.load(Ordering::Relaxed);
        if take(BATCH, limit / 2) {
            self.0.set(BATCH - 1);
            return true;
        }
        take(1, limit)
    }

    fn give_back(&self) {
        QUEUED.fetch_sub(self.0.take(), Ordering::Relaxed);
    }
}

impl Drop for ThreadPermits {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Takes so many places, if no more than `limit` are taken then.
fn take(places: usize, limit: usize) -> bool {
    take_of(&QUEUED, places, limit)
}

fn take_of(queued: &AtomicUsize, places: usize, limit: usize) -> bool {
    let taken = |queued: usize| queued.checked_add(places).filter(|&queued| queued <= limit);
    queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
}

/// Takes a place for a message, unless all are taken. It is given back by [`Permits`].
#[inline]
pub(crate) fn acquire() -> bool {
    THREAD.try_with(ThreadPermits::take).unwrap_or_else(|_| take(1, LIMIT.load(Ordering::Relaxed)))
}

/// Places that are left, and given back in the end.
#[derive(Debug, Default)]
pub(crate) struct Permits(pub(crate) usize);

impl Drop for Permits {
    fn drop(&mut self) {
        QUEUED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_do_not_send_leave_half_of_all_places_to_others() {
        // Of this test alone: the limit and the count are the whole process's, and others send meanwhile.
        let queued = AtomicUsize::new(0);
        let idle = (0..1_000).filter(|_| take_of(&queued, BATCH, 100 / 2)).count();
        assert_eq!(idle, 50 / BATCH);
        let taken = (0..1_000).filter(|_| take_of(&queued, 1, 100)).count();
        assert_eq!(idle * BATCH + taken, 100, "no more than there are");
        assert!(taken >= 50);
    }
}
