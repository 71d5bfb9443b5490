//! Streams between nodes. The only folder that opens sockets, of the system or of a simulation.
//!
//! Each of the files `tcp`, `unix` and `simulated` is one kind of stream, with the same few functions: dial, bind,
//! accept. Other kinds come from outside, through the [seam]; so do TLS and the shared key, behind features.

pub(crate) mod accepted;
mod happy_eyeballs;
pub(crate) mod meter;
#[cfg(any(feature = "shared-key", feature = "tls-aws-lc", feature = "tls-ring"))]
mod over_tcp;
pub(crate) mod reserve;
mod resolver;
pub(crate) mod schemes;
pub(crate) mod seam;
#[cfg(feature = "shared-key")]
pub(crate) mod shared_key;
#[cfg(feature = "turmoil")]
mod simulated;
mod tcp;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
pub(crate) mod tls;
#[cfg(unix)]
mod unix;

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use self::accepted::Accepted;
use self::schemes::Entry;
use self::schemes::Transports;
use self::seam::Channel;
use self::seam::Incoming;
#[cfg(feature = "turmoil")]
use crate::env;
use crate::handle::ports::Asker;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::ident::endpoint::Place;
use crate::observe::identity::Identity;
use crate::observe::peer_info::PeerInfo;
use crate::wire::greeting::UNBOUND;

/// The scheme of plain TCP.
const TCP: &str = "tcp";

/// Both directions of a connection.
pub(crate) struct Stream {
    pub(crate) read: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) write: Box<dyn AsyncWrite + Send + Unpin>,
    /// Whether the other end is on this host.
    pub(crate) near: bool,
    /// The address of the other end, if it has one: a Unix socket has none.
    pub(crate) reached: Option<SocketAddr>,
    /// The identity that the transport has proven.
    pub(crate) identity: Identity,
    /// Whether written bytes may stay in a buffer until the stream is flushed.
    pub(crate) buffers: bool,
    /// The bytes that only both ends of this very stream know, for the greeting's signatures.
    pub(crate) binding: [u8; 32],
    /// The scheme of its transport.
    pub(crate) scheme: Cow<'static, str>,
}

impl Stream {
    /// Makes a stream of TCP, of which nothing further is known.
    pub(crate) fn new(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Stream {
        let (read, write) = (Box::new(read), Box::new(write));
        let identity = Identity::Unknown;
        let (scheme, binding) = (Cow::Borrowed(TCP), UNBOUND);
        Stream { read, write, near: false, reached: None, identity, buffers: false, binding, scheme }
    }

    /// Returns the stream as one of another transport.
    pub(crate) fn over(self, scheme: &str) -> Stream {
        Stream { scheme: Cow::Owned(scheme.to_owned()), ..self }
    }

    /// Returns the protection of the stream.
    pub(crate) fn protection(&self) -> Protection {
        match self.binding {
            UNBOUND if self.near && self.scheme != TCP => Protection::Host,
            UNBOUND => Protection::Nothing,
            _ => Protection::Channel,
        }
    }

    /// Returns the description of the peer at the other end, which has proven that it is that node.
    pub(crate) fn info(&self, node: NodeId) -> PeerInfo {
        PeerInfo::new(node, &*self.scheme, self.reached, self.identity.clone())
    }

    /// Writes bytes at once.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }
}

/// Opens a connection, for this node itself or for a peer that has named the endpoint. A host name is looked up anew
/// each time; its addresses are tried as RFC 8305 says. Since a name may lead anywhere, addresses that mean this host
/// are not tried for a peer elsewhere.
pub(crate) async fn dial(endpoint: &Endpoint, asked_by: Option<Asker>, transports: &Transports) -> io::Result<Stream> {
    match endpoint.place() {
        Place::Tcp { host, port } => dial_tcp(host, port, asked_by).await,
        Place::Unix { .. } if asked_by.is_some_and(|asker| !asker.near) => Err(io::ErrorKind::PermissionDenied.into()),
        #[cfg(feature = "turmoil")]
        Place::Unix { .. } if env::is_simulated() => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(unix)]
        Place::Unix { path } => unix::dial(path).await,
        #[cfg(not(unix))]
        Place::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
        Place::Other { scheme, address } => {
            let entry = transports.of(scheme).ok_or_else(|| unsupported(endpoint, transports))?;
            let transport = &entry.transport;
            if asked_by.is_some_and(|asker| !transport.may_be_named(address, asker.near)) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            #[cfg(any(feature = "shared-key", feature = "tls-aws-lc", feature = "tls-ring"))]
            if let Some(layer) = &entry.over_tcp {
                return Ok(over_tcp::connect(address, asked_by, &**layer).await?.stream.over(scheme));
            }
            let Channel { stream } = transport.connect(address).await?;
            let is_here = stream.near || stream.reached.is_some_and(|address| means_another_elsewhere(address.ip()));
            if is_here && asked_by.is_some_and(|asker| !asker.near) {
                let words = format!("{endpoint} leads to this host, and a peer on another one has named it");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
            }
            Ok(stream.over(scheme))
        }
    }
}

async fn dial_tcp(host: &str, port: u16, asked_by: Option<Asker>) -> io::Result<Stream> {
    #[cfg(feature = "turmoil")]
    if env::is_simulated() {
        return simulated::dial(host, port).await;
    }
    tcp::dial(host, port, asked_by).await
}

/// Returns the error for an endpoint without a transport.
fn unsupported(endpoint: &Endpoint, transports: &Transports) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, transports.check(endpoint).err().unwrap_or_default())
}

/// The protection of a stream from those who are between its ends, in ascending order. A pointer that came over a
/// protected channel leads by no path below [`Protection::Host`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Protection {
    /// None: plain TCP, also on this host, since an endpoint there may be another program's by now.
    Nothing,
    /// The stream crosses no network: a Unix socket, or another channel that is near. It serves pointers that came over
    /// a protected channel, but those that came over it may lead by plain paths: the hosts of a peer's boxes, which the
    /// peer names, may be reached in no other way.
    Host,
    /// The channel has a binding: TLS, the shared key, or a transport of the application.
    Channel,
}

impl Protection {
    /// Whether a stream to that endpoint may suffice, as far as can be told before it is dialled.
    pub(crate) fn may_suffice_at(endpoint: &Endpoint) -> bool {
        !matches!(endpoint.place(), Place::Tcp { .. })
    }

    /// Whether the stream may serve pointers that came over a protected channel.
    pub(crate) fn suffices(self) -> bool {
        self >= Protection::Host
    }

    /// Whether pointers that come over the stream lead by protected paths only.
    pub(crate) fn is_demanded(self) -> bool {
        self == Protection::Channel
    }
}

/// Accepts connections at one endpoint.
pub(crate) enum Listener {
    Tcp(tcp::Listener),
    #[cfg(unix)]
    Unix(unix::BoundSocket),
    #[cfg(feature = "turmoil")]
    Simulated(simulated::Listener),
    /// With the number and the scheme of the transport.
    Other(Box<dyn Incoming>, u32, Box<str>),
}

impl Listener {
    /// Listens at an endpoint: at all addresses of its host, on one port.
    pub(crate) async fn bind(endpoint: &Endpoint, transports: &Transports) -> io::Result<(Listener, Bound)> {
        match endpoint.place() {
            Place::Tcp { host, port } => Listener::bind_tcp(endpoint, host, port).await,
            #[cfg(feature = "turmoil")]
            Place::Unix { .. } if env::is_simulated() => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(unix)]
            Place::Unix { path } => Ok((
                Listener::Unix(unix::bind(path, transports.socket_mode).await?),
                Bound::at(endpoint, Vec::new(), true),
            )),
            #[cfg(not(unix))]
            Place::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
            Place::Other { scheme, address } => {
                let entry = transports.of(scheme).ok_or_else(|| unsupported(endpoint, transports))?;
                let Entry { transport, number, .. } = entry;
                let incoming = transport.bind(address).await?;
                let bound = endpoint.at(&incoming.address()).ok_or_else(|| not_an_address(scheme, &*incoming))?;
                // It is not known whether others listen there, too.
                let bound = Bound { endpoint: bound, addresses: Vec::new(), all: false };
                Ok((Listener::Other(incoming, *number, scheme.into()), bound))
            }
        }
    }

    async fn bind_tcp(endpoint: &Endpoint, host: &str, port: u16) -> io::Result<(Listener, Bound)> {
        #[cfg(feature = "turmoil")]
        if env::is_simulated() {
            let (listener, address) = simulated::bind(host, port).await?;
            return Ok((Listener::Simulated(listener), Bound::at(endpoint, vec![address], true)));
        }
        let (listener, addresses, all) = tcp::bind(host, port).await?;
        Ok((Listener::Tcp(listener), Bound::at(endpoint, addresses, all)))
    }

    pub(crate) async fn accept(&mut self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => listener.accept().await,
            #[cfg(unix)]
            Listener::Unix(listener) => unix::accept(listener).await,
            #[cfg(feature = "turmoil")]
            Listener::Simulated(listener) => simulated::accept(listener).await,
            Listener::Other(incoming, number, scheme) => {
                let handshake = incoming.accept().await?;
                Ok(Accepted::other(handshake, (*number, scheme), incoming.peer()))
            }
        }
    }
}

/// Returns the error for a listener whose address, with its scheme, is no endpoint.
fn not_an_address(scheme: &str, incoming: &dyn Incoming) -> io::Error {
    let words =
        format!("the transport {scheme} listens at {:?}, which is no address of an endpoint", incoming.address());
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// The place at which a listener is bound.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The endpoint to dial, with the port that the system chose in place of port 0.
    pub(crate) endpoint: Endpoint,
    /// With TCP, each address that the listener is bound to.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whether these are all addresses of the endpoint; at others, another node may listen.
    pub(crate) all: bool,
}

impl Bound {
    fn at(endpoint: &Endpoint, addresses: Vec<SocketAddr>, all: bool) -> Bound {
        let port = addresses.first().map(SocketAddr::port);
        let endpoint = port.and_then(|port| with_port(endpoint, port)).unwrap_or_else(|| endpoint.clone());
        Bound { endpoint, addresses, all }
    }
}

/// Returns the endpoint with the port that the system has chosen.
fn with_port(endpoint: &Endpoint, port: u16) -> Option<Endpoint> {
    let (host, _) = endpoint.as_ref().rsplit_once(':')?;
    format!("{host}:{port}").parse().ok()
}

/// Whether an address means a different host on each host that uses it: loopback, the unspecified address, which is
/// dialled as loopback, and link-local addresses (RFC 3927, RFC 4291 section 2.5.6).
pub(crate) fn means_another_elsewhere(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    ip.is_loopback() || ip.is_unspecified() || is_link_local
}

/// Whether a connection from one address to the other stays on this host.
fn is_near(peer: SocketAddr, local: SocketAddr) -> bool {
    let [peer, local] = [peer, local].map(|address| address.ip().to_canonical());
    peer.is_loopback() || peer == local
}
