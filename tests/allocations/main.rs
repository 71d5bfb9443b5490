//! The memory that a message, a box and a connection cost, counted by an allocator that counts.
//!
//! It counts for each thread by itself, so each test has both nodes on its own thread: what the other tests and the
//! harness do meanwhile is not seen. A few allocations more than none are allowed for, because buffers still grow now
//! and then and heartbeats come when they are due; they are far from one for each message.

mod latest_by_key;
mod lookup_cache;

use std::time::Duration;
use std::time::Instant;

use actix::Message;
use actix::System;
use actix::SystemRunner;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use allocation_counter::AllocationInfo;
use allocation_counter::measure;
use serde::Deserialize;
use serde::Serialize;
use support::LIMIT;
use support::Number;
use support::listening;
use support::next;
use support::peer;
use support::peer::Peer;
use support::peer::kind;
use support::settled;

/// Messages at a time. Their bytes are far below the outbox's bound.
const MESSAGES: u64 = 10_000;

/// Allocations that may happen in a run of so many messages without being due to any of them.
const ODDMENTS: u64 = 100;

/// Idle boxes, and idle connections, of which the mean is taken.
const BOXES: i64 = 1_000;
const CONNECTIONS: i64 = 100;

/// 40 bytes in memory that own nothing on the heap.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Plain {
    seq: u64,
    body: [u8; 32],
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct WithAddress {
    seq: u64,
    return_to: Address<Number>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct WithBytes {
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

/// Two nodes on this thread, the way from the one to a mailbox of the other, and that mailbox.
struct Pair<M: RemoteMessage> {
    system: SystemRunner,
    client: Node,
    to: Address<M>,
    inbox: Mailbox<M>,
}

impl<M: RemoteMessage + Message<Result = ()>> Pair<M> {
    fn new() -> Pair<M> {
        Pair::with(Buffer::dropping(2 * MESSAGES as usize))
    }

    /// With a mailbox of that sort.
    fn with(buffer: Buffer<M>) -> Pair<M> {
        Pair::with_outbox(buffer, 4 << 20)
    }

    /// And an outbox of so many bytes.
    fn with_outbox(buffer: Buffer<M>, outbox: usize) -> Pair<M> {
        let system = System::new();
        let (client, to, inbox) = system.block_on(async {
            let (server, endpoint) = listening(Node::builder()).await;
            let inbox = server.mailbox().name("inbox").buffer(buffer).open().expect("the name is free");
            let client = Node::builder().outbox(outbox).start();
            let to = client.remote(&endpoint, "inbox").expect("an address");
            (client, to, inbox)
        });
        Pair { system, client, to, inbox }
    }

    /// The allocations of sending, and of all that follows until the last message is read: writing and reading, on
    /// both sides of the connection, and the mailbox. The messages themselves are made before.
    fn run(&mut self, make: impl Fn(u64) -> M, send: impl Fn(M)) -> (AllocationInfo, AllocationInfo) {
        let messages: Vec<M> = (0..MESSAGES).map(make).collect();
        let Pair { system, inbox, .. } = self;
        let sending = measure(|| messages.into_iter().for_each(send));
        let receiving = measure(|| {
            system.block_on(async {
                for _ in 0..MESSAGES {
                    drop(next(inbox).await);
                }
            });
        });
        (sending, receiving)
    }

    /// The same once everything has grown to its size.
    fn steady(&mut self, make: impl Fn(u64) -> M) -> (AllocationInfo, AllocationInfo) {
        let to = self.to.clone();
        self.steady_by(make, |message| to.do_send(message))
    }

    /// The same by another handle.
    fn steady_by(&mut self, make: impl Fn(u64) -> M, send: impl Fn(M)) -> (AllocationInfo, AllocationInfo) {
        for _ in 0..3 {
            self.run(&make, &send);
        }
        self.run(&make, &send)
    }
}

#[test]
fn a_message_is_sent_and_received_without_an_allocation() {
    let (sending, receiving) = Pair::new().steady(|seq| Plain { seq, body: [7; 32] });
    assert!(sending.count_total <= ODDMENTS, "to send {MESSAGES} plain messages: {sending:?}");
    assert!(receiving.count_total <= ODDMENTS, "to receive {MESSAGES} plain messages: {receiving:?}");
}

/// Those that take eight bytes or more are written by another way.
#[test]
fn the_largest_numbers_are_sent_and_received_without_an_allocation() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Large {
        numbers: [u64; 4],
        least: [i64; 2],
        wide: u128,
    }

    let numbers = [u64::MAX, 1 << 56, (1 << 56) - 1, 1 << 63];
    let large = |_| Large { numbers, least: [i64::MIN, i64::MAX], wide: u128::MAX };
    let (sending, receiving) = Pair::new().steady(large);
    assert!(sending.count_total <= ODDMENTS, "to send {MESSAGES} messages of large numbers: {sending:?}");
    assert!(receiving.count_total <= ODDMENTS, "to receive {MESSAGES} messages of large numbers: {receiving:?}");
}

#[test]
fn a_message_is_received_without_an_allocation_by_a_sliding_box_too() {
    let mut pair = Pair::with(Buffer::sliding(2 * MESSAGES as usize));
    let (_, receiving) = pair.steady(|seq| Plain { seq, body: [7; 32] });
    assert!(receiving.count_total <= ODDMENTS, "to receive {MESSAGES} plain messages: {receiving:?}");
}

#[test]
fn a_message_allocates_what_it_owns_and_no_more() {
    let (sending, receiving) = Pair::new().steady(|_| WithBytes { body: vec![7; 40] });
    assert!(sending.count_total <= ODDMENTS, "to send {MESSAGES} messages with bytes: {sending:?}");
    assert!(receiving.count_total <= MESSAGES + ODDMENTS, "to receive {MESSAGES} messages with bytes: {receiving:?}");
}

#[test]
fn a_message_with_an_address_is_sent_and_received_without_an_allocation() {
    let mut pair = Pair::new();
    let replies = pair.system.block_on(async { pair.client.mailbox::<Number>().open().expect("a mailbox") });
    let return_to = replies.address();
    let (sending, receiving) = pair.steady(|seq| WithAddress { seq, return_to: return_to.clone() });
    assert!(sending.count_total <= ODDMENTS, "to send {MESSAGES} messages with an address: {sending:?}");
    assert!(receiving.count_total <= ODDMENTS, "to receive {MESSAGES} messages with an address: {receiving:?}");
}

/// actix's queue takes two for each message that is sent through a `Recipient`; nothing is added to them, wherever it
/// leads.
#[test]
fn a_message_through_a_recipient_allocates_what_actix_does_and_no_more() {
    let mut pair = Pair::new();
    let far = pair.to.recipient();
    let (sending, receiving) = pair.steady_by(|seq| Plain { seq, body: [7; 32] }, |message| far.do_send(message));
    assert!(sending.count_total <= 2 * MESSAGES + ODDMENTS, "through a recipient to another node: {sending:?}");
    assert!(receiving.count_total <= ODDMENTS, "and to receive them there: {receiving:?}");
    let near = pair.system.block_on(async { pair.inbox.recipient() });
    let (sending, receiving) = pair.steady_by(|seq| Plain { seq, body: [7; 32] }, |message| near.do_send(message));
    assert!(sending.count_total <= 2 * MESSAGES + ODDMENTS, "through a recipient at home: {sending:?}");
    assert!(receiving.count_total <= ODDMENTS, "and to receive them there: {receiving:?}");
}

/// It is encoded once, and waits where it was encoded; at the other end it is put together where the one before it was, and
/// read from there.
#[test]
fn a_large_message_allocates_its_bytes_once_at_each_end() {
    const LARGE: usize = 1 << 20;

    let mut pair = Pair::new();
    let mut run = || {
        let (message, to, inbox) = (WithBytes { body: vec![7; LARGE] }, &pair.to, &mut pair.inbox);
        let sending = measure(|| to.do_send(message));
        let receiving = measure(|| drop(pair.system.block_on(next(inbox))));
        [sending, receiving].map(|side| side.bytes_total as f64 / LARGE as f64)
    };
    for _ in 0..3 {
        run();
    }
    let [sending, receiving] = run();
    assert!((1.0..1.1).contains(&sending), "to send one: {sending} of it");
    assert!((1.0..1.3).contains(&receiving), "to receive one: {receiving} of it");
}

#[test]
fn a_message_at_home_is_sent_and_received_without_an_allocation() {
    let mut pair = Pair::new();
    let near = pair.inbox.address();
    let (sending, receiving) = pair.steady_by(|seq| Plain { seq, body: [7; 32] }, |message| near.do_send(message));
    assert!(sending.count_total <= ODDMENTS, "to send {MESSAGES} messages at home: {sending:?}");
    assert!(receiving.count_total <= ODDMENTS, "to receive {MESSAGES} messages at home: {receiving:?}");
}

#[test]
fn an_idle_named_box_takes_at_most_a_kibibyte() {
    System::new().block_on(async {
        let node = Node::start();
        let open = |number| node.mailbox::<Plain>().name(format!("box-{number}")).open().expect("the name is free");
        let first = open(0);
        let mut boxes = Vec::with_capacity(BOXES as usize);
        let taken = measure(|| boxes.extend((1..=BOXES).map(open)));
        let each = taken.bytes_current / BOXES;
        assert!(each <= 1024, "{each} bytes for each idle box: {taken:?}");
        drop((first, boxes));
    });
}

/// Both ends are here, so that it is twice 16 KiB.
#[test]
fn an_idle_connection_takes_at_most_sixteen_kibibytes_at_each_end() {
    let system = System::new();
    let (mut inbox, addresses) = system.block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let address = |_| Node::start().remote::<Number>(&endpoint, "numbers").expect("an address");
        (inbox, (0..=CONNECTIONS).map(address).collect::<Vec<_>>())
    });
    let mut connect = |addresses: &[Address<Number>]| {
        system.block_on(async {
            for address in addresses {
                address.do_send(Number(1));
                next(&mut inbox).await;
            }
        });
    };
    let (first, rest) = addresses.split_at(1);
    connect(first);
    let taken = measure(|| connect(rest));
    let each = taken.bytes_current / CONNECTIONS;
    assert!(each <= 32 << 10, "{each} bytes for both ends of each idle connection: {taken:?}");
}

/// As heartbeats do, however long.
#[test]
fn what_comes_little_by_little_takes_no_more_room() {
    let Pair { system, to, mut inbox, .. } = Pair::new();
    let mut run = |count: u64| {
        for seq in 0..count {
            to.do_send(Plain { seq, body: [7; 32] });
            system.block_on(next(&mut inbox));
        }
    };
    run(3);
    let more = measure(|| run(2_000)).bytes_current;
    assert!(more <= 16 << 10, "{more} bytes more");
}

/// With what a thread keeps for what it encodes next, as it does for all connections.
#[test]
fn a_connection_that_was_busy_gives_its_room_back() {
    const MIDDLING: usize = 16 << 10;

    let builder = || Node::builder().heartbeat(Duration::from_millis(20));
    let system = System::new();
    let (client, to, mut inbox) = system.block_on(async {
        let (server, endpoint) = listening(builder()).await;
        let inbox = server.mailbox::<WithBytes>().name("inbox").open().expect("the name is free");
        let client = builder().start();
        let to = client.remote::<WithBytes>(&endpoint, "inbox").expect("an address");
        (client, to, inbox)
    });
    let mut run = |lengths: &[usize]| {
        system.block_on(async {
            lengths.iter().for_each(|len| to.do_send(WithBytes { body: vec![7; *len] }));
            for _ in lengths {
                next(&mut inbox).await;
            }
        });
    };
    let mut kept = measure(|| run(&[MIDDLING; 16])).bytes_current;
    kept += measure(|| run(&[1 << 20])).bytes_current;
    assert!(kept > 1 << 20, "{kept} bytes: it was not busy");
    let began = Instant::now();
    while kept > (2 * MIDDLING + (32 << 10)) as i64 {
        assert!(began.elapsed() < LIMIT, "it still has {kept} bytes");
        let sent = client.stats().bytes_sent;
        kept += measure(|| system.block_on(settled(|| client.stats().bytes_sent > sent))).bytes_current;
    }
}

/// In parts that leave some of the room each time, as a slow network does.
#[test]
fn room_that_grew_little_by_little_is_given_back_too() {
    const LENGTH: usize = 200_000;
    // The last of them is no smaller than what comes in the time of a heartbeat on a connection that is busy.
    const PART: usize = 3_000;

    let system = System::new();
    let (node, mut inbox, mut other) = system.block_on(async {
        let (node, endpoint) = listening(Node::builder().heartbeat(Duration::from_millis(20))).await;
        let inbox = node.mailbox::<WithBytes>().name("inbox").open().expect("the name is free");
        (node, inbox, Peer::stranger(endpoint.as_ref()).await)
    });
    let take = async |other: &mut Peer, bytes: &[u8]| {
        let before = node.stats().bytes_received;
        assert!(other.send(bytes).await);
        settled(|| node.stats().bytes_received >= before + bytes.len() as u64).await;
    };
    let body = [peer::number(LENGTH as u64), vec![7; LENGTH]].concat();
    let post = peer::post(&peer::inline(&peer::your_box("inbox")), &body);
    let come = async {
        for part in post.chunks(PART) {
            take(&mut other, part).await;
        }
        drop(next(&mut inbox).await);
    };
    let mut kept = measure(|| system.block_on(come)).bytes_current;
    assert!(kept > LENGTH as i64, "{kept} bytes: it did not grow, or was given back already");
    let began = Instant::now();
    while kept > 32 << 10 {
        assert!(began.elapsed() < LIMIT, "it still has {kept} bytes");
        // Something comes after a heartbeat, which need not answer it.
        let beat = async {
            let frame = other.frame().await.expect("a frame");
            if frame.kind == kind::PING {
                take(&mut other, &peer::frame(kind::REMARK + 1, &[])).await;
            }
        };
        kept += measure(|| system.block_on(beat)).bytes_current;
    }
}

/// Where the pings of both sides come at about the same time, and where the peer asks as often as it likes.
#[test]
fn the_room_of_a_large_message_is_kept_from_one_heartbeat_to_the_next() {
    const LARGE: usize = 1 << 20;

    let system = System::new();
    let (mut inbox, mut other) = system.block_on(async {
        let (node, endpoint) = listening(Node::builder()).await;
        let inbox = node.mailbox::<WithBytes>().name("inbox").open().expect("the name is free");
        (inbox, Peer::stranger(endpoint.as_ref()).await)
    });
    let to = [vec![kind::POST, 0], peer::inline(&peer::your_box("inbox"))].concat();
    let whole = [to, peer::number(LARGE as u64), vec![7; LARGE]].concat();
    let mut run = |stream: u64| {
        let pieces: Vec<u8> = whole
            .chunks(32 << 10)
            .scan(whole.len(), |rest, piece| {
                *rest -= piece.len();
                let payload = [&peer::number(stream)[..], &peer::number(*rest as u64), piece].concat();
                Some(peer::frame(kind::FRAGMENT, &payload))
            })
            .flatten()
            .collect();
        let receiving = measure(|| {
            system.block_on(async {
                let (sent, received) = tokio::join!(other.send(&pieces), next(&mut inbox));
                assert!(sent && received.body.len() == LARGE);
            });
        });
        for _ in 0..3 {
            assert!(system.block_on(other.is_answered()));
        }
        receiving.bytes_total as f64 / LARGE as f64
    };
    run(0);
    let again = run(1);
    assert!((1.0..1.5).contains(&again), "to receive one more: {again} of it");
}

/// Of the smallest, of which there are most: what is kept of each counts as well.
#[test]
fn what_waits_behind_a_large_message_takes_no_more_than_the_outbox_may_have() {
    const OUTBOX: usize = 8 << 20;

    let Pair { system, to, client, .. } = Pair::with_outbox(Buffer::dropping(1), OUTBOX);
    system.block_on(settled(|| to.try_send(WithBytes { body: Vec::new() }).is_ok()));
    system.block_on(settled(|| client.stats().connections.iter().all(|way| way.outbox_bytes == 0)));
    let mut waiting = 0_u32;
    let taken = measure(|| {
        assert!(to.try_send(WithBytes { body: vec![7; 1 << 20] }).is_ok());
        while to.try_send(WithBytes { body: Vec::new() }).is_ok() {
            waiting += 1;
        }
    });
    assert!(waiting > 20_000, "{waiting} wait");
    assert!(taken.bytes_max <= OUTBOX as u64, "{taken:?} for {waiting}");
}
