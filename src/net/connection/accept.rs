//! Takes the connections that peers open, and finds room for them or says that there is none.

use std::sync::Arc;

use actix::Actor;

use super::refusal::refusal;
use super::router::RemoteRouter;
use super::start::Occupancy;
use super::start::Unavailable;
use crate::net::link::Link;
use crate::net::peers::admission::NoRoom;
use crate::net::shared::NodeInner;
use crate::net::transport::Listener;
use crate::net::transport::accepted::Accepted;

/// Takes connections until the node wants no more.
pub(crate) async fn accept(node: Arc<NodeInner>, listener: Listener) {
    // Dropped after the listener, so that a shutdown leaves the port free.
    let _busy = node.busy.token();
    let mut door = Door { node, listener };
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.node.closing.cancelled() => return,
            accepted = door.listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => door.take(accepted),
            Err(error) => {
                // Out of files, or the peer has gone again: wait a little, so that the thread is not kept busy.
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
}

impl Door {
    fn take(&self, accepted: Accepted) {
        let (node, origin) = (&self.node, accepted.origin);
        match Occupancy::new(node, origin) {
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
}

fn turn_away(accepted: Accepted, why: NoRoom) {
    tracing::warn!(target: "actix_hermod", error = %why, "not accepted");
    accepted.turn_away(&refusal(why));
}
