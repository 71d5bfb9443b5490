//! Shows that existing actix actors are reachable from another process unchanged: they know nothing of this crate, and
//! the client holds only actix `Recipient`s.
//!
//! Run it with `cargo run --release --example echo_actor`. The example starts its second self, which spawns echo actors
//! and publishes them; then the same client code talks to an actor of its own process and to the actors of the other.

use std::error::Error;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use actix::prelude::*;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc;

type Outcome<T> = Result<T, Box<dyn Error>>;

// ---- The application: messages and actors as any actix program has them, plus serde's derives.

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Say {
    text: String,
    #[serde(with = "actix_hermod::recipient")]
    reply_to: Recipient<Heard>,
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Heard {
    text: String,
    by: String,
}

/// Answers each message.
struct Echo {
    name: String,
}

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Say> for Echo {
    type Result = ();

    fn handle(&mut self, say: Say, _: &mut Context<Self>) {
        say.reply_to.do_send(Heard { text: say.text, by: self.name.clone() });
    }
}

/// Receives the answers.
struct Listener {
    answers: mpsc::UnboundedSender<Heard>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Heard> for Listener {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Context<Self>) {
        if self.answers.send(heard).is_err() {
            ctx.stop();
        }
    }
}

/// The client's code: it cannot tell where its recipient leads.
async fn talk(echo: Recipient<Say>) -> Outcome<String> {
    let (answers, mut heard) = mpsc::unbounded_channel();
    let listener = Listener { answers }.start();
    echo.do_send(Say { text: "hello".to_owned(), reply_to: listener.recipient() });
    let answer = actix_rt::time::timeout(Duration::from_secs(10), heard.recv()).await?;
    let Heard { text, by } = answer.ok_or("the listener has stopped")?;
    Ok(format!("{by} heard {text:?}"))
}

// ---- The new part: one process publishes, the other asks for recipients.

fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--server") => serve(),
        _ => System::new().block_on(run()),
    }
}

fn serve() -> Outcome<()> {
    std::thread::spawn(|| {
        // Ends with the process that holds its standard input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    System::new().block_on(async {
        let node = Node::start();
        for number in 1..=3 {
            let name = format!("echo {number}");
            let echo = Echo { name: format!("{name} of process {}", std::process::id()) }.start();
            node.publish::<Say>(name, echo)?;
        }
        println!("{}", node.listen("127.0.0.1:0").await?);
        std::future::pending().await
    })
}

async fn run() -> Outcome<()> {
    println!("This is process {}.", std::process::id());
    let near = Echo { name: "an echo of this process".to_owned() }.start();
    println!("{}", talk(near.recipient()).await?);

    let (_server, endpoint) = Server::start()?;
    let node = Node::start();
    for number in 1..=3 {
        let far = node.remote::<Say>(&endpoint, format!("echo {number}"))?;
        println!("{}", talk(far.recipient()).await?);
    }
    node.shutdown().await;
    Ok(())
}

/// The second process; dropping this ends it.
struct Server(Child);

impl Server {
    fn start() -> Outcome<(Server, String)> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("--server").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let server = Server(child);
        let mut endpoint = String::new();
        BufReader::new(output).read_line(&mut endpoint)?;
        Ok((server, endpoint.trim().to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
