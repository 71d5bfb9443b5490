//! The lock around a link's outbox, and the one place where it is taken.
//!
//! Invariant: no code of the application runs under it. Whatever the sub-protocols hold for the application comes out of
//! them as [`Effects`](crate::net::control::effects::Effects), which run here once the lock is released, and so does
//! the waking of the writer.

use super::outbox::Outbox;
use crate::sync::Mutex;

/// See the [module](self).
pub(super) struct Lock(Mutex<Outbox>);

impl Lock {
    pub(super) fn new(outbox: Outbox) -> Lock {
        Lock(Mutex::new(outbox))
    }

    /// Changes the outbox under the lock. Then wakes the writer if there is something to write for it, and runs the
    /// effects of the change. A result that owns something of the application's is dropped by the caller, without the
    /// lock.
    #[inline]
    pub(super) fn with<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R {
        let mut outbox = self.0.lock();
        let changed = change(&mut outbox);
        let writer = outbox.woken_writer();
        let effects = outbox.effects();
        drop(outbox);
        if let Some(writer) = writer {
            writer.wake();
        }
        if let Some(effects) = effects {
            effects.run();
        }
        changed
    }
}
