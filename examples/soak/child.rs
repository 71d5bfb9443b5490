//! The other processes: this program again, which takes orders on its standard input, and answers on its standard
//! output. So the reports about a link do not depend on that link.

use std::io::BufRead;
use std::io::Write;
use std::process::Stdio;
use std::thread;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::Outcome;
use super::player::Player;
use super::player::Report;
use super::within;

/// The environment variable that makes a process a child.
const ROLE: &str = "HERMOD_SOAK_CHILD";

/// The mark in front of each line for the parent, since a test harness writes lines of its own.
const MARK: &str = "soak: ";

pub(crate) fn is_one() -> bool {
    std::env::var_os(ROLE).is_some()
}

// ---- In the parent.

/// A child; dropping this ends it.
pub(crate) struct Child {
    process: process::Child,
    id: u32,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    pub(crate) endpoint: String,
}

impl Child {
    pub(crate) async fn start(arguments: &[&str]) -> Outcome<Child> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env(ROLE, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let id = process.id().ok_or("the child has ended at once")?;
        let tell = process.stdin.take().ok_or("the child has no input")?;
        let said = BufReader::new(process.stdout.take().ok_or("the child has no output")?).lines();
        let mut child = Child { process, id, tell, said, endpoint: String::new() };
        child.endpoint = child.says().await?;
        Ok(child)
    }

    pub(crate) fn process(&self) -> u32 {
        self.id
    }

    /// Has the child send to those endpoints.
    pub(crate) async fn begin(&mut self, others: &[String], seed: u64) -> Outcome<()> {
        self.ask(&format!("begin {seed} {}", others.join(" "))).await.map(drop)
    }

    pub(crate) async fn hold(&mut self) -> Outcome<()> {
        self.ask("hold").await.map(drop)
    }

    pub(crate) async fn report(&mut self) -> Outcome<Report> {
        Ok(serde_json::from_str(&self.ask("report").await?)?)
    }

    /// Has the child end in good order.
    pub(crate) async fn end(&mut self) -> Outcome<()> {
        self.ask("end").await?;
        within("the end of a child", self.process.wait()).await??;
        Ok(())
    }

    /// Kills the child at once.
    pub(crate) fn kill(&mut self) {
        // The call fails only if the process has ended already.
        let _ = self.process.start_kill();
    }

    async fn ask(&mut self, what: &str) -> Outcome<String> {
        self.tell.write_all(format!("{what}\n").as_bytes()).await?;
        self.says().await
    }

    async fn says(&mut self) -> Outcome<String> {
        loop {
            let line = within("a word of a child", self.said.next_line()).await??;
            let line = line.ok_or("a child has ended without a word")?;
            if let Some((_, said)) = line.split_once(MARK) {
                return Ok(said.to_owned());
            }
        }
    }
}

// ---- In the child.

/// Follows the orders of the parent, until it orders the end, or is gone.
pub(crate) async fn live() -> Outcome<()> {
    let (told, mut orders) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            // An error means that the child is about to end.
            let _ = told.send(line);
        }
    });
    let player = Player::open().await?;
    say(&player.endpoint)?;
    while let Some(order) = orders.recv().await {
        let mut words = order.split_whitespace();
        match words.next() {
            Some("begin") => {
                let seed = words.next().ok_or("no seed")?.parse()?;
                let others: Vec<String> = words.map(str::to_owned).collect();
                player.begin(&others, seed);
                say("begun")?;
            }
            Some("hold") => {
                player.hold();
                say("held")?;
            }
            Some("report") => say(&serde_json::to_string(&player.report())?)?,
            Some("end") => break,
            other => return Err(format!("what is {other:?}?").into()),
        }
    }
    player.end().await;
    say("ended")
}

fn say(what: &str) -> Outcome<()> {
    // Written as a whole, so that other output cannot break the line.
    std::io::stdout().lock().write_all(format!("{MARK}{what}\n").as_bytes())?;
    Ok(())
}
