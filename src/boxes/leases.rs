//! Boxes kept alive by handles at other nodes: actors whose `Recipient`s were sent in messages, and relays to boxes of
//! third nodes.
//!
//! Each connection has a count of how often a box's handle was written to it. The reader returns the handles that it
//! has dropped; at zero, or with a goodbye, that connection's lease ends, and with the last lease the box. A handle in
//! flight is counted already, so it is safe before it is read. The leases of a connection that ended without a goodbye
//! stay until the peer has stated on another connection which boxes it still holds, or is not expected back any more:
//! the holder is *absent* meanwhile.
//!
//! At most `exports` boxes are leased. When one more needs room, leases of absent holders end first, in the order in
//! which the holders went; then the oldest lease of the holder of most boxes, so that no peer takes the room of another
//! that holds less.

use std::any::Any;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::holders::Holders;
use crate::handle::pointer::Pointer;
use crate::handle::ports::ExportKey;
use crate::handle::ports::FindActor;
use crate::handle::ports::LocalBox;
use crate::ident::BoxId;

/// The holder of an address: a connection, by its number in this process.
pub(crate) type Holder = u64;

/// The holder that stands for this node itself: [`Node::export`](crate::Node::export) holds until the node stops.
pub(crate) const OURSELVES: Holder = 0;

/// Number of absent holders above which those without boxes are forgotten: twice the maximum number of expected ones.
const ABSENT_SWEPT: usize = 2048;

/// The leased boxes of one node.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    tables: Mutex<LeaseTable>,
    /// Counts boxes that were added; see [`Registry::epoch`](super::registry::Registry::epoch).
    arrivals: AtomicU64,
    limit: usize,
    /// Whether an eviction was logged as a warning: once there are too many boxes, each further message may evict one.
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct LeaseTable {
    held: HashMap<BoxId, LeasedBox>,
    holders: Holders,
    /// Holders that are expected back, in the order in which they went; some may have no boxes any more.
    absent: VecDeque<Holder>,
    /// The boxes that stand for recipients, whether they are held, were held, or are about to be. Kept as long as their
    /// actors live.
    known: HashMap<ExportKey, StandIn>,
    /// Ids of boxes that were dropped although their holders had not returned all handles. No other box gets such an
    /// id, as a holder's late return would count for it. An id is forgotten when its entry in `known` is.
    retired: HashSet<BoxId>,
    /// Handles whose leases were evicted although their holders have not returned them, for boxes that others still
    /// hold. When a holder returns handles, these count as returned before those that it was given since. Entries are
    /// removed with their box or their holder.
    forfeited: HashMap<Holder, HashMap<BoxId, u64>>,
    /// Number of entries left in `known` when unheld ones were last forgotten.
    known_held: usize,
    next_age: u64,
}

/// The box that stands for a recipient. Its id is the same as long as the actor lives, even if the box was not held
/// meanwhile, unless the id is [retired](LeaseTable::retired).
struct StandIn {
    id: BoxId,
    pointer: Weak<Pointer>,
    /// Keeps the recipient's key from being reused for another recipient.
    actor: Option<FindActor>,
}

#[derive(Debug)]
struct LeasedBox {
    pointer: Arc<Pointer>,
    leases: HashMap<Holder, LeaseCount>,
}

/// The handles of one box that one holder has.
#[derive(Debug)]
struct LeaseCount {
    handles: u64,
    age: u64,
}

/// A leased box that had to make room.
pub(crate) struct Evicted {
    export: LeasedBox,
    is_first: bool,
}

impl Evicted {
    pub(crate) fn close(self) {
        let Some(local) = self.export.pointer.local() else { return };
        if self.is_first {
            tracing::warn!(target: "actix_hermod", id = %local.id(), "over the limit of exports: the oldest is closed");
        } else {
            tracing::trace!(target: "actix_hermod", id = %local.id(), "over the limit of exports: the oldest is closed");
        }
        local.close();
    }
}

impl Leases {
    pub(crate) fn new(limit: usize) -> Leases {
        Leases { limit, ..Leases::default() }
    }

    /// Returns the box that stands for the recipient or target of this key; makes one if there is none that is open.
    pub(crate) fn stand_for(&self, key: ExportKey, make: impl FnOnce(BoxId) -> Arc<Pointer>) -> Arc<Pointer> {
        let (id, before) = self.tables.lock().known_box(&key);
        if let Some(pointer) = &before
            && pointer.local().is_some_and(|local| local.is_open())
        {
            return Arc::clone(pointer);
        }
        let pointer = make(id);
        let actor = pointer.local().and_then(|local| local.actor());
        let mut tables = self.tables.lock();
        // Another thread may have made one meanwhile, and opened it.
        let meanwhile = tables.known.get(&key).and_then(|known| known.pointer.upgrade());
        if let Some(other) = meanwhile.filter(|other| before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, other)))
        {
            drop(tables);
            return other;
        }
        // Unheld entries are forgotten only when the number of entries has doubled: those of one message are held until
        // it is written.
        let found = if tables.known.len() > 2 * tables.known_held + 64 { tables.forget_unheld() } else { Vec::new() };
        let replaced = tables.known.insert(key, StandIn { id, pointer: Arc::downgrade(&pointer), actor });
        if let Some(before) = replaced.as_ref().filter(|before| before.id != id) {
            tables.retired.remove(&before.id);
        }
        drop(tables);
        drop((found, replaced));
        pointer
    }

    /// Counts one more handle of a box written to that holder. The caller must close the evicted box, if any, while no
    /// lock is held.
    pub(crate) fn lease(&self, pointer: &Arc<Pointer>, local: &dyn LocalBox, holder: Holder) -> Option<Evicted> {
        let mut tables = self.tables.lock();
        let id = local.id();
        tables.held.entry(id).or_insert_with(|| {
            self.arrivals.fetch_add(1, Ordering::Release);
            LeasedBox { pointer: Arc::clone(pointer), leases: HashMap::new() }
        });
        tables.add(id, holder, 1);
        let export = if tables.held.len() > self.limit { tables.evict() } else { None };
        Some(Evicted { export: export?, is_first: !self.said.swap(true, Ordering::Relaxed) })
    }

    /// Counts handles that a holder has and that were given to another holder. Does nothing for a box without leases,
    /// which does not exist any more.
    pub(crate) fn add_leases(&self, id: BoxId, holder: Holder, count: u64) {
        if count > 0 {
            self.tables.lock().add(id, holder, count);
        }
    }

    /// Returns handles of a holder; if there are more than it was given, all count as returned. Returns whether the
    /// holder had any.
    pub(crate) fn release(&self, id: BoxId, holder: Holder, count: u64) -> bool {
        let released = {
            let mut tables = self.tables.lock();
            let count = tables.return_forfeited(id, holder, count);
            if count == 0 {
                return true;
            }
            let Some(lease) = tables.held.get_mut(&id).and_then(|held| held.leases.get_mut(&holder)) else {
                return false;
            };
            lease.handles = lease.handles.saturating_sub(count);
            if lease.handles > 0 {
                return true;
            }
            tables.end_lease(id, holder)
        };
        // Dropped outside the lock: it may stop an actor.
        drop(released);
        true
    }

    /// Ends all leases of a holder that is gone.
    pub(crate) fn release_all(&self, holder: Holder) {
        let released: Vec<LeasedBox> = {
            let mut tables = self.tables.lock();
            let boxes: Vec<BoxId> = tables.holders.of(holder).collect();
            let released = boxes.into_iter().filter_map(|id| tables.retire(id, holder)).collect();
            // The number of the holder is not used any more.
            tables.forfeited.remove(&holder);
            released
        };
        drop(released);
    }

    /// Returns whether a holder has any leases.
    pub(crate) fn has(&self, holder: Holder) -> bool {
        self.tables.lock().holders.has(holder)
    }

    /// Marks a holder as absent: it has gone and is expected back. Returns whether it has any leases.
    pub(crate) fn set_absent(&self, holder: Holder) -> bool {
        let mut tables = self.tables.lock();
        let holds = tables.holders.has(holder);
        if holds {
            let LeaseTable { absent, holders, .. } = &mut *tables;
            if absent.len() >= ABSENT_SWEPT {
                absent.retain(|absent| holders.has(*absent));
            }
            absent.push_back(holder);
        }
        holds
    }

    pub(crate) fn find(&self, id: BoxId) -> Option<Arc<Pointer>> {
        self.tables.lock().held.get(&id).map(|export| Arc::clone(&export.pointer))
    }

    pub(crate) fn all(&self) -> Vec<(BoxId, Arc<Pointer>)> {
        self.tables.lock().held.iter().map(|(id, export)| (*id, Arc::clone(&export.pointer))).collect()
    }

    /// Forgets boxes that are closed, and recipients that are not held.
    pub(crate) fn sweep(&self) {
        let _found;
        let closed: Vec<LeasedBox> = {
            let mut tables = self.tables.lock();
            if tables.held.len() < self.limit {
                tables.holders.forget_ranks();
            }
            _found = tables.forget_unheld();
            let is_closed = |export: &LeasedBox| !export.pointer.local().is_some_and(|local| local.is_open());
            let closed = tables.held.iter().filter(|(_, export)| is_closed(export)).map(|(id, _)| *id);
            let mut closed: Vec<BoxId> = closed.collect();
            // What goes with each is let go in the same order in each run of a simulation.
            closed.sort_unstable();
            closed.into_iter().filter_map(|id| tables.remove(id)).collect()
        };
        drop(closed);
    }

    pub(crate) fn clear(&self) {
        let cleared = std::mem::take(&mut *self.tables.lock());
        drop(cleared);
    }

    pub(crate) fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Acquire)
    }
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIn").field("id", &self.id).field("pointer", &self.pointer).finish_non_exhaustive()
    }
}

impl LeaseTable {
    /// Forgets boxes of which neither an address nor an actor is left. Returns the actors that were found, which must
    /// be dropped without the lock.
    fn forget_unheld(&mut self) -> Vec<Box<dyn Any + Send>> {
        let mut found = Vec::new();
        self.known.retain(|_, known| {
            let actor = || known.actor.as_ref().and_then(|actor| actor());
            known.pointer.strong_count() > 0 || actor().map(|actor| found.push(actor)).is_some()
        });
        self.known_held = self.known.len();
        if !self.retired.is_empty() {
            let known: HashSet<BoxId> = self.known.values().map(|known| known.id).collect();
            self.retired.retain(|id| known.contains(id));
        }
        found
    }

    /// Counts further handles of a leased box.
    fn add(&mut self, id: BoxId, holder: Holder, handles: u64) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let lease = held.leases.entry(holder).or_insert_with(|| {
            self.next_age += 1;
            self.holders.add(holder, self.next_age, id);
            LeaseCount { handles: 0, age: self.next_age }
        });
        lease.handles = lease.handles.saturating_add(handles);
    }

    /// Ends a holder's lease of a box. Returns the box if that was its last lease.
    fn end_lease(&mut self, id: BoxId, holder: Holder) -> Option<LeasedBox> {
        let held = self.held.get_mut(&id)?;
        let lease = held.leases.remove(&holder)?;
        let is_unheld = held.leases.is_empty();
        self.holders.remove(holder, lease.age);
        if !is_unheld {
            return None;
        }
        if self.forget_forfeited(id) {
            self.retired.insert(id);
        }
        self.held.remove(&id)
    }

    /// Ends the lease of a holder that has not returned its handles. Returns the box if that was its last lease.
    fn retire(&mut self, id: BoxId, holder: Holder) -> Option<LeasedBox> {
        let handles = self.held.get(&id).and_then(|held| held.leases.get(&holder)).map_or(0, |lease| lease.handles);
        let Some(retired) = self.end_lease(id, holder) else {
            let forfeited = self.forfeited.entry(holder).or_default().entry(id).or_default();
            *forfeited = forfeited.saturating_add(handles);
            return None;
        };
        self.retired.insert(id);
        Some(retired)
    }

    /// Returns how many of the handles that a holder returns were not forfeited before.
    fn return_forfeited(&mut self, id: BoxId, holder: Holder, count: u64) -> u64 {
        let Some(of_holder) = self.forfeited.get_mut(&holder) else { return count };
        let Some(forfeited) = of_holder.get_mut(&id) else { return count };
        let left = count.saturating_sub(*forfeited);
        *forfeited = forfeited.saturating_sub(count);
        if *forfeited == 0 {
            of_holder.remove(&id);
            if of_holder.is_empty() {
                self.forfeited.remove(&holder);
            }
        }
        left
    }

    /// Forgets the forfeited handles of a box that does not exist any more. Returns whether there were any, which a
    /// holder may still return.
    fn forget_forfeited(&mut self, id: BoxId) -> bool {
        let mut any = false;
        self.forfeited.retain(|_, of_holder| {
            any |= of_holder.remove(&id).is_some();
            !of_holder.is_empty()
        });
        any
    }

    /// Returns the id of the box that stands for a recipient, and the box if it still exists.
    fn known_box(&self, key: &ExportKey) -> (BoxId, Option<Arc<Pointer>>) {
        let Some(known) = self.known.get(key) else { return (BoxId::random(), None) };
        let pointer = known.pointer.upgrade();
        let is_open = pointer.as_ref().and_then(|pointer| pointer.local()).is_some_and(|local| local.is_open());
        let id = if !is_open && self.retired.contains(&known.id) { BoxId::random() } else { known.id };
        (id, pointer)
    }

    /// Ends leases until a box has none left, and returns that box.
    fn evict(&mut self) -> Option<LeasedBox> {
        loop {
            let holder = self.absent.front().copied().filter(|absent| self.holders.has(*absent));
            let holder = match (holder, self.absent.is_empty()) {
                (Some(absent), _) => absent,
                (None, false) => {
                    self.absent.pop_front();
                    continue;
                }
                (None, true) => self.holders.greatest()?,
            };
            let oldest = self.holders.of(holder).next()?;
            if let Some(evicted) = self.retire(oldest, holder) {
                return Some(evicted);
            }
        }
    }

    fn remove(&mut self, id: BoxId) -> Option<LeasedBox> {
        let export = self.held.remove(&id)?;
        if self.forget_forfeited(id) {
            self.retired.insert(id);
        }
        export.leases.iter().for_each(|(holder, lease)| self.holders.remove(*holder, lease.age));
        Some(export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::relay::Relay;
    use crate::handle::detached;

    const ROOM: usize = 6;

    fn id(n: u8) -> BoxId {
        BoxId([n; 16])
    }

    /// Leases a box to a holder. Returns whether a box had to make room.
    fn lease(leases: &Leases, n: u8, holder: Holder) -> bool {
        let local = Relay::new(id(n), detached::pointer(), 1);
        leases.lease(&detached::pointer(), &local, holder).is_some()
    }

    fn held(leases: &Leases) -> Vec<u8> {
        (0..20).filter(|n| leases.find(id(*n)).is_some()).collect()
    }

    #[test]
    fn over_the_limit_absent_holders_go_first_in_the_order_in_which_they_went() {
        let leases = Leases::new(ROOM);
        // The first two boxes are held by two absent holders, the third also by a present one.
        (0..3).for_each(|n| assert!(!lease(&leases, n, 1)));
        lease(&leases, 3, 2);
        [(2, 3), (4, 3), (5, 3)].into_iter().for_each(|(n, holder)| assert!(!lease(&leases, n, holder)));
        assert!(leases.set_absent(2) && leases.set_absent(1) && !leases.set_absent(9));
        assert!(lease(&leases, 6, 3));
        assert_eq!(held(&leases), [0, 1, 2, 4, 5, 6]);
        assert!(lease(&leases, 7, 3));
        assert_eq!(held(&leases), [1, 2, 4, 5, 6, 7]);
        assert!(lease(&leases, 8, 3));
        assert_eq!(held(&leases), [2, 4, 5, 6, 7, 8], "one of them is held by nobody else");
        assert!(lease(&leases, 9, 4));
        assert_eq!(held(&leases), [4, 5, 6, 7, 8, 9], "the oldest of whoever holds most");
    }

    #[test]
    fn whoever_holds_much_takes_no_room_of_those_who_hold_little() {
        let leases = Leases::new(ROOM);
        lease(&leases, 0, 1);
        lease(&leases, 1, OURSELVES);
        lease(&leases, 2, OURSELVES);
        (3..20).for_each(|n| _ = lease(&leases, n, 2));
        assert_eq!(held(&leases), [0, 1, 2, 17, 18, 19]);
    }

    #[test]
    fn of_those_who_hold_as_much_whoever_has_held_longest_makes_room() {
        let leases = Leases::new(2);
        (0..4).for_each(|n| _ = lease(&leases, n, u64::from(n) + 1));
        assert_eq!(held(&leases), [2, 3]);
    }

    /// A handle of the first box that is returned late must not count for the second.
    #[test]
    fn the_id_of_a_box_that_was_not_returned_is_given_to_no_other() {
        let leases = Leases::new(ROOM);
        let key = (std::any::TypeId::of::<u8>(), 1);
        let stand_for = |leases: &Leases| {
            let mut made = None;
            leases.stand_for(key, |id| {
                made = Some(id);
                detached::pointer()
            });
            made.expect("there is no open box")
        };
        let first = stand_for(&leases);
        let lease = |id| leases.lease(&detached::pointer(), &Relay::new(id, detached::pointer(), 1), 7);
        lease(first);
        leases.release(first, 7, 1);
        assert_eq!(stand_for(&leases), first, "all was returned");
        lease(first);
        leases.release_all(7);
        let second = stand_for(&leases);
        assert_ne!(second, first);
        assert_eq!(stand_for(&leases), second);
        assert!(leases.tables.lock().retired.is_empty());
    }

    /// The holder returns the handles it had before, and keeps those it got since.
    #[test]
    fn a_late_return_of_handles_whose_lease_made_room_is_not_one_of_later_handles() {
        let (leases, at) = (Leases::new(1), 1);
        [7, 7, 8].into_iter().for_each(|holder| assert!(!lease(&leases, 1, holder)));
        // The holder of most boxes makes room, though the box stays while another holds it.
        leases.tables.lock().retire(id(at), 7);
        assert!(!lease(&leases, 1, 7), "it is given another handle");
        assert!(leases.release(id(at), 7, 2), "the two that it had before");
        assert!(leases.release(id(at), 8, 1));
        assert_eq!(held(&leases), [1], "it has the third");
        assert!(leases.release(id(at), 7, 1));
        assert!(held(&leases).is_empty());
        assert!(leases.tables.lock().forfeited.is_empty() && leases.tables.lock().retired.is_empty());
    }

    #[test]
    fn the_id_of_a_box_of_which_handles_may_still_be_returned_is_retired() {
        let leases = Leases::new(9);
        [7, 8].into_iter().for_each(|holder| assert!(!lease(&leases, 1, holder)));
        leases.tables.lock().retire(id(1), 7);
        assert!(leases.release(id(1), 8, 1));
        assert!(leases.tables.lock().retired.contains(&id(1)) && leases.tables.lock().forfeited.is_empty());
        // A holder that has gone returns nothing.
        [7, 8].into_iter().for_each(|holder| assert!(!lease(&leases, 2, holder)));
        leases.release_all(7);
        assert!(leases.tables.lock().forfeited.is_empty());
    }

    #[test]
    fn a_holder_that_is_gone_leaves_nothing_behind() {
        let leases = Leases::new(ROOM);
        (0..4).for_each(|n| _ = lease(&leases, n, 1));
        lease(&leases, 3, 2);
        leases.set_absent(1);
        assert!(leases.release(id(0), 1, 7), "it had one");
        leases.release_all(1);
        assert!(!leases.release(id(1), 1, 1), "it has none any more");
        assert_eq!(held(&leases), [3]);
        assert!(leases.release(id(3), 2, 1));
        let tables = leases.tables.lock();
        assert!(tables.held.is_empty() && tables.holders.is_empty());
    }
}
