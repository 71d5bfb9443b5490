//! Ids of nodes, boxes and connections, endpoints, and the rules for names.
//!
//! The id of a node is the hash of its key. The other ids are 16 random bytes: knowing the id of a box is the
//! permission to write to it, so ids are never derived from one another and never counted up.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use uuid::Uuid;

use crate::env;

/// Maximum length of the name of a mailbox, in bytes of UTF-8.
pub(crate) const MAX_NAME: usize = 255;

/// Maximum length of the text of an endpoint, in bytes: a full DNS name (253) with a port, or a Unix socket's path
/// (107).
pub(crate) const MAX_ENDPOINT: usize = 300;

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

/// A place at which a node listens or can be dialled: `host:port`, `[ipv6]:port`, `unix:/path/to/socket`, or
/// `scheme:address` for a [transport](crate::transport::Transport) of the application.
///
/// A scheme has lower-case letters, digits and `+`, `-`, `.`, and begins with a letter. A word and digits are always a
/// host and its TCP port: `key:4242` is one, and `key:host:4242` is not.
///
/// `Display` and `FromStr` are inverse: an endpoint keeps the text it was made from, and two endpoints are equal if
/// their texts are. A host name is looked up each time it is dialled.
///
/// A link-local IPv6 address names the interface by which it is reached, `[fe80::1%eth0]:4242`, and is valid on this
/// host only.
///
/// # Examples
/// ```
/// let endpoint: actix_hermod::Endpoint = "localhost:4242".parse()?;
/// assert_eq!(endpoint.port(), Some(4242));
/// assert_eq!(endpoint.to_string(), "localhost:4242");
/// # Ok::<(), actix_hermod::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Endpoint {
    text: Box<str>,
}

/// The meaning of an endpoint's text.
pub(crate) enum Place<'a> {
    Tcp {
        host: &'a str,
        port: u16,
    },
    Unix {
        path: &'a str,
    },
    /// An address of a transport that the application has given the node.
    Other {
        scheme: &'a str,
        address: &'a str,
    },
}

impl Endpoint {
    /// Returns the TCP port, or the port at the end of another transport's `scheme:host:port`; `None` for a Unix
    /// socket, and for an address without a port.
    pub fn port(&self) -> Option<u16> {
        self.host_and_port().map(|(_, port)| port)
    }

    /// Returns the scheme: `tcp`, `unix`, or that of another transport.
    pub fn scheme(&self) -> &str {
        match self.place() {
            Place::Tcp { .. } => "tcp",
            Place::Unix { .. } => "unix",
            Place::Other { scheme, .. } => scheme,
        }
    }

    /// Returns the host and the port, if the endpoint has them, whatever its transport.
    pub(crate) fn host_and_port(&self) -> Option<(&str, u16)> {
        match self.place() {
            Place::Tcp { host, port } => Some((host, port)),
            Place::Unix { .. } => None,
            Place::Other { address, .. } => host_and_port(address),
        }
    }

    /// Returns the endpoint of the same transport at another address.
    pub(crate) fn at(&self, address: &str) -> Option<Endpoint> {
        match self.place() {
            Place::Tcp { .. } => address.parse().ok(),
            Place::Unix { .. } => format!("unix:{address}").parse().ok(),
            Place::Other { scheme, .. } => format!("{scheme}:{address}").parse().ok(),
        }
    }

    /// Returns whether the endpoint can be dialled from elsewhere, by its form: neither all addresses of a host
    /// (`0.0.0.0`, `[::]`), nor port 0.
    pub(crate) fn is_somewhere(&self) -> bool {
        self.host_and_port().is_none_or(|(host, port)| {
            port != 0 && !host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_unspecified())
        })
    }

    pub(crate) fn place(&self) -> Place<'_> {
        // `from_str` refuses texts without a place.
        place(&self.text).unwrap_or(Place::Unix { path: "" })
    }
}

fn place(text: &str) -> Option<Place<'_>> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty() && !path.contains('\0')).then_some(Place::Unix { path });
    }
    if let Some((host, port)) = host_and_port(text) {
        return Some(Place::Tcp { host, port });
    }
    let (scheme, address) = text.split_once(':')?;
    // A number behind a word was meant as a port, slashes belong to a URI, and an IPv6 address may begin like a scheme.
    let is_address = is_no_number(address) && !address.starts_with(':') && !address.starts_with("//");
    let is_address = is_address && text.parse::<Ipv6Addr>().is_err();
    let is_address = is_address && !address.chars().any(char::is_control);
    (is_scheme(scheme) && is_address).then_some(Place::Other { scheme, address })
}

/// Returns whether the text is the scheme of an endpoint: that of RFC 3986 section 3.1, in lower case.
pub(crate) fn is_scheme(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_inner)
}

/// Returns whether the text is neither empty nor a number.
fn is_no_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.chars().all(|c| c.is_ascii_digit())
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| !port.starts_with('+'))?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => Some(v6).filter(|v6| is_ipv6(v6))?,
        None => host,
    };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"/@?#[]".contains(c);
    let bare_v6 = host.contains(':') && !text.starts_with('[');
    (!host.is_empty() && !bare_v6 && host.chars().all(plain)).then_some((host, port))
}

/// Returns whether the text is an IPv6 address; a link-local one may have a zone (RFC 4007 section 11.2).
fn is_ipv6(text: &str) -> bool {
    let zone_char = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    match text.split_once('%') {
        Some((ip, zone)) => {
            let is_link_local = ip.parse().is_ok_and(|ip: Ipv6Addr| ip.is_unicast_link_local());
            is_link_local && !zone.is_empty() && zone.chars().all(zone_char)
        }
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

/// Returns whether the address of a Unix socket has room for the path; on systems without such sockets, any path
/// passes.
#[cfg(unix)]
fn is_socket_path(path: &str) -> bool {
    std::os::unix::net::SocketAddr::from_pathname(path).is_ok()
}

#[cfg(not(unix))]
fn is_socket_path(_: &str) -> bool {
    true
}

/// Returns the system's maximum length of the path of a Unix socket, in bytes: 107 on Linux, 103 on macOS and the BSDs.
#[cold]
fn longest_socket_path() -> usize {
    (1..MAX_ENDPOINT).take_while(|length| is_socket_path(&"p".repeat(*length))).last().unwrap_or(0)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    /// # Errors
    /// [`AddressError::InvalidEndpoint`] if the text is no `host:port`, `[ipv6]:port`, `unix:/path` or
    /// `scheme:address`, or is longer than 300 bytes; a scheme is looked up only when a node uses the endpoint.
    /// [`AddressError::PathTooLong`] if the path of a Unix socket is longer than the system allows.
    fn from_str(text: &str) -> Result<Endpoint, AddressError> {
        match place(text) {
            Some(Place::Unix { path }) if !is_socket_path(path) => {
                Err(AddressError::PathTooLong { limit: longest_socket_path() })
            }
            Some(_) if text.len() <= MAX_ENDPOINT => Ok(Endpoint { text: text.into() }),
            _ => Err(AddressError::InvalidEndpoint(text.to_owned())),
        }
    }
}

/// Lets `listen` and `remote` take `"host:port"`, a `String` and an `&Endpoint` alike.
impl AsRef<str> for Endpoint {
    fn as_ref(&self) -> &str {
        &self.text
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

/// The words between an endpoint without a transport and the schemes that there are.
const NO_TRANSPORT: &str = " has a scheme of no transport of this node, which has ";

/// Returns the description of an endpoint whose scheme is not among those of the node.
pub(crate) fn without_transport<'a>(endpoint: &Endpoint, schemes: impl Iterator<Item = &'a str>) -> String {
    let others: Vec<&str> = schemes.collect();
    format!("{endpoint}{NO_TRANSPORT}host:port, unix{}{}", if others.is_empty() { "" } else { ", " }, others.join(", "))
}

/// Returns the message of an error about an endpoint.
pub(crate) fn no_endpoint(text: &str) -> String {
    if text.contains(NO_TRANSPORT) {
        return text.to_owned();
    }
    format!("{text:?} is no endpoint: write host:port, [ipv6]:port, unix:/path or scheme:address")
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
    fn an_endpoint_keeps_its_text() {
        for text in [
            "localhost:4242",
            "127.0.0.1:0",
            "[::1]:80",
            "[fe80::1%eth0]:4242",
            "[fe80::1%3]:1",
            "unix:/run/hermod.sock",
            "a-b.example:65535",
            "key:4242",
            "key:host:4242",
            "tls:[::1]:4242",
            "child:worker --verbose",
            "a+b-c.1:x",
        ] {
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
            "[fe80::1%]:1",
            "[fe80::1%a b]:1",
            "[fe80::1%a%b]:1",
            "[2001:db8::1%eth0]:1",
            "[host%eth0]:1",
            "fe80::1:80",
            "fe80:1::2:80",
            "Tls:host:1",
            "t ls:host:1",
            "tls::1",
            "tls:a\nb",
            "1tls:host:1",
            "http://host:80",
            "hermod://host:80/name",
            &long,
        ] {
            assert!(matches!(text.parse::<Endpoint>(), Err(AddressError::InvalidEndpoint(t)) if t == text), "{text:?}");
        }
    }

    #[test]
    fn an_endpoint_is_of_one_scheme() {
        for (text, scheme, port) in [
            ("key:4242", "tcp", Some(4242)),
            ("key:host:4242", "key", Some(4242)),
            ("tls:[::1]:4242", "tls", Some(4242)),
            ("unix:80", "unix", None),
            ("child:worker", "child", None),
            ("child:a:b", "child", None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.scheme(), endpoint.port()), (scheme, port), "{text}");
        }
        let somewhere = |text: &str| text.parse::<Endpoint>().unwrap().is_somewhere();
        assert!(somewhere("tls:host:1") && somewhere("child:worker"));
        assert!(!somewhere("tls:0.0.0.0:1") && !somewhere("tls:host:0"));
        let at = |text: &str, address| text.parse::<Endpoint>().unwrap().at(address).unwrap().to_string();
        assert_eq!(at("tls:host:0", "host:7"), "tls:host:7");
        assert_eq!(at("host:0", "host:7"), "host:7");
    }

    #[test]
    fn a_scheme_without_a_transport_is_told_with_those_that_there_are() {
        let endpoint: Endpoint = "carrier:pigeon".parse().unwrap();
        let told = |schemes: &[&'static str]| {
            AddressError::InvalidEndpoint(without_transport(&endpoint, schemes.iter().copied())).to_string()
        };
        let words = "carrier:pigeon has a scheme of no transport of this node, which has host:port, unix";
        assert_eq!(told(&[]), words);
        assert_eq!(told(&["key", "tls"]), format!("{words}, key, tls"));
        let text = AddressError::InvalidEndpoint("no\nwhere".to_owned()).to_string();
        assert!(text.starts_with("\"no\\nwhere\" is no endpoint"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_is_as_long_as_the_system_allows() {
        let limit = longest_socket_path();
        assert!((90..MAX_ENDPOINT).contains(&limit), "{limit}");
        let of_length = |length| format!("unix:{}", "p".repeat(length)).parse::<Endpoint>();
        of_length(limit).unwrap();
        for length in [limit + 1, MAX_ENDPOINT, 10 * MAX_ENDPOINT] {
            let told = of_length(length).unwrap_err();
            assert!(matches!(told, AddressError::PathTooLong { limit: at } if at == limit), "{told:?}");
        }
    }

    #[test]
    fn an_anonymous_name_spells_its_id() {
        let id = BoxId::random();
        assert_eq!(BoxId::from_name(&id.to_string()), Some(id));
        assert_eq!(BoxId::from_name("ping-box"), None);
        assert_eq!(BoxId::from_name(&id.to_string().replace('-', "")), None);
    }
}
