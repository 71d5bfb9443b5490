//! The only way in which messages are dropped.
//!
//! Invariant: each dropped message has exactly one reason, and is counted, reported to the peer that sent it, and its
//! caller answered. The reason is decided in many places, which make a [`Loss`] of it; the code that knows the
//! [`Parties`] to the drop settles it. The counters, and the [`DropNotice`] that informs the parties, are private to
//! this file, so nothing is counted or reported in any other way; forgetting a loss is a bug, which debug builds
//! detect.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::Observer;
use crate::ident::NodeId;
use crate::reason::DropReason;
use crate::reason::Side;

/// Messages that are to be dropped, and the reason: they must be settled, once the parties are known.
#[must_use = "a dropped message is counted, reported and answered only when its loss is settled"]
#[derive(Debug)]
pub(crate) struct Loss<'a> {
    detail: Option<Cow<'a, str>>,
    count: u64,
    reason: DropReason,
}

impl From<DropReason> for Loss<'_> {
    /// Makes the loss of one message.
    fn from(reason: DropReason) -> Self {
        Loss { detail: None, count: 1, reason }
    }
}

impl<'a> Loss<'a> {
    /// Makes the loss of `count` messages. If that is none, only the caller is told: its message is counted elsewhere.
    pub(crate) fn of(count: u64, reason: DropReason) -> Loss<'a> {
        Loss { detail: None, count, reason }
    }

    /// Adds detail for a person, unless there is some already.
    pub(crate) fn with_detail(mut self, detail: Option<impl Into<Cow<'a, str>>>) -> Loss<'a> {
        self.detail = self.detail.take().or_else(|| detail.map(Into::into));
        self
    }

    pub(crate) fn reason(&self) -> DropReason {
        self.reason
    }

    /// Returns the reason and the detail, as the message is not dropped after all: it goes back to its sender, or
    /// another way.
    pub(crate) fn withdraw(mut self) -> (DropReason, Option<Cow<'a, str>>) {
        let (reason, detail) = (self.reason, self.detail.take());
        std::mem::forget(self);
        (reason, detail)
    }

    /// Drops the messages: counts them at the node, at the box and at the pointer, reports them to the peer that sent
    /// them, and tells the caller. Counts come first, so that whoever is told finds the drop counted.
    pub(crate) fn settle<S: SendingPeer, C: Caller>(self, parties: Parties<'_, S, C>) {
        let Parties { node, message, mailbox, pointer, sender, caller } = parties;
        let count = self.count;
        let (reason, detail) = self.withdraw();
        let notice = DropNotice { reason, count, detail: detail.as_deref() };
        if count > 0 {
            [mailbox, pointer].into_iter().flatten().for_each(|drops| drops.add(reason, count));
            node.dropped(message, &notice);
            sender.report(&notice);
        }
        caller.not_delivered(&notice);
    }
}

#[cfg(debug_assertions)]
impl Drop for Loss<'_> {
    fn drop(&mut self) {
        // While a panic unwinds the stack, losses are forgotten with everything else.
        assert!(std::thread::panicking(), "the loss of a message was not settled: {:?}", self.reason);
    }
}

/// All parties to a drop. There is no default: every drop states which parties it has, and which it does not have.
#[derive(Debug)]
pub(crate) struct Parties<'a, S, C> {
    /// The node that drops the messages.
    pub(crate) node: &'a Observer,
    pub(crate) message: DroppedMessage<'a>,
    /// The counts of the box of this node that the messages were sent to.
    pub(crate) mailbox: Option<&'a Drops>,
    /// The counts of the pointer that the messages were sent through.
    pub(crate) pointer: Option<&'a Drops>,
    /// The peers that the messages came from.
    pub(crate) sender: S,
    /// The callers that wait for answers, with the message if it is still there.
    pub(crate) caller: C,
}

/// Describes a dropped message, in words for a person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DroppedMessage<'a> {
    pub(crate) name: &'a str,
    pub(crate) type_name: &'static str,
    /// The node that the message came from or was sent to, if that is another node and known.
    pub(crate) peer: Option<NodeId>,
}

/// The peers that sent the messages, over connections.
pub(crate) trait SendingPeer {
    /// Reports the drop to them.
    fn report(self, notice: &DropNotice<'_>);
}

/// The callers that wait for answers to the messages.
pub(crate) trait Caller {
    /// Tells them that the message was not delivered.
    fn not_delivered(self, notice: &DropNotice<'_>);
}

/// No party: the message came from no peer, or nobody waits for an answer.
#[derive(Debug)]
pub(crate) struct Nobody;

impl SendingPeer for Nobody {
    fn report(self, _: &DropNotice<'_>) {}
}

impl Caller for Nobody {
    fn not_delivered(self, _: &DropNotice<'_>) {}
}

impl<C: Caller> Caller for Option<C> {
    fn not_delivered(self, notice: &DropNotice<'_>) {
        if let Some(caller) = self {
            caller.not_delivered(notice);
        }
    }
}

/// Tells the parties of a drop, which is counted by then. Only [`Loss::settle`] makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropNotice<'a> {
    reason: DropReason,
    count: u64,
    detail: Option<&'a str>,
}

impl<'a> DropNotice<'a> {
    pub(crate) fn reason(&self) -> DropReason {
        self.reason
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns more about the last of the messages, for a person.
    pub(crate) fn detail(&self) -> Option<&'a str> {
        self.detail
    }

    /// Returns the notice for one of several senders: `count` of the messages were its own.
    pub(crate) fn part(self, count: u64) -> DropNotice<'a> {
        DropNotice { count, ..self }
    }

    /// Returns the notice for a party that finds out the detail for itself.
    pub(crate) fn without_detail(self) -> DropNotice<'a> {
        DropNotice { detail: None, ..self }
    }
}

/// Drops by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// Made at the first drop: every box and every address has these, and most never lose a message.
    counts: OnceLock<Box<[AtomicU64; DropReason::ALL.len()]>>,
}

impl Drops {
    fn add(&self, reason: DropReason, count: u64) {
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

impl Observer {
    /// Counts messages dropped here; subscribers hear of it at the next [`flush`](Observer::flush).
    fn dropped(&self, message: DroppedMessage<'_>, &DropNotice { reason, count, detail }: &DropNotice<'_>) {
        self.dropped.add(reason, count);
        tracing::trace!(target: "actix_hermod", name = message.name, ?reason, count, detail, "dropped");
        self.report(message, reason, count, detail, Side::Here);
    }

    /// Counts messages sent from here that a peer has dropped, and has settled at its side.
    pub(crate) fn reported(&self, message: DroppedMessage<'_>, reason: DropReason, count: u64) {
        self.reported.add(reason, count);
        self.report(message, reason, count, None, Side::Peer);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The parties of one drop, each of which notes the notice that it gets, and the total counted by then.
    #[derive(Default)]
    struct Concerned {
        node: Observer,
        mailbox: Drops,
        pointer: Drops,
        told: RefCell<Vec<Notice>>,
    }

    /// The party, the notice, and the total.
    type Notice = (&'static str, DropReason, u64, Option<String>, u64);

    struct Ear<'a>(&'a Concerned, &'static str);

    impl Ear<'_> {
        fn hear(self, notice: &DropNotice<'_>) {
            let Ear(concerned, who) = self;
            let counted = concerned.node.dropped.total();
            let detail = notice.detail().map(str::to_owned);
            concerned.told.borrow_mut().push((who, notice.reason(), notice.count(), detail, counted));
        }
    }

    impl SendingPeer for Ear<'_> {
        fn report(self, notice: &DropNotice<'_>) {
            self.hear(notice);
        }
    }

    impl Caller for Ear<'_> {
        fn not_delivered(self, notice: &DropNotice<'_>) {
            self.hear(notice);
        }
    }

    impl Concerned {
        fn parties(&self) -> Parties<'_, Ear<'_>, Ear<'_>> {
            Parties {
                node: &self.node,
                message: DroppedMessage { name: "box", type_name: "Ping", peer: None },
                mailbox: Some(&self.mailbox),
                pointer: Some(&self.pointer),
                sender: Ear(self, "sender"),
                caller: Ear(self, "caller"),
            }
        }

        fn counted(&self) -> [BTreeMap<DropReason, u64>; 3] {
            [&self.node.dropped, &self.mailbox, &self.pointer].map(Drops::to_map)
        }
    }

    const FULL: DropReason = DropReason::NewestShed;

    #[test]
    fn each_party_is_paid_once_and_told_when_all_is_counted() {
        let concerned = Concerned::default();
        Loss::of(3, FULL).with_detail(Some("full")).settle(concerned.parties());
        let counts = BTreeMap::from([(FULL, 3)]);
        assert_eq!(concerned.counted(), [counts.clone(), counts.clone(), counts]);
        let told = |who| (who, FULL, 3, Some("full".to_owned()), 3);
        assert_eq!(*concerned.told.borrow(), [told("sender"), told("caller")]);
    }

    #[test]
    fn a_message_that_is_counted_elsewhere_is_only_answered() {
        let concerned = Concerned::default();
        Loss::of(0, FULL).settle(concerned.parties());
        assert_eq!(concerned.counted(), [const { BTreeMap::new() }; 3]);
        assert_eq!(*concerned.told.borrow(), [("caller", FULL, 0, None, 0)]);
    }

    #[test]
    fn the_first_detail_stays() {
        let loss = Loss::from(FULL).with_detail(None::<&str>).with_detail(Some("first")).with_detail(Some("second"));
        assert_eq!(loss.withdraw(), (FULL, Some("first".into())));
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "was not settled: NewestShed"))]
    fn a_loss_that_is_forgotten_is_found_by_debug_builds() {
        drop(Loss::from(FULL));
    }
}
