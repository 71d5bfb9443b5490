//! A link's part in requests: those of this side that wait for an answer, and those of the peer's.

use std::sync::Arc;
use std::sync::Weak;

use super::Link;
use super::fragment_queue::Flow;
use super::outbox::Outbox;
use crate::handle::ask_error::AskError;
use crate::handle::pointer::Pointer;
use crate::handle::ports::Correlation;
use crate::handle::ports::Outbound;
use crate::handle::ports::PendingReply;
use crate::handle::reply::PeerRequest;
use crate::quota::Share;
use crate::reason::DropReason;
use crate::wire::codec::Violation;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::refuse::MAX_DETAIL;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;
use crate::wire::frames::report::Account;

/// The capacity up to which a table keeps its memory, however few entries it has.
const SPARSE: usize = 1024;

/// A request of ours.
pub(crate) struct PendingRequest {
    pub(crate) waiting: Box<dyn PendingReply>,
    pub(super) to: Weak<Pointer>,
    /// The fingerprint of the shape of the message and its result.
    pub(super) fingerprint: u64,
    /// The number of its message on the connection, or a lower bound: large messages may be written before it.
    pub(super) post: u64,
    /// The flow in which it waits, until it is completely written.
    pub(super) flow: Option<Flow>,
}

impl PendingRequest {
    /// Returns the account of its message at the peer, if its pointer is still held.
    pub(crate) fn account(&self, link: &Link) -> Option<Account> {
        Some(Account { target: self.to.upgrade()?.target_by(link), fingerprint: self.fingerprint })
    }
}

/// Ends requests that will have no answer, in the order in which they were made. Requests among the first `read`
/// messages may have been handled.
pub(super) fn fail_all(
    pending: impl IntoIterator<Item = (u64, PendingRequest)>,
    read: u64,
    reason: DropReason,
    detail: Option<&str>,
) {
    let mut pending: Vec<_> = pending.into_iter().collect();
    pending.sort_unstable_by_key(|(number, _)| *number);
    for (_, PendingRequest { waiting, post, .. }) in pending {
        waiting.failed(match post {
            post if post > read => AskError::NotDelivered { reason, detail: detail.map(str::to_owned) },
            _ => AskError::OutcomeUnknown { reason },
        });
    }
}

impl Outbox {
    /// Removes a request of the peer that is answered, refused or cancelled.
    pub(super) fn forget_asked(&mut self, number: u64) -> Option<Arc<PeerRequest>> {
        let asked = self.asked.remove(&number);
        self.settle_answers();
        asked
    }

    /// Gives back the reservation and the memory of requests that are gone.
    fn settle_answers(&mut self) {
        if self.answers.is_reserved() {
            self.answers.shrink_to(self.asked.len());
        }
        let (asked, room) = (self.asked.len(), self.asked.capacity());
        if room > SPARSE && asked < room / 8 {
            self.asked.shrink_to(2 * asked);
        }
    }
}

impl Link {
    /// Whether there is a request with that correlation, without an answer yet.
    pub(crate) fn waits_for(&self, which: Correlation) -> bool {
        let state = self.state.lock();
        state.connection == which.connection && state.pending.contains_key(&which.number)
    }

    /// Removes a request from the table.
    pub(crate) fn take_pending(&self, which: Correlation) -> Option<PendingRequest> {
        let mut state = self.state.lock();
        if state.connection != which.connection {
            return None;
        }
        let pending = state.pending.remove(&which.number)?;
        if state.pending.is_empty() {
            self.router.shutdown().note_change();
        }
        // A peer that answers has read the request, and all messages written before it. A request that was not written
        // was not read.
        let written = state.written();
        if pending.post <= written {
            state.read.0 = state.read.0.max(pending.post);
        }
        Some(pending)
    }

    /// Notes a request of the peer, or returns the reason to refuse it: there is no room for it, or the node begins no
    /// more work. A request with the number of another unanswered one is a violation: its refusal would be taken for
    /// that of the other, which may be handled at this moment.
    pub(crate) fn asked(&self, which: Correlation) -> Result<Result<Arc<PeerRequest>, DropReason>, Violation> {
        let mut state = self.state.lock();
        if state.connection != which.connection {
            return Ok(Err(DropReason::RequestsFull));
        }
        if state.asked.contains_key(&which.number) {
            return Err(Violation::AskedAgain(which.number));
        }
        if self.router.shutdown().has_begun() {
            return Ok(Err(DropReason::Shutdown));
        }
        let asked = state.asked.len();
        if asked >= self.router.limits().pending_requests || !state.answers.covers(asked + 1) {
            return Ok(Err(DropReason::RequestsFull));
        }
        let asked = Arc::new(PeerRequest::default());
        state.asked.insert(which.number, Arc::clone(&asked));
        Ok(Ok(asked))
    }

    /// Cancels a request, as the peer wants no answer any more.
    pub(crate) fn cancelled_by_peer(&self, which: Correlation) {
        let mut state = self.state.lock();
        if state.connection == which.connection
            && let Some(asked) = state.forget_asked(which.number)
        {
            // Under the lock, so that no answer to this request is taken for an answer to the next one of that number.
            asked.cancel();
        }
    }

    /// Refuses the peer's requests that nobody has begun to handle: from now on nobody does.
    pub(crate) fn refuse_unbegun(&self) {
        let refused = {
            let mut state = self.state.lock();
            let mut refused: Vec<_> = state.asked.extract_if(|_, asked| asked.refuse_unbegun()).collect();
            state.settle_answers();
            refused.sort_unstable_by_key(|(number, _)| *number);
            let why = Unanswered::NotDelivered(DropReason::Shutdown);
            for &(correlation, _) in &refused {
                // There is always room for these refusals: there are no more than the requests that may wait, and each
                // is written once.
                Refuse { correlation, why, detail: "" }.put(&mut state.control);
            }
            state.wake();
            refused
        };
        drop(refused);
    }

    /// Notes that the peer has said that it ends: it answers no more requests, and handles no message that it had not
    /// read by then.
    pub(crate) fn peer_ends(&self) {
        let (pending, read) = {
            let mut state = self.state.lock();
            state.peer_has_ended = true;
            // From now on no request is taken, not even from a caller that asks again at once.
            state.close(Farewell::Unneeded, "");
            (std::mem::take(&mut state.pending), state.read.0)
        };
        fail_all(pending, read, DropReason::Shutdown, None);
        self.router.shutdown().note_change();
    }

    /// Refuses a request that was not [noted](Link::asked).
    pub(crate) fn refuse_at_once(&self, which: Correlation, reason: DropReason) {
        let mut state = self.state.lock();
        if state.connection == which.connection {
            let why = Unanswered::NotDelivered(reason);
            self.put_refuse(&mut state, Refuse { correlation: which.number, why, detail: "" });
        }
    }

    /// Writes a refusal. Refusals have room of their own, beside messages and answers: as much as the outbox, and no
    /// less than all the requests need that a peer may have pending. Beyond the room of control frames, it comes from
    /// the node's quota, as the room of messages does. No refusal is left out silently, since the asker would wait
    /// forever.
    pub(super) fn put_refuse(&self, state: &mut Outbox, refuse: Refuse<'_>) {
        let room = state.capacity.max(self.router.limits().pending_requests.saturating_mul(Refuse::TERSE));
        let is_full = state.control.len() >= room;
        if is_full || !state.refusals.covers(state.control.len() + Refuse::TERSE) {
            state.overrun = true;
            return;
        }
        // Details are only for peers that read.
        let covers = |refusals: &Share| state.control.len() + Refuse::TERSE + MAX_DETAIL <= refusals.granted();
        let is_told = state.control.len() < room / 2 && covers(&state.refusals);
        let detail = if is_told { refuse.detail } else { "" };
        Refuse { detail, ..refuse }.put(&mut state.control);
        state.wake();
    }

    /// Whether the peer asks, and does not read its refusals.
    pub(crate) fn is_overrun(&self) -> bool {
        self.state.lock().overrun
    }

    /// Cancels requests for which nobody waits any more: for requests sent through a `Recipient`, nothing else reports
    /// that.
    pub(crate) fn sweep_pending(&self) {
        let gone: Vec<Correlation> = {
            let mut state = self.state.lock();
            let gone = state.pending.iter().filter(|(_, pending)| pending.waiting.is_gone());
            let mut gone: Vec<_> =
                gone.map(|(&number, _)| Correlation { connection: state.connection, number }).collect();
            gone.sort_unstable_by_key(|which| which.number);
            state.pending_swept = state.pending.len() - gone.len();
            gone
        };
        gone.into_iter().for_each(|which| self.cancel(which));
    }

    /// Sweeps abandoned requests when there is little room for one more.
    pub(super) fn make_room_to_ask(&self) {
        let worth_it = {
            let state = self.state.lock();
            is_worth_a_sweep(state.pending.len(), state.pending_swept, self.router.limits().pending_requests)
        };
        if worth_it {
            self.sweep_pending();
        }
    }

    /// Returns the number of requests without an answer.
    pub(crate) fn pending(&self) -> u64 {
        self.state.lock().pending.len() as u64
    }
}

/// Whether to sweep that many pending requests, if the last sweep left `swept`: first when they are half of the limit,
/// then whenever a quarter has been added to those that were left. So the sweeps cost no more than a few looks for each
/// new request.
fn is_worth_a_sweep(pending: usize, swept: usize, limit: usize) -> bool {
    pending >= limit / 2 && pending > swept + swept / 4
}

#[cfg(test)]
mod tests {
    use std::task::Context;
    use std::task::Poll;

    use parking_lot::Mutex;

    use super::*;
    use crate::config::Limits;
    use crate::handle::envelope::Body;
    use crate::handle::envelope::Envelope;
    use crate::handle::pointer::Route;
    use crate::handle::pointer::identity::Origin;
    use crate::handle::pointer::path::NamedLink;
    use crate::handle::pointer::path::Path;
    use crate::handle::ports::NotPosted;
    use crate::ident::BoxId;
    use crate::ident::ConnectionId;
    use crate::ident::Incarnation;
    use crate::net::control::settlement::ConnectionNames;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::wire::handshake::Hello;

    /// What was heard of a request, and of one that was made at that moment.
    type Heard = Arc<Mutex<Vec<(AskError, Option<NotPosted>)>>>;

    /// Asks once more as soon as it hears that there is no answer.
    struct AsksAnew {
        link: Arc<Link>,
        to: Arc<Pointer>,
        heard: Heard,
    }

    impl AsksAnew {
        fn ask(link: &Arc<Link>, to: &Arc<Pointer>, heard: &Heard) -> Result<Correlation, NotPosted> {
            let asks = AsksAnew { link: Arc::clone(link), to: Arc::clone(to), heard: Arc::clone(heard) };
            let body = Body::from(&[7][..]);
            let message = Envelope { body, handles: &[], fingerprint: 0, type_name: "", hops: 0 };
            link.ask(to, &message, None, &mut Some(Box::new(asks) as _), false)
        }
    }

    impl PendingReply for AsksAnew {
        fn answered(self: Box<Self>, _: &[u8], _: &mut Vec<Arc<Pointer>>) {}

        fn failed(self: Box<Self>, error: AskError) {
            let AsksAnew { link, to, heard } = &*self;
            let anew = AsksAnew::ask(link, to, heard).err();
            heard.lock().push((error, anew));
        }

        fn is_gone(&self) -> bool {
            false
        }

        fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    #[test]
    fn whoever_asks_anew_within_a_goodbye_of_the_peer_is_told_that_nothing_more_is_taken() {
        let (io, _not_started) = io_thread::io();
        let node = NodeInner::new(Limits::default(), Vec::new(), None, io, |_, _| {});
        let (link, peer) = (Link::accepted(node.link_context()), Incarnation::of([9; 16]));
        let (ours, theirs) = (ConnectionId::random(), ConnectionId::random());
        let (versions, nonce) = ((1, 1), [0; 32]);
        let hello = Hello { versions, features: 0, connection: theirs, max_frame: 1 << 20, numbers: 64, nonce };
        link.up(&hello, ConnectionNames { peer, ours, theirs }, Arc::default());
        let path = Path::by_name(NamedLink { link: Arc::clone(&link) as _, is_home: link.is_home() });
        let origin = Origin::Boxed { node: peer, id: BoxId([1; 16]) };
        let to = Arc::new(Pointer::new(Arc::clone(&node) as _, origin, "", Route::Away { path, to: None }, None));
        let heard = Heard::default();
        AsksAnew::ask(&link, &to, &heard).expect("it is put into the outbox");
        link.peer_ends();
        let reason = DropReason::Shutdown;
        let expected = (AskError::NotDelivered { reason, detail: None }, Some(NotPosted::Dropped(reason)));
        assert_eq!(*heard.lock(), [expected]);
        assert_eq!(link.pending(), 0);
        link.down(DropReason::Lost, "", true);
        assert_eq!(heard.lock().len(), 1, "nobody is told twice");
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
