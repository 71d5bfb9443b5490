//! A worker: an ordinary actix actor, in a process that listens nowhere.

use actix::clock::sleep;
use actix::prelude::*;
use hermod_demos::Outcome;
use hermod_demos::PATIENCE;

use super::Counted;
use super::Entry;
use super::Job;
use super::Register;
use super::node;
use super::say;

/// Counts words. Many jobs may be under way at a time.
struct Counter;

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Job> for Counter {
    type Result = ResponseFuture<Counted>;

    fn handle(&mut self, Job { text, takes }: Job, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async move {
            sleep(takes).await;
            Counted { words: text.split_whitespace().count(), by: std::process::id() }
        })
    }
}

/// Works until the directory is gone.
pub(crate) async fn work(at: &str, name: &str) -> Outcome<()> {
    let node = node();
    let directory = node.remote::<Register>(at, "register")?;
    // The actor has no name: only processes that were handed its address can reach it.
    let worker = node.export::<Job>(Counter.start())?;
    directory.ask(Register(Entry { name: name.to_owned(), worker })).timeout(PATIENCE).await?;
    say(name, &format!("registered; this is process {}, and it listens nowhere", std::process::id()));
    let why = directory.closed().await;
    say(name, &format!("the directory is gone ({why:?})"));
    Ok(())
}
