//! Two builds of one application that do not agree on a message: nothing arrives wrong, and both are told what differs.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::MailboxError;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use actix_hermod::Shape;
use actix_hermod::ShapesError;
use actix_hermod::Side;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use support::Number;
use support::balanced;
use support::deserted;
use support::dropped;
use support::events;
use support::explained;
use support::listening;
use support::next;
use support::watched;
use support::within;

use crate::licence_key::Key;

/// A build of the messages: what a field is read as, and what a question is answered with.
macro_rules! build {
    ($build:ident, $field:ty, $result:ty) => {
        // Not every build sends everything.
        #[allow(dead_code)]
        mod $build {
            use actix::Message;
            use actix_hermod::Address;
            use serde::Deserialize;
            use serde::Serialize;

            #[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
            #[rtype(result = "()")]
            pub(crate) struct Note {
                pub(crate) at: (u8, u8),
                pub(crate) inner: Inner,
            }

            #[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
            pub(crate) struct Inner {
                pub(crate) n: $field,
            }

            #[derive(Serialize, Deserialize, Clone, Debug)]
            pub(crate) struct Question(pub(crate) u16);

            impl Message for Question {
                type Result = $result;
            }

            #[derive(Message, Serialize, Deserialize, Clone, Debug)]
            #[rtype(result = "()")]
            pub(crate) struct Envelope {
                pub(crate) answer_to: Address<Note>,
            }

            pub(crate) fn note(n: $field) -> Note {
                Note { at: (1, 2), inner: Inner { n } }
            }
        }
    };
}

build!(old, u32, u8);
build!(new, u64, Vec<u8>);
build!(twin, u32, u8);

const DIFFERENCE: &str = "`Note.inner.n`: u32 here, u64 there";
const OTHER_WAY_ROUND: &str = "`Note.inner.n`: u64 here, u32 there";

/// Answers questions of the new build.
struct Oracle;

impl Actor for Oracle {
    type Context = Context<Self>;
}

impl Handler<new::Question> for Oracle {
    type Result = Vec<u8>;

    fn handle(&mut self, question: new::Question, _: &mut Context<Self>) -> Vec<u8> {
        question.0.to_le_bytes().to_vec()
    }
}

async fn there<M: RemoteMessage + Message<Result = ()>>(
    name: &str,
) -> (Node, actix_hermod::Endpoint, actix_hermod::Mailbox<M>) {
    let (node, endpoint) = listening(Node::builder()).await;
    let inbox = node.mailbox::<M>().name(name).open().expect("the name is free");
    (node, endpoint, inbox)
}

#[test]
fn a_message_of_another_shape_is_refused_and_both_sides_are_told_what_differs() {
    System::new().block_on(async {
        let (server, endpoint, mut inbox) = there::<new::Note>("notes").await;
        let client = Node::start();
        let (mut here, mut there) = (events(&client), events(&server));
        let wrong: Address<old::Note> = client.remote(&endpoint, "notes").unwrap();
        (0..10).for_each(|n| wrong.do_send(old::note(n)));
        assert_eq!(explained(&mut here, Side::Peer).await, DIFFERENCE);
        assert_eq!(explained(&mut there, Side::Here).await, OTHER_WAY_ROUND);
        watched(|| wrong.lost().remote, |lost| *lost == [(DropReason::TypeMismatch, 10)].into()).await;
        assert_eq!(server.stats().dropped, [(DropReason::TypeMismatch, 10)].into());
        // It costs nothing but itself.
        let right: Address<new::Note> = client.remote(&endpoint, "notes").unwrap();
        right.do_send(new::note(7));
        assert_eq!(next(&mut inbox).await, new::note(7));
        assert_eq!(client.stats().connections.len(), 1);
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn what_is_refused_is_not_decoded() {
    /// How often a [`Counted`] was read.
    static READ: AtomicUsize = AtomicUsize::new(0);

    /// Has another shape than a [`Number`], and the same bytes.
    #[derive(Message, Serialize)]
    #[rtype(result = "()")]
    struct Counted(u64);

    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
            READ.fetch_add(1, Ordering::Relaxed);
            u64::deserialize(deserializer).map(Counted)
        }
    }

    System::new().block_on(async {
        let (server, endpoint, mut inbox) = there::<Counted>("counted").await;
        let client = Node::start();
        let right: Address<Counted> = client.remote(&endpoint, "counted").unwrap();
        right.do_send(Counted(1));
        assert_eq!(next(&mut inbox).await.0, 1);
        // Its shape was made, and one was read.
        let read = READ.load(Ordering::Relaxed);
        let wrong: Address<Number> = client.remote(&endpoint, "counted").unwrap();
        (0..10).for_each(|n| wrong.do_send(Number(n)));
        watched(|| dropped(&server, DropReason::TypeMismatch), |dropped| *dropped == 10).await;
        assert_eq!(READ.load(Ordering::Relaxed), read);
        right.do_send(Counted(2));
        assert_eq!(next(&mut inbox).await.0, 2);
        assert_eq!(READ.load(Ordering::Relaxed), read + 1);
    });
}

/// A build of messages with such a key.
macro_rules! build_with_key {
    ($build:ident, $count:ty) => {
        mod $build {
            use std::collections::BTreeMap;

            use actix::Message;
            use serde::Deserialize;
            use serde::Serialize;

            use super::Key;

            #[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
            #[rtype(result = "()")]
            pub(crate) struct Licence(pub(crate) Key, pub(crate) $count);

            #[derive(Message, Serialize, Deserialize, Clone, PartialEq, Debug)]
            #[rtype(result = "()")]
            pub(crate) struct Licences(pub(crate) BTreeMap<Key, $count>);
        }
    };
}

build_with_key!(unsigned, u32);
build_with_key!(signed, i32);

/// A zigzag 5 has the bytes of 10: nothing but the shapes can tell.
#[test]
fn a_difference_behind_a_value_that_cannot_be_guessed_is_not_misread() {
    async fn refused<Here, There>(wrong: Here, right: There) -> String
    where
        Here: RemoteMessage + Message<Result = ()> + Unpin,
        There: RemoteMessage + Message<Result = ()> + Unpin + Clone + PartialEq + std::fmt::Debug,
    {
        let (server, endpoint, mut inbox) = there::<There>("box").await;
        let client = Node::start();
        let mut ears = events(&client);
        client.remote::<Here>(&endpoint, "box").unwrap().do_send(wrong);
        let explained = explained(&mut ears, Side::Peer).await;
        // Two programs that share the type agree on it.
        client.remote::<There>(&endpoint, "box").unwrap().do_send(right.clone());
        assert_eq!(next(&mut inbox).await, right);
        balanced(&[&server, &client]).await;
        explained
    }

    System::new().block_on(async {
        let key = || Key("dddddddddd".to_owned());
        let tuple = refused(signed::Licence(key(), 5), unsigned::Licence(key(), 5)).await;
        let opaque = |build| format!("opaque(not reached: types::mismatch::{build}::Licence)");
        assert_eq!(tuple, format!("`Licence.1`: {} here, {} there", opaque("signed"), opaque("unsigned")));
        let map = refused(signed::Licences([(key(), 5)].into()), unsigned::Licences([(key(), 5)].into())).await;
        assert_eq!(map, "`Licences.0[value]`: i32 here, u32 there");
    });
}

#[test]
fn equal_shapes_of_two_builds_are_equal() {
    System::new().block_on(async {
        let (_server, endpoint, mut inbox) = there::<twin::Note>("notes").await;
        let client = Node::start();
        let to: Address<old::Note> = client.remote(&endpoint, "notes").unwrap();
        to.do_send(old::note(7));
        assert_eq!(next(&mut inbox).await, twin::note(7));
        assert_eq!(Shape::of::<old::Note>(), Shape::of::<twin::Note>());
    });
}

#[test]
fn a_request_of_another_shape_is_refused_with_what_differs() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        server.publish::<new::Question>("oracle", Oracle.start()).unwrap();
        let client = Node::start();
        let wrong: Address<old::Question> = client.remote(&endpoint, "oracle").unwrap();
        let expected = AskError::NotDelivered {
            reason: DropReason::TypeMismatch,
            detail: Some("`Question -> result`: u8 here, Vec<u8> there".to_owned()),
        };
        // All at once, and one after the other.
        let asked = futures_util::future::join_all((0..20).map(|n| wrong.ask(old::Question(n))));
        assert!(within(asked).await.into_iter().all(|answer| answer == Err(expected.clone())));
        assert_eq!(within(wrong.ask(old::Question(20))).await, Err(expected));
        assert_eq!(within(wrong.send(old::Question(21))).await, Err(MailboxError::Closed));
        let right: Address<new::Question> = client.remote(&endpoint, "oracle").unwrap();
        assert_eq!(within(right.ask(new::Question(258))).await, Ok(vec![2, 1]));
        assert_eq!(client.stats().pending_requests, 0);
    });
}

#[test]
fn a_recipient_checks_shapes_as_an_address_does() {
    System::new().block_on(async {
        let (server, endpoint, inbox) = there::<new::Note>("notes").await;
        let client = Node::start();
        let mut here = events(&client);
        let wrong: Recipient<old::Note> = client.remote::<old::Note>(&endpoint, "notes").unwrap().recipient();
        wrong.do_send(old::note(1));
        assert_eq!(explained(&mut here, Side::Peer).await, DIFFERENCE);
        assert_eq!(dropped(&server, DropReason::TypeMismatch), 1);
        assert_eq!(inbox.len(), 0);
    });
}

#[test]
fn a_reply_of_another_shape_is_refused_too() {
    System::new().block_on(async {
        // Both have the same envelope: an address is what its message is called.
        assert_eq!(Shape::of::<old::Envelope>(), Shape::of::<new::Envelope>());
        let (server, endpoint, mut envelopes) = there::<new::Envelope>("envelopes").await;
        let client = Node::start();
        let mut at_server = events(&server);
        let answers = client.mailbox::<old::Note>().open().unwrap();
        let to: Address<old::Envelope> = client.remote(&endpoint, "envelopes").unwrap();
        to.do_send(old::Envelope { answer_to: answers.address() });
        let back = next(&mut envelopes).await.answer_to;
        back.do_send(new::note(1));
        assert_eq!(explained(&mut at_server, Side::Peer).await, OTHER_WAY_ROUND);
        assert_eq!(dropped(&client, DropReason::TypeMismatch), 1);
        assert_eq!(answers.len(), 0);
    });
}

#[test]
fn shapes_are_compared_within_a_node_as_well() {
    System::new().block_on(async {
        let node = Node::start();
        node.publish::<new::Question>("oracle", Oracle.start()).unwrap();
        let endpoint = node.listen("127.0.0.1:0").await.unwrap();
        let mut envelopes = node.mailbox::<new::Envelope>().name("envelopes").open().unwrap();
        let answers = node.mailbox::<old::Note>().open().unwrap();
        let to: Address<old::Envelope> = node.remote(&endpoint, "envelopes").unwrap();
        to.do_send(old::Envelope { answer_to: answers.address() });
        // Came home: it leads to a box of this node, whose messages are of another type.
        let back = next(&mut envelopes).await.answer_to;
        assert!(back.is_local());
        let refused = within(back.ask(new::note(1))).await;
        let detail = Some(OTHER_WAY_ROUND.to_owned());
        assert_eq!(refused, Err(AskError::NotDelivered { reason: DropReason::TypeMismatch, detail }));
    });
}

#[test]
fn the_shapes_of_another_node_can_be_asked_for() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        server.publish::<new::Question>("oracle", Oracle.start()).unwrap();
        let _anonymous = server.mailbox::<new::Note>().open().unwrap();
        // More names than there are in one answer.
        let boxes: Vec<_> =
            (0..1500).map(|n| server.mailbox::<new::Note>().name(format!("{n:04}")).open().unwrap()).collect();
        let client = Node::start();
        let shapes = within(client.shapes_at(&endpoint)).await.unwrap();
        assert_eq!(shapes, server.shapes());
        assert_eq!(shapes.len(), boxes.len() + 1);
        assert_eq!(shapes["oracle"], Shape::of::<new::Question>());
        assert_eq!(shapes["0815"].diff(&Shape::of::<old::Note>())[0].to_string(), OTHER_WAY_ROUND);
        assert_eq!(
            within(client.shapes_at("no endpoint")).await,
            Err(ShapesError::InvalidEndpoint("no endpoint".to_owned()))
        );
        assert_eq!(within(client.shapes_at(deserted().await)).await, Err(ShapesError::Unanswered));
    });
}

/// Both handles are used before the peer has told of any drop, in either order: neither overwrites what is known of the
/// other.
#[test]
fn two_types_sent_to_one_name_have_accounts_of_their_own() {
    async fn told_apart(wrong_first: bool) {
        let (server, endpoint, mut inbox) = there::<new::Note>("notes").await;
        let client = Node::start();
        let mut ears = events(&client);
        let wrong: Address<old::Note> = client.remote(&endpoint, "notes").unwrap();
        let right: Address<new::Note> = client.remote(&endpoint, "notes").unwrap();
        let send_right = || right.do_send(new::note(7));
        let send_wrong = || (0..3).for_each(|n| wrong.do_send(old::note(n)));
        if wrong_first {
            send_wrong();
            send_right();
        } else {
            send_right();
            send_wrong();
        }
        let told = ears.find(|event| match event {
            Event::DeadLetter { reason: DropReason::TypeMismatch, type_name, detail: Some(detail), side, .. } => {
                (*side == Side::Peer).then(|| (type_name.clone(), detail.clone()))
            }
            _ => None,
        });
        assert_eq!(told.await, (std::any::type_name::<old::Note>().to_owned(), DIFFERENCE.to_owned()));
        assert_eq!(next(&mut inbox).await, new::note(7));
        watched(|| wrong.lost().remote, |lost| *lost == [(DropReason::TypeMismatch, 3)].into()).await;
        assert_eq!(right.lost().remote, [].into(), "all of these have arrived");
        // Also what the box drops once it has taken it is no loss of the other's.
        right.do_send(new::note(8));
        watched(|| inbox.len(), |waiting| *waiting == 1).await;
        drop(inbox);
        watched(|| right.lost().remote, |lost| *lost == [(DropReason::BoxClosed, 1)].into()).await;
        assert_eq!(wrong.lost().remote, [(DropReason::TypeMismatch, 3)].into());
        balanced(&[&server, &client]).await;
    }

    System::new().block_on(async {
        told_apart(true).await;
        told_apart(false).await;
    });
}

#[test]
fn a_refused_request_is_explained_although_another_type_is_sent_to_that_name() {
    async fn explained(wrong_first: bool) {
        let (server, endpoint) = listening(Node::builder()).await;
        server.publish::<new::Question>("oracle", Oracle.start()).unwrap();
        let client = Node::start();
        let wrong: Address<old::Question> = client.remote(&endpoint, "oracle").unwrap();
        let right: Address<new::Question> = client.remote(&endpoint, "oracle").unwrap();
        let expected = AskError::NotDelivered {
            reason: DropReason::TypeMismatch,
            detail: Some("`Question -> result`: u8 here, Vec<u8> there".to_owned()),
        };
        let refused = async { assert_eq!(within(wrong.ask(old::Question(1))).await, Err(expected.clone())) };
        let answered = async { assert_eq!(within(right.ask(new::Question(258))).await, Ok(vec![2, 1])) };
        if wrong_first {
            futures_util::future::join(refused, answered).await;
        } else {
            futures_util::future::join(answered, refused).await;
        }
        watched(|| wrong.lost().remote, |lost| *lost == [(DropReason::TypeMismatch, 1)].into()).await;
        assert_eq!(right.lost().remote, [].into(), "all of these were answered");
        balanced(&[&server, &client]).await;
    }

    System::new().block_on(async {
        explained(true).await;
        explained(false).await;
    });
}

/// The words are about the box that is there, and not about one that had the name before: the peer may be met again by
/// another address.
#[test]
fn a_box_that_takes_the_name_of_another_is_explained_anew() {
    /// Of another shape than the other box.
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Flag {
        is_up: bool,
    }

    /// Of a third.
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    struct Flags {
        are_up: [bool; 3],
    }

    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut ears = events(&server);
        let client = Node::start();
        let send = || client.remote::<Number>(&endpoint, "box").expect("an address").do_send(Number(1));
        let first = server.mailbox::<Flag>().name("box").open().expect("the name is free");
        send();
        let words = explained(&mut ears, Side::Here).await;
        assert!(words.contains("Flag ") || words.contains("is_up"), "{words}");
        drop(first);
        let second = server.mailbox::<Flags>().name("box").open().expect("the name is free");
        send();
        watched(|| second.dropped(), |dropped| *dropped == 1).await;
        let words = explained(&mut ears, Side::Here).await;
        assert!(words.contains("Flags") || words.contains("are_up"), "{words}");
    });
}
