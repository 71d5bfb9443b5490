//! Counts everything a node does and tells whoever asks: stats, metrics, events and the log.
//!
//! Counting is an atomic addition. How a drop is counted and told is in [`loss`].

pub(crate) mod counters;
pub(crate) mod event;
pub(crate) mod loss;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod stats;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use actix::prelude::Recipient;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::counters::Counter;
use self::counters::ShardedCounters;
use self::event::Event;
use self::loss::AtPeer;
use self::loss::Audience;
use self::loss::Concerned;
use self::loss::Drops;
use crate::reason::DropReason;

/// The counts of one node, and whom it tells.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    counters: ShardedCounters,
    in_doubt: AtomicU64,
    late_answers: AtomicU64,
    connects: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    dropped: Drops,
    reported: Drops,
    watched: AtomicBool,
    audience: Mutex<Audience>,
    /// What the drops that are not logged yet concern, by the reason and whether a peer has told of them.
    concerned: Mutex<BTreeMap<(DropReason, AtPeer), Concerned>>,
    /// What of `dropped` and of `reported` was logged.
    logged: Mutex<[BTreeMap<DropReason, u64>; 2]>,
    /// Whether anything was dropped since the last flush.
    stirred: AtomicBool,
    noted: Notify,
    /// Whether nobody tells of drops later.
    has_ended: AtomicBool,
}

impl Observer {
    pub(crate) fn sent(&self, count: u64) {
        self.counters.add(Counter::Sent, count);
    }

    /// One more was sent on this thread.
    #[inline]
    pub(crate) fn sent_here(&self) {
        self.counters.count(Counter::Sent);
    }

    pub(crate) fn delivered(&self, count: u64) {
        self.counters.add(Counter::Delivered, count);
    }

    /// One more was delivered on this thread.
    #[inline]
    pub(crate) fn delivered_here(&self) {
        self.counters.count(Counter::Delivered);
    }

    pub(crate) fn in_doubt(&self, count: u64) {
        self.in_doubt.fetch_add(count, Ordering::Relaxed);
    }

    /// So many messages are no longer in doubt.
    pub(crate) fn settled(&self, count: u64) {
        self.in_doubt.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn late_answer(&self) {
        self.late_answers.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has come up.
    pub(crate) fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bytes_sent(&self, count: u64) {
        self.bytes_sent.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn bytes_received(&self, count: u64) {
        self.bytes_received.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn subscribe(&self, subscriber: Recipient<Event>) {
        self.audience.lock().subscribers.push(subscriber);
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Tells subscribers at once; those that have stopped, or are full, miss it.
    pub(crate) fn tell(&self, event: &Event) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let mut audience = self.audience.lock();
        audience.subscribers.retain(Recipient::connected);
        self.watched.store(!audience.subscribers.is_empty(), Ordering::Relaxed);
        for subscriber in &audience.subscribers {
            // Not through a fresh clone, which actix would let past a full mailbox.
            let _ = subscriber.try_send(event.clone());
        }
    }
}
