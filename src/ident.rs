//! Ids of nodes, boxes and connections, the rules for names, and endpoints.
//!
//! The id of a node is the hash of its key. The other ids are 16 random bytes: knowing the id of a box is the
//! permission to write to it, so ids are never derived from one another and never counted up.

pub(crate) mod endpoint;

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use uuid::Uuid;

use self::endpoint::no_endpoint;
use crate::env;

/// Maximum length of the name of a mailbox, in bytes of UTF-8.
pub(crate) const MAX_NAME: usize = 255;

/// The id of a node: the first 16 bytes of the SHA-256 hash of its public key. In every greeting the node proves that
/// the key is its own. See [`NodeKey`](crate::NodeKey) for the hash.
///
/// A node makes a fresh key at every start, so that a restarted process is another node, unless it gets a stored key by
/// [`NodeBuilder::identity`](crate::NodeBuilder::identity).
///
/// Ids travel inside addresses to third parties; knowing one proves nothing about its bearer.
///
/// `Display`, `Debug` and serde's human-readable formats write the id as a hyphenated UUID (RFC 9562), which `FromStr`
/// reads; binary formats have its 16 bytes.
///
/// # Examples
/// ```
/// use actix_hermod::NodeId;
///
/// let id: NodeId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
/// assert_eq!(id.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// assert!("67e55044".parse::<NodeId>().is_err());
/// # Ok::<(), actix_hermod::ParseNodeIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) [u8; 16]);

/// The error for a text that is no [`NodeId`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no node id: write 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12, with hyphens between")]
pub struct ParseNodeIdError(String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    /// # Errors
    /// [`ParseNodeIdError`] unless the text is a hyphenated UUID, in digits of either case.
    fn from_str(text: &str) -> Result<NodeId, ParseNodeIdError> {
        let id = hyphenated(text).ok_or_else(|| ParseNodeIdError(text.to_owned()))?;
        Ok(NodeId(*id.as_bytes()))
    }
}

/// Parses a hyphenated UUID; other forms of UUIDs are refused.
fn hyphenated(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(text).ok() } else { None }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_newtype_struct("NodeId", &self.0)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        /// The derived form.
        #[derive(Deserialize)]
        #[serde(rename = "NodeId")]
        struct Bytes([u8; 16]);

        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            Bytes::deserialize(deserializer).map(|Bytes(id)| NodeId(id))
        }
    }
}

/// The id of one box for as long as it is open; never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct BoxId(pub(crate) [u8; 16]);

impl BoxId {
    pub(crate) fn random() -> BoxId {
        BoxId(env::random_id())
    }

    /// Returns the id in the name of an anonymous box, if `name` is one.
    pub(crate) fn from_name(name: &str) -> Option<BoxId> {
        hyphenated(name).map(|id| BoxId(*id.as_bytes()))
    }
}

/// Shows the name of an anonymous box.
impl fmt::Display for BoxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

/// The id of one connection, chosen by one of its two sides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ConnectionId(pub(crate) [u8; 16]);

impl ConnectionId {
    pub(crate) fn random() -> ConnectionId {
        ConnectionId(env::random_id())
    }
}

/// The id of one run of a node: 16 random bytes, fresh at every start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Epoch(pub(crate) [u8; 16]);

impl Epoch {
    /// The lowest and the highest epoch, for a range over all runs of a node.
    pub(crate) const FIRST: Epoch = Epoch([0; 16]);
    pub(crate) const LAST: Epoch = Epoch([u8::MAX; 16]);

    pub(crate) fn fresh() -> Epoch {
        Epoch(env::random_bytes())
    }
}

/// One run of a node, from its start to its end. Boxes, connections and leases belong to one run: a node that is
/// started again with the same key is the same node to users, but has nothing that its last run had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Incarnation {
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
}

impl Incarnation {
    /// The incarnation of no node.
    pub(crate) const NOBODY: Incarnation = Incarnation { node: NodeId([0; 16]), epoch: Epoch([0; 16]) };

    /// Returns whether this is another run of the same node.
    pub(crate) fn is_another_run_of(&self, other: Incarnation) -> bool {
        self.node == other.node && self.epoch != other.epoch
    }

    /// Makes an incarnation for tests and fuzzers.
    #[cfg(any(test, fuzzing))]
    pub(crate) const fn of(id: [u8; 16]) -> Incarnation {
        Incarnation { node: NodeId(id), epoch: Epoch(id) }
    }
}

/// Shows the id of the node, as users know it.
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

/// The reason why an address could not be made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The endpoint is no `host:port`, `[ipv6]:port`, `unix:/path` or `scheme:address`; or its scheme is of no transport
    /// of this node: then the text goes on with the schemes that there are.
    #[error("{}", no_endpoint(.0))]
    InvalidEndpoint(String),
    /// The path of a Unix socket is longer than the system allows.
    #[error("the path of a Unix socket is longer than the {limit} bytes that this system allows")]
    PathTooLong {
        /// The maximum length of a path, in bytes: 107 on Linux, 103 on macOS.
        limit: usize,
    },
    /// The text is no URI of this crate.
    #[error("{0:?} is no mailbox URI: write hermod://[ID@]host:port/name or hermod+SCHEME://address/name")]
    InvalidUri(String),
    /// The name is empty; a mailbox's name has at least one character.
    #[error("the name of a mailbox is empty")]
    NameEmpty,
    /// The name is longer than the wire carries.
    #[error("the name of a mailbox is longer than {limit} bytes")]
    NameTooLong {
        /// The maximum length of a name, in bytes of UTF-8.
        limit: usize,
    },
    /// No message of this type can be sent to another process, whatever it holds; see
    /// [`OpenError::NotEncodable`](crate::OpenError::NotEncodable).
    #[error("messages of this type cannot be encoded: {why}")]
    NotEncodable {
        /// The place of the part that stands in the way, and the remedy: ``Order.note: Deserialize asks the bytes what
        /// they are …``.
        why: String,
    },
}

/// The fault of a name.
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
    fn a_node_id_is_its_text_where_people_read_and_its_bytes_elsewhere() {
        let id = NodeId([0x67; 16]);
        let text = "67676767-6767-6767-6767-676767676767";
        assert_eq!((id.to_string(), format!("{id:?}")), (text.to_owned(), text.to_owned()));
        assert_eq!(text.parse(), Ok(id));
        assert_eq!("ABABABAB-abab-ABAB-abab-ABABABABABAB".parse(), Ok(NodeId([0xab; 16])));
        for other in ["", "67676767676767676767676767676767", &format!("{{{text}}}"), &format!("urn:uuid:{text}")] {
            assert_eq!(other.parse::<NodeId>(), Err(ParseNodeIdError(other.to_owned())));
        }
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!((json.as_str(), serde_json::from_str::<NodeId>(&json).unwrap()), (&*format!("{text:?}"), id));
        assert!(serde_json::from_str::<NodeId>("\"67\"").is_err());
        assert_eq!(postcard::to_stdvec(&id).unwrap(), [0x67; 16]);
        assert_eq!(postcard::from_bytes::<NodeId>(&[0x67; 16]).unwrap(), id);
    }

    /// Messages that hold ids still have the shape that they had when the serde implementation of ids was derived.
    #[test]
    fn a_node_id_has_the_shape_that_serde_derives() {
        mod derived {
            #[derive(serde::Serialize, serde::Deserialize, actix::Message)]
            #[rtype(result = "()")]
            pub(super) struct NodeId(pub(super) [u8; 16]);
        }
        #[derive(actix::Message, Serialize, Deserialize)]
        #[rtype(result = "NodeId")]
        struct Whose(NodeId);

        #[derive(actix::Message, Serialize, Deserialize)]
        #[rtype(result = "derived::NodeId")]
        #[serde(rename = "Whose")]
        struct Derived(derived::NodeId);

        use crate::message::shape::Shape;
        assert_eq!(Shape::of::<Whose>(), Shape::of::<Derived>());
    }

    #[test]
    fn an_anonymous_name_spells_its_id() {
        let id = BoxId::random();
        assert_eq!(BoxId::from_name(&id.to_string()), Some(id));
        assert_eq!(BoxId::from_name("ping-box"), None);
        assert_eq!(BoxId::from_name(&id.to_string().replace('-', "")), None);
    }
}
