//! A row of messages from a connection has the same effect on a box as the same messages one by one, whatever the kind
//! of the box, the messages that wait in it, and the actions of its reader meanwhile.
use std::task::Wake;
use std::task::Waker;

use actix::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de;

use crate::boxes::queue::*;
use crate::handle::detached;
use crate::handle::envelope::Arrival;
use crate::handle::envelope::Source;
use crate::observe::loss::Loss;
use crate::wire::batch::Posts;

/// A number that cannot be read if it is odd and above 200.
#[derive(Message, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[rtype(result = "()")]
struct Number(u8);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        match u8::deserialize(deserializer)? {
            n if n > 200 && n % 2 == 1 => Err(de::Error::custom("odd")),
            n => Ok(Number(n)),
        }
    }
}

/// The kind of a box.
#[derive(Clone, Copy, Debug)]
enum Sort {
    Dropping,
    Sliding,
    ByLastDigit,
}

/// An event at the box.
#[derive(Clone, Debug)]
enum Event {
    /// Messages come from a connection.
    Come(Vec<u8>),
    /// The reader takes at most this number of messages.
    Take(usize),
    /// The node sweeps its boxes.
    Look,
    Close,
}

fn any_event() -> impl Strategy<Value = Event> {
    let body = prop_oneof![9 => 0..200_u8, 1 => 200..=u8::MAX];
    prop_oneof![
        6 => vec(body, 1..12).prop_map(Event::Come),
        4 => (0..12_usize).prop_map(Event::Take),
        1 => Just(Event::Look),
        1 => prop::bool::weighted(0.1).prop_map(|close| if close { Event::Close } else { Event::Look }),
    ]
}

/// A counter that is a waker.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Count>) {
        self.one();
    }
}

/// Returns the visible part of a loss, which nobody settles here.
fn seen(loss: Loss<'_>) -> (DropReason, Option<String>) {
    let (reason, detail) = loss.withdraw();
    (reason, detail.map(String::from))
}

/// A box with its observable effects.
struct Seen {
    queue: BoxQueue<Number>,
    batch: Batch<Number>,
    woken: Arc<Count>,
    started: Arc<Count>,
    taken: Vec<Number>,
    rejected: Vec<(DropReason, Option<String>)>,
}

impl Seen {
    fn new(sort: Sort, capacity: usize) -> Seen {
        let buffer = match sort {
            Sort::Dropping => Buffer::dropping(capacity),
            Sort::Sliding => Buffer::sliding(capacity),
            Sort::ByLastDigit => Buffer::latest_by(|number: &Number| number.0 % 10).capacity(capacity),
        };
        let identity = BoxIdentity { id: BoxId([7; 16]), name: "numbers".into(), is_leased: false, visibility: None };
        let queue = BoxQueue::new(identity, Arc::clone(detached::pointer().this_node()), &buffer, None);
        let (woken, started) = <(Arc<Count>, Arc<Count>)>::default();
        let start = Arc::clone(&started);
        queue.start_when_needed(move || start.one());
        Seen { queue, batch: Batch::new(), woken, started, taken: Vec::new(), rejected: Vec::new() }
    }

    fn happens(&mut self, event: &Event, in_rows: bool) {
        match event {
            Event::Come(bodies) if in_rows && bodies.len() > 1 => self.come_in_a_row(bodies),
            Event::Come(bodies) => bodies.iter().for_each(|body| self.comes(*body)),
            Event::Take(most) => self.take(*most),
            Event::Look => self.queue.reap_if_dead(),
            Event::Close => self.queue.close(),
        }
    }

    fn comes(&mut self, body: u8) {
        let taken = self.queue.accept_encoded(&[body], &mut Vec::new(), &mut None, arrival());
        self.rejected.extend(taken.err().map(seen));
    }

    fn come_in_a_row(&mut self, bodies: &[u8]) {
        let frame = |body| [&[4, 0, 0, 0, 2, 0, 4], &[body][..]].concat();
        // Bytes that are no post follow, so that the last post is found.
        let stream = bodies.iter().flat_map(|body| frame(*body)).chain([0; 12]).collect::<Vec<_>>();
        let posts = Posts::at(&stream, 100, bodies.len()).expect("posts in a row");
        assert_eq!(posts.count(), bodies.len());
        let rejected = &mut self.rejected;
        let reject = &mut |loss: Loss<'static>| rejected.push(seen(loss));
        self.queue.accept_all(posts.bodies(), arrival(), reject);
    }

    fn take(&mut self, most: usize) {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        for _ in 0..most {
            match self.queue.poll_take(&mut self.batch, &mut cx) {
                Poll::Ready(Some(parcel)) => self.taken.push(parcel.message),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// Returns the effects of one event. The drop reasons are in no order, because unreadable messages are known before
    /// those without room.
    fn shows(&mut self) -> String {
        let (stats, fill_level) = (self.queue.stats(), self.queue.fill_level());
        let counts = [self.woken.get(), self.started.get(), self.batch.len()];
        let (taken, mut rejected) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.rejected));
        rejected.sort();
        format!("{stats:?} {fill_level} {counts:?} {taken:?} {rejected:?}")
    }

    /// Returns the waiting messages, in order.
    fn left(&mut self) -> Vec<Number> {
        let mut left: Vec<_> = self.batch.drain(..).map(|parcel| parcel.message).collect();
        left.extend(self.queue.state.lock().backlog.take_all().into_iter().map(|parcel| parcel.message));
        left
    }
}

fn arrival() -> Arrival {
    Arrival { from: Source::HERE, fingerprint: 0, hops: 0 }
}

fn come(sort: Sort, capacity: usize, bodies: &[u8]) -> Seen {
    let mut seen = Seen::new(sort, capacity);
    seen.come_in_a_row(bodies);
    seen
}

fn numbers(numbers: &[u8]) -> Vec<Number> {
    numbers.iter().copied().map(Number).collect()
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_row_does_what_its_messages_do(
        sort in prop_oneof![Just(Sort::Dropping), Just(Sort::Sliding), Just(Sort::ByLastDigit)],
        capacity in prop_oneof![1 => Just(0_usize), 6 => 1..12_usize, 1 => 12..100_usize],
        events in vec(any_event(), 1..20),
    ) {
        is_the_same_in_rows(sort, capacity, &events);
    }
}

fn is_the_same_in_rows(sort: Sort, capacity: usize, events: &[Event]) {
    let (mut in_rows, mut one_by_one) = (Seen::new(sort, capacity), Seen::new(sort, capacity));
    for event in events {
        in_rows.happens(event, true);
        one_by_one.happens(event, false);
        assert_eq!(in_rows.shows(), one_by_one.shows(), "after {event:?}");
    }
    assert_eq!(in_rows.left(), one_by_one.left());
}

/// Covers a case that hardly ever comes by chance.
#[test]
fn a_row_that_cannot_be_read_leaves_a_box_as_it_was() {
    let unread = || Event::Come(vec![201, 203]);
    for sort in [Sort::Dropping, Sort::Sliding, Sort::ByLastDigit] {
        is_the_same_in_rows(sort, 0, &[unread(), Event::Come(vec![1, 2]), unread()]);
        // The fill level was updated last when the box was fuller.
        is_the_same_in_rows(sort, 4, &[Event::Come(vec![1, 2, 3]), Event::Take(3), unread(), Event::Take(1), unread()]);
    }
}

#[test]
fn a_dropping_box_keeps_the_first_of_a_row_and_reads_no_more_than_it_keeps() {
    // Messages behind those are not examined.
    let mut seen = come(Sort::Dropping, 3, &[1, 201, 2, 3, 4, 203, 5]);
    assert_eq!(seen.left(), numbers(&[1, 2, 3]));
    let not_decodable = |(reason, _): &&(DropReason, _)| *reason == DropReason::NotDecodable;
    assert_eq!((seen.rejected.len(), seen.rejected.iter().filter(not_decodable).count()), (4, 1));
    assert_eq!((seen.queue.stats().received, seen.queue.fill_level()), (3, 4));
}

#[test]
fn a_sliding_box_keeps_the_last_of_a_row() {
    let mut seen = come(Sort::Sliding, 3, &[1, 2, 3, 4, 201, 5, 6, 7, 8]);
    assert_eq!(seen.left(), numbers(&[6, 7, 8]));
    assert_eq!(seen.queue.stats().dropped, [(DropReason::OldestShed, 5)].into());
    assert_eq!((seen.rejected.len(), seen.queue.stats().received), (1, 8));
}

#[test]
fn a_box_by_key_keeps_the_newest_of_each_of_a_row() {
    let mut seen = come(Sort::ByLastDigit, 10, &[1, 2, 11, 3, 21, 13]);
    assert_eq!(seen.left(), numbers(&[2, 21, 13]));
    assert_eq!(seen.queue.stats().dropped, [(DropReason::Replaced, 3)].into());
    assert_eq!((seen.rejected.len(), seen.queue.stats().received), (0, 6));
}

#[test]
fn a_row_of_which_nothing_is_kept_starts_and_wakes_nobody() {
    for sort in [Sort::Dropping, Sort::Sliding, Sort::ByLastDigit] {
        // None of the messages is examined.
        let no_room = come(sort, 0, &[201, 2, 203]);
        let shed = (DropReason::NewestShed, None);
        assert_eq!(no_room.rejected, vec![shed; 3]);
        let mut unread = Seen::new(sort, 10);
        unread.take(1);
        unread.come_in_a_row(&[201, 203]);
        let mut closed = Seen::new(sort, 10);
        closed.queue.close();
        closed.come_in_a_row(&[1, 2]);
        for seen in [no_room, unread, closed] {
            assert_eq!((seen.started.get(), seen.woken.get(), seen.queue.stats().received), (0, 0, 0));
        }
        let mut kept = Seen::new(sort, 10);
        kept.take(1);
        kept.come_in_a_row(&[201, 7]);
        assert_eq!((kept.started.get(), kept.woken.get(), kept.left()), (1, 1, numbers(&[7])));
    }
}

/// The box closes between the check that it is open and the lock.
#[test]
fn a_box_that_closes_while_a_row_is_read_takes_none_of_it() {
    let seen = Seen::new(Sort::Dropping, 10);
    let (mut row, room) = seen.queue.row();
    assert_eq!(room, 10);
    row.extend([1, 2].map(|n| Parcel { message: Number(n), reply: None, from: Source::HERE }));
    seen.queue.close();
    let mut refused = Vec::new();
    seen.queue.put_all(row, &RowWeights::of_three(), |(parcel, refusal)| refused.push((parcel.message, refusal)));
    assert_eq!(refused, [1, 2].map(|n| (Number(n), DropReason::BoxClosed)));
    assert_eq!((seen.queue.len(), seen.queue.stats().received), (0, 0));
}

/// Others may have filled the box since its room was determined.
#[test]
fn what_does_not_fit_any_more_is_given_back_in_order() {
    let mut seen = Seen::new(Sort::Dropping, 3);
    let (mut row, _) = seen.queue.row();
    row.extend([1, 2, 3].map(|n| Parcel { message: Number(n), reply: None, from: Source::HERE }));
    seen.comes(9);
    seen.comes(8);
    let mut refused = Vec::new();
    seen.queue.put_all(row, &RowWeights::of_three(), |(parcel, refusal)| refused.push((parcel.message, refusal)));
    assert_eq!(refused, [2, 3].map(|n| (Number(n), DropReason::NewestShed)));
    assert_eq!(seen.left(), numbers(&[9, 8, 1]));
}
