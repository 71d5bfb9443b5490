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

    fn is_none(&self) -> bool {
        matches!(self, Alternate::None)
    }

    /// Returns whether it is the same connection, or the same search.
    fn is(&self, other: &Alternate) -> bool {
        match (self, other) {
            (Alternate::Searching(one), Alternate::Searching(other)) => Arc::ptr_eq(one, other),
            (Alternate::Connected(one), Alternate::Connected(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl From<Option<Arc<dyn Outbound>>> for Alternate {
    fn from(link: Option<Arc<dyn Outbound>>) -> Alternate {
        link.map_or(Alternate::None, Alternate::Connected)
    }
}

/// The choice of a path, shared by all threads that send by it.
#[derive(Debug)]
pub(super) struct Selection {
    /// One of the values in [`stage`], checked for every message: while the primary connection serves, no lock is
    /// taken.
    stage: AtomicU8,
    alternate: Mutex<Alternate>,
}

mod stage {
    pub(super) const PRIMARY: u8 = 0;
    pub(super) const ALTERNATE: u8 = 1;
    /// The choice is made when the first message is sent by the pointer.
    pub(super) const OPEN: u8 = 2;

    /// Returns the stage in which that alternate serves.
    pub(super) fn of(alternate: &super::Alternate) -> u8 {
        if alternate.is_none() { PRIMARY } else { ALTERNATE }
    }
}

impl Selection {
    /// The primary connection is chosen.
    pub(super) fn primary() -> Selection {
        Selection { stage: AtomicU8::new(stage::PRIMARY), alternate: Mutex::default() }
    }

    /// Nothing is chosen yet.
    pub(super) fn open() -> Selection {
        Selection { stage: AtomicU8::new(stage::OPEN), alternate: Mutex::default() }
    }

    /// Returns the alternate.
    pub(super) fn get(&self) -> Alternate {
        self.alternate.lock().clone()
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
        let mut alternate = self.alternate.lock();
        if self.stage.load(Ordering::Relaxed) == stage::OPEN {
            self.stage.store(stage::of(&chosen), Ordering::Relaxed);
            *alternate = chosen;
        }
        alternate.clone()
    }

    /// Returns the alternate that serves from now on: `other`, unless another thread has set one.
    pub(super) fn take(&self, other: Alternate) -> Alternate {
        let mut alternate = self.alternate.lock();
        self.stage.store(stage::ALTERNATE, Ordering::Relaxed);
        if alternate.is_none() {
            *alternate = other.clone();
        }
        // If `other` is not needed it is dropped after the lock, at the end of this function: it may be the last holder
        // of a connection.
        alternate.clone()
    }

    /// Replaces one alternate by another, if the old one still serves.
    pub(super) fn replace(&self, old: &Alternate, new: Alternate) {
        let mut alternate = self.alternate.lock();
        let replaced = alternate.is(old).then(|| {
            self.stage.store(stage::of(&new), Ordering::Relaxed);
            std::mem::replace(&mut *alternate, new)
        });
        drop(alternate);
        // Dropped outside the lock: this may be the last holder of a connection.
        drop(replaced);
    }
}
