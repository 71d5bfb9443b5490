//! The whole story: starts the processes, shows what they say, and kills the one that the client wants killed.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use super::Outcome;
use super::PATIENCE;

/// The variable that tells a process what to be, if another one has started it.
pub(crate) const ROLE: &str = "HERMOD_HANDOFF_ROLE";

/// As this process is called in the story.
const NAME: &str = "stage";

/// What this process is to be, if it was started by another one: then it ends with its standard input, and so with the
/// other, however that ends.
pub(crate) fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    Some(role.split_whitespace().map(str::to_owned).collect())
}

/// Plays it. An error is the first thing that is not as promised.
pub(crate) fn play(again: &[&str]) -> Outcome<()> {
    println!("Four processes, of which one listens: a directory, two workers, and a client that asks them.");
    println!("Each line is said by one of them; 'stage' is the process that has started them.\n");
    let (mut stage, at) = Stage::with_workers(again, &["ada", "bob"])?;
    stage.enter("client", &format!("client {at}"))?;
    let unwanted = stage.hears("client", "kill -9 ")?;
    let unwanted = stage.name_of(unwanted.parse()?)?;
    stage.kill(&unwanted)?;
    stage.ends("client")
}

/// What a process says; nothing more, once it says no more.
struct Line {
    who: String,
    what: Option<String>,
}

/// The processes of the story. They end when this is dropped.
pub(crate) struct Stage<'a> {
    again: &'a [&'a str],
    processes: Vec<(String, Child)>,
    tell: mpsc::Sender<Line>,
    lines: mpsc::Receiver<Line>,
}

impl<'a> Stage<'a> {
    /// The directory, those workers, and where the directory listens.
    pub(crate) fn with_workers(again: &'a [&'a str], workers: &[&str]) -> Outcome<(Stage<'a>, String)> {
        let (tell, lines) = mpsc::channel();
        let mut stage = Stage { again, processes: Vec::new(), tell, lines };
        stage.enter("directory", "directory 127.0.0.1:0")?;
        let at = stage.hears("directory", "listening at ")?;
        for name in workers {
            stage.enter(name, &format!("worker {at} {name}"))?;
            stage.hears(name, "registered")?;
        }
        Ok((stage, at))
    }

    /// Starts a process, which is this program again.
    pub(crate) fn enter(&mut self, who: &str, role: &str) -> Outcome<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(self.again).env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("a process has no output")?;
        self.processes.push((who.to_owned(), child));
        let (who, tell) = (who.to_owned(), self.tell.clone());
        thread::spawn(move || listen(&who, output, &tell));
        Ok(())
    }

    /// Shows what is said, until that process says that; what follows it.
    pub(crate) fn hears(&self, who: &str, wanted: &str) -> Outcome<String> {
        loop {
            let what = self.line(who)?.ok_or_else(|| format!("the {who} ends, and has not said '{wanted}'"))?;
            if let Some((_, rest)) = what.split_once(wanted) {
                return Ok(rest.to_owned());
            }
        }
    }

    /// Shows what is said, until that process ends, as it should.
    pub(crate) fn ends(mut self, who: &str) -> Outcome<()> {
        while self.line(who)?.is_some() {}
        let status = self.process(who)?.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the {who} is not content: {status}").into()) }
    }

    /// Shows what is said, up to the next line of that process; none if it has ended.
    fn line(&self, who: &str) -> Outcome<Option<String>> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|_| format!("the {who} says nothing"))?;
            if let Some(what) = &line.what {
                show(&line.who, what);
            }
            if line.who == who {
                return Ok(line.what);
            }
        }
    }

    /// What that process is called.
    pub(crate) fn name_of(&self, id: u32) -> Outcome<String> {
        let process = self.processes.iter().find(|(_, child)| child.id() == id);
        Ok(process.map(|(who, _)| who.clone()).ok_or_else(|| format!("process {id} is none of the story"))?)
    }

    /// Ends a process as none can prevent (SIGKILL).
    pub(crate) fn kill(&mut self, who: &str) -> Outcome<()> {
        let child = self.process(who)?;
        child.kill()?;
        child.wait()?;
        show(NAME, &format!("{who} is killed"));
        Ok(())
    }

    fn process(&mut self, who: &str) -> Outcome<&mut Child> {
        let process = self.processes.iter_mut().find(|(name, _)| name == who);
        Ok(process.map(|(_, child)| child).ok_or_else(|| format!("there is no {who}"))?)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn show(who: &str, what: &str) {
    println!("{who:>9}: {what}");
}

/// Passes on what a process says. It may be a test that says lines of its own, and begins others.
fn listen(who: &str, output: ChildStdout, tell: &mpsc::Sender<Line>) {
    let mark = format!("{who}: ");
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some((_, what)) = line.split_once(&mark) {
            // Nobody hears it: the story is over.
            let _ = tell.send(Line { who: who.to_owned(), what: Some(what.to_owned()) });
        }
    }
    let _ = tell.send(Line { who: who.to_owned(), what: None });
}
