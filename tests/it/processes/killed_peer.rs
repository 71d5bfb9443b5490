//! Two real processes: messages in order, a server and a client that are killed, and ports that are free again.

use std::collections::BTreeMap;
#[cfg(unix)]
use std::net::TcpStream;
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
use actix_hermod::NodeBuilder;
use actix_hermod::OpenError;
use serde::Deserialize;
use serde::Serialize;
use support::events;
use support::next;
use support::process;
use support::process::Process;
use support::process::own_host;
use support::process::say;
use support::settled;
use support::within;
use tokio::sync::mpsc;
use tokio::time::timeout;

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
        let mut server = Process::start(module_path!(), "echo", "127.0.0.1:0");
        let at = server.says("listening").await;
        let node = Node::start();
        let ping_box = node.remote::<Ping>(&at, "ping-box").expect("an address");
        let mut pongs: Mailbox<Pong> = node.mailbox().open().expect("a mailbox");
        let ping = |n| ping_box.do_send(Ping { return_to: pongs.address(), n });
        (0..UNDER_WAY).for_each(ping);
        let mut came = Vec::new();
        for n in UNDER_WAY..PINGS + UNDER_WAY {
            let pong = next(&mut pongs).await;
            came.push(pong.n);
            if n < PINGS {
                ping_box.do_send(Ping { return_to: pongs.address(), n });
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
        let mut server = Process::start(module_path!(), "echo", &own_host());
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
            let mut anew = Process::start(module_path!(), "echo", &at);
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
        let node = Node::builder().forget_after(Duration::from_millis(50)).start();
        let at = node.listen("127.0.0.1:0").await.expect("a free port").to_string();
        let mut wishes: Mailbox<Wish> = node.mailbox().name("wishes").open().expect("a mailbox");
        let mut told = events(&node);
        let mut client = Process::start(module_path!(), "holder", &at);
        let (stopping, mut stopped) = mpsc::unbounded_channel();
        let wish = next(&mut wishes).await;
        wish.return_to.do_send(Gift { helper: Helper(stopping).start().recipient() });
        client.says("holding").await;
        let exported = || node.stats().boxes.iter().filter(|open| open.name != "wishes").count();
        assert_eq!(exported(), 1, "the helper lives in a box, kept by the client alone: {:?}", node.stats().boxes);
        assert!(stopped.try_recv().is_err());

        client.kill();
        within(stopped.recv()).await;
        let down = told.find(|event| match event {
            Event::PeerDown { why, .. } => Some(why.clone()),
            _ => None,
        });
        assert_eq!(down.await, DownReason::Lost);
        settled(|| exported() == 0).await;
        assert_eq!(node.stats().connections.len(), 0);

        let _next = Process::start(module_path!(), "holder", &at);
        next(&mut wishes).await;
        node.shutdown().await;
    });
}

#[test]
fn a_process_whose_system_ends_without_a_shutdown_exits() {
    System::new().block_on(async {
        let mut server = Process::start(module_path!(), "echo", "127.0.0.1:0");
        let at = server.says("listening").await;
        for role in ["leaver", "leaver with a thread"] {
            let mut leaver = Process::start(module_path!(), role, &at);
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
        let mut server = Process::start(module_path!(), "echo", &own_host());
        let at = server.says("listening").await;
        for _ in 0..5 {
            // A connection that the server's system has to remember for a while, because that side ends it first.
            let node = Node::start();
            let ping_box = node.remote(&at, "ping-box").expect("an address");
            let mut pongs: Mailbox<Pong> = node.mailbox().open().expect("a mailbox");
            ping_box.do_send(Ping { return_to: pongs.address(), n: 1 });
            next(&mut pongs).await;
            server.kill();
            server = Process::start(module_path!(), "echo", &at);
            assert_eq!(server.says("listening").await, at);
            node.shutdown().await;
        }
    });
}

/// As few as a process can work with: less than half of the connections that are opened to it.
#[cfg(unix)]
const FILES: usize = 64;

#[cfg(unix)]
#[test]
fn where_the_system_has_no_more_files_those_that_have_not_greeted_make_room() {
    System::new().block_on(async {
        let mut server = Process::start_with_files(FILES, module_path!(), "patient echo", "127.0.0.1:0");
        let at = server.says("listening").await;
        let mut silent = Vec::new();
        for _ in 0..3 * FILES {
            silent.push(TcpStream::connect(&at).expect("the system takes it"));
        }
        for _ in 0..3 {
            let node = Node::start();
            is_answered(&node, &at).await;
            node.shutdown().await;
        }
        drop(silent);
    });
}

#[cfg(unix)]
#[test]
fn where_all_files_are_taken_by_those_that_have_greeted_a_newcomer_is_told_so() {
    System::new().block_on(async {
        let mut server = Process::start_with_files(FILES, module_path!(), "patient echo", "127.0.0.1:0");
        let at = server.says("listening").await;
        let mut greeted = Vec::new();
        let words = loop {
            assert!(greeted.len() < FILES, "there is no end of files");
            let node = Node::start();
            let mut told = events(&node);
            let ping_box = node.remote::<Ping>(&at, "ping-box").expect("an address");
            let mut pongs: Mailbox<Pong> = node.mailbox().open().expect("a mailbox");
            ping_box.do_send(Ping { return_to: pongs.address(), n: 1 });
            let refused = told.find(|event| match event {
                Event::DeadLetter { detail, .. } => detail.clone(),
                _ => None,
            });
            tokio::select! {
                words = refused => break words,
                _ = next(&mut pongs) => greeted.push((node, ping_box)),
            }
        };
        assert!(words.ends_with("too few files for one more connection"), "{words}");
        assert!(greeted.len() > FILES / 2, "so few had room: {}", greeted.len());
        // Nobody was cut, and whoever leaves makes room.
        let (first, _) = greeted.swap_remove(0);
        is_answered(&first, &at).await;
        first.shutdown().await;
        let node = Node::builder().reconnect(Duration::from_millis(1)..=Duration::from_millis(10)).start();
        let ping_box = node.remote(&at, "ping-box").expect("an address");
        let game = Game { pongs: node.mailbox().open().expect("a mailbox"), ping_box, next: 0, seen: BTreeMap::new() };
        { game }.play_until_answered_by(server.id()).await;
    });
}

/// The other process; see [`support::process`].
#[test]
fn child() {
    let Some((role, at)) = process::role() else { return };
    match role.as_str() {
        "echo" => echo(&at, Node::builder()),
        "patient echo" => echo(&at, Node::builder().handshake_timeout(Duration::from_secs(3600))),
        "holder" => hold(&at),
        "leaver" => leave(&at, IoThread::Current),
        "leaver with a thread" => leave(&at, IoThread::Own),
        other => panic!("no such role: {other}"),
    }
}

// --------------------------------------------------------------------------------------------------- the children

/// Sends back each ping.
fn echo(at: &str, builder: NodeBuilder) {
    System::new().block_on(async {
        let node = builder.start();
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
        assert!(start.elapsed() < support::LIMIT, "the node outlives its System");
        thread::sleep(Duration::from_millis(1));
    }
    say("left");
}

// ------------------------------------------------------------------------------------------- the parent's helpers

/// One ping there and one pong back.
#[cfg(unix)]
async fn is_answered(node: &Node, at: &str) {
    let ping_box = node.remote::<Ping>(at, "ping-box").expect("an address");
    let mut pongs: Mailbox<Pong> = node.mailbox().open().expect("a mailbox");
    ping_box.do_send(Ping { return_to: pongs.address(), n: 1 });
    next(&mut pongs).await;
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
            assert!(start.elapsed() < support::LIMIT, "process {process} answers no ping: {:?}", self.ping_box.lost());
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
            let pong = next(&mut self.pongs).await;
            self.note(pong);
        }
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
