//! A run's two processes: their start, their output, and their end.
//!
//! Both are this program with hidden arguments. Each prints one line, the server `listening ENDPOINT`, the client
//! `figure JSON`, or either of them `failed WHY`. The server ends with the process that holds its standard input; the
//! client when it is done, or when no answer has come for a while. So no process outlives a run, however the run ends.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::error::Result;
use crate::hermod;
use crate::hermod::transport;
use crate::hermod::transport::Certificates;
use crate::message::ByAddress;
use crate::message::ByRecipient;
use crate::raw;
use crate::run::Answers;
use crate::run::PATIENCE;
use crate::run::Run;
use crate::run::There;
use crate::run::fail;
use crate::workload::Contender;
use crate::workload::Figure;

const AS_SERVER: &str = "--as-server";
const AS_CLIENT: &str = "--as-client";

// ----------------------------------------------------------------------------------------- seen from the parent

/// Starts a server and a client, and returns the client's figure.
pub(crate) fn figure(run: Run) -> Result<Figure> {
    let certificates = Certificates::made()?;
    let (server, output) = Half::start(AS_SERVER, run, certificates.as_ref(), &[])?;
    let line = first_line(output, Duration::from_secs(PATIENCE)).ok_or("the server does not start")?;
    let endpoint = line.strip_prefix("listening ").ok_or_else(|| format!("the server: {line}"))?;
    let (client, output) = Half::start(AS_CLIENT, run, certificates.as_ref(), &[endpoint, &server.0.id().to_string()])?;
    // The client ends by itself; its output then ends, too.
    let line = first_line(output, Duration::MAX).ok_or("the client ended without a figure")?;
    drop((client, server));
    match line.strip_prefix("figure ") {
        Some(figure) => Ok(serde_json::from_str(figure)?),
        None => Err(line.strip_prefix("failed ").unwrap_or(&line).into()),
    }
}

/// One of the two processes; dropping this ends it.
struct Half(Child);

impl Half {
    fn start(role: &str, run: Run, certificates: Option<&Certificates>, more: &[&str]) -> Result<(Half, ChildStdout)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, &serde_json::to_string(&run)?])
            .args(more)
            .env(transport::FOLDER, certificates.map_or(Path::new(""), Certificates::folder))
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
        (AS_SERVER, []) => run().and_then(serve),
        (AS_CLIENT, [endpoint, process]) => run().and_then(|run| {
            let there = There { endpoint: endpoint.clone(), process: process.parse()? };
            println!("figure {}", serde_json::to_string(&measure(run, there)?)?);
            Ok(())
        }),
        _ => return None,
    };
    match outcome {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(why) => fail(&why),
    }
}

fn serve(run: Run) -> Result<()> {
    thread::spawn(end_with_stdin);
    match run.contender {
        Contender::Address => hermod::serve::<ByAddress>(run),
        Contender::Recipient => hermod::serve::<ByRecipient>(run),
        Contender::Raw | Contender::Task => raw::serve(run),
    }
}

fn measure(run: Run, there: There) -> Result<Figure> {
    let answers = Answers::watched();
    match run.contender {
        Contender::Address => hermod::measure::<ByAddress>(run, there, answers),
        Contender::Recipient => hermod::measure::<ByRecipient>(run, there, answers),
        Contender::Raw | Contender::Task => raw::measure(run, there, answers),
    }
}

/// Ends the process with its parent, which never writes: at the end of the input, it is gone.
fn end_with_stdin() {
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    std::process::exit(0);
}
