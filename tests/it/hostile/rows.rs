//! Peers that send many posts at once for what they have given a number, or have not: together they do what each would.

use actix::Message;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::my_counted_box;
use support::peer::number;
use support::peer::post;
use support::peer::post_with;
use support::peer::set_number;
use support::peer::use_number;
use support::peer::your_box;
use support::peer::your_box_by_id;
use tokio::sync::mpsc;

use super::Letter;
use super::on;
use super::raw_id;
use super::relaying::Other;
use super::relaying::Told;
use super::until;

/// More than are read in a row.
const MANY: u32 = 100;

/// Posts for what has that number, right behind each other.
fn row(n: u64, letters: impl IntoIterator<Item = u32>) -> Vec<u8> {
    letters.into_iter().flat_map(|letter| post(&use_number(n), &number(letter.into()))).collect()
}

#[test]
fn a_row_for_a_number_that_was_never_set_ends_the_connection() {
    on(Node::builder(), async |ground| {
        let first = post(&set_number(1, &your_box("letters")), &number(1));
        let set = |n| [first.clone(), row(1, 2..5), row(n, 5..9)].concat();
        for n in [5, 63, 64, 4095, u64::MAX >> 2] {
            ground.is_violated_by(&set(n), &format!("handle number {n} was never set")).await;
            // Everything before it has arrived, and nothing behind.
            assert_eq!(ground.letters(), [1, 2, 3, 4]);
        }
        assert_eq!(ground.node.stats().dropped_total(), 0);
    });
}

#[test]
fn a_row_before_the_proof_ends_the_connection() {
    on(Node::builder(), async |ground| {
        let hello = Hello::of(fresh_id());
        for before in [Vec::new(), frame(200, b"skip me")] {
            let mut stranger = Peer::dial(&ground.endpoint).await;
            assert!(stranger.says_hello(&hello).await);
            stranger.hello().await.expect("a hello");
            let proof = stranger.proof(&hello, &[]);
            stranger.send(&[before, row(1, 1..9), proof].concat()).await;
            let frames = stranger.frames_to_end().await;
            assert!(frames.iter().all(|frame| frame.kind == kind::GOODBYE), "it has shown nothing: {frames:?}");
        }
        ground.log_says(&["WARN", "no connection", "a frame of kind 2 came at the wrong time"]).await;
        assert_eq!(ground.letters(), Vec::<u32>::new());
    });
}

/// The frames behind the proof are read by other means than the greeting of one who dials.
#[test]
fn a_row_before_the_welcome_ends_the_connection() {
    super::dialling(async |dialler| {
        let mut other = dialler.dials().await;
        other.answers(&Hello::of(fresh_id())).await.expect("the node shows who it is");
        assert!(other.send(&row(1, 1..9)).await);
        other.end().await;
        dialler.ground.log_says(&["a frame of kind 2 came at the wrong time"]).await;
    });
}

#[test]
fn a_frame_that_is_too_long_ends_the_connection_behind_the_row_before_it() {
    on(Node::builder().max_message(64 << 10), async |ground| {
        let first = post(&set_number(1, &your_box("letters")), &number(1));
        let long = post(&use_number(1), &vec![0; 64 << 10]);
        ground.is_violated_by(&[first, row(1, 2..9), long].concat(), "over the limit of 65536").await;
        assert_eq!(ground.letters(), (1..9).collect::<Vec<_>>());
    });
}

#[test]
fn a_row_is_passed_on_as_each_of_it_would_be() {
    on(Node::builder(), async |ground| {
        let Told { meets: _meets, mut owner, mut other, id, known, relay } = Told::by(ground).await;
        let first = post(&set_number(9, &your_box_by_id(relay)), &number(0));
        assert!(other.peer.send(&[first, row(9, 1..MANY)].concat()).await);
        for n in 0..MANY {
            assert_eq!(owner.next().await.about(), (id, n, 1), "to the box, in order, by one relay");
        }
        // Its own are as before.
        known.do_send(Letter(MANY));
        assert_eq!(owner.next().await.about(), (id, MANY, 0));
        assert_eq!(ground.node.stats().dropped_total(), 0);
    });
}

#[test]
fn a_row_that_a_node_does_not_pass_on_is_dropped_and_counted() {
    on(Node::builder().relay_hops(0), async |ground| {
        let Told { meets: _meets, owner: _owner, mut other, known: _known, relay, .. } = Told::by(ground).await;
        let first = post(&set_number(9, &your_box_by_id(relay)), &number(0));
        assert!(other.peer.send(&[first, row(9, 1..MANY)].concat()).await);
        ground.hearer.hears_of_drops(DropReason::Refused, MANY.into()).await;
        assert_eq!(ground.node.stats().dropped, [(DropReason::Refused, MANY.into())].into());
    });
}

/// Introduces an actor of the node to a peer.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Hire {
    #[serde(with = "actix_hermod::recipient")]
    worker: Recipient<Letter>,
}

/// Says where the node may introduce it.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Offer(Address<Hire>);

/// Such an actor is given its first message when that has come.
#[test]
fn a_row_for_an_actor_that_was_sent_starts_it_and_arrives_in_order() {
    on(Node::builder(), async |ground| {
        for in_a_row in [true, false] {
            let name = if in_a_row { "offers" } else { "more offers" };
            let mut offers: Mailbox<Offer> = ground.open(name);
            let mut other = Other::of(ground).await;
            let handles = [inline(&my_counted_box(fresh_id()))];
            assert!(other.peer.send(&post_with(&inline(&your_box(name)), &handles, &[0])).await);
            let Offer(to) = super::in_time(offers.recv(), "an offer").await.expect("the box is open");
            let (worker, mut worked) = worker();
            to.do_send(Hire { worker });
            let came = other.next().await;
            let [worker] = &came.handles[..] else { panic!("no worker: {came:?}") };
            // The number is given by what cannot be read, so that the row is the first that comes to it.
            let first = post(&set_number(3, &your_box_by_id(worker.ids[0])), &[]);
            let letters = if in_a_row {
                row(3, 0..MANY)
            } else {
                (0..MANY).flat_map(|n| [row(3, [n]), frame(200, &[])].concat()).collect()
            };
            assert!(other.peer.send(&[first, letters].concat()).await);
            for n in 0..MANY {
                assert_eq!(super::in_time(worked.recv(), "a letter").await, Some(n));
            }
        }
        let unread = || ground.dropped(DropReason::NotDecodable);
        until(|| unread() == 2, || format!("{} could not be read", unread())).await;
    });
}

/// Notes the letters that it is given.
struct Worker(mpsc::UnboundedSender<u32>);

impl actix::Actor for Worker {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Letter> for Worker {
    type Result = ();

    fn handle(&mut self, letter: Letter, _: &mut actix::Context<Self>) {
        // The test may have seen enough.
        let _ = self.0.send(letter.0);
    }
}

fn worker() -> (Recipient<Letter>, mpsc::UnboundedReceiver<u32>) {
    let (working, worked) = mpsc::unbounded_channel();
    (actix::Actor::start(Worker(working)).recipient(), worked)
}

/// Its drops are of one connection and of one box, and are told as one.
#[test]
fn a_row_for_a_box_that_is_full_is_told_to_subscribers() {
    on(Node::builder().mailbox_buffer(10), async |ground| {
        let small: Mailbox<Letter> = ground.open("small");
        let hello = Hello::of(fresh_id());
        let mut peer = Peer::greeted(&ground.endpoint, &hello).await;
        let first = post(&set_number(1, &your_box("small")), &number(0));
        assert!(peer.send(&[first, row(1, 1..MANY)].concat()).await && peer.is_answered().await);
        ground.hearer.hears_of_drops(DropReason::NewestShed, u64::from(MANY) - 10).await;
        assert_eq!((small.len(), small.dropped()), (10, u64::from(MANY) - 10));
        let stats = ground.node.stats();
        let of_peer = stats.connections.iter().find(|of| of.peer.is_some_and(|peer| raw_id(peer) == hello.node));
        assert_eq!(of_peer.expect("it is up").messages_received, u64::from(MANY), "each is counted");
    });
}
