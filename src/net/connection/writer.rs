//! The writing direction of a connection as a task.

use std::future::poll_fn;
use std::sync::Arc;

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

/// Writes the chunks of the link, until the goodbye is written.
pub(crate) async fn write(mut to: Box<dyn AsyncWrite + Send + Unpin>, link: Arc<Link>, connection: u64) -> Ended {
    let (mut chunk, mut turn) = (Chunk::default(), YieldBudget::default());
    loop {
        if chunk.bytes.capacity() > KEPT {
            chunk.bytes = BytesMut::new();
        }
        chunk.bytes.clear();
        chunk.piece = Bytes::new();
        let result = match poll_fn(|cx| link.poll_next(connection, &mut chunk, cx)).await {
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
