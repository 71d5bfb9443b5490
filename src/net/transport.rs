//! Streams: the only place that opens sockets, of the system or of a simulation.

#[cfg(feature = "turmoil")]
mod simulated;

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::fs::FileTypeExt;
#[cfg(unix)]
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use socket2::Domain;
use socket2::SockRef;
use socket2::Socket;
use socket2::Type;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixListener;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::ident::Endpoint;
use crate::ident::Place;
#[cfg(feature = "turmoil")]
use crate::world;

/// Connections that the system holds for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Bytes that the system is asked to hold of what is written to a connection within this host (it takes twice as many).
/// There is no distance to bridge, and what it holds stands before everything that is written later: left to itself, it
/// takes megabytes. On other connections it knows better.
const NEAR_BUFFER: usize = 128 << 10;

/// Both directions of a connection.
pub(crate) struct Stream {
    pub(crate) read: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) write: Box<dyn AsyncWrite + Send + Unpin>,
    /// Whether the other end is on this host.
    pub(crate) near: bool,
}

impl Stream {
    fn tcp(stream: TcpStream) -> io::Result<Stream> {
        // Messages are written in batches already; what is written is to leave.
        stream.set_nodelay(true)?;
        let near = is_near(stream.peer_addr()?, stream.local_addr()?);
        if near {
            // A system that does not want this keeps its own, and only what is small waits longer.
            let _ = SockRef::from(&stream).set_send_buffer_size(NEAR_BUFFER);
        }
        let (read, write) = stream.into_split();
        Ok(Stream { read: Box::new(read), write: Box::new(write), near })
    }

    #[cfg(unix)]
    fn unix(stream: UnixStream) -> Stream {
        let (read, write) = stream.into_split();
        Stream { read: Box::new(read), write: Box::new(write), near: true }
    }

    #[cfg(feature = "turmoil")]
    fn simulated(stream: simulated::TcpStream) -> Stream {
        let near = stream.peer_addr().and_then(|peer| Ok(is_near(peer, stream.local_addr()?))).unwrap_or(false);
        let (read, write) = stream.into_split();
        Stream { read: Box::new(read), write: Box::new(write), near }
    }
}

/// Whether a connection from one address to the other stays on this host.
fn is_near(peer: SocketAddr, local: SocketAddr) -> bool {
    let [peer, local] = [peer, local].map(|address| address.ip().to_canonical());
    peer.is_loopback() || peer == local
}

/// Opens a connection. A host name is looked up anew each time; its addresses are tried in turn.
pub(crate) async fn dial(endpoint: &Endpoint) -> io::Result<Stream> {
    match endpoint.place() {
        #[cfg(feature = "turmoil")]
        Place::Tcp { host, port } if world::is_simulated() => Ok(Stream::simulated(simulated::dial(host, port).await?)),
        Place::Tcp { host, port } => Stream::tcp(refuse_itself(TcpStream::connect((host, port)).await?)?),
        #[cfg(feature = "turmoil")]
        Place::Unix { .. } if world::is_simulated() => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(unix)]
        Place::Unix { path } => Ok(Stream::unix(UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Place::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// A port that nobody listens at may be the very one that the system chooses for the calling side: then TCP connects the
/// socket to itself (simultaneous open, RFC 9293 section 3.5), and would keep the server off its port.
fn refuse_itself(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? != stream.peer_addr()? {
        return Ok(stream);
    }
    // Leaves no TIME_WAIT behind at that port.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Err(io::ErrorKind::ConnectionRefused.into())
}

/// Takes connections at one endpoint.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    /// The file goes first: once nobody listens, another may have put its own there.
    Unix {
        _file: SocketFile,
        listener: UnixListener,
    },
    #[cfg(feature = "turmoil")]
    Simulated(simulated::TcpListener),
}

#[cfg(unix)]
/// The file of a Unix socket, which nobody else removes.
pub(crate) struct SocketFile(PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already, or another's by now: neither is for us to report.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens, with SO_REUSEADDR on TCP, so that a restarted server gets its port back at once.
    pub(crate) async fn bind(endpoint: &Endpoint) -> io::Result<(Listener, Endpoint)> {
        match endpoint.place() {
            #[cfg(feature = "turmoil")]
            Place::Tcp { host, port } if world::is_simulated() => {
                let (listener, port) = simulated::bind(host, port).await?;
                Ok((Listener::Simulated(listener), with_port(endpoint, port)))
            }
            Place::Tcp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
                for address in tokio::net::lookup_host((host, port)).await? {
                    match bind_tcp(address) {
                        Ok(listener) => {
                            let port = listener.local_addr()?.port();
                            return Ok((Listener::Tcp(listener), with_port(endpoint, port)));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            #[cfg(feature = "turmoil")]
            Place::Unix { .. } if world::is_simulated() => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(unix)]
            Place::Unix { path } => {
                remove_stale(Path::new(path)).await;
                let listener = UnixListener::bind(path)?;
                Ok((Listener::Unix { listener, _file: SocketFile(path.into()) }, endpoint.clone()))
            }
            #[cfg(not(unix))]
            Place::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => Stream::tcp(listener.accept().await?.0),
            #[cfg(unix)]
            Listener::Unix { listener, .. } => Ok(Stream::unix(listener.accept().await?.0)),
            #[cfg(feature = "turmoil")]
            Listener::Simulated(listener) => Ok(Stream::simulated(listener.accept().await?.0)),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The endpoint as it can be dialled, once the system has chosen a port.
fn with_port(endpoint: &Endpoint, port: u16) -> Endpoint {
    let text = endpoint.as_ref();
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    format!("{host}:{port}").parse().unwrap_or_else(|_| endpoint.clone())
}

#[cfg(unix)]
/// Removes a socket's file that a killed process has left behind: one that nobody answers at. What is no socket refuses
/// connections just the same, and is not ours to remove.
async fn remove_stale(path: &Path) {
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_host_the_system_holds_little_of_what_is_written() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let ends = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            for end in [ends.0.unwrap(), ends.1.unwrap().0] {
                let end = end.into_std().unwrap();
                let seen = end.try_clone().unwrap();
                let stream = Stream::tcp(TcpStream::from_std(end).unwrap()).unwrap();
                assert!(stream.near);
                let held = SockRef::from(&seen).send_buffer_size().unwrap();
                assert!((NEAR_BUFFER..=2 * NEAR_BUFFER).contains(&held), "{held} bytes");
            }
        });
    }
}
