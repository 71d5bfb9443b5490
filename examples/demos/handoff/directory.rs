//! The directory: an actor that keeps addresses of others, and hands them out.

use std::collections::BTreeMap;

use actix::prelude::*;
use actix_hermod::Address;
use hermod_demos::Outcome;

use super::Entry;
use super::Job;
use super::Register;
use super::WhoIsThere;
use super::node;
use super::say;

/// The name of this process in the story.
const NAME: &str = "directory";

/// Serves for as long as the process runs.
pub(crate) async fn serve(at: &str) -> Outcome<()> {
    let node = node();
    let directory = Directory::default().start();
    node.publish::<Register>("register", directory.clone())?;
    node.publish::<WhoIsThere>("who is there", directory)?;
    say(NAME, &format!("listening at {}", node.listen(at).await?));
    std::future::pending().await
}

/// Knows workers by their names.
#[derive(Default)]
struct Directory {
    workers: BTreeMap<String, Address<Job>>,
}

impl Actor for Directory {
    type Context = Context<Self>;
}

impl Handler<Register> for Directory {
    type Result = ();

    fn handle(&mut self, Register(Entry { name, worker }): Register, ctx: &mut Context<Self>) {
        say(NAME, &format!("{name} has left a pointer here"));
        let gone = worker.closed().into_actor(self);
        self.workers.insert(name.clone(), worker.clone());
        ctx.spawn(gone.map(move |why, directory: &mut Directory, _| {
            // Another worker of the same name may have registered since.
            if directory.workers.get(&name) == Some(&worker) {
                directory.workers.remove(&name);
                say(NAME, &format!("{name} is gone: {why:?}; connected: {}", worker.connected()));
            }
        }));
    }
}

impl Handler<WhoIsThere> for Directory {
    type Result = MessageResult<WhoIsThere>;

    /// Returns the workers that can be reached now. A worker that is cut off may come back, and is kept for a while.
    fn handle(&mut self, _: WhoIsThere, _: &mut Context<Self>) -> Self::Result {
        let there = self.workers.iter().filter(|(_, worker)| worker.connected());
        MessageResult(there.map(|(name, worker)| Entry { name: name.clone(), worker: worker.clone() }).collect())
    }
}
