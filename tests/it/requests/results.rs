//! Requests between two nodes: typed results, the reason when there is none, and what becomes of those taken back.

use std::time::Duration;

use actix::Actor;
use actix::ActorContext;
use actix::ActorFutureExt;
use actix::AtomicResponse;
use actix::Context;
use actix::Handler;
use actix::MailboxError;
use actix::Message;
use actix::MessageResult;
use actix::ResponseActFuture;
use actix::ResponseFuture;
use actix::System;
use actix::WrapFuture;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Endpoint;
use actix_hermod::Event;
use actix_hermod::IoThread;
use actix_hermod::Node;
use actix_hermod::OpenError;
use actix_hermod::RemoteMessage;
use futures_util::future::join_all;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::balanced;
use support::dropped;
use support::events;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::within;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::watch;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Square(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<u64, String>")]
struct Divide(u64, u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Vec<u64>")]
struct Later(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Triple")]
struct InTurn(u64);

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
struct Triple(u64, u64, u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Option<Address<Number>>")]
struct Where;

/// Answers in every way that actix knows.
struct Oracle {
    asked: u64,
    to: Option<Address<Number>>,
}

impl Actor for Oracle {
    type Context = Context<Self>;
}

impl Handler<Square> for Oracle {
    type Result = u64;

    fn handle(&mut self, Square(n): Square, _: &mut Context<Self>) -> u64 {
        n * n
    }
}

impl Handler<Divide> for Oracle {
    type Result = Result<u64, String>;

    fn handle(&mut self, Divide(n, by): Divide, _: &mut Context<Self>) -> Self::Result {
        n.checked_div(by).ok_or_else(|| "by zero".to_owned())
    }
}

impl Handler<Later> for Oracle {
    type Result = ResponseActFuture<Self, Vec<u64>>;

    fn handle(&mut self, Later(n): Later, _: &mut Context<Self>) -> Self::Result {
        let later = tokio::task::yield_now().into_actor(self);
        Box::pin(later.map(move |(), oracle, _| {
            oracle.asked += 1;
            vec![n, oracle.asked]
        }))
    }
}

impl Handler<InTurn> for Oracle {
    type Result = AtomicResponse<Self, Triple>;

    fn handle(&mut self, InTurn(n): InTurn, _: &mut Context<Self>) -> Self::Result {
        let turn = tokio::task::yield_now().into_actor(self);
        AtomicResponse::new(Box::pin(turn.map(move |(), _, _| Triple(n, n, n))))
    }
}

impl Handler<Where> for Oracle {
    type Result = MessageResult<Where>;

    fn handle(&mut self, _: Where, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.to.clone())
    }
}

/// Two nodes: one to ask from, and one that listens.
async fn two(thread: IoThread) -> (Node, Node, Endpoint) {
    let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
    (Node::builder().io_thread(thread).start(), there, endpoint)
}

#[test]
fn results_of_every_kind_come_back_with_their_type() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let mut inbox = there.mailbox::<Number>().open().unwrap();
        let oracle = Oracle { asked: 0, to: Some(inbox.address()) }.start();
        there.publish::<Square>("square", oracle.clone()).unwrap();
        there.publish::<Divide>("divide", oracle.clone()).unwrap();
        there.publish::<Later>("later", oracle.clone()).unwrap();
        there.publish::<InTurn>("in turn", oracle.clone()).unwrap();
        there.publish::<Where>("where", oracle).unwrap();
        let square = here.remote::<Square>(&endpoint, "square").unwrap();
        assert_eq!(within(square.send(Square(3))).await, Ok(9));
        assert_eq!(within(square.ask(Square(4))).await, Ok(16));
        assert_eq!(within(square.recipient().send(Square(5))).await, Ok(25));
        // Longer than any clock goes.
        assert_eq!(within(square.ask(Square(6)).timeout(Duration::MAX)).await, Ok(36));
        assert_eq!(within(square.send(Square(7)).timeout(Duration::MAX)).await, Ok(49));
        let divide = here.remote::<Divide>(&endpoint, "divide").unwrap();
        assert_eq!(within(divide.ask(Divide(6, 2))).await, Ok(Ok(3)));
        assert_eq!(within(divide.ask(Divide(6, 0))).await, Ok(Err("by zero".to_owned())));
        assert_eq!(within(here.remote::<Later>(&endpoint, "later").unwrap().ask(Later(7))).await, Ok(vec![7, 1]));
        let turn = here.remote::<InTurn>(&endpoint, "in turn").unwrap().ask(InTurn(2));
        assert_eq!(within(turn.timeout(Duration::from_secs(60))).await, Ok(Triple(2, 2, 2)));
        let found = within(here.remote::<Where>(&endpoint, "where").unwrap().ask(Where)).await.unwrap().unwrap();
        found.do_send(Number(1));
        assert_eq!(next(&mut inbox).await, Number(1));
        settled(|| here.stats().pending_requests == 0).await;
        assert_eq!((here.stats().late_answers, here.stats().dropped_total(), there.stats().dropped_total()), (0, 0, 0));
    });
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Hold(u64);

/// Answers a request when the test says its number.
struct Holding {
    begun: mpsc::UnboundedSender<u64>,
    release: tokio::sync::watch::Receiver<u64>,
}

impl Actor for Holding {
    type Context = Context<Self>;
}

impl Handler<Hold> for Holding {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Hold(n): Hold, _: &mut Context<Self>) -> Self::Result {
        self.begun.send(n).expect("the test listens");
        let mut release = self.release.clone();
        Box::pin(async move {
            // If the test has ended, so has the wait.
            let _ = release.wait_for(|&released| released == n).await;
            n
        })
    }
}

struct Held {
    here: Node,
    there: Node,
    hold: Address<Hold>,
    begun: mpsc::UnboundedReceiver<u64>,
    release: tokio::sync::watch::Sender<u64>,
}

async fn held(thread: IoThread) -> Held {
    let (here, there, endpoint) = two(thread).await;
    let (begins, begun) = mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(0);
    there.publish::<Hold>("hold", Holding { begun: begins, release: released }.start()).expect("a free name");
    let hold = here.remote::<Hold>(&endpoint, "hold").expect("an address");
    Held { here, there, hold, begun, release }
}

#[test]
fn requests_are_handled_side_by_side_and_answers_may_overtake() {
    on_either_thread(|thread| async move {
        let mut held = held(thread).await;
        let (first, second) = (actix::spawn(held.hold.ask(Hold(1))), actix::spawn(held.hold.ask(Hold(2))));
        let mut begun = [within(held.begun.recv()).await.unwrap(), within(held.begun.recv()).await.unwrap()];
        begun.sort_unstable();
        assert_eq!(begun, [1, 2]);
        held.release.send(2).unwrap();
        assert_eq!(within(second).await.unwrap(), Ok(2));
        assert!(!first.is_finished());
        assert_eq!(held.here.stats().pending_requests, 1);
        held.release.send(1).unwrap();
        assert_eq!(within(first).await.unwrap(), Ok(1));
    });
}

#[test]
fn a_request_to_nobody_ends_at_once_with_the_reason() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let nobody = here.remote::<Square>(&endpoint, "nobody").unwrap();
        let expected = AskError::NotDelivered { reason: DropReason::NoSuchBox, detail: None };
        assert!(!expected.may_have_been_handled());
        assert_eq!(within(nobody.ask(Square(1))).await, Err(expected));
        assert_eq!(within(nobody.send(Square(1))).await, Err(MailboxError::Closed));
        assert_eq!(within(nobody.recipient().send(Square(1))).await, Err(MailboxError::Closed));
        assert_eq!(dropped(&there, DropReason::NoSuchBox), 3);
        let full = there.mailbox::<Number>().name("full").buffer(Buffer::dropping(0)).open().unwrap();
        let answer = within(here.remote::<Number>(&endpoint, "full").unwrap().ask(Number(1))).await;
        assert_eq!(answer, Err(AskError::NotDelivered { reason: DropReason::NewestShed, detail: None }));
        drop(full);
        let deserted = support::deserted().await;
        let answer = within(here.remote::<Square>(&deserted, "nobody").unwrap().ask(Square(1))).await;
        let refused = matches!(answer, Err(AskError::NotDelivered { reason: DropReason::NotConnected, .. }));
        assert!(refused, "{answer:?}");
        assert_eq!(here.stats().pending_requests, 0);
    });
}

#[test]
fn why_there_is_no_connection_is_told_to_whoever_asks_or_listens() {
    /// Long enough for every place that answers, and waited for only at the one that does not.
    const HANDSHAKE: Duration = Duration::from_secs(2);
    on_either_thread(|thread| async move {
        let minute = Duration::from_secs(60);
        let node = Node::builder().io_thread(thread).handshake_timeout(HANDSHAKE).reconnect(minute..=minute).start();
        let mut ears = events(&node);
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let curt = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let places = [
            (support::deserted().await.to_string(), "refused"),
            (at(&curt), "hung up"),
            (at(&silent), "took too long"),
        ];
        let hang_up = actix::spawn(async move {
            let (mut stream, _) = curt.accept().await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        });
        for (at, why) in places {
            // The first request waits for the attempt that fails, the second comes in the pause after it.
            let to = node.remote::<Square>(&at, why).unwrap();
            for _ in 0..2 {
                let end = within(to.ask(Square(1))).await;
                let Err(AskError::NotDelivered { reason: DropReason::NotConnected, detail: Some(detail) }) = end else {
                    panic!("{at}: {end:?}");
                };
                assert!(detail.contains(why), "{at}: {detail}");
            }
            for of in [at.as_str(), why] {
                let detail = ears.find(|event| match event {
                    Event::DeadLetter { name, detail, .. } if name == of => Some(detail.clone()),
                    _ => None,
                });
                let detail = detail.await;
                assert!(detail.as_deref().is_some_and(|detail| detail.contains(why)), "{of}: {detail:?}");
            }
        }
        within(node.shutdown()).await;
        drop((hang_up, silent));
    });
}

#[test]
fn a_request_to_a_mailbox_ends_when_it_is_read_or_closed() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let mut inbox = there.mailbox::<Number>().name("inbox").open().unwrap();
        let to = here.remote::<Number>(&endpoint, "inbox").unwrap();
        let (first, second) = (actix::spawn(to.ask(Number(1))), actix::spawn(to.ask(Number(2))));
        settled(|| inbox.len() == 2).await;
        assert!(!first.is_finished());
        assert_eq!(next(&mut inbox).await, Number(1));
        assert_eq!(within(first).await.unwrap(), Ok(()));
        drop(inbox);
        let closed = AskError::NotDelivered { reason: DropReason::BoxClosed, detail: None };
        assert_eq!(within(second).await.unwrap(), Err(closed));
    });
}

#[test]
fn a_request_that_was_begun_when_the_connection_ends_has_an_unknown_outcome() {
    on_either_thread(|thread| async move {
        let mut held = held(thread).await;
        let asked = actix::spawn(held.hold.ask(Hold(1)));
        assert_eq!(within(held.begun.recv()).await, Some(1));
        let sent = held.hold.recipient().send(Hold(2));
        let sent = actix::spawn(sent);
        assert_eq!(within(held.begun.recv()).await, Some(2));
        within(held.there.shutdown()).await;
        let error = within(asked).await.unwrap().unwrap_err();
        assert!(error.may_have_been_handled(), "{error:?}");
        assert_eq!(within(sent).await.unwrap(), Err(MailboxError::Closed));
    });
}

#[test]
fn a_node_that_shuts_down_ends_its_own_requests() {
    on_either_thread(|thread| async move {
        let mut held = held(thread).await;
        let asked = actix::spawn(held.hold.ask(Hold(1)));
        assert_eq!(within(held.begun.recv()).await, Some(1));
        within(held.here.shutdown()).await;
        assert!(within(asked).await.unwrap().unwrap_err().may_have_been_handled());
        let after = within(held.hold.ask(Hold(2))).await;
        assert_eq!(after, Err(AskError::NotDelivered { reason: DropReason::Shutdown, detail: None }));
    });
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Die;

impl Handler<Die> for Oracle {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, _: Die, ctx: &mut Context<Self>) -> Self::Result {
        ctx.stop();
        Box::pin(std::future::pending().into_actor(self))
    }
}

#[test]
fn a_request_whose_actor_stops_says_so() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        there.publish::<Die>("mortal", Oracle { asked: 0, to: None }.start()).unwrap();
        let answer = within(here.remote::<Die>(&endpoint, "mortal").unwrap().ask(Die)).await;
        assert_eq!(answer, Err(AskError::ActorStopped));
    });
}

#[test]
fn what_cannot_be_written_or_read_ends_the_request_with_the_reason() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "Stubborn")]
    struct AskStubborn;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Stubborn(#[serde(serialize_with = "refuse")] u64);

    fn refuse<S: serde::Serializer>(_: &u64, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("I would rather not"))
    }

    impl Handler<AskStubborn> for Oracle {
        type Result = MessageResult<AskStubborn>;

        fn handle(&mut self, _: AskStubborn, _: &mut Context<Self>) -> Self::Result {
            MessageResult(Stubborn(1))
        }
    }

    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let oracle = Oracle { asked: 0, to: None }.start();
        there.publish::<AskStubborn>("stubborn", oracle.clone()).unwrap();
        let stubborn = here.remote::<AskStubborn>(&endpoint, "stubborn").unwrap();
        let why = match within(stubborn.ask(AskStubborn)).await {
            Err(AskError::AnswerNotEncodable { why }) => why,
            other => panic!("{other:?}"),
        };
        assert!(why.contains("I would rather not"), "{why}");
        // Two definitions of one message.
        there.publish::<Square>("square", oracle).unwrap();
        let wrong = here.remote::<support::Text>(&endpoint, "square").unwrap();
        let answer = within(wrong.ask(support::Text("many more bytes than a number has".to_owned()))).await;
        assert!(matches!(answer, Err(AskError::NotDelivered { reason: DropReason::TypeMismatch, .. })), "{answer:?}");
    });
}

#[test]
fn a_request_that_is_too_large_is_not_delivered() {
    on_either_thread(|thread| async move {
        const LARGE: usize = 100_000;
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        // One that sends no more than this, and one that may send more than its peer reads.
        let (small, small_at) = listening(Node::builder().io_thread(thread).max_message(1024)).await;
        let too_large = |detail: &str| {
            let detail = Some(detail.to_owned());
            AskError::NotDelivered { reason: DropReason::TooLarge, detail }
        };
        let here = "the message takes more than 1024 bytes, the limit `max_message` of the node";
        let both = "100003 bytes and its handles are more than 1024, what `max_message` allows at both nodes";
        let inboxes = [&there, &small].map(|node| node.mailbox::<support::Text>().name("inbox").open().unwrap());
        for (from, at, detail) in [(&small, &endpoint, here), (&there, &small_at, both)] {
            let to = from.remote::<support::Text>(at, "inbox").unwrap();
            // So that the limit of the other side is known.
            to.do_send(support::Text("short".to_owned()));
            settled(|| from.stats().connections.iter().any(|connection| connection.peer == to.node_id())).await;
            settled(|| to.node_id().is_some()).await;
            let large = || support::Text("x".repeat(LARGE));
            assert_eq!(within(to.ask(large())).await, Err(too_large(detail)));
            assert_eq!(within(to.send(large())).await, Err(MailboxError::Closed));
            assert_eq!(within(to.recipient().send(large())).await, Err(MailboxError::Closed));
            settled(|| dropped(from, DropReason::TooLarge) == 3).await;
            assert_eq!(from.stats().pending_requests, 0);
        }
        drop(inboxes);
    });
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "String")]
struct Spell(u64);

impl Handler<Spell> for Oracle {
    type Result = String;

    fn handle(&mut self, Spell(n): Spell, _: &mut Context<Self>) -> String {
        "x".repeat(n as usize)
    }
}

#[test]
fn an_answer_that_is_too_large_ends_the_request_with_the_reason() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        there.publish::<Spell>("spell", Oracle { asked: 0, to: None }.start()).unwrap();
        let here = Node::builder().io_thread(thread).max_message(1024).start();
        let spell = here.remote::<Spell>(&endpoint, "spell").unwrap();
        assert_eq!(within(spell.ask(Spell(100))).await.unwrap().len(), 100);
        let why = "the answer does not fit".to_owned();
        assert_eq!(within(spell.ask(Spell(2000))).await, Err(AskError::AnswerNotEncodable { why }));
        assert_eq!(within(spell.send(Spell(2000))).await, Err(MailboxError::Closed));
        assert_eq!(within(spell.ask(Spell(10))).await.unwrap().len(), 10);
    });
}

/// On one thread, all are handled before anything is written.
#[test]
fn an_answer_for_which_there_is_no_room_ends_the_request_with_the_reason() {
    System::new().block_on(async {
        let (there, endpoint) = listening(Node::builder().io_thread(IoThread::Current).outbox(64 << 10)).await;
        there.publish::<Spell>("spell", Oracle { asked: 0, to: None }.start()).unwrap();
        let here = Node::builder().io_thread(IoThread::Current).start();
        let spell = here.remote::<Spell>(&endpoint, "spell").unwrap();
        let asked: Vec<_> = (0..20).map(|_| actix::spawn(spell.ask(Spell(50_000)))).collect();
        let mut answered = 0;
        for asked in asked {
            match within(asked).await.expect("no panic") {
                Ok(answer) => answered += answer.len() / 50_000,
                refused => assert_eq!(refused, Err(AskError::OutcomeUnknown { reason: DropReason::OutboxFull })),
            }
        }
        assert!((1..20).contains(&answered), "{answered} of 20 are answered");
        assert_eq!(within(spell.ask(Spell(50_000))).await.unwrap().len(), 50_000);
    });
}

/// A number that can be written as any, and is read only if it is small.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone)]
#[serde(try_from = "u64", into = "u64")]
struct Small(u64);

impl From<Small> for u64 {
    fn from(Small(n): Small) -> u64 {
        n
    }
}

impl TryFrom<u64> for Small {
    type Error = &'static str;

    fn try_from(n: u64) -> Result<Small, &'static str> {
        if n < 1000 { Ok(Small(n)) } else { Err("not small") }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Small")]
struct Diminish(u64);

impl Handler<Diminish> for Oracle {
    type Result = MessageResult<Diminish>;

    fn handle(&mut self, Diminish(n): Diminish, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Small(n))
    }
}

#[test]
fn an_answer_that_cannot_be_decoded_leaves_the_outcome_unknown() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        there.publish::<Diminish>("diminish", Oracle { asked: 0, to: None }.start()).unwrap();
        let diminish = here.remote::<Diminish>(&endpoint, "diminish").unwrap();
        assert_eq!(within(diminish.ask(Diminish(1))).await, Ok(Small(1)));
        let unknown = AskError::OutcomeUnknown { reason: DropReason::NotDecodable };
        assert!(unknown.may_have_been_handled());
        assert_eq!(within(diminish.ask(Diminish(5000))).await, Err(unknown));
        assert_eq!(within(diminish.send(Diminish(5000))).await, Err(MailboxError::Closed));
        assert_eq!(within(diminish.recipient().send(Diminish(5000))).await, Err(MailboxError::Closed));
        assert_eq!((there.stats().delivered, here.stats().pending_requests), (4, 0));
    });
}

#[test]
fn an_answer_that_is_dropped_by_its_handler_ends_the_request() {
    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "u64")]
    struct Ignored;

    struct Nothing;

    impl actix::dev::MessageResponse<Oracle, Ignored> for Nothing {
        fn handle(self, _: &mut Context<Oracle>, reply: Option<actix::dev::OneshotSender<u64>>) {
            drop(reply);
        }
    }

    impl Handler<Ignored> for Oracle {
        type Result = Nothing;

        fn handle(&mut self, _: Ignored, _: &mut Context<Self>) -> Nothing {
            Nothing
        }
    }

    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let local = there.publish::<Ignored>("ignored", Oracle { asked: 0, to: None }.start()).unwrap();
        let remote = here.remote::<Ignored>(&endpoint, "ignored").unwrap();
        for address in [local, remote] {
            assert_eq!(within(address.ask(Ignored)).await, Err(AskError::ActorStopped));
            assert_eq!(within(address.send(Ignored)).await, Err(MailboxError::Closed));
            assert_eq!(within(address.recipient().send(Ignored)).await, Err(MailboxError::Closed));
        }
        assert_eq!((there.stats().delivered, there.stats().dropped_total()), (6, 0));
    });
}

#[test]
fn a_caller_waits_no_longer_than_its_own_timeout() {
    on_either_thread(|thread| async move {
        let mut held = held(thread).await;
        let limit = Duration::from_millis(1);
        let (ask, send) = (held.hold.ask(Hold(1)), held.hold.send(Hold(2)));
        let through = held.hold.recipient().send(Hold(3));
        let (ask, send) = (actix::spawn(ask.timeout(limit)), actix::spawn(send.timeout(limit)));
        let expired = AskError::NotDelivered { reason: DropReason::Expired, detail: None };
        let error = within(ask).await.unwrap().unwrap_err();
        // The other side may be the first to notice, and then it certainly was not handled.
        assert!(error == AskError::Timeout && error.may_have_been_handled() || error == expired, "{error:?}");
        assert_eq!(within(send).await.unwrap(), Err(MailboxError::Timeout));
        assert_eq!(within(actix::spawn(through.timeout(limit))).await.unwrap(), Err(MailboxError::Timeout));
        settled(|| held.here.stats().pending_requests == 0).await;
        // None of them is waited for, or answered late: what is asked now is.
        let next = actix::spawn(held.hold.ask(Hold(4)));
        while within(held.begun.recv()).await != Some(4) {}
        held.release.send(4).unwrap();
        assert_eq!(within(next).await.unwrap(), Ok(4));
        balanced(&[&held.here, &held.there]).await;
    });
}

#[test]
fn an_ask_leaves_when_it_is_polled_and_a_send_at_once() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let mut inbox = there.mailbox::<Number>().name("inbox").open().unwrap();
        let to = here.remote::<Number>(&endpoint, "inbox").unwrap();
        let (ask, send) = (to.ask(Number(1)), to.send(Number(2)));
        assert_eq!(next(&mut inbox).await, Number(2));
        assert_eq!(here.stats().sent, 1);
        let ask = actix::spawn(ask);
        assert_eq!(next(&mut inbox).await, Number(1));
        assert_eq!((within(ask).await.unwrap(), within(send).await), (Ok(()), Ok(())));
    });
}

#[test]
fn a_plain_send_asks_for_no_answer() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        there.publish::<Square>("square", Oracle { asked: 0, to: None }.start()).unwrap();
        let square = here.remote::<Square>(&endpoint, "square").unwrap();
        let recipient = square.recipient();
        for n in 0..100 {
            square.do_send(Square(n));
            square.try_send(Square(n)).unwrap();
            recipient.do_send(Square(n));
            recipient.try_send(Square(n)).unwrap();
            assert_eq!(here.stats().pending_requests, 0);
        }
        settled(|| there.stats().delivered == 400).await;
        assert_eq!((here.stats().pending_requests, here.stats().late_answers), (0, 0));
    });
}

#[test]
fn a_request_that_expires_before_it_is_handled_never_is() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let mut inbox = there.mailbox::<Number>().name("inbox").open().unwrap();
        let to = here.remote::<Number>(&endpoint, "inbox").unwrap();
        let expired = within(to.ask(Number(1)).timeout(Duration::from_millis(1))).await;
        assert_eq!(expired, Err(AskError::Timeout));
        to.do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
        // Its time was over, or it was taken back, whichever was seen first; or it never left.
        assert_eq!(here.stats().pending_requests, 0);
        assert_eq!(there.stats().delivered, 1);
    });
}

#[test]
fn a_request_taken_back_never_reaches_its_reader() {
    on_either_thread(|thread| async move {
        let (here, there, endpoint) = two(thread).await;
        let mut inbox = there.mailbox::<Number>().name("inbox").open().unwrap();
        let to = here.remote::<Number>(&endpoint, "inbox").unwrap();
        let mut asked = Box::pin(to.ask(Number(1)));
        settled(|| {
            assert!(futures_util::FutureExt::now_or_never(&mut asked).is_none());
            inbox.len() == 1
        })
        .await;
        drop((asked, to.send(Number(2))));
        to.do_send(Number(3));
        settled(|| inbox.len() == 3).await;
        assert_eq!(next(&mut inbox).await, Number(3));
        assert_eq!(dropped(&there, DropReason::Cancelled), 2);
        // One that was sent through a recipient is found by the sweep.
        let recipient = to.recipient();
        let sent = recipient.send(Number(4));
        settled(|| inbox.len() == 1).await;
        drop(sent);
        settled(|| here.stats().pending_requests == 0).await;
        to.do_send(Number(5));
        // All that came before it, the cancel included, has come then.
        settled(|| inbox.len() == 2).await;
        assert_eq!(next(&mut inbox).await, Number(5));
    });
}

#[test]
fn an_answer_that_comes_too_late_is_counted_and_ignored() {
    on_either_thread(|thread| async move {
        let mut held = held(thread).await;
        let mut asked = Box::pin(held.hold.ask(Hold(1)));
        assert!(futures_util::FutureExt::now_or_never(&mut asked).is_none());
        assert_eq!(within(held.begun.recv()).await, Some(1));
        drop(asked);
        held.release.send(1).unwrap();
        // Requests sent afterwards are answered.
        let next = actix::spawn(held.hold.ask(Hold(2)));
        assert_eq!(within(held.begun.recv()).await, Some(2));
        held.release.send(2).unwrap();
        assert_eq!(within(next).await.unwrap(), Ok(2));
        assert!(held.here.stats().late_answers <= 1);
        assert_eq!(held.here.stats().pending_requests, 0);
    });
}

#[test]
fn one_request_more_than_may_be_pending_is_refused() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).pending_requests(3).start();
        let mut inbox = there.mailbox::<Number>().name("inbox").open().unwrap();
        let to = here.remote::<Number>(&endpoint, "inbox").unwrap();
        let asked: Vec<_> = (0..3).map(|n| actix::spawn(to.ask(Number(n)))).collect();
        settled(|| inbox.len() == 3).await;
        let full = AskError::NotDelivered { reason: DropReason::RequestsFull, detail: None };
        assert_eq!(within(to.ask(Number(3))).await, Err(full));
        for _ in 0..3 {
            next(&mut inbox).await;
        }
        assert!(within(join_all(asked)).await.into_iter().all(|answer| answer.unwrap() == Ok(())));
        assert_eq!(dropped(&here, DropReason::RequestsFull), 1);
    });
}

#[test]
fn a_request_is_answered_through_a_third_node() {
    on_either_thread(|thread| async move {
        #[derive(Message, Serialize, Deserialize)]
        #[rtype(result = "()")]
        struct Carry(Address<Square>);

        let (b, b_at) = listening(Node::builder().io_thread(thread)).await;
        let (c, c_at) = listening(Node::builder().io_thread(thread)).await;
        let a = Node::builder().io_thread(thread).start();
        let mut at_b = b.mailbox::<Carry>().name("carry").open().unwrap();
        let mut at_c = c.mailbox::<Carry>().name("carry").open().unwrap();
        let square = a.export::<Square>(Oracle { asked: 0, to: None }.start()).unwrap();
        a.remote::<Carry>(&b_at, "carry").unwrap().do_send(Carry(square));
        b.remote::<Carry>(&c_at, "carry").unwrap().do_send(next(&mut at_b).await);
        let Carry(square) = next(&mut at_c).await;
        assert_eq!(within(square.ask(Square(6))).await, Ok(36));
        within(a.shutdown()).await;
        let error = within(square.ask(Square(6))).await.unwrap_err();
        assert!(!error.may_have_been_handled(), "{error:?}");
    });
}

/// Gives an address away.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Give<M: RemoteMessage>(#[serde(bound = "")] Address<M>);

/// `address`, of this node, as one for messages of another type: that to which it comes home.
async fn come_home<M: RemoteMessage, N: RemoteMessage>(
    thread: IoThread,
    here: &Node,
    address: Address<M>,
) -> Address<N> {
    let at = within(here.listen("127.0.0.1:0")).await.expect("a free port");
    let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
    let mut carried = there.mailbox::<Give<N>>().name("carry").open().expect("a free name");
    let mut home = here.mailbox::<Give<N>>().name(format!("home of {at}")).open().expect("a free name");
    here.remote::<Give<M>>(&endpoint, "carry").expect("an address").do_send(Give(address));
    there.remote::<Give<N>>(&at, home.name()).expect("an address").do_send(next(&mut carried).await);
    let Give(address) = next(&mut home).await;
    assert!(address.is_local());
    within(there.shutdown()).await;
    address
}

/// Other Rust types of equal shape, as another build has them.
mod twin {
    use actix::Message;
    use actix_hermod::Address;
    use serde::Deserialize;
    use serde::Serialize;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "u64")]
    pub(crate) struct Square(pub(crate) u64);

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "Option<Address<super::Number>>")]
    pub(crate) struct Where;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "()")]
    pub(crate) struct Number(pub(crate) u64);
}

/// The same names, and other shapes.
mod stranger {
    use actix::Message;
    use serde::Deserialize;
    use serde::Serialize;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "String")]
    pub(crate) struct Square(pub(crate) u64);
}

#[test]
fn a_local_request_to_a_box_of_another_type_of_equal_shape_is_answered() {
    on_either_thread(|thread| async move {
        let here = Node::builder().io_thread(thread).start();
        let oracle = Oracle { asked: 0, to: None }.start();
        let square = here.publish::<Square>("square", oracle.clone()).unwrap();
        let other: Address<twin::Square> = come_home(thread, &here, square.clone()).await;
        assert_eq!(within(other.ask(twin::Square(3))).await, Ok(9));
        assert_eq!(within(other.ask(twin::Square(4)).timeout(Duration::from_secs(60))).await, Ok(16));
        assert_eq!(within(other.send(twin::Square(5))).await, Ok(25));
        assert_eq!(within(other.recipient().send(twin::Square(6))).await, Ok(36));
        assert_eq!(here.stats().dropped_total(), 0);
        // Addresses travel in its results as well.
        let inbox = here.mailbox::<Number>().open().unwrap();
        let wanderer = Oracle { asked: 0, to: Some(inbox.address()) }.start();
        let place = here.publish::<Where>("where", wanderer).unwrap();
        let other: Address<twin::Where> = come_home(thread, &here, place).await;
        assert_eq!(within(other.ask(twin::Where)).await.unwrap().unwrap(), inbox.address());
    });
}

#[test]
fn a_local_request_of_another_shape_ends_with_the_reason() {
    on_either_thread(|thread| async move {
        let here = Node::builder().io_thread(thread).start();
        let square = here.publish::<Square>("square", Oracle { asked: 0, to: None }.start()).unwrap();
        let wrong: Address<stranger::Square> = come_home(thread, &here, square).await;
        match within(wrong.ask(stranger::Square(3))).await {
            Err(AskError::NotDelivered { reason: DropReason::TypeMismatch, detail: Some(_) }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(within(wrong.send(stranger::Square(3))).await, Err(MailboxError::Closed));
        assert_eq!((dropped(&here, DropReason::TypeMismatch), here.stats().delivered), (2, 1));
        here.unpublish("square");
        assert!(!within(wrong.ask(stranger::Square(1))).await.unwrap_err().may_have_been_handled());
        // One that nobody waits for is not handled here either.
        let mut inbox = here.mailbox::<Number>().open().unwrap();
        let twin: Address<twin::Number> = come_home(thread, &here, inbox.address()).await;
        drop(twin.send(twin::Number(1)));
        let asked = twin.send(twin::Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
        assert_eq!(within(asked).await, Ok(()));
        assert_eq!(dropped(&here, DropReason::Cancelled), 1);
        drop(inbox);
        balanced(&[&here]).await;
    });
}

// ---------------------------------------------------------------------------------------- windows of their own

/// Answers once as many requests have begun as it waits for.
struct Gate {
    begun: watch::Sender<usize>,
    opens_at: usize,
}

impl Gate {
    /// One, and the count of those that have begun, by which it can also be opened.
    fn new(opens_at: usize) -> (Gate, watch::Sender<usize>) {
        let (begun, _) = watch::channel(0);
        (Gate { begun: begun.clone(), opens_at }, begun)
    }
}

impl Actor for Gate {
    type Context = Context<Self>;
}

impl Handler<Square> for Gate {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Square(n): Square, _: &mut Context<Self>) -> ResponseFuture<u64> {
        let (mut begun, opens_at) = (self.begun.subscribe(), self.opens_at);
        // All that wait are woken once, when it opens: thousands of them, each time, would take long.
        self.begun.send_if_modified(|begun| {
            *begun += 1;
            *begun >= opens_at
        });
        Box::pin(async move {
            begun.wait_for(|begun| *begun >= opens_at).await.expect("the gate lives");
            n * n
        })
    }
}

#[test]
fn as_many_requests_run_at_once_as_the_window_of_the_publication_says() {
    const CROWD: usize = 10_000;
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let (gate, _) = Gate::new(CROWD);
        let publication = there.publish_actor("gate", gate.start()).handles::<Square>();
        publication.at_once(CROWD).capacity(CROWD).open().expect("the name is free");
        let here = Node::builder().io_thread(thread).start();
        let to = here.remote::<Square>(&endpoint, "gate").expect("an address");
        let answers = within(join_all((0..CROWD as u64).map(|n| to.ask(Square(n))))).await;
        for (n, answer) in (0..).zip(answers) {
            assert_eq!(answer, Ok(n * n));
        }
    });
}

#[test]
fn what_neither_the_window_nor_the_box_has_room_for_is_shed() {
    System::new().block_on(async {
        let node = Node::start();
        const NEVER: usize = 1_000;
        let (gate, begun) = Gate::new(NEVER);
        let publication = node.publish_actor("gate", gate.start()).handles::<Square>();
        let publication = publication.at_once(2).capacity(3).open().expect("the name is free");
        let to = publication.address::<Square>().expect("it is published for these");
        let ask = |n| {
            let asked = to.ask(Square(n));
            actix::spawn(asked)
        };
        let mut asked: Vec<_> = (0..2).map(ask).collect();
        settled(|| *begun.borrow() == 2).await;
        asked.extend((2..5).map(ask));
        let waiting = || node.stats().boxes.iter().map(|stats| (stats.depth, stats.with_actor, stats.capacity)).next();
        settled(|| waiting() == Some((3, 2, 3))).await;
        for n in 5..8 {
            let shed = AskError::NotDelivered { reason: DropReason::NewestShed, detail: None };
            assert_eq!(within(to.ask(Square(n))).await, Err(shed));
        }
        assert_eq!(*begun.borrow(), 2, "the others have to wait");
        begun.send_replace(NEVER);
        for (n, asked) in (0..).zip(asked) {
            assert_eq!(within(asked).await.expect("it does not panic"), Ok(n * n));
        }
    });
}

#[test]
fn a_publication_is_open_until_it_is_closed_and_is_for_its_type_alone() {
    System::new().block_on(async {
        let node = Node::start();
        let oracle = Oracle { asked: 0, to: None }.start();
        let open = || node.publish_actor("oracle", oracle.clone()).handles::<Square>().open();
        let publication = open().expect("the name is free");
        assert!(matches!(open(), Err(OpenError::NameTaken { name }) if name == "oracle"));
        assert_eq!(publication.name(), "oracle");
        assert!(publication.address::<Divide>().is_none());
        let to = publication.address::<Square>().expect("it is published for these");
        assert_eq!(within(to.ask(Square(3))).await, Ok(9));
        drop(publication.clone());
        assert_eq!(within(to.ask(Square(4))).await, Ok(16), "a handle has gone, and nothing else");
        publication.close();
        assert!(matches!(within(to.ask(Square(5))).await, Err(AskError::NotDelivered { .. })));
        assert!(open().is_ok(), "the name is free again");
    });
}
