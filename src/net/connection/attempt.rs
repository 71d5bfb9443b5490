//! One attempt at a connection: the stream, in either direction, and the greeting on it, unless the attempt has to make
//! room for others.

use std::sync::Arc;

use super::handshake;
use super::handshake::Established;
use super::handshake::HandshakeError;
use super::lent::lend;
use super::refusal::refusal;
use crate::handle::ports::Asker;
use crate::ident::endpoint::Endpoint;
use crate::net::link::Link;
use crate::net::peers::admission::NoRoom;
use crate::net::peers::admission::UnprovenConnection;
use crate::net::shared::NodeInner;
use crate::net::transport;
use crate::net::transport::accepted::Opening;

/// Dials an endpoint and greets, unless the attempt has to make room.
pub(super) async fn dial(
    node: &Arc<NodeInner>,
    link: &Link,
    endpoint: &Endpoint,
    asked_by: Option<Asker>,
    attempt: Option<&UnprovenConnection>,
) -> Result<Established, HandshakeError> {
    tracing::debug!(target: "actix_hermod", %endpoint, "dialling");
    let dial = async {
        link.check_endpoint()?;
        let stream = link.metered(transport::dial(endpoint, asked_by, &node.transports).await?);
        link.check(&stream)?;
        handshake::dialler(node, stream, link.expected()).await
    };
    tokio::select! {
        biased;
        () = expelled(attempt) => Err(HandshakeError::TooMany),
        established = dial => established,
    }
}

/// Greets a peer that has dialled this node, behind the handshake of its transport.
pub(super) async fn greet_caller(
    node: &Arc<NodeInner>,
    link: &Link,
    opening: Opening,
    unproven: &UnprovenConnection,
) -> Result<Established, HandshakeError> {
    let stream = match opening {
        Opening::Stream(stream) => stream,
        // Nothing can be said to the peer before the end of this handshake.
        Opening::Handshake(handshake, scheme) => tokio::select! {
            biased;
            () = unproven.expelled.cancelled() => return Err(HandshakeError::TooMany),
            () = node.closing.cancelled() => return Err(HandshakeError::Closing),
            channel = handshake => channel?.stream.over(&scheme),
        },
    };
    let (stream, lent) = lend(link.metered(stream));
    tokio::select! {
        biased;
        () = unproven.expelled.cancelled() => {
            lent.say_last(&refusal(NoRoom::Connections)).await;
            Err(HandshakeError::TooMany)
        }
        () = unproven.given_up.cancelled() => Err(HandshakeError::GivenUp),
        // Ended here, since only connections that are up are told goodbye.
        () = node.closing.cancelled() => Err(HandshakeError::Closing),
        established = handshake::listener(node, stream, unproven) => established.map(|mut established| {
            established.stream = lent.give_back(established.stream);
            established
        }),
    }
}

/// Completes when an attempt has to make room.
async fn expelled(attempt: Option<&UnprovenConnection>) {
    match attempt {
        Some(attempt) => attempt.expelled.cancelled().await,
        None => std::future::pending().await,
    }
}
