//! Limits the greetings of strangers that are answered in a second: each costs this node a signature and the check of
//! one, on the thread that all connections share.
//!
//! A peer beyond the limit is not refused but waits, and the addresses of the waiting peers take turns: the clients of
//! a restarted server come back a little later, and many peers from one address delay only each other. An address that
//! has recently used more than its quarter of the greetings goes behind the others. The number of waiting peers is
//! bounded by `max_unproven`, and their time by `handshake_timeout`; a peer that hangs up leaves the queue.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::net::transport::accepted::Origin;

/// The divisor for the part of all greetings that one address has while others wait.
const ADDRESSES: f64 = 4.0;

/// The seconds for which unused greetings are saved: a few rounds of the I/O thread, and no more than it can answer
/// without holding up other connections.
const SAVED: f64 = 0.1;

/// Addresses whose recent greetings are remembered. An address whose bucket is full again is forgotten, which takes
/// four times as long as a greeting: there are hardly ever more than a few.
const MAX_ADDRESSES: usize = 1024;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    /// The time at which the bucket held these tokens.
    at: Instant,
}

/// The rate and the capacity of a bucket.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// Tokens a second.
    rate: f64,
    /// The most tokens that it holds; at least one.
    most: f64,
}

impl Flow {
    fn new(rate: f64) -> Flow {
        Flow { rate, most: (rate * SAVED).max(1.0) }
    }

    fn full(self, now: Instant) -> Bucket {
        Bucket { tokens: self.most, at: now }
    }

    fn tokens(self, bucket: Bucket, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + elapsed * self.rate).min(self.most)
    }

    /// Takes one token, or the fraction that there is of one.
    fn take(self, bucket: Bucket, now: Instant) -> Bucket {
        Bucket { tokens: (self.tokens(bucket, now) - 1.0).max(0.0), at: now }
    }
}

/// The result of asking for the next turn.
#[derive(Debug, PartialEq)]
enum Turn<T> {
    Of(T),
    /// Nobody has a turn before then.
    At(Instant),
    /// Nobody waits.
    Nobodys,
}

/// The peers that wait, each with a `T` through which it is told. Time is an argument.
#[derive(Debug)]
struct GreetingQueue<T> {
    node_flow: Flow,
    address_flow: Flow,
    node: Bucket,
    /// The buckets that are not full, by address; at most [`MAX_ADDRESSES`].
    addresses: HashMap<Origin, Bucket>,
    /// The waiting peers by origin, in the order in which they came. Unix sockets have no address, and share one turn.
    waiting: HashMap<Option<Origin>, BTreeMap<u64, T>>,
    /// The origins in `waiting`, in the order of their turns.
    turns: VecDeque<Option<Origin>>,
    next: u64,
}

impl<T> GreetingQueue<T> {
    fn new(rate: f64, now: Instant) -> GreetingQueue<T> {
        let node_flow = Flow::new(rate);
        GreetingQueue {
            node_flow,
            address_flow: Flow::new(rate / ADDRESSES),
            node: node_flow.full(now),
            addresses: HashMap::new(),
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            next: 0,
        }
    }

    /// Takes the cost of one greeting, if nobody waits and there are tokens; returns whether it did.
    fn take(&mut self, origin: Option<Origin>, now: Instant) -> bool {
        let is_free = self.turns.is_empty() && self.node_flow.tokens(self.node, now) >= 1.0;
        if is_free {
            self.charge(origin, now);
        }
        is_free
    }

    /// Queues for a turn, and returns the number by which it can be given up.
    fn wait(&mut self, origin: Option<Origin>, tell: T) -> u64 {
        self.next += 1;
        let of_origin = self.waiting.entry(origin).or_default();
        if of_origin.is_empty() {
            self.turns.push_back(origin);
        }
        of_origin.insert(self.next, tell);
        self.next
    }

    /// Removes a waiting peer, if it still waits.
    fn give_up(&mut self, origin: Option<Origin>, number: u64) {
        let Some(of_origin) = self.waiting.get_mut(&origin) else { return };
        of_origin.remove(&number);
        if of_origin.is_empty() {
            self.waiting.remove(&origin);
            self.turns.retain(|other| *other != origin);
        }
    }

    /// Removes the peer that has the next turn: among the addresses that have not had more than their part, or else
    /// among all.
    fn turn(&mut self, now: Instant) -> Turn<T> {
        if self.turns.is_empty() {
            return Turn::Nobodys;
        }
        let missing = 1.0 - self.node_flow.tokens(self.node, now);
        if missing > 0.0 {
            // Rounded up: otherwise the next call would come too early.
            let pause = Duration::from_secs_f64(missing / self.node_flow.rate) + Duration::from_nanos(1);
            return Turn::At(now + pause);
        }
        let within = self.turns.iter().position(|origin| self.has_its_part(*origin, now)).unwrap_or(0);
        let Some(origin) = self.turns.remove(within) else { return Turn::Nobodys };
        let Some(mut of_origin) = self.waiting.remove(&origin) else { return Turn::Nobodys };
        let first = of_origin.pop_first();
        if !of_origin.is_empty() {
            self.waiting.insert(origin, of_origin);
            self.turns.push_back(origin);
        }
        self.charge(origin, now);
        first.map_or(Turn::Nobodys, |(_, tell)| Turn::Of(tell))
    }

    fn has_its_part(&self, origin: Option<Origin>, now: Instant) -> bool {
        let bucket = origin.and_then(|origin| self.addresses.get(&origin));
        bucket.is_none_or(|bucket| self.address_flow.tokens(*bucket, now) >= 1.0)
    }

    fn charge(&mut self, origin: Option<Origin>, now: Instant) {
        self.node = self.node_flow.take(self.node, now);
        let Some(origin) = origin else { return };
        let flow = self.address_flow;
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&origin) {
            self.addresses.retain(|_, bucket| flow.tokens(*bucket, now) < flow.most);
            if self.addresses.len() >= MAX_ADDRESSES {
                // No new address is charged until one is forgotten; new addresses take turns all the same.
                return;
            }
        }
        let bucket = self.addresses.entry(origin).or_insert_with(|| flow.full(now));
        *bucket = flow.take(*bucket, now);
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Greetings {
    state: Mutex<GreetingState>,
    /// The permit to sign or to check a signature: it has one holder in each round of the I/O thread.
    signing: Arc<Semaphore>,
}

#[derive(Debug)]
struct GreetingState {
    queue: GreetingQueue<oneshot::Sender<OwnedSemaphorePermit>>,
    /// Whether a task is handing out turns; it ends when nobody waits.
    is_driven: bool,
}

/// A place in the queue, given up when it is dropped.
struct Waiting {
    greetings: Arc<Greetings>,
    origin: Option<Origin>,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.greetings.state.lock().queue.give_up(self.origin, self.number);
    }
}

impl Greetings {
    pub(crate) fn new(a_second: usize) -> Greetings {
        let queue = GreetingQueue::new(a_second.max(1) as f64, Instant::now());
        Greetings { state: Mutex::new(GreetingState { queue, is_driven: false }), signing: Arc::new(Semaphore::new(1)) }
    }

    /// Waits until no other handshake signs or checks a signature in this round of the I/O thread, so that connected
    /// peers wait for one signature at most, however many strangers greet. (The check of a listener's welcome needs no
    /// turn: there is one for each connection that this node dials.) The turn ends when the permit is dropped.
    pub(crate) async fn alone(&self) -> Option<OwnedSemaphorePermit> {
        let alone = self.permit().await;
        tokio::task::yield_now().await;
        alone
    }

    /// Waits until nobody else has the permit. Nobody closes the semaphore.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.signing).acquire_owned().await.ok()
    }

    /// Like [`alone`](Greetings::alone), for one more unproven peer from that origin: in turns by origin, and within the
    /// rate. To be called on the I/O thread.
    pub(crate) async fn turn(self: &Arc<Self>, origin: Option<Origin>) -> Option<OwnedSemaphorePermit> {
        let turn = match self.turn_at_once(origin) {
            Ok(permit) => Some(permit),
            Err(waits) => waits.await,
        };
        tokio::task::yield_now().await;
        turn
    }

    /// The turn, if nobody is before this one, or the wait for it.
    fn turn_at_once(
        self: &Arc<Self>,
        origin: Option<Origin>,
    ) -> Result<OwnedSemaphorePermit, impl Future<Output = Option<OwnedSemaphorePermit>>> {
        let mut state = self.state.lock();
        if let Ok(permit) = Arc::clone(&self.signing).try_acquire_owned()
            && state.queue.take(origin, Instant::now())
        {
            return Ok(permit);
        }
        let (tell, told) = oneshot::channel();
        let number = state.queue.wait(origin, tell);
        let was_driven = std::mem::replace(&mut state.is_driven, true);
        drop(state);
        let waiting = Waiting { greetings: Arc::clone(self), origin, number };
        if !was_driven {
            actix_rt::spawn(Arc::clone(self).drive());
        }
        Err(async move {
            let _waiting = waiting;
            // The sender is dropped with the node.
            told.await.ok()
        })
    }

    async fn drive(self: Arc<Self>) {
        loop {
            let permit = self.permit().await;
            let turn = {
                let mut state = self.state.lock();
                let turn = state.queue.turn(Instant::now());
                state.is_driven = !matches!(turn, Turn::Nobodys);
                turn
            };
            match (turn, permit) {
                // The peer may have hung up this moment: then the permit is dropped.
                (Turn::Of(tell), Some(permit)) => drop(tell.send(permit)),
                (Turn::At(then), permit) => {
                    drop(permit);
                    tokio::time::sleep_until(then).await;
                }
                (Turn::Nobodys, _) | (_, None) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn origin(n: u16) -> Option<Origin> {
        let [high, low] = n.to_be_bytes();
        Some(Origin::of(([192, 0, high, low], 4242).into()))
    }

    /// Hands out turns for `time`. Returns the peers that had one, each by its origin and its number there.
    fn turns(queue: &mut GreetingQueue<(u16, usize)>, from: Instant, time: Duration) -> Vec<(u16, usize)> {
        let (mut now, mut turns) = (from, Vec::new());
        loop {
            match queue.turn(now) {
                Turn::Of(one) => turns.push(one),
                Turn::At(then) if then <= from + time => now = then,
                Turn::At(_) | Turn::Nobodys => return turns,
            }
        }
    }

    #[test]
    fn who_comes_when_there_is_room_does_not_wait_and_the_others_wait_for_their_turn() {
        let now = Instant::now();
        let mut queue = GreetingQueue::new(100.0, now);
        assert!((0..10).all(|_| queue.take(origin(1), now)), "a tenth of a second is saved");
        assert!(!queue.take(origin(2), now));
        (0..50).for_each(|n| _ = queue.wait(origin(1), (1, n)));
        assert!(!queue.take(origin(2), now + Duration::from_secs(1)), "others wait");
        let had = turns(&mut queue, now, Duration::from_millis(205));
        assert_eq!(had, (0..20).map(|n| (1, n)).collect::<Vec<_>>(), "alone, it has all of them");
        assert_eq!(turns(&mut queue, now + Duration::from_millis(205), Duration::from_secs(9)).len(), 30);
        assert_eq!(queue.turn(now), Turn::Nobodys);
    }

    #[tokio::test]
    async fn one_signature_is_made_or_checked_in_each_round() {
        let greetings = Greetings::new(100);
        let first = greetings.alone().await;
        let [mut second, mut third] = [(); 2].map(|()| Box::pin(greetings.alone()));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "the next is the second");
        assert!(second.as_mut().now_or_never().is_none(), "others have a round before it");
        tokio::task::yield_now().await;
        assert!(second.as_mut().now_or_never().is_some());
    }

    #[test]
    fn an_address_that_has_had_its_quarter_goes_behind_those_that_have_not() {
        let now = Instant::now();
        let mut queue = GreetingQueue::new(100.0, now);
        (0..9).for_each(|n| assert!(queue.take(origin(n % 3), now)));
        assert!(queue.take(None, now));
        // Three crowds have waited for long when two peers come from another address.
        for n in 0..1000 {
            (0..3).for_each(|from| _ = queue.wait(origin(from), (from, n)));
        }
        (0..2).for_each(|n| _ = queue.wait(origin(3), (3, n)));
        let had = turns(&mut queue, now, Duration::from_secs(1));
        assert_eq!(had[..5], [(3, 0), (3, 1), (0, 0), (1, 0), (2, 0)]);
        let of = |from| had.iter().filter(|one| one.0 == from).count();
        assert!((0..3).all(|from| (32..=33).contains(&of(from))), "{had:?}");
    }

    #[test]
    fn unix_sockets_have_the_turns_of_one_address_and_no_quarter() {
        let now = Instant::now();
        let mut queue = GreetingQueue::new(100.0, now);
        while queue.take(None, now) {}
        assert!(queue.addresses.is_empty());
        (0..100).for_each(|n| _ = queue.wait(None, (0, n)));
        queue.wait(origin(1), (1, 0));
        let had = turns(&mut queue, now, Duration::from_millis(100));
        assert_eq!(had[..3], [(0, 0), (1, 0), (0, 1)]);
    }

    #[test]
    fn who_has_given_up_takes_no_turn() {
        let now = Instant::now();
        let mut queue = GreetingQueue::new(1.0, now);
        assert!(queue.take(origin(1), now));
        let numbers: Vec<u64> = (0..3).map(|n| queue.wait(origin(1), (1, n))).collect();
        queue.give_up(origin(1), numbers[1]);
        queue.give_up(origin(2), numbers[0]);
        assert_eq!(turns(&mut queue, now, Duration::from_secs(9)), [(1, 0), (1, 2)]);
        let last = queue.wait(origin(1), (1, 3));
        queue.give_up(origin(1), last);
        assert!(queue.turns.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn so_many_addresses_are_remembered_and_no_longer_than_needed() {
        let now = Instant::now();
        let mut queue: GreetingQueue<()> = GreetingQueue::new(100_000.0, now);
        let many = u16::try_from(MAX_ADDRESSES).expect("a small number") + 500;
        assert!((0..many).all(|n| queue.take(origin(n), now)));
        assert_eq!(queue.addresses.len(), MAX_ADDRESSES);
        assert!(queue.take(origin(many), now + Duration::from_secs(1)));
        assert_eq!(queue.addresses.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_while_somebody_waits() {
        let greetings = Arc::new(Greetings::new(10));
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let began = Instant::now();
                greetings.turn(origin(1)).await;
                assert_eq!(began.elapsed(), Duration::ZERO);
                // Dropped before its turn, it takes none.
                assert!(tokio::time::timeout(Duration::from_millis(10), greetings.turn(origin(1))).await.is_err());
                // Each ends its turn at once.
                let all: Vec<_> = (0..20).map(|n| greetings.turn(origin(n)).map(drop)).collect();
                futures_util::future::join_all(all).await;
                let took = began.elapsed();
                assert!((Duration::from_secs(2)..Duration::from_millis(2050)).contains(&took), "{took:?}");
                // Nobody waits any more; the next greeting starts a new task.
                tokio::task::yield_now().await;
                assert!(!greetings.state.lock().is_driven);
                greetings.turn(origin(1)).await;
            })
            .await;
    }
}
