//! TCP of a simulated network, for nodes on hosts that turmoil simulates.

use std::io;

pub(super) use turmoil::net::TcpListener;
pub(super) use turmoil::net::TcpStream;

/// Simulated hosts know each other by the names that they were given.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect((host, port)).await
}

/// turmoil listens at all addresses of a host (`0.0.0.0`, `::`) or at its loopback. Gives the port as well.
pub(super) async fn bind(host: &str, port: u16) -> io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((host, port)).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}
