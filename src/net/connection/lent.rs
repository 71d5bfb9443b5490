//! The writing half of a stream, lent to a greeting: it comes back when the greeting drops it, so that a last word can
//! be written if the greeting is broken off.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use futures_util::FutureExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use crate::net::transport::Stream;

type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The writing half while it is lent.
struct Lent {
    writer: Option<Writer>,
    back: Option<oneshot::Sender<Writer>>,
}

/// The promise that the half comes back.
pub(super) struct Awaited(oneshot::Receiver<Writer>);

/// Lends the writing half of a stream.
pub(super) fn lend(mut stream: Stream) -> (Stream, Awaited) {
    let (back, awaited) = oneshot::channel();
    stream.write = Box::new(Lent { writer: Some(stream.write), back: Some(back) });
    (stream, Awaited(awaited))
}

impl Awaited {
    /// Puts the writing half itself back in the place of the lent one.
    pub(super) fn give_back(self, mut stream: Stream) -> Stream {
        let mut awaited = self.0;
        stream.write = Box::new(tokio::io::empty());
        if let Ok(writer) = awaited.try_recv() {
            stream.write = writer;
        }
        stream
    }

    /// Writes a last word, if the half has come back and there is room for it now.
    pub(super) async fn say_last(mut self, word: &[u8]) {
        let Ok(mut writer) = self.0.try_recv() else { return };
        // The runtime has to poll a freshly opened stream once before it is known to be writable.
        tokio::task::yield_now().await;
        if let Some(Ok(())) = writer.write_all(word).now_or_never() {
            // The connection ends here in any case.
            let _ = writer.shutdown().now_or_never();
        }
    }
}

impl Lent {
    fn writer(&mut self) -> io::Result<Pin<&mut Writer>> {
        self.writer.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(writer), Some(back)) = (self.writer.take(), self.back.take()) {
            // Possibly nobody waits for it any more.
            let _ = back.send(writer);
        }
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::DuplexStream;

    use super::*;

    fn stream() -> (Stream, DuplexStream) {
        let (near, far) = tokio::io::duplex(64);
        let (read, write) = tokio::io::split(near);
        (Stream::new(read, write), far)
    }

    #[tokio::test]
    async fn whoever_is_broken_off_is_told_why() {
        let (stream, mut far) = stream();
        let (mut stream, awaited) = lend(stream);
        stream.write.write_all(b"half a gree").await.unwrap();
        drop(stream);
        awaited.say_last(b"no room").await;
        let mut told = String::new();
        far.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "half a greeno room");
    }

    #[tokio::test]
    async fn a_word_for_which_there_is_no_room_is_not_waited_for() {
        let (stream, far) = stream();
        let (stream, awaited) = lend(stream);
        drop(stream);
        awaited.say_last(&[0; 100]).await;
        drop(far);
    }

    #[tokio::test]
    async fn what_was_lent_is_given_back_as_it_was() {
        let (stream, mut far) = stream();
        let before = std::ptr::from_ref(&*stream.write).addr();
        let (stream, awaited) = lend(stream);
        let mut stream = awaited.give_back(stream);
        assert_eq!(std::ptr::from_ref(&*stream.write).addr(), before);
        stream.write.write_all(b"on").await.unwrap();
        drop(stream);
        let mut told = String::new();
        far.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "on");
    }
}
