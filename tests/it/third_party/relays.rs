//! Messages that nodes pass on to a third node's box: how far they go, what becomes of those that go too far, and how many
//! boxes a node keeps for them.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::MailboxError;
use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::RemoteMessage;
use actix_hermod::Side;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::Ping;
use support::Pong;
use support::balanced;
use support::catcher;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::within;

/// Longer than what is written in one piece, and than what is copied to wait.
const LARGE: usize = 300_000;

/// Brings an address along.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry<M: RemoteMessage>(#[serde(bound = "")] Address<M>);

/// Asks how long a text is.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "usize")]
struct Measure(String);

impl Measure {
    fn of(len: usize) -> Measure {
        Measure("x".repeat(len))
    }
}

struct Ruler;

impl Actor for Ruler {
    type Context = Context<Self>;
}

impl Handler<Measure> for Ruler {
    type Result = usize;

    fn handle(&mut self, Measure(text): Measure, _: &mut Context<Self>) -> usize {
        text.len()
    }
}

/// Nodes in a row, each of which was sent the address by the one before it, and what each of them holds. The first was sent
/// it by the owner of the box, which listens nowhere: so what the nth sends passes n relays, counted from 0.
struct Row<M: RemoteMessage> {
    nodes: Vec<Node>,
    held: Vec<Address<M>>,
}

async fn row<M: RemoteMessage>(owner: &Node, of: Address<M>, builders: Vec<NodeBuilder>) -> Row<M> {
    let mut row = Row { nodes: Vec::new(), held: Vec::new() };
    for builder in builders {
        let (node, endpoint) = listening(builder).await;
        let mut carried: Mailbox<Carry<M>> = node.mailbox().name("carry").open().unwrap();
        let giver = row.nodes.last().unwrap_or(owner);
        let address = row.held.last().unwrap_or(&of).clone();
        giver.remote(&endpoint, "carry").unwrap().do_send(Carry(address));
        let Carry(address) = next(&mut carried).await;
        assert!(!address.is_local());
        row.held.push(address);
        row.nodes.push(node);
    }
    row
}

/// As many as there are relays between, and the one that sends.
fn alike(count: usize, builder: impl Fn() -> NodeBuilder) -> Vec<NodeBuilder> {
    (0..count).map(|_| builder()).collect()
}

/// A node whose box is measured with, and the box.
fn ruler(thread: IoThread) -> (Node, Address<Measure>) {
    let owner = Node::builder().io_thread(thread).start();
    let address = owner.export::<Measure>(Ruler.start()).unwrap();
    (owner, address)
}

fn not_delivered(reason: DropReason) -> AskError {
    AskError::NotDelivered { reason, detail: None }
}

/// It waits for no answer that could say so.
#[test]
fn who_sends_one_way_what_is_too_large_for_the_way_from_a_relay_hears_how_much_it_takes() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).max_message(1024).start();
        let of = owner.export::<Measure>(Ruler.start()).unwrap();
        let row = row(&owner, of, alike(2, || Node::builder().io_thread(thread))).await;
        let mut told = events(&row.nodes[1]);
        for size in [2_000, 3_000] {
            row.held[1].do_send(Measure::of(size));
            let (count, detail) = told
                .find(|event| match event {
                    Event::DeadLetter { reason: DropReason::TooLarge, count, side: Side::Peer, detail, .. } => {
                        detail.clone().map(|detail| (*count, detail))
                    }
                    _ => None,
                })
                .await;
            let words = "bytes and its handles are more than 1024, what `max_message` allows at both nodes";
            assert_eq!(detail, format!("{} {words}", size + 2));
            assert!(count <= 1);
        }
        settled(|| row.nodes[1].stats().reported == [(DropReason::TooLarge, 2)].into()).await;
        assert_eq!(row.nodes[1].stats().dropped_total(), 0);
    });
}

#[test]
fn who_sends_what_is_too_large_for_the_way_from_a_relay_hears_how_much_it_takes() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).max_message(1024).start();
        let of = owner.export::<Measure>(Ruler.start()).unwrap();
        let row = row(&owner, of, alike(2, || Node::builder().io_thread(thread))).await;
        let (to, mut told) = (&row.held[1], row.nodes.iter().map(events).collect::<Vec<_>>());
        let words = "2002 bytes and its handles are more than 1024, what `max_message` allows at both nodes".to_owned();
        let refused = AskError::NotDelivered { reason: DropReason::TooLarge, detail: Some(words.clone()) };
        assert_eq!(within(to.ask(Measure::of(2_000))).await, Err(refused));
        let type_names = ["a relay", std::any::type_name::<Measure>()];
        for (told, (at, name)) in told.iter_mut().zip([Side::Here, Side::Peer].into_iter().zip(type_names)) {
            let heard = told.find(|event| match event {
                Event::DeadLetter { type_name, reason: DropReason::TooLarge, side, detail: Some(detail), .. } => {
                    Some((type_name.clone(), *side, detail.clone()))
                }
                _ => None,
            });
            assert_eq!(heard.await, (name.to_owned(), at, words.clone()));
        }
    });
}

// ---- how far

#[test]
fn a_message_passes_four_relays_unless_a_node_says_otherwise_and_no_more() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).start();
        let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
        let row = row(&owner, inbox.address(), alike(6, || Node::builder().io_thread(thread))).await;
        for (n, to) in (0..).zip(&row.held[..5]) {
            to.do_send(Number(n));
            assert_eq!(next(&mut inbox).await, Number(n), "through {n} relays");
        }
        let [last_relay, before_it, ..] = &row.nodes[..] else { panic!("there are six") };
        let mut told = events(last_relay);
        row.held[5].do_send(Number(5));
        row.held[5].do_send(Number(6));
        told.count_drops("", DropReason::HopLimit, 2).await;
        assert_eq!(last_relay.stats().dropped, [(DropReason::HopLimit, 2)].into());
        let relay = last_relay.stats().boxes.into_iter().find(|of| !of.dropped.is_empty()).unwrap();
        assert_eq!((&*relay.type_name, relay.dropped), ("a relay", [(DropReason::HopLimit, 2)].into()));
        // It tells the one that it had them from, as it tells of whatever else it drops.
        settled(|| before_it.stats().reported == [(DropReason::HopLimit, 2)].into()).await;
        assert!(inbox.try_recv().is_none());
        let others = row.nodes[1..].iter().chain([&owner]);
        assert_eq!(others.map(|node| node.stats().dropped_total()).sum::<u64>(), 0);
        balanced(&row.nodes.iter().chain([&owner]).collect::<Vec<_>>()).await;
    });
}

#[test]
fn who_sends_hears_of_what_went_too_far_for_the_relay_that_he_uses() {
    System::new().block_on(async {
        let owner = Node::start();
        let inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
        // The first passes on nothing that was passed on before, and what the third sends was.
        let builders = vec![Node::builder().relay_hops(1), Node::builder(), Node::builder()];
        let row = row(&owner, inbox.address(), builders).await;
        row.held[2].do_send(Number(1));
        settled(|| dropped(&row.nodes[0], DropReason::HopLimit) == 1).await;
        let to_second = || row.nodes[1].stats().reported;
        settled(|| to_second() == [(DropReason::HopLimit, 1)].into()).await;
        // The second's own messages pass the same relay, and none before it.
        row.held[1].do_send(Number(2));
        settled(|| inbox.len() == 1).await;
        assert_eq!(row.held[1].lost().local, BTreeMap::new());
    });
}

#[test]
fn a_request_that_went_too_far_is_refused_at_once() {
    on_either_thread(|thread| async move {
        let (owner, measure) = ruler(thread);
        let row = row(&owner, measure, alike(4, || Node::builder().io_thread(thread).relay_hops(2))).await;
        for len in [1, LARGE] {
            assert_eq!(within(row.held[2].ask(Measure::of(len))).await, Ok(len));
            let error = within(row.held[3].ask(Measure::of(len))).await.unwrap_err();
            assert!(!error.may_have_been_handled());
            assert_eq!(error, not_delivered(DropReason::HopLimit));
            assert_eq!(within(row.held[3].send(Measure::of(len))).await, Err(MailboxError::Closed));
            assert_eq!(within(row.held[3].recipient().send(Measure::of(len))).await, Err(MailboxError::Closed));
        }
        assert_eq!(row.nodes[0].stats().dropped, [(DropReason::HopLimit, 6)].into());
        assert_eq!(owner.stats().delivered, 2);
    });
}

#[test]
fn a_request_with_a_deadline_goes_as_far_as_one_without() {
    on_either_thread(|thread| async move {
        let (owner, measure) = ruler(thread);
        let row = row(&owner, measure, alike(3, || Node::builder().io_thread(thread).relay_hops(1))).await;
        assert_eq!(within(row.held[1].ask(Measure::of(3)).timeout(support::LIMIT)).await, Ok(3));
        let error = within(row.held[2].ask(Measure::of(3)).timeout(support::LIMIT)).await;
        assert_eq!(error, Err(not_delivered(DropReason::HopLimit)));
    });
}

#[test]
fn what_is_sent_through_a_recipient_goes_as_far_as_by_the_address() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).start();
        let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
        let row = row(&owner, inbox.address(), alike(3, || Node::builder().io_thread(thread).relay_hops(1))).await;
        row.held[1].recipient().do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        row.held[2].recipient().do_send(Number(2));
        settled(|| dropped(&row.nodes[0], DropReason::HopLimit) == 1).await;
        assert!(inbox.try_recv().is_none());
    });
}

#[test]
fn what_is_sent_in_pieces_goes_as_far_as_what_is_small() {
    on_either_thread(|thread| async move {
        let (owner, measure) = ruler(thread);
        let row = row(&owner, measure, alike(3, || Node::builder().io_thread(thread).relay_hops(1))).await;
        row.held[1].do_send(Measure::of(LARGE));
        settled(|| owner.stats().delivered == 1).await;
        row.held[2].do_send(Measure::of(LARGE));
        // A small message for the same box waits behind it, and has come as far.
        row.held[2].do_send(Measure::of(1));
        settled(|| dropped(&row.nodes[0], DropReason::HopLimit) == 2).await;
        assert_eq!(owner.stats().delivered, 1);
    });
}

#[test]
fn a_message_with_addresses_goes_as_far_as_one_without() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).start();
        let mut inbox: Mailbox<Carry<Number>> = owner.mailbox().open().unwrap();
        let row = row(&owner, inbox.address(), alike(3, || Node::builder().io_thread(thread).relay_hops(1))).await;
        let (recipient, caught) = catcher();
        let of_first = row.nodes[1].export(recipient).unwrap();
        row.held[1].do_send(Carry(of_first));
        next(&mut inbox).await;
        let mut own: Mailbox<Number> = row.nodes[2].mailbox().open().unwrap();
        row.held[2].do_send(Carry(own.address()));
        settled(|| dropped(&row.nodes[0], DropReason::HopLimit) == 1).await;
        assert!(caught.lives() && inbox.try_recv().is_none() && own.try_recv().is_none());
    });
}

// ---- nothing is passed on

#[test]
fn a_node_that_passes_nothing_on_refuses_it_and_still_introduces() {
    on_either_thread(|thread| async move {
        let (owner, measure) = ruler(thread);
        let builders = vec![Node::builder().io_thread(thread).relay_hops(0), Node::builder().io_thread(thread)];
        let row = row(&owner, measure, builders).await;
        let [relay, sender] = &row.nodes[..] else { panic!("there are two") };
        assert_eq!(row.held[1].node_id(), Some(owner.id()));
        row.held[1].do_send(Measure::of(1));
        settled(|| dropped(relay, DropReason::Refused) == 1).await;
        settled(|| sender.stats().reported == [(DropReason::Refused, 1)].into()).await;
        assert_eq!(row.held[1].lost().remote, [(DropReason::Refused, 1)].into());
        let error = within(row.held[1].ask(Measure::of(LARGE))).await;
        assert_eq!(error, Err(not_delivered(DropReason::Refused)));
        // Its own messages go by themselves.
        assert_eq!(within(row.held[0].ask(Measure::of(2))).await, Ok(2));
        assert_eq!((owner.stats().delivered, relay.stats().dropped_total()), (1, 2));
    });
}

/// A node that dials itself does not pass on to itself: the address that it gets is the one that it sent.
#[test]
fn an_address_that_a_node_sends_to_itself_is_no_further_away() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).start();
        let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
        let row = row(&owner, inbox.address(), vec![Node::builder().io_thread(thread).relay_hops(0)]).await;
        let [node] = &row.nodes[..] else { panic!("there is one") };
        let endpoint = within(node.listen("127.0.0.1:0")).await.unwrap();
        let mut carried: Mailbox<Carry<Number>> = node.mailbox().name("to myself").open().unwrap();
        // By another name than it listens at, or nothing would be dialled.
        let endpoint = format!("localhost:{}", endpoint.port().unwrap());
        node.remote(&endpoint, "to myself").unwrap().do_send(Carry(row.held[0].clone()));
        let Carry(again) = next(&mut carried).await;
        assert_eq!(again, row.held[0]);
        again.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        drop(again);
        // The one that it was sent with is let go: the mailbox for what is carried here, and the one above, are left.
        settled(|| node.stats().boxes.iter().all(|of| of.type_name != "a relay")).await;
    });
}

// ---- no way any more

#[test]
fn what_can_never_be_passed_on_again_is_told_as_that() {
    on_either_thread(|thread| async move {
        let (owner, measure) = ruler(thread);
        let row = row(&owner, measure, alike(3, || Node::builder().io_thread(thread))).await;
        assert_eq!(within(row.held[2].ask(Measure::of(2))).await, Ok(2));
        within(owner.shutdown()).await;
        for to in &row.held[1..] {
            assert_eq!(within(to.ask(Measure::of(1))).await, Err(not_delivered(DropReason::NoRoute)));
        }
        row.held[1].do_send(Measure::of(1));
        settled(|| row.nodes[0].stats().dropped == [(DropReason::NoRoute, 3)].into()).await;
        settled(|| row.nodes[1].stats().reported == [(DropReason::NoRoute, 3)].into()).await;
    });
}

/// A holder of a box's recipient waits for its end, and needs not be told again.
#[test]
fn what_is_for_a_box_that_is_known_to_be_gone_is_not_passed_on() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).start();
        let inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
        // With a heartbeat or two the recipient begins to wait.
        let builder = || Node::builder().io_thread(thread).heartbeat(Duration::from_millis(50));
        let row = row(&owner, inbox.address(), alike(2, builder)).await;
        let recipient = row.held[0].recipient();
        drop(inbox);
        settled(|| !recipient.connected()).await;
        assert_eq!(within(row.held[1].ask(Number(1))).await, Err(not_delivered(DropReason::NoRoute)));
        assert_eq!(row.nodes[0].stats().dropped, [(DropReason::NoRoute, 1)].into());
        assert_eq!(owner.stats().dropped_total(), 0);
    });
}

#[test]
fn the_end_of_a_node_between_is_an_end_of_the_way() {
    on_either_thread(|thread| async move {
        let (owner, measure) = ruler(thread);
        let row = row(&owner, measure, alike(3, || Node::builder().io_thread(thread))).await;
        assert_eq!(within(row.held[2].ask(Measure::of(2))).await, Ok(2));
        within(row.nodes[0].shutdown()).await;
        assert_eq!(within(row.held[2].ask(Measure::of(1))).await, Err(not_delivered(DropReason::NoRoute)));
        assert_eq!(row.nodes[1].stats().dropped, [(DropReason::NoRoute, 1)].into());
    });
}

// ---- bounded, and let go

#[test]
fn over_the_limit_of_exports_the_oldest_relay_is_closed() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).start();
        let mut boxes: Vec<Mailbox<Number>> = (0..3).map(|_| owner.mailbox().open().unwrap()).collect();
        let (middle, middle_at) = listening(Node::builder().io_thread(thread).exports(2)).await;
        let (third, third_at) = listening(Node::builder().io_thread(thread)).await;
        let mut at_middle: Mailbox<Carry<Number>> = middle.mailbox().name("carry").open().unwrap();
        let mut at_third: Mailbox<Carry<Number>> = third.mailbox().name("carry").open().unwrap();
        let mut held = Vec::new();
        for inbox in &boxes {
            owner.remote(&middle_at, "carry").unwrap().do_send(Carry(inbox.address()));
            middle.remote(&third_at, "carry").unwrap().do_send(next(&mut at_middle).await);
            held.push(next(&mut at_third).await.0);
        }
        (0..).zip(&held).for_each(|(n, to)| to.do_send(Number(n)));
        assert_eq!(next(&mut boxes[1]).await, Number(1));
        assert_eq!(next(&mut boxes[2]).await, Number(2));
        assert_eq!(middle.stats().boxes.iter().filter(|of| of.type_name == "a relay").count(), 2);
        let lost = || dropped(&middle, DropReason::NoSuchBox) + dropped(&middle, DropReason::BoxClosed);
        settled(|| lost() == 1).await;
        settled(|| third.stats().reported.values().sum::<u64>() == 1).await;
        assert!(boxes[0].try_recv().is_none());
        balanced(&[&owner, &middle, &third]).await;
    });
}

#[test]
fn a_connection_that_ends_lets_go_of_the_relays_that_it_was_given() {
    on_either_thread(|thread| async move {
        let owner = Node::builder().io_thread(thread).start();
        let (recipient, caught) = catcher();
        let (middle, middle_at) = listening(Node::builder().io_thread(thread)).await;
        let (third, third_at) = listening(Node::builder().io_thread(thread)).await;
        let mut at_middle: Mailbox<Bring> = middle.mailbox().name("bring").open().unwrap();
        let mut at_third: Mailbox<Bring> = third.mailbox().name("bring").open().unwrap();
        owner.remote(&middle_at, "bring").unwrap().do_send(Bring(recipient));
        middle.remote(&third_at, "bring").unwrap().do_send(next(&mut at_middle).await);
        let held = next(&mut at_third).await;
        let relays = || middle.stats().boxes.iter().filter(|of| of.type_name == "a relay").count();
        assert!(relays() == 1 && caught.lives());
        within(third.shutdown()).await;
        settled(|| relays() == 0).await;
        // With the relay goes what the middle holds of the owner.
        caught.gone().await;
        settled(|| owner.stats().boxes.is_empty()).await;
        drop(held);
    });
}

/// Brings a recipient along, which lives as long as somebody holds it.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Bring(#[serde(with = "actix_hermod::recipient")] actix::Recipient<Number>);

/// A mailbox lives for no holder elsewhere, but that of another node is reached by way of a relay all the same.
#[test]
fn a_mailbox_of_another_node_of_this_process_is_passed_on_to() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox = server.mailbox::<Ping>().name("pings").open().unwrap();
        let (client, other) = (Node::start(), Node::start());
        let to: Address<Ping> = client.remote(&endpoint, "pings").unwrap();
        let mut pongs = other.mailbox::<Pong>().open().unwrap();
        for n in 0..4 {
            to.do_send(Ping { return_to: pongs.address(), n });
            let return_to = next(&mut inbox).await.return_to;
            assert_eq!(return_to.node_id(), Some(other.id()));
            return_to.do_send(Pong(n));
            assert_eq!(next(&mut pongs).await, Pong(n));
        }
    });
}
