//! Large messages are sent in pieces: they arrive whole, and what is for other boxes does not wait for them.

use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use proptest::prelude::*;
use serde::Deserialize;
use serde::Serialize;
use support::balanced;
use support::catcher;
use support::dropped;
use support::listening;
use support::next;
use support::on_either_thread;
use support::peer;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::fresh_id;
use support::peer::kind;
use support::settled;
use support::within;
use tokio::net::TcpListener;

/// A number, and as many bytes as one likes, each of which says whose it is.
#[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq)]
#[rtype(result = "()")]
struct Load {
    n: u32,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl Load {
    fn new(n: u32, len: usize) -> Load {
        Load { n, bytes: (0..len).map(|at| (at as u32).wrapping_mul(31).wrapping_add(n) as u8).collect() }
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Load({}, {} bytes)", self.n, self.bytes.len())
    }
}

/// Cuts early, so that a test need not move much.
fn cutting() -> NodeBuilder {
    Node::builder().fragment(256)
}

fn roomy(node: &Node, name: &str) -> Mailbox<Load> {
    node.mailbox().name(name).buffer(Buffer::dropping(100_000)).open().expect("the name is free")
}

#[test]
fn a_large_message_arrives_whole() {
    on_either_thread(async |thread| {
        let (server, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = roomy(&server, "loads");
        let client = Node::builder().io_thread(thread).start();
        let to: Address<Load> = client.remote(&endpoint, "loads").unwrap();
        for (n, len) in [(1, 0), (2, 32 << 10), (3, (32 << 10) - 8), (4, 1 << 20), (5, 15 << 20), (6, 10)] {
            to.do_send(Load::new(n, len));
            assert_eq!(next(&mut inbox).await, Load::new(n, len));
        }
        balanced(&[&server, &client]).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn each_box_gets_what_it_was_sent_in_order(
        sends in prop::collection::vec((0..4_usize, prop_oneof![4 => 0..300_usize, 1 => 300..20_000_usize]), 1..200),
        pause in prop::collection::vec(any::<bool>(), 200),
    ) {
        System::new().block_on(async {
            let (server, endpoint) = listening(cutting()).await;
            let mut boxes: Vec<_> = (0..4).map(|n| roomy(&server, &format!("{n}"))).collect();
            let client = cutting().start();
            let to: Vec<Address<Load>> = (0..4).map(|n| client.remote(&endpoint, format!("{n}")).unwrap()).collect();
            for (n, ((of, len), pause)) in (0..).zip(sends.iter().zip(pause)) {
                to[*of].do_send(Load::new(n, *len));
                if pause {
                    tokio::task::yield_now().await;
                }
            }
            for (n, (of, len)) in (0..).zip(&sends) {
                assert_eq!(next(&mut boxes[*of]).await, Load::new(n, *len));
            }
            balanced(&[&server, &client]).await;
        });
    }
}

/// A node that has dialled this peer, which reads as slowly as it likes.
async fn dialled(builder: NodeBuilder, hello: &Hello) -> (Node, String, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let node = builder.start();
    node.remote::<Load>(&at, "starter").expect("an address").do_send(Load::new(0, 0));
    let mut other = Peer::accept(&listener).await;
    other.welcomes(hello).await;
    // The first message, and the ping with which each connection begins.
    let mut kinds = [other.frame().await.expect("a frame").kind, other.frame().await.expect("a frame").kind];
    kinds.sort_unstable();
    assert_eq!(kinds, [kind::POST, kind::PING]);
    (node, at, other)
}

fn knows_pieces(known: bool) -> Hello {
    Hello { features: if known { 16 } else { 0 }, ..Hello::of(fresh_id()) }
}

#[test]
fn what_is_small_and_for_another_box_goes_between_the_pieces() {
    System::new().block_on(async {
        let (node, at, mut other) = dialled(Node::builder().outbox(64 << 20), &knows_pieces(true)).await;
        let [large, small] = ["large", "small"].map(|name| node.remote::<Load>(&at, name).unwrap());
        // More than the system takes from a writer whose peer does not read.
        large.do_send(Load::new(1, 15 << 20));
        large.do_send(Load::new(2, 5));
        let first = other.frame().await.expect("a piece");
        assert_eq!(first.kind, kind::FRAGMENT);
        small.do_send(Load::new(3, 5));
        let mut kinds = Vec::new();
        while kinds.iter().filter(|kind| **kind == kind::POST).count() < 2 {
            kinds.push(other.frame().await.expect("a frame").kind);
        }
        let last_piece = kinds.iter().rposition(|kind| *kind == kind::FRAGMENT).expect("more pieces");
        let overtaking = kinds.iter().position(|kind| *kind == kind::POST).expect("a post");
        assert!(overtaking < last_piece, "nothing has gone between {} pieces", kinds.len());
        assert_eq!(last_piece, kinds.len() - 2, "what is for the same box goes behind the last piece");
    });
}

#[test]
fn large_messages_leave_room_to_small_ones() {
    System::new().block_on(async {
        let (node, at, _other) = dialled(Node::builder(), &knows_pieces(true)).await;
        let [large, small] = ["large", "small"].map(|name| node.remote::<Load>(&at, name).unwrap());
        let too_much = |n| large.try_send(Load::new(n, 1 << 20)).is_err();
        assert!((0..100).any(too_much), "the outbox has a bound");
        let room = (0..).take_while(|n| small.try_send(Load::new(*n, 1_000)).is_ok()).count() * 1_000;
        // Two of the large ones fit, and a third would have taken a little more than three quarters.
        assert!(((1 << 21) - 100_000..1 << 21).contains(&room), "{room} bytes");
        // The pressure is that of the whole.
        assert!(small.pressure() > 0.9);
    });
}

#[test]
fn heartbeats_go_between_the_pieces() {
    System::new().block_on(async {
        let (node, at, mut other) = dialled(Node::builder(), &knows_pieces(true)).await;
        node.remote::<Load>(&at, "large").unwrap().do_send(Load::new(1, 15 << 20));
        assert_eq!(other.frame().await.expect("a piece").kind, kind::FRAGMENT);
        assert!(other.send(&peer::ping(7)).await);
        let (mut pieces, mut answered_after) = (1, None);
        loop {
            let frame = other.frame().await.expect("a frame");
            match frame.kind {
                kind::PONG => answered_after = Some(pieces),
                kind::FRAGMENT => pieces += 1,
                _ => {}
            }
            // How many bytes follow: none.
            if frame.kind == kind::FRAGMENT && frame.payload[1] == 0 {
                break;
            }
        }
        assert!(answered_after.is_some_and(|after| after < pieces), "{answered_after:?} of {pieces}");
    });
}

#[test]
fn a_peer_that_does_not_know_pieces_gets_whole_messages() {
    System::new().block_on(async {
        let (node, at, mut other) = dialled(Node::builder(), &knows_pieces(false)).await;
        node.remote::<Load>(&at, "large").unwrap().do_send(Load::new(1, 1 << 20));
        let frame = other.frame().await.expect("a frame");
        assert_eq!(frame.kind, kind::POST);
        assert!(frame.payload.len() > 1 << 20);
    });
}

/// Those that are copied once, those that are cut, and those that wait where they were encoded.
#[test]
fn messages_of_every_length_come_whole_and_in_order_whatever_the_peer_knows() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Laden {
        load: Load,
        addresses: Vec<Address<Load>>,
    }

    const CUT: usize = 32 << 10;
    const COPIED: usize = 256 << 10;
    let around = |len: usize| [len - 30, len - 10, len - 4, len, len + 100];
    for known in [true, false] {
        System::new().block_on(async {
            let (node, at, mut other) = dialled(Node::builder().outbox(64 << 20), &knows_pieces(known)).await;
            let (to, back) = (node.remote::<Laden>(&at, "box").unwrap(), roomy(&node, "back").address());
            let (mut asked, mut due) = (Vec::new(), Vec::new());
            for (n, len) in (0..).zip([&[0][..], &around(CUT), &around(COPIED), &[1 << 20]].concat()) {
                for (how, count) in [(kind::POST, 0), (kind::ASK, 2), (kind::ASK, 0), (kind::POST, 2)] {
                    let load = Load::new(n, len);
                    let (bytes, handles) = (&load.bytes, (0..count).collect::<Vec<u8>>());
                    let head = [peer::number(u64::from(n)), peer::number(len as u64)].concat();
                    due.push((how, [&head[..], bytes, &[count], &handles].concat()));
                    let message = Laden { load, addresses: vec![back.clone(); count.into()] };
                    match how {
                        kind::ASK => asked.push(to.send(message)),
                        _ => to.do_send(message),
                    }
                }
            }
            for (at, (kind, body)) in due.iter().enumerate() {
                let (of_kind, payload) = whole(&mut other).await;
                assert_eq!(of_kind, *kind, "the {at}th");
                assert!(payload.ends_with(body), "the {at}th, of {} bytes", body.len());
            }
        });
    }
}

/// The next message, put together if it comes in pieces, which nothing else stands between: its kind and payload.
async fn whole(other: &mut Peer) -> (u8, Vec<u8>) {
    let mut pieces = Vec::new();
    loop {
        let peer::Frame { kind, payload } = other.frame().await.expect("a frame");
        match kind {
            kind::POST | kind::ASK => {
                assert!(pieces.is_empty());
                return (kind, payload);
            }
            kind::FRAGMENT => {
                let mut numbers = payload.split_inclusive(|byte| byte & 0x80 == 0);
                let [stream, rest] = [numbers.next(), numbers.next()].map(|number| number.expect("a number"));
                pieces.extend_from_slice(&payload[stream.len() + rest.len()..]);
                if rest == [0] {
                    return (pieces[0], pieces.split_off(1));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn what_a_peer_does_not_read_is_too_large_and_the_rest_is_not() {
    System::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address").to_string();
        let node = Node::start();
        let to = |name: &str| node.remote::<Load>(&at, name).unwrap();
        // All of that waits before it is known what the peer reads.
        to("one").do_send(Load::new(1, 200_000));
        to("two").do_send(Load::new(2, 50_000));
        let asked = to("three").send(Load::new(3, 200_000));
        let mut other = Peer::accept(&listener).await;
        let hello = Hello { max_frame: 100_000, ..knows_pieces(true) };
        other.welcomes(&hello).await;
        assert!(within(asked).await.is_err());
        assert_eq!(dropped(&node, DropReason::TooLarge), 2);
        let mut pieces = 0;
        while pieces < 50_000 {
            let frame = other.frame().await.expect("a piece");
            assert!([kind::FRAGMENT, kind::PING].contains(&frame.kind), "{frame:?}");
            pieces += if frame.kind == kind::FRAGMENT { frame.payload.len() } else { 0 };
        }
        assert_eq!(node.stats().in_doubt + node.stats().dropped_total(), 2);
    });
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Load")]
struct Double(Load);

/// Gives back twice as much.
struct Doubler;

impl Actor for Doubler {
    type Context = Context<Self>;
}

impl Handler<Double> for Doubler {
    type Result = actix::MessageResult<Double>;

    fn handle(&mut self, Double(load): Double, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(Load::new(load.n, 2 * load.bytes.len()))
    }
}

#[test]
fn large_requests_have_large_answers() {
    System::new().block_on(async {
        let (server, endpoint) = listening(cutting()).await;
        server.publish::<Double>("doubler", Doubler.start()).unwrap();
        let client = cutting().start();
        let to: Address<Double> = client.remote(&endpoint, "doubler").unwrap();
        let asked: Vec<_> = (0..50).map(|n| (n, to.send(Double(Load::new(n, 100 * n as usize))))).collect();
        for (n, answer) in asked {
            assert_eq!(within(answer).await, Ok(Load::new(n, 200 * n as usize)));
        }
        balanced(&[&server, &client]).await;
        assert_eq!(client.stats().pending_requests, 0);
    });
}

/// The peer reads nothing, so that the request is taken back while it is under way.
#[test]
fn a_large_request_that_is_taken_back_is_followed_by_its_cancel() {
    System::new().block_on(async {
        let (node, at, mut other) = dialled(Node::builder(), &knows_pieces(true)).await;
        let asked = node.remote::<Double>(&at, "doubler").unwrap().send(Double(Load::new(1, 15 << 20)));
        assert_eq!(other.frame().await.expect("a piece").kind, kind::FRAGMENT);
        drop(asked);
        assert_eq!(node.stats().pending_requests, 0);
        let mut last = kind::FRAGMENT;
        loop {
            match other.frame().await.expect("a frame").kind {
                kind::CANCEL => break,
                other => last = other,
            }
        }
        assert_eq!(last, kind::FRAGMENT);
    });
}

/// A request of which not all pieces were written was certainly not handled.
#[test]
fn a_large_request_whose_connection_breaks_half_way_can_be_sent_again() {
    System::new().block_on(async {
        let (node, at, mut other) = dialled(Node::builder(), &knows_pieces(true)).await;
        let to = node.remote::<Double>(&at, "doubler").unwrap();
        let mut asked = Box::pin(to.ask(Double(Load::new(1, 15 << 20))));
        tokio::select! {
            biased;
            answer = &mut asked => panic!("{answer:?}"),
            frame = other.frame() => assert_eq!(frame.expect("a piece").kind, kind::FRAGMENT),
        }
        drop(other);
        let failed = within(asked).await;
        assert!(matches!(&failed, Err(AskError::NotDelivered { reason: DropReason::Lost, .. })), "{failed:?}");
        assert_eq!(dropped(&node, DropReason::Lost), 1);
    });
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Large {
    #[serde(with = "actix_hermod::recipient")]
    report_to: actix::Recipient<support::Number>,
    addresses: Vec<Address<Load>>,
    load: Load,
}

#[test]
fn addresses_in_large_messages_work_and_what_they_lead_to_lives_until_the_message_is_there() {
    System::new().block_on(async {
        let (server, endpoint) = listening(cutting()).await;
        let mut inbox: Mailbox<Large> = server.mailbox().name("large").open().unwrap();
        let client = cutting().start();
        let mut back = roomy(&client, "back");
        let to: Address<Large> = client.remote(&endpoint, "large").unwrap();
        let (report_to, mut caught) = catcher();
        to.do_send(Large { report_to, addresses: vec![back.address(); 100], load: Load::new(1, 100_000) });
        let Large { report_to, addresses, load } = next(&mut inbox).await;
        assert_eq!(load, Load::new(1, 100_000));
        // The release of each must not overtake what was sent through it.
        for address in addresses {
            address.do_send(Load::new(2, 1_000));
            assert_eq!(next(&mut back).await, Load::new(2, 1_000));
        }
        caught.last(report_to, 3).await;
        balanced(&[&server, &client]).await;
    });
}

/// A message by an address that is let go at once, to an actor that lives only for that address.
#[test]
fn a_release_waits_behind_the_large_message_that_was_sent_before() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct ReportTo(#[serde(with = "actix_hermod::recipient")] actix::Recipient<Load>);

    struct Sink(tokio::sync::mpsc::UnboundedSender<Load>);

    impl Actor for Sink {
        type Context = Context<Self>;
    }

    impl Handler<Load> for Sink {
        type Result = ();

        fn handle(&mut self, load: Load, _: &mut Context<Self>) {
            self.0.send(load).expect("the test waits");
        }
    }

    System::new().block_on(async {
        let (server, endpoint) = listening(cutting()).await;
        let mut inbox: Mailbox<ReportTo> = server.mailbox().name("reports").open().unwrap();
        let client = cutting().start();
        let (sink, mut loads) = tokio::sync::mpsc::unbounded_channel();
        client.remote(&endpoint, "reports").unwrap().do_send(ReportTo(Sink(sink).start().recipient()));
        let ReportTo(report_to) = next(&mut inbox).await;
        report_to.do_send(Load::new(1, 1 << 20));
        drop(report_to);
        assert_eq!(within(loads.recv()).await, Some(Load::new(1, 1 << 20)));
        assert_eq!(within(loads.recv()).await, None, "the actor stops when its address is let go");
        balanced(&[&server, &client]).await;
    });
}

/// An actor that lives only for its address, which comes home in a large message to another box and is let go at once.
#[test]
fn a_release_waits_behind_the_large_message_that_names_the_box() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Errand {
        back: Address<Errand>,
        #[serde(with = "actix_hermod::recipient")]
        report_to: actix::Recipient<support::Number>,
        load: Load,
    }

    System::new().block_on(async {
        let (server, endpoint) = listening(cutting()).await;
        let mut errands: Mailbox<Errand> = server.mailbox().name("errands").open().unwrap();
        let client = cutting().start();
        let mut home: Mailbox<Errand> = client.mailbox().open().unwrap();
        let (report_to, mut caught) = catcher();
        let errand = Errand { back: home.address(), report_to, load: Load::new(0, 0) };
        client.remote(&endpoint, "errands").unwrap().do_send(errand);
        let errand = next(&mut errands).await;
        let back = errand.back.clone();
        back.do_send(Errand { load: Load::new(1, 1 << 20), ..errand });
        let Errand { report_to, .. } = next(&mut home).await;
        caught.last(report_to, 3).await;
        balanced(&[&server, &client]).await;
    });
}

/// The numbers of requests are easily guessed.
#[test]
fn an_answer_to_a_request_that_was_not_written_says_nothing_of_what_was() {
    System::new().block_on(async {
        let (node, at, mut other) = dialled(Node::builder(), &knows_pieces(true)).await;
        node.remote::<Load>(&at, "small").unwrap().do_send(Load::new(1, 5));
        assert_eq!(other.frame().await.expect("a post").kind, kind::POST);
        let asked = node.remote::<Double>(&at, "doubler").unwrap().send(Double(Load::new(1, 15 << 20)));
        assert_eq!(other.frame().await.expect("a piece").kind, kind::FRAGMENT);
        assert!(other.send(&peer::answer(1, &[7, 0])).await);
        assert_eq!(within(asked).await, Ok(Load::new(7, 0)));
        drop(other);
        settled(|| dropped(&node, DropReason::Lost) == 1).await;
        assert_eq!(node.stats().in_doubt, 2, "the peer has not said that it has read anything");
    });
}

#[test]
fn what_waits_in_pieces_is_written_before_a_node_says_goodbye() {
    System::new().block_on(async {
        let (server, endpoint) = listening(cutting()).await;
        let mut inbox = roomy(&server, "loads");
        let client = cutting().outbox(64 << 20).start();
        let to: Address<Load> = client.remote(&endpoint, "loads").unwrap();
        (0..20).for_each(|n| to.do_send(Load::new(n, 100_000)));
        within(client.shutdown()).await;
        assert_eq!((client.stats().dropped_total(), client.stats().in_doubt), (0, 0));
        for n in 0..20 {
            assert_eq!(next(&mut inbox).await.n, n);
        }
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn a_message_that_stops_half_way_is_dropped_after_a_time() {
    System::new().block_on(async {
        let limit = Duration::from_millis(300);
        let builder = Node::builder().dead_after(limit).heartbeat(limit / 10);
        let (node, endpoint) = listening(builder).await;
        let mut inbox = roomy(&node, "loads");
        let mut other = Peer::stranger(endpoint.as_ref()).await;
        let first = [peer::number(0), peer::number(1_000), vec![kind::POST, 0]].concat();
        assert!(other.send(&peer::frame(kind::FRAGMENT, &first)).await);
        // It says something now and then, and so is not taken for dead; that is looked at when it does.
        let rest = [peer::number(0), peer::number(999), vec![0]].concat();
        let mut frames = Vec::new();
        while frames.is_empty() {
            assert!(other.is_answered().await);
            tokio::time::sleep(limit / 10).await;
            if node_has_dropped(&node, &mut other, &rest).await {
                frames = other.frames_to_end().await;
            }
        }
        let last = frames.pop().expect("a goodbye");
        assert_eq!((last.kind, last.payload[0]), (kind::GOODBYE, 2), "{last:?}");
        assert!(inbox.try_recv().is_none());
        settled(|| node.stats().connections.is_empty()).await;
    });
}

/// Much may stand between two pieces where there is much to carry, and little of it at a time comes through.
#[test]
fn a_message_that_others_overtake_for_long_is_not_dropped() {
    System::new().block_on(async {
        let limit = Duration::from_millis(300);
        let (node, endpoint) = listening(Node::builder().dead_after(limit).heartbeat(limit / 10)).await;
        let mut inbox = roomy(&node, "loads");
        let mut other = Peer::stranger(endpoint.as_ref()).await;
        let letter = |n: u8| [peer::inline(&peer::your_box("loads")), vec![n, 0]].concat();
        let whole = [vec![kind::POST, 0], letter(7)].concat();
        let (first, rest) = whole.split_at(5);
        let piece = |after: usize, bytes: &[u8]| {
            peer::frame(kind::FRAGMENT, &[&peer::number(0), &peer::number(after as u64), bytes].concat())
        };
        assert!(other.send(&piece(rest.len(), first)).await);
        let until = tokio::time::Instant::now() + 3 * limit;
        while tokio::time::Instant::now() < until {
            assert!(other.send(&peer::frame(kind::POST, &[vec![0], letter(1)].concat())).await);
            assert!(other.is_answered().await);
            assert_eq!(next(&mut inbox).await.n, 1);
            tokio::time::sleep(limit / 50).await;
        }
        assert!(other.send(&piece(0, rest)).await);
        assert_eq!(next(&mut inbox).await.n, 7);
    });
}

/// Waits for longer than a message may stop, in small steps, and then sends its next piece.
async fn node_has_dropped(node: &Node, other: &mut Peer, rest: &[u8]) -> bool {
    let until = tokio::time::Instant::now() + Duration::from_millis(600);
    while tokio::time::Instant::now() < until {
        assert!(other.is_answered().await, "{:?}", node.stats().connections);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.send(&peer::frame(kind::FRAGMENT, rest)).await
}
