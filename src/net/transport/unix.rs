//! Unix sockets: the socket's file, its permissions, and the files that killed processes leave behind.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::fs::TryLockError;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use socket2::Domain;
use socket2::SockAddr;
use socket2::Socket;
use socket2::Type;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use super::Stream;
use super::accepted::Accepted;
use super::tcp::BACKLOG;
use crate::observe::identity::Identity;

/// Attempts at the lock of a folder, and the pause between two of them: another node holds it for an instant.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn dial(path: &str) -> io::Result<Stream> {
    Ok(stream(UnixStream::connect(path).await?))
}

/// Accepts connections at one path.
pub(crate) struct BoundSocket {
    /// Dropped first: once nobody listens, another process may put its own file there.
    _file: SocketFile,
    listener: UnixListener,
}

/// Listens at a path, replacing a file that a killed process has left behind. The file has the permissions `mode`, or
/// else those that the process's umask leaves.
///
/// # Errors
/// [`AddrInUse`](io::ErrorKind::AddrInUse) if a process listens there, or the file is not a socket.
pub(super) async fn bind(path: &str, mode: Option<u32>) -> io::Result<BoundSocket> {
    let path = Path::new(path);
    let _lock = lock_folder(path).await;
    remove_stale(path).await;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let socket = OwnedFd::from(socket);
    if let Some(mode) = mode {
        restrict(&socket, mode);
    }
    let socket = Socket::from(socket);
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::at(path)?;
    // Nobody can connect before it listens, so nobody gets in before the permissions are set.
    if let Some(mode) = mode.filter(|mode| !has_mode(path, *mode)) {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(OwnedFd::from(socket).into())?;
    Ok(BoundSocket { _file: file, listener })
}

/// Has the file of a socket that is not bound yet get no more permissions than these. Systems other than Linux may refuse:
/// then they are set by the file's name.
fn restrict(socket: &OwnedFd, mode: u32) {
    if let Ok(socket) = socket.try_clone() {
        let _ = File::from(socket).set_permissions(Permissions::from_mode(mode));
    }
}

fn has_mode(path: &Path, mode: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.permissions().mode() & 0o777 == mode)
}

/// Locks the folder of a socket's file, so that no other node of any process takes the file for a stale one before this
/// node listens. Without a lock, as in a folder that cannot be read, two nodes that start at the same instant might both
/// believe that they listen.
async fn lock_folder(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).ok()?;
    for _ in 0..ATTEMPTS {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::Error(_)) => break,
        }
    }
    None
}

pub(super) async fn accept(listener: &BoundSocket) -> io::Result<Accepted> {
    Ok(Accepted::unix(listener.listener.accept().await?.0))
}

pub(super) fn stream(stream: UnixStream) -> Stream {
    // Of the process that has connected or listens, as it was then. Its process id is left out: it may be another's soon.
    let identity =
        stream.peer_cred().map_or(Identity::Unknown, |cred| Identity::Unix { uid: cred.uid(), gid: cred.gid() });
    let (read, write) = stream.into_split();
    Stream { near: true, identity, ..Stream::new(read, write) }.over("unix")
}

/// The file of a Unix socket. It is removed with the listener, unless another has taken its place.
struct SocketFile {
    path: PathBuf,
    /// The device and the number of the file there.
    number: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.into(), number: number_of(path)? })
    }
}

fn number_of(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A failure is not worth reporting: the file may be gone already.
        if number_of(&self.path).is_ok_and(|number| number == self.number) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the file of a socket that a killed process has left behind: one at which nobody answers. A file that is not
/// a socket refuses connections as well, hence the check; it is not ours to remove.
async fn remove_stale(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, which is removed with its contents.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let path = std::env::temp_dir().join(format!("hermod-{}", uuid::Uuid::new_v4()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn socket(&self) -> String {
            self.0.join("node").to_str().unwrap().to_owned()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    /// Leaves a socket file at which nobody listens, as a process that is killed does.
    fn leave_stale(path: &str) {
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        assert!(Path::new(path).exists());
    }

    #[test]
    fn the_file_has_the_permissions_that_were_asked_for() {
        let folder = Folder::new();
        on(async {
            for mode in [0o600, 0o660, 0o666] {
                let bound = bind(&folder.socket(), Some(mode)).await.unwrap();
                assert_eq!(fs::metadata(folder.socket()).unwrap().permissions().mode() & 0o777, mode);
                drop(bound);
                assert!(!Path::new(&folder.socket()).exists());
            }
        });
    }

    #[test]
    fn a_stale_file_is_replaced_and_one_of_a_live_process_is_not() {
        let folder = Folder::new();
        on(async {
            leave_stale(&folder.socket());
            let _live = bind(&folder.socket(), None).await.unwrap();
            assert_eq!(bind(&folder.socket(), None).await.err().unwrap().kind(), io::ErrorKind::AddrInUse);
            assert!(dial(&folder.socket()).await.is_ok(), "the first is still there");
        });
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = Folder::new();
        fs::write(folder.socket(), "a text").unwrap();
        assert_eq!(on(bind(&folder.socket(), None)).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(folder.socket()).unwrap(), b"a text");
    }

    /// Many threads find the same stale file at once.
    #[test]
    fn of_many_who_replace_a_stale_file_one_listens() {
        for _ in 0..20 {
            let folder = Folder::new();
            leave_stale(&folder.socket());
            let start = std::sync::Barrier::new(8);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            on(async { bind(&folder.socket(), None).await.ok() })
                        })
                    })
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(bound.len(), 1);
        }
    }

    #[test]
    fn a_listener_that_ends_leaves_the_file_of_another() {
        let folder = Folder::new();
        on(async {
            let first = bind(&folder.socket(), None).await.unwrap();
            fs::remove_file(folder.socket()).unwrap();
            let _second = bind(&folder.socket(), None).await.unwrap();
            drop(first);
            assert!(dial(&folder.socket()).await.is_ok());
        });
    }
}
