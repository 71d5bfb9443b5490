//! Peers whose counts do not fit: frames longer than they announced, counts that shrink, releases of what others hold,
//! and goodbyes in the middle of what was begun.

use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::ask;
use support::peer::box_named;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::goodbye;
use support::peer::hold;
use support::peer::inline;
use support::peer::kind;
use support::peer::my_counted_box;
use support::peer::number;
use support::peer::post;
use support::peer::post_with;
use support::peer::release;
use support::peer::report;
use support::peer::restated;
use support::peer::your_box;
use tokio::sync::mpsc;

use super::Ground;
use super::Letter;
use super::dialling;
use super::in_time;
use super::on;
use super::raw_id;
use super::until;

/// The reason in reports, as a number.
const NEWEST_SHED: u8 = 24;

#[test]
fn a_frame_longer_than_announced_ends_the_connection() {
    on(Node::builder(), async |ground| {
        for (behind, words) in [
            (vec![0; 1 << 20], "a frame is empty"),
            (vec![0xff; 1 << 20], "a frame of 4294967295 bytes is over the limit"),
        ] {
            // The first is whole by what it announces; what is behind it is read as the next.
            let mut long = post(&inline(&your_box("letters")), &number(1));
            long.extend(behind);
            ground.is_violated_by(&long, words).await;
            assert_eq!(ground.letters(), [1]);
        }
        // The other way round: what is announced ends before what is in it does.
        let mut short = post(&inline(&your_box("letters")), &number(1));
        short[..4].copy_from_slice(&5_u32.to_le_bytes());
        ground.is_violated_by(&short, "a frame ends too early").await;
        assert_eq!(ground.letters(), Vec::<u32>::new());
    });
}

/// A ping that says how many messages were read.
fn having_read(count: u64) -> Vec<u8> {
    frame(kind::PING, &[7_u64.to_le_bytes().to_vec(), number(count)].concat())
}

#[test]
fn what_was_read_once_is_not_unread() {
    dialling(async |dialler| {
        let mut other = dialler.is_greeted().await;
        let hearer = super::Hearer::of(&dialler.node);
        for n in 0..10 {
            dialler.hostile.do_send(Letter(n));
        }
        // Those for which it was dialled have been passed over.
        let mut read = 0;
        while read < 10 {
            let frame = other.frame().await.expect("the letters");
            read += u64::from(frame.kind == kind::POST);
        }
        let at = dialler.listener.local_addr().expect("it is bound").to_string();
        let connections = dialler.node.stats().connections;
        let there = connections.iter().find(|connection| connection.endpoint.as_ref() == Some(&at));
        let posts = there.expect("it is up").messages_sent;
        let shrinking = [having_read(posts), having_read(3), having_read(0)].concat();
        assert!(other.send(&shrinking).await && other.is_answered().await);
        drop(other);
        hearer.hears_an_end(|_, why| *why == DownReason::Lost).await;
        assert_eq!(dialler.node.stats().in_doubt, 0);
    });
}

#[test]
fn drops_that_were_told_once_are_not_taken_back() {
    dialling(async |dialler| {
        let mut other = dialler.is_greeted().await;
        for n in 0..10 {
            dialler.hostile.do_send(Letter(n));
        }
        let told = |count| report(&[(box_named("letters"), NEWEST_SHED, count)]);
        for (count, believed) in [(5, 5), (3, 5), (0, 5), (5, 5), (6, 6), (u64::MAX, 11), (1, 11)] {
            assert!(other.send(&told(count)).await && other.is_answered().await);
            let reported = dialler.node.stats().reported;
            assert_eq!(reported.get(&DropReason::NewestShed), Some(&believed), "of {count}: {reported:?}");
            assert_eq!(dialler.hostile.lost().remote, reported);
        }
    });
}

// ------------------------------------------------------------------------------------------------------- releases

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Application {
    to: Address<Job>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Job {
    #[serde(with = "actix_hermod::recipient")]
    report_to: Recipient<Letter>,
}

/// An actor that hands on the letters that it is sent.
struct Clerk(mpsc::UnboundedSender<u32>);

impl actix::Actor for Clerk {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Letter> for Clerk {
    type Result = ();

    fn handle(&mut self, letter: Letter, _: &mut actix::Context<Self>) {
        // The test may have seen enough.
        let _ = self.0.send(letter.0);
    }
}

/// Two peers are given the same actor, once each: what they have, the actor's id, and what it hears.
async fn given(ground: &Ground) -> (Vec<Peer>, [u8; 16], mpsc::UnboundedReceiver<u32>) {
    let mut applications: Mailbox<Application> = ground.open("applications");
    let (written, letters) = mpsc::unbounded_channel();
    let clerk = actix::Actor::start(Clerk(written)).recipient();
    let mut peers = Vec::new();
    for id in [[3; 16], [4; 16]] {
        let mut peer = Peer::stranger(&ground.endpoint).await;
        let way_back = inline(&my_counted_box(id));
        assert!(peer.send(&post_with(&inline(&your_box("applications")), &[way_back], &[0])).await);
        let application = in_time(applications.recv(), "an application").await.expect("it is open");
        application.to.do_send(Job { report_to: clerk.clone() });
        let job = peer.frame().await.expect("a job");
        assert_eq!(job.kind, kind::POST);
        peers.push(peer);
    }
    drop(applications);
    let boxes = ground.node.stats().boxes;
    let actor = boxes.iter().filter_map(|stats| stats.name.parse::<uuid::Uuid>().ok()).next();
    (peers, *actor.expect("the actor has no other name").as_bytes(), letters)
}

fn to_actor(actor: [u8; 16], n: u32) -> Vec<u8> {
    post(&inline(&[&[1][..], &actor].concat()), &number(n.into()))
}

#[test]
fn what_others_hold_cannot_be_released() {
    on(Node::builder(), async |ground| {
        let (mut peers, actor, mut letters) = given(ground).await;
        let [thief, holder] = &mut peers[..] else { panic!("there are two") };
        let theft = [release(actor, 1), release(actor, 7), release(actor, u64::MAX), release(actor, 1)].concat();
        assert!(thief.send(&theft).await && thief.is_answered().await);
        assert!(holder.send(&to_actor(actor, 1)).await);
        assert_eq!(in_time(letters.recv(), "the actor lives").await, Some(1));
        // With its own holder it goes.
        assert!(holder.send(&release(actor, 1)).await);
        assert_eq!(in_time(letters.recv(), "the actor stops").await, None);
        assert!(holder.send(&to_actor(actor, 2)).await && holder.is_answered().await);
        ground.hearer.hears_of_drops(DropReason::NoSuchBox, 1).await;
    });
}

#[test]
fn who_holds_what_others_were_given_holds_it_until_it_is_expected_no_longer() {
    on(Node::builder().forget_after(Duration::from_millis(100)), async |ground| {
        let (mut peers, actor, mut letters) = given(ground).await;
        let mut third = Peer::stranger(&ground.endpoint).await;
        let invented: Vec<u8> = (0..10_000).flat_map(|n| hold(fresh_id(), n)).collect();
        assert!(third.send(&invented).await && third.is_answered().await);
        assert!(third.send(&[hold(actor, 0), hold(actor, u64::MAX), hold(actor, u64::MAX)].concat()).await);
        assert!(third.is_answered().await);
        for holder in &mut peers {
            assert!(holder.send(&release(actor, 1)).await && holder.is_answered().await);
        }
        assert!(third.send(&[to_actor(actor, 1), release(actor, u64::MAX - 1), to_actor(actor, 2)].concat()).await);
        assert_eq!(in_time(letters.recv(), "the actor lives").await, Some(1));
        assert_eq!(in_time(letters.recv(), "the actor lives").await, Some(2));
        drop(third);
        assert_eq!(in_time(letters.recv(), "the actor stops").await, None);
        // A closed box is not held.
        let mut late = Peer::stranger(&ground.endpoint).await;
        assert!(late.send(&[hold(actor, 1), to_actor(actor, 3)].concat()).await && late.is_answered().await);
        ground.hearer.hears_of_drops(DropReason::NoSuchBox, 1).await;
    });
}

/// Only the node that held it may say so, and of its own connections.
#[test]
fn what_an_absent_peer_holds_cannot_be_restated_by_others() {
    on(Node::builder().forget_after(Duration::from_secs(3_600)), async |ground| {
        let (mut peers, actor, mut letters) = given(ground).await;
        let (mut thief, holder) = (peers.pop().expect("one"), peers.pop().expect("another"));
        assert!(thief.send(&release(actor, 1)).await && thief.is_answered().await);
        let before = ground.node.stats().connections.len();
        // It goes without a goodbye, and is expected back.
        let its_own = holder.connection.expect("the node has greeted it");
        drop(holder);
        until(|| ground.node.stats().connections.len() < before, || "it is still there".to_owned()).await;
        assert!(thief.send(&restated(&[its_own])).await && thief.is_answered().await);
        let invented: Vec<[u8; 16]> = (0..100_000).map(|_| fresh_id()).collect();
        assert!(thief.send(&[restated(&invented), restated(&[]), to_actor(actor, 1)].concat()).await);
        assert_eq!(in_time(letters.recv(), "the actor lives").await, Some(1));
        ground.is_violated_by(&frame(kind::RESTATED, &[7; 17]), "a frame ends too early").await;
    });
}

// -------------------------------------------------------------------------------------------------------- goodbyes

#[test]
fn a_goodbye_in_the_middle_ends_what_was_begun() {
    on(Node::builder(), async |ground| {
        let hello = Hello::of(fresh_id());
        let mut leaving = Peer::greeted(&ground.endpoint, &hello).await;
        let to = inline(&your_box("letters"));
        let letter = [vec![kind::POST, 0], to.clone(), number(77)].concat();
        let (first, last) = letter.split_at(letter.len() / 2);
        let piece =
            |rest: usize, bytes: &[u8]| frame(kind::FRAGMENT, &[&number(0), &number(rest as u64), bytes].concat());
        let asked: Vec<u8> = (1..=3).flat_map(|n| ask(n, &to, &number(n))).collect();
        let bytes = [asked, piece(last.len(), first), goodbye(0), piece(0, last)].concat();
        assert!(leaving.send(&bytes).await);
        let frames = leaving.frames_to_end().await;
        assert_eq!(frames.last().map(|last| last.kind), Some(kind::GOODBYE), "{frames:?}");
        ground.hearer.hears_an_end(|peer, why| raw_id(peer) == hello.node && *why == DownReason::Goodbye).await;
        // Half a letter is none, and nobody waits for the answers.
        assert_eq!(ground.letters(), Vec::<u32>::new());
        ground.hearer.hears_of_drops(DropReason::Cancelled, 3).await;
    });
}

#[test]
fn a_goodbye_before_the_answer_ends_the_request() {
    dialling(async |dialler| {
        let mut other = dialler.is_greeted().await;
        let asked = actix::spawn(dialler.hostile.ask(Letter(1)));
        while other.frame().await.expect("the request").kind != kind::ASK {}
        // An answer behind a goodbye does not count any more.
        let late = support::peer::answer(1, &[]);
        assert!(other.send(&[goodbye(1), late].concat()).await);
        let ended = in_time(asked, "the request ends").await.expect("no panic");
        assert_eq!(ended, Err(AskError::OutcomeUnknown { reason: DropReason::Lost }));
        other.end().await;
        // The node dials again, and finds one who stays.
        let again = dialler.is_greeted().await;
        let gone = || dialler.node.stats().pending_requests == 0;
        until(gone, || format!("{:?}", dialler.node.stats())).await;
        drop(again);
    });
}
