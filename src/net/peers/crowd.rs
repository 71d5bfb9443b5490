//! The peers that send more than is handled in one turn: limits how many of them are served in a round, and how much of
//! each.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// Posts in a row that a reader handles in its turn at most; of frames that cost more, only a part of that. A quarter
/// of a mailbox's default, so that readers on this thread can empty their mailboxes before they are full.
pub(crate) const LONGEST: usize = 256;

/// Posts in the shortest turn of a reader whose peer was silent before; fewer are not worth a turn.
pub(crate) const SHORTEST: usize = 32;

/// Posts in the turns of all busy readers of a round together.
pub(crate) const ROUND: usize = 1024;

/// Busy readers that are served in one round of the thread; the others stand in a queue. Each handles enough in its turn to
/// make its system calls worth their price, and a peer that says little waits for these turns only, however many are busy.
pub(crate) const SERVED: usize = 8;

/// The readers of a node that had more to handle than fitted in their last turn, and the readers whose long buffer
/// grows.
#[derive(Debug)]
pub(crate) struct Crowd {
    busy: AtomicUsize,
    served: Arc<Semaphore>,
    growing: Semaphore,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd { busy: AtomicUsize::new(0), served: Arc::new(Semaphore::new(SERVED)), growing: Semaphore::new(1) }
    }
}

impl Crowd {
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

    /// Waits in the queue of the busy, first come, first served. The place is free again when the permit is dropped.
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
        let crowd = Crowd::default();
        let mut buffers = [(); 3].map(|()| BytesMut::new());
        {
            let [first, second, third] = &mut buffers;
            let mut all = [first, second, third].map(|buffer| Box::pin(crowd.grow(buffer, 10)));
            let _ = poll_fn(|cx| Poll::Ready(all.each_mut().map(|one| one.poll_unpin(cx)))).await;
        }
        assert_eq!(buffers.map(|buffer| usize::from(buffer.capacity() >= 10)), [1, 0, 0]);
    }
}
