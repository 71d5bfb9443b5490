//! An accepted connection before its first byte: it is opened, or turned away.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::Shutdown;
use std::net::SocketAddr;

use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::Stream;
use super::seam::BoxFuture;
use super::seam::Channel;
#[cfg(feature = "turmoil")]
use super::simulated;
use super::tcp;
#[cfg(unix)]
use super::unix;
use crate::observe::identity::Identity;

/// The network bits of an IPv6 address: a host usually has all addresses of its network.
const NETWORK_BITS: u32 = 64;

/// Bytes from the peer that are read before its connection is closed: those of a greeting.
const SAID: usize = 1024;

/// The origin of a connection: one party, whatever it does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Origin {
    /// An IPv4 address, or the network of an IPv6 one. A stranger has few of them.
    Address(IpAddr),
    /// A transport of the application that does not say where its peers come from, by its number.
    Transport(u32),
    /// A certificate that the peer has proven to be its own, by the beginning of its hash.
    Certificate(u64),
}

impl Origin {
    /// Returns the origin of a peer that its transport tells from all others; `None` if it does not. A shared key is that
    /// of all nodes, and a user of this host has many processes.
    pub(crate) fn proven(identity: &Identity) -> Option<Origin> {
        match identity {
            Identity::Certificate { fingerprint, .. } => {
                fingerprint.first_chunk().copied().map(u64::from_le_bytes).map(Origin::Certificate)
            }
            Identity::Unknown | Identity::Unix { .. } | Identity::Key { .. } => None,
        }
    }

    pub(crate) fn of(address: SocketAddr) -> Origin {
        Origin::Address(match address.ip().to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> NETWORK_BITS << NETWORK_BITS))
            }
            other => other,
        })
    }
}

/// See the [module](self).
pub(crate) struct Accepted {
    socket: Socket,
    /// `None` for a Unix socket, where the permissions of its file say who may connect.
    pub(crate) origin: Option<Origin>,
}

enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(feature = "turmoil")]
    Simulated(turmoil::net::TcpStream),
    /// With the scheme of its transport.
    Other(Handshake, Box<str>),
}

/// The handshake of a transport.
type Handshake = BoxFuture<'static, io::Result<Channel>>;

/// A connection that has room here, before its greeting.
pub(crate) enum Opening {
    Stream(Stream),
    /// The own handshake of a transport, which has that scheme, comes first.
    Handshake(Handshake, Box<str>),
}

impl Accepted {
    pub(super) fn tcp(stream: TcpStream, peer: SocketAddr) -> Accepted {
        Accepted { socket: Socket::Tcp(stream), origin: Some(Origin::of(peer)) }
    }

    #[cfg(unix)]
    pub(super) fn unix(stream: UnixStream) -> Accepted {
        Accepted { socket: Socket::Unix(stream), origin: None }
    }

    #[cfg(feature = "turmoil")]
    pub(super) fn simulated(stream: turmoil::net::TcpStream, peer: SocketAddr) -> Accepted {
        Accepted { socket: Socket::Simulated(stream), origin: Some(Origin::of(peer)) }
    }

    /// Makes one of the transport of that number and scheme, whose peer has that address, if the transport says so.
    pub(super) fn other(handshake: Handshake, (transport, scheme): (u32, &str), peer: Option<SocketAddr>) -> Accepted {
        let origin = peer.map_or(Origin::Transport(transport), Origin::of);
        Accepted { socket: Socket::Other(handshake, scheme.into()), origin: Some(origin) }
    }

    /// Opens the connection; an error if the peer has gone already.
    pub(crate) fn open(self) -> io::Result<Opening> {
        match self.socket {
            Socket::Tcp(stream) => tcp::stream(stream).map(Opening::Stream),
            #[cfg(unix)]
            Socket::Unix(stream) => Ok(Opening::Stream(unix::stream(stream))),
            #[cfg(feature = "turmoil")]
            Socket::Simulated(stream) => Ok(Opening::Stream(simulated::stream(stream))),
            Socket::Other(handshake, scheme) => Ok(Opening::Handshake(handshake, scheme)),
        }
    }

    /// Closes the connection with a last word, which is written only if that is possible without waiting.
    pub(crate) fn turn_away(self, word: &[u8]) {
        match self.socket {
            Socket::Tcp(stream) => {
                if let Ok(stream) = stream.into_std() {
                    say_last(&stream, word, |stream| stream.shutdown(Shutdown::Write));
                }
            }
            #[cfg(unix)]
            Socket::Unix(stream) => {
                if let Ok(stream) = stream.into_std() {
                    say_last(&stream, word, |stream| stream.shutdown(Shutdown::Write));
                }
            }
            #[cfg(feature = "turmoil")]
            Socket::Simulated(stream) => {
                let _ = stream.try_write(word);
            }
            // Nothing can be said before its handshake, which would cost more than a word.
            Socket::Other(handshake, _) => drop(handshake),
        }
    }
}

/// Writes the last word. If the peer is gone, or takes nothing, it is skipped: the connection is closed all the same.
fn say_last<S>(stream: &S, word: &[u8], shut: impl FnOnce(&S) -> io::Result<()>)
where
    for<'a> &'a S: Read + Write,
{
    let mut stream_ref = stream;
    if stream_ref.write_all(word).is_ok() && shut(stream).is_ok() {
        // An unread greeting would make the system reset the connection, and the last word might be lost with it.
        let _ = stream_ref.read(&mut [0; SAID]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_by_itself_or_with_its_network() {
        let origin = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(origin("192.0.2.1:1"), origin("192.0.2.1:2"));
        assert_ne!(origin("192.0.2.1:1"), origin("192.0.2.2:1"));
        assert_eq!(origin("192.0.2.1:1"), origin("[::ffff:192.0.2.1]:1"), "one address, however it is written");
        assert_eq!(origin("[2001:db8::1]:1"), origin("[2001:db8::ffff:0:0:2]:1"));
        assert_ne!(origin("[2001:db8::1]:1"), origin("[2001:db8:0:1::1]:1"));
        assert_ne!(origin("[::1]:1"), origin("[::2]:1"));
    }
}
