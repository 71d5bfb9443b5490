//! Two builds of one application in two processes: what they do not agree on is refused and told on both sides, the rest
//! goes on, and it can be seen before.

// As it is run, so that what it finds is tested and not what an older build of it would.
#[allow(dead_code)]
#[path = "../../../examples/demos/wire_check.rs"]
mod wire_check;

use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::Side;
use support::dropped;
use support::events;
use support::explained;
use support::listening;
use support::next;
use support::process;
use support::process::Process;
use support::process::own_host;
use support::process::say;
use support::within;
use tokio::time::timeout;

/// A build of the application: how wide an article's number is, and what an order is answered with.
macro_rules! build {
    ($build:ident, $article:ty, $result:ty) => {
        // Not every build does everything.
        #[allow(dead_code)]
        mod $build {
            use actix::Message;
            use actix_hermod::Address;
            use serde::Deserialize;
            use serde::Serialize;

            #[derive(Message, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
            #[rtype(result = "()")]
            pub(crate) struct Order {
                pub(crate) lines: Vec<Line>,
                pub(crate) by: String,
            }

            #[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
            pub(crate) struct Line {
                pub(crate) article: $article,
            }

            pub(crate) fn order(article: $article) -> Order {
                Order { lines: vec![Line { article }], by: "somebody".to_owned() }
            }

            /// Where is the order?
            #[derive(Serialize, Deserialize)]
            pub(crate) struct Track(pub(crate) u8);

            impl Message for Track {
                type Result = $result;
            }

            /// The same in both builds.
            #[derive(Message, Serialize, Deserialize)]
            #[rtype(result = "()")]
            pub(crate) struct Greeting {
                pub(crate) answer_to: Address<Greeted>,
            }

            #[derive(Message, Serialize, Deserialize, PartialEq, Eq, Debug)]
            #[rtype(result = "()")]
            pub(crate) struct Greeted {
                pub(crate) by: String,
            }
        }
    };
}

build!(old, u32, u8);
build!(new, u64, Option<String>);

const OLD_TO_NEW: &str = "`Order.lines[].article`: u32 here, u64 there";
const NEW_TO_OLD: &str = "`Order.lines[].article`: u64 here, u32 there";

// ------------------------------------------------------------------------------------------------------ the tests

#[test]
fn what_another_build_sends_is_refused_and_both_processes_are_told_what_differs() {
    System::new().block_on(async {
        let (node, at) = listening(Node::builder()).await;
        let orders: Mailbox<old::Order> = node.mailbox().name("orders").open().expect("a mailbox");
        node.publish::<old::Track>("track", Tracker.start()).expect("an actor");
        let mut greetings: Mailbox<old::Greeting> = node.mailbox().name("greetings").open().expect("a mailbox");
        let mut here = events(&node);

        let mut customer = Process::start(module_path!(), "new customer", at.as_ref());
        assert_eq!(customer.says("told").await, NEW_TO_OLD);
        assert_eq!(explained(&mut here, Side::Here).await, OLD_TO_NEW);
        let refused = AskError::NotDelivered {
            reason: DropReason::TypeMismatch,
            detail: Some("`Track -> result`: Option<String> here, u8 there".to_owned()),
        };
        assert_eq!(customer.says("refused").await, format!("{refused:?}"));
        assert_eq!(dropped(&node, DropReason::TypeMismatch), 4);
        assert_eq!(orders.len(), 0);
        // Messages that are the same in both go on, there and back.
        next(&mut greetings).await.answer_to.do_send(old::Greeted { by: "old".to_owned() });
        assert_eq!(customer.says("greeted").await, "by old");
        assert_eq!(node.stats().connections.len(), 1);
        within(node.shutdown()).await;
    });
}

#[test]
fn after_the_upgrade_of_one_side_its_old_peers_are_told_and_what_is_the_same_goes_on() {
    System::new().block_on(async {
        let node = Node::builder().reconnect(Duration::from_millis(10)..=Duration::from_millis(100)).start();
        let mut shop = Process::start(module_path!(), "old shop", &own_host());
        let at = shop.says("listening").await;
        let orders: Address<old::Order> = node.remote(&at, "orders").expect("an address");
        let mut greeter = Greeter::new(&node, &at);
        greeter.wait_for("old").await;
        orders.do_send(old::order(1));
        assert_eq!(shop.says("ordered").await, "1");

        shop.kill();
        let mut shop = Process::start(module_path!(), "new shop", &at);
        assert_eq!(shop.says("listening").await, at);
        // The address that had worked.
        greeter.wait_for("new").await;
        let mut here = events(&node);
        orders.do_send(old::order(2));
        assert_eq!(explained(&mut here, Side::Peer).await, OLD_TO_NEW);
        assert_eq!(shop.says("told").await, NEW_TO_OLD);
        assert_eq!(orders.lost().remote.get(&DropReason::TypeMismatch), Some(&1));
        // The new build left the old box open beside the new one.
        let as_before: Address<old::Order> = node.remote(&at, "old orders").expect("an address");
        as_before.do_send(old::order(3));
        assert_eq!(shop.says("ordered").await, "3");
        // Now this side is upgraded as well.
        let orders: Address<new::Order> = node.remote(&at, "orders").expect("an address");
        orders.do_send(new::order(1 << 40));
        assert_eq!(shop.says("ordered").await, (1_u64 << 40).to_string());
        within(node.shutdown()).await;
    });
}

#[test]
fn an_upgrade_can_be_checked_before_it_is_made() {
    System::new().block_on(async {
        let mut shops = [Process::start(module_path!(), "old shop", "127.0.0.1:0"), Process::start(module_path!(), "new shop", "127.0.0.1:0")];
        let [old, new] = &mut shops;
        let (old, new) = (old.says("listening").await, new.says("listening").await);

        let found = check([&old, &new]).await.expect("both listen");
        assert!(!found.is_good, "{}", found.text);
        let expected = "greetings: the same\n\
                        old orders: only in the second\n\
                        orders: not the same\n    `Order.lines[].article`: u32 in the first, u64 in the second\n";
        assert!(found.text.contains(expected), "{}", found.text);
        let found = check([&new, &new]).await.expect("it listens");
        assert!(found.is_good && found.text.contains("Boxes that are the same: 3 of 3."), "{}", found.text);

        let found = check([&old]).await.expect("it listens");
        let expected = "    struct Order {\n        lines: Vec<Line>,\n        by: String,\n    }\n\n    struct Line {\n        \
                        article: u32,\n    }\n";
        assert!(found.is_good && found.text.contains(expected), "{}", found.text);

        let [_, gone] = &mut shops;
        gone.kill();
        let error = check([&old, &new]).await.expect_err("nobody listens");
        assert_eq!(error, format!("{new}: the node did not answer"));
    });
}

#[test]
fn the_example_finds_what_its_two_builds_differ_in() {
    System::new().block_on(async {
        let found = check([]).await.expect("both listen");
        assert!(found.is_good, "{}", found.text);
        assert!(found.text.contains("`Order.lines[].article`: u32 in the first, u64 in the second"), "{}", found.text);
    });
}

/// The other process; see [`support::process`].
#[test]
fn child() {
    let Some((role, at)) = process::role() else { return };
    match role.as_str() {
        "new customer" => order_as_new(&at),
        "old shop" => sell_as_old(&at),
        "new shop" => sell_as_new(&at),
        other => panic!("no such role: {other}"),
    }
}

// --------------------------------------------------------------------------------------------------- the children

/// Sends three orders, asks, and greets, as the new build.
fn order_as_new(at: &str) {
    System::new().block_on(async {
        let node = Node::start();
        let mut told = events(&node);
        let orders: Address<new::Order> = node.remote(at, "orders").expect("an address");
        (1..=3).for_each(|article| orders.do_send(new::order(article)));
        say(&format!("told {}", explained(&mut told, Side::Peer).await));
        let track: Address<new::Track> = node.remote(at, "track").expect("an address");
        let refused = within(track.ask(new::Track(1))).await.expect_err("it is of another type");
        say(&format!("refused {refused:?}"));
        let mut answers: Mailbox<new::Greeted> = node.mailbox().open().expect("a mailbox");
        let greetings: Address<new::Greeting> = node.remote(at, "greetings").expect("an address");
        greetings.do_send(new::Greeting { answer_to: answers.address() });
        say(&format!("greeted by {}", next(&mut answers).await.by));
        std::future::pending::<()>().await;
    });
}

/// Takes orders and greetings, as the old build.
fn sell_as_old(at: &str) {
    System::new().block_on(async {
        let node = Node::start();
        let mut orders: Mailbox<old::Order> = node.mailbox().name("orders").open().expect("a mailbox");
        let greetings: Mailbox<old::Greeting> = node.mailbox().name("greetings").open().expect("a mailbox");
        answer(greetings, "old");
        announce(&node, at).await;
        while let Some(order) = orders.recv().await {
            order.lines.iter().for_each(|line| say(&format!("ordered {}", line.article)));
        }
    });
}

/// The same as the new build, which knows the old one's orders under a name of their own.
fn sell_as_new(at: &str) {
    System::new().block_on(async {
        let node = Node::start();
        let mut orders: Mailbox<new::Order> = node.mailbox().name("orders").open().expect("a mailbox");
        let mut old_orders: Mailbox<old::Order> = node.mailbox().name("old orders").open().expect("a mailbox");
        let greetings: Mailbox<old::Greeting> = node.mailbox().name("greetings").open().expect("a mailbox");
        answer(greetings, "new");
        let mut told = events(&node);
        announce(&node, at).await;
        actix::spawn(async move { say(&format!("told {}", explained(&mut told, Side::Here).await)) });
        actix::spawn(async move {
            while let Some(order) = old_orders.recv().await {
                order.lines.iter().for_each(|line| say(&format!("ordered {}", line.article)));
            }
        });
        while let Some(order) = orders.recv().await {
            order.lines.iter().for_each(|line| say(&format!("ordered {}", line.article)));
        }
    });
}

/// Answers greetings, which are the same in both builds.
fn answer(mut greetings: Mailbox<old::Greeting>, by: &'static str) {
    actix::spawn(async move {
        while let Some(greeting) = greetings.recv().await {
            greeting.answer_to.do_send(old::Greeted { by: by.to_owned() });
        }
    });
}

async fn announce(node: &Node, at: &str) {
    match node.listen(at).await {
        Ok(endpoint) => say(&format!("listening {endpoint}")),
        Err(error) => say(&format!("failed {error}")),
    }
}

// ------------------------------------------------------------------------------------------- the parent's helpers

/// Runs the example, not for ever.
async fn check<const N: usize>(endpoints: [&String; N]) -> Result<wire_check::Finding, String> {
    let endpoints = endpoints.map(String::clone);
    within(wire_check::run(&endpoints)).await.map_err(|error| error.to_string())
}

/// Knows where orders are, as the old build.
struct Tracker;

impl Actor for Tracker {
    type Context = Context<Self>;
}

impl Handler<old::Track> for Tracker {
    type Result = u8;

    fn handle(&mut self, old::Track(order): old::Track, _: &mut Context<Self>) -> u8 {
        order
    }
}

/// Greets a shop by an address that it keeps.
struct Greeter {
    to: Address<old::Greeting>,
    answers: Mailbox<old::Greeted>,
}

impl Greeter {
    fn new(node: &Node, at: &str) -> Greeter {
        let to = node.remote(at, "greetings").expect("an address");
        Greeter { to, answers: node.mailbox().open().expect("a mailbox") }
    }

    /// Greets, while some greetings may be lost, until one is answered by that build.
    async fn wait_for(&mut self, build: &str) {
        let answered = async {
            loop {
                self.to.do_send(old::Greeting { answer_to: self.answers.address() });
                while let Ok(Some(greeted)) = timeout(Duration::from_millis(10), self.answers.recv()).await {
                    if greeted.by == build {
                        return;
                    }
                }
            }
        };
        within(answered).await;
    }
}
