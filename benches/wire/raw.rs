//! The baseline: what can be had by hand on the same runtime, with no mailbox, no name and no promise.
//!
//! One message a frame: its length (`u32`, little-endian), the number of a box, the message in postcard. Frames are
//! gathered and written up to 64 KiB at a time; the read loop handles each where it lies.
//!
//! It is meant to be the limit. Therefore its `Data` copies the body as bytes, where the message of ours, written as
//! most users would, is an array that serde takes element by element: about 25 ns more on each side.

use std::io;
use std::mem;
use std::time::Instant;

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::message::{Ack, Pong};
use crate::process::{self, Answers};
use crate::workload::{ACKNOWLEDGE_EVERY, Figure, Size, UNACKNOWLEDGED, WINDOW, Workload};

/// How much is gathered before it is written.
const WRITE: usize = 64 * 1024;
/// Room for what is read at once. A frame is much smaller.
const READ: usize = 256 * 1024;
/// Bytes of a frame's length.
const PREFIX: usize = mem::size_of::<u32>();

type BoxNumber = u32;

const ECHO: BoxNumber = 1;
const START: BoxNumber = 2;
const SINK: BoxNumber = 3;
/// The client's only box.
const REPLIES: BoxNumber = 4;

#[derive(Serialize, Deserialize)]
struct Ping {
    seq: u64,
    return_to: BoxNumber,
}

#[derive(Serialize, Deserialize)]
struct Start {
    total: u64,
    return_to: BoxNumber,
}

#[derive(Serialize, Deserialize)]
struct Data {
    seq: u64,
    #[serde(with = "serde_bytes")]
    body: [u8; 32],
}

/// Runs the server; it ends with its process.
pub(crate) fn serve() -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        process::announce(&listener.local_addr()?.to_string())?;
        loop {
            let (tcp, _) = listener.accept().await?;
            tokio::spawn(async move { Server::new(tcp)?.run().await });
        }
    })
}

/// Runs the client against a server at this endpoint.
pub(crate) fn measure(workload: Workload, size: Size, at: &str, answers: &Answers) -> Result<Figure> {
    runtime()?.block_on(async {
        let mut link = Link::new(TcpStream::connect(at).await?)?;
        match workload {
            Workload::Rtt => rtt(&mut link, size, answers).await,
            Workload::Window => window(&mut link, size, answers).await,
            Workload::Oneway => oneway(&mut link, size, answers).await,
        }
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

// ------------------------------------------------------------------------------------------------- the server

/// The boxes behind one connection.
struct Server {
    link: Link,
    start: Start,
    count: u64,
}

impl Server {
    fn new(tcp: TcpStream) -> Result<Server> {
        Ok(Server { link: Link::new(tcp)?, start: Start { total: 0, return_to: REPLIES }, count: 0 })
    }

    async fn run(mut self) -> Result<()> {
        loop {
            self.link.read().await?;
            while self.handle_next()? {
                if self.link.outgoing.is_full() {
                    self.link.flush().await?;
                }
            }
            self.link.flush().await?;
        }
    }

    /// Handles one message; false if none is there as a whole.
    fn handle_next(&mut self) -> Result<bool> {
        let Some((to, body)) = self.link.incoming.next()? else { return Ok(false) };
        let outgoing = &mut self.link.outgoing;
        match to {
            ECHO => {
                let Ping { seq, return_to } = postcard::from_bytes(body)?;
                outgoing.post(return_to, &Pong { seq })?;
            }
            START => {
                self.start = postcard::from_bytes(body)?;
                self.count = 0;
                outgoing.post(self.start.return_to, &Ack { next: 0, count: 0 })?;
            }
            SINK => {
                let data: Data = postcard::from_bytes(body)?;
                self.count += 1;
                let next = data.seq + 1;
                if self.count.is_multiple_of(ACKNOWLEDGE_EVERY) || next == self.start.total {
                    outgoing.post(self.start.return_to, &Ack { next, count: self.count })?;
                }
                std::hint::black_box(data.body);
            }
            unknown => return Err(format!("no box {unknown}").into()),
        }
        Ok(true)
    }
}

// ------------------------------------------------------------------------------------------------ the clients

async fn rtt(link: &mut Link, size: Size, answers: &Answers) -> Result<Figure> {
    let mut laps = Vec::new();
    for seq in 0..size.total() {
        let sent = Instant::now();
        link.outgoing.post(ECHO, &Ping { seq, return_to: REPLIES })?;
        link.flush().await?;
        let pong: Pong = loop {
            match link.incoming.reply()? {
                Some(pong) => break pong,
                None => link.read().await?,
            }
        };
        laps.push(sent.elapsed());
        if pong.seq != seq {
            return Err(format!("pong {} came where {seq} was due", pong.seq).into());
        }
        answers.reached(seq + 1);
    }
    Figure::median_time(&laps, size.warm)
}

async fn window(link: &mut Link, size: Size, answers: &Answers) -> Result<Figure> {
    let (mut sent, mut next) = (0, 0);
    let mut began = Instant::now();
    while next < size.total() {
        while sent < size.total() && sent - next < WINDOW {
            link.outgoing.post(ECHO, &Ping { seq: sent, return_to: REPLIES })?;
            sent += 1;
        }
        link.flush().await?;
        link.read().await?;
        while let Some(Pong { seq }) = link.incoming.reply()? {
            if seq != next {
                return Err(format!("pong {seq} came where {next} was due").into());
            }
            next += 1;
            if next == size.warm {
                began = Instant::now();
            }
        }
        answers.reached(next);
    }
    Ok(Figure::rate(size.timed, began.elapsed(), 0))
}

async fn oneway(link: &mut Link, size: Size, answers: &Answers) -> Result<Figure> {
    let total = size.total();
    link.outgoing.post(START, &Start { total, return_to: REPLIES })?;
    let mut last = link.acknowledged().await?;
    let began = Instant::now();
    for seq in 0..total {
        while seq - last.next >= UNACKNOWLEDGED {
            last = link.acknowledged().await?;
            answers.reached(last.next);
        }
        link.outgoing.post(SINK, &Data { seq, body: [7; 32] })?;
        if link.outgoing.is_full() {
            link.flush().await?;
            link.read_what_is_there()?;
            while let Some(ack) = link.incoming.reply()? {
                last = ack;
            }
            answers.reached(last.next);
        }
    }
    while last.next < total {
        last = link.acknowledged().await?;
        answers.reached(last.next);
    }
    Ok(Figure::rate(last.count, began.elapsed(), total - last.count))
}

// --------------------------------------------------------------------------------------------- the connection

struct Link {
    tcp: TcpStream,
    incoming: Incoming,
    outgoing: Outgoing,
}

impl Link {
    fn new(tcp: TcpStream) -> Result<Link> {
        tcp.set_nodelay(true)?;
        let incoming = Incoming { bytes: vec![0; READ], start: 0, end: 0 };
        Ok(Link { tcp, incoming, outgoing: Outgoing { bytes: Vec::new() } })
    }

    /// Waits until more has come.
    async fn read(&mut self) -> Result<()> {
        match self.tcp.read(self.incoming.room()).await? {
            0 => Err("the other side has gone".into()),
            n => {
                self.incoming.end += n;
                Ok(())
            }
        }
    }

    /// Takes what has come already, if anything.
    fn read_what_is_there(&mut self) -> Result<()> {
        match self.tcp.try_read(self.incoming.room()) {
            Ok(0) => Err("the other side has gone".into()),
            Ok(n) => {
                self.incoming.end += n;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        self.tcp.write_all(&self.outgoing.bytes).await?;
        self.outgoing.bytes.clear();
        Ok(())
    }

    /// Sends what is gathered, and waits for the next acknowledgement.
    async fn acknowledged(&mut self) -> Result<Ack> {
        self.flush().await?;
        loop {
            match self.incoming.reply()? {
                Some(ack) => return Ok(ack),
                None => self.read().await?,
            }
        }
    }
}

/// Frames to be written.
struct Outgoing {
    bytes: Vec<u8>,
}

impl Outgoing {
    fn post<M: Serialize>(&mut self, to: BoxNumber, message: &M) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; PREFIX]);
        postcard::serialize_with_flavor(&(to, message), Appended(&mut self.bytes))?;
        let length = u32::try_from(self.bytes.len() - start - PREFIX)?;
        self.bytes[start..start + PREFIX].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= WRITE
    }
}

/// Postcard at the end of what is gathered; three times as fast as `postcard::to_extend`.
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

/// Bytes read, of which those from `start` to `end` are not handled yet.
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    /// Where to read to: behind what is left, which moves to the front.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.bytes[self.end..]
    }

    /// The next whole frame: its box and the message.
    fn next(&mut self) -> Result<Option<(BoxNumber, &[u8])>> {
        let Some((prefix, rest)) = self.bytes[self.start..self.end].split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        self.start += PREFIX + length;
        Ok(Some(postcard::take_from_bytes(frame)?))
    }

    /// The next whole frame of a client, which has one box.
    fn reply<M: DeserializeOwned>(&mut self) -> Result<Option<M>> {
        match self.next()? {
            Some((REPLIES, body)) => Ok(Some(postcard::from_bytes(body)?)),
            Some((other, _)) => Err(format!("no box {other}").into()),
            None => Ok(None),
        }
    }
}
