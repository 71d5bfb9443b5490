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
        let due = outbox.afterwards.take_due();
        drop(outbox);
        if let Some(due) = due {
            due.run();
        }
        changed
    }
}

#[cfg(test)]
#[cfg(not(hermod_loom))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::task::Wake;
    use std::task::Waker;

    use super::*;
    use crate::config::Limits;
    use crate::net::control::effects::Effects;
    use crate::net::control::shape_query::unanswered;
    use crate::net::link::outbox::Phase;
    use crate::quota::Quotas;

    /// Code of the application, which looks whether the lock is free.
    struct Looks {
        lock: Lock,
        free: AtomicUsize,
    }

    impl Looks {
        fn look(&self) {
            let is_free = self.lock.0.try_lock().is_some();
            self.free.fetch_add(usize::from(is_free), Ordering::Relaxed);
        }
    }

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.look();
        }
    }

    struct Dropped(Arc<Looks>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.look();
        }
    }

    #[test]
    fn code_of_the_application_runs_when_the_lock_is_free() {
        let limits = Limits::default();
        let outbox = Outbox::new(Phase::Up, &limits, &Quotas::new(&limits));
        let looks = Arc::new(Looks { lock: Lock::new(outbox), free: AtomicUsize::new(0) });
        let (callback, dropped) = (Arc::clone(&looks), Dropped(Arc::clone(&looks)));
        let number = looks.lock.with(|outbox| {
            outbox.set_writer(Waker::from(Arc::clone(&looks)));
            outbox.wake();
            outbox.later(unanswered(Box::new(move |_| callback.look())));
            let mut effects = Effects::default();
            effects.drop_later(dropped);
            outbox.later(effects);
            outbox.session.connection
        });
        assert_eq!(looks.free.load(Ordering::Relaxed), 3, "a waker, a callback, and the end of a value");
        assert_eq!(looks.lock.with(|outbox| outbox.session.connection), number);
        assert_eq!(looks.free.load(Ordering::Relaxed), 3, "nothing is left for later");
    }
}
