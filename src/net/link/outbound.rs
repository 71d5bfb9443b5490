//! The entry of messages into a link's outbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Link;
use super::outbox::Outbox;
use super::outbox::Phase;
use super::requests::PendingRequest;
use super::target::HandleRef;
use super::target::Relayed;
use super::target::TargetRef;
use crate::boxes::leases::Evicted;
use crate::boxes::relay::Relay;
use crate::handle::envelope::Body;
use crate::handle::envelope::Envelope;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::identity::Origin;
use crate::handle::pointer::lease::Lease;
use crate::handle::ports::BoxGone;
use crate::handle::ports::Correlation;
use crate::handle::ports::LocalBox;
use crate::handle::ports::NotPosted;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::handle::reply::PeerRequest;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::reason::DropReason;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::report::Account;
use crate::wire::outgoing::Correlated;
use crate::wire::outgoing::Post;
use crate::wire::outgoing::Unwritten;
use crate::wire::target::Target;

impl Link {
    /// Returns the relays through which boxes of third nodes among `handles` are introduced; empty if there are none.
    fn relays(&self, handles: &[Arc<Pointer>]) -> Vec<Option<Relayed>> {
        let ourselves = self.router.id();
        let elsewhere = |pointer: &Arc<Pointer>| match pointer.origin() {
            Origin::Boxed { node, .. } if *node != ourselves => Some(*node),
            _ => None,
        };
        if !handles.iter().any(|pointer| elsewhere(pointer).is_some()) {
            return Vec::new();
        }
        let peer = self.peer();
        let third = |pointer: &Arc<Pointer>| elsewhere(pointer).is_some_and(|node| Some(node) != peer);
        if !handles.iter().any(third) {
            return Vec::new();
        }
        let allowed = self.router.limits().relay_hops;
        let relay = |pointer: &Arc<Pointer>| {
            let make = |id| Arc::new(Relay::new(id, Arc::clone(pointer), allowed)) as Arc<dyn LocalBox>;
            let relay = Arc::clone(&self.router).export(Relay::key(pointer), &make);
            let local = relay.local()?;
            Some(Relayed { relay, local })
        };
        handles.iter().map(|pointer| if third(pointer) { relay(pointer) } else { None }).collect()
    }

    /// Has `write` append something under the lock. Foreign code, such as wakers, runs only after the lock is released.
    #[inline]
    fn append<T>(
        &self,
        to: &Pointer,
        patient: bool,
        write: impl FnOnce(&mut Outbox) -> Result<T, Unwritten>,
    ) -> Result<T, NotPosted> {
        let mut state = self.state.lock();
        if state.is_for_home(to) || (state.times_up > 1 && state.is_strange_to(to)) {
            return Err(NotPosted::NotUp);
        }
        let starts = state.admit(patient)?;
        let result = write(&mut state);
        let writer = if result.is_ok() && state.phase == Phase::Up { state.writer.take() } else { None };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        if starts {
            self.begin();
        }
        result.map_err(not_posted)
    }

    /// Claims a lease of a box that another node has introduced from the node of the box, to which this connection
    /// leads.
    #[cold]
    fn lease(&self, state: &mut Outbox, to: &Pointer) -> Option<Box<Lease>> {
        state.lease(to, &(Weak::clone(&self.me) as Weak<dyn Outbound>))
    }

    /// Returns the Rust type of the messages of a shape that were sent to a box over this connection, as far as it is
    /// known.
    pub(crate) fn type_sent_to(&self, account: &Account) -> &'static str {
        self.state.lock().sent.of(account)
    }

    /// Calls `write` with the relays of a message's handles, and a function that leases the handles.
    fn with_relays<T>(
        &self,
        handles: &[Arc<Pointer>],
        write: impl FnOnce(&[Option<Relayed>], &dyn Fn(u64) -> Vec<Evicted>) -> Result<(T, Vec<Evicted>), NotPosted>,
    ) -> Result<T, NotPosted> {
        let relays = self.relays(handles);
        let (written, evicted) = write(&relays, &|connection| self.lease_handles(handles, &relays, connection))?;
        evicted.into_iter().for_each(Evicted::close);
        Ok(written)
    }

    /// Returns the handles of a message as they are written on this connection.
    fn handle_refs<'a>(
        &'a self,
        handles: &'a [Arc<Pointer>],
        relays: &'a [Option<Relayed>],
    ) -> impl ExactSizeIterator<Item = HandleRef<'a>> + Clone {
        let via = |at: usize| relays.get(at).and_then(Option::as_ref);
        handles.iter().enumerate().map(move |(at, pointer)| HandleRef { pointer, peer: &self.peer, via: via(at) })
    }

    /// Leases the handles of a message that has been appended.
    fn lease_handles(&self, handles: &[Arc<Pointer>], relays: &[Option<Relayed>], connection: u64) -> Vec<Evicted> {
        let leases = self.registry.leases();
        let held = handles.iter().enumerate().filter_map(|(at, pointer)| match relays.get(at) {
            Some(Some(relayed)) => leases.lease(&relayed.relay, &*relayed.local, connection),
            _ => leases.lease(pointer, pointer.leased_here()?, connection),
        });
        held.collect()
    }
}

fn not_posted(unwritten: Unwritten) -> NotPosted {
    NotPosted::Dropped(match unwritten {
        Unwritten::TooLarge => DropReason::TooLarge,
        Unwritten::NoRoom => DropReason::OutboxFull,
    })
}

impl Outbound for Link {
    fn post(&self, to: &Arc<Pointer>, message: &Envelope<'_>, patient: bool) -> Result<(), NotPosted> {
        let &Envelope { body, handles, fingerprint, type_name, hops } = message;
        let target = TargetRef { pointer: to, direct: to.is_direct_by(self), fingerprint, type_name };
        if handles.iter().all(|pointer| pointer.is_unleased_at(self.router.id())) {
            let refs = handles.iter().map(|pointer| HandleRef { pointer, peer: &self.peer, via: None });
            let before = self.append(to, patient, |state| {
                state.remember(target);
                state.post(target, &Post { to: target, handles: refs, body: &body, hops }, body.kept())?;
                Ok(if target.direct { self.lease(state, to) } else { None })
            })?;
            drop(before);
            return Ok(());
        }
        let before = self.with_relays(handles, |relays, hold| {
            let refs = self.handle_refs(handles, relays);
            self.append(to, patient, |state| {
                state.remember(target);
                state.post(target, &Post { to: target, handles: refs, body: &body, hops }, body.kept())?;
                let before = if target.direct { self.lease(state, to) } else { None };
                Ok((before, hold(state.connection)))
            })
        })?;
        drop(before);
        Ok(())
    }

    fn ask(
        &self,
        to: &Arc<Pointer>,
        message: &Envelope<'_>,
        time_left: Option<Duration>,
        waiting: &mut Option<Box<dyn PendingReply>>,
        patient: bool,
    ) -> Result<Correlation, NotPosted> {
        let &Envelope { body, handles, fingerprint, type_name, hops } = message;
        let target = TargetRef { pointer: to, direct: to.is_direct_by(self), fingerprint, type_name };
        let deadline = time_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let asked = self.with_relays(handles, |relays, hold| {
            let post = Post { to: Some(target), handles: self.handle_refs(handles, relays), body: &body, hops };
            self.make_room_to_ask();
            let limit = self.router.limits().pending_requests;
            let asked = self.append(to, patient, |state| {
                if state.pending.len() >= limit {
                    return Ok(None);
                }
                state.remember(target);
                let number = state.next_request;
                let what = Correlated::Ask { correlation: number, deadline };
                let flow = state.correlated(Some(target), what, &post, body.kept())?;
                state.next_request += 1;
                if let Some(waiting) = waiting.take() {
                    // A request in a flow gets its number when it is written completely.
                    let post = if flow.is_none() { state.numbered() } else { u64::MAX };
                    let to = Arc::downgrade(to);
                    state.pending.insert(number, PendingRequest { waiting, to, fingerprint, post, flow });
                }
                let before = if target.direct { self.lease(state, to) } else { None };
                let which = Correlation { connection: state.connection, number };
                Ok(Some(((which, before), hold(state.connection))))
            })?;
            asked.ok_or(NotPosted::Dropped(DropReason::RequestsFull))
        });
        // An earlier lease is dropped without a lock.
        asked.map(|(which, _)| which)
    }

    fn answer(
        &self,
        to: Correlation,
        asked: &PeerRequest,
        body: Body<'_>,
        handles: &[Arc<Pointer>],
    ) -> Result<(), Unanswered> {
        let answered = self.with_relays(handles, |relays, hold| {
            let handles = self.handle_refs(handles, relays);
            let post = Post { to: None::<TargetRef<'_>>, handles, body: &body, hops: 0 };
            let mut state = self.state.lock();
            if state.connection != to.connection || asked.is_cancelled() {
                // Nobody wants the answer any more, and the number may be that of another request.
                return Ok(((), Vec::new()));
            }
            let what = Correlated::Answer { correlation: to.number };
            state.correlated(None, what, &post, body.kept()).map_err(not_posted)?;
            state.forget_asked(to.number);
            state.wake();
            Ok(((), hold(state.connection)))
        });
        answered.map_err(|unwritten| match unwritten {
            NotPosted::Dropped(DropReason::OutboxFull) => Unanswered::NoRoom,
            _ => Unanswered::NotEncodable,
        })
    }

    fn refuse(&self, to: Correlation, asked: &PeerRequest, why: Unanswered, detail: &str) {
        let mut state = self.state.lock();
        if state.connection != to.connection || asked.is_cancelled() {
            return;
        }
        state.forget_asked(to.number);
        self.put_refuse(&mut state, Refuse { correlation: to.number, why, detail });
    }

    fn cancel(&self, which: Correlation) {
        let cancelled = {
            let mut state = self.state.lock();
            let pending = if state.connection == which.connection { state.pending.remove(&which.number) } else { None };
            if let Some(pending) = &pending
                && matches!(state.phase, Phase::Dialling | Phase::Up)
            {
                state.cancel(which.number, pending.flow);
                state.wake();
            }
            if state.pending.is_empty() {
                self.router.shutdown().note_change();
            }
            pending
        };
        drop(cancelled);
    }

    fn is_up(&self) -> bool {
        let state = self.state.lock();
        // After a connection that broke, or an attempt that failed, one under way promises nothing.
        let is_first = state.times_up == 0 && state.trouble.is_empty();
        state.phase == Phase::Up || (state.phase == Phase::Dialling && is_first)
    }

    fn is_linked(&self) -> bool {
        self.state.lock().phase == Phase::Up
    }

    fn lost_since(&self) -> Option<Instant> {
        self.state.lock().watches.lost_since()
    }

    fn is_over(&self) -> bool {
        self.state.lock().phase == Phase::Over
    }

    fn longest_message(&self) -> usize {
        self.state.lock().outgoing.max_frame()
    }

    fn trouble(&self) -> Option<String> {
        let state = self.state.lock();
        (!state.trouble.is_empty()).then(|| state.trouble.to_string())
    }

    fn peer(&self) -> Option<Incarnation> {
        self.current_peer()
    }

    fn watch(&self, target: &Target, node: Option<Incarnation>, told: oneshot::Sender<BoxGone>) {
        self.add_waiter(target, node, told);
    }

    fn pressure(&self, target: &Target) -> f32 {
        self.pressure_of(target)
    }

    fn losses(&self, target: &Target, fingerprint: u64) -> BTreeMap<DropReason, u64> {
        let told = self.theirs.lock().of(target, fingerprint);
        DropReason::ALL.iter().copied().zip(told).filter(|&(_, count)| count > 0).collect()
    }

    fn keep(&self, connection: u64, held: Lease) -> Option<Lease> {
        let mut state = self.state.lock();
        if state.connection != connection || state.phase != Phase::Up {
            return Some(held);
        }
        let ping = match state.deferred.keep(held) {
            Ok(ping) => ping,
            Err(held) => return Some(held),
        };
        state.ping_behind(ping);
        None
    }

    fn release(&self, connection: u64, id: BoxId, count: u64) {
        let mut state = self.state.lock();
        if state.connection == connection {
            state.release(id, count);
            state.wake();
        }
    }
}
