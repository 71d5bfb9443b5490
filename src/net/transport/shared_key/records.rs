//! The records behind the handshake of a shared key, as a stream of bytes.
//!
//! A record is the length of the rest in two bytes, the most significant first, and the encrypted bytes with their tag
//! of 16 bytes. It carries 1 to 16,384 bytes. Each direction counts its records, and its key is replaced (Noise, section
//! 4.2) behind each 4,096th, so that a key that leaks from memory does not open old records.
//!
//! A record that was altered, left out, repeated or moved does not open; then the stream ends with an error, and nothing
//! of that record is given to the reader. A stream that ends between two records is not told from one that was cut
//! there: the protocol above has a goodbye of its own.
//!
//! A stream keeps at most [`READ`] bytes that were read and not opened, one opened record, and [`BATCH`] bytes to be
//! written; an idle one keeps 4 KiB for reading.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::BytesMut;
use snow::TransportState;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_util::io::poll_read_buf;

/// Bytes of the length of a record.
pub(super) const LENGTH: usize = 2;

/// Bytes of a record's tag.
pub(super) const TAG: usize = 16;

/// Bytes that one record carries at most: as in TLS.
const LONGEST: usize = 16 << 10;

/// Bytes that are sealed for one write to the stream below.
const BATCH: usize = 64 << 10;

/// Bytes that are read from the stream below at a time while it is busy.
const READ: usize = 64 << 10;

/// Bytes of the buffers that an idle stream keeps.
const IDLE: usize = 4 << 10;

/// Records of one direction with the same key.
const REKEYED: u64 = 1 << 12;

/// Both directions of a stream: see the [module](self).
pub(super) struct Records<S> {
    io: S,
    noise: TransportState,
    /// Bytes that were read, and are not opened.
    sealed: BytesMut,
    /// Bytes that were opened, and are not taken yet.
    opened: BytesMut,
    /// Whether the last read filled the room that it had.
    is_busy: bool,
    /// Whether a record did not open: then nothing more is read.
    is_broken: bool,
    /// Sealed records that are not written yet.
    out: BytesMut,
    /// The slices of one write, gathered.
    gathered: Vec<u8>,
}

impl<S> Records<S> {
    /// Makes the stream on top of another, of which nothing was read behind the handshake.
    pub(super) fn new(io: S, noise: TransportState) -> Records<S> {
        let (sealed, opened, out, gathered) = Default::default();
        Records { io, noise, sealed, opened, is_busy: false, is_broken: false, out, gathered }
    }

    /// Opens the next record, if all of it is there: into `into` if there is room, or else to be taken later. Returns
    /// whether there was one.
    fn open_next(&mut self, into: &mut ReadBuf<'_>) -> io::Result<bool> {
        let Some((length, rest)) = self.sealed.split_first_chunk::<LENGTH>() else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes(*length));
        if !(TAG + 1..=LONGEST + TAG).contains(&length) {
            self.is_broken = true;
            return Err(broken("a record has no valid length"));
        }
        let Some(record) = rest.get(..length) else { return Ok(false) };
        let carries = length - TAG;
        let is_whole = if into.remaining() >= carries {
            let room = into.initialize_unfilled_to(carries);
            let is_whole = self.noise.read_message(record, room).is_ok();
            into.advance(if is_whole { carries } else { 0 });
            is_whole
        } else {
            self.opened.resize(carries, 0);
            self.noise.read_message(record, &mut self.opened).is_ok()
        };
        if !is_whole {
            self.opened.clear();
            self.is_broken = true;
            return Err(broken("a record was altered on its way"));
        }
        self.sealed.advance(LENGTH + length);
        if self.noise.receiving_nonce().is_multiple_of(REKEYED) {
            self.noise.rekey_incoming();
        }
        Ok(true)
    }

    /// Gives the reader the bytes that were opened before.
    fn take_opened(&mut self, into: &mut ReadBuf<'_>) {
        let count = self.opened.len().min(into.remaining());
        let (taken, _) = self.opened.split_at(count);
        into.put_slice(taken);
        self.opened.advance(count);
        if self.opened.is_empty() {
            self.opened = BytesMut::new();
        }
    }

    /// Returns the bytes of its buffers.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        [self.sealed.capacity(), self.opened.capacity(), self.out.capacity(), self.gathered.capacity()].iter().sum()
    }

    /// Seals bytes behind those that wait to be written.
    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        for bytes in bytes.chunks(LONGEST) {
            let (at, length) = (self.out.len(), bytes.len() + TAG);
            self.out.resize(at + LENGTH + length, 0);
            let (head, record) = self.out.split_at_mut(at + LENGTH);
            let (_, head) = head.split_at_mut(at);
            head.copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            self.noise.write_message(bytes, record).map_err(|_| broken("no more records can be sealed"))?;
            if self.noise.sending_nonce().is_multiple_of(REKEYED) {
                self.noise.rekey_outgoing();
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Records<S> {
    /// Reads from the stream below. Returns how many bytes came, none at its end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.sealed.is_empty() && !self.is_busy && self.sealed.capacity() > IDLE {
            self.sealed = BytesMut::new();
        }
        // At least the rest of a record has to fit.
        self.sealed.reserve(if self.is_busy || self.sealed.len() >= IDLE / 2 {
            READ - self.sealed.len()
        } else {
            IDLE / 2
        });
        let room = self.sealed.capacity() - self.sealed.len();
        let came = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.sealed))?;
        self.is_busy = came == room;
        Poll::Ready(Ok(came))
    }
}

impl<S: AsyncWrite + Unpin> Records<S> {
    /// Writes the sealed records to the stream below.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.out.advance(written),
            }
        }
        // The room of a small record is kept, so that it is not allocated for each.
        if self.out.capacity() > IDLE {
            self.out = BytesMut::new();
        }
        if self.gathered.capacity() > IDLE {
            self.gathered = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_seal(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = bytes.get(..BATCH).unwrap_or(bytes);
        self.out.reserve(bytes.len() + (bytes.len() / LONGEST + 1) * (LENGTH + TAG));
        self.seal(bytes)?;
        // As much as possible leaves at once; the rest with the next write, or the flush.
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Records<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let records = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !records.opened.is_empty() {
                records.take_opened(into);
                return Poll::Ready(Ok(()));
            }
            if records.is_broken {
                return Poll::Ready(Err(broken("a record did not open")));
            }
            let before = into.filled().len();
            // Records that opened before one that did not are the reader's.
            while into.remaining() > 0 && records.opened.is_empty() {
                match records.open_next(into) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) if into.filled().len() == before => return Poll::Ready(Err(error)),
                    Err(_) => break,
                }
            }
            if into.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if records.opened.is_empty() && ready!(records.poll_fill(cx))? == 0 {
                return Poll::Ready(if records.sealed.is_empty() {
                    Ok(())
                } else {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended within a record"))
                });
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let records = self.get_mut();
        ready!(records.poll_drain(cx))?;
        records.poll_seal(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let records = self.get_mut();
        ready!(records.poll_drain(cx))?;
        let mut gathered = std::mem::take(&mut records.gathered);
        gathered.clear();
        for slice in slices {
            let room = BATCH - gathered.len();
            gathered.extend_from_slice(slice.get(..room).unwrap_or(slice));
        }
        let written = records.poll_seal(cx, &gathered);
        records.gathered = gathered;
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let records = self.get_mut();
        ready!(records.poll_drain(cx))?;
        Pin::new(&mut records.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let records = self.get_mut();
        ready!(records.poll_drain(cx))?;
        Pin::new(&mut records.io).poll_shutdown(cx)
    }
}

fn broken(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}
