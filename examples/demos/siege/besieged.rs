//! The node that is attacked: boxes of several kinds, actors that other nodes hold, and a measurement of the longest
//! turns of its I/O thread.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::clock::interval;
use actix::prelude::*;
use actix_hermod::Address;
use actix_hermod::Node;
use hermod_demos::Outcome;
use hermod_demos::child::orders;
use hermod_demos::child::say;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

/// Actors that other nodes could hold.
const EXPORTS: usize = 10_000;

/// Mailboxes that nobody reads, called "unread 0" and so on.
pub(crate) const UNREAD: u64 = 32;

/// The interval at which the thread's CPU time is read.
const LOOK: Duration = Duration::from_millis(2);

/// A request that is answered with its own number.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(crate) struct Question(pub(crate) u64);

/// Carries addresses.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Meet(Vec<Address<Question>>);

/// Carries bytes.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Note(Vec<u8>);

/// Answers at once.
struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Question> for Echo {
    type Result = u64;

    fn handle(&mut self, question: Question, _: &mut Context<Self>) -> u64 {
        question.0
    }
}

/// Never answers.
struct Silent;

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<Question> for Silent {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, _: Question, _: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

/// Prints where it listens, then how it fares. `budget` is the number of messages that one peer may send in a second, 0 for
/// any.
pub(crate) async fn live(budget: usize) -> Outcome<()> {
    let node = Node::builder().peer_messages(budget).start();
    node.publish::<Question>("echo", Echo.start())?;
    // Not the box that the honest client asks: a box that is full of others' requests takes no more from anybody.
    node.publish::<Question>("mirror", Echo.start())?;
    node.publish::<Question>("silent", Silent.start())?;
    let mut meetings = node.mailbox::<Meet>().name("meet").open()?;
    actix::spawn(async move { while meetings.recv().await.is_some() {} });
    let open = |n| node.mailbox::<Note>().name(format!("unread {n}")).open();
    let _unread = (0..UNREAD).map(open).collect::<Result<Vec<_>, _>>()?;
    let _held = (0..EXPORTS).map(|_| node.export::<Question>(Echo.start())).collect::<Result<Vec<_>, _>>()?;
    say(node.listen("127.0.0.1:0").await?.as_ref())?;
    let longest = Rc::new(Cell::new([Duration::ZERO; 3]));
    actix::spawn(watch_turns(Rc::clone(&longest)));
    let mut orders = orders();
    while let Some(order) = orders.recv().await {
        if order == "begin" {
            longest.set([Duration::ZERO; 3]);
        }
        let [first, .., third] = longest.get().map(|turn| turn.as_micros());
        say(&format!("{first} {third}"))?;
    }
    Ok(())
}

/// Notes the three greatest amounts of CPU time that the thread takes between two looks; a turn takes no more than
/// that. Other work on the machine does not count, except in a virtual machine: time that its host takes away counts as
/// if the thread had used it.
async fn watch_turns(longest: Rc<Cell<[Duration; 3]>>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = cpu_of_this_thread();
    loop {
        looks.tick().await;
        let now = cpu_of_this_thread();
        let [first, second, third] = longest.get();
        let mut turns = [first, second, third, now.saturating_sub(before)];
        turns.sort();
        let [_, third, second, first] = turns;
        longest.set([first, second, third]);
        before = now;
    }
}

/// Returns the CPU time that this thread has taken so far, as the kernel's scheduler reports it; see
/// `Documentation/scheduler/sched-stats`.
fn cpu_of_this_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}
