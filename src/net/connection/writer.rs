//! The writing direction of a connection as a task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::reader::Ended;
use super::reader::KEPT;
use super::turn::YieldBudget;
use crate::net::link::Link;
use crate::net::link::drain::Chunk;
use crate::net::link::drain::Next;

/// Writes the chunks of the link, until the goodbye is written. If the stream `buffers` what is written, it is flushed
/// whenever no further chunk waits.
pub(crate) async fn write(
    mut to: Box<dyn AsyncWrite + Send + Unpin>,
    buffers: bool,
    link: Arc<Link>,
    connection: u64,
) -> Ended {
    let (mut chunk, mut turn, mut unflushed) = (Chunk::default(), YieldBudget::default(), false);
    loop {
        if chunk.bytes.capacity() > KEPT {
            chunk.bytes = BytesMut::new();
        }
        chunk.bytes.clear();
        chunk.piece = Bytes::new();
        let next = poll_fn(|cx| {
            let next = link.poll_next(connection, &mut chunk, cx);
            if unflushed && next.is_pending() {
                match Pin::new(&mut to).poll_flush(cx) {
                    Poll::Ready(Ok(())) => unflushed = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            next.map(Ok)
        });
        let next = match next.await {
            Ok(next) => next,
            Err(error) => return Ended::Unwritable(error),
        };
        unflushed = buffers;
        let result = match next {
            Next::Write if chunk.piece.is_empty() => to.write_all(&chunk.bytes).await,
            Next::Write => to.write_all_buf(&mut Buf::chain(&chunk.bytes[..], &chunk.piece[..])).await,
            Next::Finish => match to.shutdown().await {
                Ok(()) => return Ended::Written,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = result {
            return Ended::Unwritable(error);
        }
        if turn.ends_after(chunk.len()) {
            // Tasks that run now see the room that the written chunk has left.
            link.has_written(connection);
            tokio::task::yield_now().await;
        }
    }
}
