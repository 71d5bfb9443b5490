//! A proxy in front of the node with the latency of a link between two cities.

use std::io;
use std::time::Duration;

use actix::clock::Instant;
use actix::clock::sleep;
use actix::clock::sleep_until;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;

/// The latency in one direction: half of the least time to an answer.
const ONE_WAY: Duration = Duration::from_millis(20);

/// Starts the proxy, and returns the endpoint for distant clients to dial.
pub(crate) async fn far_from(endpoint: String) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let far = listener.local_addr()?.to_string();
    actix::spawn(async move {
        while let Ok((here, _)) = listener.accept().await {
            let endpoint = endpoint.clone();
            actix::spawn(async move {
                // The node sees a connection once the last packet of its handshake has come, and the first data is
                // right behind that.
                sleep(ONE_WAY).await;
                if let Ok(there) = TcpStream::connect(endpoint).await {
                    let (from_here, to_here) = here.into_split();
                    let (from_there, to_there) = there.into_split();
                    actix::spawn(carry(from_here, to_there, ONE_WAY));
                    actix::spawn(carry(from_there, to_here, Duration::ZERO));
                }
            });
        }
    });
    Ok(far)
}

/// Writes all bytes that were read, with a delay, until either end is gone. The first of them were already under way
/// for `on_its_way`.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, on_its_way: Duration) {
    let (depart, mut arrivals) = mpsc::unbounded_channel();
    actix::spawn(async move {
        while let Some((at, bytes)) = arrivals.recv().await {
            sleep_until(at).await;
            let bytes: Vec<u8> = bytes;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let (mut bytes, mut left) = ([0; 4096], ONE_WAY.saturating_sub(on_its_way));
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        if depart.send((Instant::now() + left, bytes[..len].to_vec())).is_err() {
            return;
        }
        left = ONE_WAY;
    }
}
