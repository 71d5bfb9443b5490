//! Shared by the integration tests: messages, waiting with a limit, a System elsewhere, and ears for events.
//!
//! Nothing here measures time. Every wait has a limit, long enough for a busy machine, and says where it was made when
//! it comes to nothing.

#![allow(missing_docs, clippy::missing_panics_doc, reason = "helpers of tests fail by a panic, as tests do")]

pub mod log;
pub mod peer;
pub mod process;
pub mod transport;
pub mod wire;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use actix::Actor;
use actix::ArbiterHandle;
use actix::AsyncContext;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::RemoteMessage;
use actix_hermod::Side;
use actix_hermod::Stats;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// As long as anything here is waited for.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(1);

/// The folder of the whole repository: the crate's sources and its README are read by some tests.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

// ---- messages

/// The plainest message.
#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
pub struct Number(pub u64);

/// A message with a body as long as one likes.
#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
pub struct Text(pub String);

/// A message that wants an answer.
#[derive(Message, Serialize, Deserialize, Clone, Debug)]
#[rtype(result = "()")]
pub struct Ping {
    pub return_to: Address<Pong>,
    pub n: u64,
}

/// The answer.
#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
pub struct Pong(pub u64);

// ---- waiting

/// Waits for `future`, but not for ever.
#[track_caller]
pub fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("what is waited for at {place} did not happen within {LIMIT:?}"),
        }
    }
}

/// Waits until a condition holds.
#[track_caller]
pub fn settled(condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let mut condition = condition;
    let place = Location::caller();
    async move {
        let look = async {
            while !condition() {
                tokio::time::sleep(LOOK).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, look).await.is_ok(), "the condition at {place} did not come to hold");
    }
}

/// Looks at something until it is as it should be, and gives it; shows it as it last was if it never is.
#[track_caller]
pub fn watched<T: Debug>(look: impl FnMut() -> T, good: impl FnMut(&T) -> bool) -> impl Future<Output = T> {
    let (mut look, mut good) = (look, good);
    let place = Location::caller();
    async move {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let seen = look();
            if good(&seen) {
                return seen;
            }
            assert!(tokio::time::Instant::now() < deadline, "at {place}, this is not as it should be: {seen:#?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The next message of a mailbox that is to have one.
#[track_caller]
pub fn next<M: RemoteMessage>(mailbox: &mut Mailbox<M>) -> impl Future<Output = M> {
    let place = Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, mailbox.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => panic!("at {place}, the mailbox {:?} is closed", mailbox.name()),
            Err(_) => panic!("at {place}, no message came to {:?} within {LIMIT:?}", mailbox.name()),
        }
    }
}

// ---- nodes

/// Runs a test with the node's I/O on the thread of its System, and again with it on one of its own.
pub fn on_either_thread<F: Future<Output = ()>>(test: impl Fn(IoThread) -> F) {
    for thread in [IoThread::Current, IoThread::Own] {
        System::new().block_on(test(thread));
    }
}

/// Starts a node and lets it listen at a port that the system chooses.
pub async fn listening(builder: NodeBuilder) -> (Node, Endpoint) {
    let node = builder.start();
    let endpoint = within(node.listen("127.0.0.1:0")).await.expect("a free port");
    (node, endpoint)
}

/// An endpoint at which nobody listens: the port was free a moment ago.
pub async fn deserted() -> Endpoint {
    let (node, endpoint) = listening(Node::builder()).await;
    within(node.shutdown()).await;
    endpoint
}

/// How many messages were dropped at a node for that reason.
pub fn dropped(node: &Node, reason: DropReason) -> u64 {
    node.stats().dropped.get(&reason).copied().unwrap_or(0)
}

/// Waits until every message that these nodes have sent is delivered, dropped or in doubt, or waits in a mailbox.
#[track_caller]
pub fn balanced(nodes: &[&Node]) -> impl Future<Output = ()> {
    let books = || nodes.iter().map(|node| node.stats()).collect::<Vec<_>>();
    let watched = watched(books, |books| {
        let sent: u64 = books.iter().map(|stats| stats.sent).sum();
        let waiting = |stats: &Stats| stats.boxes.iter().map(|stats| stats.depth + stats.with_actor).sum::<u64>();
        let ended = |stats: &Stats| stats.delivered + stats.dropped_total() + stats.in_doubt + waiting(stats);
        sent == books.iter().map(ended).sum::<u64>()
    });
    async move { drop(watched.await) }
}

/// A directory that is gone when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Scratch {
        let path = std::env::temp_dir().join(format!("hermod-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).expect("a directory for temporary files");
        Scratch(path)
    }

    /// An endpoint in the directory, which nobody else knows.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.0.join("node").display())
    }

    /// The path of a file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).expect("the directory is there").next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The system clears what cannot be removed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// ---- events

/// The events of a node, in order.
#[derive(Debug)]
pub struct Events {
    arriving: mpsc::UnboundedReceiver<Event>,
    passed_over: VecDeque<Event>,
}

/// Listens to a node from now on.
pub fn events(node: &Node) -> Events {
    let (told, arriving) = mpsc::unbounded_channel();
    node.subscribe(Ear(told).start().recipient());
    Events { arriving, passed_over: VecDeque::new() }
}

impl Events {
    /// Waits for an event of which `pick` makes something. Those before it stay for later calls.
    #[track_caller]
    pub fn find<T>(&mut self, pick: impl FnMut(&Event) -> Option<T>) -> impl Future<Output = T> {
        let mut pick = pick;
        let place = Location::caller();
        async move {
            if let Some((at, found)) =
                self.passed_over.iter().enumerate().find_map(|(at, event)| Some((at, pick(event)?)))
            {
                self.passed_over.remove(at);
                return found;
            }
            let look = async {
                loop {
                    let event = self.arriving.recv().await.expect("the node forgets no subscriber that lives");
                    match pick(&event) {
                        Some(found) => return found,
                        None => self.passed_over.push_back(event),
                    }
                }
            };
            match tokio::time::timeout(LIMIT, look).await {
                Ok(found) => found,
                Err(_) => panic!("the event waited for at {place} did not come, but these: {:?}", self.passed_over),
            }
        }
    }

    /// Waits until drops for that reason at the box of that name (any, if empty) were told, and counts them until there
    /// are as many.
    pub async fn count_drops(&mut self, name: &str, reason: DropReason, at_least: u64) -> u64 {
        let mut told = 0;
        while told < at_least {
            told += self
                .find(|event| match event {
                    Event::DeadLetter { name: of, reason: why, count, .. }
                        if *why == reason && (name.is_empty() || of == name) =>
                    {
                        Some(*count)
                    }
                    _ => None,
                })
                .await;
        }
        told
    }
}

/// Waits until a side's drops of messages of another shape are explained.
#[track_caller]
pub fn explained(ears: &mut Events, side: Side) -> impl Future<Output = String> {
    ears.find(move |event| match event {
        Event::DeadLetter { reason: DropReason::TypeMismatch, detail: Some(detail), side: of, .. } if *of == side => {
            Some(detail.clone())
        }
        _ => None,
    })
}

/// Hears events, however many come at once.
struct Ear(mpsc::UnboundedSender<Event>);

impl Actor for Ear {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // actix's default of 16 is less than what a test can make happen at a time.
        ctx.set_mailbox_capacity(4096);
        // Lives although nobody but the node holds it.
        ctx.run_interval(LIMIT, |_, _| {});
    }
}

impl Handler<Event> for Ear {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        // The test may have heard enough.
        let _ = self.0.send(event);
    }
}

// ---- an actor

/// An ordinary actor: it takes numbers, and is there for as long as somebody holds it.
#[derive(Debug)]
pub struct Catcher(mpsc::UnboundedSender<u64>);

/// What a [`Catcher`] has caught.
#[derive(Debug)]
pub struct Caught(mpsc::UnboundedReceiver<u64>);

/// Starts one. The only thing that holds it is what this gives.
pub fn catcher() -> (Recipient<Number>, Caught) {
    let (catches, caught) = mpsc::unbounded_channel();
    (Catcher(catches).start().recipient(), Caught(caught))
}

impl Actor for Catcher {
    type Context = Context<Self>;
}

impl Handler<Number> for Catcher {
    type Result = ();

    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) {
        // The test may have seen enough.
        let _ = self.0.send(n);
    }
}

impl Caught {
    /// The next number that the actor is sent.
    #[track_caller]
    #[expect(clippy::should_implement_trait, reason = "it waits")]
    pub fn next(&mut self) -> impl Future<Output = u64> {
        let place = Location::caller();
        async move {
            match tokio::time::timeout(LIMIT, self.0.recv()).await {
                Ok(Some(n)) => n,
                Ok(None) => panic!("at {place}, the actor has stopped"),
                Err(_) => panic!("at {place}, the actor was sent nothing within {LIMIT:?}"),
            }
        }
    }

    /// Sends the actor a last number by the only recipient that holds it, and waits until it has that and is gone.
    pub async fn last(&mut self, to: Recipient<Number>, n: u64) {
        to.do_send(Number(n));
        assert_eq!(self.next().await, n);
        drop(to);
        within(self.gone()).await;
    }

    /// Whether the actor is there now.
    pub fn lives(&self) -> bool {
        !self.0.is_closed()
    }

    /// Waits until the actor has stopped and is dropped.
    #[track_caller]
    pub fn gone(&self) -> impl Future<Output = ()> {
        settled(|| !self.lives())
    }
}

// ---- elsewhere

/// An actix System on a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct Elsewhere {
    system: System,
    arbiter: ArbiterHandle,
    ended: std_mpsc::Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Elsewhere {
    /// Starts the System.
    pub fn start() -> Elsewhere {
        let (started, starting) = std_mpsc::channel();
        let (ends, ended) = std_mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            // Dropped last, also by a panic.
            let _ends = ends;
            let system = System::new();
            started.send((System::current(), System::current().arbiter().clone())).expect("the test waits");
            system.run().expect("the System ends well");
        });
        let (system, arbiter) = starting.recv_timeout(LIMIT).expect("the System starts");
        Elsewhere { system, arbiter, ended, thread: Some(thread) }
    }

    /// Runs something there, and gives its output here.
    #[track_caller]
    pub fn run<R, F, T>(&self, task: T) -> impl Future<Output = R> + use<R, F, T>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
        T: FnOnce() -> F + Send + 'static,
    {
        let place = Location::caller();
        let (done, output) = oneshot::channel();
        let sent = self.arbiter.spawn_fn(move || {
            actix::spawn(async move {
                // The test may have given up.
                let _ = done.send(task().await);
            });
        });
        assert!(sent, "at {place}, the System has ended");
        async move {
            match tokio::time::timeout(LIMIT, output).await {
                Ok(Ok(output)) => output,
                Ok(Err(_)) => panic!("what was run elsewhere at {place} panicked, or its System ended"),
                Err(_) => panic!("what was run elsewhere at {place} did not end within {LIMIT:?}"),
            }
        }
    }

    /// Ends the System, as an application does that simply ends, and waits until its thread has.
    pub fn end(mut self) {
        self.join();
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.system.stop();
        // Nothing is sent: the other end goes with the thread.
        let ended = self.ended.recv_timeout(LIMIT) != Err(std_mpsc::RecvTimeoutError::Timeout);
        if thread::panicking() {
            return;
        }
        assert!(ended, "the System elsewhere does not end");
        assert!(thread.join().is_ok(), "the System elsewhere panicked");
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.join();
    }
}
