//! A box in every order in which its threads can meet, as loom finds them: whoever waits is woken, and every message
//! that was accepted is taken, or dropped and counted.
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
use crate::handle::ports::ExportKey;
use crate::handle::ports::Outbound;
use crate::ident::AddressError;
use crate::ident::Endpoint;
use crate::ident::NodeId;
use crate::observe::Observer;

#[derive(Message, Serialize, Deserialize, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Number(u8);

/// Runs what a model does in every order in which its threads can meet, with at most three turns taken from a thread that
/// could go on: mistakes that need more of them are rare, and the orders many.
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A household that does nothing but count. What it counts with is not loom's, and no lock of it is held for longer than
/// a count takes.
#[derive(Debug)]
pub(crate) struct Hut {
    id: NodeId,
    limits: Limits,
    observer: Observer,
    stopped: CancellationToken,
}

impl Hut {
    pub(crate) fn new() -> Arc<Hut> {
        Arc::new(Hut {
            id: NodeId([7; 16]),
            limits: Limits::default(),
            observer: Observer::default(),
            stopped: CancellationToken::new(),
        })
    }

    /// How many messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.observer.stats(self.id).dropped_total()
    }
}

impl Household for Hut {
    fn id(&self) -> NodeId {
        self.id
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn observer(&self) -> &Observer {
        &self.observer
    }

    fn is_stopped(&self) -> bool {
        false
    }

    fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    fn run(&self, _: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) {
        unreachable!("nothing here has a pump");
    }

    fn place(self: Arc<Self>, _: &Endpoint, _: &str) -> Result<Arc<Pointer>, AddressError> {
        unreachable!("nothing here is looked for elsewhere");
    }

    fn export(self: Arc<Self>, _: ExportKey, _: &dyn Fn(BoxId) -> Arc<dyn LocalBox>) -> Arc<Pointer> {
        unreachable!("nothing here is exported");
    }

    fn forget(&self, _: BoxId, _: &str) {}

    fn way_to(&self, _: NodeId) -> Option<Arc<dyn Outbound>> {
        None
    }

    fn look_for(self: Arc<Self>, _: NodeId, _: &[Endpoint]) -> Option<Arc<dyn Outbound>> {
        None
    }

    fn is_gone(&self, _: NodeId) -> bool {
        false
    }

    fn news(&self) -> &tokio::sync::Notify {
        unreachable!("nothing here is waited for elsewhere");
    }

    fn box_named(&self, _: &str) -> Option<Arc<dyn LocalBox>> {
        None
    }

    fn report(&self, _: Source, _: &dyn LocalBox, _: DropReason, _: u64) {}

    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }
}

fn open(buffer: &Buffer<Number>) -> (Arc<Hut>, Arc<Inbox<Number>>) {
    let hut = Hut::new();
    let identity = Identity { id: BoxId([1; 16]), name: "box".into(), counted: false };
    let home: Arc<dyn Household> = Arc::clone(&hut) as _;
    (hut, Arc::new(Inbox::new(identity, home, buffer, || true)))
}

fn put(inbox: &Inbox<Number>, n: u8) -> Result<(), Refusal> {
    inbox.accept(&mut Some(Parcel::new(Number(n), None)))
}

/// A thread that does something with the box.
fn meanwhile<T: 'static>(
    inbox: &Arc<Inbox<Number>>,
    act: impl FnOnce(&Inbox<Number>) -> T + Send + 'static,
) -> JoinHandle<T> {
    let inbox = Arc::clone(inbox);
    thread::spawn(move || act(&inbox))
}

/// The next message as a reader waits for it. If nobody wakes it, loom says that this hangs.
fn take(inbox: &Inbox<Number>, batch: &mut Batch<Number>) -> Option<u8> {
    block_on(poll_fn(|cx| inbox.poll_take(batch, cx))).map(|parcel| parcel.message.0)
}

/// The next message, if one waits.
fn take_now(inbox: &Inbox<Number>, batch: &mut Batch<Number>) -> Option<Parcel<Number>> {
    inbox.hand_over(batch).or_else(|| inbox.take_batch(batch).then(|| inbox.hand_over(batch)).flatten())
}

/// What the hint has to be when nothing happens any more.
fn assert_outlook(inbox: &Inbox<Number>) {
    let queue = inbox.queue.lock();
    let truth = match () {
        () if !queue.open => Some(DropReason::BoxClosed),
        () if queue.waiting.refuses(inbox.held()) => Some(DropReason::NewestShed),
        () => None,
    };
    drop(queue);
    assert_eq!(inbox.refusal(), truth);
}

#[test]
fn a_reader_that_waits_is_woken_by_each_sender() {
    explore(|| {
        let (_hut, inbox) = open(&Buffer::dropping(4));
        let senders = [1, 2].map(|n| meanwhile(&inbox, move |inbox| put(inbox, n)));
        let batch = &mut Batch::new();
        let mut taken = [take(&inbox, batch), take(&inbox, batch)];
        taken.sort_unstable();
        assert_eq!(taken, [Some(1), Some(2)]);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
        assert_outlook(&inbox);
    });
}

#[test]
fn a_reader_that_waits_reads_to_the_end_when_a_close_meets_a_send() {
    explore(|| {
        let (hut, inbox) = open(&Buffer::dropping(4));
        let sender = meanwhile(&inbox, |inbox| put(inbox, 1).is_ok());
        let closer = meanwhile(&inbox, |inbox| inbox.close());
        let (mut taken, mut batch) = (0, Batch::new());
        while take(&inbox, &mut batch).is_some() {
            taken += 1;
        }
        assert_eq!(taken, u32::from(sender.join().unwrap()));
        closer.join().unwrap();
        assert_eq!((inbox.dropped(), hut.dropped()), (0, 0));
        assert!(inbox.closed().is_cancelled());
        assert_outlook(&inbox);
    });
}

#[test]
fn what_a_closed_box_is_left_with_is_counted() {
    explore(|| {
        let (hut, inbox) = open(&Buffer::dropping(4));
        let sender = meanwhile(&inbox, |inbox| u64::from(put(inbox, 1).is_ok()) + u64::from(put(inbox, 2).is_ok()));
        let mut batch = Batch::new();
        let taken = u64::from(take_now(&inbox, &mut batch).is_some());
        // As a mailbox that is dropped.
        inbox.close();
        inbox.discard(&mut batch, DropReason::BoxClosed);
        assert_eq!(sender.join().unwrap(), taken + inbox.dropped());
        assert_eq!(inbox.dropped(), hut.dropped());
        assert_eq!(inbox.len(), 0);
        assert_outlook(&inbox);
    });
}

#[test]
fn a_full_box_takes_again_once_it_was_read() {
    explore(|| {
        let (_hut, inbox) = open(&Buffer::dropping(1));
        assert_eq!(put(&inbox, 1), Ok(()));
        let sender = meanwhile(&inbox, |inbox| put(inbox, 2));
        let mut batch = Batch::new();
        let looker = meanwhile(&inbox, |inbox| inbox.refusal() != Some(DropReason::BoxClosed));
        assert_eq!(take(&inbox, &mut batch), Some(1));
        let stored = sender.join().unwrap();
        assert!(looker.join().unwrap());
        assert_outlook(&inbox);
        match stored {
            Ok(()) => assert_eq!(take(&inbox, &mut batch), Some(2)),
            Err(refusal) => assert_eq!(refusal, Refusal::Full(DropReason::NewestShed)),
        }
        assert_outlook(&inbox);
        assert_eq!(inbox.refusal(), None);
        assert_eq!(put(&inbox, 3), Ok(()));
        assert_eq!(inbox.refusal(), Some(DropReason::NewestShed));
    });
}

#[test]
fn what_the_reader_holds_still_takes_room() {
    explore(|| holds_and_takes_room(take));
    explore(|| holds_and_takes_room(|inbox, batch| take_now(inbox, batch).map(|parcel| parcel.message.0)));
}

fn holds_and_takes_room(first: fn(&Inbox<Number>, &mut Batch<Number>) -> Option<u8>) {
    let (_hut, inbox) = open(&Buffer::dropping(2));
    assert_eq!((put(&inbox, 1), put(&inbox, 2)), (Ok(()), Ok(())));
    let sender = meanwhile(&inbox, |inbox| usize::from(put(inbox, 3).is_ok()) + usize::from(put(inbox, 4).is_ok()));
    let mut batch = Batch::new();
    // Takes all that waits, and hands over the first of it.
    assert_eq!(first(&inbox, &mut batch), Some(1));
    let accepted = sender.join().unwrap();
    assert!(accepted <= 1, "one more than was handed over");
    assert_eq!(inbox.len(), 1 + accepted);
    assert_outlook(&inbox);
    let rest: Vec<u8> = std::iter::from_fn(|| take_now(&inbox, &mut batch)).map(|parcel| parcel.message.0).collect();
    assert!(rest.len() == 1 + accepted && rest.starts_with(&[2]) && rest.is_sorted(), "{rest:?}");
    assert_outlook(&inbox);
    assert_eq!((inbox.len(), inbox.refusal()), (0, None));
}

#[test]
fn a_sliding_box_counts_each_message_that_made_room() {
    explore(|| {
        let (hut, inbox) = open(&Buffer::sliding(1));
        let senders = [1, 2].map(|n| meanwhile(&inbox, move |inbox| put(inbox, n)));
        let mut batch = Batch::new();
        let mut taken = u64::from(take(&inbox, &mut batch).is_some());
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
        taken += u64::from(take_now(&inbox, &mut batch).is_some());
        assert_eq!(taken + inbox.dropped(), 2);
        assert_eq!(inbox.dropped(), hut.dropped());
        assert_outlook(&inbox);
    });
}

#[test]
fn a_box_by_key_counts_each_message_that_was_replaced() {
    explore(|| {
        let (hut, inbox) = open(&Buffer::latest_by(|_: &Number| ()));
        let senders = [1, 2].map(|n| meanwhile(&inbox, move |inbox| put(inbox, n)));
        let mut batch = Batch::new();
        let mut taken = u64::from(take(&inbox, &mut batch).is_some());
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
        assert!(inbox.len() <= 1, "one of a key");
        taken += u64::from(take_now(&inbox, &mut batch).is_some());
        assert_eq!(taken + inbox.dropped(), 2);
        assert_eq!(inbox.dropped(), hut.dropped());
        assert_outlook(&inbox);
    });
}

/// Messages behind a recipient, which two take up: as with an intake, whoever does holds the lock until they are where they
/// belong.
struct Coming(Mutex<VecDeque<u8>>);

impl Coming {
    /// What a pump does: puts all that waits into the box.
    fn pass_on(&self, inbox: &Inbox<Number>) {
        let mut coming = self.0.lock();
        while let Some(n) = coming.pop_front() {
            assert_eq!(put(inbox, n), Ok(()));
        }
    }

    /// What a reader does that finds nothing in the box.
    fn intercept(&self, inbox: &Inbox<Number>, batch: &mut Batch<Number>) -> bool {
        let mut coming = self.0.lock();
        inbox.intercept(batch, |batch, room| {
            let room = room.min(coming.len());
            batch.extend(coming.drain(..room).map(|n| Parcel::new(Number(n), None)));
        })
    }
}

#[test]
fn what_a_reader_intercepts_has_overtaken_none() {
    explore(|| {
        let (hut, inbox) = open(&Buffer::dropping(4));
        let coming = Arc::new(Coming(Mutex::new([1, 2].into())));
        let pumped = Arc::clone(&coming);
        let pump = meanwhile(&inbox, move |inbox| {
            pumped.pass_on(inbox);
            pumped.0.lock().push_back(3);
            pumped.pass_on(inbox);
        });
        let (mut taken, mut batch) = (Vec::new(), Batch::new());
        while taken.len() < 3 {
            let next = inbox.hand_over(&mut batch).map(|parcel| parcel.message.0);
            match next {
                Some(n) => taken.push(n),
                None if inbox.take_batch(&mut batch) || coming.intercept(&inbox, &mut batch) => {}
                None => taken.extend(take(&inbox, &mut batch)),
            }
        }
        pump.join().unwrap();
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!((inbox.len(), hut.dropped()), (0, 0));
        assert_outlook(&inbox);
    });
}

#[test]
fn what_a_reader_intercepts_takes_room() {
    explore(|| {
        let (_hut, inbox) = open(&Buffer::dropping(2));
        let coming = Coming(Mutex::new([1, 2, 3].into()));
        let sender = meanwhile(&inbox, |inbox| usize::from(put(inbox, 4).is_ok()) + usize::from(put(inbox, 5).is_ok()));
        let mut batch = Batch::new();
        coming.intercept(&inbox, &mut batch);
        assert!(inbox.len() <= 2);
        let accepted = sender.join().unwrap();
        // All of the one or all of the other: a reader that finds something in the box takes that.
        assert_eq!(inbox.len(), 2);
        assert_eq!(accepted + (3 - coming.0.lock().len()), 2);
        assert_outlook(&inbox);
    });
}

#[test]
fn what_starts_with_the_first_message_starts_once_or_never() {
    explore(|| {
        let (_hut, inbox) = open(&Buffer::dropping(4));
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        inbox.start_when_needed(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let senders = [1, 2].map(|n| meanwhile(&inbox, move |inbox| put(inbox, n).is_ok()));
        inbox.close();
        let accepted = senders.map(|sender| sender.join().unwrap());
        assert_eq!(starts.load(Ordering::Relaxed), usize::from(accepted.contains(&true)));
        // What was not started is let go: it may hold an actor.
        assert_eq!(Arc::strong_count(&starts), 1);
    });
}

/// Puts messages in a row, as a connection does; how many of them the box takes.
fn put_row(inbox: &Inbox<Number>, numbers: impl IntoIterator<Item = u8>) -> usize {
    let (mut row, _) = inbox.row();
    row.extend(numbers.into_iter().map(|n| Parcel::new(Number(n), None)));
    let mut taken = row.len();
    inbox.put_all(row, |_| taken -= 1);
    taken
}

#[test]
fn a_reader_that_waits_reads_all_of_a_row_or_nothing_when_a_close_meets_it() {
    explore(|| {
        let (hut, inbox) = open(&Buffer::dropping(4));
        let sender = meanwhile(&inbox, |inbox| put_row(inbox, [1, 2]));
        let closer = meanwhile(&inbox, |inbox| inbox.close());
        let (mut taken, mut batch) = (Vec::new(), Batch::new());
        while let Some(n) = take(&inbox, &mut batch) {
            taken.push(n);
        }
        assert!([&[][..], &[1, 2]].contains(&&*taken), "{taken:?}");
        assert_eq!(taken.len(), sender.join().unwrap());
        closer.join().unwrap();
        assert_eq!((inbox.dropped(), hut.dropped()), (0, 0));
        assert_outlook(&inbox);
    });
}

#[test]
fn a_row_and_others_together_take_no_more_than_there_is_room_for() {
    explore(|| {
        let (_hut, inbox) = open(&Buffer::dropping(2));
        let rows = [[1, 2], [3, 4]].map(|row| meanwhile(&inbox, move |inbox| put_row(inbox, row)));
        let mut batch = Batch::new();
        let first = take(&inbox, &mut batch).expect("the box is open");
        let taken: usize = rows.into_iter().map(|row| row.join().unwrap()).sum();
        assert_eq!(inbox.len() + 1, taken);
        assert!((2..=3).contains(&taken), "{taken} with {first}");
        assert_outlook(&inbox);
        let rest: Vec<u8> =
            std::iter::from_fn(|| take_now(&inbox, &mut batch)).map(|parcel| parcel.message.0).collect();
        let all: Vec<u8> = [first].into_iter().chain(rest).collect();
        // Of each row the first ones, in order.
        let of = |row: [u8; 2]| all.iter().copied().filter(|n| row.contains(n)).collect::<Vec<_>>();
        assert!([1, 2].starts_with(&of([1, 2])) && [3, 4].starts_with(&of([3, 4])), "{all:?}");
    });
}

#[test]
fn what_starts_with_the_first_message_starts_with_a_row_too() {
    explore(|| {
        let (_hut, inbox) = open(&Buffer::dropping(4));
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        inbox.start_when_needed(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let senders = [vec![1, 2], vec![]].map(|row| meanwhile(&inbox, move |inbox| put_row(inbox, row)));
        inbox.close();
        let taken: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert_eq!(starts.load(Ordering::Relaxed), usize::from(taken > 0));
        assert_eq!(Arc::strong_count(&starts), 1);
    });
}
