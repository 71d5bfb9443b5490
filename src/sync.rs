//! Synchronisation primitives for the parts that are also run by loom under every interleaving of threads: boxes, and
//! the outboxes of connections. In those runs, under `--cfg hermod_loom`, loom's primitives replace the usual ones; the
//! manual's page *For contributors* has the command.

#[cfg(not(all(test, hermod_loom)))]
pub(crate) use std::sync::atomic::AtomicU8;

#[cfg(not(all(test, hermod_loom)))]
pub(crate) use std::sync::atomic::AtomicUsize;

#[cfg(not(all(test, hermod_loom)))]
pub(crate) use parking_lot::Mutex;

#[cfg(all(test, hermod_loom))]
pub(crate) use loom::sync::atomic::AtomicU8;

#[cfg(all(test, hermod_loom))]
pub(crate) use loom::sync::atomic::AtomicUsize;

#[cfg(all(test, hermod_loom))]
pub(crate) use watched::Mutex;

#[cfg(all(test, hermod_loom))]
mod watched {
    use loom::sync::MutexGuard;

    /// Loom's lock with the interface of the usual one, which cannot be poisoned.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}
