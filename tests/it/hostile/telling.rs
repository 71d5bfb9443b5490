//! Peers that tell of drops that never were and of shapes that nobody has, or that have everything told to them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;

use actix::Actor;
use actix::Message;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::ShapesError;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::box_named;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::post;
use support::peer::report;
use support::peer::text;
use support::peer::your_box;
use support::peer::your_box_for;
use support::process::alone;

use super::Details;
use super::Letter;
use super::MARGIN;
use super::dialling;
use super::in_time;
use super::lock;
use super::memory;
use super::on;
use super::until;

/// Bits of a hello: what this peer wants to be sent.
const SHAPES: u64 = 2;

const NEWEST_SHED: u8 = 24;

// ------------------------------------------------------------------------------------------- connections given up

/// One who has read the node's hello takes the connection for up, and may be in doubt about what it has written to it.
#[test]
fn what_became_of_a_connection_is_told_although_it_still_greets() {
    on(Node::builder(), async |ground| {
        let hello = Hello::of(fresh_id());
        let mut first = Peer::dial(&ground.endpoint).await;
        assert!(first.says_hello(&hello).await);
        first.hello().await.expect("a hello");
        let mut second = Peer::dial(&ground.endpoint).await;
        second.proves(&hello, &[(first.name(), 0)]).await;
        assert_eq!(second.is_welcomed().await, [(first.name(), 0)], "it has read nothing of the first");
        // And never will.
        let proof = first.proof(&hello, &[]);
        first.send(&[proof, ground.letter(1)].concat()).await;
        first.frames_to_end().await;
        assert!(second.send(&ground.letter(2)).await && second.is_answered().await);
        assert_eq!(ground.letters(), [2]);
    });
}

// ---------------------------------------------------------------------------------------------------------- reports

#[test]
fn more_drops_than_messages_are_not_believed() {
    dialling(async |dialler| {
        let mut other = dialler.is_greeted().await;
        // Somebody listens, and hears sums.
        dialler.node.subscribe(Details(std::sync::Arc::default()).start().recipient());
        let named = |name: &str| (box_named(name), NEWEST_SHED, u64::MAX);
        let others = (vec![2], NEWEST_SHED, u64::MAX);
        let lies = report(&[named(""), others, named("letters"), named("nobody")]);
        assert!(other.send(&[lies.clone(), report(&[]), lies].concat()).await && other.is_answered().await);
        let stats = dialler.node.stats();
        let told = stats.reported.get(&DropReason::NewestShed).copied().unwrap_or_default();
        assert!(told <= stats.sent, "{told} of {} were dropped", stats.sent);
    });
}

#[test]
fn reports_of_a_million_boxes_leave_nothing_behind() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut stranger = Peer::stranger(&ground.endpoint).await;
            let many = |n: u64| {
                let drops: Vec<_> = (0..1000).map(|at| (box_named(&format!("{n}-{at}")), NEWEST_SHED, n + 1)).collect();
                report(&drops)
            };
            ground.keeps_its_size(&mut stranger, MARGIN, 1000, many).await;
        });
    });
}

// ----------------------------------------------------------------------------------------------------------- shapes

/// The encoding of a struct of that many fields, of which each is shown as two hundred long names.
fn wordy(fields: usize) -> Vec<u8> {
    let list = |count: usize, items: Vec<u8>| [number(count as u64), items].concat();
    let field = |at: usize| [text(&at.to_string()), number(1)].concat();
    let root = [vec![36], text("Letter"), vec![3], list(fields, (0..fields).flat_map(field).collect())].concat();
    let tuple = [vec![35], list(200, (2..202).flat_map(number).collect())].concat();
    let name = |at: usize| format!("{at:03}{}", "\u{10ffff}".repeat(117));
    let structs: Vec<u8> = (0..200).flat_map(|at| [vec![36], text(&name(at)), vec![0]].concat()).collect();
    [vec![1, 0], list(202, [root, tuple, structs].concat())].concat()
}

/// The answer to the question in that payload.
fn answered(question: &[u8], answer: &[u8]) -> Vec<u8> {
    frame(kind::SHAPE, &[question, answer].concat())
}

#[test]
fn a_large_shape_that_very_many_wait_for_is_looked_into_once() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let hello = Hello { features: SHAPES, ..Hello::of(fresh_id()) };
            let mut other = Peer::greeted(&ground.endpoint, &hello).await;
            let letter = post(&inline(&your_box_for("letters", 7)), &number(1));
            let before = memory("VmRSS:");
            // Each is introduced anew, and has the node ask.
            assert!(other.send(&letter.repeat(2000)).await && other.is_answered().await);
            let question = [vec![0], 7_u64.to_le_bytes().to_vec()].concat();
            assert!(other.send(&answered(&question, &wordy(80_000))).await && other.is_answered().await);
            assert_eq!(ground.dropped(DropReason::TypeMismatch), 2000);
            let grown = memory("VmRSS:").saturating_sub(before);
            assert!(grown < 100 << 20, "of a shape of a megabyte {grown} bytes are left");
        });
    });
}

#[test]
fn shapes_without_end_are_not_listened_to() {
    dialling(async |dialler| {
        let node = dialler.node.clone();
        let at = dialler.listener.local_addr().expect("it is bound").to_string();
        let asks = actix::spawn(async move { node.shapes_at(at).await });
        let mut other = dialler.dials().await;
        let hello = Hello { features: SHAPES, ..Hello::of(fresh_id()) };
        other.welcomes(&hello).await;
        let mut told = 0;
        // Each has a name of its own and a shape of its own, of nearly a megabyte.
        while let Ok(Some(frame)) = tokio::time::timeout(std::time::Duration::from_secs(1), other.frame()).await {
            let answer = match (frame.kind, frame.payload.first()) {
                (kind::SHAPE_QUESTION, Some(2)) => text(&format!("{told:06}")),
                (kind::SHAPE_QUESTION, _) => {
                    told += 1;
                    assert!(told < 100, "it listens on");
                    [vec![1, 0, 1, 38], text(&format!("{told:06}{}", "x".repeat(1_000_000)))].concat()
                }
                _ => continue,
            };
            assert!(other.send(&answered(&frame.payload, &answer)).await);
            if asks.is_finished() {
                break;
            }
        }
        assert_eq!(in_time(asks, "it gives up").await.expect("no panic"), Err(ShapesError::TooMany));
    });
}

/// A message with a name that is longer than some frames may be.
#[derive(Message)]
#[rtype(result = "()")]
struct LongNamed;

const LONG: &str = match str::from_utf8(&[b'x'; 2000]) {
    Ok(name) => name,
    Err(_) => "",
};

impl Serialize for LongNamed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit_struct(LONG)
    }
}

impl<'de> Deserialize<'de> for LongNamed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LongNamed, D::Error> {
        deserializer.deserialize_unit_struct(LONG, de::IgnoredAny).map(|_| LongNamed)
    }
}

#[test]
fn what_is_told_of_shapes_fits_the_frames_that_the_peer_reads() {
    const MOST: u32 = 1024;
    on(Node::builder(), async |ground| {
        let _long: Mailbox<LongNamed> = ground.open("long");
        let names: HashSet<String> = (0..100).map(|n| format!("{n:060}")).collect();
        let _many: Vec<Mailbox<Letter>> = names.iter().map(|name| ground.open(name)).collect();
        let hello = Hello { max_frame: MOST, ..Hello::of(fresh_id()) };
        let mut small = Peer::greeted(&ground.endpoint, &hello).await;
        let (mut told, mut after) = (HashSet::new(), String::new());
        loop {
            let question = [vec![2], text(&after)].concat();
            let answer = is_told(&mut small, &question, MOST).await;
            let Some(last) = texts(&answer).last().cloned() else { break };
            told.extend(texts(&answer));
            after = last;
        }
        assert!(names.is_subset(&told) && told.contains("long"), "{told:?}");
        let shape_of = |name: &str| [vec![1], box_named(name)].concat();
        assert!(!is_told(&mut small, &shape_of("letters"), MOST).await.is_empty());
        assert!(is_told(&mut small, &shape_of("long"), MOST).await.is_empty());
    });
}

#[test]
fn no_more_names_are_told_at_a_time_than_a_frame_is_to_have() {
    /// So many names, or so many bytes of them.
    const NAMES: usize = 512;
    const BYTES: usize = 16 << 10;
    on(Node::builder(), async |ground| {
        let names = |letter: char, count: u32, width: usize| -> Vec<Mailbox<Letter>> {
            (0..count).map(|n| ground.open(&format!("{letter}{n:0width$}"))).collect()
        };
        let _boxes = [names('a', 600, 5), names('b', 300, 120)];
        let hello = Hello { features: SHAPES, ..Hello::of(fresh_id()) };
        let mut curious = Peer::greeted(&ground.endpoint, &hello).await;
        let short = is_told(&mut curious, &[vec![2], text("")].concat(), u32::MAX).await;
        assert_eq!(texts(&short).len(), NAMES);
        let long = is_told(&mut curious, &[vec![2], text("b")].concat(), u32::MAX).await;
        assert!((BYTES / 2..=BYTES).contains(&long.len()), "{} bytes of names", long.len());
    });
}

/// The node's answers, in frames of so many bytes.
async fn is_told(peer: &mut Peer, question: &[u8], most: u32) -> Vec<u8> {
    assert!(peer.send(&frame(kind::SHAPE_QUESTION, question)).await);
    loop {
        let frame = peer.frame().await.expect("an answer");
        assert!(frame.payload.len() < most as usize, "a frame of {} bytes", frame.payload.len() + 1);
        if frame.kind == kind::SHAPE {
            return frame.payload.strip_prefix(question).expect("an answer repeats its question").to_vec();
        }
    }
}

/// The short texts in there.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let (text, rest) = rest.split_at(usize::from(len));
        texts.push(String::from_utf8(text.to_vec()).expect("a text"));
        bytes = rest;
    }
    texts
}

/// Words about drops that it has told of nobody sends again as words about others.
#[test]
fn a_remark_about_nothing_that_was_reported_tells_nobody() {
    on(Node::builder(), async |ground| {
        let remark = |words: &str| {
            frame(kind::REMARK, &[box_named("letters"), vec![0; 8], vec![NEWEST_SHED], text(words)].concat())
        };
        ground.is_violated_by(&frame(kind::REMARK, b"what is this"), "").await;
        let events = Arc::new(Mutex::new(Vec::<String>::new()));
        ground.node.subscribe(Details(Arc::clone(&events)).start().recipient());
        let mut stranger = Peer::stranger(&ground.endpoint).await;
        // Behind it a message whose drop is told in words.
        let undecodable = post(&inline(&your_box("letters")), &[]);
        assert!(stranger.send(&[remark("made up"), undecodable].concat()).await && stranger.is_answered().await);
        let is_told = || lock(&events).iter().any(|detail| !detail.is_empty());
        until(is_told, || format!("nothing was told: {:?}", lock(&events))).await;
        assert!(!lock(&events).iter().any(|detail| detail == "made up"), "{:?}", lock(&events));
    });
}
