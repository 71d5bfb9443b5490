//! Waiters for the end of a box are told of it, wherever the box is, and why.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::CloseReason;
use actix_hermod::ConnectionState;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;
use support::Elsewhere;
use support::Number;
use support::Ping;
use support::Pong;
use support::Text;
use support::catcher;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::wire::Wire;
use support::within;

/// A node that dials again at once, and takes a peer for dead soon.
fn impatient() -> NodeBuilder {
    let pause = Duration::from_millis(5);
    Node::builder().reconnect(pause..=pause).heartbeat(Duration::from_millis(50))
}

/// So that a test that waits for a connection to come back is never told that it does not.
fn patient() -> NodeBuilder {
    impatient().dead_after(Duration::from_secs(3600))
}

fn open(node: &Node, name: &str) -> Mailbox<Number> {
    node.mailbox().name(name).open().expect("the name is free")
}

/// Whether a future that was started has not ended. Nobody would announce that.
async fn still_waits<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = std::future::ready(()) => true,
    }
}

/// Sends until one message has come through, so that all that was said before on that connection is known to the peer.
async fn comes_through(to: &Address<Number>, inbox: &mut Mailbox<Number>) {
    let sending = async {
        loop {
            to.do_send(Number(7));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = next(inbox) => {}
        () = sending => {}
    }
}

#[test]
fn a_box_of_this_node_tells_when_it_closes() {
    on_either_thread(async |thread| {
        let node = Node::builder().io_thread(thread).start();
        let inbox = open(&node, "inbox");
        let address = inbox.address();
        let mut closed = Box::pin(address.closed());
        assert!(still_waits(&mut closed).await);
        drop(inbox);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
        assert_eq!(within(address.closed()).await, CloseReason::BoxClosed, "it is told again");
    });
}

#[test]
fn a_box_of_another_node_tells_when_it_closes_behind_what_was_sent_to_it() {
    on_either_thread(async |thread| {
        let (server, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = open(&server, "inbox");
        let client = Node::builder().io_thread(thread).start();
        let to: Address<Number> = client.remote(&endpoint, "inbox").unwrap();
        let (mut one, other) = (Box::pin(to.closed()), to.closed());
        (0..10).for_each(|n| to.do_send(Number(n)));
        for n in 0..10 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        assert!(still_waits(&mut one).await);
        inbox.close();
        assert_eq!(within(one).await, CloseReason::BoxClosed);
        assert_eq!(within(other).await, CloseReason::BoxClosed);
    });
}

#[test]
fn what_is_not_there_is_closed_and_what_comes_later_is_not() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let client = Node::start();
        let to: Address<Number> = client.remote(&endpoint, "late").unwrap();
        assert_eq!(within(to.closed()).await, CloseReason::BoxClosed);
        let mut inbox = open(&server, "late");
        let mut closed = Box::pin(to.closed());
        comes_through(&to, &mut inbox).await;
        assert!(still_waits(&mut closed).await);
        drop(inbox);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
    });
}

#[test]
fn an_actor_that_stops_closes_its_box_for_those_who_wait() {
    System::new().block_on(async {
        let (server, endpoint) = listening(impatient()).await;
        let (actor, caught) = catcher();
        server.publish("catcher", actor).unwrap();
        let client = Node::start();
        let closed = client.remote::<Number>(&endpoint, "catcher").unwrap().closed();
        assert!(caught.lives());
        server.unpublish("catcher");
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
    });
}

#[test]
fn a_node_that_says_goodbye_is_gone() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox: Mailbox<Ping> = server.mailbox().name("pings").open().unwrap();
        let client = Node::start();
        let mut replies: Mailbox<Pong> = client.mailbox().open().unwrap();
        let to: Address<Ping> = client.remote(&endpoint, "pings").unwrap();
        to.do_send(Ping { return_to: replies.address(), n: 1 });
        let back = next(&mut inbox).await.return_to;
        back.do_send(Pong(1));
        next(&mut replies).await;
        let (there, at_server) = (to.closed(), back.closed());
        within(client.shutdown()).await;
        assert_eq!(within(at_server).await, CloseReason::NodeGone, "the client says goodbye");
        assert_eq!(within(back.closed()).await, CloseReason::NodeGone, "and that is remembered");
        assert_eq!(within(there).await, CloseReason::NodeGone, "who waits at a node that ends is told that it does");
        assert_eq!(within(to.closed()).await, CloseReason::NodeGone);
    });
}

#[test]
fn a_node_that_dies_without_a_word_is_lost_once_nobody_listens_in_its_place() {
    System::new().block_on(async {
        let elsewhere = Elsewhere::start();
        let endpoint = elsewhere
            .run(async || {
                let (server, endpoint) = listening(Node::builder()).await;
                // Open for as long as the System runs.
                std::mem::forget(open(&server, "inbox"));
                endpoint
            })
            .await;
        let client = patient().start();
        let mut told = events(&client);
        let to: Address<Number> = client.remote(&endpoint, "inbox").unwrap();
        let closed = to.closed();
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        elsewhere.end();
        assert_eq!(within(closed).await, CloseReason::ConnectionLost);
        assert_eq!(within(to.closed()).await, CloseReason::ConnectionLost);
    });
}

#[test]
fn where_nobody_listens_there_is_no_box() {
    System::new().block_on(async {
        let endpoint = support::deserted().await;
        let to: Address<Number> = patient().start().remote(&endpoint, "inbox").unwrap();
        assert_eq!(within(to.closed()).await, CloseReason::ConnectionLost);
    });
}

#[test]
fn a_connection_that_breaks_and_heals_goes_unnoticed() {
    System::new().block_on(async {
        let (server, endpoint) = listening(patient()).await;
        let mut inbox = open(&server, "inbox");
        let wire = Wire::to(endpoint.to_string()).await;
        let client = patient().start();
        let to: Address<Number> = client.remote(&wire.endpoint, "inbox").unwrap();
        let mut closed = Box::pin(to.closed());
        // The frames that came through have made the server sure of the connection, and not yet the client.
        let mut told = events(&server);
        for _ in 0..3 {
            comes_through(&to, &mut inbox).await;
            wire.cut_after(0);
            told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
            // The next message comes over the next connection.
            while inbox.try_recv().is_some() {}
            wire.mend();
            settled(|| to.connected()).await;
            assert!(still_waits(&mut closed).await);
        }
        comes_through(&to, &mut inbox).await;
        drop(inbox);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
    });
}

/// The server cannot dial: it waits for the client to come back.
#[test]
fn a_box_of_a_node_that_does_not_listen_is_watched_over_its_next_connection() {
    System::new().block_on(async {
        let (server, endpoint) = listening(patient()).await;
        let mut inbox: Mailbox<Ping> = server.mailbox().name("pings").open().unwrap();
        let wire = Wire::to(endpoint.to_string()).await;
        let client = patient().start();
        let mut told = events(&server);
        let replies: Mailbox<Pong> = client.mailbox().name("replies").open().unwrap();
        let to: Address<Ping> = client.remote(&wire.endpoint, "pings").unwrap();
        to.do_send(Ping { return_to: replies.address(), n: 1 });
        let back = next(&mut inbox).await.return_to;
        let mut closed = Box::pin(back.closed());
        wire.cut_after(0);
        to.do_send(Ping { return_to: replies.address(), n: 2 });
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        wire.mend();
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        assert!(still_waits(&mut closed).await);
        drop(replies);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
    });
}

#[test]
fn a_node_in_the_place_of_another_is_not_the_one_that_was_waited_for() {
    System::new().block_on(async {
        let (first, at) = listening(patient()).await;
        let mut inbox = open(&first, "inbox");
        let wire = Wire::to(at.to_string()).await;
        let client = patient().start();
        let to: Address<Number> = client.remote(&wire.endpoint, "inbox").unwrap();
        let closed = to.closed();
        comes_through(&to, &mut inbox).await;
        let (second, at) = listening(patient()).await;
        let mut other = open(&second, "inbox");
        wire.lead_to(&at);
        let mut told = events(&first);
        wire.cut_after(0);
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        wire.mend();
        assert_eq!(within(closed).await, CloseReason::NodeGone);
        let mut closed = Box::pin(to.closed());
        comes_through(&to, &mut other).await;
        assert!(still_waits(&mut closed).await, "the address leads to the other by now");
        drop(other);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
    });
}

#[test]
fn what_is_not_reached_for_long_is_lost() {
    System::new().block_on(async {
        let (server, endpoint) = listening(patient()).await;
        let mut inbox = open(&server, "inbox");
        let wire = Wire::to(endpoint.to_string()).await;
        let client = impatient().dead_after(Duration::from_millis(300)).start();
        let to: Address<Number> = client.remote(&wire.endpoint, "inbox").unwrap();
        let closed = to.closed();
        comes_through(&to, &mut inbox).await;
        // Somebody listens at the other end, and lets nothing through.
        wire.cut_after(0);
        to.do_send(Number(1));
        assert_eq!(within(closed).await, CloseReason::ConnectionLost);
        wire.mend();
        comes_through(&to, &mut inbox).await;
    });
}

/// A message that brings an address on.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Introduced(Address<Number>);

struct Three {
    inbox: Mailbox<Number>,
    owner: Node,
    /// Held at the third node.
    to: Address<Number>,
    closed: Pin<Box<dyn Future<Output = CloseReason>>>,
    _others: (Node, Node),
}

/// The owner of a box listens nowhere, and a third node waits for the box, through the one in the middle.
async fn three() -> Three {
    let (middle, at_middle) = listening(patient()).await;
    let (third, at_third) = listening(patient()).await;
    let mut at_the_middle: Mailbox<Introduced> = middle.mailbox().name("introductions").open().expect("a box");
    let mut at_the_third: Mailbox<Introduced> = third.mailbox().name("introductions").open().expect("a box");
    let owner = patient().start();
    let mut inbox = owner.mailbox().open().expect("a box");
    owner.remote(&at_middle, "introductions").expect("an address").do_send(Introduced(inbox.address()));
    let Introduced(known) = next(&mut at_the_middle).await;
    middle.remote(&at_third, "introductions").expect("an address").do_send(Introduced(known));
    let Introduced(to) = next(&mut at_the_third).await;
    let mut closed = Box::pin(to.closed());
    to.do_send(Number(1));
    next(&mut inbox).await;
    assert!(still_waits(&mut closed).await);
    Three { inbox, owner, to, closed, _others: (middle, third) }
}

#[test]
fn a_third_node_is_told_through_the_one_in_the_middle() {
    System::new().block_on(async {
        let three = three().await;
        drop(three.inbox);
        assert_eq!(within(three.closed).await, CloseReason::BoxClosed);
        assert_eq!(within(three.to.closed()).await, CloseReason::BoxClosed);
    });
}

#[test]
fn a_third_node_is_told_of_a_node_that_is_gone_behind_the_one_in_the_middle() {
    System::new().block_on(async {
        let three = three().await;
        within(three.owner.shutdown()).await;
        assert_eq!(within(three.closed).await, CloseReason::NodeGone);
        assert_eq!(within(three.to.closed()).await, CloseReason::NodeGone);
    });
}

#[test]
fn thousands_who_wait_are_all_told() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let boxes: Vec<_> = (0..5_000).map(|n| open(&server, &format!("box {n}"))).collect();
        let client = Node::start();
        let closed: Vec<_> =
            boxes.iter().map(|inbox| client.remote::<Number>(&endpoint, inbox.name()).unwrap().closed()).collect();
        drop(boxes);
        for closed in closed {
            assert_eq!(within(closed).await, CloseReason::BoxClosed);
        }
    });
}

#[test]
fn those_who_wait_for_more_boxes_than_there_is_room_for_are_all_told() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder().watches(0)).await;
        let boxes: Vec<_> = (0..20).map(|n| open(&server, &format!("box {n}"))).collect();
        let client = Node::start();
        let closed = |n| client.remote::<Number>(&endpoint, &format!("box {n}")).expect("an address").closed();
        let closed: Vec<_> = (0..20).map(closed).collect();
        settled(|| client.stats().connections.iter().any(|to| to.state == ConnectionState::Up)).await;
        drop(boxes);
        for closed in closed {
            assert_eq!(within(closed).await, CloseReason::BoxClosed);
        }
    });
}

#[test]
fn one_may_wait_on_a_thread_without_a_runtime() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let inbox = open(&server, "inbox");
        let client = Node::start();
        let (near, far) = (inbox.address().closed(), client.remote::<Number>(&endpoint, "inbox").unwrap().closed());
        let waiting = std::thread::spawn(|| tokio_test::block_on(async { (near.await, far.await) }));
        drop(inbox);
        settled(|| waiting.is_finished()).await;
        assert_eq!(waiting.join().unwrap(), (CloseReason::BoxClosed, CloseReason::BoxClosed));
    });
}

#[test]
fn to_wait_keeps_nothing_alive() {
    System::new().block_on(async {
        let three = three().await;
        // With the last address of it the relay in the middle goes, and with that what the third node waits for.
        drop(three.to);
        assert_eq!(within(three.closed).await, CloseReason::BoxClosed);
        assert!(!three.inbox.address().name().is_empty() && three.owner.stats().boxes.len() == 1, "the box is open");
    });
}

/// A message with a recipient in it.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Subscribe(#[serde(with = "actix_hermod::recipient")] Recipient<Number>);

#[test]
fn a_recipient_is_not_connected_any_more_once_its_box_is_gone_for_good() {
    System::new().block_on(async {
        let (server, endpoint) = listening(impatient()).await;
        let mut inbox: Mailbox<Subscribe> = server.mailbox().name("subscriptions").open().unwrap();
        let client = impatient().start();
        let to: Address<Subscribe> = client.remote(&endpoint, "subscriptions").unwrap();
        let (anonymous, of_node) = (client.mailbox::<Number>().open().unwrap(), client.mailbox().open().unwrap());
        let named: Recipient<Number> = server.remote(&endpoint, "not there").unwrap().recipient();
        to.do_send(Subscribe(anonymous.recipient()));
        to.do_send(Subscribe(of_node.recipient()));
        let (Subscribe(one), Subscribe(other)) = (next(&mut inbox).await, next(&mut inbox).await);
        assert!(one.connected() && other.connected());
        drop(anonymous);
        settled(|| !one.connected()).await;
        assert!(other.connected());
        within(client.shutdown()).await;
        settled(|| !other.connected()).await;
        assert!(named.connected(), "a box of that name may open at any time");
        within(server.shutdown()).await;
        settled(|| !named.connected()).await;
    });
}

/// Another Rust type for the messages of the same boxes.
mod same {
    use serde::Deserialize;
    use serde::Serialize;

    #[derive(actix::Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Number(pub(crate) u64);
}

/// A box, as one tells of it who has one type for its messages.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[serde(rename = "Both")]
struct Told {
    one: Address<Number>,
    other: Address<Number>,
}

/// The same, as one hears it who has two.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
#[serde(rename = "Both")]
struct Heard {
    one: Address<Number>,
    other: Address<same::Number>,
}

/// A pointer has a recipient for each type of messages, and each of them a pump.
#[test]
fn all_recipients_of_a_box_for_messages_of_several_types_end_with_it() {
    on_either_thread(async |thread| {
        let (server, endpoint) = listening(impatient().io_thread(thread)).await;
        let mut inbox: Mailbox<Heard> = server.mailbox().name("both").open().unwrap();
        let client = impatient().start();
        let to: Address<Told> = client.remote(&endpoint, "both").unwrap();
        let mut numbers = client.mailbox::<Number>().open().unwrap();
        // From its number on, a box has one pointer.
        (0..4).for_each(|_| to.do_send(Told { one: numbers.address(), other: numbers.address() }));
        for _ in 0..3 {
            next(&mut inbox).await;
        }
        let Heard { one, other } = next(&mut inbox).await;
        let (first, second, third) = (one.recipient(), other.recipient(), one.recipient());
        assert!(first == third, "the second is another's");
        first.do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        second.do_send(same::Number(2));
        assert_eq!(next(&mut numbers).await, Number(2));
        third.do_send(Number(3));
        assert_eq!(next(&mut numbers).await, Number(3));
        drop((one, other, numbers));
        settled(|| !first.connected() && !second.connected() && !third.connected()).await;
    });
}

/// Asks for the address of a box.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "Address<Number>")]
struct Where;

struct Guide(Address<Number>);

impl actix::Actor for Guide {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Where> for Guide {
    type Result = actix::MessageResult<Where>;

    fn handle(&mut self, _: Where, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.0.clone())
    }
}

/// The client may dial as long as it likes: the node that it had the address from is not coming back.
#[test]
fn that_a_node_said_goodbye_is_remembered_where_it_is_dialled() {
    System::new().block_on(async {
        let (server, endpoint) = listening(patient()).await;
        let inbox = open(&server, "inbox");
        server.publish::<Where>("guide", actix::Actor::start(Guide(inbox.address()))).unwrap();
        let client = patient().start();
        let to = within(client.remote::<Where>(&endpoint, "guide").unwrap().send(Where)).await.unwrap();
        // Not yet one that lasts, and so not watched when the node says goodbye.
        let recipient = to.recipient();
        let mut told = events(&client);
        within(server.shutdown()).await;
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        assert_eq!(within(to.closed()).await, CloseReason::NodeGone);
        settled(|| !recipient.connected()).await;
    });
}

#[test]
fn who_waits_where_there_may_be_no_more_connections_is_told_so() {
    System::new().block_on(async {
        let (_first, at_first) = listening(Node::builder()).await;
        let (second, at_second) = listening(Node::builder()).await;
        let mut inbox = open(&second, "inbox");
        let client = patient().max_connections(1).start();
        let to: Address<Number> = client.remote(&at_second, "inbox").unwrap();
        comes_through(&to, &mut inbox).await;
        let other: Address<Number> = client.remote(&at_first, "inbox").unwrap();
        // Also in the pause that follows the first attempt.
        for _ in 0..20 {
            assert_eq!(within(other.closed()).await, CloseReason::ConnectionLost);
        }
    });
}

/// As Erlang's monitors do: whoever is told that a box is gone has all that its owner sent before it closed.
#[test]
fn what_was_sent_before_a_box_closed_arrives_before_that_is_told() {
    on_either_thread(|thread| async move {
        const TEXTS: usize = 40;
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut numbers: Mailbox<Number> = there.mailbox().name("numbers").open().expect("the name is free");
        let here = Node::builder().io_thread(thread).start();
        let inboxes: Vec<Mailbox<Text>> = (0..4).map(|_| here.mailbox().open().expect("the node runs")).collect();
        let to: Address<Number> = here.remote(&endpoint, "numbers").expect("an address");
        let introduce: Address<Desks> = here.remote(&endpoint, "desks").expect("an address");
        let mut desks: Mailbox<Desks> = there.mailbox().name("desks").open().expect("the name is free");
        introduce.do_send(Desks(inboxes.iter().map(Mailbox::address).collect()));
        let Desks(back) = next(&mut desks).await;
        let closed = to.closed();
        to.do_send(Number(1));
        next(&mut numbers).await;
        // Each goes in pieces, and all of them take turns; behind them, small ones to each.
        for n in 0..TEXTS {
            let length = if n < TEXTS / 2 { 60_000 } else { 10 };
            back[n % back.len()].do_send(Text("x".repeat(length)));
        }
        drop(numbers);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
        assert_eq!(inboxes.iter().map(Mailbox::len).sum::<usize>(), TEXTS);
    });
}

/// Whom to send to.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Desks(Vec<Address<Text>>);
