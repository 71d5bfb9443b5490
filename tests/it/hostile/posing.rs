//! Attacks on an id: to take it before its owner comes, to wear out what is remembered, to replay what was overheard, to
//! pass on what was said to somebody else. The same against the state of the greeting alone, at random, is in
//! `src/wire/properties/greeting.rs`.

use std::time::Duration;

use actix::Message;
use actix_hermod::Address;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::fresh_id;
use support::peer::hold;
use support::peer::id_of;
use support::peer::inline;
use support::peer::kind;
use support::peer::my_counted_box;
use support::peer::post_with;
use support::peer::restated;
use support::peer::your_box;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Ground;
use super::Letter;
use super::in_time;
use super::on;
use super::raw_id;
use super::until;

/// Bits of a hello: this peer understands holds and restated leases.
const LEASES: u64 = 32 | 64;

/// Fewer than once filled the table of tokens, which there is no more: nothing is remembered of a node by its id.
const FRESH: usize = 2_000;

impl Ground {
    async fn refuses_node(&self, hello: &Hello) {
        let mut impostor = Peer::dial(&self.endpoint).await;
        impostor.proves(hello, &[]).await;
        let frames = impostor.frames_to_end().await;
        assert!(frames.iter().all(|frame| frame.kind == kind::GOODBYE), "an impostor is told more: {frames:?}");
    }
}

#[test]
fn an_id_cannot_be_taken_before_its_owner_comes_nor_worn_out_by_others() {
    on(Node::builder(), async |ground| {
        let owner = Hello::of(fresh_id());
        let squatter = Hello { key: owner.key, ..Hello::of(fresh_id()) };
        ground.refuses_node(&squatter).await;
        ground.refuses_node(&squatter).await;
        assert!(Peer::greeted(&ground.endpoint, &owner).await.is_answered().await);
        for _ in 0..FRESH {
            let mut other = Peer::dial(&ground.endpoint).await;
            other.proves(&Hello::of(fresh_id()), &[]).await;
            other.is_welcomed().await;
        }
        ground.refuses_node(&squatter).await;
        assert!(Peer::greeted(&ground.endpoint, &owner).await.is_answered().await);
    });
}

/// Everything that the node and a peer of it have said to each other; the attacker has passed it on.
#[test]
fn a_greeting_that_was_overheard_is_of_no_use_again() {
    on(Node::builder(), async |ground| {
        let victim = Node::start();
        let (listener, mut relayed, proof) = passed_on(ground, &victim).await;
        // While it goes on it can be passed on whole: the victim is there.
        assert!(relayed.send(&proof).await);
        let welcome = relayed.frame().await.expect("a welcome");
        assert_eq!(welcome.kind, kind::WELCOME);
        drop(listener);

        let mut again = Peer::dial(&ground.endpoint).await;
        assert!(again.repeats_hello(&relayed).await);
        again.hello().await.expect("a hello");
        assert!(again.send(&proof).await);
        let frames = again.frames_to_end().await;
        assert!(frames.iter().all(|frame| frame.kind == kind::GOODBYE), "{frames:?}");
        ground.log_says(&["WARN", "no connection", "not signed by the key that it shows"]).await;
        victim.shutdown().await;
    });
}

/// A node dials the attacker, and he passes its first message on to the node that he wants to be taken for it by. That node's
/// answer he passes back; the proof to it is in his hands, unsent.
async fn passed_on(ground: &Ground, victim: &Node) -> (Peer, Peer, Vec<u8>) {
    let (listener, dials) = dialled_by(victim).await;
    let mut attacked = Peer::accept(&listener).await;
    attacked.hears_hello().await.expect("the victim dials");
    let mut relayed = Peer::dial(&ground.endpoint).await;
    assert!(relayed.repeats_hello(&attacked).await);
    let answer = relayed.raw_hello().await.expect("an answer");
    assert!(attacked.send(&answer).await);
    let proof = attacked.frame().await.expect("the victim takes the answer for the node's");
    assert_eq!((proof.kind, id_of(&proof.payload[16..48])), (kind::PROOF, raw_id(victim.id())));
    drop(dials);
    (attacked, relayed, support::peer::frame(kind::PROOF, &proof.payload))
}

async fn dialled_by(node: &Node) -> (TcpListener, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    let node = node.clone();
    (listener, actix::spawn(async move { drop(node.shapes_at(at).await) }))
}

#[test]
fn who_was_dialled_cannot_dial_another_as_the_one_who_has_dialled() {
    on(Node::builder(), async |ground| {
        let victim = Node::start();
        let (listener, _dials) = dialled_by(&victim).await;
        let mut attacker = Peer::accept(&listener).await;
        attacker.hears_hello().await.expect("the victim dials");
        let mut posing = Peer::dial(&ground.endpoint).await;
        assert!(posing.repeats_hello(&attacker).await);
        posing.hello().await.expect("a hello");
        // He answers as himself, and the victim shows him who it is.
        assert!(attacker.says_who_it_is(&Hello::of(fresh_id())).await);
        let proof = attacker.frame().await.expect("a proof");
        assert_eq!((proof.kind, id_of(&proof.payload[16..48])), (kind::PROOF, raw_id(victim.id())));
        assert!(posing.send(&support::peer::frame(kind::PROOF, &proof.payload)).await);
        let frames = posing.frames_to_end().await;
        assert!(frames.iter().all(|frame| frame.kind == kind::GOODBYE), "{frames:?}");
        ground.log_says(&["WARN", "no connection", "not signed by the key that it shows"]).await;
        victim.shutdown().await;
    });
}

/// Brings an address.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Introduced(Address<Letter>);

/// Of each peer so many connections that have ended are remembered, to be named when it is back. Once, whoever was dialled and
/// claimed to be that peer had connections of his own remembered among them, as many as he liked.
#[test]
fn whoever_is_dialled_and_claims_to_be_an_absent_peer_has_nothing_of_it_forgotten() {
    on(Node::builder(), async |ground| {
        let pauses = Duration::from_millis(1)..=Duration::from_millis(5);
        let node = Node::builder().reconnect(pauses).start();
        let endpoint = node.listen("127.0.0.1:0").await.expect("a free port").to_string();
        let mut inbox: Mailbox<Introduced> = node.mailbox().name("inbox").open().expect("a mailbox");
        let absent = Hello { features: LEASES, ..Hello::of(fresh_id()) };
        let mut first = Peer::greeted(&endpoint, &absent).await;
        let id = fresh_id();
        assert!(first.send(&post_with(&inline(&your_box("inbox")), &[inline(&my_counted_box(id))], &[0])).await);
        let Introduced(held) = in_time(inbox.recv(), "it comes").await.expect("a message");
        let name = first.name();
        drop(first);
        until(|| !held.connected(), || "it is away".to_owned()).await;

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let astray =
            node.remote::<Letter>(listener.local_addr().expect("it is bound").to_string(), "box").expect("one");
        astray.do_send(Letter(1));
        for _ in 0..40 {
            let mut impostor = Peer::accept(&listener).await;
            assert_eq!(impostor.answers(&Hello { key: absent.key, ..Hello::of(fresh_id()) }).await, None);
        }
        let mut again = Peer::greeted(&endpoint, &absent).await;
        let mut rest = vec![hold(id, 1), restated(&[name])];
        while !rest.is_empty() {
            let frame = again.frame().await.expect("what it holds is stated");
            let bytes = support::peer::frame(frame.kind, &frame.payload);
            if matches!(frame.kind, kind::HOLD | kind::RESTATED) {
                assert_eq!(bytes, rest.remove(0));
            }
        }
        node.shutdown().await;
        ground.is_healthy().await;
    });
}
