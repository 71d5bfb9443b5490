//! What becomes of a box: how one waits for it to be gone, wherever it is.
//!
//! To wait for a box keeps nothing alive. For one of this node its own token tells. For one elsewhere the connection
//! by which it is reached asks the node at the other end; when that connection has ended for good, another one to the
//! same node serves, if it comes within the time that a silent peer is given.

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
use crate::handle::ports::Asker;
use crate::handle::ports::BoxGone;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Outbound;
use crate::handle::ports::Router;
use crate::ident::Endpoint;
use crate::ident::Incarnation;
use crate::observe::event::CloseReason;
use crate::wire::target::Target;

/// Where a box is waited for to be gone.
pub(crate) enum Monitor {
    /// At this node.
    Here(CancellationToken),
    /// Behind a relay of this node, which may go itself.
    Behind(CancellationToken, Box<Monitor>),
    Away(Box<Away>),
    /// There is none.
    Nowhere,
}

/// At another node.
pub(crate) struct Away {
    router: Arc<dyn Router>,
    /// By the connection that the pointer came by.
    primary: (Arc<dyn Outbound>, WatchedBox),
    /// At its own node, of a box that another node has introduced.
    own: Option<WatchedBox>,
    hints: Arc<[Endpoint]>,
    /// Whether the node that has told them is on this host.
    near: bool,
    /// Since when somebody waits.
    began: Instant,
    /// When the box was last found out of reach.
    lost: Mutex<Option<Loss>>,
}

/// Since when a box is out of reach.
#[derive(Clone, Copy)]
struct Loss {
    since: Instant,
    proof: Proof,
}

/// How it is known that the box was reached until then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Not at all: the way there broke, and nobody knows what was behind it.
    Missing,
    /// A connection to its node has ended.
    Connection,
    /// A node on the way has said so.
    Told,
}

/// A box, as it is called at a node.
#[derive(Clone)]
struct WatchedBox {
    /// The node that the pointer was made for; a name leads to whoever is there.
    node: Option<Incarnation>,
    target: Target,
}

impl Monitor {
    /// At the box that a pointer leads to now.
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
        let (router, hints, near) = (Arc::clone(pointer.router()), Arc::clone(path.hints()), path.is_near());
        let (began, lost) = (Instant::now(), Mutex::default());
        Monitor::Away(Box::new(Away { router, primary, own, hints, near, began, lost }))
    }

    /// At a box of this node.
    pub(crate) fn of(local: &dyn LocalBox) -> Monitor {
        let closed = local.closed().clone();
        match local.relays() {
            None => Monitor::Here(closed),
            Some(target) => Monitor::Behind(closed, Box::new(Monitor::at(target))),
        }
    }

    /// Ends when the box is gone, or is not reached any more: for `patience`, but no longer than `dead_after`.
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
                let dead_after = away.router.limits().dead_after;
                let why = away.gone(patience.map_or(dead_after, |patience| patience.min(dead_after))).await;
                BoxGone { why, since: away.proven_loss() }
            }
        }
    }

    /// As `gone`, of one that cannot be reached ever again: a connection may come back within `forget_after`.
    async fn gone_for_good(self) -> CloseReason {
        match self {
            Monitor::Away(away) => away.gone_for_good().await,
            near => near.gone(None).await.why,
        }
    }
}

impl Away {
    /// Ends when the box is gone, or its node has been away for `forget_after` and is not expected back.
    async fn gone_for_good(&self) -> CloseReason {
        let (dead_after, forget_after) = (self.router.limits().dead_after, self.router.limits().forget_after);
        loop {
            // Not longer than it is to be waited for in all.
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
                // By a third node it may be reached or not: that one says so.
                self.lost.lock().take_if(|_| self.own.is_none());
            }
        }
    }

    /// The box's own node and the one that the pointer came from.
    fn ways(&self) -> Vec<&WatchedBox> {
        self.own.iter().chain([&self.primary.1]).collect()
    }

    /// Since when the box is out of reach, if it is. Before it was waited for, the nodes on the way may not have known.
    fn lost_since(&self) -> Option<Instant> {
        self.lost.lock().map(|Loss { since, proof }| if proof == Proof::Told { since.max(self.began) } else { since })
    }

    /// The same, if the box was reached until then.
    fn proven_loss(&self) -> Option<Instant> {
        self.lost.lock().filter(|lost| lost.proof != Proof::Missing).map(|lost| lost.since)
    }

    /// It was not reached by that connection, by which it was watched since `asked`. Between two losses it was reached if the
    /// second is proven to be the later one; a node on the way that comes and goes proves nothing.
    fn note_loss(&self, (link, there): (&dyn Outbound, &WatchedBox), told: Option<Instant>, asked: Instant) {
        let is_own = self.own.as_ref().is_none_or(|own| own.node == there.node);
        // Another connection to it may have come and gone since that one.
        let left = there.node.filter(|_| is_own).and_then(|node| self.router.left_since(node));
        let since = told.or_else(|| link.lost_since().max(left)).unwrap_or_else(Instant::now);
        let proof = match told {
            Some(_) => Proof::Told,
            None if is_own => Proof::Connection,
            None => Proof::Missing,
        };
        // A node on the way that does not reach the box says so within our patience, after it has noticed.
        let is_news = proof != Proof::Missing || asked.elapsed() > self.router.limits().dead_after.saturating_mul(2);
        let mut lost = self.lost.lock();
        if lost.is_none_or(|before| is_news && before.since < since) {
            *lost = Some(Loss { since, proof });
        }
    }

    async fn gone(&self, patience: Duration) -> CloseReason {
        let own = self.own.as_ref().and_then(|own| self.live(own));
        let (mut link, mut there) = own.unwrap_or_else(|| self.primary.clone());
        loop {
            let (told, hear) = oneshot::channel();
            let asked = Instant::now();
            link.watch(&there.target, there.node, told);
            // Looked at behind that, so that nothing is missed.
            if self.is_gone() {
                return CloseReason::NodeGone;
            }
            let next = match hear.await {
                Ok(BoxGone { why: CloseReason::BoxClosed, .. }) => return CloseReason::BoxClosed,
                // By the way that the pointer came it is not reached any more.
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

    /// The box's node has said that it ends.
    fn is_gone(&self) -> bool {
        self.has_said_its_end(self.own.as_ref().unwrap_or(&self.primary.1))
    }

    /// That node is not waited for, whichever way it was heard of.
    fn has_said_its_end(&self, there: &WatchedBox) -> bool {
        there.node.is_some_and(|node| self.router.is_gone(node))
    }

    /// Whether a box that was waited for at the node that has introduced it may still be reached at its own, although it is
    /// not by way of that one.
    fn is_elsewhere(&self, why: &CloseReason, there: &WatchedBox) -> bool {
        let is_own = self.own.as_ref().is_some_and(|own| own.node == there.node);
        !is_own && (*why == CloseReason::ConnectionLost || self.has_said_its_end(there))
    }

    fn live(&self, there: &WatchedBox) -> Option<(Arc<dyn Outbound>, WatchedBox)> {
        let (primary, _) = &self.primary;
        let is_primary = primary.is_linked() && primary.peer() == there.node;
        let by = if is_primary { Some(Arc::clone(primary)) } else { self.router.live_link(there.node?) };
        let link = by.filter(|link| !link.is_over())?;
        Some((link, there.clone()))
    }

    /// A way to where the box's node is said to listen.
    fn discover(&self, node: Incarnation) -> Option<Arc<dyn Outbound>> {
        let asked_by = Asker { node: self.primary.1.node?.node, near: self.near };
        Arc::clone(&self.router).discover(node, &self.hints, asked_by)
    }

    /// Until there is news, or as long as a silent peer is given: very many may ask again, and a peer that says at once
    /// that it does not reach the box is not asked without end.
    async fn rest(&self) {
        let [of_introducer, of_own] = self.news();
        tokio::select! {
            biased;
            () = of_introducer.notified() => {}
            () = of_own.notified() => {}
            () = tokio::time::sleep(self.router.limits().dead_after) => {}
        }
    }

    /// Where news is told of the node that the pointer came from, and of the box's own. Of a name that leads to whoever is
    /// there, there is none.
    fn news(&self) -> [Arc<Notify>; 2] {
        let own = self.own.as_ref().and_then(|own| own.node);
        [self.primary.1.node, own].map(|node| node.map_or_else(Arc::default, |node| self.router.news(node.node)))
    }

    /// A connection to one of the nodes `ways`, if it comes within `patience`; else `why` it is not reached.
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
            // From here on nothing is missed.
            news.as_mut().enable();
            own_news.as_mut().enable();
            if self.is_gone() {
                return Err(CloseReason::NodeGone);
            }
            if let Some(live) = ways.iter().find_map(|there| self.live(there)) {
                return Ok(live);
            }
            // An introducer that has said so, perhaps only now, does not come back.
            let introducer = ways.iter().find(|there| there.node != own.node);
            let is_over = introducer.is_some_and(|there| self.has_said_its_end(there));
            if self.own.is_some() && self.hints.is_empty() && (introducer.is_none() || is_over) {
                return Err(if is_over { CloseReason::NodeGone } else { why });
            }
            // Held, so that what is found is kept until it is seen. A connection that this node had dialled is made again
            // anyway.
            let _search = own.node.and_then(|node| self.discover(node));
            tokio::select! {
                biased;
                () = news => {}
                () = own_news => {}
                () = &mut limit => return Err(why),
                () = tokio::time::sleep(*self.router.limits().reconnect.end()) => {}
            }
        }
    }
}

/// Ends at that time, if there is one.
async fn until_then(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// Ends when the box is gone that a pointer leads to: see [`Address::closed`](crate::Address::closed). The waiting is
/// done on the node's I/O thread, so that the future may be polled anywhere.
pub(crate) fn closed(pointer: &Arc<Pointer>) -> impl Future<Output = CloseReason> + Send + 'static + use<> {
    let router = Arc::clone(pointer.router());
    let stopped = router.stopped().clone();
    let (mut told, hear) = oneshot::channel();
    let monitor = Monitor::at(pointer);
    let here = match monitor {
        Monitor::Here(closed) => Some(closed),
        Monitor::Away(_) | Monitor::Behind(..) => {
            let weak = Arc::downgrade(pointer);
            pointer.router().run(Box::pin(async move {
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
                // Who waited may have gone at this moment.
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
        // Its boxes close when a node stops, and on another thread that may be seen before the token is cancelled.
        if router.is_stopped() { CloseReason::NodeGone } else { why }
    }
}

/// The box is gone or its node is; a node that has not said its end may be back one day, and then its boxes are, too.
fn end(pointer: &Pointer, why: &CloseReason) {
    let has_said_its_end = pointer.incarnation().is_some_and(|node| pointer.router().is_gone(node));
    match why {
        CloseReason::ConnectionLost => pointer.end_recipients(),
        CloseReason::NodeGone if !has_said_its_end => pointer.end_recipients(),
        CloseReason::BoxClosed | CloseReason::NodeGone => pointer.end(),
    }
}

/// Has `pointer` know when nothing can be reached by it any more, until `unwanted` is cancelled.
pub(crate) fn end_when_gone(pointer: &Arc<Pointer>, unwanted: CancellationToken) {
    let (monitor, weak) = (Monitor::at(pointer), Arc::downgrade(pointer));
    pointer.router().run(Box::pin(async move {
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
