//! Watches of both sides, and fill levels. Each caller is told at most once; nothing is asked of a peer that does not
//! understand it, or asked anew before its time; a level that was reported is the one that the other side believes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::ENOUGH;
use super::World;
use super::frames;
use super::payload;
use super::target;
use crate::boxes::relay::Relay;
use crate::handle::detached;
use crate::handle::ports::BoxGone;
use crate::handle::ports::LocalBox;
use crate::ident::BoxId;
use crate::ident::Incarnation;
use crate::net::control::effects::GoneWaiter;
use crate::net::control::peer_watch::PeerWatch;
use crate::net::control::peer_watch::PeerWatches;
use crate::net::control::peer_watch::WatchGuard;
use crate::net::control::pressure::Pressures;
use crate::net::control::watch::Reach;
use crate::net::control::watch::Waiter;
use crate::net::control::watch::Watches;
use crate::observe::event::CloseReason;
use crate::quota::Quota;
use crate::unstructured::Unstructured;
use crate::wire::features::feature;
use crate::wire::frames::closed::Closed;
use crate::wire::frames::closed::Gone;
use crate::wire::frames::kind;
use crate::wire::frames::pressure::put_pressure;
use crate::wire::frames::unwatched::Unwatched;
use crate::wire::frames::watch::LONGEST;
use crate::wire::frames::watch::Watch;
use crate::wire::target::Target;

/// The least time between two sweeps in which a peer is asked anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Boxes that the peer may watch at a time, beside those whose end is to be reported.
const ROOM: usize = 16;

/// A caller, and how often it was told.
struct Caller(Weak<AtomicUsize>);

impl GoneWaiter for Caller {
    fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    fn tell(self: Box<Self>, _: BoxGone) {
        if let Some(told) = self.0.upgrade() {
            assert_eq!(told.fetch_add(1, Ordering::Relaxed), 0, "a caller was told twice");
        }
    }
}

pub(super) struct Watched {
    watches: Watches,
    /// The callers that wait for boxes of the peer, each with how often it was told.
    callers: Vec<Arc<AtomicUsize>>,
    /// The boxes that the peer was asked to watch on this connection.
    asked: BTreeSet<Target>,
    asked_anew: Option<Instant>,
    quota: Arc<Quota>,
    peer: PeerWatches,
    /// The boxes that the peer watches, whose guards hold `guards`.
    watching: BTreeSet<Target>,
    guards: Arc<()>,
    /// Reports of closed boxes that are due.
    closed: usize,
    barrier: u32,
    pressures: Pressures,
    /// The other side of `pressures`, and the levels that it was sent.
    theirs: Pressures,
    levels: BTreeMap<Target, u8>,
    local: Arc<dyn LocalBox>,
}

impl Watched {
    pub(super) fn new() -> Watched {
        let quota = Quota::new(0);
        Watched {
            watches: Watches::new(PAUSE),
            callers: Vec::new(),
            asked: BTreeSet::new(),
            asked_anew: None,
            peer: PeerWatches::new(&quota),
            quota,
            watching: BTreeSet::new(),
            guards: Arc::new(()),
            closed: 0,
            barrier: 0,
            pressures: Pressures::default(),
            theirs: Pressures::default(),
            levels: BTreeMap::new(),
            local: Arc::new(Relay::new(BoxId([0; 16]), detached::pointer(), 1)),
        }
    }

    pub(super) fn greet(&mut self, world: &World) {
        let peer = Incarnation::of([world.features.unwrap_or(0) as u8 % 2; 16]);
        self.watches.on_greeting(peer, world.understands(feature::WATCHES), world.now).run();
        // A watch that is withdrawn before it is written would be withdrawn all the same.
        self.poll(world, true);
    }

    pub(super) fn down(&mut self, world: &World, over: bool) {
        let next = if over { self.watches.over_for_good(world.now) } else { self.watches.over_to_next(world.now) };
        let old = std::mem::replace(self, Watched { watches: next, ..Watched::new() });
        self.callers = old.callers;
        drop((old.watches, old.peer));
        assert_eq!(Arc::strong_count(&old.guards), 1, "the peer's watches end with the connection");
        if over {
            assert!(self.watches.lost_since().is_some());
        }
    }

    pub(super) fn step(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        match choices.below(9) {
            0 => self.wait(choices, world),
            1 => {
                let count = self.callers.len();
                drop((count > 0).then(|| self.callers.swap_remove(choices.below(count))));
            }
            2 => self.sweep(world),
            3 => self.closed(choices, world),
            4 => self.refused(choices, world),
            5 => self.watch(choices),
            6 => self.tell(choices, world),
            7 => self.press(choices, world),
            _ => self.hear(choices),
        }
        self.poll(world, choices.below(3) == 0);
    }

    fn wait(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        let target = target(choices);
        if target == Target::Others {
            return;
        }
        let caller = Arc::new(AtomicUsize::new(0));
        let node = (choices.below(2) == 0).then_some(Incarnation::of([choices.byte() % 2; 16]));
        let waiter = Waiter { node, callback: Box::new(Caller(Arc::downgrade(&caller))) };
        let reach = match world.features {
            None => Reach::None,
            Some(_) if world.understands(feature::WATCHES) => Reach::Watches,
            Some(_) => Reach::Deaf,
        };
        self.watches.wait(&target, waiter, reach, world.now);
        self.callers.push(caller);
    }

    fn sweep(&mut self, world: &World) {
        self.watches.forget_gone().run();
        self.poll(world, true);
        self.watches.ask_again(world.now);
        if self.watches.has_frames() {
            let too_soon = self.asked_anew.is_some_and(|before| world.now - before < PAUSE);
            assert!(!too_soon, "the peer is asked anew without a pause");
            self.asked_anew = Some(world.now);
        }
    }

    /// A box of the peer closes, or the wait for it ends.
    fn closed(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        let payload = payload(choices, |out, choices| {
            let (target, why) = (target(choices), [Gone::Closed, Gone::Node, Gone::Other(99)][choices.below(3)]);
            Closed { target, why, unreached: Some(choices.number()) }.put(out);
        });
        if let Ok(closed) = Closed::read(&payload) {
            self.watches.on_closed(&closed, world.now).run();
            // It may be asked for again, and never withdrawn.
            self.asked.remove(&closed.target);
        } else {
            let node = Incarnation::of([choices.byte() % 2; 16]);
            self.watches.end(&CloseReason::NodeGone, |waiter| waiter.node == Some(node)).run();
        }
    }

    fn refused(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        let payload = payload(choices, |out, choices| Unwatched { target: target(choices) }.put(out));
        if let Ok(unwatched) = Unwatched::read(&payload) {
            self.watches.on_unwatched(&unwatched, world.now);
        }
    }

    /// The peer watches a box of this side, or watches it no longer.
    fn watch(&mut self, choices: &mut Unstructured<'_>) {
        let payload = payload(choices, |out, choices| {
            Watch { target: target(choices), on: choices.below(4) > 0, patience: Some(choices.number()) }.put(out);
        });
        let Ok(Watch { target, on, .. }) = Watch::read(&payload) else { return };
        if on {
            let is_new = !self.watching.contains(&target);
            let mut guard: Option<WatchGuard> = Some(Box::new(Arc::clone(&self.guards)));
            match self.peer.on_watch(&target, &mut guard) {
                PeerWatch::Begun => assert!(is_new && self.watching.insert(target)),
                PeerWatch::Known => assert!(!is_new),
                PeerWatch::NoRoom => {
                    assert!(is_new && self.watching.len() + self.closed >= ROOM);
                    self.peer.refuse_some();
                }
            }
        } else {
            assert_eq!(self.peer.on_unwatch(&target).is_some(), self.watching.remove(&target));
        }
        assert_eq!(Arc::strong_count(&self.guards), 1 + self.watching.len());
    }

    /// A box of this side closes.
    fn tell(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        let target = target(choices);
        if world.features.is_some() && self.watching.remove(&target) {
            self.barrier += u32::from(choices.byte() % 2);
            self.peer.tell(Closed { target: target.clone(), why: Gone::Closed, unreached: None }, || self.barrier);
            self.closed += 1;
            assert!(self.peer.on_unwatch(&target).is_some());
        }
    }

    fn press(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        let (target, fill) = (target(choices), choices.byte());
        if choices.below(2) == 0 {
            self.pressures.press(&target, &self.local);
        }
        let (mut out, room) = (BytesMut::new(), world.longest.min(choices.below(4 * LONGEST)));
        let is_written = self.pressures.poll_frames(&mut out, room, &[(target.clone(), fill)]);
        let frames = frames(&out, world.longest);
        assert_eq!((is_written, frames.len()), (!out.is_empty(), usize::from(is_written)));
        for (kind, payload) in frames {
            assert_eq!((kind, self.theirs.on_frame(&payload)), (kind::PRESSURE, Ok(())));
            self.levels.insert(target.clone(), fill);
        }
        self.levels.iter().for_each(|(target, level)| assert_eq!(self.theirs.heard(target), *level));
    }

    /// A level from the peer, or bytes that are none: what is believed is bounded, and no end is missed.
    fn hear(&mut self, choices: &mut Unstructured<'_>) {
        let (about, fill) = (target(choices), choices.byte());
        let mut sound = BytesMut::new();
        put_pressure(&mut sound, [(about.clone(), fill)]);
        let payload = payload(choices, |out, _| out.extend_from_slice(&sound));
        let is_sound = frames(&sound, ENOUGH).iter().all(|(_, whole)| *whole == payload);
        let heard = self.pressures.on_frame(&payload);
        assert!(!is_sound || (heard.is_ok() && self.pressures.heard(&about) == fill));
    }

    /// Writes what is due: the peer is asked and told only what it understands, and each box is withdrawn only if it was
    /// asked for.
    fn poll(&mut self, world: &World, all: bool) {
        assert!(world.understands(feature::WATCHES) || !self.watches.has_frames());
        let mut rounds = 0;
        while world.features.is_some() && (self.watches.has_frames() || self.peer.has_frames()) && rounds < 3 {
            let (mut out, barrier) = (BytesMut::new(), self.barrier);
            self.watches.poll_frames(&mut out, world.longest);
            self.peer.poll_frames(&mut out, world.longest, |of| all || of < barrier);
            frames(&out, world.longest).iter().for_each(|(kind, payload)| self.written(world, *kind, payload));
            if world.longest < LONGEST + 16 {
                // Frames may have been left out.
                self.asked.clear();
                self.closed = if all { 0 } else { self.closed };
            }
            assert!(!self.watches.has_frames(), "there are few boxes");
            rounds += 1;
        }
        if all && world.features.is_some() {
            assert!(!self.peer.has_frames() && self.closed == 0, "{} reports were left out", self.closed);
        }
    }

    fn written(&mut self, world: &World, kind: u8, payload: &[u8]) {
        match kind {
            kind::WATCH => {
                let Watch { target, on, patience } = Watch::read(payload).expect("this side writes it");
                assert!(world.understands(feature::WATCHES) && patience.is_some() == on);
                let is_known = if on { !self.asked.insert(target) } else { self.asked.remove(&target) };
                assert!(on || is_known || world.longest < LONGEST + 16, "a watch is withdrawn that was not asked for");
            }
            kind::CLOSED => {
                Closed::read(payload).expect("this side writes it");
                self.closed = self.closed.checked_sub(1).expect("no more boxes have closed");
            }
            _ => assert_eq!(Unwatched::read(payload), Ok(Unwatched { target: Target::Others })),
        }
    }

    /// Each caller that still waits is told when the waiting ends.
    pub(super) fn finish(mut self) {
        self.watches.end(&CloseReason::ConnectionLost, |_| true).run();
        assert!(self.callers.iter().all(|told| Arc::weak_count(told) == 0), "a waiter was left behind");
        drop((self.watches, self.peer));
        assert_eq!((Arc::strong_count(&self.guards), self.quota.used()), (1, 0));
    }
}
