//! The owner listens: once its boxes are known, who has introduced them is needed no more.

use std::time::Duration;

use actix::System;
use actix_hermod::CloseReason;
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

const PORTION: u64 = 1000;

#[test]
fn traffic_goes_on_when_the_introducer_is_killed() {
    System::new().block_on(async {
        let (mut introducer, at) = introducer("").await;
        let (_bystander, other) = bystander().await;
        let mut owner = Owner::start("owner that listens", &at, &other).await;
        let node = eager().start();
        let gift = handed(&node, &at).await;
        let mut closed = Box::pin(gift.work.closed());

        let mut traffic = Traffic::by(&gift.work);
        // All of them are to be answered.
        traffic.ask(PORTION, 2);
        traffic.until_answered(PORTION / 4).await;
        traffic.ask(PORTION, 2);
        introducer.kill();
        owner.says("goes on").await;
        traffic.ask(PORTION, 2);
        traffic.ends().await;
        assert_eq!((traffic.answered, traffic.asked), (3 * PORTION, 3 * PORTION), "none went through the introducer");
        assert_eq!(within(gift.spare.ask(Work(2))).await, Ok(2), "nor does what was not used before");
        assert!(still_waits(&mut closed).await && gift.work.connected() && gift.spare.connected());
        within(node.shutdown()).await;
    });
}

/// Nothing has gone by the pointers when the introducer is killed: there is no connection to the owner yet.
#[test]
fn a_pointer_that_was_not_used_before_the_introducer_was_killed_leads_to_its_owner() {
    System::new().block_on(async {
        let (mut introducer, at) = introducer("").await;
        let (_bystander, other) = bystander().await;
        let mut owner = Owner::start("owner that listens", &at, &other).await;
        // It is to notice within the time of a test that the owner, too, is gone.
        let node = eager().heartbeat(Duration::from_secs(1)).dead_after(Duration::from_secs(4)).start();
        let gift = handed(&node, &at).await;
        introducer.kill();
        owner.says("goes on").await;
        let mut closed = Box::pin(gift.work.closed());
        let mut traffic = Traffic::by(&gift.work);
        traffic.ask(PORTION, 2);
        traffic.ends().await;
        assert_eq!((traffic.answered, traffic.asked), (PORTION, PORTION));
        assert!(still_waits(&mut closed).await && gift.work.connected());
        owner.process.kill();
        assert_eq!(within(closed).await, CloseReason::ConnectionLost);
        traffic.is_refused().await;
        within(node.shutdown()).await;
    });
}

/// A holder of a pointer keeps its box alive, also if the node is gone that has introduced the two.
#[test]
fn an_actor_lives_on_for_its_holder_when_the_introducer_is_killed() {
    System::new().block_on(async {
        let (mut introducer, at) = introducer("").await;
        let (_bystander, other) = bystander().await;
        let mut owner = Owner::start("owner that listens", &at, &other).await;
        let node = eager().start();
        let gift = handed(&node, &at).await;
        // So that there is a connection to the owner.
        assert_eq!(within(gift.work.ask(Work(2))).await, Ok(2));
        // Its owner knows who holds it once it was sent to directly.
        assert_eq!(within(gift.notes.send(Note(1))).await, Ok(()));
        introducer.kill();
        owner.says("goes on").await;
        (0..10).for_each(|n| gift.notes.do_send(Note(n)));
        drop(gift);
        assert_eq!(owner.says("let go after").await, "11");
        within(node.shutdown()).await;
    });
}
