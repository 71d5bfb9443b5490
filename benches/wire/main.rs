//! Messages between two processes on loopback, measured against baselines that do the same by hand.
//!
//! ```text
//! cargo bench --bench wire                             # everything
//! cargo bench --bench wire -- rtt                      # a workload: see below
//! cargo bench --bench wire -- oneway recipient         # and a handle: address, recipient
//! cargo bench --bench wire -- --pairs 9 --scale 0.1    # more rounds (default 5), fewer messages
//! cargo bench --bench wire -- --sweep                  # how the cost grows (default 3 rounds)
//! cargo bench --bench wire -- --sweep bytes            # with one of: bytes, boxes, connections, addresses, windows
//! cargo bench --bench wire -- --json                   # a line of JSON for each workload and handle
//! HERMOD_TRANSPORT=tls cargo bench --bench wire --features shared-key,tls    # over TLS, or with a shared key (key)
//! ```
//!
//! | workload | what is measured |
//! |---|---|
//! | `rtt` | one ping-pong in flight: the median time of a round trip |
//! | `window` | 64 ping-pongs in flight: round trips a second |
//! | `oneway` | messages of 40 bytes, at most 8,192 unacknowledged, of which every 1,024th is: messages a second |
//! | `bulk` | messages of 64 KiB, at most 64 unacknowledged, of which every 16th is: MB a second |
//! | `boxes` | `oneway` over 10,000 boxes in turn, each with its own reader: messages a second |
//! | `idle` | bytes of the server's memory for each of 10,000 idle boxes, readers included, and of 200 idle connections |
//! | `fairness` | pings beside 1 GiB in messages of 1 MiB on the same connection: their p99 / that of pings alone |
//!
//! There are two baselines. `raw` handles each message in its read loop: it is the limit, and the reference of `ratio`.
//! `task` has a task and a bounded channel for each box: it shows the cost of a mailbox. Memory is the anonymous memory
//! of the process (`RssAnon`), so it is known only where there is a `/proc`, and to about a page.
//!
//! Each round runs every contender once, so that a ratio compares two runs of the same minute; each run has two fresh
//! processes, which are this program with hidden arguments. No time is ever asserted: on a busy machine the figures
//! wander, and the ratios less. A run in which no answer comes for ten seconds fails.
//!
//! The files, each of which imports only those before it: `error`; `line`, the form of the results; `machine`, which
//! describes the machine; `workload`, which defines the measurements; `sweep`, the variations; `message`; `run`, a run as
//! its two processes see it; `hermod` and `raw`, which are measured; `process`, which starts the two halves of a run;
//! `compare`, which turns runs into rounds and figures; `options`.
//!
//! `benches/charts` draws the lines of JSON.
//!
//! Without the `--bench` that cargo adds (as under `cargo test --all-targets`) it is only a smoke test: one small round.

mod compare;
mod error;
mod hermod;
mod line;
mod machine;
mod message;
mod options;
mod process;
mod raw;
mod run;
mod sweep;
mod workload;

use std::process::ExitCode;

use compare::Outcome;
use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = process::hidden_half(&arguments) {
        return code;
    }
    match Options::parse(arguments) {
        Ok(options) => run(&options),
        Err(why) => {
            eprintln!("{why}\n{}", options::USAGE);
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for; fails if a run did.
fn run(options: &Options) -> ExitCode {
    if !options.json {
        compare::print_heading(&options.rounds);
    }
    let mut outcomes = Vec::new();
    for subject in options.subjects() {
        let outcome = compare::measure(&options.rounds, subject);
        outcome.print(&options.rounds, options.json);
        outcomes.push(outcome);
    }
    if outcomes.iter().any(Outcome::has_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
