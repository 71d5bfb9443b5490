//! Reports of dropped messages to subscribers and to the log.
//!
//! Reports are coalesced: drops of one kind between two flushes are one [`Event::DeadLetter`] with a count, and the log
//! has one line for each reason.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::Recipient;

use super::Observer;
use super::event::Event;
use super::loss::DroppedMessage;
use super::loss::Drops;
use crate::ident::NodeId;
use crate::reason::DropReason;
use crate::reason::Side;

/// Kinds of dropped messages remembered between two flushes; further ones are reported without the name of their box.
const MAX_UNTOLD: usize = 256;

/// The boxes and the peers that the drops of one reason concern, until they are logged: at most [`MAX_UNTOLD`] of each.
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

/// Returns "a", "a and 2 others", or nothing: short enough for a log line.
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
    /// Replaced as a whole, because events are sent to them without the lock.
    subscribers: Arc<[Subscriber]>,
    untold: BTreeMap<DropKind, (u64, Option<String>)>,
}

/// A subscriber, with the one sender that all its events go through.
pub(super) type Subscriber = Arc<Recipient<Event>>;

impl Audience {
    pub(super) fn subscribers(&self) -> Arc<[Subscriber]> {
        Arc::clone(&self.subscribers)
    }

    /// Returns the previous subscribers, to be dropped when no lock is held: dropping the last sender of a queue wakes
    /// its reader.
    #[must_use]
    pub(super) fn change_subscribers(&mut self, change: impl FnOnce(&mut Vec<Subscriber>)) -> Arc<[Subscriber]> {
        let mut subscribers = self.subscribers.to_vec();
        change(&mut subscribers);
        std::mem::replace(&mut self.subscribers, subscribers.into())
    }
}

/// The drops that one report sums up.
type DropKind = (Arc<str>, &'static str, DropReason, AtPeer);

/// Whether the peer has dropped the message.
pub(crate) type AtPeer = bool;

impl Observer {
    /// Adds detail to drops that were counted. It goes out in the same report or, if that was sent already, in a later
    /// one.
    pub(crate) fn explain(&self, name: &str, type_name: &'static str, reason: DropReason, side: Side, words: &str) {
        if self.watched.load(Ordering::Relaxed) {
            let message = DroppedMessage { name, type_name, peer: None };
            self.note(message, reason, 0, Some(words), side == Side::Peer);
            self.stir();
        }
    }

    /// Has counted drops reported at the next [`flush`](Observer::flush).
    pub(super) fn report(
        &self,
        message: DroppedMessage<'_>,
        reason: DropReason,
        count: u64,
        detail: Option<&str>,
        side: Side,
    ) {
        self.concern(message, reason, side);
        if self.watched.load(Ordering::Relaxed) {
            self.note(message, reason, count, detail, side == Side::Peer);
        }
        self.stir();
    }

    /// Notes the box and the peer, for the next log line about drops for that reason.
    fn concern(&self, message: DroppedMessage<'_>, reason: DropReason, side: Side) {
        let mut concerned = self.concerned.lock();
        concerned.entry((reason, side == Side::Peer)).or_default().note(message);
    }

    fn note(&self, message: DroppedMessage<'_>, reason: DropReason, count: u64, words: Option<&str>, at_peer: AtPeer) {
        let mut audience = self.audience.lock();
        let name: Arc<str> = if audience.untold.len() < MAX_UNTOLD { message.name.into() } else { "".into() };
        let (sum, detail) = audience.untold.entry((name, message.type_name, reason, at_peer)).or_default();
        *sum += count;
        if words.is_some() {
            *detail = words.map(str::to_owned);
        }
    }

    /// Asks for a flush. The flag is written even if it is set already: so a flush either sees everything counted
    /// before, or another flush follows.
    fn stir(&self) {
        if self.has_ended.load(Ordering::Acquire) {
            self.tell_untold();
        } else if !self.stirred.swap(true, Ordering::AcqRel) {
            self.noted.notify_one();
        }
    }

    /// Ends the [flushes](Observer::flush): from now on subscribers hear of each drop at once. The log does not, since
    /// an application that goes on sending would fill it.
    pub(crate) fn end(&self, node: NodeId) {
        self.has_ended.store(true, Ordering::Release);
        self.flush(node);
    }

    /// Completes when there are drops that were not reported.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// Reports the drops since the last flush to the log and to subscribers.
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

    /// Returns by how much these counts have grown since they were last logged.
    fn unlogged(&self, counts: &Drops, which: usize) -> Vec<(DropReason, u64)> {
        let mut logged = self.logged.lock();
        let Some(logged) = logged.get_mut(which) else { return Vec::new() };
        let counts = counts.to_map();
        let before = std::mem::replace(logged, counts.clone());
        let grown = counts.into_iter().map(|(reason, count)| (reason, count - before.get(&reason).unwrap_or(&0)));
        grown.filter(|&(_, count)| count > 0).collect()
    }
}

/// Whether such drops were asked for: by the owner of a box that keeps only the newest messages, or by a sender that
/// cancels its request.
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
            concerned.note(DroppedMessage { name: &name, type_name: "", peer });
        }
        assert_eq!((concerned.boxes.len(), concerned.peers.len()), (MAX_UNTOLD, MAX_UNTOLD));
    }
}
