//! How many peers have more to say than could be handled at once, and what each may say in a turn.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// What is handled in the turn of a reader: so many posts in a row, or a part of it of what costs more. A quarter of a
/// mailbox's default, so that readers on this thread can empty their mailboxes before they are full.
pub(crate) const LONGEST: usize = 256;

/// What is handled at least: less is not worth a turn.
pub(crate) const SHORTEST: usize = 32;

/// What is handled in the turns of all readers together, if none is at its shortest.
pub(crate) const ROUND: usize = 1024;

/// How many readers of a node have more to handle than they could in their last turn.
#[derive(Debug, Default)]
pub(crate) struct Crowd(AtomicUsize);

impl Crowd {
    /// What each may handle in a turn.
    pub(crate) fn share(&self) -> usize {
        (ROUND / self.0.load(Ordering::Relaxed).max(1)).clamp(SHORTEST, LONGEST)
    }

    pub(crate) fn join(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
