//! The watches of this side: callers that wait for boxes of the peer to be gone.
//!
//! They outlive the connections of the link: on each new connection the peer is asked again. Time comes from the caller.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::effects::Effects;
use super::effects::GoneWaiter;
use super::peer_watch::CHUNK;
use super::peer_watch::MAX_WATCHED;
use super::peer_watch::put_if_readable;
use crate::handle::ports::BoxGone;
use crate::ident::Incarnation;
use crate::observe::event::CloseReason;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::closed::Gone;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::LONGEST;
use crate::wire::frames::watch::Watch;
use crate::wire::target::Target;

/// Pauses before watches that the peer does not keep are asked for anew: the first, and the longest, while none is granted.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// Watches that are asked for anew at a time: few enough that a peer which refuses all of them can name each, however
/// small its outbox and however long the names.
const AGAIN: usize = 48;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Watches {
    /// The waiters, by the box.
    waiting: BTreeMap<Target, Vec<Waiter>>,
    /// Boxes that the peer was asked to watch on this connection, or is to be asked to watch; at most [`MAX_WATCHED`].
    /// All of them are in `waiting`.
    asked: BTreeMap<Target, Standing>,
    again: Again,
    /// Changes to send to the peer: whether a box is to be watched from now on. A watch that is taken back was asked
    /// for on this connection, so there are at most twice [`MAX_WATCHED`] entries.
    to_ask: BTreeMap<Target, bool>,
    /// The milliseconds for which the peer need not report that it does not reach a box.
    patience: Option<u64>,
    /// The time since which there is no connection.
    lost: Option<Instant>,
}

/// The state of a watch that the peer was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// As far as is known.
    Kept,
    Refused,
}

/// The schedule for asking the peer anew for watches that it does not keep.
#[derive(Debug, Default)]
struct Again {
    /// `None` if there are none.
    due: Option<Instant>,
    pause: Duration,
    /// Whether one was refused since they were last asked for.
    is_refused: bool,
    /// Whether the peer has refused some watches without naming them.
    is_doubtful: bool,
    /// The box whose watch was asked for last, so that the boxes take turns.
    last: Option<Target>,
}

impl Again {
    /// Notes that a watch found no room.
    fn refused(&mut self, now: Instant) {
        self.is_refused = true;
        self.due.get_or_insert(now + FIRST_PAUSE);
    }

    /// Whether it is time, and when it is the next time.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            let longer = self.pause.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.pause = if std::mem::take(&mut self.is_refused) { longer } else { FIRST_PAUSE };
            self.due = Some(now + self.pause);
        }
        is_due
    }
}

/// A waiter for a box to be gone.
pub(crate) struct Waiter {
    /// The node of the box, once it is known.
    pub(crate) node: Option<Incarnation>,
    pub(crate) callback: Box<dyn GoneWaiter>,
}

/// How far the peer can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// There is no connection.
    None,
    /// There is a connection over which nothing can be asked: its peer does not know watches, or it is closing.
    Deaf,
    /// There is a connection whose peer knows watches.
    Watches,
}

impl Watches {
    /// Makes the watches of a link whose node tolerates unreachable boxes for `patience`.
    pub(crate) fn new(patience: Duration) -> Watches {
        Watches { patience: u64::try_from(patience.as_millis()).ok(), ..Watches::default() }
    }

    /// Returns the watches of the link's next connection, which has yet to be made.
    pub(crate) fn over_to_next(&mut self, now: Instant) -> Watches {
        let waiting = std::mem::take(&mut self.waiting);
        Watches { waiting, ..self.over_for_good(now) }
    }

    /// Returns empty watches for a link that gets no further connection: nobody waits for it.
    pub(crate) fn over_for_good(&self, now: Instant) -> Watches {
        Watches { patience: self.patience, lost: self.lost.or(Some(now)), ..Watches::default() }
    }

    /// Takes up a connection to that node: asks it to watch the awaited boxes, and ends the waits for boxes of other
    /// nodes. `understands` says whether the peer knows watches.
    pub(crate) fn on_greeting(&mut self, peer: Incarnation, understands: bool, now: Instant) -> Effects {
        self.lost = None;
        let strangers = self.end(&CloseReason::NodeGone, |waiter| waiter.node.is_some_and(|node| node != peer));
        self.waiting.values_mut().flatten().for_each(|waiter| waiter.node = Some(peer));
        if understands {
            let boxes: Vec<Target> = self.waiting.keys().cloned().collect();
            boxes.into_iter().for_each(|target| self.ask(target, now));
        }
        strangers
    }

    /// Adds a waiter. `peer` is the state of the connection, and whether its peer knows watches.
    pub(crate) fn wait(&mut self, target: &Target, waiter: Waiter, peer: Reach, now: Instant) {
        if peer == Reach::None {
            // As if an attempt to connect had failed just now.
            self.lost.get_or_insert(now);
        }
        self.waiting.entry(target.clone()).or_default().push(waiter);
        // A box that was over the limit when its first waiter came may be within it by now.
        if peer == Reach::Watches && !self.asked.contains_key(target) {
            self.ask(target.clone(), now);
        }
    }

    /// Returns the time since which there is no connection, if there is none.
    pub(crate) fn lost_since(&self) -> Option<Instant> {
        self.lost
    }

    /// Whether there has been no connection for `limit`.
    pub(crate) fn is_lost_for(&self, limit: Duration, now: Instant) -> bool {
        self.lost.is_some_and(|lost| now.saturating_duration_since(lost) >= limit)
    }

    fn ask(&mut self, target: Target, now: Instant) {
        let is_within = self.asked.len() < MAX_WATCHED || self.asked.contains_key(&target);
        if is_within && self.to_ask.len() < MAX_WATCHED {
            self.to_ask.insert(target.clone(), true);
            self.asked.insert(target, Standing::Kept);
        } else {
            self.again.refused(now);
        }
    }

    /// The peer does not keep a watch, or does not keep some that it does not name.
    pub(crate) fn on_unwatched(&mut self, Unwatched { target }: &Unwatched, now: Instant) {
        match (target, self.asked.get_mut(target)) {
            (Target::Others, _) => self.again.is_doubtful = true,
            (_, Some(standing)) => *standing = Standing::Refused,
            // Nobody waits for it any more.
            _ => return,
        }
        if !self.asked.is_empty() {
            self.again.refused(now);
        }
    }

    /// Asks anew for some of the watches that the peer does not keep, if it is time.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        if !self.again.is_due(now) {
            return;
        }
        if std::mem::take(&mut self.again.is_doubtful) {
            // Those among them that are kept are not changed by being asked for again.
            self.asked.values_mut().for_each(|standing| *standing = Standing::Refused);
        }
        let from = self.again.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.waiting.range((from.clone(), Bound::Unbounded));
        let before = match from {
            Bound::Excluded(last) => Some(self.waiting.range(..=last)),
            _ => None,
        };
        let all = behind.chain(before.into_iter().flatten()).map(|(target, _)| target);
        let refused = all.filter(|target| self.asked.get(target) != Some(&Standing::Kept));
        let refused: Vec<Target> = refused.take(AGAIN).cloned().collect();
        match refused.last() {
            Some(last) => self.again.last = Some(last.clone()),
            None => self.again = Again::default(),
        }
        refused.into_iter().for_each(|target| self.ask(target, now));
    }

    /// Removes the waiters for which `which` is true.
    pub(crate) fn end(&mut self, why: &CloseReason, which: impl Fn(&Waiter) -> bool) -> Effects {
        let mut effects = Effects::default();
        self.waiting.retain(|_, waiters| {
            let ended = waiters.extract_if(.., |waiter| which(waiter));
            ended.for_each(|waiter| effects.gone(waiter.callback, why.clone().into()));
            !waiters.is_empty()
        });
        effects
    }

    /// Forgets waiters that have gone, and ends a watch with its last waiter.
    pub(crate) fn forget_gone(&mut self) -> Effects {
        let (Watches { waiting, to_ask, asked, .. }, mut effects) = (self, Effects::default());
        waiting.retain(|target, waiters| {
            let gone = waiters.extract_if(.., |waiter| waiter.callback.is_gone());
            gone.for_each(|waiter| effects.drop_later(waiter.callback));
            // A peer that was not asked is sent nothing: it may not know such frames.
            if waiters.is_empty() && asked.remove(target).is_some() {
                to_ask.insert(target.clone(), false);
            }
            !waiters.is_empty()
        });
        effects
    }

    /// Takes the peer's report that a box is gone.
    pub(crate) fn on_closed(&mut self, closed: &Closed, now: Instant) -> Effects {
        let (Closed { target, why, unreached }, mut effects) = (closed, Effects::default());
        let Some(waiters) = self.waiting.remove(target) else { return effects };
        self.asked.remove(target);
        self.to_ask.remove(target);
        let why = match why {
            Gone::Node => CloseReason::NodeGone,
            Gone::Connection => CloseReason::ConnectionLost,
            Gone::Closed | Gone::Other(_) => CloseReason::BoxClosed,
        };
        let since = unreached.and_then(|unreached| now.checked_sub(Duration::from_millis(unreached)));
        waiters.into_iter().for_each(|waiter| effects.gone(waiter.callback, BoxGone { why: why.clone(), since }));
        effects
    }

    #[inline]
    pub(crate) fn has_frames(&self) -> bool {
        !self.to_ask.is_empty()
    }

    /// Writes pending questions, up to some size, in frames of at most `longest` bytes.
    pub(crate) fn poll_frames(&mut self, out: &mut BytesMut, longest: usize) {
        let patience = self.patience;
        let asked: Vec<Target> = self.to_ask.keys().take(CHUNK / LONGEST).cloned().collect();
        for target in asked {
            if let Some(on) = self.to_ask.remove(&target) {
                put_if_readable(out, longest, |out| Watch { target, on, patience: patience.filter(|_| on) }.put(out));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::Weak;

    use parking_lot::Mutex;

    use super::*;
    use crate::ident::BoxId;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;

    const ONE: Incarnation = Incarnation::of([1; 16]);
    const OTHER: Incarnation = Incarnation::of([2; 16]);

    fn name(n: usize) -> Target {
        Target::Name(format!("box {n}").into())
    }

    /// A caller, with the news that it was told; it waits for as long as it holds this.
    #[derive(Default)]
    struct Caller(Arc<Mutex<Option<BoxGone>>>);

    struct Held(Weak<Mutex<Option<BoxGone>>>);

    impl GoneWaiter for Held {
        fn is_gone(&self) -> bool {
            self.0.strong_count() == 0
        }

        fn tell(self: Box<Self>, gone: BoxGone) {
            let caller = self.0.upgrade().expect("it is told only while it waits");
            assert_eq!(caller.lock().replace(gone), None, "it was told twice");
        }
    }

    impl Caller {
        fn waiter(&self, node: Option<Incarnation>) -> Waiter {
            Waiter { node, callback: Box::new(Held(Arc::downgrade(&self.0))) }
        }

        fn heard(&self) -> Option<BoxGone> {
            self.0.lock().clone()
        }
    }

    fn waiting(watches: &mut Watches, target: Target, node: Option<Incarnation>) -> Caller {
        let caller = Caller::default();
        watches.waiting.entry(target).or_default().push(caller.waiter(node));
        caller
    }

    /// A clock that the test turns.
    struct Clock(Instant);

    impl Clock {
        fn new() -> Clock {
            Clock(Instant::now())
        }

        fn after(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }
    }

    fn greet(watches: &mut Watches, clock: &Clock) {
        watches.on_greeting(ONE, true, clock.0).run();
    }

    fn refuse(watches: &mut Watches, target: &Target, clock: &Clock) {
        watches.on_unwatched(&Unwatched { target: target.clone() }, clock.0);
    }

    fn frames(watches: &mut Watches) -> Vec<Watch> {
        let mut out = BytesMut::new();
        watches.poll_frames(&mut out, 1024);
        let (mut rest, mut read) = (&out[..], Vec::new());
        while let Ok(Front::Frame(raw)) = front(rest, 1024) {
            read.push(Watch::read(raw.payload).expect("it was just written"));
            rest = &rest[raw.size..];
        }
        read
    }

    /// Plays a peer that refuses some watches, and returns the boxes that it is asked to watch.
    fn asked(watches: &mut Watches, clock: &Clock, keeps: impl Fn(&Target) -> bool) -> Vec<Target> {
        let asked: Vec<Target> = frames(watches).into_iter().map(|watch| watch.target).collect();
        asked.iter().filter(|target| !keeps(target)).for_each(|target| refuse(watches, target, clock));
        asked
    }

    /// Sweeps once a second. Returns the boxes for which the peer is asked in each sweep, by the second.
    fn swept(
        watches: &mut Watches,
        clock: &mut Clock,
        seconds: u64,
        keeps: impl Fn(&Target) -> bool,
    ) -> Vec<(u64, Vec<Target>)> {
        let mut sweeps = Vec::new();
        for second in 1..=seconds {
            clock.0 = clock.after(1);
            watches.ask_again(clock.0);
            sweeps.push((second, asked(watches, clock, &keeps)));
        }
        sweeps.retain(|(_, asked)| !asked.is_empty());
        sweeps
    }

    #[test]
    fn a_watch_that_is_refused_is_asked_for_anew_until_it_is_kept() {
        let mut clock = Clock::new();
        let mut watches = Watches::default();
        let _hear = [waiting(&mut watches, name(1), None), waiting(&mut watches, name(2), None)];
        greet(&mut watches, &clock);
        assert_eq!(asked(&mut watches, &clock, |target| *target == name(1)), [name(1), name(2)]);
        assert_eq!(swept(&mut watches, &mut clock, 1, |_| true), [(1, vec![name(2)])]);
        assert_eq!(swept(&mut watches, &mut clock, 100, |_| true), [], "it is kept");
        assert!(watches.again.due.is_none());
        // Once more it begins with a short pause.
        refuse(&mut watches, &name(1), &clock);
        assert_eq!(swept(&mut watches, &mut clock, 1, |_| true), [(1, vec![name(1)])]);
    }

    #[test]
    fn the_pauses_grow_while_a_peer_refuses_whatever_it_is_asked() {
        let mut clock = Clock::new();
        let mut watches = Watches::default();
        let hears: Vec<_> = (0..1000).map(|n| waiting(&mut watches, name(n), None)).collect();
        greet(&mut watches, &clock);
        while watches.has_frames() {
            asked(&mut watches, &clock, |_| false);
        }
        let sweeps = swept(&mut watches, &mut clock, 600, |_| false);
        let seconds: Vec<u64> = sweeps.iter().map(|(second, _)| *second).take(8).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 96]);
        assert_eq!(sweeps.len(), 23);
        assert!(sweeps.iter().all(|(_, asked)| asked.len() == AGAIN));
        // Each has had its turn before one has a second.
        let all: Vec<&Target> = sweeps.iter().take(21).flat_map(|(_, asked)| asked).collect();
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 1000);
        // Repeated refusals by the peer, and refusals of watches that it was not asked for, change nothing.
        for _ in 0..100 {
            [name(7), name(5000), Target::Others].iter().for_each(|target| refuse(&mut watches, target, &clock));
            assert!(swept(&mut watches, &mut clock, 1, |_| false).len() <= 1);
        }
        drop(hears);
        watches.forget_gone().run();
        while watches.has_frames() {
            frames(&mut watches);
        }
        assert_eq!(swept(&mut watches, &mut clock, 100, |_| false), []);
    }

    #[test]
    fn where_a_peer_does_not_say_which_it_refuses_each_is_asked_for_anew_once() {
        let mut clock = Clock::new();
        let mut watches = Watches::default();
        refuse(&mut watches, &Target::Others, &clock);
        assert!(watches.again.due.is_none(), "it was asked for nothing");
        let _hears: Vec<_> = (0..200).map(|n| waiting(&mut watches, name(n), None)).collect();
        greet(&mut watches, &clock);
        while watches.has_frames() {
            frames(&mut watches);
        }
        refuse(&mut watches, &Target::Others, &clock);
        let sweeps = swept(&mut watches, &mut clock, 100, |_| true);
        let counts: Vec<(u64, usize)> = sweeps.iter().map(|(second, asked)| (*second, asked.len())).collect();
        assert_eq!(counts, [(1, 48), (2, 48), (3, 48), (4, 48), (5, 8)]);
        assert_eq!(sweeps.into_iter().flat_map(|(_, asked)| asked).collect::<BTreeSet<_>>().len(), 200);
    }

    #[test]
    fn another_node_in_the_place_of_one_that_was_waited_for_ends_the_waiting() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let by_name = waiting(&mut watches, name(1), None);
        let of_one = waiting(&mut watches, Target::Id(BoxId([9; 16])), Some(ONE));
        watches.on_greeting(OTHER, true, clock.0).run();
        assert_eq!(of_one.heard(), Some(CloseReason::NodeGone.into()));
        assert!(by_name.heard().is_none());
        assert_eq!(frames(&mut watches), [Watch { target: name(1), on: true, patience: None }]);
        // From now on the box belongs to the other node.
        let mut next = watches.over_to_next(clock.0);
        greet(&mut next, &clock);
        assert_eq!(by_name.heard(), Some(CloseReason::NodeGone.into()));
    }

    #[test]
    fn another_run_of_a_node_is_another_node_to_those_who_wait() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let of_last = waiting(&mut watches, Target::Id(BoxId([9; 16])), Some(ONE));
        watches.on_greeting(Incarnation { epoch: OTHER.epoch, ..ONE }, true, clock.0).run();
        assert_eq!(of_last.heard(), Some(CloseReason::NodeGone.into()));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_watched_no_longer() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let first = waiting(&mut watches, name(1), None);
        let second = waiting(&mut watches, name(1), None);
        greet(&mut watches, &clock);
        assert_eq!(frames(&mut watches).len(), 1);
        drop(first);
        watches.forget_gone().run();
        assert!(!watches.has_frames());
        drop(second);
        watches.forget_gone().run();
        assert_eq!(frames(&mut watches), [Watch { target: name(1), on: false, patience: None }]);
        assert_eq!((watches.asked.len(), watches.waiting.len()), (0, 0));
    }

    #[test]
    fn no_more_boxes_are_watched_than_the_limit_says() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let _hears: Vec<_> = (0..MAX_WATCHED + 10).map(|n| waiting(&mut watches, name(n), None)).collect();
        greet(&mut watches, &clock);
        let mut asked = 0;
        while watches.has_frames() {
            asked += frames(&mut watches).len();
        }
        assert_eq!(asked, MAX_WATCHED);
    }

    #[test]
    fn what_a_peer_does_not_read_is_not_written() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let _hears = [waiting(&mut watches, name(1), None), waiting(&mut watches, name(100), None)];
        greet(&mut watches, &clock);
        let mut out = BytesMut::new();
        watches.poll_frames(&mut out, 8);
        assert_eq!(out.len(), 0);
        assert!(!watches.has_frames());
    }

    #[test]
    fn a_peer_that_does_not_understand_it_is_not_asked() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let _hear = waiting(&mut watches, name(1), None);
        watches.on_greeting(ONE, false, clock.0).run();
        assert!(!watches.has_frames());
    }

    #[test]
    fn a_peer_that_was_not_asked_is_not_told_that_nobody_waits() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let callback = waiting(&mut watches, name(1), None);
        watches.on_greeting(ONE, false, clock.0).run();
        drop(callback);
        watches.forget_gone().run();
        assert!(!watches.has_frames(), "it would take that for a violation");
        // Nor does anything pile up without a connection.
        let mut watches = watches.over_to_next(clock.0);
        for n in 0..100 {
            drop(waiting(&mut watches, name(n), None));
            watches.forget_gone().run();
        }
        greet(&mut watches, &clock);
        assert!(!watches.has_frames());
    }

    #[test]
    fn boxes_over_the_limit_that_were_not_asked_for_make_no_room_when_they_go() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let hears: Vec<_> = (0..MAX_WATCHED).map(|n| waiting(&mut watches, name(n), None)).collect();
        greet(&mut watches, &clock);
        let wait = |watches: &mut Watches, n| {
            let caller = Caller::default();
            watches.wait(&name(n), caller.waiter(None), Reach::Watches, clock.0);
            caller
        };
        drop(wait(&mut watches, MAX_WATCHED));
        watches.forget_gone().run();
        let _over = wait(&mut watches, MAX_WATCHED + 1);
        assert_eq!(watches.asked.len(), MAX_WATCHED);
        assert!(!watches.asked.contains_key(&name(MAX_WATCHED + 1)));
        while watches.has_frames() {
            frames(&mut watches);
        }
        drop(hears);
        watches.forget_gone().run();
        while watches.has_frames() {
            frames(&mut watches);
        }
        let _one_more = wait(&mut watches, MAX_WATCHED + 1);
        assert_eq!(
            frames(&mut watches),
            [Watch { target: name(MAX_WATCHED + 1), on: true, patience: None }],
            "there is room by now"
        );
    }

    #[test]
    fn a_box_over_the_limit_is_asked_for_when_another_is_gone() {
        let mut clock = Clock::new();
        let mut watches = Watches::default();
        let _hears: Vec<_> = (0..=MAX_WATCHED).map(|n| waiting(&mut watches, name(n), None)).collect();
        greet(&mut watches, &clock);
        while watches.has_frames() {
            frames(&mut watches);
        }
        let over = watches.waiting.keys().last().cloned().expect("many");
        assert!(!watches.asked.contains_key(&over));
        assert_eq!(swept(&mut watches, &mut clock, 2, |_| true), []);
        let closed = Closed { target: name(0), why: Gone::Closed, unreached: None };
        watches.on_closed(&closed, clock.0).run();
        assert_eq!(swept(&mut watches, &mut clock, 2, |_| true), [(2, vec![over])], "the pause has grown");
    }

    /// Nothing piles up for a peer that does not read.
    #[test]
    fn watches_that_come_and_go_are_kept_within_a_bound() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        greet(&mut watches, &clock);
        for round in 0..4 {
            for n in 0..MAX_WATCHED {
                let gone = Caller::default().waiter(None);
                watches.wait(&name(round * MAX_WATCHED + n), gone, Reach::Watches, clock.0);
            }
            watches.forget_gone().run();
        }
        assert!(watches.to_ask.len() <= 2 * MAX_WATCHED && watches.asked.len() <= MAX_WATCHED);
    }

    #[test]
    fn a_caller_is_told_since_when_its_box_is_out_of_reach_by_this_side_s_clock() {
        let clock = Clock::new();
        let mut watches = Watches::default();
        let callers = [Gone::Closed, Gone::Node, Gone::Connection, Gone::Other(9)].map(|why| {
            let caller = waiting(&mut watches, name(1), None);
            let closed = Closed { target: name(1), why, unreached: Some(3_000) };
            watches.on_closed(&closed, clock.after(10)).run();
            watches.on_closed(&closed, clock.after(11)).run();
            caller.heard().expect("it is told").why
        });
        let closed = CloseReason::BoxClosed;
        assert_eq!(callers, [closed.clone(), CloseReason::NodeGone, CloseReason::ConnectionLost, closed.clone()]);
        let caller = waiting(&mut watches, name(1), None);
        let unreached = Closed { target: name(1), why: Gone::Closed, unreached: Some(3_000) };
        watches.on_closed(&unreached, clock.after(10)).run();
        assert_eq!(caller.heard(), Some(BoxGone { why: closed, since: Some(clock.after(7)) }));
        assert!(watches.waiting.is_empty());
    }

    #[test]
    fn a_link_is_lost_since_its_connection_ended_or_since_somebody_waits_for_one() {
        let clock = Clock::new();
        let (mut watches, limit) = (Watches::default(), Duration::from_secs(5));
        let callers = [Caller::default(), Caller::default()];
        watches.wait(&name(1), callers[0].waiter(None), Reach::None, clock.after(1));
        watches.wait(&name(1), callers[1].waiter(None), Reach::None, clock.after(2));
        assert_eq!(watches.lost_since(), Some(clock.after(1)));
        greet(&mut watches, &clock);
        assert_eq!((watches.lost_since(), watches.is_lost_for(limit, clock.after(100))), (None, false));
        let mut next = watches.over_to_next(clock.after(3)).over_to_next(clock.after(4));
        assert!(!next.is_lost_for(limit, clock.after(7)) && next.is_lost_for(limit, clock.after(8)));
        next.end(&CloseReason::ConnectionLost, |_| true).run();
        assert!(callers.iter().all(|caller| caller.heard() == Some(CloseReason::ConnectionLost.into())));
        let mut next = watches.over_for_good(clock.after(3));
        assert_eq!((frames(&mut next), next.waiting.len(), next.lost_since()), (vec![], 0, Some(clock.after(3))));
    }
}
