//! The messages, and their readers, which check that each message is as it was sent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use hermod_demos::Outcome;
use serde::Deserialize;
use serde::Serialize;

/// Addresses that were in letters and are held; the oldest goes.
const HELD: usize = 32;

/// The sequence id of steps through arbitrary addresses, whose order is not promised.
pub(crate) const NO_WAY: u64 = 0;

/// One of a sequence of messages through one address.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Step {
    /// The id of the sequence.
    pub(crate) way: u64,
    pub(crate) n: u64,
    pub(crate) text: String,
}

/// A large message.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Blob {
    first: u8,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl Blob {
    pub(crate) fn new(first: u8, length: usize) -> Blob {
        Blob { first, bytes: Self::bytes(first).take(length).collect() }
    }

    fn bytes(first: u8) -> impl Iterator<Item = u8> {
        // A period of 251 bytes, so that pieces whose size is a power of two cannot be confused.
        (0..251).cycle().map(move |n: u8| n.wrapping_add(first))
    }

    fn is_whole(&self) -> bool {
        self.bytes.iter().copied().eq(Self::bytes(self.first).take(self.bytes.len()))
    }
}

/// A message that holds addresses: of mailboxes, of actors, and of boxes of third nodes.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Letter {
    pub(crate) return_to: Address<Step>,
    #[serde(with = "actix_hermod::recipient")]
    pub(crate) also: Recipient<Step>,
    pub(crate) others: Vec<Address<Step>>,
}

/// A request.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(crate) struct Add(pub(crate) u64, pub(crate) u64);

/// The record of the messages that came.
#[derive(Default)]
pub(crate) struct Book {
    /// The last step that came, by its sequence.
    last: HashMap<u64, u64>,
    pub(crate) disorder: u64,
    pub(crate) damaged: u64,
    /// Addresses that others have sent.
    pub(crate) held: VecDeque<Address<Step>>,
}

impl Book {
    fn note(&mut self, step: &Step) {
        if step.way != NO_WAY {
            let before = self.last.insert(step.way, step.n);
            // `>=`, so that a step that comes twice counts as disorder too.
            self.disorder += u64::from(before >= Some(step.n));
        }
        self.damaged += u64::from(step.text != text(step.n));
    }

    fn hold(&mut self, address: Address<Step>) {
        self.held.push_back(address);
        if self.held.len() > HELD {
            self.held.pop_front();
        }
    }
}

/// Returns the text of a step; the lengths repeat after a hundred steps.
pub(crate) fn text(n: u64) -> String {
    let digits = n.to_string();
    digits.chars().cycle().take((n % 100) as usize).collect()
}

pub(crate) type Shared = Rc<RefCell<Book>>;

/// Opens the boxes that every player has, and reads them.
pub(crate) fn open(node: &Node, book: &Shared) -> Outcome<()> {
    let steps = node.mailbox().name("steps").buffer(Buffer::dropping(256)).open()?;
    actix::spawn(walk(steps, Rc::clone(book), (64, Duration::from_millis(2))));
    let readings = node.mailbox().name("readings").buffer(Buffer::sliding(32)).open()?;
    actix::spawn(walk(readings, Rc::clone(book), (1, Duration::from_millis(1))));
    let mut blobs: Mailbox<Blob> = node.mailbox().name("blobs").buffer(Buffer::dropping(4)).open()?;
    let seen = Rc::clone(book);
    actix::spawn(async move {
        while let Some(blob) = blobs.recv().await {
            seen.borrow_mut().damaged += u64::from(!blob.is_whole());
        }
    });
    let letters = node.mailbox().name("letters").open()?;
    actix::spawn(answer(letters, Rc::clone(book)));
    node.publish::<Add>("adder", Adder.start())?;
    Ok(())
}

/// Takes steps, a few at a time.
async fn walk(mut steps: Mailbox<Step>, book: Shared, (at_a_time, pause): (u64, Duration)) {
    let mut taken = 0;
    while let Some(step) = steps.recv().await {
        book.borrow_mut().note(&step);
        taken += 1;
        if taken % at_a_time == 0 {
            actix::clock::sleep(pause).await;
        }
    }
}

/// Sends a step to each address in each letter, and keeps the addresses for a while.
async fn answer(mut letters: Mailbox<Letter>, book: Shared) {
    let mut n = 0;
    while let Some(Letter { return_to, also, others }) = letters.recv().await {
        n += 1;
        let step = || Step { way: NO_WAY, n, text: text(n) };
        also.do_send(step());
        for to in std::iter::once(return_to).chain(others) {
            to.do_send(step());
            book.borrow_mut().hold(to);
        }
    }
}

/// An ordinary actor; some of its answers take a while.
struct Adder;

impl Actor for Adder {
    type Context = Context<Self>;
}

impl Handler<Add> for Adder {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Add(a, b): Add, _: &mut Context<Self>) -> ResponseFuture<u64> {
        Box::pin(async move {
            if a % 16 == 0 {
                actix::clock::sleep(Duration::from_millis(a % 200)).await;
            }
            a.wrapping_add(b)
        })
    }
}

/// An actor that lives for as long as somebody holds its recipient.
pub(crate) struct Catcher(pub(crate) Shared);

impl Actor for Catcher {
    type Context = Context<Self>;
}

impl Handler<Step> for Catcher {
    type Result = ();

    fn handle(&mut self, step: Step, _: &mut Context<Self>) {
        self.0.borrow_mut().note(&step);
    }
}
