//! What is counted for each message: by the thread that counts it, and added up when somebody asks. So it costs an
//! addition, where a count that threads share would cost several.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Sent,
    Delivered,
}

/// The counts of one node, or a part of them.
#[derive(Debug, Default)]
struct Counts([AtomicU64; 2]);

impl Counts {
    fn of(&self, what: What) -> &AtomicU64 {
        let Counts([sent, delivered]) = self;
        match what {
            What::Sent => sent,
            What::Delivered => delivered,
        }
    }
}

/// What all threads have counted for one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tallies(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What was counted by threads that have gone, and by those that have no tally. What a thread leaves is added under the
    /// lock of `live`.
    rest: Counts,
    /// The tallies of threads that live, by where they lie.
    live: Mutex<HashMap<usize, Arc<Counts>>>,
}

/// What one thread has counted. Only that thread counts there; others read it.
struct Tally {
    counts: Arc<Counts>,
    all: Tallies,
    /// How often the thread counted for other nodes since.
    misses: u32,
}

/// How often a thread counts for other nodes than its tally is of, until it gets one there.
const MISSES: u32 = 1024;

thread_local! {
    /// The tally of this thread, which has one. One that counts for several nodes does not change from one to the other with
    /// each message.
    static HERE: RefCell<Option<Tally>> = const { RefCell::new(None) };
}

impl Tally {
    fn new(all: &Tallies) -> Tally {
        let tally = Tally { counts: Arc::default(), all: all.clone(), misses: 0 };
        all.0.live.lock().insert(tally.key(), Arc::clone(&tally.counts));
        tally
    }

    fn key(&self) -> usize {
        Arc::as_ptr(&self.counts).addr()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let mut live = self.all.0.live.lock();
        for what in [What::Sent, What::Delivered] {
            self.all.add(what, self.counts.of(what).load(Ordering::Relaxed));
        }
        live.remove(&self.key());
    }
}

impl Tallies {
    /// Counts one.
    #[inline]
    pub(super) fn count(&self, what: What) {
        let counted = HERE.try_with(|here| match &mut *here.borrow_mut() {
            Some(tally) if Arc::ptr_eq(&tally.all.0, &self.0) => {
                let count = tally.counts.of(what);
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            other => self.count_elsewhere(what, other),
        });
        if counted.is_err() {
            // The thread is being torn down.
            self.add(what, 1);
        }
    }

    #[cold]
    fn count_elsewhere(&self, what: What, here: &mut Option<Tally>) {
        self.add(what, 1);
        match here {
            Some(Tally { misses, .. }) if *misses < MISSES => *misses += 1,
            _ => *here = Some(Tally::new(self)),
        }
    }

    /// Counts so many.
    pub(super) fn add(&self, what: What, count: u64) {
        self.0.rest.of(what).fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn sum(&self, what: What) -> u64 {
        let live = self.0.live.lock();
        let threads = live.values().map(|counts| counts.of(what).load(Ordering::Relaxed)).sum::<u64>();
        self.0.rest.of(what).load(Ordering::Relaxed) + threads
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_counts_for_several_and_leaves_its_counts_behind() {
        let (first, second) = (Tallies::default(), Tallies::default());
        let (here, there) = (first.clone(), second.clone());
        let counting = thread::spawn(move || {
            for _ in 0..3 * MISSES {
                here.count(What::Sent);
                there.count(What::Sent);
                there.count(What::Delivered);
            }
            here.live() + there.live()
        });
        assert_eq!(counting.join().expect("it counts"), 1, "one tally for a thread");
        let all = u64::from(3 * MISSES);
        assert_eq!([&first, &second].map(|tallies| tallies.sum(What::Sent)), [all; 2]);
        assert_eq!([&first, &second].map(|tallies| tallies.sum(What::Delivered)), [0, all]);
        assert_eq!(first.live() + second.live(), 0, "it has gone");
    }

    #[test]
    fn a_thread_that_counts_for_another_node_from_now_on_gets_a_tally_there() {
        let counting = thread::spawn(|| {
            let (first, second) = (Tallies::default(), Tallies::default());
            (0..MISSES).for_each(|_| first.count(What::Delivered));
            (0..2 * MISSES).for_each(|_| second.count(What::Delivered));
            (first.sum(What::Delivered), second.sum(What::Delivered), second.live())
        });
        assert_eq!(counting.join().expect("it counts"), (u64::from(MISSES), u64::from(2 * MISSES), 1));
    }

    impl Tallies {
        fn live(&self) -> usize {
            self.0.live.lock().len()
        }
    }
}
