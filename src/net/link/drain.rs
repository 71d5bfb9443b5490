//! The drain of an outbox: the chunks that the connection's writer takes, and the memory that an idle outbox gives
//! back.

use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use bytes::BytesMut;

use super::fragment_queue::Fragmentation;
use super::outbox::MAX_CONTROL;
use super::outbox::Outbox;
use super::outbox::Phase;
use super::requests::PendingRequest;
use super::room::give_back;
use crate::wire::features::feature;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::release::put_releases;

/// The bytes since the last heartbeat up to which a connection is idle: it keeps no memory for more.
const IDLE: usize = 4 << 10;

/// A chunk for the writer to write.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) bytes: BytesMut,
    /// Written behind `bytes`.
    pub(crate) piece: Bytes,
}

impl Chunk {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.piece.len()
    }
}

/// The writer's next step. It has the bytes already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Write,
    /// Everything is written: shut down the writing direction.
    Finish,
}

impl Outbox {
    /// Notes that the last chunk is written.
    pub(super) fn has_written(&mut self, connection: u64) {
        if self.connection == connection {
            self.writing = 0;
        }
    }

    /// Moves the next bytes to write into `chunk`, which is empty.
    pub(super) fn poll_next(&mut self, connection: u64, chunk: &mut Chunk, cx: &mut Context<'_>) -> Poll<Next> {
        if self.connection != connection {
            return Poll::Ready(Next::Finish);
        }
        self.writing = 0;
        if self.is_idle {
            self.give_room_back(chunk);
        }
        if self.share.is_reserved() {
            self.settle_share(chunk);
        }
        let posts_wait = !self.posts.is_empty() || self.has_followers() || !self.fragments.is_empty();
        // Control frames and messages take turns, so that a peer that pings without end does not keep messages and
        // releases from being written.
        let posts_turn = posts_wait && self.control_was_last;
        if !self.control.is_empty() && !posts_turn {
            std::mem::swap(&mut chunk.bytes, &mut self.control);
            self.refusals.shrink_to(0);
            self.control_was_last = true;
        } else if posts_wait {
            std::mem::swap(&mut chunk.bytes, &mut self.posts);
            self.waiting = 0;
            // Behind the messages: a box must not be released before messages sent to it have arrived.
            if self.has_followers() {
                put_releases(&mut chunk.bytes, std::mem::take(&mut self.releases), self.outgoing.max_frame());
                let (longest, fragments) = (self.outgoing.max_frame(), &self.fragments);
                self.watches.put_news(&mut chunk.bytes, longest, |barrier| fragments.is_past(barrier));
            }
            // The piece goes behind messages sent before it; messages sent later go behind the piece.
            self.take_piece(chunk);
            self.control_was_last = false;
        } else if let Some((why, detail)) = self.goodbye.take() {
            Goodbye { why, read: self.read.1, detail: &detail }.put(&mut chunk.bytes);
            // Set with the count in the goodbye: the peer counts the messages beyond it.
            self.has_ended.fetch_or(why == Farewell::Shutdown, Ordering::Relaxed);
        } else if self.phase == Phase::Closing {
            return Poll::Ready(Next::Finish);
        } else {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.writing = chunk.len();
        self.written_since += self.writing;
        Poll::Ready(Next::Write)
    }

    /// Says goodbye once all waiting messages are written; no more are taken.
    pub(super) fn close(&mut self, why: Farewell, detail: &str) {
        if matches!(self.phase, Phase::Up | Phase::Dialling) {
            if self.features & feature::REPORTS != 0 {
                self.report(MAX_CONTROL);
            }
            self.phase = Phase::Closing;
            self.goodbye = Some((why, detail.to_owned()));
            self.wake();
        }
    }

    /// Notes that a heartbeat is due. Called before its frames are queued, so that only bytes written earlier decide
    /// whether the connection is idle.
    pub(super) fn beat(&mut self) {
        self.is_idle = std::mem::take(&mut self.written_since) <= IDLE;
    }

    /// Gives back memory that is not needed while the connection stays idle.
    #[cold]
    fn give_room_back(&mut self, chunk: &mut Chunk) {
        self.is_idle = self.written_since <= IDLE;
        if !self.is_idle {
            return;
        }
        for place in [&mut chunk.bytes, &mut self.posts, &mut self.control] {
            give_back(place, IDLE);
        }
    }

    fn has_followers(&self) -> bool {
        !self.releases.is_empty() || self.watches.has_news()
    }

    /// Takes a piece of a message that is too large to be written at once, with the small frames that have their turn
    /// before it.
    fn take_piece(&mut self, chunk: &mut Chunk) {
        if self.fragments.is_empty() {
            return;
        }
        let is_known = self.features & feature::FRAGMENTS != 0;
        let fragmentation = Fragmentation { piece: self.fragment, max_frame: self.outgoing.max_frame(), is_known };
        // Two pieces at a time: the first is copied, which costs less than a write of its own.
        let most = chunk.bytes.len() + self.fragment + self.fragment / 4;
        while let Some(piece) = self.fragments.next(&mut chunk.bytes, fragmentation) {
            let number = self.written();
            if let Some(pending) = piece.asked.and_then(|asked| self.pending.get_mut(&asked)) {
                pending.post = number;
                pending.flow = None;
            }
            piece.released.into_iter().for_each(|(id, count)| self.release(id, count));
            if chunk.bytes.len() + piece.bytes.len() > most || self.fragments.is_empty() {
                chunk.piece = piece.bytes;
                return;
            }
            chunk.bytes.extend_from_slice(&piece.bytes);
        }
    }

    /// Drops the frames in flows that are longer than the peer reads. Returns the number of dropped messages, and the
    /// requests.
    pub(super) fn drop_unreadable(&mut self) -> (u64, Vec<(u64, PendingRequest)>) {
        let (dropped, asked) = self.fragments.drop_longer_than(self.outgoing.max_frame());
        (dropped, asked.into_iter().filter_map(|number| Some((number, self.pending.remove(&number)?))).collect())
    }
}
