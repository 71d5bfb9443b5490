//! Accepts the connections that peers open, and finds room for them or turns them away.

use std::sync::Arc;

use actix::Actor;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::refusal::refusal;
use super::router::RemoteRouter;
use super::start::Occupancy;
use super::start::Unavailable;
use crate::net::link::Link;
use crate::net::link::LinkContext;
use crate::net::peers::admission::NoRoom;
use crate::net::shared::NodeInner;
use crate::net::transport::Listener;
use crate::net::transport::accepted::Accepted;
use crate::net::transport::reserve::Reserve;
use crate::net::transport::reserve::is_out_of_files;

/// Connections that are accepted before other tasks of the thread get a turn: each takes as long as several messages,
/// and accepted ones have to greet before too many have come behind them.
const YIELD_AFTER: u32 = 8;

/// Accepts connections until the node wants no more.
pub(crate) async fn accept(node: Arc<NodeInner>, listener: Listener) {
    // Dropped after the listener, so that a shutdown leaves the port free.
    let _busy = node.busy.token();
    let mut door = Door { node, listener, reserve: Reserve::new() };
    for taken in (1..=YIELD_AFTER).cycle() {
        if taken == YIELD_AFTER {
            tokio::task::yield_now().await;
        }
        door.reserve.refill();
        let accepted = tokio::select! {
            biased;
            () = door.node.closing.cancelled() => return,
            accepted = door.listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => door.take(accepted),
            Err(error) if is_out_of_files(&error) && door.accept_by_reserve().await => {}
            Err(error) => {
                // Waits a little, so that the thread is not kept busy.
                tracing::warn!(target: "actix_hermod", %error, "could not accept a connection");
                tokio::time::sleep(*door.node.limits.reconnect.start()).await;
            }
        }
    }
}

/// One listener of a node, with a spare file.
struct Door {
    node: Arc<NodeInner>,
    listener: Listener,
    reserve: Reserve,
}

impl Door {
    fn take(&self, accepted: Accepted) {
        let (node, origin) = (&self.node, accepted.origin);
        match Occupancy::accepted(node, origin) {
            Ok(occupancy) => {
                // On an error, the peer has gone again.
                if let Ok(opening) = accepted.open() {
                    let quotas = node.quotas_from(origin);
                    let link = Link::accepted(LinkContext { quotas, ..node.link_context() });
                    let accepted = (opening, node.admission.unproven(origin));
                    RemoteRouter::new(Arc::clone(node), link, Some(accepted), occupancy).start();
                }
            }
            Err(Unavailable::NoRoom(why)) => turn_away(accepted, why),
            Err(Unavailable::Closing) => {}
        }
    }

    /// Accepts a connection with the reserve file, when the system has no file left. The system's error does not say
    /// whether a connection waits, so the reserve file is used to find out and to accept it. Then a connection that has
    /// not greeted makes room for it or, if there is none, the newcomer is turned away. Returns false if there is no
    /// reserve file, and none can be opened.
    async fn accept_by_reserve(&mut self) -> bool {
        if self.reserve.release() {
            // Possibly no connection waits.
            if let Some(Ok(accepted)) = self.listener.accept().now_or_never() {
                match self.node.admission.make_room() {
                    Some(gone) => {
                        self.take(accepted);
                        self.wait_for(gone).await;
                    }
                    None => turn_away(accepted, NoRoom::Files),
                }
            }
        } else if let Some(gone) = self.node.admission.make_room() {
            self.wait_for(gone).await;
        }
        self.reserve.refill()
    }

    /// Waits until a connection that has to end is gone, which happens as soon as its router is woken.
    async fn wait_for(&self, gone: CancellationToken) {
        let limit = *self.node.limits.reconnect.start();
        // If it takes longer, the caller tries again.
        let _ = tokio::time::timeout(limit, gone.cancelled()).await;
    }
}

fn turn_away(accepted: Accepted, why: NoRoom) {
    tracing::warn!(target: "actix_hermod", error = %why, "not accepted");
    accepted.turn_away(&refusal(why));
}
