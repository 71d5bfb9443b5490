//! Peers that ask, answer, refuse and take back as no node would.

use std::collections::HashSet;
use std::time::Duration;

use actix_hermod::AskError;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Node;
use futures_util::FutureExt;
use support::peer::Frame;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::answer;
use support::peer::answer_with;
use support::peer::ask;
use support::peer::ask_within;
use support::peer::cancel;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::my_counted_box;
use support::peer::number;
use support::peer::ping;
use support::peer::refuse;
use support::peer::set_number;
use support::peer::use_number;
use support::peer::your_box;
use support::process::alone;

use super::Dialler;
use super::Ground;
use super::HOUR;
use super::Letter;
use super::MARGIN;
use super::WIDE_MARGIN;
use super::dialling;
use super::on;
use super::until;

/// The reasons of refusals, as numbers.
const NO_SUCH_BOX: u8 = 22;
pub(super) const REQUESTS_FULL: u8 = 31;

// -------------------------------------------------------------------------------------------------------- the asker

#[test]
fn a_request_number_that_is_asked_again_ends_the_connection() {
    on(Node::builder(), async |ground| {
        for twice in [0, 7, u64::MAX] {
            let bytes = [letter(twice, 1), letter(twice, 2)].concat();
            ground.is_violated_by(&bytes, &format!("request number {twice} is asked again")).await;
        }
        // The first of each was taken back by the end of its connection, and the second never got in.
        let taken_back = || ground.node.stats().connections.len() == 1;
        until(taken_back, || format!("{:?}", ground.node.stats().connections)).await;
        assert_eq!(ground.letters(), Vec::<u32>::new());
        assert_eq!(ground.dropped(DropReason::Cancelled), 3);
    });
}

#[test]
fn a_request_number_may_be_asked_again_once_it_is_answered() {
    on(Node::builder(), async |ground| {
        let mut asker = Peer::stranger(&ground.endpoint).await;
        for n in 0..3 {
            for correlation in [0, u64::MAX] {
                assert!(asker.send(&letter(correlation, n)).await && asker.is_answered().await);
                assert_eq!(ground.letters(), [n]);
                assert_eq!(about(&asker.frame().await.expect("an answer")), (kind::ANSWER, correlation));
            }
        }
    });
}

#[test]
fn the_answer_to_a_request_that_was_taken_back_is_not_given_to_the_next_of_its_number() {
    on(Node::builder(), async |ground| {
        let mut asker = Peer::stranger(&ground.endpoint).await;
        assert!(asker.send(&[letter(7, 1), cancel(7), letter(7, 2)].concat()).await && asker.is_answered().await);
        assert_eq!(ground.letters(), [2]);
        assert!(asker.send(&ping(1)).await);
        let (mut said, mut is_answered) = (Vec::new(), false);
        while !is_answered || said.is_empty() {
            let frame = asker.frame().await.expect("an answer and a pong");
            match frame.kind {
                kind::PONG => is_answered = true,
                _ => said.push(about(&frame)),
            }
        }
        assert_eq!(said, [(kind::ANSWER, 7)]);
        assert_eq!(ground.dropped(DropReason::Cancelled), 1);
    });
}

#[test]
fn more_requests_than_a_node_keeps_are_refused_and_the_others_go_on() {
    on(Node::builder().pending_requests(10), async |ground| {
        let mut asker = Peer::stranger(&ground.endpoint).await;
        assert!(asker.send(&(0..12).flat_map(|n| letter(n.into(), n)).collect::<Vec<u8>>()).await);
        for refused in [10, 11] {
            let refusal = asker.frame().await.expect("a refusal");
            assert_eq!((about(&refusal), refusal.payload[1]), ((kind::REFUSE, refused), REQUESTS_FULL));
        }
        assert_eq!(ground.letters(), (0..10).collect::<Vec<u32>>());
        for answered in 0..10 {
            assert_eq!(about(&asker.frame().await.expect("an answer")), (kind::ANSWER, answered));
        }
        assert_eq!(ground.dropped(DropReason::RequestsFull), 2);
    });
}

#[test]
fn a_deadline_is_taken_as_it_comes() {
    on(Node::builder(), async |ground| {
        let to = inline(&your_box("letters"));
        let over = number(0);
        let never = number(u64::MAX);
        let sent = [ask_within(1, &over, &to, &number(1)), ask_within(2, &never, &to, &number(2))].concat();
        let mut asker = Peer::stranger(&ground.endpoint).await;
        assert!(asker.send(&sent).await && asker.is_answered().await);
        assert_eq!(ground.letters(), [2]);
        assert_eq!(ground.dropped(DropReason::Expired), 1);
        ground.is_violated_by(&ask_within(1, &[0xff; 11], &to, &number(1)), "a number has more than 64 bits").await;
        ground.is_violated_by(&ask_within(1, &[], &to, &number(1)), "a frame ends too early").await;
    });
}

#[test]
fn requests_taken_back_at_once_leave_nothing_behind() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut asker = Peer::stranger(&ground.endpoint).await;
            let storm = |n: u64| [letter(n, 0), cancel(n), cancel(n), cancel(n + 1)].concat();
            ground.keeps_its_size(&mut asker, MARGIN, 200_000, storm).await;
            assert!(asker.is_answered().await);
            assert_eq!(ground.letters(), Vec::<u32>::new());
        });
    });
}

#[test]
fn one_who_asks_on_and_reads_no_refusals_is_cut_off() {
    alone(|| {
        // It reads nothing, so a goodbye is not waited for.
        let builder = Node::builder().outbox(256 << 10).shutdown_timeout(Duration::from_millis(100));
        on(builder, async |ground| {
            let mut asker = Peer::narrow_stranger(&ground.endpoint).await;
            assert!(asker.send(&ask(0, &set_number(0, &your_box("nobody")), &[])).await);
            let batch = |from: u64| (from..from + 1_000).flat_map(|n| ask(n, &use_number(0), &[])).collect::<Vec<u8>>();
            let mut asked = 1;
            while asker.send(&batch(asked)).await {
                asked += 1_000;
                assert!(asked < 5_000_000, "it is not cut off");
            }
            let is_it = |_, why: &DownReason| matches!(why, DownReason::Misbehaved(how) if how.contains("no refusals"));
            ground.hearer.hears_an_end(is_it).await;
            ground.log_says(&["WARN", "the peer broke the protocol", "reads no refusals"]).await;
        });
    });
}

#[test]
fn one_who_reads_its_refusals_is_never_cut_off() {
    // No ping comes between two refusals, however long a busy machine takes.
    let limits = Node::builder().outbox(1024).pending_requests(100).heartbeat(HOUR).dead_after(HOUR);
    on(limits, async |ground| {
        let mut asker = Peer::stranger(&ground.endpoint).await;
        let to = inline(&your_box("nobody"));
        for from in (0..20_000).step_by(100) {
            assert!(asker.send(&(from..from + 100).flat_map(|n| ask(n, &to, &[])).collect::<Vec<u8>>()).await);
            for n in from..from + 100 {
                let refusal = asker.frame().await.expect("a refusal");
                assert_eq!(about(&refusal), (kind::REFUSE, n));
                assert!(refusal.payload.contains(&NO_SUCH_BOX));
            }
        }
    });
}

// ----------------------------------------------------------------------------------------------------- the answerer

#[test]
fn answers_that_nobody_asked_for_are_counted_and_ignored() {
    on(Node::builder(), async |ground| {
        let mut stranger = Peer::stranger(&ground.endpoint).await;
        let answers = [0, 1, u64::MAX].map(|n| [answer(n, b"what you wanted"), refuse(n, 0)].concat()).concat();
        assert!(stranger.send(&answers).await && stranger.is_answered().await);
        assert_eq!(ground.node.stats().late_answers, 3);
        // Handles that came with them are given back.
        let ids: Vec<[u8; 16]> = (0..16_384).map(|_| fresh_id()).collect();
        let handles: Vec<Vec<u8>> = ids.iter().map(|id| inline(&my_counted_box(*id))).collect();
        assert!(stranger.send(&answer_with(5, &handles, &[])).await);
        let mut returned = HashSet::new();
        while returned.len() < ids.len() {
            let frame = stranger.frame().await.expect("all are released");
            if frame.kind == kind::RELEASE {
                // An id and a count of one are 17 bytes.
                returned.extend(frame.payload.chunks(17).map(|entry| entry[..16].to_vec()));
            }
        }
        assert!(ids.iter().all(|id| returned.contains(&id[..])));
        assert_eq!(ground.node.stats().late_answers, 4);
    });
}

#[test]
fn late_answers_with_as_many_addresses_as_are_allowed_leave_nothing_behind() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut stranger = Peer::stranger(&ground.endpoint).await;
            let late = |n: u64| {
                let id = |at: u64| [n.to_le_bytes(), at.to_le_bytes()].concat().try_into().expect("16 bytes");
                let handles: Vec<Vec<u8>> = (0..16_384).map(|at| inline(&my_counted_box(id(at)))).collect();
                answer_with(n, &handles, &[])
            };
            assert!(stranger.send(&late(0)).await && stranger.is_answered().await);
            ground.keeps_its_size(&mut stranger, WIDE_MARGIN, 10, late).await;
            assert_eq!(ground.node.stats().late_answers, 11);
        });
    });
}

/// A peer's answer to the request of that number.
type Said = dyn Fn(u64) -> Vec<u8>;

#[test]
fn a_request_is_ended_by_the_first_that_is_said_of_it() {
    dialling(async |dialler| {
        let mut other = dialler.is_greeted().await;
        let unknown = |reason| AskError::OutcomeUnknown { reason };
        let cases: [(&Said, Result<(), AskError>); 7] = [
            (&|n| [answer(n, &[]), answer(n, &[]), refuse(n, 0)].concat(), Ok(())),
            (&|n| [refuse(n, 0), answer(n, &[])].concat(), Err(AskError::ActorStopped)),
            (&|n| answer(n, b"more than there is to a ()"), Err(unknown(DropReason::NotDecodable))),
            (&|n| answer_with(n, &[inline(&my_counted_box([7; 16]))], &[9]), Err(unknown(DropReason::NotDecodable))),
            (&|n| refuse(n, 200), Err(unknown(DropReason::Refused))),
            (&|n| refuse(n, 4), Err(unknown(DropReason::OutboxFull))),
            (&|n| refuse(n, 1), Err(AskError::AnswerNotEncodable { why: "because".to_owned() })),
        ];
        for (say, expected) in cases {
            let asked = actix::spawn(dialler.hostile.ask(Letter(1)));
            let number = asked_number(&mut other).await;
            assert!(other.send(&say(number)).await);
            assert_eq!(asked.await.expect("no panic"), expected);
            assert!(other.is_answered().await);
        }
        assert_eq!(dialler.node.stats().late_answers, 2);
        assert_eq!(dialler.node.stats().pending_requests, 0);
    });
}

#[test]
fn an_answer_that_crosses_a_cancel_is_counted_as_late() {
    dialling(async |dialler| {
        let mut other = dialler.is_greeted().await;
        let mut asked = Box::pin(dialler.hostile.ask(Letter(1)));
        assert!((&mut asked).now_or_never().is_none());
        let number = asked_number(&mut other).await;
        drop(asked);
        assert_eq!(dialler.node.stats().pending_requests, 0);
        assert_eq!(about(&other.frame().await.expect("a cancel")), (kind::CANCEL, number));
        assert!(other.send(&answer(number, &[])).await && other.is_answered().await);
        assert_eq!(dialler.node.stats().late_answers, 1);
    });
}

#[test]
fn an_answer_that_comes_before_the_request_has_left_is_one() {
    dialling(async |dialler| {
        let mut other = dialler.is_greeted().await;
        // Numbers can be guessed: of the first request of a connection, what comes is taken.
        let asked = actix::spawn(dialler.hostile.ask(Letter(1)));
        let number = asked_number(&mut other).await;
        assert!(other.send(&answer(number, &[])).await);
        assert_eq!(asked.await.expect("no panic"), Ok(()));
        let guesses: Vec<u8> = (number + 1..number + 50).flat_map(|n| answer(n, &[])).collect();
        assert!(other.send(&guesses).await && other.is_answered().await);
        assert_eq!(dialler.node.stats().late_answers, 49);
        let asked = actix::spawn(dialler.hostile.ask(Letter(2)));
        let next = asked_number(&mut other).await;
        assert!(other.send(&answer(next, &[])).await);
        assert_eq!(asked.await.expect("no panic"), Ok(()));
    });
}

// ------------------------------------------------------------------------------------------------------ the helpers

/// A request to the box that attackers write to.
pub(super) fn letter(correlation: u64, n: u32) -> Vec<u8> {
    ask(correlation, &inline(&your_box("letters")), &number(n.into()))
}

/// The kind of a frame, and the number of the request that it is about.
pub(super) fn about(frame: &Frame) -> (u8, u64) {
    let flags = usize::from(matches!(frame.kind, kind::ASK | kind::ANSWER));
    let bytes = frame.payload[flags..].iter();
    let last = bytes.clone().position(|byte| byte & 0x80 == 0).expect("a number ends");
    let digits = bytes.take(last + 1).rev();
    (frame.kind, digits.fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f)))
}

/// Waits for a request, and gives its number.
async fn asked_number(peer: &mut Peer) -> u64 {
    loop {
        let frame = peer.frame().await.expect("a request");
        if let (kind::ASK, number) = about(&frame) {
            return number;
        }
    }
}

impl Ground {
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.node.stats().dropped.get(&reason).copied().unwrap_or(0)
    }
}

impl Dialler<'_> {
    /// Greets the node at the endpoint where nobody means well.
    pub(super) async fn is_greeted(&mut self) -> Peer {
        let mut other = self.dials().await;
        other.welcomes(&Hello::of(fresh_id())).await;
        assert!(other.is_answered().await);
        other
    }
}
