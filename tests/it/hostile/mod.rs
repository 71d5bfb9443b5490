//! Peers that mean harm, or nonsense: each costs at most its own connection, and the node goes on serving the others.
//!
//! A real node listens (or dials), and a [`Peer`] attacks it with bytes. After each attack the ground is inspected: a
//! healthy client's connection from before it still carries a ping, a new client gets through, nothing has panicked,
//! and the log says what happened; of a peer that was known, subscribers are told as well.
//!
//! `LIMITS.md` has a row for each limit and each attack with the test that shows that it holds. A new limit needs a
//! row: the tests look for it.

mod asking;
mod bounds;
mod budgets;
mod counts;
mod crowds;
mod door;
mod handles;
mod limits;
mod naming;
mod pieces;
mod posing;
mod relaying;
mod rows;
mod shapes;
mod sums;
mod telling;
mod unread;
mod watching;

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::collections::LinkedList;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Once;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::ThreadId;
use std::time::Duration;

use actix::Actor;
use actix::AsyncContext;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeId;
use actix_hermod::RemoteMessage;
use actix_hermod::Side;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use support::log::Log;
use support::peer;
use support::peer::Hello;
use support::peer::PATIENCE;
use support::peer::Peer;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::post;
use support::peer::post_with;
use support::peer::set_number;
use support::peer::use_number;
use support::peer::your_box;
use support::process::alone;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio::time::timeout;

/// The bytes that a node may keep of a long attack: each of them would leave several times as much behind if the node
/// kept anything of each frame.
const MARGIN: u64 = 6 << 20;

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// The bytes that it may keep of messages with very many addresses: the largest one's until its next heartbeat, which
/// are about 90 MiB, and what the allocator does not give back of the one before.
const WIDE_MARGIN: u64 = 192 << 20;

// ---------------------------------------------------------------------------------------------------- no greeting

#[test]
fn what_is_not_hermod_at_all_is_hung_up_on() {
    on(Node::builder(), async |ground| {
        let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        let tls = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03].to_vec();
        let newline = b"HERMOD\n\n\x01\x00\x01\x00".to_vec();
        let random = || (0..20).flat_map(|_| fresh_id()).collect::<Vec<u8>>();
        for bytes in [http, tls, newline, vec![0; 100]].into_iter().chain((0..20).map(|_| random())) {
            let mut stranger = Peer::dial(&ground.endpoint).await;
            stranger.send(&bytes).await;
            assert!(stranger.hello().await.is_none(), "the node says who it is to one who does not speak its protocol");
        }
        ground.log_says(&["WARN", "no connection", "the peer speaks another protocol"]).await;
    });
}

#[test]
fn another_version_is_told_ours_and_hung_up_on() {
    on(Node::builder(), async |ground| {
        for versions in [(7, 9), (0, 0), (2, u16::MAX), (9, 7)] {
            let mut stranger = Peer::dial(&ground.endpoint).await;
            let hello = Hello { versions, ..Hello::of(fresh_id()) };
            assert!(stranger.send(&hello.bytes()).await);
            let ours = stranger.raw_hello().await;
            assert_eq!(ours, Some(peer::hello((1, 1), &[])), "which version it speaks is in its hello, and no more");
            assert!(stranger.frame().await.is_none());
        }
        ground.log_says(&["WARN", "no connection", "versions 7 to 9"]).await;
    });
}

#[test]
fn a_greeting_that_stops_half_way_is_not_waited_for() {
    let limit = Duration::from_secs(1);
    on(Node::builder().handshake_timeout(limit), async |ground| {
        let hello = Hello::of(fresh_id()).bytes();
        let part = |bytes: &[u8]| bytes.to_vec();
        let halves = [vec![], part(&hello[..5]), part(&hello[..16]), part(&hello[..40]), hello.clone()];
        let mut strangers = Vec::new();
        for half in halves {
            let mut stranger = Peer::dial(&ground.endpoint).await;
            assert!(stranger.send(&half).await);
            strangers.push(stranger);
        }
        for mut stranger in strangers {
            stranger.end().await;
        }
        ground.log_says(&["WARN", "no connection", "took too long"]).await;
    });
}

#[test]
fn a_hello_over_the_limit_is_refused() {
    on(Node::builder(), async |ground| {
        let mut long = Hello::of(fresh_id());
        long.extensions = [number(77), number(2000), vec![0; 2000]].concat();
        let mut endless = Hello::of(fresh_id()).bytes();
        endless[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        for bytes in [long.bytes(), endless] {
            let mut stranger = Peer::dial(&ground.endpoint).await;
            stranger.send(&bytes).await;
            assert!(stranger.hello().await.is_none());
        }
        ground.log_says(&["WARN", "no connection", "over the limit of 1024"]).await;

        // An extension that nobody knows is skipped, as long as there is room for it.
        let known = Hello { extensions: [number(77), number(100), vec![0; 100]].concat(), ..Hello::of(fresh_id()) };
        assert!(Peer::greeted(&ground.endpoint, &known).await.is_answered().await);
    });
}

#[test]
fn a_frame_before_the_proof_ends_the_connection() {
    on(Node::builder(), async |ground| {
        let hello = Hello::of(fresh_id());
        let too_long = frame(kind::PROOF, &[0; 4000]);
        for first in [ground.letter(1), peer::ping(1), peer::goodbye(0), frame(200, b"skip me"), too_long] {
            let mut stranger = Peer::dial(&ground.endpoint).await;
            assert!(stranger.says_hello(&hello).await);
            stranger.hello().await.expect("a hello");
            let proof = stranger.proof(&hello, &[]);
            stranger.send(&[first, proof, ground.letter(2)].concat()).await;
            let frames = stranger.frames_to_end().await;
            assert!(frames.iter().all(|frame| frame.kind == kind::GOODBYE), "it has shown nothing: {frames:?}");
        }
        ground.log_says(&["WARN", "no connection", "a frame of kind 2 came at the wrong time"]).await;
        assert_eq!(ground.letters(), Vec::<u32>::new());
    });
}

#[test]
fn an_impostor_is_refused_and_the_rightful_node_stays_connected() {
    on(Node::builder(), async |ground| {
        let key = peer::key_of(&ground.client).await;
        assert_eq!(peer::id_of(&key), raw_id(ground.client.id()));
        for _ in 0..10 {
            let mut impostor = Peer::dial(&ground.endpoint).await;
            impostor.proves(&Hello { key, ..Hello::of(fresh_id()) }, &[]).await;
            impostor.send(&ground.letter(1)).await;
            let frames = impostor.frames_to_end().await;
            assert!(
                matches!(frames.as_slice(), [only] if only.kind == kind::GOODBYE && only.payload.first() == Some(&2))
                    || frames.is_empty(),
                "an impostor is told nothing but goodbye: {frames:?}"
            );
        }
        ground.log_says(&["WARN", "no connection", "not signed by the key that it shows"]).await;
        assert_eq!(ground.letters(), Vec::<u32>::new());
    });
}

#[test]
fn an_impostor_is_told_why() {
    on(Node::builder(), async |ground| {
        let mut impostor = Peer::dial(&ground.endpoint).await;
        let key = peer::key_of(&ground.client).await;
        impostor.proves(&Hello { key, ..Hello::of(fresh_id()) }, &[]).await;
        let farewell = impostor.frame().await.expect("a goodbye");
        assert_eq!((farewell.kind, farewell.payload.first()), (kind::GOODBYE, Some(&2)), "{farewell:?}");
        assert!(impostor.frame().await.is_none());
    });
}

#[test]
fn thousands_of_silent_connections_lock_nobody_out() {
    /// Held open by the attacker: more than the node lets stand.
    const HELD: usize = 300;
    // So long that only their number can end them.
    let builder = Node::builder().handshake_timeout(Duration::from_secs(600));
    on(builder, async |ground| {
        let mut silent = VecDeque::new();
        for n in 0..2000 {
            silent.push_back(Peer::dial(&ground.endpoint).await);
            if silent.len() > HELD {
                let mut oldest = silent.pop_front().expect("there are some");
                oldest.end().await;
            }
            if n % 250 == 249 {
                ground.a_new_client_gets_through().await;
            }
        }
        ground.log_says(&["WARN", "no connection"]).await;
        ground.a_new_client_gets_through().await;
    });
}

// --------------------------------------------------------------------------------------------------------- frames

#[test]
fn a_frame_over_the_limit_ends_the_connection() {
    on(Node::builder().max_message(64 << 10), async |ground| {
        let largest = frame(200, &vec![0; (64 << 10) - 1]);
        assert!(ground.goes_on_after(&largest).await, "a frame that is just within the limit");
        ground
            .is_violated_by(&frame(200, &vec![0; 64 << 10]), "a frame of 65537 bytes is over the limit of 65536")
            .await;
    });
}

#[test]
fn an_empty_frame_ends_the_connection() {
    on(Node::builder(), async |ground| {
        ground.is_violated_by(&[0; 4], "a frame is empty").await;
    });
}

#[test]
fn a_frame_of_four_gigabytes_ends_the_connection() {
    on(Node::builder(), async |ground| {
        ground.is_violated_by(&[&[0xff; 4][..], &[kind::POST]].concat(), "a frame of 4294967295 bytes").await;
    });
}

#[test]
fn a_frame_of_two_gigabytes_ends_the_connection() {
    on(Node::builder(), async |ground| {
        ground.is_violated_by(&[0, 0, 0, 0x80, kind::POST], "a frame of 2147483648 bytes").await;
    });
}

#[test]
fn a_length_that_is_only_announced_reserves_nothing() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let before = memory("VmSize:");
            let mut peers = Vec::new();
            for _ in 0..100 {
                let mut stranger = Peer::stranger(&ground.endpoint).await;
                let announced = [&(16_u32 << 20).to_le_bytes()[..], &[kind::POST], &[0; 100]].concat();
                assert!(stranger.send(&announced).await);
                peers.push(stranger);
            }
            ground.is_healthy().await;
            let grown = memory("VmSize:").saturating_sub(before);
            assert!(grown < 400 << 20, "for 1.6 GB that were announced and not sent, {grown} bytes were reserved");
        });
    });
}

#[test]
fn half_a_frame_and_then_the_end_delivers_nothing() {
    on(Node::builder(), async |ground| {
        let whole = ground.letter(1);
        for cut in [1, 4, 5, whole.len() - 1] {
            let mut stranger = Peer::stranger(&ground.endpoint).await;
            stranger.send(&whole[..cut]).await;
            stranger.close_writing().await;
            stranger.end().await;
        }
        assert_eq!(ground.letters(), Vec::<u32>::new());
    });
}

#[test]
fn an_unknown_kind_ends_the_connection_below_128_and_is_skipped_from_there_on() {
    on(Node::builder(), async |ground| {
        for kind in [0, 21, 22, 127] {
            let words = format!("frames of kind {kind} are not known");
            ground.is_violated_by(&frame(kind, b"what is this"), &words).await;
        }
        for kind in [130, 200, 255] {
            assert!(ground.goes_on_after(&frame(kind, b"what is this")).await, "kind {kind}");
            assert!(ground.goes_on_after(&frame(kind, b"")).await, "kind {kind}");
        }
    });
}

#[test]
fn a_second_greeting_ends_the_connection() {
    on(Node::builder(), async |ground| {
        ground.is_violated_by(&frame(kind::PROOF, &[0; 200]), "a frame of kind 1 came at the wrong time").await;
        ground.is_violated_by(&frame(kind::WELCOME, &[0; 200]), "a frame of kind 12 came at the wrong time").await;
    });
}

#[test]
fn unknown_flags_end_the_connection() {
    on(Node::builder(), async |ground| {
        for flags in [0x04, 0x80, 0xff] {
            let post = frame(kind::POST, &[&[flags][..], &inline(&your_box("letters")), &number(1)].concat());
            ground.is_violated_by(&post, &format!("flags {flags:#04x} are not known")).await;
        }
    });
}

#[test]
fn a_malformed_handle_ends_the_connection() {
    on(Node::builder(), async |ground| {
        let id = [7; 16];
        let cases: [(Vec<u8>, &str); 9] = [
            (number(3), "a form 0x03 of handle"),
            (number(6), "a form 0x06 of handle"),
            (inline(&[9]), "a form 0x09 of handle"),
            (inline(&[0x40]), "a form 0x40 of handle"),
            (inline(&[1, 1, 2, 3]), "a frame ends too early"),
            (inline(&[0, 2, 0xff, 0xfe]), "a text is not UTF-8"),
            (inline(&your_box(&"n".repeat(256))), "a text of 256 bytes is over the limit of 255"),
            ([0xff; 11].to_vec(), "a number has more than 64 bits"),
            (inline(&[&[3][..], &id, &id, &id, &id, &[0, 9]].concat()), "a list of 9 entries is over the limit of 8"),
        ];
        for (target, words) in cases {
            ground.is_violated_by(&post(&target, &[]), words).await;
        }
        let many = [&[peer::HANDLES_FOLLOW][..], &inline(&your_box("letters")), &number(16_385)].concat();
        ground.is_violated_by(&frame(kind::POST, &many), "a list of 16385 entries is over the limit").await;
    });
}

#[test]
fn a_number_that_was_never_set_ends_the_connection() {
    on(Node::builder(), async |ground| {
        ground.is_violated_by(&post(&use_number(5), &number(1)), "handle number 5 was never set").await;
        let most = u64::MAX >> 2;
        ground.is_violated_by(&post(&use_number(most), &[]), &format!("handle number {most} was never set")).await;
        let within = post_with(&inline(&your_box("letters")), &[use_number(4095)], &number(1));
        ground.is_violated_by(&within, "handle number 4095 was never set").await;
    });
}

#[test]
fn a_number_out_of_range_ends_the_connection() {
    on(Node::builder().interned(100), async |ground| {
        let introduction = your_box("letters");
        let last = [post(&set_number(99, &introduction), &number(1)), post(&use_number(99), &number(2))].concat();
        assert!(ground.goes_on_after(&last).await);
        assert_eq!(ground.letters(), [1, 2]);
        for n in [100, 1 << 40, u64::MAX >> 2] {
            let post = post(&set_number(n, &introduction), &number(1));
            ground.is_violated_by(&post, &format!("handle number {n} is over the limit of 100")).await;
        }
    });
}

#[test]
fn numbers_can_be_reset_without_end() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut stranger = Peer::stranger(&ground.endpoint).await;
            let long = "x".repeat(200);
            let resets = |n: u64| post(&set_number(n % 4096, &your_box(&format!("{n}{long}"))), &[]);
            ground.keeps_its_size(&mut stranger, MARGIN, 500_000, resets).await;
            ground.hearer.hears_of_drops(DropReason::NoSuchBox, 500_000).await;
            assert!(stranger.send(&post(&set_number(7, &your_box("letters")), &number(7))).await);
            assert!(stranger.is_answered().await);
            assert_eq!(ground.letters(), [7]);
        });
    });
}

#[test]
fn a_million_posts_to_boxes_that_do_not_exist_leave_nothing_behind() {
    alone(|| {
        on(Node::builder().peer_unknown_names(0), async |ground| {
            // One who listens to dead letters is told of them, which must not pile up either.
            let told = Arc::new(AtomicU64::new(0));
            ground.node.subscribe(Ear(Arc::clone(&told)).start().recipient());
            let mut stranger = Peer::stranger(&ground.endpoint).await;
            let posts = |n: u64| post(&inline(&your_box(&format!("nobody has the name {n}"))), b"a body");
            ground.keeps_its_size(&mut stranger, MARGIN, 1_000_000, posts).await;
            assert!(stranger.is_answered().await);
            let dropped = ground.node.stats().dropped;
            assert_eq!(dropped.get(&DropReason::NoSuchBox), Some(&1_000_000), "{dropped:?}");
            ground.hearer.hears_of_drops(DropReason::NoSuchBox, 1_000_000).await;
            let told = told.load(Ordering::Relaxed);
            assert!(told < 500_000, "a flood of drops was told as {told} events");
        });
    });
}

#[test]
fn what_was_never_given_cannot_be_released() {
    on(Node::builder(), async |ground| {
        let unknown = (0..10_000).flat_map(|n| peer::release(fresh_id(), n)).collect::<Vec<u8>>();
        assert!(ground.goes_on_after(&unknown).await);
        assert!(ground.goes_on_after(&peer::release([0; 16], u64::MAX)).await);
        assert!(ground.goes_on_after(&frame(kind::RELEASE, &[])).await);
        ground.is_violated_by(&frame(kind::RELEASE, &[1, 2, 3]), "a frame ends too early").await;
    });
}

#[test]
fn pings_without_end_whose_pongs_nobody_reads_cost_no_memory() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut stranger = Peer::stranger(&ground.endpoint).await;
            // 31 MB of pings, and 21 MB of pongs: more than the system's buffers hold.
            ground.keeps_its_size(&mut stranger, MARGIN, 1_500_000, peer::ping).await;
        });
    });
}

#[test]
fn a_goodbye_is_the_last_that_is_listened_to() {
    on(Node::builder(), async |ground| {
        for why in [0, 1, 2, 3, 200] {
            let mut leaving = Peer::stranger(&ground.endpoint).await;
            let before = (1..=5).flat_map(|n| ground.letter(n)).collect::<Vec<u8>>();
            let behind = (6..=10).flat_map(|n| ground.letter(n)).collect::<Vec<u8>>();
            assert!(leaving.send(&[before, peer::goodbye(why), behind].concat()).await);
            leaving.end().await;
            assert_eq!(ground.letters(), [1, 2, 3, 4, 5]);
        }
    });
}

#[test]
fn a_goodbye_is_answered() {
    on(Node::builder(), async |ground| {
        let mut leaving = Peer::stranger(&ground.endpoint).await;
        assert!(leaving.send(&peer::goodbye(0)).await);
        let frames = leaving.frames_to_end().await;
        assert_eq!(frames.last().map(|last| last.kind), Some(kind::GOODBYE), "{frames:?}");
    });
}

#[test]
fn what_is_released_fits_the_frames_that_the_peer_reads() {
    const MOST: u32 = 1024;
    on(Node::builder(), async |ground| {
        let hello = Hello { max_frame: MOST, ..Hello::of(fresh_id()) };
        let mut small = Peer::greeted(&ground.endpoint, &hello).await;
        // A thousand addresses of which nobody keeps one: all of them come back.
        let ids: Vec<[u8; 16]> = (0..1000).map(|_| fresh_id()).collect();
        let handles: Vec<Vec<u8>> = ids.iter().map(|id| inline(&peer::my_counted_box(*id))).collect();
        assert!(small.send(&post_with(&inline(&your_box("letters")), &handles, &number(1))).await);
        let mut returned = HashSet::new();
        while returned.len() < ids.len() {
            let frame = small.frame().await.expect("all are released");
            assert!(frame.payload.len() < MOST as usize, "a frame of {} bytes", frame.payload.len() + 1);
            if frame.kind == kind::RELEASE {
                // An id and a count of one are 17 bytes.
                returned.extend(frame.payload.chunks(17).map(|entry| entry[..16].to_vec()));
            }
        }
        assert!(ids.iter().all(|id| returned.contains(&id[..])));
        assert_eq!(ground.letters(), [1]);
    });
}

// --------------------------------------------------------------------------------------------------------- bodies

#[test]
fn a_body_that_does_not_decode_costs_one_message() {
    on(Node::builder(), async |ground| {
        let to = inline(&your_box("letters"));
        ground.refuses_body(&post(&to, &[]), "").await;
        ground.refuses_body(&post(&to, &[0xff; 20]), "").await;
        ground.refuses_body(&post(&to, &[1, 2]), "1 bytes are left over").await;
        let probe = inline(&your_box("probe"));
        let beside = [inline(&peer::my_counted_box([9; 16]))];
        ground.refuses_body(&post(&probe, &[0, 1]), "no handle beside it").await;
        ground.refuses_body(&post_with(&probe, &beside, &[1, 1]), "no handle beside it").await;
        ground.refuses_body(&post_with(&probe, &beside, &[&number(u64::from(u32::MAX))[..], &[1]].concat()), "").await;
    });
}

#[test]
fn a_body_that_nests_without_end_costs_one_message() {
    on(Node::builder(), async |ground| {
        let _nests: Mailbox<Nest> = ground.open("nests");
        let _trees: Mailbox<Tree> = ground.open("trees");
        let ones = vec![1; 1 << 20];
        ground.refuses_body(&post(&inline(&your_box("nests")), &ones), "nests more than 128 levels").await;
        ground.refuses_body(&post(&inline(&your_box("trees")), &ones), "nests more than 128 levels").await;
    });
}

#[test]
fn a_body_of_nothing_in_great_numbers_costs_one_message() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let _units: Mailbox<Units> = ground.open("units");
            let _chains: Mailbox<Chain> = ground.open("chains");
            let before = memory("VmHWM:");
            for count in [u64::from(u32::MAX), u64::MAX >> 1] {
                for name in ["units", "chains"] {
                    ground.refuses_body(&post(&inline(&your_box(name)), &number(count)), "").await;
                }
            }
            let grown = memory("VmHWM:").saturating_sub(before);
            assert!(grown < 200 << 20, "bodies of ten bytes took {grown}, where 64 MiB is the limit");
        });
    });
}

#[test]
fn a_type_that_panics_when_it_is_read_costs_one_message() {
    on(Node::builder(), async |ground| {
        let _grenades: Mailbox<Grenade> = ground.open("grenades");
        ground.refuses_body(&post(&inline(&your_box("grenades")), &[]), "panicked: on purpose").await;
    });
}

#[test]
fn a_message_with_as_many_addresses_as_are_allowed_costs_one_message() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut stranger = Peer::stranger(&ground.endpoint).await;
            let to = inline(&your_box("letters"));
            let places = |n: u64| {
                let endpoint = |at: u64| format!("10.{n}.{}.{}:1", at >> 8, at & 0xff);
                let handles: Vec<Vec<u8>> = (0..16_384).map(|at| inline(&peer::box_at(&endpoint(at), "x"))).collect();
                post_with(&to, &handles, &number(n))
            };
            // Room for one such message, which holds them all while it is read; but for no second one.
            assert!(stranger.send(&places(0)).await && stranger.is_answered().await);
            ground.keeps_its_size(&mut stranger, WIDE_MARGIN, 8, places).await;
            assert!(stranger.is_answered().await);
            ground.letters();
        });
    });
}

// ------------------------------------------------------------------------------------------- those who are dialled

#[test]
fn a_listener_that_says_nothing_is_given_up() {
    dialling(async |dialler| {
        let mut silent = dialler.dials().await;
        silent.hears_hello().await.expect("the one who dials says hello first");
        silent.end().await;
        dialler.gives_up("took too long").await;
    });
}

#[test]
fn a_listener_that_answers_rubbish_is_given_up() {
    dialling(async |dialler| {
        for rubbish in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), vec![0; 64], b"HERMOD\r\r".to_vec()] {
            let mut other = dialler.dials().await;
            other.send(&rubbish).await;
            other.end().await;
        }
        dialler.gives_up("the peer speaks another protocol").await;
    });
}

#[test]
fn a_listener_that_hangs_up_at_once_is_given_up() {
    dialling(async |dialler| {
        drop(dialler.dials().await);
        dialler.gives_up("no connection").await;
    });
}

#[test]
fn a_listener_of_another_version_is_given_up() {
    dialling(async |dialler| {
        let mut newer = dialler.dials().await;
        newer.send(&Hello { versions: (3, 4), ..Hello::of(fresh_id()) }.bytes()).await;
        newer.end().await;
        dialler.gives_up("versions 3 to 4").await;
    });
}

#[test]
fn a_listener_that_speaks_before_its_welcome_is_given_up() {
    dialling(async |dialler| {
        let mut hasty = dialler.dials().await;
        let post = post(&inline(&your_box("letters")), &number(1));
        hasty.answers(&Hello::of(fresh_id())).await.expect("the node shows who it is");
        hasty.send(&post).await;
        hasty.end().await;
        dialler.gives_up("a frame of kind 2 came at the wrong time").await;
    });
}

#[test]
fn a_listener_that_claims_to_be_another_node_is_given_up() {
    dialling(async |dialler| {
        let mut known = Peer::stranger(&dialler.ground.endpoint).await;
        assert!(known.is_answered().await);
        let mut impostor = dialler.dials().await;
        let hello = Hello { key: known.key, ..Hello::of(fresh_id()) };
        assert_eq!(impostor.answers(&hello).await, None, "the node says nothing about itself");
        dialler.gives_up("not signed by the key that it shows").await;
    });
}

#[test]
fn a_listener_that_greets_and_then_breaks_the_protocol_is_given_up() {
    dialling(async |dialler| {
        let mut other = dialler.dials().await;
        other.welcomes(&Hello::of(fresh_id())).await;
        other.send(&post(&use_number(9), &[])).await;
        other.end().await;
        dialler.gives_up("handle number 9 was never set").await;
    });
}

/// A node that dials an endpoint where nobody means well, beside its healthy connection.
struct Dialler<'a> {
    ground: &'a mut Ground,
    node: Node,
    healthy: Address<Probe>,
    listener: TcpListener,
    hostile: Address<Letter>,
}

fn dialling(attack: impl AsyncFnOnce(&mut Dialler<'_>)) {
    on(Node::builder(), async |ground| {
        let pauses = Duration::from_millis(10)..=Duration::from_millis(50);
        let node = Node::builder().handshake_timeout(Duration::from_secs(1)).reconnect(pauses).start();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let hostile = node.remote(at, "letters").expect("an address");
        let healthy = node.remote(&ground.endpoint, "probe").expect("an address");
        round_trip(&node, &healthy).await;
        let mut dialler = Dialler { ground, node, healthy, listener, hostile };
        attack(&mut dialler).await;
        round_trip(&dialler.node, &dialler.healthy).await;
        assert!(
            dialler
                .node
                .stats()
                .connections
                .iter()
                .all(|connection| connection.reconnects == 0 || connection.peer != Some(dialler.ground.node.id()))
        );
        dialler.node.shutdown().await;
    });
}

impl Dialler<'_> {
    /// The next connection that the node opens to the hostile listener: it is given a reason, and goes on trying.
    async fn dials(&mut self) -> Peer {
        let dialled = async {
            loop {
                // A message in the pause before an attempt is dropped and starts none.
                self.hostile.do_send(Letter(0));
                if let Ok(peer) = timeout(Duration::from_millis(20), Peer::accept(&self.listener)).await {
                    return peer;
                }
            }
        };
        timeout(PATIENCE, dialled).await.expect("the node dials")
    }

    /// Waits for the words in the log; then the node must find one who does behave at that endpoint.
    async fn gives_up(&mut self, words: &str) {
        self.ground.log_says(&[words]).await;
        let mut decent = self.dials().await;
        decent.welcomes(&Hello::of(fresh_id())).await;
        assert!(decent.is_answered().await);
        let dropped = self.node.stats().dropped;
        let lost = [DropReason::NotConnected, DropReason::Lost].iter().filter_map(|reason| dropped.get(reason));
        let in_doubt = self.node.stats().in_doubt;
        assert!(lost.sum::<u64>() + in_doubt > 0, "what was sent to nobody is counted: {dropped:?}");
    }
}

// ----------------------------------------------------------------------------------------------------- the ground

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Probe {
    return_to: Address<Echo>,
    n: u32,
}

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Echo(u32);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Letter(u32);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Nest(Option<Box<Nest>>);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Tree(Vec<Tree>);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Units(HashSet<()>);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Chain(LinkedList<()>);

#[derive(Message, Serialize)]
#[rtype(result = "()")]
struct Grenade;

impl<'de> Deserialize<'de> for Grenade {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Grenade, D::Error> {
        panic!("on purpose");
    }
}

/// Counts what a node tells.
#[derive(Default)]
struct Ear(Arc<AtomicU64>);

impl Actor for Ear {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Nothing that it is told is dropped because it is slow.
        ctx.set_mailbox_capacity(0);
    }
}

impl Handler<Event> for Ear {
    type Result = ();

    fn handle(&mut self, _: Event, _: &mut Context<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The events that a subscriber of a node has heard.
#[derive(Default)]
struct Told {
    ends: Vec<(NodeId, DownReason)>,
    drops: BTreeMap<DropReason, u64>,
}

/// Keeps why connections have ended, and sums of drops: however many there are, it does not grow with the drops.
#[derive(Clone, Default)]
struct Hearer(Arc<Mutex<Told>>);

impl Actor for Hearer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Nothing that it is told is dropped because it is slow.
        ctx.set_mailbox_capacity(0);
        // Lives although nobody but the node holds it.
        ctx.run_interval(PATIENCE, |_, _| {});
    }
}

impl Handler<Event> for Hearer {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        let mut told = lock(&self.0);
        match event {
            Event::PeerDown { peer, why } => told.ends.push((peer, why)),
            Event::DeadLetter { reason, count, side: Side::Here, .. } => {
                *told.drops.entry(reason).or_default() += count;
            }
            _ => {}
        }
    }
}

impl Hearer {
    /// Listens to a node from now on.
    fn of(node: &Node) -> Hearer {
        let hearer = Hearer::default();
        node.subscribe(hearer.clone().start().recipient());
        hearer
    }

    /// Waits until it was told that a connection has ended, to whom and why.
    async fn hears_an_end(&self, is_it: impl Fn(NodeId, &DownReason) -> bool) {
        let is_told = || lock(&self.0).ends.iter().any(|(peer, why)| is_it(*peer, why));
        until(is_told, || format!("no such end: {:?}", lock(&self.0).ends)).await;
    }

    /// Waits until it was told of so many drops for that reason, at least.
    async fn hears_of_drops(&self, reason: DropReason, count: u64) {
        let is_told = || lock(&self.0).drops.get(&reason).is_some_and(|told| *told >= count);
        until(is_told, || format!("not {count} for {reason:?}: {:?}", lock(&self.0).drops)).await;
    }
}

/// A node that listens, and a healthy client of it.
struct Ground {
    node: Node,
    /// Hears what the node tells.
    hearer: Hearer,
    endpoint: String,
    /// The box "letters" of the node, for the attackers to write to.
    inbox: Mailbox<Letter>,
    client: Node,
    /// The box "probe" of the node, where somebody answers.
    healthy: Address<Probe>,
    log: Log,
}

/// Runs an attack against a node with those limits, and then looks what is left.
fn on(limits: NodeBuilder, attack: impl AsyncFnOnce(&mut Ground)) {
    watch_panics();
    // Of this thread only: the nodes of a test run on its thread.
    let (log, _logging) = Log::start(tracing::Level::DEBUG);
    System::new().block_on(async {
        let mut ground = Ground::new(limits, log).await;
        attack(&mut ground).await;
        ground.is_healthy().await;
        ground.a_new_client_gets_through().await;
        ground.node.shutdown().await;
        ground.client.shutdown().await;
    });
    assert_eq!(panics_of_this_thread(), Vec::<String>::new());
}

impl Ground {
    async fn new(limits: NodeBuilder, log: Log) -> Ground {
        let node = limits.start();
        let endpoint = node.listen("127.0.0.1:0").await.expect("a free port").to_string();
        let mut probes: Mailbox<Probe> = node.mailbox().name("probe").open().expect("a mailbox");
        let inbox = node.mailbox().name("letters").open().expect("a mailbox");
        actix::spawn(async move {
            while let Some(probe) = probes.recv().await {
                probe.return_to.do_send(Echo(probe.n));
            }
        });
        let client = Node::start();
        let healthy = client.remote(&endpoint, "probe").expect("an address");
        let hearer = Hearer::of(&node);
        let ground = Ground { node, hearer, endpoint, inbox, client, healthy, log };
        ground.is_healthy().await;
        ground
    }

    /// The connection that was there before the attack still carries a message and its answer.
    async fn is_healthy(&self) {
        round_trip(&self.client, &self.healthy).await;
        let connections = self.client.stats().connections;
        assert!(connections.iter().all(|connection| connection.reconnects == 0), "it was cut: {connections:?}");
    }

    async fn a_new_client_gets_through(&self) {
        let client = Node::start();
        let probe = client.remote(&self.endpoint, "probe").expect("an address");
        round_trip(&client, &probe).await;
        client.shutdown().await;
    }

    fn open<M: RemoteMessage + Message<Result = ()>>(&self, name: &str) -> Mailbox<M> {
        self.node.mailbox().name(name).open().expect("a mailbox")
    }

    /// A post to the box that attackers write to.
    fn letter(&self, n: u32) -> Vec<u8> {
        post(&inline(&your_box("letters")), &number(n.into()))
    }

    /// The messages that have come into that box since it was last looked at.
    fn letters(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.inbox.try_recv()).map(|letter| letter.0).collect()
    }

    /// The bytes end the connection of a peer that was greeted; subscribers and the log are told who did what.
    async fn is_violated_by(&self, bytes: &[u8], words: &str) {
        let hello = Hello::of(fresh_id());
        let mut violator = Peer::greeted(&self.endpoint, &hello).await;
        violator.send(bytes).await;
        violator.end().await;
        let id = uuid::Uuid::from_bytes(hello.node).to_string();
        self.log_says(&["WARN", "the peer broke the protocol", &id, words]).await;
        let is_it = |peer: NodeId, why: &DownReason| {
            raw_id(peer) == hello.node && matches!(why, DownReason::Misbehaved(how) if how.contains(words))
        };
        self.hearer.hears_an_end(is_it).await;
    }

    /// Whether the connection of a peer that was greeted goes on after the bytes.
    async fn goes_on_after(&self, bytes: &[u8]) -> bool {
        let mut stranger = Peer::stranger(&self.endpoint).await;
        stranger.send(bytes).await && stranger.is_answered().await
    }

    /// The message is dropped as not decodable, in those words; the connection goes on, and so does its box.
    async fn refuses_body(&mut self, post: &[u8], words: &str) {
        self.refuses(post, DropReason::NotDecodable, words).await;
    }

    /// The message is dropped for that reason, in those words; the connection goes on, and so does its box.
    async fn refuses(&mut self, post: &[u8], reason: DropReason, words: &str) {
        let count = |ground: &Ground| ground.node.stats().dropped.get(&reason).copied();
        let before = count(self).unwrap_or(0);
        let events = Arc::new(Mutex::new(Vec::new()));
        self.node.subscribe(Details(Arc::clone(&events)).start().recipient());
        let sent = [post, &self.letter(77)].concat();
        assert!(self.goes_on_after(&sent).await, "a bad body ends the connection");
        assert_eq!(count(self), Some(before + 1));
        assert_eq!(self.letters(), [77]);
        let is_told = || lock(&events).iter().any(|detail: &String| detail.contains(words));
        until(is_told, || format!("no dead letter says {words:?}: {:?}", lock(&events))).await;
    }

    /// The node takes no more memory after all of the frames than after the first of them.
    async fn keeps_its_size(&self, peer: &mut Peer, margin: u64, count: u64, make: impl Fn(u64) -> Vec<u8>) {
        let (mut before, batch) = (None, (count / 100).clamp(1, 1000));
        for from in (0..count).step_by(batch as usize) {
            let frames: Vec<u8> = (from..from + batch).flat_map(&make).collect();
            assert!(peer.send(&frames).await, "the connection ended after {from} frames");
            // Frames that come by the piece are large: a busy machine is given time for each.
            assert!(batch > 1 || peer.is_answered().await, "the connection ended after frame {from}");
            if before.is_none() && from >= count / 10 {
                before = Some(memory("VmRSS:"));
            }
        }
        self.is_healthy().await;
        let grown = memory("VmRSS:").saturating_sub(before.unwrap_or(0));
        assert!(grown < margin, "{count} frames left {grown} bytes behind");
    }

    /// Waits for a line of the log that has all of that in it.
    async fn log_says(&self, parts: &[&str]) {
        let is_said = || self.log.text().lines().any(|line| parts.iter().all(|part| line.contains(part)));
        until(is_said, || format!("no line of the log has {parts:?}:\n{}", self.log.text())).await;
    }
}

/// Keeps the details of dead letters.
struct Details(Arc<Mutex<Vec<String>>>);

impl Actor for Details {
    type Context = Context<Self>;
}

impl Handler<Event> for Details {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        if let Event::DeadLetter { detail: Some(detail), .. } = event {
            lock(&self.0).push(detail);
        }
    }
}

/// One message there and one back.
async fn round_trip(client: &Node, probe: &Address<Probe>) {
    let mut echoes = client.mailbox().open().expect("a mailbox");
    probe.do_send(Probe { return_to: echoes.address(), n: 4242 });
    let echo: Option<Echo> = in_time(echoes.recv(), "an echo comes back").await;
    assert_eq!(echo.map(|echo| echo.0), Some(4242));
}

async fn in_time<T>(future: impl Future<Output = T>, what: &str) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn until(mut is_so: impl FnMut() -> bool, otherwise: impl FnOnce() -> String) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{}", otherwise());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn raw_id(node: NodeId) -> [u8; 16] {
    *node.to_string().parse::<uuid::Uuid>().expect("a node id is written as a UUID").as_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static PANICS: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

/// Notes panics, which the runtime would catch and nobody would see.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let words = panic.to_string();
            if !words.contains("on purpose") {
                lock(&PANICS).push((thread::current().id(), words));
                usual(panic);
            }
        }));
    });
}

fn panics_of_this_thread() -> Vec<String> {
    let me = thread::current().id();
    lock(&PANICS).iter().filter(|(thread, _)| *thread == me).map(|(_, words)| words.clone()).collect()
}

/// A figure of `/proc/self/status`, in bytes; 0 where there is no such file, and nothing is measured then.
fn memory(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(figure));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
