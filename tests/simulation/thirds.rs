//! Pointers to boxes of a host that is known to their holder only through others: the first of three or four hosts is
//! introduced by each to the next, and the last sends to it and asks it. Those in between go, or are cut off.
//!
//! The books are those of all nodes together, as ever: a message that is passed on is sent once, where it was given to a
//! handle, and delivered or dropped once, wherever that is. The nodes in between count it in neither. It is in doubt at
//! each of them whose connection broke while it was not known to be read, which may be at several at once; so as long as
//! something is in doubt, what is missing is no more than that, and once all are connected again, both are nothing.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::CloseReason;
use serde::Deserialize;
use serde::Serialize;

use crate::ledger::Stamp;
use crate::seeds::Dice;
use crate::seeds::for_each_seed;
use crate::station::Brought;
use crate::station::Door;
use crate::station::Home;
use crate::station::Lane;
use crate::station::Note;
use crate::station::PORT;
use crate::station::Question;
use crate::station::Way;
use crate::town::Town;
use crate::town::nervous;

const LATENCY: Duration = Duration::from_millis(10);

/// Seeds of each scenario, unless the environment asks for others.
const SEEDS: u64 = 6;

/// Seeds of random trouble.
const MANY: u64 = 40;

/// Handles of the first host that go from host to host.
#[derive(Message, Serialize, Deserialize, Clone)]
#[rtype(result = "()")]
struct Introduction {
    /// A mailbox without a name.
    notes: Address<Note>,
    /// An actor, which its host keeps as well.
    #[serde(with = "actix_hermod::recipient")]
    desk: Recipient<Note>,
    /// An actor that answers, exported by its host.
    clerk: Address<Question>,
}

/// By which of them something is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Notes,
    Desk,
    Clerk,
}

/// Boxes that last although nobody elsewhere holds them.
const LASTING: [By; 2] = [By::Notes, By::Clerk];

const ALL: [By; 3] = [By::Notes, By::Desk, By::Clerk];

impl Introduction {
    /// Sends one message, of which the order does not matter: its way may be another than that of the last. Its id.
    fn send(&self, home: &Rc<Home>, by: By) -> u64 {
        let lane = |way| Lane::new(&home.ledger, way).send(&home.ledger, false, Brought::default());
        match by {
            By::Notes => lane(Way::Address(self.notes.clone())),
            By::Desk => lane(Way::Recipient(self.desk.clone())),
            By::Clerk => self.ask(home),
        }
    }

    /// Asks, and waits for the end of it, however long that takes.
    fn ask(&self, home: &Rc<Home>) -> u64 {
        let (id, lane) = (home.ledger.number(), home.ledger.number());
        let asked = home.ledger.ask(id);
        let request = self.clerk.ask(Question { stamp: Stamp { id, lane, seq: 1 }, delay: 10 });
        tokio::task::spawn_local(async move {
            if let Ok(answer) = request.await {
                asked.answered(answer);
            }
        });
        id
    }
}

/// Hosts in a row, and what each of them was introduced to last.
struct Row {
    town: Town,
    held: Vec<Rc<RefCell<Option<Introduction>>>>,
}

impl Row {
    /// Three or four hosts, the first with such a door; the first was introduced by each to the next.
    fn new(seed: u64, first: Door) -> Row {
        let mut doors = vec![Door::Open; 3 + (seed % 2) as usize];
        doors[0] = first;
        let town = Town::with_doors(seed, &doors, LATENCY, nervous);
        let held = doors.iter().map(|_| Rc::default()).collect();
        let mut row = Row { town, held };
        (0..doors.len()).for_each(|host| row.lends_an_ear(host));
        row.introduce();
        row
    }

    fn last(&self) -> usize {
        self.held.len() - 1
    }

    /// Those between the first and the last.
    fn introducers(&self) -> std::ops::Range<usize> {
        1..self.last()
    }

    /// A host takes introductions from now on; one that was restarted has to be told again.
    fn lends_an_ear(&mut self, host: usize) {
        let (held, ready) = (Rc::clone(&self.held[host]), Rc::new(Cell::new(false)));
        let is_ready = Rc::clone(&ready);
        held.take();
        self.town.at(host, move |home| {
            let Ok(clerk) = home.node.export::<Question>(home.clerk()) else { return };
            if host == 0 {
                let (notes, desk) = (home.own.clone(), home.actor.clone());
                held.replace(Some(Introduction { notes, desk, clerk }));
            }
            // It has one already, unless it was restarted.
            if let Ok(mut inbox) = home.node.mailbox::<Introduction>().name("introductions").open() {
                tokio::task::spawn_local(async move {
                    while let Some(introduction) = inbox.recv().await {
                        held.replace(Some(introduction));
                    }
                });
            }
            ready.set(true);
        });
        self.town.until("it takes introductions", |_| is_ready.get());
    }

    /// Has the first host introduced to all others, by each to the next.
    fn introduce(&mut self) {
        for to in 1..self.held.len() {
            let (from, held) = (to - 1, Rc::clone(&self.held[to]));
            let at = format!("{}:{PORT}", ["a", "b", "c", "d"][to]);
            held.take();
            let mut steps = 0;
            let introducer = Rc::clone(&self.held[from]);
            self.town.until("it is introduced", |town| {
                if steps % 20 == 0 {
                    let (introducer, at) = (Rc::clone(&introducer), at.clone());
                    town.at(from, move |home| {
                        let to = home.node.remote::<Introduction>(at, "introductions").expect("an endpoint and a name");
                        introducer.borrow().iter().for_each(|introduction| to.do_send(introduction.clone()));
                    });
                }
                steps += 1;
                held.borrow().is_some()
            });
        }
    }

    /// A host sends by some of what it holds, if it does.
    fn sends(&self, host: usize, ways: &'static [By]) {
        let held = Rc::clone(&self.held[host]);
        self.town.at(host, move |home| {
            if let Some(introduction) = &*held.borrow() {
                ways.iter().for_each(|by| _ = introduction.send(home, *by));
            }
        });
    }

    /// All hosts but the first send, by all that they hold, in each of so many steps.
    fn chat(&mut self, steps: usize) {
        for _ in 0..steps {
            (1..self.held.len()).for_each(|host| self.sends(host, &ALL));
            self.town.step();
        }
    }

    /// Waits until a host reaches the first by each of these ways. A message that does not arrive is sent again.
    #[track_caller]
    fn reaches(&mut self, host: usize, ways: &[By]) {
        for &by in ways {
            let (held, tries) = (Rc::clone(&self.held[host]), Rc::new(RefCell::new(Vec::new())));
            let mut steps = 0;
            self.town.until(format_args!("host {host} reaches the first by {by:?}"), |town| {
                if steps % 20 == 0 {
                    let (held, tries) = (Rc::clone(&held), Rc::clone(&tries));
                    town.at(host, move |home| {
                        tries.borrow_mut().extend(held.borrow().iter().map(|held| held.send(home, by)));
                    });
                }
                steps += 1;
                tries.borrow().iter().any(|id| town.ledger().is_well(*id, by == By::Clerk))
            });
        }
    }

    /// Nothing that a host sends by any of these ways in quite some time arrives.
    fn reaches_nobody(&mut self, host: usize, ways: &'static [By]) {
        let tries = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..20 {
            let (held, tries) = (Rc::clone(&self.held[host]), Rc::clone(&tries));
            self.town.at(host, move |home| {
                let held = held.borrow();
                let sent = held.iter().flat_map(|held| ways.iter().map(|by| (*by, held.send(home, *by))));
                tries.borrow_mut().extend(sent);
            });
            self.town.run_for(Duration::from_millis(50));
        }
        assert!(!tries.borrow().is_empty());
        for (by, id) in &*tries.borrow() {
            assert!(!self.town.ledger().is_well(*id, *by == By::Clerk), "host {host} has reached the first by {by:?}");
        }
    }

    /// The fate of the first host's boxes, as the last one hears it.
    fn fates(&mut self) -> Rc<RefCell<Vec<CloseReason>>> {
        let (fates, held) = (Rc::<RefCell<Vec<_>>>::default(), Rc::clone(&self.held[self.last()]));
        let told = Rc::clone(&fates);
        self.town.at(self.last(), move |_| {
            let held = held.borrow();
            let held = held.as_ref().expect("it was introduced");
            let (notes, clerk) = (held.notes.closed(), held.clerk.closed());
            let also = Rc::clone(&told);
            tokio::task::spawn_local(async move {
                let why = notes.await;
                told.borrow_mut().push(why);
            });
            tokio::task::spawn_local(async move {
                let why = clerk.await;
                also.borrow_mut().push(why);
            });
        });
        fates
    }

    /// The conditions that hold again once the network does.
    fn heal(&mut self) {
        self.town.heal();
        self.town.all_reach_all();
    }

    fn no_request_is_open(&mut self) {
        self.town.until("every request has ended", |town| town.ledger().open() == 0);
    }

    /// Everything settles, and no more is missing than is in doubt because a node has gone.
    fn settles(&mut self) {
        let (missing, in_doubt) = self.town.settled();
        assert!((0..=i128::from(in_doubt)).contains(&missing), "{missing} are missing: {:#?}", self.town);
        self.town.quiet((missing, in_doubt));
    }
}

/// How a host in the middle goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It says goodbye.
    ShutDown,
    /// Its connections break.
    Crash,
    /// Nobody hears of it.
    Silence,
}

const ENDS: [End; 3] = [End::ShutDown, End::Crash, End::Silence];

impl Row {
    fn goes(&mut self, host: usize, how: End) {
        match how {
            End::ShutDown => drop(self.town.shut_down(host)),
            End::Crash => self.town.crash(host),
            End::Silence => {
                for other in (0..self.held.len()).filter(|other| *other != host) {
                    self.town.partition(host, other);
                }
                self.town.crash(host);
            }
        }
    }
}

#[test]
fn a_host_that_listens_is_reached_although_its_introducer_goes() {
    for_each_seed("a_host_that_listens_is_reached", SEEDS, |seed| {
        for how in ENDS {
            let mut row = Row::new(seed, Door::Told);
            row.reaches(row.last(), &ALL);
            let fates = row.fates();
            row.chat(20);
            for introducer in row.introducers() {
                row.goes(introducer, how);
                row.chat(10);
            }
            // Nobody but these two is there any more.
            row.reaches(row.last(), &ALL);
            row.town.run_for(Duration::from_secs(2));
            row.reaches(row.last(), &ALL);
            row.no_request_is_open();
            assert!(fates.borrow().is_empty(), "{fates:?}, although it is there: {how:?}");
            row.heal();
            row.reaches(row.last(), &LASTING);
            row.settles();
        }
    });
}

#[test]
fn a_host_that_does_not_listen_is_lost_with_its_introducer() {
    for_each_seed("a_host_that_does_not_listen_is_lost", SEEDS, |seed| {
        for how in ENDS {
            let mut row = Row::new(seed, Door::Shut);
            row.reaches(row.last(), &ALL);
            let fates = row.fates();
            row.chat(20);
            assert!(fates.borrow().is_empty());
            let introducer = row.introducers().start;
            row.goes(introducer, how);
            row.chat(20);
            row.town.until("it is known to be lost", |_| fates.borrow().len() == LASTING.len());
            row.reaches_nobody(row.last(), &ALL);
            row.no_request_is_open();
            row.town.heal();
            // The introducer's successor is another node, and has never heard of it.
            row.reaches_nobody(row.last(), &ALL);
            // But it has connected to all others now, and what lasts there is reached by that.
            row.town.all_reach_all();
            row.reaches(row.last(), &LASTING);
            row.lends_an_ear(introducer);
            row.introduce();
            row.reaches(row.last(), &ALL);
            row.settles();
        }
    });
}

/// The last host is cut off from all others but, if that listens, the first.
#[test]
fn a_holder_that_is_cut_off_from_its_introducer() {
    for_each_seed("a_holder_that_is_cut_off", SEEDS, |seed| {
        for door in [Door::Told, Door::Shut] {
            let mut row = Row::new(seed, door);
            row.reaches(row.last(), &ALL);
            let fates = row.fates();
            row.chat(20);
            let (last, introducers) = (row.last(), row.introducers());
            introducers.clone().for_each(|other| row.town.partition(other, last));
            row.chat(20);
            if door == Door::Told {
                row.reaches(last, &ALL);
                row.no_request_is_open();
                assert!(fates.borrow().is_empty(), "{fates:?}");
            } else {
                row.town.until("it is known to be lost", |_| fates.borrow().len() == LASTING.len());
                row.reaches_nobody(last, &ALL);
                row.no_request_is_open();
            }
            // Those in between reach it all the time.
            introducers.for_each(|other| row.reaches(other, &LASTING));
            row.heal();
            row.introduce();
            row.reaches(last, &ALL);
            row.settles();
            row.town.quiet((0, 0));
        }
    });
}

/// The first host is cut off from the one that introduces it, and connects to it again.
#[test]
fn a_host_that_is_cut_off_from_its_introducer_is_reached_again() {
    for_each_seed("a_host_that_is_cut_off", SEEDS, |seed| {
        for door in [Door::Told, Door::Shut] {
            let mut row = Row::new(seed, door);
            row.reaches(row.last(), &ALL);
            row.chat(20);
            row.town.partition(0, 1);
            row.chat(20);
            row.town.run_for(Duration::from_secs(1));
            row.no_request_is_open();
            if door == Door::Shut {
                row.reaches_nobody(row.last(), &ALL);
            }
            row.heal();
            // By the handles of before.
            row.reaches(row.last(), &LASTING);
            row.chat(20);
            row.introduce();
            row.reaches(row.last(), &ALL);
            row.town.quiet((0, 0));
        }
    });
}

/// Random trouble: in the end the books balance, all requests have ended, and whoever is introduced anew is reached.
#[test]
fn the_books_balance_whoever_has_introduced_whom() {
    for_each_seed("the_books_balance_whoever", MANY, |seed| {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let mut row = Row::new(seed, [Door::Told, Door::Shut, Door::Open][dice.below(3)]);
        let is_deadly = dice.one_in(3);
        for _ in 0..dice.among(100..300) {
            for host in 1..row.held.len() {
                if dice.one_in(2) {
                    row.sends(host, if dice.one_in(5) { &ALL } else { &LASTING });
                }
            }
            if dice.one_in(8) {
                something_happens(&mut row, dice, is_deadly);
            }
            row.town.step();
        }
        row.town.heal();
        for host in 0..row.held.len() {
            row.town.at(host, |home| home.publish());
        }
        row.town.all_reach_all();
        row.no_request_is_open();
        (0..row.held.len()).for_each(|host| row.lends_an_ear(host));
        row.introduce();
        row.reaches(row.last(), &ALL);
        if is_deadly { row.settles() } else { row.town.quiet((0, 0)) }
    });
}

fn something_happens(row: &mut Row, dice: &mut Dice, is_deadly: bool) {
    let (one, other) = (dice.below(row.held.len()), dice.below(row.held.len()));
    if one == other {
        return;
    }
    match dice.below(16) {
        0 | 1 => row.town.partition(one, other),
        2 => row.town.silence(one, other),
        3 => row.town.hold(one, other),
        4..7 => row.town.release(one, other),
        7..15 => row.town.repair(one, other),
        // Not the first, whose boxes would be lost with it.
        _ if is_deadly && one > 0 && !row.town.is_down(one) => row.goes(one, ENDS[dice.below(ENDS.len())]),
        _ => {}
    }
}
