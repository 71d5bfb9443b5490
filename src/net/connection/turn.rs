//! How long a direction of a connection keeps its thread before other tasks of it get a turn.
//!
//! A stream that is always ready, as one between two processes of a host is, would keep the thread for as long as there is
//! anything to carry. And where very many peers have something to say at once, somebody who says little waits for a turn of
//! each of them, several times over until the answer is written: so the turns are the shorter the more there are.

use std::sync::Arc;

use crate::net::peers::crowd::Crowd;
use crate::wire::frames::kind;

/// The part of a turn that a frame takes which is no post, compared with one.
const COSTLY: usize = 8;

/// Bytes written or read before other tasks of the thread get a turn.
const BYTES: usize = 128 << 10;

/// The turns of one reader.
#[derive(Debug)]
pub(super) struct ReadingTurn {
    crowd: Arc<Crowd>,
    /// How much may still be handled in this turn.
    pub(super) left: usize,
    is_counted: bool,
}

impl ReadingTurn {
    pub(super) fn new(crowd: Arc<Crowd>) -> ReadingTurn {
        let left = crowd.share();
        ReadingTurn { crowd, left, is_counted: false }
    }

    /// There is more to handle, and others have their turn first.
    pub(super) async fn ends(&mut self) {
        if !self.is_counted {
            self.is_counted = true;
            self.crowd.join();
        }
        tokio::task::yield_now().await;
        self.left = self.crowd.share();
    }

    /// There is nothing more to handle.
    #[inline]
    pub(super) fn has_caught_up(&mut self) {
        if self.is_counted {
            self.leave();
        }
    }

    #[cold]
    fn leave(&mut self) {
        self.is_counted = false;
        self.crowd.leave();
    }
}

impl Drop for ReadingTurn {
    fn drop(&mut self) {
        self.has_caught_up();
    }
}

/// How much of a turn a frame of that kind takes.
#[inline]
pub(super) fn cost(of: u8) -> usize {
    if of == kind::POST { 1 } else { COSTLY }
}

/// The bytes that one direction of a connection has carried without a break.
#[derive(Default)]
pub(super) struct YieldBudget(usize);

impl YieldBudget {
    /// Whether other tasks of the thread are to run after so many bytes.
    pub(super) fn ends_after(&mut self, bytes: usize) -> bool {
        self.0 += bytes;
        let is_over = self.0 >= BYTES;
        if is_over {
            self.0 = 0;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::net::peers::crowd::LONGEST;
    use crate::net::peers::crowd::ROUND;
    use crate::net::peers::crowd::SHORTEST;

    #[tokio::test]
    async fn turns_are_the_shorter_the_more_have_more_to_handle() {
        let crowd = Arc::new(Crowd::default());
        let mut first = ReadingTurn::new(Arc::clone(&crowd));
        first.ends().await;
        assert_eq!(first.left, LONGEST, "nobody else has anything to handle");
        let mut others: Vec<_> = (0..100).map(|_| ReadingTurn::new(Arc::clone(&crowd))).collect();
        first.ends().await;
        assert_eq!(first.left, LONGEST, "they have caught up");
        for other in &mut others[..7] {
            other.ends().await;
        }
        first.ends().await;
        assert_eq!(first.left, ROUND / 8);
        for other in &mut others {
            other.ends().await;
        }
        first.ends().await;
        assert_eq!(first.left, SHORTEST);
        others.truncate(50);
        others.iter_mut().for_each(ReadingTurn::has_caught_up);
        others.iter_mut().for_each(ReadingTurn::has_caught_up);
        // One whose connection ends in the middle of its turn.
        assert!(others.pop().unwrap().ends().now_or_never().is_none());
        first.ends().await;
        assert_eq!(first.left, LONGEST, "there is no other any more");
    }
}
