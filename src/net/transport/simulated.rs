//! TCP of a simulated network, for nodes on hosts that turmoil simulates.

use std::io;
use std::net::SocketAddr;

use turmoil::net::TcpListener;
use turmoil::net::TcpStream;

use super::Stream;
use super::accepted::Accepted;
use super::is_near;

pub(crate) use turmoil::net::TcpListener as Listener;

/// Dials a simulated host by the name that it was given.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<Stream> {
    Ok(stream(TcpStream::connect((host, port)).await?))
}

/// Listens as turmoil can: at all addresses of a host (`0.0.0.0`, `::`) or at its loopback. Returns the address as
/// well.
pub(super) async fn bind(host: &str, port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((host, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

pub(super) async fn accept(listener: &TcpListener) -> io::Result<Accepted> {
    let (stream, peer) = listener.accept().await?;
    Ok(Accepted::simulated(stream, peer))
}

pub(super) fn stream(stream: TcpStream) -> Stream {
    let reached = stream.peer_addr().ok();
    let near = stream.peer_addr().and_then(|peer| Ok(is_near(peer, stream.local_addr()?))).unwrap_or(false);
    let (read, write) = stream.into_split();
    Stream { near, reached, ..Stream::new(read, write) }
}
