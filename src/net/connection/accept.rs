//! Where routers begin: for a link that is dialled, and for connections that peers open.

use std::sync::Arc;

use actix::Actor;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::handshake::GreetError;
use super::router::RemoteRouter;
use crate::net::link::Link;
use crate::net::peers::admission::ConnectionSlot;
use crate::net::shared::House;
use crate::net::transport::Listener;
use crate::reason::DropReason;

/// A connection, or an attempt at one, counts; and a shutdown waits for it.
pub(super) struct Occupied {
    _slot: ConnectionSlot,
    _busy: TaskTrackerToken,
}

impl Occupied {
    pub(super) fn new(house: &House) -> Option<Occupied> {
        if house.closing.is_cancelled() {
            return None;
        }
        Some(Occupied { _slot: house.admission.slot()?, _busy: house.busy.token() })
    }
}

/// Starts the router of a link that is used for the first time.
pub(crate) fn start(house: Arc<House>, link: Arc<Link>) {
    match Occupied::new(&house) {
        Some(occupied) => {
            RemoteRouter::new(house, link, None, occupied).start();
        }
        None => {
            tracing::warn!(target: "actix_hermod", to = link.label(), error = %GreetError::TooMany, "not dialled");
            link.down(DropReason::NotConnected, &GreetError::TooMany.to_string(), false);
            link.unreachable();
            // The next attempt is made when the address is used again, after the shortest pause.
            let pause = *house.limits.reconnect.start();
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
pub(crate) async fn accept(house: Arc<House>, listener: Listener) {
    // Dropped after the listener, so that a shutdown leaves the port free.
    let _busy = house.busy.token();
    let listener = listener;
    loop {
        let stream = tokio::select! {
            biased;
            () = house.closing.cancelled() => return,
            stream = listener.accept() => stream,
        };
        match stream {
            Ok(stream) => match Occupied::new(&house) {
                Some(occupied) => {
                    let link = Link::accepted(house.ground());
                    let accepted = (stream, house.admission.unproven());
                    RemoteRouter::new(Arc::clone(&house), link, Some(accepted), occupied).start();
                }
                None => tracing::warn!(target: "actix_hermod", error = %GreetError::TooMany, "not accepted"),
            },
            Err(error) => {
                // Out of files, or the peer has gone again: wait a little, so that the thread is not kept busy.
                tracing::warn!(target: "actix_hermod", %error, "could not accept a connection");
                tokio::time::sleep(*house.limits.reconnect.start()).await;
            }
        }
    }
}
