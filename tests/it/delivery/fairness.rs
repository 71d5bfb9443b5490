//! A flood to one box does not hold up what is for another by more than the outbox's bound implies.
//!
//! How far something is held up is counted in bytes: those that had been given to the system when it was accepted, and
//! those that come before it where they are read. So it does not matter how fast anybody is, or how much the system takes.

use std::time::Duration;

use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::ConnectionStats;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;
use support::Elsewhere;
use support::Number;
use support::balanced;
use support::listening;
use support::next;
use support::peer;
use support::peer::Frame;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::fresh_id;
use support::peer::kind;
use support::settled;
use tokio::net::TcpSocket;

/// Longer than any test lasts: no heartbeat comes between what is counted.
const LONG: Duration = Duration::from_secs(3600);

/// Bytes that may wait for the connection, and above which a message is cut.
const OUTBOX: u64 = 64 << 10;
const FRAGMENT: u64 = 4 << 10;

/// Bytes of a message that is not cut, and of one that is.
const SMALL: usize = 2_000;
const LARGE: usize = 8 << 10;

/// How often something is sent to the other box.
const ROUNDS: u32 = 12;

/// The bit of the hello of a peer that reads messages in pieces.
const FRAGMENTS: u64 = 16;

/// Says which one it is at its end: there it is found in a frame, however its box is named.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Load {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    is_flood: bool,
    n: [u8; 4],
}

impl Load {
    fn new(is_flood: bool, n: u32, len: usize) -> Load {
        Load { bytes: vec![7; len], is_flood, n: n.to_le_bytes() }
    }

    /// Whether the message in a frame is of the flood, and which one it is.
    fn in_frame(frame: &Frame) -> (bool, u32) {
        let [.., is_flood, a, b, c, d] = frame.payload[..] else { panic!("too short: {frame:?}") };
        (is_flood == 1, u32::from_le_bytes([a, b, c, d]))
    }
}

/// A node that floods, and a peer that reads by the frame.
struct Flood {
    node: Node,
    endpoint: String,
    other: Peer,
    /// Bytes that were read.
    read: u64,
    /// Messages of the flood that were accepted.
    accepted: u32,
}

impl Flood {
    async fn start() -> Flood {
        let builder: NodeBuilder = Node::builder().heartbeat(LONG).dead_after(3 * LONG);
        let node = builder.outbox(OUTBOX as usize).fragment(FRAGMENT as usize).start();
        // The system keeps not much that is not read, so that there is less to read.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(32 << 10).expect("a small buffer");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let listener = socket.listen(1).expect("it is bound");
        let endpoint = listener.local_addr().expect("it is bound").to_string();
        node.remote(&endpoint, "starter").expect("an address").do_send(Number(0));
        let mut other = Peer::accept(&listener).await;
        let hello = Hello { features: FRAGMENTS, ..Hello::of(fresh_id()) };
        other.welcomes(&hello).await;
        let mut kinds = [0; 2];
        for kind in &mut kinds {
            *kind = other.frame().await.expect("a frame").kind;
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [kind::POST, kind::PING], "all that is to come by itself");
        let mut flood = Flood { node, endpoint, other, read: 0, accepted: 0 };
        settled(|| flood.connection().outbox_bytes == 0).await;
        flood.read = flood.connection().bytes_sent;
        flood
    }

    fn to(&self, name: &str) -> Address<Load> {
        self.node.remote(&self.endpoint, name).expect("an address")
    }

    fn connection(&self) -> ConnectionStats {
        self.node.stats().connections.remove(0)
    }

    /// Sends far more than there can be room for, and knows how many were accepted: what was not is counted.
    fn send_too_much(&mut self, to: &Address<Load>, len: usize) {
        let taken = (0..2 * OUTBOX as usize / len).filter(|_| self.send(to, len)).count();
        assert!(taken * len <= OUTBOX as usize && !self.send(to, len), "there is no room any more");
        self.keeps_its_bound();
    }

    /// Sends until the system takes no more, so that what is being written is not written to its end: only the peer's reading
    /// goes on with it.
    async fn backs_up(&mut self, to: &Address<Load>, len: usize) {
        /// Turns of all tasks in which the writer would have got on.
        const TURNS: usize = 500;
        loop {
            self.send_too_much(to, len);
            let before = self.connection().bytes_sent;
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            if self.connection().bytes_sent == before {
                return self.send_too_much(to, len);
            }
        }
    }

    fn keeps_its_bound(&self) {
        let waits = self.connection().outbox_bytes;
        assert!(waits <= OUTBOX, "{waits} bytes wait");
    }

    /// Sends one more; whether it was taken.
    fn send(&mut self, to: &Address<Load>, len: usize) -> bool {
        let lost = || to.lost().local.get(&DropReason::OutboxFull).copied().unwrap_or(0);
        let before = lost();
        to.do_send(Load::new(true, self.accepted, len));
        let is_taken = lost() == before;
        self.accepted += u32::from(is_taken);
        is_taken
    }

    /// Sends as much as there is room for, but for one more.
    fn fill(&mut self, to: &Address<Load>, len: usize) {
        while self.connection().outbox_bytes + 3 * (len as u64) < OUTBOX {
            assert!(self.send(to, len), "there is room");
        }
    }

    async fn frame(&mut self) -> Frame {
        let frame = self.other.frame().await.expect("the connection goes on");
        // With its length and its kind.
        self.read += 5 + frame.payload.len() as u64;
        frame
    }
}

#[test]
fn what_is_for_another_box_waits_for_an_outbox_at_most() {
    System::new().block_on(async {
        let mut flood = Flood::start().await;
        let [a, b] = ["a", "b"].map(|name| flood.to(name));
        let (mut come, mut behind) = (0, 0);
        for round in 0..ROUNDS {
            flood.backs_up(&a, SMALL).await;
            // As soon as there is room again, before the flood has it, or behind that.
            while flood.connection().outbox_bytes + 2 * SMALL as u64 > OUTBOX {
                assert_eq!(Load::in_frame(&flood.frame().await), (true, come), "in order");
                come += 1;
            }
            if round % 2 == 0 {
                flood.fill(&a, SMALL);
            }
            b.try_send(Load::new(false, round, SMALL)).expect("there is room");
            let (accepted, connection) = (flood.accepted, flood.connection());
            let before = loop {
                // And more and more behind it.
                (0..3).for_each(|_| _ = flood.send(&a, SMALL));
                flood.keeps_its_bound();
                let before = flood.read;
                match Load::in_frame(&flood.frame().await) {
                    (true, n) => assert_eq!(n, come, "in order"),
                    (false, n) => {
                        assert_eq!(n, round);
                        break before;
                    }
                }
                come += 1;
            };
            assert_eq!(come, accepted, "behind all that was accepted before it, and nothing else");
            let held_up = before.saturating_sub(connection.bytes_sent);
            assert!(held_up <= OUTBOX, "by {held_up} bytes");
            behind = behind.max(held_up);
        }
        assert!(behind > OUTBOX / 4, "it was no flood: {behind} bytes were before it at most");
    });
}

#[test]
fn what_is_small_waits_for_no_more_than_is_being_written_of_what_is_large() {
    /// Of what is being written: two pieces, which may be a little longer each, with their heads.
    const TURN: u64 = 2 * (FRAGMENT + FRAGMENT / 8 + 32);

    System::new().block_on(async {
        let mut flood = Flood::start().await;
        let large = ["a", "b", "c", "d"].map(|name| flood.to(name));
        let small = flood.to("small");
        for round in 0..ROUNDS {
            // By turns, so that several large ones are under way at a time.
            flood.backs_up(&large[round as usize % large.len()], LARGE).await;
            let waits = flood.connection().outbox_bytes;
            assert!(waits > OUTBOX / 2, "{waits} bytes of large messages wait");
            small.try_send(Load::new(false, round, 0)).expect("what is large leaves room");
            let written = flood.connection().bytes_sent;
            let before = loop {
                let before = flood.read;
                let frame = flood.frame().await;
                if frame.kind == kind::POST {
                    assert_eq!(Load::in_frame(&frame), (false, round));
                    break before;
                }
                assert_eq!(frame.kind, kind::FRAGMENT);
                large.iter().for_each(|to| _ = flood.send(to, LARGE));
            };
            let held_up = before.saturating_sub(written);
            assert!(held_up <= TURN, "by {held_up} bytes");
        }
    });
}

/// At the other end neither: what a box does not take is dropped at once.
#[test]
fn a_box_that_nobody_reads_holds_up_no_other() {
    const FLOOD: u64 = 50;

    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let open = |name: &str, room| -> Mailbox<Number> {
            server.mailbox().name(name).buffer(Buffer::dropping(room)).open().expect("a mailbox")
        };
        let (unread, mut read) = (open("unread", 10), open("read", 1_000));
        let client = Node::start();
        let to = |name: &str| client.remote::<Number>(&endpoint, name).expect("an address");
        let (to_unread, to_read) = (to("unread"), to("read"));
        for n in 0..500 {
            (0..FLOOD).for_each(|n| to_unread.do_send(Number(n)));
            to_read.do_send(Number(n));
        }
        for n in 0..500 {
            assert_eq!(next(&mut read).await, Number(n));
            // Not before what was sent before it, which was dropped for the most part.
            assert!(unread.len() as u64 + unread.dropped() >= FLOOD * (n + 1));
        }
        settled(|| unread.dropped() == 500 * FLOOD - 10).await;
        balanced(&[&server, &client]).await;
        assert_eq!(client.stats().dropped_total(), 0);
    });
}

/// The reader of a connection that is never out of bytes lets the rest of its thread go on: how much it reads at a time is
/// counted between the turns of another task.
#[test]
fn a_flood_leaves_the_other_tasks_of_the_thread_their_turns() {
    const PIECE: usize = 1 << 20;
    const PIECES: u64 = 64;
    /// A turn, the read that ended it, and once more as much because turns are not in step.
    const MOST: u64 = 512 << 10;

    System::new().block_on(async {
        let (node, endpoint) = listening(Node::builder().heartbeat(LONG).dead_after(3 * LONG)).await;
        let _flooded = node.mailbox::<Load>().name("flooded").buffer(Buffer::sliding(1)).open().expect("a free name");
        let elsewhere = Elsewhere::start();
        let flooding = elsewhere.run(move || async move {
            let mut other = Peer::stranger(endpoint.as_ref()).await;
            let post = peer::post(&peer::inline(&peer::your_box("flooded")), &[0; SMALL]);
            let piece = post.repeat(PIECE / post.len());
            for _ in 0..PIECES {
                assert!(other.send(&piece).await);
            }
            piece.len() as u64
        });
        let flood = actix::spawn(flooding);
        let (mut came, mut most) = (0, 0);
        while came < (PIECES - 1) * PIECE as u64 {
            let before = std::mem::replace(&mut came, node.stats().bytes_received);
            most = most.max(came - before);
            tokio::task::yield_now().await;
        }
        flood.await.expect("it was sent");
        assert!(most <= MOST, "{most} bytes were read without a break");
    });
}
