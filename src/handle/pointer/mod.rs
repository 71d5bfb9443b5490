//! The state shared by all clones of an address: [`Pointer`].
//!
//! The files: `identity` (origin, keys and equality), `introduce` (the name on the wire), `path` (the connection that
//! the pointer came by), `alternate` (the choice of another), `sending` (the way of one message), `search_queue`
//! (messages that wait for a path), `lease` (the count that keeps the box alive), `holdings` (all leases of one peer's
//! boxes), `monitor` (waiting for the box to be gone).

mod alternate;
pub(crate) mod holdings;
pub(crate) mod identity;
pub(crate) mod introduce;
pub(crate) mod lease;
pub(crate) mod monitor;
pub(crate) mod path;
pub(crate) mod search_queue;
pub(crate) mod sending;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Waker;

use parking_lot::Mutex;

use self::identity::Origin;
use self::identity::Stamp;
use self::lease::Lease;
use self::path::Path;
use super::context::NodeContext;
use super::ports::ExportKey;
use super::ports::LocalBox;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::observe::loss::Caller;
use crate::observe::loss::DroppedMessage;
use crate::observe::loss::Drops;
use crate::observe::loss::Loss;
use crate::observe::loss::Nobody;
use crate::observe::loss::Parties;
use crate::reason::DropReason;

/// The route to the box.
#[derive(Debug)]
pub(crate) enum Route {
    /// A box of this node.
    Here(Arc<dyn LocalBox>),
    /// The box of this node that has the origin's name.
    HereNamed,
    /// A connection, which may be replaced by another to the same node when it has ended. `to` is the box's id there;
    /// `None` sends to the origin's name.
    Away { path: Path, to: Option<BoxId> },
    /// The box belonged to this node and is closed.
    Nowhere,
}

/// The state shared by all clones of an address.
#[derive(Debug)]
pub(crate) struct Pointer {
    /// The pointer's key in the tables of connections; see [`key_of_target`](Pointer::key_of_target).
    key: u64,
    hints: [AtomicU32; 2],
    origin: Origin,
    name: Box<str>,
    /// Whether the name is only the id, spelled out.
    anonymous: bool,
    node: Arc<NodeContext>,
    route: Route,
    held: Option<Lease>,
    lost: Drops,
    settled: AtomicU64,
    stamp: OnceLock<Stamp>,
    introduced: AtomicU64,
    queue: Mutex<Option<Box<dyn Any + Send>>>,
    has_proxy: AtomicBool,
    /// One of the values in [`ended`].
    ended: AtomicU8,
    /// The wakers of the pumps of its proxies, which end with it: one for each pump.
    ending: Mutex<Vec<(ExportKey, Waker)>>,
}

/// The stages of a pointer's end.
mod ended {
    pub(super) const NOT: u8 = 0;
    /// The recipients have ended: the box's node was away for `forget_after`. If the node comes back one day, messages
    /// reach it again.
    pub(super) const RECIPIENTS: u8 = 1;
    /// The whole pointer has ended: the box is gone.
    pub(super) const WHOLLY: u8 = 2;
}

/// The charge for one pointer in a message, in bytes: its own size, and the usual size of its texts.
pub(crate) const POINTER_COST: usize = size_of::<Pointer>() + 128;

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl Pointer {
    pub(crate) fn new(
        node: Arc<NodeContext>,
        origin: Origin,
        name: &str,
        route: Route,
        held: Option<Lease>,
    ) -> Pointer {
        let (name, anonymous) = match &origin {
            Origin::Boxed { id, .. } if name.is_empty() => (id.to_string().into_boxed_str(), true),
            _ => (name.into(), false),
        };
        Pointer {
            key: NEXT_KEY.fetch_add(2, Ordering::Relaxed),
            hints: Default::default(),
            origin,
            name,
            anonymous,
            node,
            route,
            held,
            lost: Drops::default(),
            settled: AtomicU64::new(0),
            stamp: OnceLock::new(),
            introduced: AtomicU64::new(0),
            queue: Mutex::new(None),
            has_proxy: AtomicBool::new(false),
            ended: AtomicU8::new(ended::NOT),
            ending: Mutex::new(Vec::new()),
        }
    }

    /// Returns the pointer to a box of this node.
    pub(crate) fn here(node: Arc<NodeContext>, local: Arc<dyn LocalBox>) -> Pointer {
        let origin = Origin::Boxed { node: node.id(), id: local.id() };
        let name = local.given_name().to_owned();
        Pointer::new(node, origin, &name, Route::Here(local), None)
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn this_node(&self) -> &Arc<NodeContext> {
        &self.node
    }

    /// Returns the last type whose messages are not checked any more before they leave, by its
    /// [`key`](crate::message::preflight::key); 0 if there is none.
    pub(crate) fn settled(&self) -> &AtomicU64 {
        &self.settled
    }

    /// Returns the place that remembers the queue behind the pointer's recipients, for the reader of a box of this
    /// node.
    pub(crate) fn queue(&self) -> &Mutex<Option<Box<dyn Any + Send>>> {
        &self.queue
    }

    /// Records that there is a proxy from now on.
    pub(crate) fn set_proxy(&self) {
        self.has_proxy.store(true, Ordering::Relaxed);
        if let Route::Here(local) = &self.route {
            local.note_recipient();
        }
    }

    /// Returns whether there is a proxy, or was one.
    #[inline]
    pub(crate) fn has_proxy(&self) -> bool {
        self.has_proxy.load(Ordering::Relaxed)
    }

    /// Returns the box, if it is one of this node and there is one now.
    pub(crate) fn local(&self) -> Option<Arc<dyn LocalBox>> {
        match &self.route {
            Route::Here(local) => Some(Arc::clone(local)),
            Route::HereNamed => self.node.box_named(&self.name),
            Route::Away { path, .. } if path.is_loopback() => self.node.box_named(&self.name),
            Route::Away { .. } | Route::Nowhere => None,
        }
    }

    /// Returns whether the pointer leads to one certain box at another node, and to no other if that box is gone.
    pub(crate) fn is_away_for_good(&self) -> bool {
        matches!((&self.route, &self.origin), (Route::Away { .. }, Origin::Boxed { .. }))
    }

    /// Ends the pointer: nothing can be reached by it any more.
    pub(crate) fn end(&self) {
        self.end_as(ended::WHOLLY);
    }

    /// Ends the actix recipients of the pointer, as the box's node is not expected back; an actix recipient cannot be
    /// opened anew.
    pub(crate) fn end_recipients(&self) {
        self.end_as(ended::RECIPIENTS);
    }

    /// Permits a new recipient, after the earlier ones ended because the box's node was away.
    pub(crate) fn begin_recipient(&self) {
        // On failure the pointer has wholly ended, or has not ended at all.
        let _ = self.ended.compare_exchange(ended::RECIPIENTS, ended::NOT, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn end_as(&self, how: u8) {
        self.ended.fetch_max(how, Ordering::AcqRel);
        let waiting = std::mem::take(&mut *self.ending.lock());
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Returns whether the box is known to be gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) == ended::WHOLLY
    }

    /// Returns whether the recipients have ended, even if the box has not.
    pub(crate) fn have_recipients_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) != ended::NOT
    }

    /// Returns whether no message sent by the pointer can arrive, now or later.
    pub(crate) fn is_dead(&self) -> bool {
        self.node.is_stopped()
            || match &self.route {
                Route::Here(local) => !local.is_open(),
                Route::Nowhere => true,
                Route::Away { .. } => self.has_ended(),
                Route::HereNamed => false,
            }
    }

    /// Returns whether the pointer's recipients have ended; if not, the pump of that proxy is woken when they do,
    /// unless it is [forgotten](Pointer::forget_pump).
    pub(crate) fn ends_for(&self, pump: ExportKey, waker: &Waker) -> bool {
        let mut ending = self.ending.lock();
        // Checked under the lock under which waiting pumps are woken.
        if self.have_recipients_ended() {
            return true;
        }
        match ending.iter_mut().find(|(of, _)| *of == pump) {
            Some((_, known)) => known.clone_from(waker),
            None => {
                // There is usually one pump.
                if ending.is_empty() {
                    ending.reserve_exact(1);
                }
                ending.push((pump, waker.clone()));
            }
        }
        false
    }

    /// Forgets the waker of a pump that has ended.
    pub(crate) fn forget_pump(&self, pump: ExportKey) {
        let mut ending = self.ending.lock();
        let forgotten = ending.iter().position(|(of, _)| *of == pump).map(|place| ending.swap_remove(place));
        if ending.is_empty() {
            *ending = Vec::new();
        }
        drop(ending);
        drop(forgotten);
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// Returns whether messages go straight into a box of this node, if there is one.
    #[inline]
    pub(crate) fn is_local(&self) -> bool {
        match &self.route {
            Route::Away { path, .. } => path.is_loopback(),
            _ => true,
        }
    }

    /// Returns the node that the pointer leads to; `None` until a name at an endpoint was first reached.
    pub(crate) fn node_id(&self) -> Option<NodeId> {
        self.incarnation().map(|incarnation| incarnation.node)
    }

    /// Returns the run of the node that the pointer leads to.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        match (&self.origin, &self.route) {
            (Origin::Boxed { node, .. }, _) => Some(*node),
            (_, Route::Away { path, .. }) if !path.is_loopback() => path.peer(),
            _ => Some(self.node.id()),
        }
    }

    /// Drops messages of type `type_name` that were sent on this node, through this pointer. `mailbox` is the box that
    /// did not take them, if they came so far.
    pub(crate) fn settle_loss(
        &self,
        loss: Loss<'_>,
        type_name: &'static str,
        mailbox: Option<&Drops>,
        caller: impl Caller,
    ) {
        let peer = if self.is_local() { None } else { self.node_id() };
        loss.settle(Parties {
            node: self.node.observer(),
            message: DroppedMessage { name: &self.name, type_name, peer },
            mailbox,
            pointer: Some(&self.lost),
            sender: Nobody,
            caller,
        });
    }

    /// Returns the drops on this side.
    pub(super) fn lost_here(&self) -> BTreeMap<DropReason, u64> {
        self.lost.to_map()
    }
}

impl Drop for Pointer {
    /// The last clone of the address is gone: a box that lives only for its holders takes no more messages. Waiting
    /// messages are still handled. The leases at peers are released when the fields of the pointer are dropped.
    fn drop(&mut self) {
        if let Some(local) = self.leased_here() {
            local.close();
        }
        // The box's own node may not have read yet that it must count a handle itself.
        if let Route::Away { path, .. } = &mut self.route
            && let Some(lease) = path.lease.get_mut()
            && let Some(link) = lease.link.upgrade()
            && let Some(held) = self.held.take()
        {
            drop(link.keep(lease.connection, held));
        }
    }
}
