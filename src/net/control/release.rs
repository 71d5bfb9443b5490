//! Releases of handles of the peer's boxes, which wait to be written behind messages to these boxes.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::deferred_release::DeferredReleases;
use crate::ident::BoxId;
use crate::wire::frames::release::put_releases;

/// Boxes whose handles wait to be released at most; those of further boxes are released when the connection ends.
pub(crate) const MAX_RELEASES: usize = 65_536;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Releases {
    /// The number of handles to release, by the box.
    counts: BTreeMap<BoxId, u64>,
    /// Leases that are given back to other nodes once the peer has read this side's claims.
    pub(crate) deferred: DeferredReleases,
}

impl Releases {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds handles of a box to those that are to be released.
    pub(crate) fn release(&mut self, id: BoxId, count: u64) {
        if self.counts.len() < MAX_RELEASES || self.counts.contains_key(&id) {
            *self.counts.entry(id).or_default() += count;
        }
    }

    /// Releases handles of many boxes at once, while nothing else waits. Leaves those for which there is no room.
    pub(crate) fn fill(&mut self, released: &mut impl Iterator<Item = (BoxId, u64)>) {
        self.counts = released.take(MAX_RELEASES).collect();
    }

    /// Writes all releases, in frames of at most `longest` bytes.
    pub(crate) fn poll_frames(&mut self, out: &mut BytesMut, longest: usize) {
        put_releases(out, std::mem::take(&mut self.counts), longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;
    use crate::wire::frames::release::read_counts;

    fn id(n: usize) -> BoxId {
        BoxId((n as u128).to_be_bytes())
    }

    /// Returns the boxes with their counts, as they are read by a peer that accepts frames of at most `longest` bytes.
    fn frames(releases: &mut Releases, longest: usize) -> Vec<(BoxId, u64)> {
        let mut out = BytesMut::new();
        releases.poll_frames(&mut out, longest);
        let (mut rest, mut read) = (&out[..], Vec::new());
        while let Front::Frame(raw) = front(rest, longest).expect("the peer reads it") {
            read.extend(read_counts(raw.payload).map(|entry| entry.expect("it was just written")));
            rest = &rest[raw.size..];
        }
        assert!(rest.is_empty() && releases.is_empty());
        read
    }

    #[test]
    fn handles_of_one_box_are_released_together_and_once() {
        let mut releases = Releases::default();
        [(2, 1), (1, 3), (2, 4)].iter().for_each(|(n, count)| releases.release(id(*n), *count));
        assert_eq!(frames(&mut releases, 1024), [(id(1), 3), (id(2), 5)]);
        assert_eq!(frames(&mut releases, 1024), []);
    }

    #[test]
    fn so_many_boxes_wait_to_be_released() {
        let mut releases = Releases::default();
        (0..=MAX_RELEASES).for_each(|n| releases.release(id(n), 1));
        assert_eq!(releases.counts.len(), MAX_RELEASES);
        releases.release(id(0), 2);
        let released = frames(&mut releases, 100);
        assert_eq!((released.len(), released[0]), (MAX_RELEASES, (id(0), 3)));
        let mut many = (0..MAX_RELEASES + 2).map(|n| (id(n), 1));
        releases.fill(&mut many);
        assert_eq!((releases.counts.len(), many.next()), (MAX_RELEASES, Some((id(MAX_RELEASES), 1))));
    }
}
