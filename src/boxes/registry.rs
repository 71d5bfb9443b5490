//! The boxes of this node: by id, by name, and those kept alive for others.
//!
//! Every box is found by its id, and a box with a name also by that name. There is one box for each name, whatever its
//! type. A box of [`Leases`] is found by its id only.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::leases::Leases;
use crate::env;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::identity::Origin;
use crate::handle::ports::LocalBox;
use crate::ident::BadName;
use crate::ident::BoxId;
use crate::ident::MAX_NAME;
use crate::ident::check_name;
use crate::message::RemoteMessage;
use crate::message::preflight;
use crate::message::shape::Shape;

/// Number of boxes swept before other tasks of the thread get a turn: a microsecond or so each.
const SWEPT: usize = 256;

/// The reason why a box could not be opened.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another box of this node has the name. Close it, unpublish it, or choose another name.
    #[error("the name {name:?} is taken by another box of this node")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name is empty; a name has at least one character. To open a box without a name, set none.
    #[error("the name of a mailbox is empty")]
    NameEmpty,
    /// The name is longer than the wire carries.
    #[error("the name of a mailbox is longer than {limit} bytes")]
    NameTooLong {
        /// The maximum length of a name, in bytes of UTF-8.
        limit: usize,
    },
    /// No message of this type can be sent to another process, whatever it holds: each has a part that postcard's
    /// format does not carry ([`RemoteMessage`](crate::RemoteMessage#limits) has the list). The box is refused even if
    /// it would only be used within its process. A *result* that cannot travel is no reason for refusal: the message
    /// can be sent with `do_send`, and an `ask` ends as [`AskError::AnswerNotEncodable`](crate::AskError).
    #[error("messages of this type cannot be encoded: {why}")]
    NotEncodable {
        /// The place of that part, and the remedy: ``Order.note: Deserialize asks the bytes what they are …``.
        why: String,
    },
    /// The node was shut down, or its System has ended.
    #[error("the node has stopped")]
    Stopped,
}

/// The boxes of one node.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    open: Mutex<OpenBoxes>,
    /// Changes whenever a box opens or closes, so that lookups need to be repeated only then.
    epoch: AtomicU64,
    stopped: AtomicBool,
    leases: Leases,
    /// Number of boxes in the lookup caches of all connections.
    cached: AtomicUsize,
}

#[derive(Debug, Default)]
struct OpenBoxes {
    by_id: BTreeMap<BoxId, OpenBox>,
    /// Boxes by name, ordered, so that they can be listed in parts.
    by_name: BTreeMap<Box<str>, Arc<Pointer>>,
    /// The names of boxes that not every peer may see, and the ids of these boxes.
    restricted: BTreeMap<Box<str>, BoxId>,
}

#[derive(Clone, Debug)]
struct OpenBox {
    pointer: Arc<Pointer>,
    published: bool,
    /// Whether not every peer may see it.
    restricted: bool,
}

/// The result of a look-up for a peer.
pub(super) enum Found {
    /// A box that everybody may see.
    Open(Arc<Pointer>),
    /// A box that some peers may see.
    Restricted(BoxId),
    Nothing,
}

/// Maximum number of boxes in the lookup caches of all connections together, for boxes that peers call by name or id:
/// some 400 bytes each.
pub(crate) const MAX_CACHED: usize = 65_536;

/// Maximum number of names listed at a time.
pub(super) const MAX_LISTED: usize = 512;

fn id_of(pointer: &Arc<Pointer>) -> Option<BoxId> {
    match pointer.origin() {
        Origin::Boxed { id, .. } => Some(*id),
        Origin::Named { .. } => None,
    }
}

impl Registry {
    pub(crate) fn new(leases: usize) -> Registry {
        Registry { leases: Leases::new(leases), ..Registry::default() }
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Checks a name. Returns the name to open a box by; empty for none.
    pub(crate) fn check(name: Option<String>) -> Result<Box<str>, OpenError> {
        let Some(name) = name else { return Ok("".into()) };
        match check_name(&name) {
            Ok(()) => Ok(name.into_boxed_str()),
            Err(BadName::Empty) => Err(OpenError::NameEmpty),
            Err(BadName::TooLong) => Err(OpenError::NameTooLong { limit: MAX_NAME }),
        }
    }

    /// Refuses types whose messages cannot travel and would be lost one by one. Warns once about a type with unchecked
    /// parts, which are not compared between two processes.
    pub(crate) fn admit<M: RemoteMessage>() -> Result<(), OpenError> {
        preflight::can_travel::<M>().map_err(|why| OpenError::NotEncodable { why })?;
        if let Some(paths) = Shape::of::<M>().untold_unchecked() {
            let type_name = std::any::type_name::<M>();
            tracing::warn!(target: "actix_hermod", type_name, paths = %paths.join(", "), "parts of a type are unchecked");
        }
        Ok(())
    }

    /// Registers a box.
    pub(crate) fn open(&self, pointer: &Arc<Pointer>, local: &dyn LocalBox, published: bool) -> Result<(), OpenError> {
        if let Some(holder) = self.named(local.given_name()) {
            // A publication whose actor has stopped gives up its name at this check.
            holder.local().inspect(|local| local.reap_if_dead());
        }
        let mut open = self.open.lock();
        // Read under the lock under which `stop` takes the boxes, so that none is opened behind its back.
        if self.stopped.load(Ordering::Relaxed) {
            return Err(OpenError::Stopped);
        }
        let (id, name) = (local.id(), local.given_name());
        if !name.is_empty() {
            if open.by_name.contains_key(name) {
                return Err(OpenError::NameTaken { name: name.to_owned() });
            }
            open.by_name.insert(name.into(), Arc::clone(pointer));
            if local.visibility().is_some() {
                open.restricted.insert(name.into(), id);
            }
        }
        let restricted = local.visibility().is_some();
        open.by_id.insert(id, OpenBox { pointer: Arc::clone(pointer), published, restricted });
        self.epoch.fetch_add(1, Ordering::Release);
        drop(open);
        tracing::debug!(target: "actix_hermod", name = pointer.name(), type_name = local.type_name(), "box opened");
        Ok(())
    }

    /// Forgets a box that has closed.
    pub(crate) fn remove(&self, id: BoxId, name: &str) {
        let removed = {
            let mut open = self.open.lock();
            if open.by_name.get(name).and_then(id_of) == Some(id) {
                open.by_name.remove(name);
                open.restricted.remove(name);
            }
            open.by_id.remove(&id)
        };
        self.epoch.fetch_add(1, Ordering::Release);
        if let Some(OpenBox { pointer, .. }) = removed {
            tracing::debug!(target: "actix_hermod", name = pointer.name(), "box closed");
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire).wrapping_add(self.leases.arrivals())
    }

    /// Returns the box of that name; the name of an anonymous one is its id.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Pointer>> {
        self.by_name(name).or_else(|| self.find(BoxId::from_name(name)?))
    }

    fn by_name(&self, name: &str) -> Option<Arc<Pointer>> {
        self.open.lock().by_name.get(name).map(Arc::clone)
    }

    /// Looks up the box that was given a name. The box itself is not touched, and both tables are searched in any case,
    /// so that the time tells nothing.
    pub(super) fn look_up_name(&self, name: &str) -> Found {
        let open = self.open.lock();
        match (open.restricted.get(name), open.by_name.get(name)) {
            (Some(id), _) => Found::Restricted(*id),
            (None, Some(pointer)) => Found::Open(Arc::clone(pointer)),
            (None, None) => Found::Nothing,
        }
    }

    /// Looks up the box of an id, likewise, unless the box lives for its holders only.
    pub(super) fn look_up_id(&self, id: BoxId) -> Found {
        match self.open.lock().by_id.get(&id) {
            Some(OpenBox { restricted: true, .. }) => Found::Restricted(id),
            Some(OpenBox { pointer, .. }) => Found::Open(Arc::clone(pointer)),
            None => Found::Nothing,
        }
    }

    /// Returns the box of that id.
    pub(crate) fn find(&self, id: BoxId) -> Option<Arc<Pointer>> {
        self.by_id(id).or_else(|| self.leases.find(id))
    }

    /// Returns the box of that id, unless the box lives for its holders only.
    pub(super) fn by_id(&self, id: BoxId) -> Option<Arc<Pointer>> {
        self.open.lock().by_id.get(&id).map(|entry| Arc::clone(&entry.pointer))
    }

    /// Counts one more cached box of a connection, unless there are too many.
    pub(crate) fn count_cached(&self) -> bool {
        let one_more = |cached| (cached < MAX_CACHED).then_some(cached + 1);
        self.cached.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Counts `count` fewer cached boxes.
    pub(crate) fn forget_cached(&self, count: usize) {
        self.cached.fetch_sub(count, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn cached(&self) -> usize {
        self.cached.load(Ordering::Relaxed)
    }

    /// Returns the number of open boxes, without those that live for their holders only.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().by_id.len()
    }

    /// Returns the boxes of the next names in order after this one, at most [`MAX_LISTED`].
    pub(super) fn named_after(&self, name: &str) -> Vec<(Box<str>, Arc<Pointer>)> {
        let open = self.open.lock();
        let after = (Bound::Excluded(name), Bound::Unbounded);
        open.by_name
            .range::<str, _>(after)
            .take(MAX_LISTED)
            .map(|(name, pointer)| (name.clone(), Arc::clone(pointer)))
            .collect()
    }

    /// Returns the names of boxes, and the shapes of their messages.
    pub(crate) fn shapes(&self) -> BTreeMap<String, Shape> {
        let named: Vec<Arc<Pointer>> = self.open.lock().by_name.values().map(Arc::clone).collect();
        let shape = |pointer: &Arc<Pointer>| Some((pointer.name().to_owned(), pointer.local()?.shape()?));
        named.iter().filter_map(shape).collect()
    }

    /// Closes the publication of that name. Returns whether there was one.
    pub(crate) fn unpublish(&self, name: &str) -> bool {
        let published = {
            let open = self.open.lock();
            let id = open.by_name.get(name).and_then(id_of);
            let entry = id.and_then(|id| open.by_id.get(&id));
            entry.filter(|entry| entry.published).cloned()
        };
        let local = published.and_then(|entry| entry.pointer.local());
        local.is_some_and(|local| {
            let was_open = local.is_open();
            local.close();
            was_open
        })
    }

    /// Returns every box, those kept for others included, in any order: sorting very many takes some milliseconds. In a
    /// simulation the order is always the same, so that a run can be repeated.
    pub(crate) fn all(&self) -> Vec<Arc<dyn LocalBox>> {
        if env::is_simulated() {
            return self.all_in_order();
        }
        self.with(self.leases.all())
    }

    /// Returns every box: those kept for others, then the rest, each part in the order of ids.
    pub(crate) fn all_in_order(&self) -> Vec<Arc<dyn LocalBox>> {
        let mut leased = self.leases.all();
        leased.sort_unstable_by_key(|(id, _)| *id);
        self.with(leased)
    }

    fn with(&self, leased: Vec<(BoxId, Arc<Pointer>)>) -> Vec<Arc<dyn LocalBox>> {
        let mut pointers: Vec<_> = leased.into_iter().map(|(_, pointer)| pointer).collect();
        pointers.extend(self.open.lock().by_id.values().map(|entry| Arc::clone(&entry.pointer)));
        pointers.iter().filter_map(|pointer| pointer.local()).collect()
    }

    /// Closes boxes whose actors have stopped, and forgets those that are closed. Other tasks of the thread run in between.
    pub(crate) async fn sweep(&self) {
        let mut boxes = self.all().into_iter();
        while boxes.len() > 0 {
            boxes.by_ref().take(SWEPT).for_each(|local| local.reap_if_dead());
            tokio::task::yield_now().await;
        }
        self.leases.sweep();
    }

    /// Closes every box; no box can be opened any more.
    pub(crate) fn stop(&self) {
        {
            let _open = self.open.lock();
            self.stopped.store(true, Ordering::Relaxed);
        }
        self.all_in_order().iter().for_each(|local| local.close());
        self.leases.clear();
    }
}
