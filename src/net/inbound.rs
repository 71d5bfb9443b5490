//! What is read from one connection: frames are taken apart, and messages given to the boxes they are for.
//!
//! Runs on the connection's reader task alone; nothing here waits.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::house::House;
use super::link::Link;
use super::links::Claim;
use super::links::Links;
use crate::boxes::registry::Registry;
use crate::handle::failure::AskError;
use crate::handle::route::AnswerTo;
use crate::handle::route::Held;
use crate::handle::route::Household;
use crate::handle::route::LocalBox;
use crate::handle::route::Outbound;
use crate::handle::route::Pointer;
use crate::handle::route::Route;
use crate::handle::route::Way;
use crate::handle::terms::Correlation;
use crate::handle::terms::Origin;
use crate::handle::terms::Rejection;
use crate::handle::terms::Source;
use crate::ident::BoxId;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::observe::DropReason;
use crate::observe::Letter;
use crate::wire::codec::Violation;
use crate::wire::control::Farewell;
use crate::wire::control::Goodbye;
use crate::wire::control::Ping;
use crate::wire::control::Refuse;
use crate::wire::control::Resume;
use crate::wire::control::Unanswered;
use crate::wire::control::read_cancel;
use crate::wire::control::read_release;
use crate::wire::frame::Identity;
use crate::wire::frame::Introduction;
use crate::wire::frame::Raw;
use crate::wire::frame::kind;
use crate::wire::report::Dropped;
use crate::wire::report::Target;
use crate::wire::report::read_report;
use crate::wire::session::Incoming;

/// What a frame means for the life of the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Tiding {
    Nothing,
    /// The peer has shown the right token.
    Proven,
    /// The peer has said its last.
    Goodbye(Farewell, String),
}

/// The reading end of one connection.
pub(crate) struct Inbound {
    incoming: Incoming<Rc<Contact>>,
    around: Around,
    handles: Vec<Arc<Pointer>>,
    /// Whether the peer's first frame has been read.
    resumed: bool,
}

/// Where the connection stands.
struct Around {
    home: Arc<dyn Household>,
    registry: Arc<Registry>,
    links: Arc<Links>,
    link: Arc<Link>,
    connection: u64,
    peer: NodeId,
    /// Drops in a row that are alike, to be counted together.
    alike: RefCell<Option<Dead>>,
}

/// Messages that were dropped in a row, for one box and for one reason.
struct Dead {
    /// What the peer calls the box.
    target: Target,
    /// What this side calls it.
    name: Box<str>,
    type_name: &'static str,
    reason: DropReason,
    detail: Option<String>,
    count: u64,
}

impl Inbound {
    pub(crate) fn new(house: &Arc<House>, link: Arc<Link>, connection: u64, peer: NodeId, resumed: bool) -> Inbound {
        let incoming = Incoming::new(house.limits.interned);
        let home = Arc::clone(house) as Arc<dyn Household>;
        let (registry, links) = (Arc::clone(&house.registry), Arc::clone(&house.links));
        let around = Around { home, registry, links, link, connection, peer, alike: RefCell::default() };
        Inbound { incoming, around, handles: Vec::new(), resumed }
    }

    /// Messages read so far.
    pub(crate) fn posts(&self) -> u64 {
        self.incoming.posts()
    }

    /// Lets the peer know, with whatever is written to it next, how many messages were read.
    pub(crate) fn book(&self) {
        self.around.link.have_read(self.posts());
        self.around.count_alike();
    }

    /// Does what a frame says.
    pub(crate) fn frame(&mut self, raw: Raw<'_>) -> Result<Tiding, Violation> {
        if !self.resumed {
            return self.first_frame(raw);
        }
        match raw.kind {
            kind::POST => self.post(raw.payload),
            kind::ASK => self.ask(raw.payload),
            kind::ANSWER => self.answer(raw.payload),
            kind::REFUSE => self.refuse(raw.payload),
            kind::CANCEL => {
                self.around.link.cancelled_by_peer(self.around.correlation(read_cancel(raw.payload)?));
                Ok(Tiding::Nothing)
            }
            kind::RELEASE => self.release(raw.payload),
            kind::REPORT => self.report(raw.payload),
            kind::PING => {
                let ping = Ping::read(raw.payload)?;
                self.around.link.peer_has_read(ping.read);
                self.book();
                self.around.link.pong(ping.nonce);
                Ok(Tiding::Nothing)
            }
            kind::PONG => {
                self.around.link.peer_has_read(Ping::read(raw.payload)?.read);
                Ok(Tiding::Nothing)
            }
            kind::GOODBYE => {
                let goodbye = Goodbye::read(raw.payload)?;
                self.around.link.peer_has_read(goodbye.read);
                self.book();
                Ok(Tiding::Goodbye(goodbye.why, goodbye.detail.to_owned()))
            }
            kind::RESUME => Err(Violation::OutOfTurn(raw.kind)),
            kind::FIRST_SKIPPED.. => Ok(Tiding::Nothing),
            _ => Err(Violation::UnknownKind(raw.kind)),
        }
    }

    /// The peer resumes, or says why it does not.
    fn first_frame(&mut self, raw: Raw<'_>) -> Result<Tiding, Violation> {
        match raw.kind {
            kind::RESUME => {
                let resume = Resume::read(raw.payload)?;
                match self.around.links.prove(self.around.peer, resume.token) {
                    Claim::Proven => {
                        self.resumed = true;
                        Ok(Tiding::Proven)
                    }
                    Claim::Refused => Err(Violation::Unproven),
                }
            }
            kind::GOODBYE => {
                let goodbye = Goodbye::read(raw.payload)?;
                Ok(Tiding::Goodbye(goodbye.why, goodbye.detail.to_owned()))
            }
            kind => Err(Violation::OutOfTurn(kind)),
        }
    }

    #[inline]
    fn post(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let acquaint = &mut |introduction: &Introduction<'_>| Rc::new(Contact::new(introduction));
        let received = self.incoming.post(payload, acquaint)?;
        self.handles.extend(received.handles.iter().map(|contact| contact.pointer(&self.around)));
        received.to.deliver(&self.around, received.body, &mut self.handles, &mut None);
        // What the message did not keep is let go, and with it what the peer counts.
        self.handles.clear();
        self.incoming.forget_handles();
        Ok(Tiding::Nothing)
    }

    fn ask(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let acquaint = &mut |introduction: &Introduction<'_>| Rc::new(Contact::new(introduction));
        let (number, received) = self.incoming.ask(payload, acquaint)?;
        let around = &self.around;
        let which = around.correlation(number);
        let deadline = received.deadline()?.and_then(|left| Instant::now().checked_add(Duration::from_millis(left)));
        self.handles.extend(received.handles.iter().map(|contact| contact.pointer(around)));
        match around.link.asked(which)? {
            Some(asked) => {
                let (home, link) = (Arc::clone(&around.home), Arc::clone(&around.link) as Arc<dyn Outbound>);
                let mut answer = Some(AnswerTo::new(home, link, which, asked, deadline));
                received.to.deliver(around, received.body, &mut self.handles, &mut answer);
            }
            None => {
                around.link.refuse_at_once(which, DropReason::RequestsFull);
                received.to.dropped(around, None, &DropReason::RequestsFull.into());
            }
        }
        self.handles.clear();
        self.incoming.forget_handles();
        Ok(Tiding::Nothing)
    }

    fn answer(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let acquaint = &mut |introduction: &Introduction<'_>| Rc::new(Contact::new(introduction));
        let (number, handles, body) = self.incoming.answer(payload, acquaint)?;
        self.handles.extend(handles.iter().map(|contact| contact.pointer(&self.around)));
        match self.around.link.take_pending(self.around.correlation(number)) {
            Some(waiting) => waiting.answered(body, &mut self.handles),
            None => self.around.home.observer().late_answer(),
        }
        self.handles.clear();
        self.incoming.forget_handles();
        Ok(Tiding::Nothing)
    }

    fn refuse(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let Refuse { correlation, why, detail } = Refuse::read(payload)?;
        let Some(waiting) = self.around.link.take_pending(self.around.correlation(correlation)) else {
            return Ok(Tiding::Nothing);
        };
        waiting.failed(AskError::refused(why, detail));
        Ok(Tiding::Nothing)
    }

    fn report(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        let (read, entries) = read_report(payload)?;
        self.around.link.peer_has_read(read);
        for entry in entries {
            let Dropped { target, reason, count } = entry?;
            if let Some(reason) = reason {
                self.around.told(target, reason, count);
            }
        }
        Ok(Tiding::Nothing)
    }

    fn release(&mut self, payload: &[u8]) -> Result<Tiding, Violation> {
        for entry in read_release(payload) {
            let (id, count) = entry?;
            self.around.registry.exports().release(id, self.around.connection, count);
        }
        Ok(Tiding::Nothing)
    }
}

impl Drop for Around {
    /// The connection has ended in the middle of what was read.
    fn drop(&mut self) {
        self.count_alike();
    }
}

/// Someone that the peer has introduced: what is looked up for it is looked up once, and again when boxes have opened
/// or closed.
pub(crate) struct Contact {
    who: Who,
    counted: bool,
    /// The box it is at this node, as of an epoch of the registry.
    target: RefCell<Found>,
    epoch: Cell<u64>,
    /// The pointer that messages from this connection hold, as long as one is held.
    pointer: RefCell<Weak<Pointer>>,
}

/// What was found behind a name or an id. A box that lives only for its remote holders is not kept alive by this.
enum Found {
    Nothing,
    Lasting(Arc<dyn LocalBox>),
    Counted(Weak<dyn LocalBox>),
}

/// An [`Identity`] that is kept.
#[derive(Debug)]
enum Who {
    OurName(Box<str>),
    OurBox(BoxId),
    Peers { id: BoxId, name: Box<str> },
    Third { node: NodeId, id: BoxId, via: BoxId, name: Box<str> },
    Place { endpoint: Box<str>, name: Box<str> },
    OurPlace { endpoint: Box<str>, name: Box<str> },
}

impl Contact {
    fn new(introduction: &Introduction<'_>) -> Contact {
        let who = match &introduction.identity {
            Identity::YourName(name) => Who::OurName((*name).into()),
            Identity::YourBox(id) => Who::OurBox(*id),
            Identity::MyBox { id, name } => Who::Peers { id: *id, name: (*name).into() },
            Identity::Third { node, id, via, name, .. } => {
                Who::Third { node: *node, id: *id, via: *via, name: (*name).into() }
            }
            Identity::Place { endpoint, name } => Who::Place { endpoint: (*endpoint).into(), name: (*name).into() },
            Identity::YourPlace { endpoint, name } => {
                Who::OurPlace { endpoint: (*endpoint).into(), name: (*name).into() }
            }
        };
        Contact {
            who,
            counted: introduction.counted,
            target: RefCell::new(Found::Nothing),
            epoch: Cell::new(u64::MAX),
            pointer: RefCell::new(Weak::new()),
        }
    }

    /// Gives a message to the box, or counts why not.
    #[inline]
    fn deliver(&self, around: &Around, body: &[u8], handles: &mut Vec<Arc<Pointer>>, answer: &mut Option<AnswerTo>) {
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
        };
        let rejection = match local {
            Some(local) => match local.accept_encoded(body, handles, answer, self.source(around)) {
                Ok(()) => return,
                Err(rejection) => rejection,
            },
            None => DropReason::NoSuchBox.into(),
        };
        self.dropped(around, local, &rejection);
        if let Some(answer) = answer.take() {
            let detail = rejection.detail.as_deref().unwrap_or_default();
            answer.refuse(Unanswered::NotDelivered(rejection.reason), detail);
        }
    }

    #[inline]
    fn source(&self, around: &Around) -> Source {
        Source::connection(around.connection, matches!(self.who, Who::OurBox(_)))
    }

    /// Finds the box of this node, if it is one and open.
    #[cold]
    fn look_up(&self, around: &Around) {
        // Read before the look-up: what changes during it is looked up again.
        self.epoch.set(around.registry.epoch());
        let pointer = match &self.who {
            Who::OurName(name) => around.registry.named(name),
            Who::OurBox(id) => around.registry.find(*id),
            _ => None,
        };
        *self.target.borrow_mut() = match pointer.and_then(|pointer| pointer.local()) {
            Some(local) if local.counted() => Found::Counted(Arc::downgrade(&local)),
            Some(local) => Found::Lasting(local),
            None => Found::Nothing,
        };
    }

    fn dropped(&self, around: &Around, local: Option<&dyn LocalBox>, rejection: &Rejection) {
        if let Some(local) = local {
            local.count_drop(rejection.reason);
        }
        let mut alike = around.alike.borrow_mut();
        if let Some(dead) = &mut *alike
            && self.is_target(&dead.target)
            && dead.reason == rejection.reason
            && (&dead.detail, &rejection.detail) == (&None, &None)
        {
            dead.count += 1;
            return;
        }
        drop(alike);
        around.count_alike();
        around.alike.replace(Some(self.dead(local, rejection)));
    }

    fn is_target(&self, target: &Target) -> bool {
        match (&self.who, target) {
            (Who::OurName(name), Target::Name(other)) => name == other,
            (Who::OurBox(id), Target::Id(other)) => id == other,
            _ => false,
        }
    }

    fn dead(&self, local: Option<&dyn LocalBox>, rejection: &Rejection) -> Dead {
        let target = match &self.who {
            Who::OurName(name) => Target::Name(name.clone()),
            Who::OurBox(id) => Target::Id(*id),
            _ => Target::Others,
        };
        let name = match (&target, local) {
            (_, Some(local)) if !local.given_name().is_empty() => local.given_name().into(),
            (Target::Name(name), _) => name.clone(),
            (Target::Id(id), _) => id.to_string().into(),
            (Target::Others, _) => Box::default(),
        };
        let type_name = local.map_or("", |local| local.type_name());
        let (reason, detail) = (rejection.reason, rejection.detail.clone());
        Dead { target, name, type_name, reason, detail, count: 1 }
    }

    /// The pointer for one more handle in a message.
    fn pointer(&self, around: &Around) -> Arc<Pointer> {
        let known = self.pointer.borrow().upgrade();
        let pointer = known.unwrap_or_else(|| {
            let pointer = self.make_pointer(around);
            *self.pointer.borrow_mut() = Arc::downgrade(&pointer);
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
            Who::Third { node, id, .. } if *node == ours => around.our_box(*id),
            Who::Peers { id, name } => {
                let origin = Origin::Boxed { node: around.peer, id: *id };
                around.away(origin, name, *id, self.counted)
            }
            Who::Third { node, id, via, name } => {
                around.away(Origin::Boxed { node: *node, id: *id }, name, *via, self.counted)
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
    /// Counts the drops that were gathered, here and for the peer.
    fn count_alike(&self) {
        let Some(Dead { target, name, type_name, reason, detail, count }) = self.alike.take() else { return };
        let letter = Letter { name: &name, type_name, detail: detail.as_deref() };
        self.home.observer().dropped(letter, reason, count);
        self.links.account(&self.link, self.connection, target, reason, count);
    }

    /// The peer tells how many messages for one of its boxes it has dropped.
    fn told(&self, target: Target, reason: DropReason, count: u64) {
        let name = match &target {
            Target::Name(name) => name.to_string(),
            Target::Id(id) => id.to_string(),
            Target::Others => String::new(),
        };
        let grown = self.link.told(target, reason, count);
        if grown > 0 {
            self.home.observer().reported(Letter { name: &name, type_name: "", detail: None }, reason, grown);
        }
    }

    /// A request by its number on this connection.
    fn correlation(&self, number: u64) -> Correlation {
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
    fn away(&self, origin: Origin, name: &str, to: BoxId, counted: bool) -> Arc<Pointer> {
        let link: Arc<dyn Outbound> = Arc::clone(&self.link) as _;
        let held = counted.then(|| Held {
            link: Arc::downgrade(&link),
            connection: self.connection,
            id: to,
            count: AtomicU64::new(0),
        });
        let route = Route::Away { by: Way::new(link), to: Some(to) };
        Arc::new(Pointer::new(Arc::clone(&self.home), origin, name, route, held))
    }
}
