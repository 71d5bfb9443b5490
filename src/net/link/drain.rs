//! What the connection's writer takes out of the outbox, and the room that an idle outbox gives back.

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

/// A connection that has written no more bytes than these since the last heartbeat is idle: it keeps no room for more.
const IDLE: usize = 4 << 10;

/// What the writer has taken.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) bytes: BytesMut,
    /// To be written behind them.
    pub(crate) piece: Bytes,
}

impl Chunk {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.piece.len()
    }
}

/// What the writer is to do next; it has the bytes already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Write,
    /// Everything is written: end the direction.
    Finish,
}

impl Outbox {
    /// What was being written is.
    pub(super) fn has_written(&mut self, connection: u64) {
        if self.connection == connection {
            self.writing = 0;
        }
    }

    /// Takes what is to be written next into `chunk`, which is empty.
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
        // In turns, so that a peer that pings without end does not keep messages and releases from being written.
        let posts_turn = posts_wait && self.control_was_last;
        if !self.control.is_empty() && !posts_turn {
            std::mem::swap(&mut chunk.bytes, &mut self.control);
            self.refusals.shrink_to(0);
            self.control_was_last = true;
        } else if posts_wait {
            std::mem::swap(&mut chunk.bytes, &mut self.posts);
            self.waiting = 0;
            // Behind the messages: a box must not be let go before what was sent to it has arrived.
            if self.has_followers() {
                put_releases(&mut chunk.bytes, std::mem::take(&mut self.releases), self.outgoing.max_frame());
                let (longest, fragments) = (self.outgoing.max_frame(), &self.fragments);
                self.watches.put_news(&mut chunk.bytes, longest, |barrier| fragments.is_past(barrier));
            }
            // Behind what was sent before it, and what is sent after it is behind this piece.
            self.take_piece(chunk);
            self.control_was_last = false;
        } else if let Some((why, detail)) = self.goodbye.take() {
            Goodbye { why, read: self.read.1, detail: &detail }.put(&mut chunk.bytes);
            // With the count that the peer is told: it counts what is beyond that.
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

    /// Says goodbye once what waits is written; nothing more is taken.
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

    /// A heartbeat is due. What it says comes first, so that the room of what was written before it is looked at.
    pub(super) fn beat(&mut self) {
        self.is_idle = std::mem::take(&mut self.written_since) <= IDLE;
    }

    /// Gives back the room that is not needed while the connection stays idle.
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

    /// Takes a piece of what is too large to be written at once, with what is small and comes before it in turn.
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

    /// Drops what waits in flows and is longer than the peer reads: how many messages, and which requests.
    pub(super) fn drop_unreadable(&mut self) -> (u64, Vec<(u64, PendingRequest)>) {
        let (dropped, asked) = self.fragments.drop_longer_than(self.outgoing.max_frame());
        (dropped, asked.into_iter().filter_map(|number| Some((number, self.pending.remove(&number)?))).collect())
    }
}
