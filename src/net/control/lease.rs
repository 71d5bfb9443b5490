//! The leases of the peer's boxes that this side claims over a connection, and restates for connections that have ended.

use std::sync::Arc;
use std::sync::Weak;

use bytes::BytesMut;

use crate::handle::pointer::Pointer;
use crate::handle::pointer::holdings::Holdings;
use crate::handle::pointer::holdings::Restatement;
use crate::handle::pointer::lease::Lease;
use crate::handle::ports::Outbound;
use crate::ident::ConnectionId;
use crate::wire::features::feature;
use crate::wire::frames::hold::put_hold;
use crate::wire::frames::hold::put_holds;
use crate::wire::frames::restated::put_restated;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Leases of the peer's boxes, with the number of the connection and the features that the peer understands; `None`
    /// until it has greeted.
    greeted: Option<Greeted>,
}

#[derive(Debug)]
struct Greeted {
    holdings: Arc<Holdings>,
    connection: u64,
    features: u64,
}

impl Leases {
    /// Takes up a connection to the peer that has granted these leases.
    pub(crate) fn on_greeting(&mut self, holdings: Arc<Holdings>, connection: u64, features: u64) {
        holdings.begin(connection);
        self.greeted = Some(Greeted { holdings, connection, features });
    }

    pub(crate) fn holdings(&self) -> Option<&Arc<Holdings>> {
        self.greeted.as_ref().map(|greeted| &greeted.holdings)
    }

    /// Claims a lease of a box, which another node has introduced, from the node of the box, once for each pointer:
    /// behind messages sent by the pointer, and before the release that may follow. Returns the earlier lease that was
    /// claimed elsewhere, to be dropped without a lock.
    pub(crate) fn claim(&self, to: &Pointer, link: &Weak<dyn Outbound>, out: &mut BytesMut) -> Option<Box<Lease>> {
        let Greeted { holdings, connection, features } = self.greeted.as_ref()?;
        if features & feature::HOLDS == 0 {
            return None;
        }
        let before = to.lease(link, *connection, holdings).ok()?;
        if let Some(id) = to.box_id(true) {
            put_hold(out, [(id, 1)]);
        }
        before
    }

    /// Restates the leases of connections that have ended, if there are any and the peer understands it, in frames of
    /// at most `longest` bytes. Returns whether anything was written.
    pub(crate) fn poll_frames(&self, link: &Weak<dyn Outbound>, out: &mut BytesMut, longest: usize) -> bool {
        let Some(Greeted { holdings, connection, features }) = &self.greeted else { return false };
        if features & feature::RESTATED == 0 {
            return false;
        }
        let Some(Restatement { boxes, ended }) = holdings.restate(*connection, link) else { return false };
        put_holds(out, boxes.into_iter().map(|id| (id, 1)), longest);
        let most = longest.saturating_sub(1) / size_of::<ConnectionId>();
        put_restated(out, ended.into_iter().rev().take(most));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::pointer::holdings::HoldingsTable;
    use crate::handle::pointer::holdings::MAX_RESTATED;
    use crate::ident::BoxId;
    use crate::ident::Incarnation;
    use crate::net::link::Link;
    use crate::wire::frames::Front;
    use crate::wire::frames::front;
    use crate::wire::frames::kind;
    use crate::wire::frames::restated::read_restated;

    const PEER: Incarnation = Incarnation::of([9; 16]);
    const ENDED: ConnectionId = ConnectionId([7; 16]);

    /// Returns the leases of a second connection, after a first one by which 50 boxes were leased.
    fn after_an_end(features: u64) -> Leases {
        let (table, mut leases) = (HoldingsTable::default(), Leases::default());
        let holdings = table.of(PEER);
        holdings.begin(0);
        (0..50_u128).for_each(|n| holdings.add(0, BoxId(n.to_le_bytes())));
        table.note_ended(PEER, (0..MAX_RESTATED as u128).map(|n| ConnectionId(n.to_le_bytes())));
        table.end(&holdings, 0, Some(ENDED));
        leases.on_greeting(holdings, 1, features);
        leases
    }

    #[test]
    fn no_frame_that_restates_is_longer_than_the_peer_reads() {
        const LONGEST: usize = 100;
        let (leases, link, mut out) = (after_an_end(feature::KNOWN), Weak::<Link>::new(), BytesMut::new());
        let link = link as Weak<dyn Outbound>;
        assert!(leases.poll_frames(&link, &mut out, LONGEST));
        let (mut rest, mut kinds, mut named) = (&out[..], Vec::new(), Vec::new());
        while let Front::Frame(raw) = front(rest, LONGEST).expect("the peer reads it") {
            kinds.push(raw.kind);
            if raw.kind == kind::RESTATED {
                named.extend(read_restated(raw.payload).map(|ended| ended.expect("a name")));
            }
            rest = &rest[raw.size..];
        }
        assert!(rest.is_empty() && kinds.len() > 2);
        assert_eq!(kinds.pop(), Some(kind::RESTATED), "behind all holds");
        assert!(kinds.iter().all(|of| *of == kind::HOLD));
        assert_eq!((named.len(), named[0]), (6, ENDED), "the latest, as many as there is room for");
        out.clear();
        assert!(!leases.poll_frames(&link, &mut out, LONGEST) && out.is_empty(), "they are restated");
    }

    #[test]
    fn nothing_is_restated_to_a_peer_that_has_not_greeted_or_does_not_understand_it() {
        let (link, mut out) = (Weak::<Link>::new() as Weak<dyn Outbound>, BytesMut::new());
        for leases in [Leases::default(), after_an_end(feature::KNOWN & !feature::RESTATED)] {
            assert!(!leases.poll_frames(&link, &mut out, 1024) && out.is_empty());
        }
    }
}
