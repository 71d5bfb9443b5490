//! Peers that keep what others need: places, by sending hardly anything of what they have begun, or by coming in crowds
//! from one address; and memory, by beginning much and finishing nothing.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use actix::Actor;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeId;
use futures_util::FutureExt;
use support::peer::Frame;
use support::peer::Hello;
use support::peer::PATIENCE;
use support::peer::Peer;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::your_box;
use support::process::alone_without_heap;
use tokio::time::Instant;

use super::Details;
use super::Ground;
use super::HOUR;
use super::Hearer;
use super::Letter;
use super::lock;
use super::memory;
use super::on;
use super::raw_id;
use super::until;

/// Longer than any test lasts: only their number can end connections.
/// A kind of frame that is skipped by a node that does not know it.
const SKIPPED: u8 = 200;

/// The words of a goodbye for which there is no room.
fn no_room(frame: Option<Frame>) -> String {
    let frame = frame.expect("the node says why it hangs up");
    assert_eq!((frame.kind, frame.payload.first()), (kind::GOODBYE, Some(&3)), "{frame:?}");
    String::from_utf8_lossy(&frame.payload[3..]).into_owned()
}

/// The front of a frame of that many bytes.
fn begun(len: usize, sent: usize) -> Vec<u8> {
    let mut bytes = frame(SKIPPED, &vec![0; len - 1]);
    bytes.truncate(sent);
    bytes
}

/// A message in two pieces.
fn in_pieces(message: &[u8]) -> Vec<u8> {
    let (first, last) = message.split_at(message.len() / 2);
    let piece = |rest: usize, bytes: &[u8]| frame(kind::FRAGMENT, &[&number(0), &number(rest as u64), bytes].concat());
    [piece(last.len(), first), piece(0, last)].concat()
}

impl Ground {
    /// Sends the bytes of each, one after the other, slowly, until the node has had enough; which has to be told in words.
    async fn does_not_wait_for(&self, begun: &[u8], drops: impl Iterator<Item = Vec<u8>>) {
        let hello = Hello::of(fresh_id());
        let mut slow = Peer::greeted(&self.endpoint, &hello).await;
        assert!(slow.send(begun).await);
        let mut is_waited_for = true;
        for drop in drops {
            is_waited_for = slow.send(&drop).await;
            if !is_waited_for {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!is_waited_for, "it is waited for to its end");
        let is_it = |peer: NodeId, why: &DownReason| {
            raw_id(peer) == hello.node
                && matches!(why, DownReason::Misbehaved(how) if how.contains("more slowly than 5000 bytes a second"))
        };
        self.hearer.hears_an_end(is_it).await;
    }
}

fn impatient() -> NodeBuilder {
    Node::builder().heartbeat(Duration::from_millis(250)).dead_after(Duration::from_secs(1)).least_rate(5000)
}

#[test]
fn a_frame_that_comes_a_byte_at_a_time_is_not_waited_for() {
    on(impatient(), async |ground| {
        ground.does_not_wait_for(&begun(3000, 1000), (0..1500).map(|_| vec![0])).await;
    });
}

/// Whole frames may stand between the pieces; they are no excuse.
#[test]
fn messages_in_pieces_that_come_a_byte_at_a_time_are_not_waited_for() {
    on(impatient(), async |ground| {
        let piece = |rest: u64, bytes: &[u8]| frame(kind::FRAGMENT, &[&number(0), &number(rest), bytes].concat());
        let drops = (0..1500).rev().map(|rest| piece(rest, &[0]));
        ground.does_not_wait_for(&piece(1500, &[kind::POST]), drops).await;
    });
}

#[test]
fn all_that_is_unfinished_is_bounded_and_whoever_wastes_most_goes() {
    const LONGEST: usize = 1 << 20;
    on(Node::builder().max_message(LONGEST).unfinished(2 * LONGEST).least_rate(0), async |ground| {
        let hello = Hello::of(fresh_id());
        let mut waster = Peer::greeted(&ground.endpoint, &hello).await;
        assert!(waster.send(&begun(LONGEST, LONGEST - 10)).await);
        // All of that is kept, before others begin.
        let received = || ground.node.stats().connections.iter().map(|one| one.bytes_received).max() > Some(900_000);
        until(received, || format!("{:?}", ground.node.stats().connections)).await;
        let mut others = Vec::new();
        for _ in 0..7 {
            let mut other = Peer::stranger(&ground.endpoint).await;
            assert!(other.send(&begun(LONGEST, LONGEST / 3)).await);
            others.push(other);
        }
        let last = waster.frames_to_end().await.pop();
        assert!(no_room(last).contains("over the limit of 4194304 bytes"));
        let is_it = |peer: NodeId, why: &DownReason| {
            raw_id(peer) == hello.node && matches!(why, DownReason::NoRoom(why) if why.contains("unfinished messages"))
        };
        ground.hearer.hears_an_end(is_it).await;
        for other in &mut others {
            assert!(other.send(&vec![0; LONGEST - LONGEST / 3 + 4]).await && other.is_answered().await);
        }
    });
}

/// Bytes of a piece of a message.
const PIECE: usize = 32 << 10;

/// Sends something as many peers that has been given much room, and of which all together is within the bound; one has to go.
fn room_that_is_given_counts(begun: &[u8]) {
    on(Node::builder().max_message(1 << 20).unfinished(4 << 20), async |ground| {
        let mut peers = Vec::new();
        for _ in 0..7 {
            let mut peer = Peer::stranger(&ground.endpoint).await;
            assert!(peer.send(begun).await);
            peers.push(peer);
        }
        let is_expelled = |_, why: &DownReason| matches!(why, DownReason::NoRoom(why) if why.contains("unfinished"));
        ground.hearer.hears_an_end(is_expelled).await;
        ground.is_healthy().await;
    });
}

/// A whole one stands before it.
#[test]
fn the_room_of_a_buffer_counts_and_not_what_is_unfinished_in_it() {
    room_that_is_given_counts(&[begun(700 << 10, 1 << 20), begun(700 << 10, 200 << 10)].concat());
}

/// Somewhat more than half of it has come, so that there is room for the rest already.
#[test]
fn the_room_of_a_message_in_pieces_counts_and_not_what_has_come_of_it() {
    let piece = |n: usize| {
        frame(kind::FRAGMENT, &[number(0), number(((30 - n) * PIECE) as u64), vec![kind::POST; PIECE]].concat())
    };
    room_that_is_given_counts(&(0..17).flat_map(piece).collect::<Vec<u8>>());
}

/// Each has sent one of the longest messages in pieces, and is expected to send more. Nothing is given back in time.
#[test]
fn room_for_messages_to_come_is_kept_for_some_and_not_for_all() {
    const LONG: usize = 4 << 20;
    const PEERS: usize = 12;
    alone_without_heap(|| {
        on(Node::builder().max_message(LONG).heartbeat(HOUR).dead_after(HOUR), async |ground| {
            let mut letter = [vec![kind::POST, 0], inline(&your_box("letters"))].concat();
            letter.resize(LONG, 0);
            let (letter, before) = (in_pieces(&letter), memory("VmRSS:"));
            let mut peers = Vec::new();
            for _ in 0..PEERS {
                let mut peer = Peer::stranger(&ground.endpoint).await;
                assert!(peer.send(&letter).await && peer.is_answered().await);
                peers.push(peer);
            }
            let kept = memory("VmRSS:").saturating_sub(before);
            assert!(kept < (LONG * PEERS / 2) as u64, "{kept} bytes are kept for {PEERS} peers");
        });
    });
}

#[test]
fn buffers_for_reading_are_wide_for_some_and_not_for_all() {
    const PEERS: usize = 600;
    const WIDE: usize = 128 << 10;
    alone_without_heap(|| {
        on(Node::builder().max_per_address(1000).heartbeat(HOUR).dead_after(HOUR), async |ground| {
            let (little, before) = (frame(SKIPPED, &[0; 1000]), memory("VmRSS:"));
            let mut peers = Vec::new();
            for _ in 0..PEERS {
                let mut peer = Peer::stranger(&ground.endpoint).await;
                // So much as to fill a wide buffer to its end, in any pieces.
                assert!(peer.send(&little.repeat(4 * WIDE / little.len())).await && peer.is_answered().await);
                peers.push(peer);
            }
            let kept = memory("VmRSS:").saturating_sub(before);
            assert!(kept < (PEERS * WIDE * 2 / 3) as u64, "{kept} bytes are kept for {PEERS} peers");
            assert!(kept == 0 || kept > (PEERS * WIDE / 8) as u64, "{kept} bytes: are any read at full speed?");
        });
    });
}

#[test]
fn four_of_the_longest_messages_arrive_at_a_time() {
    const LONGEST: usize = 16 << 20;
    on(Node::builder(), async |ground| {
        let mut letter = [vec![kind::POST, 0], inline(&your_box("letters"))].concat();
        letter.resize(LONGEST, 0);
        let pieces: Vec<&[u8]> = letter.chunks(PIECE).collect();
        let mut peers = Vec::new();
        for _ in 0..4 {
            peers.push(Peer::stranger(&ground.endpoint).await);
        }
        // Each piece of all, before the next of any.
        for (n, piece) in pieces.iter().enumerate() {
            let rest = pieces[n + 1..].iter().map(|piece| piece.len() as u64).sum();
            let piece = frame(kind::FRAGMENT, &[&number(0), &number(rest), *piece].concat());
            for peer in &mut peers {
                assert!(peer.send(&piece).await);
            }
        }
        for peer in &mut peers {
            assert!(peer.is_answered().await);
        }
    });
}

/// Each has sent one long message, as a frame or in pieces, and then hardly anything; heartbeats are not answered.
#[test]
fn room_that_was_needed_once_is_not_kept() {
    const LONG: usize = 15 << 20;
    const PEERS: usize = 8;
    alone_without_heap(|| {
        on(Node::builder().heartbeat(Duration::from_millis(100)), async |ground| {
            let mut letter = [vec![kind::POST, 0], inline(&your_box("letters"))].concat();
            letter.resize(LONG, 0);
            let before = memory("VmRSS:");
            let mut peers = Vec::new();
            for n in 0..2 * PEERS {
                let mut peer = Peer::stranger(&ground.endpoint).await;
                // The beginning of the next frame stands behind it.
                let next = &frame(SKIPPED, &[])[..1];
                let long = if n % 2 == 0 { begun(LONG, LONG + 4) } else { in_pieces(&letter) };
                assert!(peer.send(&[&long, next].concat()).await);
                peers.push(peer);
            }
            let grown = || memory("VmRSS:").saturating_sub(before);
            let start = Instant::now();
            while grown() > (LONG * PEERS / 2) as u64 {
                assert!(start.elapsed() < PATIENCE, "{} bytes are kept for {} peers", grown(), peers.len());
                for peer in &mut peers {
                    let on = frame(SKIPPED, &[]);
                    assert!(peer.send(&[&on[1..], &on[..1]].concat()).await);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    });
}

#[test]
fn one_address_takes_a_quarter_of_the_places_unless_it_may_take_more() {
    on(Node::builder().max_connections(12), async |ground| {
        // The healthy client has one, and a further one comes at the end.
        let mut greeted = [Peer::stranger(&ground.endpoint).await, Peer::stranger(&ground.endpoint).await];
        let mut further = Peer::dial(&ground.endpoint).await;
        assert_eq!(no_room(further.frame().await), "too many connections from this address");
        assert!(further.frame().await.is_none());
        ground.log_says(&["WARN", "not accepted", "too many connections from this address"]).await;
        // There are places for others.
        let mut elsewhere = Peer::dial_from([127, 0, 0, 2], &ground.endpoint).await.greet_as_stranger().await;
        assert!(elsewhere.is_answered().await);
        for one in &mut greeted {
            assert!(one.is_answered().await);
        }
        drop(greeted);
        let left = || ground.node.stats().connections.len() == 2;
        until(left, || format!("{:?}", ground.node.stats().connections)).await;
    });
}

#[test]
fn of_one_address_that_has_no_more_places_those_that_say_nothing_make_room() {
    on(Node::builder().max_per_address(3).handshake_timeout(HOUR), async |ground| {
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(Peer::dial(&ground.endpoint).await);
        }
        ground.a_new_client_gets_through().await;
        let mut elsewhere = Peer::dial_from([127, 0, 0, 2], &ground.endpoint).await.greet_as_stranger().await;
        assert!(elsewhere.is_answered().await);
    });
}

#[test]
fn a_client_that_is_turned_away_says_why() {
    on(Node::builder().max_connections(2).max_per_address(10), async |ground| {
        let place = Peer::stranger(&ground.endpoint).await;
        let client = Node::start();
        let hearer = Hearer::of(&client);
        let details = Arc::new(Mutex::new(Vec::new()));
        client.subscribe(Details(Arc::clone(&details)).start().recipient());
        client.remote::<Letter>(&ground.endpoint, "letters").expect("an address").do_send(Letter(1));
        hearer.hears_of_drops(DropReason::NotConnected, 1).await;
        let is_told =
            || lock(&details).iter().any(|detail| detail.ends_with("turned this node away: too many connections"));
        until(is_told, || format!("{:?}", lock(&details))).await;
        client.shutdown().await;
        drop(place);
        let left = || ground.node.stats().connections.len() == 1;
        until(left, || format!("{:?}", ground.node.stats().connections)).await;
    });
}

#[test]
fn one_that_makes_room_before_it_has_greeted_is_told_why() {
    on(Node::builder().max_unproven(1).handshake_timeout(HOUR), async |ground| {
        let mut silent = Peer::dial(&ground.endpoint).await;
        let mut half_way = Peer::dial(&ground.endpoint).await;
        assert_eq!(no_room(silent.frame().await), "too many connections");
        assert!(half_way.says_hello(&Hello::of(fresh_id())).await);
        half_way.hello().await.expect("a hello");
        let _further = Peer::dial(&ground.endpoint).await;
        assert_eq!(no_room(half_way.frame().await), "too many connections");
        assert!(half_way.frame().await.is_none());
    });
}

/// Says hello from there.
async fn one_who_greets(ground: &Ground, ip: [u8; 4]) -> Peer {
    let mut peer = Peer::dial_from(ip, &ground.endpoint).await;
    assert!(peer.says_hello(&Hello::of(fresh_id())).await);
    peer
}

/// So few a second that they would wait for half a minute.
#[test]
fn of_many_who_greet_at_once_those_from_an_address_of_few_go_first() {
    const CROWD: usize = 100;
    on(Node::builder().max_greetings(4).handshake_timeout(HOUR), async |ground| {
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            crowd.push(one_who_greets(ground, [127, 0, 0, 1]).await);
        }
        let mut other = one_who_greets(ground, [127, 0, 0, 2]).await;
        other.hello().await.expect("a hello");
        let mut waiting = crowd.split_off(CROWD / 2);
        assert!(waiting.iter_mut().all(|one| one.hello().now_or_never().is_none()), "they wait for themselves");
        // They are delayed, and not refused.
        crowd.remove(0).hello().await.expect("a hello");
    });
}

#[test]
fn who_hangs_up_before_its_greeting_is_answered_takes_no_turn() {
    const CROWD: usize = 100;
    on(Node::builder().max_greetings(1).handshake_timeout(HOUR), async |ground| {
        let mut last = None;
        for _ in 0..CROWD {
            last = Some(one_who_greets(ground, [127, 0, 0, 1]).await);
        }
        // It would be its turn in a hundred seconds.
        last.expect("the last").hello().await.expect("a hello");
    });
}

#[test]
fn a_crowd_from_one_address_takes_no_turn_of_another() {
    on(Node::builder().max_unproven(4).handshake_timeout(HOUR), async |ground| {
        let mut slow = Peer::dial_from([127, 0, 0, 2], &ground.endpoint).await;
        let hello = Hello::of(fresh_id());
        assert!(slow.says_hello(&hello).await);
        slow.hello().await.expect("a hello");
        let mut crowd = Vec::new();
        for _ in 0..50 {
            crowd.push(Peer::dial(&ground.endpoint).await);
        }
        for one in &mut crowd[..46] {
            assert_eq!(no_room(one.frame().await), "too many connections");
        }
        let proof = slow.proof(&hello, &[]);
        assert!(slow.send(&proof).await);
        slow.is_welcomed().await;
    });
}
