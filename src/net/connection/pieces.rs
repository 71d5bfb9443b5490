//! Messages that come over a connection in pieces: how long they may take, and the room that is kept for the next.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::config::Limits;
use crate::net::peers::unfinished::Unfinished;
use crate::quota::Quotas;
use crate::quota::Share;
use crate::quota::Terms;
use crate::wire::assembly;
use crate::wire::assembly::Assembly;
use crate::wire::codec::Violation;
use crate::wire::frames::fragment::Fragment;

/// No room is kept without asking: it only saves time.
const ROOM: Terms = Terms { own: 0, chunk: 64 << 10 };

/// See the [module](self).
pub(super) struct Pieces {
    assembly: Assembly,
    /// Its part of the room that connections keep for the next message in pieces: at least as much as `assembly` has.
    rooms: Share,
    began: Instant,
    /// Whether a message or a piece of one has come since that was last looked at, and when it was so last.
    stirred: bool,
    stirred_at: Duration,
    /// When room was last given back that nothing had come for.
    shrunk_at: Duration,
}

impl Pieces {
    pub(super) fn new(limits: &Limits, quotas: &Quotas) -> Pieces {
        Pieces {
            assembly: Assembly::new(limits.max_message),
            rooms: Share::new(&quotas.rooms, &ROOM),
            began: Instant::now(),
            stirred: false,
            stirred_at: Duration::ZERO,
            shrunk_at: Duration::ZERO,
        }
    }

    /// A message or a piece of one has come.
    #[inline]
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Adds a piece; the message, if it was the last of it.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<Option<BytesMut>, Violation> {
        self.stirred = true;
        self.assembly.add(Fragment::read(payload)?, self.began.elapsed())
    }

    /// Keeps the room of a message that was handled, if the node has so much for it.
    pub(super) fn recycle(&mut self, whole: BytesMut) {
        if self.rooms.covers(whole.capacity()) {
            self.assembly.recycle(whole);
        }
    }

    /// Whether the room of a long message is kept.
    #[inline]
    pub(super) fn have_long_room(&self) -> bool {
        self.rooms.granted() > assembly::KEPT
    }

    /// Gives the room of a long message back, if none has come for it since about a heartbeat. Not when the peer answers a
    /// heartbeat: it need not.
    #[cold]
    pub(super) fn shrink(&mut self, limits: &Limits) {
        let now = self.began.elapsed();
        if now.saturating_sub(self.shrunk_at) >= limits.heartbeat.min(limits.dead_after / 3) / 2 {
            self.shrunk_at = now;
            self.assembly.shrink();
            self.rooms.shrink_to(self.assembly.spare_room());
        }
    }

    /// Drops messages of which no piece has come for as long as a silent peer is given, if nothing else has come either:
    /// on a slow connection with much to carry, very much may stand between two pieces. How many were dropped. Looked at with
    /// pings and pongs, which stand behind what was written before them.
    pub(super) fn drop_stopped(&mut self, limits: &Limits) -> usize {
        let now = self.began.elapsed();
        if std::mem::replace(&mut self.stirred, false) {
            self.stirred_at = now;
        }
        match now.checked_sub(limits.dead_after) {
            Some(then) if !self.assembly.is_empty() && self.stirred_at <= then => self.assembly.drop_older_than(then),
            _ => 0,
        }
    }

    /// Adds what messages that are not whole take.
    pub(super) fn add_unfinished(&self, unfinished: &mut Unfinished) {
        if !self.assembly.is_empty() {
            let now = self.began.elapsed();
            self.assembly.unfinished().for_each(|(bytes, began)| unfinished.add(bytes, now.saturating_sub(began)));
        }
    }
}
