//! The program of a host: a node with a mailbox, published actors, and handles to the same on all other hosts. It does
//! what the test tells it, one job after another.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::rc::Weak;
use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::Message;
use actix::Recipient;
use actix::ResponseFuture;
use actix_hermod::Address;
use actix_hermod::Buffer;
use actix_hermod::Event;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use actix_hermod::NodeBuilder;
use actix_hermod::NodeId;
use actix_hermod::OpenError;
use futures_util::FutureExt;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::ledger::Ledger;
use crate::ledger::Stamp;
use crate::protection::Protection;

/// Where every station listens.
pub(crate) const PORT: u16 = 7000;

/// Handles that each station has of each other.
pub(crate) const LANES: usize = 4;

/// Handles that came in messages and are kept at each station.
const FOUND: usize = 6;

/// A message without an answer, which may bring handles along.
#[derive(Message, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
pub(crate) struct Note {
    pub(crate) stamp: Stamp,
    pub(crate) address: Option<Address<Note>>,
    #[serde(with = "actix_hermod::recipient")]
    pub(crate) recipient: Option<Recipient<Note>>,
    /// As long as one likes. Not bytes: debug builds look at each element of a list.
    pub(crate) body: String,
}

/// A message that wants an answer, which takes its time.
#[derive(Message, Serialize, Deserialize, Debug)]
#[rtype(result = "u64")]
pub(crate) struct Question {
    pub(crate) stamp: Stamp,
    pub(crate) delay: u64,
}

/// Something to be done at a station.
pub(crate) type Job = Box<dyn FnOnce(&Rc<Home>)>;

/// The knowledge that others can have of where a host listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// It does not: it is reached on connections that it has opened.
    Shut,
    /// Those do who were told of it otherwise.
    Open,
    /// Its node tells all others.
    Told,
}

/// The test's view of a host, through all its lives.
pub(crate) struct Station {
    pub(crate) name: String,
    pub(crate) door: Door,
    pub(crate) jobs: RefCell<Option<mpsc::UnboundedSender<Job>>>,
    /// One for each time that the host was started.
    pub(crate) lives: RefCell<Vec<Node>>,
    /// Whether the last of them was shut down.
    pub(crate) is_shut: Cell<bool>,
    /// Connections to others that it has heard of being up.
    pub(crate) up: Cell<i64>,
}

impl Station {
    pub(crate) fn new(name: &str, door: Door) -> Station {
        Station {
            name: name.to_owned(),
            door,
            jobs: RefCell::default(),
            lives: RefCell::default(),
            is_shut: Cell::new(false),
            up: Cell::new(0),
        }
    }
}

/// All hosts, and what they have in common.
pub(crate) struct Map {
    pub(crate) ledger: Rc<Ledger>,
    pub(crate) stations: RefCell<Vec<Rc<Station>>>,
    /// The transport of all nodes.
    pub(crate) protection: Protection,
    /// Makes the builder of each life's node.
    builder: Box<dyn Fn(usize) -> NodeBuilder>,
    lives: Cell<usize>,
}

impl Map {
    pub(crate) fn new(protection: Protection, builder: impl Fn(usize) -> NodeBuilder + 'static) -> Map {
        let (ledger, stations, lives) = Default::default();
        Map { ledger, stations, protection, builder: Box::new(builder), lives }
    }
}

/// Lives on a host until it is crashed, or the simulation ends.
pub(crate) async fn live(map: Rc<Map>, me: usize, mut jobs: mpsc::UnboundedReceiver<Job>) -> turmoil::Result {
    let life = map.lives.replace(map.lives.get() + 1);
    let station = Rc::clone(&map.stations.borrow()[me]);
    let protection = map.protection;
    let mut builder = protection.give((map.builder)(life));
    if station.door == Door::Told {
        builder = builder.advertise(&protection.endpoint(&format!("{}:{PORT}", station.name)));
    }
    let node = builder.start();
    station.lives.borrow_mut().push(node.clone());
    station.is_shut.set(false);
    station.up.set(0);
    node.subscribe(Ear { own: node.id(), station: Rc::clone(&station) }.start());
    if station.door != Door::Shut {
        node.listen(protection.endpoint(&format!("0.0.0.0:{PORT}"))).await?;
    }
    let home = Home::new(&map, node, life)?;
    while let Some(job) = jobs.recv().await {
        job(&home);
    }
    Ok(())
}

/// The handles that a note brings along.
#[derive(Default)]
pub(crate) struct Brought {
    pub(crate) address: Option<Address<Note>>,
    pub(crate) recipient: Option<Recipient<Note>>,
    /// Bytes that nobody looks at.
    pub(crate) ballast: usize,
}

/// A handle, and how many messages were sent by it.
pub(crate) struct Lane {
    pub(crate) way: Way,
    number: u64,
    sent: Cell<u64>,
}

#[derive(Clone)]
pub(crate) enum Way {
    Address(Address<Note>),
    Recipient(Recipient<Note>),
}

impl Lane {
    pub(crate) fn new(ledger: &Ledger, way: Way) -> Lane {
        Lane { way, number: ledger.number(), sent: Cell::new(0) }
    }

    fn stamp(&self, ledger: &Ledger) -> Stamp {
        self.sent.set(self.sent.get() + 1);
        Stamp { id: ledger.number(), lane: self.number, seq: self.sent.get() }
    }

    /// Sends a note, by `try_send` if that is wanted; its id.
    pub(crate) fn send(&self, ledger: &Ledger, polite: bool, brings: Brought) -> u64 {
        let stamp = self.stamp(ledger);
        let Brought { address, recipient, ballast } = brings;
        let note = Note { stamp, address, recipient, body: "7".repeat(ballast) };
        match &self.way {
            Way::Address(to) if polite => drop(to.try_send(note)),
            Way::Address(to) => to.do_send(note),
            Way::Recipient(to) if polite => drop(to.try_send(note)),
            Way::Recipient(to) => to.do_send(note),
        }
        stamp.id
    }
}

/// The handles that one host has of another.
pub(crate) struct Other {
    /// To the mailbox and to the actor, as addresses and as recipients.
    pub(crate) lanes: [Lane; LANES],
    asks: Address<Question>,
    /// The same as a recipient.
    sends: Recipient<Question>,
    asks_lane: u64,
    sends_lane: u64,
    recipient_lane: u64,
    asked: Cell<u64>,
}

/// A life of a host.
pub(crate) struct Home {
    pub(crate) life: usize,
    pub(crate) node: Node,
    pub(crate) ledger: Rc<Ledger>,
    pub(crate) others: Vec<Other>,
    /// Came in messages.
    pub(crate) found: RefCell<VecDeque<Lane>>,
    mailbox: RefCell<Option<JoinHandle<()>>>,
    /// A box without a name, whose address is sent around.
    pub(crate) own: Address<Note>,
    /// An actor that is not published, whose recipient is sent around.
    pub(crate) actor: Recipient<Note>,
}

impl Home {
    fn new(map: &Map, node: Node, life: usize) -> Result<Rc<Home>, OpenError> {
        let ledger = Rc::clone(&map.ledger);
        let own: Mailbox<Note> = node.mailbox().buffer(Buffer::dropping(8)).open()?;
        let others = map.stations.borrow().iter().map(|station| other(&node, map, &station.name)).collect();
        let address = own.address();
        let home = Rc::new_cyclic(|home| Home {
            life,
            node,
            others,
            ledger,
            found: RefCell::default(),
            mailbox: RefCell::default(),
            own: address,
            actor: Desk { home: home.clone(), place: "the unpublished desk" }.start().recipient(),
        });
        tokio::task::spawn_local(Rc::clone(&home).read(own, "the unnamed box", 0));
        home.publish();
        home.open(Buffer::dropping(16), 0);
        Ok(home)
    }

    /// One more actor that answers, which is not published.
    pub(crate) fn clerk(self: &Rc<Self>) -> Recipient<Question> {
        Clerk { home: Rc::downgrade(self) }.start().recipient()
    }

    /// Publishes the actors, unless they are.
    pub(crate) fn publish(self: &Rc<Self>) {
        let desk = Desk { home: Rc::downgrade(self), place: "the desk" };
        let clerk = Clerk { home: Rc::downgrade(self) };
        // Taken while one is published that was not unpublished.
        let _ = self.node.publish::<Note>("desk", desk.start());
        let _ = self.node.publish::<Question>("clerk", clerk.start());
    }

    /// Opens the mailbox, which is read with a pause of so many milliseconds after each message. One that was open before
    /// is closed at once: what waits in it is not read.
    pub(crate) fn open(self: &Rc<Self>, buffer: Buffer<Note>, pause: u64) {
        let (before, home) = (self.mailbox.take(), Rc::clone(self));
        self.mailbox.replace(Some(tokio::task::spawn_local(async move {
            if let Some(before) = before {
                before.abort();
                // It ends by being aborted.
                let _ = before.await;
            }
            // Not any more if the node was shut down.
            if let Ok(mailbox) = home.node.mailbox().name("box").buffer(buffer).open() {
                home.read(mailbox, "the box", pause).await;
            }
        })));
    }

    /// Closes the mailbox.
    pub(crate) fn close(&self) {
        if let Some(reader) = self.mailbox.take() {
            reader.abort();
        }
    }

    async fn read(self: Rc<Self>, mut mailbox: Mailbox<Note>, place: &'static str, pause: u64) {
        while let Some(note) = mailbox.recv().await {
            self.take(place, note);
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    }

    fn take(&self, place: &'static str, note: Note) {
        self.ledger.receive(self.life, place, note.stamp);
        let ways = [note.address.map(Way::Address), note.recipient.map(Way::Recipient)];
        for way in ways.into_iter().flatten() {
            let lane = Lane::new(&self.ledger, way);
            lane.send(&self.ledger, false, Brought::default());
            let mut found = self.found.borrow_mut();
            found.push_back(lane);
            if found.len() > FOUND {
                found.pop_front();
            }
        }
    }

    /// Asks the clerk of a host in one of three ways, and lets go of the request after `patience` milliseconds. The id of
    /// the question.
    pub(crate) fn ask(&self, whom: usize, by: Asking, delay: u64, patience: u64) -> u64 {
        let other = &self.others[whom];
        let id = self.ledger.number();
        let asked = self.ledger.ask(id);
        other.asked.set(other.asked.get() + 1);
        // They may overtake each other: what is asked leaves when it is first polled, what is sent at once.
        let lane = match by {
            Asking::Ask | Asking::Within(_) => other.asks_lane,
            Asking::Send => other.sends_lane,
            Asking::Recipient => other.recipient_lane,
        };
        let question = Question { stamp: Stamp { id, lane, seq: other.asked.get() }, delay };
        let answer: Pin<Box<dyn Future<Output = Option<u64>>>> = match by {
            Asking::Ask => Box::pin(other.asks.ask(question).map(Result::ok)),
            Asking::Within(limit) => {
                Box::pin(other.asks.ask(question).timeout(Duration::from_millis(limit)).map(Result::ok))
            }
            Asking::Send => Box::pin(other.asks.send(question).map(Result::ok)),
            Asking::Recipient => Box::pin(other.sends.send(question).map(Result::ok)),
        };
        tokio::task::spawn_local(async move {
            if let Ok(Some(answer)) = tokio::time::timeout(Duration::from_millis(patience), answer).await {
                asked.answered(answer);
            }
        });
        id
    }
}

/// How somebody is asked.
#[derive(Clone, Copy)]
pub(crate) enum Asking {
    Ask,
    /// With a limit in milliseconds.
    Within(u64),
    /// As in actix.
    Send,
    /// Likewise, through a recipient.
    Recipient,
}

fn other(node: &Node, map: &Map, name: &str) -> Other {
    let (ledger, at) = (&*map.ledger, map.protection.endpoint(&format!("{name}:{PORT}")));
    let to = |name: &str| node.remote::<Note>(&at, name).expect("an endpoint and a name");
    let (mailbox, desk) = (to("box"), to("desk"));
    let ways = [
        Way::Recipient(mailbox.recipient()),
        Way::Recipient(desk.recipient()),
        Way::Address(mailbox),
        Way::Address(desk),
    ];
    let lanes = ways.map(|way| Lane::new(ledger, way));
    let asks = node.remote::<Question>(&at, "clerk").expect("an endpoint and a name");
    let sends = asks.recipient();
    let [asks_lane, sends_lane, recipient_lane] = [(); 3].map(|()| ledger.number());
    Other { lanes, asks, sends, asks_lane, sends_lane, recipient_lane, asked: Cell::new(0) }
}

/// Hears which connections are up.
struct Ear {
    own: NodeId,
    station: Rc<Station>,
}

impl Actor for Ear {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // So that it misses nothing.
        ctx.set_mailbox_capacity(4096);
    }
}

impl Handler<Event> for Ear {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        let change = match event {
            Event::PeerUp { peer } if peer != self.own => 1,
            Event::PeerDown { peer, .. } if peer != self.own => -1,
            _ => 0,
        };
        self.station.up.set(self.station.up.get() + change);
    }
}

/// Takes notes.
struct Desk {
    home: Weak<Home>,
    place: &'static str,
}

impl Actor for Desk {
    type Context = Context<Self>;
}

impl Handler<Note> for Desk {
    type Result = ();

    fn handle(&mut self, note: Note, _: &mut Context<Self>) {
        if let Some(home) = self.home.upgrade() {
            home.take(self.place, note);
        }
    }
}

/// Answers questions.
struct Clerk {
    home: Weak<Home>,
}

impl Actor for Clerk {
    type Context = Context<Self>;
}

impl Handler<Question> for Clerk {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, question: Question, _: &mut Context<Self>) -> ResponseFuture<u64> {
        if let Some(home) = self.home.upgrade() {
            home.ledger.receive(home.life, "the clerk", question.stamp);
        }
        Box::pin(async move {
            if question.delay > 0 {
                tokio::time::sleep(Duration::from_millis(question.delay)).await;
            }
            question.stamp.id
        })
    }
}
