//! The client's part of the workloads: sends, waits, and measures time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use actix_hermod::Buffer;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::BUFFER;
use super::sink_box;
use super::start;
use super::start_box;
use crate::error::Result;
use crate::machine::memory;
use crate::message::Ack;
use crate::message::Blob;
use crate::message::Data;
use crate::message::Handle;
use crate::message::Pong;
use crate::run::Answers;
use crate::run::Run;
use crate::run::There;
use crate::workload::Figure;
use crate::workload::Load;
use crate::workload::Workload;

/// Bytes after which a sender lets the other tasks of its thread run, which write them: as many as the baselines write
/// at once.
const WRITE: u64 = 64 << 10;
/// Bytes of a message besides its body.
const HEAD: u64 = 10;

pub(super) async fn measure<H: Handle>(run: Run, there: &There, answers: &Answers) -> Result<Figure> {
    let load = run.load;
    let mut first = Client::<H>::connect(load, there, answers).await?;
    match run.workload {
        Workload::Rtt => Figure::median_time(&first.laps(load.total()).await?, load.warm),
        Workload::Window if load.addresses == 1 => first.window().await,
        Workload::Window => first.crowds().await,
        Workload::Oneway | Workload::Bulk | Workload::Boxes => streams(first, run, there).await,
        Workload::IdleBox => {
            let before = memory(there.process)?;
            first.begin(0).await?;
            Ok(Figure::new((memory(there.process)? - before) / load.boxes as f64))
        }
        Workload::IdleConnection => {
            let before = memory(there.process)?;
            let mut clients = Vec::new();
            for _ in 0..load.connections {
                clients.push(Client::<H>::connect(load, there, answers).await?);
            }
            Ok(Figure::new((memory(there.process)? - before) / load.connections as f64))
        }
        Workload::Fairness => first.fairness().await,
    }
}

/// A connected node, with the mailbox for its answers.
struct Client<H: Handle> {
    node: Node,
    at: String,
    load: Load,
    answers: Answers,
    echo: H::To<H::Ping>,
    replies: Mailbox<Pong>,
    return_to: H::To<Pong>,
}

impl<H: Handle> Client<H> {
    async fn connect(load: Load, there: &There, answers: &Answers) -> Result<Client<H>> {
        let node = start(load)?;
        let echo = H::to(&node.remote::<H::Ping>(&there.endpoint, "echo")?);
        let replies = node.mailbox::<Pong>().buffer(Buffer::dropping(BUFFER)).open()?;
        let return_to = H::back_to(&replies);
        let (at, answers) = (there.endpoint.clone(), answers.clone());
        let mut client = Client { node, at, load, answers, echo, replies, return_to };
        client.laps(1).await?;
        Ok(client)
    }

    fn remote<M: RemoteMessage>(&self, name: &str) -> Result<H::To<M>> {
        Ok(H::to(&self.node.remote::<M>(&self.at, name)?))
    }

    async fn pong(&mut self) -> Result<u64> {
        let pong = self.replies.recv().await.ok_or("the reply box was closed")?;
        self.answers.came();
        Ok(pong.seq)
    }

    /// Returns the times of `count` round trips, one after the other.
    async fn laps(&mut self, count: u64) -> Result<Vec<Duration>> {
        let mut laps = Vec::new();
        for seq in 0..count {
            let sent = Instant::now();
            H::send(&self.echo, H::ping(seq, self.return_to.clone()));
            let pong = self.pong().await?;
            laps.push(sent.elapsed());
            if pong != seq {
                return Err(format!("pong {pong} came where {seq} was due").into());
            }
        }
        Ok(laps)
    }

    async fn window(&mut self) -> Result<Figure> {
        let (echo, return_to) = (self.echo.clone(), self.return_to.clone());
        self.trips(|seq| H::send(&echo, H::ping(seq, return_to.clone()))).await
    }

    /// Sends pings with many addresses each, always of the same mailboxes.
    async fn crowds(&mut self) -> Result<Figure> {
        let crowd = self.remote::<H::Crowd>("crowd")?;
        let mut others = Vec::<Mailbox<Pong>>::new();
        for _ in 1..self.load.addresses {
            others.push(self.node.mailbox().open()?);
        }
        let first = self.return_to.clone();
        let members: Vec<_> = std::iter::once(first).chain(others.iter().map(H::back_to)).collect();
        self.trips(|seq| H::send(&crowd, H::crowd(seq, members.clone()))).await
    }

    /// Makes round trips with a window of them in flight.
    async fn trips(&mut self, ping: impl Fn(u64)) -> Result<Figure> {
        let load = self.load;
        let (mut sent, mut next, mut lost) = (0, 0, 0);
        let mut began = Instant::now();
        while next < load.total() {
            while sent < load.total() && sent - next < load.window {
                ping(sent);
                sent += 1;
            }
            let pong = self.pong().await?;
            lost += pong.checked_sub(next).ok_or_else(|| format!("pong {pong} came after {next}"))?;
            if next < load.warm && pong + 1 >= load.warm {
                began = Instant::now();
            }
            next = pong + 1;
        }
        Ok(Figure::rate(load.timed, began.elapsed(), lost))
    }

    /// Sends the address for acknowledgements, and waits for the first.
    async fn begin(&self, connection: u64) -> Result<Mailbox<Ack>> {
        let mut acks = self.node.mailbox::<Ack>().buffer(Buffer::dropping(BUFFER)).open()?;
        H::send(&self.remote::<H::Start>(&start_box(connection))?, H::start(H::back_to(&acks)));
        acks.recv().await.ok_or("the ack box was closed")?;
        Ok(acks)
    }

    /// Prepares a connection's stream of messages of one kind.
    async fn stream<M: RemoteMessage>(&self, connection: u64) -> Result<Stream<H, M>> {
        let acks = self.begin(connection).await?;
        let to: Result<Vec<_>> =
            (0..self.load.boxes).map(|number| self.remote(&sink_box(connection, number))).collect();
        Ok(Stream { load: self.load.share(), to: to?, acks, answers: self.answers.clone() })
    }

    /// Sends pings alone, then pings while bulk is sent over the same connection.
    async fn fairness(&mut self) -> Result<Figure> {
        let idle = self.laps(self.load.warm).await?;
        let bulk = self.stream::<Blob>(0).await?;
        let make = blobs(self.load);
        let done = Rc::new(Cell::new(None));
        let told = Rc::clone(&done);
        actix::spawn(async move { told.set(Some(bulk.run(make).await)) });
        let mut loaded = Vec::new();
        loop {
            if let Some(bulk) = done.take() {
                let lost = bulk?.lost;
                return Ok(Figure { lost, ..Figure::fairness(&loaded, &idle)? });
            }
            loaded.extend(self.laps(1).await?);
        }
    }
}

/// Returns a maker of messages of one size, which all have the same bytes.
fn blobs(load: Load) -> impl Fn(u64) -> Blob + Clone {
    let body = Bytes::from(vec![7; load.body]);
    move |seq| Blob { seq, body: body.clone() }
}

/// Sends the messages over all connections, each with its share of them.
async fn streams<H: Handle>(first: Client<H>, run: Run, there: &There) -> Result<Figure> {
    let mut clients = vec![first];
    for _ in 1..run.load.connections {
        clients.push(Client::connect(run.load, there, &clients[0].answers).await?);
    }
    let sent = if run.sends_blobs() {
        all(&clients, blobs(run.load)).await?
    } else {
        all(&clients, |seq| Data { seq, body: [7; 32] }).await?
    };
    let figure = Figure::rate(sent.read, sent.took, sent.lost);
    Ok(match run.workload {
        Workload::Bulk => Figure { value: figure.value * run.load.body as f64 / 1e6, ..figure },
        _ => figure,
    })
}

async fn all<H: Handle, M: RemoteMessage>(clients: &[Client<H>], make: impl Fn(u64) -> M + Clone) -> Result<Sent> {
    let mut streams = Vec::new();
    for (client, connection) in clients.iter().zip(0..) {
        streams.push(client.stream(connection).await?);
    }
    let began = Instant::now();
    let sent = try_join_all(streams.into_iter().map(|stream| stream.run(make.clone()))).await?;
    let sum = |of: fn(&Sent) -> u64| sent.iter().map(of).sum();
    Ok(Sent { read: sum(|sent| sent.read), lost: sum(|sent| sent.lost), took: began.elapsed() })
}

/// The result of a stream.
struct Sent {
    read: u64,
    lost: u64,
    took: Duration,
}

/// One connection's messages, on their way to boxes in turn.
struct Stream<H: Handle, M: RemoteMessage> {
    load: Load,
    to: Vec<H::To<M>>,
    acks: Mailbox<Ack>,
    answers: Answers,
}

impl<H: Handle, M: RemoteMessage> Stream<H, M> {
    async fn run(mut self, make: impl Fn(u64) -> M) -> Result<Sent> {
        let (load, mut last) = (self.load, Ack { next: 0, count: 0 });
        let began = Instant::now();
        // Yields after some large messages too, as long as others are under way.
        let turn_after = (WRITE / (load.body as u64 + HEAD)).max(load.every.min(16));
        let mut turn = self.to.iter().cycle();
        for seq in 0..load.timed {
            while seq - last.next >= load.window {
                last = self.acks.recv().await.ok_or("the ack box was closed")?;
                self.answers.came();
            }
            if let Some(to) = turn.next() {
                H::send(to, make(seq));
            }
            if seq % turn_after == turn_after - 1 {
                tokio::task::yield_now().await;
                while let Some(ack) = self.acks.try_recv() {
                    last = ack;
                    self.answers.came();
                }
            }
        }
        while last.next < load.timed {
            last = self.acks.recv().await.ok_or("the ack box was closed")?;
            self.answers.came();
        }
        Ok(Sent { read: last.count, lost: load.timed - last.count, took: began.elapsed() })
    }
}
