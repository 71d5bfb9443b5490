//! Two introducers: the owner's gift has gone from the one to the other, and from that to the holder.

use actix::System;
use actix_hermod::CloseReason;
use actix_hermod::Node;
use support::LIMIT;
use support::within;

use super::Note;
use super::Owner;
use super::Relays;
use super::Traffic;
use super::Work;
use super::bystander;
use super::eager;
use super::handed;
use super::introducer;
use super::still_waits;

const PORTION: u64 = 1000;

/// The boxes in a gift.
const GIVEN: usize = 3;

/// Waits until an introducer has so many relays. It is asked by a node that has no part in the rest.
async fn relays(at: &str, wanted: usize) {
    let stranger = Node::start();
    let relays = stranger.remote::<Relays>(at, "relays").expect("an address");
    let mut there = None;
    let looking = async {
        while there != Some(wanted) {
            there = Some(relays.ask(Relays).await.expect("it answers"));
        }
    };
    let looked = tokio::time::timeout(LIMIT, looking).await;
    assert!(looked.is_ok(), "the introducer has {there:?} relays, and not {wanted}");
    within(stranger.shutdown()).await;
}

#[test]
fn what_the_holder_drops_is_let_go_from_the_end_to_the_beginning() {
    System::new().block_on(async {
        let (_first, at_first) = introducer("").await;
        let (_bystander, other) = bystander().await;
        let mut owner = Owner::start("owner", &at_first, &other).await;
        let (_second, at_second) = introducer(&at_first).await;
        let node = eager().start();
        let gift = handed(&node, &at_second).await;
        let mut traffic = Traffic::by(&gift.work);
        traffic.ask(PORTION, 2);
        traffic.ends().await;
        assert_eq!((traffic.answered, traffic.asked), (PORTION, PORTION));
        (0..PORTION).for_each(|n| gift.notes.do_send(Note(n)));
        relays(&at_first, GIVEN).await;
        relays(&at_second, GIVEN).await;

        drop((gift, traffic));
        assert_eq!(owner.says("let go after").await, PORTION.to_string());
        relays(&at_second, 0).await;
        relays(&at_first, 0).await;
        within(node.shutdown()).await;
    });
}

#[test]
fn when_the_last_introducer_is_killed_the_pointer_ends_and_the_others_let_go() {
    System::new().block_on(async {
        let (_first, at_first) = introducer("").await;
        let (_bystander, other) = bystander().await;
        let mut owner = Owner::start("owner", &at_first, &other).await;
        let (mut second, at_second) = introducer(&at_first).await;
        let node = eager().start();
        let gift = handed(&node, &at_second).await;
        let mut closed = Box::pin(gift.work.closed());
        let mut traffic = Traffic::by(&gift.work);
        traffic.ask(PORTION, 1);
        traffic.until_answered(PORTION / 4).await;
        assert!(still_waits(&mut closed).await);
        traffic.ask(PORTION, 1);
        second.kill();
        traffic.ends().await;
        assert!(traffic.unknown.len() as u64 >= PORTION / 4 - 1, "{:?}", traffic.unknown);
        assert_eq!(within(closed).await, CloseReason::ConnectionLost);
        assert_eq!(within(gift.spare.closed()).await, CloseReason::ConnectionLost);

        // The lease that was passed on to the one that is gone is released, by the first and by the owner, who go on.
        assert_eq!(owner.says("let go after").await, "0");
        relays(&at_first, 0).await;
        let bystander = node.remote::<Work>(&other, "work").expect("an address");
        assert_eq!(within(bystander.ask(Work(2))).await, Ok(2));
        traffic.is_refused().await;
        within(node.shutdown()).await;
    });
}
