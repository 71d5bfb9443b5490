//! Hold: handles of the reader's boxes that came to the writer by another node.

use bytes::BytesMut;

use super::kind;
use super::put_frame;
use super::release::put_counts;
use super::release::put_in_frames;
use crate::ident::BoxId;

/// Writes a hold: the number of handles of each box that the writer holds and that came by another node.
pub(crate) fn put_hold(out: &mut BytesMut, held: impl IntoIterator<Item = (BoxId, u64)>) {
    put_frame(out, kind::HOLD, |out| put_counts(out, held));
}

/// Writes holds in as many frames as needed for none to be longer than `longest` bytes.
pub(crate) fn put_holds(out: &mut BytesMut, held: impl IntoIterator<Item = (BoxId, u64)>, longest: usize) {
    put_in_frames(out, held, longest, |out, some| put_hold(out, some));
}
