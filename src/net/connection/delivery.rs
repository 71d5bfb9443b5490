//! The delivery of messages from a connection to their boxes, and the refusal of those that cannot be delivered.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use super::binding::Binding;
use super::binding::Bound;
use super::context::ConnectionContext;
use crate::config::Limits;
use crate::handle::envelope::Arrival;
use crate::handle::envelope::Source;
use crate::handle::pointer::POINTER_COST;
use crate::handle::pointer::Pointer;
use crate::handle::ports::LocalBox;
use crate::handle::reply::AnswerTo;
use crate::message::shape::Shape;
use crate::net::control::drop_report::DropRun;
use crate::net::link::shape_query::explain_here;
use crate::observe::loss::Caller;
use crate::observe::loss::DropNotice;
use crate::observe::loss::DroppedMessage;
use crate::observe::loss::Loss;
use crate::observe::loss::Nobody;
use crate::observe::loss::Parties;
use crate::observe::loss::SendingPeer;
use crate::reason::DropReason;
use crate::wire::batch::Bodies;
use crate::wire::frames::report::Account;
use crate::wire::target::Target;

/// The result of looking up a name or an id. It does not keep a box alive that lives only for its remote holders.
pub(super) enum FoundBox {
    Nothing,
    Lasting(Arc<dyn LocalBox>),
    Counted(Weak<dyn LocalBox>),
    /// The box takes messages of another shape.
    Differing(Weak<dyn LocalBox>, Shape),
}

/// A message as a connection hands it to a box.
pub(super) struct Delivery<'a> {
    pub(super) body: &'a [u8],
    pub(super) handles: &'a [Rc<Binding>],
    /// The number of handles that were skipped, because they were not wanted.
    pub(super) skipped: usize,
    pub(super) hops: u8,
}

/// Whether a message may have that many handles at this node, and their cost fits into its memory limit.
#[inline]
pub(super) fn do_handles_fit(limits: &Limits, count: usize) -> bool {
    count <= limits.max_handles && count.saturating_mul(POINTER_COST) <= limits.decode_memory
}

/// Returns the reason why a message with skipped handles is not taken, although there is a box for it.
#[cold]
fn skipped(limits: &Limits, count: usize) -> Loss<'static> {
    if do_handles_fit(limits, count) {
        // The box has opened only now.
        return DropReason::NoSuchBox.into();
    }
    let (limit, memory) = (limits.max_handles, limits.decode_memory);
    let detail = if count > limit {
        format!("{count} addresses in one message are more than {limit}, the limit `max_handles` of the node")
    } else {
        format!("{count} addresses would occupy more than {memory} bytes, the limit `decode_memory` of the node")
    };
    Loss::from(DropReason::TooLarge).with_detail(Some(detail))
}

impl FoundBox {
    /// Whether both are boxes of the same differing shape.
    fn differs_as(&self, other: &FoundBox) -> bool {
        matches!((self, other), (FoundBox::Differing(_, takes), FoundBox::Differing(_, others)) if takes == others)
    }
}

impl Binding {
    /// Whether the last look-up found a box.
    pub(super) fn was_found(&self) -> bool {
        !matches!(*self.target.borrow(), FoundBox::Nothing)
    }

    /// Whether it is a box of this node that takes the peer's messages, as far as can be seen from outside.
    #[inline]
    pub(super) fn takes_messages(&self, context: &ConnectionContext) -> bool {
        if self.epoch.get() != context.registry.epoch() {
            self.look_up(context);
        }
        match &*self.target.borrow() {
            FoundBox::Lasting(_) => true,
            FoundBox::Counted(local) => local.strong_count() > 0,
            FoundBox::Nothing | FoundBox::Differing(..) => false,
        }
    }

    /// Hands a message to the box, or counts its drop.
    #[inline]
    pub(super) fn deliver(
        &self,
        context: &ConnectionContext,
        message: Delivery<'_>,
        handles: &mut Vec<Arc<Pointer>>,
        answer: &mut Option<AnswerTo>,
    ) {
        self.at_target(context, |target| match target {
            Ok(local) if message.skipped > 0 => {
                let loss = skipped(context.node.limits(), message.skipped);
                self.settle_loss(context, Some(local), loss, answer.take());
            }
            Ok(local) => {
                handles.extend(message.handles.iter().map(|binding| binding.pointer(context)));
                let arrival = self.arrival(context, message.hops);
                if let Err(loss) = local.accept_encoded(message.body, handles, answer, arrival) {
                    self.settle_loss(context, Some(local), loss, answer.take());
                }
            }
            // The box was open when the handles were read, so they are given back here.
            Err(Some((local, takes))) => {
                message.handles.iter().for_each(|binding| binding.skip(context));
                self.refuse_shape(context, local, takes, answer.take());
            }
            Err(None) => {
                message.handles.iter().for_each(|binding| binding.skip(context));
                self.settle_loss(context, None, DropReason::NoSuchBox.into(), answer.take());
            }
        });
    }

    /// Hands consecutive messages without handles to the box.
    pub(super) fn deliver_all(&self, context: &ConnectionContext, bodies: Bodies<'_>) {
        self.at_target(context, |target| match target {
            Ok(local) => local.accept_all(bodies, self.arrival(context, 0), &mut |loss| {
                self.settle_loss(context, Some(local), loss, Nobody);
            }),
            Err(Some((local, takes))) => bodies.for_each(|_| self.refuse_shape(context, local, takes, None)),
            Err(None) => {
                bodies.for_each(|_| self.settle_loss(context, None, DropReason::NoSuchBox.into(), Nobody));
            }
        });
    }

    /// Calls `give` with the box, with `Err(None)` if there is none, or with a box of another shape and that shape.
    #[inline]
    fn at_target(
        &self,
        context: &ConnectionContext,
        give: impl FnOnce(Result<&dyn LocalBox, Option<(&dyn LocalBox, &Shape)>>),
    ) {
        if self.epoch.get() != context.registry.epoch() {
            self.look_up(context);
        }
        let held;
        let target = self.target.borrow();
        let local = match &*target {
            FoundBox::Lasting(local) => Some(&**local),
            FoundBox::Counted(weak) => {
                held = weak.upgrade();
                held.as_deref()
            }
            FoundBox::Nothing => None,
            FoundBox::Differing(weak, takes) => {
                held = weak.upgrade();
                return give(Err(held.as_deref().map(|local| (local, takes))));
            }
        };
        let Some(local) = local else { return give(Err(None)) };
        give(Ok(local));
        // Also if the box had no room: others may have filled it.
        if !self.knows(context, local.fill_level()) {
            self.note_level(context, local.fill_level(), &target);
        }
    }

    /// Whether the box has the same level as before, and the peer still knows it.
    #[inline]
    fn knows(&self, context: &ConnectionContext, fill_level: u8) -> bool {
        fill_level == self.fill_level.get()
            && (fill_level == 0 || context.relieved.load(Ordering::Relaxed) == self.relieved.get())
    }

    /// Notes that the level of the box has changed, or that the peer may not know it any more.
    #[cold]
    fn note_level(&self, context: &ConnectionContext, fill_level: u8, found: &FoundBox) {
        let relieved = context.relieved.load(Ordering::Relaxed);
        let before = self.fill_level.replace(fill_level);
        let before = if self.relieved.replace(relieved) == relieved { before } else { 0 };
        let local = match found {
            FoundBox::Lasting(local) => Some(Arc::clone(local)),
            FoundBox::Counted(local) => local.upgrade(),
            FoundBox::Nothing | FoundBox::Differing(..) => None,
        };
        if let Some(local) = local.filter(|_| fill_level > before) {
            context.peers.note_pressed(&context.link, context.connection, self.target(), &local);
        }
    }

    /// Refuses a message because the box takes another shape. The sender finds out the difference for itself, and
    /// describes it from its side.
    #[cold]
    fn refuse_shape(&self, context: &ConnectionContext, local: &dyn LocalBox, takes: &Shape, answer: Option<AnswerTo>) {
        if !self.asked.replace(true) {
            let what = (self.name(Some(local)).into(), local.type_name());
            explain_here(&context.link, &context.node, self.fingerprint, what, takes.clone(), &self.explained.borrow());
        }
        let explained = self.explained.borrow();
        let loss = Loss::from(DropReason::TypeMismatch).with_detail(explained.get().map(|words| &**words));
        self.settle_loss(context, Some(local), loss, answer.map(Unexplained));
    }

    #[inline]
    fn arrival(&self, context: &ConnectionContext, hops: u8) -> Arrival {
        let from = Source::connection(context.connection, self.by_id, hops > 0);
        Arrival { from, fingerprint: self.fingerprint, hops }
    }

    /// Finds the box of this node, if it is one and open.
    #[cold]
    fn look_up(&self, context: &ConnectionContext) {
        // Read before the look-up, so that changes during it cause another one.
        self.epoch.set(context.registry.epoch());
        // By now, another box may have that name.
        self.fill_level.set(0);
        let pointer = match &self.bound {
            Bound::OurName(name) => context.view.named(name),
            Bound::OurBox(id) => context.view.find(*id),
            _ => None,
        };
        let local = pointer.and_then(|pointer| pointer.local());
        // The shape is looked at here, whatever the peer says: that may run code of the application, once for each
        // type.
        let differs = |takes: &Shape| self.fingerprint != 0 && takes.fingerprint() != self.fingerprint;
        let found = match local {
            Some(local) => match local.shape().filter(differs) {
                Some(takes) => FoundBox::Differing(Arc::downgrade(&local), takes),
                None if local.is_leased() => FoundBox::Counted(Arc::downgrade(&local)),
                None => FoundBox::Lasting(local),
            },
            None => FoundBox::Nothing,
        };
        let before = self.target.replace(found);
        if !before.differs_as(&self.target.borrow()) {
            // The earlier explanation is about another box.
            self.asked.set(false);
            self.explained.take();
        }
    }

    /// Drops messages that were read from the connection. `local` is the box that they were for, if there is one.
    pub(super) fn settle_loss(
        &self,
        context: &ConnectionContext,
        local: Option<&dyn LocalBox>,
        loss: Loss<'_>,
        caller: impl Caller,
    ) {
        let name = self.name(local);
        let type_name = local.map_or("", |local| local.type_name());
        loss.settle(Parties {
            node: context.node.observer(),
            message: DroppedMessage { name: &name, type_name, peer: Some(context.peer.node) },
            mailbox: local.map(|local| local.drops()),
            pointer: None,
            sender: OtherEnd { binding: self, context },
            caller,
        });
    }

    fn is(&self, account: &Account) -> bool {
        let is_box = match (&self.bound, &account.target) {
            (Bound::OurName(name), Target::Name(other)) => name == other,
            (Bound::OurBox(id), Target::Id(other)) => id == other,
            _ => false,
        };
        is_box && self.fingerprint == account.fingerprint
    }

    /// Returns this side's name for the box.
    fn name<'a>(&'a self, local: Option<&'a dyn LocalBox>) -> Cow<'a, str> {
        match (&self.bound, local) {
            (_, Some(local)) if !local.given_name().is_empty() => Cow::Borrowed(local.given_name()),
            (Bound::OurName(name), _) => Cow::Borrowed(name),
            (Bound::OurBox(id), _) => Cow::Owned(id.to_string()),
            _ => Cow::Borrowed(""),
        }
    }
}

/// The peer at the other end of the connection, which has sent messages by the binding.
struct OtherEnd<'a> {
    binding: &'a Binding,
    context: &'a ConnectionContext,
}

impl SendingPeer for OtherEnd<'_> {
    /// Adds the drops to those gathered before, if they are alike.
    fn report(self, notice: &DropNotice<'_>) {
        let OtherEnd { binding, context } = self;
        let (reason, count) = (notice.reason(), notice.count());
        // The sender is told the limit for messages that are passed on.
        let words = notice.detail().filter(|_| reason == DropReason::TooLarge).map(Box::from);
        let mut drop_run = context.drop_run.borrow_mut();
        match &mut *drop_run {
            Some(drop_run) if drop_run.reason == reason && binding.is(&drop_run.account) => {
                drop_run.count += count;
                if words.is_some() {
                    drop_run.words = words;
                }
            }
            _ => {
                let account = Account { target: binding.target(), fingerprint: binding.fingerprint };
                let before = drop_run.replace(DropRun { account, reason, count, words });
                context.note_drop(before);
            }
        }
    }
}

/// An asker that finds out for itself how its shape differs from that of the box.
struct Unexplained(AnswerTo);

impl Caller for Unexplained {
    fn not_delivered(self, notice: &DropNotice<'_>) {
        self.0.not_delivered(&notice.without_detail());
    }
}
