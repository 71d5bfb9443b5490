//! Peers that watch without end, tell of what nobody has asked, or press with boxes that are not.

use actix_hermod::Address;
use actix_hermod::CloseReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::box_named;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::my_counted_box;
use support::peer::number;
use support::peer::post_with;
use support::peer::your_box;
use support::process::alone;

use super::Letter;
use super::MARGIN;
use super::in_time;
use super::on;

/// Bits of a hello: what this peer wants to be sent.
const WATCHES: u64 = 4;
const PRESSURE: u64 = 8;

fn watch(name: &str) -> Vec<u8> {
    frame(kind::WATCH, &[vec![1], box_named(name)].concat())
}

fn watch_no_longer(name: &str) -> Vec<u8> {
    frame(kind::WATCH, &[vec![0], box_named(name)].concat())
}

fn closed(name: &str) -> Vec<u8> {
    [box_named(name), vec![0]].concat()
}

async fn stranger(endpoint: &str, features: u64) -> Peer {
    Peer::greeted(endpoint, &Hello { features, ..Hello::of(fresh_id()) }).await
}

/// The next frame of that kind.
async fn next_of(peer: &mut Peer, kind: u8) -> Vec<u8> {
    loop {
        let frame = peer.frame().await.expect("the connection goes on");
        if frame.kind == kind {
            return frame.payload;
        }
    }
}

#[test]
fn a_watch_is_answered_once() {
    on(Node::builder(), async |ground| {
        let mut other = stranger(&ground.endpoint, WATCHES).await;
        let (one, two): (Mailbox<Letter>, Mailbox<Letter>) = (ground.open("one"), ground.open("two"));
        let many = [watch("one"), watch("one"), watch("two"), watch_no_longer("two"), watch("three")];
        assert!(other.send(&many.concat()).await);
        assert_eq!(next_of(&mut other, kind::CLOSED).await, closed("three"), "there is none");
        assert!(other.is_answered().await);
        drop((two, one));
        assert_eq!(next_of(&mut other, kind::CLOSED).await, closed("one"));
        assert!(other.send(&watch("four")).await);
        assert_eq!(next_of(&mut other, kind::CLOSED).await, closed("four"), "of the others nothing more is told");
        // One that is there again is watched anew.
        let one: Mailbox<Letter> = ground.open("one");
        assert!(other.send(&watch("one")).await && other.is_answered().await);
        drop(one);
        assert_eq!(next_of(&mut other, kind::CLOSED).await, closed("one"));
    });
}

/// A message that brings an address.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Introduced(Address<Letter>);

/// The peer has lost a connection of which the node has not noticed that, and gives it up with the next one.
#[test]
fn who_waits_goes_on_waiting_when_the_peer_gives_the_connection_up_for_another() {
    on(Node::builder(), async |ground| {
        let mut introductions: Mailbox<Introduced> = ground.open("introductions");
        let hello = Hello { features: WATCHES, ..Hello::of(fresh_id()) };
        let mut first = Peer::dial(&ground.endpoint).await;
        first.proves(&hello, &[]).await;
        let introduction = post_with(&inline(&your_box("introductions")), &[inline(&my_counted_box([7; 16]))], &[0]);
        assert!(first.send(&introduction).await);
        let Introduced(there) = in_time(introductions.recv(), "it comes").await.expect("a message");
        let closed = there.closed();
        assert_eq!(next_of(&mut first, kind::WATCH).await, watched_by_id([7; 16]));
        let mut second = Peer::dial(&ground.endpoint).await;
        second.proves(&hello, &[(first.name(), 0)]).await;
        assert_eq!(next_of(&mut second, kind::WATCH).await, watched_by_id([7; 16]));
        let gone = frame(kind::CLOSED, &[vec![1], vec![7; 16], vec![0]].concat());
        assert!(second.send(&gone).await);
        assert_eq!(in_time(closed, "it is told").await, CloseReason::BoxClosed);
    });
}

/// With the node's patience, which is its `dead_after`: extension 5, in milliseconds.
fn watched_by_id(id: [u8; 16]) -> Vec<u8> {
    let patience = number(15_000);
    [vec![1, 1], id.to_vec(), number(5), number(patience.len() as u64), patience].concat()
}

#[test]
fn a_watch_for_which_there_is_no_room_is_refused_and_kept_once_another_has_ended() {
    on(Node::builder().watches(0), async |ground| {
        let name = |n: usize| format!("box {n}");
        let mut boxes: Vec<Mailbox<Letter>> = (0..17).map(|n| ground.open(&name(n))).collect();
        let mut other = stranger(&ground.endpoint, WATCHES).await;
        let many: Vec<u8> = (0..17).flat_map(|n| watch(&name(n))).collect();
        assert!(other.send(&many).await);
        assert_eq!(next_of(&mut other, kind::UNWATCHED).await, box_named("box 16"));
        // One that is watched is not refused, and takes no second place.
        assert!(other.send(&[watch("box 3"), watch("box 16")].concat()).await);
        assert_eq!(next_of(&mut other, kind::UNWATCHED).await, box_named("box 16"));
        assert!(other.send(&[watch_no_longer("box 3"), watch("box 16"), watch("box 3")].concat()).await);
        assert_eq!(next_of(&mut other, kind::UNWATCHED).await, box_named("box 3"));
        boxes.pop();
        assert_eq!(next_of(&mut other, kind::CLOSED).await, closed("box 16"));
    });
}

#[test]
fn one_who_reads_no_refusals_of_its_watches_is_told_that_there_are_some() {
    on(Node::builder().watches(0).outbox(1 << 10), async |ground| {
        let boxes: Vec<Mailbox<Letter>> = (0..16).map(|n| ground.open(&format!("box {n}"))).collect();
        let mut other = Peer::narrow_stranger_with(&ground.endpoint, WATCHES).await;
        let kept = (0..16).flat_map(|n| watch(&format!("box {n}")));
        // Whole, so that nothing is read before all of it is written.
        let refused = (0..10_000).flat_map(|n| watch(&format!("{n}-{}", "x".repeat(200))));
        assert!(other.send(&kept.chain(refused).collect::<Vec<u8>>()).await);
        let mut refused = 0;
        while next_of(&mut other, kind::UNWATCHED).await != [2] {
            refused += 1;
        }
        assert!((1..10_000).contains(&refused), "{refused}");
        drop(boxes);
    });
}

/// The peer refuses whatever it is asked for, and then tells.
#[test]
fn a_peer_that_refuses_a_watch_is_asked_anew() {
    on(Node::builder(), async |ground| {
        let mut introductions: Mailbox<Introduced> = ground.open("introductions");
        let mut other = stranger(&ground.endpoint, WATCHES).await;
        let introduction = post_with(&inline(&your_box("introductions")), &[inline(&my_counted_box([7; 16]))], &[0]);
        assert!(other.send(&introduction).await);
        let Introduced(there) = in_time(introductions.recv(), "it comes").await.expect("a message");
        let closed = there.closed();
        for unnamed in [false, true] {
            assert_eq!(next_of(&mut other, kind::WATCH).await, watched_by_id([7; 16]));
            let which = if unnamed { vec![2] } else { [vec![1], vec![7; 16]].concat() };
            assert!(other.send(&frame(kind::UNWATCHED, &which)).await);
        }
        assert_eq!(next_of(&mut other, kind::WATCH).await, watched_by_id([7; 16]));
        assert!(other.send(&frame(kind::CLOSED, &[vec![1], vec![7; 16], vec![0]].concat())).await);
        assert_eq!(in_time(closed, "it is told").await, CloseReason::BoxClosed);
    });
}

#[test]
fn malformed_watches_end_the_connection() {
    let on_what = |on: u8| frame(kind::WATCH, &[vec![on], box_named("letters")].concat());
    let cut = frame(kind::WATCH, &[1, 0, 7, b'l']);
    let unknown_form = frame(kind::WATCH, &[1, 9]);
    let closed_without_why = frame(kind::CLOSED, &box_named("letters"));
    let unwatched_without_box = frame(kind::UNWATCHED, &[]);
    let fill_is_missing = frame(kind::PRESSURE, &[[box_named("letters"), vec![1]].concat(), box_named("l")].concat());
    for bytes in [on_what(2), cut, unknown_form, closed_without_why, unwatched_without_box, fill_is_missing] {
        on(Node::builder(), async |ground| {
            let mut other = Peer::stranger(&ground.endpoint).await;
            assert!(other.send(&bytes).await);
            let last = other.frames_to_end().await.pop().expect("a goodbye");
            assert_eq!((last.kind, last.payload[0]), (kind::GOODBYE, 2), "{last:?}");
        });
    }
}

#[test]
fn what_was_not_asked_for_says_nothing() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut other = Peer::stranger(&ground.endpoint).await;
            let lies = |n: u64| {
                let gone = frame(kind::CLOSED, &closed(&format!("{n}")));
                let full = (0..100).flat_map(|at| [box_named(&format!("{n}-{at}")), vec![255]].concat());
                [gone, frame(kind::PRESSURE, &full.collect::<Vec<u8>>())].concat()
            };
            ground.keeps_its_size(&mut other, MARGIN, 3_000, lies).await;
        });
    });
}

#[test]
fn watches_without_end_leave_nothing_behind() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut other = stranger(&ground.endpoint, WATCHES).await;
            // Of a box that is there, and taken back; of boxes that are not there.
            let many = |n: u64| [watch("letters"), watch_no_longer("letters"), watch(&format!("{n}"))].concat();
            let batch = |n: u64| (1000 * n..1000 * (n + 1)).flat_map(many).collect::<Vec<u8>>();
            ground.keeps_its_size(&mut other, MARGIN, 30, batch).await;
        });
    });
}

/// The answers wait for one who does not read them, and no more of them than the limit says.
#[test]
fn one_who_watches_and_reads_nothing_is_told_so_much_and_no_more() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut other = Peer::narrow_stranger_with(&ground.endpoint, WATCHES).await;
            let before = super::memory("VmRSS:");
            for n in 0..100 {
                let many: Vec<u8> = (0..1000).flat_map(|at| watch(&format!("{n}-{at}-{}", "x".repeat(200)))).collect();
                assert!(other.send(&many).await, "the node reads on");
            }
            ground.is_healthy().await;
            let grown = super::memory("VmRSS:").saturating_sub(before);
            assert!(grown < 64 << 20, "{grown} bytes are kept for one who reads nothing");
        });
    });
}

#[test]
fn who_does_not_understand_it_is_told_nothing_of_pressure_and_who_does_is() {
    on(Node::builder().mailbox_buffer(10), async |ground| {
        let small: Mailbox<Letter> = ground.open("small");
        let letters =
            |name: &str| support::peer::post(&support::peer::inline(&support::peer::your_box(name)), &[1]).repeat(9);
        let mut old = stranger(&ground.endpoint, 0).await;
        assert!(old.send(&letters("small")).await && old.send(&support::peer::ping(7)).await);
        // A frame before the pong came before the box was looked at again.
        let first = old.frame().await.expect("a pong");
        assert_eq!(first.kind, kind::PONG, "{first:?}");
        let mut new = stranger(&ground.endpoint, PRESSURE).await;
        assert!(new.send(&letters("small")).await);
        assert_eq!(next_of(&mut new, kind::PRESSURE).await, [box_named("small"), vec![255]].concat());
        drop(small);
        assert_eq!(next_of(&mut new, kind::PRESSURE).await, [box_named("small"), vec![0]].concat());
    });
}
