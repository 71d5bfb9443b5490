//! Messages that arrive over a connection in pieces: bounds their time, and keeps a buffer for the next one.

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

/// No buffer is guaranteed to be kept, since it only saves time.
const ROOM: Terms = Terms { own: 0, chunk: 64 << 10 };

/// See the [module](self).
pub(super) struct Pieces {
    assembly: Assembly,
    /// Its share in the memory that connections keep for the next message in pieces: at least as much as `assembly`
    /// has.
    rooms: Share,
    began: Instant,
    /// Whether a message or a piece has come since the last check; `stirred_at` is when a check last found one.
    stirred: bool,
    stirred_at: Duration,
    /// The time at which unused room was last given back.
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

    /// Notes that nothing was read for that long: messages in pieces are no older for it.
    pub(super) fn was_held_back(&mut self, time: Duration) {
        self.began += time;
    }

    /// Notes that a message or a piece has come.
    #[inline]
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Adds a piece. Returns the message, if the piece was its last.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<Option<BytesMut>, Violation> {
        self.stirred = true;
        self.assembly.add(Fragment::read(payload)?, self.began.elapsed())
    }

    /// Keeps the buffer of a message that was handled, if the node's quota allows it.
    pub(super) fn recycle(&mut self, whole: BytesMut) {
        if self.rooms.covers(whole.capacity()) {
            self.assembly.recycle(whole);
        }
    }

    /// Whether the buffer of a long message is kept.
    #[inline]
    pub(super) fn have_long_room(&self) -> bool {
        self.rooms.granted() > assembly::KEPT
    }

    /// Frees the buffer of a long message, if no message has used it for about a heartbeat. Does not rely on the peer's
    /// answers to heartbeats, which are optional.
    #[cold]
    pub(super) fn shrink(&mut self, limits: &Limits) {
        let now = self.began.elapsed();
        if now.saturating_sub(self.shrunk_at) >= limits.heartbeat.min(limits.dead_after / 3) / 2 {
            self.shrunk_at = now;
            self.assembly.shrink();
            self.rooms.shrink_to(self.assembly.spare_room());
        }
    }

    /// Drops messages of which no piece has come for as long as a peer may be silent, if no other message has come
    /// either: on a slow, busy connection, much may stand between two pieces. Returns the number of dropped messages.
    /// Checked with pings and pongs, which arrive behind messages written before them.
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

    /// Adds the bytes of incomplete messages.
    pub(super) fn add_unfinished(&self, unfinished: &mut Unfinished) {
        if !self.assembly.is_empty() {
            let now = self.began.elapsed();
            self.assembly.unfinished().for_each(|(bytes, began)| unfinished.add(bytes, now.saturating_sub(began)));
        }
    }
}
