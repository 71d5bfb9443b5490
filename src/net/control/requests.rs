//! Requests over a connection: those of this side that wait for an answer of the peer, and those of the peer that wait
//! for one of this side.
//!
//! Both tables are bounded by the limit of pending requests; whoever finds one full is refused. A request leaves its
//! table with its answer or refusal, when it is cancelled, or with the connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use bytes::BytesMut;

use super::effects::Effects;
use super::flow::Flow;
use crate::handle::ask_error::AskError;
use crate::handle::peer_request::PeerRequest;
use crate::handle::pointer::Pointer;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::observe::loss::Caller;
use crate::observe::loss::DropNotice;
use crate::quota::Quota;
use crate::quota::Share;
use crate::quota::Terms;
use crate::reason::DropReason;
use crate::wire::codec::Violation;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::report::Account;

/// Requests of each peer that may wait for an answer however many of others do.
const OWN: Terms = Terms { own: 64, chunk: 64 };

/// The capacity up to which a table keeps its memory, however few entries it has.
const SPARSE: usize = 1024;

/// A request of this side.
pub(crate) struct PendingRequest {
    pub(crate) waiting: Box<dyn PendingReply>,
    pub(crate) to: Weak<Pointer>,
    /// The fingerprint of the shape of the message and its result.
    pub(crate) fingerprint: u64,
    /// The number of its message on the connection, or a lower bound: large messages may be written before it.
    /// `u64::MAX` until a request in a flow is completely written.
    pub(crate) post: u64,
    /// The flow in which it waits, until it is completely written.
    pub(crate) flow: Option<Flow>,
}

impl PendingRequest {
    /// Returns the account of its message at the peer, if its pointer is still held.
    pub(crate) fn account(&self, link: &dyn Outbound) -> Option<Account> {
        Some(Account { target: self.to.upgrade()?.target_by(link), fingerprint: self.fingerprint })
    }
}

/// Requests of this side that will have no answer. Those among the first `read` messages may have been handled.
#[must_use]
#[derive(Default)]
pub(crate) struct Unanswerable {
    requests: Vec<(u64, PendingRequest)>,
    read: u64,
}

impl Caller for Unanswerable {
    /// Ends the requests in the order in which they were made.
    fn not_delivered(mut self, notice: &DropNotice<'_>) {
        self.requests.sort_unstable_by_key(|(number, _)| *number);
        for (_, PendingRequest { waiting, post, .. }) in self.requests {
            match post {
                post if post > self.read => waiting.not_delivered(notice),
                _ => waiting.failed(AskError::OutcomeUnknown { reason: notice.reason() }),
            }
        }
    }
}

/// See the [module](self).
pub(crate) struct Requests {
    /// Requests of this side without an answer.
    pending: HashMap<u64, PendingRequest>,
    /// Requests of this side that somebody still waited for at the last sweep.
    swept: usize,
    next: u64,
    /// Requests of the peer without an answer.
    asked: HashMap<u64, Arc<PeerRequest>>,
    /// The connection's share in the peers' requests that may wait for an answer of the node.
    share: Share,
}

impl Requests {
    pub(crate) fn new(answers: &Arc<Quota>) -> Requests {
        let share = Share::new(answers, &OWN);
        Requests { pending: HashMap::new(), swept: 0, next: 1, asked: HashMap::new(), share }
    }

    /// Whether neither side waits for an answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.asked.is_empty()
    }
}

/// The requests of this side.
impl Requests {
    /// Returns the number of requests without an answer.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn waits_for(&self, number: u64) -> bool {
        self.pending.contains_key(&number)
    }

    /// Returns the number of the next request.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Notes the [next](Requests::next) request, which is in the outbox; nobody may wait for its answer.
    pub(crate) fn ask(&mut self, pending: Option<PendingRequest>) {
        let number = self.next;
        self.next += 1;
        if let Some(pending) = pending {
            self.pending.insert(number, pending);
        }
    }

    /// Notes that a request in a flow is completely written, as the message of that number.
    pub(crate) fn on_written(&mut self, number: u64, post: u64) {
        if let Some(pending) = self.pending.get_mut(&number) {
            pending.post = post;
            pending.flow = None;
        }
    }

    /// Removes a request that is answered, refused or cancelled.
    pub(crate) fn remove(&mut self, number: u64) -> Option<PendingRequest> {
        self.pending.remove(&number)
    }

    /// Removes all requests. Those among the first `read` messages may have been handled.
    pub(crate) fn take_pending(&mut self, read: u64) -> Unanswerable {
        Unanswerable { requests: self.pending.drain().collect(), read }
    }

    /// Removes requests that the peer cannot read, none of which was written: those numbers, which waited in flows, and
    /// with `unflowed` all that are not in a flow.
    pub(crate) fn take_unreadable(&mut self, numbers: Vec<u64>, unflowed: bool) -> Unanswerable {
        let unreadable = self.pending.extract_if(|_, pending| unflowed && pending.flow.is_none());
        let mut requests: Vec<_> = unreadable.collect();
        requests.extend(numbers.into_iter().filter_map(|number| Some((number, self.pending.remove(&number)?))));
        Unanswerable { requests, read: 0 }
    }

    /// Whether to sweep the requests for which nobody waits any more, to make room for one more below the limit.
    pub(crate) fn is_worth_a_sweep(&self, limit: usize) -> bool {
        is_worth_a_sweep(self.pending.len(), self.swept, limit)
    }

    /// Returns the requests for which nobody waits any more, to be cancelled, in the order in which they were made. For
    /// requests sent through a `Recipient`, nothing else reports that.
    pub(crate) fn sweep(&mut self) -> Vec<u64> {
        let gone = self.pending.iter().filter(|(_, pending)| pending.waiting.is_gone());
        let mut gone: Vec<u64> = gone.map(|(number, _)| *number).collect();
        gone.sort_unstable();
        self.swept = self.pending.len() - gone.len();
        gone
    }
}

/// Whether to sweep that many pending requests, if the last sweep left `swept`: first when they are half of the limit,
/// then whenever a quarter has been added to those that were left. So the sweeps cost no more than a few looks for each
/// new request.
fn is_worth_a_sweep(pending: usize, swept: usize, limit: usize) -> bool {
    pending >= limit / 2 && pending > swept + swept / 4
}

#[cfg(any(test, fuzzing))]
impl Unanswerable {
    /// Ends the requests as if their messages were counted elsewhere.
    pub(crate) fn end(self, reason: DropReason) {
        use crate::observe::Observer;
        use crate::observe::loss::DroppedMessage;
        use crate::observe::loss::Loss;
        use crate::observe::loss::Nobody;
        use crate::observe::loss::Parties;

        Loss::of(0, reason).settle(Parties {
            node: &Observer::default(),
            message: DroppedMessage { name: "", type_name: "", peer: None },
            mailbox: None,
            pointer: None,
            sender: Nobody,
            caller: self,
        });
    }
}

/// The requests of the peer.
impl Requests {
    /// Notes a request of the peer, or returns the reason to refuse it: there is no room for it, or the node `ends` and
    /// begins no more work. A request with the number of another unanswered one is a violation: its refusal would be
    /// taken for that of the other, which may be handled at this moment.
    pub(crate) fn on_ask(
        &mut self,
        number: u64,
        limit: usize,
        ends: bool,
    ) -> Result<Result<Arc<PeerRequest>, DropReason>, Violation> {
        if self.asked.contains_key(&number) {
            return Err(Violation::AskedAgain(number));
        }
        if ends {
            return Ok(Err(DropReason::Shutdown));
        }
        let count = self.asked.len();
        if count >= limit || !self.share.covers(count + 1) {
            return Ok(Err(DropReason::RequestsFull));
        }
        let asked = Arc::new(PeerRequest::default());
        self.asked.insert(number, Arc::clone(&asked));
        Ok(Ok(asked))
    }

    /// Cancels a request, as the peer wants no answer any more. It is cancelled at once, so that no answer to it is
    /// taken for an answer to the next one of that number.
    pub(crate) fn on_cancel(&mut self, number: u64) -> Effects {
        let mut effects = Effects::default();
        if let Some(asked) = self.forget_asked(number) {
            asked.set_cancelled();
            effects.cancelled(asked);
        }
        effects
    }

    /// Removes a request that is answered, refused or cancelled.
    pub(crate) fn forget_asked(&mut self, number: u64) -> Option<Arc<PeerRequest>> {
        let asked = self.asked.remove(&number);
        self.settle_share();
        asked
    }

    /// Refuses the requests that nobody has begun to handle, for that reason: from now on nobody does. There is always
    /// room for these refusals: there are no more than the requests that may wait, and each is written once.
    pub(crate) fn refuse_unbegun(&mut self, reason: DropReason, out: &mut BytesMut) -> Effects {
        let refused = self.asked.extract_if(|_, asked| asked.refuse_unbegun());
        let (mut refused, mut effects): (Vec<_>, _) = (refused.collect(), Effects::default());
        self.settle_share();
        refused.sort_unstable_by_key(|(number, _)| *number);
        let why = Unanswered::NotDelivered(reason);
        for (correlation, asked) in refused {
            Refuse { correlation, why, detail: "" }.put(out);
            effects.cancelled(asked);
        }
        effects
    }

    /// Cancels all requests with their connection, in the order of their numbers.
    pub(crate) fn cancel_all(&mut self) -> Effects {
        let (mut asked, mut effects): (Vec<_>, _) = (self.asked.drain().collect(), Effects::default());
        asked.sort_unstable_by_key(|(number, _)| *number);
        for (_, asked) in asked {
            asked.set_cancelled();
            effects.cancelled(asked);
        }
        self.settle_share();
        effects
    }

    /// Gives back the reservation and the memory of requests that are gone.
    fn settle_share(&mut self) {
        if self.share.is_reserved() {
            self.share.shrink_to(self.asked.len());
        }
        let (asked, room) = (self.asked.len(), self.asked.capacity());
        if room > SPARSE && asked < room / 8 {
            self.asked.shrink_to(2 * asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;
    use std::task::Poll;

    use parking_lot::Mutex;

    use super::*;
    use crate::ident::BoxId;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;

    /// The callers that were told that there is no answer, by their number.
    type Failed = Arc<Mutex<Vec<(u64, AskError)>>>;

    struct Caller {
        number: u64,
        failed: Failed,
        is_gone: bool,
    }

    impl PendingReply for Caller {
        fn answered(self: Box<Self>, _: &[u8], _: &mut Vec<Arc<Pointer>>) {}

        fn failed(self: Box<Self>, error: AskError) {
            self.failed.lock().push((self.number, error));
        }

        fn is_gone(&self) -> bool {
            self.is_gone
        }

        fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    fn requests() -> Requests {
        Requests::new(&Quota::new(usize::MAX))
    }

    /// Makes a request that is the message of that number, or waits in a flow.
    fn ask(requests: &mut Requests, failed: &Failed, post: Option<u64>) {
        let (number, failed) = (requests.next(), Arc::clone(failed));
        let waiting = Box::new(Caller { number, failed, is_gone: number.is_multiple_of(2) });
        let flow = if post.is_none() { Some(Flow::Box(BoxId([1; 16]))) } else { None };
        let post = post.unwrap_or(u64::MAX);
        requests.ask(Some(PendingRequest { waiting, to: Weak::new(), fingerprint: 0, post, flow }));
    }

    const UNKNOWN: AskError = AskError::OutcomeUnknown { reason: DropReason::Lost };
    const LOST: AskError = AskError::NotDelivered { reason: DropReason::Lost, detail: None };

    #[test]
    fn whoever_asks_learns_whether_the_request_may_have_been_handled_each_in_turn() {
        let (mut requests, failed) = (requests(), Failed::default());
        for post in [Some(1), None, Some(2), Some(3), None] {
            ask(&mut requests, &failed, post);
        }
        requests.on_written(2, 4);
        requests.on_written(99, 1);
        let unanswerable = requests.take_pending(2);
        assert_eq!((failed.lock().len(), requests.pending()), (0, 0), "nobody is called yet");
        unanswerable.end(DropReason::Lost);
        assert_eq!(*failed.lock(), [(1, UNKNOWN), (2, LOST), (3, UNKNOWN), (4, LOST), (5, LOST)]);
        assert_eq!(requests.next(), 6, "no number is used twice");
    }

    #[test]
    fn requests_that_the_peer_cannot_read_end_and_those_in_flows_go_on_if_it_can() {
        let failed = Failed::default();
        let told = |numbers: &[u64]| {
            let told: Vec<u64> = std::mem::take(&mut *failed.lock()).iter().map(|(number, _)| *number).collect();
            assert_eq!(told, numbers);
        };
        let of_four = || {
            let mut requests = requests();
            [Some(1), None, Some(2), None].into_iter().for_each(|post| ask(&mut requests, &failed, post));
            requests
        };
        let mut some = of_four();
        some.take_unreadable(vec![4], false).end(DropReason::TooLarge);
        told(&[4]);
        assert!(some.waits_for(1) && some.waits_for(2));
        of_four().take_unreadable(vec![2, 77], true).end(DropReason::TooLarge);
        told(&[1, 2, 3]);
    }

    #[test]
    fn requests_for_which_nobody_waits_are_found_in_order() {
        let (mut requests, failed) = (requests(), Failed::default());
        (1..=6).for_each(|post| ask(&mut requests, &failed, Some(post)));
        requests.ask(None);
        assert_eq!((requests.pending(), requests.next()), (6, 8), "nobody has ever waited for the last");
        assert_eq!(requests.sweep(), [2, 4, 6]);
        [2, 4, 6].into_iter().for_each(|number| assert!(requests.remove(number).is_some()));
        assert!(requests.sweep().is_empty() && requests.remove(2).is_none());
        assert!(!requests.is_worth_a_sweep(6) && requests.swept == 3);
    }

    /// Returns whether the peer's request is taken; the reason if it is not.
    fn on_ask(requests: &mut Requests, number: u64, limit: usize) -> Result<(), DropReason> {
        requests.on_ask(number, limit, false).expect("it is no violation").map(drop)
    }

    #[test]
    fn the_peer_asks_as_much_as_the_limit_and_the_node_allow() {
        let mut of_one = requests();
        assert_eq!(
            [1, 2, 3].map(|number| on_ask(&mut of_one, number, 2)),
            [Ok(()), Ok(()), Err(DropReason::RequestsFull)]
        );
        assert_eq!(of_one.on_ask(2, 2, false).map(|_| ()), Err(Violation::AskedAgain(2)));
        assert_eq!(of_one.on_ask(3, 9, true).map(|asked| asked.err()), Ok(Some(DropReason::Shutdown)));
        assert!(of_one.forget_asked(1).is_some() && on_ask(&mut of_one, 3, 2).is_ok());
        let (quota, limit) = (Quota::new(0), usize::MAX);
        let mut of_node = Requests::new(&quota);
        let taken = (0..1000).filter(|number| on_ask(&mut of_node, *number, limit).is_ok()).count();
        assert_eq!(taken, OWN.own);
    }

    #[test]
    fn what_the_peer_cancels_is_cancelled_at_once_and_may_be_asked_again() {
        let mut requests = requests();
        let asked = requests.on_ask(7, 9, false).expect("no violation").expect("there is room");
        let (effects, others) = (requests.on_cancel(7), requests.on_cancel(8));
        assert!(asked.is_cancelled() && !effects.is_empty() && others.is_empty());
        assert!(on_ask(&mut requests, 7, 9).is_ok());
    }

    #[test]
    fn requests_that_nobody_has_begun_are_refused_and_the_others_are_not() {
        let (mut requests, mut out) = (requests(), BytesMut::new());
        let asked = [3, 1, 2].map(|number| requests.on_ask(number, 9, false).expect("no violation").expect("room"));
        asked[1].set_cancelled();
        requests.refuse_unbegun(DropReason::Shutdown, &mut out).run();
        let (mut rest, mut refused) = (&out[..], Vec::new());
        while let Ok(Front::Frame(raw)) = front(rest, 1024) {
            let refuse = Refuse::read(raw.payload).expect("it was just written");
            assert_eq!(refuse.why, Unanswered::NotDelivered(DropReason::Shutdown));
            refused.push(refuse.correlation);
            rest = &rest[raw.size..];
        }
        assert_eq!(refused, [2, 3]);
        assert!(asked.iter().all(|asked| asked.is_cancelled()) && !requests.is_empty());
        requests.cancel_all().run();
        assert!(requests.is_empty());
    }

    #[test]
    fn a_table_gives_back_its_memory_and_the_nodes_room() {
        let quota = Quota::new(1 << 20);
        let mut requests = Requests::new(&quota);
        (0..10 * SPARSE as u64).for_each(|number| assert!(on_ask(&mut requests, number, usize::MAX).is_ok()));
        assert!(quota.used() >= 10 * SPARSE - OWN.own);
        (0..10 * SPARSE as u64).for_each(|number| drop(requests.forget_asked(number)));
        assert!(requests.asked.capacity() <= 8 * SPARSE, "{}", requests.asked.capacity());
        assert_eq!(quota.used(), 0);
    }

    const LIMIT: usize = 65_536;

    /// Fills the table with requests; `live` says which of them stay. Returns the number of looks at requests, and of
    /// refused requests.
    fn fill(requests: usize, live: impl Fn(usize) -> bool) -> (usize, usize) {
        let (mut pending, mut waited_for, mut swept, mut looks, mut refused) = (0, 0, 0, 0, 0);
        for request in 0..requests {
            if is_worth_a_sweep(pending, swept, LIMIT) {
                looks += pending;
                (pending, swept) = (waited_for, waited_for);
            }
            if pending == LIMIT {
                refused += 1;
                continue;
            }
            pending += 1;
            waited_for += usize::from(live(request));
        }
        (looks, refused)
    }

    #[test]
    fn requests_that_are_waited_for_are_not_looked_at_for_each_that_comes() {
        let (looks, refused) = fill(10 * LIMIT, |_| true);
        assert_eq!(refused, 9 * LIMIT);
        assert!(looks <= 5 * LIMIT, "{looks} looks");
    }

    #[test]
    fn requests_that_nobody_waits_for_take_no_room() {
        let (looks, refused) = fill(10 * LIMIT, |_| false);
        assert_eq!(refused, 0);
        assert!(looks <= 10 * LIMIT, "{looks} looks");
        let (looks, refused) = fill(2 * LIMIT, |request| request % 4 == 0);
        assert_eq!(refused, 0);
        assert!(looks <= 10 * LIMIT, "{looks} looks");
    }
}
