//! The publisher: an actor with a set of `Recipient`s, as it would be written in a program of one process.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;

use actix::clock::sleep;
use actix::clock::timeout;
use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Endpoint;
use actix_hermod::Mailbox;
use actix_hermod::Node;

use super::Edition;
use super::GIVEN_UP_AFTER;
use super::Heard;
use super::Order;
use super::Outcome;
use super::PATIENCE;
use super::Subscribe;
use super::Unsubscribe;
use super::promised;
use super::say;

/// The interval between looks at the number of subscribers.
const LOOK: Duration = Duration::from_millis(5);

/// Sends each edition to all subscribers.
#[derive(Default)]
struct Topic {
    /// Subscribers, each with its process. The set ignores the process; it tells which subscribers have gone with it.
    subscribers: HashMap<Recipient<Edition>, Option<Address<Order>>>,
    processes: HashSet<Address<Order>>,
    /// The number of subscriptions so far.
    heard_of: usize,
}

impl Actor for Topic {
    type Context = Context<Self>;
}

impl Handler<Subscribe> for Topic {
    type Result = ();

    fn handle(&mut self, Subscribe { reader, process }: Subscribe, ctx: &mut Context<Self>) {
        self.heard_of += 1;
        self.subscribers.entry(reader).or_insert_with(|| process.clone());
        let Some(process) = process.filter(|process| self.processes.insert(process.clone())) else { return };
        let gone = process.closed().into_actor(self);
        ctx.spawn(gone.map(move |_, topic: &mut Topic, _| {
            topic.processes.remove(&process);
            topic.subscribers.retain(|_, of| of.as_ref() != Some(&process));
        }));
    }
}

impl Handler<Unsubscribe> for Topic {
    type Result = ();

    fn handle(&mut self, Unsubscribe { reader }: Unsubscribe, _: &mut Context<Self>) {
        self.subscribers.remove(&reader);
    }
}

impl Handler<Edition> for Topic {
    type Result = ();

    fn handle(&mut self, edition: Edition, _: &mut Context<Self>) {
        self.subscribers.keys().for_each(|subscriber| subscriber.do_send(edition.clone()));
    }
}

/// Passes orders on to the readers' processes.
impl Handler<Order> for Topic {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Context<Self>) {
        if let Some(process) = self.processes.iter().next() {
            process.do_send(order);
        }
    }
}

/// Asks for the number of subscribers, and the number of subscriptions so far.
#[derive(Message)]
#[rtype(result = "(usize, usize)")]
struct Count;

impl Handler<Count> for Topic {
    type Result = MessageResult<Count>;

    fn handle(&mut self, Count: Count, _: &mut Context<Self>) -> Self::Result {
        MessageResult((self.subscribers.len(), self.heard_of))
    }
}

/// The topic, its node, and the mailbox for the readers' reports.
pub(crate) struct Publisher {
    node: Node,
    endpoint: Endpoint,
    topic: Addr<Topic>,
    heard: Mailbox<Heard>,
    edition: u32,
}

impl Publisher {
    pub(crate) async fn open(at: &str) -> Outcome<Publisher> {
        let node = Node::builder().dead_after(GIVEN_UP_AFTER).heartbeat(GIVEN_UP_AFTER / 3).start();
        let topic = Topic::default().start();
        node.publish::<Subscribe>("subscribe", topic.clone())?;
        node.publish::<Unsubscribe>("unsubscribe", topic.clone())?;
        let heard = node.mailbox().name("heard").open()?;
        Ok(Publisher { endpoint: node.listen(at).await?, node, topic, heard, edition: 0 })
    }

    /// Ends the publisher, and starts it again at the same endpoint.
    pub(crate) async fn start_again(self) -> Outcome<Publisher> {
        let (at, edition) = (self.endpoint.to_string(), self.edition);
        self.close().await?;
        Ok(Publisher { edition, ..Publisher::open(&at).await? })
    }

    /// Ends the publisher. No report may be left that was not expected.
    pub(crate) async fn close(mut self) -> Outcome<()> {
        self.node.shutdown().await;
        promised("nobody hears anything twice", self.heard.try_recv().is_none())
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the address for the readers' reports.
    pub(crate) fn ear(&self) -> Address<Heard> {
        self.heard.address()
    }

    /// Subscribes a reader of this process.
    pub(crate) fn subscribe(&self, reader: &Recipient<Edition>) {
        self.topic.do_send(Subscribe { reader: reader.clone(), process: None });
    }

    /// Has the readers' process do something.
    pub(crate) fn order(&self, order: Order) {
        self.topic.do_send(order);
    }

    /// Waits until there were `times` subscriptions, and checks the number of subscribers.
    pub(crate) async fn has_heard_of(&self, times: usize, subscribers: usize) -> Outcome<()> {
        let (there, _) = self.count(|(_, heard_of)| heard_of >= times).await?;
        say(&format!("  the publisher was told of subscribers {times} times, and has {there}"));
        promised("who subscribes again is the same subscriber", there == subscribers)
    }

    /// Waits until there are exactly that many subscribers.
    pub(crate) async fn has_only(&self, subscribers: usize) -> Outcome<()> {
        self.count(|(there, _)| there == subscribers).await?;
        say(&format!("  the publisher has {subscribers}"));
        Ok(())
    }

    async fn count(&self, is_wanted: impl Fn((usize, usize)) -> bool) -> Outcome<(usize, usize)> {
        let look = async {
            loop {
                let count = self.topic.send(Count).await?;
                if is_wanted(count) {
                    return Ok(count);
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, look).await.map_err(|_| "the publisher does not have the subscribers that it should")?
    }

    /// Publishes the next edition, which these readers have to receive, each once.
    pub(crate) async fn publish(&mut self, readers: &[&str]) -> Outcome<()> {
        self.edition += 1;
        let edition = self.edition;
        self.topic.send(Edition(edition)).await?;
        let mut heard = Vec::new();
        for _ in readers {
            heard.extend(timeout(PATIENCE, self.heard.recv()).await.map_err(|_| "an edition is not heard")?);
        }
        heard.sort();
        let wanted = |reader: &&str| Heard { edition, reader: (*reader).to_owned() };
        promised(
            "all subscribers hear an edition once",
            heard.iter().eq(&readers.iter().map(wanted).collect::<Vec<_>>()),
        )?;
        let who = if readers.is_empty() { "nobody".to_owned() } else { readers.join(" and ") };
        say(&format!("  edition {edition} is heard by {who}"));
        Ok(())
    }
}
