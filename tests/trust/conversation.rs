//! The exchanges between two nodes that work over every transport, and the words of both when there is none.

use std::fmt::Display;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix_hermod::Address;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::Ping;
use support::Pong;
use support::Text;
use support::balanced;
use support::events;
use support::log::Log;
use support::next;
use support::within;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Square(u64);

struct Squares;

impl Actor for Squares {
    type Context = Context<Self>;
}

impl Handler<Square> for Squares {
    type Result = u64;

    fn handle(&mut self, Square(n): Square, _: &mut Context<Self>) -> u64 {
        n * n
    }
}

/// Exchanges messages, a long one, answers to addresses in messages, and the results of requests.
pub(crate) async fn converse(server: &Node, client: &Node, endpoint: impl AsRef<str>) {
    let endpoint = endpoint.as_ref();
    let mut pings: Mailbox<Ping> = server.mailbox().name("pings").open().expect("a box");
    let mut texts: Mailbox<Text> = server.mailbox().name("texts").open().expect("a box");
    server.publish::<Square>("squares", Squares.start()).expect("a box");
    let mut pongs: Mailbox<Pong> = client.mailbox().open().expect("a box");
    let to: Address<Ping> = client.remote(endpoint, "pings").expect("an address");
    for n in 0..10 {
        to.do_send(Ping { return_to: pongs.address(), n });
        let ping = next(&mut pings).await;
        ping.return_to.do_send(Pong(ping.n));
        assert_eq!(next(&mut pongs).await, Pong(n));
    }
    let long = Text("long ".repeat(100_000));
    client.remote::<Text>(endpoint, "texts").expect("an address").do_send(long.clone());
    assert!(next(&mut texts).await == long, "it arrives unchanged");
    let squares = client.remote::<Square>(endpoint, "squares").expect("an address");
    assert_eq!(within(squares.ask(Square(7))).await, Ok(49));
    balanced(&[server, client]).await;
}

/// Sends a number, and waits until it is there.
pub(crate) async fn reaches(client: &Node, endpoint: impl AsRef<str>, numbers: &mut Mailbox<Number>, n: u64) {
    client.remote(endpoint.as_ref(), "numbers").expect("an address").do_send(Number(n));
    assert_eq!(next(numbers).await, Number(n));
}

/// Returns the reasons that both sides give for not being connected: that of the drop at the side that dials, and that
/// in the log of the one that listens. Numbers of seconds are left out.
pub(crate) async fn refusal(
    dials: NodeBuilder,
    listens: NodeBuilder,
    at: &str,
    dialled: impl Fn(u16) -> String,
) -> [String; 2] {
    let (log, _hearing) = Log::start(tracing::Level::WARN);
    let listening = listens.io_thread(IoThread::Current).start();
    let endpoint = within(listening.listen(at)).await.expect("a free port");
    let dialling = dials.io_thread(IoThread::Current).start();
    let mut told = events(&dialling);
    let port = endpoint.port().expect("a port");
    let to: Address<Number> = dialling.remote(dialled(port), "numbers").expect("an address");
    to.do_send(Number(1));
    let dialler = told.find(|event| match event {
        Event::DeadLetter { detail: Some(detail), .. } => Some(detail.clone()),
        _ => None,
    });
    let dialler = dialler.await;
    let greets = "to=\"a node that has not greeted\" error=";
    let lines = log.says(&[greets]).await;
    let line = lines.lines().find(|line| line.contains(greets)).expect("the line that was found");
    let listener = line.split_once("error=").map_or(line, |(_, error)| error);
    // Nothing of them is to be heard by the next conversation on this thread.
    within(dialling.shutdown()).await;
    within(listening.shutdown()).await;
    [without_numbers(dialler, port), without_numbers(listener, port)]
}

fn without_numbers(text: impl Display, port: u16) -> String {
    let words = text.to_string().replace(&port.to_string(), "PORT");
    let words: Vec<&str> = words.split(' ').collect();
    let is_seconds = |at: usize| words.get(at + 1).is_some_and(|next| next.starts_with('s') && next.len() <= 2);
    let plain =
        (0..words.len()).map(|at| if words[at].parse::<u64>().is_ok() && is_seconds(at) { "N" } else { words[at] });
    plain.collect::<Vec<_>>().join(" ")
}
