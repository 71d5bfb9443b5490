//! What a box takes that keeps one message of each key, the newest.

use actix::Message;
use actix::System;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Node;
use allocation_counter::measure;
use serde::Deserialize;
use serde::Serialize;
use support::dropped;

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Reading {
    sensor: u32,
    value: u64,
}

#[test]
fn a_flood_of_one_key_takes_no_room_from_the_others() {
    const FLOOD: u64 = 100_000;
    System::new().block_on(async {
        let node = Node::start();
        let buffer = Buffer::latest_by(|reading: &Reading| reading.sensor);
        let mut mailbox = node.mailbox().name("newest").buffer(buffer).open().expect("the name is free");
        let to = mailbox.address();
        (0..10).for_each(|sensor| to.do_send(Reading { sensor, value: 0 }));
        let grown = measure(|| {
            for value in 0..FLOOD {
                to.do_send(Reading { sensor: 0, value });
                assert_eq!(mailbox.len(), 10);
            }
        });
        assert!(grown.bytes_current < 4096, "{grown:?}");
        let mut expected: Vec<_> = (1..10).map(|sensor| (sensor, 0)).collect();
        expected.push((0, FLOOD - 1));
        let rest = std::iter::from_fn(|| mailbox.try_recv()).map(|reading| (reading.sensor, reading.value));
        assert_eq!(rest.collect::<Vec<_>>(), expected);
        assert_eq!(dropped(&node, DropReason::Replaced), FLOOD);
    });
}
