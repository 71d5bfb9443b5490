//! The facts about a peer that a connection has proven.

use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;
use serde::Serialize;

use super::identity::Identity;
use crate::ident::NodeId;

/// The node at the other end of a connection, as far as it is proven: for policies
/// ([`NodeBuilder::accept`](crate::NodeBuilder::accept), [`MailboxBuilder::visible_to`](crate::MailboxBuilder::visible_to)),
/// for [events](crate::Event::PeerProven), [statistics](crate::ConnectionStats::info) and the [origin](crate::Origin) of
/// messages.
///
/// The [`node`](PeerInfo::node) is proven by its key over every transport. Over plain TCP, that holds for the greeting
/// only: an attacker on the path, or at an endpoint that was dialled, can pass a greeting on and then alter the stream.
/// TLS, the shared key, and a [transport](crate::transport) that gives a
/// [binding](crate::transport::Channel::binding) protect the rest too.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The node.
    pub node: NodeId,
    /// The scheme of the transport: `tcp`, `unix`, or that of another [transport](crate::NodeBuilder::transport).
    pub transport: String,
    /// The address of the other end of the stream, if the transport has addresses. With a peer that has dialled, the
    /// port is one that its system has chosen.
    pub address: Option<SocketAddr>,
    /// The identity that the transport has proven.
    pub identity: Identity,
}

impl PeerInfo {
    /// Makes the description of a peer, to try out a policy with.
    ///
    /// # Examples
    /// ```
    /// use actix_hermod::transport::Identity;
    /// use actix_hermod::{NodeKey, PeerInfo};
    ///
    /// fn by_certificate(peer: &PeerInfo) -> Result<(), String> {
    ///     match &peer.identity {
    ///         Identity::Certificate { names, .. } if names.iter().any(|name| name == "billing.example") => Ok(()),
    ///         other => Err(format!("{other} may not come in")),
    ///     }
    /// }
    ///
    /// let billing = Identity::certificate(vec!["billing.example".to_owned()], [7; 32]);
    /// let peer = PeerInfo::new(NodeKey::generate().id(), "tls", None, billing);
    /// assert!(by_certificate(&peer).is_ok());
    /// let stranger = PeerInfo::new(NodeKey::generate().id(), "tcp", None, Identity::Unknown);
    /// assert_eq!(by_certificate(&stranger), Err("unknown may not come in".to_owned()));
    /// ```
    pub fn new(
        node: NodeId,
        transport: impl Into<String>,
        address: Option<SocketAddr>,
        identity: Identity,
    ) -> PeerInfo {
        PeerInfo { node, transport: transport.into(), address, identity }
    }
}

/// Describes the peer in a few words, as the log does.
impl fmt::Display for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeerInfo { node, transport, address, identity } = self;
        write!(f, "node {node} over {transport}")?;
        if let Some(address) = address {
            write!(f, " at {address}")?;
        }
        if *identity != Identity::Unknown {
            write!(f, " ({identity})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_described_in_a_few_words() {
        let node = NodeId([0; 16]);
        let far = PeerInfo::new(node, "tcp", Some(([192, 0, 2, 1], 4242).into()), Identity::Unknown);
        assert_eq!(far.to_string(), format!("node {node} over tcp at 192.0.2.1:4242"));
        let near = PeerInfo::new(node, "unix", None, Identity::Unix { uid: 1, gid: 2 });
        assert_eq!(near.to_string(), format!("node {node} over unix (uid 1, gid 2)"));
    }
}
