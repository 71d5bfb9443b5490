//! The other processes: this program again, in a role. Such a process answers each line of its standard input with a
//! line on its standard output.

use std::process::Stdio;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;

use super::Outcome;

/// The environment variable with the role of a process.
const ROLE: &str = "HERMOD_SIEGE_ROLE";

/// The role of a process in the siege.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Besieged,
    Client,
}

impl Role {
    /// Returns the role of this process; `None` for the attacking one.
    pub(crate) fn of_this_process() -> Option<Role> {
        match std::env::var(ROLE).ok()?.as_str() {
            "besieged" => Some(Role::Besieged),
            "client" => Some(Role::Client),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Role::Besieged => "besieged",
            Role::Client => "client",
        }
    }
}

/// A process in a role; dropping this kills it.
pub(crate) struct Child {
    process: process::Child,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(crate) async fn start(role: Role, arguments: &[&str]) -> Outcome<Child> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env(ROLE, role.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let tell = process.stdin.take().ok_or("the child has no input")?;
        let said = BufReader::new(process.stdout.take().ok_or("the child has no output")?).lines();
        Ok(Child { process, tell, said })
    }

    /// Returns the id of the process; 0 once it has ended.
    pub(crate) fn process(&self) -> u32 {
        self.process.id().unwrap_or(0)
    }

    /// Waits for the next line.
    pub(crate) async fn says(&mut self) -> Outcome<String> {
        Ok(self.said.next_line().await?.ok_or("a child has ended")?)
    }

    /// Sends a line, and waits for the answer.
    pub(crate) async fn ask(&mut self, line: &str) -> Outcome<String> {
        self.tell.write_all(format!("{line}\n").as_bytes()).await?;
        self.says().await
    }
}
