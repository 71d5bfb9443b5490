//! The path of a pointer to another node: the connection that it came by, or an alternate one, and how messages are given to it.
//!
//! Messages from one thread stay in order only while they leave by one connection. So a pointer stays on its primary
//! connection while that serves, and all threads use the same one. A box of a third node has a shorter path than through the
//! node that introduced it, and any connection may end: then an alternate connection is chosen, and where there is none, one is
//! searched for or waited for. Sending costs no lock while the primary connection serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::Pointer;
use super::Route;
use super::identity::Origin;
use super::lease::Held;
use crate::handle::envelope::Encoded;
use crate::handle::ports::Correlation;
use crate::handle::ports::NotPosted;
use crate::handle::ports::Outbound;
use crate::handle::ports::Waiting;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::observe::stats::Losses;
use crate::reason::DropReason;

impl Pointer {
    /// The connection to send by now.
    pub(crate) fn link(&self) -> Option<Arc<dyn Outbound>> {
        let Route::Away { by, .. } = self.route() else { return None };
        if let Some(link) = by.detour().filter(|link| link.is_linked()) {
            return Some(link);
        }
        let other = if by.first().is_linked() { None } else { self.other_way(by) };
        Some(other.unwrap_or_else(|| Arc::clone(by.first())))
    }

    /// A live connection, besides the one that the pointer leads by, to the node that it came from, or to the box's own. By
    /// name one is led to whoever listens there, and by no other way.
    fn other_way(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        let live = |node| self.home().way_to(node).filter(|link| link.is_linked());
        live(by.node()?).or_else(|| self.own_node().filter(|_| by.is_relayed()).and_then(live))
    }

    /// The box's node, unless the pointer leads to whatever has its name.
    fn own_node(&self) -> Option<NodeId> {
        match self.origin() {
            Origin::Boxed { node, .. } => Some(*node),
            Origin::Named { .. } => None,
        }
    }

    /// A way to where the box's node is said to listen.
    fn look_for(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        Arc::clone(self.home()).look_for(self.own_node()?, by.hints())
    }

    /// The connection that serves in place of the one that the pointer came by.
    #[inline]
    fn detour(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        by.detour_or(|| self.choose(by))
    }

    /// Chooses the shortest way to a third node's box, which is kept to while it lives: an open connection to its node, or
    /// one that is made to where it listens. The last is the one that the pointer came by.
    #[cold]
    fn choose(&self, by: &Way<dyn Outbound, Held>) -> Option<Arc<dyn Outbound>> {
        let open = self.home().way_to(self.own_node()?).filter(|link| link.is_linked());
        by.keep_to(open.or_else(|| self.look_for(by)))
    }

    /// A search for a shorter way is over, and `found` what it found, if anything.
    pub(crate) fn settle_way(&self, search: *const (), found: Option<&Arc<dyn Outbound>>) {
        if let Route::Away { by, .. } = self.route() {
            by.replace_detour(search, found);
        }
    }

    /// Sends by the connection that the pointer leads by or, while there is none, by another one that leads there; that one
    /// is kept to while it lives, so that what is sent stays in order. Where there is no other, the message waits for the
    /// connection as if it had been sent by name.
    #[inline]
    fn send_by<T>(
        &self,
        by: &Way<dyn Outbound, Held>,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        let sent = match self.detour(by) {
            None => send(by.first(), by.node().is_none()),
            Some(link) => send(&link, false).or_else(|not_posted| match not_posted {
                NotPosted::Over | NotPosted::NotUp => {
                    by.replace_detour(Arc::as_ptr(&link).cast(), None);
                    send(by.first(), by.node().is_none())
                }
                dropped => Err(dropped),
            }),
        };
        sent.or_else(|not_posted| self.send_by_another(by, not_posted, send))
    }

    #[cold]
    fn send_by_another<T>(
        &self,
        by: &Way<dyn Outbound, Held>,
        not_posted: NotPosted,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        if let NotPosted::Dropped(reason) = not_posted {
            return Err(reason);
        }
        // A connection that this node has dialled is made again by itself.
        let may_look = by.is_relayed() || not_posted == NotPosted::Over;
        let other = self.other_way(by).or_else(|| if may_look { self.look_for(by) } else { None });
        let sent = match other {
            Some(other) => {
                // Kept to from now on, also by other threads: what this one sends next must not go by the way of another.
                let link = by.take_detour(other);
                let sent = send(&link, false);
                if matches!(sent, Err(NotPosted::Over | NotPosted::NotUp)) {
                    by.replace_detour(Arc::as_ptr(&link).cast(), None);
                }
                sent
            }
            None => send(by.first(), true),
        };
        sent.map_err(|not_posted| match not_posted {
            NotPosted::Over | NotPosted::NotUp => DropReason::NotConnected,
            NotPosted::Dropped(reason) => reason,
        })
    }

    /// Puts an encoded message into the outbox of the connection that the pointer leads by.
    #[inline]
    pub(crate) fn post(self: &Arc<Self>, message: &Encoded<'_>) -> Result<(), DropReason> {
        let Route::Away { by, .. } = self.route() else { return Err(DropReason::NoRoute) };
        self.send_by(by, |link, patient| link.post(self, message, patient))
    }

    /// Puts an encoded request into that outbox. The link is that of the request, for who wants to cancel it.
    pub(crate) fn ask_encoded(
        self: &Arc<Self>,
        message: &Encoded<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn Waiting>>,
    ) -> Result<(Arc<dyn Outbound>, Correlation), DropReason> {
        let Route::Away { by, .. } = self.route() else { return Err(DropReason::NotConnected) };
        self.send_by(by, |link, patient| {
            let correlation = link.ask(self, message, time_left, waiting, patient)?;
            Ok((Arc::clone(link), correlation))
        })
    }

    /// Has `send` send by the way that the pointer came by, whatever is sent by a shorter one.
    pub(crate) fn send_the_long_way<T>(
        &self,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        let Route::Away { by, .. } = self.route() else { return Err(DropReason::NoRoute) };
        let mut sent = send(by.first(), false);
        if let (Err(NotPosted::Over | NotPosted::NotUp), Some(other)) = (&sent, self.other_way(by)) {
            sent = send(&other, false);
        }
        let sent = sent.or_else(|not_posted| match not_posted {
            NotPosted::Dropped(reason) => Err(NotPosted::Dropped(reason)),
            NotPosted::Over | NotPosted::NotUp => send(by.first(), true),
        });
        sent.map_err(|not_posted| match not_posted {
            NotPosted::Over | NotPosted::NotUp => DropReason::NotConnected,
            NotPosted::Dropped(reason) => reason,
        })
    }

    /// More about why nothing can be sent by it now, if that is known.
    pub(crate) fn trouble(&self, reason: DropReason) -> Option<String> {
        match self.route() {
            Route::Away { by, .. } if reason == DropReason::NotConnected => by.first().trouble(),
            _ => None,
        }
    }

    /// How full the way to the box and the box itself are, from 0 to 1; 1 if nothing can be sent there now.
    pub(crate) fn pressure(&self) -> f32 {
        if let Some(local) = self.local() {
            return f32::from(local.fill()) / f32::from(u8::MAX);
        }
        self.link().map_or(1.0, |link| link.pressure(&self.target_by(&*link)))
    }

    pub(crate) fn losses(&self) -> Losses {
        Losses { local: self.lost_here(), remote: self.lost_there() }
    }

    /// What the other node has told, by the connection that the pointer leads by and the one in its place.
    fn lost_there(&self) -> BTreeMap<DropReason, u64> {
        let Route::Away { by, .. } = self.route() else { return BTreeMap::new() };
        let mut lost = by.first().losses(&self.target_by(&**by.first()));
        let detour = by.detour();
        for (reason, count) in detour.iter().flat_map(|link| link.losses(&self.target_by(&**link))) {
            *lost.entry(reason).or_default() += count;
        }
        lost
    }
}

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
