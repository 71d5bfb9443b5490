//! Two nodes on one thread, their messages, and a link between them that can be cut.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use actix::Actor;
use actix::AsyncContext;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::CloseReason;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::cpu::Cpu;

/// An interval so long that periodic work does not run meanwhile.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// A limit above the entries of any table here.
const MANY: usize = 1 << 22;

#[derive(Message, Serialize, Deserialize, Clone)]
#[rtype(result = "()")]
pub(crate) struct Note(pub(crate) u64);

/// Introduces receivers of notes.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Introduce {
    #[serde(with = "actix_hermod::recipient")]
    pub(crate) to: Vec<Recipient<Note>>,
    pub(crate) boxes: Vec<Address<Note>>,
}

/// A request whose answer shows that all messages sent before have arrived.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Fence;

struct Gate;

impl Actor for Gate {
    type Context = Context<Self>;
}

impl Handler<Fence> for Gate {
    type Result = ();

    fn handle(&mut self, _: Fence, _: &mut Context<Self>) {}
}

/// Counts an event, and wakes the task that waits for a count.
#[derive(Default)]
pub(crate) struct Count {
    so_far: Cell<usize>,
    awaited: Cell<usize>,
    reached: Notify,
}

impl Count {
    pub(crate) fn one_more(&self) {
        self.so_far.set(self.so_far.get() + 1);
        if self.so_far.get() == self.awaited.get() {
            self.reached.notify_one();
        }
    }

    /// Completes when the event has happened `count` times. One task waits at a time.
    pub(crate) async fn reaches(&self, count: usize) {
        self.awaited.set(count);
        while self.so_far.get() < count {
            self.reached.notified().await;
        }
    }
}

/// An actor that takes notes, and lives as long as somebody holds it.
pub(crate) struct Member {
    pub(crate) noted: Rc<Count>,
    pub(crate) gone: Rc<Count>,
}

impl Actor for Member {
    type Context = Context<Self>;
}

impl Handler<Note> for Member {
    type Result = ();

    fn handle(&mut self, _: Note, _: &mut Context<Self>) {
        self.noted.one_more();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.gone.one_more();
    }
}

/// Many members, and their common counts.
pub(crate) struct Members {
    pub(crate) all: Vec<Recipient<Note>>,
    pub(crate) noted: Rc<Count>,
    pub(crate) gone: Rc<Count>,
}

impl Members {
    pub(crate) fn start(count: usize) -> Members {
        let (noted, gone) = (Rc::default(), Rc::default());
        let member = || Member { noted: Rc::clone(&noted), gone: Rc::clone(&gone) }.start().recipient();
        Members { all: (0..count).map(|_| member()).collect(), noted, gone }
    }
}

/// An actor that counts events of connections.
struct Ear {
    up: Rc<Count>,
    down: Rc<Count>,
}

impl Actor for Ear {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MANY);
        // Keeps the actor alive although only the node holds it.
        ctx.run_interval(NEVER, |_, _| {});
    }
}

impl Handler<Event> for Ear {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        match event {
            Event::PeerUp { .. } => self.up.one_more(),
            Event::PeerDown { .. } => self.down.one_more(),
            _ => {}
        }
    }
}

/// Counts the connections of the node that come up from now on, and those that end.
pub(crate) fn connections(node: &Node) -> (Rc<Count>, Rc<Count>) {
    let (up, down) = (Rc::default(), Rc::default());
    node.subscribe(Ear { up: Rc::clone(&up), down: Rc::clone(&down) }.start());
    (up, down)
}

/// Returns the builder of a node without limits that would matter here, and without periodic work.
pub(crate) fn node() -> NodeBuilder {
    Node::builder()
        .io_thread(IoThread::Current)
        .mailbox_buffer(MANY)
        .outbox(1 << 30)
        .exports(MANY)
        .pending_requests(MANY)
        .proxy_queue(MANY)
        .max_connections(MANY)
        .max_unproven(MANY)
        .handshake_timeout(NEVER)
        .heartbeat(NEVER)
        .dead_after(3 * NEVER)
        .reconnect(Duration::from_millis(1)..=Duration::from_millis(2))
        .forget_after(NEVER)
        .shutdown_timeout(NEVER)
}

/// A server, and a client that is connected to it.
pub(crate) struct Stage {
    pub(crate) server: Node,
    pub(crate) client: Node,
    pub(crate) endpoint: String,
    pub(crate) link: Wire,
    fence: Address<Fence>,
    /// The mailbox in which the server receives introductions.
    introduced: Mailbox<Introduce>,
    introduce: Address<Introduce>,
}

impl Stage {
    pub(crate) async fn new() -> Stage {
        Stage::with(node(), node()).await
    }

    pub(crate) async fn with(server: NodeBuilder, client: NodeBuilder) -> Stage {
        let (server, client) = (server.start(), client.start());
        let listening = server.listen("127.0.0.1:0").await.expect("a free port");
        let link = Wire::to(listening.as_ref()).expect("a free port");
        let endpoint = link.endpoint.clone();
        server.publish("gate", Gate.start().recipient::<Fence>()).expect("the name is free");
        let introduced = server.mailbox().name("introduced").open().expect("the name is free");
        let fence = client.remote(&endpoint, "gate").expect("an endpoint");
        let introduce = client.remote(&endpoint, "introduced").expect("an endpoint");
        let stage = Stage { server, client, endpoint, link, fence, introduced, introduce };
        stage.pass().await;
        stage
    }

    /// Completes when all messages of the client have arrived.
    pub(crate) async fn pass(&self) {
        while self.fence.ask(Fence).await.is_err() {
            // There is no connection at the moment.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Gives the tasks of that many entries the turns that they may need.
    pub(crate) async fn settle(&self, entries: usize) {
        for _ in 0..entries / 64 + 16 {
            self.pass().await;
        }
    }

    /// Opens boxes of the server.
    pub(crate) fn open(&self, count: usize) -> Vec<Mailbox<Note>> {
        let open = |n| self.server.mailbox().name(name(n)).open().expect("the name is free");
        (0..count).map(open).collect()
    }

    /// Returns the client's addresses of those boxes.
    pub(crate) fn addresses(&self, count: usize) -> Vec<Address<Note>> {
        (0..count).map(|n| self.client.remote(&self.endpoint, name(n)).expect("an endpoint")).collect()
    }

    /// Introduces recipients to the server, with a message for each. Returns the server's recipients.
    pub(crate) async fn introduce(&mut self, members: Vec<Recipient<Note>>) -> Vec<Recipient<Note>> {
        let count = members.len();
        for member in members {
            self.introduce.do_send(Introduce { to: vec![member], boxes: Vec::new() });
        }
        let mut there = Vec::new();
        while there.len() < count {
            there.extend(self.next().await.to);
        }
        there
    }

    /// Introduces all of them in one message.
    pub(crate) async fn send(&mut self, introduce: Introduce) -> Introduce {
        self.introduce.do_send(introduce);
        self.next().await
    }

    async fn next(&mut self) -> Introduce {
        self.introduced.recv().await.expect("the box is open")
    }

    /// Returns the cost since then, and ends both nodes.
    pub(crate) async fn cost_since(self, cpu: Cpu) -> Duration {
        let cost = cpu.elapsed();
        self.end().await;
        cost
    }

    pub(crate) async fn end(self) {
        let Stage { server, client, .. } = &self;
        client.shutdown().await;
        server.shutdown().await;
    }
}

fn name(n: usize) -> String {
    format!("box {n}")
}

/// Waits for each of these boxes to be gone.
pub(crate) fn watch(addresses: &[Address<Note>]) -> Vec<JoinHandle<CloseReason>> {
    addresses.iter().map(|address| actix_rt::spawn(address.closed())).collect()
}

/// Has all of these nodes shut down at once.
pub(crate) async fn shut_down(nodes: Vec<Node>) {
    all(nodes.into_iter().map(|node| actix_rt::spawn(async move { node.shutdown().await })).collect::<Vec<_>>()).await;
}

/// Completes when each of these futures has.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut outputs = Vec::new();
    for future in futures {
        outputs.push(future.await);
    }
    outputs
}

/// A proxied link to a node. Threads of its own carry the bytes, so that they do not count.
pub(crate) struct Wire {
    pub(crate) endpoint: String,
    ends: Arc<Ends>,
}

#[derive(Default)]
struct Ends {
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Ends {
    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    pub(crate) fn to(there: &str) -> io::Result<Wire> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let wire = Wire { endpoint: listener.local_addr()?.to_string(), ends: Arc::default() };
        let (there, ends) = (there.to_owned(), Arc::clone(&wire.ends));
        thread::spawn(move || {
            for near in listener.incoming() {
                if ends.is_over.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that cannot be forwarded breaks.
                let _ = near.and_then(|near| carry(near, TcpStream::connect(&there)?, &ends));
            }
        });
        Ok(wire)
    }

    /// Breaks all connections over the link.
    pub(crate) fn cut(&self) {
        for stream in self.ends.streams().drain(..) {
            // The stream may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Breaks all connections over the link, and accepts no others.
    pub(crate) fn end(&self) {
        self.ends.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread, which then frees the port.
        drop(TcpStream::connect(&self.endpoint));
        self.cut();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end();
    }
}

fn carry(near: TcpStream, far: TcpStream, ends: &Ends) -> io::Result<()> {
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    ends.streams().extend([near.try_clone()?, far.try_clone()?]);
    for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || {
            // However one direction ends, both do.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
