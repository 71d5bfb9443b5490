//! Import-table entries: what a peer has introduced on a connection, and the pointer that each becomes in messages.

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
use crate::handle::ports::Asker;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::check_name;
use crate::net::link::shape_query::Words;
use crate::net::peers::hints;
use crate::wire::introduction::Identity;
use crate::wire::introduction::Introduction;
use crate::wire::target::Target;

/// Someone that the peer has introduced: what is looked up for it is looked up once, and again when boxes have opened
/// or closed.
///
/// What each message touches comes first and stands together, as in the box.
#[repr(C)]
pub(super) struct Binding {
    /// Of the shape of what the peer sends to it; 0 if that was not told.
    pub(super) fingerprint: u64,
    is_leased: bool,
    /// Whether the peer calls it by its id.
    pub(super) by_id: bool,
    /// How full the box was when that was last looked at.
    pub(super) fill_level: Cell<u8>,
    pub(super) asked: Cell<bool>,
    pub(super) epoch: Cell<u64>,
    /// The box it is at this node, as of an epoch of the registry.
    pub(super) target: RefCell<FoundBox>,
    /// What [`ConnectionContext::relieved`] was when `fill_level` was looked at: the peer may take the box for empty since,
    /// although others have filled it.
    pub(super) relieved: Cell<u64>,
    pub(super) bound: Bound,
    /// Where the box takes messages of another shape, and it is known by now.
    pub(super) explained: RefCell<Words>,
    /// The pointer that messages from this connection hold.
    pointer: RefCell<BoundPointer>,
}

/// A pointer that was made before.
#[derive(Default)]
enum BoundPointer {
    #[default]
    None,
    /// As long as somebody holds it: then it is given back to the peer, which counts it.
    Lease(Weak<Pointer>),
    /// For as long as the peer may mean it by a number. A ping brings the same one each time, and it is gone before the
    /// next comes.
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

/// How a peer calls a box of this node.
pub(super) enum CalledBy<'a> {
    ByName(&'a str),
    ById(BoxId),
}

/// An [`Identity`] that is kept.
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
    /// As a peer introduces it, which is `near`, on this host, or not.
    pub(super) fn new(introduction: &Introduction<'_>, near: bool) -> Binding {
        let bound = match &introduction.identity {
            Identity::YourName(name) => Bound::OurName((*name).into()),
            Identity::YourBox(id) => Bound::OurBox(*id),
            Identity::MyBox { id, name } => Bound::Peers { id: *id, name: (*name).into() },
            Identity::Third { node, id, via, name, endpoints } => {
                let hints = hints::believed(endpoints.iter().copied(), near);
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

    /// Whether what is said of it beside its name or its id is what was said before.
    pub(super) fn is_meant_by(&self, introduction: &Introduction<'_>) -> bool {
        self.fingerprint == introduction.fingerprint && self.is_leased == introduction.is_leased
    }

    /// What the peer calls it, if it is a box of this node.
    pub(super) fn called(&self) -> Option<CalledBy<'_>> {
        match &self.bound {
            Bound::OurName(name) => Some(CalledBy::ByName(name)),
            Bound::OurBox(id) => Some(CalledBy::ById(*id)),
            _ => None,
        }
    }

    /// As if it had been found.
    #[cfg(test)]
    pub(super) fn find_any(&self) {
        *self.target.borrow_mut() = FoundBox::Counted(Weak::<Relay>::new());
    }

    /// What the peer calls it.
    pub(super) fn target(&self) -> Target {
        match &self.bound {
            Bound::OurName(name) => Target::Name(name.clone()),
            Bound::OurBox(id) => Target::Id(*id),
            _ => Target::Others,
        }
    }

    /// The pointer for one more handle in a message.
    pub(super) fn pointer(&self, context: &ConnectionContext) -> Arc<Pointer> {
        let cache = self.pointer.borrow().get();
        let pointer = cache.unwrap_or_else(|| {
            let pointer = self.make_pointer(context);
            *self.pointer.borrow_mut() = match &self.bound {
                // One that was made for another peer would be held by whatever its own names.
                Bound::Peers { .. } if !self.is_leased && !pointer.is_local() && !context.link.is_for_peers() => {
                    BoundPointer::Kept(Arc::clone(&pointer))
                }
                _ => BoundPointer::Lease(Arc::downgrade(&pointer)),
            };
            pointer
        });
        if self.is_leased {
            self.count(&pointer, context);
        }
        pointer
    }

    /// One more handle in a message that comes to nothing: no pointer is made of it.
    pub(super) fn skip(&self, context: &ConnectionContext) {
        if self.is_leased
            && let Bound::Peers { id, .. } | Bound::Third { via: id, .. } = &self.bound
        {
            context.give_back(*id);
        }
    }

    /// The same of one that is not kept.
    pub(super) fn skip_inline(introduction: &Introduction<'_>, context: &ConnectionContext) {
        if introduction.is_leased
            && let Identity::MyBox { id, .. } | Identity::Third { via: id, .. } = &introduction.identity
        {
            context.give_back(*id);
        }
    }

    /// One more handle that the peer counts: given back when the pointer goes or, where no pointer of the peer's was made
    /// of it, at once.
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
        let ours = context.router.id();
        match &self.bound {
            Bound::OurName(name) => context.registry.named(name).unwrap_or_else(|| context.nobody()),
            Bound::OurBox(id) => context.our_box(*id),
            Bound::Peers { id, .. } if context.peer == ours => context.our_box(*id),
            // A node that has dialled itself has no need to pass on what it sends to itself.
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
                // Written before the greeting, when the peer could not know yet that it leads here; or for this very node.
                Ok(endpoint) if context.is_our_place(&endpoint, *node) => context.our_place(endpoint, *node, name),
                Ok(endpoint) if hints::may_name(&endpoint, context.near) => context.their_place(endpoint, *node, name),
                Ok(endpoint) => {
                    tracing::debug!(target: "actix_hermod", peer = %context.peer, %endpoint, "not dialled for a peer elsewhere");
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
    /// A handle that has come home: the pointer to the box itself, or to what a relay stands for.
    fn our_box(&self, id: BoxId) -> Arc<Pointer> {
        let Some(pointer) = self.registry.find(id) else { return self.nowhere(id) };
        match pointer.local() {
            Some(local) => local.relays().map_or(pointer, Arc::clone),
            None => pointer,
        }
    }

    /// Whether the names at that endpoint, and at that node if one is given, are those of boxes of this node.
    fn is_our_place(&self, endpoint: &Endpoint, node: Option<NodeId>) -> bool {
        match node {
            Some(node) => node == self.router.id().node,
            None => self.router.endpoints().contains(endpoint),
        }
    }

    /// The pointer to whatever box of this node has that name.
    fn our_place(&self, endpoint: Endpoint, node: Option<NodeId>, name: &str) -> Arc<Pointer> {
        let origin = Origin::Named { endpoint, node, name: name.into() };
        Arc::new(Pointer::new(Arc::clone(&self.router), origin, name, Route::HereNamed, None))
    }

    /// The pointer to whatever box has that name at whatever node listens there. Nothing is dialled for it yet.
    fn their_place(&self, endpoint: Endpoint, node: Option<NodeId>, name: &str) -> Arc<Pointer> {
        if check_name(name).is_err() {
            return self.nobody();
        }
        let asked_by = Asker { node: self.peer.node, near: self.near };
        let path = Path::by_name_later(Arc::clone(&self.dialler), endpoint.clone(), node, asked_by);
        let origin = Origin::Named { endpoint, node, name: name.into() };
        Arc::new(Pointer::new(Arc::clone(&self.router), origin, name, Route::Away { path, to: None }, None))
    }

    /// A pointer that leads nowhere, made of a name that none can have.
    fn nobody(&self) -> Arc<Pointer> {
        self.nowhere(BoxId([0; 16]))
    }

    /// A pointer to a box of this node that is gone, or never was.
    fn nowhere(&self, id: BoxId) -> Arc<Pointer> {
        let origin = Origin::Boxed { node: self.router.id(), id };
        Arc::new(Pointer::new(Arc::clone(&self.router), origin, "", Route::Nowhere, None))
    }

    /// A pointer that leads by this connection to the peer's box `to`.
    fn away(&self, origin: Origin, name: &str, to: BoxId, hints: Arc<[Endpoint]>, is_leased: bool) -> Arc<Pointer> {
        let link: Arc<dyn Outbound> = Arc::clone(&self.link) as _;
        let holdings = || Arc::clone(&self.holdings);
        let held = is_leased.then(|| Lease::new(Arc::downgrade(&link), self.connection, to, 0, holdings()));
        let node = match &origin {
            Origin::Boxed { node, .. } => *node,
            Origin::Named { .. } => self.peer,
        };
        let route = Route::Away { path: Path::between(link, (self.peer, self.near), node, hints), to: Some(to) };
        Arc::new(Pointer::new(Arc::clone(&self.router), origin, name, route, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::ident::Epoch;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::wire::frames::proof::Disclosure;

    const PEER: Incarnation = Incarnation { node: NodeId([7; 16]), epoch: Epoch([7; 16]) };

    /// The pointer to a box at that endpoint, as a peer names it, which is `near` or not.
    fn named_by_peer(node: &Arc<NodeInner>, endpoint: &str, near: bool) -> Arc<Pointer> {
        let link = node.link_to(&"localhost:1".parse().expect("an endpoint"), None);
        let context = ConnectionContext::new(node, link, 1, (PEER, near));
        let identity = Identity::Place { endpoint, name: "box" };
        Binding::new(&Introduction { identity, is_leased: false, fingerprint: 0 }, near).pointer(&context)
    }

    fn node() -> Arc<NodeInner> {
        let (io, _not_started) = io_thread::io();
        NodeInner::new(Limits::default(), Vec::new(), None, io, |_, _| {})
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

    /// In each form in which it can name one, and in the list of where it listens itself.
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
                let pointer = Binding::new(&introduction, false).pointer(&listed);
                matches!(pointer.origin(), Origin::Named { .. }) || !pointer.hints().is_empty()
            };
            assert_eq!([named, hinted, owned].map(is_dialled), [may; 3], "{text}");
        }
    }

    /// What it names of this very node is this node's.
    #[test]
    fn a_peer_elsewhere_names_the_boxes_of_this_node() {
        let node = node();
        node.listens(&"127.0.0.1:4".parse().expect("an endpoint"), true);
        assert!(named_by_peer(&node, "127.0.0.1:4", false).is_local());
    }
}
