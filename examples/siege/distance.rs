//! A way to the node that takes as long as one between two cities does.

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

/// Half of the time until an answer can come.
const ONE_WAY: Duration = Duration::from_millis(20);

/// Where the node is to be dialled by those who are far away.
pub(crate) async fn far_from(endpoint: String) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let far = listener.local_addr()?.to_string();
    actix::spawn(async move {
        while let Ok((here, _)) = listener.accept().await {
            let endpoint = endpoint.clone();
            actix::spawn(async move {
                // The node sees a connection once its last packet has come, and what is said first is right behind that.
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

/// Writes all that was read, a while later, until either end is gone. The first of it was `on_its_way` for so long already.
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
