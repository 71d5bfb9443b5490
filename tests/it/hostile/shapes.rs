//! Peers whose messages are of another shape than a box takes, and who ask, answer and report as no node would.

use actix::Actor;
use actix_hermod::DropReason;
use actix_hermod::Node;
use actix_hermod::Shape;
use support::peer::Frame;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::box_named;
use support::peer::dropped;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::ping;
use support::peer::post;
use support::peer::set_number;
use support::peer::text;
use support::peer::use_number;
use support::process::alone;

use super::Ear;
use super::Ground;
use super::HOUR;
use super::Letter;
use super::MARGIN;
use super::on;
use super::until;

/// Feature bits: may be sent reports, and questions for shapes.
const REPORTS_AND_SHAPES: u64 = 3;

/// Introduces the reader's box of a name, for messages of a shape.
fn your_box_for(name: &str, fingerprint: u64) -> Vec<u8> {
    [vec![0x10], text(name), fingerprint.to_le_bytes().to_vec()].concat()
}

/// Asks for the shape of this fingerprint.
fn question_of(fingerprint: u64) -> Vec<u8> {
    [vec![0], fingerprint.to_le_bytes().to_vec()].concat()
}

/// Asks for the shape that the box of this name takes.
fn question_of_box(name: &str) -> Vec<u8> {
    [vec![1, 0], text(name)].concat()
}

/// Asks for the names behind this one.
fn names_behind(name: &str) -> Vec<u8> {
    [vec![2], text(name)].concat()
}

/// A peer that nobody knew before, and that may be sent everything.
async fn curious(ground: &Ground) -> Peer {
    let hello = Hello { features: REPORTS_AND_SHAPES, ..Hello::of(fresh_id()) };
    Peer::greeted(&ground.endpoint, &hello).await
}

/// All that the node sends up to its answer to a ping.
async fn until_pong(peer: &mut Peer) -> Vec<Frame> {
    const NONCE: u64 = 0xcafe;
    assert!(peer.send(&ping(NONCE)).await);
    let mut frames = Vec::new();
    loop {
        let frame = peer.frame().await.expect("the connection goes on");
        if frame.kind == kind::PONG && frame.payload.starts_with(&NONCE.to_le_bytes()) {
            return frames;
        }
        frames.push(frame);
    }
}

fn mismatches(ground: &Ground) -> u64 {
    ground.node.stats().dropped.get(&DropReason::TypeMismatch).copied().unwrap_or(0)
}

#[test]
fn a_wrong_fingerprint_costs_its_messages_and_its_shape_is_asked_for_once() {
    on(Node::builder(), async |ground| {
        let mut peer = curious(ground).await;
        let first = post(&set_number(0, &your_box_for("letters", 77)), &number(1));
        let more: Vec<u8> = (0..100).flat_map(|n| post(&use_number(0), &number(n))).collect();
        assert!(peer.send(&[first, more].concat()).await);
        let frames = until_pong(&mut peer).await;
        let asked = frames.into_iter().filter(|frame| frame.kind == kind::SHAPE_QUESTION);
        assert_eq!(asked.map(|frame| frame.payload).collect::<Vec<_>>(), [question_of(77)]);
        assert_eq!(mismatches(ground), 101);
        // Nonsense in the place of a shape explains nothing.
        let nonsense = [question_of(77), vec![0xff; 1000]].concat();
        assert!(peer.send(&frame(kind::SHAPE, &nonsense)).await && peer.is_answered().await);
        let right = your_box_for("letters", Shape::of::<Letter>().fingerprint());
        assert!(peer.send(&post(&inline(&right), &number(5))).await && peer.is_answered().await);
        assert_eq!(ground.letters(), [5]);
    });
}

#[test]
fn who_does_not_know_of_shapes_is_not_asked_and_not_told() {
    on(Node::builder(), async |ground| {
        let mut peer = Peer::stranger(&ground.endpoint).await;
        assert!(peer.send(&post(&inline(&your_box_for("letters", 77)), &number(1))).await);
        // Without a fingerprint nothing is compared.
        assert!(peer.send(&ground.letter(2)).await);
        let kinds: Vec<u8> = until_pong(&mut peer).await.iter().map(|frame| frame.kind).collect();
        assert!(!kinds.contains(&kind::SHAPE_QUESTION) && !kinds.contains(&kind::REPORT), "{kinds:?}");
        assert_eq!((mismatches(ground), ground.letters()), (1, vec![2]));
    });
}

#[test]
fn whoever_asks_for_a_shape_is_told_and_a_box_that_is_not_there_has_none() {
    on(Node::builder(), async |ground| {
        let mut peer = curious(ground).await;
        let shape = postcard::to_stdvec(&Shape::of::<Letter>()).expect("a shape is written");
        // Without the length that postcard puts before bytes.
        let encoded = shape[1..].to_vec();
        let fingerprint = Shape::of::<Letter>().fingerprint();
        let cases = [
            (question_of_box("letters"), encoded.clone()),
            (question_of(fingerprint), encoded),
            (question_of_box("nobody"), Vec::new()),
            (question_of(fingerprint ^ 1), Vec::new()),
            (names_behind(""), [text("letters"), text("probe")].concat()),
            (names_behind("probe"), Vec::new()),
        ];
        for (question, answer) in cases {
            assert!(peer.send(&frame(kind::SHAPE_QUESTION, &question)).await);
            let frames = until_pong(&mut peer).await;
            let told = frames.iter().find(|frame| frame.kind == kind::SHAPE).expect("an answer");
            assert_eq!(told.payload, [question, answer].concat());
        }
    });
}

#[test]
fn a_malformed_question_answer_or_report_ends_the_connection() {
    on(Node::builder(), async |ground| {
        for (kind, payload, words) in [
            (kind::SHAPE_QUESTION, vec![], "a frame ends too early"),
            (kind::SHAPE_QUESTION, vec![3], "a form 0x03"),
            (kind::SHAPE_QUESTION, vec![1, 7], "a form 0x07"),
            (kind::SHAPE_QUESTION, vec![0, 1, 2, 3], "a frame ends too early"),
            (kind::SHAPE_QUESTION, vec![2, 2, 0xff, 0xfe], "a text is not UTF-8"),
            (kind::SHAPE, vec![9], "a form 0x09"),
            (kind::SHAPE, vec![1, 0, 200], "a frame ends too early"),
            (kind::REPORT, vec![], "a frame ends too early"),
            (kind::REPORT, vec![0, 0, 1, b'a', 24], "a frame ends too early"),
            (kind::REPORT, [vec![0, 0, 1, b'a'], vec![7; 8], vec![24]].concat(), "a frame ends too early"),
            (kind::REPORT, vec![0, 8, 24, 1], "a form 0x08"),
        ] {
            ground.is_violated_by(&frame(kind, &payload), words).await;
        }
        // An answer that nobody has asked for is nothing.
        assert!(ground.goes_on_after(&frame(kind::SHAPE, &[question_of(1), vec![1; 5000]].concat())).await);
    });
}

#[test]
fn a_report_of_more_than_was_sent_is_not_believed() {
    on(Node::builder(), async |ground| {
        ground.node.subscribe(Ear::default().start().recipient());
        let most = u64::MAX;
        let entries = [
            dropped(&box_named("a"), 0, 24, most),
            dropped(&box_named("a"), 7, 24, most),
            dropped(&box_named("b"), 0, 24, most),
            dropped(&[2], 0, 24, most),
            dropped(&[2], 7, 27, most),
            // A reason of a later version.
            dropped(&[2], 0, 200, most),
        ];
        let report = frame(kind::REPORT, &[number(most), entries.concat()].concat());
        let mut peer = curious(ground).await;
        for _ in 0..3 {
            assert!(peer.send(&report).await && peer.is_answered().await);
        }
        let reported = ground.node.stats().reported;
        assert!(reported.is_empty(), "nothing was sent to the peer: {reported:?}");
    });
}

#[test]
fn wrong_fingerprints_without_end_that_are_never_explained_cost_no_memory() {
    alone(|| {
        // However long a busy machine takes, a peer that only writes is not given up.
        on(Node::builder().dead_after(HOUR), async |ground| {
            let mut peer = curious(ground).await;
            let wrong = |n: u64| post(&set_number(n % 4096, &your_box_for("letters", n + 1)), b"a body");
            ground.keeps_its_size(&mut peer, MARGIN, 500_000, wrong).await;
            let mut counted = 0;
            while counted < 500_000 {
                until(|| mismatches(ground) > counted, || format!("{counted} are counted")).await;
                counted = mismatches(ground);
            }
            assert_eq!(counted, 500_000);
        });
    });
}

#[test]
fn questions_without_end_whose_answers_nobody_reads_cost_no_memory() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut peer = curious(ground).await;
            let questions = |n: u64| match n % 3 {
                0 => frame(kind::SHAPE_QUESTION, &question_of_box("letters")),
                1 => frame(kind::SHAPE_QUESTION, &question_of(n)),
                _ => frame(kind::SHAPE_QUESTION, &names_behind("")),
            };
            ground.keeps_its_size(&mut peer, MARGIN, 1_000_000, questions).await;
        });
    });
}

#[test]
fn reports_of_boxes_and_shapes_without_end_cost_no_memory() {
    alone(|| {
        on(Node::builder(), async |ground| {
            ground.node.subscribe(Ear::default().start().recipient());
            let mut peer = curious(ground).await;
            // Every other one is of another shape for one box.
            let reports = |n: u64| {
                let entry = match n % 2 {
                    0 => dropped(&box_named(&format!("nobody has the name {n}")), 0, 27, n),
                    _ => dropped(&box_named("letters"), n, 27, n),
                };
                frame(kind::REPORT, &[number(n), entry].concat())
            };
            ground.keeps_its_size(&mut peer, MARGIN, 500_000, reports).await;
        });
    });
}
