//! Handles in messages that come to nothing: nothing is made of them, and the peer has back what it counts.

use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::peer::Peer;
use support::peer::answer_with;
use support::peer::ask;
use support::peer::ask_with;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::my_counted_box;
use support::peer::number;
use support::peer::post_with;
use support::peer::set_number;
use support::peer::use_number;
use support::peer::your_box;

use super::Letter;
use super::Units;
use super::on;

/// As many handles of boxes of its own that the peer counts, each of which is told once, or has a number.
fn counted(count: u64, with_numbers: bool) -> Vec<Vec<u8>> {
    let introduce = |n| {
        let introduction = my_counted_box(fresh_id());
        if with_numbers && n < 64 { set_number(n, &introduction) } else { inline(&introduction) }
    };
    (0..count).map(introduce).collect()
}

#[test]
fn handles_in_a_message_that_nobody_takes_are_given_back() {
    on(Node::builder(), async |ground| {
        let mut stranger = Peer::stranger(&ground.endpoint).await;
        let nobody = inline(&your_box("nobody"));
        for with_numbers in [false, true] {
            let message = post_with(&nobody, &counted(10_000, with_numbers), &number(1));
            assert!(stranger.send(&message).await);
            stranger.has_back(10_000).await;
        }
        // By numbers that were set in a message that came to nothing.
        let by_number: Vec<Vec<u8>> = (0..64).map(use_number).collect();
        assert!(stranger.send(&post_with(&nobody, &by_number, &number(1))).await);
        stranger.has_back(64).await;
        ground.hearer.hears_of_drops(DropReason::NoSuchBox, 3).await;
        // An answer that nobody has asked for.
        assert!(stranger.send(&answer_with(77, &counted(500, false), &[0])).await);
        stranger.has_back(500).await;
        assert_eq!(ground.node.stats().late_answers, 1);
    });
}

#[test]
fn a_request_too_many_gives_its_handles_back() {
    on(Node::builder().pending_requests(1), async |ground| {
        let mut stranger = Peer::stranger(&ground.endpoint).await;
        let unanswered = inline(&your_box("unanswered"));
        let _held = ground.node.mailbox::<Letter>().name("unanswered").open().expect("a free name");
        assert!(stranger.send(&ask(1, &unanswered, &number(1))).await);
        assert!(stranger.send(&ask_with(2, &unanswered, &counted(30, false), &number(1))).await);
        stranger.has_back(30).await;
    });
}

#[test]
fn more_addresses_than_a_message_may_have_cost_that_message() {
    on(Node::builder().max_handles(100), async |ground| {
        let to = inline(&your_box("letters"));
        let words = "101 addresses in one message are more than 100, the limit `max_handles` of the node";
        let too_many = post_with(&to, &counted(101, false), &number(1));
        ground.refuses(&too_many, DropReason::TooLarge, words).await;
        let mut stranger = Peer::stranger(&ground.endpoint).await;
        assert!(stranger.send(&[too_many, post_with(&to, &counted(100, true), &number(2))].concat()).await);
        stranger.has_back(201).await;
        assert_eq!(ground.letters(), [2]);
    });
}

#[test]
fn addresses_count_as_memory_of_the_message() {
    on(Node::builder().decode_memory(64 << 10), async |ground| {
        let units: Mailbox<Units> = ground.open("units");
        let to = inline(&your_box("units"));
        let set = |handles: u64, count: u64| post_with(&to, &counted(handles, false), &number(count));
        let words = "1000 addresses would occupy more than 65536 bytes, the limit `decode_memory` of the node";
        ground.refuses(&set(1000, 1), DropReason::TooLarge, words).await;
        // The message itself has the rest of it.
        assert!(ground.goes_on_after(&set(1, 1500)).await);
        assert_eq!(units.len(), 1);
        ground.refuses_body(&set(60, 1500), "the limit `decode_memory`").await;
        assert_eq!(units.len(), 1);
    });
}
