//! The way to another node that a pointer holds: the connection that it came by, and the one that serves in its place.
//!
//! Which one serves is decided by those who send; it is kept here, such that all threads that send by a pointer go by
//! the same one: nobody puts a second one beside it, and only who knows it replaces it. Who looks at every message takes
//! no lock while the first one serves.
//!
//! Connections and claims know pointers, and those know their way. So what the two are is left open here: else this file
//! and theirs would import each other.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::ident::Endpoint;
use crate::ident::NodeId;

/// The connection, a kind of `L`, that a pointer came by, and the one that serves in its place: a shorter one to a third
/// node's box, or another once the first has ended. `C` is what the pointer claims at the box's own node.
#[derive(Debug)]
pub(crate) struct Way<L: ?Sized, C> {
    first: Arc<L>,
    /// The node that the pointer came from, for one that did not come by name.
    node: Option<NodeId>,
    /// Whether that node passes messages on, to a third one.
    is_relayed: bool,
    /// Where the box's node is said to listen.
    hints: Arc<[Endpoint]>,
    /// The handle of the box that its own node counts for this one, beside what the node counts that has introduced it.
    pub(super) claim: Mutex<Option<Box<C>>>,
    detour: Mutex<Option<Arc<L>>>,
    /// Whether there is one, for those who look at every message: one of [`turn`].
    turn: AtomicU8,
}

mod turn {
    pub(super) const STRAIGHT: u8 = 0;
    pub(super) const DETOUR: u8 = 1;
    /// It is chosen when the pointer is first sent by.
    pub(super) const OPEN: u8 = 2;
}

impl<L: ?Sized, C> Way<L, C> {
    /// Of a pointer by name.
    pub(crate) fn by_name(first: Arc<L>) -> Way<L, C> {
        Way {
            first,
            node: None,
            is_relayed: false,
            hints: Arc::default(),
            claim: Mutex::new(None),
            detour: Mutex::new(None),
            turn: AtomicU8::new(turn::STRAIGHT),
        }
    }

    /// Of a pointer to a box of the node `to`, that came from the node `from`.
    pub(crate) fn between(first: Arc<L>, from: NodeId, to: NodeId, hints: Arc<[Endpoint]>) -> Way<L, C> {
        let is_relayed = from != to;
        let turn = AtomicU8::new(if is_relayed { turn::OPEN } else { turn::STRAIGHT });
        Way { node: Some(from), is_relayed, hints, turn, ..Way::by_name(first) }
    }

    #[inline]
    pub(crate) fn first(&self) -> &Arc<L> {
        &self.first
    }

    #[inline]
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.node
    }

    #[inline]
    pub(crate) fn is_relayed(&self) -> bool {
        self.is_relayed
    }

    pub(crate) fn hints(&self) -> &Arc<[Endpoint]> {
        &self.hints
    }

    /// The connection that serves in place of the first, if one was put there.
    pub(super) fn detour(&self) -> Option<Arc<L>> {
        self.detour.lock().clone()
    }

    /// The same for one who sends; `choose` chooses it, if that is still to be done.
    #[inline]
    pub(super) fn detour_or(&self, choose: impl FnOnce() -> Option<Arc<L>>) -> Option<Arc<L>> {
        match self.turn.load(Ordering::Relaxed) {
            turn::STRAIGHT => None,
            turn::DETOUR => self.detour.lock().clone(),
            _ => choose(),
        }
    }

    /// Keeps to `chosen`, or to the first if that is none, unless another thread has chosen by now; what is kept to.
    pub(super) fn keep_to(&self, chosen: Option<Arc<L>>) -> Option<Arc<L>> {
        let mut detour = self.detour.lock();
        if self.turn.load(Ordering::Relaxed) == turn::OPEN {
            self.turn.store(if chosen.is_some() { turn::DETOUR } else { turn::STRAIGHT }, Ordering::Relaxed);
            *detour = chosen;
        }
        detour.clone()
    }

    /// The connection that serves from now on: `other`, unless another thread has put one there.
    pub(super) fn take_detour(&self, other: Arc<L>) -> Arc<L> {
        let mut detour = self.detour.lock();
        self.turn.store(turn::DETOUR, Ordering::Relaxed);
        // What is not needed goes without the lock, with this function: it may be the last that holds a connection.
        Arc::clone(detour.get_or_insert_with(|| Arc::clone(&other)))
    }

    /// Puts one connection in the place of another, if that still serves.
    pub(super) fn replace_detour(&self, old: *const (), new: Option<&Arc<L>>) {
        let mut detour = self.detour.lock();
        let replaced = if detour.as_ref().is_some_and(|detour| Arc::as_ptr(detour).cast::<()>() == old) {
            self.turn.store(if new.is_some() { turn::DETOUR } else { turn::STRAIGHT }, Ordering::Relaxed);
            std::mem::replace(&mut *detour, new.cloned())
        } else {
            None
        };
        drop(detour);
        // Outside the lock: with the last that holds it a connection may go.
        drop(replaced);
    }
}
