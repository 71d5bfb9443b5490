//! The way to a box that another node has introduced: an open connection to the box's own node, else one that is made to
//! where that listens, else the node that has introduced it; and the next of them when one breaks.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::task::Poll;
use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::MailboxError;
use actix::Recipient;
use actix::ResponseFuture;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Buffer;
use actix_hermod::CloseReason;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::RemoteMessage;
use serde::Deserialize;
use serde::Serialize;
use support::Elsewhere;
use support::Number;
use support::Text;
use support::balanced;
use support::catcher;
use support::deserted;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::settled;
use support::wire::Wire;
use support::within;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::watch;

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry(Address<Number>);

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct CarryDouble(Address<Double>);

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct CarryActor(#[serde(with = "actix_hermod::recipient")] Recipient<Number>);

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct CarryReader(#[serde(with = "actix_hermod::recipient")] Recipient<Text>);

/// Tells how long the texts are that it is sent.
struct Reader(mpsc::UnboundedSender<usize>);

impl Actor for Reader {
    type Context = Context<Self>;
}

impl Handler<Text> for Reader {
    type Result = ();

    fn handle(&mut self, Text(text): Text, _: &mut Context<Self>) {
        // The test may be over.
        let _ = self.0.send(text.len());
    }
}

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Double(u64);

/// An ordinary actor, which tells what it was asked.
struct Doubler(mpsc::UnboundedSender<u64>);

impl Actor for Doubler {
    type Context = Context<Self>;
}

impl Handler<Double> for Doubler {
    type Result = u64;

    fn handle(&mut self, Double(n): Double, _: &mut Context<Self>) -> u64 {
        // The test may be over.
        let _ = self.0.send(n);
        2 * n
    }
}

/// So long nobody is looked for again who was not found.
const MOMENT: Duration = Duration::from_millis(20);

/// Has an answer never come.
struct Silent;

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<Double> for Silent {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, _: Double, _: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

/// A node in the middle, and a third one. Neither knows of the other's peers.
struct Ground {
    middle: Node,
    middle_at: Endpoint,
    third: Node,
    third_at: Endpoint,
}

impl Ground {
    async fn new() -> Ground {
        Ground::with(Node::builder()).await
    }

    async fn with(third: NodeBuilder) -> Ground {
        let (middle, middle_at) = listening(Node::builder()).await;
        let (third, third_at) = listening(third).await;
        Ground { middle, middle_at, third, third_at }
    }

    /// Has the owner send something to the middle, and that send it to the third node.
    async fn pass<M: RemoteMessage<Result = ()>>(&self, owner: &Node, message: M) -> M {
        let mut at_middle = self.middle.mailbox().name("carry").open().expect("a free name");
        let mut at_third = self.third.mailbox().name("carry").open().expect("a free name");
        owner.remote::<M>(&self.middle_at, "carry").expect("an address").do_send(message);
        self.middle.remote::<M>(&self.third_at, "carry").expect("an address").do_send(next(&mut at_middle).await);
        next(&mut at_third).await
    }

    /// Messages that the middle has passed on.
    fn passed_on(&self) -> u64 {
        let boxes = self.middle.stats().boxes;
        boxes.iter().filter(|of| of.type_name == "a relay").map(|of| of.received).sum()
    }

    /// Whether the third node has a connection to that one.
    fn knows(&self, node: &Node) -> bool {
        let connections = self.third.stats().connections;
        connections.iter().any(|connection| connection.peer == Some(node.id()))
    }
}

async fn comes_through(to: &Address<Number>, inbox: &mut Mailbox<Number>, numbers: std::ops::Range<u64>) {
    for n in numbers.clone() {
        to.do_send(Number(n));
    }
    for n in numbers {
        assert_eq!(next(inbox).await, Number(n));
    }
}

#[test]
fn a_node_that_listens_is_reached_by_a_connection_of_its_own() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let (owner, _) = listening(Node::builder()).await;
        let mut inbox = owner.mailbox().open().unwrap();
        let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
        assert!(!ground.knows(&owner), "nobody has sent anything there");
        comes_through(&to, &mut inbox, 0..100).await;
        assert_eq!(ground.passed_on(), 0);
        assert!(ground.knows(&owner));
        to.recipient().do_send(Number(100));
        assert_eq!(next(&mut inbox).await, Number(100));
        assert_eq!(ground.passed_on(), 0);
        assert_eq!(to.lost().remote.len() + to.lost().local.len(), 0);
        balanced(&[&ground.middle, &ground.third, &owner]).await;
    });
}

#[test]
fn requests_go_the_same_way_in_order_and_can_be_taken_back() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let (owner, _) = listening(Node::builder()).await;
        let (heard, mut hear) = mpsc::unbounded_channel();
        let doubles: Address<Double> = owner.export(Doubler(heard).start()).unwrap();
        let CarryDouble(to) = ground.pass(&owner, CarryDouble(doubles)).await;
        let mut asked: Vec<_> = (0..20).map(|n| to.send(Double(n))).collect();
        // Taken back while it waits for the connection.
        drop(to.send(Double(99)));
        asked.push(to.send(Double(20)));
        for (n, asked) in asked.into_iter().enumerate() {
            assert_eq!(within(asked).await.unwrap(), 2 * n as u64);
        }
        for n in 0..21 {
            assert_eq!(within(hear.recv()).await, Some(n));
        }
        assert_eq!((ground.passed_on(), hear.try_recv().ok()), (0, None));
        assert_eq!(dropped(&ground.third, DropReason::Cancelled), 1);
        balanced(&[&ground.middle, &ground.third, &owner]).await;
    });
}

/// With one connection there already nothing is dialled.
#[test]
fn an_open_connection_to_a_node_that_does_not_listen_is_the_shortest_way() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let owner = Node::start();
        let mut inbox = owner.mailbox().open().unwrap();
        let mut met: Mailbox<Number> = ground.third.mailbox().name("met").open().unwrap();
        owner.remote(&ground.third_at, "met").unwrap().do_send(Number(0));
        next(&mut met).await;
        let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
        comes_through(&to, &mut inbox, 0..10).await;
        assert_eq!(ground.passed_on(), 0);
        let mut closed = Box::pin(to.closed());
        tokio::select! {
            biased;
            why = &mut closed => panic!("closed already: {why:?}"),
            () = comes_through(&to, &mut inbox, 10..20) => {}
        }
        drop(inbox);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
    });
}

/// Messages sent while it was looked for go by the one in the middle, whole and in order; and so do requests.
#[test]
fn a_node_that_is_not_where_it_is_said_to_be_is_reached_through_the_one_in_the_middle() {
    System::new().block_on(async {
        let (_other, other_at) = listening(Node::builder()).await;
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent_at = silent.local_addr().unwrap().to_string();
        let nobody_at = deserted().await;
        for hint in [other_at.as_ref(), nobody_at.as_ref(), &silent_at] {
            let patience = Duration::from_millis(300);
            let ground = Ground::with(Node::builder().handshake_timeout(patience)).await;
            let owner = Node::builder().advertise(hint).start();
            let mut inbox = owner.mailbox().open().unwrap();
            let (heard, mut hear) = mpsc::unbounded_channel();
            let doubles: Address<Double> = owner.export(Doubler(heard).start()).unwrap();
            let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
            let CarryDouble(double) = ground.pass(&owner, CarryDouble(doubles)).await;
            let asked: Vec<_> = (0..20).map(|n| double.send(Double(n))).collect();
            comes_through(&to, &mut inbox, 0..100).await;
            comes_through(&to, &mut inbox, 100..200).await;
            for (n, asked) in asked.into_iter().enumerate() {
                assert_eq!(within(asked).await.unwrap(), 2 * n as u64, "{hint}");
                assert_eq!(hear.try_recv(), Ok(n as u64));
            }
            assert_eq!(ground.passed_on(), 220, "{hint}");
            assert_eq!(ground.third.stats().dropped_total(), 0);
            balanced(&[&ground.middle, &ground.third, &owner]).await;
        }
    });
}

/// The queue is bounded as that of a connection is, and the rest is counted.
#[test]
fn what_waits_for_a_way_is_bounded_and_goes_on_in_order() {
    System::new().block_on(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let patience = Duration::from_millis(200);
        let ground = Ground::with(Node::builder().handshake_timeout(patience).outbox(64 << 10)).await;
        let owner = Node::builder().advertise(&silent.local_addr().unwrap().to_string()).start();
        let buffer = Buffer::dropping(10_000);
        let mut inbox: Mailbox<Number> = owner.mailbox().buffer(buffer).open().unwrap();
        let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
        (0..10_000).for_each(|n| to.do_send(Number(n)));
        let shed = dropped(&ground.third, DropReason::OutboxFull);
        assert!(shed > 9_000, "{shed} were dropped");
        for n in 0..10_000 - shed {
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        assert_eq!(to.lost().local, [(DropReason::OutboxFull, shed)].into());
        balanced(&[&ground.middle, &ground.third, &owner]).await;
    });
}

/// The one in the middle goes; what it had passed on goes on by another way.
#[test]
fn when_the_one_in_the_middle_goes_the_box_is_reached_where_its_node_listens() {
    System::new().block_on(async {
        let ground = Ground::with(Node::builder().reconnect(MOMENT..=MOMENT)).await;
        let wire = Wire::to(deserted().await.to_string()).await;
        let owner = Node::builder().advertise(wire.endpoint.as_ref()).start();
        let mut inbox = owner.mailbox().open().unwrap();
        let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
        let mut closed = Box::pin(to.closed());
        tokio::select! {
            biased;
            why = &mut closed => panic!("closed already: {why:?}"),
            // Nobody is there yet.
            () = comes_through(&to, &mut inbox, 0..10) => {}
        }
        assert_eq!(ground.passed_on(), 10);
        let listens = owner.listen("127.0.0.1:0").await.unwrap();
        wire.lead_to(&listens);
        ground.middle.shutdown().await;
        // The one that went by it is told; another search begins once that one is seen to be gone.
        settled(|| {
            to.do_send(Number(10));
            inbox.try_recv().is_some()
        })
        .await;
        assert!(ground.knows(&owner));
        settled(|| inbox.is_empty() || inbox.try_recv().is_none()).await;
        assert!(to.connected());
        drop(inbox);
        assert_eq!(within(closed).await, CloseReason::BoxClosed);
    });
}

/// A live pointer is not moved, but when its way breaks the next is tried.
#[test]
fn when_the_one_in_the_middle_goes_a_connection_that_came_since_serves() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let owner = Node::start();
        let mut inbox = owner.mailbox().open().unwrap();
        let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
        comes_through(&to, &mut inbox, 0..10).await;
        let mut met: Mailbox<Number> = ground.third.mailbox().name("met").open().unwrap();
        owner.remote(&ground.third_at, "met").unwrap().do_send(Number(0));
        next(&mut met).await;
        comes_through(&to, &mut inbox, 10..20).await;
        assert_eq!(ground.passed_on(), 20);
        ground.middle.shutdown().await;
        settled(|| !ground.knows(&ground.middle)).await;
        comes_through(&to, &mut inbox, 20..30).await;
        assert!(to.connected());
        drop(inbox);
        assert_eq!(within(to.closed()).await, CloseReason::BoxClosed);
    });
}

#[test]
fn an_actor_that_is_reached_directly_lives_while_it_is_held_also_when_the_one_in_the_middle_goes() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let (owner, _) = listening(Node::builder()).await;
        let (actor, mut caught) = catcher();
        let CarryActor(to) = ground.pass(&owner, CarryActor(actor)).await;
        to.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        ground.middle.shutdown().await;
        settled(|| owner.stats().connections.len() == 1).await;
        to.do_send(Number(2));
        assert_eq!(caught.next().await, 2);
        assert!(caught.lives() && to.connected());
        drop(to);
        caught.gone().await;
    });
}

/// It lives for those who hold it, however they came by it.
#[test]
fn an_actor_that_was_reached_directly_goes_with_its_last_holder() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let (owner, _) = listening(Node::builder()).await;
        let (actor, mut caught) = catcher();
        let CarryActor(to) = ground.pass(&owner, CarryActor(actor)).await;
        to.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        assert!(caught.lives());
        drop(to);
        caught.gone().await;
    });
}

/// Also something large, which takes the longer way to arrive; and also what was sent before there was a connection.
#[test]
fn an_actor_takes_what_its_last_holder_has_sent_before_it_let_go() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let (owner, _) = listening(Node::builder()).await;
        for round in 0..20 {
            let (heard, mut hear) = mpsc::unbounded_channel();
            let CarryReader(to) = ground.pass(&owner, CarryReader(Reader(heard).start().recipient())).await;
            for len in [1 << 20, 1] {
                to.do_send(Text("x".repeat(len)));
            }
            drop(to);
            assert_eq!((within(hear.recv()).await, within(hear.recv()).await), (Some(1 << 20), Some(1)), "{round}");
            assert_eq!(within(hear.recv()).await, None, "it is gone");
        }
        assert_eq!(owner.stats().dropped_total(), 0);
        balanced(&[&ground.middle, &ground.third, &owner]).await;
    });
}

/// The way to its node is stopped up: what is given back to the one in the middle is there long before the message is.
#[test]
fn an_actor_that_was_let_go_lives_until_what_was_sent_to_it_before_has_arrived() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let owner = Node::builder().advertise(&listener.local_addr().unwrap().to_string()).start();
        let mut inbox = owner.mailbox().open().unwrap();
        let (actor, mut caught) = catcher();
        let Carry(other) = ground.pass(&owner, Carry(inbox.address())).await;
        let CarryActor(to) = ground.pass(&owner, CarryActor(actor)).await;
        let (stop, stopped) = watch::channel(false);
        actix_rt::spawn(can_be_stopped(listener, owner.listen("127.0.0.1:0").await.unwrap(), stopped));
        comes_through(&other, &mut inbox, 0..10).await;
        assert_eq!(ground.passed_on(), 0);
        // By which it is known that what was sent before it the same way is there.
        let mut probes: Mailbox<Carry> = ground.middle.mailbox().name("probes").open().unwrap();
        let probe = |by: &Node| by.remote::<Carry>(&ground.middle_at, "probes").unwrap();
        probe(&owner).do_send(Carry(inbox.address()));
        let Carry(near) = next(&mut probes).await;

        stop.send(true).unwrap();
        to.do_send(Number(1));
        drop(to);
        for n in 20..22 {
            probe(&ground.third).do_send(Carry(other.clone()));
            next(&mut probes).await;
            comes_through(&near, &mut inbox, n..n + 1).await;
        }
        assert!(caught.lives());
        stop.send(false).unwrap();
        assert_eq!(caught.next().await, 1);
        caught.gone().await;
    });
}

/// Leads one connection on; nothing comes through while it is stopped.
async fn can_be_stopped(listener: TcpListener, to: Endpoint, mut stopped: watch::Receiver<bool>) {
    let mut near = listener.accept().await.unwrap().0;
    let mut far = TcpStream::connect(to.as_ref()).await.unwrap();
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.split(), far.split());
    let there = async {
        let mut bytes = [0; 1024];
        loop {
            let count = near_in.read(&mut bytes).await.unwrap_or(0);
            let goes_on = stopped.wait_for(|stopped| !stopped).await.is_ok();
            if count == 0 || !goes_on || far_out.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let back = async { drop(tokio::io::copy(&mut far_in, &mut near_out).await) };
    tokio::join!(there, back);
}

#[test]
fn when_its_own_connection_breaks_the_box_is_reached_through_the_one_in_the_middle() {
    System::new().block_on(async {
        let pause = Duration::from_secs(3600);
        let ground = Ground::with(Node::builder().reconnect(pause..=pause)).await;
        let wire = Wire::to(deserted().await.to_string()).await;
        let owner = Node::builder().advertise(wire.endpoint.as_ref()).start();
        let mut inbox = owner.mailbox().open().unwrap();
        let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
        // Only now, so that only the wire was told of.
        wire.lead_to(&owner.listen("127.0.0.1:0").await.unwrap());
        let mut told = events(&ground.third);
        comes_through(&to, &mut inbox, 0..10).await;
        assert_eq!(ground.passed_on(), 0);
        wire.cut_after(0);
        to.do_send(Number(10));
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        comes_through(&to, &mut inbox, 11..100).await;
        assert_eq!(ground.passed_on(), 89);
        assert!(to.connected());
    });
}

/// A node whose box a third one looks for, which it will not find: it is said to be where somebody is silent.
async fn looked_for(ground: &Ground) -> (Node, TcpListener, Address<Double>, mpsc::UnboundedReceiver<u64>) {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let owner = Node::builder().advertise(&silent.local_addr().expect("a bound socket").to_string()).start();
    let (heard, hear) = mpsc::unbounded_channel();
    let doubles: Address<Double> = owner.export(Doubler(heard).start()).expect("a box");
    let CarryDouble(to) = ground.pass(&owner, CarryDouble(doubles)).await;
    (owner, silent, to, hear)
}

#[test]
fn what_waits_for_a_way_goes_through_the_middle_when_its_node_shuts_down() {
    System::new().block_on(async {
        // A dial is waited for.
        let ground = Ground::with(Node::builder().shutdown_timeout(Duration::from_millis(300))).await;
        let (_owner, _silent, to, mut hear) = looked_for(&ground).await;
        to.do_send(Double(1));
        let asked = to.send(Double(2));
        assert_eq!(ground.passed_on(), 0);
        within(ground.third.shutdown()).await;
        // The answer is waited for.
        assert_eq!(within(asked).await, Ok(4));
        assert_eq!((within(hear.recv()).await, within(hear.recv()).await), (Some(1), Some(2)));
        assert_eq!(ground.third.stats().dropped_total(), 0);
    });
}

/// Lets others of the thread run, and goes on when they have.
async fn at_once_again() {
    let mut has_waited = false;
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The search is over whatever is sent meanwhile, and so is the node in the end.
#[test]
fn a_search_ends_also_while_somebody_sends_whenever_the_thread_is_free() {
    System::new().block_on(async {
        let (patience, long) = (Duration::from_millis(100), Duration::from_secs(3600));
        let third = Node::builder().io_thread(IoThread::Current).handshake_timeout(patience).shutdown_timeout(long);
        let ground = Ground::with(third).await;
        let (_owner, _silent, to, mut hear) = looked_for(&ground).await;
        let sending = actix_rt::spawn(async move {
            for n in 0.. {
                to.do_send(Double(n));
                at_once_again().await;
            }
        });
        for n in 0..10 {
            assert_eq!(within(hear.recv()).await, Some(n));
        }
        within(ground.third.shutdown()).await;
        sending.abort();
    });
}

#[test]
fn what_waits_for_a_way_is_counted_when_its_node_ends() {
    System::new().block_on(async {
        let elsewhere = Elsewhere::start();
        let (middle, middle_at) = listening(Node::builder()).await;
        let (third, third_at) = elsewhere.run(|| listening(Node::builder())).await;
        let ground = Ground { middle, middle_at, third, third_at };
        let (_owner, _silent, to, mut hear) = looked_for(&ground).await;
        to.do_send(Double(1));
        let asked = to.send(Double(2));
        settled(|| ground.third.stats().sent == 2).await;
        elsewhere.end();
        assert_eq!(within(asked).await, Err(MailboxError::Closed));
        assert_eq!(dropped(&ground.third, DropReason::Shutdown), 2);
        assert!(hear.try_recv().is_err());
    });
}

#[test]
fn one_who_asks_is_told_that_the_outcome_is_unknown_when_a_connection_further_on_breaks() {
    System::new().block_on(async {
        let mut ground = Ground::new().await;
        let wire = Wire::to(ground.middle_at.to_string()).await;
        ground.middle_at = wire.endpoint.parse().unwrap();
        let owner = Node::start();
        let CarryDouble(to) = ground.pass(&owner, CarryDouble(owner.export(Silent.start()).unwrap())).await;
        let asked = actix_rt::spawn(to.ask(Double(1)).into_future());
        settled(|| owner.stats().boxes.iter().any(|of| of.with_actor == 1)).await;
        wire.cut_after(0);
        // The next message goes by the wire.
        owner.remote::<Number>(&wire.endpoint, "nobody").unwrap().do_send(Number(0));
        let reason = DropReason::Lost;
        assert_eq!(within(asked).await.unwrap(), Err(AskError::OutcomeUnknown { reason }));
    });
}

#[test]
fn an_address_of_a_third_nodes_box_is_text_if_that_listens_and_ends_with_its_box() {
    System::new().block_on(async {
        let ground = Ground::new().await;
        let (owner, owner_at) = listening(Node::builder()).await;
        let mut inbox = owner.mailbox().name("in box").open().unwrap();
        let Carry(to) = ground.pass(&owner, Carry(inbox.address())).await;
        assert_eq!(to.uri().unwrap(), format!("hermod://{owner_at}/in%20box"));
        comes_through(&ground.third.resolve(to.uri().unwrap()).unwrap(), &mut inbox, 0..2).await;
        let quiet = Node::start();
        let hidden: Mailbox<Number> = quiet.mailbox().open().unwrap();
        let Carry(other) = ground.pass(&quiet, Carry(hidden.address())).await;
        assert_eq!(other.uri(), None);
        assert!(other.connected());
        drop(hidden);
        assert_eq!(within(other.closed()).await, CloseReason::BoxClosed);
        assert!(!other.connected());
    });
}
