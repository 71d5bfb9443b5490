//! Two real processes: messages in order, a server and a client that are killed, and ports that are free again.
//!
//! The test binary starts itself again as the other process: the test [`child`] does what [`ROLE`] says, and nothing if
//! there is no such variable. A child says on its standard output what it has to say, and ends with its standard input,
//! so that none outlives the test that started it, however that ends.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::DownReason;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::OpenError;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The variable that tells a child what to be, and the one that tells it where.
const ROLE: &str = "HERMOD_ROLE";
const AT: &str = "HERMOD_AT";

/// What stands before each line that is meant for the parent; the test harness writes lines of its own.
const MARK: &str = "hermod: ";

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ping {
    return_to: Address<Pong>,
    n: u32,
}

/// The number of the ping, and the process that had it.
#[derive(Message, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Pong {
    n: u32,
    process: u32,
}

/// Given to a client, which keeps it.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Gift {
    #[serde(with = "actix_hermod::recipient")]
    helper: Recipient<Pong>,
}

/// Asks for a gift.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Wish {
    return_to: Address<Gift>,
}

// ------------------------------------------------------------------------------------------------------ the tests

#[test]
fn two_thousand_pings_come_back_in_order_and_none_is_lost() {
    /// Pings under way at a time: fewer than a mailbox holds.
    const UNDER_WAY: u32 = 100;
    const PINGS: u32 = 2000;
    System::new().block_on(async {
        let mut server = Process::start("echo", "127.0.0.1:0");
        let at = server.says("listening").await;
        let node = Node::start();
        let ping_box = node.remote::<Ping>(&at, "ping-box").expect("an address");
        let mut pongs: Mailbox<Pong> = node.mailbox().open().expect("a mailbox");
        let ping = |n| ping_box.do_send(Ping { return_to: pongs.address(), n });
        (0..UNDER_WAY).for_each(ping);
        let mut came = Vec::new();
        for next in UNDER_WAY..PINGS + UNDER_WAY {
            let pong = in_time(pongs.recv(), "each ping is answered").await.expect("our mailbox is open");
            came.push(pong.n);
            if next < PINGS {
                ping_box.do_send(Ping { return_to: pongs.address(), n: next });
            }
        }
        assert!(came.iter().copied().eq(0..PINGS), "out of order: {came:?}");
        let stats = node.stats();
        assert_eq!((stats.sent, stats.delivered), (u64::from(PINGS), u64::from(PINGS)));
        assert_eq!(stats.dropped_total(), 0, "{stats:?}");
        node.shutdown().await;
    });
}

#[test]
fn a_server_that_was_killed_and_started_anew_is_found_again_by_the_same_address() {
    System::new().block_on(async {
        let node = Node::builder().reconnect(Duration::from_millis(10)..=Duration::from_millis(100)).start();
        let mut server = Process::start("echo", &own_host());
        let at = server.says("listening").await;
        let ping_box = node.remote::<Ping>(&at, "ping-box").expect("an address");
        let mut game =
            Game { pongs: node.mailbox().open().expect("a mailbox"), ping_box, next: 0, seen: BTreeMap::new() };
        for _ in 0..5 {
            let process = server.id();
            game.play_until_answered_by(process).await;
            // In the middle of a stream of pings.
            (0..50).for_each(|_| game.ping());
            server.kill();
            let mut anew = Process::start("echo", &at);
            assert_eq!(anew.says("listening").await, at);
            server = anew;
        }
        game.play_until_answered_by(server.id()).await;
        game.finish().await;
        let twice: Vec<_> = game.seen.iter().filter(|(_, processes)| processes.len() > 1).collect();
        assert!(twice.is_empty(), "pings that were answered more than once, and by whom: {twice:?}");
        node.shutdown().await;
    });
}

#[test]
fn a_client_that_was_killed_is_noticed_and_what_it_held_is_let_go() {
    System::new().block_on(async {
        let node = Node::start();
        let at = node.listen("127.0.0.1:0").await.expect("a free port").to_string();
        let mut wishes: Mailbox<Wish> = node.mailbox().name("wishes").open().expect("a mailbox");
        let (tell, mut told) = mpsc::unbounded_channel();
        node.subscribe(Ear(tell).start().recipient());
        let mut client = Process::start("holder", &at);
        let (stopping, mut stopped) = mpsc::unbounded_channel();
        let wish = in_time(wishes.recv(), "the client asks").await.expect("our mailbox is open");
        wish.return_to.do_send(Gift { helper: Helper(stopping).start().recipient() });
        client.says("holding").await;
        let exported = || node.stats().boxes.iter().filter(|open| open.name != "wishes").count();
        assert_eq!(exported(), 1, "the helper lives in a box, kept by the client alone: {:?}", node.stats().boxes);
        assert!(stopped.try_recv().is_err());

        client.kill();
        in_time(stopped.recv(), "the helper stops, because nobody holds it any more").await;
        let down = async {
            loop {
                if let Event::PeerDown { why, .. } = told.recv().await.expect("the subscriber lives") {
                    return why;
                }
            }
        };
        assert_eq!(in_time(down, "PeerDown is told").await, DownReason::Lost);
        assert_eq!(exported(), 0, "{:?}", node.stats().boxes);
        assert_eq!(node.stats().connections.len(), 0);

        let _next = Process::start("holder", &at);
        in_time(wishes.recv(), "the next client asks").await.expect("our mailbox is open");
        node.shutdown().await;
    });
}

#[test]
fn a_process_whose_system_ends_without_a_shutdown_exits() {
    System::new().block_on(async {
        let mut server = Process::start("echo", "127.0.0.1:0");
        let at = server.says("listening").await;
        for role in ["leaver", "leaver with a thread"] {
            let mut leaver = Process::start(role, &at);
            leaver.says("leaving").await;
            let status = leaver.exits().await;
            assert!(status.success(), "{role}: {status}");
            leaver.says("left").await;
        }
    });
}

#[test]
fn a_port_is_free_again_at_once() {
    System::new().block_on(async {
        let mut server = Process::start("echo", &own_host());
        let at = server.says("listening").await;
        for _ in 0..5 {
            // A connection that the server's system has to remember for a while, because that side ends it first.
            let node = Node::start();
            let ping_box = node.remote(&at, "ping-box").expect("an address");
            let mut pongs: Mailbox<Pong> = node.mailbox().open().expect("a mailbox");
            ping_box.do_send(Ping { return_to: pongs.address(), n: 1 });
            in_time(pongs.recv(), "an answer").await.expect("our mailbox is open");
            server.kill();
            server = Process::start("echo", &at);
            assert_eq!(server.says("listening").await, at);
            node.shutdown().await;
        }
    });
}

/// Does what [`ROLE`] says.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let at = std::env::var(AT).expect("where");
    thread::spawn(|| {
        // The parent writes nothing: this ends when the parent does.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    match role.as_str() {
        "echo" => echo(&at),
        "holder" => hold(&at),
        "leaver" => leave(&at, IoThread::Current),
        "leaver with a thread" => leave(&at, IoThread::Own),
        other => panic!("no such role: {other}"),
    }
}

// --------------------------------------------------------------------------------------------------- the children

/// Says something to the parent.
fn say(what: &str) {
    println!("{MARK}{what}");
}

/// Sends back each ping.
fn echo(at: &str) {
    System::new().block_on(async {
        let node = Node::start();
        let mut pings: Mailbox<Ping> = node.mailbox().name("ping-box").open().expect("a mailbox");
        match node.listen(at).await {
            Ok(endpoint) => say(&format!("listening {endpoint}")),
            Err(error) => say(&format!("failed {error}")),
        }
        while let Some(ping) = pings.recv().await {
            ping.return_to.do_send(Pong { n: ping.n, process: std::process::id() });
        }
    });
}

/// Asks for a recipient and keeps it.
fn hold(at: &str) {
    System::new().block_on(async {
        let node = Node::start();
        let mut gifts: Mailbox<Gift> = node.mailbox().open().expect("a mailbox");
        let wishes = node.remote(at, "wishes").expect("an address");
        wishes.do_send(Wish { return_to: gifts.address() });
        let gift = gifts.recv().await.expect("our mailbox is open");
        say("holding");
        std::future::pending::<()>().await;
        drop(gift);
    });
}

/// Sends a ping, and ends its System once it was answered, with connection, boxes and recipients open.
fn leave(at: &str, thread: IoThread) {
    let system = System::new();
    let node = system.block_on(async {
        let node = Node::builder().io_thread(thread).start();
        let ping_box = node.remote::<Ping>(at, "ping-box").expect("an address").recipient();
        let mut pongs: Mailbox<Pong> = node.mailbox().open().expect("a mailbox");
        ping_box.do_send(Ping { return_to: pongs.address(), n: 1 });
        pongs.recv().await.expect("our mailbox is open");
        say("leaving");
        actix::spawn(async move {
            let _open = (ping_box, pongs);
            std::future::pending::<()>().await;
        });
        System::current().stop();
        node
    });
    system.run().expect("it stops in good order");
    // The node has ended with the System, or is about to on its own thread.
    let start = Instant::now();
    while !matches!(node.mailbox::<Pong>().open(), Err(OpenError::Stopped)) {
        assert!(start.elapsed() < PATIENCE, "the node outlives its System");
        thread::sleep(Duration::from_millis(1));
    }
    say("left");
}

// ------------------------------------------------------------------------------------------- the parent's helpers

/// A loopback address, and any port, of which nobody else takes the port while it is free for a moment between two
/// servers: on Linux every address that begins with 127 is this host.
fn own_host() -> String {
    if cfg!(target_os = "linux") {
        let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
        format!("127.{}.{b}.{}:0", a.max(1), c.clamp(1, 254))
    } else {
        "127.0.0.1:0".to_owned()
    }
}

/// Pings that are numbered, and what came back of them.
struct Game {
    pongs: Mailbox<Pong>,
    ping_box: Address<Ping>,
    next: u32,
    /// By the number of the ping, the processes that have answered it.
    seen: BTreeMap<u32, Vec<u32>>,
}

impl Game {
    fn ping(&mut self) {
        self.ping_box.do_send(Ping { return_to: self.pongs.address(), n: self.next });
        self.next += 1;
    }

    fn note(&mut self, pong: Pong) {
        self.seen.entry(pong.n).or_default().push(pong.process);
    }

    /// Pings, of which some may be lost, until one is answered by that process.
    async fn play_until_answered_by(&mut self, process: u32) {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "process {process} answers no ping: {:?}", self.ping_box.lost());
            self.ping();
            while let Ok(Some(pong)) = timeout(Duration::from_millis(10), self.pongs.recv()).await {
                self.note(pong);
                if pong.process == process {
                    return;
                }
            }
        }
    }

    /// Waits for the answer to one last ping, and so for all that come before it.
    async fn finish(&mut self) {
        let last = self.next;
        self.ping();
        while !self.seen.contains_key(&last) {
            let pong = in_time(self.pongs.recv(), "the last ping is answered").await.expect("our mailbox is open");
            self.note(pong);
        }
    }
}

/// Tells what a node tells.
struct Ear(mpsc::UnboundedSender<Event>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<Event> for Ear {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        // The test may be over.
        let _ = self.0.send(event);
    }
}

/// An actor that lives for as long as somebody holds it; tells when it stops.
struct Helper(mpsc::UnboundedSender<()>);

impl Actor for Helper {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        let _ = self.0.send(());
    }
}

impl Handler<Pong> for Helper {
    type Result = ();

    fn handle(&mut self, _: Pong, _: &mut Context<Self>) {}
}

async fn in_time<T>(future: impl Future<Output = T>, what: &str) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// The other process; it is ended when this is dropped.
struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Process {
    fn start(role: &str, at: &str) -> Process {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child", "--nocapture"])
            .env(ROLE, role)
            .env(AT, at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("this program starts");
        let output = child.stdout.take().expect("it is piped");
        let (tell, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(io::Result::ok) {
                // The harness may have begun the line; whoever listened may be gone.
                let _ = line.split_once(MARK).map(|(_, said)| tell.send(said.to_owned()));
            }
        });
        Process { child, lines }
    }

    /// Waits for the next line of the child, which must begin with that word; what follows it.
    async fn says(&mut self, word: &str) -> String {
        let line = timeout(PATIENCE, self.lines.recv()).await.ok().flatten();
        let line = line.unwrap_or_else(|| panic!("the child does not say {word}"));
        let rest = line.strip_prefix(word).unwrap_or_else(|| panic!("the child says {line:?} and not {word}"));
        rest.trim_start().to_owned()
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as no process can prevent (SIGKILL), and waits until it is gone.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is gone");
    }

    /// Waits until it ends by itself.
    async fn exits(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be looked at") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the child does not exit");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
