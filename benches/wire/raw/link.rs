//! Frames on a connection, as both baselines write and read them.
//!
//! One message a frame: its length (`u32`, little-endian), the number of a box, the message in postcard. Frames are
//! gathered and written at least 64 KiB at a time; each is read in place.

use std::io;
use std::mem;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::BoxNumber;
use crate::error::Result;

/// Bytes that are gathered before they are written.
const WRITE: usize = 64 * 1024;
/// Bytes of room for a read. It grows with a frame that does not fit.
const READ: usize = 256 * 1024;
/// Bytes of a frame's length.
const PREFIX: usize = mem::size_of::<u32>();

/// A connection whose two directions are driven by hand.
pub(super) struct Link {
    tcp: TcpStream,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

impl Link {
    pub(super) fn new(tcp: TcpStream) -> Result<Link> {
        tcp.set_nodelay(true)?;
        Ok(Link { tcp, incoming: Incoming::new(), outgoing: Outgoing::default() })
    }

    /// Waits until more bytes have come.
    pub(super) async fn read(&mut self) -> Result<()> {
        match self.tcp.read(self.incoming.room()).await? {
            0 => Err("the other side has gone".into()),
            n => {
                self.incoming.has_come(n);
                Ok(())
            }
        }
    }

    /// Takes bytes that have come already, if there are any.
    pub(super) fn read_what_is_there(&mut self) -> Result<()> {
        match self.tcp.try_read(self.incoming.room()) {
            Ok(0) => Err("the other side has gone".into()),
            Ok(n) => {
                self.incoming.has_come(n);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        self.tcp.write_all(&self.outgoing.bytes).await?;
        self.outgoing.bytes.clear();
        Ok(())
    }
}

/// Frames to be written.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
}

impl Outgoing {
    pub(super) fn post<M: Serialize>(&mut self, to: BoxNumber, message: &M) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; PREFIX]);
        postcard::serialize_with_flavor(&(to, message), Appended(&mut self.bytes))?;
        let length = u32::try_from(self.bytes.len() - start - PREFIX)?;
        self.bytes[start..start + PREFIX].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= WRITE
    }
}

/// A flavor that appends postcard to the gathered bytes; three times as fast as `postcard::to_extend`.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Bytes that were read; those from `start` to `end` are not handled yet.
pub(super) struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    pub(super) fn new() -> Incoming {
        Incoming { bytes: vec![0; READ], start: 0, end: 0 }
    }

    /// Returns the room to read into, behind the bytes that are left, which move to the front.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.end, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes the bytes that were read into the room.
    pub(super) fn has_come(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Returns the next whole frame: its box and the message.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(BoxNumber, &[u8])>> {
        let Some((prefix, rest)) = self.bytes[self.start..self.end].split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        self.start += PREFIX + length;
        Ok(Some(postcard::take_from_bytes(frame)?))
    }
}
