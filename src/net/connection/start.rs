//! The start of the router of a dialled link, and the slot that every connection needs first.

use std::sync::Arc;

use actix::Actor;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::handshake::HandshakeError;
use super::router::RemoteRouter;
use crate::ident::NodeId;
use crate::net::link::Link;
use crate::net::peers::admission::Admission;
use crate::net::peers::admission::ConnectionSlot;
use crate::net::peers::admission::Group;
use crate::net::peers::admission::NoRoom;
use crate::net::shared::NodeInner;
use crate::net::transport::accepted::Origin;
use crate::observe::identity::Identity;
use crate::reason::DropReason;

/// The slot of a connection or an attempt; a shutdown waits until it is dropped.
pub(super) struct Occupancy {
    slot: ConnectionSlot,
    _busy: TaskTrackerToken,
}

/// Why there is no slot.
pub(super) enum Unavailable {
    Closing,
    NoRoom(NoRoom),
}

impl Occupancy {
    /// Takes the slot for a connection accepted from that origin.
    pub(super) fn accepted(node: &NodeInner, origin: Option<Origin>) -> Result<Occupancy, Unavailable> {
        Occupancy::new(node, |admission| admission.slot(Group::Accepted(origin)))
    }

    /// Takes the slot for a connection that this node makes.
    pub(super) fn dialled(node: &NodeInner, link: &Link) -> Result<Occupancy, Unavailable> {
        let askers = link.askers().map(|askers| askers.iter().map(|asker| asker.node).collect::<Vec<NodeId>>());
        Occupancy::new(node, |admission| admission.slot_for(askers.as_deref()))
    }

    fn new(
        node: &NodeInner,
        slot: impl FnOnce(&Arc<Admission>) -> Result<ConnectionSlot, NoRoom>,
    ) -> Result<Occupancy, Unavailable> {
        if node.closing.is_cancelled() {
            return Err(Unavailable::Closing);
        }
        let slot = slot(&node.admission).map_err(Unavailable::NoRoom)?;
        Ok(Occupancy { slot, _busy: node.busy.token() })
    }

    /// Counts the connection against the identity that its transport has proven, if it tells the peer from all others.
    pub(super) fn is_of(&mut self, identity: &Identity) -> Result<(), NoRoom> {
        match (self.slot.group, Origin::proven(identity)) {
            (Group::Accepted(_), Some(proven)) => self.slot.is_of(proven),
            _ => Ok(()),
        }
    }

    /// Returns the group that the connection counts against.
    pub(super) fn group(&self) -> Group {
        self.slot.group
    }
}

/// Starts the router of a link that is used for the first time.
pub(crate) fn start(node: Arc<NodeInner>, link: Arc<Link>) {
    match Occupancy::dialled(&node, &link) {
        Ok(occupancy) => {
            RemoteRouter::new(node, link, None, occupancy).start();
        }
        Err(Unavailable::Closing) => link.down(DropReason::Shutdown, "", true),
        Err(Unavailable::NoRoom(why)) => {
            let error = match why {
                NoRoom::ForPeer | NoRoom::ForPeers => HandshakeError::NoShare(why),
                _ => HandshakeError::TooMany,
            };
            tracing::warn!(target: "actix_hermod", to = link.label(), %error, "not dialled");
            link.down(DropReason::NotConnected, &error.to_string(), false);
            link.unreachable();
            // The next attempt is made when the address is used again, after the shortest pause.
            let pause = *node.limits.reconnect.start();
            actix_rt::spawn(async move {
                tokio::time::sleep(pause).await;
                link.rest();
                // No router ends the waits that began in the pause.
                link.unreachable();
            });
        }
    }
}
