//! Endpoints: the places at which nodes listen or can be dialled, as text.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::AddressError;

/// Maximum length of the text of an endpoint, in bytes: a full DNS name (253) with a port, or a Unix socket's path
/// (107).
pub(crate) const MAX_ENDPOINT: usize = 300;

/// A place at which a node listens or can be dialled: `host:port`, `[ipv6]:port`, `unix:/path/to/socket`, or
/// `scheme:address` for another [transport](crate::transport): `tls:host:port` and `key:host:port` behind features, or one
/// of the application.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
