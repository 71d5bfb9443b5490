//! The second baseline: a task and a bounded channel for each box, a task that reads, and a task that writes.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::task::spawn_local;

use super::ACKS;
use super::BoxNumber;
use super::CROWD;
use super::Crowd;
use super::Data;
use super::ECHO;
use super::Ping;
use super::Progress;
use super::SINKS;
use super::START;
use super::Start;
use super::boxes_at_first;
use super::client::Reply;
use super::client::Way;
use super::link::Incoming;
use super::link::Outgoing;
use crate::error::Result;
use crate::message::Ack;
use crate::message::Pong;
use crate::run;
use crate::run::Run;

/// Room for all messages that a workload may have in flight, as in the contenders' mailboxes.
const CHANNEL: usize = 16_384;
/// Frames that are handled before the other tasks get a turn.
const TURN: usize = 256;

/// A message that owns bytes of any number.
#[derive(serde::Deserialize)]
struct Blob {
    seq: u64,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

/// Serves one connection.
pub(super) async fn serve(tcp: TcpStream, run: Run) -> Result<()> {
    tcp.set_nodelay(true)?;
    let (reading, writing) = tcp.into_split();
    let out = Rc::new(Out::default());
    spawn_local(write(writing, Rc::clone(&out)));
    let mut boxes = Boxes { by_number: HashMap::new(), names: HashMap::new() };
    boxes.open(ECHO, {
        let out = Rc::clone(&out);
        move |Ping { seq, return_to }| out.post(return_to, &Pong { seq })
    });
    boxes.open(CROWD, {
        let out = Rc::clone(&out);
        move |Crowd { seq, members }| out.post(*members.first().ok_or("nobody to answer")?, &Pong { seq })
    });
    let stream = Rc::new(Stream { out, progress: RefCell::new(Progress::new(run)), return_to: Cell::new(ACKS) });
    boxes.open_sinks(0..boxes_at_first(run), run, &stream);
    // Not a task of its own beside the boxes, since it opens some.
    let start = |boxes: &mut Boxes, body: &[u8]| {
        stream.return_to.set(postcard::from_bytes::<Start>(body)?.return_to);
        boxes.open_sinks(boxes_at_first(run)..run.load.boxes, run, &stream);
        stream.out.post(stream.return_to.get(), &Ack { next: 0, count: 0 })
    };
    read(reading, |to, body| if to == START { start(&mut boxes, body) } else { boxes.give(to, body) }).await
}

/// Calls `take` with each frame.
async fn read(mut from: OwnedReadHalf, mut take: impl FnMut(BoxNumber, &[u8]) -> Result<()>) -> Result<()> {
    let mut incoming = Incoming::new();
    loop {
        match from.read(incoming.room()).await? {
            0 => return Ok(()),
            n => incoming.has_come(n),
        }
        let mut taken = 0;
        while let Some((to, body)) = incoming.next()? {
            take(to, body)?;
            taken += 1;
            if taken % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn write(mut to: OwnedWriteHalf, out: Rc<Out>) -> Result<()> {
    let mut bytes = Vec::new();
    loop {
        out.ready.notified().await;
        mem::swap(&mut out.gathered.borrow_mut().bytes, &mut bytes);
        to.write_all(&bytes).await?;
        bytes.clear();
    }
}

/// Messages to be written, and the wake-up of the task that writes.
#[derive(Default)]
struct Out {
    gathered: RefCell<Outgoing>,
    ready: Notify,
}

impl Out {
    fn post<M: Serialize>(&self, to: BoxNumber, message: &M) -> Result<()> {
        self.with(|outgoing| outgoing.post(to, message))
    }

    fn with<T>(&self, post: impl FnOnce(&mut Outgoing) -> T) -> T {
        let mut gathered = self.gathered.borrow_mut();
        let was_empty = gathered.bytes.is_empty();
        let done = post(&mut gathered);
        if was_empty && !gathered.bytes.is_empty() {
            self.ready.notify_one();
        }
        done
    }
}

/// Decodes a message and puts it into the channel of a box.
type Give = Box<dyn Fn(&[u8]) -> Result<()>>;

/// The boxes behind one connection.
struct Boxes {
    by_number: HashMap<BoxNumber, Give>,
    names: HashMap<String, BoxNumber>,
}

impl Boxes {
    fn open<M: DeserializeOwned + 'static>(
        &mut self,
        number: BoxNumber,
        mut handle: impl FnMut(M) -> Result<()> + 'static,
    ) {
        let (sender, mut receiver) = mpsc::channel(CHANNEL);
        spawn_local(async move {
            while let Some(message) = receiver.recv().await {
                if let Err(why) = handle(message) {
                    run::fail(&why);
                }
            }
        });
        let give = move |body: &[u8]| {
            let given = sender.try_send(postcard::from_bytes::<M>(body)?);
            given.map_err(|_| "the channel of a box is full".into())
        };
        self.by_number.insert(number, Box::new(give));
        self.names.insert(format!("box-{number}"), number);
    }

    fn open_sinks(&mut self, numbers: std::ops::Range<u64>, run: Run, stream: &Rc<Stream>) {
        for number in numbers {
            let (number, stream) = (SINKS + number as BoxNumber, Rc::clone(stream));
            if run.sends_blobs() {
                self.open(number, move |blob: Blob| {
                    std::hint::black_box(blob.body);
                    stream.taken(blob.seq)
                });
            } else {
                self.open(number, move |data: Data| {
                    std::hint::black_box(data.body);
                    stream.taken(data.seq)
                });
            }
        }
    }

    fn give(&self, to: BoxNumber, body: &[u8]) -> Result<()> {
        match self.by_number.get(&to) {
            Some(give) => give(body),
            None => Err(format!("no box {to}").into()),
        }
    }
}

/// A stream of messages that are acknowledged now and then.
struct Stream {
    out: Rc<Out>,
    progress: RefCell<Progress>,
    return_to: Cell<BoxNumber>,
}

impl Stream {
    fn taken(&self, seq: u64) -> Result<()> {
        match self.progress.borrow_mut().taken(seq) {
            Some(ack) => self.out.post(self.return_to.get(), &ack),
            None => Ok(()),
        }
    }
}

/// The client's connection, with one mailbox for all messages that come.
pub(super) struct Connection {
    out: Rc<Out>,
    replies: mpsc::Receiver<Reply>,
    tasks: [JoinHandle<Result<()>>; 2],
}

impl Connection {
    pub(super) fn new(tcp: TcpStream) -> Result<Connection> {
        tcp.set_nodelay(true)?;
        let (reading, writing) = tcp.into_split();
        let out = Rc::new(Out::default());
        let (sender, replies) = mpsc::channel(CHANNEL);
        let give = move |to, body: &[u8]| {
            sender.try_send(Reply::read(to, body)?).map_err(|_| "the channel of the replies is full".into())
        };
        let tasks = [spawn_local(write(writing, Rc::clone(&out))), spawn_local(read(reading, give))];
        Ok(Connection { out, replies, tasks })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Way for Connection {
    fn outgoing<T>(&mut self, post: impl FnOnce(&mut Outgoing) -> T) -> T {
        self.out.with(post)
    }

    async fn send(&mut self) -> Result<()> {
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn reply(&mut self) -> Result<Reply> {
        self.replies.recv().await.ok_or_else(|| "the other side has gone".into())
    }

    fn reply_now(&mut self) -> Result<Option<Reply>> {
        Ok(self.replies.try_recv().ok())
    }
}
