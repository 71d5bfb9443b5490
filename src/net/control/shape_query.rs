//! The questions of a node to its peers about shapes, and the callbacks that wait for answers.
//!
//! Bounded by [`MAX_WAITING`]; a question that is not answered within two sweeps, or whose connection ends, is answered
//! with `None`.

use std::cell::OnceCell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::message::shape::Shape;
use crate::wire::frames::shape::Question;

/// Callbacks that may wait for answers at a time, on one connection.
const MAX_WAITING: usize = 1024;

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
    pub(crate) fn note(&mut self, question: &Question, callback: AnswerCallback) -> Result<bool, AnswerCallback> {
        if self.waiting >= MAX_WAITING {
            return Err(callback);
        }
        self.waiting += 1;
        let is_new = !self.open.contains_key(question);
        self.open.entry(question.clone()).or_default().callback.push(callback);
        Ok(is_new)
    }

    pub(crate) fn take(&mut self, question: &Question) -> Vec<AnswerCallback> {
        let callback = self.open.remove(question).map(|query| query.callback).unwrap_or_default();
        self.waiting -= callback.len();
        callback
    }

    /// Takes the callbacks that have waited for long enough.
    pub(crate) fn sweep(&mut self) -> Vec<AnswerCallback> {
        self.open.values_mut().for_each(|query| query.sweeps += 1);
        let old = self.open.iter().filter(|(_, query)| query.sweeps > 2);
        let old: Vec<Question> = old.map(|(question, _)| question.clone()).collect();
        old.iter().flat_map(|question| self.take(question)).collect()
    }

    /// Returns the open questions.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &Question> {
        self.open.keys()
    }

    pub(crate) fn take_all(&mut self) -> Vec<AnswerCallback> {
        self.waiting = 0;
        std::mem::take(&mut self.open).into_values().flat_map(|query| query.callback).collect()
    }
}

/// Calls back without an answer.
pub(crate) fn end(waiting: Vec<AnswerCallback>) {
    waiting.into_iter().for_each(|callback| callback(None));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_the_limit_says() {
        let mut shape_queries = ShapeQueries::default();
        let callback = || Box::new(|_: Option<&ShapeAnswer<'_>>| {}) as AnswerCallback;
        let question = |n: usize| Question::Fingerprint(n as u64);
        // The waiting callbacks are counted, not the questions.
        (0..MAX_WAITING).for_each(|n| assert_eq!(shape_queries.note(&question(n % 7), callback()).ok(), Some(n < 7)));
        assert!(shape_queries.note(&question(0), callback()).is_err());
        assert!(shape_queries.note(&question(8), callback()).is_err());
        let room = shape_queries.take(&question(0)).len();
        (0..room).for_each(|n| assert_eq!(shape_queries.note(&question(8), callback()).ok(), Some(n == 0)));
        assert!(shape_queries.note(&question(8), callback()).is_err());
    }
}
