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
    stage.ends("client")?;
    stage.hears("directory", &format!("{unwanted} is gone")).map(drop)
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
    /// All that was shown. A story is short.
    said: Vec<Line>,
}

impl<'a> Stage<'a> {
    /// The directory, those workers, and where the directory listens.
    pub(crate) fn with_workers(again: &'a [&'a str], workers: &[&str]) -> Outcome<(Stage<'a>, String)> {
        let (tell, lines) = mpsc::channel();
        let mut stage = Stage { again, processes: Vec::new(), tell, lines, said: Vec::new() };
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

    /// Shows what is said until that process has said that, be it before; what follows it.
    pub(crate) fn hears(&mut self, who: &str, wanted: &str) -> Outcome<String> {
        loop {
            let mut said = self.said.iter().filter(|line| line.who == who);
            let rest = said.find_map(|line| Some(line.what.as_ref()?.split_once(wanted)?.1.to_owned()));
            match rest {
                Some(rest) => return Ok(rest),
                None if self.has_ended(who) => {
                    return Err(format!("the {who} ends, and has not said '{wanted}'").into());
                }
                None => self.listen(who)?,
            }
        }
    }

    /// Shows what is said until that process ends, as it should.
    pub(crate) fn ends(&mut self, who: &str) -> Outcome<()> {
        while !self.has_ended(who) {
            self.listen(who)?;
        }
        let status = self.process(who)?.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the {who} is not content: {status}").into()) }
    }

    /// Shows the next line of any of them; that process is waited for.
    fn listen(&mut self, who: &str) -> Outcome<()> {
        let line = self.lines.recv_timeout(PATIENCE).map_err(|_| format!("the {who} says nothing"))?;
        if let Some(what) = &line.what {
            show(&line.who, what);
        }
        self.said.push(line);
        Ok(())
    }

    fn has_ended(&self, who: &str) -> bool {
        self.said.iter().any(|line| line.who == who && line.what.is_none())
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
