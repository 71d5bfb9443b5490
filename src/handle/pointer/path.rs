//! The path of a pointer to another node: the connection that it came by, or an alternate one.
//!
//! Messages from one thread stay in order only while they leave by one connection. So a pointer stays on its primary
//! connection while that serves, and all threads use the same connection. A box of a third node has a shorter path than
//! through the node that introduced it, and any connection may end: then an alternate connection is chosen, and if
//! there is none, the pointer searches or waits for one. `alternate` keeps the choice, and `sending` makes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Pointer;
use super::Route;
use super::alternate::Selection;
use super::identity::Origin;
use super::lease::Lease;
use crate::handle::ports::Asker;
use crate::handle::ports::CameOver;
use crate::handle::ports::Dialler;
use crate::handle::ports::Outbound;
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
    pub(super) selection: Selection,
}

/// The source of a pointer.
#[derive(Debug)]
enum CameFrom {
    /// The pointer was made from a name.
    Name,
    /// The pointer came from the node of the box, over such a connection.
    Owner { over: CameOver },
    /// The pointer came from another node, which passes messages on.
    Introducer { node: Box<Incarnation>, over: CameOver },
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
    pub(crate) is_loopback: Arc<AtomicBool>,
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

    /// Returns the path to the same place that leads to that node only, if a peer has named the place over a protected
    /// channel: so the path stays protected.
    pub(super) fn pinned(&self, id: NodeId) -> Option<Path> {
        let Primary::Later(later) = &self.primary else { return None };
        let LaterLink { dialler, endpoint, asked_by, .. } = &**later;
        let pinned = || Path::by_name_later(Arc::clone(dialler), endpoint.clone(), Some(id), *asked_by);
        asked_by.protected.then(pinned)
    }

    fn by(primary: Primary) -> Path {
        Path {
            primary,
            from: CameFrom::Name,
            hints: Arc::default(),
            lease: Mutex::new(None),
            selection: Selection::primary(),
        }
    }

    /// Returns the path of a pointer to a box of the node `to` that came from the node `from`, over a
    /// connection of that kind.
    pub(crate) fn between(
        primary: Arc<dyn Outbound>,
        (from, over): (Incarnation, CameOver),
        to: Incarnation,
        hints: Arc<[Endpoint]>,
    ) -> Path {
        let (from, selection) = if from == to {
            (CameFrom::Owner { over }, Selection::primary())
        } else {
            (CameFrom::Introducer { node: Box::new(from), over }, Selection::open())
        };
        Path { from, hints, selection, ..Path::by(Primary::Made(primary)) }
    }

    /// Returns whether messages go straight into the boxes of this node. While they do, the connection takes no
    /// messages by name.
    #[inline]
    pub(super) fn is_loopback(&self) -> bool {
        match &self.primary {
            Primary::Made(_) => false,
            Primary::Named(named) => named.is_loopback.load(Ordering::Acquire),
            Primary::Later(later) => later.made.get().is_some_and(|named| named.is_loopback.load(Ordering::Acquire)),
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
            CameFrom::Introducer { node, .. } => Some(**node),
            CameFrom::Name | CameFrom::Owner { .. } => None,
        }
    }

    /// Returns whether the path leads to a name.
    #[inline]
    pub(super) fn is_by_name(&self) -> bool {
        matches!(self.from, CameFrom::Name)
    }

    #[inline]
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.from, CameFrom::Introducer { .. })
    }

    pub(crate) fn hints(&self) -> &Arc<[Endpoint]> {
        &self.hints
    }

    /// Returns the kind of connection by which the pointer and its hints came.
    pub(super) fn came_over(&self) -> CameOver {
        match self.from {
            CameFrom::Name => CameOver::default(),
            CameFrom::Owner { over } | CameFrom::Introducer { over, .. } => over,
        }
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
        if path.is_loopback() {
            return None;
        }
        if let Some(link) = path.selection.get().connection().filter(|link| link.is_linked()) {
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
    pub(super) fn other_link(&self, path: &Path) -> Option<Arc<dyn Outbound>> {
        let is_protected = path.came_over().protected;
        let live = |node| self.this_node().live_link(node, is_protected).filter(|link| link.is_linked());
        live(self.made_for()?).or_else(|| self.own_node().filter(|_| path.is_relayed()).and_then(live))
    }

    /// Returns the box's node, unless the pointer leads to a name.
    pub(super) fn own_node(&self) -> Option<Incarnation> {
        match self.origin() {
            Origin::Boxed { node, .. } => Some(*node),
            Origin::Named { .. } => None,
        }
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
        let alternate = path.selection.get().connection();
        for (reason, count) in alternate.iter().flat_map(|link| link.losses(&self.target_by(&**link), fingerprint)) {
            *lost.entry(reason).or_default() += count;
        }
        lost
    }
}
