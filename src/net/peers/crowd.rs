//! How many peers have more to say than could be handled at once, and how much each may say in a turn.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::sync::Semaphore;

/// Posts in a row that a reader handles in its turn at most, or a part of it of frames that cost more. A quarter of a
/// mailbox's default, so that readers on this thread can empty their mailboxes before they are full.
pub(crate) const LONGEST: usize = 256;

/// The least of it: less is not worth a turn.
pub(crate) const SHORTEST: usize = 32;

/// The sum of it in the turns of all readers, if none is at its shortest.
pub(crate) const ROUND: usize = 1024;

/// How many readers of a node have more to handle than they could in their last turn, and whose long buffer grows.
#[derive(Debug)]
pub(crate) struct Crowd {
    busy: AtomicUsize,
    growing: Semaphore,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd { busy: AtomicUsize::new(0), growing: Semaphore::new(1) }
    }
}

impl Crowd {
    /// So much may each handle in a turn.
    pub(crate) fn share(&self) -> usize {
        (ROUND / self.busy.load(Ordering::Relaxed).max(1)).clamp(SHORTEST, LONGEST)
    }

    pub(crate) fn join(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes room in a buffer that has so much in it that others notice when it is moved: one after another, and each in a
    /// round of its own.
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
