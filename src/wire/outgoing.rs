//! The writing end of a connection: numbers targets and handles, and writes messages.
//!
//! Invariant: `Outgoing::post` either appends one whole frame and remembers the numbers set in it, or changes nothing.
//! A message that is not written is [`TooLarge`](DropReason::TooLarge) if it is longer than the peer reads or has too
//! many handles, and its [outbox is full](DropReason::OutboxFull) if it does not fit into the present room.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use bytes::BufMut;
use bytes::BytesMut;

use super::body::Body;
use super::codec::MAX_NUMBER;
use super::codec::put_bytes;
use super::codec::put_number;
use super::extensions::extension;
use super::extensions::flag;
use super::extensions::packed;
use super::frames::Framed;
use super::frames::LENGTH;
use super::frames::kind;
use super::frames::put_frame_before;
use super::introduction::Handle;
use super::introduction::Identity;
use super::introduction::Introduction;
use super::introduction::MAX_HANDLES;
use super::numbering::Naming;
use super::numbering::Numbers;
use crate::reason::DropReason;

/// A box that a message names: its target, or a handle inside it.
pub(crate) trait Referent {
    /// Returns the key of the identity, within this process and for its life: two referents with one key are the same.
    /// A referent with the key 0 is introduced each time.
    fn key(&self) -> u64;
    /// Returns the number that the referent had last on any connection, or any other number.
    fn hint(&self) -> &AtomicU32;
    /// Returns the full name of the referent, as the reader of this connection understands it.
    fn introduction(&self) -> Introduction<'_>;
}

/// A message ready to be written on one connection: its body is encoded, with its handles beside it.
#[derive(Debug)]
pub(crate) struct Post<'a, R, H> {
    pub(crate) to: R,
    pub(crate) handles: H,
    pub(crate) body: Body<'a>,
    /// Number of relays that have passed the message on; 0 for an answer.
    pub(crate) hops: u8,
}

impl<'a, R, H: Clone> Post<'a, R, H> {
    /// Returns the message in the form that it shares with answers, which have no target.
    pub(crate) fn with_target(&self) -> Post<'a, Option<&R>, H> {
        Post { to: Some(&self.to), handles: self.handles.clone(), body: self.body, hops: self.hops }
    }
}

/// The handles of a message, which are iterated twice: once for their size and once to be written.
pub(crate) trait Handles: Clone + IntoIterator<Item: Referent, IntoIter: ExactSizeIterator> {}

impl<H: Clone + IntoIterator<Item: Referent, IntoIter: ExactSizeIterator>> Handles for H {}

impl<R: Referent> Referent for &R {
    fn key(&self) -> u64 {
        (**self).key()
    }

    fn hint(&self) -> &AtomicU32 {
        (**self).hint()
    }

    fn introduction(&self) -> Introduction<'_> {
        (**self).introduction()
    }
}

/// The correlation of an ask or an answer. Most messages have none, so it is passed beside the [`Post`], not in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Correlated {
    /// A request, with the milliseconds until it expires, if it does.
    Ask {
        correlation: u64,
        deadline: Option<u64>,
    },
    Answer {
        correlation: u64,
    },
}

impl Correlated {
    fn kind(self) -> u8 {
        match self {
            Correlated::Ask { .. } => kind::ASK,
            Correlated::Answer { .. } => kind::ANSWER,
        }
    }

    fn correlation(self) -> u64 {
        let (Correlated::Ask { correlation, .. } | Correlated::Answer { correlation }) = self;
        correlation
    }

    fn deadline(self) -> Option<u64> {
        if let Correlated::Ask { deadline, .. } = self { deadline } else { None }
    }
}

/// Maximum size of a [`Correlated`], in bytes.
const CORRELATED: usize = 4 * MAX_NUMBER;

/// Maximum size of the number of relays, in bytes, in an extension block of its own or in that of a deadline.
pub(super) const HOPS: usize = 5;

/// Appends the extension block of a message that has one.
fn put_block(out: &mut BytesMut, deadline: Option<u64>, hops: u8) {
    let hops = (hops > 0).then_some(u64::from(hops));
    let values = [(extension::DEADLINE, deadline), (extension::HOPS, hops)];
    let values = values.into_iter().filter_map(|(id, value)| Some((id, packed(value?))));
    // The id and the length before each value take a byte each.
    put_number(out, values.clone().map(|(_, (_, len))| 2 + len as u64).sum());
    for (id, (bytes, len)) in values {
        put_number(out, id);
        put_bytes(out, bytes.get(..len).unwrap_or_default());
    }
}

/// The writing end of a connection.
#[derive(Debug)]
pub(crate) struct Outgoing {
    numbers: Numbers,
    max_frame: usize,
    posts: u64,
    /// Whether a box of this side was introduced to the peer without a lease.
    names_ours: bool,
}

impl Outgoing {
    /// Makes a writing end. `max_frame` is this side's own limit, in bytes; the peer's hello may lower it.
    pub(crate) fn new(max_frame: usize) -> Outgoing {
        Outgoing { numbers: Numbers::new(), max_frame, posts: 0, names_ours: false }
    }

    /// Applies the peer's hello: the peer reads frames of `max_frame` bytes and keeps `numbers` handles.
    pub(crate) fn peer_accepts(&mut self, max_frame: usize, numbers: usize) {
        self.max_frame = self.max_frame.min(max_frame);
        self.numbers.widen(numbers);
    }

    /// Returns whether a box of this side was introduced to the peer without a lease: the peer may use it for as long
    /// as it likes.
    pub(crate) fn names_ours(&self) -> bool {
        self.names_ours
    }

    /// Returns the maximum frame length that both sides allow, in bytes behind the length field.
    pub(crate) fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Returns the number of posts written so far.
    pub(crate) fn posts(&self) -> u64 {
        self.posts
    }

    /// Appends the post if it takes at most `room` bytes; on error nothing is changed.
    #[inline]
    pub(crate) fn post<R: Referent, H: Handles>(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        post: &Post<'_, R, H>,
    ) -> Result<(), DropReason> {
        let handles = post.handles.clone().into_iter();
        if post.hops == 0
            && let Some(number) = self.numbers.number(post.to.key(), post.to.hint().load(Ordering::Relaxed))
        {
            if handles.len() == 0 {
                return self.post_plain(out, room, number, 0, &[], &post.body);
            }
            if let Some(posted) = self.post_few(out, room, number, handles, &post.body) {
                return posted;
            }
        }
        let post = post.with_target();
        self.fits(room, None, &post, self.has_numbers(&post))?;
        self.names_ours |= put_head(out, Some(&mut self.numbers), None, &post);
        out.put_slice(&post.body);
        self.posts += 1;
        Ok(())
    }

    /// Appends a request, or an answer (which has no target); on error nothing is changed.
    pub(crate) fn correlated<R: Referent, H: Handles>(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        what: Correlated,
        post: &Post<'_, Option<R>, H>,
    ) -> Result<(), DropReason> {
        self.fits(room, Some(what), post, self.has_numbers(post))?;
        self.names_ours |= put_head(out, Some(&mut self.numbers), Some(what), post);
        out.put_slice(&post.body);
        self.posts += u64::from(what.kind() == kind::ASK);
        Ok(())
    }

    /// Returns an upper bound on the size of a post, an ask or an answer, in bytes; `in_full` if nothing in it may have
    /// a number.
    pub(crate) fn bound<R: Referent, H: Handles>(
        &self,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
        in_full: bool,
    ) -> Result<usize, DropReason> {
        self.fits(usize::MAX, what, post, !in_full && self.has_numbers(post))
    }

    /// Makes a frame in which everything is named in full, so that it may wait elsewhere, and be written at any time or
    /// never. Its body is kept if that costs nothing, or else copied behind the rest.
    pub(crate) fn in_full<R: Referent, H: Handles>(
        &mut self,
        room: usize,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
    ) -> Result<Framed, DropReason> {
        let bound = self.fits(room, what, post, false)?;
        let kept = post.body.kept();
        let copied = if kept.is_some() { &[] } else { &*post.body };
        let mut head = BytesMut::with_capacity(bound - post.body.len() + copied.len());
        self.names_ours |= put_head(&mut head, None, what, post);
        head.put_slice(copied);
        Ok(Framed { head: head.freeze(), body: kept.cloned().map(Box::new) })
    }

    /// Returns whether the target and all handles have numbers. Then nothing is introduced, so that no number is
    /// reassigned while the message is written.
    fn has_numbers<R: Referent, H: Handles>(&self, post: &Post<'_, Option<R>, H>) -> bool {
        fn has_number(numbers: &Numbers, referent: &impl Referent) -> bool {
            numbers.has(referent.key(), referent.hint().load(Ordering::Relaxed))
        }
        post.to.as_ref().is_none_or(|to| has_number(&self.numbers, to))
            && post.handles.clone().into_iter().all(|handle| has_number(&self.numbers, &handle))
    }

    /// Checks that the peer reads the message and that there is room for it. Returns an upper bound on its size in
    /// bytes.
    fn fits<R: Referent, H: Handles>(
        &self,
        room: usize,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
        by_number: bool,
    ) -> Result<usize, DropReason> {
        let count = post.handles.clone().into_iter().len();
        let extra = what.map_or(0, |_| CORRELATED) + if post.hops > 0 { HOPS } else { 0 };
        let bound = extra
            + if by_number {
                numbered_bound(count, &post.body)
            } else {
                size_bound(&post.to, &post.handles, &post.body)
            };
        if bound > self.max_frame.saturating_add(LENGTH) || count > MAX_HANDLES {
            return Err(DropReason::TooLarge);
        }
        if bound > room { Err(DropReason::OutboxFull) } else { Ok(bound) }
    }

    /// Appends a post with handles, if they are few and all of them have numbers. A function of its own, so that posts
    /// without handles are as short as they can be.
    #[inline(never)]
    fn post_few<R: Referent>(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        number: u32,
        handles: impl ExactSizeIterator<Item = R>,
        body: &[u8],
    ) -> Option<Result<(), DropReason>> {
        let mut few = Few::new(handles.len())?;
        for handle in handles {
            few.put(self.numbers.number(handle.key(), handle.hint().load(Ordering::Relaxed))?);
        }
        Some(self.post_plain(out, room, number, flag::HANDLES, few.bytes(), body))
    }

    /// Appends a post in the most frequent form: a body for a target that has a number, and written handles that all
    /// have numbers.
    #[inline(always)]
    fn post_plain(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        number: u32,
        flags: u8,
        handles: &[u8],
        body: &[u8],
    ) -> Result<(), DropReason> {
        let (target, target_size) = Handle::used(number);
        let size = LENGTH + 2 + target_size + handles.len() + body.len();
        if size > self.max_frame.saturating_add(LENGTH) {
            return Err(DropReason::TooLarge);
        }
        if size > room {
            return Err(DropReason::OutboxFull);
        }
        // The head is written in one piece, and its surplus bytes are taken back.
        const WHOLE: usize = size_of::<u128>();
        let head = u128::from((size - LENGTH) as u32)
            | u128::from(kind::POST) << 32
            | u128::from(flags) << 40
            | u128::from(target) << 48;
        out.reserve(WHOLE + handles.len() + body.len());
        out.extend_from_slice(&head.to_le_bytes());
        out.truncate(out.len() - (WHOLE - (LENGTH + 2 + target_size)));
        out.extend_from_slice(handles);
        out.extend_from_slice(body);
        self.posts += 1;
        Ok(())
    }
}

/// Maximum number of handles that are written in one piece, if each has a number.
const FEW: usize = 7;

/// Handles as they are written: their count, and their numbers.
struct Few {
    bytes: [u8; Self::PLACE],
    len: usize,
}

impl Few {
    /// Size of the buffer in bytes: a number is written as eight bytes, and its surplus bytes are overwritten by the
    /// next.
    const PLACE: usize = 8 + 5 * FEW + 8;

    fn new(count: usize) -> Option<Few> {
        let mut bytes = [0; Self::PLACE];
        *bytes.first_mut()? = u8::try_from(count).ok().filter(|&count| usize::from(count) <= FEW)?;
        Some(Few { bytes, len: 1 })
    }

    fn put(&mut self, number: u32) {
        let (packed, size) = Handle::used(number);
        if let Some(place) = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            *place = packed.to_le_bytes();
            self.len += size;
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Appends the head of a post (`what` is `None`), a request or an answer, which stands before the body. Without
/// `numbers`, everything in it is named in full. Returns whether a box of the writer's was introduced without a lease.
fn put_head<R: Referent, H: Handles>(
    out: &mut BytesMut,
    mut numbers: Option<&mut Numbers>,
    what: Option<Correlated>,
    post: &Post<'_, Option<R>, H>,
) -> bool {
    let mut names_ours = false;
    let handles = post.handles.clone().into_iter();
    let count = handles.len();
    let deadline = what.and_then(Correlated::deadline);
    let is_extended = deadline.is_some() || post.hops > 0;
    put_frame_before(out, what.map_or(kind::POST, Correlated::kind), post.body.len(), |out| {
        let extended = if is_extended { flag::EXTENSIONS } else { 0 };
        out.put_u8(extended | if count == 0 { 0 } else { flag::HANDLES });
        what.iter().for_each(|what| put_number(out, what.correlation()));
        if is_extended {
            put_block(out, deadline, post.hops);
        }
        post.to.iter().for_each(|to| names_ours |= name(to, numbers.as_deref_mut(), out));
        if count > 0 {
            put_number(out, count as u64);
            handles.for_each(|handle| names_ours |= name(&handle, numbers.as_deref_mut(), out));
        }
    });
    names_ours
}

/// Writes the name of one box. Returns whether it is a box of the writer's that was introduced without a lease.
#[inline]
fn name(referent: &impl Referent, numbers: Option<&mut Numbers>, out: &mut BytesMut) -> bool {
    let is_ours = |introduction: &Introduction<'_>| {
        matches!(introduction.identity, Identity::MyBox { .. }) && !introduction.is_leased
    };
    let hint = referent.hint();
    let naming = numbers.map(|numbers| numbers.name(referent.key(), hint.load(Ordering::Relaxed)));
    match naming.unwrap_or(Naming::Inline) {
        Naming::Use(number) => {
            hint.store(number, Ordering::Relaxed);
            Handle::Use(u64::from(number)).put(out);
            false
        }
        Naming::Set(number) => {
            hint.store(number, Ordering::Relaxed);
            let introduction = referent.introduction();
            let is_ours = is_ours(&introduction);
            Handle::Set(u64::from(number), introduction).put(out);
            is_ours
        }
        Naming::Inline => {
            let introduction = referent.introduction();
            let is_ours = is_ours(&introduction);
            Handle::Inline(introduction).put(out);
            is_ours
        }
    }
}

/// Maximum size, in bytes, of a message apart from names and body: length, kind, flags and the count of handles.
const FIXED: usize = LENGTH + 2 + MAX_NUMBER;

/// Returns an upper bound on the size of a post, in bytes, if its target and its `count` handles all have numbers.
fn numbered_bound(count: usize, body: &[u8]) -> usize {
    FIXED + MAX_NUMBER * (1 + count) + body.len()
}

/// Returns an upper bound on the size of a post, in bytes, however its handles are named.
fn size_bound<R: Referent, H: Handles>(to: &Option<R>, handles: &H, body: &[u8]) -> usize {
    fn named(referent: &impl Referent) -> usize {
        MAX_NUMBER + referent.introduction().size_bound()
    }
    let handles = handles.clone().into_iter().map(|handle| named(&handle)).sum::<usize>();
    FIXED + to.as_ref().map_or(0, named) + handles + body.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::BoxId;

    struct Named(AtomicU32, Introduction<'static>);

    impl Referent for Named {
        fn key(&self) -> u64 {
            0
        }

        fn hint(&self) -> &AtomicU32 {
            &self.0
        }

        fn introduction(&self) -> Introduction<'_> {
            self.1.clone()
        }
    }

    fn named(identity: Identity<'static>, is_leased: bool) -> Named {
        Named(AtomicU32::new(0), Introduction { identity, is_leased, fingerprint: 0 })
    }

    fn ours(is_leased: bool) -> Named {
        named(Identity::MyBox { id: BoxId([1; 16]), name: "" }, is_leased)
    }

    #[test]
    fn it_is_known_whether_the_peer_was_told_of_a_box_for_which_it_holds_nothing() {
        let to = named(Identity::YourName("box"), false);
        let after = |handles: &[Named]| {
            let (mut outgoing, mut out) = (Outgoing::new(1000), BytesMut::new());
            let post = Post { to: &to, handles, body: Body::from(&b"body"[..]), hops: 0 };
            outgoing.post(&mut out, 1000, &post).unwrap();
            let by_post = outgoing.names_ours();
            let mut outgoing = Outgoing::new(1000);
            let post = Post { to: Some(&to), handles, body: Body::from(&b"body"[..]), hops: 0 };
            assert!(outgoing.in_full(1000, None, &post).is_ok());
            assert_eq!(outgoing.names_ours(), by_post);
            by_post
        };
        assert!(!after(&[]) && !after(&[ours(true), named(Identity::YourBox(BoxId([2; 16])), false)]));
        assert!(after(&[ours(true), ours(false)]));
    }
}
