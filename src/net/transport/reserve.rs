//! A spare file descriptor, kept open so that one is left when the system gives no more.

use std::io;

use socket2::Domain;
use socket2::Socket;
use socket2::Type;

/// The error numbers for "the process, or the system, has too many open files".
#[cfg(unix)]
const OUT_OF_FILES: [i32; 2] = [libc::EMFILE, libc::ENFILE];
/// WSAEMFILE.
#[cfg(not(unix))]
const OUT_OF_FILES: [i32; 1] = [10_024];

/// Whether there was no file left for a connection.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| OUT_OF_FILES.contains(&number))
}

/// See the [module](self). A socket that is bound to nothing is a file on every system.
#[derive(Debug)]
pub(crate) struct Reserve(Option<Socket>);

impl Reserve {
    pub(crate) fn new() -> Reserve {
        let mut reserve = Reserve(None);
        reserve.refill();
        reserve
    }

    /// Opens the spare file, if there is none and the system gives one. Returns whether there is one now.
    pub(crate) fn refill(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = Socket::new(Domain::IPV4, Type::DGRAM, None).ok();
        }
        self.0.is_some()
    }

    /// Closes the spare file, so that another can be opened in its place. Returns whether there was one.
    pub(crate) fn release(&mut self) -> bool {
        self.0.take().is_some()
    }
}
