//! The numbers that a peer may give to boxes on one connection: the binding behind each is kept as long as the
//! connection lives.

use crate::config::Limits;
use crate::quota::Quotas;
use crate::quota::Share;
use crate::quota::Terms;
use crate::wire::numbering::MIN_NUMBERS;

/// The numbers that each connection has in any case.
const OWN: Terms = Terms { own: MIN_NUMBERS, chunk: 1 };

/// Numbers that were announced to a peer, which may use all of them at any time: so they are reserved until the connection
/// ends.
#[derive(Debug)]
pub(super) struct AnnouncedNumbers {
    count: usize,
    _share: Share,
}

impl AnnouncedNumbers {
    /// Reserves as many numbers as the node's limit for a connection or, if too many are in use by others, half of
    /// that, and so on. Every peer gets the few that it may use in any case.
    pub(super) fn reserve(limits: &Limits, quotas: &Quotas) -> AnnouncedNumbers {
        let mut share = Share::new(&quotas.numbers, &OWN);
        let mut count = limits.interned;
        while !share.covers(count) {
            count /= 2;
        }
        AnnouncedNumbers { count, _share: share }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}
