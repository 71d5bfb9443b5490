//! A link's part in watching boxes: the waiters on this side, and the boxes that the peer watches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Link;
use super::outbox::MAX_CONTROL;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::boxes::registry::Registry;
use crate::handle::pointer::monitor::Monitor;
use crate::handle::ports::BoxGone;
use crate::handle::ports::Router;
use crate::ident::Incarnation;
use crate::net::control::watch::Notices;
use crate::net::control::watch::PeerWatch;
use crate::net::control::watch::Waiter;
use crate::net::control::watch::Watches;
use crate::net::control::watch::put_if_readable;
use crate::observe::event::CloseReason;
use crate::wire::features::feature;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::closed::Gone;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::Watch;
use crate::wire::target::Target;

impl Outbox {
    /// Changes the watches, and wakes the writer if there is news.
    fn watching<R>(&mut self, change: impl FnOnce(&mut Watches) -> R) -> R {
        let changed = change(&mut self.watches);
        self.look_at_watches();
        changed
    }

    /// Wakes the writer if there is news for the peer.
    fn look_at_watches(&mut self) {
        if self.phase == Phase::Up && self.watches.has_news() {
            self.wake();
        }
    }

    /// Tells the peer that one of its watches is not kept. Such frames take at most half of the room of refusals, because a
    /// peer for whose refused requests there is none is cut off. Beyond that the peer is told that some are not kept.
    fn refuse_watch(&mut self, target: Target) {
        let (len, room) = (self.control.len() + Unwatched::LONGEST, self.capacity.max(MAX_CONTROL) / 2);
        if len > room || !self.refusals.covers(2 * len) {
            self.watching(Watches::refuse_some);
        } else if self.phase == Phase::Up {
            let longest = self.outgoing.max_frame();
            put_if_readable(&mut self.control, longest, |out| Unwatched { target }.put(out));
            self.wake();
        }
    }

    /// Takes up the watches on a new connection to that node.
    pub(super) fn watch_again(&mut self, peer: Incarnation) -> Notices {
        let understands = self.features & feature::WATCHES != 0;
        self.watching(|watches| watches.greeted(peer, understands))
    }
}

/// The waiters on this side.
impl Link {
    /// Has `told` informed once the box is gone. Makes the connection if there is none.
    pub(super) fn add_waiter(&self, target: &Target, node: Option<Incarnation>, told: oneshot::Sender<BoxGone>) {
        let peer = self.current_peer();
        let mut state = self.state.lock();
        if state.phase == Phase::Over {
            // Dropping `told` tells the waiter.
            return;
        }
        let is_up = matches!(state.phase, Phase::Up | Phase::Closing);
        let node = node.or(peer.filter(|_| is_up));
        if is_up && node.is_some() && node != peer {
            drop(state);
            return Notices::one(told, CloseReason::NodeGone).tell();
        }
        let starts = matches!(state.admit(true), Ok(true));
        let understands = state.phase == Phase::Up && state.features & feature::WATCHES != 0;
        state.watching(|watches| watches.wait(target, Waiter { node, told }, is_up, understands));
        drop(state);
        if starts {
            self.begin();
        }
    }

    /// Takes the peer's report that a box is gone.
    pub(crate) fn box_gone(&self, closed: &Closed) {
        let why = match closed.why {
            Gone::Node => CloseReason::NodeGone,
            Gone::Connection => CloseReason::ConnectionLost,
            Gone::Closed | Gone::Other(_) => CloseReason::BoxClosed,
        };
        let unreached = closed.unreached.map(Duration::from_millis);
        let since = unreached.and_then(|unreached| Instant::now().checked_sub(unreached));
        let told = self.state.lock().watches.gone(&closed.target, &BoxGone { why, since });
        told.tell();
    }

    /// The peer says that it does not keep a watch.
    pub(crate) fn not_watched(&self, connection: u64, Unwatched { target }: &Unwatched) {
        let mut state = self.state.lock();
        if state.connection == connection {
            state.watches.refused(target);
        }
    }

    /// Ends the waits for boxes of a node that has said that it ends.
    pub(crate) fn node_gone(&self, node: Incarnation) {
        // The check keeps a stranger that says so again and again from causing searches through waiters for other
        // nodes.
        if self.current_peer() != Some(node) {
            return;
        }
        let told = self.state.lock().watches.end(CloseReason::NodeGone, |waiter| waiter.node == Some(node));
        told.tell();
    }

    /// Ends all waits, because nobody answers at the other end.
    pub(crate) fn unreachable(&self) {
        let told = self.state.lock().watches.end(CloseReason::ConnectionLost, |_| true);
        told.tell();
    }

    /// Forgets waiters that have gone, asks anew for watches that the peer did not keep if it is time, and ends all waits
    /// if there has been no connection for `dead_after`.
    pub(crate) fn sweep_watches(&self, dead_after: Duration) {
        let mut state = self.state.lock();
        state.watching(|watches| {
            watches.forget_gone();
            watches.ask_again();
        });
        let is_lost = state.watches.is_lost_for(dead_after);
        drop(state);
        if is_lost {
            self.unreachable();
        }
    }
}

/// The peer's watches.
impl Link {
    /// Begins a watch of the peer for a box, or ends it.
    pub(crate) fn watched_by_peer(
        self: &Arc<Self>,
        router: &Arc<dyn Router>,
        registry: &Registry,
        connection: u64,
        Watch { target, on, patience }: Watch,
    ) {
        if !on {
            return self.peer_forgets(connection, &target);
        }
        let unwanted = {
            let mut state = self.state.lock();
            if state.connection != connection {
                return;
            }
            match state.watches.peer_watches(&target) {
                PeerWatch::Begun(unwanted) => unwanted,
                PeerWatch::Known => return,
                PeerWatch::NoRoom => return state.refuse_watch(target),
            }
        };
        let pointer = match &target {
            Target::Name(name) => registry.named(name),
            Target::Id(id) => registry.find(*id),
            Target::Others => None,
        };
        let local = pointer.and_then(|pointer| pointer.local()).filter(|local| local.is_open());
        let Some(local) = local else { return self.tell_gone(connection, target, CloseReason::BoxClosed.into()) };
        let (monitor, link) = (Monitor::of(&*local), Arc::downgrade(self));
        router.run(Box::pin(async move {
            let gone = tokio::select! {
                biased;
                () = unwanted.cancelled() => return,
                gone = monitor.gone(patience.map(Duration::from_millis)) => gone,
            };
            if let Some(link) = link.upgrade() {
                link.tell_gone(connection, target, gone);
            }
        }));
    }

    fn tell_gone(&self, connection: u64, target: Target, gone: BoxGone) {
        {
            let mut state = self.state.lock();
            if state.connection != connection {
                return;
            }
            let state = &mut *state;
            let unreached = gone.since.and_then(|since| u64::try_from(since.elapsed().as_millis()).ok());
            let closed = Closed { target: target.clone(), why: on_wire(&gone.why), unreached };
            state.watches.tell(closed, || state.fragments.barrier());
            state.look_at_watches();
        }
        self.peer_forgets(connection, &target);
    }

    fn peer_forgets(&self, connection: u64, target: &Target) {
        let watched = {
            let mut state = self.state.lock();
            if state.connection == connection { state.watches.peer_forgets(target) } else { None }
        };
        // Without the lock, since dropping the guard wakes the task that monitors the box.
        drop(watched);
    }
}

/// Returns the reason that a box is gone, as it is written for a peer.
fn on_wire(why: &CloseReason) -> Gone {
    match why {
        CloseReason::BoxClosed => Gone::Closed,
        CloseReason::NodeGone => Gone::Node,
        CloseReason::ConnectionLost => Gone::Connection,
    }
}
