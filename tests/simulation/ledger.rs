//! The tests' own knowledge of every message: its receivers, and errors in that.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

/// A message was handled: when, where, and which it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Received {
    pub(crate) at: Duration,
    /// The life of a node, and the box.
    pub(crate) life: usize,
    pub(crate) place: &'static str,
    pub(crate) id: u64,
}

/// Which of the messages of one handle one is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stamp {
    /// No other message has it.
    pub(crate) id: u64,
    /// The handle by which it was sent.
    pub(crate) lane: u64,
    /// How many were sent by that handle before it.
    pub(crate) seq: u64,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Ledger {
    numbers: Cell<u64>,
    received: RefCell<Vec<Received>>,
    ids: RefCell<HashSet<u64>>,
    /// The last of each lane at each box.
    last: RefCell<HashMap<(u64, usize, &'static str), u64>>,
    /// Requests that were made, and those whose future has ended or went with its host.
    asked: Cell<u64>,
    ended: Cell<u64>,
    answered: RefCell<HashSet<u64>>,
    wrong: RefCell<Vec<String>>,
}

impl Ledger {
    /// A number that no other message or handle has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// A message has come.
    pub(crate) fn receive(&self, life: usize, place: &'static str, stamp: Stamp) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        if !self.ids.borrow_mut().insert(stamp.id) {
            self.wrong(format!("at {at:?}, {place} of life {life} got {stamp:?} a second time"));
        }
        let last = self.last.borrow_mut().insert((stamp.lane, life, place), stamp.seq);
        if let Some(last) = last.filter(|last| *last >= stamp.seq) {
            self.wrong(format!("at {at:?}, {place} of life {life} got {stamp:?} behind number {last}"));
        }
        self.received.borrow_mut().push(Received { at, life, place, id: stamp.id });
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// A request is made; it ends when this is dropped.
    pub(crate) fn ask(self: &Rc<Self>, id: u64) -> Asked {
        self.asked.set(self.asked.get() + 1);
        Asked { ledger: Rc::clone(self), id }
    }

    /// Whether a message has come or, if it is a request, was answered.
    pub(crate) fn is_well(&self, id: u64, asked: bool) -> bool {
        if asked { self.answered.borrow().contains(&id) } else { self.ids.borrow().contains(&id) }
    }

    /// Requests whose future has not ended.
    pub(crate) fn open(&self) -> u64 {
        self.asked.get() - self.ended.get()
    }

    /// Notes what must not be: a panic in a task would be the runtime's.
    pub(crate) fn wrong(&self, what: String) {
        self.wrong.borrow_mut().push(what);
    }

    pub(crate) fn check(&self) {
        let wrong = self.wrong.borrow();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// A request that was made, for as long as somebody waits for it.
pub(crate) struct Asked {
    ledger: Rc<Ledger>,
    id: u64,
}

impl Asked {
    pub(crate) fn answered(&self, answer: u64) {
        if answer != self.id {
            self.ledger.wrong(format!("the question {} has the answer to {answer}", self.id));
        }
        self.ledger.answered.borrow_mut().insert(self.id);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.ledger.ended.set(self.ledger.ended.get() + 1);
    }
}
