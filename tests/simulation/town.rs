//! The hosts of a simulation and the network between them, stepped by the test; and what must hold once it is quiet.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use actix_hermod::DropReason;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::Stats;
use tokio::sync::mpsc;
use turmoil::Sim;

use crate::ledger::Ledger;
use crate::protection::Protection;
use crate::station;
use crate::station::Asking;
use crate::station::Brought;
use crate::station::Door;
use crate::station::Home;
use crate::station::LANES;
use crate::station::Map;
use crate::station::Station;

/// How much time passes with each step: what happens within it on one host does so before anything on another.
pub(crate) const STEP: Duration = Duration::from_millis(5);

/// In simulated time, as long as anything is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// A host is to reach another by a handle or, behind those, by asking.
struct Goal {
    from: usize,
    to: usize,
    by: usize,
    tries: Vec<u64>,
    is_met: bool,
}

impl Goal {
    fn new(from: usize, to: usize, by: usize) -> Goal {
        Goal { from, to, by, tries: Vec::new(), is_met: false }
    }
}

/// See the [module](self).
pub(crate) struct Town {
    sim: Sim<'static>,
    pub(crate) map: Rc<Map>,
}

/// The limits of nodes that notice trouble soon.
pub(crate) fn nervous(_life: usize) -> NodeBuilder {
    let millis = Duration::from_millis;
    Node::builder()
        .heartbeat(millis(100))
        .dead_after(millis(300))
        .handshake_timeout(millis(400))
        .reconnect(millis(10)..=millis(100))
        .shutdown_timeout(millis(300))
        .mailbox_buffer(16)
}

/// The fates of all messages, summed over all nodes that there ever were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Books {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) waiting: u64,
    pub(crate) in_doubt: u64,
}

impl Books {
    /// Messages sent whose fate no node knows: under way or, if a node has gone, lost with it.
    pub(crate) fn missing(&self) -> i128 {
        i128::from(self.sent) - i128::from(self.delivered) - i128::from(self.dropped) - i128::from(self.waiting)
    }
}

impl Town {
    /// So many hosts, called `a`, `b` and so on, with latencies up to `latency`.
    pub(crate) fn new(
        seed: u64,
        hosts: usize,
        latency: Duration,
        builder: impl Fn(usize) -> NodeBuilder + 'static,
    ) -> Town {
        Town::with_doors(seed, &vec![Door::Open; hosts], latency, builder)
    }

    /// The same, with a host for each of these doors.
    pub(crate) fn with_doors(
        seed: u64,
        doors: &[Door],
        latency: Duration,
        builder: impl Fn(usize) -> NodeBuilder + 'static,
    ) -> Town {
        Town::over(Protection::Plain, seed, doors, latency, builder)
    }

    /// The same, over a transport.
    pub(crate) fn over(
        protection: Protection,
        seed: u64,
        doors: &[Door],
        latency: Duration,
        builder: impl Fn(usize) -> NodeBuilder + 'static,
    ) -> Town {
        let hosts = doors.len();
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(UNIX_EPOCH)
            .tick_duration(STEP)
            .simulation_duration(Duration::from_secs(100_000))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(latency)
            .enable_random_order()
            .build();
        let map = Rc::new(Map::new(protection, builder));
        let names = ["a", "b", "c", "d"].iter().zip(doors);
        map.stations.borrow_mut().extend(names.map(|(name, door)| Rc::new(Station::new(name, *door))));
        for me in 0..hosts {
            let town = Rc::clone(&map);
            let name = map.stations.borrow()[me].name.clone();
            sim.host(name, move || {
                let (jobs, to_do) = mpsc::unbounded_channel();
                town.stations.borrow()[me].jobs.replace(Some(jobs));
                station::live(Rc::clone(&town), me, to_do)
            });
        }
        let mut town = Town { sim, map };
        town.until("all hosts are there", |town| (0..hosts).all(|host| town.nodes_of(host).len() == 1));
        town
    }

    pub(crate) fn ledger(&self) -> &Rc<Ledger> {
        &self.map.ledger
    }

    fn name(&self, host: usize) -> String {
        self.map.stations.borrow()[host].name.clone()
    }

    /// A host has one node after the other.
    fn nodes_of(&self, host: usize) -> Vec<Node> {
        self.map.stations.borrow()[host].lives.borrow().clone()
    }

    /// The node that a host has now.
    pub(crate) fn node(&self, host: usize) -> Node {
        self.nodes_of(host).pop().expect("the host was started")
    }

    /// Has something done at a host. One that is down does not do it.
    pub(crate) fn at(&self, host: usize, job: impl FnOnce(&Rc<Home>) + 'static) {
        let station = Rc::clone(&self.map.stations.borrow()[host]);
        if let Some(jobs) = &*station.jobs.borrow() {
            // It is down.
            let _ = jobs.send(Box::new(job));
        }
    }

    pub(crate) fn step(&mut self) {
        self.sim.step().expect("no host fails");
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            self.step();
        }
    }

    /// Runs until a condition holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: impl fmt::Display, mut holds: impl FnMut(&mut Town) -> bool) {
        let end = self.sim.elapsed() + LIMIT;
        while !holds(self) {
            assert!(self.sim.elapsed() < end, "within {LIMIT:?}, it did not come to be that {what}: {self:#?}");
            self.step();
        }
    }

    // ---- trouble

    pub(crate) fn partition(&mut self, one: usize, other: usize) {
        self.sim.partition(self.name(one), self.name(other));
    }

    /// Nothing passes from the one to the other.
    pub(crate) fn silence(&mut self, from: usize, to: usize) {
        self.sim.partition_oneway(self.name(from), self.name(to));
    }

    /// Messages wait until they are released.
    pub(crate) fn hold(&mut self, one: usize, other: usize) {
        self.sim.hold(self.name(one), self.name(other));
    }

    pub(crate) fn release(&mut self, one: usize, other: usize) {
        self.sim.release(self.name(one), self.name(other));
    }

    pub(crate) fn repair(&mut self, one: usize, other: usize) {
        self.sim.repair(self.name(one), self.name(other));
    }

    /// How long what is sent is under way from now on, at most.
    pub(crate) fn delay(&mut self, most: Duration) {
        self.sim.set_max_message_latency(most);
    }

    /// Without a word to anybody, if the network is not there either.
    pub(crate) fn crash(&mut self, host: usize) {
        self.map.stations.borrow()[host].jobs.replace(None);
        self.sim.crash(self.name(host));
    }

    /// The node is shut down in good order; what this gives is true once it has.
    pub(crate) fn shut_down(&mut self, host: usize) -> Rc<Cell<bool>> {
        let is_done = Rc::new(Cell::new(false));
        let done = Rc::clone(&is_done);
        self.map.stations.borrow()[host].is_shut.set(true);
        self.at(host, move |home| {
            let node = home.node.clone();
            tokio::task::spawn_local(async move {
                node.shutdown().await;
                done.set(true);
            });
        });
        is_done
    }

    /// Starts the host anew.
    pub(crate) fn bounce(&mut self, host: usize) {
        let lives = self.nodes_of(host).len();
        self.sim.bounce(self.name(host));
        self.until("the host is there again", |town| town.nodes_of(host).len() > lives);
    }

    /// Whether the host has no node that works.
    pub(crate) fn is_down(&mut self, host: usize) -> bool {
        self.map.stations.borrow()[host].is_shut.get() || !self.sim.is_host_running(self.name(host))
    }

    /// The network is as good as it gets, and hosts that are down are started.
    pub(crate) fn heal(&mut self) {
        let hosts = self.hosts();
        for one in 0..hosts {
            for other in one + 1..hosts {
                self.release(one, other);
                self.repair(one, other);
            }
        }
        self.delay(Duration::from_millis(10));
        for host in 0..hosts {
            if self.is_down(host) {
                self.bounce(host);
            }
        }
    }

    pub(crate) fn hosts(&self) -> usize {
        self.map.stations.borrow().len()
    }

    // ---- invariants

    /// The nodes of all hosts, those that are gone included.
    pub(crate) fn all_stats(&self) -> Vec<Stats> {
        (0..self.hosts()).flat_map(|host| self.nodes_of(host)).map(|node| node.stats()).collect()
    }

    pub(crate) fn books(&self) -> Books {
        let mut books = Books::default();
        for stats in self.all_stats() {
            books.sent += stats.sent;
            books.delivered += stats.delivered;
            books.dropped += stats.dropped_total();
            books.waiting += stats.boxes.iter().map(|stats| stats.depth).sum::<u64>();
            books.in_doubt += stats.in_doubt;
        }
        books
    }

    /// How many messages were dropped at a host's node for that reason.
    pub(crate) fn dropped(&self, host: usize, reason: DropReason) -> u64 {
        self.node(host).stats().dropped.get(&reason).copied().unwrap_or_default()
    }

    /// How many connections of a host's node to others are up, as far as it has noticed.
    pub(crate) fn up(&self, host: usize) -> i64 {
        self.map.stations.borrow()[host].up.get()
    }

    /// Waits until every host reaches every other that listens by name, by each of its handles, and is answered.
    pub(crate) fn all_reach_all(&mut self) {
        let hosts = self.hosts();
        let doors: Vec<Door> = self.map.stations.borrow().iter().map(|station| station.door).collect();
        let listening = (0..hosts).filter(|host| doors[*host] != Door::Shut);
        let pairs = listening.flat_map(|to| (0..hosts).map(move |from| (from, to)));
        let (told, mut heard) = mpsc::unbounded_channel();
        let mut goals: Vec<Goal> =
            pairs.flat_map(|(from, to)| (0..=LANES).map(move |by| Goal::new(from, to, by))).collect();
        let mut steps = 0;
        self.until("all reach all", |town| {
            while let Ok((goal, id)) = heard.try_recv() {
                let goal: &mut Goal = &mut goals[goal];
                goal.tries.push(id);
            }
            for (number, goal) in goals.iter_mut().enumerate() {
                goal.is_met |= goal.tries.iter().any(|id| town.ledger().is_well(*id, goal.by == LANES));
                if !goal.is_met && steps % 20 == 0 {
                    let (told, from, to, by) = (told.clone(), goal.from, goal.to, goal.by);
                    town.at(from, move |home| {
                        let id = match by {
                            LANES => home.ask(to, Asking::Ask, 0, 2_000),
                            by => home.others[to].lanes[by].send(&home.ledger, false, Brought::default()),
                        };
                        told.send((number, id)).expect("the test listens");
                    });
                }
            }
            steps += 1;
            goals.iter().all(|goal| goal.is_met)
        });
    }

    /// Waits until nothing changes any more, although nodes were lost; what is missing and in doubt then.
    pub(crate) fn settled(&mut self) -> (i128, u64) {
        let (mut before, mut since) = (self.books(), 0);
        self.until("the books change no more", |town| {
            let now = town.books();
            since = if now == before && town.ledger().open() == 0 { since + 1 } else { 0 };
            before = now;
            since > 200
        });
        self.ledger().check();
        (before.missing(), before.in_doubt)
    }

    /// Waits until nothing is under way, with no more missing and in doubt than is known to be lost with nodes that have
    /// gone; looks twice, because an answer or a report may follow.
    pub(crate) fn quiet(&mut self, gone: (i128, u64)) {
        for _ in 0..2 {
            self.until(format_args!("the books balance, but for {gone:?} missing and in doubt"), |town| {
                let books = town.books();
                (books.missing(), books.in_doubt) == gone && town.ledger().open() == 0
            });
            self.run_for(Duration::from_millis(300));
        }
        self.ledger().check();
    }
}

impl fmt::Debug for Town {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.books();
        f.debug_struct("Town")
            .field("elapsed", &self.sim.elapsed())
            .field("missing", &books.missing())
            .field("books", &books)
            .field("open requests", &self.ledger().open())
            .finish()?;
        // A line for each node; the usual way, an id alone takes twenty.
        for (host, node) in
            (0..self.hosts()).flat_map(|host| self.nodes_of(host).into_iter().map(move |node| (host, node)))
        {
            let stats = serde_json::to_string(&node.stats()).map_err(|_| fmt::Error)?;
            write!(f, "\n{} ({}): {stats}", self.name(host), node.id())?;
        }
        Ok(())
    }
}
