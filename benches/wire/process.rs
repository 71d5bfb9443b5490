//! A run's two processes: their start, their output, and their end.
//!
//! Both are this program with hidden arguments. Each prints one line, the server `listening ENDPOINT`, the client
//! `figure JSON`, or either of them `failed WHY`. The server ends with the process that holds its standard input; the
//! client when it is done, or when no answer has come for a while. So no process outlives a run, however the run ends.

use std::fmt::Display;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::Result;
use crate::hermod;
use crate::message::ByAddress;
use crate::message::ByRecipient;
use crate::raw;
use crate::workload::Contender;
use crate::workload::Figure;
use crate::workload::Load;
use crate::workload::Workload;

const AS_SERVER: &str = "--as-server";
const AS_CLIENT: &str = "--as-client";
/// Seconds that may pass without an answer.
const PATIENCE: u64 = 10;

/// One run: its workload, its contender, and its load.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) workload: Workload,
    pub(crate) contender: Contender,
    pub(crate) load: Load,
}

/// The server, as its client knows it.
pub(crate) struct There {
    pub(crate) endpoint: String,
    pub(crate) process: u32,
}

impl Run {
    /// Starts a server and a client, and returns the client's figure.
    pub(crate) fn figure(self) -> Result<Figure> {
        let (server, output) = Half::start(AS_SERVER, self, &[])?;
        let line = first_line(output, Duration::from_secs(PATIENCE)).ok_or("the server does not start")?;
        let endpoint = line.strip_prefix("listening ").ok_or_else(|| format!("the server: {line}"))?;
        let (client, output) = Half::start(AS_CLIENT, self, &[endpoint, &server.0.id().to_string()])?;
        // The client ends by itself; its output then ends, too.
        let line = first_line(output, Duration::MAX).ok_or("the client ended without a figure")?;
        drop((client, server));
        match line.strip_prefix("figure ") {
            Some(figure) => Ok(serde_json::from_str(figure)?),
            None => Err(line.strip_prefix("failed ").unwrap_or(&line).into()),
        }
    }

    /// Whether the messages of the run have bodies of any size.
    pub(crate) fn sends_blobs(self) -> bool {
        matches!(self.workload, Workload::Bulk | Workload::Fairness)
    }

    fn serve(self) -> Result<()> {
        thread::spawn(end_with_stdin);
        match self.contender {
            Contender::Address => hermod::serve::<ByAddress>(self),
            Contender::Recipient => hermod::serve::<ByRecipient>(self),
            Contender::Raw | Contender::Task => raw::serve(self),
        }
    }

    fn measure(self, there: There) -> Result<Figure> {
        let answers = Answers::watched();
        match self.contender {
            Contender::Address => hermod::measure::<ByAddress>(self, there, answers),
            Contender::Recipient => hermod::measure::<ByRecipient>(self, there, answers),
            Contender::Raw | Contender::Task => raw::measure(self, there, answers),
        }
    }
}

// ----------------------------------------------------------------------------------------- seen from the parent

/// One of the two processes; dropping this ends it.
struct Half(Child);

impl Half {
    fn start(role: &str, run: Run, more: &[&str]) -> Result<(Half, ChildStdout)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, &serde_json::to_string(&run)?])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let half = Half(child);
        Ok((half, output.ok_or("a child without standard output")?))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the first line of a child; `None` if it ends or the limit passes before.
fn first_line(output: ChildStdout, limit: Duration) -> Option<String> {
    let (to_us, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(io::Result::ok) {
            // Only the first line is awaited; the others are read so that the child never blocks on them.
            let _ = to_us.send(line);
        }
    });
    lines.recv_timeout(limit).ok()
}

// ---------------------------------------------------------------------------------------- seen from the children

/// Runs the half that hidden arguments ask for, if there are any.
pub(crate) fn hidden_half(arguments: &[String]) -> Option<ExitCode> {
    let [role, run, rest @ ..] = arguments else { return None };
    let run = || -> Result<Run> { Ok(serde_json::from_str(run)?) };
    let outcome = match (role.as_str(), rest) {
        (AS_SERVER, []) => run().and_then(Run::serve),
        (AS_CLIENT, [endpoint, process]) => run().and_then(|run| {
            let there = There { endpoint: endpoint.clone(), process: process.parse()? };
            println!("figure {}", serde_json::to_string(&run.measure(there)?)?);
            Ok(())
        }),
        _ => return None,
    };
    match outcome {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(why) => fail(&why),
    }
}

/// Prints the reason, and ends the process.
pub(crate) fn fail(why: &impl Display) -> ! {
    println!("failed {why}");
    std::process::exit(1)
}

/// Tells the parent where this server listens.
pub(crate) fn announce(endpoint: &str) -> Result<()> {
    println!("listening {endpoint}");
    Ok(io::stdout().flush()?)
}

/// Ends the process with its parent, which never writes: at the end of the input, it is gone.
fn end_with_stdin() {
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    std::process::exit(0);
}

/// Counts the answers that a client has received. A thread of its own watches the number, so that even a client that
/// hangs with its runtime is noticed.
#[derive(Clone)]
pub(crate) struct Answers(Arc<AtomicU64>);

impl Answers {
    fn watched() -> Answers {
        let number = Arc::new(AtomicU64::new(0));
        let watched = number.clone();
        thread::spawn(move || watch(&watched));
        Answers(number)
    }

    /// Counts one more answer; only one thread counts.
    pub(crate) fn came(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Ends the process when the number has not changed for too long.
fn watch(number: &AtomicU64) {
    let (mut seen, mut silent) = (0, 0);
    while silent < PATIENCE {
        thread::sleep(Duration::from_secs(1));
        let now = number.load(Ordering::Relaxed);
        silent = if now == seen { silent + 1 } else { 0 };
        seen = now;
    }
    fail(&format!("no answer for {PATIENCE} s after {seen} of them"));
}
