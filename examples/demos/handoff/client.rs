//! The client: asks workers that it could not dial, and sees one of them go.

use std::future::Future;
use std::time::Duration;

use actix::MailboxError;
use actix::clock::timeout;
use actix_hermod::Address;
use actix_hermod::CloseReason;
use hermod_demos::Outcome;
use hermod_demos::PATIENCE;

use super::Counted;
use super::Entry;
use super::Job;
use super::WhoIsThere;
use super::node;
use super::say;

/// The name of this process in the story.
const NAME: &str = "client";

const TEXT: &str = "the client has never dialled the one who counts these words";
const WORDS: usize = 11;

/// Longer than anybody waits.
const HOUR: Duration = Duration::from_secs(3600);

fn job(takes: Duration) -> Job {
    Job { text: TEXT.to_owned(), takes }
}

/// Waits for something that has to come. An error says what did not.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    Ok(timeout(PATIENCE, future).await.map_err(|_| format!("{what} is still waited for"))?)
}

/// Returns an error if a promise does not hold.
fn promised(what: &str, holds: bool) -> Outcome<()> {
    if holds { Ok(()) } else { Err(format!("it was promised that {what}").into()) }
}

pub(crate) async fn ask(at: &str) -> Outcome<()> {
    let node = node();
    let directory = node.remote::<WhoIsThere>(at, "who is there")?;
    let workers = who_is_there(&directory).await?;
    let [first, others @ ..] = &workers[..] else { return Err("there is no worker".into()) };
    promised("there are two workers: start another", !others.is_empty())?;
    let by = works(first).await?;
    for other in others {
        works(other).await?;
    }
    is_killed(first, by).await?;
    for other in others {
        works(other).await?;
    }
    let left = who_is_there(&directory).await?;
    promised("the one that was killed is handed out no more", left.iter().all(|entry| entry.worker != first.worker))?;
    node.shutdown().await;
    Ok(())
}

/// Asks for addresses: they are in the answer.
async fn who_is_there(directory: &Address<WhoIsThere>) -> Outcome<Vec<Entry>> {
    let workers = directory.ask(WhoIsThere).timeout(PATIENCE).await?;
    let names: Vec<&str> = workers.iter().map(|entry| entry.name.as_str()).collect();
    say(NAME, &format!("the directory gives me pointers to: {}", names.join(", ")));
    Ok(workers)
}

/// Has a worker count, through its address. Returns the process in which it did.
async fn works(Entry { name, worker }: &Entry) -> Outcome<u32> {
    let Counted { words, by } = soon("a result", worker.send(job(Duration::ZERO))).await??;
    say(NAME, &format!("{name} has counted {words} words for me, in process {by}"));
    promised("the result is that of the job", words == WORDS)?;
    promised("the pointer of one that works is connected", worker.connected())?;
    Ok(by)
}

/// Checks that a worker's end in the middle of a job is noticed.
async fn is_killed(Entry { name, worker }: &Entry, process: u32) -> Outcome<()> {
    let long = worker.send(job(HOUR));
    // Messages through one address arrive in order: once this job is answered, the other has begun.
    soon("a result", worker.send(job(Duration::ZERO))).await??;
    say(NAME, &format!("{name} has begun a job for an hour; now end it: kill -9 {process}"));
    let ended = long.await;
    promised("a job ends without a result when its worker is killed", matches!(ended, Err(MailboxError::Closed)))?;
    say(NAME, "the job for an hour has ended, without a result");

    let why = soon("the end of a pointer", worker.closed()).await?;
    say(NAME, &format!("the pointer to {name} has closed: {why:?}"));
    promised("a killed process is told from a box that was closed", why != CloseReason::BoxClosed)?;

    let again = soon("the failure of a job", worker.ask(job(Duration::ZERO))).await?;
    let error = again.err().ok_or("a worker that was killed has answered")?;
    say(NAME, &format!("another job for {name} fails at once: {error}"));
    promised("what never reached a worker may be given to another", !error.may_have_been_handled())
}
