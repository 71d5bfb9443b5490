//! Words for who and where: nodes, boxes, connections, endpoints, and the rules for names.
//!
//! Ids are 16 random bytes. Knowing the id of a box is the permission to write to it, so ids are never derived from
//! one another and never counted up.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

use crate::env;

/// The longest name of a mailbox, in bytes of UTF-8.
pub(crate) const MAX_NAME: usize = 255;

/// The longest text of an endpoint, in bytes: a full DNS name (253) with a port, or a Unix socket's path (107).
pub(crate) const MAX_ENDPOINT: usize = 300;

/// Identifies one running node: 16 random bytes, new at every start, so that a restarted process is another node.
///
/// Ids travel inside addresses to third parties; knowing one proves nothing about its bearer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct NodeId(pub(crate) [u8; 16]);

impl NodeId {
    pub(crate) fn random() -> NodeId {
        NodeId(env::random_id())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

/// Identifies one box for as long as it is open; never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct BoxId(pub(crate) [u8; 16]);

impl BoxId {
    pub(crate) fn random() -> BoxId {
        BoxId(env::random_id())
    }

    /// The id that an anonymous box's name spells, if `name` is one.
    pub(crate) fn from_name(name: &str) -> Option<BoxId> {
        if name.len() != uuid::fmt::Hyphenated::LENGTH {
            return None;
        }
        Uuid::try_parse(name).ok().map(|id| BoxId(*id.as_bytes()))
    }
}

/// The name of an anonymous box.
impl fmt::Display for BoxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

/// Identifies one connection, as one of its two sides names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConnectionId(pub(crate) [u8; 16]);

impl ConnectionId {
    /// Stands for "there was none".
    pub(crate) const NONE: ConnectionId = ConnectionId([0; 16]);

    pub(crate) fn random() -> ConnectionId {
        ConnectionId(env::random_id())
    }
}

/// Proves to one peer that this node is the one that it has talked to before. Never shown to anyone else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) [u8; 16]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What a node makes its tokens from.
#[derive(Clone, Copy)]
pub(crate) struct Secret(Uuid);

impl Secret {
    pub(crate) fn random() -> Secret {
        Secret(Uuid::from_bytes(env::random_id()))
    }

    /// The token for one peer: SHA-1 of the secret and the peer's id (a version 5 UUID, RFC 9562 section 5.5), so that
    /// nothing has to be remembered for each peer and no peer can compute what is meant for another.
    pub(crate) fn token_for(&self, peer: NodeId) -> Token {
        Token(*Uuid::new_v5(&self.0, &peer.0).as_bytes())
    }
}

/// Where a node listens or can be dialled: `host:port`, `[ipv6]:port`, or `unix:/path/to/socket`.
///
/// `Display` and `FromStr` are inverse: an endpoint keeps the text it was made from, and two endpoints are equal if
/// their texts are. A host name is looked up each time it is dialled.
///
/// # Examples
/// ```
/// let endpoint: actix_hermod::Endpoint = "localhost:4242".parse()?;
/// assert_eq!(endpoint.port(), Some(4242));
/// assert_eq!(endpoint.to_string(), "localhost:4242");
/// # Ok::<(), actix_hermod::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    text: Box<str>,
}

/// What an endpoint's text means.
pub(crate) enum Place<'a> {
    Tcp { host: &'a str, port: u16 },
    Unix { path: &'a str },
}

impl Endpoint {
    /// The TCP port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self.place() {
            Place::Tcp { port, .. } => Some(port),
            Place::Unix { .. } => None,
        }
    }

    pub(crate) fn place(&self) -> Place<'_> {
        // `from_str` lets nothing pass that has no place.
        place(&self.text).unwrap_or(Place::Unix { path: "" })
    }
}

fn place(text: &str) -> Option<Place<'_>> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty() && !path.contains('\0')).then_some(Place::Unix { path });
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| !port.starts_with('+'))?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => {
            v6.parse::<std::net::Ipv6Addr>().ok()?;
            v6
        }
        None => host,
    };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"/@?#[]".contains(c);
    let bare_v6 = host.contains(':') && !text.starts_with('[');
    (!host.is_empty() && !bare_v6 && host.chars().all(plain)).then_some(Place::Tcp { host, port })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    /// # Errors
    /// [`AddressError::InvalidEndpoint`] if the text is no `host:port`, `[ipv6]:port` or `unix:/path`, or is longer
    /// than 300 bytes.
    fn from_str(text: &str) -> Result<Endpoint, AddressError> {
        match place(text) {
            Some(_) if text.len() <= MAX_ENDPOINT => Ok(Endpoint { text: text.into() }),
            _ => Err(AddressError::InvalidEndpoint(text.to_owned())),
        }
    }
}

/// So that `listen` and `remote` take `"host:port"`, a `String` and an `&Endpoint` alike.
impl AsRef<str> for Endpoint {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// Why an address could not be made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The endpoint is no `host:port`, `[ipv6]:port` or `unix:/path`.
    #[error("{0:?} is no endpoint: write host:port, [ipv6]:port or unix:/path")]
    InvalidEndpoint(String),
    /// The URI is none of this crate's.
    #[error("{0:?} is no mailbox URI: write hermod://host:port/name or hermod+unix://%2Fpath/name")]
    InvalidUri(String),
    /// A mailbox's name has at least one character.
    #[error("the name of a mailbox is empty")]
    NameEmpty,
    /// The name is longer than the wire carries.
    #[error("the name of a mailbox is longer than {limit} bytes")]
    NameTooLong {
        /// The longest name, in bytes of UTF-8.
        limit: usize,
    },
    /// Messages of this type cannot be written for another process.
    #[error("messages of this type cannot be encoded: {why}")]
    NotEncodable {
        /// What stands in the way.
        why: String,
    },
}

/// What is wrong with a name.
pub(crate) enum BadName {
    Empty,
    TooLong,
}

pub(crate) fn check_name(name: &str) -> Result<(), BadName> {
    match name.len() {
        0 => Err(BadName::Empty),
        1..=MAX_NAME => Ok(()),
        _ => Err(BadName::TooLong),
    }
}

impl From<BadName> for AddressError {
    fn from(bad: BadName) -> AddressError {
        match bad {
            BadName::Empty => AddressError::NameEmpty,
            BadName::TooLong => AddressError::NameTooLong { limit: MAX_NAME },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_keeps_its_text() {
        for text in ["localhost:4242", "127.0.0.1:0", "[::1]:80", "unix:/run/hermod.sock", "a-b.example:65535"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        let long = format!("{}:1", "h".repeat(MAX_ENDPOINT));
        for text in [
            "",
            ":",
            "host",
            "host:",
            ":80",
            "host:99999",
            "host:-1",
            "host:+1",
            "::1:80",
            "a b:1",
            "unix:",
            "[x]:1",
            &long,
        ] {
            assert!(matches!(text.parse::<Endpoint>(), Err(AddressError::InvalidEndpoint(t)) if t == text), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_for_one_peer_only() {
        let (secret, other) = (Secret::random(), Secret::random());
        let (a, b) = (NodeId::random(), NodeId::random());
        assert!(secret.token_for(a) == secret.token_for(a));
        assert!(secret.token_for(a) != secret.token_for(b));
        assert!(secret.token_for(a) != other.token_for(a));
    }

    #[test]
    fn an_anonymous_name_spells_its_id() {
        let id = BoxId::random();
        assert_eq!(BoxId::from_name(&id.to_string()), Some(id));
        assert_eq!(BoxId::from_name("ping-box"), None);
        assert_eq!(BoxId::from_name(&id.to_string().replace('-', "")), None);
    }
}
