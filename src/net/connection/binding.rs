//! Import-table entries: what a peer has introduced on a connection, and the pointer that each becomes in messages.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::context::Around;
use super::delivery::Found;
#[cfg(test)]
use crate::boxes::relay::Relay;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::pointer::identity::Origin;
use crate::handle::pointer::lease::Held;
use crate::handle::pointer::path::Way;
use crate::handle::ports::Outbound;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
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
pub(super) struct Contact {
    /// Of the shape of what the peer sends to it; 0 if that was not told.
    pub(super) fingerprint: u64,
    counted: bool,
    /// Whether the peer calls it by its id.
    pub(super) by_id: bool,
    /// How full the box was when that was last looked at, as [`LocalBox::level`](crate::handle::ports::LocalBox::level) says.
    pub(super) level: Cell<u8>,
    pub(super) asked: Cell<bool>,
    pub(super) epoch: Cell<u64>,
    /// The box it is at this node, as of an epoch of the registry.
    pub(super) target: RefCell<Found>,
    /// What [`Around::relieved`] was when the level was looked at: the peer may take the box for empty since, although
    /// others have filled it.
    pub(super) relieved: Cell<u64>,
    pub(super) who: Who,
    /// Where the box takes messages of another shape, and it is known by now.
    pub(super) explained: RefCell<Words>,
    /// The pointer that messages from this connection hold.
    pointer: RefCell<Known>,
}

/// A pointer that was made before.
#[derive(Default)]
enum Known {
    #[default]
    None,
    /// As long as somebody holds it: then it is given back to the peer, which counts it.
    Held(Weak<Pointer>),
    /// For as long as the peer may mean it by a number. A ping brings the same one each time, and it is gone before the
    /// next comes.
    Kept(Arc<Pointer>),
}

impl Known {
    fn get(&self) -> Option<Arc<Pointer>> {
        match self {
            Known::None => None,
            Known::Held(pointer) => pointer.upgrade(),
            Known::Kept(pointer) => Some(Arc::clone(pointer)),
        }
    }
}

/// How a peer calls a box of this node.
pub(super) enum Called<'a> {
    ByName(&'a str),
    ById(BoxId),
}

/// An [`Identity`] that is kept.
#[derive(Debug)]
pub(super) enum Who {
    OurName(Box<str>),
    OurBox(BoxId),
    Peers { id: BoxId, name: Box<str> },
    Third { node: NodeId, id: BoxId, via: BoxId, name: Box<str>, hints: Arc<[Endpoint]> },
    Place { endpoint: Box<str>, name: Box<str> },
    OurPlace { endpoint: Box<str>, name: Box<str> },
}

impl Contact {
    /// As a peer introduces it, which is `near`, on this host, or not.
    pub(super) fn new(introduction: &Introduction<'_>, near: bool) -> Contact {
        let who = match &introduction.identity {
            Identity::YourName(name) => Who::OurName((*name).into()),
            Identity::YourBox(id) => Who::OurBox(*id),
            Identity::MyBox { id, name } => Who::Peers { id: *id, name: (*name).into() },
            Identity::Third { node, id, via, name, endpoints } => {
                let hints = hints::believed(endpoints.iter().copied(), near);
                Who::Third { node: *node, id: *id, via: *via, name: (*name).into(), hints }
            }
            Identity::Place { endpoint, name } => Who::Place { endpoint: (*endpoint).into(), name: (*name).into() },
            Identity::YourPlace { endpoint, name } => {
                Who::OurPlace { endpoint: (*endpoint).into(), name: (*name).into() }
            }
        };
        Contact {
            fingerprint: introduction.fingerprint,
            counted: introduction.counted,
            by_id: matches!(who, Who::OurBox(_)),
            level: Cell::new(0),
            asked: Cell::new(false),
            epoch: Cell::new(u64::MAX),
            target: RefCell::new(Found::Nothing),
            relieved: Cell::new(0),
            who,
            explained: RefCell::default(),
            pointer: RefCell::default(),
        }
    }

    /// Whether what is said of it beside its name or its id is what was said before.
    pub(super) fn is_meant_by(&self, introduction: &Introduction<'_>) -> bool {
        self.fingerprint == introduction.fingerprint && self.counted == introduction.counted
    }

    /// What the peer calls it, if it is a box of this node.
    pub(super) fn called(&self) -> Option<Called<'_>> {
        match &self.who {
            Who::OurName(name) => Some(Called::ByName(name)),
            Who::OurBox(id) => Some(Called::ById(*id)),
            _ => None,
        }
    }

    /// As if it had been found.
    #[cfg(test)]
    pub(super) fn find_any(&self) {
        *self.target.borrow_mut() = Found::Counted(Weak::<Relay>::new());
    }

    /// What the peer calls it.
    pub(super) fn target(&self) -> Target {
        match &self.who {
            Who::OurName(name) => Target::Name(name.clone()),
            Who::OurBox(id) => Target::Id(*id),
            _ => Target::Others,
        }
    }

    /// The pointer for one more handle in a message.
    pub(super) fn pointer(&self, around: &Around) -> Arc<Pointer> {
        let known = self.pointer.borrow().get();
        let pointer = known.unwrap_or_else(|| {
            let pointer = self.make_pointer(around);
            *self.pointer.borrow_mut() = match &self.who {
                Who::Peers { .. } if !self.counted && !pointer.is_local() => Known::Kept(Arc::clone(&pointer)),
                _ => Known::Held(Arc::downgrade(&pointer)),
            };
            pointer
        });
        if self.counted {
            self.count(&pointer, around);
        }
        pointer
    }

    /// One more handle that the peer counts: given back when the pointer goes or, where no pointer of the peer's was made
    /// of it, at once.
    fn count(&self, pointer: &Pointer, around: &Around) {
        let (Who::Peers { id, .. } | Who::Third { via: id, .. }) = &self.who else { return };
        match pointer.held() {
            Some(held) if held.connection == around.connection && held.id == *id => {
                held.count.fetch_add(1, Ordering::Relaxed);
            }
            _ => around.link.release(around.connection, *id, 1),
        }
    }

    fn make_pointer(&self, around: &Around) -> Arc<Pointer> {
        let ours = around.home.id();
        match &self.who {
            Who::OurName(name) => around.registry.named(name).unwrap_or_else(|| around.nobody()),
            Who::OurBox(id) => around.our_box(*id),
            Who::Peers { id, .. } if around.peer == ours => around.our_box(*id),
            // A node that has dialled itself has no need to pass on what it sends to itself.
            Who::Third { via, .. } if around.peer == ours => around.our_box(*via),
            Who::Third { node, id, .. } if *node == ours => around.our_box(*id),
            Who::Peers { id, name } => {
                let origin = Origin::Boxed { node: around.peer, id: *id };
                around.away(origin, name, *id, around.link.hints(), self.counted)
            }
            Who::Third { node, id, via, name, hints } => {
                let origin = Origin::Boxed { node: *node, id: *id };
                around.away(origin, name, *via, Arc::clone(hints), self.counted)
            }
            Who::Place { endpoint, name } => match endpoint.parse() {
                // Written before the greeting, when the peer could not know yet that it leads here.
                Ok(endpoint) if around.home.endpoints().contains(&endpoint) => around.our_place(endpoint, name),
                Ok(endpoint) => Arc::clone(&around.home).place(&endpoint, name).unwrap_or_else(|_| around.nobody()),
                Err(_) => around.nobody(),
            },
            Who::OurPlace { endpoint, name } => match endpoint.parse() {
                Ok(endpoint) => around.our_place(endpoint, name),
                Err(_) => around.nobody(),
            },
        }
    }
}

impl Around {
    /// A handle that has come home: the pointer to the box itself, or to what a relay stands for.
    fn our_box(&self, id: BoxId) -> Arc<Pointer> {
        let Some(pointer) = self.registry.find(id) else { return self.nowhere(id) };
        match pointer.local() {
            Some(local) => local.relays().map_or(pointer, Arc::clone),
            None => pointer,
        }
    }

    /// The pointer to whatever box of this node has that name.
    fn our_place(&self, endpoint: Endpoint, name: &str) -> Arc<Pointer> {
        let origin = Origin::Named { endpoint, name: name.into() };
        Arc::new(Pointer::new(Arc::clone(&self.home), origin, name, Route::HereNamed, None))
    }

    /// A pointer that leads nowhere, made of a name that none can have.
    fn nobody(&self) -> Arc<Pointer> {
        self.nowhere(BoxId([0; 16]))
    }

    /// A pointer to a box of this node that is gone, or never was.
    fn nowhere(&self, id: BoxId) -> Arc<Pointer> {
        let origin = Origin::Boxed { node: self.home.id(), id };
        Arc::new(Pointer::new(Arc::clone(&self.home), origin, "", Route::Nowhere, None))
    }

    /// A pointer that leads by this connection to the peer's box `to`.
    fn away(&self, origin: Origin, name: &str, to: BoxId, hints: Arc<[Endpoint]>, counted: bool) -> Arc<Pointer> {
        let link: Arc<dyn Outbound> = Arc::clone(&self.link) as _;
        let held = counted.then(|| Held {
            link: Arc::downgrade(&link),
            connection: self.connection,
            id: to,
            count: AtomicU64::new(0),
        });
        let node = match &origin {
            Origin::Boxed { node, .. } => *node,
            Origin::Named { .. } => self.peer,
        };
        let route = Route::Away { by: Way::between(link, self.peer, node, hints), to: Some(to) };
        Arc::new(Pointer::new(Arc::clone(&self.home), origin, name, route, held))
    }
}
