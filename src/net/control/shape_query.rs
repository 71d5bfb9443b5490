//! The questions of a node to its peers about shapes, and the callbacks that wait for answers.
//!
//! Bounded by [`MAX_WAITING`]; a question that is not answered within two sweeps, or whose connection ends, is answered
//! with `None`.

use std::cell::OnceCell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;

use bytes::BytesMut;

use super::effects::Effects;
use crate::message::shape::Shape;
use crate::wire::frames::shape::Question;

/// Callbacks that may wait for answers at a time, on one connection.
const MAX_WAITING: usize = 1024;

/// Sweeps that a question outlasts without an answer.
const SWEEPS: u8 = 2;

/// Called with the answer; `None` if there is none.
pub(crate) type AnswerCallback = Box<dyn FnOnce(Option<&ShapeAnswer<'_>>) + Send>;

/// An answer. It is decoded once, however many callbacks wait for it: a peer can make a thousand wait for an answer
/// that takes long to decode.
pub(crate) struct ShapeAnswer<'a> {
    bytes: &'a [u8],
    shape: OnceCell<Option<Shape>>,
    /// The differences from shapes of this node, by their fingerprints.
    differences: RefCell<HashMap<u64, Box<str>>>,
}

impl<'a> ShapeAnswer<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> ShapeAnswer<'a> {
        ShapeAnswer { bytes, shape: OnceCell::new(), differences: RefCell::default() }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the differences between a shape of this node and the shape in the answer, if there is one and it
    /// differs.
    pub(crate) fn differences(&self, here: &Shape) -> Option<Box<str>> {
        let there = self.shape.get_or_init(|| Shape::decode(self.bytes)).as_ref()?;
        let mut known = self.differences.borrow_mut();
        let words = known.entry(here.fingerprint()).or_insert_with(|| here.differences(there).into());
        (!words.is_empty()).then(|| words.clone())
    }
}

/// The questions of one connection that are not answered yet.
#[derive(Default)]
pub(crate) struct ShapeQueries {
    open: BTreeMap<Question, ShapeQuery>,
    waiting: usize,
}

#[derive(Default)]
struct ShapeQuery {
    sweeps: u8,
    callback: Vec<AnswerCallback>,
}

impl ShapeQueries {
    /// Notes a callback for a question. Returns whether the question is new; gives the callback back if too many wait.
    fn note(&mut self, question: &Question, callback: AnswerCallback) -> Result<bool, AnswerCallback> {
        if self.waiting >= MAX_WAITING {
            return Err(callback);
        }
        self.waiting += 1;
        let is_new = !self.open.contains_key(question);
        self.open.entry(question.clone()).or_default().callback.push(callback);
        Ok(is_new)
    }

    /// Asks a question over a connection that is not up yet: the peer is asked once it has greeted. Calls back without
    /// an answer if too many wait.
    pub(crate) fn ask_later(&mut self, question: &Question, callback: AnswerCallback) -> Effects {
        self.note(question, callback).map_or_else(unanswered, |_| Effects::default())
    }

    /// Asks the peer a question, unless the same one is open already. Calls back without an answer if too many wait.
    pub(crate) fn ask(&mut self, question: &Question, callback: AnswerCallback, out: &mut BytesMut) -> Effects {
        match self.note(question, callback) {
            Ok(is_new) => {
                if is_new {
                    question.ask(out);
                }
                Effects::default()
            }
            Err(callback) => unanswered(callback),
        }
    }

    /// Asks the peer, which has greeted, the open questions. If it does not understand them, calls back without an
    /// answer, so that nobody waits any longer.
    pub(crate) fn on_greeting(&mut self, understands: bool, out: &mut BytesMut) -> Effects {
        if !understands {
            return self.end();
        }
        self.open.keys().for_each(|question| question.ask(out));
        Effects::default()
    }

    /// Takes the peer's answer to a question. Returns the callbacks, to be called with it when no lock is held.
    pub(crate) fn on_answer(&mut self, question: &Question) -> Vec<AnswerCallback> {
        let callback = self.open.remove(question).map(|query| query.callback).unwrap_or_default();
        self.waiting -= callback.len();
        callback
    }

    /// Ends the questions that have waited for long enough.
    pub(crate) fn sweep(&mut self) -> Effects {
        self.open.values_mut().for_each(|query| query.sweeps += 1);
        let old = self.open.iter().filter(|(_, query)| query.sweeps > SWEEPS);
        let old: Vec<Question> = old.map(|(question, _)| question.clone()).collect();
        let mut effects = Effects::default();
        old.iter().flat_map(|question| self.on_answer(question)).for_each(|callback| effects.unanswered(callback));
        effects
    }

    /// Ends all questions, with their connection.
    pub(crate) fn end(&mut self) -> Effects {
        let (open, mut effects) = (std::mem::take(&mut self.open), Effects::default());
        self.waiting = 0;
        open.into_values().flat_map(|query| query.callback).for_each(|callback| effects.unanswered(callback));
        effects
    }
}

/// Calls back without an answer.
pub(crate) fn unanswered(callback: AnswerCallback) -> Effects {
    let mut effects = Effects::default();
    effects.unanswered(callback);
    effects
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;

    fn question(n: usize) -> Question {
        Question::Fingerprint(n as u64)
    }

    /// The answers that were called back with, by the number of the callback.
    type Heard = Arc<Mutex<Vec<(usize, Option<Vec<u8>>)>>>;

    fn callback(heard: &Heard, n: usize) -> AnswerCallback {
        let heard = Arc::clone(heard);
        Box::new(move |answer| heard.lock().push((n, answer.map(|answer| answer.bytes().to_vec()))))
    }

    /// Returns the questions in frames to the peer.
    fn asked(out: &BytesMut) -> Vec<Question> {
        let (mut rest, mut asked) = (&out[..], Vec::new());
        while let Ok(Front::Frame(raw)) = front(rest, 1024) {
            asked.push(Question::read_asked(raw.payload).expect("it was just written"));
            rest = &rest[raw.size..];
        }
        asked
    }

    #[test]
    fn no_more_wait_than_the_limit_says() {
        let mut shape_queries = ShapeQueries::default();
        let callback = || Box::new(|_: Option<&ShapeAnswer<'_>>| {}) as AnswerCallback;
        // The waiting callbacks are counted, not the questions.
        (0..MAX_WAITING).for_each(|n| assert_eq!(shape_queries.note(&question(n % 7), callback()).ok(), Some(n < 7)));
        assert!(shape_queries.note(&question(0), callback()).is_err());
        assert!(shape_queries.note(&question(8), callback()).is_err());
        let room = shape_queries.on_answer(&question(0)).len();
        (0..room).for_each(|n| assert_eq!(shape_queries.note(&question(8), callback()).ok(), Some(n == 0)));
        assert!(shape_queries.note(&question(8), callback()).is_err());
    }

    #[test]
    fn a_question_is_asked_once_however_many_wait_for_its_answer() {
        let (mut queries, heard, mut out) = (ShapeQueries::default(), Heard::default(), BytesMut::new());
        for n in 0..4 {
            queries.ask(&question(n % 2), callback(&heard, n), &mut out).run();
        }
        assert_eq!(asked(&out), [question(0), question(1)]);
        let answer = ShapeAnswer::new(b"shape");
        queries.on_answer(&question(0)).into_iter().for_each(|callback| callback(Some(&answer)));
        assert!(queries.on_answer(&question(0)).is_empty(), "it was answered");
        assert_eq!(*heard.lock(), [(0, Some(b"shape".to_vec())), (2, Some(b"shape".to_vec()))]);
        queries.end().run();
        assert_eq!(heard.lock()[2..], [(1, None), (3, None)]);
        assert_eq!((queries.waiting, queries.open.len()), (0, 0));
    }

    #[test]
    fn questions_before_the_greeting_are_asked_with_it_or_end_if_the_peer_does_not_understand_them() {
        for understands in [true, false] {
            let (mut queries, heard, mut out) = (ShapeQueries::default(), Heard::default(), BytesMut::new());
            for n in [2, 1, 2] {
                queries.ask_later(&question(n), callback(&heard, n)).run();
            }
            queries.on_greeting(understands, &mut out).run();
            assert_eq!(asked(&out), if understands { vec![question(1), question(2)] } else { vec![] });
            assert_eq!(heard.lock().len(), if understands { 0 } else { 3 });
        }
    }

    #[test]
    fn a_question_is_waited_for_during_so_many_sweeps() {
        let (mut queries, heard, mut out) = (ShapeQueries::default(), Heard::default(), BytesMut::new());
        queries.ask(&question(1), callback(&heard, 1), &mut out).run();
        (0..SWEEPS).for_each(|_| queries.sweep().run());
        queries.ask(&question(2), callback(&heard, 2), &mut out).run();
        assert_eq!(*heard.lock(), []);
        queries.sweep().run();
        assert_eq!((&heard.lock()[..], queries.waiting), (&[(1, None)][..], 1));
    }
}
