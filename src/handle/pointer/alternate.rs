//! The choice between a path's primary connection and an alternate: another connection, or a search for one.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::search_queue::SearchQueue;
use crate::handle::ports::Outbound;

/// The alternate of a path, by which messages leave in place of the primary connection.
#[derive(Clone, Debug, Default)]
pub(super) enum Alternate {
    /// The primary connection serves.
    #[default]
    None,
    /// A search for a shorter path: messages wait for its end.
    Searching(Arc<SearchQueue>),
    Connected(Arc<dyn Outbound>),
}

impl Alternate {
    /// Returns the connection, which a search may have found.
    pub(super) fn connection(&self) -> Option<Arc<dyn Outbound>> {
        match self {
            Alternate::None => None,
            Alternate::Searching(search) => search.found(),
            Alternate::Connected(link) => Some(Arc::clone(link)),
        }
    }
}

/// An alternate as each pointer keeps it: an enum of these two variants takes no more memory than a connection alone.
#[derive(Debug)]
enum KeptAlternate {
    /// There is no connection, but perhaps a search.
    Search(Option<Arc<SearchQueue>>),
    Connection(Arc<dyn Outbound>),
}

impl KeptAlternate {
    fn get(&self) -> Alternate {
        match self {
            KeptAlternate::Search(None) => Alternate::None,
            KeptAlternate::Search(Some(search)) => Alternate::Searching(Arc::clone(search)),
            KeptAlternate::Connection(link) => Alternate::Connected(Arc::clone(link)),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, KeptAlternate::Search(None))
    }

    /// Returns whether it is the same connection, or the same search.
    fn is(&self, other: &Alternate) -> bool {
        match (self, other) {
            (KeptAlternate::Search(Some(one)), Alternate::Searching(other)) => Arc::ptr_eq(one, other),
            (KeptAlternate::Connection(one), Alternate::Connected(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl From<Alternate> for KeptAlternate {
    fn from(alternate: Alternate) -> KeptAlternate {
        match alternate {
            Alternate::None => KeptAlternate::Search(None),
            Alternate::Searching(search) => KeptAlternate::Search(Some(search)),
            Alternate::Connected(link) => KeptAlternate::Connection(link),
        }
    }
}

/// The choice of a path, shared by all threads that send by it.
#[derive(Debug)]
pub(super) struct Selection {
    /// One of the values in [`stage`], checked for every message: while the primary connection serves, no lock is
    /// taken.
    stage: AtomicU8,
    alternate: Mutex<KeptAlternate>,
}

mod stage {
    pub(super) const PRIMARY: u8 = 0;
    pub(super) const ALTERNATE: u8 = 1;
    /// The choice is made when the first message is sent by the pointer.
    pub(super) const OPEN: u8 = 2;

    /// Returns the stage in which that alternate serves.
    pub(super) fn of(alternate: &super::KeptAlternate) -> u8 {
        if alternate.is_none() { PRIMARY } else { ALTERNATE }
    }
}

impl Selection {
    /// The primary connection is chosen.
    pub(super) fn primary() -> Selection {
        Selection { stage: AtomicU8::new(stage::PRIMARY), alternate: Mutex::new(Alternate::None.into()) }
    }

    /// Nothing is chosen yet.
    pub(super) fn open() -> Selection {
        Selection { stage: AtomicU8::new(stage::OPEN), alternate: Mutex::new(Alternate::None.into()) }
    }

    /// Returns the alternate.
    pub(super) fn get(&self) -> Alternate {
        self.alternate.lock().get()
    }

    /// Returns whether the primary connection serves.
    #[inline]
    pub(super) fn is_primary(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == stage::PRIMARY
    }

    /// Returns the alternate for a sender; `select` chooses it, if it is not chosen yet.
    pub(super) fn get_or(&self, select: impl FnOnce() -> Alternate) -> Alternate {
        if self.stage.load(Ordering::Relaxed) == stage::OPEN { select() } else { self.get() }
    }

    /// Chooses `chosen`, unless another thread has chosen by now. Returns the alternate that is in use.
    pub(super) fn keep_to(&self, chosen: Alternate) -> Alternate {
        let chosen = KeptAlternate::from(chosen);
        let mut alternate = self.alternate.lock();
        if self.stage.load(Ordering::Relaxed) == stage::OPEN {
            self.stage.store(stage::of(&chosen), Ordering::Relaxed);
            *alternate = chosen;
        }
        alternate.get()
    }

    /// Returns the alternate that serves from now on: `other`, unless another thread has set one.
    pub(super) fn take(&self, other: Alternate) -> Alternate {
        let mut alternate = self.alternate.lock();
        self.stage.store(stage::ALTERNATE, Ordering::Relaxed);
        if alternate.is_none() {
            *alternate = other.clone().into();
        }
        // If `other` is not needed it is dropped after the lock, at the end of this function: it may be the last holder
        // of a connection.
        alternate.get()
    }

    /// Replaces one alternate by another, if the old one still serves.
    pub(super) fn replace(&self, old: &Alternate, new: Alternate) {
        let new = KeptAlternate::from(new);
        let mut alternate = self.alternate.lock();
        let unneeded = if alternate.is(old) {
            self.stage.store(stage::of(&new), Ordering::Relaxed);
            std::mem::replace(&mut *alternate, new)
        } else {
            new
        };
        drop(alternate);
        // Dropped outside the lock: this may be the last holder of a connection.
        drop(unneeded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alternate_is_kept_in_no_more_memory_than_a_connection() {
        assert_eq!(size_of::<KeptAlternate>(), size_of::<Arc<dyn Outbound>>());
    }
}
