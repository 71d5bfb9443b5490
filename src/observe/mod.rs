//! Counts everything that a node does, for stats, metrics, events and the log.
//!
//! Counting is an atomic addition. Drops are counted in [`loss`], and reported in [`dead_letters`].

pub(crate) mod counters;
mod dead_letters;
pub(crate) mod event;
pub(crate) mod identity;
pub(crate) mod loss;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod peer_info;
pub(crate) mod stats;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use actix::prelude::Recipient;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::counters::Counter;
use self::counters::ShardedCounters;
use self::dead_letters::AtPeer;
use self::dead_letters::Audience;
use self::dead_letters::Concerned;
use self::event::Event;
use self::loss::Drops;
use crate::reason::DropReason;

/// The counts of one node, and its subscribers.
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
    /// The boxes and peers of drops that are not logged yet, by the reason and by the side that dropped them.
    concerned: Mutex<BTreeMap<(DropReason, AtPeer), Concerned>>,
    /// The parts of `dropped` and of `reported` that were logged.
    logged: Mutex<[BTreeMap<DropReason, u64>; 2]>,
    /// Whether anything was dropped since the last flush.
    stirred: AtomicBool,
    noted: Notify,
    /// Whether the flushes have ended, so that drops are reported at once.
    has_ended: AtomicBool,
}

impl Observer {
    pub(crate) fn sent(&self, count: u64) {
        self.counters.add(Counter::Sent, count);
    }

    /// Counts one message sent on this thread.
    #[inline]
    pub(crate) fn sent_here(&self) {
        self.counters.count(Counter::Sent);
    }

    pub(crate) fn delivered(&self, count: u64) {
        self.counters.add(Counter::Delivered, count);
    }

    /// Counts one message delivered on this thread.
    #[inline]
    pub(crate) fn delivered_here(&self) {
        self.counters.count(Counter::Delivered);
    }

    pub(crate) fn in_doubt(&self, count: u64) {
        self.in_doubt.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes `count` messages out of those in doubt.
    pub(crate) fn settled(&self, count: u64) {
        self.in_doubt.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn late_answer(&self) {
        self.late_answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that has come up.
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
        let _before = self.audience.lock().change_subscribers(|subscribers| {
            subscribers.push(Arc::new(subscriber));
            self.watched.store(true, Ordering::Relaxed);
        });
    }

    /// Sends an event to all subscribers at once; a subscriber that has stopped or is full misses it.
    pub(crate) fn tell(&self, event: &Event) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        // Without the lock: a subscriber's context, and the waker of its queue, are code of the application.
        let subscribers = self.audience.lock().subscribers();
        for subscriber in subscribers.iter().filter(|subscriber| subscriber.connected()) {
            // Not through a fresh clone, which actix would let past a full mailbox.
            let _ = subscriber.try_send(event.clone());
        }
        if !subscribers.iter().all(|subscriber| subscriber.connected()) {
            self.forget_stopped();
        }
    }

    /// Forgets subscribers that have stopped. Their senders are dropped without the lock.
    fn forget_stopped(&self) {
        let _before = self.audience.lock().change_subscribers(|subscribers| {
            subscribers.retain(|subscriber| subscriber.connected());
            self.watched.store(!subscribers.is_empty(), Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::Wake;
    use std::time::Duration;

    use actix::Actor;
    use actix::Addr;
    use actix::Context;
    use actix::Handler;
    use actix::dev::channel::AddressReceiver;
    use actix::dev::channel::channel;
    use futures_core::Stream;

    use super::loss::DroppedMessage;
    use super::loss::Loss;
    use super::loss::Nobody;
    use super::loss::Parties;
    use super::*;

    struct Ear;

    impl Actor for Ear {
        type Context = Context<Ear>;
    }

    impl Handler<Event> for Ear {
        type Result = ();

        fn handle(&mut self, _: Event, _: &mut Context<Ear>) {}
    }

    /// A subscriber whose queue wakes a waker of the application.
    fn subscribe(observer: &Arc<Observer>, waker: Arc<impl Wake + Send + Sync + 'static>) -> AddressReceiver<Ear> {
        let (sender, mut receiver) = channel::<Ear>(1);
        observer.subscribe(Addr::new(sender).recipient());
        let waker = waker.into();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(Pin::new(&mut receiver).poll_next(&mut cx).is_pending());
        receiver
    }

    /// Uses the observer, as sends and subscriptions do, from within its `wake`.
    struct Nosy {
        observer: Arc<Observer>,
        woken: mpsc::Sender<()>,
    }

    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            Loss::from(DropReason::Lost).settle(Parties {
                node: &self.observer,
                message: DroppedMessage { name: "box", type_name: "Ping", peer: None },
                mailbox: None,
                pointer: None,
                sender: Nobody,
                caller: Nobody,
            });
            let (sender, _receiver) = channel::<Ear>(1);
            self.observer.subscribe(Addr::new(sender).recipient());
            self.woken.send(()).expect("the test waits");
        }
    }

    /// Runs `told` on a thread of its own, since a deadlock would keep it from ever returning.
    fn wakes_without_a_lock(told: impl FnOnce(&Arc<Observer>, AddressReceiver<Ear>) + Send + 'static) {
        let (woken, wakes) = mpsc::channel();
        let observer = Arc::new(Observer::default());
        std::thread::spawn(move || {
            let receiver = subscribe(&observer, Arc::new(Nosy { observer: Arc::clone(&observer), woken }));
            told(&observer, receiver);
        });
        assert_eq!(wakes.recv_timeout(Duration::from_secs(10)), Ok(()), "its waker runs, and comes to its end");
    }

    fn event() -> Event {
        Event::PeerUp { peer: crate::ident::NodeId([1; 16]) }
    }

    #[test]
    fn a_subscribers_waker_runs_without_a_lock() {
        wakes_without_a_lock(|observer, _receiver| observer.tell(&event()));
    }

    #[test]
    fn a_subscriber_that_has_stopped_is_forgotten() {
        let observer = Arc::new(Observer::default());
        let receiver = subscribe(&observer, Arc::new(Idle));
        assert_eq!(observer.audience.lock().subscribers().len(), 1);
        drop(receiver);
        observer.tell(&event());
        assert_eq!(observer.audience.lock().subscribers().len(), 0);
        assert!(!observer.watched.load(Ordering::Relaxed));
    }

    struct Idle;

    impl Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }
}
