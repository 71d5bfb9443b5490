//! The client's part of the workloads: sends, waits, and measures time. The same for both baselines.

use std::time::Duration;
use std::time::Instant;

use futures_util::future::try_join_all;
use serde::Serialize;
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
use super::SINKS;
use super::START;
use super::Start;
use super::connect;
use super::link::Outgoing;
use crate::error::Result;
use crate::machine::memory;
use crate::message::Ack;
use crate::message::Pong;
use crate::run::Answers;
use crate::run::Run;
use crate::run::There;
use crate::workload::Figure;
use crate::workload::Load;
use crate::workload::Workload;

/// A client's access to its connection, for messages out and in.
pub(super) trait Way {
    /// Appends something to the gathered messages.
    fn outgoing<T>(&mut self, post: impl FnOnce(&mut Outgoing) -> T) -> T;
    /// Sends the gathered messages, and takes in those that have come.
    async fn send(&mut self) -> Result<()>;
    /// Sends the gathered messages, and waits for the next one.
    async fn reply(&mut self) -> Result<Reply>;
    /// Returns the next message, if one is there.
    fn reply_now(&mut self) -> Result<Option<Reply>>;
}

/// A message for the client.
pub(super) enum Reply {
    Pong(Pong),
    Ack(Ack),
}

pub(super) async fn measure<W: Way>(
    run: Run,
    there: &There,
    answers: &Answers,
    way: impl Fn(TcpStream) -> Result<W>,
) -> Result<Figure> {
    let load = run.load;
    let connect = async || Client::connect(way(connect(there).await?)?, run, answers.clone()).await;
    let mut first = connect().await?;
    match run.workload {
        Workload::Rtt => Figure::median_time(&first.laps(load.total()).await?, load.warm),
        Workload::Window if load.addresses == 1 => {
            first.trips(|seq, outgoing| outgoing.post(ECHO, &Ping { seq, return_to: PONGS })).await
        }
        Workload::Window => {
            // The same members in each message, as in those of the contenders.
            let mut crowd = Crowd { seq: 0, members: vec![PONGS; usize::try_from(load.addresses)?] };
            first
                .trips(move |seq, outgoing| {
                    crowd.seq = seq;
                    outgoing.post(CROWD, &crowd)
                })
                .await
        }
        Workload::Oneway | Workload::Bulk | Workload::Boxes => {
            let mut clients = vec![first];
            for _ in 1..load.connections {
                clients.push(connect().await?);
            }
            streams(clients).await
        }
        Workload::IdleBox => {
            let before = memory(there.process)?;
            first.begin().await?;
            Ok(Figure::new((memory(there.process)? - before) / load.boxes as f64))
        }
        Workload::IdleConnection => {
            let before = memory(there.process)?;
            let mut clients = Vec::new();
            for _ in 0..load.connections {
                clients.push(connect().await?);
            }
            Ok(Figure::new((memory(there.process)? - before) / load.connections as f64))
        }
        Workload::Fairness => first.fairness().await,
    }
}

struct Client<W> {
    way: W,
    run: Run,
    load: Load,
    answers: Answers,
}

impl<W: Way> Client<W> {
    async fn connect(way: W, run: Run, answers: Answers) -> Result<Client<W>> {
        let mut client = Client { way, run, load: run.load.share(), answers };
        client.laps(1).await?;
        Ok(client)
    }

    fn post<M: Serialize>(&mut self, to: BoxNumber, message: &M) -> Result<()> {
        self.way.outgoing(|outgoing| outgoing.post(to, message))
    }

    async fn pong(&mut self) -> Result<u64> {
        let Reply::Pong(pong) = self.way.reply().await? else { return Err("an ack came for a ping".into()) };
        self.answers.came();
        Ok(pong.seq)
    }

    async fn ack(&mut self) -> Result<Ack> {
        let Reply::Ack(ack) = self.way.reply().await? else { return Err("a pong came for a stream".into()) };
        self.answers.came();
        Ok(ack)
    }

    /// Returns the times of `count` round trips, one after the other.
    async fn laps(&mut self, count: u64) -> Result<Vec<Duration>> {
        let mut laps = Vec::new();
        for seq in 0..count {
            let sent = Instant::now();
            self.post(ECHO, &Ping { seq, return_to: PONGS })?;
            let pong = self.pong().await?;
            laps.push(sent.elapsed());
            if pong != seq {
                return Err(format!("pong {pong} came where {seq} was due").into());
            }
        }
        Ok(laps)
    }

    /// Makes round trips with a window of them in flight.
    async fn trips(&mut self, mut ping: impl FnMut(u64, &mut Outgoing) -> Result<()>) -> Result<Figure> {
        let load = self.load;
        let (mut sent, mut next) = (0, 0);
        let mut began = Instant::now();
        while next < self.run.load.total() {
            while sent < load.total() && sent - next < load.window {
                self.way.outgoing(|outgoing| ping(sent, outgoing))?;
                sent += 1;
            }
            let mut pong = Some(self.way.reply().await?);
            while let Some(Reply::Pong(Pong { seq })) = pong {
                if seq != next {
                    return Err(format!("pong {seq} came where {next} was due").into());
                }
                next += 1;
                if next == load.warm {
                    began = Instant::now();
                }
                pong = self.way.reply_now()?;
            }
            self.answers.came();
        }
        Ok(Figure::rate(load.timed, began.elapsed(), 0))
    }

    /// Sends the address for acknowledgements, and waits for the first.
    async fn begin(&mut self) -> Result<Ack> {
        self.post(START, &Start { return_to: ACKS })?;
        self.ack().await
    }

    /// Sends the messages of this connection to its boxes in turn. Returns how many were read.
    async fn stream(&mut self) -> Result<u64> {
        let load = self.load;
        let body = vec![7; load.body];
        let mut last = Ack { next: 0, count: 0 };
        let mut to = (SINKS..).take(usize::try_from(load.boxes)?).cycle();
        for (seq, to) in (0..load.timed).zip(&mut to) {
            while seq - last.next >= load.window {
                last = self.ack().await?;
            }
            if self.run.sends_blobs() {
                self.post(to, &Blob { seq, body: &body })?;
            } else {
                self.post(to, &Data { seq, body: [7; 32] })?;
            }
            if self.way.outgoing(|outgoing| outgoing.is_full()) {
                self.way.send().await?;
                while let Some(Reply::Ack(ack)) = self.way.reply_now()? {
                    last = ack;
                }
                self.answers.came();
            }
        }
        while last.next < load.timed {
            last = self.ack().await?;
        }
        Ok(last.count)
    }

    /// Sends pings alone, then pings while bulk is sent over the same connection.
    async fn fairness(&mut self) -> Result<Figure> {
        let load = self.load;
        let idle = self.laps(load.warm).await?;
        let body = vec![7; load.body];
        let mut last = self.begin().await?;
        let (mut sent, mut pinged, mut loaded) = (0, None, Vec::new());
        while last.next < load.timed || pinged.is_some() {
            if pinged.is_none() {
                pinged = Some(Instant::now());
                self.post(ECHO, &Ping { seq: 0, return_to: PONGS })?;
            }
            while sent < load.timed && sent - last.next < load.window {
                self.post(SINKS, &Blob { seq: sent, body: &body })?;
                sent += 1;
            }
            match self.way.reply().await? {
                Reply::Pong(_) => loaded.extend(pinged.take().map(|pinged| pinged.elapsed())),
                Reply::Ack(ack) => last = ack,
            }
            self.answers.came();
        }
        Figure::fairness(&loaded, &idle)
    }
}

/// Sends the messages over all connections, each with its share of them.
async fn streams<W: Way>(mut clients: Vec<Client<W>>) -> Result<Figure> {
    for client in &mut clients {
        client.begin().await?;
    }
    let run = clients.first().ok_or("nobody to send")?.run;
    let began = Instant::now();
    let read = try_join_all(clients.iter_mut().map(Client::stream)).await?.into_iter().sum();
    let figure = Figure::rate(read, began.elapsed(), 0);
    Ok(match run.workload {
        Workload::Bulk => Figure::new(figure.value * run.load.body as f64 / 1e6),
        _ => figure,
    })
}
