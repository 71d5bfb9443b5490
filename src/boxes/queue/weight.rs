//! The weight of the messages of a box: their bytes as they came from connections, which all boxes of a node share.
//! Messages sent on this node were never encoded, and weigh nothing.
//!
//! Invariant: the total is the weight of the waiting messages, and of those that the reader or the actor behind the box
//! was given last and may not have begun.

use crate::boxes::buffer::fill_level_of;
use crate::quota::Share;
use crate::quota::Terms;
use crate::wire::batch::Bodies;

/// Number of bytes that each box may hold whatever the others hold. It is small, because there may be very many boxes.
pub(super) const OWN: Terms = Terms { own: 1 << 10, chunk: 16 << 10 };

/// See the [module](self).
pub(super) struct Weight {
    share: Share,
    total: usize,
    /// The weight of the reader's last batch, which counts until the batch is read to its end.
    held: usize,
    /// The weight of the messages given to the actor behind the box: since the last call of [`begun`](Weight::begun),
    /// and before that call. `None` if there is no actor.
    given: Option<Box<[usize; 2]>>,
}

impl Weight {
    pub(super) fn new(share: Share) -> Weight {
        Weight { share, total: 0, held: 0, given: None }
    }

    /// Lets messages that are taken out weigh until the actor behind the box has begun them.
    pub(super) fn keep_given(&mut self) {
        self.given.get_or_insert_default();
    }

    /// Returns whether `more` further bytes may be put into the box, and reserves the share that is missing.
    #[inline]
    pub(super) fn covers(&mut self, more: usize) -> bool {
        self.share.covers(self.total + more)
    }

    /// Returns whether `more` bytes would be covered if the `waiting` bytes in the buffer were not there.
    pub(super) fn would_cover(&mut self, more: usize, waiting: usize) -> bool {
        self.share.covers(self.total.saturating_sub(waiting) + more)
    }

    /// Changes the weight of the messages in the buffer from `before` to `now`.
    #[inline]
    pub(super) fn changed(&mut self, before: usize, now: usize) {
        self.total = (self.total + now).saturating_sub(before);
    }

    /// Records that the reader has read its last batch, and takes the next, of weight `taken`.
    #[inline]
    pub(super) fn taken(&mut self, taken: usize) {
        let read = std::mem::replace(&mut self.held, taken);
        match &mut self.given {
            Some(given) => given[0] += read,
            None => self.total = self.total.saturating_sub(read),
        }
        self.share.shrink_to(self.total);
    }

    /// Records that the actor has begun all messages that it was given before the last call. Returns whether weight is
    /// left that it may begin.
    pub(super) fn begun(&mut self) -> bool {
        let Some(given) = &mut self.given else { return false };
        let [lately, before] = &mut **given;
        self.total = self.total.saturating_sub(std::mem::replace(before, std::mem::take(lately)));
        let is_left = *before > 0;
        self.share.shrink_to(self.total);
        is_left
    }

    /// Records that no messages wait any more.
    pub(super) fn clear(&mut self) {
        (self.total, self.held) = (0, 0);
        if let Some(given) = &mut self.given {
            **given = [0, 0];
        }
        self.share.shrink_to(self.total);
    }

    /// Returns the fill of the box, from 0 to 255, relative to the bytes that it may hold at present.
    pub(super) fn fill(&self) -> u8 {
        (self.share.fill(self.total).min(1.0) * 255.0) as u8
    }

    /// Returns the [fill level](fill_level_of) of the box, by the bytes that it may hold at present.
    #[inline]
    pub(super) fn fill_level(&self) -> u8 {
        // A box may always hold at least the bytes that it was granted.
        if 2 * self.total < self.share.granted() { 0 } else { fill_level_of(self.fill()) }
    }
}

/// The weight of messages in a row.
pub(crate) struct RowWeights<'a> {
    bodies: Bodies<'a>,
    count: usize,
    total: usize,
    /// If it is not known which of the bodies could be read, the weight counted for each message: that of the largest.
    each: Option<usize>,
}

impl<'a> RowWeights<'a> {
    /// Returns the weights of the `read` messages that could be read from the bodies before the `rest`.
    pub(super) fn new(bodies: Bodies<'a>, rest: &Bodies<'_>, read: usize) -> RowWeights<'a> {
        let count = bodies.len() - rest.len();
        let total = bodies.size() - rest.size();
        let each = if read == count { None } else { bodies.clone().take(count).map(<[u8]>::len).max() };
        RowWeights { bodies, count, total, each }
    }

    /// Returns the total weight, heads of frames included.
    #[inline]
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Returns the weight of each in turn.
    pub(crate) fn each(&self) -> impl Iterator<Item = usize> {
        self.bodies.clone().take(self.count).map(|body| self.each.unwrap_or(body.len()))
    }
}

#[cfg(test)]
impl RowWeights<'static> {
    /// Returns the weights of three messages of one byte each.
    pub(super) fn of_three() -> RowWeights<'static> {
        #[rustfmt::skip]
        static ROW: [u8; 36] = [
            4, 0, 0, 0, 2, 0, 4, 1,
            4, 0, 0, 0, 2, 0, 4, 2,
            4, 0, 0, 0, 2, 0, 4, 3,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let bodies = crate::wire::batch::Posts::at(&ROW, 100, 3).expect("posts in a row").bodies();
        let mut rest = bodies.clone();
        assert_eq!(rest.by_ref().count(), 3);
        RowWeights::new(bodies, &rest, 3)
    }
}

#[cfg(test)]
#[cfg(not(hermod_loom))]
mod tests {
    use super::*;
    use crate::quota::Quota;

    #[test]
    fn what_is_taken_weighs_until_it_is_read() {
        let quota = Quota::new(1 << 20);
        let mut weight = Weight::new(Share::new(&quota, &OWN));
        assert!(weight.covers(100 << 10));
        weight.changed(0, 100 << 10);
        weight.taken(100 << 10);
        weight.changed(0, 2000);
        weight.changed(2000, 5);
        assert_eq!((weight.total, quota.used()), ((100 << 10) + 5, 112 << 10));
        weight.taken(5);
        assert_eq!((weight.total, quota.used()), (5, 0));
        weight.clear();
        assert_eq!(weight.total, 0);
    }

    #[test]
    fn what_an_actor_was_given_weighs_until_it_has_begun_it() {
        let quota = Quota::new(1 << 20);
        let mut weight = Weight::new(Share::new(&quota, &OWN));
        weight.keep_given();
        for round in 1..4 {
            weight.changed(0, 1000);
            weight.taken(1000);
            assert_eq!(weight.total, round * 1000, "it has begun nothing");
        }
        weight.taken(0);
        assert!(weight.begun());
        assert_eq!(weight.total, 3000, "that was before any of it");
        weight.changed(0, 50);
        weight.taken(50);
        weight.taken(0);
        assert!(weight.begun());
        assert_eq!(weight.total, 50);
        assert!(!weight.begun());
        assert_eq!((weight.total, quota.used()), (0, 0));
    }
}
