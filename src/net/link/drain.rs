//! The drain of an outbox: the chunks that the connection's writer takes, and the memory that an idle outbox gives
//! back.

use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use bytes::BytesMut;

use super::outbox::Outbox;
use super::outbox::Phase;
use super::room::give_back;
use crate::net::control::heartbeat::IDLE;
use crate::wire::features::feature;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;

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
        if self.is(connection) {
            self.posts.writing = 0;
        }
    }

    /// Moves the next bytes to write into `chunk`, which is empty.
    pub(super) fn poll_next(&mut self, connection: u64, chunk: &mut Chunk, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.is(connection) {
            return Poll::Ready(Next::Finish);
        }
        self.posts.writing = 0;
        if self.heartbeat.is_idle() {
            self.give_room_back(chunk);
        }
        if self.posts.share.is_reserved() {
            self.posts.settle_share(chunk);
        }
        let posts_wait = !self.posts.is_empty() || self.has_followers();
        // Control frames and messages take turns, so that a peer that pings without end does not keep messages and
        // releases from being written.
        let posts_turn = posts_wait && self.control.was_last;
        if !self.control.frames.is_empty() && !posts_turn {
            self.control.take(&mut chunk.bytes);
        } else if posts_wait {
            self.take_posts(chunk);
        } else if let Some((why, detail)) = self.control.goodbye.take() {
            Goodbye { why, read: self.read.here(), detail: &detail }.put(&mut chunk.bytes);
            // Set with the count in the goodbye: the peer counts the messages beyond it.
            self.session.has_ended.fetch_or(why == Farewell::Shutdown, Ordering::Relaxed);
        } else if self.phase == Phase::Closing {
            return Poll::Ready(Next::Finish);
        } else {
            self.set_writer(cx.waker().clone());
            return Poll::Pending;
        }
        self.posts.writing = chunk.len();
        self.heartbeat.wrote(chunk.len());
        Poll::Ready(Next::Write)
    }

    /// Takes the messages, and a piece of a large one.
    #[inline]
    fn take_posts(&mut self, chunk: &mut Chunk) {
        std::mem::swap(&mut chunk.bytes, &mut self.posts.bytes);
        self.posts.waiting = 0;
        // Behind the messages: a box must not be released before messages sent to it have arrived.
        if self.has_followers() {
            self.take_followers(&mut chunk.bytes);
        }
        // The piece goes behind messages sent before it; messages sent later go behind the piece.
        if !self.posts.fragments.is_empty() {
            self.take_piece(chunk);
        }
        self.control.was_last = false;
    }

    fn has_followers(&self) -> bool {
        !self.releases.is_empty() || self.has_watch_frames()
    }

    fn take_followers(&mut self, out: &mut BytesMut) {
        let (longest, fragments) = (self.posts.max_frame(), &self.posts.fragments);
        self.releases.poll_frames(out, longest);
        self.watches.poll_frames(out, longest);
        self.peer_watches.poll_frames(out, longest, |barrier| fragments.is_past(barrier));
    }

    /// Takes a piece of a message that is too large to be written at once, with the small frames that have their turn
    /// before it.
    fn take_piece(&mut self, chunk: &mut Chunk) {
        let fragmentation = self.posts.fragmentation(self.session.understands(feature::FRAGMENTS));
        // Two pieces at a time: the first is copied, which costs less than a write of its own.
        let most = chunk.bytes.len() + self.posts.fragment + self.posts.fragment / 4;
        while let Some(piece) = self.posts.fragments.next(&mut chunk.bytes, fragmentation) {
            if let Some(asked) = piece.asked {
                self.requests.on_written(asked, self.posts.written());
            }
            piece.released.into_iter().for_each(|(id, count)| self.release(id, count));
            if chunk.bytes.len() + piece.bytes.len() > most || self.posts.fragments.is_empty() {
                chunk.piece = piece.bytes;
                return;
            }
            chunk.bytes.extend_from_slice(&piece.bytes);
        }
    }

    /// Gives back memory that is not needed while the connection stays idle.
    #[cold]
    fn give_room_back(&mut self, chunk: &mut Chunk) {
        if self.heartbeat.is_still_idle() {
            for place in [&mut chunk.bytes, &mut self.posts.bytes, &mut self.control.frames] {
                give_back(place, IDLE);
            }
        }
    }
}
