//! TCP of the system: socket options, and the port that would dial itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::Domain;
use socket2::SockRef;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::Stream;
use super::happy_eyeballs;
use super::is_near;
use super::resolver;

pub(crate) use tokio::net::TcpListener as Listener;

/// Connections that the system holds for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Bytes that the system is asked to hold of what is written to a connection within this host (it takes twice as many).
/// There is no distance to bridge, and what it holds stands before everything that is written later: left to itself, it
/// takes megabytes. On other connections it knows better.
const NEAR_BUFFER: usize = 128 << 10;

/// Connects to the first address of the host that answers.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<Stream> {
    let addresses = resolver::look_up(host, port).await?;
    let connect = |address: SocketAddr| async move { refuse_itself(TcpStream::connect(address).await?) };
    stream(happy_eyeballs::race(addresses, connect).await?)
}

/// Listens at the first address of the host that the system accepts, with SO_REUSEADDR, so that a restarted server gets
/// its port back at once. Returns the port as well.
pub(super) async fn bind(host: &str, port: u16) -> io::Result<(TcpListener, u16)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in resolver::look_up(host, port).await? {
        match bind_at(address) {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                return Ok((listener, port));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub(super) async fn accept(listener: &TcpListener) -> io::Result<Stream> {
    stream(listener.accept().await?.0)
}

fn stream(stream: TcpStream) -> io::Result<Stream> {
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
                let stream = stream(TcpStream::from_std(end).unwrap()).unwrap();
                assert!(stream.near);
                let held = SockRef::from(&seen).send_buffer_size().unwrap();
                assert!((NEAR_BUFFER..=2 * NEAR_BUFFER).contains(&held), "{held} bytes");
            }
        });
    }
}
