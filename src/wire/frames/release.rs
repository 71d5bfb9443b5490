//! Release: handles of the reader's boxes that the writer has released.

use std::iter::Peekable;
use std::iter::Take;

use bytes::BufMut;
use bytes::BytesMut;

use super::kind;
use super::put_frame;
use crate::ident::BoxId;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::codec::Reader;
use crate::wire::codec::Violation;
use crate::wire::codec::put_number;

/// Writes a release: the number of released handles of each box.
pub(crate) fn put_release(out: &mut BytesMut, released: impl IntoIterator<Item = (BoxId, u64)>) {
    put_frame(out, kind::RELEASE, |out| put_counts(out, released));
}

pub(super) fn put_counts(out: &mut BytesMut, counts: impl IntoIterator<Item = (BoxId, u64)>) {
    for (id, count) in counts {
        out.put_slice(&id.0);
        put_number(out, count);
    }
}

/// Writes releases in as many frames as needed for none to be longer than `longest` bytes.
pub(crate) fn put_releases(out: &mut BytesMut, released: impl IntoIterator<Item = (BoxId, u64)>, longest: usize) {
    put_in_frames(out, released, longest, |out, some| put_release(out, some));
}

pub(super) fn put_in_frames<I: IntoIterator<Item = (BoxId, u64)>>(
    out: &mut BytesMut,
    counts: I,
    longest: usize,
    put: impl Fn(&mut BytesMut, Take<&mut Peekable<I::IntoIter>>),
) {
    const ENTRY: usize = 16 + MAX_NUMBER;
    let most = (longest.saturating_sub(1) / ENTRY).max(1);
    let mut counts = counts.into_iter().peekable();
    while counts.peek().is_some() {
        put(out, counts.by_ref().take(most));
    }
}

/// Reads the entries written by [`put_release`] or [`put_hold`](super::hold::put_hold), one at a time.
pub(crate) fn read_counts(payload: &[u8]) -> impl Iterator<Item = Result<(BoxId, u64), Violation>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let entry = reader.array().and_then(|id| Ok((BoxId(id), reader.number()?)));
        if entry.is_err() {
            reader = Reader::new(&[]);
        }
        Some(entry)
    })
}
