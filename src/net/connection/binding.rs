//! Import-table entries: the boxes that a peer has introduced on a connection, and the pointers that they become in
//! messages.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use super::context::ConnectionContext;
use super::delivery::FoundBox;
#[cfg(test)]
use crate::boxes::relay::Relay;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::pointer::identity::Origin;
use crate::handle::pointer::lease::Lease;
use crate::handle::pointer::path::Path;
use crate::handle::ports::CameOver;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::check_name;
use crate::ident::endpoint::Endpoint;
use crate::net::link::shape_query::Words;
use crate::net::peers::hints;
use crate::net::transport::Protection;
use crate::net::transport::schemes::Transports;
use crate::wire::introduction::Identity;
use crate::wire::introduction::Introduction;
use crate::wire::target::Target;

/// A box that the peer has introduced. It is looked up once, and again when boxes have opened or closed.
///
/// The fields that each message touches come first and stand together, as in the box.
#[repr(C)]
pub(super) struct Binding {
    /// The fingerprint of the shape of the peer's messages to it; 0 if the peer did not give one.
    pub(super) fingerprint: u64,
    is_leased: bool,
    /// Whether the peer addresses the box by its id.
    pub(super) by_id: bool,
    /// The fill level of the box when it was last looked at.
    pub(super) fill_level: Cell<u8>,
    pub(super) asked: Cell<bool>,
    pub(super) epoch: Cell<u64>,
    /// The box of this node, as of an epoch of the registry.
    pub(super) target: RefCell<FoundBox>,
    /// The value of [`ConnectionContext::relieved`] when `fill_level` was looked at: since then the peer may take the
    /// box for empty, although others have filled it.
    pub(super) relieved: Cell<u64>,
    pub(super) bound: Bound,
    /// The difference, if the box takes messages of another shape and the difference is known by now.
    pub(super) explained: RefCell<Words>,
    /// The pointer that messages from this connection hold.
    pointer: RefCell<BoundPointer>,
}

/// A pointer that was made before.
#[derive(Default)]
enum BoundPointer {
    #[default]
    None,
    /// Held as long as somebody else holds it; then it is given back to the peer, which has leased it.
    Lease(Weak<Pointer>),
    /// Held as long as the peer may refer to the box by a number. Otherwise a message that brings the same handle each
    /// time would make a new pointer each time, if the last one is gone before the next comes.
    Kept(Arc<Pointer>),
}

impl BoundPointer {
    fn get(&self) -> Option<Arc<Pointer>> {
        match self {
            BoundPointer::None => None,
            BoundPointer::Lease(pointer) => pointer.upgrade(),
            BoundPointer::Kept(pointer) => Some(Arc::clone(pointer)),
        }
    }
}

/// The way in which a peer addresses a box of this node.
pub(super) enum CalledBy<'a> {
    ByName(&'a str),
    ById(BoxId),
}

/// An owned [`Identity`].
#[derive(Debug)]
pub(super) enum Bound {
    OurName(Box<str>),
    OurBox(BoxId),
    Peers { id: BoxId, name: Box<str> },
    Third { node: Incarnation, id: BoxId, via: BoxId, name: Box<str>, hints: Arc<[Endpoint]> },
    Place { endpoint: Box<str>, node: Option<NodeId>, name: Box<str> },
    OurPlace { endpoint: Box<str>, name: Box<str> },
}

impl Bound {
    fn place(endpoint: &str, node: Option<NodeId>, name: &str) -> Bound {
        Bound::Place { endpoint: endpoint.into(), node, name: name.into() }
    }
}

impl Binding {
    /// Makes the entry for a box introduced by a peer, which is `near` (on this host) or not.
    pub(super) fn new(introduction: &Introduction<'_>, near: bool, transports: &Transports) -> Binding {
        let bound = match &introduction.identity {
            Identity::YourName(name) => Bound::OurName((*name).into()),
            Identity::YourBox(id) => Bound::OurBox(*id),
            Identity::MyBox { id, name } => Bound::Peers { id: *id, name: (*name).into() },
            Identity::Third { node, id, via, name, endpoints } => {
                let hints = hints::believed(endpoints.iter().copied(), near, transports);
                Bound::Third { node: *node, id: *id, via: *via, name: (*name).into(), hints }
            }
            Identity::Place { endpoint, name } => Bound::place(endpoint, None, name),
            Identity::PlaceOf { node, endpoint, name } => Bound::place(endpoint, Some(*node), name),
            Identity::YourPlace { endpoint, name } => {
                Bound::OurPlace { endpoint: (*endpoint).into(), name: (*name).into() }
            }
        };
        Binding {
            fingerprint: introduction.fingerprint,
            is_leased: introduction.is_leased,
            by_id: matches!(bound, Bound::OurBox(_)),
            fill_level: Cell::new(0),
            asked: Cell::new(false),
            epoch: Cell::new(u64::MAX),
            target: RefCell::new(FoundBox::Nothing),
            relieved: Cell::new(0),
            bound,
            explained: RefCell::default(),
            pointer: RefCell::default(),
        }
    }

    /// Whether an introduction agrees with this entry in all but the name or id.
    pub(super) fn is_meant_by(&self, introduction: &Introduction<'_>) -> bool {
        self.fingerprint == introduction.fingerprint && self.is_leased == introduction.is_leased
    }

    /// Returns the peer's name or id for it, if it is a box of this node.
    pub(super) fn called(&self) -> Option<CalledBy<'_>> {
        match &self.bound {
            Bound::OurName(name) => Some(CalledBy::ByName(name)),
            Bound::OurBox(id) => Some(CalledBy::ById(*id)),
            _ => None,
        }
    }

    /// Makes the entry look as if its box had been found.
    #[cfg(test)]
    pub(super) fn find_any(&self) {
        *self.target.borrow_mut() = FoundBox::Counted(Weak::<Relay>::new());
    }

    /// Returns the target by which the peer addresses it.
    pub(super) fn target(&self) -> Target {
        match &self.bound {
            Bound::OurName(name) => Target::Name(name.clone()),
            Bound::OurBox(id) => Target::Id(*id),
            _ => Target::Others,
        }
    }

    /// Returns the pointer for one more handle in a message.
    pub(super) fn pointer(&self, context: &ConnectionContext) -> Arc<Pointer> {
        let cache = self.pointer.borrow().get();
        let pointer = cache.unwrap_or_else(|| {
            let pointer = self.make_pointer(context);
            *self.pointer.borrow_mut() = match &self.bound {
                // A connection that was made for another peer would be held open by the boxes that its own peer
                // introduces.
                Bound::Peers { .. } if !self.is_leased && !pointer.is_local() && !context.link.is_for_peers() => {
                    BoundPointer::Kept(Arc::clone(&pointer))
                }
                _ => BoundPointer::Lease(Arc::downgrade(&pointer)),
            };
            pointer
        });
        context.add_work(1);
        if self.is_leased {
            self.count(&pointer, context);
        }
        pointer
    }

    /// Gives back one more handle in a message that is not delivered: no pointer is made of it.
    pub(super) fn skip(&self, context: &ConnectionContext) {
        if self.is_leased
            && let Bound::Peers { id, .. } | Bound::Third { via: id, .. } = &self.bound
        {
            context.give_back(*id);
        }
    }

    /// Gives back a handle that is introduced inline, without an entry.
    pub(super) fn skip_inline(introduction: &Introduction<'_>, context: &ConnectionContext) {
        if introduction.is_leased
            && let Identity::MyBox { id, .. } | Identity::Third { via: id, .. } = &introduction.identity
        {
            context.give_back(*id);
        }
    }

    /// Counts one more handle that the peer has leased: it is given back when the pointer is dropped or, if it became
    /// no pointer of the peer's, at once.
    fn count(&self, pointer: &Pointer, context: &ConnectionContext) {
        let (Bound::Peers { id, .. } | Bound::Third { via: id, .. }) = &self.bound else { return };
        match pointer.held() {
            Some(held) if held.connection == context.connection && held.id == *id => {
                held.count.fetch_add(1, Ordering::Relaxed);
            }
            _ => context.give_back(*id),
        }
    }

    fn make_pointer(&self, context: &ConnectionContext) -> Arc<Pointer> {
        let ours = context.node.id();
        match &self.bound {
            Bound::OurName(name) => context.view.named(name).unwrap_or_else(|| context.nobody()),
            Bound::OurBox(id) => context.our_box(*id),
            Bound::Peers { id, .. } if context.peer == ours => context.our_box(*id),
            // A node that has dialled itself need not pass on its messages to itself.
            Bound::Third { via, .. } if context.peer == ours => context.our_box(*via),
            Bound::Third { node, id, .. } if *node == ours => context.our_box(*id),
            Bound::Peers { id, name } => {
                let origin = Origin::Boxed { node: context.peer, id: *id };
                context.away(origin, name, *id, context.link.hints(), self.is_leased)
            }
            Bound::Third { node, id, via, name, hints } => {
                let origin = Origin::Boxed { node: *node, id: *id };
                context.away(origin, name, *via, Arc::clone(hints), self.is_leased)
            }
            Bound::Place { endpoint, node, name } => match endpoint.parse() {
                // Written before the greeting, when the peer could not know yet that the endpoint leads here, or
                // written for this very node.
                Ok(endpoint) if context.is_our_place(&endpoint, *node) => context.our_place(endpoint, *node, name),
                Ok(endpoint) if context.may_lead_to(&endpoint) => context.their_place(endpoint, *node, name),
                Ok(endpoint) => {
                    tracing::debug!(target: "actix_hermod", peer = %context.peer, %endpoint, "not dialled for a peer");
                    context.nobody()
                }
                Err(_) => context.nobody(),
            },
            Bound::OurPlace { endpoint, name } => match endpoint.parse() {
                Ok(endpoint) => context.our_place(endpoint, None, name),
                Err(_) => context.nobody(),
            },
        }
    }
}

impl ConnectionContext {
    /// Returns the pointer for a handle that has come home: to the box itself, or to the box behind a relay.
    fn our_box(&self, id: BoxId) -> Arc<Pointer> {
        let Some(pointer) = self.view.find(id) else { return self.nowhere(id) };
        match pointer.local() {
            Some(local) => local.relays().map_or(pointer, Arc::clone),
            None => pointer,
        }
    }

    /// Whether the names at that endpoint, and at that node if one is given, are those of boxes of this node.
    fn is_our_place(&self, endpoint: &Endpoint, node: Option<NodeId>) -> bool {
        match node {
            Some(node) => node == self.node.id().node,
            None => self.node.endpoints().contains(endpoint),
        }
    }

    /// Returns a pointer to the box of this node that has that name.
    fn our_place(&self, endpoint: Endpoint, node: Option<NodeId>, name: &str) -> Arc<Pointer> {
        // The application would send to it in the peer's place.
        if self.view.hides(name) {
            return self.nobody();
        }
        let origin = Origin::Named { endpoint, node, name: name.into() };
        Arc::new(Pointer::new(Arc::clone(&self.node), origin, name, Route::HereNamed, None))
    }

    /// Returns the kind of the connection.
    fn came_over(&self) -> CameOver {
        CameOver { near: self.near, protected: self.link.is_protection_demanded() }
    }

    /// Whether a pointer that comes over the connection may lead to that endpoint.
    fn may_lead_to(&self, endpoint: &Endpoint) -> bool {
        let is_low = self.link.is_protection_demanded() && !Protection::may_suffice_at(endpoint);
        !is_low && hints::may_name(endpoint, self.near)
    }

    /// Returns the hints that are heeded for pointers that come over the connection: over a protected one, those of
    /// plain paths are not.
    fn heeded(&self, hints: Arc<[Endpoint]>) -> Arc<[Endpoint]> {
        if !self.link.is_protection_demanded() || hints.iter().all(Protection::may_suffice_at) {
            return hints;
        }
        hints.iter().filter(|hint| Protection::may_suffice_at(hint)).cloned().collect()
    }

    /// Returns a pointer to the box of that name at the node that listens there. Nothing is dialled for it yet.
    fn their_place(&self, endpoint: Endpoint, node: Option<NodeId>, name: &str) -> Arc<Pointer> {
        if check_name(name).is_err() {
            return self.nobody();
        }
        let asked_by = self.came_over().asker(self.peer.node);
        let path = Path::by_name_later(Arc::clone(&self.dialler), endpoint.clone(), node, asked_by);
        let origin = Origin::Named { endpoint, node, name: name.into() };
        Arc::new(Pointer::new(Arc::clone(&self.node), origin, name, Route::Away { path, to: None }, None))
    }

    /// Returns a pointer that leads nowhere, for a name that no box can have.
    fn nobody(&self) -> Arc<Pointer> {
        self.nowhere(BoxId([0; 16]))
    }

    /// Returns a pointer to a box of this node that is gone, or never existed.
    fn nowhere(&self, id: BoxId) -> Arc<Pointer> {
        let origin = Origin::Boxed { node: self.node.id(), id };
        Arc::new(Pointer::new(Arc::clone(&self.node), origin, "", Route::Nowhere, None))
    }

    /// Returns a pointer that leads over this connection to the peer's box `to`.
    fn away(&self, origin: Origin, name: &str, to: BoxId, hints: Arc<[Endpoint]>, is_leased: bool) -> Arc<Pointer> {
        let link: Arc<dyn Outbound> = Arc::clone(&self.link) as _;
        let holdings = || Arc::clone(&self.holdings);
        let held = is_leased.then(|| Lease::new(Arc::downgrade(&link), self.connection, to, 0, holdings()));
        let node = match &origin {
            Origin::Boxed { node, .. } => *node,
            Origin::Named { .. } => self.peer,
        };
        let route = Route::Away {
            path: Path::between(link, (self.peer, self.came_over()), node, self.heeded(hints)),
            to: Some(to),
        };
        Arc::new(Pointer::new(Arc::clone(&self.node), origin, name, route, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::Epoch;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::net::shared::Setup;
    use crate::wire::frames::proof::Disclosure;

    const PEER: Incarnation = Incarnation { node: NodeId([7; 16]), epoch: Epoch([7; 16]) };

    /// Returns the pointer to a box at that endpoint, named by a peer that is `near` or not.
    fn named_by_peer(node: &Arc<NodeInner>, endpoint: &str, near: bool) -> Arc<Pointer> {
        let link = node.link_to(&"localhost:1".parse().expect("an endpoint"), None);
        let context = ConnectionContext::new(node, link, 1, (PEER, near));
        let identity = Identity::Place { endpoint, name: "box" };
        Binding::new(&Introduction { identity, is_leased: false, fingerprint: 0 }, near, &context.transports)
            .pointer(&context)
    }

    fn node() -> Arc<NodeInner> {
        let (io, _not_started) = io_thread::io();
        NodeInner::new(Setup::default(), io, |_, _| {})
    }

    #[test]
    fn what_a_peer_names_is_dialled_when_it_is_first_used() {
        let node = node();
        let endpoint: Endpoint = "10.1.2.3:4".parse().expect("an endpoint");
        let pointer = named_by_peer(&node, "10.1.2.3:4", false);
        assert_eq!(pointer.node_id(), None);
        let (_twin, _passed_on) = (Arc::clone(&pointer), pointer.introduce_handle(Some(PEER), None));
        assert!(node.peers.at(&endpoint, None).is_none(), "it was only held, and passed on");
        assert!(!pointer.is_linked());
        let link = node.peers.at(&endpoint, None).expect("it was asked about");
        assert!(pointer.link().is_some_and(|of| std::ptr::addr_eq(Arc::as_ptr(&of), Arc::as_ptr(&link))));
        drop((link, pointer, _twin));
        assert!(node.peers.at(&endpoint, None).is_none(), "nobody holds it any more");
    }

    #[test]
    fn a_peer_elsewhere_names_no_endpoint_of_this_host() {
        let node = node();
        for text in ["127.0.0.1:4", "[::1]:4", "169.254.1.2:4", "[fe80::1%eth0]:4", "localhost:4", "unix:/run/box"] {
            let endpoint: Endpoint = text.parse().expect("an endpoint");
            let pointer = named_by_peer(&node, text, false);
            assert!(pointer.is_dead() && pointer.link().is_none(), "{text}");
            assert!(node.peers.at(&endpoint, None).is_none(), "{text}");
            assert!(named_by_peer(&node, text, true).link().is_some(), "{text}");
        }
    }

    /// In each form of name, and in the peer's own list of endpoints.
    #[test]
    fn in_no_form_does_a_peer_elsewhere_name_an_endpoint_of_this_host() {
        let node = node();
        let link = node.link_to(&"localhost:1".parse().expect("an endpoint"), None);
        let (id, third) = (BoxId([3; 16]), Incarnation { node: NodeId([8; 16]), ..PEER });
        for (text, may) in
            [("127.0.0.1:4", false), ("0.0.0.0:4", false), ("unix:/run/box", false), ("10.1.2.3:4", true)]
        {
            let named = Identity::PlaceOf { node: third.node, endpoint: text, name: "box" };
            let hinted = Identity::Third { node: third, id, via: id, name: "", endpoints: vec![text] };
            let listed = ConnectionContext::new(&node, Arc::clone(&link), 1, (PEER, false));
            listed.welcomed(&Disclosure { endpoints: vec![text.to_owned()], told: Vec::new() });
            let owned = Identity::MyBox { id, name: "" };
            let is_dialled = |identity| {
                let introduction = Introduction { identity, is_leased: false, fingerprint: 0 };
                let pointer = Binding::new(&introduction, false, &listed.transports).pointer(&listed);
                matches!(pointer.origin(), Origin::Named { .. }) || !pointer.hints().is_empty()
            };
            assert_eq!([named, hinted, owned].map(is_dialled), [may; 3], "{text}");
        }
    }

    /// Boxes of this very node that a peer names are local.
    #[test]
    fn a_peer_elsewhere_names_the_boxes_of_this_node() {
        let node = node();
        node.listens(&"127.0.0.1:4".parse().expect("an endpoint"), true);
        assert!(named_by_peer(&node, "127.0.0.1:4", false).is_local());
    }
}
