//! Counts the bytes of a link's connections as they are read and written, once for each chunk and without a lock, and the
//! time for which they were not read on purpose.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::io::InspectReader;
use tokio_util::io::InspectWriter;

use super::Stream;
use crate::handle::context::NodeContext;

/// The bytes of a link over its whole life, which also count for its node.
pub(crate) struct ByteMeter {
    node: Arc<NodeContext>,
    sent: AtomicU64,
    received: AtomicU64,
    /// In nanoseconds.
    held_back: AtomicU64,
}

impl ByteMeter {
    pub(crate) fn new(node: Arc<NodeContext>) -> Arc<ByteMeter> {
        Arc::new(ByteMeter { node, sent: AtomicU64::new(0), received: AtomicU64::new(0), held_back: AtomicU64::new(0) })
    }

    /// Returns the bytes written so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the bytes read so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns the time for which the connections were not read on purpose.
    pub(crate) fn held_back(&self) -> Duration {
        Duration::from_nanos(self.held_back.load(Ordering::Relaxed))
    }

    pub(crate) fn was_held_back(&self, time: Duration) {
        self.held_back.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the stream with its bytes counted.
    pub(crate) fn count(self: &Arc<Self>, mut stream: Stream) -> Stream {
        let (reads, writes) = (Arc::clone(self), Arc::clone(self));
        stream.read = Box::new(InspectReader::new(stream.read, move |bytes: &[u8]| reads.count_received(bytes.len())));
        stream.write = Box::new(InspectWriter::new(stream.write, move |bytes: &[u8]| writes.count_sent(bytes.len())));
        stream
    }

    fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.node.observer().bytes_sent(bytes as u64);
    }

    fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.node.observer().bytes_received(bytes as u64);
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::io::IoSlice;
    use std::pin::Pin;
    use std::task::Context;
    use std::task::Poll;

    use bytes::Buf;
    use parking_lot::Mutex;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWrite;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::handle::detached;

    /// Accepts all bytes, and notes how many slices came with each call.
    #[derive(Clone, Default)]
    struct Calls(Arc<Mutex<Vec<usize>>>);

    impl AsyncWrite for Calls {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.lock().push(slices.len());
            Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_chunk_and_its_piece_are_written_and_counted_in_one_call() {
        let (calls, meter) = (Calls::default(), ByteMeter::new(Arc::clone(detached::pointer().this_node())));
        let stream = Stream::new(&b"answer"[..], calls.clone());
        let mut stream = meter.count(stream);
        let (chunk, piece) = (b"the chunk, ", b"and its piece");
        stream.write.write_all_buf(&mut Buf::chain(&chunk[..], &piece[..])).await.unwrap();
        assert_eq!(*calls.0.lock(), [2], "slices in each call");
        let mut read = Vec::new();
        stream.read.read_to_end(&mut read).await.unwrap();
        assert_eq!((meter.sent(), meter.received()), ((chunk.len() + piece.len()) as u64, read.len() as u64));
    }
}
