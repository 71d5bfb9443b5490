//! The baselines: the traffic written by hand on the same runtime, without any guarantees.
//!
//! Both send the frames of `link`. The first is meant to be the limit: it handles each message in its read loop, in
//! place, without a mailbox. The second has a task and a bounded channel for each box, and a task that writes; it shows
//! the cost of a mailbox in any implementation.

mod client;
mod direct;
mod link;
mod tasks;

use std::io;

use serde::Deserialize;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::error::Result;
use crate::message::Ack;
use crate::run;
use crate::run::Answers;
use crate::run::Run;
use crate::run::There;
use crate::workload::Contender;
use crate::workload::Figure;
use crate::workload::Load;
use crate::workload::Workload;

type BoxNumber = u32;

const ECHO: BoxNumber = 1;
const CROWD: BoxNumber = 2;
const START: BoxNumber = 3;
/// The client's boxes.
const PONGS: BoxNumber = 4;
const ACKS: BoxNumber = 5;
/// The first of the boxes that a stream of messages goes to.
const SINKS: BoxNumber = 6;

#[derive(Serialize, Deserialize)]
struct Ping {
    seq: u64,
    return_to: BoxNumber,
}

#[derive(Serialize, Deserialize)]
struct Crowd {
    seq: u64,
    members: Vec<BoxNumber>,
}

#[derive(Serialize, Deserialize)]
struct Start {
    return_to: BoxNumber,
}

#[derive(Serialize, Deserialize)]
struct Data {
    seq: u64,
    #[serde(with = "serde_bytes")]
    body: [u8; 32],
}

/// The body stays where it was read, and is not copied to be sent.
#[derive(Serialize, Deserialize)]
struct Blob<'a> {
    seq: u64,
    #[serde(with = "serde_bytes", borrow)]
    body: &'a [u8],
}

/// Runs the server; it ends with its process.
pub(crate) fn serve(run: Run) -> Result<()> {
    let serve = async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        run::announce(&listener.local_addr()?.to_string())?;
        loop {
            let (tcp, _) = listener.accept().await?;
            match run.contender {
                Contender::Task => drop(tokio::task::spawn_local(tasks::serve(tcp, run))),
                _ => drop(tokio::spawn(direct::serve(tcp, run))),
            }
        }
    };
    on_its_runtime(run, serve)
}

/// Runs the client against a server.
pub(crate) fn measure(run: Run, there: There, answers: Answers) -> Result<Figure> {
    let measure = async move {
        match run.contender {
            Contender::Task => client::measure(run, &there, &answers, tasks::Connection::new).await,
            _ => client::measure(run, &there, &answers, link::Link::new).await,
        }
    };
    on_its_runtime(run, measure)
}

/// Runs on one thread. Only the second baseline pays for tasks that are tied to the thread, as actix does.
fn on_its_runtime<T: 'static>(run: Run, work: impl Future<Output = Result<T>> + 'static) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match run.contender {
        Contender::Task => LocalSet::new().block_on(&runtime, async { tokio::task::spawn_local(work).await? }),
        _ => runtime.block_on(work),
    }
}

async fn connect(there: &There) -> io::Result<TcpStream> {
    TcpStream::connect(&there.endpoint).await
}

/// The progress of a stream of messages.
struct Progress {
    load: Load,
    count: u64,
}

impl Progress {
    fn new(run: Run) -> Progress {
        Progress { load: run.load.share(), count: 0 }
    }

    /// Counts a message. Returns the acknowledgement, if one is due.
    #[inline]
    fn taken(&mut self, seq: u64) -> Option<Ack> {
        self.count += 1;
        let next = if self.load.in_order() { seq + 1 } else { self.count };
        let due = self.count.is_multiple_of(self.load.every) || next == self.load.timed;
        due.then_some(Ack { next, count: self.count })
    }
}

/// Returns the number of boxes before the client asks for more.
fn boxes_at_first(run: Run) -> u64 {
    if run.workload == Workload::IdleBox { 0 } else { run.load.boxes }
}
