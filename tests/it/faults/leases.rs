//! Actors whose recipients a peer holds, over connections that break: they live until the peer has let them go, said goodbye,
//! or been away for `forget_after`. Nothing else keeps them here.

use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use proptest::prelude::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde::Serialize;
use support::Caught;
use support::Number;
use support::catcher;
use support::dropped;
use support::next;
use support::settled;
use support::watched;
use support::within;

use super::eager;
use super::listening;
use super::proxy::Proxy;

/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(36_000);

/// Brings a recipient along.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry {
    n: u64,
    #[serde(with = "actix_hermod::recipient")]
    actor: Recipient<Number>,
}

/// Asks for a recipient.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Order(Address<Carry>);

/// Two nodes, the first of which dials the other through a proxy, and the messages that bring recipients in each direction.
struct Pair {
    dialler: Node,
    listener: Node,
    proxy: Proxy,
    /// Where the listener is sent to, and reads.
    to: Address<Carry>,
    inbox: Mailbox<Carry>,
    /// Where the dialler is sent to, and reads.
    back: Address<Carry>,
    outbox: Mailbox<Carry>,
}

impl Pair {
    async fn start(builder: impl Fn() -> NodeBuilder) -> Pair {
        let (listener, endpoint) = listening(builder()).await;
        let buffer = || Buffer::dropping(4096);
        let inbox = listener.mailbox().name("inbox").buffer(buffer()).open().expect("a mailbox");
        let mut orders: Mailbox<Order> = listener.mailbox().name("orders").open().expect("a mailbox");
        let proxy = Proxy::to(endpoint.to_string()).await;
        let dialler = builder().start();
        let outbox: Mailbox<Carry> = dialler.mailbox().buffer(buffer()).open().expect("a mailbox");
        let to = dialler.remote(&proxy.endpoint, "inbox").expect("an address");
        dialler.remote(&proxy.endpoint, "orders").expect("an address").do_send(Order(outbox.address()));
        let Order(back) = next(&mut orders).await;
        Pair { dialler, listener, proxy, to, inbox, back, outbox }
    }

    /// Breaks the connection with all that is on its way.
    async fn lose(&self) {
        self.proxy.close();
        settled(|| self.proxy.carried() == 0).await;
        self.proxy.mend();
    }

    /// Breaks the connection, and waits for the next.
    async fn cut(&self) {
        let before = self.proxy.accepted();
        self.proxy.cut();
        settled(|| self.proxy.accepted() > before && self.proxy.carried() == 1).await;
    }
}

/// Boxes that stand for actors whose recipients were sent.
fn exported(node: &Node) -> usize {
    let type_name = std::any::type_name::<Number>();
    node.stats().boxes.iter().filter(|stats| stats.type_name == type_name).count()
}

/// Sends until one arrives: what is sent while there is no connection is lost.
async fn reaches(actor: &Recipient<Number>, caught: &mut Caught, n: u64) {
    let sending = async {
        loop {
            actor.do_send(Number(n));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let arriving = async { while caught.next().await != n {} };
    tokio::select! {
        () = sending => {}
        () = arriving => {}
    }
}

#[test]
fn what_the_listening_side_holds_survives_breaks_and_is_let_go_by_its_holder() {
    System::new().block_on(async {
        let mut pair = Pair::start(|| eager().forget_after(FOR_EVER)).await;
        let (actor, mut caught) = catcher();
        pair.to.do_send(Carry { n: 0, actor });
        let held = next(&mut pair.inbox).await;
        // Nobody here dials but for what is held there.
        drop((pair.to.clone(), std::mem::replace(&mut pair.to, pair.dialler.remote("127.0.0.1:1", "x").expect("one"))));
        for n in 1..=3 {
            pair.cut().await;
            reaches(&held.actor, &mut caught, n).await;
        }
        assert_eq!(exported(&pair.dialler), 1);
        drop(held);
        caught.gone().await;
        settled(|| exported(&pair.dialler) == 0).await;
        drop(pair.outbox);
    });
}

#[test]
fn what_the_dialling_side_holds_survives_breaks_and_is_let_go_by_its_holder() {
    System::new().block_on(async {
        let mut pair = Pair::start(|| eager().forget_after(FOR_EVER)).await;
        let (actor, mut caught) = catcher();
        pair.back.do_send(Carry { n: 0, actor });
        let held = next(&mut pair.outbox).await;
        for n in 1..=3 {
            pair.cut().await;
            reaches(&held.actor, &mut caught, n).await;
        }
        drop(held);
        caught.gone().await;
        settled(|| exported(&pair.listener) == 0).await;
    });
}

/// The next connection counts what the broken one did, however often it was counted there.
#[test]
fn one_of_two_recipients_of_an_actor_may_go_between_two_breaks() {
    System::new().block_on(async {
        let mut pair = Pair::start(|| eager().forget_after(FOR_EVER)).await;
        let (actor, mut caught) = catcher();
        (0..4).for_each(|n| pair.to.do_send(Carry { n, actor: actor.clone() }));
        drop(actor);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(next(&mut pair.inbox).await.actor);
        }
        for n in 0..4 {
            pair.cut().await;
            reaches(&held[0], &mut caught, n).await;
            held.pop();
        }
        caught.gone().await;
        settled(|| exported(&pair.dialler) == 0).await;
    });
}

/// It was counted when it was written, and the peer never had it.
#[test]
fn what_a_lost_message_brought_along_is_let_go_once_the_peer_is_back() {
    System::new().block_on(async {
        let mut pair = Pair::start(|| eager().forget_after(FOR_EVER)).await;
        let ((kept, mut keeps), (lost, loses)) = (catcher(), catcher());
        pair.to.do_send(Carry { n: 0, actor: kept });
        let held = next(&mut pair.inbox).await;
        pair.proxy.stall();
        pair.to.do_send(Carry { n: 1, actor: lost });
        // Written, and on its way for ever.
        settled(|| pair.dialler.stats().connections.iter().all(|link| link.outbox_bytes == 0)).await;
        assert!(loses.lives());
        pair.lose().await;
        loses.gone().await;
        reaches(&held.actor, &mut keeps, 1).await;
        assert_eq!(exported(&pair.dialler), 1);
    });
}

#[test]
fn a_peer_that_is_away_for_long_holds_nothing_any_more() {
    System::new().block_on(async {
        let brief = || eager().forget_after(Duration::from_millis(50));
        let mut pair = Pair::start(brief).await;
        let ((there, of_dialler), (here, of_listener)) = (catcher(), catcher());
        pair.to.do_send(Carry { n: 0, actor: there });
        pair.back.do_send(Carry { n: 0, actor: here });
        let held = (next(&mut pair.inbox).await, next(&mut pair.outbox).await);
        assert!(of_dialler.lives() && of_listener.lives());
        pair.proxy.close();
        of_dialler.gone().await;
        of_listener.gone().await;
        settled(|| exported(&pair.dialler) + exported(&pair.listener) == 0).await;
        pair.proxy.mend();
        // It comes back all the same, and what it states that it holds is not there any more.
        settled(|| {
            pair.to.do_send(Carry { n: 1, actor: catcher().0 });
            pair.inbox.try_recv().is_some_and(|carry| carry.n == 1)
        })
        .await;
        drop(held);
    });
}

/// Until then it is dialled although nobody here points there.
#[test]
fn a_peer_that_is_expected_no_longer_is_not_dialled_any_more() {
    System::new().block_on(async {
        let Pair { dialler, proxy, to, mut inbox, outbox, back, .. } =
            Pair::start(|| eager().forget_after(Duration::from_millis(300))).await;
        let (actor, caught) = catcher();
        to.do_send(Carry { n: 0, actor });
        let held = next(&mut inbox).await;
        drop((to, outbox, back));
        let before = proxy.accepted();
        proxy.close();
        settled(|| proxy.accepted() > before).await;
        caught.gone().await;
        settled(|| dialler.stats().connections.is_empty()).await;
        drop(held);
    });
}

#[test]
fn a_goodbye_after_a_break_lets_all_go() {
    System::new().block_on(async {
        let mut pair = Pair::start(|| eager().forget_after(FOR_EVER)).await;
        let ((actor, mut caught), (lost, loses)) = (catcher(), catcher());
        pair.to.do_send(Carry { n: 0, actor });
        let held = next(&mut pair.inbox).await;
        pair.cut().await;
        reaches(&held.actor, &mut caught, 1).await;
        pair.to.do_send(Carry { n: 1, actor: lost });
        let more = next(&mut pair.inbox).await;
        within(pair.listener.shutdown()).await;
        caught.gone().await;
        loses.gone().await;
        drop((held, more));
        assert_eq!(dropped(&pair.dialler, DropReason::NoSuchBox), 0);
    });
}

/// Something that happens to the two nodes or between them.
#[derive(Clone, Debug)]
enum Step {
    /// An actor's recipient is sent to the listener, or to the dialler.
    Send { back: bool },
    /// The holder lets one go that it has, if it has any.
    Drop { back: bool, which: usize },
    /// So many more bytes pass, and then the connection breaks.
    CutAfter { there: usize, back: usize },
    /// All that waits is taken up.
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use proptest::prelude::any;
    let step = proptest::prop_oneof![
        4 => any::<bool>().prop_map(|back| Step::Send { back }),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(back, which)| Step::Drop { back, which }),
        1 => (0_usize..600, 0_usize..600).prop_map(|(there, back)| Step::CutAfter { there, back }),
        2 => proptest::strategy::Just(Step::Read),
    ];
    proptest::collection::vec(step, 10..80)
}

/// Leases are conserved: after any sends, drops and breaks, an actor lives if and only if somebody holds its recipient.
#[test]
fn after_any_breaks_an_actor_lives_if_and_only_if_it_is_held() {
    const ROUNDS: usize = 24;
    let mut runner = TestRunner::default();
    for _ in 0..ROUNDS {
        let steps = steps().new_tree(&mut runner).expect("steps").current();
        let shown = format!("{steps:?}");
        System::new().block_on(async {
            tokio::time::timeout(Duration::from_secs(60), conserves(steps)).await.unwrap_or_else(|_| panic!("{shown}"));
        });
    }
}

async fn conserves(steps: Vec<Step>) {
    let pair = Pair::start(|| eager().forget_after(FOR_EVER)).await;
    let mut ledger = Ledger { pair, actors: Vec::new(), held: [Vec::new(), Vec::new()] };
    for step in steps {
        ledger.take(step).await;
    }
    ledger.read_all().await;
    ledger.check().await;
}

/// The number of a recipient that is sent only to see whether anything comes through.
const MARK: u64 = u64::MAX;

/// Two nodes, all actors that there ever were, and the recipients that are held: by the listener, and by the dialler.
struct Ledger {
    pair: Pair,
    actors: Vec<Caught>,
    held: [Vec<Carry>; 2],
}

impl Ledger {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Send { back } => {
                let (actor, caught) = catcher();
                let carry = Carry { n: self.actors.len() as u64, actor };
                self.actors.push(caught);
                if back { self.pair.back.do_send(carry) } else { self.pair.to.do_send(carry) }
            }
            Step::Drop { back, which } => {
                let of = &mut self.held[usize::from(back)];
                if !of.is_empty() {
                    of.swap_remove(which % of.len());
                }
            }
            Step::CutAfter { there, back } => {
                self.pair.proxy.stall();
                self.pair.proxy.there.allow(there);
                self.pair.proxy.back.allow(back);
                // All that waits is written, for nobody.
                settled(|| self.pair.dialler.stats().connections.iter().all(|link| link.outbox_bytes == 0)).await;
                self.pair.lose().await;
            }
            Step::Read => {
                self.read();
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes up what has come; whether a mark was among it, at either side.
    fn read(&mut self) -> [bool; 2] {
        let Pair { inbox, outbox, .. } = &mut self.pair;
        let mut marked = [false; 2];
        for ((inbox, held), marked) in [inbox, outbox].into_iter().zip(&mut self.held).zip(&mut marked) {
            for carry in std::iter::from_fn(|| inbox.try_recv()) {
                if carry.n == MARK {
                    *marked = true;
                } else {
                    held.push(carry);
                }
            }
        }
        marked
    }

    /// Waits until a message has come through in either direction: all before it has come, or is lost.
    async fn read_all(&mut self) {
        let (marker, _marked) = catcher();
        let mut marked = [false; 2];
        settled(|| {
            for (to, marked) in [&self.pair.to, &self.pair.back].into_iter().zip(&marked) {
                if !marked {
                    to.do_send(Carry { n: MARK, actor: marker.clone() });
                }
            }
            let now = self.read();
            marked = [marked[0] || now[0], marked[1] || now[1]];
            marked == [true; 2]
        })
        .await;
    }

    fn exported(&self) -> [usize; 2] {
        [exported(&self.pair.dialler), exported(&self.pair.listener)]
    }

    async fn check(mut self) {
        for carry in self.held.iter().flatten() {
            reaches(&carry.actor, &mut self.actors[carry.n as usize], carry.n).await;
        }
        let is_held = |n: usize| self.held.iter().flatten().any(|carry| carry.n == n as u64);
        let lost: Vec<&Caught> = (0..self.actors.len()).filter(|n| !is_held(*n)).map(|n| &self.actors[n]).collect();
        settled(|| lost.iter().all(|caught| !caught.lives())).await;
        let expected = [self.held[0].len(), self.held[1].len()];
        let left = || {
            // The last marks may still be on their way.
            self.read();
            self.exported()
        };
        watched(left, |left| *left == expected).await;
        self.held = [Vec::new(), Vec::new()];
        settled(|| self.actors.iter().all(|caught| !caught.lives())).await;
        settled(|| self.exported() == [0; 2]).await;
    }
}
