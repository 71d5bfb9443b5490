//! The reading direction of a connection as a task: bytes in, frames handled.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use bytes::BytesMut;
use tokio::time::Instant;

use super::dispatch::Dispatcher;
use super::dispatch::Signal;
use super::reading_budget::ReadingBudget;
use super::source::Source;
use super::turn::ReadingTurn;
use super::turn::cost;
use crate::net::peers::unfinished::Unfinished;
use crate::quota::Share;
use crate::quota::Terms;
use crate::wire::batch::Posts;
use crate::wire::codec::Violation;
use crate::wire::frames::Front;
use crate::wire::frames::front;
use crate::wire::frames::goodbye::Farewell;

/// Bytes of buffer that an idle connection keeps for reading. A connection is idle if no more bytes than these have
/// come since the last heartbeat.
const IDLE_READ: usize = 1 << 10;

/// The least room for a read, in bytes, if more of a frame is to come: less is not worth the call.
const LEAST_READ: usize = 4 << 10;

/// Bytes that a busy connection reads at a time.
const FULL_READ: usize = 128 << 10;

/// Buffers larger than this, in bytes, are freed when they are empty.
pub(super) const KEPT: usize = 512 << 10;

/// The room that an empty buffer may keep, out of the node's room for all buffers. Twice the size of a read is
/// reserved, since a buffer may have grown to that.
const BUFFER: Terms = Terms { own: 2 * LEAST_READ, chunk: LEAST_READ };

/// Bytes in a buffer from which moving it, when it grows, takes a while.
const LONG: usize = 1 << 20;

/// Consecutive posts that are handed to their box together: enough to make the cost of its lock and of the look-up
/// small for each. All of them are decoded before the first is in the box.
const BATCH: usize = 32;

/// The way in which a direction of a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Everything is written, including the goodbye.
    Written,
    /// Nothing more can be written.
    Unwritable(io::Error),
    /// The peer has said goodbye.
    Goodbye(Farewell, String),
    Lost(io::Error),
    Violation(Violation),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Lost(error)
    }
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Ended {
        Ended::Violation(violation)
    }
}

/// Reads until the connection ends. `heard` is set whenever bytes come, and cleared by each heartbeat. `welcomed` is
/// called once the peer has welcomed this node, if this node has dialled it.
pub(crate) async fn read(
    from: Source,
    rest: BytesMut,
    dispatcher: Dispatcher,
    mut budget: ReadingBudget,
    heard: Arc<AtomicBool>,
    max_frame: usize,
    welcomed: impl Fn(),
) -> Ended {
    let is_wide = rest.capacity() > IDLE_READ;
    let (came, room, came_since, is_idle, long_room) = (0, IDLE_READ, 0, false, 0);
    let turn = ReadingTurn::new(Arc::clone(&dispatcher.context.scheduler));
    let share = Share::new(&dispatcher.context.link.quotas().reads, &BUFFER);
    let mut reader = ConnectionReader {
        from,
        came,
        buffer: rest,
        front_since: None,
        room,
        came_since,
        is_wide,
        is_idle,
        long_room,
        share,
        turn,
        dispatcher,
        max_frame,
        welcomed,
    };
    loop {
        let wants = match reader.handle_all().await {
            Ok(wants) => wants,
            Err(ended) => return ended,
        };
        if let Some(until) = reader.charge(&mut budget) {
            let (since, unfinished) = (Instant::now(), reader.unfinished());
            if let Err(ended) = reader.from.note(unfinished) {
                return ended;
            }
            reader.turn.pauses();
            // Boxed, so that the future of a reader that is never held back stays as it is.
            let expelled = reader.from.expelled();
            Box::pin(budget.rest(until, &reader.dispatcher.context.link, &heard, &expelled)).await;
            if expelled.is_cancelled() {
                return reader.from.expulsion();
            }
            reader.was_held_back(since.elapsed());
        }
        if let Err(ended) = reader.fill(wants).await {
            return ended;
        }
        if !heard.load(Ordering::Relaxed) {
            heard.store(true, Ordering::Relaxed);
            // These are the first bytes since a heartbeat, whether the peer answers that or not.
            reader.beat();
        }
    }
}

struct ConnectionReader<P> {
    from: Source,
    /// Bytes that the last read returned.
    came: usize,
    buffer: BytesMut,
    /// The time since which a part of a frame is at the front of the buffer.
    front_since: Option<Instant>,
    /// Bytes to read at a time.
    room: usize,
    /// Bytes that came since the last heartbeat.
    came_since: usize,
    /// Whether the buffer may have more room than an idle one keeps: the buffer of a long frame grows even if the frame
    /// comes little by little.
    is_wide: bool,
    /// Whether the buffer is to be freed.
    is_idle: bool,
    /// The room for a long frame that the buffer was given since it was last empty, which its capacity does not show
    /// while it holds bytes; 0 if none.
    long_room: usize,
    /// Its share in the node's room for the buffers of all connections.
    share: Share,
    turn: ReadingTurn,
    dispatcher: Dispatcher,
    max_frame: usize,
    /// Called once the peer has welcomed this node.
    welcomed: P,
}

impl<P: Fn()> ConnectionReader<P> {
    /// Handles all whole frames in the buffer. Returns the least number of bytes that the next frame lacks.
    async fn handle_all(&mut self) -> Result<usize, Ended> {
        loop {
            let (mut taken, mut left, mut wants) = (0, self.turn.left, None);
            // Read once a round: the writer, which sets it, runs between two rounds only.
            let has_ended = self.dispatcher.context.has_ended();
            while left > 0 {
                let rest = self.buffer.get(taken..).unwrap_or_default();
                if !has_ended && let Some(posts) = Posts::at(rest, self.max_frame, left.min(BATCH)) {
                    self.dispatcher.run(posts)?;
                    (taken, left) = (taken + posts.size(), left - posts.count());
                    continue;
                }
                match front(rest, self.dispatcher.longest(self.max_frame))? {
                    Front::Frame(raw) => {
                        (taken, left) = (taken + raw.size, left.saturating_sub(cost(raw.kind)));
                        let signal = match has_ended && raw.is_of_messages() {
                            true => self.dispatcher.late(raw).map(|()| Signal::Nothing)?,
                            false => self.dispatcher.frame(raw)?,
                        };
                        match signal {
                            Signal::Nothing => {}
                            Signal::Welcomed => (self.welcomed)(),
                            Signal::Goodbye(why, detail) => return Err(Ended::Goodbye(why, detail)),
                        }
                        left = left.saturating_sub(self.dispatcher.context.take_work());
                    }
                    Front::Wants(bytes) => {
                        wants = Some(bytes);
                        break;
                    }
                }
            }
            self.buffer.advance(taken);
            if taken > 0 {
                self.front_since = None;
            }
            self.dispatcher.acknowledge();
            self.turn.left = left;
            // Nobody queues for nothing.
            let wants = match wants {
                None => front(&self.buffer, self.dispatcher.longest(self.max_frame))?.wants(),
                some => some,
            };
            match wants {
                Some(bytes) => return Ok(bytes),
                None => self.turn.ends().await,
            }
        }
    }

    /// Charges what the last read brought.
    #[inline]
    fn charge(&mut self, budget: &mut ReadingBudget) -> Option<Instant> {
        let (bytes, context) = (std::mem::take(&mut self.came), &self.dispatcher.context);
        budget.charge(self.dispatcher.posts(), bytes, context.view.take_misses())
    }

    /// Notes that nothing was read for that long, which is no fault of the peer.
    fn was_held_back(&mut self, time: Duration) {
        self.front_since = self.front_since.map(|since| since + time);
        self.dispatcher.was_held_back(time);
    }

    fn beat(&mut self) {
        if std::mem::take(&mut self.came_since) <= IDLE_READ && std::mem::take(&mut self.is_wide) {
            (self.room, self.is_idle) = (IDLE_READ, true);
        }
    }

    /// Frees the room of a long frame that was handled, even if the first bytes of the next frame stand behind it.
    fn leave_long_room(&mut self) {
        if self.long_room > 0 && !self.buffer.is_empty() && self.buffer.len() <= FULL_READ {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.long_room = 0;
        }
    }

    /// Returns the memory of incomplete frames and messages, if there are any. It includes the unused capacity of long
    /// buffers, since a growing buffer has up to twice the capacity that is used.
    fn unfinished(&mut self) -> Option<Unfinished> {
        let mut unfinished = Unfinished::default();
        self.dispatcher.add_unfinished(&mut unfinished);
        if !self.buffer.is_empty() {
            let since = self.front_since.get_or_insert_with(Instant::now);
            unfinished.add(self.buffer.len().max(self.long_room), since.elapsed());
        }
        (unfinished != Unfinished::default()).then_some(unfinished)
    }

    /// Reads the bytes that are there. The buffer grows with the bytes that have come, not with the length that a frame
    /// announces.
    async fn fill(&mut self, wants: usize) -> Result<(), Ended> {
        self.leave_long_room();
        if self.buffer.is_empty() {
            let has = self.long_room.max(self.buffer.capacity());
            if std::mem::take(&mut self.is_idle) {
                self.buffer = BytesMut::new();
                self.share.shrink_to(0);
            } else if has > KEPT || !self.share.covers(has) {
                self.buffer = BytesMut::new();
            }
            self.long_room = 0;
            // Starts at the beginning of the buffer again, so that small reads stay in one place.
            self.buffer.reserve(self.room);
        } else if self.buffer.capacity() - self.buffer.len() < wants.clamp(1, LEAST_READ.min(self.room)) {
            let room = wants.clamp(self.room, self.buffer.len().max(self.room));
            if self.buffer.len() < LONG {
                self.buffer.reserve(room);
            } else {
                let scheduler = Arc::clone(&self.dispatcher.context.scheduler);
                self.turn.pauses();
                Box::pin(scheduler.grow(&mut self.buffer, room)).await;
            }
            self.is_wide = true;
            if self.buffer.capacity() > KEPT {
                self.long_room = self.long_room.max(self.buffer.capacity());
            }
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        let unfinished = self.unfinished();
        self.came = match self.turn.is_fresh() {
            true => self.from.read(&mut self.buffer, unfinished).await?,
            false => self.read_in_turn(unfinished).await?,
        };
        self.came_since += self.came;
        self.turn.take_bytes(self.came);
        if self.came == spare {
            // If other connections have taken the room, less is read at a time.
            let rooms = [FULL_READ, FULL_READ / 4, FULL_READ / 16];
            self.room = rooms.into_iter().find(|room| self.share.covers(2 * room)).unwrap_or(LEAST_READ);
            self.is_wide = true;
        }
        Ok(())
    }

    /// Reads, and notes whether it had to wait for bytes.
    async fn read_in_turn(&mut self, unfinished: Option<Unfinished>) -> Result<usize, Ended> {
        let mut read = pin!(self.from.read(&mut self.buffer, unfinished));
        let turn = &mut self.turn;
        poll_fn(|cx| {
            let came = read.as_mut().poll(cx);
            if came.is_pending() {
                turn.has_waited();
            }
            came
        })
        .await
    }
}
