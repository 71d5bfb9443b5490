//! The path of a pointer to another node: the connection that it came by, or an alternate one, and sending by it.
//!
//! Messages from one thread stay in order only while they leave by one connection. So a pointer stays on its primary
//! connection while that serves, and all threads use the same connection. A box of a third node has a shorter path than
//! through the node that introduced it, and any connection may end: then an alternate connection is chosen, and if
//! there is none, the pointer searches or waits for one. Sending costs no lock while the primary connection serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::Pointer;
use super::Route;
use super::identity::Origin;
use super::lease::Lease;
use crate::handle::envelope::Envelope;
use crate::handle::ports::Asker;
use crate::handle::ports::Correlation;
use crate::handle::ports::Dialler;
use crate::handle::ports::NotPosted;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::observe::stats::Losses;
use crate::reason::DropReason;

/// The primary connection, by which a pointer came, and the alternate connection that serves in its place: a shorter
/// one to a third node's box, or another once the primary has ended.
#[derive(Debug)]
pub(crate) struct Path {
    primary: Primary,
    from: CameFrom,
    /// The endpoints at which the box's node is said to listen.
    hints: Arc<[Endpoint]>,
    /// The lease at the box's own node, beside the one at the node that has introduced the box.
    pub(super) lease: Mutex<Option<Box<Lease>>>,
    alternate: Mutex<Option<Arc<dyn Outbound>>>,
    /// The state of the choice of an alternate connection, checked for every message: one of [`selection`].
    selection: AtomicU8,
    /// Whether the node that the pointer came from is on this host.
    near: bool,
}

/// The source of a pointer.
#[derive(Debug)]
enum CameFrom {
    /// The pointer was made from a name.
    Name,
    /// The pointer came from the node of the box.
    Owner,
    /// The pointer came from another node, which passes messages on.
    Introducer(Box<Incarnation>),
}

/// The connection that a pointer uses first.
#[derive(Debug)]
enum Primary {
    Made(Arc<dyn Outbound>),
    Named(NamedLink),
    Later(Box<LaterLink>),
}

/// A connection to an endpoint, for pointers by name.
#[derive(Clone, Debug)]
pub(crate) struct NamedLink {
    pub(crate) link: Arc<dyn Outbound>,
    /// Whether the connection is known to lead to this very node, with nothing under way on it.
    pub(crate) is_home: Arc<AtomicBool>,
}

/// A connection that is made when it is first used: a peer may name as many endpoints as it likes.
#[derive(Debug)]
struct LaterLink {
    dialler: Arc<dyn Dialler>,
    endpoint: Endpoint,
    expected: Option<NodeId>,
    /// The peer that has named the endpoint.
    asked_by: Asker,
    made: OnceLock<NamedLink>,
}

mod selection {
    pub(super) const PRIMARY: u8 = 0;
    pub(super) const ALTERNATE: u8 = 1;
    /// The choice is made when the first message is sent by the pointer.
    pub(super) const OPEN: u8 = 2;
}

impl Path {
    /// Returns the path of a pointer by name.
    pub(crate) fn by_name(link: NamedLink) -> Path {
        Path::by(Primary::Named(link))
    }

    /// Returns the path of a pointer by name that a peer has sent: its connection is made when it is first used.
    pub(crate) fn by_name_later(
        dialler: Arc<dyn Dialler>,
        endpoint: Endpoint,
        expected: Option<NodeId>,
        asked_by: Asker,
    ) -> Path {
        Path::by(Primary::Later(Box::new(LaterLink { dialler, endpoint, expected, asked_by, made: OnceLock::new() })))
    }

    fn by(primary: Primary) -> Path {
        Path {
            primary,
            from: CameFrom::Name,
            hints: Arc::default(),
            lease: Mutex::new(None),
            alternate: Mutex::new(None),
            selection: AtomicU8::new(selection::PRIMARY),
            near: false,
        }
    }

    /// Returns the path of a pointer to a box of the node `to` that came from the node `from`; `near` is whether `from`
    /// is on this host.
    pub(crate) fn between(
        primary: Arc<dyn Outbound>,
        (from, near): (Incarnation, bool),
        to: Incarnation,
        hints: Arc<[Endpoint]>,
    ) -> Path {
        let is_relayed = from != to;
        let selection = AtomicU8::new(if is_relayed { selection::OPEN } else { selection::PRIMARY });
        let from = if is_relayed { CameFrom::Introducer(Box::new(from)) } else { CameFrom::Owner };
        Path { from, hints, selection, near, ..Path::by(Primary::Made(primary)) }
    }

    /// Returns whether messages go straight into the boxes of this node. While they do, the connection takes no
    /// messages by name.
    #[inline]
    pub(super) fn is_home(&self) -> bool {
        match &self.primary {
            Primary::Made(_) => false,
            Primary::Named(named) => named.is_home.load(Ordering::Acquire),
            Primary::Later(later) => later.made.get().is_some_and(|named| named.is_home.load(Ordering::Acquire)),
        }
    }

    /// Returns the connection that the pointer came by; makes it if that was left for later.
    #[inline]
    pub(crate) fn primary(&self) -> &Arc<dyn Outbound> {
        match &self.primary {
            Primary::Made(link) | Primary::Named(NamedLink { link, .. }) => link,
            Primary::Later(later) => later.make(),
        }
    }

    /// Returns the node at the other end of the primary connection, if it was made. Takes no lock but one of that
    /// connection's, since it is called under another connection's lock.
    pub(super) fn peer(&self) -> Option<Incarnation> {
        match &self.primary {
            Primary::Made(link) | Primary::Named(NamedLink { link, .. }) => link.peer(),
            Primary::Later(later) => later.made.get()?.link.peer(),
        }
    }

    /// Returns the node that has introduced the box of another node, and passes messages on.
    fn introducer(&self) -> Option<Incarnation> {
        match &self.from {
            CameFrom::Introducer(node) => Some(**node),
            CameFrom::Name | CameFrom::Owner => None,
        }
    }

    /// Returns whether the path leads to a name.
    #[inline]
    fn is_by_name(&self) -> bool {
        matches!(self.from, CameFrom::Name)
    }

    #[inline]
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.from, CameFrom::Introducer(_))
    }

    pub(crate) fn hints(&self) -> &Arc<[Endpoint]> {
        &self.hints
    }

    /// Returns whether the node that has named the hints is on this host.
    pub(super) fn is_near(&self) -> bool {
        self.near
    }

    /// Returns the connection that serves in place of the primary, if there is one.
    pub(super) fn alternate(&self) -> Option<Arc<dyn Outbound>> {
        self.alternate.lock().clone()
    }

    /// Returns the alternate connection for a sender; `select` chooses it, if it is not chosen yet.
    #[inline]
    pub(super) fn alternate_or(&self, select: impl FnOnce() -> Option<Arc<dyn Outbound>>) -> Option<Arc<dyn Outbound>> {
        match self.selection.load(Ordering::Relaxed) {
            selection::PRIMARY => None,
            selection::ALTERNATE => self.alternate.lock().clone(),
            _ => select(),
        }
    }

    /// Stays with `chosen`, or with the primary if that is `None`, unless another thread has chosen by now. Returns the
    /// alternate connection that is in use.
    pub(super) fn keep_to(&self, chosen: Option<Arc<dyn Outbound>>) -> Option<Arc<dyn Outbound>> {
        let mut alternate = self.alternate.lock();
        if self.selection.load(Ordering::Relaxed) == selection::OPEN {
            self.selection
                .store(if chosen.is_some() { selection::ALTERNATE } else { selection::PRIMARY }, Ordering::Relaxed);
            *alternate = chosen;
        }
        alternate.clone()
    }

    /// Returns the alternate connection that serves from now on: `other`, unless another thread has set one.
    pub(super) fn take_alternate(&self, other: Arc<dyn Outbound>) -> Arc<dyn Outbound> {
        let mut alternate = self.alternate.lock();
        self.selection.store(selection::ALTERNATE, Ordering::Relaxed);
        // If `other` is not needed it is dropped after the lock, at the end of this function: it may be the last holder
        // of a connection.
        Arc::clone(alternate.get_or_insert_with(|| Arc::clone(&other)))
    }

    /// Replaces one alternate connection by another, if the old one still serves.
    pub(super) fn replace_alternate(&self, old: *const (), new: Option<&Arc<dyn Outbound>>) {
        let mut alternate = self.alternate.lock();
        let replaced = if alternate.as_ref().is_some_and(|alternate| Arc::as_ptr(alternate).cast::<()>() == old) {
            self.selection
                .store(if new.is_some() { selection::ALTERNATE } else { selection::PRIMARY }, Ordering::Relaxed);
            std::mem::replace(&mut *alternate, new.cloned())
        } else {
            None
        };
        drop(alternate);
        // Dropped outside the lock: this may be the last holder of a connection.
        drop(replaced);
    }
}

impl LaterLink {
    #[cold]
    fn make(&self) -> &Arc<dyn Outbound> {
        &self
            .made
            .get_or_init(|| Arc::clone(&self.dialler).link_at(&self.endpoint, self.expected, Some(self.asked_by)))
            .link
    }
}

impl Pointer {
    /// Returns whether the pointer came from another node than the box's own, which would pass messages on.
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.route(), Route::Away { path, .. } if path.is_relayed())
    }

    /// Returns the connection to send by now.
    pub(crate) fn link(&self) -> Option<Arc<dyn Outbound>> {
        let Route::Away { path, .. } = self.route() else { return None };
        if path.is_home() {
            return None;
        }
        if let Some(link) = path.alternate().filter(|link| link.is_linked()) {
            return Some(link);
        }
        let other = if path.primary().is_linked() { None } else { self.other_link(path) };
        Some(other.unwrap_or_else(|| Arc::clone(path.primary())))
    }

    /// Returns whether the connection to send by now is up, or being made, and leads to no other node than the box's
    /// own or the one that introduced it.
    pub(crate) fn is_linked(&self) -> bool {
        let Some(link) = self.link().filter(|link| link.is_up()) else { return false };
        let made_for = self.made_for();
        made_for.is_none() || link.peer().is_none_or(|peer| Some(peer) == made_for || Some(peer) == self.own_node())
    }

    /// Returns the node that the pointer came from, if it leads to a certain box. The pointer means nothing to any
    /// other node.
    #[inline]
    pub(crate) fn made_for(&self) -> Option<Incarnation> {
        match self.route() {
            Route::Away { path, .. } if path.is_by_name() => None,
            Route::Away { path, .. } => path.introducer().or_else(|| self.own_node()),
            _ => None,
        }
    }

    /// Returns a live connection, besides the one that the pointer uses, to the node that it came from, or to the box's
    /// own. A pointer by name has no other connection, as it leads to any node at its endpoint.
    fn other_link(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        let live = |node| self.router().live_link(node).filter(|link| link.is_linked());
        live(self.made_for()?).or_else(|| self.own_node().filter(|_| path.is_relayed()).and_then(live))
    }

    /// Returns the box's node, unless the pointer leads to a name.
    fn own_node(&self) -> Option<Incarnation> {
        match self.origin() {
            Origin::Boxed { node, .. } => Some(*node),
            Origin::Named { .. } => None,
        }
    }

    /// Searches for a path to the box's node at the endpoints at which it is said to listen.
    fn discover(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        let asked_by = Asker { node: self.made_for()?.node, near: path.is_near() };
        self.router().discover(self.own_node()?, path.hints(), asked_by)
    }

    /// Returns the connection that serves in place of the one that the pointer came by.
    #[inline]
    fn alternate(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        path.alternate_or(|| self.select(path))
    }

    /// Chooses the shortest path to a third node's box, which stays in use while it lives: an open connection to the
    /// box's node, or else one that is made to its endpoints, or else the one that the pointer came by.
    #[cold]
    fn select(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        let open = self.router().live_link(self.own_node()?).filter(|link| link.is_linked());
        path.keep_to(open.or_else(|| self.discover(path)))
    }

    /// Ends a search for a shorter path; `found` is the connection it found, if any.
    pub(crate) fn settle_search(&self, search: *const (), found: Option<&Arc<dyn Outbound>>) {
        if let Route::Away { path, .. } = self.route() {
            path.replace_alternate(search, found);
        }
    }

    /// Sends by the connection that the pointer uses or, while there is none, by another one that leads to the same
    /// place; that one stays in use while it lives, so that messages stay in order. If there is no other, the message
    /// waits for the connection as if it had been sent by name.
    #[inline]
    fn send_by<T>(
        &self,
        path: &Path,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        let sent = match self.alternate(path) {
            None => send(path.primary(), path.is_by_name()),
            Some(link) => send(&link, false).or_else(|not_posted| match not_posted {
                NotPosted::Over | NotPosted::NotUp => {
                    path.replace_alternate(Arc::as_ptr(&link).cast(), None);
                    send(path.primary(), path.is_by_name())
                }
                dropped => Err(dropped),
            }),
        };
        sent.or_else(|not_posted| self.send_by_another(path, not_posted, send))
    }

    #[cold]
    fn send_by_another<T>(
        &self,
        path: &Path,
        not_posted: NotPosted,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        if let NotPosted::Dropped(reason) = not_posted {
            return Err(reason);
        }
        // A connection that this node has dialled is made again by itself.
        let may_look = path.is_relayed() || not_posted == NotPosted::Over;
        let other = self.other_link(path).or_else(|| if may_look { self.discover(path) } else { None });
        let sent = match other {
            Some(other) => {
                // It stays in use from now on, by other threads too: the next message of this thread must not take
                // another path.
                let link = path.take_alternate(other);
                let sent = send(&link, false);
                if matches!(sent, Err(NotPosted::Over | NotPosted::NotUp)) {
                    path.replace_alternate(Arc::as_ptr(&link).cast(), None);
                }
                sent
            }
            None => send(path.primary(), true),
        };
        sent.map_err(|not_posted| match not_posted {
            NotPosted::Over | NotPosted::NotUp => DropReason::NotConnected,
            NotPosted::Dropped(reason) => reason,
        })
    }

    /// Puts an encoded message into the outbox of the connection that the pointer uses.
    #[inline]
    pub(crate) fn post(self: &Arc<Self>, message: &Envelope<'_>) -> Result<(), DropReason> {
        let Route::Away { path, .. } = self.route() else { return Err(DropReason::NoRoute) };
        self.send_by(path, |link, patient| link.post(self, message, patient))
    }

    /// Puts an encoded request into the outbox of the connection that the pointer uses. Returns the link of the
    /// request, for cancelling it.
    pub(crate) fn ask_encoded(
        self: &Arc<Self>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
    ) -> Result<(Arc<dyn Outbound>, Correlation), DropReason> {
        let Route::Away { path, .. } = self.route() else { return Err(DropReason::NotConnected) };
        self.send_by(path, |link, patient| {
            let correlation = link.ask(self, message, time_left, waiting, patient)?;
            Ok((Arc::clone(link), correlation))
        })
    }

    /// Calls `send` with the connection that the pointer came by, even if messages are sent by a shorter path.
    pub(crate) fn send_by_primary<T>(
        &self,
        mut send: impl FnMut(&Arc<dyn Outbound>, bool) -> Result<T, NotPosted>,
    ) -> Result<T, DropReason> {
        let Route::Away { path, .. } = self.route() else { return Err(DropReason::NoRoute) };
        let mut sent = send(path.primary(), false);
        if let (Err(NotPosted::Over | NotPosted::NotUp), Some(other)) = (&sent, self.other_link(path)) {
            sent = send(&other, false);
        }
        let sent = sent.or_else(|not_posted| match not_posted {
            NotPosted::Dropped(reason) => Err(NotPosted::Dropped(reason)),
            NotPosted::Over | NotPosted::NotUp => send(path.primary(), true),
        });
        sent.map_err(|not_posted| match not_posted {
            NotPosted::Over | NotPosted::NotUp => DropReason::NotConnected,
            NotPosted::Dropped(reason) => reason,
        })
    }

    /// Returns details of the reason why nothing can be sent by the pointer now, if they are known. The message takes
    /// `size` bytes without its handles.
    pub(crate) fn trouble(&self, reason: DropReason, size: usize) -> Option<String> {
        let Route::Away { path, .. } = self.route() else { return None };
        match reason {
            DropReason::NotConnected => path.primary().trouble(),
            DropReason::TooLarge => {
                let limit = self.link()?.longest_message();
                Some(format!(
                    "{size} bytes and its handles are more than {limit}, what `max_message` allows at both nodes"
                ))
            }
            _ => None,
        }
    }

    /// Returns the fill level of the way to the box and of the box itself, from 0 to 1; 1 if nothing can be sent there
    /// now.
    pub(crate) fn pressure(&self) -> f32 {
        if let Some(local) = self.local() {
            return f32::from(local.fill()) / f32::from(u8::MAX);
        }
        self.link().map_or(1.0, |link| link.pressure(&self.target_by(&*link)))
    }

    /// Returns the losses; those at the other node are of messages of the shape with that fingerprint.
    pub(crate) fn losses(&self, fingerprint: u64) -> Losses {
        Losses { local: self.lost_here(), remote: self.lost_there(fingerprint) }
    }

    /// Returns the drops reported by the other node, over the primary connection and the alternate one.
    fn lost_there(&self, fingerprint: u64) -> BTreeMap<DropReason, u64> {
        let Route::Away { path, .. } = self.route() else { return BTreeMap::new() };
        let mut lost = path.primary().losses(&self.target_by(&**path.primary()), fingerprint);
        let alternate = path.alternate();
        for (reason, count) in alternate.iter().flat_map(|link| link.losses(&self.target_by(&**link), fingerprint)) {
            *lost.entry(reason).or_default() += count;
        }
        lost
    }
}
