//! The whole story: starts the processes, shows their output, and kills the worker that the client names.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::ChildStdout;
use std::sync::mpsc;
use std::thread;

use hermod_demos::Outcome;
use hermod_demos::PATIENCE;
use hermod_demos::child;

/// The name of this process in the story.
const NAME: &str = "stage";

/// Plays the story. An error is the first broken promise.
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

/// A line of a process; `None` at the end of its output.
struct Line {
    who: String,
    what: Option<String>,
}

/// The processes of the story. Dropping this ends them.
pub(crate) struct Stage<'a> {
    again: &'a [&'a str],
    processes: Vec<(String, Child)>,
    tell: mpsc::Sender<Line>,
    lines: mpsc::Receiver<Line>,
    /// All lines shown so far. A story is short.
    said: Vec<Line>,
}

impl<'a> Stage<'a> {
    /// Starts the directory and those workers. Returns the endpoint of the directory as well.
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
        let mut child = child::command(role, self.again)?.spawn()?;
        let output = child.stdout.take().ok_or("a process has no output")?;
        self.processes.push((who.to_owned(), child));
        let (who, tell) = (who.to_owned(), self.tell.clone());
        thread::spawn(move || listen(&who, output, &tell));
        Ok(())
    }

    /// Shows lines until that process has printed `wanted`, now or earlier. Returns the rest of that line.
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

    /// Shows lines until that process ends, as it should.
    pub(crate) fn ends(&mut self, who: &str) -> Outcome<()> {
        while !self.has_ended(who) {
            self.listen(who)?;
        }
        let status = self.process(who)?.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the {who} is not content: {status}").into()) }
    }

    /// Shows the next line of any process, while waiting for that one.
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

    /// Returns the name of that process.
    pub(crate) fn name_of(&self, id: u32) -> Outcome<String> {
        let process = self.processes.iter().find(|(_, child)| child.id() == id);
        Ok(process.map(|(who, _)| who.clone()).ok_or_else(|| format!("process {id} is none of the story"))?)
    }

    /// Kills a process, which it cannot prevent (SIGKILL).
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
            // Both calls fail only if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn show(who: &str, what: &str) {
    println!("{who:>9}: {what}");
}

/// Passes on the lines of a process. It may be a test, whose harness writes lines of its own, and in front of others.
fn listen(who: &str, output: ChildStdout, tell: &mpsc::Sender<Line>) {
    let mark = format!("{who}: ");
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some((_, what)) = line.split_once(&mark) {
            // An error means that the story is over.
            let _ = tell.send(Line { who: who.to_owned(), what: Some(what.to_owned()) });
        }
    }
    let _ = tell.send(Line { who: who.to_owned(), what: None });
}
