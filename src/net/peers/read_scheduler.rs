//! Limits how many busy peers are served in a round, and how many posts of each. A peer is busy if it has sent more
//! than is handled in one turn.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// The most posts in a row that a reader handles in one turn, or correspondingly fewer frames of a costlier kind. It is
/// a quarter of a mailbox's default capacity, so that readers on this thread can empty their mailboxes before they are
/// full.
pub(crate) const LONGEST: usize = 256;

/// Posts in the shortest turn of a reader whose peer was silent before; fewer are not worth a turn.
pub(crate) const SHORTEST: usize = 32;

/// Posts in the turns of all busy readers of a round together.
pub(crate) const ROUND: usize = 1024;

/// Busy readers that are served in one round of the thread; the others wait in a queue. Each handles enough in its turn
/// to be worth its system calls. A peer that sends little waits only for these turns, however many readers are busy.
pub(crate) const SERVED: usize = 8;

/// The readers of a node that had more to handle than fitted in their last turn, and the readers whose long buffer
/// grows.
#[derive(Debug)]
pub(crate) struct ReadScheduler {
    busy: AtomicUsize,
    served: Arc<Semaphore>,
    growing: Semaphore,
}

impl Default for ReadScheduler {
    fn default() -> ReadScheduler {
        ReadScheduler {
            busy: AtomicUsize::new(0),
            served: Arc::new(Semaphore::new(SERVED)),
            growing: Semaphore::new(1),
        }
    }
}

impl ReadScheduler {
    /// Returns the length of the first turn of a reader that has waited for its peer.
    pub(crate) fn first_turn(&self) -> usize {
        self.share().max(SHORTEST)
    }

    /// Returns the length of each turn of a busy reader.
    pub(crate) fn busy_turn(&self) -> usize {
        self.share().max(ROUND / SERVED)
    }

    fn share(&self) -> usize {
        (ROUND / self.busy.load(Ordering::Relaxed).max(1)).min(LONGEST)
    }

    /// Waits in the queue of busy readers, first come, first served. The next reader is served when the permit is
    /// dropped.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        Arc::clone(&self.served).acquire_owned().await.ok()
    }

    pub(crate) fn join(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes room in a buffer so large that moving it would hold up other connections: one buffer after another, and
    /// each in a round of its own.
    pub(crate) async fn grow(&self, buffer: &mut BytesMut, room: usize) {
        let _turn = self.growing.acquire().await;
        buffer.reserve(room);
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn long_buffers_grow_one_after_another() {
        let scheduler = ReadScheduler::default();
        let mut buffers = [(); 3].map(|()| BytesMut::new());
        {
            let [first, second, third] = &mut buffers;
            let mut all = [first, second, third].map(|buffer| Box::pin(scheduler.grow(buffer, 10)));
            let _ = poll_fn(|cx| Poll::Ready(all.each_mut().map(|one| one.poll_unpin(cx)))).await;
        }
        assert_eq!(buffers.map(|buffer| usize::from(buffer.capacity() >= 10)), [1, 0, 0]);
    }
}
