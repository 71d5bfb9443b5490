//! The work for application code that a change of state leaves behind: callers to be told, and values to be dropped.
//!
//! The sub-protocols hold what the application has handed in, and never call it: they return it as [`Effects`]. Whoever
//! holds the lock around them runs these once the lock is released.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::shape_query::AnswerCallback;
use crate::handle::peer_request::PeerRequest;
use crate::handle::ports::BoxGone;

/// A caller that waits for a box to be gone.
pub(crate) trait GoneWaiter: Send {
    /// Returns whether nobody waits any more.
    fn is_gone(&self) -> bool;
    fn tell(self: Box<Self>, gone: BoxGone);
}

/// See the [module](self). They run in the order in which they were added.
#[must_use]
#[derive(Default)]
pub(crate) struct Effects(Vec<Effect>);

enum Effect {
    Gone(Box<dyn GoneWaiter>, BoxGone),
    Unanswered(AnswerCallback),
    Cancelled(Arc<PeerRequest>),
    Drop(Box<dyn Send>),
}

impl Effects {
    /// Tells a waiter that its box is gone.
    pub(crate) fn gone(&mut self, waiter: Box<dyn GoneWaiter>, gone: BoxGone) {
        self.0.push(Effect::Gone(waiter, gone));
    }

    /// Calls back without an answer.
    pub(crate) fn unanswered(&mut self, callback: AnswerCallback) {
        self.0.push(Effect::Unanswered(callback));
    }

    /// Wakes the handler of a request that the peer has cancelled, or that was refused.
    pub(crate) fn cancelled(&mut self, asked: Arc<PeerRequest>) {
        self.0.push(Effect::Cancelled(asked));
    }

    /// Drops a value that must not be dropped under a lock.
    pub(crate) fn drop_later(&mut self, value: impl Send + 'static) {
        self.0.push(Effect::Drop(Box::new(value)));
    }

    /// Adds others, to run behind these.
    pub(crate) fn extend(&mut self, mut others: Effects) {
        self.0.append(&mut others.0);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs them. No lock may be held. If the application's code panics in one, the others run all the same, and the
    /// first panic goes on afterwards.
    #[cold]
    pub(crate) fn run(self) {
        let mut panic = None;
        for effect in self.0 {
            if let Err(other) = catch_unwind(AssertUnwindSafe(|| effect.run())) {
                panic.get_or_insert(other);
            }
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Effect {
    fn run(self) {
        match self {
            Effect::Gone(waiter, gone) => waiter.tell(gone),
            Effect::Unanswered(callback) => callback(None),
            Effect::Cancelled(asked) => asked.wake(),
            Effect::Drop(value) => drop(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::observe::event::CloseReason;

    struct Noted(Arc<Mutex<Vec<&'static str>>>);

    impl GoneWaiter for Noted {
        fn is_gone(&self) -> bool {
            false
        }

        fn tell(self: Box<Self>, gone: BoxGone) {
            assert_eq!(gone, CloseReason::NodeGone.into());
            self.0.lock().push("told");
        }
    }

    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.lock().push("dropped");
        }
    }

    #[test]
    fn nothing_happens_before_they_run_and_then_everything_in_order() {
        let (noted, mut effects, mut others) = (Arc::default(), Effects::default(), Effects::default());
        assert!(effects.is_empty());
        effects.drop_later(Noted(Arc::clone(&noted)));
        let answered = Arc::clone(&noted);
        others.unanswered(Box::new(move |answer| answered.lock().push(if answer.is_none() { "none" } else { "some" })));
        others.gone(Box::new(Noted(Arc::clone(&noted))), CloseReason::NodeGone.into());
        effects.extend(others);
        let taken = std::mem::take(&mut effects);
        assert!(effects.is_empty() && !taken.is_empty() && noted.lock().is_empty());
        taken.run();
        assert_eq!(*noted.lock(), ["dropped", "none", "told", "dropped"]);
    }

    #[test]
    fn a_panic_of_one_does_not_keep_the_others_from_running() {
        let (noted, mut effects) = (Arc::default(), Effects::default());
        effects.unanswered(Box::new(|_| panic!("first")));
        effects.gone(Box::new(Noted(Arc::clone(&noted))), CloseReason::NodeGone.into());
        effects.unanswered(Box::new(|_| panic!("second")));
        effects.gone(Box::new(Noted(Arc::clone(&noted))), CloseReason::NodeGone.into());
        let panic = catch_unwind(AssertUnwindSafe(|| effects.run())).expect_err("it goes on");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"first"));
        assert_eq!(*noted.lock(), ["told", "dropped", "told", "dropped"]);
    }
}
