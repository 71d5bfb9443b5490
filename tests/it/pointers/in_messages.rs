//! Addresses and recipients inside messages: wherever they stand, wherever they go, and as text.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::mpsc;
use std::thread;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use actix_hermod::SendError;
use serde::Deserialize;
use serde::Serialize;
use support::LIMIT;
use support::Number;
use support::Ping;
use support::Pong;
use support::Text;
use support::balanced;
use support::catcher;
use support::dropped;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;

/// Brings an address along.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry(Address<Number>);

/// Brings recipients along.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct CarryRecipient {
    #[serde(with = "actix_hermod::recipient")]
    to: Recipient<Number>,
    #[serde(with = "actix_hermod::recipient")]
    perhaps: Option<Recipient<Number>>,
}

/// A node that listens, with a mailbox named "carry".
async fn station<M>(thread: IoThread) -> (Node, Endpoint, Mailbox<M>)
where
    M: RemoteMessage + Message<Result = ()>,
{
    let (node, endpoint) = listening(Node::builder().io_thread(thread)).await;
    let inbox = node.mailbox().name("carry").open().unwrap();
    (node, endpoint, inbox)
}

/// Sends a number and waits for it.
async fn reaches(to: &Address<Number>, inbox: &mut Mailbox<Number>, n: u64) {
    to.do_send(Number(n));
    assert_eq!(next(inbox).await, Number(n));
}

// ---- wherever they stand

/// An address in one of several places.
#[derive(Serialize, Deserialize)]
enum Place {
    Nowhere,
    There(Address<Number>),
    Between { before: u8, to: Option<Address<Number>>, after: String },
}

type Deep = BTreeMap<u32, Vec<Option<(u8, Box<Place>)>>>;

/// Handles in all kinds of places.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Everywhere {
    direct: Address<Number>,
    boxed: Box<Address<Number>>,
    some: Option<Address<Number>>,
    none: Option<Address<Number>>,
    list: Vec<Address<Number>>,
    places: [Place; 3],
    map: HashMap<String, Address<Number>>,
    deep: Deep,
    #[serde(with = "actix_hermod::recipient")]
    recipient: Recipient<Number>,
    #[serde(with = "actix_hermod::recipient")]
    boxed_recipient: Box<Recipient<Number>>,
    #[serde(with = "actix_hermod::recipient")]
    no_recipient: Option<Recipient<Number>>,
    #[serde(with = "actix_hermod::recipient")]
    recipients: Vec<Option<Recipient<Number>>>,
    #[serde(with = "actix_hermod::recipient")]
    deep_recipients: HashMap<String, BTreeMap<u8, Vec<Recipient<Number>>>>,
}

impl Everywhere {
    /// Takes a handle of a mailbox of its own for each place.
    fn new(mut new: impl FnMut() -> Address<Number>) -> Everywhere {
        Everywhere {
            direct: new(),
            boxed: Box::new(new()),
            some: Some(new()),
            none: None,
            list: vec![new(), new()],
            places: [
                Place::Nowhere,
                Place::There(new()),
                Place::Between { before: 1, to: Some(new()), after: "it".to_owned() },
            ],
            map: [("only".to_owned(), new())].into(),
            deep: [(7, vec![None, Some((3, Box::new(Place::There(new()))))]), (9, vec![])].into(),
            recipient: new().recipient(),
            boxed_recipient: Box::new(new().recipient()),
            no_recipient: None,
            recipients: vec![Some(new().recipient()), None, Some(new().recipient())],
            deep_recipients: [("x".to_owned(), [(1, vec![new().recipient(), new().recipient()])].into())].into(),
        }
    }

    /// Sends as many numbers as there are handles, in the order in which they were taken.
    fn use_all(self) -> u64 {
        let mut addresses = vec![self.direct, *self.boxed, self.some.unwrap()];
        addresses.extend(self.list);
        let [Place::Nowhere, Place::There(there), Place::Between { before: 1, to: Some(to), after }] = self.places
        else {
            panic!("places have changed");
        };
        assert_eq!(after, "it");
        addresses.extend([there, to, self.map["only"].clone()]);
        let Some((3, place)) = &self.deep[&7][1] else { panic!("what is deep has changed") };
        let Place::There(deep) = &**place else { panic!("what is deep has changed") };
        addresses.push(deep.clone());
        assert!(self.none.is_none() && self.no_recipient.is_none() && self.deep[&9].is_empty());
        let mut recipients = vec![self.recipient, *self.boxed_recipient];
        recipients.extend(self.recipients.into_iter().flatten());
        recipients.extend(self.deep_recipients["x"][&1].iter().cloned());
        let count = (addresses.len() + recipients.len()) as u64;
        (0..).zip(&addresses).for_each(|(n, to)| to.do_send(Number(n)));
        (addresses.len() as u64..).zip(&recipients).for_each(|(n, to)| to.do_send(Number(n)));
        count
    }
}

#[test]
fn a_handle_works_wherever_it_stands_in_a_message() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, mut inbox) = station::<Everywhere>(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Everywhere>(&endpoint, "carry").unwrap();
        // Once with handles that the connection does not know yet, and again.
        let mut boxes: Vec<Mailbox<Number>> = Vec::new();
        let new = |boxes: &mut Vec<Mailbox<Number>>| {
            boxes.push(here.mailbox().open().unwrap());
            boxes[boxes.len() - 1].address()
        };
        to.do_send(Everywhere::new(|| new(&mut boxes)));
        let mut known = boxes.iter().map(Mailbox::address).collect::<Vec<_>>().into_iter();
        to.do_send(Everywhere::new(|| known.next().unwrap()));
        for _ in 0..2 {
            assert_eq!(next(&mut inbox).await.use_all(), boxes.len() as u64);
            for (n, mailbox) in (0..).zip(&mut boxes) {
                assert_eq!(next(mailbox).await, Number(n));
            }
        }
        assert_eq!(here.stats().dropped_total(), 0);
    });
}

#[test]
fn a_message_with_more_addresses_than_its_sender_allows_is_dropped_alone() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Crowd(Vec<Address<Number>>);

    on_either_thread(|thread| async move {
        let (_there, endpoint, mut inbox) = station::<Crowd>(thread).await;
        let here = Node::builder().io_thread(thread).max_handles(3).start();
        let (to, one) = (here.remote::<Crowd>(&endpoint, "carry").unwrap(), here.mailbox::<Number>().open().unwrap());
        for count in [4, 3] {
            to.do_send(Crowd(vec![one.address(); count]));
        }
        assert_eq!(next(&mut inbox).await.0.len(), 3);
        assert_eq!(to.lost().local.get(&DropReason::TooLarge), Some(&1));
    });
}

#[test]
fn a_message_may_bring_thousands_of_addresses() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Crowd(Vec<Address<Number>>);

    on_either_thread(|thread| async move {
        let (_there, endpoint, mut inbox) = station::<Crowd>(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Crowd>(&endpoint, "carry").unwrap();
        // Fewer than a connection has numbers for, and more; each of them twice.
        for crowd in [1000, 1000, 5000, 5000] {
            let mut boxes: Vec<_> = (0..crowd).map(|_| here.mailbox::<Number>().open().unwrap()).collect();
            to.do_send(Crowd(boxes.iter().map(Mailbox::address).collect()));
            to.do_send(Crowd(boxes.iter().map(Mailbox::address).collect()));
            for _ in 0..2 {
                let Crowd(addresses) = next(&mut inbox).await;
                assert_eq!(addresses.len(), boxes.len());
                (0..).zip(&addresses).for_each(|(n, to)| to.do_send(Number(n)));
                for (n, mailbox) in (0..).zip(&mut boxes) {
                    assert_eq!(next(mailbox).await, Number(n));
                }
            }
        }
    });
}

// ---- home again

#[test]
fn an_address_of_the_receivers_own_box_becomes_local_again() {
    on_either_thread(|thread| async move {
        let (there, there_at, mut there_in) = station::<Carry>(thread).await;
        let (here, here_at, mut here_in) = station::<Carry>(thread).await;
        let mut named = here.mailbox::<Number>().name("named").open().unwrap();
        let mut anonymous = here.mailbox::<Number>().open().unwrap();
        let published = here.publish("published", catcher().0).unwrap();
        for original in [named.address(), anonymous.address(), published] {
            here.remote::<Carry>(&there_at, "carry").unwrap().do_send(Carry(original.clone()));
            let Carry(away) = next(&mut there_in).await;
            assert_eq!((away.is_local(), away.node_id(), away.name()), (false, Some(here.id()), original.name()));
            there.remote::<Carry>(&here_at, "carry").unwrap().do_send(Carry(away.clone()));
            let Carry(home) = next(&mut here_in).await;
            assert!(home.is_local());
            assert_eq!((&home, &away), (&original, &original), "it is still the same pointer");
        }
        let Carry(home) = {
            here.remote::<Carry>(&there_at, "carry").unwrap().do_send(Carry(named.address()));
            let carry = next(&mut there_in).await;
            there.remote::<Carry>(&here_at, "carry").unwrap().do_send(carry);
            next(&mut here_in).await
        };
        let sent = there.stats().sent;
        reaches(&home, &mut named, 1).await;
        assert_eq!(there.stats().sent, sent);
        anonymous.close();
        assert!(home.recipient() == named.recipient());
    });
}

#[test]
fn an_address_by_name_becomes_local_at_the_node_it_names() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut inbox) = station::<Carry>(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Carry>(&endpoint, "carry").unwrap();
        let late = here.remote::<Number>(&endpoint, "late").unwrap();
        // The listener is known once somebody has greeted.
        to.do_send(Carry(here.mailbox::<Number>().open().unwrap().address()));
        next(&mut inbox).await;
        to.do_send(Carry(late.clone()));
        let Carry(local) = next(&mut inbox).await;
        assert!(local.is_local());
        assert_eq!((local.name(), local.node_id()), ("late", Some(there.id())));
        local.do_send(Number(1));
        assert_eq!(dropped(&there, DropReason::NoSuchBox), 1);
        let mut numbers = there.mailbox::<Number>().name("late").open().unwrap();
        reaches(&local, &mut numbers, 2).await;
        reaches(&late, &mut numbers, 3).await;
        drop(numbers);
        let mut successor = there.mailbox::<Number>().name("late").open().unwrap();
        reaches(&local, &mut successor, 4).await;
    });
}

#[test]
fn an_address_by_name_is_local_also_in_the_very_first_message() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut inbox) = station::<Carry>(thread).await;
        let mut numbers = there.mailbox::<Number>().name("numbers").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Carry>(&endpoint, "carry").unwrap();
        to.do_send(Carry(here.remote(&endpoint, "numbers").unwrap()));
        let Carry(address) = next(&mut inbox).await;
        assert!(address.is_local());
        assert_eq!(address.name(), "numbers");
        reaches(&address, &mut numbers, 1).await;
    });
}

/// The same messages as other Rust types, as if from another crate.
mod twin {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Carry(pub(crate) Address<Number>);

    #[derive(Message, Serialize, Deserialize, PartialEq, Eq, Debug)]
    #[rtype(result = "()")]
    pub(crate) struct Number(pub(crate) u64);
}

#[test]
fn a_local_send_to_a_box_of_another_type_of_equal_shape_is_delivered() {
    on_either_thread(|thread| async move {
        let (there, there_at, mut there_in) = station::<twin::Carry>(thread).await;
        let (here, here_at, mut here_in) = station::<twin::Carry>(thread).await;
        let mut numbers = here.mailbox().buffer(Buffer::<Number>::dropping(2)).open().unwrap();
        here.remote::<Carry>(&there_at, "carry").unwrap().do_send(Carry(numbers.address()));
        let carry = next(&mut there_in).await;
        there.remote::<twin::Carry>(&here_at, "carry").unwrap().do_send(carry);
        let twin::Carry(home) = next(&mut here_in).await;
        assert!(home.is_local());
        home.do_send(twin::Number(1));
        home.try_send(twin::Number(2)).unwrap();
        assert!(matches!(home.try_send(twin::Number(3)), Err(SendError::Full(twin::Number(3)))));
        assert_eq!(next(&mut numbers).await, Number(1));
        assert_eq!(next(&mut numbers).await, Number(2));
        home.recipient().do_send(twin::Number(4));
        assert_eq!(next(&mut numbers).await, Number(4));
        numbers.close();
        assert!(matches!(home.try_send(twin::Number(5)), Err(SendError::Closed(twin::Number(5)))));
        balanced(&[&here, &there]).await;
    });
}

// ---- passed on

#[test]
fn an_address_that_is_passed_on_works_through_the_node_in_the_middle() {
    on_either_thread(|thread| async move {
        // This one does not listen: it is reached on the connection that it opened, or not at all.
        let here = Node::builder().io_thread(thread).start();
        let (middle, middle_at, mut middle_in) = station::<Carry>(thread).await;
        let (third, third_at, mut third_in) = station::<Carry>(thread).await;
        let (_fourth, fourth_at, mut fourth_in) = station::<Carry>(thread).await;
        let mut numbers = here.mailbox::<Number>().open().unwrap();
        here.remote::<Carry>(&middle_at, "carry").unwrap().do_send(Carry(numbers.address()));
        middle.remote::<Carry>(&third_at, "carry").unwrap().do_send(next(&mut middle_in).await);
        let Carry(at_third) = next(&mut third_in).await;
        assert_eq!((at_third.is_local(), at_third.node_id()), (false, Some(here.id())));
        assert_eq!(at_third, numbers.address());
        for n in 0..10 {
            reaches(&at_third, &mut numbers, n).await;
        }
        third.remote::<Carry>(&fourth_at, "carry").unwrap().do_send(Carry(at_third));
        let Carry(at_fourth) = next(&mut fourth_in).await;
        reaches(&at_fourth, &mut numbers, 10).await;
        at_fourth.recipient().do_send(Number(11));
        assert_eq!(next(&mut numbers).await, Number(11));
        let nodes = [&here, &middle, &third, &_fourth];
        balanced(&nodes).await;
        assert_eq!(nodes.iter().map(|node| node.stats().dropped_total()).sum::<u64>(), 0);
    });
}

#[test]
fn an_address_that_comes_home_by_a_third_node_is_local() {
    on_either_thread(|thread| async move {
        let (here, _, mut here_in) = station::<Carry>(thread).await;
        let (middle, middle_at, mut middle_in) = station::<Carry>(thread).await;
        let (_third, third_at, mut third_in) = station::<Carry>(thread).await;
        let mut numbers = here.mailbox::<Number>().open().unwrap();
        // The way home is passed on as well: the third node knows of no other.
        let way_home = here.mailbox::<Carry>().open().unwrap();
        let mut home_in = way_home;
        let (to_middle, to_third) =
            (here.remote::<CarryBoth>(&middle_at, "both"), middle.remote::<CarryBoth>(&third_at, "both"));
        let mut middle_both = middle.mailbox::<CarryBoth>().name("both").open().unwrap();
        let mut third_both = _third.mailbox::<CarryBoth>().name("both").open().unwrap();
        to_middle.unwrap().do_send(CarryBoth { numbers: numbers.address(), home: home_in.address() });
        to_third.unwrap().do_send(next(&mut middle_both).await);
        let both = next(&mut third_both).await;
        both.home.do_send(Carry(both.numbers.clone()));
        let Carry(home) = next(&mut home_in).await;
        assert!(home.is_local());
        assert_eq!(home, numbers.address());
        reaches(&home, &mut numbers, 1).await;
        assert!(here_in.try_recv().is_none() && middle_in.try_recv().is_none() && third_in.try_recv().is_none());
    });
}

/// Brings an address along, and the address of a mailbox to send it to.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct CarryBoth {
    numbers: Address<Number>,
    home: Address<Carry>,
}

#[test]
fn a_reply_address_travels_through_the_node_in_the_middle_too() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Introduce(Address<Ping>);

    on_either_thread(|thread| async move {
        let here = Node::builder().io_thread(thread).start();
        let (middle, middle_at, mut middle_in) = station::<Introduce>(thread).await;
        let (third, third_at, mut third_in) = station::<Introduce>(thread).await;
        let mut pings = here.mailbox::<Ping>().open().unwrap();
        here.remote::<Introduce>(&middle_at, "carry").unwrap().do_send(Introduce(pings.address()));
        middle.remote::<Introduce>(&third_at, "carry").unwrap().do_send(next(&mut middle_in).await);
        let Introduce(ping_box) = next(&mut third_in).await;
        let mut replies = third.mailbox::<Pong>().open().unwrap();
        for n in 0..10 {
            ping_box.do_send(Ping { return_to: replies.address(), n });
            let ping = next(&mut pings).await;
            assert_eq!(ping.return_to, replies.address());
            ping.return_to.do_send(Pong(ping.n));
            assert_eq!(next(&mut replies).await, Pong(n));
        }
    });
}

#[test]
fn an_address_of_another_node_of_this_process_travels_too() {
    on_either_thread(|thread| async move {
        let (there, endpoint, mut inbox) = station::<Carry>(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let beside = Node::builder().io_thread(thread).start();
        let mut numbers = beside.mailbox::<Number>().open().unwrap();
        let to = here.remote::<Carry>(&endpoint, "carry").unwrap();
        to.do_send(Carry(numbers.address()));
        let Carry(address) = next(&mut inbox).await;
        assert_eq!(address, numbers.address());
        reaches(&address, &mut numbers, 1).await;
        // One of the receiver's own, which this node has from elsewhere.
        let mut own = there.mailbox::<Number>().open().unwrap();
        to.do_send(Carry(own.address()));
        let Carry(address) = next(&mut inbox).await;
        assert!(address.is_local());
        reaches(&address, &mut own, 2).await;
    });
}

// ---- recipients of ordinary actors

/// Says who it is to whoever asks.
struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<CarryRecipient> for Echo {
    type Result = ();

    fn handle(&mut self, carry: CarryRecipient, _: &mut Context<Self>) {
        carry.to.do_send(Number(1));
        if let Some(perhaps) = carry.perhaps {
            perhaps.do_send(Number(2));
        }
    }
}

#[test]
fn ordinary_actors_talk_through_recipients_that_know_nothing_of_the_network() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        there.publish::<CarryRecipient>("echo", Echo.start()).unwrap();
        let here = Node::builder().io_thread(thread).start();
        let echo: Recipient<CarryRecipient> = here.remote(&endpoint, "echo").unwrap().into();
        let ((first, mut caught), (second, mut caught_too)) = (catcher(), catcher());
        echo.do_send(CarryRecipient { to: first.clone(), perhaps: None });
        assert_eq!(caught.next().await, 1);
        echo.do_send(CarryRecipient { to: first, perhaps: Some(second) });
        assert_eq!(caught.next().await, 1);
        assert_eq!(caught_too.next().await, 2);
        balanced(&[&here, &there]).await;
    });
}

#[test]
fn a_recipient_that_comes_home_leads_to_its_actor() {
    on_either_thread(|thread| async move {
        let (there, there_at, mut there_in) = station::<CarryRecipient>(thread).await;
        let (here, here_at, mut here_in) = station::<CarryRecipient>(thread).await;
        let (actor, mut caught) = catcher();
        let mut numbers = here.mailbox::<Number>().open().unwrap();
        let carry = CarryRecipient { to: actor, perhaps: Some(numbers.recipient()) };
        here.remote::<CarryRecipient>(&there_at, "carry").unwrap().do_send(carry);
        there.remote::<CarryRecipient>(&here_at, "carry").unwrap().do_send(next(&mut there_in).await);
        let carry = next(&mut here_in).await;
        let sent = there.stats().sent;
        carry.to.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        let perhaps = carry.perhaps.unwrap();
        assert!(perhaps == numbers.recipient());
        perhaps.do_send(Number(2));
        assert_eq!(next(&mut numbers).await, Number(2));
        assert_eq!(there.stats().sent, sent, "nothing went round by the other node");
    });
}

#[test]
fn a_remote_recipient_is_disconnected_when_its_node_stops() {
    on_either_thread(|thread| async move {
        let (_there, endpoint, _inbox) = station::<Carry>(thread).await;
        let here = Node::builder().io_thread(thread).start();
        let recipient = here.remote::<Carry>(&endpoint, "carry").unwrap().recipient();
        assert!(recipient.connected());
        here.shutdown().await;
        settled(|| !recipient.connected()).await;
    });
}

// ---- equality

// The parts that are compared and hashed never change, whatever else is behind an address.
#[allow(clippy::mutable_key_type)]
#[actix::test]
async fn addresses_are_equal_if_they_were_made_of_the_same() {
    let (there, endpoint, mut inbox) = station::<Carry>(IoThread::Current).await;
    let here = Node::start();
    let by_name = here.remote::<Number>(&endpoint, "n").unwrap();
    assert_eq!(by_name, here.remote(&endpoint, "n").unwrap());
    assert_eq!(by_name, Node::start().remote(&endpoint, "n").unwrap(), "wherever it is held");
    assert_eq!(by_name, by_name.clone());
    assert_ne!(by_name, here.remote(&endpoint, "m").unwrap());
    let same_host = format!("localhost:{}", endpoint.port().unwrap());
    assert_ne!(by_name, here.remote(same_host, "n").unwrap(), "endpoints are compared as texts");
    let numbers = there.mailbox::<Number>().name("n").open().unwrap();
    assert_ne!(by_name, numbers.address(), "a name is not a box");
    assert_ne!(numbers.address(), there.mailbox().open().unwrap().address());

    let sender = here.mailbox::<Number>().open().unwrap();
    let to = here.remote::<Carry>(&endpoint, "carry").unwrap();
    (0..3).for_each(|_| to.do_send(Carry(sender.address())));
    let mut seen = HashSet::from([sender.address()]);
    for _ in 0..3 {
        assert!(!seen.insert(next(&mut inbox).await.0), "one box, one hash");
    }
    assert!(seen.insert(by_name));
}

// ---- text

#[actix::test]
async fn an_address_of_a_node_that_listens_survives_as_text() {
    #[derive(Serialize, Deserialize)]
    struct Config {
        numbers: Address<Number>,
        more: Vec<Address<Number>>,
        #[serde(with = "actix_hermod::recipient")]
        recipient: Recipient<Number>,
    }

    let directory = support::Scratch::new();
    let (tcp, endpoint) = listening(Node::builder()).await;
    let unix = Node::start();
    support::within(unix.listen(directory.endpoint())).await.unwrap();
    for there in [tcp, unix] {
        let mut numbers = there.mailbox::<Number>().name("numbers: 1/2 %ü").open().unwrap();
        let mut anonymous = there.mailbox::<Number>().open().unwrap();
        let config =
            Config { numbers: numbers.address(), more: vec![anonymous.address()], recipient: numbers.recipient() };
        let json = serde_json::to_string(&config).unwrap();
        let here = Node::start();
        let read: Config = here.with(|| serde_json::from_str(&json)).unwrap();
        reaches(&read.numbers, &mut numbers, 1).await;
        reaches(&read.more[0], &mut anonymous, 2).await;
        read.recipient.do_send(Number(3));
        assert_eq!(next(&mut numbers).await, Number(3));
        let uri = numbers.address().uri().unwrap();
        let resolved = here.resolve::<Number>(&uri).unwrap();
        assert_eq!((&resolved, resolved.uri()), (&read.numbers, Some(uri)));
        assert_eq!(resolved.name(), "numbers: 1/2 %ü");
        reaches(&resolved, &mut numbers, 4).await;
    }
    let uri = tcp_uri(&endpoint);
    assert_eq!(Node::start().remote::<Number>(&endpoint, "a b").unwrap().uri(), Some(uri));
}

fn tcp_uri(endpoint: &Endpoint) -> String {
    format!("hermod://{endpoint}/a%20b")
}

/// `0.0.0.0` is another host wherever it is read, so a URI with it would lead astray.
#[actix::test]
async fn a_node_at_all_addresses_of_its_host_has_uris_only_where_it_says_that_it_can_be_dialled() {
    let node = Node::start();
    let inbox = node.mailbox::<Number>().name("a b").open().unwrap();
    let everywhere = support::within(node.listen("0.0.0.0:0")).await.unwrap();
    assert_eq!(inbox.address().uri(), None);
    let error = serde_json::to_string(&inbox.address()).unwrap_err().to_string();
    assert!(error.contains("advertise"), "{error}");
    // It can be dialled all the same, at one of them.
    let loopback = format!("127.0.0.1:{}", everywhere.port().unwrap());
    let mut inbox = inbox;
    reaches(&Node::start().remote(&loopback, "a b").unwrap(), &mut inbox, 1).await;
    // The endpoint that is told later, and can be used, is the one that counts.
    let somewhere = support::within(node.listen("127.0.0.1:0")).await.unwrap();
    assert_eq!(inbox.address().uri(), Some(tcp_uri(&somewhere)));

    let advertised =
        Node::builder().advertise("[::]:1").advertise("host.example:0").advertise("host.example:1").start();
    support::within(advertised.listen("0.0.0.0:0")).await.unwrap();
    let inbox = advertised.mailbox::<Number>().name("a b").open().unwrap();
    assert_eq!(inbox.address().uri(), Some(tcp_uri(&"host.example:1".parse().unwrap())));
}

#[actix::test]
async fn an_address_without_an_endpoint_is_no_text_and_says_why() {
    let node = Node::start();
    let inbox = node.mailbox::<Number>().name("n").open().unwrap();
    assert_eq!(inbox.address().uri(), None);
    let error = serde_json::to_string(&inbox.address()).unwrap_err().to_string();
    assert!(error.contains("\"n\" has no URI") && error.contains("does not listen"), "{error}");
    let carry = CarryRecipient { to: inbox.recipient(), perhaps: None };
    assert!(serde_json::to_string(&carry).is_err());
    let ordinary = CarryRecipient { to: catcher().0, perhaps: None };
    let error = serde_json::to_string(&ordinary).unwrap_err().to_string();
    assert!(error.contains("only inside a message"), "{error}");
}

#[actix::test]
async fn text_is_read_as_an_address_only_for_a_node() {
    let node = Node::start();
    let json = "\"hermod://localhost:4242/n\"";
    let error = serde_json::from_str::<Address<Number>>(json).unwrap_err().to_string();
    assert!(error.contains("Node::with"), "{error}");
    assert!(node.with(|| serde_json::from_str::<Address<Number>>(json)).is_ok());
    let wrong = node.with(|| serde_json::from_str::<Address<Number>>("\"localhost:4242\"")).unwrap_err().to_string();
    assert!(wrong.contains("hermod://[ID@]host:port/name"), "{wrong}");
    assert!(serde_json::from_str::<Address<Number>>(json).is_err(), "the node is forgotten afterwards");
}

#[actix::test]
async fn an_address_in_binary_exists_only_inside_a_message() {
    let (node, _) = listening(Node::builder()).await;
    let inbox = node.mailbox::<Number>().name("n").open().unwrap();
    assert!(postcard::to_stdvec(&inbox.address()).is_err());
    assert!(postcard::to_stdvec(&CarryRecipient { to: inbox.recipient(), perhaps: None }).is_err());
    assert!(postcard::from_bytes::<Address<Number>>(&[0]).is_err());
    assert!(node.with(|| postcard::from_bytes::<Address<Number>>(&[0])).is_err());
    assert!(postcard::from_bytes::<Address<Text>>(&[]).is_err());
}

/// An address that its type writes as JSON, in a text.
#[derive(Message)]
#[rtype(result = "()")]
struct InText(Address<Number>);

impl Serialize for InText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for InText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<InText, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(InText).map_err(serde::de::Error::custom)
    }
}

#[actix::test]
async fn an_address_in_a_text_of_a_message_is_one() {
    let (server, endpoint) = listening(Node::builder()).await;
    let mut inbox = server.mailbox::<InText>().name("texts").open().unwrap();
    let (client, at) = listening(Node::builder()).await;
    let mut numbers = client.mailbox::<Number>().name("numbers").open().unwrap();
    let to: Address<InText> = client.remote(&endpoint, "texts").unwrap();
    to.do_send(InText(client.remote(&at, "numbers").unwrap()));
    next(&mut inbox).await.0.do_send(Number(7));
    assert_eq!(next(&mut numbers).await, Number(7));
}

/// That of a box of the very node that the message goes to, by the connection that the message goes by. On a thread of its
/// own: what hangs here hangs as a whole.
#[test]
fn an_address_by_name_goes_to_the_node_that_it_names() {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        System::new().block_on(async {
            let (server, endpoint) = listening(Node::builder()).await;
            let mut inbox = server.mailbox::<Ping>().name("pings").open().unwrap();
            let mut pongs = server.mailbox::<Pong>().name("pongs").open().unwrap();
            let client = Node::start();
            let to: Address<Ping> = client.remote(&endpoint, "pings").unwrap();
            let return_to: Address<Pong> = client.remote(&endpoint, "pongs").unwrap();
            // The first is written before the greeting, and later ones have a number.
            for n in 0..4 {
                to.do_send(Ping { return_to: return_to.clone(), n });
                let ping = next(&mut inbox).await;
                assert!(ping.return_to.is_local());
                ping.return_to.do_send(Pong(n));
                assert_eq!(next(&mut pongs).await, Pong(n));
            }
        });
        done.send(()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(LIMIT), Ok(()));
}
