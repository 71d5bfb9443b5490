//! What becomes of a box: how one waits for it to be gone, wherever it is.
//!
//! To wait for a box keeps nothing alive. For one of this node its own token tells. For one elsewhere the connection
//! by which it is reached asks the node at the other end; when that connection has ended for good, another one to the
//! same node serves, if it comes within the time that a silent peer is given.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::route::Household;
use super::route::LocalBox;
use super::route::Outbound;
use super::route::Pointer;
use super::route::Route;
use super::terms::Origin;
use crate::ident::NodeId;
use crate::observe::CloseReason;
use crate::wire::report::Target;

/// Where a box is waited for to be gone.
pub(crate) enum Lookout {
    /// At this node.
    Here(CancellationToken),
    /// Behind a relay of this node, which may go itself.
    Behind(CancellationToken, Box<Lookout>),
    Away(Away),
    /// There is none.
    Nowhere,
}

/// At another node.
pub(crate) struct Away {
    home: Arc<dyn Household>,
    first: Arc<dyn Outbound>,
    target: Target,
    /// The node that the pointer was made for; a name leads to whoever is there.
    node: Option<NodeId>,
}

impl Lookout {
    /// At the box that a pointer leads to now.
    pub(crate) fn at(pointer: &Pointer) -> Lookout {
        let Route::Away { by, .. } = pointer.route() else {
            return pointer.local().map_or(Lookout::Nowhere, |local| Lookout::of(&*local));
        };
        let node = match pointer.origin() {
            Origin::Boxed { .. } => by.node(),
            Origin::Named { .. } => None,
        };
        match pointer.target() {
            Some(target) => {
                Lookout::Away(Away { home: Arc::clone(pointer.home()), first: Arc::clone(by.first()), target, node })
            }
            None => Lookout::Nowhere,
        }
    }

    /// At a box of this node.
    pub(crate) fn of(local: &dyn LocalBox) -> Lookout {
        let closed = local.closed().clone();
        match local.relays() {
            None => Lookout::Here(closed),
            Some(target) => Lookout::Behind(closed, Box::new(Lookout::at(target))),
        }
    }

    /// Ends when the box is gone, or is not reached any more.
    pub(crate) async fn gone(self) -> CloseReason {
        match self {
            Lookout::Nowhere => CloseReason::BoxClosed,
            Lookout::Here(closed) => {
                closed.cancelled().await;
                CloseReason::BoxClosed
            }
            Lookout::Behind(closed, behind) => tokio::select! {
                biased;
                () = closed.cancelled() => CloseReason::BoxClosed,
                why = Box::pin(behind.gone()) => why,
            },
            Lookout::Away(away) => away.gone().await,
        }
    }

    /// As `gone`, of one that cannot be reached ever again: a connection may come back.
    async fn gone_for_good(self) {
        match self {
            Lookout::Away(away) => {
                while away.gone().await == CloseReason::ConnectionLost {
                    away.rest().await;
                }
            }
            near => {
                near.gone().await;
            }
        }
    }
}

impl Away {
    async fn gone(&self) -> CloseReason {
        let mut link = Arc::clone(&self.first);
        loop {
            let (told, hear) = oneshot::channel();
            link.watch(&self.target, self.node, told);
            // Looked at behind that, so that nothing is missed.
            if self.node.is_some_and(|node| self.home.is_gone(node)) {
                return CloseReason::NodeGone;
            }
            if let Ok(why) = hear.await {
                return why;
            }
            // The link is over.
            link = match self.another_way().await {
                Ok(link) => link,
                Err(why) => return why,
            };
        }
    }

    /// Until there is news, or as long as a silent peer is given: very many may ask again, and a peer that says at once
    /// that it does not reach the box is not asked without end.
    async fn rest(&self) {
        tokio::select! {
            biased;
            () = self.home.news().notified() => {}
            () = tokio::time::sleep(self.home.limits().dead_after) => {}
        }
    }

    async fn another_way(&self) -> Result<Arc<dyn Outbound>, CloseReason> {
        let Some(node) = self.first.peer() else { return Err(CloseReason::ConnectionLost) };
        let limit = tokio::time::sleep(self.home.limits().dead_after);
        tokio::pin!(limit);
        loop {
            let mut news = std::pin::pin!(self.home.news().notified());
            // From here on nothing is missed.
            news.as_mut().enable();
            if self.home.is_gone(node) {
                return Err(CloseReason::NodeGone);
            }
            if let Some(link) = self.home.way_to(node).filter(|link| !link.is_over()) {
                return Ok(link);
            }
            tokio::select! {
                biased;
                () = news => {}
                () = &mut limit => return Err(CloseReason::ConnectionLost),
            }
        }
    }
}

/// Ends when the box is gone that a pointer leads to: see [`Address::closed`](crate::Address::closed). The waiting is
/// done on the node's I/O thread, so that the future may be polled anywhere.
pub(crate) fn closed(pointer: &Pointer) -> impl Future<Output = CloseReason> + Send + 'static + use<> {
    let stopped = pointer.home().stopped().clone();
    let (mut told, hear) = oneshot::channel();
    let lookout = Lookout::at(pointer);
    let here = match lookout {
        Lookout::Here(closed) => Some(closed),
        Lookout::Away(_) | Lookout::Behind(..) => {
            pointer.home().run(Box::pin(async move {
                let why = tokio::select! {
                    biased;
                    () = told.closed() => return,
                    why = lookout.gone() => why,
                };
                // Who waited may have gone at this moment.
                let _ = told.send(why);
            }));
            None
        }
        Lookout::Nowhere => {
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
        // Its boxes close when a node stops.
        if stopped.is_cancelled() { CloseReason::NodeGone } else { why }
    }
}

/// Has `pointer` know when nothing can be reached by it any more, until `unwanted` is cancelled.
pub(crate) fn end_when_gone(pointer: &Arc<Pointer>, unwanted: CancellationToken) {
    let (lookout, weak) = (Lookout::at(pointer), Arc::downgrade(pointer));
    pointer.home().run(Box::pin(async move {
        tokio::select! {
            biased;
            () = unwanted.cancelled() => {}
            () = lookout.gone_for_good() => {
                if let Some(pointer) = weak.upgrade() {
                    pointer.end();
                }
            }
        }
    }));
}
