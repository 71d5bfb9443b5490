//! TCP of the system: socket options, and the port that would dial itself.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use socket2::Domain;
use socket2::SockRef;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::Stream;
use super::accepted::Accepted;
use super::happy_eyeballs;
use super::is_near;
use super::means_another_elsewhere;
use super::resolver;
use crate::handle::ports::Asker;

/// Connections that the system holds until this node accepts them.
pub(super) const BACKLOG: i32 = 1024;

/// Ports that are tried until one is free at all addresses of a name: each attempt fails with about the same small
/// chance.
const PORTS_TRIED: usize = 16;

/// The error number for an address family that the system lacks, such as IPv6 on a host built without it.
/// [`io::ErrorKind`] has no word for it.
#[cfg(unix)]
const EAFNOSUPPORT: i32 = libc::EAFNOSUPPORT;
/// WSAEAFNOSUPPORT.
#[cfg(not(unix))]
const EAFNOSUPPORT: i32 = 10_047;

/// The size of the system's send buffer for a connection within this host, in bytes (the system doubles it). There is
/// no distance to bridge, and buffered bytes delay everything written later: by default the system buffers megabytes.
/// For other connections, the system's own size is better.
const NEAR_BUFFER: usize = 128 << 10;

/// Connects to the first address of the host that answers, among those that the peer `asked_by` may have dialled.
pub(super) async fn dial(host: &str, port: u16, asked_by: Option<Asker>) -> io::Result<Stream> {
    let mut addresses = resolver::look_up(host, port, asked_by.map(|asker| asker.node)).await?;
    if asked_by.is_some_and(|asker| !asker.near) {
        addresses.retain(|address| !means_another_elsewhere(address.ip()));
        if addresses.is_empty() {
            let words = format!("{host} means this host, and a peer on another one has named it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
    }
    let connect = |address: SocketAddr| async move { refuse_itself(TcpStream::connect(address).await?) };
    stream(happy_eyeballs::race(addresses, connect).await?)
}

/// Accepts connections at all addresses of a host, on one port.
pub(crate) struct Listener {
    /// The sockets, in the order in which they are polled.
    sockets: Vec<TcpListener>,
}

/// Listens at all addresses of the host name that belong to this host, with SO_REUSEADDR, so that a restarted server
/// gets its port back at once. Returns those addresses as well, and whether the name has no others.
pub(super) async fn bind(host: &str, port: u16) -> io::Result<(Listener, Vec<SocketAddr>, bool)> {
    let addresses = resolver::look_up(host, port, None).await?;
    let listen = |address| {
        let socket = bind_at(address)?;
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    let (sockets, bound): (_, Vec<_>) = bind_all(&addresses, listen)?.into_iter().unzip();
    let all = bound.len() == addresses.len();
    Ok((Listener { sockets }, bound, all))
}

/// Binds all of the addresses, at least one, to their common port or, if it is 0, to a port that the system chooses.
///
/// # Errors
/// The error of the address that failed first; then none of them is bound. An address of another host is left out, as
/// long as some address can be bound.
fn bind_all<L>(
    addresses: &[SocketAddr],
    mut bind: impl FnMut(SocketAddr) -> io::Result<(L, SocketAddr)>,
) -> io::Result<Vec<(L, SocketAddr)>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_to_one_port(addresses, &mut bind) {
            Err((error, is_chosen)) if is_chosen && error.kind() == io::ErrorKind::AddrInUse && tries < PORTS_TRIED => {
            }
            bound => return bound.map_err(|(error, _)| error),
        }
    }
}

/// Binds the addresses to one port. An error comes with whether the system had chosen the port that failed.
fn bind_to_one_port<L>(
    addresses: &[SocketAddr],
    bind: &mut impl FnMut(SocketAddr) -> io::Result<(L, SocketAddr)>,
) -> Result<Vec<(L, SocketAddr)>, (io::Error, bool)> {
    let (mut bound, mut missing) = (Vec::new(), None);
    let mut chosen = None;
    for address in addresses {
        let mut address = *address;
        chosen.into_iter().for_each(|port| address.set_port(port));
        match bind(address) {
            Ok((socket, at)) => {
                if address.port() == 0 {
                    chosen = Some(at.port());
                }
                bound.push((socket, at));
            }
            Err(error) if is_of_another_host(&error) => missing = Some(error),
            Err(error) => return Err((error, chosen.is_some())),
        }
    }
    match missing {
        Some(error) if bound.is_empty() => Err((error, false)),
        _ => Ok(bound),
    }
}

fn is_of_another_host(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn bind_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Listener {
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        let (stream, peer) = poll_fn(|cx| self.poll_accept(cx)).await?;
        Ok(Accepted::tcp(stream, peer))
    }

    /// Accepts a connection at one of the sockets. That socket is polled last from now on, so that no address takes all
    /// turns.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let poll = |(at, socket): (usize, &TcpListener)| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Some((at, accepted)),
            Poll::Pending => None,
        };
        match self.sockets.iter().enumerate().find_map(poll) {
            Some((at, accepted)) => {
                self.sockets.rotate_left(at + 1);
                Poll::Ready(accepted)
            }
            None => Poll::Pending,
        }
    }
}

pub(super) fn stream(stream: TcpStream) -> io::Result<Stream> {
    // Messages are written in batches already, so they have to leave at once.
    stream.set_nodelay(true)?;
    let reached = stream.peer_addr()?;
    let near = is_near(reached, stream.local_addr()?);
    if near {
        // A system that refuses keeps its own size; only small messages wait longer then.
        let _ = SockRef::from(&stream).set_send_buffer_size(NEAR_BUFFER);
    }
    let (read, write) = stream.into_split();
    Ok(Stream { near, reached: Some(reached), ..Stream::new(read, write) })
}

/// Refuses a connection of a socket to itself. If nobody listens at a port, the system may choose that very port for
/// the calling side: then TCP connects the socket to itself (simultaneous open, RFC 9293 section 3.5), and the server
/// could not get its port.
fn refuse_itself(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? != stream.peer_addr()? {
        return Ok(stream);
    }
    // Leaves no TIME_WAIT behind at the port.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Err(io::ErrorKind::ConnectionRefused.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::NodeId;

    fn at(octet: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, octet], port))
    }

    /// Binds as a system would that chooses the ports from 1 on, and refuses pairs of an address (by its last octet)
    /// and a port for the reason that `refuses` gives.
    fn bind(
        addresses: &[SocketAddr],
        refuses: impl Fn(u8, u16) -> Option<io::ErrorKind>,
    ) -> (Result<Vec<SocketAddr>, io::ErrorKind>, usize) {
        let mut chosen = 0;
        let bound = bind_all(addresses, |mut address| {
            let SocketAddr::V4(v4) = address else { panic!("{address} is none of the test's") };
            if address.port() == 0 {
                chosen += 1;
                address.set_port(chosen);
            }
            refuses(v4.ip().octets()[3], address.port()).map_or(Ok(((), address)), |kind| Err(kind.into()))
        });
        let bound = bound.map(|bound| bound.into_iter().map(|((), at)| at).collect()).map_err(|error| error.kind());
        (bound, usize::from(chosen))
    }

    #[test]
    fn all_addresses_of_a_name_are_bound_to_one_port() {
        let three = |port| [1, 2, 3].map(|octet| at(octet, port));
        assert_eq!(bind(&three(80), |_, _| None), (Ok(three(80).to_vec()), 0));
        assert_eq!(bind(&three(0), |_, _| None), (Ok(three(1).to_vec()), 1));
        // The port that the system has chosen for the first is free at all of them, or another is tried.
        let taken = |octet, port| (octet == 3 && port < 5).then_some(io::ErrorKind::AddrInUse);
        assert_eq!(bind(&three(0), taken), (Ok(three(5).to_vec()), 5));
    }

    #[test]
    fn ports_are_not_tried_without_end() {
        let taken = |octet, _| (octet == 2).then_some(io::ErrorKind::AddrInUse);
        assert_eq!(bind(&[at(1, 0), at(2, 0)], taken), (Err(io::ErrorKind::AddrInUse), PORTS_TRIED));
    }

    #[test]
    fn a_port_that_is_taken_at_one_address_is_not_bound_at_the_others() {
        let taken = |octet, _| (octet == 2).then_some(io::ErrorKind::AddrInUse);
        assert_eq!(bind(&[at(1, 80), at(2, 80)], taken), (Err(io::ErrorKind::AddrInUse), 0));
        let forbidden = |octet, _| (octet == 2).then_some(io::ErrorKind::PermissionDenied);
        assert_eq!(bind(&[at(1, 0), at(2, 0)], forbidden), (Err(io::ErrorKind::PermissionDenied), 1));
    }

    #[test]
    fn an_address_of_another_host_is_left_out_unless_there_is_no_other() {
        let elsewhere = |octet, _| (octet != 2).then_some(io::ErrorKind::AddrNotAvailable);
        assert_eq!(bind(&[at(1, 0), at(2, 0), at(3, 0)], elsewhere).0, Ok(vec![at(2, 2)]));
        assert_eq!(bind(&[at(1, 80), at(3, 80)], elsewhere).0, Err(io::ErrorKind::AddrNotAvailable));
        assert!(is_of_another_host(&io::Error::from_raw_os_error(EAFNOSUPPORT)));
    }

    /// However the address is written, and whatever a name server answers for a name.
    #[test]
    fn for_a_peer_elsewhere_no_name_leads_to_this_host() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let asker = |near| Some(Asker { node: NodeId([1; 16]), near, protected: false });
            for host in ["localhost", "127.0.0.1", "127.1", "0x7f.1", "0"] {
                let refused = dial(host, port, asker(false)).await.map(|_| ()).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{host}");
                for asked_by in [None, asker(true)] {
                    assert!(dial(host, port, asked_by).await.is_ok_and(|stream| stream.near), "{host}");
                }
            }
        });
    }

    /// With real sockets: connections that wait at one address do not keep those at another from their turns.
    #[test]
    fn the_addresses_take_turns() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sockets: Vec<TcpListener> = (0..3).map(|_| bind_at(at(1, 0)).unwrap()).collect();
            let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
            let mut listener = Listener { sockets };
            // All connections wait before the first is accepted.
            let dialled = ports.iter().flat_map(|port| [*port; 4]);
            let _dialled: Vec<_> = dialled.map(|port| std::net::TcpStream::connect(at(1, port)).unwrap()).collect();
            let mut taken = Vec::new();
            for _ in 0..12 {
                let (accepted, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
                taken.push(accepted.local_addr().unwrap().port());
            }
            for turn in taken.chunks(3) {
                assert!(ports.iter().all(|port| turn.contains(port)), "{taken:?} at {ports:?}");
            }
        });
    }

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
