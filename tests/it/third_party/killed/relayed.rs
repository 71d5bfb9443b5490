//! The owner listens nowhere: its boxes are reached through the introducer, and by no other way.

use actix::System;
use actix_hermod::CloseReason;
use actix_hermod::Node;
use support::watched;
use support::within;

use super::Note;
use super::Owner;
use super::Traffic;
use super::Work;
use super::bystander;
use super::eager;
use super::handed;
use super::introducer;
use super::still_waits;

/// Requests in each of two portions; half of them are never answered. As many notes.
const PORTION: u64 = 1000;

/// Waits until each message of a node was written to its connections or dropped, and no request waits.
async fn accounted_for(node: &Node, sent: u64) {
    watched(
        || node.stats(),
        |stats| {
            let written: u64 = stats.connections.iter().map(|connection| connection.messages_sent).sum();
            stats.sent == sent
                && stats.sent == written + stats.dropped_total()
                && stats.in_doubt <= written
                && stats.pending_requests == 0
        },
    )
    .await;
}

#[test]
fn when_the_introducer_is_killed_everything_ends_that_went_through_it_and_nothing_else() {
    System::new().block_on(async {
        let (mut introducer, at) = introducer("").await;
        let (_bystander, other) = bystander().await;
        let mut owner = Owner::start("owner", &at, &other).await;
        let node = eager().start();
        let gift = handed(&node, &at).await;
        let mut closed = Box::pin(gift.work.closed());

        let mut traffic = Traffic::by(&gift.work);
        traffic.ask(PORTION, 1);
        (0..PORTION).for_each(|n| gift.notes.do_send(Note(n)));
        traffic.until_answered(PORTION / 4).await;
        assert!(still_waits(&mut closed).await && gift.work.connected() && gift.notes.connected());
        traffic.ask(PORTION, 1);
        (0..PORTION).for_each(|n| gift.notes.do_send(Note(n)));
        introducer.kill();
        traffic.ends().await;
        assert_eq!(within(closed).await, CloseReason::ConnectionLost);

        // Of the first quarter that was answered, as many were asked in between that never are.
        assert!(traffic.unknown.len() as u64 >= PORTION / 4 - 1, "{:?}", traffic.unknown);
        // The one that asked for the gift is the first.
        accounted_for(&node, 1 + 2 * PORTION + 2 * PORTION).await;
        owner.says("let go").await;
        owner.says("goes on").await;
        let given = owner.says("was given").await;
        let given = given.split(' ').map(|n| n.parse::<u64>().expect("a number"));
        assert!(given.clone().count() as u64 >= traffic.answered, "each that was answered was given to the worker");
        let both: Vec<u64> = given.filter(|n| traffic.refused.contains(n)).collect();
        assert!(both.is_empty(), "handled, although it was said that they never would be: {both:?}");

        // Later requests end at once as well, and handles that lead elsewhere are none the worse.
        traffic.is_refused().await;
        gift.notes.do_send(Note(0));
        assert_eq!(within(gift.spare.closed()).await, CloseReason::ConnectionLost);
        accounted_for(&node, 1 + 2 * PORTION + 2 * PORTION + 10 + 1).await;
        let bystander = node.remote::<Work>(&other, "work").expect("an address");
        assert_eq!(within(bystander.ask(Work(4))).await, Ok(4));
        within(node.shutdown()).await;
    });
}
