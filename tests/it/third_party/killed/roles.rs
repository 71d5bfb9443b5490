//! The other processes.

use actix::Actor;
use actix::Context;
use actix::Handler;
use actix::MessageResult;
use actix::ResponseFuture;
use actix::System;
use actix_hermod::Node;
use support::process::say;
use tokio::sync::mpsc;

use super::Gift;
use super::Hand;
use super::Keep;
use super::Note;
use super::Relays;
use super::Work;
use super::eager;
use super::handed;

/// Any free port.
const ANYWHERE: &str = "127.0.0.1:0";

/// Does what that role is to do, until the process ends.
pub(crate) fn play(role: &str, at: &str) {
    System::new().block_on(async {
        match role {
            "introducer" => introduce(at).await,
            "owner" => own(at, None).await,
            "owner that listens" => own(at, Some(ANYWHERE)).await,
            "bystander" => stand_by().await,
            other => panic!("no such role: {other}"),
        }
    });
}

// ---- An introducer.

/// Has a gift, and hands it on.
struct Introducer {
    node: Node,
    gift: Option<Gift>,
}

impl Actor for Introducer {
    type Context = Context<Self>;
}

impl Handler<Keep> for Introducer {
    type Result = ();

    fn handle(&mut self, Keep(gift): Keep, _: &mut Context<Self>) {
        self.gift = Some(gift);
    }
}

impl Handler<Hand> for Introducer {
    type Result = MessageResult<Hand>;

    fn handle(&mut self, _: Hand, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.gift.take())
    }
}

impl Handler<Relays> for Introducer {
    type Result = usize;

    fn handle(&mut self, _: Relays, _: &mut Context<Self>) -> usize {
        self.node.stats().boxes.iter().filter(|one| one.type_name == "a relay").count()
    }
}

async fn introduce(before: &str) {
    let node = eager().start();
    let gift = if before.is_empty() { None } else { Some(handed(&node, before).await) };
    let introducer = Introducer { node: node.clone(), gift }.start();
    node.publish::<Keep>("keep", introducer.clone()).expect("a free name");
    node.publish::<Hand>("hand", introducer.clone()).expect("a free name");
    node.publish::<Relays>("relays", introducer).expect("a free name");
    say(&format!("listening {}", node.listen(ANYWHERE).await.expect("a free port")));
    std::future::pending().await
}

// ---- An owner, and a bystander.

/// Works, and tells what it was given.
struct Worker(mpsc::UnboundedSender<u64>);

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Work> for Worker {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Work(n): Work, _: &mut Context<Self>) -> Self::Result {
        // A bystander does not listen.
        let _ = self.0.send(n);
        match n % 2 {
            0 => Box::pin(std::future::ready(n)),
            _ => Box::pin(std::future::pending()),
        }
    }
}

/// Says how many notes it has had when it is held no more.
struct Reader(u64);

impl Actor for Reader {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        say(&format!("let go after {}", self.0));
    }
}

impl Handler<Note> for Reader {
    type Result = ();

    fn handle(&mut self, Note(_): Note, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

/// Leaves a gift with the introducer. When that is gone, says which work it was given, and whether it still gets through
/// to the bystander.
async fn own(at: &str, listen: Option<&str>) {
    let (introducer, bystander) = at.split_once(' ').expect("an introducer, and a bystander");
    let node = eager().start();
    if let Some(at) = listen {
        node.listen(at).await.expect("a free port");
    }
    let (given, mut gets) = mpsc::unbounded_channel();
    let worker = Worker(given).start();
    let gift = Gift {
        work: node.export(worker.clone()).expect("a box"),
        spare: node.export(Worker(mpsc::unbounded_channel().0).start()).expect("a box"),
        notes: Reader(0).start().recipient(),
    };
    let keep = node.remote::<Keep>(introducer, "keep").expect("an address");
    keep.ask(Keep(gift)).await.expect("it is kept");
    say("known");
    keep.closed().await;
    let bystander = node.remote::<Work>(bystander, "work").expect("an address");
    assert_eq!(bystander.ask(Work(2)).await, Ok(2));
    say("goes on");
    let mut numbers = Vec::new();
    while let Ok(n) = gets.try_recv() {
        numbers.push(n.to_string());
    }
    say(&format!("was given {}", numbers.join(" ")));
    std::future::pending().await
}

async fn stand_by() {
    let node = eager().start();
    node.publish::<Work>("work", Worker(mpsc::unbounded_channel().0).start()).expect("a free name");
    say(&format!("listening {}", node.listen(ANYWHERE).await.expect("a free port")));
    std::future::pending().await
}
