//! Dropped messages: each is counted once here, and told to subscribers and to the log.
//!
//! Telling is coalesced: drops of one kind between two flushes are one [`Event::DeadLetter`] with a count, and the log has one
//! line for each reason.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use actix::prelude::Recipient;

use super::Observer;
use super::event::Event;
use crate::ident::NodeId;
use crate::reason::DropReason;
use crate::reason::Side;

/// Kinds of dropped messages remembered between two flushes; further ones are told without their box's name.
const MAX_UNTOLD: usize = 256;

/// Drops by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// Made at the first drop: every box and every address has these, and most never lose a message.
    counts: OnceLock<Box<[AtomicU64; DropReason::ALL.len()]>>,
}

impl Drops {
    pub(crate) fn add(&self, reason: DropReason, count: u64) {
        if let Some(counter) = self.counts.get_or_init(Box::default).get(reason as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts().sum()
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.get().into_iter().flat_map(|counts| counts.iter()).map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn to_map(&self) -> BTreeMap<DropReason, u64> {
        DropReason::ALL.iter().copied().zip(self.counts()).filter(|&(_, count)| count > 0).collect()
    }
}

/// What a dropped message was for, in words for a person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DroppedMessage<'a> {
    pub(crate) name: &'a str,
    pub(crate) type_name: &'static str,
    pub(crate) detail: Option<&'a str>,
    /// The node that it came from, or that it was to go to, if that is another one and known.
    pub(crate) peer: Option<NodeId>,
}

/// The boxes and the peers that the drops of one reason concern, until they are logged: of each at most [`MAX_UNTOLD`].
#[derive(Debug, Default)]
pub(super) struct Concerned {
    boxes: BTreeSet<Box<str>>,
    peers: BTreeSet<NodeId>,
}

impl Concerned {
    fn note(&mut self, message: DroppedMessage<'_>) {
        if self.boxes.len() < MAX_UNTOLD && !self.boxes.contains(message.name) {
            self.boxes.insert(message.name.into());
        }
        if self.peers.len() < MAX_UNTOLD {
            self.peers.extend(message.peer);
        }
    }
}

/// "a", "a and 2 others", or nothing: as a log line has room for.
fn first_and_others<T: fmt::Display + Ord>(all: &BTreeSet<T>) -> String {
    let Some(first) = all.first() else { return String::new() };
    match all.len() - 1 {
        0 => first.to_string(),
        1 => format!("{first} and 1 other"),
        others if all.len() >= MAX_UNTOLD => format!("{first} and at least {others} others"),
        others => format!("{first} and {others} others"),
    }
}

#[derive(Debug, Default)]
pub(super) struct Audience {
    /// Replaced as a whole, as they are told without the lock.
    subscribers: Arc<[Subscriber]>,
    untold: BTreeMap<DropKind, (u64, Option<String>)>,
}

/// Who is told, each by the same sender every time.
pub(super) type Subscriber = Arc<Recipient<Event>>;

impl Audience {
    pub(super) fn subscribers(&self) -> Arc<[Subscriber]> {
        Arc::clone(&self.subscribers)
    }

    /// Gives back those of before, to be dropped when no lock is held: with the last sender its queue is woken.
    #[must_use]
    pub(super) fn change_subscribers(&mut self, change: impl FnOnce(&mut Vec<Subscriber>)) -> Arc<[Subscriber]> {
        let mut subscribers = self.subscribers.to_vec();
        change(&mut subscribers);
        std::mem::replace(&mut self.subscribers, subscribers.into())
    }
}

/// Drops that are told together.
type DropKind = (Arc<str>, &'static str, DropReason, AtPeer);

/// Whether the peer has dropped it.
pub(crate) type AtPeer = bool;

impl Observer {
    /// Counts messages dropped here; subscribers hear of it at the next [`flush`](Observer::flush).
    pub(crate) fn dropped(&self, message: DroppedMessage<'_>, reason: DropReason, count: u64) {
        if count == 0 {
            return;
        }
        self.dropped.add(reason, count);
        self.concern(message, reason, Side::Here);
        tracing::trace!(target: "actix_hermod", name = message.name, ?reason, count, detail = message.detail, "dropped");
        if self.watched.load(Ordering::Relaxed) {
            self.note(message, reason, count, false);
        }
        self.stir();
    }

    /// A peer has dropped messages sent from here.
    pub(crate) fn reported(&self, message: DroppedMessage<'_>, reason: DropReason, count: u64) {
        self.reported.add(reason, count);
        self.concern(message, reason, Side::Peer);
        if self.watched.load(Ordering::Relaxed) {
            self.note(message, reason, count, true);
        }
        self.stir();
    }

    /// Says more about drops that were counted, to be told with them or, if they were told already, behind them.
    pub(crate) fn explain(&self, name: &str, type_name: &'static str, reason: DropReason, side: Side, words: &str) {
        if self.watched.load(Ordering::Relaxed) {
            let message = DroppedMessage { name, type_name, detail: Some(words), peer: None };
            self.note(message, reason, 0, side == Side::Peer);
            self.stir();
        }
    }

    /// The next line in the log about drops for that reason names the box and the peer.
    fn concern(&self, message: DroppedMessage<'_>, reason: DropReason, side: Side) {
        let mut concerned = self.concerned.lock();
        concerned.entry((reason, side == Side::Peer)).or_default().note(message);
    }

    fn note(&self, message: DroppedMessage<'_>, reason: DropReason, count: u64, at_peer: AtPeer) {
        let mut audience = self.audience.lock();
        let name: Arc<str> = if audience.untold.len() < MAX_UNTOLD { message.name.into() } else { "".into() };
        let (sum, detail) = audience.untold.entry((name, message.type_name, reason, at_peer)).or_default();
        *sum += count;
        if message.detail.is_some() {
            *detail = message.detail.map(str::to_owned);
        }
    }

    /// Something is to be told at the next flush. Writes even what is written already: so a flush either sees what came
    /// before, or comes again.
    fn stir(&self) {
        if self.has_ended.load(Ordering::Acquire) {
            self.tell_untold();
        } else if !self.stirred.swap(true, Ordering::AcqRel) {
            self.noted.notify_one();
        }
    }

    /// Nobody [flushes](Observer::flush) any more: from now on subscribers hear of each drop at once. The log does not, as one
    /// who goes on sending would fill it.
    pub(crate) fn end(&self, node: NodeId) {
        self.has_ended.store(true, Ordering::Release);
        self.flush(node);
    }

    /// Ends when there are drops that were not told.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// Tells the log and subscribers of the drops since the last flush.
    pub(crate) fn flush(&self, node: NodeId) {
        self.stirred.swap(false, Ordering::AcqRel);
        self.log(node);
        self.tell_untold();
    }

    fn tell_untold(&self) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let untold = std::mem::take(&mut self.audience.lock().untold);
        for ((name, type_name, reason, at_peer), (count, detail)) in untold {
            let (name, type_name) = (name.as_ref().to_owned(), type_name.to_owned());
            let side = if at_peer { Side::Peer } else { Side::Here };
            self.tell(&Event::DeadLetter { name, type_name, reason, count, side, detail });
        }
    }

    /// Logs the drops since the last flush: one line for each reason, however many there were.
    fn log(&self, node: NodeId) {
        let mut concerned = std::mem::take(&mut *self.concerned.lock());
        for (side, counts, logged) in [("here", &self.dropped, 0), ("peer", &self.reported, 1)] {
            for (reason, count) in self.unlogged(counts, logged) {
                let Concerned { boxes, peers } = concerned.remove(&(reason, side == "peer")).unwrap_or_default();
                let (boxes, peers) = (first_and_others(&boxes), first_and_others(&peers));
                if is_by_choice(reason) {
                    tracing::debug!(
                        target: "actix_hermod", %node, ?reason, count, side, boxes, peers, "messages were dropped"
                    );
                } else {
                    tracing::warn!(
                        target: "actix_hermod", %node, ?reason, count, side, boxes, peers, "messages were dropped"
                    );
                }
            }
        }
    }

    /// By how much these counts have grown since they were last logged.
    fn unlogged(&self, counts: &Drops, which: usize) -> Vec<(DropReason, u64)> {
        let mut logged = self.logged.lock();
        let Some(logged) = logged.get_mut(which) else { return Vec::new() };
        let counts = counts.to_map();
        let before = std::mem::replace(logged, counts.clone());
        let grown = counts.into_iter().map(|(reason, count)| (reason, count - before.get(&reason).unwrap_or(&0)));
        grown.filter(|&(_, count)| count > 0).collect()
    }
}

/// Whether it was somebody's wish that such messages are dropped: one who opened a box for the newest only, or who takes a
/// request back.
fn is_by_choice(reason: DropReason) -> bool {
    matches!(reason, DropReason::OldestShed | DropReason::Replaced | DropReason::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_one_and_says_how_many_others_there_are() {
        let some = |count: usize| (0..count).map(|n| format!("box {n:03}")).collect::<BTreeSet<_>>();
        for (count, words) in [
            (0, ""),
            (1, "box 000"),
            (2, "box 000 and 1 other"),
            (4, "box 000 and 3 others"),
            (MAX_UNTOLD, "box 000 and at least 255 others"),
        ] {
            assert_eq!(first_and_others(&some(count)), words);
        }
    }

    #[test]
    fn of_boxes_and_peers_without_end_so_many_are_named() {
        let mut concerned = Concerned::default();
        for n in 0..10 * MAX_UNTOLD {
            let (name, peer) = (n.to_string(), Some(NodeId((n as u128).to_le_bytes())));
            concerned.note(DroppedMessage { name: &name, type_name: "", detail: None, peer });
        }
        assert_eq!((concerned.boxes.len(), concerned.peers.len()), (MAX_UNTOLD, MAX_UNTOLD));
    }
}
