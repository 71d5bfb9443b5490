//! A stranger. Its frames are written by the peer of the tests, but unlike that peer it expects to be turned away or
//! disconnected: provoking that is its purpose.

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

/// The time after which an operation is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the [module](self).
pub(crate) struct Stranger(Peer);

impl Stranger {
    /// Dials from an address of this host; `None` if the node does not accept the connection.
    pub(crate) async fn dial(from: Ipv4Addr, endpoint: &str) -> Option<Stranger> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).ok()?;
        let stream = timeout(PATIENCE, socket.connect(endpoint.parse().ok()?)).await.ok()?.ok()?;
        Some(Stranger(Peer::over(stream)))
    }

    /// Greets as a node of its own; `None` if the node does not let it in.
    pub(crate) async fn greets(mut self) -> Option<Stranger> {
        let hello = Hello::of(fresh_id());
        let greeting = async {
            self.0.says_hello(&hello).await.then_some(())?;
            // Instead of a hello, the node may turn it away.
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

    /// Writes bytes, and returns whether the node takes them in time.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.0.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Discards the bytes that the node has sent so far.
    pub(crate) fn reads_what_there_is(&mut self) {
        let mut chunk = [0; 4096];
        while matches!(self.0.stream.try_read(&mut chunk), Ok(1..)) {}
    }
}
