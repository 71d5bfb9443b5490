//! A client that listens nowhere: it dials again by itself while something here points at the server, and the server's
//! addresses of its boxes then work again. An impostor in the meantime gets nothing.

use actix::System;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeId;
use support::Events;
use support::Number;
use support::Ping;
use support::Pong;
use support::dropped;
use support::events;
use support::next;
use support::peer::Hello;
use support::peer::PATIENCE;
use support::peer::Peer;
use support::peer::fresh_id;
use support::peer::id_of;
use support::peer::key_of;
use support::peer::kind;
use support::settled;
use support::transport::is_plain;
use support::within;
use tokio::net::TcpListener;

use super::eager;
use super::listening;
use super::nothing_in_doubt;
use super::peer_down;
use super::peer_up;
use super::proxy::Proxy;
use super::wary;

/// A client that has sent the server the address of a mailbox, over a proxy.
struct Client {
    node: Node,
    ears: Events,
    proxy: Proxy,
    /// The cause for which it dials again.
    pointer: Address<Ping>,
    pongs: Mailbox<Pong>,
}

/// A server that holds the address of the client's mailbox.
struct Server {
    node: Node,
    at: String,
    ears: Events,
    return_to: Address<Pong>,
}

async fn acquainted() -> (Server, Client) {
    let (server, at) = listening(eager()).await;
    let mut server_ears = events(&server);
    let mut pings: Mailbox<Ping> = server.mailbox().name("pings").open().expect("the name is free");
    let proxy = Proxy::to(at.to_string()).await;
    let client = eager().start();
    let mut ears = events(&client);
    let pongs = client.mailbox().open().expect("a mailbox");
    let pointer = client.remote::<Ping>(&proxy.endpoint, "pings").expect("an address");
    pointer.do_send(Ping { return_to: pongs.address(), n: 0 });
    let return_to = next(&mut pings).await.return_to;
    peer_up(&mut ears).await;
    assert_eq!(peer_up(&mut server_ears).await, client.id());
    let server = Server { node: server, at: at.to_string(), ears: server_ears, return_to };
    (server, Client { node: client, ears, proxy, pointer, pongs })
}

impl Server {
    /// The client has come back, and is reached by the address that the server has held all the time.
    async fn reaches(&mut self, client: &mut Client, n: u64) {
        assert_eq!(peer_up(&mut self.ears).await, client.node.id());
        self.return_to.do_send(Pong(n));
        assert_eq!(next(&mut client.pongs).await, Pong(n));
    }
}

async fn end(server: Server, client: Client) {
    nothing_in_doubt(&[&server.node, &client.node]).await;
    within(client.node.shutdown()).await;
    within(server.node.shutdown()).await;
}

#[test]
fn a_client_that_was_cut_off_dials_again_by_itself_and_is_reached_by_the_addresses_of_before() {
    System::new().block_on(async {
        let (mut server, mut client) = acquainted().await;
        let recipient = server.return_to.recipient();
        for n in 1..=5 {
            client.proxy.cut();
            peer_down(&mut server.ears).await;
            // The client sends nothing: it holds an address, and that is why it comes back.
            server.reaches(&mut client, n).await;
            recipient.do_send(Pong(10 * n));
            assert_eq!(next(&mut client.pongs).await, Pong(10 * n));
        }
        assert!(client.pointer.connected());
        end(server, client).await;
    });
}

#[test]
fn a_client_that_is_kept_out_is_told_of_as_not_connected_until_it_comes_back() {
    System::new().block_on(async {
        let (mut server, mut client) = acquainted().await;
        let recipient = server.return_to.recipient();
        client.proxy.close();
        peer_down(&mut server.ears).await;
        assert!(!server.return_to.connected());
        (0..10).for_each(|n| server.return_to.do_send(Pong(n)));
        (10..20).for_each(|n| recipient.do_send(Pong(n)));
        settled(|| dropped(&server.node, DropReason::NotConnected) == 20).await;
        let before = client.proxy.accepted();
        settled(|| client.proxy.accepted() >= before + 3).await;
        client.proxy.mend();
        server.reaches(&mut client, 99).await;
        recipient.do_send(Pong(100));
        assert_eq!(next(&mut client.pongs).await, Pong(100), "a recipient is as good as before");
        end(server, client).await;
    });
}

#[test]
fn a_client_that_holds_no_address_of_the_server_does_not_dial_again() {
    System::new().block_on(async {
        let (mut server, client) = acquainted().await;
        let Client { node, mut ears, proxy, pointer, mut pongs } = client;
        let bypass = Proxy::to(&server.at).await;
        drop(pointer);
        proxy.cut();
        peer_down(&mut ears).await;
        peer_down(&mut server.ears).await;
        // Another connection comes and goes, and comes again after pauses as long as the first's would be.
        let other = node.remote::<Number>(&bypass.endpoint, "numbers").expect("an address");
        other.do_send(Number(1));
        for _ in 0..3 {
            assert_eq!(peer_up(&mut server.ears).await, node.id());
            bypass.cut();
            peer_down(&mut server.ears).await;
        }
        assert_eq!(peer_up(&mut server.ears).await, node.id());
        assert_eq!(proxy.accepted(), 1);
        server.return_to.do_send(Pong(7));
        assert_eq!(next(&mut pongs).await, Pong(7), "any connection serves");
        within(node.shutdown()).await;
        within(server.node.shutdown()).await;
    });
}

/// The id of a node, as it is on the wire.
fn raw(id: NodeId) -> [u8; 16] {
    *uuid::Uuid::parse_str(&id.to_string()).expect("ids are UUIDs").as_bytes()
}

/// Reads until a goodbye, or the end; what was sent to a box on the way would be somebody else's.
async fn hears_no_message(liar: &mut Peer) {
    let frames = liar.frames_to_end().await;
    let wrong: Vec<_> = frames.iter().filter(|frame| frame.kind != kind::GOODBYE).collect();
    assert!(wrong.is_empty(), "a liar is told nothing but goodbye: {wrong:?}");
}

#[test]
fn a_liar_gets_nothing_of_what_is_for_the_one_who_is_away() {
    if !is_plain() {
        // The liar speaks raw frames.
        return;
    }
    System::new().block_on(async {
        let (mut server, mut client) = acquainted().await;
        let key = key_of(&client.node).await;
        assert_eq!(id_of(&key), raw(client.node.id()));
        client.proxy.close();
        peer_down(&mut server.ears).await;
        let hello = Hello { key, ..Hello::of(fresh_id()) };

        // One that has not yet said that it is that node, and one that has, without its secret key.
        let mut hesitant = Peer::dial(&server.at).await;
        assert!(hesitant.says_hello(&hello).await);
        assert!(hesitant.hello().await.is_some());
        let mut bold = Peer::dial(&server.at).await;
        bold.proves(&hello, &[]).await;
        (0..10).for_each(|n| server.return_to.do_send(Pong(n)));
        hears_no_message(&mut bold).await;
        assert!(!server.return_to.connected());
        (10..20).for_each(|n| server.return_to.do_send(Pong(n)));
        let proof = hesitant.proof(&hello, &[]);
        assert!(hesitant.send(&proof).await);
        hears_no_message(&mut hesitant).await;
        assert_eq!(dropped(&server.node, DropReason::NotConnected), 20, "there was nobody to give them to");

        client.proxy.mend();
        server.reaches(&mut client, 20).await;
        end(server, client).await;
    });
}

#[test]
fn a_liar_that_the_server_has_dialled_gets_nothing_either() {
    if !is_plain() {
        // The liar speaks raw frames.
        return;
    }
    System::new().block_on(async {
        let (mut server, mut client) = acquainted().await;
        let key = key_of(&client.node).await;
        client.proxy.close();
        peer_down(&mut server.ears).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address").to_string();
        let astray = server.node.remote::<Number>(at, "numbers").expect("an address");
        astray.do_send(Number(1));
        let mut liar = Peer::accept(&listener).await;
        // It is told nothing at all, neither who has dialled nor what waits for that endpoint.
        assert_eq!(liar.answers(&Hello { key, ..Hello::of(fresh_id()) }).await, None);
        server.return_to.do_send(Pong(1));
        settled(|| dropped(&server.node, DropReason::NotConnected) == 2).await;

        client.proxy.mend();
        server.reaches(&mut client, 2).await;
        within(client.node.shutdown()).await;
        within(server.node.shutdown()).await;
    });
}

/// The listener has read the client's hello when the link stalls, and nothing after it; what the client then writes
/// comes through when another connection has long taken its place.
#[test]
fn a_greeting_that_comes_to_its_end_after_the_next_connection_leaves_nothing_in_doubt() {
    if !is_plain() {
        // The steps of the greeting are told by the bytes that have passed, and others come before them.
        return;
    }
    System::new().block_on(async {
        let (server, at) = listening(eager().handshake_timeout(PATIENCE)).await;
        let mut inbox: Mailbox<Number> = server.mailbox().name("numbers").open().expect("the name is free");
        let proxy = Proxy::to(at.as_ref()).await;
        let client = wary().start();
        let to = client.remote::<Number>(&proxy.endpoint, "numbers").expect("an address");
        proxy.there.stall();
        (0..10).for_each(|n| to.do_send(Number(n)));
        settled(|| {
            proxy.there.allow(1);
            proxy.back.passed() > 0
        })
        .await;
        proxy.freeze();
        proxy.there.open();
        settled(|| client.stats().in_doubt == 10).await;
        settled(|| {
            to.do_send(Number(10));
            inbox.try_recv().is_some()
        })
        .await;
        assert_eq!(proxy.carried(), 2);
        proxy.thaw();
        settled(|| proxy.carried() == 1).await;
        // All that has passed by now is read before this.
        to.do_send(Number(11));
        settled(|| inbox.try_recv() == Some(Number(11))).await;
        nothing_in_doubt(&[&server, &client]).await;
        assert_eq!(dropped(&client, DropReason::Lost), 10, "what came by the first connection was not read");
        within(client.shutdown()).await;
        within(server.shutdown()).await;
    });
}
