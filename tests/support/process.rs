//! Other processes: the test binary starts itself again, to run one test of it.
//!
//! Either that is the test that wants a process of its own ([`alone`]), or it is the test `child` of a module, which does
//! what [`role`] says, and nothing if there is none. A child says on its standard output what it has to say, and ends with its standard input, so that none outlives the
//! test that started it, however that ends.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::LIMIT;
use super::LOOK;
use super::transport;
use super::within;

/// The variable that tells a child what to be, and the one that tells it where.
const ROLE: &str = "HERMOD_ROLE";
const AT: &str = "HERMOD_AT";

/// The mark before each line that is meant for the parent; the test harness writes lines of its own.
const MARK: &str = "hermod: ";

// ---- in the child

/// The role of this process, and its place; `None` if it is nobody's child.
pub fn role() -> Option<(String, String)> {
    let role = std::env::var(ROLE).ok()?;
    let at = std::env::var(AT).expect("where");
    thread::spawn(|| {
        // The parent writes nothing: this ends when the parent does.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    Some((role, at))
}

/// Says something to the parent.
pub fn say(what: &str) {
    println!("{MARK}{what}");
}

// ---- in the parent

/// A loopback address, and any port, of which nobody else takes the port while it is free for a moment between two
/// processes: on Linux every address that begins with 127 is this host.
pub fn own_host() -> String {
    if cfg!(target_os = "linux") {
        let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
        format!("127.{}.{b}.{}:0", a.max(1), c.clamp(1, 254))
    } else {
        "127.0.0.1:0".to_owned()
    }
}

/// The other process; it is ended when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Process {
    /// Runs the test `child` of that module (`module_path!()`) in another process.
    pub fn start(module: &str, role: &str, at: &str) -> Process {
        Process::run(Command::new(std::env::current_exe().expect("this program")), module, role, at)
    }

    /// One that may open so many files and no more.
    pub fn start_with_files(files: usize, module: &str, role: &str, at: &str) -> Process {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#"ulimit -n {files}; exec "$0" "$@""#)]);
        shell.arg(std::env::current_exe().expect("this program"));
        Process::run(shell, module, role, at)
    }

    fn run(mut command: Command, module: &str, role: &str, at: &str) -> Process {
        transport::share(&mut command);
        let child = command
            .args(["--exact", &within_crate(&format!("{module}::child")), "--nocapture"])
            .env(ROLE, role)
            .env(AT, at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("this program starts");
        let output = child.stdout.take().expect("it is piped");
        let (tell, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(io::Result::ok) {
                // The harness may have begun the line; whoever listened may be gone.
                let _ = line.split_once(MARK).map(|(_, said)| tell.send(said.to_owned()));
            }
        });
        Process { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line of the child, which must begin with that word; what follows it.
    pub async fn says(&mut self, word: &str) -> String {
        let line = self.line(word).await;
        let rest = line.strip_prefix(word).unwrap_or_else(|| panic!("the child says {line:?} and not {word}"));
        rest.trim_start().to_owned()
    }

    /// Waits for a line after any number of others, as long as they come.
    pub async fn says_at_last(&mut self, word: &str) {
        while self.line(word).await != word {}
    }

    /// Waits for the next line of the child, whatever it is; `word` is what it is hoped to be.
    pub async fn line(&mut self, word: &str) -> String {
        let line = timeout(LIMIT, self.lines.recv()).await.ok().flatten();
        line.unwrap_or_else(|| panic!("the child does not say {word}"))
    }

    /// All that it has yet said, once it has ended.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        within(async {
            while let Some(line) = self.lines.recv().await {
                lines.push(line);
            }
        })
        .await;
        lines
    }

    /// Ends it as no process can prevent (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is gone");
    }

    /// Stops it where it stands, as a debugger does (SIGSTOP): its connections stay, and it reads and writes nothing.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// By the shell, which has the command built in: a system call of our own would need unsafe code.
    fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status();
        assert!(sent.expect("a shell").success(), "process {} does not take {name}", self.id());
    }

    /// Waits until it ends by itself.
    pub async fn exits(&mut self) -> ExitStatus {
        let exited = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("it can be looked at") {
                    return status;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(LIMIT, exited).await.expect("the child exits")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- a process for a test

/// The variable that tells a test that it has a process of its own.
const ALONE: &str = "HERMOD_ALONE";

/// Runs the test that calls this in a process of its own: its memory, its limits and the statics of the crate are nobody
/// else's.
pub fn alone<T: FnOnce()>(test: T) {
    run_alone(|program| Command::new(program), test);
}

/// The same, and the process may open as many files as the system lets it.
pub fn alone_with_files<T: FnOnce()>(test: T) {
    let raise = |program: &Path| {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"ulimit -n "$(ulimit -H -n)"; exec "$0" "$@""#]).arg(program);
        shell
    };
    run_alone(raise, test);
}

/// The same, and whatever is large is memory of its own, which the system has back as soon as it is freed. (glibc's malloc
/// keeps it otherwise, once it has seen that large ones come and go.)
pub fn alone_without_heap<T: FnOnce()>(test: T) {
    let start = |program: &Path| {
        let mut command = Command::new(program);
        command.env("MALLOC_MMAP_THRESHOLD_", "131072");
        command
    };
    run_alone(start, test);
}

fn run_alone<T: FnOnce()>(start: impl FnOnce(&Path) -> Command, test: T) {
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    // The closure's type is named after the test that it stands in.
    let name = std::any::type_name::<T>();
    let name = within_crate(name.split_once("::{{").map_or(name, |(test, _)| test));
    let child = start(&std::env::current_exe().expect("this program"))
        .args(["--exact", &name, "--nocapture"])
        .env(ALONE, &name)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Guarded(child.expect("this program starts"));
    let mut printed = String::new();
    child.0.stdout.take().expect("it is piped").read_to_string(&mut printed).expect("text");
    let status = child.0.wait().expect("it ends");
    assert!(status.success(), "{name} failed in a process of its own, as written above: {status}\n{printed}");
    assert!(printed.contains("test result: ok. 1 passed;"), "{name} is the name of no test:\n{printed}");
}

/// The path of an item as the test harness has it, which does not name the crate.
fn within_crate(path: &str) -> String {
    path.split_once("::").map_or(path, |(_, path)| path).to_owned()
}

/// A process that does not outlive its test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
