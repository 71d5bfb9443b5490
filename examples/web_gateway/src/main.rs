//! A web server whose handlers ask an actor in another process.
//!
//! ```text
//! cargo run -p web-gateway                          # on port 8080
//! cargo run -p web-gateway -- 8000 --timeout 500    # on another, and waits for a worker's answer for 500 ms only
//! ```
//!
//! The program starts itself a second time as the worker. The README beside it suggests experiments, and explains how
//! to run the two in terminals of their own.

mod gateway;
mod job;
mod worker;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use actix_hermod::Node;
use actix_web::rt::task::spawn_blocking;

use job::Job;
use worker::Worker;

const USAGE: &str = "\
usage: web-gateway [PORT] [--timeout MILLISECONDS] [--worker-at ENDPOINT]
       web-gateway --worker [ENDPOINT]";

#[actix_web::main]
async fn main() -> ExitCode {
    let outcome = match Role::from_arguments(std::env::args().skip(1)) {
        Some(Role::Worker { endpoint }) => work(&endpoint).await,
        Some(Role::Gateway(plan)) => serve(plan).await,
        None => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

// ------------------------------------------------------------------------------------------------- the two roles

/// Squares numbers until the process at the other end of the standard input is gone.
async fn work(endpoint: &str) -> Result<(), Box<dyn Error>> {
    let node = Node::start();
    worker::publish(&node)?;
    println!("{}", node.listen(endpoint).await?);

    spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    node.shutdown().await;
    Ok(())
}

/// Serves HTTP until Ctrl-C.
async fn serve(plan: Plan) -> Result<(), Box<dyn Error>> {
    // Kept until the end of this function: dropping it ends the worker.
    let (_worker, endpoint) = match plan.worker_at {
        Some(endpoint) => (None, endpoint),
        None => {
            let (worker, endpoint) = Worker::start()?;
            println!("The worker is process {}, listening on {endpoint}.", worker.id());
            (Some(worker), endpoint)
        }
    };
    // A restarted worker is found within a second; by default it may take ten seconds after a long outage.
    let node = Node::builder().reconnect(Duration::from_millis(100)..=Duration::from_secs(1)).start();
    let worker = node.remote::<Job>(&endpoint, worker::NAME)?;
    let server = gateway::bind(worker, plan.port, plan.timeout)?;
    server.await?;
    node.shutdown().await;
    Ok(())
}

// ------------------------------------------------------------------------------------------------- the arguments

enum Role {
    Gateway(Plan),
    Worker { endpoint: String },
}

struct Plan {
    /// The port of the HTTP server; 0 lets the system choose.
    port: u16,
    /// The time that a worker may take for a job.
    timeout: Duration,
    /// A worker that runs already; without it the gateway starts one.
    worker_at: Option<String>,
}

impl Role {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Option<Role> {
        let mut plan = Plan { port: 8080, timeout: Duration::from_secs(2), worker_at: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--worker" => {
                    let endpoint = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
                    return Some(Role::Worker { endpoint });
                }
                "--timeout" => plan.timeout = Duration::from_millis(arguments.next()?.parse().ok()?),
                "--worker-at" => plan.worker_at = Some(arguments.next()?),
                port => plan.port = port.parse().ok()?,
            }
        }
        Some(Role::Gateway(plan))
    }
}
