//! Many peers that each keep within what one connection may have, and together want more than the node is to give: it
//! gives them no more, and whoever means well still has a part of its own.

use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::SendError;

use super::Ground;
use super::on;
use super::unread::Load;
use super::unread::Order;
use super::unread::fills_up;
use super::unread::ordered;
use super::until;
use crate::peer::Peer;

/// Peers that want all that they can get.
const CROWD: usize = 8;

/// What may wait for one of them, and for all; and what may wait for each whatever waits for others.
const OUTBOX: u64 = 256 << 10;
const OUTBOXES: u64 = 512 << 10;
const OWN: u64 = 16 << 10;

impl Ground {
    /// Bytes that wait for peers.
    fn outboxes(&self) -> Vec<u64> {
        self.node.stats().connections.iter().map(|connection| connection.outbox_bytes).collect()
    }
}

#[test]
fn peers_that_read_nothing_together_cost_what_the_node_allows() {
    on(Node::builder().outbox(OUTBOX as usize).outboxes(OUTBOXES as usize), async |ground| {
        let mut orders: Mailbox<Order> = ground.open("orders");
        let (mut peers, mut crowd) = (Vec::new(), Vec::new());
        for _ in 0..CROWD {
            let mut peer = Peer::narrow_stranger(&ground.endpoint).await;
            crowd.push(ordered(&mut peer, &mut orders).await);
            peers.push(peer);
            fills_up(crowd.last().expect("there is one")).await;
            // One that takes nothing more from the node has its own part.
            let waiting = ground.outboxes();
            let together: u64 = waiting.iter().sum();
            assert!(together <= OUTBOXES + waiting.len() as u64 * OWN, "{waiting:?}");
        }
        let waiting = ground.outboxes();
        assert!(waiting.iter().sum::<u64>() > OUTBOXES / 2, "less waits than might: {waiting:?}");
        assert_eq!(waiting.iter().filter(|bytes| **bytes > OWN / 2).count(), CROWD, "one has nothing: {waiting:?}");
        assert!(matches!(crowd[0].try_send(Load(vec![0; 1 << 10])), Err(SendError::Full(_))));
        (0..50).for_each(|_| crowd[0].do_send(Load(vec![0; 1 << 10])));
        ground.hearer.hears_of_drops(DropReason::OutboxFull, 50).await;
        ground.is_healthy().await;
        // When they go, their parts are the node's again.
        drop(peers);
        until(|| ground.node.stats().connections.len() == 1, || format!("{:?}", ground.node.stats())).await;
        let mut peer = Peer::narrow_stranger(&ground.endpoint).await;
        fills_up(&ordered(&mut peer, &mut orders).await).await;
        let waiting = ground.outboxes();
        assert!(waiting.iter().any(|bytes| *bytes > OUTBOX / 2), "{waiting:?}");
    });
}
