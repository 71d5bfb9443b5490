//! Puts fragments together into whole frames.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BufMut;
use bytes::BytesMut;

use super::codec::Violation;
use super::frames::LENGTH;
use super::frames::Raw;
use super::frames::kind;
use crate::wire::frames::fragment::Fragment;

/// Maximum number of frames under way in pieces at a time, in one direction.
pub(crate) const MAX_OPEN: usize = 8;

/// Maximum number of bytes reserved for a first piece; the room grows with the bytes that arrive.
const FIRST_ROOM: usize = 256 << 10;

/// Number of bytes of room kept for the next frame, however long none comes.
pub(crate) const KEPT: usize = 512 << 10;

/// Frames that are put together from pieces at the reading end. All frames under way together are at most as long as a
/// single frame may be.
#[derive(Debug)]
pub(crate) struct Assembly {
    open: BTreeMap<u64, UnfinishedFrame>,
    /// The number of the next frame that comes in pieces.
    next: u64,
    /// Number of bytes that the open frames will have when they are whole.
    announced: usize,
    limit: usize,
    /// The room of an earlier frame, for the next one.
    spare: BytesMut,
    /// Whether a frame for which `spare` is not far too large has come since the last [`shrink`](Assembly::shrink).
    is_wanted: bool,
}

#[derive(Debug)]
struct UnfinishedFrame {
    bytes: BytesMut,
    /// Number of bytes still to come.
    rest: usize,
    /// Arrival time of the first piece.
    began: Duration,
    /// Arrival time of the last piece.
    last: Duration,
}

impl Assembly {
    pub(crate) fn new(limit: usize) -> Assembly {
        Assembly { open: BTreeMap::new(), next: 0, announced: 0, limit, spare: BytesMut::new(), is_wanted: false }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns the room of each unfinished frame, in bytes, and the arrival time of its first piece.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (usize, Duration)> {
        self.open.values().map(|open| (open.bytes.capacity(), open.began))
    }

    /// Adds a piece, which came at `now`. Returns the frame (its kind and payload) once it is whole.
    pub(crate) fn add(&mut self, fragment: Fragment<'_>, now: Duration) -> Result<Option<BytesMut>, Violation> {
        let rest = usize::try_from(fragment.rest).map_err(|_| self.too_long(fragment.rest))?;
        let open = match self.open.get_mut(&fragment.stream) {
            Some(open) => {
                if open.rest.checked_sub(fragment.piece.len()) != Some(rest) || fragment.piece.is_empty() {
                    return Err(Violation::FragmentAstray(fragment.stream));
                }
                open
            }
            None => self.begin(&fragment, rest, now)?,
        };
        open.rest = rest;
        open.last = now;
        if open.bytes.capacity() - open.bytes.len() < fragment.piece.len() {
            // The room doubles, and never exceeds the announced length.
            let more = (fragment.piece.len() + rest).min(open.bytes.len().max(FIRST_ROOM).max(fragment.piece.len()));
            open.bytes.reserve(more);
        }
        open.bytes.put_slice(fragment.piece);
        if rest > 0 {
            return Ok(None);
        }
        let whole = self.open.remove(&fragment.stream).map(|open| open.bytes).unwrap_or_default();
        self.announced = self.announced.saturating_sub(whole.len());
        Ok(Some(whole))
    }

    fn begin(&mut self, first: &Fragment<'_>, rest: usize, now: Duration) -> Result<&mut UnfinishedFrame, Violation> {
        let (stream, piece) = (first.stream, first.piece.len());
        let len = piece.saturating_add(rest);
        if stream != self.next || self.open.len() >= MAX_OPEN || piece == 0 {
            return Err(Violation::FragmentAstray(stream));
        }
        if self.announced.saturating_add(len) > self.limit {
            return Err(self.too_long(len as u64));
        }
        self.next += 1;
        self.announced += len;
        let bytes = self.room_for(len);
        Ok(self.open.entry(stream).or_insert(UnfinishedFrame { bytes, rest: len, began: now, last: now }))
    }

    /// Returns room for a frame of `len` bytes: the room of an earlier frame, unless it is far too large. Otherwise
    /// each of several small frames that stay open would hold as much as the longest.
    fn room_for(&mut self, len: usize) -> BytesMut {
        let fits = self.spare.capacity() <= KEPT.max(len.saturating_mul(2));
        self.is_wanted |= fits;
        if fits {
            return std::mem::take(&mut self.spare);
        }
        if self.is_too_much(self.spare.capacity()) {
            self.spare = BytesMut::new();
        }
        BytesMut::new()
    }

    /// Returns whether `room` bytes are too many to keep beside the frames under way: together they would exceed the
    /// limit of one frame.
    fn is_too_much(&self, room: usize) -> bool {
        room > KEPT && !self.open.is_empty() && self.announced.saturating_add(room) > self.limit
    }

    fn too_long(&self, len: u64) -> Violation {
        let len = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(self.announced);
        Violation::FrameTooLong { len, limit: self.limit }
    }

    /// Takes back a frame that has been processed, for its room: to allocate room for each frame costs more than to
    /// fill it. One such room is kept, that of the longest frame since the room was last freed.
    pub(crate) fn recycle(&mut self, mut whole: BytesMut) {
        whole.clear();
        if whole.capacity() > self.spare.capacity() && !self.is_too_much(whole.capacity()) {
            self.spare = whole;
        }
    }

    /// Returns the size of the kept room, in bytes.
    pub(crate) fn spare_room(&self) -> usize {
        self.spare.capacity()
    }

    /// Frees the kept room if it is large and no frame that needs as much has come since the last call.
    pub(crate) fn shrink(&mut self) {
        if !std::mem::take(&mut self.is_wanted) && self.spare.capacity() > KEPT {
            self.spare = BytesMut::new();
        }
    }

    /// Drops the frames of which no piece has come since `then`, and returns their number. Pieces of them that come
    /// later are astray.
    pub(crate) fn drop_older_than(&mut self, then: Duration) -> usize {
        let before = self.open.len();
        let Assembly { open, announced, .. } = self;
        open.retain(|_, open| {
            let is_kept = open.last >= then;
            if !is_kept {
                *announced = announced.saturating_sub(open.bytes.len() + open.rest);
            }
            is_kept
        });
        before - self.open.len()
    }
}

/// Reads a frame that was put together. Only messages come in pieces.
pub(crate) fn assembled(whole: &[u8]) -> Result<Raw<'_>, Violation> {
    let (&kind, payload) = whole.split_first().ok_or(Violation::EmptyFrame)?;
    match kind {
        kind::POST | kind::ASK | kind::ANSWER => Ok(Raw { kind, payload, size: LENGTH + whole.len() }),
        _ => Err(Violation::OutOfTurn(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames::fragment::FRAGMENT_HEAD;
    use crate::wire::frames::fragment::put_fragment_head;

    const LIMIT: usize = 1 << 20;

    fn fragment(stream: u64, rest: u64, piece: &[u8]) -> Fragment<'_> {
        Fragment { stream, rest, piece }
    }

    fn add(assembly: &mut Assembly, stream: u64, rest: u64, piece: &[u8]) -> Result<Option<Vec<u8>>, Violation> {
        let whole = assembly.add(fragment(stream, rest, piece), Duration::ZERO)?;
        Ok(whole.map(|whole| whole.to_vec()))
    }

    #[test]
    fn frames_under_way_at_once_are_put_together_each_by_itself() {
        let mut assembly = Assembly::new(LIMIT);
        assert_eq!(add(&mut assembly, 0, 4, b"ab"), Ok(None));
        assert_eq!(add(&mut assembly, 1, 1, b"A"), Ok(None));
        assert_eq!(add(&mut assembly, 0, 1, b"cde"), Ok(None));
        assert_eq!(add(&mut assembly, 1, 0, b"B"), Ok(Some(b"AB".to_vec())));
        assert_eq!(add(&mut assembly, 0, 0, b"f"), Ok(Some(b"abcdef".to_vec())));
        assert_eq!(add(&mut assembly, 2, 0, b"whole"), Ok(Some(b"whole".to_vec())));
        assert!(assembly.is_empty() && assembly.announced == 0);
    }

    #[test]
    fn pieces_that_do_not_fit_together_are_refused() {
        let astray = |stream| Err(Violation::FragmentAstray(stream));
        let mut assembly = Assembly::new(LIMIT);
        assert_eq!(add(&mut assembly, 1, 4, b"ab"), astray(1), "the first is 0");
        assert_eq!(add(&mut assembly, 0, 4, b""), astray(0));
        assert_eq!(add(&mut assembly, 0, 4, b"ab"), Ok(None));
        assert_eq!(add(&mut assembly, 0, 4, b"cd"), astray(0), "more comes than was announced");
        assert_eq!(add(&mut assembly, 0, 4, b""), astray(0), "nothing comes");
        assert_eq!(add(&mut assembly, 0, 0, b"abcdefg"), astray(0));
        assert_eq!(add(&mut assembly, 0, 0, b"abcd"), Ok(Some(b"ababcd".to_vec())));
        assert_eq!(add(&mut assembly, 0, 0, b"again"), astray(0), "it is whole already");
    }

    #[test]
    fn no_more_is_under_way_than_one_frame_may_have() {
        let mut assembly = Assembly::new(100);
        assert_eq!(add(&mut assembly, 0, 99, b"ab"), Err(Violation::FrameTooLong { len: 101, limit: 100 }));
        assert_eq!(add(&mut assembly, 0, 48, b"ab"), Ok(None));
        assert_eq!(add(&mut assembly, 1, 48, b"ab"), Ok(None));
        assert_eq!(add(&mut assembly, 2, 0, b"a"), Err(Violation::FrameTooLong { len: 101, limit: 100 }));
        assert_eq!(add(&mut assembly, 2, u64::MAX, b"a").map(|_| ()), Err(assembly.too_long(u64::MAX)));
        let mut assembly = Assembly::new(LIMIT);
        for stream in 0..MAX_OPEN as u64 {
            assert_eq!(add(&mut assembly, stream, 1, b"a"), Ok(None));
        }
        assert_eq!(add(&mut assembly, MAX_OPEN as u64, 1, b"a"), Err(Violation::FragmentAstray(MAX_OPEN as u64)));
    }

    #[test]
    fn what_is_announced_is_not_reserved() {
        let mut assembly = Assembly::new(1 << 30);
        assert_eq!(add(&mut assembly, 0, (1 << 30) - 1, b"a"), Ok(None));
        assert!(assembly.open[&0].bytes.capacity() <= 2 * FIRST_ROOM);
        assert_eq!(
            assembly.unfinished().map(|(bytes, _)| bytes).collect::<Vec<_>>(),
            [assembly.open[&0].bytes.capacity()]
        );
    }

    #[test]
    fn what_stops_coming_is_dropped_and_what_comes_of_it_later_is_refused() {
        let mut assembly = Assembly::new(100);
        let at = Duration::from_secs;
        assert_eq!(assembly.add(fragment(0, 50, b"old"), at(1)), Ok(None));
        assert_eq!(assembly.add(fragment(1, 10, b"new"), at(2)), Ok(None));
        assert_eq!(assembly.drop_older_than(at(2)), 1);
        assert_eq!(assembly.announced, 13);
        assert_eq!(add(&mut assembly, 0, 0, &[0; 50]), Err(Violation::FragmentAstray(0)));
        assert_eq!(add(&mut assembly, 1, 0, &[0; 10]).map(|whole| whole.is_some()), Ok(true));
    }

    #[test]
    fn the_room_of_a_large_frame_is_kept_for_the_next_and_goes_when_none_comes() {
        let mut assembly = Assembly::new(2 * KEPT);
        let come = |assembly: &mut Assembly, stream, len| {
            let piece = vec![1; len];
            let whole = assembly.add(fragment(stream, 0, &piece), Duration::ZERO).unwrap().unwrap();
            let place = whole.as_ptr();
            assembly.recycle(whole);
            place
        };
        let first = come(&mut assembly, 0, 2 * KEPT);
        assembly.shrink();
        assert_ne!(come(&mut assembly, 1, 10), first, "it is far too much");
        assert_eq!(come(&mut assembly, 2, 2 * KEPT), first, "the same room");
        assembly.shrink();
        assert!(assembly.spare.capacity() >= 2 * KEPT, "it was used since");
        assembly.shrink();
        assert_eq!(assembly.spare.capacity(), 0);
        // A small room is kept.
        come(&mut assembly, 3, KEPT / 2);
        (0..3).for_each(|_| assembly.shrink());
        assert!(assembly.spare.capacity() >= KEPT / 2);
    }

    #[test]
    fn small_frames_that_stay_open_do_not_each_hold_the_room_of_a_large_one() {
        const LARGE: usize = 8 * KEPT;
        let (mut assembly, large) = (Assembly::new(LARGE + 100), vec![1; LARGE]);
        for n in 0..MAX_OPEN as u64 {
            let whole = assembly.add(fragment(2 * n, 0, &large), Duration::ZERO).unwrap().unwrap();
            assembly.recycle(whole);
            if n + 1 < MAX_OPEN as u64 {
                assert_eq!(add(&mut assembly, 2 * n + 1, 1, b"a"), Ok(None));
            }
        }
        let open: usize = assembly.open.values().map(|open| open.bytes.capacity()).sum();
        let held = open + assembly.spare.capacity();
        assert!(held <= LARGE + MAX_OPEN * 64, "{held} bytes");
    }

    #[test]
    fn room_is_kept_beside_frames_under_way_if_all_is_no_more_than_one_may_have() {
        const LARGE: usize = 8 * KEPT;
        let held = |lens: [usize; 2]| {
            let mut assembly = Assembly::new(LARGE);
            let whole = assembly.add(fragment(0, 0, &vec![1; LARGE]), Duration::ZERO).unwrap().unwrap();
            assembly.recycle(whole);
            for (stream, len) in (1..).zip(lens) {
                assert_eq!(add(&mut assembly, stream, 1, &vec![1; len - 1]), Ok(None));
            }
            let open: usize = assembly.open.values().map(|open| open.bytes.capacity()).sum();
            open + assembly.spare.capacity()
        };
        assert!(held([10, LARGE - 10]) <= LARGE + 64);
        assert!(held([LARGE * 2 / 5; 2]) <= LARGE);
        // One of two frames is done, and had more room than it needed, because the room grew.
        let (mut assembly, half) = (Assembly::new(LARGE), vec![1; LARGE / 2]);
        assert_eq!(add(&mut assembly, 0, 1, &half[1..]), Ok(None));
        let mut rest = half.len();
        let pieces = half.chunks(300 << 10).map(|piece| {
            rest -= piece.len();
            assembly.add(fragment(1, rest as u64, piece), Duration::ZERO).unwrap()
        });
        let whole = pieces.last().flatten().unwrap();
        assert!(whole.capacity() > half.len());
        assembly.recycle(whole);
        assert_eq!(assembly.spare.capacity(), 0);
    }

    #[test]
    fn the_room_of_a_large_frame_goes_while_small_ones_come() {
        let mut assembly = Assembly::new(2 * KEPT);
        for (stream, len) in [(0, 2 * KEPT), (1, 10), (2, 10)] {
            let whole = assembly.add(fragment(stream, 0, &vec![1; len]), Duration::ZERO).unwrap().unwrap();
            assembly.recycle(whole);
            assembly.shrink();
        }
        assert!(assembly.spare.capacity() <= KEPT);
    }

    #[test]
    fn only_messages_are_cut() {
        assert_eq!(assembled(&[kind::POST, 7]), Ok(Raw { kind: kind::POST, payload: &[7], size: LENGTH + 2 }));
        for other in [kind::PING, kind::FRAGMENT, kind::PROOF, kind::WELCOME, 200] {
            assert_eq!(assembled(&[other, 7]), Err(Violation::OutOfTurn(other)));
        }
        assert_eq!(assembled(&[]), Err(Violation::EmptyFrame));
    }

    #[test]
    fn a_head_and_its_piece_are_a_frame() {
        for (stream, rest) in [(0, 0), (300, 1), (u64::MAX, usize::MAX)] {
            let mut out = BytesMut::new();
            put_fragment_head(&mut out, stream, rest, 3);
            assert!(out.len() <= FRAGMENT_HEAD);
            out.put_slice(b"abc");
            let Ok(crate::wire::frames::Front::Frame(raw)) = crate::wire::frames::front(&out, 1024) else { panic!() };
            assert_eq!((raw.kind, raw.size), (kind::FRAGMENT, out.len()));
            assert_eq!(Fragment::read(raw.payload), Ok(fragment(stream, rest as u64, b"abc")));
        }
    }
}
