//! A request that a connection has received, from its arrival to its answer.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use futures_util::task::AtomicWaker;

use crate::reason::DropReason;

/// The connection's state of a request that it received and that is not yet answered.
///
/// A request is begun or refused, and never both: so one that was refused because the node ends is certainly not
/// handled.
#[derive(Debug, Default)]
pub(crate) struct PeerRequest {
    stage: AtomicU8,
    /// The waker of a task that would not go on if the request were cancelled.
    waker: AtomicWaker,
}

mod stage {
    pub(super) const WAITS: u8 = 0;
    pub(super) const BEGUN: u8 = 1;
    /// Cancelled by the asker.
    pub(super) const CANCELLED: u8 = 2;
    /// Refused before it had begun, because the node ends.
    pub(super) const REFUSED: u8 = 3;
}

impl PeerRequest {
    /// Cancels the request, unless it was refused. Its handler is to be [woken](PeerRequest::wake) afterwards.
    pub(crate) fn set_cancelled(&self) {
        let cancelled = |before| (before != stage::REFUSED).then_some(stage::CANCELLED);
        // A refused request stays refused.
        let _ = self.stage.fetch_update(Ordering::AcqRel, Ordering::Acquire, cancelled);
    }

    /// Wakes the handler of a request that is cancelled or refused.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Marks the request as about to be handled, unless it was cancelled or refused before.
    pub(super) fn begin(&self) -> Result<(), DropReason> {
        match self.stage.compare_exchange(stage::WAITS, stage::BEGUN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(stage::BEGUN) => Ok(()),
            Err(stage::REFUSED) => Err(DropReason::Shutdown),
            Err(_) => Err(DropReason::Cancelled),
        }
    }

    /// Refuses the request if it has not begun, so that it never begins. Returns whether it was refused; then its
    /// handler is to be [woken](PeerRequest::wake).
    pub(crate) fn refuse_unbegun(&self) -> bool {
        self.stage.compare_exchange(stage::WAITS, stage::REFUSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_cancelled() {
            self.waker.register(cx.waker());
        }
        // Checked again, for a cancel that came in between.
        if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= stage::CANCELLED
    }
}
