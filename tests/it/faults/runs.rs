//! A node that is started again with the key that it had: the same node to all who know its id, and another run of it. Of
//! its boxes without names, of what it held and of what was on its way nothing is left, as of a node with another id.

use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::CloseReason;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeKey;
use serde::Deserialize;
use serde::Serialize;
use support::Caught;
use support::Number;
use support::catcher;
use support::dropped;
use support::events;
use support::next;
use support::settled;
use support::transport;
use support::within;

use super::eager;
use super::listening;
use super::peer_down;
use super::peer_up;
use super::proxy::Proxy;

/// Longer than any test takes: nothing is let go because time has passed.
const FOR_EVER: Duration = Duration::from_secs(36_000);

/// A node that is started with that key.
fn run_of(key: &NodeKey) -> NodeBuilder {
    patient().identity(key.clone())
}

fn patient() -> NodeBuilder {
    eager().forget_after(FOR_EVER)
}

/// Brings the address of a box without a name, and an actor's recipient.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Meet {
    return_to: Address<Meet>,
    #[serde(with = "actix_hermod::recipient")]
    actor: Recipient<Number>,
}

/// One side's end of an acquaintance.
struct Side {
    node: Node,
    inbox: Mailbox<Meet>,
    /// Of the actor that the other side was given.
    caught: Caught,
    /// The messages that it was given.
    known: Meet,
}

/// A node that dials another through a proxy; both know a box without a name and an actor of each other.
async fn acquainted(dialler: NodeBuilder, listener: NodeBuilder) -> (Side, Side, Proxy, Address<Meet>) {
    let (listener, endpoint) = listening(listener).await;
    let mut named: Mailbox<Meet> = listener.mailbox().name("inbox").open().expect("a mailbox");
    let mut unnamed: Mailbox<Meet> = listener.mailbox().open().expect("a mailbox");
    let proxy = Proxy::to(endpoint.to_string()).await;
    let dialler = dialler.start();
    let mut back: Mailbox<Meet> = dialler.mailbox().open().expect("a mailbox");
    let ((theirs, their_actor), (ours, our_actor)) = (catcher(), catcher());
    let by_name = dialler.remote(&proxy.endpoint, "inbox").expect("an address");
    by_name.do_send(Meet { return_to: back.address(), actor: ours });
    let known = next(&mut named).await;
    known.return_to.do_send(Meet { return_to: unnamed.address(), actor: theirs });
    let of_listener = next(&mut back).await;
    // By the address of the box itself, too.
    of_listener.return_to.do_send(Meet { return_to: back.address(), actor: catcher().0 });
    next(&mut unnamed).await;
    let dialling = Side { node: dialler, inbox: back, caught: our_actor, known: of_listener };
    (dialling, Side { node: listener, inbox: unnamed, caught: their_actor, known }, proxy, by_name)
}

/// Cuts the connection, without any last words.
async fn cut_off(proxy: &Proxy) {
    proxy.close();
    settled(|| proxy.carried() == 0).await;
}

impl Side {
    /// All knowledge of the last run is gone, at once: nothing waits here for `forget_after`.
    async fn knows_that_the_last_run_is_over(&mut self, closed: impl Future<Output = CloseReason>) {
        assert_eq!(within(closed).await, CloseReason::NodeGone);
        assert_eq!(within(self.known.return_to.closed()).await, CloseReason::NodeGone, "and who asks now is told, too");
        settled(|| !self.known.actor.connected()).await;
        // Its leases are released.
        self.caught.gone().await;
        assert!(!self.known.return_to.connected());
        // Nothing is sent to the next run that was for a box of the last.
        let before = dropped(&self.node, DropReason::NotConnected);
        self.known.return_to.do_send(Meet { return_to: self.inbox.address(), actor: catcher().0 });
        assert_eq!(dropped(&self.node, DropReason::NotConnected), before + 1);
    }
}

#[test]
fn of_a_node_that_was_dialled_and_started_again_with_its_key_nothing_is_left_but_its_names() {
    System::new().block_on(async {
        let key = NodeKey::generate();
        let (mut here, last, proxy, by_name) = acquainted(patient(), run_of(&key)).await;
        let mut ears = events(&here.node);
        let closed = here.known.return_to.closed();
        // These leave, and whether they were read is never known: the run that could tell is gone.
        proxy.freeze();
        let (sent, mut left) = (here.node.stats().sent, 0);
        settled(|| {
            by_name.do_send(Meet { return_to: here.inbox.address(), actor: catcher().0 });
            left = here.node.stats().connections.first().map_or(0, |connection| connection.messages_sent);
            left >= sent + 3
        })
        .await;
        cut_off(&proxy).await;
        peer_down(&mut ears).await;
        let in_doubt = here.node.stats().in_doubt;
        assert!(in_doubt >= 3, "{in_doubt}");
        within(last.node.shutdown()).await;

        let (again, endpoint) = listening(run_of(&key)).await;
        assert_eq!(again.id(), key.id());
        let mut inbox: Mailbox<Meet> = again.mailbox().name("inbox").open().expect("a mailbox");
        proxy.lead_to(&endpoint);
        proxy.mend();
        assert_eq!(peer_up(&mut ears).await, key.id(), "to users it is the same node");
        here.knows_that_the_last_run_is_over(closed).await;
        assert_eq!((here.node.stats().in_doubt, dropped(&here.node, DropReason::Lost)), (in_doubt, 0));

        // By its name it is there again, and boxes of this run are reached as ever.
        by_name.do_send(Meet { return_to: here.inbox.address(), actor: catcher().0 });
        let met = next(&mut inbox).await;
        let mut unnamed: Mailbox<Meet> = again.mailbox().open().expect("a mailbox");
        met.return_to.do_send(Meet { return_to: unnamed.address(), actor: catcher().0 });
        let fresh = next(&mut here.inbox).await.return_to;
        assert!(fresh.connected());
        fresh.do_send(Meet { return_to: here.inbox.address(), actor: catcher().0 });
        next(&mut unnamed).await;
        drop(unnamed);
        assert_eq!(within(fresh.closed()).await, CloseReason::BoxClosed, "not that its node is gone");
        within(here.node.shutdown()).await;
        within(again.shutdown()).await;
    });
}

#[test]
fn of_a_node_that_has_dialled_and_was_started_again_with_its_key_nothing_is_left() {
    System::new().block_on(async {
        let key = NodeKey::generate();
        let (last, mut here, proxy, _) = acquainted(run_of(&key), patient()).await;
        let mut ears = events(&here.node);
        let closed = here.known.return_to.closed();
        cut_off(&proxy).await;
        peer_down(&mut ears).await;
        within(last.node.shutdown()).await;

        let again = run_of(&key).start();
        proxy.mend();
        let mut back: Mailbox<Meet> = again.mailbox().open().expect("a mailbox");
        let to = again.remote::<Meet>(&proxy.endpoint, "inbox").expect("an address");
        to.do_send(Meet { return_to: back.address(), actor: catcher().0 });
        assert_eq!(peer_up(&mut ears).await, key.id());
        here.knows_that_the_last_run_is_over(closed).await;
        assert!(back.try_recv().is_none());
        within(again.shutdown()).await;
        within(here.node.shutdown()).await;
    });
}

/// The goodbye was the last run's.
#[test]
fn a_node_that_has_said_goodbye_and_comes_again_with_its_key_is_not_taken_for_gone() {
    System::new().block_on(async {
        let key = NodeKey::generate();
        let (mut here, last, proxy, by_name) = acquainted(patient(), run_of(&key)).await;
        let mut ears = events(&here.node);
        let closed = here.known.return_to.closed();
        within(last.node.shutdown()).await;
        assert_eq!(within(closed).await, CloseReason::NodeGone);
        peer_down(&mut ears).await;

        let (again, endpoint) = listening(run_of(&key)).await;
        let mut inbox: Mailbox<Meet> = again.mailbox().name("inbox").open().expect("a mailbox");
        proxy.lead_to(&endpoint);
        assert_eq!(peer_up(&mut ears).await, key.id());
        by_name.do_send(Meet { return_to: here.inbox.address(), actor: catcher().0 });
        let unnamed: Mailbox<Meet> = again.mailbox().open().expect("a mailbox");
        next(&mut inbox).await.return_to.do_send(Meet { return_to: unnamed.address(), actor: catcher().0 });
        let fresh = next(&mut here.inbox).await.return_to;
        assert!(fresh.connected());
        // Also of a box that a third node introduces, which knows only this run.
        let (mut guests, guests_at) =
            (guests(&here.node), here.node.listen(transport::here()).await.expect("a free port"));
        let hub = patient().start();
        let mut of_hub: Mailbox<Meet> = hub.mailbox().open().expect("a mailbox");
        let to = hub.remote::<Meet>(&endpoint, "inbox").expect("an address");
        to.do_send(Meet { return_to: of_hub.address(), actor: catcher().0 });
        let mut third: Mailbox<Meet> = again.mailbox().open().expect("a mailbox");
        next(&mut inbox).await.return_to.do_send(Meet { return_to: third.address(), actor: catcher().0 });
        let theirs = next(&mut of_hub).await;
        hub.remote::<Meet>(&guests_at, "guests").expect("an address").do_send(theirs);
        let by_hub = next(&mut guests).await.return_to;
        assert_eq!(by_hub.node_id(), Some(key.id()));
        let closed = by_hub.closed();
        by_hub.do_send(Meet { return_to: here.inbox.address(), actor: catcher().0 });
        next(&mut third).await;
        drop(third);
        assert_eq!(within(closed).await, CloseReason::BoxClosed, "not that its node is gone");
        for node in [here.node, hub, again] {
            within(node.shutdown()).await;
        }
    });
}

fn guests(node: &Node) -> Mailbox<Meet> {
    node.mailbox().name("guests").open().expect("a mailbox")
}

/// Two at a time are a mistake; but what is sent to the one does not end in the other.
#[test]
fn another_run_of_this_very_node_is_not_taken_for_this_one() {
    System::new().block_on(async {
        let key = NodeKey::generate();
        let (one, endpoint) = listening(run_of(&key)).await;
        let mut theirs: Mailbox<Number> = one.mailbox().name("numbers").open().expect("a mailbox");
        let other = run_of(&key).start();
        let mut ours: Mailbox<Number> = other.mailbox().name("numbers").open().expect("a mailbox");
        let to = other.remote::<Number>(&endpoint, "numbers").expect("an address");
        for n in 1..=20 {
            to.do_send(Number(n));
            assert_eq!(next(&mut theirs).await, Number(n));
        }
        assert_eq!((to.node_id(), to.is_local()), (Some(other.id()), false));
        assert!(ours.try_recv().is_none());
        within(other.shutdown()).await;
        within(one.shutdown()).await;
    });
}
