//! The readers: ordinary actors, in a process that listens nowhere.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use actix::clock::sleep;
use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::Node;
use futures_util::future::Either;
use futures_util::future::select;

use super::Edition;
use super::Heard;
use super::Order;
use super::Outcome;
use super::PATIENCE;
use super::Subscribe;
use super::TIMES;
use super::Unsubscribe;

/// The pause before a publisher that is not there is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Reports the editions that it receives.
pub(crate) struct Reader {
    name: String,
    ear: Address<Heard>,
}

impl Reader {
    /// Starts a reader, which lives for as long as somebody holds its recipient.
    pub(crate) fn start(name: &str, ear: Address<Heard>) -> Recipient<Edition> {
        Actor::start(Reader { name: name.to_owned(), ear }).recipient()
    }
}

impl Actor for Reader {
    type Context = Context<Self>;
}

impl Handler<Edition> for Reader {
    type Result = ();

    fn handle(&mut self, Edition(edition): Edition, _: &mut Context<Self>) {
        self.ear.do_send(Heard { edition, reader: self.name.clone() });
    }
}

/// The readers of this process, and the publisher that they read.
struct Readers {
    readers: BTreeMap<String, Recipient<Edition>>,
    process: Address<Order>,
    subscribe: Address<Subscribe>,
    unsubscribe: Address<Unsubscribe>,
}

/// Reads until the process ends.
pub(crate) async fn read(at: &str) -> Outcome<()> {
    let node = Node::start();
    let mut orders = node.mailbox::<Order>().open()?;
    let ear = node.remote::<Heard>(at, "heard")?;
    let reader = |name: &str| (name.to_owned(), Reader::start(name, ear.clone()));
    let mut readers = Readers {
        readers: ["ada", "bob"].map(reader).into(),
        process: orders.address(),
        subscribe: node.remote(at, "subscribe")?,
        unsubscribe: node.remote(at, "unsubscribe")?,
    };
    loop {
        readers.subscribe_all().await;
        let mut gone = Box::pin(readers.subscribe.closed());
        // Runs while the publisher is there.
        while let Either::Left((Some(order), _)) = select(Box::pin(orders.recv()), &mut gone).await {
            readers.obey(order).await;
        }
    }
}

impl Readers {
    async fn subscribe_all(&self) {
        for reader in self.readers.values() {
            for _ in 0..TIMES {
                self.subscribe(reader).await;
            }
        }
    }

    async fn subscribe(&self, reader: &Recipient<Edition>) {
        let subscription = || Subscribe { reader: reader.clone(), process: Some(self.process.clone()) };
        until_taken(|| self.subscribe.ask(subscription()).timeout(PATIENCE)).await;
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Subscribe { reader } => self.subscribe(&reader).await,
            Order::Unsubscribe(name) => {
                if let Some(reader) = self.readers.remove(&name) {
                    until_taken(|| self.unsubscribe.ask(Unsubscribe { reader: reader.clone() }).timeout(PATIENCE))
                        .await;
                }
            }
        }
    }
}

/// Asks until the publisher, which may be started later, has answered.
async fn until_taken<F: Future<Output = Result<(), AskError>>>(ask: impl Fn() -> F) {
    while ask().await.is_err() {
        sleep(PAUSE).await;
    }
}
