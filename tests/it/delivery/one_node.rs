//! One node and what lives on it: mailboxes, published actors, and the handles that lead to them.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use actix::Actor;
use actix::ActorContext;
use actix::ActorFutureExt;
use actix::AtomicResponse;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::ResponseFuture;
use actix::System;
use actix::WrapFuture;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::ListenError;
use actix_hermod::Mailbox;
use actix_hermod::MailboxError;
use actix_hermod::Node;
use actix_hermod::OpenError;
use actix_hermod::SendError;
use actix_hermod::Side;
use actix_hermod::Stats;
use futures_util::FutureExt;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use support::Number;
use support::Text;
use support::dropped;
use support::events;
use support::next;
use support::on_either_thread;
use support::settled;
use support::watched;
use support::within;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

/// The messages that wait in a mailbox now.
fn waiting(inbox: &mut Mailbox<Number>) -> Vec<u64> {
    std::iter::from_fn(|| inbox.try_recv()).map(|number| number.0).collect()
}

fn send_all(to: &Address<Number>, numbers: std::ops::Range<u64>) {
    numbers.for_each(|n| to.do_send(Number(n)));
}

// ---- names

#[actix::test]
async fn a_mailbox_has_the_name_it_was_opened_with() {
    let node = Node::start();
    let inbox = node.mailbox::<Number>().name("box of numbers").open().unwrap();
    assert_eq!(inbox.name(), "box of numbers");
    assert_eq!(inbox.address().name(), "box of numbers");
    assert_eq!(inbox.address().node_id(), Some(node.id()));
    assert!(inbox.address().is_local() && inbox.address().connected());
}

#[actix::test]
async fn mailboxes_without_a_name_have_each_one_of_their_own() {
    let node = Node::start();
    let boxes: Vec<_> = (0..100).map(|_| node.mailbox::<Number>().open().unwrap()).collect();
    let names: HashSet<_> = boxes.iter().map(|inbox| inbox.name().to_owned()).collect();
    assert_eq!(names.len(), 100);
}

#[actix::test]
async fn a_name_is_for_one_box_whatever_its_type() {
    let node = Node::start();
    let taken = |result: Result<(), OpenError>| matches!(result, Err(OpenError::NameTaken { name }) if name == "n");
    let _inbox = node.mailbox::<Number>().name("n").open().unwrap();
    assert!(taken(node.mailbox::<Number>().name("n").open().map(drop)));
    assert!(taken(node.mailbox::<Text>().name("n").open().map(drop)));
    assert!(taken(node.publish::<Add>("n", Adder::default().start()).map(drop)));
    let _actor = node.publish::<Add>("m", Adder::default().start()).unwrap();
    assert!(matches!(node.mailbox::<Number>().name("m").open(), Err(OpenError::NameTaken { name }) if name == "m"));
    assert!(Node::start().mailbox::<Number>().name("n").open().is_ok(), "another node has names of its own");
}

#[actix::test]
async fn a_name_has_1_to_255_bytes() {
    let node = Node::start();
    assert!(matches!(node.mailbox::<Number>().name("").open(), Err(OpenError::NameEmpty)));
    assert!(matches!(node.publish::<Add>("", Adder::default().start()), Err(OpenError::NameEmpty)));
    // 127 characters of two bytes, and one of one.
    let longest = format!("{}x", "é".repeat(127));
    assert!(node.mailbox::<Number>().name(&longest).open().is_ok());
    let longer = format!("{longest}x");
    let opened = node.mailbox::<Number>().name(&longer).open();
    assert!(matches!(opened, Err(OpenError::NameTooLong { limit: 255 })));
    let published = node.publish::<Add>(&longer, Adder::default().start());
    assert!(matches!(published, Err(OpenError::NameTooLong { limit: 255 })));
}

#[actix::test]
async fn a_name_is_free_again_once_its_mailbox_is_closed_or_dropped() {
    let node = Node::start();
    let mut first = node.mailbox::<Number>().name("n").open().unwrap();
    first.close();
    let second = node.mailbox::<Text>().name("n").open().expect("free after close");
    first.close();
    drop(first);
    let again = node.mailbox::<Number>().name("n").open();
    assert!(matches!(again, Err(OpenError::NameTaken { .. })), "what has closed takes no name from its successor");
    drop(second);
    assert!(node.mailbox::<Number>().name("n").open().is_ok(), "free after drop");
}

// ---- buffers

/// The reader takes all that waits at once, and hands it over one by one.
#[actix::test]
async fn messages_fill_a_box_until_they_are_read_one_by_one() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().buffer(Buffer::dropping(4)).open().unwrap();
    let to = inbox.address();
    send_all(&to, 0..4);
    assert_eq!(inbox.try_recv().unwrap().0, 0);
    assert_eq!(inbox.len(), 3);
    assert!(to.try_send(Number(4)).is_ok(), "one was read");
    assert!(matches!(to.try_send(Number(5)), Err(SendError::Full(Number(5)))), "and no more");
    let stats = node.stats();
    assert_eq!((stats.boxes[0].depth, stats.boxes[0].received), (4, 5));
    assert_eq!((stats.sent, stats.delivered), (5, 1));
    drop(inbox);
    let stats = node.stats();
    assert_eq!((stats.sent, stats.delivered), (5, 1), "what was delivered stays so");
    assert_eq!(
        stats.dropped,
        [(DropReason::BoxClosed, 4)].into(),
        "the three that the reader had taken are among them"
    );
}

#[actix::test]
async fn a_dropping_buffer_keeps_the_first_and_counts_the_others() {
    let node = Node::start();
    let mut inbox = node.mailbox().name("n").buffer(Buffer::dropping(3)).open().unwrap();
    send_all(&inbox.address(), 0..10);
    assert_eq!((inbox.len(), inbox.dropped()), (3, 7));
    assert_eq!(waiting(&mut inbox), [0, 1, 2]);
    send_all(&inbox.address(), 10..12);
    assert_eq!(waiting(&mut inbox), [10, 11], "there is room again");
    let stats = node.stats();
    assert_eq!((stats.sent, stats.delivered), (12, 5));
    assert_eq!(stats.dropped, [(DropReason::NewestShed, 7)].into());
    assert_eq!(inbox.address().lost().local, stats.dropped);
}

#[actix::test]
async fn a_sliding_buffer_keeps_the_last_and_counts_the_others() {
    let node = Node::start();
    let mut inbox = node.mailbox().name("n").buffer(Buffer::sliding(3)).open().unwrap();
    send_all(&inbox.address(), 0..10);
    assert_eq!((inbox.len(), inbox.dropped()), (3, 7));
    assert_eq!(waiting(&mut inbox), [7, 8, 9]);
    let stats = node.stats();
    assert_eq!((stats.sent, stats.delivered), (10, 3));
    assert_eq!(stats.dropped, [(DropReason::OldestShed, 7)].into());
}

#[actix::test]
async fn a_mailbox_holds_as_many_as_the_node_says_unless_it_says_itself() {
    let node = Node::builder().mailbox_buffer(5).start();
    let mut inbox = node.mailbox::<Number>().open().unwrap();
    send_all(&inbox.address(), 0..9);
    assert_eq!(waiting(&mut inbox), [0, 1, 2, 3, 4]);
    let mut inbox = Node::start().mailbox::<Number>().open().unwrap();
    send_all(&inbox.address(), 0..2000);
    assert_eq!(waiting(&mut inbox).len(), 1024);
    let mut nothing = node.mailbox().buffer(Buffer::dropping(0)).open().unwrap();
    send_all(&nothing.address(), 0..9);
    assert_eq!((waiting(&mut nothing).len(), nothing.dropped()), (0, 9));
}

// ---- closing

#[actix::test]
async fn a_closed_mailbox_is_read_to_its_end() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().open().unwrap();
    let to = inbox.address();
    send_all(&to, 0..3);
    inbox.close();
    send_all(&to, 3..5);
    assert!(!to.connected());
    for n in 0..3 {
        assert_eq!(within(inbox.recv()).await, Some(Number(n)));
    }
    assert_eq!(within(inbox.recv()).await, None);
    assert_eq!(inbox.try_recv(), None);
    let stats = node.stats();
    assert_eq!((stats.sent, stats.delivered), (5, 3));
    assert_eq!(stats.dropped, [(DropReason::BoxClosed, 2)].into());
}

#[actix::test]
async fn what_waits_in_a_dropped_mailbox_counts_as_box_closed() {
    let node = Node::start();
    let inbox = node.mailbox::<Number>().open().unwrap();
    let to = inbox.address();
    send_all(&to, 0..3);
    drop(inbox);
    assert_eq!(node.stats().dropped, [(DropReason::BoxClosed, 3)].into());
    send_all(&to, 3..5);
    assert_eq!(node.stats().dropped, [(DropReason::BoxClosed, 5)].into());
    assert_eq!(node.stats().boxes.len(), 0);
}

/// Panics as it is dropped.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Brittle;

/// Brittle messages that were dropped.
static BROKEN: AtomicU64 = AtomicU64::new(0);

impl Drop for Brittle {
    fn drop(&mut self) {
        BROKEN.fetch_add(1, Ordering::SeqCst);
        panic!("it breaks");
    }
}

#[test]
fn messages_that_panic_as_they_go_with_their_box_cost_themselves_and_are_counted() {
    let system = System::new();
    let node = system.block_on(async { Node::start() });
    let inbox = node.mailbox::<Brittle>().open().expect("a mailbox");
    // Values were made, and dropped, to find out about the type.
    let before = BROKEN.load(Ordering::SeqCst);
    (0..3).for_each(|_| inbox.address().do_send(Brittle));
    // Each costs itself: whoever drops the box does not hear of it.
    drop(inbox);
    assert_eq!(BROKEN.load(Ordering::SeqCst) - before, 3);
    assert_eq!(node.stats().dropped, [(DropReason::BoxClosed, 3)].into());
}

#[actix::test]
async fn a_reader_that_waits_is_told_of_the_end() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().open().unwrap();
    let reader = actix::spawn(async move { inbox.recv().await });
    // The reader waits before the node ends.
    tokio::task::yield_now().await;
    within(node.shutdown()).await;
    assert_eq!(within(reader).await.unwrap(), None);
}

// ---- reading

#[actix::test]
async fn a_mailbox_is_a_stream_that_ends_when_it_is_closed() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().open().unwrap();
    let to = inbox.address();
    send_all(&to, 0..2);
    assert_eq!(within(inbox.next()).await, Some(Number(0)));
    to.do_send(Number(2));
    inbox.close();
    let rest: Vec<u64> = within(inbox.map(|number| number.0).collect()).await;
    assert_eq!(rest, [1, 2]);
}

#[actix::test]
async fn a_recv_that_is_given_up_loses_no_message() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().open().unwrap();
    let to = inbox.address();
    for n in 0..100 {
        {
            let mut recv = Box::pin(inbox.recv());
            assert!((&mut recv).now_or_never().is_none());
            to.do_send(Number(n));
            // It was woken for the message, and is dropped before it takes it.
        }
        assert_eq!(inbox.recv().now_or_never(), Some(Some(Number(n))));
    }
    assert_eq!(node.stats().delivered, 100);
}

// ---- requests to a mailbox

#[actix::test]
async fn a_request_to_a_mailbox_ends_when_its_message_is_taken() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().open().unwrap();
    let mut request = inbox.address().send(Number(1));
    assert!((&mut request).now_or_never().is_none(), "nobody has taken it");
    assert_eq!(inbox.try_recv(), Some(Number(1)), "it leaves when it is made");
    assert_eq!(request.now_or_never(), Some(Ok(())));
    let request = inbox.recipient().send(Number(2));
    let (taken, answer) = within(async { tokio::join!(inbox.recv(), request) }).await;
    assert_eq!((taken, answer), (Some(Number(2)), Ok(())));
}

#[actix::test]
async fn a_request_ends_as_closed_when_its_message_is_shed_or_its_box_goes() {
    let node = Node::start();
    let dropping = node.mailbox().buffer(Buffer::dropping(1)).open().unwrap();
    let sliding = node.mailbox().buffer(Buffer::sliding(1)).open().unwrap();
    let mut kept = dropping.address().send(Number(0));
    let shed = dropping.address().send(Number(1));
    let replaced = sliding.address().send(Number(2));
    sliding.address().do_send(Number(3));
    assert_eq!(within(shed).await, Err(MailboxError::Closed));
    assert_eq!(within(replaced).await, Err(MailboxError::Closed));
    assert!((&mut kept).now_or_never().is_none());
    let to = dropping.address();
    drop(dropping);
    assert_eq!(within(kept).await, Err(MailboxError::Closed));
    assert_eq!(within(to.send(Number(4))).await, Err(MailboxError::Closed));
    let counts = [(DropReason::BoxClosed, 2), (DropReason::NewestShed, 1), (DropReason::OldestShed, 1)];
    assert_eq!(node.stats().dropped, counts.into());
}

#[actix::test]
async fn a_request_that_times_out_takes_its_message_back() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().open().unwrap();
    let answer = within(inbox.address().send(Number(1)).timeout(Duration::from_millis(1))).await;
    assert_eq!(answer, Err(MailboxError::Timeout));
    inbox.address().do_send(Number(2));
    assert_eq!(next(&mut inbox).await, Number(2));
    assert_eq!(dropped(&node, DropReason::Cancelled), 1);
}

#[actix::test]
async fn a_cancelled_request_is_never_read_and_counts() {
    let node = Node::start();
    let mut inbox = node.mailbox::<Number>().name("n").open().unwrap();
    let to = inbox.address();
    let requests: Vec<_> = (0..10).map(|n| to.send(Number(n))).collect();
    let kept: Vec<_> = requests.into_iter().enumerate().filter(|(at, _)| at % 2 == 1).collect();
    to.do_send(Number(10));
    assert_eq!(waiting(&mut inbox), [1, 3, 5, 7, 9, 10]);
    for (_, request) in kept {
        assert_eq!(within(request).await, Ok(()));
    }
    let stats = node.stats();
    assert_eq!((stats.sent, stats.delivered), (11, 6));
    assert_eq!(stats.dropped, [(DropReason::Cancelled, 5)].into());
    assert_eq!(inbox.dropped(), 5);
}

// ---- one handle

#[actix::test]
async fn try_send_gives_the_message_back_and_counts_nothing() {
    let node = Node::start();
    let mut inbox = node.mailbox().buffer(Buffer::dropping(1)).open().unwrap();
    let to = inbox.address();
    assert!(to.try_send(Number(1)).is_ok());
    assert!(matches!(to.try_send(Number(2)), Err(SendError::Full(Number(2)))));
    inbox.close();
    assert!(matches!(to.try_send(Number(3)), Err(SendError::Closed(Number(3)))));
    assert_eq!(waiting(&mut inbox), [1]);
    within(node.shutdown()).await;
    assert!(matches!(to.try_send(Number(4)), Err(SendError::Closed(Number(4)))));
    let stats = node.stats();
    assert_eq!((stats.sent, stats.delivered, stats.dropped_total(), inbox.dropped()), (1, 1, 0, 0));
}

/// A message that nothing may try to write or read.
#[derive(Message, PartialEq, Eq, Debug)]
#[rtype(result = "Never")]
struct Never(u64);

/// A message for a mailbox that nothing may try to write or read.
#[derive(Message, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Private(u64);

macro_rules! never_written {
    ($($name:ident),*) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                panic!("a local message is written")
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                panic!("a local message is read")
            }
        }
    )* };
}

never_written!(Never, Private);

struct Mirror;

impl Actor for Mirror {
    type Context = Context<Self>;
}

impl Handler<Never> for Mirror {
    type Result = actix::MessageResult<Never>;

    fn handle(&mut self, message: Never, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(message)
    }
}

#[test]
fn a_local_send_serialises_nothing_and_is_alike_through_both_kinds_of_handle() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox::<Private>().open().unwrap();
        let (address, recipient) = (inbox.address(), inbox.recipient());
        address.do_send(Private(1));
        address.try_send(Private(2)).unwrap();
        let request = address.send(Private(3));
        for n in 1..=3 {
            assert_eq!(next(&mut inbox).await, Private(n));
        }
        assert_eq!(within(request).await, Ok(()));
        recipient.do_send(Private(4));
        recipient.try_send(Private(5)).unwrap();
        let request = recipient.send(Private(6));
        let read = async {
            for n in 4..=6 {
                assert_eq!(next(&mut inbox).await, Private(n));
            }
        };
        let (answer, ()) = within(async { tokio::join!(request, read) }).await;
        assert_eq!(answer, Ok(()));
        let mirror = node.publish::<Never>("mirror", Mirror.start()).unwrap();
        assert_eq!(within(mirror.send(Never(7))).await.unwrap(), Never(7));
        assert_eq!(within(mirror.recipient().send(Never(8))).await.unwrap(), Never(8));
        let stats = watched(|| node.stats(), |stats| stats.delivered == 8).await;
        assert_eq!((stats.sent, stats.dropped_total()), (8, 0));
    });
}

#[test]
fn recipients_of_one_address_are_equal_and_disconnected_when_the_box_closes() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox::<Number>().open().unwrap();
        let other = node.mailbox::<Number>().open().unwrap();
        let recipient = inbox.recipient();
        assert!(recipient == inbox.address().recipient());
        assert!(recipient == inbox.address().clone().recipient());
        assert!(recipient != other.recipient());
        assert!(recipient.connected());
        drop(recipient);
        // The one behind it ends with the last recipient; another takes its place.
        let again = inbox.recipient();
        again.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        inbox.close();
        settled(|| !again.connected()).await;
        assert!(matches!(again.try_send(Number(2)), Err(SendError::Closed(Number(2)))));
        assert_eq!(within(again.send(Number(3))).await, Err(MailboxError::Closed));
        assert!(other.recipient().connected());
    });
}

/// Also behind one that has passed messages on, and rests.
#[test]
fn a_recipient_that_was_used_is_disconnected_when_the_box_closes() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox::<Number>().open().unwrap();
        let recipient = inbox.recipient();
        for n in 0..3 {
            recipient.do_send(Number(n));
            // Not by the reader: it has not looked yet.
            settled(|| inbox.len() == 1).await;
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        inbox.close();
        settled(|| !recipient.connected()).await;
    });
}

#[test]
fn what_a_recipient_took_before_its_box_closed_is_accounted_for() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let inbox = node.mailbox::<Number>().buffer(Buffer::dropping(10)).open().unwrap();
        let recipient = inbox.recipient();
        let taken = (0..5000).filter(|&n| recipient.try_send(Number(n)).is_ok()).count() as u64;
        drop(inbox);
        let taken = taken + (0..5000).filter(|&n| recipient.try_send(Number(n)).is_ok()).count() as u64;
        watched(|| node.stats(), |stats| stats.sent == taken && stats.dropped_total() == taken).await;
    });
}

#[test]
fn what_a_recipient_took_before_the_system_ended_is_accounted_for() {
    for thread in [IoThread::Current, IoThread::Own] {
        let (node, inbox) = System::new().block_on(async {
            let node = Node::builder().io_thread(thread).start();
            let inbox = node.mailbox::<Number>().open().unwrap();
            let recipient = inbox.recipient();
            // Nothing has been taken up when the System ends, or not everything.
            (0..5).for_each(|n| recipient.do_send(Number(n)));
            (node, inbox)
        });
        drop(inbox);
        let counts = || node.stats();
        tokio_test::block_on(watched(counts, |stats| (stats.sent, stats.dropped_total()) == (5, 5)));
    }
}

#[test]
fn what_is_sent_through_a_recipient_that_is_then_dropped_arrives() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox().buffer(Buffer::dropping(5000)).open().unwrap();
        let to = inbox.address();
        let sender = thread::spawn(move || (0..5000).for_each(|n| to.recipient().do_send(Number(n))));
        for _ in 0..5000 {
            next(&mut inbox).await;
        }
        sender.join().unwrap();
        assert_eq!(node.stats().dropped_total(), 0);
    });
}

#[test]
fn a_reader_has_what_was_sent_through_a_recipient_at_once() {
    System::new().block_on(async {
        let node = Node::start();
        let mut inbox = node.mailbox::<Number>().buffer(Buffer::dropping(2)).open().unwrap();
        let (address, recipient) = (inbox.address(), inbox.recipient());
        (0..5).for_each(|n| recipient.do_send(Number(n)));
        // No other task has had a turn.
        assert_eq!(inbox.try_recv(), Some(Number(0)));
        assert_eq!((inbox.len(), node.stats().sent), (1, 2), "as many as the box holds were taken");
        assert_eq!(address.try_send(Number(5)).ok(), Some(()));
        assert!(matches!(address.try_send(Number(6)), Err(SendError::Full(_))), "what was taken takes room");
        assert_eq!([inbox.try_recv(), inbox.try_recv()], [Some(Number(1)), Some(Number(5))]);
        let rest = [inbox.try_recv(), inbox.try_recv(), inbox.try_recv(), inbox.try_recv()];
        assert_eq!(rest, [Some(Number(2)), Some(Number(3)), Some(Number(4)), None]);
        let stats = node.stats();
        assert_eq!((stats.sent, stats.delivered, stats.dropped_total()), (6, 6, 0));
        assert_eq!(stats.boxes[0].received, 6);
    });
}

#[test]
fn a_reader_that_does_not_look_leaves_its_box_bounded() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox::<Number>().buffer(Buffer::dropping(2)).open().unwrap();
        let recipient = inbox.recipient();
        recipient.do_send(Number(0));
        assert_eq!(next(&mut inbox).await, Number(0));
        (1..=5).for_each(|n| recipient.do_send(Number(n)));
        let stats = watched(|| node.stats(), |stats| stats.sent == 6).await;
        assert_eq!(stats.dropped, [(DropReason::NewestShed, 3)].into());
        assert_eq!([inbox.try_recv(), inbox.try_recv(), inbox.try_recv()], [Some(Number(1)), Some(Number(2)), None]);
    });
}

#[test]
fn a_sliding_box_has_the_newest_of_what_was_sent_through_a_recipient() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox::<Number>().buffer(Buffer::sliding(1)).open().unwrap();
        let recipient = inbox.recipient();
        (1..=5).for_each(|n| recipient.do_send(Number(n)));
        if thread == IoThread::Current {
            assert_eq!(inbox.try_recv(), None, "which is the newest is seen when all have come");
        }
        watched(|| node.stats(), |stats| stats.dropped.get(&DropReason::OldestShed) == Some(&4)).await;
        assert_eq!(next(&mut inbox).await, Number(5));
    });
}

#[test]
fn what_is_sent_through_a_recipient_stays_in_order_whoever_takes_it_up() {
    const MESSAGES: u64 = 20_000;
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox().buffer(Buffer::dropping(MESSAGES as usize)).open().unwrap();
        let recipient = inbox.recipient();
        let sender = thread::spawn(move || (0..MESSAGES).for_each(|n| recipient.do_send(Number(n))));
        // In turns, so that the node's thread and the reader meet.
        for n in 0..MESSAGES {
            let message = match inbox.try_recv() {
                Some(message) => message,
                None => next(&mut inbox).await,
            };
            assert_eq!(message, Number(n));
        }
        sender.join().unwrap();
        let stats = node.stats();
        assert_eq!((stats.sent, stats.delivered, stats.dropped_total()), (MESSAGES, MESSAGES, 0));
    });
}

#[test]
fn a_request_through_a_recipient_that_was_taken_back_is_passed_over_by_the_reader() {
    System::new().block_on(async {
        let node = Node::start();
        let mut inbox = node.mailbox::<Number>().open().unwrap();
        let recipient = inbox.recipient();
        drop(recipient.send(Number(1)));
        let kept = recipient.send(Number(2));
        assert_eq!(inbox.try_recv(), Some(Number(2)));
        assert_eq!(within(kept).await, Ok(()));
        let stats = node.stats();
        assert_eq!((stats.sent, stats.delivered), (2, 1));
        assert_eq!(stats.dropped, [(DropReason::Cancelled, 1)].into());
    });
}

// ---- actors

/// Adds, or shouts.
#[derive(Default)]
struct Adder {
    sum: u64,
}

impl Actor for Adder {
    type Context = Context<Self>;
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Add(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<String, String>")]
struct Shout(String);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct AddSlowly(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Add> for Adder {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.sum
    }
}

impl Handler<Shout> for Adder {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, Shout(text): Shout, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if text.is_empty() { Err("nothing to shout".to_owned()) } else { Ok(text.to_uppercase()) }
        })
    }
}

impl Handler<AddSlowly> for Adder {
    type Result = AtomicResponse<Self, u64>;

    fn handle(&mut self, AddSlowly(n): AddSlowly, _: &mut Context<Self>) -> Self::Result {
        let before = self.sum;
        let slow = tokio::task::yield_now().into_actor(self);
        AtomicResponse::new(Box::pin(slow.map(move |(), adder, _| {
            adder.sum = before + n;
            adder.sum
        })))
    }
}

impl Handler<Stop> for Adder {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[test]
fn a_published_actor_answers_under_each_of_its_names_and_types() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let actor = Adder::default().start();
        let add = node.publish::<Add>("add", actor.clone()).unwrap();
        let too = node.publish("add too", actor.clone().recipient::<Add>()).unwrap();
        let shout = node.publish::<Shout>("shout", actor.clone()).unwrap();
        let slow = node.publish::<AddSlowly>("slow", actor).unwrap();
        assert_eq!(within(add.send(Add(1))).await, Ok(1));
        assert_eq!(within(too.send(Add(2))).await, Ok(3));
        assert_eq!(within(shout.send(Shout("hey".to_owned()))).await, Ok(Ok("HEY".to_owned())));
        assert_eq!(within(shout.recipient().send(Shout(String::new()))).await, Ok(Err("nothing to shout".to_owned())));
        let slowly: Vec<_> = (0..10).map(|_| slow.send(AddSlowly(10))).collect();
        for (at, answer) in (1..).zip(slowly) {
            assert_eq!(within(answer).await, Ok(3 + at * 10), "an atomic response lets nothing in between");
        }
        add.do_send(Add(5));
        add.try_send(Add(5)).unwrap();
        assert_eq!(within(add.send(Add(0))).await, Ok(113));
        watched(|| node.stats(), |stats| (stats.sent, stats.delivered, stats.dropped_total()) == (17, 17, 0)).await;
    });
}

#[actix::test]
async fn unpublish_takes_the_name_of_an_actor_and_of_nothing_else() {
    let node = Node::start();
    let actor = Adder::default().start();
    let add = node.publish::<Add>("add", actor.clone()).unwrap();
    let mut inbox = node.mailbox::<Number>().name("n").open().unwrap();
    send_all(&inbox.address(), 0..1);
    let last = add.send(Add(1));
    assert!(node.unpublish("add"));
    assert_eq!(within(last).await, Ok(1), "what waits is still handled");
    assert_eq!(within(add.send(Add(1))).await, Err(MailboxError::Closed));
    assert!(!node.unpublish("add"));
    assert!(!node.unpublish("n"));
    assert!(!node.unpublish("never seen"));
    assert_eq!(waiting(&mut inbox), [0]);
    assert!(inbox.address().connected());
    let again = node.publish::<Add>("add", actor.clone()).unwrap();
    assert_eq!(within(again.send(Add(1))).await, Ok(2), "the actor lives, and its name is free");
}

#[actix::test]
async fn the_name_of_an_actor_that_has_stopped_is_free() {
    let node = Node::builder().heartbeat(Duration::from_secs(3600)).start();
    let actor = Adder::default().start();
    let add = node.publish::<Add>("add", actor.clone()).unwrap();
    // The first heartbeat, which would free the name as well, is over.
    assert_eq!(within(add.send(Add(1))).await, Ok(1));
    actor.send(Stop).await.unwrap();
    settled(|| !actor.connected()).await;
    let successor = node.publish::<Add>("add", Adder::default().start()).expect("the name is free");
    assert_eq!(within(add.send(Add(1))).await, Err(MailboxError::Closed));
    assert_eq!(within(successor.send(Add(1))).await, Ok(1));
    watched(|| node.stats(), |stats| stats.dropped == [(DropReason::BoxClosed, 1)].into()).await;
}

#[actix::test]
async fn messages_to_an_actor_that_has_stopped_are_counted() {
    let node = Node::start();
    let actor = Adder::default().start();
    let add = node.publish::<Add>("add", actor.clone()).unwrap();
    actor.send(Stop).await.unwrap();
    (0..3).for_each(|n| add.do_send(Add(n)));
    let answer = within(add.send(Add(3))).await;
    assert_eq!(answer, Err(MailboxError::Closed));
    watched(|| node.stats(), |stats| stats.dropped == [(DropReason::BoxClosed, 4)].into()).await;
    assert!(!add.connected());
}

#[actix::test]
async fn an_exported_actor_is_reached_by_its_address_alone() {
    let node = Node::start();
    let actor = Adder::default().start();
    let add = node.export::<Add>(actor.clone()).unwrap();
    let same = node.export(actor.clone().recipient::<Add>()).unwrap();
    let shout = node.export::<Shout>(actor).unwrap();
    assert_eq!(add, same);
    assert_ne!(add.name(), shout.name());
    assert!(add.is_local() && add.connected());
    assert_eq!(within(add.send(Add(2))).await, Ok(2), "the node keeps the actor alive");
    assert_eq!(within(same.recipient().send(Add(2))).await, Ok(4));
    assert_eq!(within(shout.send(Shout("a".to_owned()))).await, Ok(Ok("A".to_owned())));
    assert!(!node.unpublish(add.name()));
}

/// Handles a message only when it is let.
struct Slow(Arc<Semaphore>);

impl Actor for Slow {
    type Context = Context<Self>;
}

/// A message whose instances can be counted.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Load {
    #[serde(skip)]
    alive: Option<Arc<()>>,
}

impl Handler<Load> for Slow {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, load: Load, _: &mut Context<Self>) -> Self::Result {
        let gate = Arc::clone(&self.0);
        let slow = async move {
            gate.acquire().await.expect("the gate stays").forget();
            drop(load.alive);
        };
        AtomicResponse::new(Box::pin(slow.into_actor(self)))
    }
}

#[test]
fn a_slow_actor_makes_counted_drops_and_no_heap_of_messages() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).mailbox_buffer(8).start();
        let (gate, alive) = (Arc::new(Semaphore::new(0)), Arc::new(()));
        let slow = node.publish::<Load>("slow", Slow(Arc::clone(&gate)).start()).unwrap();
        for n in 0..20_000 {
            slow.do_send(Load { alive: Some(Arc::clone(&alive)) });
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // A window before the actor, and as much in the box.
        let held = watched(|| Arc::strong_count(&alive) - 1, |&held| held <= 16).await as u64;
        let stats = watched(|| node.stats(), |stats| stats.dropped_total() == 20_000 - held).await;
        assert_eq!(stats.dropped, [(DropReason::NewestShed, 20_000 - held)].into());
        gate.add_permits(20_000);
        let stats = watched(|| node.stats(), |stats| stats.delivered == held).await;
        assert_eq!((stats.sent, stats.dropped_total()), (20_000, 20_000 - held));
        settled(|| Arc::strong_count(&alive) == 1).await;
    });
}

/// Begins every message at once, and ends none.
struct Busy(mpsc::UnboundedSender<u64>);

impl Actor for Busy {
    type Context = Context<Self>;
}

impl Handler<Number> for Busy {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) -> Self::Result {
        self.0.send(n).expect("the test listens");
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_message_that_takes_long_holds_up_none_behind_it() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let (begins, mut begun) = mpsc::unbounded_channel();
        let busy = node.publish::<Number>("busy", Busy(begins).start()).unwrap();
        for n in 0..3 {
            busy.do_send(Number(n));
            assert_eq!(within(begun.recv()).await, Some(n));
        }
    });
}

#[test]
fn what_waits_for_an_actor_when_its_node_ends_is_accounted_for() {
    on_either_thread(|thread| async move {
        let limit = Duration::from_millis(100);
        let node = Node::builder().io_thread(thread).mailbox_buffer(8).shutdown_timeout(limit).start();
        let slow = node.publish::<Load>("slow", Slow(Arc::new(Semaphore::new(0))).start()).unwrap();
        // The actor has been given some, and its box is full again.
        settled(|| {
            slow.do_send(Load { alive: None });
            node.stats().boxes.iter().any(|stats| stats.depth == 8 && stats.received > 8)
        })
        .await;
        within(node.shutdown()).await;
        let ended = |stats: &Stats| stats.delivered + stats.dropped_total() == stats.sent;
        let stats = watched(|| node.stats(), ended).await;
        assert_eq!(stats.dropped[&DropReason::Shutdown], 8);
        assert!(stats.delivered > 0);
    });
}

// ---- visibility

#[actix::test]
async fn stats_show_each_box() {
    let node = Node::start();
    let mut inbox = node.mailbox().name("numbers").buffer(Buffer::dropping(2)).open().unwrap();
    let anonymous = node.mailbox::<Text>().open().unwrap();
    send_all(&inbox.address(), 0..5);
    assert_eq!(next(&mut inbox).await, Number(0));
    let stats = node.stats();
    assert_eq!(stats.node, node.id());
    assert_eq!((stats.sent, stats.delivered, stats.dropped_total()), (5, 1, 3));
    assert_eq!((stats.in_doubt, stats.connections.len(), stats.boxes.len()), (0, 0, 2));
    let named = stats.boxes.iter().find(|stats| stats.name == "numbers").unwrap();
    assert_eq!(named.type_name, std::any::type_name::<Number>());
    assert_eq!((named.depth, named.capacity, named.received), (1, 2, 2));
    assert_eq!(named.dropped, [(DropReason::NewestShed, 3)].into());
    let other = stats.boxes.iter().find(|stats| stats.name == anonymous.name()).unwrap();
    assert_eq!((other.depth, other.capacity, other.received, other.dropped.len()), (0, 1024, 0, 0));
    let json = serde_json::to_value(&stats).unwrap();
    assert_eq!(json["dropped"]["NewestShed"], 3);
}

#[actix::test]
async fn subscribers_are_told_of_many_drops_at_once() {
    let node = Node::start();
    let mut ears = events(&node);
    let inbox = node.mailbox().name("n").buffer(Buffer::dropping(1)).open().unwrap();
    send_all(&inbox.address(), 0..101);
    let told = ears.find(|event| matches!(event, Event::DeadLetter { .. }).then(|| event.clone())).await;
    let Event::DeadLetter { name, type_name, reason, count, side, detail } = told else { unreachable!() };
    assert_eq!((name.as_str(), reason, count, side), ("n", DropReason::NewestShed, 100, Side::Here));
    assert_eq!((type_name.as_str(), detail), (std::any::type_name::<Number>(), None));
    send_all(&inbox.address(), 0..7);
    assert_eq!(ears.count_drops("n", DropReason::NewestShed, 7).await, 7, "each drop is told once");
}

// ---- threads and Systems

#[test]
fn handles_work_on_threads_without_a_system() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox::<Number>().open().unwrap();
        let (to, recipient, there) = (inbox.address(), inbox.recipient(), node.clone());
        let elsewhere = thread::spawn(move || {
            to.do_send(Number(1));
            recipient.do_send(Number(2));
            to.recipient().do_send(Number(3));
            let mut own = there.mailbox::<Number>().open().unwrap();
            own.address().do_send(Number(4));
            tokio_test::block_on(within(own.recv()))
        });
        let mut come = [next(&mut inbox).await.0, next(&mut inbox).await.0, next(&mut inbox).await.0];
        come.sort_unstable();
        assert_eq!(come, [1, 2, 3]);
        assert_eq!(elsewhere.join().unwrap(), Some(Number(4)));
    });
}

#[test]
fn a_node_that_is_started_without_a_system_runs_all_the_same() {
    for thread in [IoThread::Current, IoThread::Own] {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox = node.mailbox::<Number>().name("n").open().unwrap();
        tokio_test::block_on(async {
            let endpoint = within(node.listen("127.0.0.1:0")).await.unwrap();
            inbox.recipient().do_send(Number(1));
            assert_eq!(next(&mut inbox).await, Number(1));
            node.remote::<Number>(&endpoint, "n").unwrap().do_send(Number(2));
            assert_eq!(next(&mut inbox).await, Number(2));
            within(node.shutdown()).await;
            assert_eq!(within(inbox.recv()).await, None);
        });
    }
}

/// The remains when a System with a node has ended.
fn ended_system(thread: IoThread) -> (Node, Mailbox<Number>) {
    System::new().block_on(async {
        let node = Node::builder().io_thread(thread).start();
        let inbox = node.mailbox::<Number>().name("n").open().unwrap();
        inbox.address().do_send(Number(1));
        // The node is at work when its System ends.
        within(node.listen("127.0.0.1:0")).await.unwrap();
        (node, inbox)
    })
}

#[test]
fn a_node_stops_with_its_system() {
    for thread in [IoThread::Current, IoThread::Own] {
        let (node, mut inbox) = ended_system(thread);
        assert!(matches!(node.mailbox::<Number>().open(), Err(OpenError::Stopped)));
        assert!(matches!(node.mailbox::<Number>().name("n").open(), Err(OpenError::Stopped)));
        let to = inbox.address();
        to.do_send(Number(2));
        assert!(matches!(to.try_send(Number(3)), Err(SendError::Closed(Number(3)))));
        assert!(!to.connected());
        tokio_test::block_on(async {
            let recipient = inbox.recipient();
            settled(|| !recipient.connected()).await;
            assert_eq!(within(inbox.recv()).await, Some(Number(1)), "what waits can be read");
            assert_eq!(within(inbox.recv()).await, None);
            assert_eq!(within(to.send(Number(4))).await, Err(MailboxError::Closed));
            assert!(matches!(within(node.listen("127.0.0.1:0")).await, Err(ListenError::Stopped)));
            within(node.shutdown()).await;
        });
        System::new().block_on(async {
            let actor = Adder::default().start();
            assert!(matches!(node.publish::<Add>("a", actor.clone()), Err(OpenError::Stopped)));
            assert!(matches!(node.export::<Add>(actor), Err(OpenError::Stopped)));
        });
        let stats = node.stats();
        assert_eq!((stats.sent, stats.delivered), (3, 1));
        assert_eq!(stats.dropped, [(DropReason::Shutdown, 2)].into());
    }
}
