//! Boxes that keep one message of each key, the newest.

use std::thread;

use actix::MailboxError;
use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::balanced;
use support::dropped;
use support::listening;
use support::next;
use support::watched;
use support::within;

#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Reading {
    sensor: u32,
    value: u64,
}

fn reading(sensor: u32, value: u64) -> Reading {
    Reading { sensor, value }
}

/// A mailbox for the newest reading of each sensor.
fn newest(node: &Node) -> Mailbox<Reading> {
    let buffer = Buffer::latest_by(|reading: &Reading| reading.sensor);
    node.mailbox().name("newest").buffer(buffer).open().expect("the name is free")
}

fn send_all(to: &Address<Reading>, readings: impl IntoIterator<Item = (u32, u64)>) {
    readings.into_iter().for_each(|(sensor, value)| to.do_send(reading(sensor, value)));
}

fn rest(mailbox: &mut Mailbox<Reading>) -> Vec<(u32, u64)> {
    std::iter::from_fn(|| mailbox.try_recv()).map(|Reading { sensor, value }| (sensor, value)).collect()
}

#[test]
fn the_newest_of_each_key_are_read_in_the_order_in_which_they_were_sent() {
    System::new().block_on(async {
        let node = Node::start();
        let mut mailbox = newest(&node);
        send_all(&mailbox.address(), [(1, 1), (2, 2), (3, 3), (1, 4), (2, 5), (1, 6)]);
        assert_eq!(mailbox.len(), 3);
        assert_eq!(next(&mut mailbox).await, reading(3, 3));
        // Messages between two reads count as well.
        send_all(&mailbox.address(), [(2, 7), (3, 8)]);
        assert_eq!(rest(&mut mailbox), [(1, 6), (2, 7), (3, 8)]);
        assert_eq!(mailbox.dropped(), 4);
        assert_eq!(node.stats().dropped, [(DropReason::Replaced, 4)].into());
        balanced(&[&node]).await;
    });
}

#[test]
fn a_key_that_is_renewed_all_the_time_leaves_their_turns_to_the_others() {
    System::new().block_on(async {
        let node = Node::start();
        let mut mailbox = newest(&node);
        send_all(&mailbox.address(), (0..100).map(|sensor| (sensor, 0)));
        for sensor in 1..100 {
            send_all(&mailbox.address(), [(0, u64::from(sensor))]);
            assert_eq!(next(&mut mailbox).await, reading(sensor, 0));
        }
        assert_eq!(rest(&mut mailbox), [(0, 99)]);
    });
}

#[test]
fn one_key_more_than_there_is_room_for_makes_the_oldest_go() {
    System::new().block_on(async {
        let node = Node::start();
        let mut usual = newest(&node);
        send_all(&usual.address(), (0..1025).map(|sensor| (sensor, 0)));
        assert_eq!((usual.len(), dropped(&node, DropReason::OldestShed)), (1024, 1));
        assert_eq!(next(&mut usual).await, reading(1, 0));

        let buffer = Buffer::latest_by(|reading: &Reading| reading.sensor).capacity(2);
        let mut small = node.mailbox().name("small").buffer(buffer).open().unwrap();
        send_all(&small.address(), [(1, 1), (2, 2), (1, 3), (3, 4)]);
        assert_eq!(rest(&mut small), [(1, 3), (3, 4)]);
        let stats = node.stats().boxes.into_iter().find(|stats| stats.name == "small").unwrap();
        assert_eq!((stats.capacity, stats.received), (2, 4));
        assert_eq!(stats.dropped, [(DropReason::OldestShed, 1), (DropReason::Replaced, 1)].into());
    });
}

#[test]
fn any_buffer_can_be_given_another_capacity() {
    System::new().block_on(async {
        let node = Node::start();
        let mut dropping = node.mailbox().buffer(Buffer::dropping(1).capacity(3)).open().unwrap();
        let mut sliding = node.mailbox().buffer(Buffer::sliding(1).capacity(3)).open().unwrap();
        for mailbox in [&dropping, &sliding] {
            send_all(&mailbox.address(), (0..5).map(|n| (n, 0)));
        }
        assert_eq!(rest(&mut dropping), [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(rest(&mut sliding), [(2, 0), (3, 0), (4, 0)]);
    });
}

#[test]
fn every_message_is_read_or_counted_whoever_sends_and_reads_meanwhile() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 5_000;
    System::new().block_on(async {
        let node = Node::start();
        let mut mailbox = newest(&node);
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let to = mailbox.address();
                thread::spawn(move || send_all(&to, (0..EACH).map(|n| ((n % 50) as u32, n))))
            })
            .collect();
        let mut read = 0;
        while senders.iter().any(|sender| !sender.is_finished()) {
            read += rest(&mut mailbox).len() as u64;
        }
        for sender in senders {
            sender.join().unwrap();
        }
        read += rest(&mut mailbox).len() as u64;
        assert_eq!(read + dropped(&node, DropReason::Replaced), SENDERS * EACH);
        assert_eq!((node.stats().delivered, mailbox.dropped()), (read, SENDERS * EACH - read));
        send_all(&mailbox.address(), [(1, 1), (2, 2)]);
        drop(mailbox);
        assert_eq!(dropped(&node, DropReason::BoxClosed), 2);
        balanced(&[&node]).await;
    });
}

#[test]
fn a_key_function_that_panics_costs_only_the_replacing() {
    System::new().block_on(async {
        let node = Node::start();
        let buffer = Buffer::latest_by(|reading: &Reading| match reading.value {
            0 => panic!("on purpose"),
            _ => reading.sensor,
        });
        let mut mailbox = node.mailbox().buffer(buffer.capacity(4)).open().unwrap();
        send_all(&mailbox.address(), [(1, 0), (1, 1), (1, 0), (1, 2)]);
        assert_eq!(mailbox.len(), 3);
        // They take room as others do.
        send_all(&mailbox.address(), [(1, 0), (1, 0)]);
        assert_eq!(rest(&mut mailbox), [(1, 0), (1, 2), (1, 0), (1, 0)]);
        assert_eq!(node.stats().dropped, [(DropReason::OldestShed, 1), (DropReason::Replaced, 1)].into());
        balanced(&[&node]).await;
    });
}

#[test]
fn the_key_function_may_use_the_box_itself() {
    System::new().block_on(async {
        let node = Node::start();
        let of = node.clone();
        // Would wait for itself for ever if the box were locked meanwhile.
        let buffer = Buffer::latest_by(move |reading: &Reading| (reading.sensor, of.stats().boxes.len()));
        let mut mailbox = node.mailbox().buffer(buffer).open().unwrap();
        send_all(&mailbox.address(), [(1, 1), (1, 2)]);
        assert_eq!(rest(&mut mailbox), [(1, 2)]);
    });
}

#[test]
fn one_who_waits_for_a_message_that_is_replaced_is_told() {
    System::new().block_on(async {
        let (there, endpoint) = listening(Node::builder()).await;
        let mut mailbox = newest(&there);
        let here = Node::start();
        for to in [mailbox.address(), here.remote(&endpoint, "newest").unwrap()] {
            let asked = actix::spawn(to.ask(reading(1, 1)));
            let sent = to.send(reading(2, 2));
            watched(|| mailbox.len(), |&waiting| waiting == 2).await;
            send_all(&to, [(1, 3), (2, 4)]);
            match within(asked).await.unwrap() {
                Err(AskError::NotDelivered { reason: DropReason::Replaced, .. }) => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(within(sent).await, Err(MailboxError::Closed));
            watched(|| mailbox.len(), |&waiting| waiting == 2).await;
            assert_eq!(rest(&mut mailbox), [(1, 3), (2, 4)]);
        }
    });
}

#[test]
fn a_sender_elsewhere_is_told_what_was_replaced() {
    System::new().block_on(async {
        let (there, endpoint) = listening(Node::builder()).await;
        let mut mailbox = newest(&there);
        let here = Node::start();
        let to: Address<Reading> = here.remote(&endpoint, "newest").unwrap();
        send_all(&to, (0..100).map(|n| ((n % 3) as u32, n)));
        watched(|| to.lost().remote, |lost| *lost == [(DropReason::Replaced, 97)].into()).await;
        assert_eq!(here.stats().reported, [(DropReason::Replaced, 97)].into());
        assert_eq!(rest(&mut mailbox), [(1, 97), (2, 98), (0, 99)]);
        balanced(&[&here, &there]).await;
    });
}
