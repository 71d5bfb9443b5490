//! Posts in a row for one box are read together. A peer sends the same posts in a row and one by one, and all that can be
//! seen of them is the same: what arrives and in which order, what is dropped for which reason, and what the peer is told.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use support::Number;
use support::Text;
use support::catcher;
use support::events;
use support::listening;
use support::next;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::kind;
use support::peer::number;
use support::peer::ping;
use support::peer::post;
use support::peer::set_number;
use support::peer::use_number;
use support::peer::your_box;
use support::peer::your_box_for;
use support::watched;
use support::within;

/// Bits of the hello: this peer is told of drops, and how full boxes are.
const REPORTS_AND_PRESSURE: u64 = 1 | 8;

/// The numbers of reasons begin here.
const FIRST_REASON: u8 = 16;

/// More than are read in a row.
const MANY: u64 = 100;

/// A peer, and what it was told.
struct Sender {
    peer: Peer,
    drops: BTreeMap<u8, u64>,
    fills: Vec<u8>,
}

impl Sender {
    async fn of(endpoint: &str) -> Sender {
        let hello = Hello { features: REPORTS_AND_PRESSURE, ..Hello::of(fresh_id()) };
        let peer = Peer::greeted(endpoint, &hello).await;
        Sender { peer, drops: BTreeMap::new(), fills: Vec::new() }
    }

    /// Sends to a box that was given the number 1, in a row or with something between that means nothing.
    async fn sends(&mut self, bodies: &[Vec<u8>], in_a_row: bool) {
        let between = if in_a_row { Vec::new() } else { frame(200, &[]) };
        let posts = bodies.iter().map(|body| [post(&use_number(1), body), between.clone()].concat());
        assert!(self.peer.send(&posts.collect::<Vec<_>>().concat()).await);
    }

    /// Reads until all that was sent is dealt with, and all drops of the node were told.
    async fn hears_all(&mut self, node: &Node) {
        assert!(self.peer.send(&ping(77)).await);
        let mut is_answered = false;
        while !is_answered || self.drops.values().sum::<u64>() < node.stats().dropped_total() {
            let frame = self.peer.frame().await.expect("the connection goes on");
            match frame.kind {
                kind::PONG => is_answered |= frame.payload.starts_with(&77_u64.to_le_bytes()),
                kind::REPORT => self.hears_of_drops(&frame.payload),
                kind::PRESSURE => self.fills.extend(frame.payload.last()),
                _ => {}
            }
        }
    }

    /// Each of this box, whose name is short, and with counts that are too.
    fn hears_of_drops(&mut self, report: &[u8]) {
        let read = report.iter().position(|byte| byte & 0x80 == 0).expect("a number ends");
        let mut rest = &report[read + 1..];
        while let [form, len, behind @ ..] = rest {
            assert_eq!(*form, 0, "a name");
            let (name, behind) = behind.split_at(usize::from(*len));
            assert_eq!(name, b"box");
            // Of each reason the drops are told with one fingerprint here.
            let (_fingerprint, behind) = behind.split_at(size_of::<u64>());
            let [reason, count, behind @ ..] = behind else { panic!("a report ends too early: {report:?}") };
            assert!(*count < 0x80, "a short count");
            self.drops.insert(*reason, u64::from(*count));
            rest = behind;
        }
    }
}

/// The fates of posts.
#[derive(PartialEq, Debug)]
struct Seen<M> {
    arrived: Vec<M>,
    dropped: BTreeMap<DropReason, u64>,
    dropped_at_box: BTreeMap<DropReason, u64>,
    /// The reports to the peer, with reasons as numbers.
    told: BTreeMap<u8, u64>,
    received: u64,
    delivered: u64,
}

/// Sends the bodies to the box, and sees what becomes of them.
async fn seen<M: RemoteMessage + Message<Result = ()>>(
    open: impl FnOnce(&Node) -> Option<Mailbox<M>>,
    introduction: &[u8],
    bodies: &[Vec<u8>],
    in_a_row: bool,
) -> Seen<M> {
    let (node, endpoint) = listening(Node::builder()).await;
    let mut inbox = open(&node);
    let mut sender = Sender::of(endpoint.as_ref()).await;
    // Only gives the number: it is of no box's type, and read by itself.
    assert!(sender.peer.send(&post(&set_number(1, introduction), &bodies[0])).await);
    sender.sends(&bodies[1..], in_a_row).await;
    sender.hears_all(&node).await;
    let arrived = std::iter::from_fn(|| inbox.as_mut()?.try_recv()).collect();
    let stats = node.stats();
    let of_box = stats.boxes.iter().find(|of| of.name == "box");
    Seen {
        arrived,
        dropped: stats.dropped.clone(),
        dropped_at_box: of_box.map(|of| of.dropped.clone()).unwrap_or_default(),
        told: sender.drops,
        received: of_box.map_or(0, |of| of.received),
        delivered: stats.delivered,
    }
}

/// The same in a row and one by one: so much of these arrives, and so many are dropped.
fn both<M: RemoteMessage + Message<Result = ()> + PartialEq + std::fmt::Debug>(
    open: impl Fn(&Node) -> Option<Mailbox<M>>,
    introduction: &[u8],
    bodies: &[Vec<u8>],
    arrive: &[M],
    drops: &[(DropReason, u64)],
) -> Seen<M> {
    System::new().block_on(async {
        let in_a_row = seen(&open, introduction, bodies, true).await;
        let one_by_one = seen(&open, introduction, bodies, false).await;
        assert_eq!(in_a_row, one_by_one);
        assert_eq!(in_a_row.arrived, arrive);
        assert_eq!(in_a_row.dropped, drops.iter().copied().collect());
        let told = drops.iter().map(|(reason, count)| (FIRST_REASON + *reason as u8, *count)).collect();
        assert_eq!(in_a_row.told, told);
        in_a_row
    })
}

fn a_box<M: RemoteMessage + Message<Result = ()>>(
    buffer: impl Fn() -> Buffer<M>,
) -> impl Fn(&Node) -> Option<Mailbox<M>> {
    move |node| Some(node.mailbox().name("box").buffer(buffer()).open().expect("a mailbox"))
}

fn bodies(numbers: impl IntoIterator<Item = u64>) -> Vec<Vec<u8>> {
    numbers.into_iter().map(number).collect()
}

fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<Number> {
    numbers.into_iter().map(Number).collect()
}

#[test]
fn all_arrive_in_order() {
    let seen = both(a_box(|| Buffer::dropping(500)), &your_box("box"), &bodies(0..MANY), &numbers(0..MANY), &[]);
    assert_eq!((seen.received, seen.delivered), (MANY, MANY));
}

#[test]
fn bodies_of_all_lengths_arrive_in_order() {
    let texts: Vec<_> = (0..40).map(|len| Text("x".repeat(len))).collect();
    let bodies: Vec<_> =
        texts.iter().map(|text| [number(text.0.len() as u64), text.0.clone().into()].concat()).collect();
    both(a_box(|| Buffer::dropping(500)), &your_box("box"), &bodies, &texts, &[]);
}

#[test]
fn a_dropping_box_that_becomes_full_keeps_the_first() {
    for room in [1, 5, 31, 32, 33, 99] {
        let shed = [(DropReason::NewestShed, MANY - room)];
        let buffer = || Buffer::dropping(room as usize);
        let seen = both(a_box(buffer), &your_box("box"), &bodies(0..MANY), &numbers(0..room), &shed);
        assert_eq!((seen.dropped_at_box, seen.received), (shed.into(), room));
    }
}

#[test]
fn a_sliding_box_keeps_the_last() {
    for room in [1, 5, 31, 32, 33, 99] {
        let shed = [(DropReason::OldestShed, MANY - room)];
        let buffer = || Buffer::sliding(room as usize);
        let seen = both(a_box(buffer), &your_box("box"), &bodies(0..MANY), &numbers(MANY - room..MANY), &shed);
        assert_eq!((seen.dropped_at_box, seen.received), (shed.into(), MANY));
    }
}

#[test]
fn a_box_by_key_keeps_the_newest_of_each() {
    let buffer = || Buffer::latest_by(|number: &Number| number.0 % 7);
    let replaced = [(DropReason::Replaced, MANY - 7)];
    let seen = both(a_box(buffer), &your_box("box"), &bodies(0..MANY), &numbers(MANY - 7..MANY), &replaced);
    assert_eq!(seen.dropped_at_box, replaced.into());
}

#[test]
fn a_box_without_room_takes_nothing() {
    let shed = [(DropReason::NewestShed, MANY)];
    both(a_box(|| Buffer::<Number>::dropping(0)), &your_box("box"), &bodies(0..MANY), &[], &shed);
    both(a_box(|| Buffer::<Number>::sliding(0)), &your_box("box"), &bodies(0..MANY), &[], &shed);
    let by_key = || Buffer::latest_by(|number: &Number| number.0).capacity(0);
    both(a_box(by_key), &your_box("box"), &bodies(0..MANY), &[], &shed);
}

#[test]
fn a_box_that_there_is_not_takes_nothing() {
    both::<Number>(|_| None, &your_box("box"), &bodies(0..MANY), &[], &[(DropReason::NoSuchBox, MANY)]);
}

#[test]
fn a_box_that_was_closed_before_takes_nothing_more() {
    System::new().block_on(async {
        let (node, endpoint) = listening(Node::builder()).await;
        let mut sender = Sender::of(endpoint.as_ref()).await;
        for (in_a_row, gone) in [(true, 1), (false, 2)] {
            let mut inbox: Mailbox<Number> = node.mailbox().name("box").open().expect("a mailbox");
            assert!(sender.peer.send(&post(&set_number(1, &your_box("box")), &number(1))).await);
            sender.sends(&bodies(2..20), in_a_row).await;
            sender.hears_all(&node).await;
            let arrived: Vec<_> = std::iter::from_fn(|| inbox.try_recv()).collect();
            assert_eq!(arrived, numbers(1..20));
            drop(inbox);
            sender.sends(&bodies(0..20), in_a_row).await;
            sender.hears_all(&node).await;
            assert_eq!(node.stats().dropped, [(DropReason::NoSuchBox, 20 * gone)].into());
        }
    });
}

#[test]
fn bodies_that_cannot_be_read_are_dropped_alone() {
    let mut sent = bodies(0..MANY);
    // A number that has no end, one with something behind it, and nothing at all; in the middle, and at an end of a row.
    for (at, body) in [(7, vec![0xff; 11]), (8, vec![1, 2]), (32, vec![]), (33, vec![0x80]), (99, vec![])] {
        sent[at] = body;
    }
    let arrive = numbers((0..MANY).filter(|n| ![7, 8, 32, 33, 99].contains(n)));
    let seen =
        both(a_box(|| Buffer::dropping(500)), &your_box("box"), &sent, &arrive, &[(DropReason::NotDecodable, 5)]);
    assert_eq!(seen.received, MANY - 5);
}

/// Where they would be behind the last that there is room for, nobody looks at them.
#[test]
fn bodies_that_cannot_be_read_take_no_room() {
    let mut sent = bodies(0..40);
    sent[3] = vec![0xff; 11];
    sent[35] = vec![0xff; 11];
    let arrive = numbers((0..21).filter(|n| *n != 3));
    let drops = [(DropReason::NotDecodable, 1), (DropReason::NewestShed, 19)];
    both(a_box(|| Buffer::dropping(20)), &your_box("box"), &sent, &arrive, &drops);
}

/// Each by itself, and none is read.
#[test]
fn messages_of_another_shape_are_all_dropped() {
    let mismatch = [(DropReason::TypeMismatch, MANY)];
    let introduction = your_box_for("box", 0x1234_5678_9abc_def0);
    let seen = both::<Number>(a_box(|| Buffer::dropping(500)), &introduction, &bodies(0..MANY), &[], &mismatch);
    assert_eq!((seen.dropped_at_box, seen.received), (mismatch.into(), 0));
}

/// Panics while some of it are read.
#[derive(Message, Serialize, Clone, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Fussy(u64);

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fussy, D::Error> {
        match u64::deserialize(deserializer)? {
            7 => panic!("on purpose"),
            n => Ok(Fussy(n)),
        }
    }
}

#[test]
fn a_panic_while_one_is_read_costs_that_one() {
    let arrive: Vec<_> = (0..40).filter(|n| *n != 7).map(Fussy).collect();
    let drops = [(DropReason::NotDecodable, 1)];
    both(a_box(|| Buffer::dropping(500)), &your_box("box"), &bodies(0..40), &arrive, &drops);
}

/// Has an address, which no body brings along by itself.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry(Address<Number>);

/// In what words it is told that the last of some bodies cannot be read.
async fn words<M: RemoteMessage + Message<Result = ()>>(bodies: &[Vec<u8>], in_a_row: bool) -> String {
    let (node, endpoint) = listening(Node::builder()).await;
    let _inbox: Mailbox<M> = node.mailbox().name("box").open().expect("a mailbox");
    let mut told = events(&node);
    let mut sender = Sender::of(endpoint.as_ref()).await;
    assert!(sender.peer.send(&post(&set_number(1, &your_box("box")), &bodies[0])).await);
    // Told of apart from the first, if that cannot be read either.
    sender.hears_all(&node).await;
    sender.sends(&bodies[1..], in_a_row).await;
    let detail = told.find(|event| match event {
        Event::DeadLetter { name, reason: DropReason::NotDecodable, detail, .. } => {
            assert_eq!(name, "box");
            detail.clone()
        }
        _ => None,
    });
    detail.await
}

#[test]
fn what_could_not_be_read_is_told_in_the_same_words() {
    System::new().block_on(async {
        let sent = bodies([2, 3, 7]);
        let panicked = words::<Fussy>(&sent, true).await;
        assert!(panicked.contains("on purpose"), "{panicked}");
        assert_eq!(words::<Fussy>(&sent, false).await, panicked);
        for position in [0, 5] {
            let sent = bodies([position; 4]);
            let no_handle = words::<Carry>(&sent, true).await;
            assert_eq!(words::<Carry>(&sent, false).await, no_handle);
            assert!(!no_handle.is_empty());
        }
    });
}

#[test]
fn an_actor_that_is_published_has_them_in_order() {
    System::new().block_on(async {
        for in_a_row in [true, false] {
            let (node, endpoint) = listening(Node::builder()).await;
            let (recipient, mut caught) = catcher();
            node.publish("box", recipient).expect("the name is free");
            let mut sender = Sender::of(endpoint.as_ref()).await;
            assert!(sender.peer.send(&post(&set_number(1, &your_box("box")), &number(0))).await);
            sender.sends(&bodies(1..MANY), in_a_row).await;
            for n in 0..MANY {
                assert_eq!(caught.next().await, n);
            }
            support::settled(|| node.stats().delivered == MANY).await;
            assert_eq!(node.stats().dropped_total(), 0);
        }
    });
}

#[test]
fn the_sender_hears_that_a_row_has_filled_a_box() {
    System::new().block_on(async {
        for (in_a_row, extra) in [(true, 0), (false, 0), (true, 5), (false, 5)] {
            let (node, endpoint) = listening(Node::builder()).await;
            let inbox: Mailbox<Number> =
                node.mailbox().name("box").buffer(Buffer::dropping(20)).open().expect("a mailbox");
            let mut sender = Sender::of(endpoint.as_ref()).await;
            // Of none of the box's messages, so that it is empty when the row comes.
            assert!(sender.peer.send(&post(&set_number(1, &your_box("box")), &[])).await);
            sender.hears_all(&node).await;
            assert_eq!((inbox.len(), &*sender.fills), (0, &[][..]));
            sender.sends(&bodies(0..20 + extra), in_a_row).await;
            within(async {
                while sender.fills.last() != Some(&u8::MAX) {
                    sender.hears_all(&node).await;
                }
            })
            .await;
            assert_eq!((inbox.len(), inbox.dropped()), (20, 1 + extra));
        }
    });
}

/// Panics when it is dropped.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Bomb(u64);

/// Those that did.
static GONE_OFF: AtomicU64 = AtomicU64::new(0);

impl Bomb {
    /// Only of one with this number: values are also made to see what the type looks like.
    const LIVE: u64 = 7_777;
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == Bomb::LIVE {
            GONE_OFF.fetch_add(1, Ordering::SeqCst);
            panic!("it goes off");
        }
    }
}

/// Of a row that pushes several others out, each of which panics when it goes. Two panics at a time would end the process.
#[test]
fn messages_that_panic_as_they_are_pushed_out_cost_themselves() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut bombs = server.mailbox::<Bomb>().name("bombs").buffer(Buffer::sliding(2)).open().expect("a free name");
        let mut sender = Sender::of(endpoint.as_ref()).await;
        let [live, harmless] = [Bomb::LIVE, 1].map(number);
        assert!(sender.peer.send(&post(&set_number(1, &your_box("bombs")), &live)).await);
        sender.sends(&[live], false).await;
        sender.sends(&vec![harmless.clone(); 4], true).await;
        // Two that go off, and the first two of the row, which are pushed out by its last.
        watched(|| bombs.dropped(), |dropped| *dropped == 4).await;
        assert_eq!(GONE_OFF.load(Ordering::SeqCst), 2);
        for _ in 0..2 {
            assert_eq!(next(&mut bombs).await.0, 1);
        }
        // The connection goes on, and what comes by it arrives.
        assert!(sender.peer.is_answered().await);
        sender.sends(&[harmless], false).await;
        assert_eq!(next(&mut bombs).await.0, 1);
        assert_eq!(server.stats().connects, 1);
    });
}
