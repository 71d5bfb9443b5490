//! Unix sockets: the socket's file, and the files that killed processes leave behind.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;

use tokio::net::UnixListener;
use tokio::net::UnixStream;

use super::Stream;
use super::accepted::Accepted;
use crate::observe::identity::Identity;

pub(super) async fn dial(path: &str) -> io::Result<Stream> {
    Ok(stream(UnixStream::connect(path).await?))
}

/// Accepts connections at one path.
pub(crate) struct BoundSocket {
    /// Dropped first: once nobody listens, another process may put its own file there.
    _file: SocketFile,
    listener: UnixListener,
}

/// Listens at a path, replacing a file that a killed process has left behind.
pub(super) async fn bind(path: &str) -> io::Result<BoundSocket> {
    remove_stale(Path::new(path)).await;
    let listener = UnixListener::bind(path)?;
    Ok(BoundSocket { _file: SocketFile(path.into()), listener })
}

pub(super) async fn accept(listener: &BoundSocket) -> io::Result<Accepted> {
    Ok(Accepted::unix(listener.listener.accept().await?.0))
}

pub(super) fn stream(stream: UnixStream) -> Stream {
    // Of the process that has connected or listens, as it was then. Its process id is left out: it may be another's soon.
    let identity =
        stream.peer_cred().map_or(Identity::Unknown, |cred| Identity::Unix { uid: cred.uid(), gid: cred.gid() });
    let (read, write) = stream.into_split();
    Stream { near: true, identity, ..Stream::new(read, write) }
}

/// The file of a Unix socket, which nobody else removes.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The file may be gone already, or belong to another process by now: neither is worth reporting.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes the file of a socket that a killed process has left behind: one at which nobody answers. A file that is not
/// a socket refuses connections as well, hence the check; it is not ours to remove.
async fn remove_stale(path: &Path) {
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        let _ = std::fs::remove_file(path);
    }
}
