//! A box that a peer may not see looks to the peer like one that does not exist: it reads the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Buffer;
use actix_hermod::CloseReason;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeId;
use actix_hermod::PeerInfo;
use actix_hermod::Shape;
use serde::Deserialize;
use serde::Serialize;

use support::Number;
use support::listening;
use support::next;
use support::peer::Frame;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::ask;
use support::peer::ask_passed;
use support::peer::box_named;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::ping;
use support::peer::post;
use support::peer::post_passed;
use support::peer::set_number;
use support::peer::text;
use support::peer::use_number;
use support::peer::your_box;
use support::peer::your_box_by_id;
use support::peer::your_box_for;
use support::settled;
use support::within;

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Give(Address<Number>);

/// The kind of box at the place of the one that is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum There {
    Nothing,
    Visible,
    Hidden,
    /// The policy panics.
    Broken,
}

impl There {
    fn policy(self) -> impl Fn(&PeerInfo) -> bool {
        move |_| match self {
            There::Broken => panic!("on purpose"),
            other => other == There::Visible,
        }
    }
}

/// Returns the frames of the node in answer to these bytes, in order: up to one of kind `until`, and then up to a pong.
/// Pings are left out.
async fn answers(peer: &mut Peer, bytes: &[u8], until: Option<u8>) -> Vec<(u8, Vec<u8>)> {
    let (mut frames, mut is_asked) = (Vec::new(), false);
    assert!(peer.send(bytes).await);
    loop {
        if !is_asked && until.is_none_or(|until| frames.iter().any(|(kind, _)| *kind == until)) {
            assert!(peer.send(&ping(0xbeef)).await);
            is_asked = true;
        }
        let Frame { kind, payload } = within(peer.frame()).await.expect("the connection goes on");
        match kind {
            kind::PING => {}
            kind::PONG => return frames,
            _ => frames.push((kind, payload)),
        }
    }
}

fn watch(target: Vec<u8>) -> Vec<u8> {
    frame(kind::WATCH, &[vec![1], target].concat())
}

fn shape_of(target: Vec<u8>) -> Vec<u8> {
    frame(kind::SHAPE_QUESTION, &[vec![1], target].concat())
}

fn names_after(name: &str) -> Vec<u8> {
    frame(kind::SHAPE_QUESTION, &[vec![2], text(name)].concat())
}

/// Everything that a peer can do with a name or an id, and the kind of frame that it is told of an absent box by.
fn calls(id: [u8; 16]) -> BTreeMap<&'static str, (Vec<u8>, Option<u8>)> {
    let (secret, by_id) = (|| inline(&your_box("secret")), || inline(&your_box_by_id(id)));
    let numbered =
        || [post(&set_number(0, &your_box("secret")), &[1]), post(&use_number(0), &[2]).repeat(100)].concat();
    let of_other_shape = your_box_for("secret", Shape::of::<Give>().fingerprint());
    let id_of = || [&[1][..], &id].concat();
    BTreeMap::from([
        ("post", (post(&secret(), &[1]), Some(kind::REPORT))),
        ("post by id", (post(&by_id(), &[1]), Some(kind::REPORT))),
        ("posts by a number", (numbered(), Some(kind::REPORT))),
        ("a post of another shape", (post(&inline(&of_other_shape), &[1]), Some(kind::REPORT))),
        ("a post that is passed on", (post_passed(&[1], &secret(), &[1]), Some(kind::REPORT))),
        ("posts that fill it", (post(&secret(), &[1]).repeat(20), Some(kind::REPORT))),
        ("ask", (ask(1, &secret(), &[1]), Some(kind::REFUSE))),
        ("ask by id", (ask(1, &by_id(), &[1]), Some(kind::REFUSE))),
        ("an ask that is passed on", (ask_passed(1, &[1], &secret(), &[1]), Some(kind::REFUSE))),
        ("watch", (watch(box_named("secret")), Some(kind::CLOSED))),
        ("watch by id", (watch(id_of()), Some(kind::CLOSED))),
        ("shape", (shape_of(box_named("secret")), Some(kind::SHAPE))),
        ("shape by id", (shape_of(id_of()), Some(kind::SHAPE))),
        ("list", (names_after(""), Some(kind::SHAPE))),
        ("the list before it", (names_after("m"), Some(kind::SHAPE))),
    ])
}

/// Opens boxes on a node that it tells of, and one more, and makes all calls, each on a connection of its own.
async fn told(there: There, until_told: bool) -> BTreeMap<&'static str, Vec<(u8, Vec<u8>)>> {
    let mut told = BTreeMap::new();
    for call in calls([0; 16]).into_keys() {
        let (node, endpoint) = listening(Node::builder()).await;
        let _others =
            ["aside", "public", "zebra"].map(|name| node.mailbox::<Give>().name(name).open().expect("it opens"));
        let open = || node.mailbox::<Number>().buffer(Buffer::dropping(10)).visible_to(there.policy());
        let named = (there != There::Nothing).then(|| open().name("secret").open().expect("it opens"));
        let anonymous = (there != There::Nothing).then(|| open().open().expect("it opens"));
        let id =
            anonymous.as_ref().map(|anonymous| anonymous.name().parse::<uuid::Uuid>().expect("an id").into_bytes());
        let mut peer = Peer::greeted(endpoint.as_ref(), &Hello { features: !16, ..Hello::of(fresh_id()) }).await;
        let id = id.unwrap_or_else(fresh_id);
        let (bytes, until) = calls(id)[call].clone();
        let mut frames = answers(&mut peer, &bytes, until.filter(|_| until_told)).await;
        // The ids differ, and are as long.
        for (_, payload) in &mut frames {
            if let Some(at) = payload.windows(16).position(|window| window == id) {
                payload[at..at + 16].fill(0);
            }
        }
        told.insert(call, frames);
        drop((named, anonymous));
    }
    told
}

#[test]
fn a_hidden_box_is_told_in_the_same_bytes_as_one_that_does_not_exist() {
    System::new().block_on(async {
        let absent = told(There::Nothing, true).await;
        for there in [There::Hidden, There::Broken] {
            let hidden = told(there, true).await;
            for (call, frames) in &absent {
                assert_eq!(hidden[call], *frames, "{call}, {there:?}");
            }
        }
        // All of these calls make a difference, or the test above would show nothing.
        for (call, frames) in told(There::Visible, false).await {
            assert_ne!(frames, absent[call], "{call}");
        }
    });
}

/// A page of the list is full, however many hidden boxes stand between the others.
#[test]
fn hidden_boxes_take_no_place_in_a_list() {
    System::new().block_on(async {
        let lists = async |hidden: usize| {
            let (node, endpoint) = listening(Node::builder()).await;
            let seen = (0..600).map(|n| node.mailbox::<Number>().name(format!("{n:04}")).open().unwrap());
            let seen: Vec<Mailbox<Number>> = seen.collect();
            let unseen = (0..hidden)
                .map(|n| node.mailbox::<Number>().name(format!("{n:04} hidden")).visible_to(|_| false).open().unwrap());
            let unseen: Vec<Mailbox<Number>> = unseen.collect();
            let mut peer = Peer::greeted(endpoint.as_ref(), &Hello { features: !16, ..Hello::of(fresh_id()) }).await;
            let mut answers_of = async |after: &str| answers(&mut peer, &names_after(after), Some(kind::SHAPE)).await;
            let lists = [answers_of("").await, answers_of("0300").await, answers_of("0511").await];
            drop((seen, unseen));
            lists
        };
        assert_eq!(lists(1200).await, lists(0).await);
    });
}

#[test]
fn a_policy_is_asked_once_for_each_connection_and_box_whatever_is_opened_meanwhile() {
    System::new().block_on(async {
        let (node, endpoint) = listening(Node::builder()).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let policy = move |_: &PeerInfo| {
            count.fetch_add(1, Ordering::SeqCst);
            true
        };
        let mut inbox: Mailbox<Number> = node.mailbox().name("numbers").visible_to(policy).open().unwrap();
        inbox.address().do_send(Number(0));
        assert_eq!((next(&mut inbox).await, asked.load(Ordering::SeqCst)), (Number(0), 0), "not for senders here");
        for connection in 1..=2 {
            let client = Node::start();
            let to: Address<Number> = client.remote(&endpoint, "numbers").unwrap();
            for n in 0..10 {
                let _other: Mailbox<Number> = node.mailbox().open().unwrap();
                to.do_send(Number(n));
                assert_eq!(next(&mut inbox).await, Number(n));
            }
            assert_eq!(asked.load(Ordering::SeqCst), connection);
        }
    });
}

/// Shows a box to one node only.
fn only(node: &Arc<Mutex<Option<NodeId>>>) -> impl Fn(&PeerInfo) -> bool + use<> {
    let node = Arc::clone(node);
    move |peer| *node.lock().expect("no test panics under it") == Some(peer.node)
}

#[test]
fn an_address_that_was_sent_to_a_peer_shows_it_nothing_that_it_may_not_see() {
    System::new().block_on(async {
        let (owner, endpoint) = listening(Node::builder()).await;
        let mut hidden: Mailbox<Number> = owner.mailbox().visible_to(|_| false).open().unwrap();
        let client = Node::start();
        let mut given: Mailbox<Give> = client.mailbox().open().unwrap();
        #[derive(actix::Message, Serialize, Deserialize)]
        #[rtype(result = "()")]
        struct Ask(Address<Give>);
        let mut asked: Mailbox<Ask> = owner.mailbox().name("asked").open().unwrap();
        client.remote(&endpoint, "asked").unwrap().do_send(Ask(given.address()));
        next(&mut asked).await.0.do_send(Give(hidden.address()));
        let to = next(&mut given).await.0;
        let error = within(to.ask(Number(1))).await.unwrap_err();
        assert!(matches!(error, AskError::NotDelivered { reason: DropReason::NoSuchBox, .. }), "{error}");
        assert_eq!(within(to.closed()).await, CloseReason::BoxClosed);
        assert!(hidden.try_recv().is_none());
        // The pointer that comes home leads nowhere: the peer cannot have others send there. Nor can it by name.
        let mut named: Mailbox<Number> = owner.mailbox().name("secret").visible_to(|_| false).open().unwrap();
        let guessed = client.remote(&endpoint, "secret").unwrap();
        let mut gifts: Mailbox<Give> = owner.mailbox().name("gifts").open().unwrap();
        for given in [to, guessed.clone(), guessed.pinned(owner.id())] {
            client.remote(&endpoint, "gifts").unwrap().do_send(Give(given));
            let home = next(&mut gifts).await.0;
            assert!(within(home.ask(Number(2))).await.is_err());
        }
        assert!(hidden.try_recv().is_none() && named.try_recv().is_none());
    });
}

#[test]
fn behind_a_relay_the_relay_is_judged() {
    System::new().block_on(async {
        let (hub, endpoint) = listening(Node::builder()).await;
        let (owner, sender) = (Node::start(), Node::start());
        let seen_by = Arc::new(Mutex::new(Some(sender.id())));
        let mut inbox: Mailbox<Number> = owner.mailbox().visible_to(only(&seen_by)).open().unwrap();
        let mut gifts: Mailbox<Give> = hub.mailbox().name("gifts").open().unwrap();
        owner.remote(&endpoint, "gifts").unwrap().do_send(Give(inbox.address()));
        next(&mut gifts).await.0.do_send(Number(1));
        settled(|| support::dropped(&owner, DropReason::NoSuchBox) == 1).await;
        assert!(inbox.try_recv().is_none());
        let mut inbox: Mailbox<Number> = owner.mailbox().visible_to(only(&seen_by)).open().unwrap();
        *seen_by.lock().unwrap() = Some(hub.id());
        owner.remote(&endpoint, "gifts").unwrap().do_send(Give(inbox.address()));
        next(&mut gifts).await.0.do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
    });
}

struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Count;

impl Handler<Count> for Counter {
    type Result = u64;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[test]
fn a_published_actor_is_seen_by_those_that_may_see_it() {
    System::new().block_on(async {
        let (node, endpoint) = listening(Node::builder()).await;
        let clients = [Node::start(), Node::start()];
        let seen_by = Arc::new(Mutex::new(Some(clients[0].id())));
        let actor = Counter(0).start();
        let counter =
            node.publish_actor("counter", actor).visible_to(only(&seen_by)).handles::<Count>().open().unwrap();
        let [seen, unseen] = clients.each_ref().map(|client| client.remote::<Count>(&endpoint, "counter").unwrap());
        assert_eq!(within(seen.ask(Count)).await, Ok(1));
        let error = within(unseen.ask(Count)).await.unwrap_err();
        assert!(matches!(error, AskError::NotDelivered { reason: DropReason::NoSuchBox, .. }), "{error}");
        assert_eq!(within(counter.address::<Count>().unwrap().ask(Count)).await, Ok(2));
        let names: Vec<String> = within(clients[1].shapes_at(&endpoint)).await.unwrap().into_keys().collect();
        assert_eq!(names, [""; 0]);
        let names: Vec<String> = within(clients[0].shapes_at(&endpoint)).await.unwrap().into_keys().collect();
        assert_eq!(names, ["counter"]);
    });
}
