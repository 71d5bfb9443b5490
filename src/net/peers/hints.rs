//! Endpoints where peers claim that other nodes listen, as far as they are believed. A hint is trusted only once the
//! handshake there has shown the expected node.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::ident::endpoint::Endpoint;
use crate::ident::endpoint::Place;
use crate::net::transport::means_another_elsewhere;
use crate::net::transport::schemes::Transports;

/// Endpoints that are remembered for each node.
const MAX_HINTS: usize = 4;

/// Filters the endpoints where a peer says that a node listens, and returns the believed ones: they must be meaningful
/// on this host. An endpoint that every host uses for itself is believed only if the peer is `near`, on this host.
/// Endpoints that this node can dial come first; the others may be useful to nodes that receive the listening node's
/// addresses.
pub(crate) fn believed<'a>(
    told: impl IntoIterator<Item = &'a str>,
    near: bool,
    transports: &Transports,
) -> Arc<[Endpoint]> {
    let believed = told.into_iter().filter_map(|text| believe(text.parse().ok()?, near));
    let (dialled, others): (Vec<_>, Vec<_>) = believed.partition(|endpoint| transports.have(endpoint));
    dialled.into_iter().chain(others).take(MAX_HINTS).collect()
}

/// Whether a peer, which is `near` or not, may name that endpoint for this node to dial. A peer elsewhere may not name
/// endpoints that only this host can reach.
pub(crate) fn may_name(endpoint: &Endpoint, near: bool) -> bool {
    near || believe(endpoint.clone(), near).is_some()
}

/// Whether a dialled endpoint, which led to the address `reached`, is among the endpoints where a peer says that it
/// listens, by that name or as that address. On this host, an unspecified address (`0.0.0.0`, `[::]`) stands for any
/// address.
pub(crate) fn is_listed<'a>(
    endpoint: &Endpoint,
    reached: Option<SocketAddr>,
    listed: impl IntoIterator<Item = &'a str>,
    near: bool,
) -> bool {
    listed.into_iter().filter_map(|text| text.parse::<Endpoint>().ok()).any(|listed| {
        // Two transports do not share a port.
        let is_of_scheme = listed.scheme() == endpoint.scheme();
        let address = listed.host_and_port().filter(|_| is_of_scheme).and_then(|(host, port)| {
            let ip: IpAddr = host.parse().ok()?;
            Some(SocketAddr::new(ip, port))
        });
        let is_reached = address.zip(reached).is_some_and(|(listed, reached)| {
            let is_same = listed.ip().to_canonical() == reached.ip().to_canonical();
            listed.port() == reached.port() && (is_same || (near && listed.ip().is_unspecified()))
        });
        listed == *endpoint || is_reached
    })
}

fn believe(endpoint: Endpoint, near: bool) -> Option<Endpoint> {
    let Some((host, port)) = endpoint.host_and_port() else {
        // The file of a Unix socket is on this host; an address of another transport may mean the same everywhere.
        let is_elsewhere = matches!(endpoint.place(), Place::Other { address, .. } if !names_this_host(address));
        return (near || is_elsewhere).then_some(endpoint);
    };
    if port == 0 {
        return None;
    }
    // A zone means something only on the host that has written it (RFC 4007 section 6).
    match host.split_once('%').map_or(host, |(ip, _)| ip).parse::<IpAddr>() {
        // All addresses of a host, as it writes them for itself. A node on this host is dialled at the loopback address
        // instead.
        Ok(ip) if ip.is_unspecified() => {
            let loopback = if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::from(Ipv6Addr::LOCALHOST) };
            let here = std::net::SocketAddr::new(loopback, port).to_string();
            if near { endpoint.at(&here) } else { None }
        }
        Ok(ip) => (near || !means_another_elsewhere(ip)).then_some(endpoint),
        // RFC 6761 section 6.3: such names are loopback.
        Err(_) => {
            // The addresses of a TCP endpoint are looked at once more when it is dialled.
            let is_tcp = matches!(endpoint.place(), Place::Tcp { .. });
            (near || !(is_localhost(host) || (!is_tcp && is_number(host)))).then_some(endpoint)
        }
    }
}

/// Whether an address of which only its transport knows the form begins with a host that means this one, as in a URI.
fn names_this_host(address: &str) -> bool {
    let authority = address.split(['/', '?', '#']).find(|part| !part.is_empty()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split([']', '%']).next().unwrap_or_default(),
        None if host.parse::<Ipv6Addr>().is_ok() => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    host.parse().map_or_else(|_| is_localhost(host) || is_number(host), means_another_elsewhere)
}

/// Whether a host is an IPv4 address in one of the short forms that resolvers take: `127.1`, `0x7f000001`.
fn is_number(host: &str) -> bool {
    let is_part = |c: char| c.is_ascii_hexdigit() || "xX.".contains(c);
    host.starts_with(|c: char| c.is_ascii_digit()) && host.chars().all(is_part)
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, near: bool) -> Option<String> {
        believed([text], near, &Transports::default()).first().map(ToString::to_string)
    }

    #[test]
    fn what_means_another_host_elsewhere_is_believed_only_of_a_peer_on_this_host() {
        for text in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "[fe80::1]:1",
            "[fe80::1%eth0]:1",
            "169.254.1.2:1",
            "[::ffff:169.254.1.2]:1",
            "localhost:1",
            "LocalHost.:1",
            "a.localhost:1",
            "unix:/run/hermod",
            "tls:127.0.0.1:1",
            "tls:a.localhost:1",
            "tls:localhost",
            "tls:127.0.0.1",
            "tls:127.0.0.1:80/x",
            "tls:user@localhost:80/x",
            "tls:[::1]",
            "tls:[fe80::1%eth0]/x",
            "ws:/localhost/x",
            "tls:127.1:80",
            "tls:0x7f000001:80",
            "tls:2130706433/x",
        ] {
            assert_eq!(heard(text, false), None, "{text}");
            assert_eq!(heard(text, true).as_deref(), Some(text));
        }
        for text in [
            "10.1.2.3:1",
            "[2001:db8::1]:1",
            "example.org:1",
            "notlocalhost:1",
            "tls:10.1.2.3:1",
            "carrier:x",
            "tls:3com.example/x",
        ] {
            assert_eq!(heard(text, false).as_deref(), Some(text));
            assert_eq!(heard(text, true).as_deref(), Some(text));
        }
    }

    #[test]
    fn all_addresses_of_this_host_are_dialled_at_one_of_them() {
        assert_eq!(heard("0.0.0.0:7", true).as_deref(), Some("127.0.0.1:7"));
        assert_eq!(heard("[::]:7", true).as_deref(), Some("[::1]:7"));
        assert_eq!(heard("tls:0.0.0.0:7", true).as_deref(), Some("tls:127.0.0.1:7"));
        assert_eq!((heard("0.0.0.0:7", false), heard("[::]:7", false)), (None, None));
    }

    #[test]
    fn an_endpoint_is_listed_by_its_name_or_as_the_address_that_it_has() {
        let is = |endpoint: &str, reached: &str, listed: &str, near| {
            is_listed(&endpoint.parse().expect("an endpoint"), reached.parse().ok(), ["h:0", listed], near)
        };
        assert!(is("example.org:1", "192.0.2.1:1", "example.org:1", false));
        assert!(is("example.org:1", "192.0.2.1:1", "192.0.2.1:1", false));
        assert!(is("unix:/run/hermod", "", "unix:/run/hermod", true));
        assert!(is("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.1]:1", "192.0.2.1:1", false));
        assert!(is("localhost:1", "127.0.0.1:1", "0.0.0.0:1", true));
        for (listed, near) in
            [("192.0.2.1:2", true), ("192.0.2.2:1", true), ("example.com:1", true), ("0.0.0.0:1", false), ("", true)]
        {
            assert!(!is("example.org:1", "192.0.2.1:1", listed, near), "{listed}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_left_out_and_so_is_what_is_too_many() {
        assert_eq!(believed(["", "host", "h:0", "h:99999"], true, &Transports::default()).len(), 0);
        let many: Vec<String> = (1..100).map(|n| format!("h:{n}")).collect();
        let believed = |told: &[&str]| believed(told.iter().copied(), false, &Transports::default());
        let texts = |hints: Arc<[Endpoint]>| hints.iter().map(ToString::to_string).collect::<Vec<_>>();
        let told: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(texts(believed(&told)), ["h:1", "h:2", "h:3", "h:4"]);
        // Those that nothing here can dial do not stand in the way of others.
        let told = ["a:h:1", "b:h:1", "c:h:1", "d:h:1", "h:1"];
        assert_eq!(texts(believed(&told)), ["h:1", "a:h:1", "b:h:1", "c:h:1"]);
    }
}
