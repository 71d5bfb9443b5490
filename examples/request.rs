//! Shows requests to an actor of another process: each has a typed result, or the reason why there is none.
//!
//! Run it with `cargo run --release --example request`. The example starts its second self, the kitchen, which
//! publishes an existing actor that knows nothing of this crate. The client's code held an `Addr` of that actor; now it
//! holds a `Recipient`, and its `send(..).await` is unchanged. New is `Address::ask`, which tells why a request has no
//! result, and whether it may have been handled all the same.

use std::error::Error;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::DropReason;
use actix_hermod::Node;
use futures_util::future::join;
use serde::Deserialize;
use serde::Serialize;

type Outcome<T> = Result<T, Box<dyn Error>>;

// ---- The application: an ordinary actix message, its result and an actor, plus serde's derives.

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<Meal, NotOnTheMenu>")]
struct Order {
    dish: String,
}

#[derive(Serialize, Deserialize)]
struct Meal {
    name: String,
    cooked_by: u32,
}

#[derive(Serialize, Deserialize, Debug, thiserror::Error)]
#[error("there is no {0} on the menu")]
struct NotOnTheMenu(String);

/// Cooks soup at once, and a roast for an hour.
struct Kitchen;

impl Actor for Kitchen {
    type Context = Context<Self>;
}

impl Handler<Order> for Kitchen {
    type Result = ResponseFuture<Result<Meal, NotOnTheMenu>>;

    fn handle(&mut self, Order { dish }: Order, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async move {
            match dish.as_str() {
                "soup" => {}
                "roast" => actix_rt::time::sleep(Duration::from_secs(3600)).await,
                _ => return Err(NotOnTheMenu(dish)),
            }
            Ok(Meal { name: dish, cooked_by: std::process::id() })
        })
    }
}

/// The client.
struct Guest {
    // This was an `Addr<Kitchen>`; nothing else has changed.
    kitchen: Recipient<Order>,
}

impl Guest {
    async fn eat(&self, dish: &str) -> Outcome<String> {
        let meal = self.kitchen.send(order(dish)).await??;
        Ok(format!("{}, cooked by process {}", meal.name, meal.cooked_by))
    }
}

fn order(dish: &str) -> Order {
    Order { dish: dish.to_owned() }
}

// ---- The new part: one process publishes, the other asks.

fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--kitchen") => serve(),
        _ => System::new().block_on(run()),
    }
}

fn serve() -> Outcome<()> {
    std::thread::spawn(|| {
        // Ends with the process that holds its standard input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    System::new().block_on(async {
        let node = Node::start();
        node.publish::<Order>("kitchen", Kitchen.start())?;
        println!("{}", node.listen("127.0.0.1:0").await?);
        std::future::pending().await
    })
}

async fn run() -> Outcome<()> {
    println!("This is process {}.", std::process::id());
    let (mut worker, endpoint) = Worker::start()?;
    let node = Node::start();
    let kitchen = node.remote::<Order>(&endpoint, "kitchen")?;

    println!("\nThe same client code, with an actor of this process and with that of the other:");
    for recipient in [Kitchen.start().recipient(), kitchen.recipient()] {
        let guest = Guest { kitchen: recipient };
        println!("  {}", guest.eat("soup").await?);
    }

    println!("\nWhat `ask` says:");
    let second = Duration::from_secs(1);
    tell("soup", kitchen.ask(order("soup")).timeout(second).await);
    tell("stones", kitchen.ask(order("stones")).timeout(second).await);
    let bar = node.remote::<Order>(&endpoint, "bar")?;
    tell("soup, at the bar", bar.ask(order("soup")).timeout(second).await);
    tell("a roast, within the second", kitchen.ask(order("roast")).timeout(second).await);

    let roast = kitchen.ask(order("roast")).timeout(60 * second);
    let (answer, killed) = join(roast, kill_in_the_middle(&mut worker, &kitchen)).await;
    killed?;
    tell("a roast, and the worker is killed", answer);
    tell("soup, of the dead", kitchen.ask(order("soup")).timeout(second).await);
    node.shutdown().await;
    Ok(())
}

/// Kills the worker while it handles the earlier requests.
async fn kill_in_the_middle(worker: &mut Worker, kitchen: &Address<Order>) -> Outcome<()> {
    // Requests arrive in order: once this one is answered, the earlier ones have been begun.
    kitchen.ask(order("soup")).await??;
    worker.kill();
    Ok(())
}

fn tell(wish: &str, answer: Result<Result<Meal, NotOnTheMenu>, AskError>) {
    let again = match &answer {
        Err(error) if error.may_have_been_handled() => " Asking again may have it handled twice.",
        Err(_) => " It was not handled, so asking again does no harm.",
        Ok(_) => "",
    };
    println!("  {:<36}{}{again}", format!("{wish}:"), in_words(answer));
}

fn in_words(answer: Result<Result<Meal, NotOnTheMenu>, AskError>) -> String {
    match answer {
        Ok(Ok(meal)) => format!("{}, cooked by process {}.", meal.name, meal.cooked_by),
        Ok(Err(refusal)) => format!("The actor says: {refusal}."),
        Err(AskError::NotDelivered { reason: DropReason::NoSuchBox, .. }) => "Nobody there has that name.".to_owned(),
        Err(AskError::NotDelivered { reason: DropReason::NotConnected, .. }) => "Nobody is there.".to_owned(),
        Err(AskError::OutcomeUnknown { .. }) => "The worker had it and is gone; the outcome is unknown.".to_owned(),
        Err(AskError::Timeout) => "No answer in time.".to_owned(),
        Err(other) => format!("{other}."),
    }
}

/// The second process; dropping this ends it.
struct Worker(Child);

impl Worker {
    fn start() -> Outcome<(Worker, String)> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("--kitchen").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the worker has no output")?;
        let worker = Worker(child);
        let mut endpoint = String::new();
        BufReader::new(output).read_line(&mut endpoint)?;
        Ok((worker, endpoint.trim().to_owned()))
    }

    fn kill(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
