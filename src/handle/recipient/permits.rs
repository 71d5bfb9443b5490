//! The bound on messages that wait behind the recipients of this process: each message takes a permit.
//!
//! actix's queues have no bound of their own, and the code that packs a message does not know for which queue it is. So
//! all of them share one bound.

use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Number of permits that are taken, or kept for a sending thread; at most [`LIMIT`].
static QUEUED: AtomicUsize = AtomicUsize::new(0);

static LIMIT: AtomicUsize = AtomicUsize::new(65_536);

/// Number of permits kept for a thread at a time, so that its messages seldom touch the count that all threads share.
/// None are kept once half of all are taken, so that idle threads with permits leave at least the other half to threads
/// that send.
const BATCH: usize = 16;

/// Sets the maximum number of messages that wait behind the recipients of this process.
pub(crate) fn limit_queue(envelopes: usize) {
    LIMIT.store(envelopes, Ordering::Relaxed);
}

/// Returns the number of permits taken now, including those kept for other threads.
pub(crate) fn queued() -> usize {
    // A thread that is being torn down has no permits.
    let _ = THREAD.try_with(ThreadPermits::give_back);
    QUEUED.load(Ordering::Relaxed)
}

thread_local! {
    static THREAD: ThreadPermits = const { ThreadPermits(Cell::new(0)) };
}

/// The number of permits kept for a thread.
struct ThreadPermits(Cell<usize>);

impl ThreadPermits {
    /// Takes a permit, unless all are taken.
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

/// Takes `places` permits, if no more than `limit` are taken then.
fn take(places: usize, limit: usize) -> bool {
    take_of(&QUEUED, places, limit)
}

fn take_of(queued: &AtomicUsize, places: usize, limit: usize) -> bool {
    let taken = |queued: usize| queued.checked_add(places).filter(|&queued| queued <= limit);
    queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
}

/// Takes a permit for a message, unless all are taken. [`Permits`] returns it.
#[inline]
pub(crate) fn acquire() -> bool {
    THREAD.try_with(ThreadPermits::take).unwrap_or_else(|_| take(1, LIMIT.load(Ordering::Relaxed)))
}

/// Permits of messages that have left the queue, returned on drop.
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
        // A count for this test alone: the real limit and count belong to the whole process, and other tests send
        // meanwhile.
        let queued = AtomicUsize::new(0);
        let idle = (0..1_000).filter(|_| take_of(&queued, BATCH, 100 / 2)).count();
        assert_eq!(idle, 50 / BATCH);
        let taken = (0..1_000).filter(|_| take_of(&queued, 1, 100)).count();
        assert_eq!(idle * BATCH + taken, 100, "no more than there are");
        assert!(taken >= 50);
    }
}
