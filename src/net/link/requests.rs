//! A link's part in requests: those of this side that wait for an answer, and those of the peer's.

use std::sync::Arc;

use super::Link;
use super::outbox::Outbox;
use crate::handle::peer_request::PeerRequest;
use crate::handle::ports::Correlation;
use crate::handle::ports::Outbound;
use crate::net::control::requests::PendingRequest;
use crate::observe::loss::Caller;
use crate::observe::loss::DropNotice;
use crate::observe::loss::Loss;
use crate::reason::DropReason;
use crate::wire::codec::Violation;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::refuse::Refuse;
use crate::wire::frames::refuse::Unanswered;

/// A request of the peer that was not [noted](Link::asked).
pub(crate) struct NotNoted<'a> {
    pub(crate) link: &'a Link,
    pub(crate) which: Correlation,
}

impl Caller for NotNoted<'_> {
    fn not_delivered(self, notice: &DropNotice<'_>) {
        let NotNoted { link, which } = self;
        let (limit, why) = (link.node.limits().pending_requests, Unanswered::NotDelivered(notice.reason()));
        link.outbox.with(|outbox| {
            if outbox.is(which.connection) {
                outbox.refuse(Refuse { correlation: which.number, why, detail: "" }, limit);
            }
        });
    }
}

/// The peer's requests at this node that nobody has begun to handle.
struct Unbegun<'a>(&'a Link);

impl Caller for Unbegun<'_> {
    /// Found and refused under one lock, so that none of them is answered meanwhile.
    fn not_delivered(self, notice: &DropNotice<'_>) {
        self.0.outbox.with(|outbox| {
            let refused = outbox.requests.refuse_unbegun(notice.reason(), &mut outbox.control.frames);
            outbox.later(refused);
            outbox.wake();
        });
    }
}

impl Outbox {
    /// Refuses a request of the peer; `limit` is the number of requests that it may have pending. There is as much room
    /// as in the outbox, and no less than all these requests need.
    pub(super) fn refuse(&mut self, refuse: Refuse<'_>, limit: usize) {
        let room = self.posts.capacity.max(limit.saturating_mul(Refuse::TERSE));
        if self.control.refuse(refuse, room) {
            self.wake();
        }
    }
}

impl Link {
    /// Whether there is a request with that correlation, without an answer yet.
    pub(crate) fn waits_for(&self, which: Correlation) -> bool {
        self.outbox.with(|outbox| outbox.is(which.connection) && outbox.requests.waits_for(which.number))
    }

    /// Removes a request that the peer answers or refuses.
    pub(crate) fn take_pending(&self, which: Correlation) -> Option<PendingRequest> {
        let (pending, is_last) = self.outbox.with(|outbox| {
            if !outbox.is(which.connection) {
                return None;
            }
            let pending = outbox.requests.remove(which.number)?;
            outbox.read.on_reply(pending.post, outbox.posts.written());
            Some((pending, outbox.requests.pending() == 0))
        })?;
        if is_last {
            self.node.shutdown().note_change();
        }
        Some(pending)
    }

    /// Notes a request of the peer, or returns the reason to refuse it: there is no room for it, or the node begins no
    /// more work.
    pub(crate) fn asked(&self, which: Correlation) -> Result<Result<Arc<PeerRequest>, DropReason>, Violation> {
        let limit = self.node.limits().pending_requests;
        self.outbox.with(|outbox| {
            if !outbox.is(which.connection) {
                return Ok(Err(DropReason::RequestsFull));
            }
            outbox.requests.on_ask(which.number, limit, self.node.shutdown().has_begun())
        })
    }

    /// Cancels a request, as the peer wants no answer any more.
    pub(crate) fn cancelled_by_peer(&self, which: Correlation) {
        self.outbox.with(|outbox| {
            if outbox.is(which.connection) {
                let cancelled = outbox.requests.on_cancel(which.number);
                outbox.later(cancelled);
            }
        });
    }

    /// Refuses the peer's requests that nobody has begun to handle, as the node ends: from now on nobody does. Each is
    /// counted where it waits, when it is dropped there.
    pub(crate) fn refuse_unbegun(&self) {
        self.settle_loss(Loss::of(0, DropReason::Shutdown), Unbegun(self));
    }

    /// Notes that the peer has said that it ends: it answers no more requests, and handles no message that it had not
    /// read by then, for that reason, which `detail` explains to a person.
    pub(crate) fn peer_ends(&self, reason: DropReason, detail: Option<&str>) {
        let unanswerable = self.outbox.with(|outbox| {
            outbox.read.on_end();
            // From now on no request is taken, not even from a caller that asks again at once.
            outbox.close(Farewell::Unneeded, "");
            outbox.requests.take_pending(outbox.read.by_peer())
        });
        // The messages are counted when the connection has ended.
        self.settle_loss(Loss::of(0, reason).with_detail(detail), unanswerable);
        self.node.shutdown().note_change();
    }

    /// Whether the peer asks, and does not read its refusals.
    pub(crate) fn is_overrun(&self) -> bool {
        self.outbox.with(|outbox| outbox.control.is_overrun())
    }

    /// Cancels requests for which nobody waits any more.
    pub(crate) fn sweep_pending(&self) {
        let (connection, gone) = self.outbox.with(|outbox| (outbox.session.connection, outbox.requests.sweep()));
        gone.into_iter().for_each(|number| self.cancel(Correlation { connection, number }));
    }

    /// Sweeps abandoned requests when there is little room for one more.
    pub(super) fn make_room_to_ask(&self) {
        let limit = self.node.limits().pending_requests;
        if self.outbox.with(|outbox| outbox.requests.is_worth_a_sweep(limit)) {
            self.sweep_pending();
        }
    }

    /// Returns the number of requests without an answer.
    pub(crate) fn pending(&self) -> u64 {
        self.outbox.with(|outbox| outbox.requests.pending() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;
    use std::task::Poll;

    use parking_lot::Mutex;

    use super::*;
    use crate::handle::ask_error::AskError;
    use crate::handle::envelope::Envelope;
    use crate::handle::pointer::Pointer;
    use crate::handle::pointer::Route;
    use crate::handle::pointer::identity::Origin;
    use crate::handle::pointer::path::NamedLink;
    use crate::handle::pointer::path::Path;
    use crate::handle::ports::NotTaken;
    use crate::handle::ports::PendingReply;
    use crate::ident::BoxId;
    use crate::ident::ConnectionId;
    use crate::ident::Incarnation;
    use crate::net::control::settlement::ConnectionNames;
    use crate::net::io_thread;
    use crate::net::shared::NodeInner;
    use crate::net::shared::Setup;
    use crate::wire::body::Body;
    use crate::wire::hello::Hello;

    /// The errors of requests, each with the result of a request that was made at that moment.
    type Heard = Arc<Mutex<Vec<(AskError, Option<NotTaken>)>>>;

    /// Asks once more as soon as it hears that there is no answer.
    struct AsksAnew {
        link: Arc<Link>,
        to: Arc<Pointer>,
        heard: Heard,
    }

    impl AsksAnew {
        fn ask(link: &Arc<Link>, to: &Arc<Pointer>, heard: &Heard) -> Result<Correlation, NotTaken> {
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
        let node = NodeInner::new(Setup::default(), io, |_, _| {});
        let (link, peer) = (Link::accepted(node.link_context()), Incarnation::of([9; 16]));
        let (ours, theirs) = (ConnectionId::random(), ConnectionId::random());
        let (versions, nonce) = ((1, 1), [0; 32]);
        let hello = Hello { versions, features: 0, connection: theirs, max_frame: 1 << 20, numbers: 64, nonce };
        link.up(&hello, ConnectionNames { peer, local: ours, remote: theirs }, Arc::default());
        let path = Path::by_name(NamedLink { link: Arc::clone(&link) as _, is_loopback: link.is_loopback() });
        let origin = Origin::Boxed { node: peer, id: BoxId([1; 16]) };
        let to = Arc::new(Pointer::new(Arc::clone(&node) as _, origin, "", Route::Away { path, to: None }, None));
        let heard = Heard::default();
        AsksAnew::ask(&link, &to, &heard).expect("it is put into the outbox");
        link.peer_ends(DropReason::Shutdown, None);
        let reason = DropReason::Shutdown;
        let expected = (AskError::NotDelivered { reason, detail: None }, Some(NotTaken::Dropped(reason)));
        assert_eq!(*heard.lock(), [expected]);
        assert_eq!(link.pending(), 0);
        link.down(DropReason::Lost, "", true);
        assert_eq!(heard.lock().len(), 1, "nobody is told twice");
    }
}
