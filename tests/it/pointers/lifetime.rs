//! How long pointers last that are passed on from node to node, and what one costs that is used all the time.

// A test panics where something is not as it should be.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::CloseReason;
use actix_hermod::Endpoint;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;
use support::Caught;
use support::Number;
use support::catcher;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::wire::Wire;
use support::within;

/// Brings along what leads to a mailbox, and what leads to an actor.
#[derive(Message, Serialize, Deserialize, Default)]
#[rtype(result = "()")]
struct Carry {
    address: Option<Address<Number>>,
    #[serde(with = "actix_hermod::recipient")]
    recipient: Option<Recipient<Number>>,
}

impl Carry {
    fn to_mailbox(address: Address<Number>) -> Carry {
        Carry { address: Some(address), recipient: None }
    }

    fn to_actor(recipient: Recipient<Number>) -> Carry {
        Carry { address: None, recipient: Some(recipient) }
    }

    /// Sends by whatever it brings along.
    fn send(&self, n: u64) {
        self.address.iter().for_each(|to| to.do_send(Number(n)));
        self.recipient.iter().for_each(|to| to.do_send(Number(n)));
    }
}

/// Four nodes, each of which knows only the one after it, and the first of which does not listen.
struct Chain {
    a: Node,
    b: Node,
    c: Node,
    d: Node,
    a_to_b: Address<Carry>,
    b_in: Mailbox<Carry>,
    b_to_c: Address<Carry>,
    c_in: Mailbox<Carry>,
    /// Between the last two.
    wire: Wire,
    c_to_d: Address<Carry>,
    d_in: Mailbox<Carry>,
}

/// A node that expects nobody back for long.
fn node(thread: IoThread) -> NodeBuilder {
    Node::builder().io_thread(thread).forget_after(Duration::from_millis(50))
}

/// A node that listens, with a mailbox for what is passed on.
async fn station(thread: IoThread) -> (Node, Endpoint, Mailbox<Carry>) {
    let (node, endpoint) = listening(node(thread)).await;
    let inbox = node.mailbox().name("carry").open().unwrap();
    (node, endpoint, inbox)
}

impl Chain {
    async fn of(thread: IoThread) -> Chain {
        let a = node(thread).start();
        let ((b, b_at, b_in), (c, c_at, c_in), (d, d_at, d_in)) =
            (station(thread).await, station(thread).await, station(thread).await);
        let wire = Wire::to(d_at.to_string()).await;
        let (a_to_b, b_to_c) = (a.remote(&b_at, "carry").unwrap(), b.remote(&c_at, "carry").unwrap());
        let c_to_d = c.remote(&wire.endpoint, "carry").unwrap();
        Chain { a, b, c, d, a_to_b, b_in, b_to_c, c_in, wire, c_to_d, d_in }
    }

    /// Passes it from the first to the last, where it is held; each of the others lets it go as it passes it on.
    async fn pass(&mut self, carry: Carry) -> Carry {
        self.a_to_b.do_send(carry);
        self.b_to_c.do_send(next(&mut self.b_in).await);
        self.c_to_d.do_send(next(&mut self.c_in).await);
        next(&mut self.d_in).await
    }

    /// Waits until nothing is left of a pointer that was passed on, and sees to it that what is farther from the box goes
    /// before what is nearer. `begins` says whether the beginning is still there.
    async fn is_let_go(&self, begins: impl Fn() -> bool) {
        settled(|| {
            // Looked at from the beginning: if the nearer has gone already, so has the farther, looked at later.
            let there = [begins(), relays(&self.b) > 0, relays(&self.c) > 0];
            assert!(there.is_sorted_by(|near, far| near >= far), "{there:?}");
            there == [false; 3]
        })
        .await;
    }
}

/// How many boxes of a node stand for those of others.
fn relays(node: &Node) -> usize {
    node.stats().boxes.iter().filter(|stats| stats.type_name == "a relay").count()
}

#[test]
fn a_chain_of_relays_to_an_actor_is_let_go_from_its_end_to_its_beginning() {
    on_either_thread(|thread| async move {
        let mut chain = Chain::of(thread).await;
        for n in 0..20 {
            let (actor, mut caught) = catcher();
            let held = chain.pass(Carry::to_actor(actor)).await;
            held.send(n);
            assert_eq!(caught.next().await, n);
            assert_eq!([relays(&chain.b), relays(&chain.c), relays(&chain.d)], [1, 1, 0]);
            assert_eq!(chain.a.stats().boxes.len(), 1);
            drop(held);
            chain.is_let_go(|| caught.lives()).await;
            settled(|| chain.a.stats().boxes.is_empty()).await;
        }
    });
}

#[test]
fn a_chain_of_relays_to_a_mailbox_is_let_go_and_the_mailbox_stays() {
    on_either_thread(|thread| async move {
        let mut chain = Chain::of(thread).await;
        let mut numbers = chain.a.mailbox::<Number>().open().unwrap();
        for n in 0..20 {
            let held = chain.pass(Carry::to_mailbox(numbers.address())).await;
            held.send(n);
            assert_eq!(next(&mut numbers).await, Number(n));
            assert_eq!([relays(&chain.b), relays(&chain.c), relays(&chain.d)], [1, 1, 0]);
            drop(held);
            chain.is_let_go(|| relays(&chain.b) > 0).await;
        }
        assert_eq!(chain.a.stats().boxes.len(), 1);
    });
}

/// The node that passes it on has kept it meanwhile, and has told the reader a number for it.
#[test]
fn a_pointer_passed_on_again_after_it_was_let_go_leads_to_the_same_box() {
    on_either_thread(|thread| async move {
        let mut chain = Chain::of(thread).await;
        let mut numbers = chain.a.mailbox::<Number>().open().unwrap();
        chain.a_to_b.do_send(Carry::to_mailbox(numbers.address()));
        let kept = next(&mut chain.b_in).await.address.unwrap();
        for n in 0..10 {
            chain.b_to_c.do_send(Carry::to_mailbox(kept.clone()));
            let held = next(&mut chain.c_in).await;
            held.send(n);
            assert_eq!(next(&mut numbers).await, Number(n));
            drop(held);
            settled(|| relays(&chain.b) == 0).await;
        }
    });
}

/// A way for a pointer's last holder to be lost.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    Connection,
    LastNode,
    NodeInTheMiddle,
}

#[test]
fn a_chain_whose_end_is_lost_is_let_go() {
    on_either_thread(|thread| async move {
        for loss in [Loss::Connection, Loss::LastNode, Loss::NodeInTheMiddle] {
            let mut chain = Chain::of(thread).await;
            let (actor, mut caught) = catcher();
            let mut numbers = chain.a.mailbox::<Number>().open().unwrap();
            let held = chain.pass(Carry { address: Some(numbers.address()), recipient: Some(actor) }).await;
            held.send(1);
            assert_eq!((caught.next().await, next(&mut numbers).await), (1, Number(1)));
            assert_eq!([relays(&chain.b), relays(&chain.c)], [2, 2]);
            let closed = held.address.as_ref().unwrap().closed();
            match loss {
                Loss::Connection => {
                    chain.wire.cut_after(0);
                    chain.c_to_d.do_send(Carry::default());
                }
                Loss::LastNode => within(chain.d.shutdown()).await,
                Loss::NodeInTheMiddle => within(chain.c.shutdown()).await,
            }
            // The last one still holds what it holds.
            chain.is_let_go(|| caught.lives()).await;
            if loss == Loss::Connection {
                // There it is heard of by the next connection.
                chain.wire.mend();
                settled(|| {
                    chain.c_to_d.do_send(Carry::default());
                    chain.d_in.try_recv().is_some()
                })
                .await;
            }
            assert_ne!(within(closed).await, CloseReason::ConnectionLost);
            drop(held);
        }
    });
}

/// Takes what comes and passes it on, in a task of its own, so that others come meanwhile.
fn passes_on(mut inbox: Mailbox<Carry>, to: Address<Carry>) {
    actix::spawn(async move {
        while let Some(carry) = inbox.recv().await {
            to.do_send(carry);
        }
    });
}

/// Each node lets go of a pointer while it is under way to the next: what is counted is counted when it leaves.
#[test]
fn a_pointer_under_way_is_safe_although_whoever_passed_it_on_has_let_it_go() {
    const ROUNDS: u64 = 200;
    const AT_A_TIME: usize = 8;
    on_either_thread(|thread| async move {
        let Chain { a, b, c, d: _d, a_to_b, b_in, b_to_c, c_in, wire: _wire, c_to_d, d_in } = Chain::of(thread).await;
        passes_on(b_in, b_to_c);
        passes_on(c_in, c_to_d);
        let mut last_in = d_in;
        // One that is passed on again and again, while it is given back; the others are new each time.
        let (old, mut of_old) = catcher();
        for round in 0..ROUNDS {
            let mut of_new: Vec<Caught> = Vec::new();
            for _ in 0..AT_A_TIME {
                let (new, caught) = catcher();
                of_new.push(caught);
                a_to_b.do_send(Carry::to_actor(new));
                a_to_b.do_send(Carry::to_actor(old.clone()));
            }
            for _ in 0..2 * AT_A_TIME {
                next(&mut last_in).await.send(round);
            }
            for caught in &mut of_new {
                assert_eq!((caught.next().await, of_old.next().await), (round, round));
            }
        }
        drop(old);
        of_old.gone().await;
        settled(|| a.stats().boxes.is_empty() && relays(&b) == 0 && relays(&c) == 0).await;
        let dropped: u64 = [&a, &b, &c, &_d].map(|node| node.stats().dropped_total()).iter().sum();
        assert_eq!(dropped, 0);
    });
}

/// A message with a way back.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Letter {
    return_to: Address<Number>,
}

/// An address that passes by once or twice takes no numbers from those who need them.
#[test]
fn a_pointer_that_is_used_all_the_time_keeps_its_number_while_thousands_pass_by() {
    const FRESH: usize = 4_000;
    /// As few as there can be.
    const NUMBERS: usize = 64;
    on_either_thread(|thread| async move {
        // Nothing is written but what the test sends.
        let hour = Duration::from_secs(3600);
        let quiet = || Node::builder().io_thread(thread).interned(NUMBERS).heartbeat(hour).dead_after(hour);
        let (server, endpoint) = listening(quiet()).await;
        let client = quiet().start();
        // Names that are noticed when they are written in full.
        let (hot_box, fresh_box) = ("hot".repeat(80), "fresh".repeat(40));
        let mut hot_in: Mailbox<Letter> = server.mailbox().name(&hot_box).open().unwrap();
        let mut fresh_in: Mailbox<Letter> =
            server.mailbox().name(&fresh_box).buffer(Buffer::dropping(NUMBERS)).open().unwrap();
        let hot: Address<Letter> = client.remote(&endpoint, hot_box).unwrap();
        let fresh: Address<Letter> = client.remote(&endpoint, fresh_box).unwrap();
        let replies = client.mailbox::<Number>().name("replies".repeat(30)).open().unwrap();
        let mut sizes = Vec::new();
        for n in 0..FRESH {
            // Written twice, so that it is given a number.
            let passing = client.mailbox::<Number>().open().unwrap();
            for _ in 0..2 {
                fresh.do_send(Letter { return_to: passing.address() });
                next(&mut fresh_in).await;
            }
            if n % 8 == 0 {
                let before = server.stats().bytes_received;
                hot.do_send(Letter { return_to: replies.address() });
                next(&mut hot_in).await;
                sizes.push(server.stats().bytes_received - before);
            }
        }
        // In full, the box or the way back or both, until each was named twice with little else in between, which depends on
        // the keys of others; then by number.
        let in_full = sizes.iter().take_while(|size| **size > 200).count();
        assert!((2..20).contains(&in_full), "{sizes:?}");
        assert!(sizes[in_full..].iter().all(|size| *size < 16), "{sizes:?}");
        // A peer that set a higher number than there are would have been sent away.
        assert_eq!(client.stats().connects, 1);
    });
}
