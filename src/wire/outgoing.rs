//! The writing end of a connection: numbers targets and handles, and writes messages.
//!
//! Invariant: `Outgoing::post` either appends one whole frame and remembers what it numbered in it, or changes nothing.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

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

/// Something that a message names: its target, or a handle inside it.
pub(crate) trait Referent {
    /// Tells identities apart, within this process and for its life: two with one key are one. What has the key 0 is
    /// introduced each time.
    fn key(&self) -> u64;
    /// The number it had last on any connection, or any other.
    fn hint(&self) -> &AtomicU32;
    /// Its name in full, as the reader of this connection understands it.
    fn introduction(&self) -> Introduction<'_>;
}

/// A message ready to be written: its body is encoded, its handles stand beside it.
#[derive(Debug)]
pub(crate) struct Post<'a, R, H> {
    pub(crate) to: R,
    pub(crate) handles: H,
    pub(crate) body: &'a [u8],
    /// How many relays have passed it on; of an answer, 0.
    pub(crate) hops: u8,
}

/// The handles of a message, which are looked at twice: once for their size and once to be written.
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

/// What is asked, or answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Correlated {
    /// A request that expires after so many milliseconds, if it does.
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

/// Bytes that a [`Correlated`] takes at most.
const CORRELATED: usize = 4 * MAX_NUMBER;

/// Bytes that the number of relays takes at most, in an extension block of its own or in that of a deadline.
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

/// Why a post was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unwritten {
    /// It is longer than the peer reads, or has too many handles.
    TooLarge,
    /// It does not fit into what room there is now.
    NoRoom,
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    numbers: Numbers,
    max_frame: usize,
    posts: u64,
    /// Whether the peer was told of a box of this side for which it holds nothing.
    names_ours: bool,
}

impl Outgoing {
    /// `max_frame` is what this side would read; the peer's hello may lower it.
    pub(crate) fn new(max_frame: usize) -> Outgoing {
        Outgoing { numbers: Numbers::new(), max_frame, posts: 0, names_ours: false }
    }

    /// The peer's hello has come: it reads frames of `max_frame` bytes and keeps `numbers` handles.
    pub(crate) fn peer_accepts(&mut self, max_frame: usize, numbers: usize) {
        self.max_frame = self.max_frame.min(max_frame);
        self.numbers.widen(numbers);
    }

    /// Whether the peer was told of a box of this side for which it holds nothing: it may use that for as long as it likes.
    pub(crate) fn names_ours(&self) -> bool {
        self.names_ours
    }

    /// The longest frame that both sides allow, in bytes behind the length field.
    pub(crate) fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Posts written so far.
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
    ) -> Result<(), Unwritten> {
        let handles = post.handles.clone().into_iter();
        if post.hops == 0
            && let Some(number) = self.numbers.number(post.to.key(), post.to.hint().load(Ordering::Relaxed))
        {
            if handles.len() == 0 {
                return self.post_plain(out, room, number, 0, &[], post.body);
            }
            if let Some(few) = self.few(handles) {
                return self.post_plain(out, room, number, flag::HANDLES, few.bytes(), post.body);
            }
        }
        let post = Post { to: Some(&post.to), handles: post.handles.clone(), body: post.body, hops: post.hops };
        self.fits(room, None, &post, self.has_numbers(&post))?;
        self.names_ours |= put_head(out, Some(&mut self.numbers), None, &post);
        out.put_slice(post.body);
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
    ) -> Result<(), Unwritten> {
        self.fits(room, Some(what), post, self.has_numbers(post))?;
        self.names_ours |= put_head(out, Some(&mut self.numbers), Some(what), post);
        out.put_slice(post.body);
        self.posts += u64::from(what.kind() == kind::ASK);
        Ok(())
    }

    /// Bytes that a post, or what is correlated, takes at most; `in_full` if nothing in it is to have a number.
    pub(crate) fn bound<R: Referent, H: Handles>(
        &self,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
        in_full: bool,
    ) -> Result<usize, Unwritten> {
        self.fits(usize::MAX, what, post, !in_full && self.has_numbers(post))
    }

    /// A frame in which everything is named in full: so it may wait elsewhere, and be written at any time or never. Its body
    /// is `kept`, if that is given, or else a copy behind the rest.
    pub(crate) fn in_full<R: Referent, H: Handles>(
        &mut self,
        room: usize,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
        kept: Option<&Bytes>,
    ) -> Result<Framed, Unwritten> {
        let bound = self.fits(room, what, post, false)?;
        let copied = if kept.is_some() { &[] } else { post.body };
        let mut head = BytesMut::with_capacity(bound - post.body.len() + copied.len());
        self.names_ours |= put_head(&mut head, None, what, post);
        head.put_slice(copied);
        Ok(Framed { head: head.freeze(), body: kept.cloned().map(Box::new) })
    }

    /// Whether all that is named in it has a number, and nothing is introduced: so no number goes to another meanwhile.
    fn has_numbers<R: Referent, H: Handles>(&self, post: &Post<'_, Option<R>, H>) -> bool {
        fn has_number(numbers: &Numbers, referent: &impl Referent) -> bool {
            numbers.has(referent.key(), referent.hint().load(Ordering::Relaxed))
        }
        post.to.as_ref().is_none_or(|to| has_number(&self.numbers, to))
            && post.handles.clone().into_iter().all(|handle| has_number(&self.numbers, &handle))
    }

    /// Whether the peer reads it, and there is room for it; how many bytes it has at most.
    fn fits<R: Referent, H: Handles>(
        &self,
        room: usize,
        what: Option<Correlated>,
        post: &Post<'_, Option<R>, H>,
        by_number: bool,
    ) -> Result<usize, Unwritten> {
        let count = post.handles.clone().into_iter().len();
        let extra = what.map_or(0, |_| CORRELATED) + if post.hops > 0 { HOPS } else { 0 };
        let bound = extra
            + if by_number { numbered_bound(count, post.body) } else { size_bound(&post.to, &post.handles, post.body) };
        if bound > self.max_frame.saturating_add(LENGTH) || count > MAX_HANDLES {
            return Err(Unwritten::TooLarge);
        }
        if bound > room { Err(Unwritten::NoRoom) } else { Ok(bound) }
    }

    /// The handles, if they are few and all of them have numbers.
    fn few<R: Referent>(&mut self, handles: impl ExactSizeIterator<Item = R>) -> Option<Few> {
        let mut few = Few::new(handles.len())?;
        for handle in handles {
            few.put(self.numbers.number(handle.key(), handle.hint().load(Ordering::Relaxed))?);
        }
        Some(few)
    }

    /// Appends what most posts are: a body for a target that has a number, and handles that have some, as they are written.
    #[inline(always)]
    fn post_plain(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        number: u32,
        flags: u8,
        handles: &[u8],
        body: &[u8],
    ) -> Result<(), Unwritten> {
        let (target, target_size) = Handle::used(number);
        let size = LENGTH + 2 + target_size + handles.len() + body.len();
        if size > self.max_frame.saturating_add(LENGTH) {
            return Err(Unwritten::TooLarge);
        }
        if size > room {
            return Err(Unwritten::NoRoom);
        }
        // What stands before the body is written in one piece, and what of it is too much is taken back.
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

/// As many handles are written in one piece, if each has a number.
const FEW: usize = 7;

/// Handles as they are written: how many, and their numbers.
struct Few {
    bytes: [u8; Self::PLACE],
    len: usize,
}

impl Few {
    /// A number is written as eight bytes, of which those that are too much are written over.
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

/// Appends what stands before the body of a post (`what` is nothing), a request or an answer. Without `numbers`, everything
/// in it is named in full. Whether a box of the writer's is among what is named, for which the reader holds nothing.
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

/// Names one; whether it is a box of the writer's, introduced, for which the reader holds nothing.
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

/// Bytes of what is not named at most, and not the body: length, kind, flags and the count of handles.
const FIXED: usize = LENGTH + 2 + MAX_NUMBER;

/// At least as many bytes as the post takes if its target and its handles, of which there are `count`, all have numbers.
fn numbered_bound(count: usize, body: &[u8]) -> usize {
    FIXED + MAX_NUMBER * (1 + count) + body.len()
}

/// At least as many bytes as the post takes, however its handles are named.
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
            let post = Post { to: &to, handles, body: b"body", hops: 0 };
            outgoing.post(&mut out, 1000, &post).unwrap();
            let by_post = outgoing.names_ours();
            let mut outgoing = Outgoing::new(1000);
            let post = Post { to: Some(&to), handles, body: b"body", hops: 0 };
            assert!(outgoing.in_full(1000, None, &post, None).is_ok());
            assert_eq!(outgoing.names_ours(), by_post);
            by_post
        };
        assert!(!after(&[]) && !after(&[ours(true), named(Identity::YourBox(BoxId([2; 16])), false)]));
        assert!(after(&[ours(true), ours(false)]));
    }
}
