//! Where the router of a link that is dialled starts, and what every connection needs first: a place among the others.

use std::sync::Arc;

use actix::Actor;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::handshake::HandshakeError;
use super::router::RemoteRouter;
use crate::net::link::Link;
use crate::net::peers::admission::ConnectionSlot;
use crate::net::peers::admission::NoRoom;
use crate::net::shared::NodeInner;
use crate::net::transport::accepted::Origin;
use crate::reason::DropReason;

/// A connection, or an attempt at one, counts; and a shutdown waits for it.
pub(super) struct Occupancy {
    _slot: ConnectionSlot,
    _busy: TaskTrackerToken,
}

/// Why there is no place.
pub(super) enum Unavailable {
    Closing,
    NoRoom(NoRoom),
}

impl Occupancy {
    /// Of a connection that comes from there, or that this node makes.
    pub(super) fn new(node: &NodeInner, origin: Option<Origin>) -> Result<Occupancy, Unavailable> {
        if node.closing.is_cancelled() {
            return Err(Unavailable::Closing);
        }
        let slot = node.admission.slot(origin).map_err(Unavailable::NoRoom)?;
        Ok(Occupancy { _slot: slot, _busy: node.busy.token() })
    }
}

/// Starts the router of a link that is used for the first time.
pub(crate) fn start(node: Arc<NodeInner>, link: Arc<Link>) {
    match Occupancy::new(&node, None) {
        Ok(occupancy) => {
            RemoteRouter::new(node, link, None, occupancy).start();
        }
        Err(Unavailable::Closing) => link.down(DropReason::Shutdown, "", true),
        Err(Unavailable::NoRoom(_)) => {
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
