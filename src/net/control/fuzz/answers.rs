//! Requests of both sides, questions about shapes, and handles that are given back. Each caller is answered or told that
//! there is no answer, and no more; each request of the peer is refused or cancelled at most once; all handles that are
//! given back are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::BytesMut;

use super::World;
use super::frames;
use super::payload;
use super::target;
use crate::handle::ask_error::AskError;
use crate::handle::peer_request::PeerRequest;
use crate::handle::pointer::Pointer;
use crate::handle::ports::PendingReply;
use crate::ident::BoxId;
use crate::net::control::deferred_release::DeferredReleases;
use crate::net::control::deferred_release::ended_lease;
use crate::net::control::flow::Flow;
use crate::net::control::release::Releases;
use crate::net::control::requests::PendingRequest;
use crate::net::control::requests::Requests;
use crate::net::control::shape_query::ShapeAnswer;
use crate::net::control::shape_query::ShapeQueries;
use crate::quota::Quota;
use crate::reason::DropReason;
use crate::unstructured::Unstructured;
use crate::wire::codec::Violation;
use crate::wire::features::feature;
use crate::wire::frames::kind;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::release::read_counts;
use crate::wire::frames::shape::Question;

/// Requests that each side may have pending.
const LIMIT: usize = 20;

/// Counts the callers that wait; each has one answer, or none.
type Waiting = Arc<AtomicUsize>;

struct Caller {
    waiting: Waiting,
    is_gone: bool,
}

impl PendingReply for Caller {
    fn answered(self: Box<Self>, _: &[u8], _: &mut Vec<Arc<Pointer>>) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn failed(self: Box<Self>, _: AskError) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_gone(&self) -> bool {
        self.is_gone
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

pub(super) struct Answers {
    quota: Arc<Quota>,
    requests: Requests,
    waiting: Waiting,
    posts: u64,
    /// The requests of the peer that wait for an answer.
    asked: BTreeMap<u64, Arc<PeerRequest>>,
    shapes: ShapeQueries,
    questions: Waiting,
    releases: Releases,
    released: BTreeMap<BoxId, u64>,
    deferred: DeferredReleases,
    kept: usize,
}

impl Answers {
    pub(super) fn new() -> Answers {
        let quota = Quota::new(0);
        Answers {
            requests: Requests::new(&quota),
            quota,
            waiting: Waiting::default(),
            posts: 0,
            asked: BTreeMap::new(),
            shapes: ShapeQueries::default(),
            questions: Waiting::default(),
            releases: Releases::default(),
            released: BTreeMap::new(),
            deferred: DeferredReleases::default(),
            kept: 0,
        }
    }

    pub(super) fn greet(&mut self, world: &World) {
        let mut out = BytesMut::new();
        self.shapes.on_greeting(world.understands(feature::SHAPES), &mut out).run();
        let asked = frames(&out, usize::MAX >> 1);
        assert!(asked.iter().all(|(kind, payload)| {
            *kind == kind::SHAPE_QUESTION && Question::read_asked(payload).is_ok() && world.understands(feature::SHAPES)
        }));
        assert!(world.understands(feature::SHAPES) || self.questions.load(Ordering::Relaxed) == 0);
    }

    pub(super) fn down(&mut self) {
        std::mem::replace(self, Answers::new()).finish();
    }

    pub(super) fn step(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        match choices.below(10) {
            0 => self.ask(choices),
            1 => self.reply(choices),
            2 => self.sweep(choices),
            3 => self.on_ask(choices),
            4 => self.on_cancel(choices),
            5 => self.refuse_unbegun(),
            6 => self.question(choices, world),
            7 => self.answer(choices),
            8 => self.release(choices, world),
            _ => self.keep(choices),
        }
        assert_eq!(self.requests.pending(), self.waiting.load(Ordering::Relaxed), "a caller is not told, or twice");
    }

    fn ask(&mut self, choices: &mut Unstructured<'_>) {
        if self.requests.pending() >= LIMIT {
            assert!(self.requests.is_worth_a_sweep(LIMIT) || self.requests.sweep().len() <= LIMIT);
            return;
        }
        let (is_gone, is_large) = (choices.below(2) == 0, choices.below(3) == 0);
        self.posts += u64::from(!is_large);
        let (post, flow) = if is_large { (u64::MAX, Some(Flow::Box(BoxId([1; 16])))) } else { (self.posts, None) };
        let waiting = Box::new(Caller { waiting: Arc::clone(&self.waiting), is_gone });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let number = self.requests.next();
        self.requests.ask(Some(PendingRequest { waiting, to: Weak::new(), fingerprint: 0, post, flow }));
        assert!(self.requests.waits_for(number) && self.requests.next() == number + 1);
    }

    /// The peer answers some request, whether there is one or not; or a large one is written.
    fn reply(&mut self, choices: &mut Unstructured<'_>) {
        let number = choices.below(LIMIT * 4) as u64;
        if choices.below(3) == 0 {
            self.posts += 1;
            return self.requests.on_written(number, self.posts);
        }
        let was_there = self.requests.waits_for(number);
        let pending = self.requests.remove(number);
        assert!(pending.is_some() == was_there && !self.requests.waits_for(number));
        pending.into_iter().for_each(|pending| pending.waiting.answered(&[], &mut Vec::new()));
    }

    fn sweep(&mut self, choices: &mut Unstructured<'_>) {
        match choices.below(4) {
            0 => self.requests.take_pending(choices.number()).end(DropReason::Lost),
            1 => {
                let numbers = (0..choices.below(4)).map(|_| choices.below(LIMIT * 4) as u64).collect();
                self.requests.take_unreadable(numbers, choices.below(2) == 0).end(DropReason::TooLarge);
            }
            _ => {
                let gone = self.requests.sweep();
                assert!(gone.is_sorted());
                for number in gone {
                    let pending = self.requests.remove(number).expect("it waits");
                    assert!(pending.waiting.is_gone());
                    pending.waiting.failed(AskError::NotDelivered { reason: DropReason::Cancelled, detail: None });
                }
            }
        }
    }

    fn on_ask(&mut self, choices: &mut Unstructured<'_>) {
        let (number, ends) = (choices.below(LIMIT * 2) as u64, choices.below(8) == 0);
        let is_known = self.asked.contains_key(&number);
        match self.requests.on_ask(number, LIMIT, ends) {
            Err(violation) => assert!(is_known && violation == Violation::AskedAgain(number)),
            Ok(Err(DropReason::Shutdown)) => assert!(ends && !is_known),
            Ok(Err(reason)) => assert!(reason == DropReason::RequestsFull && self.asked.len() == LIMIT),
            Ok(Ok(asked)) => {
                assert!(!ends && !asked.is_cancelled() && self.asked.len() < LIMIT);
                assert!(self.asked.insert(number, asked).is_none(), "two requests have one number");
            }
        }
    }

    /// The peer cancels a request, or this side answers it.
    fn on_cancel(&mut self, choices: &mut Unstructured<'_>) {
        let number = choices.below(LIMIT * 2) as u64;
        let asked = self.asked.remove(&number);
        if choices.below(2) == 0 {
            let effects = self.requests.on_cancel(number);
            assert_eq!(effects.is_empty(), asked.is_none());
            assert!(asked.is_none_or(|asked| asked.is_cancelled()), "it has to be cancelled at once");
            effects.run();
        } else {
            assert_eq!(self.requests.forget_asked(number).is_some(), asked.is_some());
        }
    }

    fn refuse_unbegun(&mut self) {
        let mut out = BytesMut::new();
        self.requests.refuse_unbegun(DropReason::Shutdown, &mut out).run();
        let refused = frames(&out, 1024).into_iter().map(|(_, payload)| {
            let Refuse { correlation, why, .. } = Refuse::read(&payload).expect("this side writes it");
            assert_eq!(why, Unanswered::NotDelivered(DropReason::Shutdown));
            correlation
        });
        // Nobody has begun one here.
        assert!(refused.eq(self.asked.keys().copied()), "each is refused once, in order");
        assert!(std::mem::take(&mut self.asked).values().all(|asked| asked.is_cancelled()));
    }

    fn question(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        let (question, questions) = (question(choices), Arc::clone(&self.questions));
        self.questions.fetch_add(1, Ordering::Relaxed);
        let callback = Box::new(move |_: Option<&ShapeAnswer<'_>>| {
            questions.fetch_sub(1, Ordering::Relaxed);
        });
        if world.features.is_none() {
            return self.shapes.ask_later(&question, callback).run();
        }
        let mut out = BytesMut::new();
        self.shapes.ask(&question, callback, &mut out).run();
        for (_, payload) in frames(&out, usize::MAX >> 1) {
            assert_eq!(Question::read_asked(&payload), Ok(question.clone()));
        }
    }

    /// The peer answers a question, whether it was asked or not; or questions become too old.
    fn answer(&mut self, choices: &mut Unstructured<'_>) {
        let payload = payload(choices, |out, choices| question(choices).answer(out, &[1, 2, 3]));
        match Question::read_answered(&payload) {
            Ok((question, answer)) => {
                let answer = ShapeAnswer::new(answer);
                self.shapes.on_answer(&question).into_iter().for_each(|callback| callback(Some(&answer)));
                assert!(self.shapes.on_answer(&question).is_empty(), "a question is answered once");
            }
            Err(_) => self.shapes.sweep().run(),
        }
    }

    fn release(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        let (id, count) = (BoxId([choices.byte() % 8; 16]), choices.below(5) as u64);
        self.releases.release(id, count);
        *self.released.entry(id).or_default() += count;
        if choices.below(3) == 0 {
            let mut out = BytesMut::new();
            self.releases.poll_frames(&mut out, world.longest);
            let frames = frames(&out, world.longest.max(64));
            let entries = frames.iter().flat_map(|(_, payload)| read_counts(payload).collect::<Vec<_>>());
            let written = entries.map(|entry| entry.expect("this side writes it"));
            assert!(written.eq(std::mem::take(&mut self.released)), "each handle is given back once");
            assert!(self.releases.is_empty());
        }
    }

    /// A lease that waits for a ping; or the answer to one, whether it was asked or not.
    fn keep(&mut self, choices: &mut Unstructured<'_>) {
        let before = self.deferred.under_way();
        if choices.below(2) == 0 {
            let ping = self.deferred.keep(ended_lease(1)).expect("there is room for 65,536");
            assert_eq!(ping.is_some(), before.is_none(), "one ping is under way at a time");
            self.kept += 1;
        } else {
            let nonce = if choices.below(2) == 0 { before.unwrap_or(0) } else { choices.number() };
            let (given_back, next) = self.deferred.on_pong(nonce);
            assert_eq!(given_back.is_empty(), before != Some(nonce), "a release waits for its own ping");
            self.kept -= given_back.len();
            assert!(next.is_none_or(DeferredReleases::is_marked) && next.is_some() <= (self.kept > 0));
        }
        assert_eq!(self.deferred.under_way().is_some(), self.kept > 0);
    }

    /// Ends everything with the connection.
    pub(super) fn finish(mut self) {
        self.requests.take_pending(0).end(DropReason::Lost);
        self.requests.cancel_all().run();
        self.shapes.end().run();
        assert!(self.requests.is_empty() && self.asked.values().all(|asked| asked.is_cancelled()));
        let waiting = [&self.waiting, &self.questions].map(|waiting| waiting.load(Ordering::Relaxed));
        assert_eq!((waiting, self.quota.used()), ([0, 0], 0));
    }
}

fn question(choices: &mut Unstructured<'_>) -> Question {
    match choices.below(3) {
        0 => Question::Fingerprint(u64::from(choices.byte() % 4)),
        1 => Question::Box(target(choices)),
        _ => Question::NamesAfter("n".repeat(choices.below(4)).into()),
    }
}
