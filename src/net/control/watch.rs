//! Watches of boxes, in both directions: waiters on this side for boxes of the peer to be gone, and boxes of this side
//! that the peer watches.
//!
//! The waiters on this side outlive the connections of the link: on each new connection the peer is asked again. The
//! peer's watches end with their connection.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::handle::ports::BoxGone;
use crate::ident::Incarnation;
use crate::observe::event::CloseReason;
use crate::quota::Quota;
use crate::quota::Share;
use crate::quota::Terms;
use crate::wire::frames::LENGTH;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::LONGEST;
use crate::wire::frames::watch::Watch;
use crate::wire::target::Target;

/// Boxes that are watched over one connection, in each direction. For further boxes, only the end of the connection is
/// noticed until others are gone.
const MAX_WATCHED: usize = 65_536;

/// Boxes that each peer may watch however many others do.
const OWN: Terms = Terms { own: 16, chunk: 64 };

/// The capacity up to which an empty queue keeps its memory.
const KEPT: usize = 64;

/// Bytes of frames about watches that are written at a time.
const CHUNK: usize = 64 << 10;

/// Pauses before watches that the peer does not keep are asked for anew: the first, and the longest, while none is granted.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// Watches that are asked for anew at a time: a peer that refuses all of them has room to say so of each, however little its
/// outbox holds and however long the names are.
const AGAIN: usize = 48;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Watches {
    /// The waiters on this side, by the box.
    waiting: BTreeMap<Target, Vec<Waiter>>,
    /// Boxes that the peer was asked to watch for this side on this connection, or is to be asked to watch; at most
    /// [`MAX_WATCHED`]. All of them are in `waiting`.
    asked: BTreeMap<Target, Standing>,
    again: Again,
    /// Changes to send to the peer: whether a box is to be watched from now on. A watch that is taken back was asked
    /// for on this connection, so there are at most twice [`MAX_WATCHED`] entries.
    to_ask: BTreeMap<Target, bool>,
    /// The milliseconds for which the peer need not report that it does not reach a box.
    patience: Option<u64>,
    /// The time since which there is no connection.
    lost: Option<Instant>,
    /// Boxes of this side that the peer watches; removing an entry ends its watch.
    watched: BTreeMap<Target, DropGuard>,
    /// Closed boxes that are to be reported to the peer, at most [`MAX_WATCHED`]: each once its barrier is past, so
    /// that messages sent before the box closed arrive earlier.
    to_tell: VecDeque<(u32, Closed)>,
    /// The share of this connection in the boxes that peers may watch at this node, including closed boxes that are to
    /// be reported.
    share: Share,
    /// Whether the peer is to be told that some of its watches are not kept, without their names.
    to_refuse: bool,
}

/// Where a watch stands that the peer was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// As far as is known.
    Kept,
    Refused,
}

/// When the peer is asked anew for watches that it does not keep.
#[derive(Debug, Default)]
struct Again {
    /// `None` if there are none.
    due: Option<Instant>,
    pause: Duration,
    /// Whether one was refused since they were last asked for.
    is_refused: bool,
    /// Whether the peer has not kept some without a word of which.
    is_doubtful: bool,
    /// The last that was asked for, so that each has its turn.
    last: Option<Target>,
}

impl Again {
    /// There is no room for one.
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

/// The fate of a watch of the peer.
#[derive(Debug)]
pub(crate) enum PeerWatch {
    /// It is kept until this is cancelled.
    Begun(CancellationToken),
    /// It was kept before.
    Known,
    /// It is not kept: the peer watches too many, or all peers together do.
    NoRoom,
}

/// A waiter for a box to be gone.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// The node of the box, once it is known.
    pub(crate) node: Option<Incarnation>,
    pub(crate) told: oneshot::Sender<BoxGone>,
}

/// Notices to waiters, to be sent when no lock is held.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Notices(Vec<(oneshot::Sender<BoxGone>, BoxGone)>);

impl Notices {
    pub(crate) fn one(told: oneshot::Sender<BoxGone>, why: CloseReason) -> Notices {
        Notices(vec![(told, why.into())])
    }

    pub(crate) fn tell(self) {
        // The waiter may have gone.
        self.0.into_iter().for_each(|(told, why)| drop(told.send(why)));
    }
}

impl Watches {
    /// Makes the watches of a link whose node tolerates unreachable boxes for `patience`.
    pub(crate) fn new(patience: Duration, watches: &Arc<Quota>) -> Watches {
        let patience = u64::try_from(patience.as_millis()).ok();
        Watches::of(Share::new(watches, &OWN), patience, None)
    }

    /// Makes an empty table of watches; `lost` is when the connection was lost, if it was.
    fn of(share: Share, patience: Option<u64>, lost: Option<Instant>) -> Watches {
        Watches {
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            again: Again::default(),
            to_ask: BTreeMap::new(),
            patience,
            lost,
            watched: BTreeMap::new(),
            to_tell: VecDeque::new(),
            share,
            to_refuse: false,
        }
    }

    /// Returns the watches of the link's next connection, which has yet to be made.
    pub(crate) fn over_to_next(&mut self) -> Watches {
        let waiting = std::mem::take(&mut self.waiting);
        Watches { waiting, ..self.over_for_good() }
    }

    /// Returns empty watches for a link that gets no further connection: nobody waits for it.
    pub(crate) fn over_for_good(&self) -> Watches {
        let lost = self.lost.or_else(|| Some(Instant::now()));
        Watches::of(self.share.anew(), self.patience, lost)
    }

    /// Takes up a connection to that node: asks it to watch the awaited boxes, and ends the waits for boxes of other
    /// nodes.
    pub(crate) fn greeted(&mut self, peer: Incarnation, understands: bool) -> Notices {
        self.lost = None;
        let strangers = self.end(CloseReason::NodeGone, |waiter| waiter.node.is_some_and(|node| node != peer));
        self.waiting.values_mut().flatten().for_each(|waiter| waiter.node = Some(peer));
        if understands {
            let boxes: Vec<Target> = self.waiting.keys().cloned().collect();
            boxes.into_iter().for_each(|target| self.ask(target));
        }
        strangers
    }

    /// Adds a waiter. `is_up` says whether there is a connection, and `understands` whether its peer knows watches.
    pub(crate) fn wait(&mut self, target: &Target, waiter: Waiter, is_up: bool, understands: bool) {
        if !is_up {
            // As if an attempt to connect had failed just now.
            self.lost.get_or_insert_with(Instant::now);
        }
        self.waiting.entry(target.clone()).or_default().push(waiter);
        // A box that was over the limit when its first waiter came may be within it by now.
        if understands && !self.asked.contains_key(target) {
            self.ask(target.clone());
        }
    }

    /// Returns the time since which there is no connection, if there is none.
    pub(crate) fn lost_since(&self) -> Option<Instant> {
        self.lost
    }

    /// Whether there has been no connection for `limit`.
    pub(crate) fn is_lost_for(&self, limit: Duration) -> bool {
        self.lost.is_some_and(|lost| lost.elapsed() >= limit)
    }

    /// Whether the peer watches any box of this side, or a report to it is due.
    pub(crate) fn is_watched(&self) -> bool {
        !self.watched.is_empty() || !self.to_tell.is_empty()
    }

    /// Adds a watch of the peer for a box of this side, unless the peer watches it already, or watches too many, or all
    /// peers together do.
    pub(crate) fn peer_watches(&mut self, target: &Target) -> PeerWatch {
        if self.watched.contains_key(target) {
            return PeerWatch::Known;
        }
        // A closed box keeps its place until its report is written, so that no accepted watch goes unreported.
        let taken = self.watched.len() + self.to_tell.len();
        if self.watched.len() >= MAX_WATCHED || !self.share.covers(taken + 1) {
            return PeerWatch::NoRoom;
        }
        let unwanted = CancellationToken::new();
        self.watched.insert(target.clone(), unwanted.clone().drop_guard());
        PeerWatch::Begun(unwanted)
    }

    /// The peer is to be told that some of its watches are not kept: there is no room to say which.
    pub(crate) fn refuse_some(&mut self) {
        self.to_refuse = true;
    }

    /// Removes the peer's watch of a box. The returned guard is to be dropped when no lock is held.
    pub(crate) fn peer_forgets(&mut self, target: &Target) -> Option<DropGuard> {
        let watched = self.watched.remove(target);
        self.settle_share();
        watched
    }

    fn settle_share(&mut self) {
        self.share.shrink_to(self.watched.len() + self.to_tell.len());
    }

    /// Queues the report that a box is gone, behind a barrier that is made only if there is room for it.
    pub(crate) fn tell(&mut self, closed: Closed, barrier: impl FnOnce() -> u32) {
        // Bounds the reports to a peer that watches boxes that do not exist, and reads nothing.
        if self.to_tell.len() < MAX_WATCHED {
            self.to_tell.push_back((barrier(), closed));
        }
    }

    fn ask(&mut self, target: Target) {
        let is_within = self.asked.len() < MAX_WATCHED || self.asked.contains_key(&target);
        if is_within && self.to_ask.len() < MAX_WATCHED {
            self.to_ask.insert(target.clone(), true);
            self.asked.insert(target, Standing::Kept);
        } else {
            self.again.refused(Instant::now());
        }
    }

    /// The peer does not keep a watch, or does not keep some that it does not name.
    pub(crate) fn refused(&mut self, target: &Target) {
        match (target, self.asked.get_mut(target)) {
            (Target::Others, _) => self.again.is_doubtful = true,
            (_, Some(standing)) => *standing = Standing::Refused,
            // Nobody waits for it any more.
            _ => return,
        }
        if !self.asked.is_empty() {
            self.again.refused(Instant::now());
        }
    }

    /// Asks anew for some of the watches that the peer does not keep, if it is time.
    pub(crate) fn ask_again(&mut self) {
        if !self.again.is_due(Instant::now()) {
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
        refused.into_iter().for_each(|target| self.ask(target));
    }

    /// Removes the waiters for which `which` is true.
    pub(crate) fn end(&mut self, why: CloseReason, which: impl Fn(&Waiter) -> bool) -> Notices {
        let mut told = Vec::new();
        self.waiting.retain(|_, waiters| {
            told.extend(waiters.extract_if(.., |waiter| which(waiter)).map(|waiter| (waiter.told, why.clone().into())));
            !waiters.is_empty()
        });
        Notices(told)
    }

    /// Forgets waiters that have gone, and ends a watch with its last waiter.
    pub(crate) fn forget_gone(&mut self) {
        let Watches { waiting, to_ask, asked, .. } = self;
        waiting.retain(|target, waiters| {
            waiters.retain(|waiter| !waiter.told.is_closed());
            // A peer that was not asked is sent nothing: it may not know such frames.
            if waiters.is_empty() && asked.remove(target).is_some() {
                to_ask.insert(target.clone(), false);
            }
            !waiters.is_empty()
        });
    }

    /// Takes the peer's report that a box is gone.
    pub(crate) fn gone(&mut self, target: &Target, gone: &BoxGone) -> Notices {
        let Some(waiters) = self.waiting.remove(target) else { return Notices::default() };
        self.asked.remove(target);
        self.to_ask.remove(target);
        Notices(waiters.into_iter().map(|waiter| (waiter.told, gone.clone())).collect())
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.to_ask.is_empty() || !self.to_tell.is_empty() || self.to_refuse
    }

    /// Writes pending questions and reports, up to some size, in frames of at most `longest` bytes. A report whose
    /// barrier is not past waits, and so do the reports behind it.
    pub(crate) fn put_news(&mut self, out: &mut BytesMut, longest: usize, is_past: impl Fn(u32) -> bool) {
        let most = CHUNK / LONGEST;
        let patience = self.patience;
        let asked: Vec<Target> = self.to_ask.keys().take(most).cloned().collect();
        for target in asked {
            if let Some(on) = self.to_ask.remove(&target) {
                put_if_readable(out, longest, |out| Watch { target, on, patience: patience.filter(|_| on) }.put(out));
            }
        }
        let told = self.to_tell.iter().take(most).take_while(|(barrier, _)| is_past(*barrier)).count();
        self.to_tell.drain(..told).for_each(|(_, closed)| put_if_readable(out, longest, |out| closed.put(out)));
        if std::mem::take(&mut self.to_refuse) {
            put_if_readable(out, longest, |out| Unwatched { target: Target::Others }.put(out));
        }
        if self.to_tell.is_empty() && self.to_tell.capacity() > KEPT {
            self.to_tell = VecDeque::new();
        }
        self.settle_share();
    }
}

/// Writes a frame, and takes it back if it is longer than the peer reads.
pub(crate) fn put_if_readable(out: &mut BytesMut, longest: usize, put: impl FnOnce(&mut BytesMut)) {
    let before = out.len();
    put(out);
    if out.len() - before > LENGTH + longest {
        out.truncate(before);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ident::BoxId;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;

    const ONE: Incarnation = Incarnation::of([1; 16]);
    const OTHER: Incarnation = Incarnation::of([2; 16]);

    fn name(n: usize) -> Target {
        Target::Name(format!("box {n}").into())
    }

    fn waiting(watches: &mut Watches, target: Target, node: Option<Incarnation>) -> oneshot::Receiver<BoxGone> {
        let (told, callback) = oneshot::channel();
        watches.waiting.entry(target).or_default().push(Waiter { node, told });
        callback
    }

    fn frames(watches: &mut Watches) -> Vec<Watch> {
        let mut out = BytesMut::new();
        watches.put_news(&mut out, 1024, |_| true);
        let (mut rest, mut read) = (&out[..], Vec::new());
        while let Ok(Front::Frame(raw)) = front(rest, 1024) {
            read.push(Watch::read(raw.payload).expect("it was just written"));
            rest = &rest[raw.size..];
        }
        read
    }

    impl Default for Watches {
        /// Makes the watches of a node that allows any number.
        fn default() -> Watches {
            Watches { patience: None, ..Watches::new(Duration::ZERO, &Quota::new(usize::MAX)) }
        }
    }

    fn is_begun(watches: &mut Watches, n: usize) -> bool {
        matches!(watches.peer_watches(&name(n)), PeerWatch::Begun(_))
    }

    /// Those that the peer is asked for, as one that says of each whether it keeps it.
    fn asked(watches: &mut Watches, keeps: impl Fn(&Target) -> bool) -> Vec<Target> {
        let asked: Vec<Target> = frames(watches).into_iter().map(|watch| watch.target).collect();
        asked.iter().filter(|target| !keeps(target)).for_each(|target| watches.refused(target));
        asked
    }

    /// Sweeps once a second; what the peer is asked for in each, by the second.
    async fn swept(watches: &mut Watches, seconds: u64, keeps: impl Fn(&Target) -> bool) -> Vec<(u64, Vec<Target>)> {
        let mut sweeps = Vec::new();
        for second in 1..=seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            watches.ask_again();
            sweeps.push((second, asked(watches, &keeps)));
        }
        sweeps.retain(|(_, asked)| !asked.is_empty());
        sweeps
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_refused_is_asked_for_anew_until_it_is_kept() {
        let mut watches = Watches::default();
        let _hear = [waiting(&mut watches, name(1), None), waiting(&mut watches, name(2), None)];
        watches.greeted(ONE, true).tell();
        assert_eq!(asked(&mut watches, |target| *target == name(1)), [name(1), name(2)]);
        assert_eq!(swept(&mut watches, 1, |_| true).await, [(1, vec![name(2)])]);
        assert_eq!(swept(&mut watches, 100, |_| true).await, [], "it is kept");
        assert!(watches.again.due.is_none());
        // Once more it begins with a short pause.
        watches.refused(&name(1));
        assert_eq!(swept(&mut watches, 1, |_| true).await, [(1, vec![name(1)])]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pauses_grow_while_a_peer_refuses_whatever_it_is_asked() {
        let mut watches = Watches::default();
        let hears: Vec<_> = (0..1000).map(|n| waiting(&mut watches, name(n), None)).collect();
        watches.greeted(ONE, true).tell();
        while watches.has_news() {
            asked(&mut watches, |_| false);
        }
        let sweeps = swept(&mut watches, 600, |_| false).await;
        let seconds: Vec<u64> = sweeps.iter().map(|(second, _)| *second).take(8).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 96]);
        assert_eq!(sweeps.len(), 23);
        assert!(sweeps.iter().all(|(_, asked)| asked.len() == AGAIN));
        // Each has had its turn before one has a second.
        let all: Vec<&Target> = sweeps.iter().take(21).flat_map(|(_, asked)| asked).collect();
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 1000);
        // Repeated refusals by the peer, and refusals of watches that it was not asked for, change nothing.
        for _ in 0..100 {
            [name(7), name(5000), Target::Others].iter().for_each(|target| watches.refused(target));
            assert!(swept(&mut watches, 1, |_| false).await.len() <= 1);
        }
        drop(hears);
        watches.forget_gone();
        while watches.has_news() {
            frames(&mut watches);
        }
        assert_eq!(swept(&mut watches, 100, |_| false).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_peer_does_not_say_which_it_refuses_each_is_asked_for_anew_once() {
        let mut watches = Watches::default();
        watches.refused(&Target::Others);
        assert!(watches.again.due.is_none(), "it was asked for nothing");
        let _hears: Vec<_> = (0..200).map(|n| waiting(&mut watches, name(n), None)).collect();
        watches.greeted(ONE, true).tell();
        while watches.has_news() {
            frames(&mut watches);
        }
        watches.refused(&Target::Others);
        let sweeps = swept(&mut watches, 100, |_| true).await;
        let counts: Vec<(u64, usize)> = sweeps.iter().map(|(second, asked)| (*second, asked.len())).collect();
        assert_eq!(counts, [(1, 48), (2, 48), (3, 48), (4, 48), (5, 8)]);
        assert_eq!(sweeps.into_iter().flat_map(|(_, asked)| asked).collect::<BTreeSet<_>>().len(), 200);
    }

    #[test]
    fn a_peer_that_watches_twice_is_not_refused() {
        let mut watches = Watches::new(Duration::ZERO, &Quota::new(0));
        assert!((0..OWN.own).all(|n| is_begun(&mut watches, n)));
        assert!(matches!(watches.peer_watches(&name(3)), PeerWatch::Known));
        assert!(matches!(watches.peer_watches(&name(OWN.own)), PeerWatch::NoRoom));
        // It is told so once, and without a name where there is no room for one.
        watches.refuse_some();
        let mut out = BytesMut::new();
        assert!(watches.has_news());
        watches.put_news(&mut out, 1024, |_| true);
        let Ok(Front::Frame(raw)) = front(&out, 1024) else { panic!("it was just written") };
        assert_eq!(Unwatched::read(raw.payload), Ok(Unwatched { target: Target::Others }));
        assert!(!watches.has_news());
    }

    #[test]
    fn connections_watch_together_what_the_node_allows() {
        let quota = Quota::new(256);
        let mut peers: Vec<Watches> = (0..4).map(|_| Watches::new(Duration::ZERO, &quota)).collect();
        let watch = |watches: &mut Watches| (0..1000).filter(|n| is_begun(watches, *n)).count();
        let counts: Vec<usize> = peers.iter_mut().map(watch).collect();
        assert_eq!(counts, [16 + 128, 16 + 64, 16 + 42, 16 + 22]);
        // A closed box takes a place until its report is written, and no longer.
        let why = crate::wire::frames::closed::Gone::Closed;
        let gone = |n| Closed { target: name(n), why, unreached: None };
        let first = &mut peers[0];
        for n in 0..144 {
            first.tell(gone(n), || 0);
            assert!(first.peer_forgets(&name(n)).is_some());
        }
        assert_eq!((watch(first), quota.used()), (0, 256));
        first.put_news(&mut BytesMut::new(), 1024, |_| true);
        assert_eq!(quota.used(), 128);
        drop(peers);
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn another_node_in_the_place_of_one_that_was_waited_for_ends_the_waiting() {
        let mut watches = Watches::default();
        let mut by_name = waiting(&mut watches, name(1), None);
        let mut of_one = waiting(&mut watches, Target::Id(BoxId([9; 16])), Some(ONE));
        watches.greeted(OTHER, true).tell();
        assert_eq!(of_one.try_recv(), Ok(CloseReason::NodeGone.into()));
        assert!(by_name.try_recv().is_err());
        assert_eq!(frames(&mut watches), [Watch { target: name(1), on: true, patience: None }]);
        // From now on the box belongs to the other node.
        let mut next = watches.over_to_next();
        next.greeted(ONE, true).tell();
        assert_eq!(by_name.try_recv(), Ok(CloseReason::NodeGone.into()));
    }

    #[test]
    fn another_run_of_a_node_is_another_node_to_those_who_wait() {
        let mut watches = Watches::default();
        let mut of_last = waiting(&mut watches, Target::Id(BoxId([9; 16])), Some(ONE));
        watches.greeted(Incarnation { epoch: OTHER.epoch, ..ONE }, true).tell();
        assert_eq!(of_last.try_recv(), Ok(CloseReason::NodeGone.into()));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_watched_no_longer() {
        let mut watches = Watches::default();
        let first = waiting(&mut watches, name(1), None);
        let second = waiting(&mut watches, name(1), None);
        watches.greeted(ONE, true).tell();
        assert_eq!(frames(&mut watches).len(), 1);
        drop(first);
        watches.forget_gone();
        assert!(!watches.has_news());
        drop(second);
        watches.forget_gone();
        assert_eq!(frames(&mut watches), [Watch { target: name(1), on: false, patience: None }]);
        assert_eq!((watches.asked.len(), watches.waiting.len()), (0, 0));
    }

    #[test]
    fn no_more_boxes_are_watched_than_the_limit_says() {
        let mut watches = Watches::default();
        let _hears: Vec<_> = (0..MAX_WATCHED + 10).map(|n| waiting(&mut watches, name(n), None)).collect();
        watches.greeted(ONE, true).tell();
        let mut asked = 0;
        while watches.has_news() {
            asked += frames(&mut watches).len();
        }
        assert_eq!(asked, MAX_WATCHED);
    }

    #[test]
    fn what_a_peer_does_not_read_is_not_written() {
        let mut watches = Watches::default();
        let _hears = [waiting(&mut watches, name(1), None), waiting(&mut watches, name(100), None)];
        watches.greeted(ONE, true).tell();
        let mut out = BytesMut::new();
        watches.put_news(&mut out, 8, |_| true);
        assert_eq!(out.len(), 0);
        assert!(!watches.has_news());
    }

    #[test]
    fn a_peer_that_does_not_understand_it_is_not_asked() {
        let mut watches = Watches::default();
        let _hear = waiting(&mut watches, name(1), None);
        watches.greeted(ONE, false).tell();
        assert!(!watches.has_news());
    }

    #[test]
    fn a_peer_that_was_not_asked_is_not_told_that_nobody_waits() {
        let mut watches = Watches::default();
        let callback = waiting(&mut watches, name(1), None);
        watches.greeted(ONE, false).tell();
        drop(callback);
        watches.forget_gone();
        assert!(!watches.has_news(), "it would take that for a violation");
        // Nor does anything pile up without a connection.
        let mut watches = watches.over_to_next();
        for n in 0..100 {
            drop(waiting(&mut watches, name(n), None));
            watches.forget_gone();
        }
        watches.greeted(ONE, true).tell();
        assert!(!watches.has_news());
    }

    #[test]
    fn boxes_over_the_limit_that_were_not_asked_for_make_no_room_when_they_go() {
        let mut watches = Watches::default();
        let hears: Vec<_> = (0..MAX_WATCHED).map(|n| waiting(&mut watches, name(n), None)).collect();
        watches.greeted(ONE, true).tell();
        let wait = |watches: &mut Watches, n| {
            let (told, callback) = oneshot::channel();
            watches.wait(&name(n), Waiter { node: None, told }, true, true);
            callback
        };
        drop(wait(&mut watches, MAX_WATCHED));
        watches.forget_gone();
        let _over = wait(&mut watches, MAX_WATCHED + 1);
        assert_eq!(watches.asked.len(), MAX_WATCHED);
        assert!(!watches.asked.contains_key(&name(MAX_WATCHED + 1)));
        while watches.has_news() {
            frames(&mut watches);
        }
        drop(hears);
        watches.forget_gone();
        while watches.has_news() {
            frames(&mut watches);
        }
        let _one_more = wait(&mut watches, MAX_WATCHED + 1);
        assert_eq!(
            frames(&mut watches),
            [Watch { target: name(MAX_WATCHED + 1), on: true, patience: None }],
            "there is room by now"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_box_over_the_limit_is_asked_for_when_another_is_gone() {
        let mut watches = Watches::default();
        let _hears: Vec<_> = (0..=MAX_WATCHED).map(|n| waiting(&mut watches, name(n), None)).collect();
        watches.greeted(ONE, true).tell();
        while watches.has_news() {
            frames(&mut watches);
        }
        let over = watches.waiting.keys().last().cloned().expect("many");
        assert!(!watches.asked.contains_key(&over));
        assert_eq!(swept(&mut watches, 2, |_| true).await, []);
        watches.gone(&name(0), &CloseReason::BoxClosed.into()).tell();
        assert_eq!(swept(&mut watches, 2, |_| true).await, [(2, vec![over])], "the pause has grown");
    }

    /// Nothing piles up for a peer that does not read.
    #[test]
    fn watches_that_come_and_go_are_kept_within_a_bound() {
        let mut watches = Watches::default();
        watches.greeted(ONE, true).tell();
        for round in 0..4 {
            for n in 0..MAX_WATCHED {
                let (told, _) = oneshot::channel();
                watches.wait(&name(round * MAX_WATCHED + n), Waiter { node: None, told }, true, true);
            }
            watches.forget_gone();
        }
        assert!(watches.to_ask.len() <= 2 * MAX_WATCHED && watches.asked.len() <= MAX_WATCHED);
    }

    #[test]
    fn a_peer_watches_so_many_boxes_and_is_told_of_so_many() {
        let mut watches = Watches::default();
        let watched = (0..=MAX_WATCHED).filter(|n| is_begun(&mut watches, *n)).count();
        assert_eq!(watched, MAX_WATCHED);
        assert!(watches.peer_forgets(&name(0)).is_some() && is_begun(&mut watches, MAX_WATCHED));
        (0..=MAX_WATCHED).for_each(|n| {
            let why = crate::wire::frames::closed::Gone::Closed;
            watches.tell(Closed { target: name(n), why, unreached: None }, || 0)
        });
        assert_eq!(watches.to_tell.len(), MAX_WATCHED);
    }
}
