//! A box under every interleaving of its threads that loom finds: each waiting reader is woken, and every message that
//! was accepted is taken, or dropped and counted.
use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;

use actix::Message;
use loom::future::block_on;
use loom::thread;
use loom::thread::JoinHandle;
use serde::Deserialize;
use serde::Serialize;

use crate::boxes::queue::*;
use crate::config::Limits;
use crate::handle::envelope::Source;
use crate::handle::pointer::Pointer;
use crate::handle::pointer::search_queue::SearchQueue;
use crate::handle::ports::Asker;
use crate::handle::ports::ExportKey;
use crate::handle::ports::NotTaken;
use crate::handle::ports::Outbound;
use crate::handle::ports::Router;
use crate::ident::AddressError;
use crate::ident::Incarnation;
use crate::ident::NodeId;
use crate::ident::endpoint::Endpoint;
use crate::observe::loss::DropNotice;
use crate::observe::peer_info::PeerInfo;

#[derive(Message, Serialize, Deserialize, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Number(u8);

/// Runs a model under every interleaving of its threads, with at most three preemptions: mistakes that need more of
/// them are rare, and interleavings are many.
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A node that does nothing but count. Its counters are not loom's, and no lock of them is held for longer than a count
/// takes.
pub(crate) type StubNode = NodeContext<StubRouter>;

impl StubNode {
    pub(crate) fn new() -> Arc<StubNode> {
        Arc::new(NodeContext::with(Incarnation::of([7; 16]), Limits::default(), Vec::new(), StubRouter))
    }

    /// Returns the number of messages dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.observer.stats(self.id.node).dropped_total()
    }
}

/// A node without peers.
pub(crate) struct StubRouter;

impl Router for StubRouter {
    fn run(&self, _: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) {
        unreachable!("nothing here has a pump");
    }

    fn place(
        &self,
        _: &Arc<NodeContext>,
        _: &Endpoint,
        _: Option<NodeId>,
        _: &str,
    ) -> Result<Arc<Pointer>, AddressError> {
        unreachable!("nothing here is looked for elsewhere");
    }

    fn export(&self, _: &Arc<NodeContext>, _: ExportKey, _: &dyn Fn(BoxId) -> Arc<dyn LocalBox>) -> Arc<Pointer> {
        unreachable!("nothing here is exported");
    }

    fn forget(&self, _: BoxId, _: &str) {}

    fn box_named(&self, _: &str) -> Option<Arc<dyn LocalBox>> {
        None
    }

    fn live_link(&self, _: Incarnation, _: bool) -> Option<Arc<dyn Outbound>> {
        None
    }

    fn discover(&self, _: &Arc<NodeContext>, _: Incarnation, _: &[Endpoint], _: Asker) -> Option<Arc<SearchQueue>> {
        None
    }

    fn is_gone(&self, _: Incarnation) -> bool {
        false
    }

    fn left_since(&self, _: Incarnation) -> Option<tokio::time::Instant> {
        None
    }

    fn news(&self, _: NodeId) -> Arc<tokio::sync::Notify> {
        unreachable!("nothing here is waited for elsewhere");
    }

    fn peer_on(&self, _: u64) -> Option<Arc<PeerInfo>> {
        None
    }

    fn report(&self, _: Source, _: &dyn LocalBox, _: &DropNotice<'_>) {}
}

fn open(buffer: &Buffer<Number>) -> (Arc<StubNode>, Arc<BoxQueue<Number>>) {
    let stub = StubNode::new();
    let identity = BoxIdentity { id: BoxId([1; 16]), name: "box".into(), is_leased: false, visibility: None };
    let node: Arc<NodeContext> = Arc::clone(&stub) as _;
    (stub, Arc::new(BoxQueue::new(identity, node, buffer, None)))
}

fn put(queue: &BoxQueue<Number>, n: u8) -> Result<(), NotTaken> {
    queue.accept(&mut Some(Parcel::new(Number(n), None)))
}

/// Runs `act` with the box on a thread of its own.
fn meanwhile<T: 'static>(
    queue: &Arc<BoxQueue<Number>>,
    act: impl FnOnce(&BoxQueue<Number>) -> T + Send + 'static,
) -> JoinHandle<T> {
    let queue = Arc::clone(queue);
    thread::spawn(move || act(&queue))
}

/// Takes the next message like a reader that waits for it. If the reader is not woken, loom reports a deadlock.
fn take(queue: &BoxQueue<Number>, batch: &mut Batch<Number>) -> Option<u8> {
    block_on(poll_fn(|cx| queue.poll_take(batch, cx))).map(|parcel| parcel.message.0)
}

/// Takes the next message, if one waits.
fn take_now(queue: &BoxQueue<Number>, batch: &mut Batch<Number>) -> Option<Parcel<Number>> {
    queue.hand_over(batch).or_else(|| queue.take_batch(batch).then(|| queue.hand_over(batch)).flatten())
}

/// Asserts that the fill level is right when nothing happens any more.
fn assert_fill_level(queue: &BoxQueue<Number>) {
    let state = queue.state.lock();
    let truth = match () {
        () if !state.open => Some(DropReason::BoxClosed),
        () if state.backlog.refuses(queue.held()) => Some(DropReason::NewestShed),
        () => None,
    };
    drop(state);
    assert_eq!(queue.refusal(|| 0), truth);
}

#[test]
fn a_reader_that_waits_is_woken_by_each_sender() {
    explore(|| {
        let (_stub, queue) = open(&Buffer::dropping(4));
        let senders = [1, 2].map(|n| meanwhile(&queue, move |queue| put(queue, n)));
        let batch = &mut Batch::new();
        let mut taken = [take(&queue, batch), take(&queue, batch)];
        taken.sort_unstable();
        assert_eq!(taken, [Some(1), Some(2)]);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
        assert_fill_level(&queue);
    });
}

#[test]
fn a_reader_that_waits_reads_to_the_end_when_a_close_meets_a_send() {
    explore(|| {
        let (stub, queue) = open(&Buffer::dropping(4));
        let sender = meanwhile(&queue, |queue| put(queue, 1).is_ok());
        let closer = meanwhile(&queue, |queue| queue.close());
        let (mut taken, mut batch) = (0, Batch::new());
        while take(&queue, &mut batch).is_some() {
            taken += 1;
        }
        assert_eq!(taken, u32::from(sender.join().unwrap()));
        closer.join().unwrap();
        assert_eq!((queue.dropped(), stub.dropped()), (0, 0));
        assert!(queue.closed().is_cancelled());
        assert_fill_level(&queue);
    });
}

#[test]
fn what_a_closed_box_is_left_with_is_counted() {
    explore(|| {
        let (stub, queue) = open(&Buffer::dropping(4));
        let sender = meanwhile(&queue, |queue| u64::from(put(queue, 1).is_ok()) + u64::from(put(queue, 2).is_ok()));
        let mut batch = Batch::new();
        let taken = u64::from(take_now(&queue, &mut batch).is_some());
        // The same steps as when a mailbox is dropped.
        queue.close();
        queue.discard(&mut batch, DropReason::BoxClosed);
        assert_eq!(sender.join().unwrap(), taken + queue.dropped());
        assert_eq!(queue.dropped(), stub.dropped());
        assert_eq!(queue.len(), 0);
        assert_fill_level(&queue);
    });
}

#[test]
fn a_full_box_takes_again_once_it_was_read() {
    explore(|| {
        let (_stub, queue) = open(&Buffer::dropping(1));
        assert_eq!(put(&queue, 1), Ok(()));
        let sender = meanwhile(&queue, |queue| put(queue, 2));
        let mut batch = Batch::new();
        let looker = meanwhile(&queue, |queue| queue.refusal(|| 0) != Some(DropReason::BoxClosed));
        assert_eq!(take(&queue, &mut batch), Some(1));
        let stored = sender.join().unwrap();
        assert!(looker.join().unwrap());
        assert_fill_level(&queue);
        match stored {
            Ok(()) => assert_eq!(take(&queue, &mut batch), Some(2)),
            Err(refusal) => assert_eq!(refusal, NotTaken::Dropped(DropReason::NewestShed)),
        }
        assert_fill_level(&queue);
        assert_eq!(queue.refusal(|| 0), None);
        assert_eq!(put(&queue, 3), Ok(()));
        assert_eq!(queue.refusal(|| 0), Some(DropReason::NewestShed));
    });
}

#[test]
fn what_the_reader_holds_still_takes_room() {
    explore(|| holds_and_takes_room(take));
    explore(|| holds_and_takes_room(|queue, batch| take_now(queue, batch).map(|parcel| parcel.message.0)));
}

fn holds_and_takes_room(first: fn(&BoxQueue<Number>, &mut Batch<Number>) -> Option<u8>) {
    let (_stub, queue) = open(&Buffer::dropping(2));
    assert_eq!((put(&queue, 1), put(&queue, 2)), (Ok(()), Ok(())));
    let sender = meanwhile(&queue, |queue| usize::from(put(queue, 3).is_ok()) + usize::from(put(queue, 4).is_ok()));
    let mut batch = Batch::new();
    // Takes all waiting messages, and hands over the first.
    assert_eq!(first(&queue, &mut batch), Some(1));
    let accepted = sender.join().unwrap();
    assert!(accepted <= 1, "one more than was handed over");
    assert_eq!(queue.len(), 1 + accepted);
    assert_fill_level(&queue);
    let rest: Vec<u8> = std::iter::from_fn(|| take_now(&queue, &mut batch)).map(|parcel| parcel.message.0).collect();
    assert!(rest.len() == 1 + accepted && rest.starts_with(&[2]) && rest.is_sorted(), "{rest:?}");
    assert_fill_level(&queue);
    assert_eq!((queue.len(), queue.refusal(|| 0)), (0, None));
}

#[test]
fn a_sliding_box_counts_each_message_that_made_room() {
    explore(|| {
        let (stub, queue) = open(&Buffer::sliding(1));
        let senders = [1, 2].map(|n| meanwhile(&queue, move |queue| put(queue, n)));
        let mut batch = Batch::new();
        let mut taken = u64::from(take(&queue, &mut batch).is_some());
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
        taken += u64::from(take_now(&queue, &mut batch).is_some());
        assert_eq!(taken + queue.dropped(), 2);
        assert_eq!(queue.dropped(), stub.dropped());
        assert_fill_level(&queue);
    });
}

#[test]
fn a_box_by_key_counts_each_message_that_was_replaced() {
    explore(|| {
        let (stub, queue) = open(&Buffer::latest_by(|_: &Number| ()));
        let senders = [1, 2].map(|n| meanwhile(&queue, move |queue| put(queue, n)));
        let mut batch = Batch::new();
        let mut taken = u64::from(take(&queue, &mut batch).is_some());
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
        assert!(queue.len() <= 1, "one of a key");
        taken += u64::from(take_now(&queue, &mut batch).is_some());
        assert_eq!(taken + queue.dropped(), 2);
        assert_eq!(queue.dropped(), stub.dropped());
        assert_fill_level(&queue);
    });
}

/// Messages behind a recipient, which two threads take: as with a recipient's queue, the one that takes them holds the
/// lock until they are in their place.
struct Coming(Mutex<VecDeque<u8>>);

impl Coming {
    /// Does the work of a pump: puts all waiting messages into the box.
    fn pass_on(&self, queue: &BoxQueue<Number>) {
        let mut coming = self.0.lock();
        while let Some(n) = coming.pop_front() {
            assert_eq!(put(queue, n), Ok(()));
        }
    }

    /// Does the work of a reader that finds nothing in the box.
    fn intercept(&self, queue: &BoxQueue<Number>, batch: &mut Batch<Number>) -> bool {
        let mut coming = self.0.lock();
        queue.intercept(batch, |batch, room| {
            let room = room.min(coming.len());
            batch.extend(coming.drain(..room).map(|n| Parcel::new(Number(n), None)));
        })
    }
}

#[test]
fn what_a_reader_intercepts_has_overtaken_none() {
    explore(|| {
        let (stub, queue) = open(&Buffer::dropping(4));
        let coming = Arc::new(Coming(Mutex::new([1, 2].into())));
        let pumped = Arc::clone(&coming);
        let pump = meanwhile(&queue, move |queue| {
            pumped.pass_on(queue);
            pumped.0.lock().push_back(3);
            pumped.pass_on(queue);
        });
        let (mut taken, mut batch) = (Vec::new(), Batch::new());
        while taken.len() < 3 {
            let next = queue.hand_over(&mut batch).map(|parcel| parcel.message.0);
            match next {
                Some(n) => taken.push(n),
                None if queue.take_batch(&mut batch) || coming.intercept(&queue, &mut batch) => {}
                None => taken.extend(take(&queue, &mut batch)),
            }
        }
        pump.join().unwrap();
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!((queue.len(), stub.dropped()), (0, 0));
        assert_fill_level(&queue);
    });
}

#[test]
fn what_a_reader_intercepts_takes_room() {
    explore(|| {
        let (_stub, queue) = open(&Buffer::dropping(2));
        let coming = Coming(Mutex::new([1, 2, 3].into()));
        let sender = meanwhile(&queue, |queue| usize::from(put(queue, 4).is_ok()) + usize::from(put(queue, 5).is_ok()));
        let mut batch = Batch::new();
        coming.intercept(&queue, &mut batch);
        assert!(queue.len() <= 2);
        let accepted = sender.join().unwrap();
        // The reader takes messages from one place only: if it finds any in the box, it takes those.
        assert_eq!(queue.len(), 2);
        assert_eq!(accepted + (3 - coming.0.lock().len()), 2);
        assert_fill_level(&queue);
    });
}

#[test]
fn what_starts_with_the_first_message_starts_once_or_never() {
    explore(|| {
        let (_stub, queue) = open(&Buffer::dropping(4));
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        queue.start_when_needed(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let senders = [1, 2].map(|n| meanwhile(&queue, move |queue| put(queue, n).is_ok()));
        queue.close();
        let accepted = senders.map(|sender| sender.join().unwrap());
        assert_eq!(starts.load(Ordering::Relaxed), usize::from(accepted.contains(&true)));
        // A reader that was not started is dropped: it may hold an actor.
        assert_eq!(Arc::strong_count(&starts), 1);
    });
}

/// Puts messages in a row, like a connection. Returns how many of them the box takes.
fn put_row(queue: &BoxQueue<Number>, numbers: impl IntoIterator<Item = u8>) -> usize {
    let (mut row, _) = queue.row();
    row.extend(numbers.into_iter().map(|n| Parcel::new(Number(n), None)));
    let mut taken = row.len();
    queue.put_all(row, &RowWeights::of_three(), |_| taken -= 1);
    taken
}

#[test]
fn a_reader_that_waits_reads_all_of_a_row_or_nothing_when_a_close_meets_it() {
    explore(|| {
        let (stub, queue) = open(&Buffer::dropping(4));
        let sender = meanwhile(&queue, |queue| put_row(queue, [1, 2]));
        let closer = meanwhile(&queue, |queue| queue.close());
        let (mut taken, mut batch) = (Vec::new(), Batch::new());
        while let Some(n) = take(&queue, &mut batch) {
            taken.push(n);
        }
        assert!([&[][..], &[1, 2]].contains(&&*taken), "{taken:?}");
        assert_eq!(taken.len(), sender.join().unwrap());
        closer.join().unwrap();
        assert_eq!((queue.dropped(), stub.dropped()), (0, 0));
        assert_fill_level(&queue);
    });
}

#[test]
fn a_row_and_others_together_take_no_more_than_there_is_room_for() {
    explore(|| {
        let (_stub, queue) = open(&Buffer::dropping(2));
        let rows = [[1, 2], [3, 4]].map(|row| meanwhile(&queue, move |queue| put_row(queue, row)));
        let mut batch = Batch::new();
        let first = take(&queue, &mut batch).expect("the box is open");
        let taken: usize = rows.into_iter().map(|row| row.join().unwrap()).sum();
        assert_eq!(queue.len() + 1, taken);
        assert!((2..=3).contains(&taken), "{taken} with {first}");
        assert_fill_level(&queue);
        let rest: Vec<u8> =
            std::iter::from_fn(|| take_now(&queue, &mut batch)).map(|parcel| parcel.message.0).collect();
        let all: Vec<u8> = [first].into_iter().chain(rest).collect();
        // The box has taken the first messages of each row, in order.
        let of = |row: [u8; 2]| all.iter().copied().filter(|n| row.contains(n)).collect::<Vec<_>>();
        assert!([1, 2].starts_with(&of([1, 2])) && [3, 4].starts_with(&of([3, 4])), "{all:?}");
    });
}

#[test]
fn what_starts_with_the_first_message_starts_with_a_row_too() {
    explore(|| {
        let (_stub, queue) = open(&Buffer::dropping(4));
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        queue.start_when_needed(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let senders = [vec![1, 2], vec![]].map(|row| meanwhile(&queue, move |queue| put_row(queue, row)));
        queue.close();
        let taken: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert_eq!(starts.load(Ordering::Relaxed), usize::from(taken > 0));
        assert_eq!(Arc::strong_count(&starts), 1);
    });
}
