//! Counts the bytes of a link's connections, where they are read and written: once for each chunk, without a lock.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use super::Stream;
use crate::handle::ports::Router;

/// Bytes over the life of a link, which also count for its node.
pub(crate) struct ByteMeter {
    router: Arc<dyn Router>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl ByteMeter {
    pub(crate) fn new(router: Arc<dyn Router>) -> Arc<ByteMeter> {
        Arc::new(ByteMeter { router, sent: AtomicU64::new(0), received: AtomicU64::new(0) })
    }

    /// Bytes written so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes read so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The same stream, counted.
    pub(crate) fn count(self: &Arc<Self>, mut stream: Stream) -> Stream {
        stream.read = Box::new(Metered { direction: stream.read, meter: Arc::clone(self) });
        stream.write = Box::new(Metered { direction: stream.write, meter: Arc::clone(self) });
        stream
    }

    fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.router.observer().bytes_sent(bytes as u64);
    }

    fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.router.observer().bytes_received(bytes as u64);
    }
}

impl fmt::Debug for ByteMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteMeter")
            .field("sent", &self.sent())
            .field("received", &self.received())
            .finish_non_exhaustive()
    }
}

/// One direction of a connection.
struct Metered<D> {
    direction: D,
    meter: Arc<ByteMeter>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.direction).poll_read(cx, buf))?;
        this.meter.count_received(buf.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Metered<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.direction).poll_write(cx, buf))?;
        this.meter.count_sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().direction).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().direction).poll_shutdown(cx)
    }
}
