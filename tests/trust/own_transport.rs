//! Nodes over a transport of the application: everything that works over TCP works over it.

use actix::System;
use actix_hermod::Address;
use actix_hermod::AddressError;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::ListenError;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::ShapesError;
use serde::Deserialize;
use serde::Serialize;

use crate::memory::Memory;
use crate::memory::Says;
use support::Number;
use support::Ping;
use support::Pong;
use support::balanced;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::settled;
use support::within;

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Give(Address<Number>);

#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Subscribe(Address<Give>);

fn on(memory: &Memory) -> NodeBuilder {
    Node::builder().transport(memory.clone())
}

/// Starts a node that listens in the memory network.
async fn listening_on(memory: &Memory) -> (Node, Endpoint) {
    let node = on(memory).start();
    let endpoint = within(node.listen("memory:any")).await.expect("it listens");
    (node, endpoint)
}

#[test]
fn messages_and_answers_travel_and_the_endpoint_is_the_one_that_was_chosen() {
    System::new().block_on(async {
        let memory = Memory::default();
        let (server, endpoint) = listening_on(&memory).await;
        assert_eq!((endpoint.to_string().as_str(), endpoint.scheme()), ("memory:port 0", "memory"));
        let mut pings: Mailbox<Ping> = server.mailbox().name("pings").open().unwrap();
        let client = on(&memory).start();
        let mut pongs: Mailbox<Pong> = client.mailbox().open().unwrap();
        let to: Address<Ping> = client.remote(&endpoint, "pings").unwrap();
        to.do_send(Ping { return_to: pongs.address(), n: 3 });
        let ping = next(&mut pings).await;
        ping.return_to.do_send(Pong(ping.n));
        assert_eq!(next(&mut pongs).await, Pong(3));
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn a_link_is_made_again_after_it_was_cut() {
    System::new().block_on(async {
        let memory = Memory::default();
        let (server, endpoint) = listening_on(&memory).await;
        let mut numbers: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let client = on(&memory).start();
        let mut told = events(&client);
        let to: Address<Number> = client.remote(&endpoint, "numbers").unwrap();
        to.do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        memory.cut();
        told.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
        told.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
        to.do_send(Number(2));
        assert_eq!(next(&mut numbers).await, Number(2));
        assert_eq!(memory.dials(), 2);
        balanced(&[&server, &client]).await;
    });
}

#[test]
fn an_address_keeps_its_transport_in_its_uri() {
    System::new().block_on(async {
        let memory = Memory::default();
        let (server, endpoint) = listening_on(&memory).await;
        let mut numbers: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let uri = numbers.address().uri().unwrap();
        assert_eq!(uri, "hermod+memory://port%200/numbers");
        let client = on(&memory).start();
        client.resolve(&uri).unwrap().do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        assert_eq!(client.remote::<Number>(&endpoint, "numbers").unwrap().uri(), Some(uri));
    });
}

/// Introduces a box of `owner` to `client` through a hub, which then ends. Returns the address that the client was
/// given, and the box.
async fn introduced(memory: &Memory, client: &Node) -> (Node, Address<Number>, Mailbox<Number>, Node) {
    let (hub, hub_endpoint) = listening_on(memory).await;
    let (owner, _) = listening_on(memory).await;
    let mut subscriptions: Mailbox<Subscribe> = hub.mailbox().name("subscriptions").open().expect("it opens");
    let mut gifts: Mailbox<Give> = hub.mailbox().name("gifts").open().expect("it opens");
    let numbers: Mailbox<Number> = owner.mailbox().open().expect("it opens");
    let mut given: Mailbox<Give> = client.mailbox().open().expect("it opens");
    client.remote(&hub_endpoint, "subscriptions").expect("an address").do_send(Subscribe(given.address()));
    let subscriber = next(&mut subscriptions).await.0;
    owner.remote(&hub_endpoint, "gifts").expect("an address").do_send(Give(numbers.address()));
    subscriber.do_send(next(&mut gifts).await);
    let to = next(&mut given).await.0;
    (hub, to, numbers, owner)
}

#[test]
fn a_box_of_a_third_node_is_reached_directly_by_the_endpoint_that_its_node_names() {
    System::new().block_on(async {
        let memory = Memory::default();
        let client = on(&memory).start();
        let (hub, to, mut numbers, owner) = introduced(&memory, &client).await;
        to.do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        within(hub.shutdown()).await;
        assert!(client.stats().connections.iter().any(|connection| connection.peer == Some(owner.id())));
        to.do_send(Number(2));
        assert_eq!(next(&mut numbers).await, Number(2));
    });
}

#[test]
fn a_transport_decides_which_addresses_peers_may_name() {
    System::new().block_on(async {
        let memory = Memory { is_private: true, ..Memory::default() };
        let client = on(&memory).start();
        let (_hub, to, mut numbers, owner) = introduced(&memory, &client).await;
        to.do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        // By the hub, as a relay: nobody has dialled the owner.
        assert!(client.stats().connections.iter().all(|connection| connection.peer != Some(owner.id())));
        assert_eq!(memory.dials(), 2);
    });
}

#[test]
fn an_endpoint_without_a_transport_is_refused_with_the_schemes_that_there_are() {
    System::new().block_on(async {
        let node = on(&Memory::default()).start();
        let words = "carrier:pigeon has a scheme of no transport of this node, which has host:port, unix, memory";
        let uri = "hermod+carrier://pigeon/numbers";
        for refused in [node.remote::<Number>("carrier:pigeon", "numbers"), node.resolve(uri)] {
            let error = refused.unwrap_err();
            assert!(matches!(error, AddressError::InvalidEndpoint(_)), "{error:?}");
            assert_eq!(error.to_string(), words);
        }
        let error = within(node.listen("carrier:pigeon")).await.unwrap_err();
        assert!(matches!(error, ListenError::InvalidEndpoint(_)), "{error:?}");
        assert_eq!(error.to_string(), words);
        let error = within(node.shapes_at("carrier:pigeon")).await.unwrap_err();
        assert!(matches!(error, ShapesError::InvalidEndpoint(_)), "{error:?}");
        assert_eq!(error.to_string(), words);
        assert!(within(node.listen("memory:any")).await.is_ok());
        let taken = within(node.listen("memory:port 0")).await.unwrap_err();
        assert!(matches!(taken, ListenError::Io(ref error) if error.kind() == std::io::ErrorKind::AddrInUse));
    });
}

#[test]
fn a_scheme_is_given_once_and_is_not_that_of_a_transport_of_every_node() {
    struct Named(&'static str);

    impl actix_hermod::transport::Transport for Named {
        fn scheme(&self) -> &str {
            self.0
        }

        fn connect<'a>(
            &'a self,
            _: &'a str,
        ) -> actix_hermod::transport::BoxFuture<'a, std::io::Result<actix_hermod::transport::Channel>> {
            Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
        }

        fn bind<'a>(
            &'a self,
            _: &'a str,
        ) -> actix_hermod::transport::BoxFuture<'a, std::io::Result<Box<dyn actix_hermod::transport::Incoming>>>
        {
            Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
        }
    }

    let panics = |schemes: &'static [&'static str]| {
        std::panic::catch_unwind(|| {
            schemes.iter().fold(Node::builder(), |builder, scheme| builder.transport(Named(scheme)))
        })
        .is_err()
    };
    assert!(!panics(&["a", "b", "a+b"]));
    for schemes in [&["a", "a"][..], &["tcp"], &["unix"], &[""], &["A"], &["1a"], &["a:b"]] {
        assert!(panics(schemes), "{schemes:?}");
    }
}

#[test]
fn somebody_between_who_passes_a_greeting_on_does_not_get_past_the_binding() {
    System::new().block_on(async {
        let memory = Memory::default();
        let (server, endpoint) = listening_on(&memory).await;
        let _numbers: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let client = on(&Memory { is_intercepted: true, ..memory.clone() }).start();
        client.remote(&endpoint, "numbers").unwrap().do_send(Number(1));
        settled(|| dropped(&client, DropReason::NotConnected) == 1).await;
        assert!(server.stats().connections.is_empty());
    });
}

/// The accept loop of a node never waits for the handshake of a transport.
#[test]
fn a_thousand_silent_clients_do_not_keep_a_good_one_out() {
    System::new().block_on(async {
        let memory = Memory::default();
        let (server, endpoint) = listening_on(&memory).await;
        let mut numbers: Mailbox<Number> = server.mailbox().name("numbers").open().unwrap();
        let silent: Vec<_> = (0..1_000).map(|_| memory.dial("port 0", Says::Nothing).unwrap()).collect();
        let client = on(&memory).start();
        client.remote(&endpoint, "numbers").unwrap().do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        drop(silent);
    });
}

#[test]
fn a_node_without_the_transport_takes_an_address_of_it_and_does_not_dial() {
    System::new().block_on(async {
        let memory = Memory::default();
        let (server, endpoint) = listening(on(&memory)).await;
        let mut gifts: Mailbox<Give> = server.mailbox().name("gifts").open().unwrap();
        let client = on(&memory).start();
        let place: Address<Number> = client.remote("memory:nowhere", "numbers").unwrap();
        client.remote(&endpoint, "gifts").unwrap().do_send(Give(place));
        let given = next(&mut gifts).await.0;
        given.do_send(Number(1));
        settled(|| dropped(&server, DropReason::NotConnected) == 1).await;

        let plain = Node::start();
        let plain_endpoint = within(plain.listen("127.0.0.1:0")).await.unwrap();
        let mut gifts: Mailbox<Give> = plain.mailbox().name("gifts").open().unwrap();
        let place: Address<Number> = client.remote("memory:nowhere", "numbers").unwrap();
        client.remote(&plain_endpoint, "gifts").unwrap().do_send(Give(place));
        let given = next(&mut gifts).await.0;
        given.do_send(Number(1));
        settled(|| dropped(&plain, DropReason::NotConnected) == 1).await;
        assert_eq!(memory.dials(), 1, "only the node that has the transport has dialled");
        // At once, and not when a silent node would be given up.
        within(given.closed()).await;
    });
}

#[test]
fn peers_of_a_transport_are_counted_by_the_address_that_it_says() {
    System::new().block_on(async {
        for (peers_at, answered) in [(Some("192.0.2.1:1"), 2), (None, 3)] {
            let memory = Memory { peers_at: peers_at.map(|at| at.parse().unwrap()), ..Memory::default() };
            let server = on(&memory).max_per_address(2).start();
            let endpoint = within(server.listen("memory:any")).await.unwrap();
            let mut pings: Mailbox<Ping> = server.mailbox().name("pings").open().unwrap();
            actix::spawn(async move {
                while let Some(ping) = pings.recv().await {
                    ping.return_to.do_send(Pong(ping.n));
                }
            });
            let clients: Vec<Node> = (0..3).map(|_| on(&memory).start()).collect();
            let mut came = 0;
            for client in &clients {
                let mut pongs: Mailbox<Pong> = client.mailbox().open().unwrap();
                let to: Address<Ping> = client.remote(&endpoint, "pings").unwrap();
                to.do_send(Ping { return_to: pongs.address(), n: 1 });
                let refused = settled(|| dropped(client, DropReason::NotConnected) == 1);
                tokio::select! {
                    pong = next(&mut pongs) => came += pong.0,
                    () = refused => {}
                }
            }
            assert_eq!(came, answered, "{peers_at:?}");
        }
    });
}

/// Whatever the address is called: the transport says where it has led.
#[test]
fn a_peer_elsewhere_does_not_have_this_host_dialled_through_a_transport() {
    System::new().block_on(async {
        for (leads_to, is_direct) in [("127.0.0.1:1", false), ("192.0.2.1:1", true)] {
            let memory = Memory { leads_to: Some(leads_to.parse().unwrap()), ..Memory::default() };
            let client = on(&memory).start();
            let (_hub, to, mut numbers, owner) = introduced(&memory, &client).await;
            to.do_send(Number(1));
            assert_eq!(next(&mut numbers).await, Number(1));
            let is_linked = client.stats().connections.iter().any(|one| one.peer == Some(owner.id()));
            assert_eq!((is_linked, memory.dials()), (is_direct, 3), "{leads_to}");
        }
    });
}

#[test]
fn what_is_advertised_has_a_transport() {
    let starts = |builder: fn() -> NodeBuilder| std::panic::catch_unwind(|| drop(builder().start())).is_ok();
    System::new().block_on(async {
        assert!(starts(|| on(&Memory::default()).advertise("memory:elsewhere")));
        assert!(!starts(|| Node::builder().advertise("memory:elsewhere")));
        assert!(!starts(|| Node::builder().advertise("host:4242/")));
    });
}

/// Another node may listen under that name, too, for all that this one knows.
#[test]
fn a_name_of_a_transport_is_not_taken_for_this_nodes_own_before_it_is_dialled() {
    System::new().block_on(async {
        let memory = Memory::default();
        let (node, endpoint) = listening_on(&memory).await;
        let mut numbers: Mailbox<Number> = node.mailbox().name("numbers").open().unwrap();
        let to: Address<Number> = node.remote(&endpoint, "numbers").unwrap();
        assert!(!to.is_local());
        to.do_send(Number(1));
        assert_eq!(next(&mut numbers).await, Number(1));
        settled(|| to.is_local()).await;
    });
}
