//! Monitors: waiting for a box to be gone, wherever it is.
//!
//! Waiting for a box keeps nothing alive. A box of this node has a token of its own. For a box elsewhere, the
//! connection by which it is reached asks the node at the other end; when that connection has ended for good, another
//! one to the same node serves, if it comes within the time that a silent peer is given.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Pointer;
use super::Route;
use super::identity::Origin;
use super::search_queue::SearchQueue;
use crate::handle::context::NodeContext;
use crate::handle::ports::BoxGone;
use crate::handle::ports::CameOver;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Outbound;
use crate::ident::Incarnation;
use crate::ident::endpoint::Endpoint;
use crate::observe::event::CloseReason;
use crate::wire::target::Target;

/// The place at which a box is monitored.
pub(crate) enum Monitor {
    /// At this node.
    Here(CancellationToken),
    /// Behind a relay of this node, which may close itself.
    Behind(CancellationToken, Box<Monitor>),
    Away(Box<Away>),
    /// There is no box.
    Nowhere,
}

/// At another node.
pub(crate) struct Away {
    node: Arc<NodeContext>,
    /// The connection that the pointer came by, and the box at its other end.
    primary: (Arc<dyn Outbound>, WatchedBox),
    /// The box at its own node, if another node has introduced it.
    own: Option<WatchedBox>,
    hints: Arc<[Endpoint]>,
    /// The kind of connection by which the pointer and its hints came.
    over: CameOver,
    /// The time at which waiting began.
    began: Instant,
    /// The last known loss of contact with the box.
    lost: Mutex<Option<LostContact>>,
}

/// A loss of contact with a box.
#[derive(Clone, Copy)]
struct LostContact {
    since: Instant,
    proof: Proof,
}

/// The proof that the box was reached until the time of the loss.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// No proof: the way to the box broke, and the state behind it is unknown.
    Missing,
    /// A connection to the box's node has ended.
    Connection,
    /// A node on the way has reported the loss.
    Told,
}

/// A box, as it is named at a node.
#[derive(Clone)]
struct WatchedBox {
    /// The node that the pointer was made for; a name leads to any node at the endpoint.
    node: Option<Incarnation>,
    target: Target,
}

impl Monitor {
    /// Returns a monitor of the box that a pointer leads to now.
    pub(crate) fn at(pointer: &Pointer) -> Monitor {
        let path = match pointer.route() {
            Route::Away { path, .. } if !pointer.is_local() => path,
            _ => return pointer.local().map_or(Monitor::Nowhere, |local| Monitor::of(&*local)),
        };
        let own = match pointer.origin() {
            Origin::Boxed { node, .. } if path.is_relayed() => {
                Some(WatchedBox { node: Some(*node), target: pointer.target(true) })
            }
            _ => None,
        };
        let primary =
            (Arc::clone(path.primary()), WatchedBox { node: pointer.made_for(), target: pointer.target(false) });
        let (node, hints, over) = (Arc::clone(pointer.this_node()), Arc::clone(path.hints()), path.came_over());
        let (began, lost) = (Instant::now(), Mutex::default());
        Monitor::Away(Box::new(Away { node, primary, own, hints, over, began, lost }))
    }

    /// Returns a monitor of a box of this node.
    pub(crate) fn of(local: &dyn LocalBox) -> Monitor {
        let closed = local.closed().clone();
        match local.relays() {
            None => Monitor::Here(closed),
            Some(target) => Monitor::Behind(closed, Box::new(Monitor::at(target))),
        }
    }

    /// Waits until the box is gone, or was out of reach for `patience`, but for no longer than `dead_after`.
    pub(crate) async fn gone(self, patience: Option<Duration>) -> BoxGone {
        match self {
            Monitor::Nowhere => CloseReason::BoxClosed.into(),
            Monitor::Here(closed) => {
                closed.cancelled().await;
                CloseReason::BoxClosed.into()
            }
            Monitor::Behind(closed, behind) => tokio::select! {
                biased;
                () = closed.cancelled() => CloseReason::BoxClosed.into(),
                gone = Box::pin(behind.gone(patience)) => gone,
            },
            Monitor::Away(away) => {
                let dead_after = away.node.limits().dead_after;
                let why = away.gone(patience.map_or(dead_after, |patience| patience.min(dead_after))).await;
                BoxGone { why, since: away.proven_loss() }
            }
        }
    }

    /// Like `gone`, but a connection may come back within `forget_after`: ends when the box cannot be reached ever
    /// again.
    async fn gone_for_good(self) -> CloseReason {
        match self {
            Monitor::Away(away) => away.gone_for_good().await,
            near => near.gone(None).await.why,
        }
    }
}

impl Away {
    /// Waits until the box is gone, or its node has been away for `forget_after` and is not expected back.
    async fn gone_for_good(&self) -> CloseReason {
        let (dead_after, forget_after) = (self.node.limits().dead_after, self.node.limits().forget_after);
        loop {
            // No longer than the rest of the total wait.
            let left = self.lost_since().map_or(forget_after, |lost| forget_after.saturating_sub(lost.elapsed()));
            let why = self.gone(dead_after.min(left)).await;
            if why != CloseReason::ConnectionLost {
                return why;
            }
            let lost = self.lost_since().unwrap_or_else(Instant::now);
            if lost.elapsed() >= forget_after {
                return why;
            }
            let until = lost.checked_add(forget_after);
            tokio::select! {
                biased;
                () = self.rest() => {}
                () = until_then(until) => {}
            }
            if self.ways().iter().any(|there| self.live(there).is_some_and(|(link, _)| link.is_linked())) {
                // Through a third node the box may be reached or not: that node reports it.
                self.lost.lock().take_if(|_| self.own.is_none());
            }
        }
    }

    /// Returns the box at its own node, and at the node that the pointer came from.
    fn ways(&self) -> Vec<&WatchedBox> {
        self.own.iter().chain([&self.primary.1]).collect()
    }

    /// Returns the time since which the box is out of reach, if it is. Before the wait began, the nodes on the way may
    /// not have known.
    fn lost_since(&self) -> Option<Instant> {
        self.lost
            .lock()
            .map(|LostContact { since, proof }| if proof == Proof::Told { since.max(self.began) } else { since })
    }

    /// Returns the time of the loss, if it is proved that the box was reached until then.
    fn proven_loss(&self) -> Option<Instant> {
        self.lost.lock().filter(|lost| lost.proof != Proof::Missing).map(|lost| lost.since)
    }

    /// Records that the box is not reached by a connection, by which it was watched since `asked`. The box was reached
    /// between two losses if the second is proven to be the later one; a node on the way that comes and goes proves
    /// nothing.
    fn note_loss(&self, (link, there): (&dyn Outbound, &WatchedBox), told: Option<Instant>, asked: Instant) {
        let is_own = self.own.as_ref().is_none_or(|own| own.node == there.node);
        // Another connection to that node may have come and gone since this one.
        let left = there.node.filter(|_| is_own).and_then(|node| self.node.left_since(node));
        let since = told.or_else(|| link.lost_since().max(left)).unwrap_or_else(Instant::now);
        let proof = match told {
            Some(_) => Proof::Told,
            None if is_own => Proof::Connection,
            None => Proof::Missing,
        };
        // A node on the way that does not reach the box reports this within our patience, after it has noticed.
        let is_news = proof != Proof::Missing || asked.elapsed() > self.node.limits().dead_after.saturating_mul(2);
        let mut lost = self.lost.lock();
        if lost.is_none_or(|before| is_news && before.since < since) {
            *lost = Some(LostContact { since, proof });
        }
    }

    async fn gone(&self, patience: Duration) -> CloseReason {
        let own = self.own.as_ref().and_then(|own| self.live(own));
        let (mut link, mut there) = own.unwrap_or_else(|| self.primary.clone());
        loop {
            let (told, hear) = oneshot::channel();
            let asked = Instant::now();
            link.watch(&there.target, there.node, told);
            // Checked after the watch is set, so that nothing is missed.
            if self.is_gone() {
                return CloseReason::NodeGone;
            }
            let next = match hear.await {
                Ok(BoxGone { why: CloseReason::BoxClosed, .. }) => return CloseReason::BoxClosed,
                // The box is not reached any more by the way that the pointer came.
                Ok(BoxGone { why, since }) => {
                    self.note_loss((&*link, &there), since, asked);
                    match &self.own {
                        Some(own) if self.is_elsewhere(&why, &there) => self.another_path(&[own], why, patience).await,
                        _ => return why,
                    }
                }
                // The connection has ended for good.
                Err(_) => {
                    self.note_loss((&*link, &there), None, asked);
                    self.another_path(&self.ways(), CloseReason::ConnectionLost, patience).await
                }
            };
            (link, there) = match next {
                Ok(next) => next,
                Err(why) => return why,
            };
        }
    }

    /// Returns whether the box's node has announced its end.
    fn is_gone(&self) -> bool {
        self.has_said_its_end(self.own.as_ref().unwrap_or(&self.primary.1))
    }

    /// Returns whether a node has announced its end, over any connection; it is not waited for.
    fn has_said_its_end(&self, there: &WatchedBox) -> bool {
        there.node.is_some_and(|node| self.node.is_gone(node))
    }

    /// Returns whether a box that was monitored at its introducer may still be reached at its own node, although it is
    /// not reached through the introducer.
    fn is_elsewhere(&self, why: &CloseReason, there: &WatchedBox) -> bool {
        let is_own = self.own.as_ref().is_some_and(|own| own.node == there.node);
        !is_own && (*why == CloseReason::ConnectionLost || self.has_said_its_end(there))
    }

    fn live(&self, there: &WatchedBox) -> Option<(Arc<dyn Outbound>, WatchedBox)> {
        let (primary, _) = &self.primary;
        let is_primary = primary.is_linked() && primary.peer() == there.node;
        let by =
            if is_primary { Some(Arc::clone(primary)) } else { self.node.live_link(there.node?, self.over.protected) };
        let link = by.filter(|link| !link.is_over())?;
        Some((link, there.clone()))
    }

    /// Searches for a path to the box's node at the endpoints at which it is said to listen.
    fn discover(&self, node: Incarnation) -> Option<Arc<SearchQueue>> {
        let asked_by = self.over.asker(self.primary.1.node?.node);
        self.node.discover(node, &self.hints, asked_by)
    }

    /// Waits for news, or for as long as a silent peer is given: very many monitors may ask again, and a peer that
    /// reports at once that it does not reach the box must not be asked without end.
    async fn rest(&self) {
        let [of_introducer, of_own] = self.news();
        tokio::select! {
            biased;
            () = of_introducer.notified() => {}
            () = of_own.notified() => {}
            () = tokio::time::sleep(self.node.limits().dead_after) => {}
        }
    }

    /// Returns the notifiers of news about the node that the pointer came from, and about the box's own node. There is
    /// no news about a name, which leads to any node at the endpoint.
    fn news(&self) -> [Arc<Notify>; 2] {
        let own = self.own.as_ref().and_then(|own| own.node);
        [self.primary.1.node, own].map(|node| node.map_or_else(Arc::default, |node| self.node.news(node.node)))
    }

    /// Returns a connection to one of the nodes in `ways`, if it comes within `patience`; else `why`, the reason why
    /// the box is not reached.
    async fn another_path(
        &self,
        ways: &[&WatchedBox],
        why: CloseReason,
        patience: Duration,
    ) -> Result<(Arc<dyn Outbound>, WatchedBox), CloseReason> {
        let own = self.own.as_ref().unwrap_or(&self.primary.1);
        let limit = tokio::time::sleep(patience);
        tokio::pin!(limit);
        let [of_introducer, of_own] = self.news();
        loop {
            let mut news = std::pin::pin!(of_introducer.notified());
            let mut own_news = std::pin::pin!(of_own.notified());
            // No news is missed from here on.
            news.as_mut().enable();
            own_news.as_mut().enable();
            if self.is_gone() {
                return Err(CloseReason::NodeGone);
            }
            if let Some(live) = ways.iter().find_map(|there| self.live(there)) {
                return Ok(live);
            }
            // An introducer that has announced its end, perhaps only now, does not come back.
            let introducer = ways.iter().find(|there| there.node != own.node);
            let is_over = introducer.is_some_and(|there| self.has_said_its_end(there));
            if self.own.is_some() && self.hints.is_empty() && (introducer.is_none() || is_over) {
                return Err(if is_over { CloseReason::NodeGone } else { why });
            }
            // The search is held, so that a connection it finds is kept until it is seen. A connection that this node
            // had dialled is made again anyway.
            let _search = own.node.and_then(|node| self.discover(node));
            tokio::select! {
                biased;
                () = news => {}
                () = own_news => {}
                () = &mut limit => return Err(why),
                () = tokio::time::sleep(*self.node.limits().reconnect.end()) => {}
            }
        }
    }
}

/// Waits until that time, or for ever if there is none.
async fn until_then(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// Waits until the box that a pointer leads to is gone: see [`Address::closed`](crate::Address::closed). The monitor
/// runs on the node's I/O thread, so that the future may be polled anywhere.
pub(crate) fn closed(pointer: &Arc<Pointer>) -> impl Future<Output = CloseReason> + Send + 'static + use<> {
    let node = Arc::clone(pointer.this_node());
    let stopped = node.stopped().clone();
    let (mut told, hear) = oneshot::channel();
    let monitor = Monitor::at(pointer);
    let here = match monitor {
        Monitor::Here(closed) => Some(closed),
        Monitor::Away(_) | Monitor::Behind(..) => {
            let weak = Arc::downgrade(pointer);
            pointer.this_node().run(Box::pin(async move {
                let why = tokio::select! {
                    biased;
                    () = told.closed() => return,
                    gone = monitor.gone(None) => gone.why,
                };
                if why != CloseReason::ConnectionLost
                    && let Some(pointer) = weak.upgrade().filter(|pointer| pointer.is_away_for_good())
                {
                    end(&pointer, &why);
                }
                // The waiting future may have been dropped at this moment.
                let _ = told.send(why);
            }));
            None
        }
        Monitor::Nowhere => {
            let _ = told.send(CloseReason::BoxClosed);
            None
        }
    };
    async move {
        let why = match here {
            Some(closed) => {
                tokio::select! {
                    biased;
                    () = closed.cancelled() => {}
                    () = stopped.cancelled() => {}
                }
                CloseReason::BoxClosed
            }
            None => hear.await.unwrap_or(CloseReason::NodeGone),
        };
        // When a node stops its boxes close, and another thread may see this before the token is cancelled.
        if node.is_stopped() { CloseReason::NodeGone } else { why }
    }
}

/// Ends the pointer or only its recipients: a node that has not announced its end may be back one day, and its boxes
/// with it.
fn end(pointer: &Pointer, why: &CloseReason) {
    let has_said_its_end = pointer.incarnation().is_some_and(|node| pointer.this_node().is_gone(node));
    match why {
        CloseReason::ConnectionLost => pointer.end_recipients(),
        CloseReason::NodeGone if !has_said_its_end => pointer.end_recipients(),
        CloseReason::BoxClosed | CloseReason::NodeGone => pointer.end(),
    }
}

/// Ends `pointer` when nothing can be reached by it any more, unless `unwanted` is cancelled before.
pub(crate) fn end_when_gone(pointer: &Arc<Pointer>, unwanted: CancellationToken) {
    let (monitor, weak) = (Monitor::at(pointer), Arc::downgrade(pointer));
    pointer.this_node().run(Box::pin(async move {
        tokio::select! {
            biased;
            () = unwanted.cancelled() => {}
            why = monitor.gone_for_good() => {
                if let Some(pointer) = weak.upgrade() {
                    end(&pointer, &why);
                }
            }
        }
    }));
}
