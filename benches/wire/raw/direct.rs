//! The first baseline: messages are handled in the read loop.

use std::collections::HashMap;

use tokio::net::TcpStream;

use super::ACKS;
use super::Blob;
use super::BoxNumber;
use super::CROWD;
use super::Crowd;
use super::Data;
use super::ECHO;
use super::PONGS;
use super::Ping;
use super::Progress;
use super::SINKS;
use super::START;
use super::Start;
use super::boxes_at_first;
use super::client::Reply;
use super::client::Way;
use super::link::Incoming;
use super::link::Link;
use super::link::Outgoing;
use crate::error::Result;
use crate::message::Ack;
use crate::message::Pong;
use crate::run::Run;

/// Serves one connection.
pub(super) async fn serve(tcp: TcpStream, run: Run) -> Result<()> {
    let mut link = Link::new(tcp)?;
    let mut boxes = Boxes::new(run);
    loop {
        link.read().await?;
        while let Some((to, body)) = link.incoming.next()? {
            boxes.handle(to, body, &mut link.outgoing)?;
            if link.outgoing.is_full() {
                link.flush().await?;
            }
        }
        link.flush().await?;
    }
}

/// The boxes behind one connection.
struct Boxes {
    run: Run,
    /// Messages for each box of the stream.
    counts: Vec<u64>,
    names: HashMap<String, BoxNumber>,
    progress: Progress,
    return_to: BoxNumber,
}

impl Boxes {
    fn new(run: Run) -> Boxes {
        let mut boxes =
            Boxes { run, counts: Vec::new(), names: HashMap::new(), progress: Progress::new(run), return_to: ACKS };
        boxes.open(boxes_at_first(run));
        boxes
    }

    fn open(&mut self, count: u64) {
        for number in 0..count {
            self.names.insert(format!("sink-{number}"), SINKS + self.counts.len() as BoxNumber);
            self.counts.push(0);
        }
    }

    /// Handles one message.
    #[inline]
    fn handle(&mut self, to: BoxNumber, body: &[u8], outgoing: &mut Outgoing) -> Result<()> {
        match to {
            ECHO => {
                let Ping { seq, return_to } = postcard::from_bytes(body)?;
                outgoing.post(return_to, &Pong { seq })
            }
            CROWD => {
                let Crowd { seq, members } = postcard::from_bytes(body)?;
                outgoing.post(*members.first().ok_or("nobody to answer")?, &Pong { seq })
            }
            START => {
                self.return_to = postcard::from_bytes::<Start>(body)?.return_to;
                self.open(self.run.load.boxes - boxes_at_first(self.run));
                outgoing.post(self.return_to, &Ack { next: 0, count: 0 })
            }
            sink => {
                *self.counts.get_mut((sink - SINKS) as usize).ok_or("no such box")? += 1;
                let seq = self.read(body)?;
                match self.progress.taken(seq) {
                    Some(ack) => outgoing.post(self.return_to, &ack),
                    None => Ok(()),
                }
            }
        }
    }

    #[inline]
    fn read(&self, body: &[u8]) -> Result<u64> {
        if self.run.sends_blobs() {
            let blob: Blob<'_> = postcard::from_bytes(body)?;
            std::hint::black_box(blob.body);
            return Ok(blob.seq);
        }
        let data: Data = postcard::from_bytes(body)?;
        std::hint::black_box(data.body);
        Ok(data.seq)
    }
}

impl Incoming {
    /// Returns the next message for the client.
    fn reply(&mut self) -> Result<Option<Reply>> {
        let Some((to, body)) = self.next()? else { return Ok(None) };
        Reply::read(to, body).map(Some)
    }
}

impl Way for Link {
    #[inline]
    fn outgoing<T>(&mut self, post: impl FnOnce(&mut Outgoing) -> T) -> T {
        post(&mut self.outgoing)
    }

    async fn send(&mut self) -> Result<()> {
        self.flush().await?;
        self.read_what_is_there()
    }

    async fn reply(&mut self) -> Result<Reply> {
        self.flush().await?;
        loop {
            match self.incoming.reply()? {
                Some(reply) => return Ok(reply),
                None => self.read().await?,
            }
        }
    }

    fn reply_now(&mut self) -> Result<Option<Reply>> {
        self.incoming.reply()
    }
}

impl Reply {
    /// Decodes a frame for the client.
    #[inline]
    pub(super) fn read(to: BoxNumber, body: &[u8]) -> Result<Reply> {
        match to {
            PONGS => Ok(Reply::Pong(postcard::from_bytes(body)?)),
            ACKS => Ok(Reply::Ack(postcard::from_bytes(body)?)),
            unknown => Err(format!("no box {unknown}").into()),
        }
    }
}
