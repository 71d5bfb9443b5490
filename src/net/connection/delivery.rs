//! How messages from a connection reach their boxes, and what happens to those that do not.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use super::binding::Contact;
use super::binding::Who;
use super::context::Alike;
use super::context::Around;
use crate::handle::envelope::Arrival;
use crate::handle::envelope::Source;
use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Rejection;
use crate::handle::reply::AnswerTo;
use crate::message::shape::Shape;
use crate::net::link::shape_query::explain_here;
use crate::observe::loss::Letter;
use crate::reason::DropReason;
use crate::wire::batch::Bodies;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::target::Target;

/// What was found behind a name or an id. A box that lives only for its remote holders is not kept alive by this.
pub(super) enum Found {
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

impl Contact {
    /// Whether there was such a box when it was last looked up.
    pub(super) fn was_found(&self) -> bool {
        !matches!(*self.target.borrow(), Found::Nothing)
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

    /// What this side calls the box.
    fn name<'a>(&'a self, local: Option<&'a dyn LocalBox>) -> Cow<'a, str> {
        match (&self.who, local) {
            (_, Some(local)) if !local.given_name().is_empty() => Cow::Borrowed(local.given_name()),
            (Who::OurName(name), _) => Cow::Borrowed(name),
            (Who::OurBox(id), _) => Cow::Owned(id.to_string()),
            _ => Cow::Borrowed(""),
        }
    }
}
