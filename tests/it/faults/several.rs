//! Several connections between the same two nodes: each keeps its own order, none takes the place of another that is
//! well, and when one breaks those that are left serve.

use actix::System;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::RemoteMessage;
use serde::Deserialize;
use serde::Serialize;
use support::Events;
use support::Number;
use support::Ping;
use support::Pong;
use support::events;
use support::next;
use support::on_either_thread;
use support::transport::endpoint;
use support::watched;
use support::within;

use super::eager;
use super::listening;
use super::nothing_in_doubt;
use super::peer_down;
use super::peer_up;
use super::proxy::Proxy;
use super::reconnects;

/// Messages that are sent by each way.
const EACH: u64 = 2_000;

/// By which way a message was sent, and its number there.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Step {
    way: usize,
    n: u64,
}

/// A box with room for all that is sent here.
fn roomy<M: RemoteMessage + actix::Message<Result = ()>>(node: &Node, name: &str) -> Mailbox<M> {
    node.mailbox().name(name).buffer(Buffer::dropping(100_000)).open().expect("the name is free")
}

/// Sends by all ways in turn.
fn send_by(ways: &[Address<Step>]) {
    for n in 0..EACH {
        ways.iter().enumerate().for_each(|(way, to)| to.do_send(Step { way, n }));
    }
}

/// All that was sent by each of the ways comes, in order.
async fn all_arrive(inbox: &mut Mailbox<Step>, ways: usize) {
    let mut came = vec![0; ways];
    for _ in 0..EACH * ways as u64 {
        let Step { way, n } = next(inbox).await;
        assert_eq!(n, came[way], "in the order in which it was sent by way {way}");
        came[way] += 1;
    }
}

/// No connection of the node has ended until now.
async fn none_has_ended(node: &Node, ears: &mut Events) {
    assert_eq!(reconnects(node), 0);
    // Told of after whatever was told before.
    let (other, at) = listening(eager()).await;
    node.remote::<Number>(&at, "numbers").expect("an address").do_send(Number(1));
    let mut ended = Vec::new();
    let told = ears.find(|event| match event {
        Event::PeerDown { .. } => {
            ended.push(event.clone());
            None
        }
        Event::PeerUp { peer } => (*peer == other.id()).then_some(()),
        _ => None,
    });
    told.await;
    assert!(ended.is_empty(), "{ended:?}");
    within(other.shutdown()).await;
}

#[test]
fn two_nodes_that_dial_each_other_at_once_keep_both_connections() {
    on_either_thread(|thread| async move {
        let mut nodes = Vec::new();
        for _ in 0..2 {
            let (node, at) = listening(eager().io_thread(thread)).await;
            let (ears, inbox) = (events(&node), roomy::<Step>(&node, "steps"));
            nodes.push((node, at, ears, inbox));
        }
        let [(one, one_at, one_ears, one_inbox), (other, other_at, other_ears, other_inbox)] = &mut nodes[..] else {
            unreachable!("there are two");
        };
        let there = one.remote::<Step>(&other_at, "steps").expect("an address");
        let back = other.remote::<Step>(&one_at, "steps").expect("an address");
        // Neither has greeted the other when both dial.
        send_by(&[there]);
        send_by(&[back]);
        all_arrive(one_inbox, 1).await;
        all_arrive(other_inbox, 1).await;
        for node in [&*one, &*other] {
            let connections = watched(|| node.stats().connections, |connections| connections.len() == 2).await;
            assert!(connections.iter().all(|connection| connection.peer.is_some()), "{connections:?}");
        }
        none_has_ended(one, one_ears).await;
        none_has_ended(other, other_ears).await;
        within(one.shutdown()).await;
        within(other.shutdown()).await;
    });
}

#[test]
fn two_names_of_one_host_are_two_connections_that_do_not_hinder_each_other() {
    System::new().block_on(async {
        let (server, at) = listening(eager()).await;
        let (mut server_ears, mut inbox) = (events(&server), roomy::<Step>(&server, "steps"));
        let client = eager().start();
        let mut ears = events(&client);
        let port = at.port().expect("it is TCP");
        let names = [format!("127.0.0.1:{port}"), format!("localhost:{port}")].map(endpoint);
        let ways = names.map(|name| client.remote::<Step>(name, "steps").expect("an address"));
        assert_ne!(ways[0], ways[1], "an address is what it was made of");
        // While the connections are made, and while they are up.
        for _ in 0..2 {
            send_by(&ways);
            all_arrive(&mut inbox, 2).await;
        }
        assert_eq!(ways.each_ref().map(Address::node_id), [Some(server.id()); 2]);
        watched(|| server.stats().connections.len(), |&connections| connections == 2).await;
        nothing_in_doubt(&[&server, &client]).await;
        none_has_ended(&client, &mut ears).await;
        none_has_ended(&server, &mut server_ears).await;
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
}

#[test]
fn a_new_connection_takes_the_place_of_none_that_is_well() {
    System::new().block_on(async {
        let (server, at) = listening(eager()).await;
        let (mut server_ears, mut inbox) = (events(&server), roomy::<Step>(&server, "steps"));
        let client = eager().start();
        let (mut ways, mut proxies) = (Vec::new(), Vec::new());
        for count in 1..=8 {
            let proxy = Proxy::to(at.as_ref()).await;
            ways.push(client.remote::<Step>(&proxy.endpoint, "steps").expect("an address"));
            proxies.push(proxy);
            send_by(&ways[count - 1..]);
            assert_eq!(peer_up(&mut server_ears).await, client.id());
            for n in 0..EACH {
                assert_eq!(next(&mut inbox).await.n, n);
            }
            watched(|| server.stats().connections.len(), |&connections| connections == count).await;
        }
        send_by(&ways);
        all_arrive(&mut inbox, ways.len()).await;
        nothing_in_doubt(&[&server, &client]).await;
        none_has_ended(&server, &mut server_ears).await;
        assert!(proxies.iter().all(|proxy| proxy.accepted() == 1));
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
}

#[test]
fn a_connection_that_breaks_leaves_the_other_alone_which_then_serves_for_both() {
    System::new().block_on(async {
        let (server, at) = listening(eager()).await;
        let mut server_ears = events(&server);
        let mut pings: Mailbox<Ping> = server.mailbox().name("pings").open().expect("the name is free");
        let mut inbox = roomy::<Step>(&server, "steps");
        let client = eager().start();
        let (bad, good) = (Proxy::to(at.as_ref()).await, Proxy::to(at.as_ref()).await);
        let mut pongs: Mailbox<Pong> = client.mailbox().open().expect("a mailbox");
        let to = client.remote::<Ping>(&bad.endpoint, "pings").expect("an address");
        to.do_send(Ping { return_to: pongs.address(), n: 0 });
        // It came by the bad connection, and leads back by it.
        let return_to = next(&mut pings).await.return_to;
        let way = client.remote::<Step>(&good.endpoint, "steps").expect("an address");
        send_by(std::slice::from_ref(&way));
        bad.close();
        peer_down(&mut server_ears).await;
        send_by(std::slice::from_ref(&way));
        all_arrive(&mut inbox, 1).await;
        all_arrive(&mut inbox, 1).await;
        return_to.do_send(Pong(1));
        assert_eq!(next(&mut pongs).await, Pong(1), "the other connection serves");
        assert_eq!(good.accepted(), 1);
        bad.mend();
        nothing_in_doubt(&[&server, &client]).await;
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
}
