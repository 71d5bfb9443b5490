//! The publisher: an actor with a set of `Recipient`s, as it would be in a program of one process.

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

/// How often it is looked at how many subscribers there are.
const LOOK: Duration = Duration::from_millis(5);

/// Sends each edition to everyone who has subscribed.
#[derive(Default)]
struct Topic {
    /// Subscribers, each with its process: that means nothing to the set, and tells which of them have gone with it.
    subscribers: HashMap<Recipient<Edition>, Option<Address<Order>>>,
    processes: HashSet<Address<Order>>,
    /// How often somebody has subscribed.
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

/// For the readers' processes.
impl Handler<Order> for Topic {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Context<Self>) {
        if let Some(process) = self.processes.iter().next() {
            process.do_send(order);
        }
    }
}

/// Asks how many subscribers there are, and how often somebody has subscribed.
#[derive(Message)]
#[rtype(result = "(usize, usize)")]
struct Count;

impl Handler<Count> for Topic {
    type Result = MessageResult<Count>;

    fn handle(&mut self, Count: Count, _: &mut Context<Self>) -> Self::Result {
        MessageResult((self.subscribers.len(), self.heard_of))
    }
}

/// The topic, what makes it known to other processes, and who listens to what becomes of it.
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

    /// Ends, and starts at the same place.
    pub(crate) async fn start_again(self) -> Outcome<Publisher> {
        let (at, edition) = (self.endpoint.to_string(), self.edition);
        self.close().await?;
        Ok(Publisher { edition, ..Publisher::open(&at).await? })
    }

    /// Ends. What was heard by now had to be.
    pub(crate) async fn close(mut self) -> Outcome<()> {
        self.node.shutdown().await;
        promised("nobody hears anything twice", self.heard.try_recv().is_none())
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where readers say what they hear.
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

    /// Waits until somebody has subscribed so often; so many are subscribers then.
    pub(crate) async fn has_heard_of(&self, times: usize, subscribers: usize) -> Outcome<()> {
        let (there, _) = self.count(|(_, heard_of)| heard_of >= times).await?;
        say(&format!("  the publisher was told of subscribers {times} times, and has {there}"));
        promised("who subscribes again is the same subscriber", there == subscribers)
    }

    /// Waits until there are so many subscribers.
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

    /// Publishes the next edition, which these are to hear, and nobody twice.
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
