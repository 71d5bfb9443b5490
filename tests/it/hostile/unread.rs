//! Peers that read nothing, or hardly anything, of what a node has to say: it says all that is not data nevertheless, and
//! keeps no more for them than its limits allow.

use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::SendError;
use serde::Deserialize;
use serde::Serialize;
use support::peer::Frame;
use support::peer::Peer;
use support::peer::ask;
use support::peer::box_named;
use support::peer::frame;
use support::peer::inline;
use support::peer::kind;
use support::peer::my_counted_box;
use support::peer::number;
use support::peer::ping;
use support::peer::post;
use support::peer::post_with;
use support::peer::set_number;
use support::peer::use_number;
use support::peer::your_box;
use support::process::alone;

use super::MARGIN;
use super::in_time;
use super::memory;
use super::on;
use super::until;

/// Bits of a hello: what this peer wants to be sent.
const REPORTS: u64 = 1;
const SHAPES: u64 = 2;
const WATCHES: u64 = 4;

/// The reason in reports and refusals, as a number.
const NO_SUCH_BOX: u8 = 22;

/// The bytes that may wait for a connection here: few, so that it is full soon.
const OUTBOX: usize = 64 << 10;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(super) struct Order {
    pub(super) to: Address<Load>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(super) struct Load(#[serde(with = "serde_bytes")] pub(super) Vec<u8>);

/// Where the node sends what a peer has ordered.
pub(super) async fn ordered(peer: &mut Peer, orders: &mut Mailbox<Order>) -> Address<Load> {
    let order = post_with(&inline(&your_box("orders")), &[inline(&my_counted_box([3; 16]))], &[0]);
    assert!(peer.send(&order).await);
    in_time(orders.recv(), "an order").await.expect("the box is open").to
}

/// Sends, small ones and large ones, until neither the system nor the outbox takes any more.
pub(super) async fn fills_up(to: &Address<Load>) {
    let mut refused = 0;
    let full = || {
        let [small, large] = [1 << 10, 40 << 10].map(|size| to.try_send(Load(vec![7; size])));
        let is_full = matches!(small, Err(SendError::Full(_))) && matches!(large, Err(SendError::Full(_)));
        refused = if is_full { refused + 1 } else { 0 };
        // Nothing has become free for as many looks.
        refused == 50
    };
    until(full, || "the outbox takes more and more".to_owned()).await;
}

/// Reads until there was a frame of each of these kinds.
async fn hears(peer: &mut Peer, kinds: &[u8]) -> Vec<Frame> {
    let mut heard: Vec<Frame> = Vec::new();
    while !kinds.iter().all(|kind| heard.iter().any(|frame| frame.kind == *kind)) {
        let seen = || heard.iter().map(|frame| frame.kind).collect::<Vec<u8>>();
        let frame = peer.frame().await.unwrap_or_else(|| panic!("of {kinds:?}, only {:?} came", seen()));
        heard.push(frame);
    }
    heard
}

#[test]
fn answers_pongs_reports_and_releases_are_not_shed_by_data() {
    on(Node::builder().outbox(OUTBOX), async |ground| {
        let mut orders: Mailbox<Order> = ground.open("orders");
        let mut peer = Peer::narrow_stranger_with(&ground.endpoint, REPORTS | SHAPES | WATCHES).await;
        let to = ordered(&mut peer, &mut orders).await;
        fills_up(&to).await;
        ground.is_healthy().await;

        let letters = inline(&your_box("letters"));
        let nobody = inline(&your_box("nobody"));
        let given = post_with(&letters, &[inline(&my_counted_box([4; 16]))], &number(2));
        let asked = [ask(5, &letters, &number(1)), ask(6, &nobody, &number(1))].concat();
        let watch = frame(kind::WATCH, &[vec![1], box_named("nobody")].concat());
        let question = frame(kind::SHAPE_QUESTION, &[vec![1], box_named("letters")].concat());
        let all = [asked, given, post(&nobody, &[]).repeat(3), watch, question, ping(77)].concat();
        assert!(peer.send(&all).await);
        // All of that was taken, and what there is to say of it waits: drops are told to peers and here at once.
        ground.hearer.hears_of_drops(DropReason::NoSuchBox, 3).await;
        assert_eq!(ground.letters(), [1, 2]);
        assert!(matches!(to.try_send(Load(vec![0; 1 << 10])), Err(SendError::Full(_))), "it is still full");

        // Only now the peer reads.
        let said = [kind::ANSWER, kind::REFUSE, kind::PONG, kind::REPORT, kind::RELEASE, kind::CLOSED, kind::SHAPE];
        let heard = in_time(hears(&mut peer, &said), "all of it is said").await;
        let has = |kind: u8, bytes: &[u8]| {
            let said =
                |frame: &&Frame| frame.kind == kind && frame.payload.windows(bytes.len()).any(|part| part == bytes);
            assert!(heard.iter().any(|frame| said(&frame)), "no frame of kind {kind} has {bytes:?}");
        };
        has(kind::ANSWER, &[0, 5]);
        has(kind::REFUSE, &[6, NO_SUCH_BOX]);
        has(kind::PONG, &77_u64.to_le_bytes());
        has(kind::REPORT, &[box_named("nobody"), vec![0; 8], vec![NO_SUCH_BOX]].concat());
        has(kind::RELEASE, &[4; 16]);
        has(kind::CLOSED, &box_named("nobody"));
        has(kind::SHAPE, &box_named("letters"));
    });
}

#[test]
fn a_goodbye_and_what_is_before_it_is_not_shed_by_data() {
    System::new().block_on(async {
        let node = Node::builder().outbox(OUTBOX).start();
        let endpoint = node.listen("127.0.0.1:0").await.expect("a free port").to_string();
        let mut orders = node.mailbox().name("orders").open().expect("a mailbox");
        let mut peer = Peer::narrow_stranger_with(&endpoint, REPORTS).await;
        let to = ordered(&mut peer, &mut orders).await;
        fills_up(&to).await;
        assert!(peer.send(&[post(&inline(&your_box("nobody")), &[]), ping(77)].concat()).await);
        let dropped = || node.stats().dropped.get(&DropReason::NoSuchBox) == Some(&1);
        until(dropped, || format!("{:?}", node.stats())).await;
        let ending = actix::spawn({
            let node = node.clone();
            async move { node.shutdown().await }
        });
        let is_over = || matches!(to.try_send(Load(Vec::new())), Err(SendError::Closed(_)));
        until(is_over, || "it takes messages although it shuts down".to_owned()).await;
        let heard = in_time(hears(&mut peer, &[kind::PONG, kind::REPORT, kind::GOODBYE]), "a goodbye").await;
        let last = heard.last().expect("there are some");
        assert_eq!((last.kind, last.payload[0]), (kind::GOODBYE, 0), "nothing stands behind it");
        assert!(peer.frame().await.is_none());
        drop(peer);
        in_time(ending, "the node ends").await.expect("no panic");
    });
}

/// Handles from the peer are released at once, which the node wants to say.
#[test]
fn releases_that_nobody_reads_cost_no_memory() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut peer = Peer::narrow_stranger(&ground.endpoint).await;
            let nobody = your_box("nobody");
            assert!(peer.send(&post(&set_number(0, &nobody), &[])).await);
            let given = |n: u64| {
                let id = |at: u64| [n.to_le_bytes(), at.to_le_bytes()].concat().try_into().expect("16 bytes");
                let handles: Vec<Vec<u8>> = (0..1000).map(|at| inline(&my_counted_box(id(at)))).collect();
                post_with(&use_number(0), &handles, &[])
            };
            // 1.5 million, of each of which some 50 bytes would be kept.
            let mut before = 0;
            for n in 0..1500 {
                assert!(peer.send(&given(n)).await, "the node reads on");
                if n == 150 {
                    before = memory("VmRSS:");
                }
            }
            ground.is_healthy().await;
            let grown = memory("VmRSS:").saturating_sub(before);
            assert!(grown < 2 * MARGIN, "{grown} bytes are kept for one who reads no releases");
            ground.hearer.hears_of_drops(DropReason::NoSuchBox, 1000).await;
        });
    });
}

/// It lives, answers nothing, and reads nothing of what it has ordered.
#[test]
fn a_reader_that_never_reads_costs_the_outbox_and_no_more() {
    alone(|| {
        on(Node::builder().outbox(OUTBOX), async |ground| {
            let mut orders: Mailbox<Order> = ground.open("orders");
            let mut peer = Peer::narrow_stranger(&ground.endpoint).await;
            let to = ordered(&mut peer, &mut orders).await;
            fills_up(&to).await;
            let before = memory("VmRSS:");
            for _ in 0..20_000 {
                to.do_send(Load(vec![7; 10 << 10]));
            }
            let grown = memory("VmRSS:").saturating_sub(before);
            assert!(grown < MARGIN, "of 200 MB for one who reads nothing {grown} bytes are kept");
            ground.hearer.hears_of_drops(DropReason::OutboxFull, 20_000).await;
            assert_eq!(to.lost().local.get(&DropReason::OutboxFull), Some(&20_000));
        });
    });
}
