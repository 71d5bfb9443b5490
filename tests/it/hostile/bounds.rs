//! Many peers that each keep within what one connection may have, and together want more than the node is to give: it
//! gives them no more, and whoever means well still has a part of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use actix::Actor;
use actix::AtomicResponse;
use actix::Context;
use actix::Handler;
use actix::WrapFuture;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::SendError;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::box_named;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::ping;
use support::peer::post;
use support::peer::set_number;
use support::peer::use_number;
use support::peer::your_box;

use super::Ground;
use super::asking::REQUESTS_FULL;
use super::asking::letter;
use super::on;
use super::unread::Load;
use super::unread::Order;
use super::unread::fills_up;
use super::unread::ordered;
use super::until;

/// A bit of a hello: this peer wants to be told of boxes that close.
const WATCHES: u64 = 4;

/// Peers that want all that they can get.
const CROWD: usize = 8;

/// Bytes that may wait for one of them, for all, and for each whatever waits for others.
const OUTBOX: u64 = 256 << 10;
const OUTBOXES: u64 = 512 << 10;
const OWN: u64 = 16 << 10;

impl Ground {
    /// Bytes that wait for peers.
    fn outboxes(&self) -> Vec<u64> {
        self.node.stats().connections.iter().map(|connection| connection.outbox_bytes).collect()
    }
}

#[test]
fn peers_that_read_nothing_together_cost_what_the_node_allows() {
    let builder = Node::builder().max_message(128 << 10).outbox(OUTBOX as usize).outboxes(OUTBOXES as usize);
    on(builder, async |ground| {
        let mut orders: Mailbox<Order> = ground.open("orders");
        let (mut peers, mut crowd) = (Vec::new(), Vec::new());
        for _ in 0..CROWD {
            let mut peer = Peer::narrow_stranger(&ground.endpoint).await;
            crowd.push(ordered(&mut peer, &mut orders).await);
            peers.push(peer);
            fills_up(crowd.last().expect("there is one")).await;
            // One that takes nothing more from the node has its own part.
            let waiting = ground.outboxes();
            let together: u64 = waiting.iter().sum();
            assert!(together <= OUTBOXES + waiting.len() as u64 * OWN, "{waiting:?}");
        }
        let waiting = ground.outboxes();
        assert!(waiting.iter().sum::<u64>() > OUTBOXES / 2, "less waits than might: {waiting:?}");
        assert_eq!(waiting.iter().filter(|bytes| **bytes > OWN / 2).count(), CROWD, "one has nothing: {waiting:?}");
        assert!(matches!(crowd[0].try_send(Load(vec![0; 1 << 10])), Err(SendError::Full(_))));
        (0..50).for_each(|_| crowd[0].do_send(Load(vec![0; 1 << 10])));
        ground.hearer.hears_of_drops(DropReason::OutboxFull, 50).await;
        ground.is_healthy().await;
        // When they go, their parts are the node's again.
        drop(peers);
        until(|| ground.node.stats().connections.len() == 1, || format!("{:?}", ground.node.stats())).await;
        let mut peer = Peer::narrow_stranger(&ground.endpoint).await;
        fills_up(&ordered(&mut peer, &mut orders).await).await;
        let waiting = ground.outboxes();
        assert!(waiting.iter().any(|bytes| *bytes > OUTBOX / 2), "{waiting:?}");
    });
}

/// Letters that are not read are requests without an answer.
#[test]
fn peers_that_ask_and_are_not_answered_together_cost_what_the_node_allows() {
    const ALL: usize = 512;
    const EACH: usize = 64;
    on(Node::builder().mailbox_buffer(10_000).pending_requests(400).pending_answers(ALL), async |ground| {
        let (mut peers, mut kept) = (Vec::new(), Vec::new());
        for _ in 0..CROWD {
            let mut peer = Peer::stranger(&ground.endpoint).await;
            assert!(peer.send(&(0..400).flat_map(|n| letter(n, 1)).chain(ping(1)).collect::<Vec<u8>>()).await);
            kept.push(400 - refused(&mut peer).await);
            peers.push(peer);
        }
        assert!(kept.iter().sum::<usize>() <= ALL + CROWD * EACH, "{kept:?}");
        assert!(kept.iter().all(|kept| *kept >= EACH), "{kept:?}");
        assert!(kept[0] >= ALL / 2 && kept[CROWD - 1] < ALL / 2, "{kept:?}");
        ground.hearer.hears_of_drops(DropReason::RequestsFull, (400 * CROWD - kept.iter().sum::<usize>()) as u64).await;
        ground.is_healthy().await;
        // One that is answered may ask again, and others may in place of one that goes.
        assert_eq!(ground.letters().len(), kept.iter().sum::<usize>());
        let mut again = peers.pop().expect("there is one");
        drop(peers);
        until(|| ground.node.stats().connections.len() == 2, || format!("{:?}", ground.node.stats())).await;
        let more = (1000..1400).flat_map(|n| letter(n, 1)).chain(ping(2)).collect::<Vec<u8>>();
        assert!(again.send(&more).await);
        let refused = refused(&mut again).await;
        assert!(400 - refused >= ALL / 2, "{refused} are refused");
    });
}

/// How many requests are refused because too many wait, up to the next pong.
async fn refused(peer: &mut Peer) -> usize {
    let mut refused = 0;
    loop {
        let frame = peer.frame().await.expect("a pong");
        match frame.kind {
            kind::PONG => return refused,
            kind::REFUSE => {
                assert_eq!(frame.payload.get(frame.payload.len() - 2), Some(&REQUESTS_FULL), "{frame:?}");
                refused += 1;
            }
            _ => {}
        }
    }
}

#[test]
fn peers_that_watch_together_cost_what_the_node_allows() {
    const ALL: usize = 128;
    const EACH: usize = 16;
    const BOXES: usize = 200;
    on(Node::builder().watches(ALL), async |ground| {
        let name = |n: usize| format!("watched {n}");
        let boxes: Vec<Mailbox<Load>> = (0..BOXES).map(|n| ground.open(&name(n))).collect();
        let watch = |n: usize| frame(kind::WATCH, &[vec![1], box_named(&name(n))].concat());
        let mut peers = Vec::new();
        for _ in 0..CROWD {
            let hello = Hello { features: WATCHES, ..Hello::of(fresh_id()) };
            let mut peer = Peer::greeted(&ground.endpoint, &hello).await;
            assert!(peer.send(&(0..BOXES).flat_map(watch).collect::<Vec<u8>>()).await && peer.is_answered().await);
            peers.push(peer);
        }
        ground.is_healthy().await;
        drop(boxes);
        let mut told = Vec::new();
        for peer in &mut peers {
            told.push(closed(peer, EACH).await);
        }
        assert!(told.iter().all(|told| *told >= EACH), "{told:?}");
        assert!(told.iter().sum::<usize>() <= ALL + CROWD * EACH, "{told:?}");
        assert!(told[0] >= ALL / 2, "{told:?}");
    });
}

#[test]
fn a_crowd_from_one_address_leaves_a_quarter_of_what_all_may_have_to_others() {
    const ALL: usize = 128;
    const EACH: usize = 16;
    on(Node::builder().watches(ALL), async |ground| {
        let name = |n: usize| format!("watched {n}");
        let boxes: Vec<Mailbox<Load>> = (0..ALL).map(|n| ground.open(&name(n))).collect();
        let watch = |n: usize| frame(kind::WATCH, &[vec![1], box_named(&name(n))].concat());
        let watches: Vec<u8> = (0..ALL).flat_map(watch).collect();
        let mut crowd = Vec::new();
        for n in 0..=CROWD {
            let ip = if n < CROWD { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
            let mut peer = Peer::dial_from(ip, &ground.endpoint).await;
            peer.proves(&Hello { features: WATCHES, ..Hello::of(fresh_id()) }, &[]).await;
            assert!(peer.send(&watches).await && peer.is_answered().await);
            crowd.push(peer);
        }
        drop(boxes);
        let mut told = Vec::new();
        for peer in &mut crowd {
            told.push(closed(peer, EACH).await);
        }
        let other = told.pop();
        assert_eq!(
            (told.iter().sum::<usize>(), other),
            (ALL - ALL / 4 + CROWD * EACH, Some(ALL / 4 + EACH)),
            "{told:?}"
        );
    });
}

/// Of how many boxes the peer is told that they are gone, of which there are so many at least.
async fn closed(peer: &mut Peer, least: usize) -> usize {
    let mut closed = 0;
    // News that come behind are not told later than a sign of life that is asked for then.
    while closed < least {
        closed += usize::from(peer.frame().await.expect("a box has closed").kind == kind::CLOSED);
    }
    for nonce in [7, 8] {
        assert!(peer.send(&ping(nonce)).await);
        loop {
            let frame = peer.frame().await.expect("a pong");
            match frame.kind {
                kind::PONG => break,
                kind => closed += usize::from(kind == kind::CLOSED),
            }
        }
    }
    closed
}

#[test]
fn peers_that_greet_get_numbers_as_the_node_allows() {
    const ALL: usize = 1024;
    const EACH: usize = 64;
    on(Node::builder().interned(400).numbers(ALL), async |ground| {
        let mut peers = Vec::new();
        for _ in 0..20 {
            peers.push(Peer::stranger(&ground.endpoint).await);
        }
        let numbers: Vec<usize> = peers.iter().map(|peer| peer.numbers.expect("it has greeted")).collect();
        let beyond = numbers.iter().map(|numbers| numbers.saturating_sub(EACH)).sum::<usize>();
        assert!(beyond <= ALL, "{numbers:?}");
        assert!(numbers.is_sorted_by(|a, b| a >= b) && numbers[0] >= 200 && numbers[19] <= EACH, "{numbers:?}");
        // The number that was said is meant.
        let last = peers.last_mut().expect("there is one");
        let letters = (0..numbers[19] as u64).map(|n| post(&set_number(n, &your_box("letters")), &number(n)));
        assert!(last.send(&letters.flatten().collect::<Vec<u8>>()).await && last.is_answered().await);
        assert_eq!(ground.letters().len(), numbers[19]);
        ground.is_healthy().await;
        assert!(last.send(&post(&set_number(EACH as u64, &your_box("letters")), &number(1))).await);
        last.end().await;
        ground.log_says(&["WARN", "the peer broke the protocol", "64"]).await;
        // When they go, the next one has as many as the first.
        drop(peers);
        until(|| ground.node.stats().connections.len() == 1, || format!("{:?}", ground.node.stats())).await;
        assert_eq!(Peer::stranger(&ground.endpoint).await.numbers, Some(numbers[0]));
    });
}

/// A kind of box, and the numbers that it holds once it was sent more than there is room for.
#[test]
fn boxes_hold_together_what_the_node_allows_and_shed_by_their_own_rules() {
    const ALL: usize = 64 << 10;
    const BODY: usize = 1000;
    const SENT: u64 = 60;
    on(Node::builder().max_message(ALL / 2).boxes(ALL), async |ground| {
        let dropping: Vec<Mailbox<Load>> = (0..6).map(|n| ground.open(&format!("dropping {n}"))).collect();
        let open = |name: &str, buffer| ground.node.mailbox().name(name).buffer(buffer).open().expect("a mailbox");
        let mut sliding: Mailbox<Load> = open("sliding", Buffer::sliding(1000));
        let mut latest: Mailbox<Load> = open("latest", Buffer::latest_by(|load: &Load| load.0.len()));
        let load = |n: u64, len: usize| [number(len as u64), vec![n as u8; len]].concat();
        let mut peer = Peer::stranger(&ground.endpoint).await;
        for n in 0..6 {
            let target = inline(&your_box(&format!("dropping {n}")));
            let posts = (0..SENT).flat_map(|n| post(&target, &load(n, BODY))).collect::<Vec<u8>>();
            assert!(peer.send(&posts).await && peer.is_answered().await);
        }
        let held: Vec<usize> = dropping.iter().map(Mailbox::len).collect();
        assert!(held.iter().sum::<usize>() * BODY <= ALL + held.len() * 1024, "{held:?}");
        assert!(held[0] * BODY > ALL / 3 && held[5] * BODY < ALL / 4 && held[5] > 0, "{held:?}");
        let shed = SENT * 6 - held.iter().sum::<usize>() as u64;
        ground.hearer.hears_of_drops(DropReason::NewestShed, shed).await;
        // The little that these have is for the newest, in a row as one by one; and of each key.
        let of_numbers = [
            post(&set_number(0, &your_box("sliding")), &load(0, 400)),
            post(&set_number(1, &your_box("latest")), &load(0, 400)),
        ];
        assert!(peer.send(&of_numbers.concat()).await);
        for n in 1..SENT {
            assert!(
                peer.send(&[post(&use_number(0), &load(n, 400)), post(&use_number(1), &load(n, 400))].concat()).await
            );
        }
        assert!(peer.send(&(0..3).flat_map(|n| post(&use_number(0), &load(SENT + n, 400))).collect::<Vec<u8>>()).await);
        assert!(peer.is_answered().await);
        let of = |mailbox: &mut Mailbox<Load>| {
            std::iter::from_fn(|| mailbox.try_recv()).map(|load| u64::from(load.0[0])).collect::<Vec<u64>>()
        };
        assert_eq!(of(&mut latest), [SENT - 1]);
        let newest = of(&mut sliding);
        assert_eq!(newest.last(), Some(&(SENT + 2)), "{newest:?}");
        assert!((2..SENT as usize).contains(&newest.len()), "{newest:?}");
        // One that is longer than there is room for is refused, and nothing goes for it.
        let shed_before = ground.dropped(DropReason::OldestShed);
        assert!(
            peer.send(&[post(&use_number(0), &load(1, 400)), post(&use_number(0), &load(2, ALL / 4))].concat()).await
        );
        assert!(peer.is_answered().await);
        assert_eq!((of(&mut sliding), ground.dropped(DropReason::OldestShed)), (vec![1], shed_before));
        ground.is_healthy().await;
    });
}

#[test]
fn a_message_for_whose_weight_there_is_no_room_is_not_decoded() {
    const ALL: usize = 64 << 10;
    const BODY: usize = 5000;
    on(Node::builder().max_message(ALL / 2).boxes(ALL), async |ground| {
        let mut mailbox: Mailbox<Load> = ground.open("short");
        let mut peer = Peer::stranger(&ground.endpoint).await;
        let target = inline(&your_box("short"));
        let load = post(&target, &[number(BODY as u64), vec![7; BODY]].concat());
        assert!(peer.send(&load.repeat(20)).await && peer.is_answered().await);
        let held = mailbox.len();
        assert!((2..19).contains(&held), "{held}");
        // Nobody can read it; it is not found out, alone or in a row.
        let broken = |len: usize| post(&target, &[number(2 * len as u64), vec![7; len]].concat());
        assert!(peer.send(&broken(BODY)).await && peer.is_answered().await);
        assert!(peer.send(&broken(BODY).repeat(5)).await && peer.is_answered().await);
        assert_eq!(ground.dropped(DropReason::NewestShed), (20 - held) as u64 + 6);
        assert_eq!(ground.dropped(DropReason::NotDecodable), 0);
        // There is room for a small one, and for all once some are read.
        assert!(peer.send(&broken(50)).await && peer.is_answered().await);
        assert_eq!(ground.dropped(DropReason::NotDecodable), 1);
        while mailbox.try_recv().is_some() {}
        assert!(peer.send(&load).await && peer.is_answered().await);
        assert_eq!(mailbox.len(), 1);
    });
}

#[test]
fn what_is_read_and_what_goes_with_its_box_is_the_nodes_again() {
    const ALL: usize = 64 << 10;
    on(Node::builder().max_message(ALL / 2).boxes(ALL), async |ground| {
        let mut peer = Peer::stranger(&ground.endpoint).await;
        let load = [number(1000), vec![7; 1000]].concat();
        for round in 0..8 {
            let mut mailbox: Mailbox<Load> = ground.open("again");
            let posts = post(&inline(&your_box("again")), &load).repeat(30);
            assert!(peer.send(&posts).await && peer.is_answered().await);
            assert_eq!(mailbox.len(), 30, "round {round}");
            if round % 2 == 0 {
                assert_eq!(std::iter::from_fn(|| mailbox.try_recv()).count(), 30);
                assert!(peer.send(&posts).await && peer.is_answered().await);
                assert_eq!(mailbox.len(), 30, "round {round}");
            }
        }
        ground.is_healthy().await;
    });
}

/// Does not begin with a second message before it is told that it may.
struct Slow(Arc<AtomicUsize>, tokio::sync::watch::Receiver<bool>);

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<Load> for Slow {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Load, _: &mut Context<Self>) -> AtomicResponse<Self, ()> {
        let (handled, mut go_on) = (Arc::clone(&self.0), self.1.clone());
        let wait = async move {
            let _ = go_on.wait_for(|go_on| *go_on).await;
            handled.fetch_add(1, Ordering::Relaxed);
        };
        AtomicResponse::new(Box::pin(wait.into_actor(self)))
    }
}

#[test]
fn what_an_actor_was_given_and_has_not_begun_counts_as_what_waits() {
    const ALL: usize = 64 << 10;
    on(Node::builder().max_message(ALL / 2).boxes(ALL), async |ground| {
        let (go_on, wait) = tokio::sync::watch::channel(false);
        let handled = Arc::new(AtomicUsize::new(0));
        let actor = Slow(Arc::clone(&handled), wait).start();
        let published = ground.node.publish::<Load>("slow", actor.recipient());
        published.expect("it is published");
        let mut peer = Peer::stranger(&ground.endpoint).await;
        let load = [number(1000), vec![7; 1000]].concat();
        let all = |count: usize| post(&inline(&your_box("slow")), &load).repeat(count);
        // In several batches, which the actor is given one after the other.
        for _ in 0..20 {
            assert!(peer.send(&all(10)).await && peer.is_answered().await);
        }
        let shed = ground.dropped(DropReason::NewestShed) as usize;
        assert!((200 - shed) * 1000 <= ALL + 1024, "{shed} are shed");
        assert!(shed < 180, "{shed} are shed");
        go_on.send(true).expect("the actor waits");
        until(|| handled.load(Ordering::Relaxed) == 200 - shed, || format!("{handled:?} of {}", 200 - shed)).await;
        // All of it has begun, so that there is room again.
        for _ in 0..20 {
            let before = handled.load(Ordering::Relaxed);
            assert!(peer.send(&all(10)).await && peer.is_answered().await);
            until(|| handled.load(Ordering::Relaxed) == before + 10, || format!("{handled:?}, {before} before")).await;
        }
        assert_eq!(ground.dropped(DropReason::NewestShed) as usize, shed);
        ground.is_healthy().await;
    });
}
