//! The stream of a TLS connection, which ends with the certificate of its peer.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_rustls::TlsStream;
use tokio_util::sync::DropGuard;

use super::super::over_tcp::Tcp;
use super::fault::TlsFault;
use super::watch::Verdict;

/// See the [module](self).
pub(super) struct Guarded {
    pub(super) tls: TlsStream<Tcp>,
    pub(super) verdict: Arc<Verdict>,
    /// Ends the watcher of the certificate, if there is one.
    pub(super) _watcher: Option<DropGuard>,
}

impl Guarded {
    /// Polls the stream, unless it has to end.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut TlsStream<Tcp>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Some(why) = self.verdict.given() {
            return Poll::Ready(Err(over(why)));
        }
        act(Pin::new(&mut self.tls), cx).map_err(TlsFault::explain)
    }
}

fn over(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A reader waits, so it is the one to be woken; whoever writes next learns it as well.
        if let Some(why) = self.verdict.or_wake(cx) {
            return Poll::Ready(Err(over(why)));
        }
        self.poll(cx, |tls, cx| tls.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |tls, cx| tls.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |tls, cx| tls.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |tls, cx| tls.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |tls, cx| tls.poll_shutdown(cx))
    }
}
