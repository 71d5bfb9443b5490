//! The origin of a message, for mailboxes and for actors, and the warning of a node that anybody may dial.

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Identity;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::Origin;
use actix_hermod::Received;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::memory::Memory;
use support::Number;
use support::listening;
use support::log::Log;
use support::next;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::inline;
use support::peer::post;
use support::peer::post_passed;
use support::peer::your_box;
use support::settled;
use support::within;

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Give(Address<Number>);

/// Returns the next message with its origin.
async fn next_from(mailbox: &mut Mailbox<Number>) -> (u64, Origin) {
    let (Number(n), origin) = within(mailbox.recv_from()).await.expect("it is open");
    (n, origin)
}

#[test]
fn a_mailbox_says_where_a_message_is_from_also_once_its_connection_has_ended() {
    System::new().block_on(async {
        let memory = Memory::default();
        let server = Node::builder().transport(memory.clone()).start();
        let endpoint = within(server.listen("memory:any")).await.unwrap();
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        inbox.address().do_send(Number(1));
        inbox.recipient().do_send(Number(2));
        assert_eq!(next_from(&mut inbox).await, (1, Origin::ThisNode));
        assert_eq!(next_from(&mut inbox).await, (2, Origin::ThisNode));
        let clients = [(); 2].map(|()| Node::builder().transport(memory.clone()).start());
        // In turns, so that messages of both wait.
        for n in 0..6 {
            let to: Address<Number> = clients[n % 2].remote(&endpoint, "numbers").unwrap();
            to.do_send(Number(n as u64));
            settled(|| inbox.len() == n + 1).await;
        }
        clients[0].shutdown().await;
        settled(|| server.stats().connections.len() == 1).await;
        for n in 0..6 {
            let (number, origin) = next_from(&mut inbox).await;
            assert_eq!(number, n as u64);
            let Origin::Peer { info, relayed: false } = &origin else { panic!("{origin}") };
            assert_eq!((info.node, info.transport.as_str()), (clients[n % 2].id(), "memory"));
            assert_eq!((&info.identity, origin.is_this_node()), (&Identity::Unknown, false));
        }
        assert!(inbox.try_recv_from().is_none());
        inbox.address().do_send(Number(7));
        assert_eq!(inbox.try_recv_from().unwrap(), (Number(7), Origin::ThisNode));
        inbox.close();
        assert_eq!(within(inbox.recv_from()).await, None);
    });
}

#[test]
fn a_wait_for_a_message_and_its_origin_can_be_dropped() {
    System::new().block_on(async {
        let node = Node::start();
        let mut inbox: Mailbox<Number> = node.mailbox().open().unwrap();
        for n in 0..10 {
            let waited = tokio::time::timeout(std::time::Duration::ZERO, inbox.recv_from()).await;
            assert!(waited.is_err());
            inbox.address().do_send(Number(n));
            assert_eq!(next_from(&mut inbox).await, (n, Origin::ThisNode));
        }
    });
}

#[test]
fn of_a_relayed_message_the_relay_is_known() {
    System::new().block_on(async {
        // Neither of the outer nodes can dial the other.
        let (hub, endpoint) = listening(Node::builder()).await;
        let (owner, sender) = (Node::start(), Node::start());
        let mut gifts: Mailbox<Give> = hub.mailbox().name("gifts").open().unwrap();
        let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
        let mut given: Mailbox<Give> = sender.mailbox().name("given").open().unwrap();
        owner.remote(&endpoint, "gifts").unwrap().do_send(Give(inbox.address()));
        let through_hub = next(&mut gifts).await.0;
        #[derive(actix::Message, Serialize, Deserialize)]
        #[rtype(result = "()")]
        struct Ask(Address<Give>);
        let mut asked: Mailbox<Ask> = hub.mailbox().name("asked").open().unwrap();
        sender.remote(&endpoint, "asked").unwrap().do_send(Ask(given.address()));
        next(&mut asked).await.0.do_send(Give(through_hub.clone()));
        let to = next(&mut given).await.0;
        to.do_send(Number(1));
        let (n, origin) = next_from(&mut inbox).await;
        assert_eq!((n, origin.peer().unwrap().node, origin.is_relayed()), (1, hub.id(), true), "{origin}");
        through_hub.do_send(Number(2));
        let (n, origin) = next_from(&mut inbox).await;
        assert_eq!((n, origin.peer().unwrap().node, origin.is_relayed()), (2, hub.id(), false), "{origin}");
    });
}

/// Messages that come in a row, one by one and relayed are all of the peer's connection.
#[test]
fn each_way_in_names_the_peer() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let hello = Hello::of([5; 16]);
        let mut peer = Peer::greeted(endpoint.as_ref(), &hello).await;
        let to = inline(&your_box("numbers"));
        let bytes = [post(&to, &[1]), post(&to, &[2]), post_passed(&[1], &to, &[3]), post(&to, &[4])].concat();
        assert!(peer.send(&bytes).await);
        for n in 1..=4 {
            let (number, origin) = next_from(&mut inbox).await;
            let info = origin.peer().unwrap();
            assert_eq!((number, origin.is_relayed()), (n, n == 3));
            let node = uuid::Uuid::from_bytes(hello.node).to_string();
            assert_eq!((info.node.to_string(), info.transport.as_str()), (node, "tcp"));
            assert!(info.address.unwrap().ip().is_loopback());
        }
    });
}

/// Answers whether a question came from this node.
struct Judge(mpsc::UnboundedSender<(u64, Origin)>);

impl Actor for Judge {
    type Context = Context<Self>;
}

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "bool")]
struct IsOwn(u64);

impl Handler<Received<IsOwn>> for Judge {
    type Result = bool;

    fn handle(&mut self, question: Received<IsOwn>, _: &mut Context<Self>) -> bool {
        let is_own = question.origin.is_this_node();
        self.0.send((question.message.0, question.origin)).expect("the test listens");
        is_own
    }
}

#[test]
fn an_actor_is_given_messages_with_their_origins() {
    System::new().block_on(async {
        let (server, endpoint) = listening(Node::builder()).await;
        let (told, mut heard) = mpsc::unbounded_channel();
        let judge = server.publish_actor("judge", Judge(told).start()).handles_received::<IsOwn>().open().unwrap();
        let here = judge.address::<IsOwn>().expect("it is published for them");
        assert!(judge.address::<Number>().is_none());
        assert!(within(here.ask(IsOwn(1))).await.unwrap());
        here.do_send(IsOwn(2));
        let client = Node::start();
        let there: Address<IsOwn> = client.remote(&endpoint, "judge").unwrap();
        assert!(!within(there.ask(IsOwn(3))).await.unwrap());
        there.do_send(IsOwn(4));
        for n in 1..=4 {
            let (number, origin) = within(heard.recv()).await.unwrap();
            assert_eq!((number, origin.is_this_node()), (n, n < 3));
            assert_eq!(origin.peer().map(|peer| peer.node), (n > 2).then(|| client.id()));
        }
        judge.close();
        within(there.closed()).await;
    });
}

/// A message of the process is the very value that was sent, and not a copy of what it was encoded as.
#[test]
fn messages_of_this_process_stay_in_memory() {
    #[derive(actix::Message, Serialize, Deserialize)]
    #[rtype(result = "usize")]
    struct Where(Box<u64>);
    struct Looker;
    impl Actor for Looker {
        type Context = Context<Self>;
    }
    impl Handler<Received<Where>> for Looker {
        type Result = usize;
        fn handle(&mut self, looked_at: Received<Where>, _: &mut Context<Self>) -> usize {
            std::ptr::from_ref(&*looked_at.message.0).addr()
        }
    }
    System::new().block_on(async {
        let node = Node::start();
        let looker = node.publish_actor("looker", Looker.start()).handles_received::<Where>().open().unwrap();
        let value = Box::new(7);
        let address = std::ptr::from_ref(&*value).addr();
        assert_eq!(within(looker.address::<Where>().unwrap().ask(Where(value))).await, Ok(address));
    });
}

#[test]
fn an_actor_that_has_stopped_frees_the_name() {
    System::new().block_on(async {
        let node = Node::start();
        let (told, _heard) = mpsc::unbounded_channel();
        struct Stop;
        impl actix::Message for Stop {
            type Result = ();
        }
        impl Handler<Stop> for Judge {
            type Result = ();
            fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
                actix::ActorContext::stop(ctx);
            }
        }
        let judge = Judge(told).start();
        let publication = node.publish_actor("judge", judge.clone()).handles_received::<IsOwn>().open().unwrap();
        judge.send(Stop).await.unwrap();
        settled(|| !judge.connected()).await;
        let reopened: Result<Mailbox<Number>, _> = node.mailbox().name("judge").open();
        assert!(reopened.is_ok());
        drop(publication);
    });
}

#[test]
fn a_node_warns_once_where_anybody_may_come_in() {
    let (log, _guard) = Log::start(tracing::Level::WARN);
    System::new().block_on(async {
        let memory = Memory::default();
        let node = Node::builder().transport(memory).start();
        node.listen("127.0.0.1:0").await.unwrap();
        node.listen("memory:any").await.unwrap();
        Node::builder().accept(|_| Ok(())).start().listen("0.0.0.0:0").await.unwrap();
        assert!(!log.text().contains("anybody may come in"), "{}", log.text());
        node.listen("0.0.0.0:0").await.unwrap();
        let text = log.says(&["anybody may come in", "NodeBuilder::transport", "NodeBuilder::accept"]).await;
        assert_eq!(text.matches("anybody may come in").count(), 1, "{text}");
    });
}
