//! Messages that are too large to be written at once, and frames that have to wait behind them.
//!
//! Each box has a flow of its own, in which all frames for it wait in order while a large one waits. The flows take
//! turns, a piece at a time, and frames for other boxes go between the pieces. In a flow all addresses are written in
//! full, because the numbers of the connection may mean something else by the time a frame is written.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use bytes::BytesMut;

use super::barriers::Barriers;
use super::barriers::Epoch;
use super::target::TargetRef;
use crate::ident::BoxId;
use crate::net::control::flow::Flow;
use crate::wire::assembly::MAX_OPEN;
use crate::wire::frames::Framed;
use crate::wire::frames::LENGTH;
use crate::wire::frames::fragment::FRAGMENT_HEAD;
use crate::wire::frames::fragment::put_fragment_head;

/// The frames that wait in flows. Bounded by the outbox, whose room they take.
#[derive(Debug, Default)]
pub(super) struct FragmentQueue {
    waiting: HashMap<Flow, VecDeque<QueuedFrame>>,
    /// Flows whose first frame is under way, in turn; `closed` holds the others.
    open: VecDeque<Flow>,
    closed: VecDeque<Flow>,
    /// Bytes of the frames under way, in total.
    under_way: usize,
    /// Bytes that wait.
    bytes: usize,
    /// Messages that wait, including those of which pieces were written.
    messages: u64,
    /// Messages that were written completely.
    written: u64,
    next_stream: u64,
    next_answer: u64,
    /// The boxes of the peer that waiting frames name beside their targets.
    named: HashMap<BoxId, Mentions>,
    barriers: Barriers,
}

/// A box that is named in waiting frames.
#[derive(Debug, Default)]
struct Mentions {
    times: usize,
    /// Handles of the box that were released since. The release is sent when no frame that names the box waits any
    /// more; sent earlier, it could end the box before the frame is read.
    released: u64,
}

#[derive(Debug)]
struct QueuedFrame {
    frame: Framed,
    what: FrameRole,
    /// The boxes of the peer that the frame names beside its target.
    names: Vec<BoxId>,
    /// The stream number of the frame, once a piece was written; `written` counts its bytes so far, and fits since no
    /// frame is longer than its length field can say.
    stream: Option<u64>,
    written: u32,
    epoch: Epoch,
}

impl QueuedFrame {
    /// Returns those bytes of the frame. If the frame is in two parts, bytes of its head go into `chunk` instead.
    fn put(&self, bytes: Range<usize>, chunk: &mut BytesMut) -> Bytes {
        let Framed { head, body } = &self.frame;
        let Some(body) = body else { return head.slice(bytes) };
        let of_head = bytes.start.min(head.len())..bytes.end.min(head.len());
        let of_body = bytes.start.saturating_sub(head.len())..bytes.end.saturating_sub(head.len());
        chunk.extend_from_slice(head.get(of_head).unwrap_or_default());
        body.slice(of_body)
    }
}

/// The role of a frame in a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameRole {
    Post,
    /// A request of this side, by its number.
    Ask(u64),
    /// An answer to a request of the peer.
    Answer,
    /// A frame that follows a message: a cancel or a release.
    Follower,
}

impl FrameRole {
    fn is_message(self) -> bool {
        matches!(self, FrameRole::Post | FrameRole::Ask(_))
    }
}

/// The sizes into which frames are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragmentation {
    /// The most bytes of a piece; a frame that is no longer is not cut.
    pub(super) piece: usize,
    /// The longest frame that both sides allow.
    pub(super) max_frame: usize,
    /// Whether the peer knows pieces.
    pub(super) is_known: bool,
}

impl Fragmentation {
    fn is_fragmented(self, len: usize) -> bool {
        self.is_known && len > self.piece
    }

    /// Returns the size of the next piece when `left` bytes are left. A small rest is not worth a piece of its own, and
    /// joins the last one.
    fn piece_of(self, left: usize) -> usize {
        let longest = self.max_frame.saturating_sub(FRAGMENT_HEAD).max(1);
        let most = (self.piece + self.piece / 8).min(longest);
        if left <= most { left } else { self.piece.min(longest) }
    }
}

/// Bytes to write behind the chunk, and the events that come with them.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// A request that is completely written with this piece.
    pub(super) asked: Option<u64>,
    /// Releases of handles that can be sent now.
    pub(super) released: Vec<(BoxId, u64)>,
}

impl FragmentQueue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether messages that a pointer sends have to wait in a flow, behind others.
    #[inline]
    pub(super) fn holds(&self, to: TargetRef<'_>) -> bool {
        !self.is_empty() && self.waiting.contains_key(&to.flow())
    }

    /// Whether frames wait for the box of that id.
    pub(super) fn holds_box(&self, id: BoxId) -> bool {
        self.waiting.contains_key(&Flow::Box(id))
    }

    /// Makes a barrier behind all frames that wait here now; see [`is_past`](FragmentQueue::is_past).
    pub(super) fn barrier(&mut self) -> Epoch {
        self.barriers.make()
    }

    /// Whether all frames that waited when the barrier was made are written.
    pub(super) fn is_past(&self, barrier: Epoch) -> bool {
        self.barriers.is_past(barrier)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Returns a new flow for an answer.
    pub(super) fn for_answer(&mut self) -> Flow {
        self.next_answer += 1;
        Flow::Answer(self.next_answer)
    }

    /// Puts a frame at the end of its flow.
    pub(super) fn put(&mut self, flow: Flow, frame: impl Into<Framed>, what: FrameRole, names: Vec<BoxId>) {
        let frame = frame.into();
        self.bytes += frame.len();
        self.messages += u64::from(what.is_message());
        names.iter().for_each(|id| self.named.entry(*id).or_default().times += 1);
        let epoch = self.barriers.queued();
        let items = self.waiting.entry(flow).or_default();
        items.push_back(QueuedFrame { frame, what, names, stream: None, written: 0, epoch });
        if items.len() == 1 {
            self.closed.push_back(flow);
        }
    }

    /// Takes a release of handles of the peer's box. Returns whether the release waits here, because a waiting frame
    /// names the box.
    pub(super) fn release(&mut self, id: BoxId, count: u64) -> bool {
        let mentions = self.named.get_mut(&id);
        mentions.map(|mentions| mentions.released += count).is_some()
    }

    /// Notes that a frame that names these boxes waits no more. Returns the releases that can be sent now.
    fn forget_names(&mut self, names: &[BoxId]) -> Vec<(BoxId, u64)> {
        let mut released = Vec::new();
        for id in names {
            let Some(mentions) = self.named.get_mut(id) else { continue };
            mentions.times -= 1;
            if mentions.times == 0 {
                let count = mentions.released;
                self.named.remove(id);
                released.extend((count > 0).then_some((*id, count)));
            }
        }
        released
    }

    /// Returns the next piece, or a whole frame. Its beginning goes into `chunk`, and the returned bytes go behind
    /// that.
    pub(super) fn next(&mut self, chunk: &mut BytesMut, fragmentation: Fragmentation) -> Option<Piece> {
        self.open_more(fragmentation.max_frame);
        let flow = self.open.pop_front()?;
        let items = self.waiting.get_mut(&flow)?;
        let item = items.front_mut()?;
        let len = item.frame.len().saturating_sub(LENGTH);
        let (bytes, is_whole) = if fragmentation.is_fragmented(len) {
            let stream = *item.stream.get_or_insert_with(|| {
                self.next_stream += 1;
                self.next_stream - 1
            });
            let at = item.written as usize;
            let end = at + fragmentation.piece_of(len - at);
            put_fragment_head(chunk, stream, len - end, end - at);
            item.written = end as u32;
            self.bytes = self.bytes.saturating_sub(end - at);
            (item.put(LENGTH + at..LENGTH + end, chunk), end == len)
        } else {
            self.bytes = self.bytes.saturating_sub(item.frame.len());
            (item.put(0..item.frame.len(), chunk), true)
        };
        if !is_whole {
            self.open.push_back(flow);
            return Some(Piece { bytes, asked: None, released: Vec::new() });
        }
        let QueuedFrame { what, names, epoch, .. } = items.pop_front()?;
        self.barriers.finished(epoch);
        // The length field of a frame that was cut was never written.
        self.bytes = self.bytes.saturating_sub(if fragmentation.is_fragmented(len) { LENGTH } else { 0 });
        self.under_way = self.under_way.saturating_sub(len);
        if items.is_empty() {
            self.waiting.remove(&flow);
        } else {
            self.closed.push_back(flow);
        }
        self.messages = self.messages.saturating_sub(u64::from(what.is_message()));
        self.written += u64::from(what.is_message());
        let asked = if let FrameRole::Ask(number) = what { Some(number) } else { None };
        Some(Piece { bytes, asked, released: self.forget_names(&names) })
    }

    /// Opens further flows, while the peer has room for their first frames.
    fn open_more(&mut self, max_frame: usize) {
        while self.open.len() < MAX_OPEN
            && let Some(flow) = self.closed.front().copied()
        {
            let len = self.waiting.get(&flow).and_then(|items| items.front()).map_or(0, |item| item.frame.len());
            let len = len.saturating_sub(LENGTH);
            if !self.open.is_empty() && self.under_way + len > max_frame {
                return;
            }
            self.under_way += len;
            self.closed.pop_front();
            self.open.push_back(flow);
        }
    }

    /// Drops frames that are longer than the peer reads. Returns the number of dropped messages, and the requests.
    /// Nothing is under way yet, and no box of the peer can have been named before it has greeted.
    pub(super) fn drop_longer_than(&mut self, max_frame: usize) -> (u64, Vec<u64>) {
        let (mut dropped, mut asked) = (0, Vec::new());
        let FragmentQueue { waiting, bytes, messages, barriers, .. } = self;
        waiting.retain(|_, items| {
            items.retain(|item| {
                let fits = item.frame.len() <= LENGTH + max_frame;
                if !fits {
                    barriers.finished(item.epoch);
                    *bytes = bytes.saturating_sub(item.frame.len());
                    *messages = messages.saturating_sub(u64::from(item.what.is_message()));
                    dropped += u64::from(item.what.is_message());
                    asked.extend(if let FrameRole::Ask(number) = item.what { Some(number) } else { None });
                }
                fits
            });
            !items.is_empty()
        });
        self.closed.retain(|flow| waiting.contains_key(flow));
        (dropped, asked)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::assembly::Assembly;
    use crate::wire::frames::Front;
    use crate::wire::frames::fragment::Fragment;
    use crate::wire::frames::front;
    use crate::wire::frames::kind;
    use crate::wire::frames::put_frame;

    const CUT: Fragmentation = Fragmentation { piece: 100, max_frame: 2_000, is_known: true };

    fn post(byte: u8, len: usize) -> BytesMut {
        let mut frame = BytesMut::new();
        put_frame(&mut frame, kind::POST, |out| out.resize(LENGTH + 1 + len, byte));
        frame
    }

    fn flow(n: u8) -> Flow {
        Flow::Box(BoxId([n; 16]))
    }

    /// Returns all that is written: for each frame its first byte and whether it is a piece, and the whole frames.
    fn written(fragments: &mut FragmentQueue, fragmentation: Fragmentation) -> (Vec<(u8, bool)>, Vec<Vec<u8>>) {
        let (mut frames, mut whole, mut assembly) = (Vec::new(), Vec::new(), Assembly::new(fragmentation.max_frame));
        while !fragments.is_empty() {
            let mut out = BytesMut::new();
            let piece = fragments.next(&mut out, fragmentation).expect("they are not empty");
            out.extend_from_slice(&piece.bytes);
            let Ok(Front::Frame(raw)) = front(&out, fragmentation.max_frame) else { panic!("{out:?}") };
            assert_eq!(raw.size, out.len());
            if raw.kind == kind::FRAGMENT {
                let fragment = Fragment::read(raw.payload).expect("a fragment");
                frames.push((*fragment.piece.last().expect("a piece"), true));
                whole.extend(assembly.add(fragment, Duration::ZERO).expect("as agreed").map(|whole| whole.to_vec()));
            } else {
                frames.push((raw.payload[0], false));
                whole.push(out[LENGTH..].to_vec());
            }
        }
        assert_eq!((fragments.bytes, fragments.messages, fragments.under_way, fragments.named.len()), (0, 0, 0, 0));
        (frames, whole)
    }

    #[test]
    fn what_is_for_other_boxes_goes_between_the_pieces_and_what_is_for_the_same_behind_them() {
        let mut fragments = FragmentQueue::default();
        fragments.put(flow(1), post(1, 250), FrameRole::Post, Vec::new());
        fragments.put(flow(1), post(2, 10), FrameRole::Post, Vec::new());
        fragments.put(flow(3), post(3, 150), FrameRole::Post, Vec::new());
        fragments.put(flow(4), post(4, 10), FrameRole::Post, Vec::new());
        let (frames, whole) = written(&mut fragments, CUT);
        let pieces = [(1, true), (3, true), (4, false), (1, true), (3, true), (1, true), (2, false)];
        assert_eq!(frames, pieces);
        assert_eq!(whole.iter().map(|whole| whole.len()).collect::<Vec<_>>(), [11, 151, 251, 11]);
        assert_eq!(fragments.written(), 4);
    }

    #[test]
    fn a_peer_that_knows_no_pieces_gets_whole_frames() {
        let mut fragments = FragmentQueue::default();
        fragments.put(flow(1), post(1, 250), FrameRole::Ask(7), Vec::new());
        fragments.put(flow(2), post(2, 250), FrameRole::Answer, Vec::new());
        let mut out = BytesMut::new();
        let fragmentation = Fragmentation { is_known: false, ..CUT };
        let piece = fragments.next(&mut out, fragmentation).expect("something waits");
        assert_eq!((out.len() + piece.bytes.len(), piece.asked), (255, Some(7)));
        assert_eq!(written(&mut fragments, fragmentation).0, [(2, false)]);
        assert_eq!(fragments.written(), 1, "an answer is no message");
    }

    #[test]
    fn no_more_is_under_way_than_the_peer_has_room_for() {
        let mut fragments = FragmentQueue::default();
        (0..20).for_each(|n| fragments.put(flow(n), post(n, 900), FrameRole::Post, Vec::new()));
        let (_, whole) = written(&mut fragments, CUT);
        assert_eq!(whole.len(), 20);
        let mut fragments = FragmentQueue::default();
        (0..20).for_each(|n| fragments.put(flow(n), post(n, 150), FrameRole::Post, Vec::new()));
        let (frames, whole) = written(&mut fragments, CUT);
        assert_eq!(whole.len(), 20);
        let first: Vec<u8> = frames[..MAX_OPEN].iter().map(|(n, _)| *n).collect();
        assert_eq!(first, (0..MAX_OPEN as u8).collect::<Vec<_>>());
        assert_eq!(frames[MAX_OPEN].0, 0, "eight at a time");
    }

    #[test]
    fn what_the_peer_does_not_read_is_dropped_and_the_rest_is_not() {
        let mut fragments = FragmentQueue::default();
        fragments.put(flow(1), post(1, 250), FrameRole::Ask(7), Vec::new());
        fragments.put(flow(1), post(2, 10), FrameRole::Follower, Vec::new());
        fragments.put(flow(3), post(3, 250), FrameRole::Post, Vec::new());
        assert_eq!(fragments.drop_longer_than(200), (2, vec![7]));
        assert_eq!(written(&mut fragments, CUT).0, [(2, false)]);
    }

    #[test]
    fn pieces_are_frames_that_the_peer_reads() {
        let mut fragments = FragmentQueue::default();
        let fragmentation = Fragmentation { piece: 1_000_000, max_frame: 300, is_known: true };
        fragments.put(flow(1), post(1, 290), FrameRole::Post, Vec::new());
        assert_eq!(written(&mut fragments, fragmentation).0, [(1, false)]);
        let fragmentation = Fragmentation { piece: 280, ..fragmentation };
        fragments.put(flow(1), post(1, 290), FrameRole::Post, Vec::new());
        assert_eq!(written(&mut fragments, fragmentation).0.len(), 2);
    }

    #[test]
    fn a_frame_in_two_parts_is_written_as_if_it_were_one() {
        let frame: BytesMut = (0..250_u8).collect();
        let write = |frame: Framed, fragmentation: Fragmentation| {
            let (mut fragments, mut out) = (FragmentQueue::default(), Vec::new());
            fragments.put(flow(1), frame, FrameRole::Post, Vec::new());
            while !fragments.is_empty() {
                let mut chunk = BytesMut::new();
                let piece = fragments.next(&mut chunk, fragmentation).expect("they are not empty");
                chunk.extend_from_slice(&piece.bytes);
                out.push(chunk);
            }
            assert_eq!((fragments.bytes, fragments.messages, fragments.under_way), (0, 0, 0));
            out
        };
        for fragmentation in [CUT, Fragmentation { is_known: false, ..CUT }] {
            let whole = write(frame.clone().into(), fragmentation);
            for at in LENGTH..=frame.len() {
                let (mut head, body) = (frame.clone(), Box::new(frame[at..].to_vec().into()));
                head.truncate(at);
                assert_eq!(
                    write(Framed { head: head.freeze(), body: Some(body) }, fragmentation),
                    whole,
                    "cut at {at}"
                );
            }
        }
    }

    #[test]
    fn what_is_let_go_is_said_when_no_frame_that_names_it_waits_any_more() {
        let (mut fragments, named, other) = (FragmentQueue::default(), BoxId([7; 16]), BoxId([8; 16]));
        fragments.put(flow(1), post(1, 150), FrameRole::Post, vec![named, named]);
        fragments.put(flow(2), post(2, 250), FrameRole::Answer, vec![named]);
        assert!(!fragments.release(other, 1) && fragments.release(named, 1) && fragments.release(named, 2));
        let mut released = Vec::new();
        while let Some(piece) = fragments.next(&mut BytesMut::new(), CUT) {
            assert!(released.is_empty(), "it was said before the last piece");
            released = piece.released;
        }
        assert_eq!(released, [(named, 3)]);
        assert!(!fragments.release(named, 1));
    }
}
