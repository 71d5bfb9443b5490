//! What becomes of a box: how one waits for it to be gone, wherever it is.
//!
//! To wait for a box keeps nothing alive. For one of this node its own token tells. For one elsewhere the connection
//! by which it is reached asks the node at the other end; when that connection has ended for good, another one to the
//! same node serves, if it comes within the time that a silent peer is given.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Pointer;
use super::Route;
use super::identity::Origin;
use crate::handle::ports::Household;
use crate::handle::ports::LocalBox;
use crate::handle::ports::Outbound;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::observe::event::CloseReason;
use crate::wire::target::Target;

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
    /// By the connection that the pointer came by.
    first: (Arc<dyn Outbound>, There),
    /// At its own node, of a box that another node has introduced.
    own: Option<There>,
    hints: Arc<[Endpoint]>,
}

/// A box, as it is called at a node.
#[derive(Clone)]
struct There {
    /// The node that the pointer was made for; a name leads to whoever is there.
    node: Option<NodeId>,
    target: Target,
}

impl Lookout {
    /// At the box that a pointer leads to now.
    pub(crate) fn at(pointer: &Pointer) -> Lookout {
        let Route::Away { by, .. } = pointer.route() else {
            return pointer.local().map_or(Lookout::Nowhere, |local| Lookout::of(&*local));
        };
        let own = match pointer.origin() {
            Origin::Boxed { node, .. } if by.is_relayed() => {
                Some(There { node: Some(*node), target: pointer.target(true) })
            }
            _ => None,
        };
        let first = (Arc::clone(by.first()), There { node: by.node(), target: pointer.target(false) });
        Lookout::Away(Away { home: Arc::clone(pointer.home()), first, own, hints: Arc::clone(by.hints()) })
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
        let own = self.own.as_ref().and_then(|own| self.live(own));
        let (mut link, mut there) = own.unwrap_or_else(|| self.first.clone());
        loop {
            let (told, hear) = oneshot::channel();
            link.watch(&there.target, there.node, told);
            // Looked at behind that, so that nothing is missed.
            if self.is_gone() {
                return CloseReason::NodeGone;
            }
            let next = match hear.await {
                Ok(CloseReason::BoxClosed) => return CloseReason::BoxClosed,
                // By the way that the pointer came it is not reached any more.
                Ok(why) => match &self.own {
                    Some(own) if self.is_elsewhere(&why, &there) => self.another_way(&[own], why).await,
                    _ => return why,
                },
                // The connection has ended for good.
                Err(_) => {
                    let ways: Vec<&There> = self.own.iter().chain([&self.first.1]).collect();
                    self.another_way(&ways, CloseReason::ConnectionLost).await
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
        self.has_said_its_end(self.own.as_ref().unwrap_or(&self.first.1))
    }

    /// That node is not waited for, whichever way it was heard of.
    fn has_said_its_end(&self, there: &There) -> bool {
        there.node.is_some_and(|node| self.home.is_gone(node))
    }

    /// Whether a box that was waited for at the node that has introduced it may still be reached at its own, although it is
    /// not by way of that one.
    fn is_elsewhere(&self, why: &CloseReason, there: &There) -> bool {
        let is_own = self.own.as_ref().is_some_and(|own| own.node == there.node);
        !is_own && (*why == CloseReason::ConnectionLost || self.has_said_its_end(there))
    }

    fn live(&self, there: &There) -> Option<(Arc<dyn Outbound>, There)> {
        let link = self.home.way_to(there.node?).filter(|link| !link.is_over())?;
        Some((link, there.clone()))
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

    /// A connection to one of the nodes `ways`, if it comes within the time that a silent peer is given; else `why` it is
    /// not reached.
    async fn another_way(&self, ways: &[&There], why: CloseReason) -> Result<(Arc<dyn Outbound>, There), CloseReason> {
        let own = self.own.as_ref().unwrap_or(&self.first.1);
        let limit = tokio::time::sleep(self.home.limits().dead_after);
        tokio::pin!(limit);
        loop {
            let mut news = std::pin::pin!(self.home.news().notified());
            // From here on nothing is missed.
            news.as_mut().enable();
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
            let _search = own.node.and_then(|node| Arc::clone(&self.home).look_for(node, &self.hints));
            tokio::select! {
                biased;
                () = news => {}
                () = &mut limit => return Err(why),
                () = tokio::time::sleep(*self.home.limits().reconnect.end()) => {}
            }
        }
    }
}

/// Ends when the box is gone that a pointer leads to: see [`Address::closed`](crate::Address::closed). The waiting is
/// done on the node's I/O thread, so that the future may be polled anywhere.
pub(crate) fn closed(pointer: &Arc<Pointer>) -> impl Future<Output = CloseReason> + Send + 'static + use<> {
    let stopped = pointer.home().stopped().clone();
    let (mut told, hear) = oneshot::channel();
    let lookout = Lookout::at(pointer);
    let here = match lookout {
        Lookout::Here(closed) => Some(closed),
        Lookout::Away(_) | Lookout::Behind(..) => {
            let weak = Arc::downgrade(pointer);
            pointer.home().run(Box::pin(async move {
                let why = tokio::select! {
                    biased;
                    () = told.closed() => return,
                    why = lookout.gone() => why,
                };
                if why != CloseReason::ConnectionLost
                    && let Some(pointer) = weak.upgrade().filter(|pointer| pointer.is_away_for_good())
                {
                    pointer.end();
                }
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
