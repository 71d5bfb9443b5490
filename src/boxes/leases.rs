//! Boxes that live because somebody elsewhere holds their address: actors whose `Recipient`s were sent in messages, and
//! relays to boxes of third nodes.
//!
//! Each connection has a count of how often a box's handle was written to it. The reader returns what it has let go; at
//! zero, or when the connection ends, that connection's claim is gone, and with the last claim the box. What was counted
//! before it was read is safe, as a handle in flight is counted already.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::handle::pointer::Pointer;
use crate::handle::ports::ExportKey;
use crate::handle::ports::LocalBox;
use crate::ident::BoxId;

/// Who holds an address: a connection, by its number in this process.
pub(crate) type Holder = u64;

/// The holder that stands for this node itself: [`Node::export`](crate::Node::export) holds until the node stops.
pub(crate) const OURSELVES: Holder = 0;

/// What is exported from one node.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    tables: Mutex<LeaseTable>,
    /// Counts boxes that have come; see [`Registry::epoch`](super::registry::Registry::epoch).
    arrivals: AtomicU64,
    limit: usize,
    /// Whether it was said that one had to make room: once there are too many, each further message may have one go.
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct LeaseTable {
    held: BTreeMap<BoxId, LeasedBox>,
    by_age: BTreeMap<u64, BoxId>,
    /// The boxes that stand for recipients, held or about to be.
    known: HashMap<ExportKey, Weak<Pointer>>,
    /// How many of `known` were held when those that were not were last forgotten.
    known_held: usize,
    next_age: u64,
}

#[derive(Debug)]
struct LeasedBox {
    pointer: Arc<Pointer>,
    age: u64,
    holders: HashMap<Holder, u64>,
}

/// An export that had to make room.
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

    /// The box that stands for what has this key, made if there is none that is open.
    pub(crate) fn stand_for(&self, key: ExportKey, make: impl FnOnce() -> Arc<Pointer>) -> Arc<Pointer> {
        let known = self.tables.lock().known.get(&key).and_then(Weak::upgrade);
        if let Some(pointer) = known.filter(|pointer| pointer.local().is_some_and(|local| local.is_open())) {
            return pointer;
        }
        let pointer = make();
        let mut tables = self.tables.lock();
        // Not more often than their number doubles: those of one message are held until it is written.
        if tables.known.len() > 2 * tables.known_held + 64 {
            tables.forget_unheld();
        }
        tables.known.insert(key, Arc::downgrade(&pointer));
        pointer
    }

    /// Counts one more handle of a box written to that holder.
    /// What had to go for it is to be closed when no lock is held.
    pub(crate) fn lease(&self, pointer: &Arc<Pointer>, local: &dyn LocalBox, holder: Holder) -> Option<Evicted> {
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        let export = tables.held.entry(local.id()).or_insert_with(|| {
            tables.next_age += 1;
            self.arrivals.fetch_add(1, Ordering::Release);
            tables.by_age.insert(tables.next_age, local.id());
            LeasedBox { pointer: Arc::clone(pointer), age: tables.next_age, holders: HashMap::new() }
        });
        *export.holders.entry(holder).or_default() += 1;
        if tables.held.len() <= self.limit {
            return None;
        }
        let (_, oldest) = tables.by_age.pop_first()?;
        let export = tables.held.remove(&oldest)?;
        Some(Evicted { export, is_first: !self.said.swap(true, Ordering::Relaxed) })
    }

    /// A holder has handles of a box that were given to another. What is not held by anybody is not there any more.
    pub(crate) fn add_leases(&self, id: BoxId, holder: Holder, count: u64) {
        if let Some(export) = self.tables.lock().held.get_mut(&id)
            && count > 0
        {
            let held = export.holders.entry(holder).or_default();
            *held = held.saturating_add(count);
        }
    }

    /// A holder returns handles: more than it was given count as all. Whether it had any.
    pub(crate) fn release(&self, id: BoxId, holder: Holder, count: u64) -> bool {
        let released = {
            let mut tables = self.tables.lock();
            let Some(export) = tables.held.get_mut(&id) else { return false };
            let Some(held) = export.holders.get_mut(&holder) else { return false };
            *held = held.saturating_sub(count);
            if *held > 0 {
                return true;
            }
            export.holders.remove(&holder);
            if export.holders.is_empty() { tables.remove(id) } else { None }
        };
        // Outside the lock: it may stop an actor.
        drop(released);
        true
    }

    /// A holder is gone.
    pub(crate) fn release_all(&self, holder: Holder) {
        let released: Vec<LeasedBox> = {
            let mut tables = self.tables.lock();
            let held = tables.held.iter_mut();
            let unheld: Vec<BoxId> = held
                .filter_map(|(id, export)| {
                    let held = export.holders.remove(&holder).is_some();
                    (held && export.holders.is_empty()).then_some(*id)
                })
                .collect();
            unheld.into_iter().filter_map(|id| tables.remove(id)).collect()
        };
        drop(released);
    }

    pub(crate) fn find(&self, id: BoxId) -> Option<Arc<Pointer>> {
        self.tables.lock().held.get(&id).map(|export| Arc::clone(&export.pointer))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Pointer>> {
        self.tables.lock().held.values().map(|export| Arc::clone(&export.pointer)).collect()
    }

    /// Forgets boxes that are closed, and recipients that nobody holds.
    pub(crate) fn sweep(&self) {
        let closed: Vec<LeasedBox> = {
            let mut tables = self.tables.lock();
            tables.forget_unheld();
            let is_closed = |export: &LeasedBox| !export.pointer.local().is_some_and(|local| local.is_open());
            let closed: Vec<BoxId> =
                tables.held.iter().filter(|(_, export)| is_closed(export)).map(|(id, _)| *id).collect();
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

impl LeaseTable {
    fn forget_unheld(&mut self) {
        self.known.retain(|_, known| known.strong_count() > 0);
        self.known_held = self.known.len();
    }

    fn remove(&mut self, id: BoxId) -> Option<LeasedBox> {
        let export = self.held.remove(&id)?;
        self.by_age.remove(&export.age);
        Some(export)
    }
}
