//! The boxes of this node as the peer of one connection sees them. It is the only way from a name or an id that a peer
//! has written to a box of this node: for messages, watches, questions for shapes, lists, and addresses in messages.
//!
//! A box that the peer may not see is passed over where it is found, and the look-up goes on as if there were none. So
//! both have the same answers, and take the same time but for one look into a small table.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::registry::Found;
use super::registry::MAX_LISTED;
use super::registry::Registry;
use crate::handle::pointer::Pointer;
use crate::handle::visibility::Visibility;
use crate::ident::BoxId;
use crate::observe::peer_info::PeerInfo;

/// Answers of policies that one connection remembers however few boxes there are.
const MIN_REMEMBERED: usize = 64;

/// The id of no box.
const NOBODY: BoxId = BoxId([0; 16]);

/// See the [module](self).
pub(crate) struct View {
    registry: Arc<Registry>,
    /// The facts that the connection has proven about the peer. Without them, it sees no box that has a policy.
    peer: Option<Arc<PeerInfo>>,
    /// The answers of policies so far. They count among the [cached](Registry::count_cached) look-ups; an answer for
    /// which there is no room is asked for again.
    answers: RefCell<HashMap<BoxId, bool>>,
    /// Look-ups without a result since they were last counted.
    misses: Cell<u64>,
}

impl View {
    pub(crate) fn new(registry: &Arc<Registry>, peer: Option<Arc<PeerInfo>>) -> View {
        View { registry: Arc::clone(registry), peer, answers: RefCell::default(), misses: Cell::default() }
    }

    /// Returns the box of that name; the name of an anonymous one is its id.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Pointer>> {
        let named = self.shown(self.registry.look_up_name(name));
        self.counted(named.or_else(|| self.by_id(BoxId::from_name(name)?)))
    }

    /// Returns the box of that id.
    pub(crate) fn find(&self, id: BoxId) -> Option<Arc<Pointer>> {
        self.counted(self.by_id(id))
    }

    /// Whether there is a box of that name which the peer may not see.
    pub(crate) fn hides(&self, name: &str) -> bool {
        self.registry.named(name).is_some() && self.named(name).is_none()
    }

    /// Returns how many names and ids without a box were looked up since the last call.
    #[inline]
    pub(crate) fn take_misses(&self) -> u64 {
        self.misses.take()
    }

    fn counted(&self, found: Option<Arc<Pointer>>) -> Option<Arc<Pointer>> {
        if found.is_none() {
            self.misses.set(self.misses.get().saturating_add(1));
        }
        found
    }

    fn by_id(&self, id: BoxId) -> Option<Arc<Pointer>> {
        let found = self.shown(self.registry.look_up_id(id));
        found.or_else(|| self.registry.leases().find(id))
    }

    /// Returns the next names in order after this one, a few hundred at most, and the number of boxes between
    /// them that the peer may not see.
    pub(crate) fn names_after(&self, name: &str) -> (Vec<Box<str>>, usize) {
        let (mut names, mut passed_over, mut after) = (Vec::new(), 0, Box::<str>::from(name));
        loop {
            let next = self.registry.named_after(&after);
            let is_end = next.len() < MAX_LISTED;
            for (name, pointer) in next {
                if names.len() == MAX_LISTED {
                    return (names, passed_over);
                }
                after = name.clone();
                match self.shows(&pointer) {
                    true => names.push(name),
                    false => passed_over += 1,
                }
            }
            if is_end {
                return (names, passed_over);
            }
        }
    }

    /// Returns the box that was found, if the peer may see it.
    fn shown(&self, found: Found) -> Option<Arc<Pointer>> {
        let restricted = match found {
            Found::Open(pointer) => return Some(pointer),
            Found::Restricted(id) => Some(id),
            Found::Nothing => None,
        };
        // Also looked for if there is no box, so that the time does not tell.
        let known = self.answers.borrow().get(&restricted.unwrap_or(NOBODY)).copied();
        let id = restricted?;
        let shows = match known {
            Some(shows) => shows,
            None => {
                let local = self.registry.by_id(id)?.local()?;
                local.visibility().is_none_or(|visibility| self.ask(id, visibility))
            }
        };
        if shows { self.registry.by_id(id) } else { None }
    }

    /// Whether the peer may see a box.
    fn shows(&self, pointer: &Pointer) -> bool {
        let Some(local) = pointer.local() else { return true };
        let Some(visibility) = local.visibility() else { return true };
        let known = self.answers.borrow().get(&local.id()).copied();
        known.unwrap_or_else(|| self.ask(local.id(), visibility))
    }

    #[cold]
    fn ask(&self, id: BoxId, visibility: &Visibility) -> bool {
        // Nothing is borrowed while code of the application runs.
        let shows = self.peer.as_ref().is_some_and(|peer| visibility.shows(peer));
        // Answers about boxes that have closed are not kept long.
        if self.answers.borrow().len() >= self.registry.len().saturating_mul(2).max(MIN_REMEMBERED) {
            self.forget_all();
        }
        if self.registry.count_cached() && self.answers.borrow_mut().insert(id, shows).is_some() {
            self.registry.forget_cached(1);
        }
        shows
    }

    fn forget_all(&self) {
        self.registry.forget_cached(self.answers.take().len());
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.forget_all();
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("peer", &self.peer).finish_non_exhaustive()
    }
}
