//! Counters that grow with every message. Each thread counts in a shard of its own, and a reader sums the shards:
//! counting costs one addition, where a shared counter would cost several.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

/// A kind of counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counter {
    Sent,
    Delivered,
}

/// The counts of one node, or a part of them.
#[derive(Debug, Default)]
struct Counts([AtomicU64; 2]);

impl Counts {
    fn of(&self, counter: Counter) -> &AtomicU64 {
        let Counts([sent, delivered]) = self;
        match counter {
            Counter::Sent => sent,
            Counter::Delivered => delivered,
        }
    }
}

/// The sharded counters of one node, over all threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardedCounters(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The counts of threads that have ended and of threads without a shard. The counts of an ending thread are added
    /// under the lock of `live`.
    rest: Counts,
    /// The shards of running threads, by their memory address.
    live: Mutex<HashMap<usize, Arc<Counts>>>,
}

/// The counts of one thread. Only that thread writes them; others read them.
struct Shard {
    counts: Arc<Counts>,
    all: ShardedCounters,
    /// Counts for other nodes since the shard was made.
    misses: u32,
}

/// Counts for other nodes after which the shard of a thread moves to another node.
const MISSES: u32 = 1024;

thread_local! {
    /// The only shard of this thread. A thread that counts for several nodes does not change its shard with each
    /// message.
    static HERE: RefCell<Option<Shard>> = const { RefCell::new(None) };
}

impl Shard {
    fn new(all: &ShardedCounters) -> Shard {
        let shard = Shard { counts: Arc::default(), all: all.clone(), misses: 0 };
        all.0.live.lock().insert(shard.key(), Arc::clone(&shard.counts));
        shard
    }

    fn key(&self) -> usize {
        Arc::as_ptr(&self.counts).addr()
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let mut live = self.all.0.live.lock();
        for counter in [Counter::Sent, Counter::Delivered] {
            self.all.add(counter, self.counts.of(counter).load(Ordering::Relaxed));
        }
        live.remove(&self.key());
    }
}

impl ShardedCounters {
    /// Counts one.
    #[inline]
    pub(super) fn count(&self, counter: Counter) {
        let is_leased = HERE.try_with(|here| match &mut *here.borrow_mut() {
            Some(shard) if Arc::ptr_eq(&shard.all.0, &self.0) => {
                let count = shard.counts.of(counter);
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            other => self.count_elsewhere(counter, other),
        });
        if is_leased.is_err() {
            // The thread is being torn down.
            self.add(counter, 1);
        }
    }

    #[cold]
    fn count_elsewhere(&self, counter: Counter, here: &mut Option<Shard>) {
        self.add(counter, 1);
        match here {
            Some(Shard { misses, .. }) if *misses < MISSES => *misses += 1,
            _ => *here = Some(Shard::new(self)),
        }
    }

    /// Adds `count` to a counter.
    pub(super) fn add(&self, counter: Counter, count: u64) {
        self.0.rest.of(counter).fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn sum(&self, counter: Counter) -> u64 {
        let live = self.0.live.lock();
        let threads = live.values().map(|counts| counts.of(counter).load(Ordering::Relaxed)).sum::<u64>();
        self.0.rest.of(counter).load(Ordering::Relaxed) + threads
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_counts_for_several_and_leaves_its_counts_behind() {
        let (first, second) = (ShardedCounters::default(), ShardedCounters::default());
        let (here, at_peer) = (first.clone(), second.clone());
        let counting = thread::spawn(move || {
            for _ in 0..3 * MISSES {
                here.count(Counter::Sent);
                at_peer.count(Counter::Sent);
                at_peer.count(Counter::Delivered);
            }
            here.live() + at_peer.live()
        });
        assert_eq!(counting.join().expect("it counts"), 1, "one shard for a thread");
        let all = u64::from(3 * MISSES);
        assert_eq!([&first, &second].map(|counters| counters.sum(Counter::Sent)), [all; 2]);
        assert_eq!([&first, &second].map(|counters| counters.sum(Counter::Delivered)), [0, all]);
        assert_eq!(first.live() + second.live(), 0, "it has gone");
    }

    #[test]
    fn a_thread_that_counts_for_another_node_from_now_on_gets_a_shard_there() {
        let counting = thread::spawn(|| {
            let (first, second) = (ShardedCounters::default(), ShardedCounters::default());
            (0..MISSES).for_each(|_| first.count(Counter::Delivered));
            (0..2 * MISSES).for_each(|_| second.count(Counter::Delivered));
            (first.sum(Counter::Delivered), second.sum(Counter::Delivered), second.live())
        });
        assert_eq!(counting.join().expect("it counts"), (u64::from(MISSES), u64::from(2 * MISSES), 1));
    }

    impl ShardedCounters {
        fn live(&self) -> usize {
            self.0.live.lock().len()
        }
    }
}
