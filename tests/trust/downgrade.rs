//! A path never falls below the protection under which its pointer came: whatever plain way there is, it is not taken.
//! Each test has a counterpart over channels without a binding, over which the plain way is taken.

use actix::System;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeId;
use serde::Deserialize;
use serde::Serialize;

use crate::memory::Memory;
use support::Number;
use support::dropped;
use support::events;
use support::next;
use support::settled;
use support::within;

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Give(Address<Number>);

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Subscribe(Address<Give>);

/// Two networks: one whose channels have a binding, or none where a test is to show the difference; and a plain one.
struct Networks {
    safe: Memory,
    plain: Memory,
}

impl Networks {
    fn new(is_safe: bool) -> Networks {
        Networks { safe: Memory::of("safe", is_safe), plain: Memory::of("plain", false) }
    }

    fn node(&self) -> NodeBuilder {
        Node::builder().transport(self.safe.clone()).transport(self.plain.clone())
    }

    /// Starts a hub, which listens in the first network and takes and hands out addresses.
    async fn hub(&self) -> Hub {
        let node = self.node().start();
        let at = within(node.listen("safe:hub")).await.expect("it listens").to_string();
        let gifts = node.mailbox().name("gifts").open().expect("it opens");
        let subscriptions = node.mailbox().name("subscriptions").open().expect("it opens");
        Hub { node, at, gifts, subscriptions }
    }
}

struct Hub {
    node: Node,
    at: String,
    gifts: Mailbox<Give>,
    subscriptions: Mailbox<Subscribe>,
}

impl Hub {
    /// Hands an address from one node to another. All messages go by way of the hub.
    async fn hand(&mut self, address: Address<Number>, from: &Node, to: &Node) -> Address<Number> {
        let mut given: Mailbox<Give> = to.mailbox().open().expect("it opens");
        to.remote(&self.at, "subscriptions").expect("an address").do_send(Subscribe(given.address()));
        let subscriber = next(&mut self.subscriptions).await.0;
        from.remote(&self.at, "gifts").expect("an address").do_send(Give(address));
        subscriber.do_send(next(&mut self.gifts).await);
        next(&mut given).await.0
    }
}

/// Returns the node that has handed over the next message, and whether it has relayed it.
async fn came_by(mailbox: &mut Mailbox<Number>, n: u64) -> (NodeId, bool) {
    let (message, origin) = within(mailbox.recv_from()).await.expect("it is open");
    assert_eq!(message, Number(n));
    (origin.peer().expect("it came over a connection").node, origin.is_relayed())
}

#[test]
fn a_plain_hint_is_not_followed_for_a_pointer_that_came_over_a_protected_channel() {
    System::new().block_on(async {
        for is_safe in [true, false] {
            let networks = Networks::new(is_safe);
            let mut hub = networks.hub().await;
            let (owner, client) = (networks.node().start(), networks.node().start());
            within(owner.listen("plain:owner")).await.unwrap();
            let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
            let to = hub.hand(inbox.address(), &owner, &client).await;
            to.do_send(Number(1));
            let expected = if is_safe { (hub.node.id(), true) } else { (client.id(), false) };
            assert_eq!(came_by(&mut inbox, 1).await, expected);
        }
    });
}

#[test]
fn a_plain_connection_that_is_open_does_not_serve_such_a_pointer() {
    System::new().block_on(async {
        for is_safe in [true, false] {
            let networks = Networks::new(is_safe);
            let mut hub = networks.hub().await;
            let (owner, client) = (networks.node().start(), networks.node().start());
            let at = within(owner.listen("plain:owner")).await.unwrap();
            let mut named: Mailbox<Number> = owner.mailbox().name("numbers").open().unwrap();
            let directly: Address<Number> = client.remote(&at, "numbers").unwrap();
            directly.do_send(Number(0));
            assert_eq!(came_by(&mut named, 0).await, (client.id(), false));
            let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
            let to = hub.hand(inbox.address(), &owner, &client).await;
            to.do_send(Number(1));
            let expected = if is_safe { (hub.node.id(), true) } else { (client.id(), false) };
            assert_eq!(came_by(&mut inbox, 1).await, expected);
            directly.do_send(Number(2));
            assert_eq!(came_by(&mut named, 2).await, (client.id(), false));
        }
    });
}

#[test]
fn when_the_relay_has_gone_no_plain_way_takes_its_place() {
    System::new().block_on(async {
        for is_safe in [true, false] {
            let networks = Networks::new(is_safe);
            let mut hub = networks.hub().await;
            let (owner, client) = (networks.node().start(), networks.node().start());
            let at = within(owner.listen("plain:owner")).await.unwrap();
            let named: Mailbox<Number> = owner.mailbox().name("numbers").open().unwrap();
            // Held, so that there is a connection all the time.
            let directly: Address<Number> = client.remote(&at, "numbers").unwrap();
            directly.do_send(Number(0));
            settled(|| named.len() == 1).await;
            let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
            let to = hub.hand(inbox.address(), &owner, &client).await;
            within(hub.node.shutdown()).await;
            if is_safe {
                assert!(within(to.ask(Number(1))).await.is_err());
                assert!(inbox.try_recv().is_none());
                assert!(directly.connected());
            } else {
                to.do_send(Number(1));
                assert_eq!(came_by(&mut inbox, 1).await, (client.id(), false));
            }
        }
    });
}

/// The box of the peer itself, when the channel that its pointer came over has ended.
#[test]
fn another_connection_to_the_same_node_serves_only_if_it_is_protected() {
    System::new().block_on(async {
        for (is_safe, second) in [(true, "plain:owner"), (true, "safe:owner"), (false, "plain:owner")] {
            let networks = Networks::new(is_safe);
            let mut client_hub = networks.hub().await;
            let owner = networks.node().start();
            let at = within(owner.listen(second)).await.unwrap();
            let mut named: Mailbox<Number> = owner.mailbox().name("numbers").open().unwrap();
            let mut inbox: Mailbox<Number> = owner.mailbox().open().unwrap();
            let gift: Address<Give> = owner.remote(&client_hub.at, "gifts").unwrap();
            gift.do_send(Give(inbox.address()));
            let to = next(&mut client_hub.gifts).await.0;
            let client = &client_hub.node;
            let directly: Address<Number> = client.remote(&at, "numbers").unwrap();
            directly.do_send(Number(0));
            assert_eq!(came_by(&mut named, 0).await, (client.id(), false));
            // The owner's connection to the client ends, as its last holder goes: the process forgets the address.
            let mut told = events(client);
            match second {
                "safe:owner" => drop(gift),
                _ => {
                    networks.safe.cut();
                    drop(gift);
                    told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
                }
            }
            if is_safe && second == "plain:owner" {
                let lost = dropped(client, DropReason::NotConnected);
                to.do_send(Number(1));
                settled(|| dropped(client, DropReason::NotConnected) > lost || inbox.len() == 1).await;
                // The owner may have dialled again.
                if let Some((_, origin)) = inbox.try_recv_from() {
                    assert_eq!(origin.peer().unwrap().transport, "safe", "{origin}");
                }
            } else {
                to.do_send(Number(1));
                assert_eq!(came_by(&mut inbox, 1).await, (client.id(), false));
            }
        }
    });
}

#[test]
fn a_plain_place_that_a_peer_names_over_a_protected_channel_leads_nowhere() {
    System::new().block_on(async {
        for is_safe in [true, false] {
            for at in ["plain:owner", "127.0.0.1:0"] {
                let networks = Networks::new(is_safe);
                let mut hub = networks.hub().await;
                let (owner, client) = (networks.node().start(), networks.node().start());
                let at = within(owner.listen(at)).await.unwrap();
                let mut named: Mailbox<Number> = owner.mailbox().name("numbers").open().unwrap();
                let to = hub.hand(client.remote(&at, "numbers").unwrap(), &client, &client).await;
                // The hub does not dial this host for a peer elsewhere.
                if is_safe || at.scheme() == "tcp" {
                    assert!(within(to.ask(Number(1))).await.is_err());
                    assert!(named.try_recv().is_none());
                } else {
                    to.do_send(Number(1));
                    assert_eq!(came_by(&mut named, 1).await, (client.id(), false));
                }
                // An address of one's own leads there all the same, also while the other is held.
                client.remote(&at, "numbers").unwrap().do_send(Number(2));
                assert_eq!(came_by(&mut named, 2).await, (client.id(), false));
                assert!(!is_safe || within(to.ask(Number(3))).await.is_err());
                assert!(!is_safe || within(to.pinned(owner.id()).ask(Number(4))).await.is_err());
            }
        }
    });
}

/// A transport that gives a binding, and none the next time.
#[test]
fn a_link_that_was_protected_is_not_made_again_without() {
    System::new().block_on(async {
        let networks = Networks::new(true);
        let hub = networks.hub().await;
        let client = networks.node().start();
        let mut numbers: Mailbox<Number> = hub.node.mailbox().name("numbers").open().unwrap();
        let to: Address<Number> = client.remote(&hub.at, "numbers").unwrap();
        to.do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        networks.safe.set_bound(false);
        let mut told = events(&client);
        let before = networks.safe.dials();
        networks.safe.cut();
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        settled(|| networks.safe.dials() > before).await;
        assert!(within(to.ask(Number(2))).await.is_err());
        assert!(!to.connected());
        networks.safe.set_bound(true);
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        to.do_send(Number(3));
        assert_eq!(next(&mut numbers).await, Number(3));
    });
}
