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
use super::target::HandleRef;
use super::target::Relayed;
use super::target::TargetRef;
use crate::boxes::leases::Evicted;
use crate::boxes::relay::Relay;
use crate::handle::envelope::Envelope;
use crate::handle::peer_request::PeerRequest;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::identity::Origin;
use crate::handle::pointer::lease::Lease;
use crate::handle::ports::BoxGone;
use crate::handle::ports::Correlation;
use crate::handle::ports::LocalBox;
use crate::handle::ports::NotTaken;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::net::control::requests::PendingRequest;
use crate::reason::DropReason;
use crate::wire::body::Body;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::report::Account;
use crate::wire::outgoing::Correlated;
use crate::wire::outgoing::Post;
use crate::wire::target::Target;

impl Link {
    /// Returns the relays through which boxes of third nodes among `handles` are introduced; empty if there are none.
    fn relays(&self, handles: &[Arc<Pointer>]) -> Vec<Option<Relayed>> {
        let ourselves = self.node.id();
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
        let allowed = self.node.limits().relay_hops;
        let relay = |pointer: &Arc<Pointer>| {
            let make = |id| Arc::new(Relay::new(id, Arc::clone(pointer), allowed)) as Arc<dyn LocalBox>;
            let relay = Arc::clone(&self.node).export(Relay::key(pointer), &make);
            let local = relay.local()?;
            Some(Relayed { relay, local })
        };
        handles.iter().map(|pointer| if third(pointer) { relay(pointer) } else { None }).collect()
    }

    /// Has `write` append something.
    #[inline]
    fn append<T>(
        &self,
        to: &Pointer,
        patient: bool,
        write: impl FnOnce(&mut Outbox) -> Result<T, DropReason>,
    ) -> Result<T, NotTaken> {
        let (starts, result) = self.outbox.with(|outbox| {
            if outbox.is_for_loopback(to) || (outbox.session.times_up > 1 && outbox.is_strange_to(to)) {
                return Err(NotTaken::NotUp);
            }
            let starts = outbox.admit(patient)?;
            let result = write(outbox);
            if result.is_ok() && outbox.phase == Phase::Up {
                outbox.wake();
            }
            Ok((starts, result))
        })?;
        if starts {
            self.begin();
        }
        result.map_err(NotTaken::Dropped)
    }

    /// Claims a lease of a box that another node has introduced from the node of the box, to which this connection
    /// leads.
    #[cold]
    fn lease(&self, outbox: &mut Outbox, to: &Pointer) -> Option<Box<Lease>> {
        outbox.lease(to, &(Weak::clone(&self.me) as Weak<dyn Outbound>))
    }

    /// Returns the Rust type of the messages of a shape that were sent to a box over this connection, as far as it is
    /// known.
    pub(crate) fn type_sent_to(&self, account: &Account) -> &'static str {
        self.outbox.with(|outbox| outbox.reports.types.of(account))
    }

    /// Calls `write` with the relays of a message's handles, and a function that leases the handles.
    fn with_relays<T>(
        &self,
        handles: &[Arc<Pointer>],
        write: impl FnOnce(&[Option<Relayed>], &dyn Fn(u64) -> Vec<Evicted>) -> Result<(T, Vec<Evicted>), NotTaken>,
    ) -> Result<T, NotTaken> {
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

impl Outbound for Link {
    fn post(&self, to: &Arc<Pointer>, message: &Envelope<'_>, patient: bool) -> Result<(), NotTaken> {
        let &Envelope { body, handles, fingerprint, type_name, hops } = message;
        let target = TargetRef { pointer: to, direct: to.is_direct_by(self), fingerprint, type_name };
        if handles.iter().all(|pointer| pointer.is_unleased_at(self.node.id())) {
            let refs = handles.iter().map(|pointer| HandleRef { pointer, peer: &self.peer, via: None });
            let before = self.append(to, patient, |outbox| {
                outbox.remember(target);
                outbox.posts.post(&Post { to: target, handles: refs, body, hops })?;
                Ok(if target.direct { self.lease(outbox, to) } else { None })
            })?;
            drop(before);
            return Ok(());
        }
        let before = self.with_relays(handles, |relays, hold| {
            let refs = self.handle_refs(handles, relays);
            self.append(to, patient, |outbox| {
                outbox.remember(target);
                outbox.posts.post(&Post { to: target, handles: refs, body, hops })?;
                let before = if target.direct { self.lease(outbox, to) } else { None };
                Ok((before, hold(outbox.session.connection)))
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
    ) -> Result<Correlation, NotTaken> {
        let &Envelope { body, handles, fingerprint, type_name, hops } = message;
        let target = TargetRef { pointer: to, direct: to.is_direct_by(self), fingerprint, type_name };
        let deadline = time_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let asked = self.with_relays(handles, |relays, hold| {
            let post = Post { to: Some(target), handles: self.handle_refs(handles, relays), body, hops };
            self.make_room_to_ask();
            let limit = self.node.limits().pending_requests;
            let asked = self.append(to, patient, |outbox| {
                if outbox.requests.pending() >= limit {
                    return Ok(None);
                }
                outbox.remember(target);
                let number = outbox.requests.next();
                let what = Correlated::Ask { correlation: number, deadline };
                let flow = outbox.posts.correlated(what, &post)?;
                // A request in a flow gets its number when it is written completely.
                let post = if flow.is_none() { outbox.posts.numbered() } else { u64::MAX };
                let pending = waiting.take().map(|waiting| (waiting, Arc::downgrade(to)));
                let pending = pending.map(|(waiting, to)| PendingRequest { waiting, to, fingerprint, post, flow });
                outbox.requests.ask(pending);
                let before = if target.direct { self.lease(outbox, to) } else { None };
                let which = Correlation { connection: outbox.session.connection, number };
                Ok(Some(((which, before), hold(which.connection))))
            })?;
            asked.ok_or(NotTaken::Dropped(DropReason::RequestsFull))
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
            let post = Post { to: None, handles, body, hops: 0 };
            self.outbox.with(|outbox| {
                if !outbox.is(to.connection) || asked.is_cancelled() {
                    // Nobody wants the answer any more, and the number may be that of another request.
                    return Ok(((), Vec::new()));
                }
                let what = Correlated::Answer { correlation: to.number };
                outbox.posts.correlated(what, &post).map_err(NotTaken::Dropped)?;
                let answered = outbox.requests.forget_asked(to.number);
                outbox.wake();
                Ok((drop(answered), hold(to.connection)))
            })
        });
        answered.map_err(|not_taken| match not_taken {
            NotTaken::Dropped(DropReason::OutboxFull) => Unanswered::NoRoom,
            _ => Unanswered::NotEncodable,
        })
    }

    fn refuse(&self, to: Correlation, asked: &PeerRequest, why: Unanswered, detail: &str) {
        let limit = self.node.limits().pending_requests;
        self.outbox.with(|outbox| {
            if outbox.is(to.connection) && !asked.is_cancelled() {
                outbox.requests.forget_asked(to.number);
                outbox.refuse(Refuse { correlation: to.number, why, detail }, limit);
            }
        });
    }

    fn cancel(&self, which: Correlation) {
        let is_last = self.outbox.with(|outbox| {
            if outbox.is(which.connection) {
                outbox.cancel(which.number);
            }
            outbox.requests.pending() == 0
        });
        if is_last {
            self.node.shutdown().note_change();
        }
    }

    fn is_up(&self) -> bool {
        self.outbox.with(|outbox| {
            // After a connection that broke, or an attempt that failed, one under way promises nothing.
            let is_first = outbox.session.times_up == 0 && outbox.session.trouble.is_empty();
            outbox.phase == Phase::Up || (outbox.phase == Phase::Dialling && is_first)
        })
    }

    fn is_linked(&self) -> bool {
        self.outbox.with(|outbox| outbox.phase == Phase::Up)
    }

    fn lost_since(&self) -> Option<Instant> {
        self.outbox.with(|outbox| outbox.watches.lost_since())
    }

    fn is_over(&self) -> bool {
        self.outbox.with(|outbox| outbox.phase == Phase::Over)
    }

    fn longest_message(&self) -> usize {
        self.outbox.with(|outbox| outbox.posts.max_frame())
    }

    fn trouble(&self) -> Option<String> {
        self.outbox.with(|outbox| {
            let trouble = &outbox.session.trouble;
            (!trouble.is_empty()).then(|| trouble.to_string())
        })
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
        let told = self.peer_drops.lock().of(target, fingerprint);
        DropReason::ALL.iter().copied().zip(told).filter(|&(_, count)| count > 0).collect()
    }

    fn keep(&self, connection: u64, held: Lease) -> Option<Lease> {
        self.outbox.with(|outbox| {
            if !outbox.is(connection) || outbox.phase != Phase::Up {
                return Some(held);
            }
            match outbox.releases.deferred.keep(held) {
                Ok(ping) => {
                    outbox.ping_behind(ping);
                    None
                }
                Err(held) => Some(held),
            }
        })
    }

    fn release(&self, connection: u64, id: BoxId, count: u64) {
        self.outbox.with(|outbox| {
            if outbox.is(connection) {
                outbox.release(id, count);
                outbox.wake();
            }
        });
    }
}
