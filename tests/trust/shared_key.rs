//! Nodes that share a key, and strangers who do not have it.

use actix::System;
use actix_hermod::DownReason;
use actix_hermod::Event;
use actix_hermod::Identity;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::Origin;
use actix_hermod::SharedKey;
use support::Number;
use support::Text;
use support::events;
use support::log::Log;
use support::within;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::conversation::converse;
use crate::conversation::reaches;
use crate::conversation::refusal;
use crate::proxy::Changes;
use crate::proxy::Proxy;

fn key(byte: u8) -> SharedKey {
    SharedKey::from_bytes([byte; 32])
}

fn over(key: SharedKey) -> NodeBuilder {
    Node::builder().transport(key)
}

/// Starts a node that listens, with a box for numbers. Returns its port as well.
async fn listening(key: SharedKey) -> (Node, u16, Mailbox<Number>) {
    let node = over(key).start();
    let numbers = node.mailbox().name("numbers").open().expect("a box");
    let endpoint = within(node.listen("key:127.0.0.1:0")).await.expect("a free port");
    assert_eq!(endpoint.scheme(), "key");
    (node, endpoint.port().expect("the port that was chosen"), numbers)
}

fn at(port: u16) -> String {
    format!("key:127.0.0.1:{port}")
}

#[test]
fn all_that_works_over_tcp_works_with_a_shared_key() {
    System::new().block_on(async {
        let (server, port, _numbers) = listening(key(1)).await;
        converse(&server, &over(key(1)).start(), format!("key:localhost:{port}")).await;
    });
}

#[test]
fn a_link_is_made_again_after_it_was_cut() {
    System::new().block_on(async {
        let (_server, port, mut numbers) = listening(key(1)).await;
        let proxy = Proxy::start(port, Changes::default()).await;
        let client = over(key(1)).start();
        let mut told = events(&client);
        let through = at(proxy.port);
        let _held = client.remote::<Number>(&through, "numbers").unwrap();
        reaches(&client, &through, &mut numbers, 1).await;
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        proxy.cut();
        let down = |event: &Event| match event {
            Event::PeerDown { why, .. } => Some(why.clone()),
            _ => None,
        };
        assert_eq!(told.find(down).await, DownReason::Lost, "there was no goodbye");
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        reaches(&client, &through, &mut numbers, 2).await;
    });
}

#[test]
fn a_byte_that_is_changed_on_the_way_breaks_the_link() {
    System::new().block_on(async {
        let (server, port, mut numbers) = listening(key(1)).await;
        let changes = Changes { to_listener: Some(60_000), to_dialler: None };
        let proxy = Proxy::start(port, changes).await;
        let client = over(key(1)).start();
        let mut texts: Mailbox<Text> = server.mailbox().name("texts").open().unwrap();
        let mut told = events(&client);
        reaches(&client, at(proxy.port), &mut numbers, 1).await;
        client.remote(at(proxy.port), "texts").unwrap().do_send(Text("x".repeat(100_000)));
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        assert!(texts.try_recv().is_none());
    });
}

#[test]
fn with_another_key_both_sides_say_so() {
    System::new().block_on(async {
        let [dialler, listener] = refusal(over(key(1).named("blue")), over(key(2)), "key:127.0.0.1:0", at).await;
        assert_eq!(dialler, "the listener does not have the key blue");
        assert_eq!(listener, "the peer has another key");
    });
}

#[test]
fn plain_endpoints_and_those_with_a_key_do_not_meet() {
    System::new().block_on(async {
        let [dialler, listener] =
            refusal(Node::builder(), over(key(1)), "key:127.0.0.1:0", |port| format!("127.0.0.1:{port}")).await;
        assert_eq!(dialler, "the peer hung up before it had greeted");
        assert_eq!(listener, "the other side speaks without a key: dial key:host:port");
        let [dialler, listener] = refusal(over(key(1)), Node::builder(), "127.0.0.1:0", at).await;
        assert_eq!(dialler, "the other side hung up before it had proven the key: does it listen at a key endpoint?");
        assert_eq!(listener, "the peer speaks another protocol");
    });
}

/// In each step of a change of the key, every node reaches every other.
#[test]
fn while_the_key_is_changed_all_nodes_reach_one_another() {
    System::new().block_on(async {
        let steps = [key(1), key(1).and(key(2)), key(2).and(key(1)), key(2)];
        for pair in steps.windows(2) {
            for (there, here) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
                let (server, port, mut numbers) = listening(pair[there].clone()).await;
                let client = over(pair[here].clone()).start();
                reaches(&client, at(port), &mut numbers, 7).await;
                client.shutdown().await;
                server.shutdown().await;
            }
        }
    });
}

#[test]
fn a_message_says_by_which_key_its_sender_came_in() {
    System::new().block_on(async {
        let both = key(1).named("old").and(key(2).named("new"));
        let (server, port, mut numbers) = listening(both).await;
        let client = over(key(2)).start();
        client.remote(at(port), "numbers").expect("an address").do_send(Number(1));
        let (_, origin) = within(numbers.recv_from()).await.expect("a message");
        let Origin::Peer { info, relayed, .. } = origin else { panic!("{origin:?} is no peer") };
        assert_eq!((&*info.transport, info.node, relayed), ("key", client.id(), false));
        assert_eq!(info.identity, Identity::Key { name: "new".to_owned() });
        // The side that has dialled knows the same of the other.
        let connections = client.stats().connections;
        let there = connections.iter().find_map(|connection| connection.info.as_ref()).expect("a proven peer");
        assert_eq!((&*there.transport, there.node), ("key", server.id()));
    });
}

/// All bytes of a dialler are sent once more, to the same listener.
#[test]
fn a_recorded_connection_is_worthless() {
    let (log, _hearing) = Log::start(tracing::Level::WARN);
    System::new().block_on(async {
        let server = over(key(1)).io_thread(IoThread::Current).start();
        let mut numbers = server.mailbox().name("numbers").open().expect("a box");
        let endpoint = within(server.listen("key:127.0.0.1:0")).await.expect("a free port");
        let port = endpoint.port().expect("a port");
        let proxy = Proxy::start(port, Changes::default()).await;
        let client = over(key(1)).start();
        reaches(&client, at(proxy.port), &mut numbers, 1).await;
        let recorded = proxy.recorded();
        assert!(recorded.len() > 200, "only {} bytes were recorded", recorded.len());
        let mut again = TcpStream::connect(("127.0.0.1", port)).await.expect("a listener");
        again.write_all(&recorded).await.expect("it reads");
        again.shutdown().await.expect("it reads");
        let mut answer = Vec::new();
        within(again.read_to_end(&mut answer)).await.expect("it ends");
        assert_eq!(answer.len(), 50, "it answers as to any first step, and not to the rest");
        log.says(&["no connection", "may be a recorded one"]).await;
        assert!(numbers.try_recv().is_none());
        assert_eq!(server.stats().connections.len(), 1);
    });
}

/// A node that dials itself by another name has both ends of the channel.
#[test]
fn a_node_may_dial_itself() {
    System::new().block_on(async {
        let (node, port, mut numbers) = listening(key(1)).await;
        reaches(&node, format!("key:localhost:{port}"), &mut numbers, 1).await;
    });
}

#[test]
fn a_thousand_silent_clients_do_not_delay_a_good_one() {
    System::new().block_on(async {
        let server = over(key(1)).max_per_address(4_096).start();
        let mut numbers = server.mailbox().name("numbers").open().expect("a box");
        let endpoint = within(server.listen("key:127.0.0.1:0")).await.expect("a free port");
        let port = endpoint.port().expect("a port");
        let mut silent = Vec::new();
        for n in 0..1_000 {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a listener");
            if n % 2 == 0 {
                stream.try_write(&[0, 48, 1, 2, 3]).expect("room");
            }
            silent.push(stream);
        }
        reaches(&over(key(1)).start(), at(port), &mut numbers, 1).await;
        drop(silent);
    });
}
