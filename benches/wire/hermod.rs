//! The workloads through this crate: each as a user would write it, in an actix System of its own process.

use std::time::Instant;

use actix::Message;
use actix_hermod::{Buffer, IoThread, Mailbox, Node, RemoteMessage};

use crate::Result;
use crate::message::{Ack, Data, Handle, Pong};
use crate::process::{self, Answers};
use crate::workload::{ACKNOWLEDGE_EVERY, Figure, Size, UNACKNOWLEDGED, WINDOW, Workload};

/// Room for everything that a workload may have in flight: nothing is shed.
const BUFFER: usize = 16_384;
/// After how many messages a sender lets the other tasks of its thread run.
const YIELD_EVERY: u64 = 1_024;

/// Runs the server; it ends with its process.
pub(crate) fn serve<H: Handle>(workload: Workload) -> Result<()> {
    actix::System::new().block_on(async {
        let node = start();
        match workload {
            Workload::Rtt | Workload::Window => echo::<H>(&node).await,
            Workload::Oneway => sink::<H>(&node).await,
        }
    })
}

/// Runs the client against a server at this endpoint.
pub(crate) fn measure<H: Handle>(workload: Workload, size: Size, at: &str, answers: &Answers) -> Result<Figure> {
    actix::System::new().block_on(async {
        let node = start();
        match workload {
            Workload::Rtt => rtt::<H>(&node, size, at, answers).await,
            Workload::Window => window::<H>(&node, size, at, answers).await,
            Workload::Oneway => oneway::<H>(&node, size, at, answers).await,
        }
    })
}

/// A node whose sockets run where the environment says: HERMOD_IO=own on a thread of their own.
fn start() -> Node {
    let own = std::env::var("HERMOD_IO").is_ok_and(|thread| thread == "own");
    Node::builder().io_thread(if own { IoThread::Own } else { IoThread::Current }).start()
}

// ------------------------------------------------------------------------------------------------ the servers

async fn echo<H: Handle>(node: &Node) -> Result<()> {
    let mut pings = open::<H::Ping>(node, "echo")?;
    listen(node).await?;
    while let Some(ping) = pings.recv().await {
        H::answer(ping);
    }
    Ok(())
}

async fn sink<H: Handle>(node: &Node) -> Result<()> {
    let mut starts = open::<H::Start>(node, "start")?;
    let mut inbox = open::<Data>(node, "sink")?;
    listen(node).await?;
    let (total, return_to) = H::started(starts.recv().await.ok_or("the start box was closed")?);
    H::send(&return_to, Ack { next: 0, count: 0 });
    let mut count = 0;
    while let Some(data) = inbox.recv().await {
        count += 1;
        let next = data.seq + 1;
        if count % ACKNOWLEDGE_EVERY == 0 || next == total {
            H::send(&return_to, Ack { next, count });
        }
        std::hint::black_box(data.body);
    }
    Ok(())
}

async fn listen(node: &Node) -> Result<()> {
    let endpoint = node.listen("127.0.0.1:0").await?;
    process::announce(endpoint.as_ref())
}

fn open<M>(node: &Node, name: &str) -> Result<Mailbox<M>>
where
    M: RemoteMessage + Message<Result = ()>,
{
    Ok(node.mailbox().name(name).buffer(Buffer::dropping(BUFFER)).open()?)
}

// ------------------------------------------------------------------------------------------------ the clients

async fn rtt<H: Handle>(node: &Node, size: Size, at: &str, answers: &Answers) -> Result<Figure> {
    let echo = H::to(&node.remote::<H::Ping>(at, "echo")?);
    let mut replies = node.mailbox::<Pong>().buffer(Buffer::dropping(BUFFER)).open()?;
    let return_to = H::back_to(&replies);
    let mut laps = Vec::new();
    for seq in 0..size.total() {
        let sent = Instant::now();
        H::send(&echo, H::ping(seq, return_to.clone()));
        let pong = replies.recv().await.ok_or("the reply box was closed")?;
        laps.push(sent.elapsed());
        if pong.seq != seq {
            return Err(format!("pong {} came where {seq} was due", pong.seq).into());
        }
        answers.reached(seq + 1);
    }
    Figure::median_time(&laps, size.warm)
}

async fn window<H: Handle>(node: &Node, size: Size, at: &str, answers: &Answers) -> Result<Figure> {
    let echo = H::to(&node.remote::<H::Ping>(at, "echo")?);
    let mut replies = node.mailbox::<Pong>().buffer(Buffer::dropping(BUFFER)).open()?;
    let return_to = H::back_to(&replies);
    let (mut sent, mut next, mut lost) = (0, 0, 0);
    let mut began = Instant::now();
    while next < size.total() {
        while sent < size.total() && sent - next < WINDOW {
            H::send(&echo, H::ping(sent, return_to.clone()));
            sent += 1;
        }
        let pong = replies.recv().await.ok_or("the reply box was closed")?;
        lost += pong.seq.checked_sub(next).ok_or_else(|| format!("pong {} came after {next}", pong.seq))?;
        if next < size.warm && pong.seq + 1 >= size.warm {
            began = Instant::now();
        }
        next = pong.seq + 1;
        answers.reached(next);
    }
    Ok(Figure::rate(size.timed, began.elapsed(), lost))
}

async fn oneway<H: Handle>(node: &Node, size: Size, at: &str, answers: &Answers) -> Result<Figure> {
    let start = H::to(&node.remote::<H::Start>(at, "start")?);
    let sink = H::to(&node.remote::<Data>(at, "sink")?);
    let mut acks = node.mailbox::<Ack>().buffer(Buffer::dropping(BUFFER)).open()?;
    let total = size.total();
    H::send(&start, H::start(total, H::back_to(&acks)));
    let mut last = acks.recv().await.ok_or("the ack box was closed")?;

    let began = Instant::now();
    for seq in 0..total {
        while seq - last.next >= UNACKNOWLEDGED {
            last = acks.recv().await.ok_or("the ack box was closed")?;
            answers.reached(last.next);
        }
        H::send(&sink, Data { seq, body: [7; 32] });
        if seq % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
            while let Some(ack) = acks.try_recv() {
                last = ack;
                answers.reached(last.next);
            }
        }
    }
    while last.next < total {
        last = acks.recv().await.ok_or("the ack box was closed")?;
        answers.reached(last.next);
    }
    Ok(Figure::rate(last.count, began.elapsed(), total - last.count))
}
