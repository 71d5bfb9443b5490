//! Boxes that are reached through a node in the middle, a hub, when their own process is killed: what holds a `Recipient` of
//! one hears of it by the hub alone.

use std::time::Duration;

use actix::Message;
use actix::System;
use actix_hermod::Address;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::next;
use support::settled;
use support::transport::over;
use tokio::time::Instant;

use super::listening;
use super::proxy::Proxy;

const DEAD_AFTER: Duration = Duration::from_secs(15);
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Has an address go on to the next node.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Carry(Address<Number>);

/// Asks for one.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Order(Address<Carry>);

fn of(dead_after: Duration) -> NodeBuilder {
    over(Node::builder()).io_thread(IoThread::Current).dead_after(dead_after).forget_after(FORGET_AFTER)
}

/// An owner of a box that listens nowhere, a hub that it has dialled over a proxy, and a client of the hub that holds the box.
struct Row {
    _owner: Node,
    /// Has the owner dial.
    _to_hub: Address<Carry>,
    inbox: Mailbox<Number>,
    proxy: Proxy,
    _hub: Node,
    _client: Node,
    held: Address<Number>,
}

impl Row {
    async fn with(hub: NodeBuilder) -> Row {
        let (hub, at) = listening(hub).await;
        let mut carried = hub.mailbox::<Carry>().name("carry").open().expect("a mailbox");
        let mut orders = hub.mailbox::<Order>().name("orders").open().expect("a mailbox");
        let proxy = Proxy::to(at.to_string()).await;
        let (owner, client) = (of(DEAD_AFTER).start(), of(DEAD_AFTER).start());
        let inbox = owner.mailbox().open().expect("a mailbox");
        let to_hub = owner.remote(&proxy.endpoint, "carry").expect("an address");
        to_hub.do_send(Carry(inbox.address()));
        let carry = next(&mut carried).await;
        let mut came = client.mailbox::<Carry>().open().expect("a mailbox");
        client.remote(&at, "orders").expect("an address").do_send(Order(came.address()));
        let Order(to) = next(&mut orders).await;
        to.do_send(carry);
        let Carry(held) = next(&mut came).await;
        Row { _owner: owner, _to_hub: to_hub, inbox, proxy, _hub: hub, _client: client, held }
    }

    /// Cuts the owner off from everybody, who cannot tell that from its death.
    async fn kill(&self) {
        self.proxy.close();
        settled(|| self.proxy.carried() == 0).await;
    }
}

/// How long it takes until that holds.
async fn time_until(holds: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < 100 * FORGET_AFTER, "it never does");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    began.elapsed()
}

#[test]
fn a_recipient_behind_a_hub_of_much_patience_ends_for_good_when_the_process_is_forgotten() {
    for dead_after in [DEAD_AFTER, 10 * DEAD_AFTER] {
        System::new().block_on(async {
            let mut row = Row::with(of(dead_after)).await;
            let recipient = row.held.recipient();
            recipient.do_send(Number(1));
            assert_eq!(next(&mut row.inbox).await, Number(1));
            tokio::time::pause();
            // With a heartbeat or two the recipient begins to wait.
            tokio::time::sleep(DEAD_AFTER).await;
            row.kill().await;
            let took = time_until(|| !recipient.connected()).await;
            let most = FORGET_AFTER + 2 * DEAD_AFTER;
            assert!((FORGET_AFTER..=most).contains(&took), "{took:?}, with a hub of {dead_after:?}");
        });
    }
}

/// The hub is in doubt again and again, and reaches the owner again each time.
#[test]
fn a_recipient_behind_a_hub_stays_connected_if_the_owner_comes_back_in_time() {
    System::new().block_on(async {
        let mut row = Row::with(of(10 * DEAD_AFTER)).await;
        let recipient = row.held.recipient();
        recipient.do_send(Number(0));
        assert_eq!(next(&mut row.inbox).await, Number(0));
        tokio::time::pause();
        tokio::time::sleep(DEAD_AFTER).await;
        for n in 1..=4 {
            row.kill().await;
            tokio::time::sleep(FORGET_AFTER * 3 / 4).await;
            assert!(recipient.connected(), "it may be back");
            row.proxy.mend();
            let mut came = None;
            let began = Instant::now();
            while came.is_none() {
                assert!(recipient.connected(), "{:?} after the proxy was mended, the {n}th time", began.elapsed());
                assert!(began.elapsed() < 100 * FORGET_AFTER, "nothing came, the {n}th time");
                recipient.do_send(Number(n));
                tokio::time::sleep(Duration::from_secs(1)).await;
                came = row.inbox.try_recv();
            }
            while row.inbox.try_recv().is_some() {}
            tokio::time::sleep(Duration::from_secs(n) * 10).await;
        }
        row.kill().await;
        let took = time_until(|| !recipient.connected()).await;
        assert!((FORGET_AFTER..=FORGET_AFTER + 2 * DEAD_AFTER).contains(&took), "{took:?}");
    });
}
