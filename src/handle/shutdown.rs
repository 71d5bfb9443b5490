//! The state that the shutdown of a node waits for on this side: whether it has begun, and the progress of the
//! published actors.
//!
//! Shutdown waits in rounds. In each round every actor must begin the messages that its box held when the round began,
//! and answer the requests that it was given; later messages are handled too, but delay nothing. As handlers pass work
//! on to other actors of the node, there are more rounds, until one finds nothing to do or there were [`MAX_ROUNDS`]:
//! so a flood cannot keep a node from ending.
//!
//! Each entry of the table belongs to a pump of an actor, and is removed with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Maximum number of rounds.
pub(crate) const MAX_ROUNDS: u32 = 8;

/// The round settled by actors that are not waited for any more.
pub(crate) const GIVEN_UP: u32 = u32::MAX;

/// The shutdown of a node, as seen by the actors that it waits for.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    has_begun: AtomicBool,
    feeds: Mutex<HashMap<u64, Arc<Feed>>>,
    next_feed: AtomicU64,
    changed: Notify,
}

impl Shutdown {
    /// Returns whether shutdown has begun, so that no new requests are accepted.
    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::SeqCst)
    }

    pub(crate) fn begin(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
    }

    /// Notifies the shutdown, if it has begun, that some work has ended.
    #[inline]
    pub(crate) fn note_change(&self) {
        if self.has_begun() {
            self.changed.notify_one();
        }
    }

    /// Waits for a notification since the last call. Only one task may wait at a time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds an actor that is fed from now on, until its feed is [forgotten](Shutdown::forget).
    pub(crate) fn feed(&self) -> Arc<Feed> {
        let number = self.next_feed.fetch_add(1, Ordering::Relaxed);
        let feed = Arc::new(Feed::new(number));
        self.feeds.lock().insert(number, Arc::clone(&feed));
        feed
    }

    /// Removes an actor that is not fed any more.
    pub(crate) fn forget(&self, feed: &Feed) {
        let forgotten = self.feeds.lock().remove(&feed.number);
        feed.settled.store(GIVEN_UP, Ordering::Release);
        drop(forgotten);
        self.note_change();
    }

    /// Begins a round with all actors that are fed now.
    pub(crate) fn begin_round(&self, round: u32) -> Vec<Arc<Feed>> {
        self.ask_all(|feed| {
            feed.had_work.store(false, Ordering::Relaxed);
            feed.round.store(round, Ordering::Release);
        })
    }

    /// Stops feeding all actors.
    pub(crate) fn give_up(&self) -> Vec<Arc<Feed>> {
        self.ask_all(|feed| feed.is_given_up.store(true, Ordering::Release))
    }

    fn ask_all(&self, ask: impl Fn(&Feed)) -> Vec<Arc<Feed>> {
        let feeds: Vec<Arc<Feed>> = self.feeds.lock().values().cloned().collect();
        feeds.iter().for_each(|feed| {
            ask(feed);
            feed.waker.wake();
        });
        feeds
    }
}

/// The progress of one actor, shared by its pump and the shutdown.
#[derive(Debug)]
pub(crate) struct Feed {
    number: u64,
    round: AtomicU32,
    /// The last round that has ended.
    settled: AtomicU32,
    /// Whether there was work when the round began.
    had_work: AtomicBool,
    is_given_up: AtomicBool,
    waker: AtomicWaker,
}

impl Feed {
    fn new(number: u64) -> Feed {
        Feed {
            number,
            round: AtomicU32::new(0),
            settled: AtomicU32::new(0),
            had_work: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Registers the pump's waker, which the shutdown wakes for each new round.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Returns the round that the actor is in; 0 before the first.
    pub(crate) fn round(&self) -> u32 {
        self.round.load(Ordering::Acquire)
    }

    /// Records that there is work in this round.
    pub(crate) fn note_work(&self) {
        self.had_work.store(true, Ordering::Relaxed);
    }

    pub(crate) fn had_work(&self) -> bool {
        self.had_work.load(Ordering::Relaxed)
    }

    /// Records that the work of this round, and of those before, is done. Returns whether that is new.
    pub(crate) fn settle(&self, round: u32) -> bool {
        self.settled.fetch_max(round, Ordering::AcqRel) < round
    }

    pub(crate) fn has_settled(&self, round: u32) -> bool {
        self.settled.load(Ordering::Acquire) >= round
    }

    /// Returns whether the actor must be given nothing more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    /// Ends the wait for the actor at once: its pump ends with the node.
    pub(crate) fn set_given_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }
}
