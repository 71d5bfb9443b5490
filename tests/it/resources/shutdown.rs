//! How a connection and a node end: nobody waits for what says nothing, and the end of one thing is not that of the
//! next.

use std::future::Future;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use actix::Actor;
use actix::ActorFutureExt;
use actix::Arbiter;
use actix::AsyncContext;
use actix::Context;
use actix::Handler;
use actix::MailboxError;
use actix::Message;
use actix::Recipient;
use actix::ResponseActFuture;
use actix::System;
use actix::WrapFuture;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::CloseReason;
use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::ListenError;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::OpenError;
use actix_hermod::SendError;
use actix_hermod::ShapesError;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::Serialize;
use socket2::SockRef;
use support::Events;
use support::LIMIT;
use support::Number;
use support::catcher;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::peer;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::kind;
use support::process::alone;
use support::settled;
use support::watched;
use support::within;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(86_400);

/// A port at which a scripted peer can be dialled.
async fn waiting() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    (listener, at)
}

async fn peer_up(ears: &mut Events) {
    ears.find(|event| matches!(event, Event::PeerUp { .. }).then_some(())).await;
}

async fn peer_down(ears: &mut Events) {
    ears.find(|event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
}

#[test]
fn a_goodbye_ends_its_own_connection_and_not_the_next_one() {
    System::new().block_on(async {
        let limit = Duration::from_millis(200);
        let pauses = Duration::from_millis(1)..=Duration::from_millis(20);
        let (server, endpoint) = listening(Node::builder()).await;
        let client = Node::builder().shutdown_timeout(limit).reconnect(pauses).start();
        let mut ears = events(&client);
        let to = client.remote::<Number>(&endpoint, "numbers").expect("an address");
        to.do_send(Number(1));
        peer_up(&mut ears).await;
        within(server.shutdown()).await;
        peer_down(&mut ears).await;

        let again = Node::start();
        within(again.listen(&endpoint)).await.expect("the port is free");
        peer_up(&mut ears).await;
        // Longer than a peer that has said goodbye is waited for; a busy machine makes this test kinder, never harsher.
        tokio::time::sleep(5 * limit).await;
        let reconnects: Vec<u64> = client.stats().connections.iter().map(|connection| connection.reconnects).collect();
        assert_eq!(reconnects, [1], "the second connection is still the one there is");
    });
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_a_shutdown() {
    on_either_thread(|thread| async move {
        let builder = Node::builder().io_thread(thread).shutdown_timeout(NEVER).handshake_timeout(NEVER);
        let (server, endpoint) = listening(builder).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let silent = within(TcpStream::connect(endpoint.as_ref())).await.expect("a connection");
        let client = Node::builder().io_thread(thread).start();
        client.remote::<Number>(&endpoint, "numbers").expect("an address").do_send(Number(1));
        // The silent one was accepted before this one's.
        next(&mut inbox).await;
        within(server.shutdown()).await;
        drop(silent);
    });
}

#[test]
fn a_flood_through_a_recipient_does_not_hold_up_a_shutdown() {
    // The queue behind recipients is the process's.
    alone(|| {
        on_either_thread(|thread| async move {
            let (server, endpoint) = listening(Node::builder()).await;
            let client = Node::builder().io_thread(thread).shutdown_timeout(Duration::from_millis(200)).start();
            let to = client.remote::<Number>(&endpoint, "nobody").expect("an address").recipient();
            let (done, end) = mpsc::channel::<()>();
            let flood = std::thread::spawn(move || {
                while end.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    to.do_send(Number(1));
                }
            });
            settled(|| client.stats().sent > 1_000).await;
            within(client.shutdown()).await;
            drop(done);
            flood.join().expect("the flood ends");
            within(server.shutdown()).await;
        });
    });
}

#[test]
fn what_was_read_before_a_goodbye_is_not_in_doubt() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let client = Node::builder().io_thread(thread).start();
        let mut ears = events(&client);
        let to = client.remote::<Number>(&endpoint, "numbers").expect("an address");
        for n in 0..100 {
            to.do_send(Number(n));
            assert_eq!(next(&mut inbox).await, Number(n));
        }
        within(server.shutdown()).await;
        peer_down(&mut ears).await;
        let books = client.stats();
        assert_eq!((books.sent, books.dropped_total(), books.in_doubt), (100, 0, 0));
    });
}

/// Says its last and is gone at once, in both directions: the node can write nothing more.
fn vanish_after(peer: Peer, bytes: &[u8]) {
    assert_eq!(peer.stream.try_write(bytes).expect("the system has room"), bytes.len());
    SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).expect("a reset instead of an end");
}

/// The writer of a connection may find out before its reader that the peer is gone.
#[test]
fn the_last_words_of_a_peer_are_read_although_nothing_can_be_written_to_it() {
    System::new().block_on(async {
        let (listener, at) = waiting().await;
        // On this thread, so that the node does nothing between the peer's end and the message that is to be written.
        let node = Node::builder().io_thread(IoThread::Current).start();
        let mut ears = events(&node);
        let mut inbox = node.mailbox::<Number>().name("inbox").open().expect("the name is free");
        let to = node.remote::<Number>(&at, "box").expect("an address");
        to.do_send(Number(0));
        let mut other = Peer::accept(&listener).await;
        other.welcomes(&Hello::of(peer::fresh_id())).await;
        // The node waits for nothing any more once it has been asked and has answered.
        assert!(other.is_answered().await);
        peer_up(&mut ears).await;

        let last_words = [peer::post(&peer::inline(&peer::your_box("inbox")), &peer::number(7)), peer::goodbye(0)];
        vanish_after(other, &last_words.concat());
        to.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(7));
        let why = ears.find(|event| if let Event::PeerDown { why, .. } = event { Some(why.clone()) } else { None });
        assert_eq!(why.await, DownReason::Goodbye);
    });
}

/// Handles a message when it is let.
struct Slow(mpsc::Receiver<()>);

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<Number> for Slow {
    type Result = ();

    fn handle(&mut self, _: Number, _: &mut Context<Self>) {
        // Ends when the test does, too.
        let _ = self.0.recv_timeout(LIMIT);
    }
}

#[test]
fn subscribers_hear_of_what_a_shutdown_drops() {
    on_either_thread(|thread| async move {
        let limit = Duration::from_millis(100);
        let node = Node::builder().mailbox_buffer(5).shutdown_timeout(limit).io_thread(thread).start();
        let mut ears = events(&node);
        let (arbiter, (release, released), (started, starting)) = (Arbiter::new(), mpsc::channel(), mpsc::channel());
        assert!(arbiter.spawn_fn(move || started.send(Slow(released).start()).expect("the test waits")));
        let actor = starting.recv_timeout(LIMIT).expect("the actor starts");
        let to = node.publish::<Number>("slow", actor).expect("the name is free");
        let depth = || node.stats().boxes.iter().map(|stats| stats.depth).sum::<u64>();
        // As many as the actor is given before it has begun them, and as many behind them.
        (0..5).for_each(|n| to.do_send(Number(n)));
        settled(|| depth() == 0).await;
        (5..10).for_each(|n| to.do_send(Number(n)));
        assert_eq!(depth(), 5);
        within(node.shutdown()).await;
        assert_eq!(ears.count_drops("slow", DropReason::Shutdown, 5).await, 5);
        drop(release);
        arbiter.stop();
    });
}

// ---- begun work is finished

/// A question whose answer is let out by the test.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Question(u64);

/// Answers as many questions as its gate lets through: at the same time, or one after the other.
struct Oracle {
    begins: tokio::sync::mpsc::UnboundedSender<u64>,
    gate: Arc<Semaphore>,
    in_turn: bool,
}

impl Actor for Oracle {
    type Context = Context<Self>;
}

impl Handler<Question> for Oracle {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, Question(n): Question, ctx: &mut Context<Self>) -> Self::Result {
        // The test may have heard enough.
        let _ = self.begins.send(n);
        let gate = Arc::clone(&self.gate);
        let passes = async move { gate.acquire().await.expect("the gate stays").forget() };
        if self.in_turn {
            ctx.wait(passes.into_actor(self));
            return Box::pin(actix::fut::ready(n));
        }
        Box::pin(passes.into_actor(self).map(move |(), _, _| n))
    }
}

/// An oracle, as the test sees it.
struct Sight {
    begun: tokio::sync::mpsc::UnboundedReceiver<u64>,
    gate: Arc<Semaphore>,
}

impl Sight {
    async fn begins(&mut self, n: u64) {
        assert_eq!(within(self.begun.recv()).await, Some(n));
    }

    /// How many more questions have begun.
    fn more(&mut self) -> usize {
        std::iter::from_fn(|| self.begun.try_recv().ok()).count()
    }
}

/// Publishes an oracle.
fn oracle(node: &Node, in_turn: bool) -> Sight {
    let (begins, begun) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let actor = Oracle { begins, gate: Arc::clone(&gate), in_turn }.start();
    node.publish::<Question>("oracle", actor).expect("the name is free");
    Sight { begun, gate }
}

/// Asks at the next turn of this thread.
fn asked(to: &Address<Question>, n: u64) -> JoinHandle<Result<u64, AskError>> {
    actix::spawn(to.ask(Question(n)))
}

async fn answer(asked: JoinHandle<Result<u64, AskError>>) -> Result<u64, AskError> {
    within(asked).await.expect("the task ends well")
}

/// Waits until so many messages have come to the node's box.
async fn received(node: &Node, count: u64) {
    settled(|| node.stats().boxes.iter().any(|stats| stats.received == count)).await;
}

fn refused() -> Result<u64, AskError> {
    Err(AskError::NotDelivered { reason: DropReason::Shutdown, detail: None })
}

/// Begins to shut a node down, and gives the end of it.
async fn shutting_down(node: &Node) -> JoinHandle<()> {
    let ending = node.clone();
    let end = actix::spawn(async move { ending.shutdown().await });
    // It has begun once nothing new is taken.
    settled_by(|| node.listen("127.0.0.1:0"), |listening| matches!(listening, Err(ListenError::Stopped))).await;
    end
}

/// Does something until it ends as it should.
async fn settled_by<T, F: Future<Output = T>>(act: impl Fn() -> F, good: impl Fn(&T) -> bool) {
    while !good(&within(act()).await) {}
}

#[test]
fn a_node_that_shuts_down_answers_what_it_has_begun_and_refuses_what_is_new() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder().io_thread(thread).shutdown_timeout(NEVER)).await;
        let mut oracle = oracle(&server, false);
        let client = Node::builder().io_thread(thread).start();
        let mut inbox = client.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let there = client.listen("127.0.0.1:0").await.expect("a free port");
        let back = server.remote::<Number>(&there, "numbers").expect("an address");
        back.do_send(Number(0));
        next(&mut inbox).await;
        let to = client.remote::<Question>(&endpoint, "oracle").expect("an address");
        let first = asked(&to, 1);
        oracle.begins(1).await;

        let end = shutting_down(&server).await;
        assert_eq!(within(to.ask(Question(2))).await, refused(), "from elsewhere");
        let here = server.resolve::<Question>(format!("hermod://{endpoint}/oracle")).expect("an address");
        assert_eq!(within(here.ask(Question(3))).await, refused(), "from here");
        assert_eq!(within(here.send(Question(4))).await, Err(MailboxError::Closed));
        let asked_back = within(back.ask(Number(5))).await.map(|()| 0);
        assert_eq!(asked_back, refused(), "to elsewhere");
        // Somebody else's handler may still have something to say.
        back.do_send(Number(6));
        assert_eq!(next(&mut inbox).await, Number(6));
        assert!(!end.is_finished() && !first.is_finished());

        oracle.gate.add_permits(1);
        assert_eq!(answer(first).await, Ok(1));
        within(end).await.expect("it ends well");
        assert_eq!(oracle.more(), 0, "nothing else has begun");
        let told = server.stats();
        assert_eq!(told.delivered, 1);
        assert_eq!(told.dropped, [(DropReason::Shutdown, 4)].into());
        within(client.shutdown()).await;
    });
}

#[test]
fn a_node_that_shuts_down_waits_for_the_answers_that_it_has_asked_for() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let mut oracle = oracle(&server, false);
        let client = Node::builder().io_thread(thread).shutdown_timeout(NEVER).start();
        let to = client.remote::<Question>(&endpoint, "oracle").expect("an address");
        let (kept, taken_back) = (asked(&to, 1), asked(&to, 2));
        oracle.begins(1).await;
        oracle.begins(2).await;
        let end = shutting_down(&client).await;
        // Nothing is waited for that is not wanted any more.
        taken_back.abort();
        oracle.gate.add_permits(1);
        assert_eq!(answer(kept).await, Ok(1));
        within(end).await.expect("it ends well");
        within(server.shutdown()).await;
    });
}

#[test]
fn what_waits_before_an_actor_is_handled_before_its_node_ends() {
    on_either_thread(|thread| async move {
        let builder = Node::builder().io_thread(thread).mailbox_buffer(2).shutdown_timeout(NEVER);
        let (server, endpoint) = listening(builder).await;
        let mut oracle = oracle(&server, true);
        let client = Node::builder().io_thread(thread).start();
        let to = client.remote::<Question>(&endpoint, "oracle").expect("an address");
        to.do_send(Question(0));
        oracle.begins(0).await;
        let mut questions = Vec::new();
        for n in 1..3 {
            questions.push(asked(&to, n));
            received(&server, n + 1).await;
        }
        // Two are with the actor, and two wait before it.
        to.do_send(Question(3));
        received(&server, 4).await;
        let end = shutting_down(&server).await;
        assert!(!end.is_finished());
        oracle.gate.add_permits(4);
        for (n, question) in (1..).zip(questions) {
            assert_eq!(answer(question).await, Ok(n));
        }
        within(end).await.expect("it ends well");
        assert_eq!(oracle.more(), 3);
        assert_eq!((server.stats().delivered, server.stats().dropped_total()), (4, 0));
        within(client.shutdown()).await;
    });
}

#[test]
fn what_was_not_begun_in_time_is_told_as_not_handled() {
    on_either_thread(|thread| async move {
        let limit = Duration::from_millis(100);
        let builder = Node::builder().io_thread(thread).mailbox_buffer(1).shutdown_timeout(limit);
        let (server, endpoint) = listening(builder).await;
        let mut oracle = oracle(&server, true);
        let client = Node::builder().io_thread(thread).start();
        let mut ears = events(&client);
        let to = client.remote::<Question>(&endpoint, "oracle").expect("an address");
        let begun = asked(&to, 1);
        oracle.begins(1).await;
        let waiting = asked(&to, 2);
        received(&server, 2).await;
        within(server.shutdown()).await;
        let (begun, waiting) = (answer(begun).await, answer(waiting).await);
        assert_eq!(waiting, refused());
        assert!(!waiting.expect_err("it was refused").may_have_been_handled());
        assert_eq!(begun, Err(AskError::OutcomeUnknown { reason: DropReason::Shutdown }));
        peer_down(&mut ears).await;
        assert_eq!(client.stats().reported, [(DropReason::Shutdown, 2)].into(), "before the goodbye");
        // The actor goes on, and is given nothing more.
        oracle.gate.add_permits(2);
        settled(|| client.stats().pending_requests == 0).await;
        assert_eq!(oracle.more(), 0);
        assert_eq!(server.stats().dropped, [(DropReason::Shutdown, 2)].into());
        within(client.shutdown()).await;
    });
}

#[test]
fn an_unread_mailbox_is_not_waited_for_and_its_requests_are_refused() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder().io_thread(thread).shutdown_timeout(NEVER)).await;
        let mut inbox = server.mailbox::<Number>().name("numbers").open().expect("the name is free");
        let client = Node::builder().io_thread(thread).start();
        let to = client.remote::<Number>(&endpoint, "numbers").expect("an address");
        let asked = actix::spawn(to.ask(Number(1)));
        settled(|| inbox.len() == 1).await;
        to.do_send(Number(2));
        settled(|| inbox.len() == 2).await;
        within(server.shutdown()).await;
        let refused = within(asked).await.expect("the task ends well");
        assert_eq!(refused, Err(AskError::NotDelivered { reason: DropReason::Shutdown, detail: None }));
        // So it must not be handled; what asks for nothing can be.
        assert_eq!(within(inbox.recv()).await, Some(Number(2)));
        assert_eq!(within(inbox.recv()).await, None);
        assert_eq!(dropped(&server, DropReason::Shutdown), 1);
        within(client.shutdown()).await;
    });
}

/// Sends itself one more for each that it handles.
struct Restless(Arc<OnceLock<Address<Number>>>);

impl Actor for Restless {
    type Context = Context<Self>;
}

impl Handler<Number> for Restless {
    type Result = ();

    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) {
        self.0.get().expect("the test has set it").do_send(Number(n + 1));
    }
}

#[test]
fn an_actor_that_always_has_something_to_do_does_not_hold_up_a_shutdown() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).shutdown_timeout(NEVER).start();
        let itself = Arc::new(OnceLock::new());
        let to = node.publish::<Number>("restless", Restless(Arc::clone(&itself)).start()).expect("the name is free");
        itself.set(to.clone()).expect("it was not set");
        to.do_send(Number(0));
        settled(|| node.stats().delivered > 10).await;
        within(node.shutdown()).await;
    });
}

/// Two that wait for each other cannot wait for ever.
#[actix::test]
async fn two_nodes_that_ask_each_other_and_shut_down_end_in_time() {
    let limit = Duration::from_secs(30);
    let builder = || Node::builder().io_thread(IoThread::Current).shutdown_timeout(limit);
    let ((one, at_one), (other, at_other)) = (listening(builder()).await, listening(builder()).await);
    let (mut here, mut there) = (oracle(&one, false), oracle(&other, false));
    let to_one = other.remote::<Question>(&at_one, "oracle").expect("an address");
    let to_other = one.remote::<Question>(&at_other, "oracle").expect("an address");
    let questions = [asked(&to_one, 1), asked(&to_other, 1)];
    here.begins(1).await;
    there.begins(1).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    tokio::join!(one.shutdown(), other.shutdown());
    assert!((limit..2 * limit).contains(&began.elapsed()), "{:?}", began.elapsed());
    for question in questions {
        let unknown = question.await.expect("the task ends well");
        assert_eq!(unknown, Err(AskError::OutcomeUnknown { reason: DropReason::Shutdown }));
    }
}

#[test]
fn two_nodes_that_ask_each_other_and_shut_down_answer_each_other() {
    on_either_thread(|thread| async move {
        let builder = || Node::builder().io_thread(thread).shutdown_timeout(NEVER);
        let ((one, at_one), (other, at_other)) = (listening(builder()).await, listening(builder()).await);
        let (mut here, mut there) = (oracle(&one, false), oracle(&other, false));
        let to_one = other.remote::<Question>(&at_one, "oracle").expect("an address");
        let to_other = one.remote::<Question>(&at_other, "oracle").expect("an address");
        let questions = [asked(&to_one, 1), asked(&to_other, 2)];
        here.begins(1).await;
        there.begins(2).await;
        let ends = [shutting_down(&one).await, shutting_down(&other).await];
        here.gate.add_permits(1);
        there.gate.add_permits(1);
        for (n, question) in (1..).zip(questions) {
            assert_eq!(answer(question).await, Ok(n));
        }
        for end in ends {
            within(end).await.expect("it ends well");
        }
    });
}

#[test]
fn every_call_of_shutdown_returns_after_the_end_and_one_that_is_dropped_ends_the_node_too() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder().io_thread(thread).shutdown_timeout(NEVER)).await;
        let mut oracle = oracle(&server, false);
        let client = Node::builder().io_thread(thread).start();
        let to = client.remote::<Question>(&endpoint, "oracle").expect("an address");
        let first = asked(&to, 1);
        oracle.begins(1).await;
        shutting_down(&server).await.abort();
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let node = server.clone();
                actix::spawn(async move { node.shutdown().await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(calls.iter().all(|call| !call.is_finished()));
        oracle.gate.add_permits(1);
        assert_eq!(answer(first).await, Ok(1));
        for call in calls {
            within(call).await.expect("it ends well");
            assert!(matches!(server.mailbox::<Number>().open(), Err(OpenError::Stopped)));
        }
        within(server.shutdown()).await;
        within(client.shutdown()).await;
    });
}

// ---- after the end

/// Goes through all that can be waited for at a node that has ended. `inbox` is a mailbox of its own, with one message in
/// it, and `far` an address of a box elsewhere, with a recipient that was made before.
async fn nothing_is_waited_for(node: &Node, mut inbox: Mailbox<Number>, far: (Address<Number>, Recipient<Number>)) {
    let (near, (far, early)) = (inbox.address(), far);
    within(node.shutdown()).await;
    assert!(matches!(within(node.listen("127.0.0.1:0")).await, Err(ListenError::Stopped)));
    assert_eq!(within(node.shapes_at("127.0.0.1:1")).await, Err(ShapesError::Stopped));
    assert!(matches!(node.mailbox::<Number>().open(), Err(OpenError::Stopped)));
    let (actor, _caught) = catcher();
    assert!(matches!(node.publish("a", actor.clone()), Err(OpenError::Stopped)));
    assert!(matches!(node.export(actor), Err(OpenError::Stopped)));

    let by_name = node.remote::<Number>("127.0.0.1:1", "nobody").expect("an address");
    for (to, is_here) in [(&near, true), (&far, false), (&by_name, false)] {
        let asked = within(to.ask(Number(1))).await;
        assert_eq!(asked, Err(AskError::NotDelivered { reason: DropReason::Shutdown, detail: None }));
        assert_eq!(within(to.send(Number(2))).await, Err(MailboxError::Closed));
        assert_eq!(within(to.closed()).await, CloseReason::NodeGone);
        assert!(matches!(to.try_send(Number(3)), Err(SendError::Closed(Number(3)))));
        assert!(!to.connected() && to.is_local() == is_here);
        let late = to.recipient();
        settled(|| !late.connected()).await;
        assert_eq!(within(late.send(Number(4))).await, Err(MailboxError::Closed));
        assert!(matches!(late.try_send(Number(5)), Err(SendError::Closed(Number(5)))));
    }
    settled(|| !early.connected()).await;
    assert_eq!(within(early.send(Number(6))).await, Err(MailboxError::Closed));

    assert_eq!(within(inbox.recv()).await, Some(Number(0)), "what waits can be read");
    assert_eq!(within(inbox.recv()).await, None);
    assert_eq!(within(inbox.next()).await, None, "as a stream");
    assert_eq!(inbox.try_recv(), None);
    assert_eq!(dropped(node, DropReason::Shutdown), 6, "each `ask` and each `send` by an address");
}

/// A node at work, with a mailbox and somebody elsewhere to send to.
async fn at_work(node: &Node, endpoint: &str) -> (Mailbox<Number>, (Address<Number>, Recipient<Number>)) {
    let inbox = node.mailbox::<Number>().name("inbox").open().expect("the name is free");
    inbox.address().do_send(Number(0));
    let far = node.remote::<Number>(endpoint, "numbers").expect("an address");
    assert_eq!(within(far.ask(Number(0))).await, Ok(()));
    let recipient = far.recipient();
    (inbox, (far, recipient))
}

#[test]
fn nothing_is_waited_for_at_a_node_that_was_shut_down() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder()).await;
        let (actor, _caught) = catcher();
        server.publish::<Number>("numbers", actor).expect("the name is free");
        let node = Node::builder().io_thread(thread).start();
        let (inbox, far) = at_work(&node, endpoint.as_ref()).await;
        // These wait already when it ends.
        let mut reader = node.mailbox::<Number>().open().expect("a mailbox");
        let (closed_here, closed_there) = (reader.address().closed(), far.0.closed());
        let waiting = actix::spawn(async move {
            assert_eq!(reader.recv().await, None);
            assert_eq!(closed_here.await, CloseReason::NodeGone);
            assert_eq!(closed_there.await, CloseReason::NodeGone);
        });
        within(node.shutdown()).await;
        within(waiting).await.expect("all of it ends");
        nothing_is_waited_for(&node, inbox, far).await;
        within(server.shutdown()).await;
    });
}

#[test]
fn nothing_is_waited_for_at_a_node_whose_system_has_ended() {
    for thread in [IoThread::Current, IoThread::Own] {
        System::new().block_on(async {
            let (server, endpoint) = listening(Node::builder()).await;
            let (actor, _caught) = catcher();
            server.publish::<Number>("numbers", actor).expect("the name is free");
            let ended = std::thread::spawn(move || {
                System::new().block_on(async {
                    let node = Node::builder().io_thread(thread).start();
                    let (inbox, far) = at_work(&node, endpoint.as_ref()).await;
                    (node, inbox, far)
                })
            });
            let joined = tokio::task::spawn_blocking(|| ended.join());
            let (node, inbox, far) = within(joined).await.expect("it is joined").expect("the System ends well");
            // An ended System stops its node when its thread comes to it.
            settled(|| matches!(node.mailbox::<Number>().open(), Err(OpenError::Stopped))).await;
            nothing_is_waited_for(&node, inbox, far).await;
            within(server.shutdown()).await;
        });
    }
}

#[test]
fn subscribers_hear_of_what_is_sent_after_the_end() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let mut ears = events(&node);
        let inbox = node.mailbox::<Number>().name("inbox").open().expect("the name is free");
        let recipient = inbox.recipient();
        within(node.shutdown()).await;
        // Also what comes while the recipient closes is sent and counted.
        let taken = (0..100).filter(|n| recipient.try_send(Number(*n)).is_ok()).count() as u64;
        inbox.address().do_send(Number(100));
        settled(|| !recipient.connected()).await;
        inbox.address().do_send(Number(101));
        watched(|| dropped(&node, DropReason::Shutdown), |all| *all == taken + 2).await;
        assert_eq!(node.stats().sent, taken + 2);
        assert_eq!(ears.count_drops("inbox", DropReason::Shutdown, taken + 2).await, taken + 2);
    });
}

/// A peer that says goodbye tells how many messages it has read: what it has not it never handles.
#[test]
fn requests_that_a_peer_had_not_read_when_it_said_goodbye_were_not_handled() {
    System::new().block_on(async {
        let (listener, at) = waiting().await;
        let node = Node::start();
        let to = node.remote::<Question>(&at, "box").expect("an address");
        let questions: Vec<_> = (0..3).map(|n| asked(&to, n)).collect();
        let mut other = Peer::accept(&listener).await;
        other.welcomes(&Hello::of(peer::fresh_id())).await;
        assert!(other.is_answered().await);
        settled(|| node.stats().pending_requests == 3).await;
        assert!(other.send(&peer::goodbye_after(0, 2)).await);
        let unknown = || Err(AskError::OutcomeUnknown { reason: DropReason::Shutdown });
        for (question, expected) in questions.into_iter().zip([unknown(), unknown(), refused()]) {
            assert_eq!(answer(question).await, expected);
        }
    });
}

/// Messages and requests alike: each is in the books of the one that has sent it.
#[test]
fn nothing_that_a_peer_had_not_read_when_it_said_goodbye_is_in_doubt() {
    System::new().block_on(async {
        let (listener, at) = waiting().await;
        let node = Node::start();
        let mut ears = events(&node);
        let (to, oracle) = (node.remote::<Number>(&at, "box"), node.remote::<Question>(&at, "oracle"));
        let (to, oracle) = (to.expect("an address"), oracle.expect("an address"));
        to.do_send(Number(1));
        to.do_send(Number(2));
        let question = asked(&oracle, 3);
        let mut other = Peer::accept(&listener).await;
        other.welcomes(&Hello::of(peer::fresh_id())).await;
        assert!(other.is_answered().await);
        settled(|| node.stats().pending_requests == 1).await;
        assert!(other.send(&peer::goodbye_after(0, 1)).await);
        assert_eq!(answer(question).await, refused());
        peer_down(&mut ears).await;
        let books = node.stats();
        assert_eq!((books.sent, books.in_doubt), (3, 0));
        assert_eq!(books.dropped, [(DropReason::Shutdown, 2)].into());
    });
}

/// As the peer counts it: it was told how many messages had been read.
#[test]
fn a_node_that_has_said_goodbye_handles_nothing_that_comes_then() {
    on_either_thread(|thread| async move {
        let (server, at) = listening(Node::builder().io_thread(thread)).await;
        let mut inbox = server.mailbox::<Number>().name("inbox").open().expect("the name is free");
        let mut other = Peer::stranger(at.as_ref()).await;
        let to = peer::inline(&peer::your_box("inbox"));
        assert!(other.send(&peer::post(&to, &peer::number(1))).await);
        settled(|| inbox.len() == 1).await;
        let down = shutting_down(&server).await;
        let goodbye = loop {
            let frame = other.frame().await.expect("a goodbye");
            if frame.kind == kind::GOODBYE {
                break frame;
            }
        };
        assert_eq!(goodbye.payload[..2], [0, 1], "it shuts down, and has read one");
        let (post, ask) = (peer::post(&to, &peer::number(2)), peer::ask(1, &to, &peer::number(3)));
        let row = [
            peer::post(&peer::set_number(0, &peer::your_box("inbox")), &peer::number(4)),
            peer::post(&peer::use_number(0), &peer::number(5)),
        ];
        assert!(other.send(&[post, ask, row.concat(), peer::goodbye(1)].concat()).await);
        other.end().await;
        within(down).await.expect("the task ends well");
        assert_eq!(within(inbox.recv()).await, Some(Number(1)));
        assert_eq!(within(inbox.recv()).await, None);
        let books = server.stats();
        assert_eq!((books.delivered, books.dropped_total()), (1, 0));
    });
}

#[test]
fn requests_that_cross_a_goodbye_are_accounted_for() {
    on_either_thread(|thread| async move {
        let (server, at) = listening(Node::builder().io_thread(thread)).await;
        let oracle = oracle(&server, false);
        let client = Node::builder().io_thread(IoThread::Own).start();
        let to = client.remote::<Question>(&at, "oracle").expect("an address");
        oracle.gate.add_permits(51);
        assert_eq!(within(to.ask(Question(0))).await, Ok(0));
        let questions: Vec<_> = (1..=50).map(|n| asked(&to, n)).collect();
        let down = shutting_down(&server).await;
        for question in questions {
            let _ = answer(question).await;
        }
        within(down).await.expect("the task ends well");
        let ended = |nodes: [&Node; 2]| nodes.map(|node| node.stats().delivered + node.stats().dropped_total());
        watched(
            || (client.stats().in_doubt, client.stats().sent - ended([&client, &server]).iter().sum::<u64>()),
            |left| *left == (0, 0),
        )
        .await;
        within(client.shutdown()).await;
    });
}

/// The node has waited for it as long as it could, and takes it as long as the peer's goodbye may take.
#[test]
fn an_answer_that_comes_behind_a_goodbye_is_one() {
    System::new().block_on(async {
        let (listener, at) = waiting().await;
        let node = Node::builder().io_thread(IoThread::Current).shutdown_timeout(Duration::from_secs(2)).start();
        let to = node.remote::<Question>(&at, "oracle").expect("an address");
        let questions = [asked(&to, 1), asked(&to, 2)];
        let mut other = Peer::accept(&listener).await;
        other.welcomes(&Hello::of(peer::fresh_id())).await;
        assert!(other.is_answered().await);
        settled(|| node.stats().pending_requests == 2).await;
        let down = shutting_down(&node).await;
        while other.frame().await.expect("a goodbye").kind != kind::GOODBYE {}
        // It sets a number, also in a message that nobody takes, and with it an answer in pieces is written.
        let lost = peer::post(&peer::set_number(0, &peer::your_box("inbox")), &peer::number(7));
        let first = peer::answer(1, &peer::number(11));
        let second = [vec![kind::ANSWER], peer::answer(2, &peer::number(22))[5..].to_vec()].concat();
        let pieces = second.chunks(2).enumerate().map(|(n, piece)| {
            let rest = second.len() - 2 * n - piece.len();
            peer::frame(kind::FRAGMENT, &[&peer::number(0), &peer::number(rest as u64), piece].concat())
        });
        let all = [lost, first, pieces.flatten().collect(), peer::goodbye(1)].concat();
        assert!(other.send(&all).await);
        for (question, expected) in questions.into_iter().zip([11, 22]) {
            assert_eq!(answer(question).await, Ok(expected));
        }
        within(down).await.expect("the task ends well");
    });
}
