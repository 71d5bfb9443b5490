//! The worker: an ordinary actor, published under a name; and its process, as the parent sees it.

use std::error::Error;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::ResponseFuture;
use actix::clock::sleep;
use actix_hermod::Address;
use actix_hermod::Node;
use actix_hermod::OpenError;

use crate::job::Job;

/// The name under which the worker's actor is published.
pub const NAME: &str = "squares";
/// The time of a slow job: longer than anybody waits.
const SLOW: Duration = Duration::from_secs(60);

pub fn publish(node: &Node) -> Result<Address<Job>, OpenError> {
    node.publish::<Job>(NAME, Squares.start())
}

struct Squares;

impl Actor for Squares {
    type Context = Context<Self>;
}

impl Handler<Job> for Squares {
    /// A future, so that a slow job holds up no other.
    type Result = ResponseFuture<u128>;

    fn handle(&mut self, Job { n, slow }: Job, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async move {
            if slow {
                eprintln!("worker: a slow job, {n}");
                sleep(SLOW).await;
            }
            u128::from(n.unsigned_abs()).pow(2)
        })
    }
}

// --------------------------------------------------------------------------------------------------- its process

/// The process of a worker. It ends when this is dropped, or when this process ends in any way, because this process
/// holds its standard input.
pub struct Worker(Child);

impl Worker {
    /// Starts this program a second time, and reads from its standard output where it listens.
    pub fn start() -> Result<(Worker, String), Box<dyn Error>> {
        let worker = Command::new(std::env::current_exe()?)
            .arg("--worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal's Ctrl-C goes to a whole process group. It should reach only the gateway, which ends the
            // worker.
            .process_group(0)
            .spawn()?;
        let mut worker = Worker(worker);
        let output = worker.0.stdout.take().ok_or("the worker has no standard output")?;
        let mut endpoint = String::new();
        if BufReader::new(output).read_line(&mut endpoint)? == 0 {
            return Err("the worker ended before it listened".into());
        }
        Ok((worker, endpoint.trim_end().to_owned()))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.stdin = None;
        // The call fails only if something else has waited for the process.
        let _ = self.0.wait();
    }
}
