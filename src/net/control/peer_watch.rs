//! The peer's watches: boxes of this side whose end is to be reported to the peer.
//!
//! They end with their connection.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use crate::quota::Quota;
use crate::quota::Share;
use crate::quota::Terms;
use crate::wire::frames::LENGTH;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::LONGEST;
use crate::wire::target::Target;

/// Boxes that are watched over one connection, in each direction. For further boxes, only the end of the connection is
/// noticed until others are gone.
pub(super) const MAX_WATCHED: usize = 65_536;

/// Boxes that each peer may watch however many others do.
const OWN: Terms = Terms { own: 16, chunk: 64 };

/// The capacity up to which an empty queue keeps its memory.
const KEPT: usize = 64;

/// Bytes of frames about watches that are written at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// Ends the watch of a box when it is dropped, which must not be done under a lock.
pub(crate) type WatchGuard = Box<dyn Send>;

/// See the [module](self).
pub(crate) struct PeerWatches {
    /// Watched boxes.
    watched: BTreeMap<Target, WatchGuard>,
    /// Closed boxes that are to be reported to the peer, at most [`MAX_WATCHED`]: each once its barrier is past, so
    /// that messages sent before the box closed arrive earlier.
    to_tell: VecDeque<(u32, Closed)>,
    /// The share of this connection in the boxes that peers may watch at this node, including closed boxes that are to
    /// be reported.
    share: Share,
    /// Whether the peer is to be told that some of its watches are not kept, without their names.
    to_refuse: bool,
}

/// The outcome of a watch that the peer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PeerWatch {
    /// It is kept.
    Begun,
    /// It was kept before.
    Known,
    /// It is not kept: the peer watches too many, or all peers together do.
    NoRoom,
}

impl PeerWatches {
    pub(crate) fn new(watches: &Arc<Quota>) -> PeerWatches {
        let share = Share::new(watches, &OWN);
        PeerWatches { watched: BTreeMap::new(), to_tell: VecDeque::new(), share, to_refuse: false }
    }

    /// Whether the peer watches any box of this side, or a report to it is due.
    pub(crate) fn is_watched(&self) -> bool {
        !self.watched.is_empty() || !self.to_tell.is_empty()
    }

    /// Adds a watch of the peer for a box of this side, unless the peer watches it already, or watches too many, or all
    /// peers together do. Takes the guard if the watch is kept.
    pub(crate) fn on_watch(&mut self, target: &Target, guard: &mut Option<WatchGuard>) -> PeerWatch {
        if self.watched.contains_key(target) {
            return PeerWatch::Known;
        }
        // A closed box keeps its place until its report is written, so that no accepted watch goes unreported.
        let taken = self.watched.len() + self.to_tell.len();
        if self.watched.len() >= MAX_WATCHED || !self.share.covers(taken + 1) {
            return PeerWatch::NoRoom;
        }
        if let Some(guard) = guard.take() {
            self.watched.insert(target.clone(), guard);
        }
        PeerWatch::Begun
    }

    /// Has a frame written that tells the peer that some of its watches are not kept, because there is no room to name
    /// them.
    pub(crate) fn refuse_some(&mut self) {
        self.to_refuse = true;
    }

    /// Removes the peer's watch of a box. The returned guard is to be dropped when no lock is held.
    pub(crate) fn on_unwatch(&mut self, target: &Target) -> Option<WatchGuard> {
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

    #[inline]
    pub(crate) fn has_frames(&self) -> bool {
        !self.to_tell.is_empty() || self.to_refuse
    }

    /// Writes pending reports, up to some size, in frames of at most `longest` bytes. A report whose barrier is not past
    /// waits, and so do the reports behind it.
    pub(crate) fn poll_frames(&mut self, out: &mut BytesMut, longest: usize, is_past: impl Fn(u32) -> bool) {
        let told = self.to_tell.iter().take(CHUNK / LONGEST).take_while(|(barrier, _)| is_past(*barrier)).count();
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
    use super::*;
    use crate::wire::frames::Front;
    use crate::wire::frames::closed::Gone;
    use crate::wire::frames::front;

    fn name(n: usize) -> Target {
        Target::Name(format!("box {n}").into())
    }

    fn is_begun(watches: &mut PeerWatches, n: usize) -> bool {
        let mut guard: Option<WatchGuard> = Some(Box::new(()));
        let is_begun = watches.on_watch(&name(n), &mut guard) == PeerWatch::Begun;
        assert_eq!(guard.is_none(), is_begun, "the guard of a watch that is kept is taken, and no other");
        is_begun
    }

    #[test]
    fn a_peer_that_watches_twice_is_not_refused() {
        let mut watches = PeerWatches::new(&Quota::new(0));
        assert!((0..OWN.own).all(|n| is_begun(&mut watches, n)));
        assert!(watches.on_watch(&name(3), &mut None) == PeerWatch::Known);
        assert!(watches.on_watch(&name(OWN.own), &mut None) == PeerWatch::NoRoom);
        // It is told so once, and without a name where there is no room for one.
        watches.refuse_some();
        let mut out = BytesMut::new();
        assert!(watches.has_frames());
        watches.poll_frames(&mut out, 1024, |_| true);
        let Ok(Front::Frame(raw)) = front(&out, 1024) else { panic!("it was just written") };
        assert_eq!(Unwatched::read(raw.payload), Ok(Unwatched { target: Target::Others }));
        assert!(!watches.has_frames());
    }

    #[test]
    fn connections_watch_together_what_the_node_allows() {
        let quota = Quota::new(256);
        let mut peers: Vec<PeerWatches> = (0..4).map(|_| PeerWatches::new(&quota)).collect();
        let watch = |watches: &mut PeerWatches| (0..1000).filter(|n| is_begun(watches, *n)).count();
        let counts: Vec<usize> = peers.iter_mut().map(watch).collect();
        assert_eq!(counts, [16 + 128, 16 + 64, 16 + 42, 16 + 22]);
        // A closed box takes a place until its report is written, and no longer.
        let why = Gone::Closed;
        let gone = |n| Closed { target: name(n), why, unreached: None };
        let first = &mut peers[0];
        for n in 0..144 {
            first.tell(gone(n), || 0);
            assert!(first.on_unwatch(&name(n)).is_some());
        }
        assert_eq!((watch(first), quota.used()), (0, 256));
        first.poll_frames(&mut BytesMut::new(), 1024, |_| true);
        assert_eq!(quota.used(), 128);
        drop(peers);
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn a_peer_watches_so_many_boxes_and_is_told_of_so_many() {
        let mut watches = PeerWatches::new(&Quota::new(usize::MAX));
        let watched = (0..=MAX_WATCHED).filter(|n| is_begun(&mut watches, *n)).count();
        assert_eq!(watched, MAX_WATCHED);
        assert!(watches.on_unwatch(&name(0)).is_some() && is_begun(&mut watches, MAX_WATCHED));
        (0..=MAX_WATCHED).for_each(|n| {
            let why = Gone::Closed;
            watches.tell(Closed { target: name(n), why, unreached: None }, || 0)
        });
        assert_eq!(watches.to_tell.len(), MAX_WATCHED);
    }

    #[test]
    fn a_report_waits_for_its_barrier_and_holds_up_those_behind_it() {
        let mut watches = PeerWatches::new(&Quota::new(usize::MAX));
        for (n, barrier) in [(1, 5), (2, 9), (3, 5)] {
            watches.tell(Closed { target: name(n), why: Gone::Node, unreached: None }, || barrier);
        }
        let mut told = |most: u32| {
            let mut out = BytesMut::new();
            watches.poll_frames(&mut out, 1024, |barrier| barrier <= most);
            let (mut rest, mut told) = (&out[..], Vec::new());
            while let Ok(Front::Frame(raw)) = front(rest, 1024) {
                told.push(Closed::read(raw.payload).expect("it was just written").target);
                rest = &rest[raw.size..];
            }
            (told, watches.has_frames())
        };
        assert_eq!(told(4), (vec![], true));
        assert_eq!(told(8), (vec![name(1)], true));
        assert_eq!(told(9), (vec![name(2), name(3)], false));
    }
}
