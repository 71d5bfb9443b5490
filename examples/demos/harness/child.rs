//! The other processes of a demo: the program again, in a role. Such a process gets lines on its standard input and writes
//! marked ones to its standard output; it ends with its input, and so with its parent, however that ends.

use std::io::BufRead;
use std::io::Read;
use std::io::Write;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::sync::mpsc;

use crate::Outcome;
use crate::within;

/// The environment variable with the role of a process.
const ROLE: &str = "HERMOD_DEMO_ROLE";

/// The mark in front of each line for the parent. If the program is a test, its harness writes lines of its own.
const MARK: &str = "demo: ";

// ---- In the parent.

/// Returns a command that starts this program in a role, with words behind it. A test gives as `arguments` those with
/// which it runs nothing but its child; a demo, none.
///
/// # Errors
/// If the system does not say which program this is.
pub fn command(role: &str, arguments: &[&str]) -> Outcome<std::process::Command> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(arguments).env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

/// A process in a role; dropping this kills it.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    id: u32,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a process. Returns its first words as well, which say that it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or has ended without a word.
    pub async fn start(role: &str, arguments: &[&str]) -> Outcome<(Child, String)> {
        let mut process = process::Command::from(command(role, arguments)?).kill_on_drop(true).spawn()?;
        let id = process.id().ok_or("the child has ended at once")?;
        let tell = process.stdin.take().ok_or("the child has no input")?;
        let said = BufReader::new(process.stdout.take().ok_or("the child has no output")?).lines();
        let mut child = Child { process, id, tell, said };
        let first = child.says().await?;
        Ok((child, first))
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits for the next words.
    ///
    /// # Errors
    /// If the process has ended, or says nothing.
    pub async fn says(&mut self) -> Outcome<String> {
        loop {
            let line = within("a word of a child", self.said.next_line()).await??;
            let line = line.ok_or("a child has ended without a word")?;
            if let Some((_, said)) = line.split_once(MARK) {
                return Ok(said.to_owned());
            }
        }
    }

    /// Sends a line, and waits for the answer.
    ///
    /// # Errors
    /// If the process has ended, or does not answer.
    pub async fn ask(&mut self, line: &str) -> Outcome<String> {
        self.tell.write_all(format!("{line}\n").as_bytes()).await?;
        self.says().await
    }

    /// Waits, without a limit, until the process closes its output, as it does when it ends. Returns its exit status.
    ///
    /// # Errors
    /// If its output or its status cannot be read.
    pub async fn ended(&mut self) -> Outcome<ExitStatus> {
        while self.said.next_line().await?.is_some() {}
        Ok(self.process.wait().await?)
    }

    /// Kills the process at once.
    pub fn kill(&mut self) {
        // The call fails only if the process has ended already.
        let _ = self.process.start_kill();
    }
}

// ---- In the child.

/// Returns the words of this process's role; `None` if it is nobody's child.
pub fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    Some(role.split_whitespace().map(str::to_owned).collect())
}

/// Ends this process with its parent, which sends it nothing.
pub fn end_with_parent() {
    thread::spawn(|| {
        // Nothing comes, and an error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
}

/// Returns the lines that the parent sends; they end with the parent.
pub fn orders() -> mpsc::UnboundedReceiver<String> {
    let (told, orders) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            // An error means that the child is about to end.
            let _ = told.send(line);
        }
    });
    orders
}

/// Sends words to the parent.
///
/// # Errors
/// If the parent is gone.
pub fn say(words: &str) -> Outcome<()> {
    // Written as a whole, so that other output cannot break the line.
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{MARK}{words}\n").as_bytes())?;
    Ok(output.flush()?)
}
