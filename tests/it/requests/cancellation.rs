//! Requests that nobody waits for any more: what has not reached its handler never does, wherever it is by then.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use actix::Actor;
use actix::Addr;
use actix::Arbiter;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::ResponseFuture;
use actix::System;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::IoThread;
use actix_hermod::Node;
use actix_hermod::SendError;
use futures_util::FutureExt;
use serde::Deserialize;
use serde::Serialize;
use support::LIMIT;
use support::Number;
use support::balanced;
use support::dropped;
use support::listening;
use support::next;
use support::on_either_thread;
use support::settled;
use support::within;
use tokio::sync::mpsc;

/// What a [`Busy`] actor is to do.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Task(u64);

/// The same, of which those alive are counted; for one test only.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Counted(u64, #[serde(skip)] Alive);

static ALIVE: AtomicUsize = AtomicUsize::new(0);

struct Alive(());

impl Default for Alive {
    fn default() -> Alive {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Alive(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a request that is to expire may wait.
const LIFE: Duration = Duration::from_millis(20);

/// The number at which the actor does nothing else, nor does its thread, until it is told to go on.
const BLOCK: u64 = 0;

struct Busy {
    begun: mpsc::UnboundedSender<u64>,
    go: std_mpsc::Receiver<()>,
}

impl Busy {
    fn begin(&self, n: u64) -> u64 {
        // The test may have seen enough.
        let _ = self.begun.send(n);
        if n == BLOCK {
            // If the test has ended, so has the wait.
            let _ = self.go.recv_timeout(LIMIT);
        }
        n
    }
}

impl Actor for Busy {
    type Context = Context<Self>;
}

impl Handler<Task> for Busy {
    type Result = u64;

    fn handle(&mut self, Task(n): Task, _: &mut Context<Self>) -> u64 {
        self.begin(n)
    }
}

impl Handler<Counted> for Busy {
    type Result = u64;

    fn handle(&mut self, counted: Counted, _: &mut Context<Self>) -> u64 {
        self.begin(counted.0)
    }
}

/// A busy actor on a thread of its own.
struct Worker {
    actor: Addr<Busy>,
    begun: mpsc::UnboundedReceiver<u64>,
    go: std_mpsc::Sender<()>,
    arbiter: Arbiter,
}

impl Worker {
    fn start() -> Worker {
        let (begins, begun) = mpsc::unbounded_channel();
        let (go, goes) = std_mpsc::channel();
        let arbiter = Arbiter::new();
        let actor = Busy::start_in_arbiter(&arbiter.handle(), |_| Busy { begun: begins, go: goes });
        Worker { actor, begun, go, arbiter }
    }

    /// The next number that it has begun.
    async fn begins(&mut self) -> u64 {
        within(self.begun.recv()).await.expect("the actor lives")
    }

    fn goes_on(&self) {
        self.go.send(()).expect("the actor waits");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may wait for a word, or have ended.
        let _ = self.go.send(());
        self.arbiter.stop();
    }
}

/// Has a lazy request leave.
fn begun<F: Future>(request: F) -> Pin<Box<F>> {
    let mut request = Box::pin(request);
    assert!((&mut request).now_or_never().is_none());
    request
}

/// Messages that wait in the only box of a node, and that came into it.
fn in_the_box(node: &Node) -> (u64, u64) {
    let stats = node.stats();
    let [only] = stats.boxes.as_slice() else { panic!("one box: {stats:?}") };
    (only.depth, only.received)
}

#[test]
fn a_request_taken_back_from_the_actors_own_queue_is_never_handled() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).start();
        let mut worker = Worker::start();
        let local = there.publish::<Task>("busy", worker.actor.clone()).unwrap();
        let remote = here.remote::<Task>(&endpoint, "busy").unwrap();
        let first = actix::spawn(remote.ask(Task(BLOCK)));
        assert_eq!(worker.begins().await, BLOCK);
        let (asked_there, asked_here) = (begun(remote.ask(Task(1))), begun(local.ask(Task(2))));
        let (sent_there, sent_here) = (remote.send(Task(3)), local.send(Task(4)));
        let through_recipients = (remote.recipient().send(Task(5)), local.recipient().send(Task(6)));
        settled(|| in_the_box(&there) == (0, 7)).await;
        let last = actix::spawn(remote.ask(Task(7)));
        settled(|| in_the_box(&there) == (0, 8)).await;
        // The actor has them all.
        drop((asked_there, asked_here, sent_there, sent_here, through_recipients));
        settled(|| dropped(&there, DropReason::Cancelled) == 6).await;
        worker.goes_on();
        assert_eq!(worker.begins().await, 7);
        assert_eq!((within(first).await.unwrap(), within(last).await.unwrap()), (Ok(BLOCK), Ok(7)));
        assert_eq!((there.stats().delivered, there.stats().dropped_total()), (2, 6));
        assert_eq!((here.stats().pending_requests, here.stats().late_answers), (0, 0));
        balanced(&[&here, &there]).await;
    });
}

#[test]
fn what_a_node_that_is_gone_has_asked_is_never_begun() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).start();
        let mut worker = Worker::start();
        let local = there.publish::<Task>("busy", worker.actor.clone()).unwrap();
        let first = actix::spawn(local.ask(Task(BLOCK)));
        assert_eq!(worker.begins().await, BLOCK);
        let remote = here.remote::<Task>(&endpoint, "busy").unwrap();
        let asked: Vec<_> = (1..=3).map(|n| begun(remote.ask(Task(n)))).collect();
        settled(|| in_the_box(&there) == (0, 4)).await;
        within(here.shutdown()).await;
        for asked in asked {
            assert!(within(asked).await.unwrap_err().may_have_been_handled());
        }
        settled(|| dropped(&there, DropReason::Cancelled) == 3).await;
        let last = actix::spawn(local.ask(Task(4)));
        worker.goes_on();
        assert_eq!(worker.begins().await, 4);
        assert_eq!((within(first).await.unwrap(), within(last).await.unwrap()), (Ok(BLOCK), Ok(4)));
    });
}

#[test]
fn requests_taken_back_from_a_busy_actor_take_no_more_room_than_others() {
    const PLACES: u64 = 4;
    const PROBE: u64 = 77;

    fn send(address: &Address<Counted>, n: u64) -> impl Future<Output = Result<u64, actix::MailboxError>> + use<> {
        address.send(Counted(n, Alive::default()))
    }

    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).mailbox_buffer(PLACES as usize).start();
        let mut worker = Worker::start();
        let address = node.publish::<Counted>("busy", worker.actor.clone()).unwrap();
        let first = send(&address, BLOCK);
        assert_eq!(worker.begins().await, BLOCK);
        let given: Vec<_> = (1..PLACES).map(|n| send(&address, n)).collect();
        settled(|| in_the_box(&node) == (0, PLACES)).await;
        drop(given);
        settled(|| dropped(&node, DropReason::Cancelled) == PLACES - 1).await;
        // They lie in the actor's queue still. So many more are put there, and no more.
        for more in [PLACES - 1, 1] {
            let cancelled = dropped(&node, DropReason::Cancelled);
            let given: Vec<_> = (0..more).map(|n| send(&address, 10 + n)).collect();
            settled(|| in_the_box(&node).0 == 0).await;
            drop(given);
            settled(|| dropped(&node, DropReason::Cancelled) == cancelled + more).await;
        }
        let probe = send(&address, PROBE);
        settled(|| in_the_box(&node).0 == 0).await;
        drop(probe);
        let waiting: Vec<_> = (1..=PLACES).map(|n| send(&address, n)).collect();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(in_the_box(&node).0, PLACES);
            assert!(matches!(address.try_send(Counted(99, Alive::default())), Err(SendError::Full(_))));
        }
        assert_eq!(ALIVE.load(Ordering::Relaxed) as u64, 2 * PLACES + 1 + PLACES);
        worker.goes_on();
        assert_eq!(within(first).await, Ok(BLOCK));
        assert_eq!(worker.begins().await, PROBE);
        for (n, request) in (1..).zip(waiting) {
            assert_eq!(worker.begins().await, n);
            assert_eq!(within(request).await, Ok(n));
        }
    });
}

/// An actor that never answers, and tells what it has begun.
struct Endless(mpsc::UnboundedSender<u64>);

impl Actor for Endless {
    type Context = Context<Self>;
}

impl Handler<Task> for Endless {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Task(n): Task, _: &mut Context<Self>) -> ResponseFuture<u64> {
        // The test may have seen enough.
        let _ = self.0.send(n);
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_place_that_was_taken_back_is_free_though_nothing_is_ever_answered() {
    const PLACES: u64 = 4;
    on_either_thread(|thread| async move {
        for places in 1..=PLACES {
            let node = Node::builder().io_thread(thread).start();
            let (begins, mut begun) = mpsc::unbounded_channel();
            let actor = Endless(begins).start();
            let endless = node.publish_actor("endless", actor).handles::<Task>().at_once(places as usize);
            let publication = endless.open().unwrap();
            let address = publication.address::<Task>().unwrap();
            let held = (1..places).map(|n| address.send(Task(n)));
            let _held: Vec<_> = held.collect();
            for n in 1..places {
                assert_eq!(within(begun.recv()).await, Some(n));
            }
            for n in 100..102 {
                let taken_back = address.send(Task(n));
                assert_eq!(within(begun.recv()).await, Some(n));
                drop(taken_back);
                settled(|| dropped(&node, DropReason::Cancelled) == n - 99).await;
            }
            let _last = address.send(Task(200));
            assert_eq!(within(begun.recv()).await, Some(200), "{places} at once");
            let _none = address.send(Task(201));
            settled(|| in_the_box(&node).0 == 1).await;
        }
    });
}

#[test]
fn an_actor_of_which_all_was_taken_back_is_asked_again() {
    const PLACES: u64 = 4;
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).mailbox_buffer(PLACES as usize).start();
        let mut worker = Worker::start();
        let address = node.publish::<Task>("busy", worker.actor.clone()).unwrap();
        let first = address.send(Task(BLOCK));
        assert_eq!(worker.begins().await, BLOCK);
        let rest: Vec<_> = (1..PLACES).map(|n| address.send(Task(n))).collect();
        settled(|| in_the_box(&node) == (0, PLACES)).await;
        drop((first, rest));
        settled(|| dropped(&node, DropReason::Cancelled) == PLACES).await;
        let rest: Vec<_> = (1..=PLACES).map(|n| address.send(Task(n))).collect();
        settled(|| in_the_box(&node).0 == 0).await;
        drop(rest);
        settled(|| dropped(&node, DropReason::Cancelled) == 2 * PLACES).await;
        // One more goes to the actor, and no second, though it be taken back: it shows how far the actor is.
        let probe = begun(address.ask(Task(11)));
        settled(|| in_the_box(&node).0 == 0).await;
        drop(probe);
        let next = actix::spawn(address.ask(Task(12)));
        settled(|| in_the_box(&node).0 == 1).await;
        worker.goes_on();
        assert_eq!(within(next).await.unwrap(), Ok(12));
        assert_eq!((worker.begins().await, worker.begins().await), (11, 12));
        for n in 20..20 + 3 * PLACES {
            assert_eq!(within(address.ask(Task(n))).await, Ok(n));
        }
        balanced(&[&node]).await;
    });
}

#[test]
fn a_request_that_expires_in_a_mailbox_that_nobody_reads_is_counted_there() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).start();
        let mut inbox = there.mailbox::<Number>().name("inbox").open().unwrap();
        let to = here.remote::<Number>(&endpoint, "inbox").unwrap();
        // One that is not polled while it waits, and so is not taken back when its time is over.
        let asked = begun(to.ask(Number(1)).timeout(LIFE));
        settled(|| inbox.len() == 1).await;
        // Its time began to run there when it was read, which it has been.
        tokio::time::sleep(LIFE + Duration::from_millis(1)).await;
        to.do_send(Number(2));
        assert_eq!(next(&mut inbox).await, Number(2));
        assert_eq!((dropped(&there, DropReason::Expired), there.stats().dropped_total()), (1, 1));
        assert_eq!(there.stats().boxes[0].dropped[&DropReason::Expired], 1);
        settled(|| here.stats().pending_requests == 0).await;
        let expired = AskError::NotDelivered { reason: DropReason::Expired, detail: None };
        assert_eq!(within(asked).await, Err(expired));
        balanced(&[&here, &there]).await;
    });
}

#[test]
fn a_request_that_expires_behind_a_slow_handler_is_never_handled() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread).mailbox_buffer(1)).await;
        let here = Node::builder().io_thread(thread).start();
        let mut worker = Worker::start();
        there.publish::<Task>("busy", worker.actor.clone()).unwrap();
        let remote = here.remote::<Task>(&endpoint, "busy").unwrap();
        let first = actix::spawn(remote.ask(Task(BLOCK)));
        assert_eq!(worker.begins().await, BLOCK);
        let second = begun(remote.ask(Task(1)).timeout(LIFE));
        settled(|| in_the_box(&there) == (1, 2)).await;
        // Its time began to run there when it was read, which it has been.
        tokio::time::sleep(LIFE + Duration::from_millis(1)).await;
        worker.goes_on();
        assert_eq!(within(first).await.unwrap(), Ok(BLOCK));
        settled(|| dropped(&there, DropReason::Expired) == 1).await;
        assert_eq!(within(remote.ask(Task(2))).await, Ok(2));
        assert_eq!(worker.begins().await, 2);
        assert!(!within(second).await.unwrap_err().may_have_been_handled());
    });
}

#[test]
fn requests_through_a_recipient_that_nobody_waits_for_take_no_places_of_others() {
    on_either_thread(|thread| async move {
        let (there, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let here = Node::builder().io_thread(thread).pending_requests(100).start();
        let inbox = there.mailbox::<Number>().name("inbox").buffer(Buffer::dropping(10_000)).open().unwrap();
        let recipient = here.remote::<Number>(&endpoint, "inbox").unwrap().recipient();
        // Many times as many as may be pending, in much less time than there is between two sweeps.
        for lot in 1..=20 {
            let sent: Vec<_> = (0..40).map(|n| recipient.send(Number(n))).collect();
            settled(|| inbox.len() == 40 * lot || dropped(&here, DropReason::RequestsFull) > 0).await;
            drop(sent);
        }
        assert_eq!(dropped(&here, DropReason::RequestsFull), 0);
        // The last are found when nothing more comes.
        settled(|| here.stats().pending_requests == 0).await;
    });
}

#[test]
fn a_request_that_is_taken_back_before_it_leaves_never_does() {
    // On one thread: another would send what is behind the recipient before it is dropped.
    System::new().block_on(async {
        let (there, endpoint) = listening(Node::builder().io_thread(IoThread::Current)).await;
        let here = Node::builder().io_thread(IoThread::Current).start();
        let mut inbox = there.mailbox::<Number>().name("inbox").open().unwrap();
        let to = here.remote::<Number>(&endpoint, "inbox").unwrap();
        let recipient = to.recipient();
        drop(to.ask(Number(1)));
        drop(recipient.send(Number(2)));
        recipient.do_send(Number(3));
        assert_eq!(next(&mut inbox).await, Number(3));
        assert_eq!((here.stats().sent, dropped(&here, DropReason::Cancelled)), (2, 1));
        balanced(&[&here, &there]).await;
    });
}
