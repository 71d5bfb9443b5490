//! A player, which sends: steps through addresses and recipients, to boxes that shed the newest or the oldest, letters
//! with addresses in them, large messages, and requests, some of which are cancelled. Meanwhile boxes open and close.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::Stats;
use hermod_demos::Outcome;
use hermod_demos::within;
use serde::Deserialize;
use serde::Serialize;

use super::link::Chance;
use super::reader;
use super::reader::Add;
use super::reader::Blob;
use super::reader::Catcher;
use super::reader::Letter;
use super::reader::NO_WAY;
use super::reader::Shared;
use super::reader::Step;
use super::reader::text;

/// Requests of one player that are open at a time.
const REQUESTS: u64 = 200;

/// Mailboxes without a name that a player has at a time.
const RETURNS: usize = 8;

/// The report of a player.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) stats: Stats,
    /// Requests without an outcome yet.
    pub(crate) asking: u64,
    pub(crate) answered: u64,
    disorder: u64,
    damaged: u64,
    wrong_answers: u64,
}

impl Report {
    /// Returns the number of errors that must never happen.
    pub(crate) fn wrong(&self) -> u64 {
        self.disorder + self.damaged + self.wrong_answers
    }
}

/// The requests of a player.
#[derive(Default)]
struct Requests {
    asking: Cell<u64>,
    answered: Cell<u64>,
    wrong: Cell<u64>,
}

/// See the [module](self).
pub(crate) struct Player {
    pub(crate) endpoint: String,
    node: Node,
    book: Shared,
    requests: Rc<Requests>,
    /// Whether sending has stopped.
    held: Rc<Cell<bool>>,
}

impl Player {
    /// Starts a node with boxes that are read.
    pub(crate) async fn open() -> Outcome<Player> {
        let node = Node::builder()
            .heartbeat(Duration::from_millis(250))
            .dead_after(Duration::from_millis(1_500))
            .handshake_timeout(Duration::from_secs(2))
            .reconnect(Duration::from_millis(20)..=Duration::from_millis(500))
            .start();
        let book = Shared::default();
        reader::open(&node, &book)?;
        let endpoint = node.listen("127.0.0.1:0").await?.to_string();
        Ok(Player { endpoint, node, book, requests: Rc::default(), held: Rc::default() })
    }

    /// Begins to send to the players at those endpoints.
    pub(crate) fn begin(&self, others: &[String], seed: u64) {
        let mut chance = Chance::new(seed);
        let others = others.iter().map(|at| Other::at(&self.node, at, &mut chance)).collect::<Outcome<Vec<_>>>();
        let mut play = match others {
            Ok(others) => Play {
                node: self.node.clone(),
                book: Rc::clone(&self.book),
                requests: Rc::clone(&self.requests),
                chance,
                others,
                returns: VecDeque::new(),
                door: None,
            },
            Err(error) => return eprintln!("soak: {error}"),
        };
        let held = Rc::clone(&self.held);
        actix::spawn(async move {
            while !held.get() {
                play.turn();
                actix::clock::sleep(play.chance.duration(1, 5)).await;
            }
            // Mailboxes close, and messages left in them are counted. Addresses are held, because they make a
            // connection that was just cut come back, and with it the count of messages read.
            play.close();
            std::future::pending::<()>().await;
        });
    }

    pub(crate) fn hold(&self) {
        self.held.set(true);
    }

    /// Waits for the answer to some request that is made from now on.
    pub(crate) async fn is_answered(&self) -> Outcome<()> {
        let before = self.requests.answered.get();
        within("an answer", until(|| self.requests.answered.get() > before)).await
    }

    /// Waits until no request is open.
    pub(crate) async fn requests_end(&self) {
        until(|| self.requests.asking.get() == 0).await;
    }

    pub(crate) fn report(&self) -> Report {
        let book = self.book.borrow();
        Report {
            stats: self.node.stats(),
            asking: self.requests.asking.get(),
            answered: self.requests.answered.get(),
            disorder: book.disorder,
            damaged: book.damaged,
            wrong_answers: self.requests.wrong.get(),
        }
    }

    pub(crate) async fn end(self) {
        self.node.shutdown().await;
    }
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        actix::clock::sleep(Duration::from_millis(2)).await;
    }
}

/// A numbered sequence of steps through one address.
struct Row<T> {
    to: T,
    way: u64,
    n: u64,
}

impl<T> Row<T> {
    fn new(to: T, chance: &mut Chance) -> Row<T> {
        Row { to, way: chance.number().max(1), n: 0 }
    }

    /// Sends the next step.
    fn send(&mut self, send: impl FnOnce(&T, Step)) {
        self.n += 1;
        send(&self.to, Step { way: self.way, n: self.n, text: text(self.n) });
    }
}

/// Another player, as seen from here.
struct Other {
    steps: Row<Address<Step>>,
    by_recipient: Row<Recipient<Step>>,
    readings: Row<Address<Step>>,
    /// A box that is open only now and then.
    door: Address<Step>,
    blobs: Address<Blob>,
    letters: Address<Letter>,
    adder: Address<Add>,
}

impl Other {
    fn at(node: &Node, at: &str, chance: &mut Chance) -> Outcome<Other> {
        let steps = node.remote::<Step>(at, "steps")?;
        Ok(Other {
            by_recipient: Row::new(steps.recipient(), chance),
            steps: Row::new(steps, chance),
            readings: Row::new(node.remote(at, "readings")?, chance),
            door: node.remote(at, "door")?,
            blobs: node.remote(at, "blobs")?,
            letters: node.remote(at, "letters")?,
            adder: node.remote(at, "adder")?,
        })
    }
}

/// A player that plays.
struct Play {
    node: Node,
    book: Shared,
    requests: Rc<Requests>,
    chance: Chance,
    others: Vec<Other>,
    returns: VecDeque<Mailbox<Step>>,
    door: Option<Mailbox<Step>>,
}

impl Play {
    fn turn(&mut self) {
        self.open_and_close();
        for mailbox in self.returns.iter_mut().skip(1) {
            while mailbox.try_recv().is_some() {}
        }
        if self.others.is_empty() {
            return;
        }
        for _ in 0..self.chance.below(60) {
            self.act();
        }
    }

    /// Opens and closes mailboxes; the oldest is not read before it closes.
    fn open_and_close(&mut self) {
        if self.returns.len() < RETURNS || self.chance.one_in(20) {
            self.returns.extend(self.node.mailbox().buffer(Buffer::sliding(16)).open());
        }
        if self.returns.len() > RETURNS {
            self.returns.pop_front();
        }
        if self.chance.one_in(50) {
            self.door = match self.door.take() {
                Some(_) => None,
                None => self.node.mailbox().name("door").buffer(Buffer::dropping(8)).open().ok(),
            };
        }
    }

    fn close(&mut self) {
        self.returns.clear();
        self.door = None;
    }

    fn act(&mut self) {
        let which = self.chance.below(self.others.len() as u64) as usize;
        let other = &mut self.others[which];
        match self.chance.below(4_000) {
            0 => {
                let length = (1 << 20) + self.chance.below(2 << 20) as usize;
                other.blobs.do_send(Blob::new(self.chance.number() as u8, length));
            }
            1..200 => self.send_letter(which),
            200..600 => self.ask(which),
            600..1_000 => self.step_anywhere(),
            1_000..1_100 => other.door.do_send(Step { way: NO_WAY, n: 7, text: text(7) }),
            1_100..2_000 => other.readings.send(|to, step| to.do_send(step)),
            2_000..3_000 => other.by_recipient.send(|to, step| to.do_send(step)),
            _ => other.steps.send(|to, step| drop(to.try_send(step))),
        }
    }

    /// Sends a step to an address that another player has sent.
    fn step_anywhere(&mut self) {
        let mut book = self.book.borrow_mut();
        if let Some(to) = self.chance.pick(book.held.make_contiguous()) {
            to.do_send(Step { way: NO_WAY, n: 8, text: text(8) });
        }
    }

    fn send_letter(&mut self, which: usize) {
        let Some(mailbox) = self.chance.pick(self.returns.make_contiguous()) else { return };
        let return_to = mailbox.address();
        let also = if self.chance.one_in(4) {
            // The receiver of the letter holds the only handle of this actor.
            Catcher(Rc::clone(&self.book)).start().recipient()
        } else {
            mailbox.recipient()
        };
        let mut book = self.book.borrow_mut();
        let held = book.held.make_contiguous();
        let others = (0..self.chance.below(3)).filter_map(|_| self.chance.pick(held).cloned()).collect();
        drop(book);
        self.others[which].letters.do_send(Letter { return_to, also, others });
    }

    fn ask(&mut self, which: usize) {
        let requests = Rc::clone(&self.requests);
        if requests.asking.get() >= REQUESTS {
            return;
        }
        requests.asking.set(requests.asking.get() + 1);
        let (to, a, b) = (self.others[which].adder.clone(), self.chance.number(), self.chance.number());
        let (how, limit) = (self.chance.below(4), self.chance.duration(10, 3_000));
        actix::spawn(async move {
            let answer = match how {
                0 => to.send(Add(a, b)).await.ok(),
                1 => to.recipient().send(Add(a, b)).await.ok(),
                2 => to.ask(Add(a, b)).timeout(limit).await.ok(),
                // Cancelled when the time is over.
                _ => actix::clock::timeout(limit / 10, to.ask(Add(a, b))).await.ok().and_then(Result::ok),
            };
            requests.asking.set(requests.asking.get() - 1);
            requests.answered.set(requests.answered.get() + u64::from(answer.is_some()));
            let wrong = answer.is_some_and(|sum| sum != a.wrapping_add(b));
            requests.wrong.set(requests.wrong.get() + u64::from(wrong));
        });
    }
}
