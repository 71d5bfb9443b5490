//! The table in the docs of `Address`, cell by cell: the answers of each kind of handle after each thing that can happen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::Actor;
use actix::ActorContext;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Mailbox;
use actix_hermod::MailboxError;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::SendError;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::next;
use support::settled;
use support::transport::over;
use support::within;

use super::listening;
use super::proxy::Proxy;

/// The table, as it stands in the docs.
const TABLE: &str = include_str!("../../../src/handle/handle_states.md");

/// Brings along what leads to boxes without a name.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Gift {
    mailbox: Address<Number>,
    #[serde(with = "actix_hermod::recipient")]
    actor: Recipient<Number>,
}

/// Asks for it.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Order(Address<Gift>);

/// A node that notices everything soon.
fn quick() -> NodeBuilder {
    over(Node::builder())
        .reconnect(Duration::from_millis(5)..=Duration::from_millis(20))
        .heartbeat(Duration::from_millis(20))
        .handshake_timeout(Duration::from_millis(100))
        .dead_after(Duration::from_millis(200))
        .forget_after(Duration::from_millis(400))
}

/// A server, as a test that can do anything to it sees it.
struct Server {
    node: Node,
    proxy: Option<Proxy>,
    named: Mailbox<Number>,
    unnamed: Mailbox<Number>,
    actor: Recipient<Number>,
}

/// Has the actor stop.
const STOP: u64 = u64::MAX;

/// An actor as any other.
struct Worker;

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Number> for Worker {
    type Result = ();

    fn handle(&mut self, Number(n): Number, ctx: &mut Context<Self>) {
        if n == STOP {
            ctx.stop();
        }
    }
}

/// The handles of one kind each.
struct Client {
    node: Node,
    by_name: Address<Number>,
    to_box: Address<Number>,
    actor: Recipient<Number>,
    named: Recipient<Number>,
}

/// The answers of one handle.
type Said = [String; 4];

async fn start(patient: bool) -> (Server, Client) {
    start_with(|| if patient { quick().dead_after(FOR_EVER).forget_after(FOR_EVER) } else { quick() }).await
}

async fn start_with(builder: impl Fn() -> NodeBuilder) -> (Server, Client) {
    let (node, endpoint) = listening(builder()).await;
    let proxy = Proxy::to(endpoint.to_string()).await;
    let named = node.mailbox().name("numbers").open().expect("a mailbox");
    let unnamed: Mailbox<Number> = node.mailbox().open().expect("a mailbox");
    let mut orders: Mailbox<Order> = node.mailbox().name("orders").open().expect("a mailbox");
    let client = builder().start();
    let mut gifts: Mailbox<Gift> = client.mailbox().open().expect("a mailbox");
    client.remote(&proxy.endpoint, "orders").expect("an address").do_send(Order(gifts.address()));
    let Order(to) = next(&mut orders).await;
    let actor = Worker.start().recipient();
    to.do_send(Gift { mailbox: unnamed.address(), actor: actor.clone() });
    let Gift { mailbox, actor: held } = next(&mut gifts).await;
    let by_name: Address<Number> = client.remote(&proxy.endpoint, "numbers").expect("an address");
    let recipient = client.remote(&proxy.endpoint, "numbers").expect("an address").recipient();
    let server = Server { node, proxy: Some(proxy), named, unnamed, actor };
    (server, Client { node: client, by_name, to_box: mailbox, actor: held, named: recipient })
}

/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(36_000);

impl Server {
    /// Takes what comes, so that requests are answered.
    fn reads(&mut self) {
        for mailbox in [&mut self.named, &mut self.unnamed] {
            while mailbox.try_recv().is_some() {}
        }
    }
}

fn why_not(error: &AskError) -> String {
    match error {
        AskError::NotDelivered { reason, .. } => format!("{reason:?}"),
        AskError::OutcomeUnknown { reason } => format!("unknown: {reason:?}"),
        other => format!("{other:?}"),
    }
}

fn sent<T>(result: Result<(), SendError<T>>) -> &'static str {
    match result {
        Ok(()) => "Ok",
        Err(SendError::Full(_)) => "Full",
        Err(SendError::Closed(_)) => "Closed",
    }
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// The answers of an address now; `closed` is what it said before, if it did.
async fn address_says(address: &Address<Number>, closed: &str, server: &mut Server) -> Said {
    let tried = sent(address.try_send(Number(1))).to_owned();
    let ask = address.ask(Number(2)).timeout(Duration::from_secs(5));
    let asked = answered(ask, server).await.map_or_else(|error| why_not(&error), |()| "an answer".to_owned());
    [yes(address.connected()), closed.to_owned(), tried, asked]
}

async fn recipient_says(recipient: &Recipient<Number>, server: &mut Server) -> Said {
    let tried = sent(recipient.try_send(Number(1))).to_owned();
    let asked = match answered(recipient.send(Number(2)).timeout(Duration::from_secs(5)), server).await {
        Ok(()) => "an answer",
        Err(MailboxError::Closed) => "Closed",
        Err(_) => "Timeout",
    };
    [yes(recipient.connected()), "–".to_owned(), tried, asked.to_owned()]
}

/// Waits for an answer, while the server reads.
async fn answered<T>(asked: impl Future<Output = T>, server: &mut Server) -> T {
    let reading = async {
        loop {
            server.reads();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        never = reading => never,
    }
}

/// The rows of the table for one thing that happens: what each kind of handle says.
fn expected(event: &str) -> BTreeMap<String, Said> {
    let mut handle = String::new();
    let rows = TABLE.lines().filter(|line| line.starts_with("| ")).filter_map(|line| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [kind, what, said @ ..] = &cells[..] else { panic!("a row of another form: {line}") };
        if !kind.is_empty() {
            handle.clone_from(kind);
        }
        (what == event).then(|| (handle.clone(), said.to_vec().try_into().expect("four cells")))
    });
    rows.collect()
}

/// Whether each thing that is said is one of those that may be.
fn is_among(said: &Said, expected: &Said) -> bool {
    said.iter().zip(expected).all(|(said, expected)| expected.split(" or ").any(|one| one == said))
}

/// Lets something happen, and looks at all handles until they say what the table has.
async fn check(event: &str, patient: bool, happens: impl AsyncFnOnce(&mut Server, &Client)) {
    let (mut server, client) = start(patient).await;
    // Each leads somewhere, and is used once.
    for address in [&client.by_name, &client.to_box] {
        let asked = address.ask(Number(0)).timeout(Duration::from_secs(5));
        answered(asked, &mut server).await.expect("it is there");
    }
    for recipient in [&client.actor, &client.named] {
        answered(recipient.send(Number(0)), &mut server).await.expect("it is there");
    }
    let closings = [client.by_name.closed(), client.to_box.closed()].map(|closing| {
        let told = Rc::new(RefCell::new("waits".to_owned()));
        let tell = Rc::clone(&told);
        actix::spawn(async move { *tell.borrow_mut() = format!("{:?}", closing.await) });
        told
    });
    happens(&mut server, &client).await;
    let expected = expected(event);
    assert_eq!(expected.len(), 4, "{event}: {expected:?}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(8);
    loop {
        let [by_name, to_box] = [0, 1].map(|n| closings[n].borrow().clone());
        let said = BTreeMap::from([
            ("Address by name".to_owned(), address_says(&client.by_name, &by_name, &mut server).await),
            (
                "Address of a mailbox without a name".to_owned(),
                address_says(&client.to_box, &to_box, &mut server).await,
            ),
            ("Recipient of an actor".to_owned(), recipient_says(&client.actor, &mut server).await),
            ("Recipient by name".to_owned(), recipient_says(&client.named, &mut server).await),
        ]);
        if said.iter().all(|(handle, said)| is_among(said, &expected[handle])) {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{event}: this is said:\n{said:#?}\nand this expected:\n{expected:#?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// From the client's side a process that was killed cannot be told from one to which nothing leads any more.
fn kill(server: &mut Server) {
    server.proxy = None;
}

impl Server {
    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("it was not killed")
    }
}

#[test]
fn when_the_box_closes() {
    System::new().block_on(check("the box closes, or its actor stops", false, async |server, _| {
        server.named.close();
        server.unnamed.close();
        server.actor.do_send(Number(STOP));
    }));
}

#[test]
fn when_its_node_is_shut_down() {
    System::new().block_on(check("its node is shut down", false, async |server, _| {
        within(server.node.shutdown()).await;
        kill(server);
    }));
}

#[test]
fn when_its_process_is_killed() {
    System::new().block_on(check("its process is killed", false, async |server, _| kill(server)));
}

#[test]
fn when_its_process_is_killed_behind_a_proxy_that_accepts_and_hangs_up() {
    let event = "its process is killed behind a proxy that accepts";
    System::new().block_on(check(event, false, async |server, _| server.proxy().close()));
}

#[test]
fn when_its_process_is_killed_behind_a_proxy_that_accepts_and_is_silent() {
    let event = "its process is killed behind a proxy that accepts";
    System::new().block_on(check(event, false, async |server, _| server.proxy().stall()));
}

/// However long it takes: nobody has greeted.
#[test]
fn a_connection_that_is_tried_again_is_none_until_it_is_made() {
    System::new().block_on(async {
        let (server, client) = start_with(|| quick().handshake_timeout(FOR_EVER).dead_after(FOR_EVER)).await;
        let proxy = server.proxy();
        settled(|| client.by_name.connected() && client.to_box.connected()).await;
        let before = proxy.accepted();
        proxy.stall();
        proxy.cut();
        settled(|| proxy.accepted() > before).await;
        assert!(!client.by_name.connected() && !client.to_box.connected());
        proxy.mend();
        settled(|| client.by_name.connected() && client.to_box.connected()).await;
    });
}

#[test]
fn when_another_node_takes_its_place() {
    let other = Rc::new(RefCell::new(None));
    let event = "another node answers at its endpoint";
    System::new().block_on(check(event, true, async |server, _| {
        let (node, endpoint) = listening(quick()).await;
        // Read by nobody else than the one before, if it were that.
        server.named = node.mailbox().name("numbers").open().expect("a mailbox");
        server.proxy().lead_to(&endpoint);
        server.proxy().cut();
        *other.borrow_mut() = Some(node);
    }));
}

#[test]
fn when_the_connection_breaks_and_heals() {
    System::new().block_on(check("the connection breaks and heals", true, async |server, _| {
        let before = server.proxy().accepted();
        server.proxy().cut();
        settled(|| server.proxy().accepted() > before && server.proxy().carried() == 1).await;
    }));
}

#[test]
fn when_the_connection_heals_after_long() {
    let event = "the connection heals after `forget_after`".replace('`', "");
    System::new().block_on(check(&event, false, async |server, client| {
        server.proxy().close();
        settled(|| !client.actor.connected()).await;
        server.proxy().mend();
    }));
}

#[test]
fn when_this_node_is_shut_down() {
    System::new().block_on(check("this node is shut down", false, async |_, client| {
        within(client.node.shutdown()).await;
    }));
}
