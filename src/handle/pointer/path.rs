//! The path of a pointer to another node: the connection that it came by, or an alternate one, and how messages are given to it.
//!
//! Messages from one thread stay in order only while they leave by one connection. So a pointer stays on its primary
//! connection while that serves, and all threads use the same one. A box of a third node has a shorter path than through the
//! node that introduced it, and any connection may end: then an alternate connection is chosen, and where there is none, one is
//! searched for or waited for. Sending costs no lock while the primary connection serves.

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
use crate::ident::Endpoint;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::observe::stats::Losses;
use crate::reason::DropReason;

/// The primary connection, by which a pointer came, and the alternate one that serves in its place: a shorter one to a third
/// node's box, or another once the primary has ended.
#[derive(Debug)]
pub(crate) struct Path {
    primary: Primary,
    from: CameFrom,
    /// Where the box's node is said to listen.
    hints: Arc<[Endpoint]>,
    /// The handle of the box that its own node counts for this one, beside what the node counts that has introduced it.
    pub(super) lease: Mutex<Option<Box<Lease>>>,
    alternate: Mutex<Option<Arc<dyn Outbound>>>,
    /// Whether there is one, for those who look at every message: one of [`selection`].
    selection: AtomicU8,
    /// Whether the node that it came from is on this host.
    near: bool,
}

/// Where a pointer came from.
#[derive(Debug)]
enum CameFrom {
    /// It was made of a name.
    Name,
    /// The node of the box.
    Owner,
    /// Another node, which passes messages on.
    Introducer(Box<Incarnation>),
}

/// The connection that a pointer leads by first.
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
    /// Whether it is known to lead to this very node, and nothing is under way there.
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
    /// It is chosen when the pointer is first sent by.
    pub(super) const OPEN: u8 = 2;
}

impl Path {
    /// Of a pointer by name.
    pub(crate) fn by_name(link: NamedLink) -> Path {
        Path::by(Primary::Named(link))
    }

    /// Of a pointer by name that a peer has sent: its connection is made when it is first used.
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

    /// Of a pointer to a box of the node `to`, that came from the node `from`, which is `near`, on this host, or not.
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

    /// Whether messages go straight into the boxes of this node. While it says so, the connection takes none by name.
    #[inline]
    pub(super) fn is_home(&self) -> bool {
        match &self.primary {
            Primary::Made(_) => false,
            Primary::Named(named) => named.is_home.load(Ordering::Acquire),
            Primary::Later(later) => later.made.get().is_some_and(|named| named.is_home.load(Ordering::Acquire)),
        }
    }

    /// The connection that the pointer came by; it is made, if that was left for later.
    #[inline]
    pub(crate) fn primary(&self) -> &Arc<dyn Outbound> {
        match &self.primary {
            Primary::Made(link) | Primary::Named(NamedLink { link, .. }) => link,
            Primary::Later(later) => later.make(),
        }
    }

    /// The node at the other end of that connection, if it was made. No lock but one of the connection's is taken: it is asked
    /// for under another connection's.
    pub(super) fn peer(&self) -> Option<Incarnation> {
        match &self.primary {
            Primary::Made(link) | Primary::Named(NamedLink { link, .. }) => link.peer(),
            Primary::Later(later) => later.made.get()?.link.peer(),
        }
    }

    /// The node that has introduced the box of another, and passes messages on.
    fn introducer(&self) -> Option<Incarnation> {
        match &self.from {
            CameFrom::Introducer(node) => Some(**node),
            CameFrom::Name | CameFrom::Owner => None,
        }
    }

    /// Whether it leads to whatever has a name.
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

    /// Whether the node that has told where to look is on this host.
    pub(super) fn is_near(&self) -> bool {
        self.near
    }

    /// The connection that serves in place of the first, if one was put there.
    pub(super) fn alternate(&self) -> Option<Arc<dyn Outbound>> {
        self.alternate.lock().clone()
    }

    /// The same for one who sends; `select` chooses it, if that is still to be done.
    #[inline]
    pub(super) fn alternate_or(&self, select: impl FnOnce() -> Option<Arc<dyn Outbound>>) -> Option<Arc<dyn Outbound>> {
        match self.selection.load(Ordering::Relaxed) {
            selection::PRIMARY => None,
            selection::ALTERNATE => self.alternate.lock().clone(),
            _ => select(),
        }
    }

    /// Keeps to `chosen`, or to the first if that is none, unless another thread has chosen by now; what is kept to.
    pub(super) fn keep_to(&self, chosen: Option<Arc<dyn Outbound>>) -> Option<Arc<dyn Outbound>> {
        let mut alternate = self.alternate.lock();
        if self.selection.load(Ordering::Relaxed) == selection::OPEN {
            self.selection
                .store(if chosen.is_some() { selection::ALTERNATE } else { selection::PRIMARY }, Ordering::Relaxed);
            *alternate = chosen;
        }
        alternate.clone()
    }

    /// The connection that serves from now on: `other`, unless another thread has put one there.
    pub(super) fn take_alternate(&self, other: Arc<dyn Outbound>) -> Arc<dyn Outbound> {
        let mut alternate = self.alternate.lock();
        self.selection.store(selection::ALTERNATE, Ordering::Relaxed);
        // What is not needed goes without the lock, with this function: it may be the last that holds a connection.
        Arc::clone(alternate.get_or_insert_with(|| Arc::clone(&other)))
    }

    /// Puts one connection in the place of another, if that still serves.
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
        // Outside the lock: with the last that holds it a connection may go.
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
    /// Whether it came from another node than the box's own, which would pass messages on.
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.route(), Route::Away { path, .. } if path.is_relayed())
    }

    /// The connection to send by now.
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

    /// Whether the connection to send by now is up, or being made, and does not lead to another node than the box's, or than
    /// the one that introduced it.
    pub(crate) fn is_linked(&self) -> bool {
        let Some(link) = self.link().filter(|link| link.is_up()) else { return false };
        let made_for = self.made_for();
        made_for.is_none() || link.peer().is_none_or(|peer| Some(peer) == made_for || Some(peer) == self.own_node())
    }

    /// The node that the pointer came from, if it is one to a certain box. It means nothing to any other.
    #[inline]
    pub(crate) fn made_for(&self) -> Option<Incarnation> {
        match self.route() {
            Route::Away { path, .. } if path.is_by_name() => None,
            Route::Away { path, .. } => path.introducer().or_else(|| self.own_node()),
            _ => None,
        }
    }

    /// A live connection, besides the one that the pointer leads by, to the node that it came from, or to the box's own. By
    /// name one is led to whoever listens there, and by no other way.
    fn other_link(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        let live = |node| self.router().live_link(node).filter(|link| link.is_linked());
        live(self.made_for()?).or_else(|| self.own_node().filter(|_| path.is_relayed()).and_then(live))
    }

    /// The box's node, unless the pointer leads to whatever has its name.
    fn own_node(&self) -> Option<Incarnation> {
        match self.origin() {
            Origin::Boxed { node, .. } => Some(*node),
            Origin::Named { .. } => None,
        }
    }

    /// A way to where the box's node is said to listen.
    fn discover(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        let asked_by = Asker { node: self.made_for()?.node, near: path.is_near() };
        Arc::clone(self.router()).discover(self.own_node()?, path.hints(), asked_by)
    }

    /// The connection that serves in place of the one that the pointer came by.
    #[inline]
    fn alternate(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        path.alternate_or(|| self.select(path))
    }

    /// Chooses the shortest way to a third node's box, which is kept to while it lives: an open connection to its node, or
    /// one that is made to where it listens. The last is the one that the pointer came by.
    #[cold]
    fn select(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        let open = self.router().live_link(self.own_node()?).filter(|link| link.is_linked());
        path.keep_to(open.or_else(|| self.discover(path)))
    }

    /// A search for a shorter way is over, and `found` what it found, if anything.
    pub(crate) fn settle_search(&self, search: *const (), found: Option<&Arc<dyn Outbound>>) {
        if let Route::Away { path, .. } = self.route() {
            path.replace_alternate(search, found);
        }
    }

    /// Sends by the connection that the pointer leads by or, while there is none, by another one that leads there; that one
    /// is kept to while it lives, so that what is sent stays in order. Where there is no other, the message waits for the
    /// connection as if it had been sent by name.
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
                // Kept to from now on, also by other threads: what this one sends next must not go by the way of another.
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

    /// Puts an encoded message into the outbox of the connection that the pointer leads by.
    #[inline]
    pub(crate) fn post(self: &Arc<Self>, message: &Envelope<'_>) -> Result<(), DropReason> {
        let Route::Away { path, .. } = self.route() else { return Err(DropReason::NoRoute) };
        self.send_by(path, |link, patient| link.post(self, message, patient))
    }

    /// Puts an encoded request into that outbox. The link is that of the request, for who wants to cancel it.
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

    /// Has `send` send by the way that the pointer came by, whatever is sent by a shorter one.
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

    /// More about why nothing can be sent by it now, if that is known.
    /// The message takes so many bytes without its handles.
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

    /// How full the way to the box and the box itself are, from 0 to 1; 1 if nothing can be sent there now.
    pub(crate) fn pressure(&self) -> f32 {
        if let Some(local) = self.local() {
            return f32::from(local.fill()) / f32::from(u8::MAX);
        }
        self.link().map_or(1.0, |link| link.pressure(&self.target_by(&*link)))
    }

    /// Of messages of the shape with that fingerprint, as far as the other node has dropped them.
    pub(crate) fn losses(&self, fingerprint: u64) -> Losses {
        Losses { local: self.lost_here(), remote: self.lost_there(fingerprint) }
    }

    /// What the other node has told, by the connection that the pointer leads by and the one in its place.
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
