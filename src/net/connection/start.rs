//! Where routers start: for a link that is dialled, and for connections that peers open.

use std::sync::Arc;

use actix::Actor;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::handshake::HandshakeError;
use super::router::RemoteRouter;
use crate::net::link::Link;
use crate::net::peers::admission::ConnectionSlot;
use crate::net::shared::NodeInner;
use crate::net::transport::Listener;
use crate::reason::DropReason;

/// A connection, or an attempt at one, counts; and a shutdown waits for it.
pub(super) struct Occupancy {
    _slot: ConnectionSlot,
    _busy: TaskTrackerToken,
}

impl Occupancy {
    pub(super) fn new(node: &NodeInner) -> Option<Occupancy> {
        if node.closing.is_cancelled() {
            return None;
        }
        Some(Occupancy { _slot: node.admission.slot()?, _busy: node.busy.token() })
    }
}

/// Starts the router of a link that is used for the first time.
pub(crate) fn start(node: Arc<NodeInner>, link: Arc<Link>) {
    match Occupancy::new(&node) {
        Some(occupancy) => {
            RemoteRouter::new(node, link, None, occupancy).start();
        }
        None => {
            if node.closing.is_cancelled() {
                return link.down(DropReason::Shutdown, "", true);
            }
            tracing::warn!(target: "actix_hermod", to = link.label(), error = %HandshakeError::TooMany, "not dialled");
            link.down(DropReason::NotConnected, &HandshakeError::TooMany.to_string(), false);
            link.unreachable();
            // The next attempt is made when the address is used again, after the shortest pause.
            let pause = *node.limits.reconnect.start();
            actix_rt::spawn(async move {
                tokio::time::sleep(pause).await;
                link.rest();
                // There is no router that would look after those who began to wait in the pause.
                link.unreachable();
            });
        }
    }
}

/// Takes connections until the node wants no more.
pub(crate) async fn accept(node: Arc<NodeInner>, listener: Listener) {
    // Dropped after the listener, so that a shutdown leaves the port free.
    let _busy = node.busy.token();
    let mut listener = listener;
    loop {
        let stream = tokio::select! {
            biased;
            () = node.closing.cancelled() => return,
            stream = listener.accept() => stream,
        };
        match stream {
            Ok(stream) => match Occupancy::new(&node) {
                Some(occupancy) => {
                    let link = Link::accepted(node.link_context());
                    let accepted = (stream, node.admission.unproven());
                    RemoteRouter::new(Arc::clone(&node), link, Some(accepted), occupancy).start();
                }
                None => tracing::warn!(target: "actix_hermod", error = %HandshakeError::TooMany, "not accepted"),
            },
            Err(error) => {
                // Out of files, or the peer has gone again: wait a little, so that the thread is not kept busy.
                tracing::warn!(target: "actix_hermod", %error, "could not accept a connection");
                tokio::time::sleep(*node.limits.reconnect.start()).await;
            }
        }
    }
}
