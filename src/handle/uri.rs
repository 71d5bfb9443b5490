//! Addresses as text: `hermod://host:port/name`, `hermod+unix://%2Fpath%2Fto%2Fsocket/name`, and for any other transport
//! `hermod+scheme://address/name`.
//!
//! The expected node may stand before the endpoint, as in `hermod://ID@host:port/name`: then the address leads to no
//! other node.
//!
//! In the name, all but unreserved characters are percent-encoded (RFC 3986 section 2.1). The same holds for the
//! address of a transport other than TCP, unless it consists of a host and a port, which are written unchanged. A URI
//! leads to the box of that name at any node that listens there, so the URI of one incarnation's box, read again, gives
//! an address by name; an anonymous box's name is its id.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::PercentEncode;
use percent_encoding::percent_decode_str;
use percent_encoding::utf8_percent_encode;

use super::context::NodeContext;
use super::pointer::Pointer;
use crate::handle::pointer::identity::Origin;
use crate::ident::AddressError;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::ident::endpoint::Place;
use crate::ident::endpoint::is_scheme;

const TCP: &str = "hermod://";
/// The prefix of the scheme of any other transport.
const OTHER: &str = "hermod+";

/// All but the unreserved characters of RFC 3986, section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns the URI of a pointer's box; `None` if its node is not known to listen anywhere.
pub(crate) fn of(pointer: &Pointer) -> Option<String> {
    match pointer.origin() {
        Origin::Named { endpoint, node, .. } => Some(write(endpoint, *node, pointer.name())),
        Origin::Boxed { node, .. } if *node == pointer.this_node().id() => {
            let endpoints = pointer.this_node().endpoints();
            endpoints
                .iter()
                .find(|endpoint| endpoint.is_somewhere())
                .map(|endpoint| write(endpoint, None, pointer.name()))
        }
        Origin::Boxed { .. } => pointer.hints().first().map(|endpoint| write(endpoint, None, pointer.name())),
    }
}

/// Returns the pointer that a URI leads to, for the given node.
pub(crate) fn resolve(node: &Arc<NodeContext>, text: &str) -> Result<Arc<Pointer>, AddressError> {
    let (endpoint, expected, name) = read(text)?;
    node.place(&endpoint, expected, &name)
}

pub(super) fn write(endpoint: &Endpoint, node: Option<NodeId>, name: &str) -> String {
    let node = node.map(|node| format!("{node}@")).unwrap_or_default();
    let name = escape(name);
    match endpoint.place() {
        // The zone of a link-local address stands behind a `%`, which is escaped like any other (RFC 6874).
        Place::Tcp { .. } => format!("{TCP}{node}{}/{name}", endpoint.as_ref().replace('%', "%25")),
        Place::Unix { path } => format!("{OTHER}unix://{node}{}/{name}", escape(path)),
        Place::Other { scheme, address } if endpoint.host_and_port().is_some() => {
            format!("{OTHER}{scheme}://{node}{}/{name}", address.replace('%', "%25"))
        }
        Place::Other { scheme, address } => format!("{OTHER}{scheme}://{node}{}/{name}", escape(address)),
    }
}

pub(super) fn read(text: &str) -> Result<(Endpoint, Option<NodeId>, String), AddressError> {
    let invalid = || AddressError::InvalidUri(text.to_owned());
    let (endpoint, node, name) = parts(text).ok_or_else(invalid)?;
    match endpoint.parse::<Endpoint>() {
        // As an endpoint, `unix:80` is a socket's path, so no URI leads to a host of that name; and a URI of another
        // transport does not lead to TCP.
        Ok(endpoint) if text.starts_with(TCP) == matches!(endpoint.place(), Place::Tcp { .. }) => {
            Ok((endpoint, node, name))
        }
        Err(error @ AddressError::PathTooLong { .. }) if !text.starts_with(TCP) => Err(error),
        _ => Err(invalid()),
    }
}

/// Returns the texts of the endpoint and of the name, and the expected node.
fn parts(text: &str) -> Option<(String, Option<NodeId>, String)> {
    let (scheme, rest) = match text.strip_prefix(TCP) {
        Some(rest) => (None, rest),
        None => {
            let (scheme, rest) = text.strip_prefix(OTHER)?.split_once("://")?;
            (is_scheme(scheme).then_some(Some(scheme))?, rest)
        }
    };
    let (place, name) = rest.split_once('/')?;
    let (node, place) = match place.split_once('@') {
        Some((node, place)) => (Some(node.parse().ok()?), place),
        None => (None, place),
    };
    let endpoint = match scheme {
        None => with_zone(place)?,
        Some(scheme) if scheme != "unix" && place.contains(':') => format!("{scheme}:{}", with_zone(place)?),
        Some(scheme) => format!("{scheme}:{}", unescape(place)?),
    };
    Some((endpoint, node, unescape(name)?))
}

/// Returns the host and port of a URI as an endpoint writes them.
fn with_zone(place: &str) -> Option<String> {
    let host = place.replace("%25", "%");
    let is_escaped = host.replace('%', "%25") == place;
    is_escaped.then_some(host)
}

/// The text with all but unreserved characters escaped.
fn escape(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}

/// Returns the unescaped text; `None` if it contains a character that must be escaped, or an invalid escape.
fn unescape(text: &str) -> Option<String> {
    let is_escape =
        |part: &str| part.as_bytes().first_chunk::<2>().is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let is_escaped = text.bytes().all(is_unreserved) && text.split('%').skip(1).all(is_escape);
    let plain = is_escaped.then(|| percent_decode_str(text).decode_utf8().ok())?;
    plain.map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns endpoints of each kind.
    fn any_endpoint() -> impl Strategy<Value = Endpoint> {
        let text = prop_oneof![
            ("[a-z0-9._-]{1,40}", any::<u16>()).prop_map(|(host, port)| format!("{host}:{port}")),
            any::<std::net::SocketAddrV4>().prop_map(|at| at.to_string()),
            (any::<std::net::Ipv6Addr>(), any::<u16>()).prop_map(|(ip, port)| format!("[{ip}]:{port}")),
            ("[a-f0-9]{1,4}", "[a-zA-Z0-9._~-]{1,15}", any::<u16>())
                .prop_map(|(ip, zone, port)| format!("[fe80::{ip}%{zone}]:{port}")),
            "\\PC{1,25}".prop_map(|path| format!("unix:{path}")),
            ("tls|key|a[a-z0-9+.-]{1,5}", "[a-z0-9._-]{1,40}", any::<u16>())
                .prop_map(|(scheme, host, port)| format!("{scheme}:{host}:{port}")),
            ("tls|key", any::<std::net::Ipv6Addr>(), any::<u16>())
                .prop_map(|(scheme, ip, port)| format!("{scheme}:[{ip}]:{port}")),
            ("child|a[a-z0-9+.-]{1,5}", "[^:]\\PC{0,25}[^0-9]").prop_map(|(scheme, rest)| format!("{scheme}:{rest}")),
        ];
        text.prop_filter_map("an endpoint", |text| text.parse().ok())
    }

    proptest! {
        #[test]
        fn any_name_at_any_endpoint_survives_its_uri(
            name in "\\PC*",
            node in proptest::option::of(any::<[u8; 16]>().prop_map(NodeId)),
            endpoint in any_endpoint(),
        ) {
            let uri = write(&endpoint, node, &name);
            prop_assert!(uri.is_ascii());
            prop_assert_eq!(read(&uri).ok(), Some((endpoint, node, name)));
        }

        #[test]
        fn any_text_is_a_uri_or_is_not(text in "(hermod(\\+unix)?://)?\\PC*") {
            let _ = read(&text);
        }
    }

    #[test]
    fn escapes_are_read_however_they_are_written() {
        let (.., name) = read("hermod://h:1/a%2Fb%2fc%41%C3%A9").expect("a URI");
        assert_eq!(name, "a/b/cAé");
        assert_eq!(write(&"h:1".parse().expect("an endpoint"), None, &name), "hermod://h:1/a%2Fb%2FcA%C3%A9");
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "ping-box",
            "http://localhost:80/x",
            "hermod://localhost:4242",
            "hermod://localhost/x",
            "hermod://h:1/%",
            "hermod://h:1/%4",
            "hermod://h:1/%ZZ",
            "hermod://h:1/%FF",
            "hermod://h:1/%%41",
            "hermod://h:1/%4é",
            "hermod://h:1/é",
            "hermod://h:1/a/b",
            "hermod://h:1/a?b",
            "hermod+unix:///x",
            "hermod+tls:///x",
            "hermod+tcp:/h/x",
            "hermod+://h:1/x",
            "hermod+u:ix://%2Fsocket/x",
            "hermod+key://4242/x",
            "hermod+tls://h:1%2F/x",
            "hermod://[fe80::1%eth0]:1/x",
            "hermod://[fe80::1%25]:1/x",
            "hermod://unix:80/x",
            "hermod://@localhost:80/x",
            "hermod://user@localhost:80/x",
            "hermod://67e5504410b1426f9247bb680e5fe0c8@localhost:80/x",
            "hermod://67e55044-10b1-426f-9247-bb680e5fe0c8@67e55044-10b1-426f-9247-bb680e5fe0c8@h:80/x",
        ] {
            assert!(matches!(read(text), Err(AddressError::InvalidUri(told)) if told == text), "{text}");
        }
    }
}
