//! A way between two nodes that can be cut, mended, and led elsewhere.

use std::sync::Arc;
use std::sync::Mutex;

use actix_hermod::Endpoint;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A way between two nodes that can be cut at any byte.
#[derive(Debug)]
pub struct Wire {
    pub endpoint: String,
    /// Where it leads.
    server: Arc<Mutex<String>>,
    /// How many more bytes are let through towards the server before all connections are reset.
    fuse: Arc<Mutex<usize>>,
    accepting: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Wire {
    pub async fn to(server: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        let (server, fuse) = (Arc::new(Mutex::new(server)), Arc::new(Mutex::new(usize::MAX)));
        let (to, of) = (Arc::clone(&server), Arc::clone(&fuse));
        let accepting = actix_rt::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let server = to.lock().expect("no test panics with it").clone();
                let Ok(far) = TcpStream::connect(server).await else { continue };
                actix_rt::spawn(carry(near, far, Arc::clone(&of)));
            }
        });
        Wire { endpoint, server, fuse, accepting }
    }

    /// Leads to another server from the next connection on.
    pub fn lead_to(&self, server: &Endpoint) {
        *self.server.lock().expect("no test panics with it") = server.to_string();
    }

    /// Cuts the connection after so many more bytes.
    pub fn cut_after(&self, bytes: usize) {
        *self.fuse.lock().expect("no test panics with it") = bytes;
    }

    pub fn is_cut(&self) -> bool {
        *self.fuse.lock().expect("no test panics with it") == 0
    }

    pub fn mend(&self) {
        self.cut_after(usize::MAX);
    }
}

/// Carries bytes both ways, until one side ends or the fuse blows; then both are reset.
async fn carry(near: TcpStream, far: TcpStream, fuse: Arc<Mutex<usize>>) {
    for end in [&near, &far] {
        // Unread bytes are thrown away, and the other end hears of it at once.
        end.set_zero_linger().expect("a socket option");
        // As nodes do: what is small does not wait until what was before it is acknowledged.
        end.set_nodelay(true).expect("a socket option");
    }
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let there = async {
        let mut bytes = [0; 1024];
        loop {
            let count = near_in.read(&mut bytes).await.unwrap_or(0);
            let allowed = {
                let mut fuse = fuse.lock().expect("no test panics with it");
                let allowed = count.min(*fuse);
                if *fuse != usize::MAX {
                    *fuse -= allowed;
                }
                allowed
            };
            if far_out.write_all(&bytes[..allowed]).await.is_err() || allowed < count || count == 0 {
                return;
            }
        }
    };
    let back = async {
        let mut bytes = [0; 1024];
        loop {
            let count = far_in.read(&mut bytes).await.unwrap_or(0);
            if count == 0 || near_out.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
