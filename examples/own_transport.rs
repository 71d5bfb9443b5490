//! Shows a transport of the application: a node that reaches another through the standard input and output of a child
//! process. No port is opened, and the child needs no network: `ssh host worker` in the place of the child reaches
//! another machine.
//!
//! Run it with `cargo run --example own_transport`. The example starts its second self as the child, asks it for squares,
//! has it crash, and asks again: the node notices that the child is gone, and starts another.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use actix::prelude::Actor;
use actix::prelude::Handler;
use actix::prelude::Message;
use actix::prelude::System;
use actix_hermod::AskError;
use actix_hermod::Event;
use actix_hermod::Node;
use actix_hermod::transport::BoxFuture;
use actix_hermod::transport::Channel;
use actix_hermod::transport::Incoming;
use actix_hermod::transport::Transport;
use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio::sync::oneshot;

// ---- The application.

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Square(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Crash;

/// The actor in the child.
struct Worker;

impl Actor for Worker {
    type Context = actix::Context<Self>;
}

impl Handler<Square> for Worker {
    type Result = u64;

    fn handle(&mut self, Square(n): Square, _: &mut Self::Context) -> u64 {
        n * n
    }
}

impl Handler<Crash> for Worker {
    type Result = ();

    fn handle(&mut self, Crash: Crash, _: &mut Self::Context) {
        // As if it were killed: nothing is cleaned up, and nobody is told.
        std::process::abort();
    }
}

// ---- The transport of the parent: to connect means to start a child.

struct ToChild;

impl Transport for ToChild {
    fn scheme(&self) -> &str {
        "child"
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(async move {
            if address != "worker" {
                return Err(io::ErrorKind::NotFound.into());
            }
            let mut child = Command::new(std::env::current_exe()?)
                .arg("worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // The child ends with the channel.
                .kill_on_drop(true)
                .spawn()?;
            let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            Ok(Channel::new(ChildIo { stdin, stdout, _child: child }).near(true))
        })
    }

    fn bind<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Incoming>>> {
        // A parent waits for no children.
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// No peer starts programs here.
    fn may_be_named(&self, _: &str, _: bool) -> bool {
        false
    }
}

/// Both directions of a child's standard streams.
struct ChildIo {
    stdin: ChildStdin,
    stdout: ChildStdout,
    _child: Child,
}

impl AsyncRead for ChildIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ChildIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

// ---- The transport of the child: its only peer is there from the start.

struct FromParent;

impl Transport for FromParent {
    fn scheme(&self) -> &str {
        "parent"
    }

    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn bind<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Incoming>>> {
        Box::pin(async { Ok(Box::new(OneParent(Mutex::new(false))) as Box<dyn Incoming>) })
    }
}

/// Remembers whether the parent was accepted.
struct OneParent(Mutex<bool>);

impl Incoming for OneParent {
    fn address(&self) -> String {
        "stdio".to_owned()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxFuture<'static, io::Result<Channel>>>> {
        Box::pin(async {
            if std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), true) {
                return std::future::pending().await;
            }
            let io = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
            let channel: BoxFuture<'static, io::Result<Channel>> = Box::pin(async { Ok(Channel::new(io).near(true)) });
            Ok(channel)
        })
    }
}

// ---- Both sides.

async fn work() -> Result<(), Box<dyn Error>> {
    let node = Node::builder().transport(FromParent).start();
    let worker = Worker.start();
    node.publish::<Square>("square", worker.clone())?;
    node.publish::<Crash>("crash", worker)?;
    let (parent_is_gone, gone) = oneshot::channel();
    node.subscribe(UntilDown(Some(parent_is_gone)).start());
    node.listen("parent:stdio").await?;
    gone.await?;
    Ok(())
}

/// Ends the child with its parent, however that has ended: there will never be another.
struct UntilDown(Option<oneshot::Sender<()>>);

impl Actor for UntilDown {
    type Context = actix::Context<Self>;
}

impl Handler<Event> for UntilDown {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Self::Context) {
        if let Event::PeerDown { .. } = event
            && let Some(gone) = self.0.take()
        {
            // The waiting end lives as long as the process.
            let _ = gone.send(());
        }
    }
}

async fn ask_for_work() -> Result<(), Box<dyn Error>> {
    let node = Node::builder().transport(ToChild).start();
    let square = node.remote::<Square>("child:worker", "square")?;
    println!("7 squared is {}", square.ask(Square(7)).await?);
    if let Err(error) = node.remote::<Crash>("child:worker", "crash")?.ask(Crash).await {
        println!("it crashes: {error}");
    }
    let answer = loop {
        match square.ask(Square(8)).await {
            Ok(answer) => break answer,
            // Until the node has started the next child; a square may be asked for twice.
            Err(AskError::NotDelivered { .. } | AskError::OutcomeUnknown { .. }) => actix::clock::sleep(PAUSE).await,
            Err(other) => return Err(other.into()),
        }
    };
    println!("another child says: 8 squared is {answer}");
    node.shutdown().await;
    Ok(())
}

/// The pause between two attempts.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

fn main() -> Result<(), Box<dyn Error>> {
    let is_worker = std::env::args().nth(1).is_some_and(|role| role == "worker");
    System::new().block_on(async move { if is_worker { work().await } else { ask_for_work().await } })
}
