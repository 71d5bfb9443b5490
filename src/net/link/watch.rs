//! A link's part in watching boxes: the waiters on this side, and the boxes that the peer watches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Link;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::boxes::view::View;
use crate::handle::context::NodeContext;
use crate::handle::pointer::monitor::Monitor;
use crate::handle::ports::BoxGone;
use crate::ident::Incarnation;
use crate::net::control::effects::GoneWaiter;
use crate::net::control::peer_watch::PeerWatch;
use crate::net::control::peer_watch::WatchGuard;
use crate::net::control::watch::Reach;
use crate::net::control::watch::Waiter;
use crate::observe::event::CloseReason;
use crate::wire::features::feature;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::closed::Gone;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::Watch;
use crate::wire::target::Target;

impl GoneWaiter for oneshot::Sender<BoxGone> {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }

    fn tell(self: Box<Self>, gone: BoxGone) {
        // The waiter may have gone.
        let _ = self.send(gone);
    }
}

impl Outbox {
    /// Wakes the writer if there is news of watches for the peer.
    fn look_at_watches(&mut self) {
        if self.phase == Phase::Up && self.has_watch_frames() {
            self.wake();
        }
    }

    pub(super) fn has_watch_frames(&self) -> bool {
        self.watches.has_frames() || self.peer_watches.has_frames()
    }

    /// Adds a waiter; `peer` is the node at the other end, or the last node there. Returns whether a dial has to be
    /// started.
    fn wait(&mut self, target: &Target, waiter: Waiter, peer: Option<Incarnation>, now: Instant) -> bool {
        let Waiter { node, callback } = waiter;
        if self.phase == Phase::Over {
            // Dropping the callback tells the waiter.
            self.afterwards.effects().drop_later(callback);
            return false;
        }
        let is_up = matches!(self.phase, Phase::Up | Phase::Closing);
        let node = node.or(peer.filter(|_| is_up));
        if is_up && node.is_some() && node != peer {
            self.afterwards.effects().gone(callback, CloseReason::NodeGone.into());
            return false;
        }
        let starts = matches!(self.admit(true), Ok(true));
        let reach = match self.phase {
            Phase::Up if self.session.understands(feature::WATCHES) => Reach::Watches,
            Phase::Up | Phase::Closing => Reach::Deaf,
            _ => Reach::None,
        };
        self.watches.wait(target, Waiter { node, callback }, reach, now);
        self.look_at_watches();
        starts
    }

    /// Tells the peer that one of its watches is not kept. If there is no room for that, the peer is told that some are
    /// not kept.
    fn refuse_watch(&mut self, target: &Target) {
        if !self.control.has_room_to_refuse_watch(self.posts.capacity) {
            self.peer_watches.refuse_some();
            self.look_at_watches();
        } else if self.phase == Phase::Up {
            self.control.refuse_watch(&Unwatched { target: target.clone() }, self.posts.max_frame());
            self.wake();
        }
    }
}

/// The waiters on this side.
impl Link {
    /// Has `told` informed once the box is gone. Makes the connection if there is none.
    pub(super) fn add_waiter(&self, target: &Target, node: Option<Incarnation>, told: oneshot::Sender<BoxGone>) {
        let (waiter, now) = (Waiter { node, callback: Box::new(told) }, Instant::now());
        // The peer is looked at under the lock under which it is set: else it might be that before the connection.
        if self.outbox.with(|outbox| outbox.wait(target, waiter, self.current_peer(), now)) {
            self.begin();
        }
    }

    /// Takes the peer's report that a box is gone.
    pub(crate) fn box_gone(&self, closed: &Closed) {
        let now = Instant::now();
        self.outbox.with(|outbox| {
            let told = outbox.watches.on_closed(closed, now);
            outbox.later(told);
        });
    }

    /// The peer says that it does not keep a watch.
    pub(crate) fn not_watched(&self, connection: u64, unwatched: &Unwatched) {
        let now = Instant::now();
        self.outbox.with(|outbox| {
            if outbox.is(connection) {
                outbox.watches.on_unwatched(unwatched, now);
            }
        });
    }

    /// Ends the waits for boxes of a node that has said that it ends.
    pub(crate) fn node_gone(&self, node: Incarnation) {
        // The check keeps a stranger that says so again and again from causing searches through waiters for other
        // nodes.
        if self.current_peer() == Some(node) {
            self.end_waits(&CloseReason::NodeGone, |waiter| waiter.node == Some(node));
        }
    }

    /// Ends all waits, because nobody answers at the other end.
    pub(crate) fn unreachable(&self) {
        self.end_waits(&CloseReason::ConnectionLost, |_| true);
    }

    fn end_waits(&self, why: &CloseReason, which: impl Fn(&Waiter) -> bool) {
        self.outbox.with(|outbox| {
            let told = outbox.watches.end(why, which);
            outbox.later(told);
        });
    }

    /// Forgets waiters that have gone, asks anew for watches that the peer did not keep if it is time, and ends all waits
    /// if there has been no connection for `dead_after`.
    pub(crate) fn sweep_watches(&self, dead_after: Duration) {
        let now = Instant::now();
        let is_lost = self.outbox.with(|outbox| {
            let gone = outbox.watches.forget_gone();
            outbox.later(gone);
            outbox.watches.ask_again(now);
            outbox.look_at_watches();
            outbox.watches.is_lost_for(dead_after, now)
        });
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
        node: &Arc<NodeContext>,
        view: &View,
        connection: u64,
        Watch { target, on, patience }: Watch,
    ) {
        if !on {
            return self.peer_forgets(connection, &target);
        }
        let unwanted = CancellationToken::new();
        if !self.begin_watch(connection, &target, &unwanted) {
            return;
        }
        let pointer = match &target {
            Target::Name(name) => view.named(name),
            Target::Id(id) => view.find(*id),
            Target::Others => None,
        };
        let local = pointer.and_then(|pointer| pointer.local()).filter(|local| local.is_open());
        let Some(local) = local else { return self.tell_gone(connection, target, CloseReason::BoxClosed.into()) };
        let (monitor, link) = (Monitor::of(&*local), Arc::downgrade(self));
        node.run(Box::pin(async move {
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

    /// Notes a watch of the peer; `unwanted` is cancelled when it ends. Returns whether the watch is new, and is kept.
    fn begin_watch(&self, connection: u64, target: &Target, unwanted: &CancellationToken) -> bool {
        let mut guard: Option<WatchGuard> = Some(Box::new(unwanted.clone().drop_guard()));
        self.outbox.with(|outbox| {
            if !outbox.is(connection) {
                return false;
            }
            let fate = outbox.peer_watches.on_watch(target, &mut guard);
            if fate == PeerWatch::NoRoom {
                outbox.refuse_watch(target);
            }
            fate == PeerWatch::Begun
        })
    }

    fn tell_gone(&self, connection: u64, target: Target, gone: BoxGone) {
        let now = Instant::now();
        let since = gone.since.map(|since| now.saturating_duration_since(since));
        let unreached = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        let closed = Closed { target: target.clone(), why: on_wire(&gone.why), unreached };
        self.outbox.with(|outbox| {
            if outbox.is(connection) {
                let Outbox { peer_watches, posts, .. } = outbox;
                peer_watches.tell(closed, || posts.fragments.barrier());
                outbox.look_at_watches();
            }
        });
        self.peer_forgets(connection, &target);
    }

    fn peer_forgets(&self, connection: u64, target: &Target) {
        // The guard is dropped without the lock, since that wakes the task that monitors the box.
        let forgotten = self
            .outbox
            .with(|outbox| if outbox.is(connection) { outbox.peer_watches.on_unwatch(target) } else { None });
        drop(forgotten);
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
