//! Links that stall, that pass one direction only, and that are slow: who says nothing is taken for dead, and who says
//! something is not: be it a byte, where no rate is asked for.
//!
//! How slow a link is, is counted in heartbeats that pass the other way, and not in time.

use std::future::Future;
use std::time::Duration;

use actix::System;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use support::Events;
use support::Number;
use support::Ping;
use support::Pong;
use support::Text;
use support::events;
use support::next;
use support::settled;
use support::transport::is_plain;
use support::watched;
use support::within;

use super::eager;
use super::listening;
use super::nothing_in_doubt;
use super::peer_silent;
use super::peer_up;
use super::proxy::Direction;
use super::proxy::Proxy;
use super::reconnects;
use super::wary;

/// Heartbeats until a silent peer is taken for dead.
const BEATS: usize = 6;

/// Takes a peer for dead after that many heartbeats in which nothing came.
fn strict() -> NodeBuilder {
    let every = Duration::from_millis(50);
    eager().heartbeat(every).dead_after(every * BEATS as u32)
}

/// Two nodes with a proxy between them, on one thread.
struct Two {
    server: Node,
    server_ears: Events,
    proxy: Proxy,
    client: Node,
    client_ears: Events,
}

impl Two {
    async fn new(builder: impl Fn() -> NodeBuilder) -> Two {
        let (server, at) = listening(builder()).await;
        let proxy = Proxy::to(at.to_string()).await;
        let client = builder().start();
        let (server_ears, client_ears) = (events(&server), events(&client));
        Two { server, server_ears, proxy, client, client_ears }
    }

    /// A box of the server, and its address at the client, over a connection of which both have heard.
    async fn numbers(&mut self) -> (Mailbox<Number>, Address<Number>) {
        let mut inbox = self.server.mailbox().name("numbers").open().expect("the name is free");
        let to = self.client.remote(&self.proxy.endpoint, "numbers").expect("an address");
        to.do_send(Number(0));
        assert_eq!(next(&mut inbox).await, Number(0));
        peer_up(&mut self.client_ears).await;
        peer_up(&mut self.server_ears).await;
        (inbox, to)
    }

    /// Neither has lost the other since the first connection.
    fn assert_unbroken(&self) {
        assert_eq!(
            (reconnects(&self.client), self.proxy.accepted()),
            (0, 1),
            "the first connection is the one there is"
        );
    }

    async fn end(self) {
        nothing_in_doubt(&[&self.server, &self.client]).await;
        within(self.client.shutdown()).await;
        within(self.server.shutdown()).await;
    }
}

/// Sends a number until it arrives; what is sent while there is no connection is dropped.
#[track_caller]
fn arrives(to: &Address<Number>, inbox: &mut Mailbox<Number>, n: u64) -> impl Future<Output = ()> {
    settled(move || {
        to.do_send(Number(n));
        std::iter::from_fn(|| inbox.try_recv()).any(|number| number == Number(n))
    })
}

/// Waits for something to pass, and for the next heartbeat therefore, if there is nothing else to be said.
async fn beat(direction: &Direction) {
    let before = direction.passed();
    settled(|| direction.passed() > before).await;
}

#[test]
fn a_link_that_stalls_is_given_up_by_both_and_heals_when_it_passes_again() {
    System::new().block_on(async {
        let mut two = Two::new(|| wary().handshake_timeout(Duration::from_secs(1))).await;
        let (mut inbox, to) = two.numbers().await;
        for n in 1..=2 {
            two.proxy.stall();
            to.do_send(Number(n));
            peer_silent(&mut two.client_ears).await;
            peer_silent(&mut two.server_ears).await;
            // Connections that are accepted, and by which nothing is ever said.
            let before = two.proxy.accepted();
            settled(|| two.proxy.accepted() >= before + 2).await;
            two.proxy.mend();
            arrives(&to, &mut inbox, 10 + n).await;
            // A connection that was not reported as up is not reported as down.
            peer_up(&mut two.client_ears).await;
            peer_up(&mut two.server_ears).await;
        }
        two.end().await;
    });
}

#[test]
fn a_link_that_passes_only_away_from_the_listener_is_given_up_by_it() {
    System::new().block_on(async {
        let mut two = Two::new(wary).await;
        let (mut inbox, to) = two.numbers().await;
        two.proxy.there.stall();
        to.do_send(Number(1));
        peer_silent(&mut two.server_ears).await;
        two.proxy.mend();
        arrives(&to, &mut inbox, 2).await;
        two.end().await;
    });
}

#[test]
fn a_link_that_passes_only_towards_the_listener_is_given_up_by_the_dialler() {
    System::new().block_on(async {
        let mut two = Two::new(wary).await;
        let (mut inbox, to) = two.numbers().await;
        two.proxy.back.stall();
        // These arrive, although the answer to no heartbeat does.
        to.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        peer_silent(&mut two.client_ears).await;
        two.proxy.mend();
        arrives(&to, &mut inbox, 2).await;
        two.end().await;
    });
}

#[test]
fn a_conversation_passes_one_byte_at_a_time() {
    const PINGS: u64 = 40;
    System::new().block_on(async {
        let two = Two::new(eager).await;
        two.proxy.there.in_pieces_of(1);
        two.proxy.back.in_pieces_of(1);
        let mut pings: Mailbox<Ping> = two.server.mailbox().name("pings").open().expect("the name is free");
        let to = two.client.remote::<Ping>(&two.proxy.endpoint, "pings").expect("an address");
        let mut pongs: Mailbox<Pong> = two.client.mailbox().open().expect("a mailbox");
        let mut others: Mailbox<Text> = two.server.mailbox().name("texts").open().expect("the name is free");
        let texts = two.client.remote::<Text>(&two.proxy.endpoint, "texts").expect("an address").recipient();
        let long = "as long as it takes ".repeat(100);
        for n in 0..PINGS {
            to.do_send(Ping { return_to: pongs.address(), n });
        }
        texts.do_send(Text(long.clone()));
        for n in 0..PINGS {
            let ping = next(&mut pings).await;
            assert_eq!(ping.n, n);
            ping.return_to.do_send(Pong(n));
            assert_eq!(next(&mut pongs).await, Pong(n));
        }
        assert_eq!(next(&mut others).await, Text(long));
        two.assert_unbroken();
        two.end().await;
    });
}

/// Sends a message of that many bytes by a link that passes only `pieces`, one with each heartbeat of the other side.
/// `least_rate` is what both ask for.
async fn crawls(least_rate: usize, bytes: usize, pieces: impl IntoIterator<Item = usize>) {
    let mut two = Two::new(|| strict().least_rate(least_rate).max_message(17 << 20).outbox(18 << 20)).await;
    let (mut inbox, to) = two.numbers().await;
    let mut texts: Mailbox<Text> = two.server.mailbox().name("texts").open().expect("the name is free");
    let large = two.client.remote::<Text>(&two.proxy.endpoint, "texts").expect("an address");
    // Content that differs at every place, so that nothing is left out or comes twice unseen.
    let text: String = (0_u64..).flat_map(|n| n.to_string().into_bytes()).take(bytes).map(char::from).collect();
    two.proxy.there.stall();
    large.do_send(Text(text.clone()));
    to.do_send(Number(1));
    let mut beats = 0;
    for piece in pieces {
        beat(&two.proxy.back).await;
        assert!(texts.is_empty(), "it is under way");
        two.proxy.there.allow(piece);
        beats += 1;
    }
    assert!(beats >= 4 * BEATS, "it takes several times as long as a silent peer is waited for");
    two.proxy.there.open();
    assert!(next(&mut texts).await == Text(text), "it arrives whole");
    assert_eq!(next(&mut inbox).await, Number(1), "and so does what comes after it");
    two.assert_unbroken();
    let dropped: u64 = [&two.server, &two.client].iter().map(|node| node.stats().dropped_total()).sum();
    assert_eq!(dropped, 0);
    two.end().await;
}

#[test]
fn a_peer_of_which_one_byte_comes_with_each_heartbeat_is_not_taken_for_dead_where_any_rate_will_do() {
    if !is_plain() {
        // Nothing is known to have come before a whole record has.
        return;
    }
    System::new().block_on(crawls(0, 1 << 20, std::iter::repeat_n(1, 4 * BEATS)));
}

#[test]
fn a_peer_that_is_busy_with_a_message_of_sixteen_megabytes_is_not_taken_for_dead() {
    // The system holds no more than the last piece on the way.
    System::new().block_on(crawls(256, 16 << 20, std::iter::repeat_n(500 << 10, 4 * BEATS)));
}

#[test]
fn a_listener_that_takes_connections_and_says_nothing_drops_what_waits_for_it_and_is_found_once_it_speaks() {
    System::new().block_on(async {
        let two = Two::new(|| eager().handshake_timeout(Duration::from_millis(200))).await;
        let mut inbox: Mailbox<Number> = two.server.mailbox().name("numbers").open().expect("the name is free");
        let to = two.client.remote(&two.proxy.endpoint, "numbers").expect("an address");
        two.proxy.stall();
        (0..10).for_each(|n| to.do_send(Number(n)));
        let gone = || two.client.stats().dropped.get(&DropReason::NotConnected).copied().unwrap_or(0);
        watched(gone, |&gone| gone == 10).await;
        two.proxy.mend();
        arrives(&to, &mut inbox, 11).await;
        two.end().await;
    });
}
