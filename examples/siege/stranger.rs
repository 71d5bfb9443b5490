//! A stranger: what it says is written by the peer of the tests, but it takes what comes: that it is not let in, or is hung
//! up on, is what it is after.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;

use actix::clock::timeout;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use super::peer::Hello;
use super::peer::Peer;
use super::peer::fresh_id;
use super::peer::kind;

/// Whatever takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the [module](self).
pub(crate) struct Stranger(Peer);

impl Stranger {
    /// Dials from an address of this host; none if the node does not take the connection.
    pub(crate) async fn dial(from: Ipv4Addr, endpoint: &str) -> Option<Stranger> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).ok()?;
        let stream = timeout(PATIENCE, socket.connect(endpoint.parse().ok()?)).await.ok()?.ok()?;
        Some(Stranger(Peer::over(stream)))
    }

    /// Greets as a node of its own; none if the node does not let it in.
    pub(crate) async fn greets(mut self) -> Option<Stranger> {
        let hello = Hello::of(fresh_id());
        let greeting = async {
            self.0.says_hello(&hello).await.then_some(())?;
            // In place of a hello it may be turned away.
            let mut first = [0];
            (self.0.stream.peek(&mut first).await.ok()? == 1 && first == *b"H").then_some(())?;
            self.0.hello().await?;
            let proof = self.0.proof(&hello, &[]);
            self.0.send(&proof).await.then_some(())?;
            self.0.frame().await.filter(|first| first.kind == kind::WELCOME)
        };
        timeout(PATIENCE, greeting).await.ok()??;
        Some(self)
    }

    /// Whether the node lets it write that, which it need not do for long.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.0.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Throws away what the node has sent so far.
    pub(crate) fn reads_what_there_is(&mut self) {
        let mut chunk = [0; 4096];
        while matches!(self.0.stream.try_read(&mut chunk), Ok(1..)) {}
    }
}
