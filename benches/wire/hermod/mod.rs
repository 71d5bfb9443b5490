//! The workloads through this crate: each as a user would write it, in an actix System of a process of its own.

mod client;
mod server;
pub(crate) mod transport;

use actix::Message;
use actix_hermod::Buffer;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;

use crate::error::Result;
use crate::message::Handle;
use crate::run::Answers;
use crate::run::Run;
use crate::run::There;
use crate::workload::Figure;
use crate::workload::Load;

/// Room for all messages that a workload may have in flight, so that none is shed.
const BUFFER: usize = 16_384;
/// The defaults of a node.
const OUTBOX: usize = 4 << 20;
const MAX_MESSAGE: usize = 16 << 20;
const INTERNED: usize = 4_096;
/// Addresses beside those that a workload sends to.
const OTHERS: usize = 64;

/// Runs the server; it ends with its process.
pub(crate) fn serve<H: Handle>(run: Run) -> Result<()> {
    actix::System::new().block_on(server::serve::<H>(run))
}

/// Runs the client against a server. It runs in a task, as actors and handlers do, and not as the future that the
/// System waits for, which is polled only after another look for events.
pub(crate) fn measure<H: Handle>(run: Run, there: There, answers: Answers) -> Result<Figure> {
    actix::System::new().block_on(async move {
        let client = async move { client::measure::<H>(run, &there, &answers).await.map_err(|why| why.to_string()) };
        Ok(actix::spawn(client).await??)
    })
}

/// A node whose sockets run where the environment says: HERMOD_IO=own on a thread of their own; HERMOD_TRANSPORT is its transport. Its limits are the
/// defaults, except for the messages that a workload has in flight at once, and the boxes that it sends to in turn.
fn start(load: Load) -> Result<Node> {
    let own = std::env::var("HERMOD_IO").is_ok_and(|thread| thread == "own");
    let node = Node::builder()
        .io_thread(if own { IoThread::Own } else { IoThread::Current })
        .outbox(OUTBOX.max(load.in_flight()))
        .max_message(MAX_MESSAGE.max(2 * load.body))
        .interned(INTERNED.max(load.boxes as usize + OTHERS));
    Ok(transport::give(node)?.start())
}

fn open<M>(node: &Node, name: &str) -> Result<Mailbox<M>>
where
    M: RemoteMessage + Message<Result = ()>,
{
    Ok(node.mailbox().name(name).buffer(Buffer::dropping(BUFFER)).open()?)
}

/// Returns the name of the box to which the client of a connection sends its address for acknowledgements.
fn start_box(connection: u64) -> String {
    format!("start-{connection}")
}

/// Returns the name of one of the boxes that a connection's messages go to.
fn sink_box(connection: u64, number: u64) -> String {
    format!("sink-{connection}-{number}")
}
