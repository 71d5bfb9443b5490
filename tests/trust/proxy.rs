//! Somebody on the path between two nodes, who passes bytes on, changes them, or cuts the connection.

use std::future::pending;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::sync::CancellationToken;

/// Changes the byte at a place of a direction, counted from 0.
#[derive(Clone, Copy, Default)]
pub(crate) struct Changes {
    pub(crate) to_listener: Option<usize>,
    pub(crate) to_dialler: Option<usize>,
}

/// A TCP proxy.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    alive: Mutex<CancellationToken>,
    /// Bytes of the first connection to the listener.
    recorded: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Starts one before a listener at a port of this host.
    pub(crate) async fn start(port: u16, changes: Changes) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let shared = Arc::new(Shared::default());
        let proxy = Proxy { port: listener.local_addr().expect("an address").port(), shared: Arc::clone(&shared) };
        actix::spawn(async move {
            while let Ok((dialled, _)) = listener.accept().await {
                let Ok(onward) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let (alive, recorder) = (lock(&shared.alive).clone(), Arc::clone(&shared));
                actix::spawn(async move {
                    let ((from_dialler, to_dialler), (from_listener, to_listener)) =
                        (dialled.into_split(), onward.into_split());
                    let record = move |bytes: &[u8]| lock(&recorder.recorded).extend_from_slice(bytes);
                    let there = pass(from_dialler, to_listener, changes.to_listener, record);
                    let back = pass(from_listener, to_dialler, changes.to_dialler, |_| {});
                    tokio::select! {
                        biased;
                        () = alive.cancelled() => {}
                        ((), ()) = async { tokio::join!(there, back) } => {}
                    }
                });
            }
            pending::<()>().await;
        });
        proxy
    }

    /// Cuts all connections; new ones can be made.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *lock(&self.shared.alive)).cancel();
    }

    /// All that was sent to the listener so far.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        lock(&self.shared.recorded).clone()
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, change: Option<usize>, record: impl Fn(&[u8])) {
    let (mut buffer, mut passed) = ([0; 4096], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..read];
        if let Some(byte) = change.and_then(|at| bytes.get_mut(at.wrapping_sub(passed))) {
            *byte ^= 1;
        }
        record(bytes);
        passed += read;
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    // The other side may have gone already.
    let _ = to.shutdown().await;
}
