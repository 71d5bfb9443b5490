//! The boxes, each with a task that reads it.

use std::cell::Cell;
use std::cell::OnceCell;
use std::future;
use std::rc::Rc;

use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;

use super::open;
use super::sink_box;
use super::start;
use super::start_box;
use super::transport;
use crate::error::Result;
use crate::message::Ack;
use crate::message::Blob;
use crate::message::Data;
use crate::message::Handle;
use crate::run;
use crate::run::Run;
use crate::workload::Load;
use crate::workload::Workload;

/// Opens all boxes that any workload sends to.
pub(super) async fn serve<H: Handle>(run: Run) -> Result<()> {
    let node = start(run.load)?;
    read(open(&node, "echo")?, H::answer);
    read(open(&node, "crowd")?, H::answer_crowd);
    // Boxes whose memory is measured are opened on demand.
    let late = run.workload == Workload::IdleBox;
    for connection in 0..run.load.connections {
        let stream = Rc::new(Stream::<H>::new(run.load.share()));
        if !late {
            sinks(&node, connection, run, &stream)?;
        }
        let starts = open::<H::Start>(&node, &start_box(connection))?;
        let node = node.clone();
        read(starts, move |start| {
            let opened = if late { sinks(&node, connection, run, &stream) } else { Ok(()) };
            match opened {
                Ok(()) => stream.begin(H::started(start)),
                Err(why) => run::fail(&why),
            }
        });
    }
    let endpoint = node.listen(transport::endpoint()).await?;
    run::announce(endpoint.as_ref())?;
    future::pending().await
}

/// Opens the boxes that a connection's stream of messages goes to.
fn sinks<H: Handle>(node: &Node, connection: u64, run: Run, stream: &Rc<Stream<H>>) -> Result<()> {
    for number in 0..run.load.boxes {
        let (name, stream) = (sink_box(connection, number), Rc::clone(stream));
        if run.sends_blobs() {
            read(open(node, &name)?, move |blob: Blob| {
                stream.taken(blob.seq);
                std::hint::black_box(blob.body);
            });
        } else {
            read(open(node, &name)?, move |data: Data| {
                stream.taken(data.seq);
                std::hint::black_box(data.body);
            });
        }
    }
    Ok(())
}

/// Reads a mailbox as long as the process lives.
fn read<M: RemoteMessage>(mut mailbox: Mailbox<M>, mut take: impl FnMut(M) + 'static) {
    actix::spawn(async move {
        while let Some(message) = mailbox.recv().await {
            take(message);
        }
    });
}

/// A stream of messages that are acknowledged now and then.
struct Stream<H: Handle> {
    load: Load,
    count: Cell<u64>,
    return_to: OnceCell<H::To<Ack>>,
}

impl<H: Handle> Stream<H> {
    fn new(load: Load) -> Stream<H> {
        Stream { load, count: Cell::new(0), return_to: OnceCell::new() }
    }

    fn begin(&self, return_to: H::To<Ack>) {
        H::send(self.return_to.get_or_init(|| return_to), Ack { next: 0, count: 0 });
    }

    #[inline]
    fn taken(&self, seq: u64) {
        let count = self.count.get() + 1;
        self.count.set(count);
        let next = if self.load.in_order() { seq + 1 } else { count };
        if (count.is_multiple_of(self.load.every) || next == self.load.timed)
            && let Some(return_to) = self.return_to.get()
        {
            H::send(return_to, Ack { next, count });
        }
    }
}
