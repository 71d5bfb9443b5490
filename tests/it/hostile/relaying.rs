//! Peers that introduce what they make up, or send round what they are sent: what the node passes on leads only to what was
//! introduced to it, and goes nowhere without end.

use std::collections::HashMap;
use std::time::Duration;

use actix::Message;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::peer::EXTENSIONS_FOLLOW;
use support::peer::HANDLES_FOLLOW;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::ask;
use support::peer::ask_passed;
use support::peer::box_at;
use support::peer::fresh_id;
use support::peer::goodbye;
use support::peer::inline;
use support::peer::kind;
use support::peer::my_counted_box;
use support::peer::number;
use support::peer::post;
use support::peer::post_passed;
use support::peer::post_with;
use support::peer::report;
use support::peer::third_box;
use support::peer::third_box_at;
use support::peer::your_box;
use support::peer::your_box_by_id;
use tokio::net::TcpListener;

use super::Ground;
use super::Hearer;
use super::Letter;
use super::dialling;
use super::in_time;
use super::on;
use super::raw_id;
use super::until;

/// Introduces a box to the node, and says where the node may introduce others.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(super) struct Meet {
    pub(super) who: Address<Letter>,
    tell: Address<Introduce>,
}

/// Introduces a box to a peer.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Introduce(Address<Letter>);

// -------------------------------------------------------------------------------------------------- fictions

#[test]
fn a_box_is_not_reached_by_an_id_that_somebody_else_has_introduced() {
    on(Node::builder(), async |ground| {
        let mut meets: Mailbox<Meet> = ground.open("meet");
        let (mut owner, mut other) = (Other::of(ground).await, Other::of(ground).await);
        let id = fresh_id();
        let Meet { who: known, .. } = owner.introduces(&mut meets, &my_counted_box(id)).await;
        // There is a relay to it, for somebody who calls that by another id.
        let mut guest = Other::of(ground).await;
        guest.is_told(&mut meets, &known).await;

        let to = inline(&your_box_by_id(id));
        assert!(other.peer.send(&[post(&to, &number(1)), ask(7, &to, &number(2))].concat()).await);
        assert_eq!(other.refused().await, (7, 22), "there is no such box");
        ground.hearer.hears_of_drops(DropReason::NoSuchBox, 2).await;

        let Meet { who: claimed, .. } = other.introduces(&mut meets, &your_box_by_id(id)).await;
        assert!(claimed.is_local() && claimed != known);
        claimed.do_send(Letter(3));
        assert_eq!(claimed.lost().local, [(DropReason::BoxClosed, 1)].into());

        known.do_send(Letter(4));
        assert_eq!(owner.next().await.about(), (id, 4, 0), "nothing else has come");
    });
}

#[test]
fn a_box_that_is_said_to_be_behind_one_that_there_is_not_is_looked_for_there_and_nowhere_else() {
    on(Node::builder(), async |ground| {
        let mut meets: Mailbox<Meet> = ground.open("meet");
        let (mut owner, mut other) = (Other::of(ground).await, Other::of(ground).await);
        let (id, made_up) = (fresh_id(), fresh_id());
        let Meet { who: known, .. } = owner.introduces(&mut meets, &my_counted_box(id)).await;

        // Its node is there, which is asked by the box's own id.
        let Meet { who: claimed, .. } = other.introduces(&mut meets, &third_box(owner.run, id, made_up)).await;
        assert_eq!(claimed.node_id(), known.node_id(), "it says so");
        claimed.do_send(Letter(1));
        assert_eq!(owner.next().await.about(), (id, 1, 0));

        // Nobody else leads to the node of this one.
        let Meet { who: claimed, .. } =
            other.introduces(&mut meets, &third_box((fresh_id(), fresh_id()), id, made_up)).await;
        claimed.do_send(Letter(2));
        assert_eq!(other.next().await.about(), (made_up, 2, 0), "it is for who said so");
        assert!(other.peer.send(&report(&[([&[1], &made_up[..]].concat(), 22, 1)])).await);
        let lost = || claimed.lost().remote;
        until(|| lost() == [(DropReason::NoSuchBox, 1)].into(), || format!("{:?}", lost())).await;

        known.do_send(Letter(3));
        assert_eq!(owner.next().await.about(), (id, 3, 0), "nothing else has come");
    });
}

/// The node that is there says so, and does not show it: nor does it answer questions, by which others are known.
#[test]
fn a_node_that_is_looked_for_is_found_only_when_it_has_shown_who_it_is() {
    on(Node::builder().handshake_timeout(Duration::from_secs(1)), async |ground| {
        let mut meets: Mailbox<Meet> = ground.open("meet");
        let (mut owner, mut other) = (Other::of(ground).await, Other::of(ground).await);
        let Meet { who: known, .. } = owner.introduces(&mut meets, &my_counted_box(fresh_id())).await;
        let ((node, epoch), key) = (owner.run, owner.key);
        drop(owner);
        ground.hearer.hears_an_end(|peer, _| Some(peer) == known.node_id()).await;

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let via = fresh_id();
        let Meet { who, .. } = other.introduces(&mut meets, &third_box_at((node, epoch), fresh_id(), via, &at)).await;
        who.do_send(Letter(1));
        let mut impostor = Peer::accept(&listener).await;
        let claims = Hello { key, epoch, ..Hello::of(fresh_id()) };
        assert_eq!(impostor.answers(&claims).await, None, "it is told nothing");
        assert_eq!(other.next().await.about(), (via, 1, 0), "nobody was found");
    });
}

/// Each is either one to what the relay stands for, or leads to whoever says it.
#[test]
fn a_handle_that_names_the_nodes_own_relay_makes_no_circle() {
    on(Node::builder(), async |ground| {
        let Told { mut meets, mut owner, mut other, id, known, relay } = Told::by(ground).await;
        let (ours, name) = (
            (raw_id(ground.node.id()), other.peer.epoch.expect("it has greeted")),
            uuid::Uuid::from_bytes(relay).to_string(),
        );
        let elsewhere = ground.endpoint.replace("127.0.0.1", "localhost");

        // By whom it arrives, and how many relays it has passed.
        let claims = [
            (your_box_by_id(relay), Some(0)),
            (third_box(ours, relay, relay), Some(0)),
            (third_box(ours, relay, fresh_id()), Some(0)),
            // The node's own way to it, by its name.
            (box_at(&ground.endpoint, &name), Some(1)),
            (box_at(&elsewhere, &name), Some(1)),
            (my_counted_box(relay), None),
            (third_box(owner.run, id, relay), Some(0)),
            (third_box((fresh_id(), fresh_id()), fresh_id(), relay), None),
        ];
        for (n, (claim, hops)) in (1..).zip(claims) {
            let Meet { who, .. } = other.introduces(&mut meets, &claim).await;
            who.do_send(Letter(n));
            match hops {
                Some(hops) => assert_eq!(owner.next().await.about(), (id, n, hops), "claim {n}"),
                None => assert_eq!(other.next().await.about(), (relay, n, 0), "claim {n}"),
            }
        }
        // Nothing came twice, or to both.
        known.do_send(Letter(100));
        assert_eq!(owner.next().await.about(), (id, 100, 0));
        let Meet { who, .. } = other.introduces(&mut meets, &my_counted_box(relay)).await;
        who.do_send(Letter(101));
        assert_eq!(other.next().await.about(), (relay, 101, 0));
        assert_eq!(ground.node.stats().dropped_total(), 0);
    });
}

// ----------------------------------------------------------------------------------------------------- round and round

#[test]
fn what_a_peer_sends_round_in_a_circle_has_an_end() {
    on(Node::builder(), async |ground| {
        let mut meets: Mailbox<Meet> = ground.open("meet");
        let mut other = Other::of(ground).await;
        let own = fresh_id();
        // A box behind its own, of which it is told in return: what it sends there comes back.
        let Meet { who, .. } =
            other.introduces(&mut meets, &third_box((fresh_id(), fresh_id()), fresh_id(), own)).await;
        let relay = inline(&your_box_by_id(other.is_told(&mut meets, &who).await));
        assert!(other.peer.send(&post(&relay, &number(7))).await);
        for passed in 1..=4 {
            assert_eq!(other.next().await.about(), (own, 7, passed));
            assert!(other.peer.send(&post_passed(&number(passed), &relay, &number(7))).await);
        }
        ground.hearer.hears_of_drops(DropReason::HopLimit, 1).await;

        // The same of requests, also of those that are said to have come from very far.
        assert!(other.peer.send(&ask_passed(1, &number(3), &relay, &number(8))).await);
        assert_eq!(other.next().await.about(), (own, 8, 4));
        for (n, passed) in (2..).zip([4, 5, 255, 256, 300, u64::MAX]) {
            assert!(other.peer.send(&ask_passed(n, &number(passed), &relay, &number(9))).await);
            assert_eq!(other.refused().await, (n, 34), "passed on {passed} times");
        }
        assert_eq!(ground.dropped(DropReason::HopLimit), 7);
    });
}

#[test]
fn a_number_of_relays_that_is_none_ends_the_connection() {
    on(Node::builder(), async |ground| {
        let to = inline(&your_box("letters"));
        let cases: [(&[u8], &str); 3] = [
            (&[], "a frame ends too early"),
            (&[0x80], "a frame ends too early"),
            (&[0xff; 10], "a number has more than 64 bits"),
        ];
        for (hops, words) in cases {
            ground.is_violated_by(&post_passed(hops, &to, &number(1)), words).await;
            ground.is_violated_by(&ask_passed(1, hops, &to, &number(1)), words).await;
        }
        assert_eq!(ground.letters(), Vec::<u32>::new());
        // A node that is no relay takes messages that have come from however far.
        let far = [post_passed(&number(u64::MAX), &to, &number(1)), ask_passed(1, &number(300), &to, &number(2))];
        assert!(ground.goes_on_after(&far.concat()).await);
        assert_eq!(ground.letters(), [1, 2]);
    });
}

#[test]
fn a_node_that_passes_nothing_on_says_so_to_whoever_asks() {
    on(Node::builder().relay_hops(0), async |ground| {
        let Told { meets: _meets, mut owner, mut other, id, known, relay } = Told::by(ground).await;
        let relay = inline(&your_box_by_id(relay));
        assert!(other.peer.send(&ask(1, &relay, &number(1))).await);
        assert_eq!(other.refused().await, (1, 32));
        known.do_send(Letter(2));
        assert_eq!(owner.next().await.about(), (id, 2, 0));
    });
}

/// The node has dialled the owner of the box, and dials whoever listens there from now on: but not for what was another's.
#[test]
fn what_is_for_a_node_that_has_said_goodbye_waits_for_no_other() {
    dialling(async |dialler| {
        let hearer = Hearer::of(&dialler.node);
        let mut meets: Mailbox<Meet> = dialler.node.mailbox().name("meet").open().expect("a mailbox");
        let endpoint = dialler.node.listen("127.0.0.1:0").await.expect("a free port").to_string();
        let mut owner =
            Other { peer: dialler.is_greeted().await, run: ([0; 16], [0; 16]), key: [0; 32], numbers: HashMap::new() };
        let mut other = Other::at(&endpoint).await;
        let id = fresh_id();
        let Meet { who: known, .. } = owner.introduces(&mut meets, &my_counted_box(id)).await;
        let relay = inline(&your_box_by_id(other.is_told(&mut meets, &known).await));
        assert!(other.peer.send(&post(&relay, &number(1))).await);
        assert_eq!(owner.next().await.about(), (id, 1, 1));

        assert!(owner.peer.send(&goodbye(0)).await);
        owner.peer.end().await;
        hearer.hears_an_end(|peer, _| Some(peer) == known.node_id()).await;
        assert!(other.peer.send(&ask(1, &relay, &number(2))).await);
        assert_eq!(other.refused().await, (1, 33));
        hearer.hears_of_drops(DropReason::NoRoute, 1).await;
    });
}

// ------------------------------------------------------------------------------------------------------ the helpers

/// A peer that reads what it is sent.
pub(super) struct Other {
    pub(super) peer: Peer,
    run: support::peer::Run,
    key: [u8; 32],
    /// The addresses that the node has given numbers to.
    numbers: HashMap<u64, Named>,
}

/// The meaning of a handle: its form, and the ids in it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    form: u8,
    pub(super) ids: Vec<[u8; 16]>,
}

/// A post or an ask as it came.
#[derive(Debug)]
pub(super) struct Came {
    hops: u64,
    to: Named,
    pub(super) handles: Vec<Named>,
    body: Vec<u8>,
}

impl Came {
    /// The box that a letter is for, which one it is, and how many relays it has passed.
    pub(super) fn about(&self) -> ([u8; 16], u32, u64) {
        let mut body = Bytes(&self.body);
        (self.to.ids[0], u32::try_from(body.number()).expect("the number of a letter"), self.hops)
    }
}

/// A box of one peer, of which the node has told another.
pub(super) struct Told {
    pub(super) meets: Mailbox<Meet>,
    pub(super) owner: Other,
    pub(super) other: Other,
    pub(super) id: [u8; 16],
    /// There is the relay as long as the node holds this.
    pub(super) known: Address<Letter>,
    pub(super) relay: [u8; 16],
}

impl Told {
    pub(super) async fn by(ground: &Ground) -> Told {
        let mut meets: Mailbox<Meet> = ground.open("meet");
        let (mut owner, mut other) = (Other::of(ground).await, Other::of(ground).await);
        let id = fresh_id();
        let Meet { who: known, .. } = owner.introduces(&mut meets, &my_counted_box(id)).await;
        let relay = other.is_told(&mut meets, &known).await;
        Told { meets, owner, other, id, known, relay }
    }
}

impl Other {
    pub(super) async fn of(ground: &Ground) -> Other {
        Other::at(&ground.endpoint).await
    }

    async fn at(endpoint: &str) -> Other {
        let hello = Hello::of(fresh_id());
        let peer = Peer::greeted(endpoint, &hello).await;
        Other { peer, run: (hello.node, hello.epoch), key: hello.key, numbers: HashMap::new() }
    }

    /// Introduces somebody to the node, in these words, and itself to be told of others.
    pub(super) async fn introduces(&mut self, meets: &mut Mailbox<Meet>, who: &[u8]) -> Meet {
        let handles = [inline(who), inline(&my_counted_box(fresh_id()))];
        assert!(self.peer.send(&post_with(&inline(&your_box("meet")), &handles, &[0, 1])).await);
        in_time(meets.recv(), "an introduction").await.expect("the box is open")
    }

    /// Has the node tell it of a box elsewhere: the relay to that.
    pub(super) async fn is_told(&mut self, meets: &mut Mailbox<Meet>, of: &Address<Letter>) -> [u8; 16] {
        let Meet { tell, .. } = self.introduces(meets, &my_counted_box(fresh_id())).await;
        tell.do_send(Introduce(of.clone()));
        let told = self.next().await;
        let [Named { form: 3, ids }] = &told.handles[..] else { panic!("no box of a third node: {told:?}") };
        ids[3]
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Came {
        loop {
            let frame = self.peer.frame().await.expect("a message");
            if matches!(frame.kind, kind::POST | kind::ASK) {
                return self.came(frame.kind, &frame.payload);
            }
        }
    }

    /// The number of the next request that is refused, and the reason. No message comes before it.
    async fn refused(&mut self) -> (u64, u8) {
        loop {
            let frame = self.peer.frame().await.expect("a refusal");
            assert!(!matches!(frame.kind, kind::POST | kind::ASK), "a message: {frame:?}");
            if frame.kind == kind::REFUSE {
                let mut payload = Bytes(&frame.payload);
                return (payload.number(), payload.take(1)[0]);
            }
        }
    }

    fn came(&mut self, kind: u8, payload: &[u8]) -> Came {
        let mut rest = Bytes(payload);
        let flags = rest.take(1)[0];
        if kind == kind::ASK {
            rest.number();
        }
        let (mut hops, length) = (0, if flags & EXTENSIONS_FOLLOW == 0 { 0 } else { rest.number() });
        let mut block = Bytes(rest.take(length as usize));
        while !block.0.is_empty() {
            let (id, length) = (block.number(), block.number());
            let mut value = Bytes(block.take(length as usize));
            if id == 3 {
                hops = value.number();
            }
        }
        let to = self.named(&mut rest);
        let count = if flags & HANDLES_FOLLOW == 0 { 0 } else { rest.number() };
        let handles = (0..count).map(|_| self.named(&mut rest)).collect();
        Came { hops, to, handles, body: rest.0.to_vec() }
    }

    fn named(&mut self, rest: &mut Bytes<'_>) -> Named {
        let tagged = rest.number();
        if tagged.is_multiple_of(4) {
            return self.numbers[&(tagged / 4)].clone();
        }
        let first = rest.take(1)[0];
        let form = first & 0x0f;
        let ids = [0, 1, 1, 4].get(usize::from(form)).expect("no other form comes here");
        let ids = (0..*ids).map(|_| rest.take(16).try_into().expect("an id")).collect();
        if form != 1 {
            let length = rest.number();
            rest.take(length as usize);
        }
        if form == 3 {
            (0..rest.number()).for_each(|_| {
                let length = rest.number();
                rest.take(length as usize);
            });
        }
        rest.take(if first & 0x10 == 0 { 0 } else { 8 });
        let named = Named { form, ids };
        if tagged % 4 == 1 {
            self.numbers.insert(tagged / 4, named.clone());
        }
        named
    }
}

/// The bytes left to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u64 {
        let last = self.0.iter().position(|byte| byte & 0x80 == 0).expect("a number ends");
        self.take(last + 1).iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f))
    }
}
