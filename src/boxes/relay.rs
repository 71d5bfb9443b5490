//! A box that stands for a box of a third node and passes on every message unchanged.
//!
//! Relays form no cycle: the target of a relay was reached before the relay was made and never changes, and when a
//! handle to a relay returns to this node, it becomes a handle to the relay's target. A peer may still send messages in
//! a cycle; each message carries the number of relays that have passed it on, and a message that has passed too many is
//! refused.

use std::any::Any;
use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use tokio_util::sync::CancellationToken;

use super::buffer::fill_level_of;
use crate::handle::ask_error::AskError;
use crate::handle::envelope::Arrival;
use crate::handle::envelope::Envelope;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::Route;
use crate::handle::ports::ExportKey;
use crate::handle::ports::FindActor;
use crate::handle::ports::LocalBox;
use crate::handle::ports::NotTaken;
use crate::handle::ports::PendingReply;
use crate::handle::reply::AnswerTo;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::message::shape::Shape;
use crate::observe::loss::Drops;
use crate::observe::loss::Loss;
use crate::observe::stats::BoxStats;
use crate::reason::DropReason;
use crate::wire::batch::Bodies;
use crate::wire::body::Body;
use crate::wire::frames::refuse::Unanswered;

/// Number of messages passed on between two checks of the target's fill level.
const LOOK: u64 = 64;

/// A relay, which passes on its messages to `target`.
#[derive(Debug)]
pub(crate) struct Relay {
    id: BoxId,
    target: Arc<Pointer>,
    /// Maximum number of relays that may pass a message on, this one included.
    allowed: u8,
    closed: CancellationToken,
    passed: AtomicU64,
    fill_level: AtomicU8,
    drops: Drops,
}

impl Relay {
    pub(crate) fn new(id: BoxId, target: Arc<Pointer>, allowed: u8) -> Relay {
        Relay {
            id,
            target,
            allowed,
            closed: CancellationToken::new(),
            passed: AtomicU64::new(0),
            fill_level: AtomicU8::new(0),
            drops: Drops::default(),
        }
    }

    /// Returns the key of the relay to a pointer; one pointer has one relay.
    pub(crate) fn key(target: &Pointer) -> ExportKey {
        (TypeId::of::<Relay>(), target.key() as usize)
    }
}

impl Relay {
    /// Checks that one more relay may pass on a message that `hops` relays have passed on already.
    fn admit(&self, hops: u8) -> Result<(), DropReason> {
        match self.allowed {
            0 => Err(DropReason::Refused),
            allowed if hops >= allowed => Err(DropReason::HopLimit),
            _ => Ok(()),
        }
    }

    /// Returns whether nothing will ever lead to the target again: there is no connection, and either the node of the
    /// box has announced its end, or the next node on the way has, and no endpoint of the box's node is known.
    fn is_cut_off(&self) -> bool {
        let target = &self.target;
        let Route::Away { path, .. } = target.route() else { return true };
        let says_so = |node: Option<Incarnation>| node.is_some_and(|node| target.this_node().is_gone(node));
        let is_gone = || says_so(target.incarnation()) || (path.hints().is_empty() && says_so(target.made_for()));
        let is_linked = || target.link().is_some_and(|link| link.is_linked());
        target.has_ended() || (!path.primary().is_linked() && is_gone() && !is_linked())
    }

    /// Returns the loss of a message whose body takes `size` bytes. The sender is told the limit for a message
    /// that is too large; details of other failures beyond this node are not disclosed.
    fn rejection(&self, reason: DropReason, size: usize) -> Loss<'static> {
        let is_told = reason == DropReason::TooLarge;
        Loss::from(reason).with_detail(if is_told { self.target.trouble(reason, size) } else { None })
    }

    /// Passes on a message that came from a connection, unchanged.
    fn pass_on(
        &self,
        body: &[u8],
        handles: &mut Vec<Arc<Pointer>>,
        answer: &mut Option<AnswerTo>,
        arrival: Arrival,
    ) -> Result<(), Loss<'static>> {
        self.admit(arrival.hops)?;
        let arrival = Arrival { hops: arrival.hops.saturating_add(1), ..arrival };
        if let Some(local) = self.target.local() {
            return local.accept_encoded(body, handles, answer, arrival);
        }
        if self.is_cut_off() {
            return Err(DropReason::NoRoute.into());
        }
        self.target.passes_on(arrival.fingerprint);
        let Arrival { fingerprint, hops, .. } = arrival;
        let message = &Envelope { body: Body::from(body), handles, fingerprint, type_name: "", hops };
        let rejection = |reason| self.rejection(reason, body.len());
        answer.as_ref().map_or(Ok(()), AnswerTo::begin)?;
        let Some(asking) = answer.take() else { return self.target.post(message).map_err(rejection) };
        let (time_left, deadline) = (asking.time_left(), asking.deadline());
        let mut waiting: Option<Box<dyn PendingReply>> = Some(Box::new(Relaying(asking)));
        let asked = self.target.ask_encoded(message, time_left, &mut waiting);
        asked.map(drop).map_err(|reason| {
            *answer = waiting.map(|asker| AnswerTo::here(Arc::clone(self.target.this_node()), asker, deadline));
            rejection(reason)
        })
    }
}

impl LocalBox for Relay {
    fn id(&self) -> BoxId {
        self.id
    }

    fn given_name(&self) -> &str {
        ""
    }

    fn type_name(&self) -> &'static str {
        "a relay"
    }

    fn is_open(&self) -> bool {
        !self.closed.is_cancelled()
    }

    fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Refuses: no sender on this node holds a pointer to a relay, since a handle to it becomes a handle to its target
    /// on returning to this node.
    fn accept(&self, _: &mut dyn Any) -> Result<(), NotTaken> {
        Err(NotTaken::OtherType)
    }

    fn accept_encoded(
        &self,
        body: &[u8],
        handles: &mut Vec<Arc<Pointer>>,
        answer: &mut Option<AnswerTo>,
        arrival: Arrival,
    ) -> Result<(), Loss<'static>> {
        if !self.is_open() {
            return Err(DropReason::BoxClosed.into());
        }
        self.pass_on(body, handles, answer, arrival)?;
        self.passed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Passes on the messages one by one: from here on, each travels as a separate message.
    fn accept_all(&self, bodies: Bodies<'_>, arrival: Arrival, rejected: &mut dyn FnMut(Loss<'static>)) {
        for body in bodies {
            if let Err(rejection) = self.accept_encoded(body, &mut Vec::new(), &mut None, arrival) {
                rejected(rejection);
            }
            // The target's fill level is checked as often as for messages that come one by one.
            self.fill_level();
        }
    }

    /// Returns none: the target box checks the shape.
    fn shape(&self) -> Option<Shape> {
        None
    }

    fn fill(&self) -> u8 {
        (self.target.pressure() * f32::from(u8::MAX)) as u8
    }

    fn fill_level(&self) -> u8 {
        // Reading the fill level of the target costs more than that of a box.
        if self.passed.load(Ordering::Relaxed).is_multiple_of(LOOK) {
            self.fill_level.store(fill_level_of(self.fill()), Ordering::Relaxed);
        }
        self.fill_level.load(Ordering::Relaxed)
    }

    fn note_recipient(&self) {}

    fn recall(&self, _: &mut dyn Any) {}

    fn actor(&self) -> Option<FindActor> {
        None
    }

    fn drops(&self) -> &Drops {
        &self.drops
    }

    fn is_leased(&self) -> bool {
        true
    }

    fn reap_if_dead(&self) {}

    fn close(&self) {
        self.closed.cancel();
    }

    fn relays(&self) -> Option<&Arc<Pointer>> {
        Some(&self.target)
    }

    fn occupancy(&self) -> (u64, u64) {
        (0, 0)
    }

    fn stats(&self) -> BoxStats {
        let (depth, capacity) = self.occupancy();
        BoxStats {
            name: self.id.to_string(),
            type_name: self.type_name().to_owned(),
            depth,
            capacity,
            received: self.passed.load(Ordering::Relaxed),
            with_actor: 0,
            dropped: self.drops.to_map(),
        }
    }
}

/// A pending answer to a request that this node passes on.
struct Relaying(AnswerTo);

impl PendingReply for Relaying {
    fn answered(mut self: Box<Self>, body: &[u8], handles: &mut Vec<Arc<Pointer>>) {
        if let Err(why) = self.0.answer(Body::from(body), handles) {
            self.0.refuse_unwritten(why);
        }
    }

    fn failed(self: Box<Self>, error: AskError) {
        match error {
            AskError::NotDelivered { reason, detail } => {
                self.0.refuse(Unanswered::NotDelivered(reason), detail.as_deref().unwrap_or_default());
            }
            AskError::OutcomeUnknown { reason: DropReason::OutboxFull } => self.0.refuse(Unanswered::NoRoom, ""),
            AskError::OutcomeUnknown { .. } => self.0.refuse(Unanswered::LostOnTheWay, ""),
            AskError::AnswerNotEncodable { why } => self.0.refuse(Unanswered::NotEncodable, &why),
            _ => drop(self.0),
        }
    }

    fn is_gone(&self) -> bool {
        self.0.is_gone()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_gone(cx)
    }
}
