//! Two nodes and what passes between them: by TCP and by Unix socket, in one System and in two, with the node's I/O on
//! either kind of thread.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::ops::RangeInclusive;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use super::answer;
use super::server;
use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::CloseReason;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::ListenError;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeId;
use actix_hermod::SendError;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::ser;
use support::Elsewhere;
use support::Events;
use support::Number;
use support::Ping;
use support::Pong;
use support::Scratch;
use support::Text;
use support::balanced;
use support::deserted;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::watched;
use support::wire::Wire;
use support::within;
use tokio::sync::oneshot;

/// Dials again at once, so that a test need not wait.
const EAGER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(5);

/// A mailbox for as many numbers as a test sends.
fn numbers(node: &Node, room: usize) -> Mailbox<Number> {
    node.mailbox().name("numbers").buffer(Buffer::dropping(room)).open().unwrap()
}

async fn peer_up(ears: &mut Events) -> NodeId {
    ears.find(|event| match event {
        Event::PeerUp { peer } => Some(*peer),
        _ => None,
    })
    .await
}

async fn peer_down(ears: &mut Events) -> (NodeId, DownReason) {
    ears.find(|event| match event {
        Event::PeerDown { peer, why } => Some((*peer, why.clone())),
        _ => None,
    })
    .await
}

// ---- ping and pong

/// Plays against a server.
async fn play(node: &Node, endpoint: &Endpoint) {
    let ping_box = node.remote::<Ping>(endpoint, "ping-box").unwrap();
    let mut replies = node.mailbox::<Pong>().open().unwrap();
    for n in 0..10 {
        let ping = Ping { return_to: replies.address(), n };
        match n % 3 {
            0 => ping_box.do_send(ping),
            1 => ping_box.try_send(ping).unwrap(),
            _ => ping_box.recipient().do_send(ping),
        }
        assert_eq!(next(&mut replies).await, Pong(n));
    }
}

#[test]
fn a_ping_is_answered_by_another_node_of_the_same_system() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = server(thread, "127.0.0.1:0").await;
        let here = Node::builder().io_thread(thread).start();
        play(&here, &endpoint).await;
        balanced(&[&here, &there]).await;
        let (here, there) = (here.stats(), there.stats());
        assert_eq!((here.sent, here.delivered, there.sent, there.delivered), (10, 10, 10, 10));
    });
}

#[test]
fn a_ping_is_answered_by_a_node_of_another_system() {
    on_either_thread(|thread| async move {
        let elsewhere = Elsewhere::start();
        let (there, endpoint) = elsewhere.run(move || server(thread, "127.0.0.1:0")).await;
        let here = Node::builder().io_thread(thread).start();
        play(&here, &endpoint).await;
        balanced(&[&here, &there]).await;
        within(here.shutdown()).await;
        elsewhere.end();
    });
}

#[test]
fn a_unix_socket_is_an_endpoint_and_its_file_goes_with_the_node() {
    on_either_thread(|thread| async move {
        let directory = Scratch::new();
        let (there, endpoint) = server(thread, &directory.endpoint()).await;
        assert_eq!((endpoint.to_string(), endpoint.port()), (directory.endpoint(), None));
        let here = Node::builder().io_thread(thread).start();
        play(&here, &endpoint).await;
        let taken = within(here.listen(&endpoint)).await;
        assert!(matches!(taken, Err(ListenError::Io(_))), "a socket that is answered at is not taken over");
        within(there.shutdown()).await;
        settled(|| directory.is_empty()).await;
    });
}

/// The same port by another name than the node listens at: it is not known before they are connected who is there.
fn by_another_name(endpoint: &Endpoint) -> Endpoint {
    format!("localhost:{}", endpoint.port().unwrap()).parse().unwrap()
}

#[test]
fn a_node_may_dial_itself() {
    on_either_thread(|thread| async move {
        let (node, endpoint) = server(thread, "127.0.0.1:0").await;
        let endpoint = by_another_name(&endpoint);
        let mut ears = events(&node);
        let to = node.remote::<Ping>(&endpoint, "ping-box").unwrap();
        assert_eq!((to.is_local(), to.node_id()), (false, None));
        play(&node, &endpoint).await;
        assert_eq!(peer_up(&mut ears).await, node.id());
        assert_eq!(to.node_id(), Some(node.id()));
        settled(|| to.is_local()).await;
        play(&node, &endpoint).await;
        balanced(&[&node]).await;
        within(node.shutdown()).await;
    });
}

#[test]
fn an_endpoint_where_the_node_itself_listens_leads_straight_into_its_boxes() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let endpoint = deserted().await;
        let early = node.remote::<Ping>(&endpoint, "ping-box").unwrap();
        assert!(!early.is_local());
        within(node.listen(&endpoint)).await.unwrap();
        let late = node.remote::<Ping>(&endpoint, "ping-box").unwrap();
        let mut ears = events(&node);
        for to in [&early, &late] {
            assert_eq!((to.is_local(), to.node_id(), to.connected()), (true, Some(node.id()), false));
            assert_eq!(within(to.closed()).await, CloseReason::BoxClosed);
            to.do_send(Ping { return_to: node.mailbox().open().unwrap().address(), n: 1 });
        }
        assert_eq!(ears.count_drops("ping-box", DropReason::NoSuchBox, 2).await, 2);
        let pings: Mailbox<Ping> = node.mailbox().name("ping-box").open().unwrap();
        assert!(early.connected() && late.connected());
        let closed = early.closed();
        let answering = actix::spawn(answer(pings));
        play(&node, &endpoint).await;
        answering.abort();
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
        let numbers: Mailbox<Number> = numbers(&node, 10);
        assert_eq!(numbers.address().uri(), node.remote::<Number>(&endpoint, "numbers").unwrap().uri());
        assert_eq!((node.stats().connections.len(), node.stats().bytes_sent), (0, 0), "nothing was dialled");
    });
}

/// One thread sends on and on while the connection turns out to lead home.
#[test]
fn what_is_sent_to_itself_stays_in_order_when_that_is_found_out() {
    const AFTERWARDS: u64 = 1_000;

    on_either_thread(|thread| async move {
        let builder = Node::builder().io_thread(thread).heartbeat(Duration::from_millis(5));
        let (node, endpoint) = listening(builder).await;
        let mut inbox: Mailbox<Number> = numbers(&node, 1 << 20);
        let to = node.remote::<Number>(by_another_name(&endpoint), "numbers").unwrap();
        let (tell, told) = oneshot::channel();
        thread::spawn(move || {
            let (mut sent, mut afterwards) = (0, 0);
            while afterwards < AFTERWARDS {
                afterwards += u64::from(to.is_local());
                match to.try_send(Number(sent)) {
                    Ok(()) => sent += 1,
                    Err(SendError::Full(_)) => thread::yield_now(),
                    Err(SendError::Closed(_)) => panic!("{sent} was refused"),
                }
                // Moments in which nothing is under way.
                if sent % 64 == 0 {
                    thread::yield_now();
                }
            }
            tell.send(sent).unwrap();
        });
        let mut received = 0;
        let mut sent = std::pin::pin!(told);
        let sent = loop {
            tokio::select! {
                biased;
                number = next(&mut inbox) => {
                    assert_eq!(number, Number(received));
                    received += 1;
                }
                sent = &mut sent => break sent.unwrap(),
            }
        };
        while received < sent {
            assert_eq!(next(&mut inbox).await, Number(received));
            received += 1;
        }
    });
}

/// Encoding it waits at this thread's gate, if there is one.
#[derive(Message, Deserialize, PartialEq, Debug)]
#[rtype(result = "()")]
struct Gated(u64);

thread_local! {
    static GATE: RefCell<Option<(oneshot::Sender<()>, std_mpsc::Receiver<()>)>> = const { RefCell::new(None) };
}

impl Serialize for Gated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some((reached, open)) = GATE.take() {
            reached.send(()).unwrap();
            open.recv().unwrap();
        }
        serializer.serialize_newtype_struct("Gated", &self.0)
    }
}

/// A message that was encoded for a connection is not lost, and does not go by it any more.
#[test]
fn what_is_being_encoded_when_the_way_turns_out_to_lead_home_goes_into_the_box() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut inbox: Mailbox<Gated> = node.mailbox().name("gated").open().unwrap();
        for how in 0..3 {
            let at = deserted().await;
            let to: Address<Gated> = node.remote(&at, "gated").unwrap();
            let (reached, is_reached) = oneshot::channel();
            let (open, opened) = std_mpsc::channel();
            let sending = thread::spawn(move || {
                GATE.set(Some((reached, opened)));
                match how {
                    0 => to.do_send(Gated(how)),
                    1 => to.try_send(Gated(how)).unwrap(),
                    _ => return Some(to.send(Gated(how))),
                }
                None
            });
            within(is_reached).await.unwrap();
            within(node.listen(&at)).await.unwrap();
            open.send(()).unwrap();
            assert_eq!(next(&mut inbox).await, Gated(how));
            if let Some(request) = sending.join().unwrap() {
                within(request).await.unwrap();
            }
        }
        balanced(&[&node]).await;
        assert_eq!(node.stats().bytes_sent, 0);
    });
}

/// Behind a proxy a node may find itself today and another tomorrow.
#[test]
fn a_way_home_that_leads_elsewhere_later_is_followed() {
    on_either_thread(|thread| async move {
        // A heartbeat is what finds the way cut.
        let builder = Node::builder().io_thread(thread).reconnect(EAGER).heartbeat(Duration::from_millis(10));
        let (node, endpoint) = listening(builder).await;
        let (other, elsewhere) = listening(Node::builder().io_thread(thread)).await;
        let (mut inbox, mut far) = (numbers(&node, 10), numbers(&other, 10));
        let wire = Wire::to(endpoint.to_string()).await;
        let to = node.remote::<Number>(&wire.endpoint, "numbers").unwrap();
        to.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        settled(|| to.is_local()).await;
        to.do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
        wire.lead_to(&elsewhere);
        wire.cut_after(0);
        settled(|| !to.is_local()).await;
        wire.mend();
        settled(|| to.node_id() == Some(other.id()) && to.connected()).await;
        to.do_send(Number(3));
        assert_eq!(next(&mut far).await, Number(3));
        assert!(!to.is_local());
    });
}

#[actix::test]
async fn a_node_listens_where_it_can_and_says_why_where_not() {
    let (node, endpoint) = listening(Node::builder()).await;
    let second = within(node.listen("127.0.0.1:0")).await.unwrap();
    assert_ne!(endpoint, second);
    assert!(
        matches!(within(node.listen("nowhere")).await, Err(ListenError::InvalidEndpoint(text)) if text == "nowhere")
    );
    assert!(matches!(within(node.listen(&endpoint)).await, Err(ListenError::Io(_))));
    let mut inbox = numbers(&node, 2);
    let here = Node::start();
    here.remote::<Number>(&endpoint, "numbers").unwrap().do_send(Number(1));
    assert_eq!(next(&mut inbox).await, Number(1));
    here.remote::<Number>(&second, "numbers").unwrap().do_send(Number(2));
    assert_eq!(next(&mut inbox).await, Number(2));
}

/// A client that is told another of the name's addresses, or tries them in another order, finds the node as well.
#[actix::test]
async fn a_node_listens_at_all_addresses_of_a_name() {
    let here = |ip: &IpAddr| std::net::TcpListener::bind((*ip, 0)).is_ok();
    let addresses: HashSet<IpAddr> = ("localhost", 0).to_socket_addrs().unwrap().map(|at| at.ip()).collect();
    let addresses: Vec<IpAddr> = addresses.into_iter().filter(here).collect();
    let node = Node::start();
    let endpoint = within(node.listen("localhost:0")).await.unwrap();
    let port = endpoint.port().unwrap();
    assert!(port != 0 && endpoint.to_string() == format!("localhost:{port}"));
    let mut inbox = numbers(&node, 10);
    for (n, ip) in addresses.iter().enumerate() {
        let at = SocketAddr::new(*ip, port).to_string();
        Node::start().remote::<Number>(at, "numbers").unwrap().do_send(Number(n as u64));
        assert_eq!(next(&mut inbox).await, Number(n as u64));
    }
    // One that is taken is not passed over for another.
    for ip in &addresses {
        let taken = std::net::TcpListener::bind((*ip, 0)).unwrap();
        let at = format!("localhost:{}", taken.local_addr().unwrap().port());
        let refused = within(node.listen(at)).await;
        assert!(matches!(&refused, Err(ListenError::Io(why)) if why.kind() == ErrorKind::AddrInUse), "{refused:?}");
    }
}

// ---- names and endpoints that come and go

#[test]
fn a_name_works_from_when_its_box_opens() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut ears = events(&there);
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        assert_eq!(to.node_id(), None, "nobody was there yet");
        to.do_send(Number(1));
        to.do_send(Number(2));
        assert_eq!(ears.count_drops("numbers", DropReason::NoSuchBox, 2).await, 2);
        assert_eq!(to.node_id(), Some(there.id()));
        let mut inbox = numbers(&there, 10);
        to.do_send(Number(3));
        assert_eq!(next(&mut inbox).await, Number(3));
        drop(inbox);
        to.do_send(Number(4));
        settled(|| dropped(&there, DropReason::NoSuchBox) == 3).await;
        let mut inbox = numbers(&there, 10);
        to.do_send(Number(5));
        assert_eq!(next(&mut inbox).await, Number(5));
        balanced(&[&here, &there]).await;
        assert_eq!(here.stats().dropped_total(), 0, "a drop is counted where it happens");
    });
}

/// Sends until something comes back.
async fn until_answered(to: &Address<Ping>, replies: &mut Mailbox<Pong>) {
    settled(|| {
        to.do_send(Ping { return_to: replies.address(), n: 1 });
        replies.try_recv().is_some()
    })
    .await;
}

async fn restart(thread: IoThread, at: String) {
    let first = Elsewhere::start();
    let (node, endpoint) = first.run(move || async move { server(thread, &at).await }).await;
    let here = Node::builder().io_thread(thread).reconnect(EAGER).start();
    let mut ears = events(&here);
    let to = here.remote::<Ping>(&endpoint, "ping-box").unwrap();
    let mut replies = here.mailbox::<Pong>().open().unwrap();
    until_answered(&to, &mut replies).await;
    assert_eq!(peer_up(&mut ears).await, node.id());
    first.end();
    assert_eq!(peer_down(&mut ears).await.0, node.id());
    let second = Elsewhere::start();
    let (successor, _) = second.run(move || async move { server(thread, endpoint.as_ref()).await }).await;
    until_answered(&to, &mut replies).await;
    assert_eq!(peer_up(&mut ears).await, successor.id());
    assert_eq!(to.node_id(), Some(successor.id()));
    assert!(here.stats().connections.iter().any(|connection| connection.reconnects == 1));
    second.end();
}

#[test]
fn a_restarted_server_is_found_again_by_the_same_address() {
    on_either_thread(|thread| async move {
        // An address that no other test uses, so that nobody is given the port in between.
        let host = if cfg!(target_os = "linux") { "127.0.7.1" } else { "127.0.0.1" };
        restart(thread, format!("{host}:0")).await;
        restart(thread, Scratch::new().endpoint()).await;
    });
}

#[test]
fn messages_wait_while_the_dial_is_under_way_and_arrive_in_order() {
    on_either_thread(|thread| async move {
        let elsewhere = Elsewhere::start();
        let (mut inbox, endpoint) = elsewhere
            .run(move || async move {
                let (node, endpoint) = listening(Node::builder().io_thread(thread)).await;
                (numbers(&node, 1000), endpoint)
            })
            .await;
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        (0..1000).for_each(|n| to.do_send(Number(n)));
        assert!(to.connected());
        for n in 0..1000 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        assert_eq!(here.stats().dropped_total(), 0);
    });
}

#[test]
fn what_waits_for_a_dial_that_fails_is_counted_and_a_later_server_is_found() {
    on_either_thread(|thread| async move {
        let directory = Scratch::new();
        let here = Node::builder().io_thread(thread).reconnect(EAGER).start();
        let mut ears = events(&here);
        let to = here.remote::<Number>(directory.endpoint(), "numbers").unwrap();
        (0..5).for_each(|n| to.do_send(Number(n)));
        let told = ears.count_drops("", DropReason::NotConnected, 5).await;
        assert_eq!((told, dropped(&here, DropReason::NotConnected)), (5, 5));
        let there = Node::builder().io_thread(thread).start();
        let mut inbox = numbers(&there, 10);
        within(there.listen(directory.endpoint())).await.unwrap();
        settled(|| {
            to.do_send(Number(5));
            inbox.try_recv().is_some()
        })
        .await;
        balanced(&[&here, &there]).await;
    });
}

#[actix::test]
async fn nothing_is_sent_in_the_pause_after_a_dial_that_failed() {
    let long = Duration::from_secs(3600)..=Duration::from_secs(3600);
    let here = Node::builder().reconnect(long).start();
    let to = here.remote::<Number>(Scratch::new().endpoint(), "numbers").unwrap();
    assert!(!to.connected(), "not used yet");
    to.do_send(Number(1));
    settled(|| dropped(&here, DropReason::NotConnected) == 1).await;
    assert!(!to.connected());
    to.do_send(Number(2));
    assert_eq!(dropped(&here, DropReason::NotConnected), 2, "at once");
    assert!(matches!(to.try_send(Number(3)), Err(SendError::Closed(Number(3)))));
    assert_eq!(here.stats().sent, 2);
    assert_eq!(to.lost().local, [(DropReason::NotConnected, 1)].into(), "what was refused to this address");
}

// ---- order

#[test]
fn a_hundred_thousand_messages_arrive_in_order() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = numbers(&there, 100_000);
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        for n in 0..100_000 {
            to.do_send(Number(n));
            if n % 10_000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for n in 0..100_000 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        balanced(&[&here, &there]).await;
        assert_eq!(here.stats().dropped_total() + there.stats().dropped_total(), 0);
    });
}

#[test]
fn messages_of_each_of_four_threads_arrive_in_the_order_of_that_thread() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Tagged {
        thread: usize,
        n: u64,
    }

    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let buffer = Buffer::dropping(100_000);
        let mut inbox = there.mailbox::<Tagged>().name("tagged").buffer(buffer).open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Tagged>(&endpoint, "tagged").unwrap();
        let senders = [0, 1, 2, 3].map(|thread| {
            let (to, recipient) = (to.clone(), to.recipient());
            // Half of them through an actix handle.
            thread::spawn(move || {
                (0..25_000).for_each(|n| match thread {
                    0 | 1 => to.do_send(Tagged { thread, n }),
                    _ => recipient.do_send(Tagged { thread, n }),
                });
            })
        });
        let mut expected = [0; 4];
        for _ in 0..100_000 {
            let Tagged { thread, n } = next(&mut inbox).await;
            assert_eq!(n, expected[thread]);
            expected[thread] += 1;
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(expected, [25_000; 4]);
    });
}

// ---- limits

#[test]
fn what_does_not_fit_the_outbox_is_counted_and_the_rest_arrives_whole_and_in_order() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let buffer = Buffer::dropping(10_000);
        let mut inbox = there.mailbox::<Text>().name("texts").buffer(buffer).open().unwrap();
        let here = Node::builder().io_thread(thread).outbox(4096).start();
        let to = here.remote::<Text>(&endpoint, "texts").unwrap();
        for n in 0..10_000_usize {
            to.do_send(Text(format!("{n:<width$}", width = 5 + n % 300)));
            if n % 500 == 0 {
                tokio::task::yield_now().await;
            }
        }
        balanced(&[&here, &there]).await;
        let full = dropped(&here, DropReason::OutboxFull);
        assert!(full > 0 && full < 10_000, "{full} of 10,000 did not fit");
        assert_eq!(inbox.len() as u64, 10_000 - full);
        let mut last = None;
        while let Some(Text(text)) = inbox.try_recv() {
            let n: usize = text.trim_end().parse().unwrap();
            assert_eq!(text.len(), 5 + n % 300);
            assert!(last < Some(n));
            last = Some(n);
        }
        assert_eq!(to.lost().local, [(DropReason::OutboxFull, full)].into());
    });
}

#[actix::test]
async fn what_does_not_fit_the_outbox_is_given_back_by_try_send() {
    let (_there, endpoint) = listening(Node::builder()).await;
    let here = Node::builder().io_thread(IoThread::Current).outbox(4096).start();
    let to = here.remote::<Text>(&endpoint, "texts").unwrap();
    // Nothing is written before this task lets others run.
    to.do_send(Text("waits".to_owned()));
    assert!(matches!(to.try_send(Text("x".repeat(5000))), Err(SendError::Full(text)) if text.0.len() == 5000));
    assert_eq!((here.stats().sent, here.stats().dropped_total()), (1, 0));
}

#[test]
fn an_empty_outbox_takes_one_message_of_any_size() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Text>().name("texts").open().unwrap();
        let here = Node::builder().io_thread(thread).outbox(1 << 10).start();
        let to = here.remote::<Text>(&endpoint, "texts").unwrap();
        let large = Text("x".repeat(1 << 20));
        to.do_send(large.clone());
        assert_eq!(next(&mut inbox).await, large);
        assert_eq!(here.stats().dropped_total(), 0);
    });
}

#[test]
fn a_message_over_the_senders_limit_is_dropped_alone() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Text>().name("texts").open().unwrap();
        let here = Node::builder().io_thread(thread).max_message(1000).start();
        let to = here.remote::<Text>(&endpoint, "texts").unwrap();
        to.do_send(Text("before".to_owned()));
        to.do_send(Text("x".repeat(1001)));
        assert!(matches!(to.try_send(Text("x".repeat(1001))), Err(SendError::Closed(_))));
        to.do_send(Text("after".to_owned()));
        assert_eq!(next(&mut inbox).await.0, "before");
        assert_eq!(next(&mut inbox).await.0, "after");
        to.do_send(Text("x".repeat(1001)));
        assert_eq!(here.stats().dropped, [(DropReason::TooLarge, 2)].into());
        to.do_send(Text("x".repeat(900)));
        assert_eq!(next(&mut inbox).await.0.len(), 900);
    });
}

#[test]
fn a_message_over_the_receivers_limit_is_dropped_before_it_is_sent() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread).max_message(1000)).await;
        let mut inbox = there.mailbox::<Text>().name("texts").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Text>(&endpoint, "texts").unwrap();
        // The peer's limit is not known yet: what waits goes with the message that it cannot read.
        to.do_send(Text("x".repeat(1001)));
        to.do_send(Text("with it".to_owned()));
        settled(|| dropped(&here, DropReason::TooLarge) == 2).await;
        to.do_send(Text("before".to_owned()));
        to.do_send(Text("x".repeat(1001)));
        to.do_send(Text("after".to_owned()));
        assert_eq!(next(&mut inbox).await.0, "before");
        assert_eq!(next(&mut inbox).await.0, "after");
        assert_eq!(dropped(&here, DropReason::TooLarge), 3);
        balanced(&[&here, &there]).await;
        assert_eq!(here.stats().connections.len(), 1);
    });
}

#[actix::test]
async fn a_node_takes_no_more_connections_than_it_may() {
    let (there, endpoint) = listening(Node::builder().max_connections(1)).await;
    let mut inbox = numbers(&there, 10);
    let first = Node::start();
    first.remote::<Number>(&endpoint, "numbers").unwrap().do_send(Number(1));
    assert_eq!(next(&mut inbox).await, Number(1));
    let second = Node::builder().reconnect(EAGER).start();
    let to = second.remote::<Number>(&endpoint, "numbers").unwrap();
    to.do_send(Number(2));
    settled(|| dropped(&second, DropReason::NotConnected) == 1).await;
    within(first.shutdown()).await;
    settled(|| {
        to.do_send(Number(3));
        inbox.try_recv().is_some()
    })
    .await;
}

#[actix::test]
async fn a_node_makes_no_more_connections_than_it_may() {
    let (there, endpoint) = listening(Node::builder()).await;
    let (_, other) = listening(Node::builder()).await;
    let mut inbox = numbers(&there, 10);
    let here = Node::builder().max_connections(1).start();
    let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
    to.do_send(Number(1));
    assert_eq!(next(&mut inbox).await, Number(1));
    here.remote::<Number>(&other, "numbers").unwrap().do_send(Number(2));
    settled(|| dropped(&here, DropReason::NotConnected) == 1).await;
    to.do_send(Number(3));
    assert_eq!(next(&mut inbox).await, Number(3));
}

// ---- bad messages

/// A number that breaks when it is written (3, 4) or read (5, 6).
#[derive(Message, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Fragile(u64);

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            3 => Err(ser::Error::custom("three does not write")),
            4 => panic!("four does not write"),
            n => n.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            5 => Err(de::Error::custom("five does not read")),
            6 => panic!("six does not read"),
            n => Ok(Fragile(n)),
        }
    }
}

/// The detail of the next dead letter for that reason.
async fn detail(ears: &mut Events, reason: DropReason) -> String {
    ears.find(|event| match event {
        Event::DeadLetter { reason: why, detail: Some(detail), .. } if *why == reason => Some(detail.clone()),
        _ => None,
    })
    .await
}

#[test]
fn a_message_that_fails_or_panics_while_it_is_written_or_read_costs_itself_only() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Fragile>().name("fragile").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let (mut ears, mut ears_there) = (events(&here), events(&there));
        let to = here.remote::<Fragile>(&endpoint, "fragile").unwrap();
        (1..=8).for_each(|n| to.do_send(Fragile(n)));
        for n in [1, 2, 7, 8] {
            assert_eq!(next(&mut inbox).await, Fragile(n));
        }
        assert_eq!(here.stats().dropped, [(DropReason::NotEncodable, 2)].into());
        assert_eq!(there.stats().dropped, [(DropReason::NotDecodable, 2)].into());
        assert_eq!(inbox.dropped(), 2);
        assert!(detail(&mut ears, DropReason::NotEncodable).await.contains("does not write"));
        assert!(detail(&mut ears_there, DropReason::NotDecodable).await.contains("does not read"));
        assert!(matches!(to.try_send(Fragile(4)), Err(SendError::Closed(Fragile(4)))));
        balanced(&[&here, &there]).await;
        assert_eq!(here.stats().connections.len(), 1, "the connection stays");
    });
}

/// Panics as it is dropped by its sender, if it is that one.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Brittle {
    n: u32,
    /// Set where it was made, and not where it was read.
    #[serde(skip)]
    breaks: bool,
}

impl Drop for Brittle {
    fn drop(&mut self) {
        if self.breaks {
            self.breaks = false;
            panic!("{} breaks", self.n);
        }
    }
}

#[test]
fn messages_that_panic_as_they_are_dropped_behind_a_recipient_cost_the_others_nothing() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = there.mailbox::<Brittle>().name("brittle").open().unwrap();
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Brittle>(&endpoint, "brittle").unwrap().recipient();
        for n in 0..20 {
            to.do_send(Brittle { n, breaks: n == 3 || n == 7 });
        }
        for n in 0..20 {
            assert_eq!(next(&mut inbox).await.n, n);
        }
        balanced(&[&here, &there]).await;
    });
}

#[test]
fn a_message_of_another_type_is_dropped_alone() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = numbers(&there, 10);
        let here = Node::builder().io_thread(thread).start();
        let (right, wrong) = (here.remote::<Number>(&endpoint, "numbers"), here.remote::<Text>(&endpoint, "numbers"));
        let (right, wrong) = (right.unwrap(), wrong.unwrap());
        for n in 0..5 {
            wrong.do_send(Text("not a number".to_owned()));
            right.do_send(Number(n));
        }
        for n in 0..5 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        balanced(&[&here, &there]).await;
        // Which of the two it is depends on whether the sender has said what it sends.
        let stats = there.stats();
        let refused = [DropReason::NotDecodable, DropReason::TypeMismatch];
        assert_eq!(refused.iter().filter_map(|reason| stats.dropped.get(reason)).sum::<u64>(), 5);
        assert_eq!(stats.dropped_total(), 5);
    });
}

// ---- books

#[test]
fn every_message_is_delivered_or_dropped_for_one_reason() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        // Some may not even leave.
        let here = Node::builder().io_thread(thread).outbox(20_000).start();
        let mut kept = numbers(&there, 50);
        let mut sliding = there.mailbox::<Number>().name("sliding").buffer(Buffer::sliding(10)).open().unwrap();
        let to = ["numbers", "sliding", "nobody"].map(|name| here.remote::<Number>(&endpoint, name).unwrap());
        let through = to[0].recipient();
        let fragile = here.remote::<Fragile>(&endpoint, "sliding").unwrap();
        for n in 0..3000 {
            to.iter().for_each(|to| to.do_send(Number(n)));
            through.do_send(Number(n));
            fragile.do_send(Fragile(n % 8));
            kept.address().do_send(Number(n));
            sliding.address().do_send(Number(n));
            if n % 100 == 0 {
                tokio::task::yield_now().await;
                kept.try_recv();
                sliding.try_recv();
            }
        }
        drop((kept, sliding));
        // Messages that wait behind the recipient are not counted yet.
        watched(|| (here.stats().sent, there.stats().sent), |&sent| sent == (15_000, 6000)).await;
        balanced(&[&here, &there]).await;
        let both = [here.stats().dropped, there.stats().dropped];
        let seen = |reason| both.iter().any(|dropped| dropped.contains_key(&reason));
        let reasons = [DropReason::NewestShed, DropReason::OldestShed, DropReason::NoSuchBox, DropReason::NotEncodable];
        reasons.iter().for_each(|reason| assert!(seen(*reason), "no {reason:?} in {both:?}"));
    });
}

// ---- ends

#[test]
fn what_was_sent_before_a_shutdown_arrives_and_the_peer_is_told_goodbye() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut ears = events(&there);
        let mut inbox = numbers(&there, 10_000);
        let here = Node::builder().io_thread(thread).start();
        let own = here.mailbox::<Number>().open().unwrap();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        // The connection is not even made yet.
        (0..5000).for_each(|n| to.do_send(Number(n)));
        let (first, second) = (here.shutdown(), here.shutdown());
        within(async { tokio::join!(first, second) }).await;
        within(here.shutdown()).await;
        for n in 0..5000 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        assert_eq!(peer_up(&mut ears).await, here.id());
        assert_eq!(peer_down(&mut ears).await, (here.id(), DownReason::Goodbye));
        to.do_send(Number(0));
        own.address().do_send(Number(0));
        assert_eq!(here.stats().dropped, [(DropReason::Shutdown, 2)].into());
        assert!(!to.connected());
        settled(|| there.stats().connections.is_empty()).await;
        assert!(matches!(within(here.listen("127.0.0.1:0")).await, Err(ListenError::Stopped)));
    });
}

#[test]
fn what_a_recipient_took_before_a_shutdown_arrives_too() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = numbers(&there, 10_000);
        let here = Node::builder().io_thread(thread).start();
        let mut own = here.mailbox::<Number>().open().unwrap();
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap().recipient();
        // All still wait for their pump, and no connection has been thought of.
        (0..5000).for_each(|n| to.try_send(Number(n)).unwrap());
        own.recipient().do_send(Number(0));
        within(here.shutdown()).await;
        for n in 0..5000 {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        assert_eq!(next(&mut own).await, Number(0));
        let books = here.stats();
        assert_eq!((books.sent, books.dropped_total(), books.in_doubt), (5001, 0, 0));
        settled(|| !to.connected()).await;
        balanced(&[&here, &there]).await;
    });
}

#[test]
fn the_one_who_is_dialled_may_say_goodbye_too() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = server(thread, "127.0.0.1:0").await;
        let here = Node::builder().io_thread(thread).start();
        let mut ears = events(&here);
        play(&here, &endpoint).await;
        within(there.shutdown()).await;
        assert_eq!(peer_down(&mut ears).await, (there.id(), DownReason::Goodbye));
        let to = here.remote::<Ping>(&endpoint, "ping-box").unwrap();
        let replies = here.mailbox::<Pong>().open().unwrap();
        settled(|| {
            to.do_send(Ping { return_to: replies.address(), n: 1 });
            dropped(&here, DropReason::NotConnected) > 0
        })
        .await;
        within(here.shutdown()).await;
    });
}

#[test]
fn a_system_may_end_without_a_shutdown_on_either_side() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = server(thread, "127.0.0.1:0").await;
        let mut ears = events(&there);
        for _ in 0..3 {
            let elsewhere = Elsewhere::start();
            let endpoint = endpoint.clone();
            let client = elsewhere.run(move || async move {
                let here = Node::builder().io_thread(thread).start();
                play(&here, &endpoint).await;
                // At work when the System ends.
                let to = here.remote::<Ping>(&endpoint, "ping-box").unwrap();
                let replies = here.mailbox::<Pong>().open().unwrap();
                (0..100).for_each(|n| to.do_send(Ping { return_to: replies.address(), n }));
                here
            });
            let client = client.await;
            assert_eq!(peer_up(&mut ears).await, client.id());
            elsewhere.end();
            assert_eq!(peer_down(&mut ears).await.0, client.id());
            assert_eq!(client.stats().connections.len(), 0);
        }
        settled(|| there.stats().connections.is_empty()).await;
    });
}

#[test]
fn what_waits_for_a_connection_when_the_system_ends_is_counted() {
    for thread in [IoThread::Current, IoThread::Own] {
        let directory = Scratch::new();
        let (node, to) = System::new().block_on(async {
            let node = Node::builder().io_thread(thread).start();
            let to = node.remote::<Number>(directory.endpoint(), "numbers").unwrap();
            // The dial has not begun when the System ends, or has just failed.
            (0..5).for_each(|n| to.do_send(Number(n)));
            (node, to)
        });
        tokio_test::block_on(balanced(&[&node]));
        assert_eq!((node.stats().sent, node.stats().dropped_total()), (5, 5));
        assert!(!to.connected());
    }
}

// ---- visibility

#[test]
fn both_sides_hear_of_a_connection_and_of_its_end() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).start();
        let (mut ears, mut ears_there) = (events(&here), events(&there));
        let mut inbox = numbers(&there, 10);
        let to = here.remote::<Number>(&endpoint, "numbers").unwrap();
        to.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        assert_eq!(peer_up(&mut ears).await, there.id());
        assert_eq!(peer_up(&mut ears_there).await, here.id());
        assert!(to.connected());
        let peers =
            |node: &Node| node.stats().connections.iter().map(|of| (of.peer, of.reconnects)).collect::<Vec<_>>();
        assert_eq!((peers(&here), peers(&there)), (vec![(Some(there.id()), 0)], vec![(Some(here.id()), 0)]));
        watched(|| here.stats(), |stats| stats.connections[0].outbox_bytes == 0).await;
        within(here.shutdown()).await;
        assert_eq!(peer_down(&mut ears).await, (there.id(), DownReason::Goodbye));
        assert_eq!(peer_down(&mut ears_there).await, (here.id(), DownReason::Goodbye));
    });
}
