//! The messages that wait for one connection: small ones as bytes in a row, large ones in flows.
//!
//! Invariant: a message is numbered and appended whole, or not at all.

use bytes::BytesMut;

use super::fragment_queue::FragmentQueue;
use super::fragment_queue::Fragmentation;
use super::fragment_queue::FrameRole;
use super::room::Room;
use super::target::TargetRef;
use crate::config::Limits;
use crate::ident::BoxId;
use crate::net::control::flow::Flow;
use crate::quota::Quotas;
use crate::quota::Share;
use crate::quota::Terms;
use crate::reason::DropReason;
use crate::wire::frames::LENGTH;
use crate::wire::frames::cancel::put_cancel;
use crate::wire::frames::release::put_releases;
use crate::wire::introduction::Identity;
use crate::wire::outgoing::Correlated;
use crate::wire::outgoing::Handles;
use crate::wire::outgoing::Outgoing;
use crate::wire::outgoing::Post;
use crate::wire::outgoing::Referent;

/// Bytes that may wait for each connection however much waits for others: 400 small messages.
pub(crate) const OWN: Terms = Terms { own: 16 << 10, chunk: 64 << 10 };

/// Bytes up to which a frame is not cut, whatever the limit: a smaller one is not worth the heads of its pieces.
const MIN_FRAGMENT: usize = 256;

/// See the [module](self). The fields stand in the order in which a small message touches them.
#[repr(C)]
pub(super) struct PostQueue {
    pub(super) bytes: BytesMut,
    /// Messages in `bytes`.
    pub(super) waiting: u64,
    /// Bytes of a frame above which it is cut.
    pub(super) fragment: usize,
    /// Bytes that may wait.
    pub(super) capacity: usize,
    /// Bytes that the writer has taken and not yet written.
    pub(super) writing: usize,
    /// The share in the bytes that may wait for all connections of the node.
    pub(super) share: Share,
    pub(super) is_greeted: bool,
    pub(super) outgoing: Outgoing,
    /// Messages too large to be written at once, and frames that wait behind them.
    pub(super) fragments: FragmentQueue,
    /// The longest frame written before the peer has greeted.
    longest: usize,
}

impl PostQueue {
    pub(super) fn new(limits: &Limits, quotas: &Quotas) -> PostQueue {
        PostQueue {
            outgoing: Outgoing::new(limits.max_message),
            bytes: BytesMut::new(),
            waiting: 0,
            fragment: limits.fragment.max(MIN_FRAGMENT),
            capacity: limits.outbox,
            writing: 0,
            share: Share::new(&quotas.outboxes, &OWN),
            longest: 0,
            is_greeted: false,
            fragments: FragmentQueue::default(),
        }
    }

    /// Numbers and appends a message, if it fits.
    #[inline]
    pub(super) fn post<H: Handles>(&mut self, post: &Post<'_, TargetRef<'_>, H>) -> Result<(), DropReason> {
        if post.body.len() > self.fragment || self.fragments.holds(post.to) {
            return self.post_in_flow(post);
        }
        let before = self.bytes.len();
        // A loop, so that the call is inlined in one place: usually there is no second pass, and never a third.
        loop {
            let room = self.room(Room::FOR_DATA);
            match self.outgoing.post(&mut self.bytes, room, post) {
                Ok(()) => break,
                Err(reason) => self.reserve_for_post(reason, post)?,
            }
        }
        self.waiting += 1;
        if !self.is_greeted {
            self.measure(before);
        }
        Ok(())
    }

    #[cold]
    fn post_in_flow<H: Handles>(&mut self, post: &Post<'_, TargetRef<'_>, H>) -> Result<(), DropReason> {
        let flow = post.to.flow();
        let post = post.with_target();
        let room = self.flow_room(None, &post)?;
        let frame = self.outgoing.in_full(room, None, &post)?;
        self.fragments.put(flow, frame, FrameRole::Post, named_of_peer(&post.handles));
        Ok(())
    }

    /// Numbers and appends a request, or an answer, which has no target, if it fits. Returns its flow, if it waits in
    /// one.
    pub(super) fn correlated<H: Handles>(
        &mut self,
        what: Correlated,
        post: &Post<'_, Option<TargetRef<'_>>, H>,
    ) -> Result<Option<Flow>, DropReason> {
        if post.body.len() > self.fragment || post.to.is_some_and(|to| self.fragments.holds(to)) {
            let room = self.flow_room(Some(what), post)?;
            let frame = self.outgoing.in_full(room, Some(what), post)?;
            let flow = post.to.map_or_else(|| self.fragments.for_answer(), TargetRef::flow);
            let what = match what {
                Correlated::Ask { correlation, .. } => FrameRole::Ask(correlation),
                Correlated::Answer { .. } => FrameRole::Answer,
            };
            self.fragments.put(flow, frame, what, named_of_peer(&post.handles));
            return Ok(Some(flow));
        }
        let before = self.bytes.len();
        loop {
            let room = self.room(Room::of(Some(what)));
            match self.outgoing.correlated(&mut self.bytes, room, what, post) {
                Ok(()) => break,
                Err(reason) => self.reserve(reason, Some(what), post)?,
            }
        }
        self.waiting += u64::from(matches!(what, Correlated::Ask { .. }));
        if !self.is_greeted {
            self.measure(before);
        }
        Ok(None)
    }

    /// Measures the frame that was appended behind those bytes.
    fn measure(&mut self, before: usize) {
        self.longest = self.longest.max((self.bytes.len() - before).saturating_sub(LENGTH));
    }

    /// Takes the peer's limits: the longest frame that it reads, and how many numbers it takes. Drops the messages that
    /// it cannot read, if there are any.
    pub(super) fn on_greeting(&mut self, max_frame: usize, numbers: usize, limits: &Limits) -> Unreadable {
        let mut unreadable = Unreadable::default();
        if self.longest > max_frame {
            // Frames that the peer can read may use numbers set in frames that it cannot: all of them are dropped.
            self.outgoing = Outgoing::new(limits.max_message);
            self.bytes.clear();
            unreadable.unflowed = std::mem::take(&mut self.waiting);
        }
        self.is_greeted = true;
        self.outgoing.peer_accepts(max_frame, numbers);
        (unreadable.in_flows, unreadable.asked) = self.fragments.drop_longer_than(self.outgoing.max_frame());
        unreadable
    }

    /// Returns the messages of the connection so far, without those in flows that are not completely written.
    pub(super) fn numbered(&self) -> u64 {
        self.outgoing.posts() + self.fragments.written()
    }

    /// Returns the messages that the writer has taken.
    pub(super) fn written(&self) -> u64 {
        self.numbered() - self.waiting
    }

    /// Returns the messages that the writer has not taken, or not completely.
    pub(super) fn unwritten(&self) -> u64 {
        self.waiting + self.fragments.messages()
    }

    /// Whether nothing waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.fragments.is_empty()
    }

    /// Returns the longest frame that both sides allow.
    #[inline]
    pub(super) fn max_frame(&self) -> usize {
        self.outgoing.max_frame()
    }

    /// Returns the sizes into which frames are cut.
    pub(super) fn fragmentation(&self, is_known: bool) -> Fragmentation {
        Fragmentation { piece: self.fragment, max_frame: self.max_frame(), is_known }
    }

    /// Cancels a request, behind the request itself.
    pub(super) fn cancel(&mut self, number: u64, flow: Option<Flow>) {
        match flow {
            Some(flow) => {
                let mut frame = BytesMut::new();
                put_cancel(&mut frame, number);
                self.fragments.put(flow, frame, FrameRole::Follower, Vec::new());
            }
            None => put_cancel(&mut self.bytes, number),
        }
    }

    /// Releases handles of the peer's box behind the frames in flows that name the box, or are for it. Returns whether
    /// there are any.
    pub(super) fn release(&mut self, id: BoxId, count: u64) -> bool {
        if self.fragments.release(id, count) {
            return true;
        }
        let is_held = self.fragments.holds_box(id);
        if is_held {
            let mut frame = BytesMut::new();
            put_releases(&mut frame, [(id, count)], self.max_frame());
            self.fragments.put(Flow::Box(id), frame, FrameRole::Follower, Vec::new());
        }
        is_held
    }
}

/// Messages that were dropped because the peer cannot read them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The number of messages outside of flows: if there are any, these are all that waited.
    pub(super) unflowed: u64,
    pub(super) in_flows: u64,
    /// The requests among those in flows.
    pub(super) asked: Vec<u64>,
}

/// Returns the boxes of the peer that are among the handles of a message.
fn named_of_peer<H: Handles>(handles: &H) -> Vec<BoxId> {
    let handles = handles.clone().into_iter();
    let of_peer = |handle: H::Item| match handle.introduction().identity {
        Identity::YourBox(id) => Some(id),
        _ => None,
    };
    handles.filter_map(of_peer).collect()
}
