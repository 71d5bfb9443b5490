//! Transports of this crate whose channels are TCP connections with a handshake of their own. TCP is dialled and bound
//! here as for plain endpoints: a name's addresses race, and for a peer elsewhere none that means this host is tried.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::Join;

use super::Bound;
use super::Listener;
use super::Stream;
use super::accepted::Opening;
use super::dial_tcp;
use super::seam::BoxFuture;
use super::seam::Channel;
use super::seam::Incoming;
use crate::handle::ports::Asker;
use crate::ident::endpoint::Endpoint;
use crate::ident::endpoint::Place;

/// The time for which a side that has refused the other waits until that has read why.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Bytes that are read at a time meanwhile.
const SCRAP: usize = 4096;

/// Both directions of a connection as one object.
pub(super) type Tcp = Join<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>;

/// The facts about a connection that its handshake does not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    near: bool,
    reached: Option<SocketAddr>,
}

impl Ends {
    /// Makes the channel of a stream that was opened on the connection.
    pub(super) fn channel(self, io: impl AsyncRead + AsyncWrite + Send + 'static) -> Channel {
        let channel = Channel::new(io).near(self.near);
        match self.reached {
            Some(address) => channel.address(address),
            None => channel,
        }
    }
}

/// The handshake of a transport on a TCP connection.
pub(super) trait OverTcp: Send + Sync + 'static {
    /// Checks that this node may dial, before it does.
    fn may_dial(&self) -> io::Result<()>;

    /// Checks that this node may listen, before it does.
    fn may_listen(&self) -> io::Result<()>;

    /// Makes the handshake as the side that has dialled that host.
    fn dialled<'a>(&'a self, host: &'a str, tcp: Tcp, ends: Ends) -> BoxFuture<'a, io::Result<Channel>>;

    /// Makes the handshake as the side that was dialled.
    fn accepted(&self, tcp: Tcp, ends: Ends) -> BoxFuture<'static, io::Result<Channel>>;
}

/// Dials an address, for this node itself or for a peer that has named it, and makes the handshake.
pub(super) async fn connect(address: &str, asked_by: Option<Asker>, layer: &dyn OverTcp) -> io::Result<Channel> {
    let endpoint = endpoint(address)?;
    let (host, port) = host_and_port(&endpoint)?;
    layer.may_dial()?;
    let (tcp, ends) = opened(dial_tcp(host, port, asked_by).await?);
    layer.dialled(host, tcp, ends).await
}

/// Listens at an address.
pub(super) async fn bind(address: &str, layer: Arc<dyn OverTcp>) -> io::Result<Box<dyn Incoming>> {
    let endpoint = endpoint(address)?;
    let (host, port) = host_and_port(&endpoint)?;
    layer.may_listen()?;
    let (listener, Bound { endpoint, .. }) = Listener::bind_tcp(&endpoint, host, port).await?;
    Ok(Box::new(Door { listener, address: endpoint.to_string(), layer, peer: None }))
}

/// Ends a connection whose peer was refused, once the peer has hung up: its last words would be lost with a connection
/// that is closed while bytes of the peer are unread.
pub(super) async fn hang_up(mut tcp: Tcp) {
    let last = async {
        let _ = tcp.shutdown().await;
        let mut scrap = [0; SCRAP];
        while tcp.read(&mut scrap).await.is_ok_and(|read| read > 0) {}
    };
    // How it ends is of no interest.
    let _ = tokio::time::timeout(LAST_WORD, last).await;
}

fn endpoint(address: &str) -> io::Result<Endpoint> {
    address.parse().map_err(|_| not_over_tcp(address))
}

fn host_and_port(endpoint: &Endpoint) -> io::Result<(&str, u16)> {
    match endpoint.place() {
        Place::Tcp { host, port } => Ok((host, port)),
        Place::Unix { .. } | Place::Other { .. } => Err(not_over_tcp(endpoint.as_ref())),
    }
}

fn not_over_tcp(address: &str) -> io::Error {
    let words = format!("{address:?} is no host and port, over which the transport works");
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

fn opened(stream: Stream) -> (Tcp, Ends) {
    let ends = Ends { near: stream.near, reached: stream.reached };
    (tokio::io::join(stream.read, stream.write), ends)
}

/// A listener behind which each peer is met by the handshake.
struct Door {
    listener: Listener,
    address: String,
    layer: Arc<dyn OverTcp>,
    peer: Option<SocketAddr>,
}

impl Incoming for Door {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxFuture<'static, io::Result<Channel>>>> {
        Box::pin(async {
            let accepted = self.listener.accept().await?;
            self.peer = None;
            let handshake: BoxFuture<'static, _> = match accepted.open() {
                Ok(Opening::Stream(stream)) => {
                    self.peer = stream.reached;
                    let (tcp, ends) = opened(stream);
                    self.layer.accepted(tcp, ends)
                }
                Ok(Opening::Handshake(handshake, _)) => handshake,
                // The peer has gone again.
                Err(error) => Box::pin(async { Err(error) }),
            };
            Ok(handshake)
        })
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::ident::NodeId;

    /// A transport that has nothing to say.
    struct Silent;

    impl OverTcp for Silent {
        fn may_dial(&self) -> io::Result<()> {
            Ok(())
        }

        fn may_listen(&self) -> io::Result<()> {
            Ok(())
        }

        fn dialled<'a>(&'a self, _: &'a str, tcp: Tcp, ends: Ends) -> BoxFuture<'a, io::Result<Channel>> {
            Box::pin(async move { Ok(ends.channel(tcp)) })
        }

        fn accepted(&self, tcp: Tcp, ends: Ends) -> BoxFuture<'static, io::Result<Channel>> {
            Box::pin(async move { Ok(ends.channel(tcp)) })
        }
    }

    /// Not a byte of a handshake is sent to a service of this host that a peer elsewhere has named, whatever the name.
    #[test]
    fn for_a_peer_elsewhere_no_connection_to_this_host_is_opened() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let asker = |near| Some(Asker { node: NodeId([1; 16]), near, protected: false });
            for host in ["localhost", "127.0.0.1"] {
                let address = format!("{host}:{port}");
                let refused = connect(&address, asker(false), &Silent).await.unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{host}");
                for asked_by in [None, asker(true)] {
                    let Channel { stream } = connect(&address, asked_by, &Silent).await.unwrap();
                    assert!(stream.near && stream.reached.is_some_and(|reached| reached.port() == port));
                }
            }
        });
    }

    #[test]
    fn an_address_that_is_no_host_and_port_is_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for address in ["unix:/path", "pigeon", "a:b:c"] {
                let refused = connect(address, None, &Silent).await.unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{address}");
                assert!(bind(address, Arc::new(Silent)).await.is_err_and(|error| error.kind() == refused.kind()));
            }
        });
    }
}
