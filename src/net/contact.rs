//! Whom a peer's messages are for: the boxes that it has introduced, what was looked up for them, and what is counted of
//! messages that they did not take.

use std::borrow::Cow;
use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::books::Books;
use super::hints;
use super::house::House;
use super::link::Link;
use super::links::Links;
use super::mismatch::Words;
use super::mismatch::explain_here;
use super::mismatch::explain_there;
use crate::boxes::registry::Registry;
#[cfg(test)]
use crate::boxes::relay::Relay;
use crate::handle::route::AnswerTo;
use crate::handle::route::Held;
use crate::handle::route::Household;
use crate::handle::route::LocalBox;
use crate::handle::route::Outbound;
use crate::handle::route::Pointer;
use crate::handle::route::Route;
use crate::handle::terms::Arrival;
use crate::handle::terms::Correlation;
use crate::handle::terms::Origin;
use crate::handle::terms::Rejection;
use crate::handle::terms::Source;
use crate::handle::way::Way;
use crate::ident::BoxId;
use crate::ident::ConnectionId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::message::shape::Shape;
use crate::observe::DropReason;
use crate::observe::Letter;
use crate::wire::control::Unanswered;
use crate::wire::frame::Identity;
use crate::wire::frame::Introduction;
use crate::wire::report::Target;
use crate::wire::run::Bodies;

/// Where the connection stands.
pub(super) struct Around {
    pub(super) home: Arc<dyn Household>,
    pub(super) registry: Arc<Registry>,
    pub(super) links: Arc<Links>,
    books: Arc<Books>,
    pub(super) link: Arc<Link>,
    pub(super) connection: u64,
    pub(super) peer: NodeId,
    /// Whether the peer is on this host.
    pub(super) near: bool,
    /// How often the peer was told that a box it presses is empty.
    relieved: Arc<AtomicU64>,
    /// Drops in a row that are alike, to be accounted for together.
    alike: RefCell<Option<Alike>>,
}

/// Messages that were dropped in a row, for one box, as the peer calls it, and for one reason.
struct Alike {
    target: Target,
    reason: DropReason,
    count: u64,
}

impl Drop for Around {
    /// The connection has ended in the middle of what was read.
    fn drop(&mut self) {
        self.account_alike();
    }
}

/// Someone that the peer has introduced: what is looked up for it is looked up once, and again when boxes have opened
/// or closed.
///
/// What each message touches comes first and stands together, as in the box.
#[repr(C)]
pub(super) struct Contact {
    /// Of the shape of what the peer sends to it; 0 if that was not told.
    fingerprint: u64,
    counted: bool,
    /// Whether the peer calls it by its id.
    by_id: bool,
    /// How full the box was when that was last looked at, as [`LocalBox::level`] says.
    level: Cell<u8>,
    asked: Cell<bool>,
    epoch: Cell<u64>,
    /// The box it is at this node, as of an epoch of the registry.
    target: RefCell<Found>,
    /// What [`Around::relieved`] was when the level was looked at: the peer may take the box for empty since, although
    /// others have filled it.
    relieved: Cell<u64>,
    who: Who,
    /// Where the box takes messages of another shape, and it is known by now.
    explained: RefCell<Words>,
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

/// What was found behind a name or an id. A box that lives only for its remote holders is not kept alive by this.
enum Found {
    Nothing,
    Lasting(Arc<dyn LocalBox>),
    Counted(Weak<dyn LocalBox>),
    /// It takes messages of another shape.
    Differing(Weak<dyn LocalBox>, Shape),
}

impl Found {
    /// Whether both take messages of the same other shape.
    fn differs_as(&self, other: &Found) -> bool {
        matches!((self, other), (Found::Differing(_, takes), Found::Differing(_, others)) if takes == others)
    }
}

/// An [`Identity`] that is kept.
#[derive(Debug)]
enum Who {
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

    /// Whether there was such a box when it was last looked up.
    pub(super) fn was_found(&self) -> bool {
        !matches!(*self.target.borrow(), Found::Nothing)
    }

    /// As if it had been found.
    #[cfg(test)]
    pub(super) fn find_any(&self) {
        *self.target.borrow_mut() = Found::Counted(Weak::<Relay>::new());
    }

    /// Gives a message, which so many relays have passed on, to the box, or counts why not.
    #[inline]
    pub(super) fn deliver(
        &self,
        around: &Around,
        body: &[u8],
        handles: &mut Vec<Arc<Pointer>>,
        answer: &mut Option<AnswerTo>,
        hops: u8,
    ) {
        self.at_target(around, |target| match target {
            Ok(local) => {
                if let Err(rejection) = local.accept_encoded(body, handles, answer, self.arrival(around, hops)) {
                    self.refuse(around, Some(local), &rejection, answer);
                }
            }
            Err(Some((local, takes))) => self.refuse_shape(around, local, takes, answer),
            Err(None) => self.refuse(around, None, &DropReason::NoSuchBox.into(), answer),
        });
    }

    /// The same for messages in a row that carry nothing but their bodies.
    pub(super) fn deliver_all(&self, around: &Around, bodies: Bodies<'_>) {
        self.at_target(around, |target| match target {
            Ok(local) => local.accept_all(bodies, self.arrival(around, 0), &mut |rejection| {
                self.refuse(around, Some(local), &rejection, &mut None);
            }),
            Err(Some((local, takes))) => bodies.for_each(|_| self.refuse_shape(around, local, takes, &mut None)),
            Err(None) => {
                bodies.for_each(|_| self.refuse(around, None, &DropReason::NoSuchBox.into(), &mut None));
            }
        });
    }

    /// Calls `give` with the box, or without one; or with that of another shape, and what it takes.
    #[inline]
    fn at_target(&self, around: &Around, give: impl FnOnce(Result<&dyn LocalBox, Option<(&dyn LocalBox, &Shape)>>)) {
        if self.epoch.get() != around.registry.epoch() {
            self.look_up(around);
        }
        let held;
        let target = self.target.borrow();
        let local = match &*target {
            Found::Lasting(local) => Some(&**local),
            Found::Counted(weak) => {
                held = weak.upgrade();
                held.as_deref()
            }
            Found::Nothing => None,
            Found::Differing(weak, takes) => {
                held = weak.upgrade();
                return give(Err(held.as_deref().map(|local| (local, takes))));
            }
        };
        let Some(local) = local else { return give(Err(None)) };
        give(Ok(local));
        // Also of one that has no room: others may have filled it.
        if !self.knows(around, local.level()) {
            self.fill(around, local.level(), &target);
        }
    }

    /// Whether the box has the level that it had, and the peer was told of it since.
    #[inline]
    fn knows(&self, around: &Around, level: u8) -> bool {
        level == self.level.get() && (level == 0 || around.relieved.load(Ordering::Relaxed) == self.relieved.get())
    }

    /// The box has another level of messages than it had, or the peer may not know it any more.
    #[cold]
    fn fill(&self, around: &Around, level: u8, found: &Found) {
        let relieved = around.relieved.load(Ordering::Relaxed);
        let before = self.level.replace(level);
        let before = if self.relieved.replace(relieved) == relieved { before } else { 0 };
        let local = match found {
            Found::Lasting(local) => Some(Arc::clone(local)),
            Found::Counted(local) => local.upgrade(),
            Found::Nothing | Found::Differing(..) => None,
        };
        if let Some(local) = local.filter(|_| level > before) {
            around.links.pressed(&around.link, around.connection, self.target(), &local);
        }
    }

    fn refuse(
        &self,
        around: &Around,
        local: Option<&dyn LocalBox>,
        rejection: &Rejection,
        answer: &mut Option<AnswerTo>,
    ) {
        let detail = rejection.detail.as_deref();
        self.dropped(around, local, rejection.reason, detail);
        if let Some(answer) = answer.take() {
            answer.refuse(Unanswered::NotDelivered(rejection.reason), detail.unwrap_or_default());
        }
    }

    /// The box takes messages of another shape. The sender finds the difference out for itself, and says it from its side.
    #[cold]
    fn refuse_shape(&self, around: &Around, local: &dyn LocalBox, takes: &Shape, answer: &mut Option<AnswerTo>) {
        if !self.asked.replace(true) {
            let what = (self.name(Some(local)).into(), local.type_name());
            explain_here(&around.link, &around.home, self.fingerprint, what, takes.clone(), &self.explained.borrow());
        }
        let explained = self.explained.borrow();
        let detail = explained.get().map(|words| &**words);
        self.dropped(around, Some(local), DropReason::TypeMismatch, detail);
        if let Some(answer) = answer.take() {
            answer.refuse(Unanswered::NotDelivered(DropReason::TypeMismatch), "");
        }
    }

    #[inline]
    fn arrival(&self, around: &Around, hops: u8) -> Arrival {
        let from = Source::connection(around.connection, self.by_id);
        Arrival { from, fingerprint: self.fingerprint, hops }
    }

    /// Finds the box of this node, if it is one and open.
    #[cold]
    fn look_up(&self, around: &Around) {
        // Read before the look-up: what changes during it is looked up again.
        self.epoch.set(around.registry.epoch());
        // It may be another box of that name.
        self.level.set(0);
        let pointer = match &self.who {
            Who::OurName(name) => around.registry.named(name),
            Who::OurBox(id) => around.registry.find(*id),
            _ => None,
        };
        let local = pointer.and_then(|pointer| pointer.local());
        // Whatever the peer says, the shape is looked at here: it may run code of the application, once for each type.
        let differs = |takes: &Shape| self.fingerprint != 0 && takes.fingerprint() != self.fingerprint;
        let found = match local {
            Some(local) => match local.shape().filter(differs) {
                Some(takes) => Found::Differing(Arc::downgrade(&local), takes),
                None if local.counted() => Found::Counted(Arc::downgrade(&local)),
                None => Found::Lasting(local),
            },
            None => Found::Nothing,
        };
        let before = self.target.replace(found);
        if !before.differs_as(&self.target.borrow()) {
            // What was found out is about another box.
            self.asked.set(false);
            self.explained.take();
        }
    }

    pub(super) fn dropped(
        &self,
        around: &Around,
        local: Option<&dyn LocalBox>,
        reason: DropReason,
        detail: Option<&str>,
    ) {
        if let Some(local) = local {
            local.count_drop(reason);
        }
        let name = self.name(local);
        let type_name = local.map_or("", |local| local.type_name());
        around.home.observer().dropped(Letter { name: &name, type_name, detail }, reason, 1);
        let mut alike = around.alike.borrow_mut();
        match &mut *alike {
            Some(alike) if alike.reason == reason && self.is(&alike.target) => alike.count += 1,
            _ => {
                let before = alike.replace(Alike { target: self.target(), reason, count: 1 });
                around.account(before);
            }
        }
    }

    fn is(&self, target: &Target) -> bool {
        match (&self.who, target) {
            (Who::OurName(name), Target::Name(other)) => name == other,
            (Who::OurBox(id), Target::Id(other)) => id == other,
            _ => false,
        }
    }

    /// What the peer calls it.
    fn target(&self) -> Target {
        match &self.who {
            Who::OurName(name) => Target::Name(name.clone()),
            Who::OurBox(id) => Target::Id(*id),
            _ => Target::Others,
        }
    }

    /// What this side calls the box.
    fn name<'a>(&'a self, local: Option<&'a dyn LocalBox>) -> Cow<'a, str> {
        match (&self.who, local) {
            (_, Some(local)) if !local.given_name().is_empty() => Cow::Borrowed(local.given_name()),
            (Who::OurName(name), _) => Cow::Borrowed(name),
            (Who::OurBox(id), _) => Cow::Owned(id.to_string()),
            _ => Cow::Borrowed(""),
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
    pub(super) fn new(house: &Arc<House>, link: Arc<Link>, connection: u64, (peer, near): (NodeId, bool)) -> Around {
        let home = Arc::clone(house) as Arc<dyn Household>;
        let (registry, links) = (Arc::clone(&house.registry), Arc::clone(&house.links));
        let (books, relieved) = (Arc::clone(&house.books), link.relieved());
        Around { home, registry, links, books, link, connection, peer, near, relieved, alike: RefCell::default() }
    }

    /// The peer tells how much it has read of connections that have ended, by its own names of them.
    pub(super) fn settle(&self, told: &[(ConnectionId, u64)]) {
        self.books.settle_all(self.home.observer(), self.peer, told);
        self.link.settled(told);
    }

    /// Accounts for the drops that were gathered.
    pub(super) fn account_alike(&self) {
        self.account(self.alike.take());
    }

    fn account(&self, alike: Option<Alike>) {
        if let Some(Alike { target, reason, count }) = alike {
            self.links.account(&self.link, self.connection, target, reason, count);
        }
    }

    /// The peer tells how many messages for one of its boxes it has dropped.
    pub(super) fn told(&self, target: Target, reason: DropReason, count: u64) {
        let name = match &target {
            Target::Name(name) => name.to_string(),
            Target::Id(id) => id.to_string(),
            Target::Others => String::new(),
        };
        let grown = self.link.told(target.clone(), reason, count);
        if grown > 0 && reason == DropReason::TypeMismatch {
            explain_there(&self.link, &self.home, target, name.clone());
        }
        if grown > 0 {
            self.home.observer().reported(Letter { name: &name, type_name: "", detail: None }, reason, grown);
        }
    }

    /// A request by its number on this connection.
    pub(super) fn correlation(&self, number: u64) -> Correlation {
        Correlation { connection: self.connection, number }
    }

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
