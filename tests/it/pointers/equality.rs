//! Equal pointers give equal recipients at one node, as a set of subscribers needs them: whichever connection, number or
//! message they came by, and by whatever way they were made.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::LIMIT;
use support::Number;
use support::Text;
use support::catcher;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::wire::Wire;
use support::within;

/// As publish/subscribe in actix has it.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Subscribe(#[serde(with = "actix_hermod::recipient")] Recipient<Number>);

/// The same pointer twice.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Both {
    #[serde(with = "actix_hermod::recipient")]
    recipient: Recipient<Number>,
    address: Address<Number>,
}

/// The message that another program reads in the place of a [`Subscribe`](super::Subscribe).
mod by_address {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(super) struct Subscribe(pub(super) Address<Number>);
}

/// A node that listens, with a mailbox for subscriptions.
async fn publisher(thread: IoThread) -> (Node, Endpoint, Mailbox<Subscribe>) {
    let (node, endpoint) = listening(Node::builder().io_thread(thread)).await;
    let subscribing = node.mailbox().name("subscribe").open().unwrap();
    (node, endpoint, subscribing)
}

/// Subscribes `who` so many times, and puts what arrives into a set.
async fn subscribe(
    times: usize,
    to: &Address<Subscribe>,
    who: &Recipient<Number>,
    subscribing: &mut Mailbox<Subscribe>,
    subscribers: &mut HashSet<Recipient<Number>>,
) {
    for _ in 0..times {
        to.do_send(Subscribe(who.clone()));
        subscribers.insert(next(subscribing).await.0);
    }
}

#[test]
fn one_who_subscribes_again_over_one_connection_is_one_subscriber() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut subscribing) = publisher(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to: Address<Subscribe> = here.remote(&endpoint, "subscribe").unwrap();
        let (actor, mut caught) = catcher();
        let mut inbox: Mailbox<Number> = here.mailbox().open().unwrap();
        let mut subscribers = HashSet::new();
        // The first handle of each stands in its message in full, the others are numbers.
        subscribe(5, &to, &actor, &mut subscribing, &mut subscribers).await;
        assert_eq!(subscribers.len(), 1);
        subscribe(5, &to, &inbox.recipient(), &mut subscribing, &mut subscribers).await;
        assert_eq!(subscribers.len(), 2);
        subscribers.iter().for_each(|subscriber| subscriber.do_send(Number(1)));
        assert_eq!((caught.next().await, next(&mut inbox).await), (1, Number(1)));

        // Unsubscribed by another message, each goes at once and wholly.
        for who in [actor, inbox.recipient()] {
            to.do_send(Subscribe(who));
            assert!(subscribers.remove(&next(&mut subscribing).await.0));
        }
        assert!(subscribers.is_empty());
        caught.gone().await;
    });
}

#[test]
fn one_who_subscribes_over_several_connections_is_one_subscriber() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut subscribing) = publisher(thread).await;
        let hour = Duration::from_secs(3600);
        let here = Node::builder().io_thread(thread).reconnect(hour..=hour).start();
        let (actor, mut caught) = catcher();
        let mut inbox: Mailbox<Number> = here.mailbox().open().unwrap();
        let (mut actors, mut mailboxes) = (HashSet::new(), HashSet::new());
        let mut wires = Vec::new();
        for _ in 0..3 {
            let wire = Wire::to(endpoint.to_string()).await;
            let to = here.remote(&wire.endpoint, "subscribe").unwrap();
            subscribe(2, &to, &actor, &mut subscribing, &mut actors).await;
            subscribe(2, &to, &inbox.recipient(), &mut subscribing, &mut mailboxes).await;
            wires.push((wire, to));
        }
        assert_eq!((actors.len(), mailboxes.len(), here.stats().connections.len()), (1, 1, 3));
        drop(actor);
        // Neither the connection that it came by first nor the last is all that keeps the actor alive.
        for (n, at) in [(1, 0), (2, 1)] {
            let (wire, to) = wires.remove(at);
            wire.cut_after(0);
            to.do_send(Subscribe(inbox.recipient()));
            settled(|| !to.connected() && there.stats().connections.len() == wires.len()).await;
            actors.iter().chain(&mailboxes).for_each(|subscriber| subscriber.do_send(Number(n)));
            assert_eq!((caught.next().await, next(&mut inbox).await), (n, Number(n)));
        }
        drop(actors);
        caught.gone().await;
    });
}

/// Cuts the wire, and waits until both have seen it; then mends it.
async fn break_once(wire: &Wire, nodes: [&Node; 2], use_it: impl Fn()) {
    let mut ears = nodes.map(events);
    wire.cut_after(0);
    use_it();
    for ears in &mut ears {
        ears.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
    }
    wire.mend();
}

#[test]
fn one_who_subscribes_again_after_a_reconnection_is_the_same_subscriber() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut subscribing) = publisher(thread).await;
        let wire = Wire::to(endpoint.to_string()).await;
        let pause = Duration::from_millis(1)..=Duration::from_millis(10);
        let here = Node::builder().io_thread(thread).reconnect(pause).start();
        let to: Address<Subscribe> = here.remote(&wire.endpoint, "subscribe").unwrap();
        let (actor, mut caught) = catcher();
        let mut inbox: Mailbox<Number> = here.mailbox().open().unwrap();
        let mut subscribers = HashSet::new();
        for round in 1..=3 {
            subscribe(2, &to, &actor, &mut subscribing, &mut subscribers).await;
            subscribe(2, &to, &inbox.recipient(), &mut subscribing, &mut subscribers).await;
            assert_eq!(subscribers.len(), 2, "in round {round}");
            subscribers.iter().for_each(|subscriber| subscriber.do_send(Number(round)));
            assert_eq!((caught.next().await, next(&mut inbox).await), (round, Number(round)));
            break_once(&wire, [&there, &here], || here.remote(&wire.endpoint, "nobody").unwrap().do_send(Number(0)))
                .await;
            settled(|| to.connected() && here.stats().connections.iter().any(|link| link.peer.is_some())).await;
        }
    });
}

/// The other way round: who holds it is the one who dials.
#[test]
fn a_subscriber_that_is_dialled_is_the_same_after_a_reconnection() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut asks: Mailbox<Ask> = there.mailbox().name("asks").open().unwrap();
        let wire = Wire::to(endpoint.to_string()).await;
        let pause = Duration::from_millis(1)..=Duration::from_millis(10);
        let here = Node::builder().io_thread(thread).reconnect(pause).start();
        let to: Address<Ask> = here.remote(&wire.endpoint, "asks").unwrap();
        let mut subscribing: Mailbox<Subscribe> = here.mailbox().open().unwrap();
        let (actor, mut caught) = catcher();
        let mut subscribers = HashSet::new();
        for round in 1..=3 {
            for _ in 0..3 {
                to.do_send(Ask(subscribing.address()));
                next(&mut asks).await.0.do_send(Subscribe(actor.clone()));
                subscribers.insert(next(&mut subscribing).await.0);
            }
            assert_eq!(subscribers.len(), 1, "in round {round}");
            subscribers.iter().for_each(|subscriber| subscriber.do_send(Number(round)));
            assert_eq!(caught.next().await, round);
            break_once(&wire, [&there, &here], || here.remote(&wire.endpoint, "nobody").unwrap().do_send(Number(0)))
                .await;
            settled(|| to.connected()).await;
        }
    });
}

/// Wants to be sent a subscription.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Ask(Address<Subscribe>);

#[test]
fn what_is_made_from_an_address_is_equal_to_what_was_received() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut boths: Mailbox<Both> = there.mailbox().name("boths").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let inbox: Mailbox<Number> = here.mailbox().open().unwrap();
        let to = here.remote(&endpoint, "boths").unwrap();
        let (mut all, mut held) = (HashSet::new(), Vec::new());
        for _ in 0..4 {
            to.do_send(Both { recipient: inbox.recipient(), address: inbox.address() });
            let Both { recipient, address } = next(&mut boths).await;
            all.extend([recipient, address.recipient(), address.clone().into()]);
            held.push(address);
        }
        assert_eq!(all.len(), 1);

        // By name, each made for itself; also before anybody is known to be there, and after.
        let late = Node::builder().io_thread(thread).start();
        let name = || late.remote::<Both>(&endpoint, "boths").unwrap();
        let early = name();
        let mut named = HashSet::from([early.recipient(), name().recipient()]);
        assert_eq!((named.len(), early.node_id()), (1, None));
        early.do_send(Both { recipient: inbox.recipient(), address: inbox.address() });
        next(&mut boths).await;
        assert_eq!(early.node_id(), Some(there.id()));
        // One for messages of another type is another, and does not put it out of its place.
        let others = [0, 1].map(|_| late.remote::<Text>(&endpoint, "boths").unwrap().recipient());
        assert!(others[0] == others[1] && !named.insert(name().recipient()));
        named.iter().for_each(|named| named.do_send(Both { recipient: inbox.recipient(), address: inbox.address() }));
        next(&mut boths).await;
    });
}

#[test]
fn one_who_is_known_by_a_third_node_is_the_same_subscriber() {
    on_either_thread(|thread| async move {
        let (hub, hub_at) = listening(Node::builder().io_thread(thread)).await;
        let mut passing: Mailbox<Subscribe> = hub.mailbox().name("subscribe").open().unwrap();
        let (there, endpoint, mut subscribing) = publisher(thread).await;
        let mut told = events(&there);
        let here = Node::builder().io_thread(thread).start();
        let (actor, mut caught) = catcher();
        let mut inbox: Mailbox<Number> = here.mailbox().open().unwrap();
        let (to_hub, onward) =
            (here.remote(&hub_at, "subscribe").unwrap(), hub.remote::<Subscribe>(&endpoint, "subscribe").unwrap());
        let direct = here.remote(&endpoint, "subscribe").unwrap();
        let mut subscribers = HashSet::new();
        for who in [actor.clone(), inbox.recipient()] {
            for _ in 0..2 {
                to_hub.do_send(Subscribe(who.clone()));
                onward.do_send(next(&mut passing).await);
                subscribers.insert(next(&mut subscribing).await.0);
            }
        }
        assert_eq!(subscribers.len(), 2);
        subscribers.iter().for_each(|subscriber| subscriber.do_send(Number(1)));
        assert_eq!((caught.next().await, next(&mut inbox).await), (1, Number(1)));
        subscribe(2, &direct, &actor, &mut subscribing, &mut subscribers).await;
        subscribe(2, &direct, &inbox.recipient(), &mut subscribing, &mut subscribers).await;
        assert_eq!(subscribers.len(), 2);
        drop(actor);
        // Neither the hub nor what it counts is needed any more.
        within(hub.shutdown()).await;
        told.find(|event| matches!(event, Event::PeerDown { peer, .. } if *peer == hub.id()).then_some(())).await;
        subscribers.iter().for_each(|subscriber| subscriber.do_send(Number(2)));
        assert_eq!((caught.next().await, next(&mut inbox).await), (2, Number(2)));
        assert!(subscribers.iter().all(Recipient::connected));
        drop(subscribers);
        caught.gone().await;
    });
}

/// A recipient that has sent nothing yet sends by the shortest way that is known then.
#[test]
fn the_most_direct_way_is_taken() {
    on_either_thread(|thread| async move {
        let (hub, hub_at) = listening(Node::builder().io_thread(thread)).await;
        let mut passing: Mailbox<Subscribe> = hub.mailbox().name("subscribe").open().unwrap();
        let (_there, endpoint, mut subscribing) = publisher(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let (actor, mut caught) = catcher();
        here.remote(&hub_at, "subscribe").unwrap().do_send(Subscribe(actor.clone()));
        hub.remote(&endpoint, "subscribe").unwrap().do_send(next(&mut passing).await);
        let by_hub = next(&mut subscribing).await.0;
        here.remote(&endpoint, "subscribe").unwrap().do_send(Subscribe(actor));
        let direct = next(&mut subscribing).await.0;
        assert!(by_hub == direct);
        by_hub.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        let relayed: u64 =
            hub.stats().boxes.iter().filter(|stats| stats.name != "subscribe").map(|stats| stats.received).sum();
        assert_eq!(relayed, 0);
    });
}

/// Sends recipients there and back again.
struct Trip {
    there: Node,
    out: Address<Subscribe>,
    turning: Mailbox<Subscribe>,
    home: Mailbox<Subscribe>,
    back: Address<Subscribe>,
    /// The same, read as an address.
    addresses: Mailbox<by_address::Subscribe>,
    back_as_address: Address<Subscribe>,
}

impl Trip {
    async fn from(here: &Node) -> Trip {
        let (there, out, turning) = publisher(IoThread::Current).await;
        let at = within(here.listen("127.0.0.1:0")).await.unwrap();
        Trip {
            out: here.remote(&out, "subscribe").unwrap(),
            turning,
            home: here.mailbox().name("home").open().unwrap(),
            back: there.remote(&at, "home").unwrap(),
            addresses: here.mailbox().name("addresses").open().unwrap(),
            back_as_address: there.remote(&at, "addresses").unwrap(),
            there,
        }
    }

    /// As it was received there, and as it comes home.
    async fn make(&mut self, who: &Recipient<Number>) -> (Recipient<Number>, Recipient<Number>, Address<Number>) {
        self.out.do_send(Subscribe(who.clone()));
        let there = next(&mut self.turning).await.0;
        assert!(there != *who);
        self.back.do_send(Subscribe(there.clone()));
        self.back_as_address.do_send(Subscribe(there.clone()));
        (there, next(&mut self.home).await.0, next(&mut self.addresses).await.0)
    }
}

#[test]
fn an_actors_own_recipient_that_comes_home_is_its_own() {
    on_either_thread(|thread| async move {
        let here = Node::builder().io_thread(thread).start();
        let mut trip = Trip::from(&here).await;
        let (actor, mut caught) = catcher();
        for _ in 0..3 {
            let (_there, again, address) = trip.make(&actor).await;
            assert!(again == actor && HashSet::from([again.clone(), actor.clone()]).len() == 1);
            assert!(address.recipient() == actor, "also made from its address");
            // Straight into the actor's mailbox: the node has no part in it.
            let before = here.stats().sent;
            again.do_send(Number(1));
            address.recipient().do_send(Number(2));
            assert_eq!((caught.next().await, caught.next().await), (1, 2));
            assert_eq!(here.stats().sent, before);
        }
        assert!(here.export::<Number>(actor.clone()).unwrap().recipient() == actor);
        within(trip.there.shutdown()).await;
    });
}

#[test]
fn a_published_actors_own_recipient_is_not_that_of_its_box() {
    on_either_thread(|thread| async move {
        let here = Node::builder().io_thread(thread).start();
        let mut trip = Trip::from(&here).await;
        let (actor, mut caught) = catcher();
        let (before, again, own) = trip.make(&actor).await;
        assert!(again == actor);
        let published = here.publish("numbers", actor.clone()).unwrap();
        let (there, again, address) = trip.make(&actor).await;
        assert!(again == actor, "it is its own, published or not");
        assert!(there == before && address == own, "it has the pointer that it had");
        assert!(address != published);

        // A publication is its box, here and there, and stays so.
        let boxed = published.recipient();
        let (boxed_there, boxed_again, boxed_address) = trip.make(&boxed).await;
        assert!(boxed != actor && boxed_again == boxed && boxed_there != there && boxed_address == published);
        boxed.do_send(Number(1));
        boxed_there.do_send(Number(2));
        assert_eq!(caught.next().await + caught.next().await, 3);
        let received = here.stats().boxes.iter().find(|stats| stats.name == "numbers").unwrap().received;
        assert_eq!(received, 2);

        assert!(here.unpublish("numbers"));
        let (there, again, _) = trip.make(&actor).await;
        assert!(there == before && again == actor);
        there.do_send(Number(3));
        assert_eq!(caught.next().await, 3);
    });
}

/// Pointers change while messages are on their way by them: the first handle's by another one's of the same connection.
#[test]
fn messages_stay_in_order_while_the_subscriber_subscribes_again() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut subscribing) = publisher(thread).await;
        let here = Node::builder().io_thread(thread).outbox(64 << 20).start();
        let wire = Wire::to(endpoint.to_string()).await;
        let ways = [endpoint.to_string(), wire.endpoint.clone()].map(|at| here.remote(&at, "subscribe").unwrap());
        let (actor, mut caught) = catcher();
        ways[0].do_send(Subscribe(actor.clone()));
        let held = next(&mut subscribing).await.0;
        for round in 0..40 {
            ways[round % 2].do_send(Subscribe(actor.clone()));
            for n in 0..20 {
                held.do_send(Number(round as u64 * 20 + n));
            }
            assert!(next(&mut subscribing).await.0 == held);
        }
        for n in 0..800 {
            assert_eq!(caught.next().await, n);
        }
        assert_eq!((there.stats().dropped_total(), here.stats().dropped_total()), (0, 0));
    });
}

/// Waits without giving the tasks of this thread a turn, so that what goes by a [`Wire`] stays on its way.
fn while_the_wire_rests<T>(look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    let mut look = look;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "what is waited for does not come");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Another connection, on which nothing waits, does not serve before the one that messages are on their way by has ended.
#[test]
fn messages_stay_in_order_when_another_connection_comes() {
    System::new().block_on(async {
        let (there, endpoint, mut subscribing) = publisher(IoThread::Own).await;
        let here = Node::builder().io_thread(IoThread::Own).start();
        let wire = Wire::to(endpoint.to_string()).await;
        let [slow, fast] = [&*wire.endpoint, endpoint.as_ref()].map(|at| here.remote(at, "subscribe").unwrap());
        let [mut inbox, mut other]: [Mailbox<Number>; 2] = [0, 1].map(|_| here.mailbox().open().unwrap());
        slow.do_send(Subscribe(inbox.recipient()));
        let held = next(&mut subscribing).await.0;
        fast.do_send(Subscribe(other.recipient()));
        let by_fast = next(&mut subscribing).await.0;
        held.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));

        let sent = there.stats().sent;
        let has_sent = |count| (there.stats().sent == sent + count).then_some(());
        held.do_send(Number(2));
        while_the_wire_rests(|| has_sent(1));
        fast.do_send(Subscribe(inbox.recipient()));
        assert!(while_the_wire_rests(|| subscribing.try_recv()).0 == held);
        held.do_send(Number(3));
        while_the_wire_rests(|| has_sent(2));
        by_fast.do_send(Number(4));
        assert_eq!(while_the_wire_rests(|| other.try_recv()), Number(4));
        // Messages that had gone the fast way would be there.
        assert_eq!(inbox.try_recv(), None);
        assert_eq!((next(&mut inbox).await, next(&mut inbox).await), (Number(2), Number(3)));
    });
}

/// One that can never be reached again is still found in a set.
#[test]
fn a_subscriber_that_is_gone_is_found_and_removed() {
    on_either_thread(|thread| async move {
        // Whether a subscriber is there is looked at with each heartbeat.
        let heartbeat = Duration::from_millis(10);
        let (there, endpoint) = listening(Node::builder().io_thread(thread).heartbeat(heartbeat)).await;
        let mut boths: Mailbox<Both> = there.mailbox().name("boths").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let inbox: Mailbox<Number> = here.mailbox().open().unwrap();
        let to = here.remote(&endpoint, "boths").unwrap();
        to.do_send(Both { recipient: inbox.recipient(), address: inbox.address() });
        let Both { recipient, address } = next(&mut boths).await;
        let mut subscribers = HashSet::from([recipient]);
        drop(inbox);
        within(address.closed()).await;
        settled(|| subscribers.iter().all(|subscriber| !subscriber.connected())).await;
        let again = address.recipient();
        assert!(subscribers.remove(&again) && !again.connected());
    });
}

// ---- many threads

/// Has that many threads make something at once, again and again.
fn at_once<T: Send>(threads: usize, rounds: usize, make: impl Fn(usize) -> T + Sync, check: impl Fn(Vec<T>)) {
    for round in 0..rounds {
        let barrier = Barrier::new(threads);
        let made = thread::scope(|scope| {
            let make = || {
                barrier.wait();
                make(round)
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        check(made);
    }
}

#[test]
fn threads_that_make_a_recipient_at_once_make_the_same() {
    System::new().block_on(async {
        let node = Node::builder().io_thread(IoThread::Own).start();
        let inboxes: Vec<Mailbox<Number>> = (0..300).map(|_| node.mailbox().open().unwrap()).collect();
        let addresses: Vec<Address<Number>> = inboxes.iter().map(Mailbox::address).collect();
        let here = |round: usize| addresses[round].recipient();
        let named = |round: usize| node.remote::<Number>("127.0.0.1:1", format!("box {round}")).unwrap().recipient();
        for make in [&here as &(dyn Fn(usize) -> Recipient<Number> + Sync), &named] {
            at_once(4, inboxes.len(), make, |made| assert_eq!(made.into_iter().collect::<HashSet<_>>().len(), 1));
        }
    });
}

#[test]
fn an_actor_that_threads_send_at_once_has_one_pointer() {
    System::new().block_on(async {
        let (_there, endpoint, mut subscribing) = publisher(IoThread::Own).await;
        let here = Arc::new(Node::builder().io_thread(IoThread::Own).start());
        let to: Address<Subscribe> = here.remote(&endpoint, "subscribe").unwrap();
        for _ in 0..100 {
            let (actor, _caught) = catcher();
            at_once(4, 1, |_| to.do_send(Subscribe(actor.clone())), drop);
            let mut subscribers = HashSet::new();
            for _ in 0..4 {
                subscribers.insert(next(&mut subscribing).await.0);
            }
            assert_eq!(subscribers.len(), 1);
        }
        assert_eq!(dropped(&here, actix_hermod::DropReason::NoSuchBox), 0);
    });
}
