//! Takes the connections that peers open, and finds room for them or says that there is none.

use std::sync::Arc;

use actix::Actor;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::refusal::refusal;
use super::router::RemoteRouter;
use super::start::Occupancy;
use super::start::Unavailable;
use crate::net::link::Link;
use crate::net::peers::admission::NoRoom;
use crate::net::shared::NodeInner;
use crate::net::transport::Listener;
use crate::net::transport::accepted::Accepted;
use crate::net::transport::reserve::Reserve;
use crate::net::transport::reserve::is_out_of_files;

/// Connections that are taken before other tasks of the thread get a turn: each takes as long as several messages do, and
/// those that were taken are to say who they are before too many have come behind them.
const YIELD_AFTER: u32 = 8;

/// Takes connections until the node wants no more.
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
                // Wait a little, so that the thread is not kept busy.
                tracing::warn!(target: "actix_hermod", %error, "could not accept a connection");
                tokio::time::sleep(*door.node.limits.reconnect.start()).await;
            }
        }
    }
}

/// Where a node listens.
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
                // Otherwise the peer has gone again.
                if let Ok(stream) = accepted.open() {
                    let link = Link::accepted(node.link_context());
                    let accepted = (stream, node.admission.unproven(origin));
                    RemoteRouter::new(Arc::clone(node), link, Some(accepted), occupancy).start();
                }
            }
            Err(Unavailable::NoRoom(why)) => turn_away(accepted, why),
            Err(Unavailable::Closing) => {}
        }
    }

    /// The system gives no file for another connection, which it says whether one waits or not. So the one in reserve
    /// shows whether one does, and takes it: then somebody who has not greeted goes in its place or, if there is nobody, the
    /// newcomer is told so. False if there is no reserve, and none can be had.
    async fn accept_by_reserve(&mut self) -> bool {
        if self.reserve.release() {
            // Nobody may wait.
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

    /// One that has to go does so when its router is woken, which is a moment.
    async fn wait_for(&self, gone: CancellationToken) {
        let limit = *self.node.limits.reconnect.start();
        // There is another try if it takes longer.
        let _ = tokio::time::timeout(limit, gone.cancelled()).await;
    }
}

fn turn_away(accepted: Accepted, why: NoRoom) {
    tracing::warn!(target: "actix_hermod", error = %why, "not accepted");
    accepted.turn_away(&refusal(why));
}
