//! Peers that send more than their budget: they are read more slowly, and keep their connections.

use std::time::Duration;

use actix_hermod::Buffer;
use actix_hermod::ConnectionStats;
use actix_hermod::DownReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::ping;
use support::peer::post;
use support::peer::your_box;

use super::Ground;
use super::Letter;
use super::on;
use super::raw_id;
use super::until;

/// Not the address of the healthy client, which would have the same budget.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 9];

/// The silence after which a peer is taken for dead.
const DEAD: Duration = Duration::from_millis(300);

/// More messages than wait in a mailbox unless it says otherwise.
const MANY: u32 = 3000;

/// A peer elsewhere, and its id.
async fn attacker(ground: &Ground) -> (Peer, [u8; 16]) {
    let hello = Hello::of(fresh_id());
    let attacker = Peer::dial_from(ELSEWHERE, &ground.endpoint).await.greet(&hello).await;
    (attacker, hello.node)
}

/// The statistics of the attacker's connection, which there has to be.
fn connection(ground: &Ground, attacker: [u8; 16]) -> ConnectionStats {
    let connections = ground.node.stats().connections;
    let is_it = |connection: &ConnectionStats| connection.peer.is_some_and(|peer| raw_id(peer) == attacker);
    connections.into_iter().find(is_it).expect("the attacker has been cut off")
}

/// Has an attacker send `messages`, which are more than its budget; it is held back, for longer than a silent peer may
/// be, and its connection goes on. The healthy client is served meanwhile.
fn is_held_back(limits: NodeBuilder, messages: impl Fn(u32) -> Vec<u8> + 'static) {
    on(limits.heartbeat(DEAD / 6).dead_after(DEAD), async move |ground| {
        let (mut attacker, id) = attacker(ground).await;
        let bytes: Vec<u8> = (0..MANY).flat_map(messages).collect();
        assert!(attacker.send(&bytes).await);
        let waits = || connection(ground, id).held_back;
        until(|| waits() > 3 * DEAD, || format!("it was held back for {:?} only", waits())).await;
        ground.is_healthy().await;
        ground.log_says(&["WARN", "a peer is read more slowly", "time"]).await;
        until(|| connection(ground, id).messages_received == u64::from(MANY), || "all are to be read".to_owned()).await;
        assert!(attacker.is_answered().await);
    });
}

#[test]
fn a_peer_that_sends_too_many_messages_is_read_more_slowly() {
    is_held_back(Node::builder().peer_messages(1000), |n| post(&inline(&your_box("letters")), &number(n.into())));
}

#[test]
fn a_peer_that_sends_too_many_bytes_is_read_more_slowly() {
    is_held_back(Node::builder().peer_bytes(100_000), |_| post(&inline(&your_box("letters")), &[0; 80]));
}

#[test]
fn a_peer_that_tries_too_many_names_is_read_more_slowly() {
    is_held_back(Node::builder().peer_unknown_names(1000), |n| {
        post(&inline(&your_box(&format!("nobody has the name {n}"))), b"a body")
    });
}

#[test]
fn messages_of_a_peer_that_is_held_back_all_arrive_and_in_order() {
    on(Node::builder().peer_messages(2000), async |ground| {
        let letters = ground.node.mailbox().name("many").buffer(Buffer::dropping(MANY as usize)).open();
        let mut letters: Mailbox<Letter> = letters.expect("a mailbox");
        let (mut attacker, id) = attacker(ground).await;
        let send = |n: u32| post(&inline(&your_box("many")), &number(n.into()));
        assert!(attacker.send(&(0..MANY).flat_map(send).collect::<Vec<u8>>()).await);
        for n in 0..MANY {
            assert_eq!(letters.recv().await.map(|letter| letter.0), Some(n));
        }
        let waits = || connection(ground, id).held_back;
        until(|| waits() > Duration::ZERO, || "it was not held back".to_owned()).await;
    });
}

#[test]
fn names_of_boxes_that_exist_are_tried_as_often_as_a_peer_likes() {
    on(Node::builder().peer_unknown_names(1), async |ground| {
        let (mut attacker, id) = attacker(ground).await;
        let send = |n: u32| post(&inline(&your_box("letters")), &number(n.into()));
        assert!(attacker.send(&(0..MANY).flat_map(send).collect::<Vec<u8>>()).await);
        assert!(attacker.is_answered().await);
        assert_eq!(connection(ground, id).held_back, Duration::ZERO);
    });
}

/// It keeps as much as it likes, and is not read for an hour.
#[test]
fn one_that_is_held_back_goes_when_all_have_begun_too_much() {
    const LONGEST: usize = 1 << 20;
    let limits = Node::builder().max_message(LONGEST).unfinished(2 * LONGEST).least_rate(0).peer_unknown_names(1);
    on(limits, async |ground| {
        let (mut waster, id) = attacker(ground).await;
        let piece = [number(0), number(10), vec![0; LONGEST - 100]].concat();
        assert!(waster.send(&frame(kind::FRAGMENT, &piece)).await);
        let nobody = |n| post(&inline(&your_box(&format!("nobody has the name {n}"))), b"a body");
        assert!(waster.send(&(0..MANY).flat_map(nobody).collect::<Vec<u8>>()).await);
        until(|| connection(ground, id).held_back > Duration::ZERO, || "it was not held back".to_owned()).await;
        let mut others = Vec::new();
        for n in 0..7 {
            let mut other = Peer::dial_from([127, 0, 1, n], &ground.endpoint).await.greet_as_stranger().await;
            let begun = [number(0), number(10), vec![0; LONGEST / 3]].concat();
            assert!(other.send(&frame(kind::FRAGMENT, &begun)).await);
            others.push(other);
        }
        let is_it = |peer, why: &DownReason| raw_id(peer) == id && matches!(why, DownReason::NoRoom(_));
        ground.hearer.hears_an_end(is_it).await;
        for other in &mut others {
            assert!(other.is_answered().await);
        }
    });
}

/// A message in pieces is no older for the time in which its peer was not read.
#[test]
fn a_message_in_pieces_outlives_a_pause() {
    let limits = Node::builder().heartbeat(DEAD / 6).dead_after(DEAD).peer_unknown_names(1000);
    on(limits, async |ground| {
        let (mut attacker, id) = attacker(ground).await;
        let letter = [vec![kind::POST, 0], inline(&your_box("letters")), number(7)].concat();
        let (first, last) = letter.split_at(5);
        let piece =
            |rest: usize, bytes: &[u8]| frame(kind::FRAGMENT, &[&number(0), &number(rest as u64), bytes].concat());
        let nobody = |n| post(&inline(&your_box(&format!("nobody has the name {n}"))), b"a body");
        let misses: Vec<u8> = (0..MANY).flat_map(nobody).collect();
        assert!(attacker.send(&[piece(last.len(), first), misses, ping(1), ping(2)].concat()).await);
        until(|| connection(ground, id).held_back > 3 * DEAD, || "it was not held back".to_owned()).await;
        assert!(attacker.send(&[ping(3), piece(0, last)].concat()).await);
        until(|| ground.inbox.len() == 1, || "the message was dropped half way".to_owned()).await;
    });
}
