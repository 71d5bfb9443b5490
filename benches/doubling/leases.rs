//! Actors that live because a peer holds their recipients.

use std::time::Duration;

use actix::Recipient;
use actix_hermod::Node;

use crate::cpu::Cpu;
use crate::stage::Fence;
use crate::stage::Members;
use crate::stage::Note;
use crate::stage::Stage;
use crate::stage::Wire;
use crate::stage::connections;
use crate::stage::node;
use crate::stage::shut_down;

/// Connections that hold nothing, and end while others hold leases.
const BYSTANDERS: usize = 64;

/// Hands the recipients of the client's actors to the server; nobody else holds them.
async fn hold(stage: &mut Stage, members: &mut Members) -> Vec<Recipient<Note>> {
    stage.introduce(std::mem::take(&mut members.all)).await
}

/// The server drops all recipients.
pub(crate) async fn released(n: usize) -> Duration {
    let (mut stage, mut members) = (Stage::new().await, Members::start(n));
    let cpu = Cpu::now();
    drop(hold(&mut stage, &mut members).await);
    members.gone.reaches(n).await;
    stage.cost_since(cpu).await
}

/// The server says goodbye.
pub(crate) async fn goodbye(n: usize) -> Duration {
    let (mut stage, mut members) = (Stage::new().await, Members::start(n));
    let _held = hold(&mut stage, &mut members).await;
    let cpu = Cpu::now();
    stage.server.shutdown().await;
    members.gone.reaches(n).await;
    stage.cost_since(cpu).await
}

/// The server cannot be reached any more, and is not expected back.
pub(crate) async fn lost(n: usize) -> Duration {
    let client = node().forget_after(Duration::from_millis(1));
    let (mut stage, mut members) = (Stage::with(node(), client).await, Members::start(n));
    let _held = hold(&mut stage, &mut members).await;
    let cpu = Cpu::now();
    stage.link.end();
    members.gone.reaches(n).await;
    stage.cost_since(cpu).await
}

/// The connection breaks three times and is made again, and then the server drops all recipients.
pub(crate) async fn restated(n: usize) -> Duration {
    let (mut stage, mut members) = (Stage::new().await, Members::start(n));
    let held = hold(&mut stage, &mut members).await;
    let cpu = Cpu::now();
    for _ in 0..3 {
        stage.link.cut();
        stage.settle(n).await;
    }
    held.iter().for_each(|member| member.do_send(Note(1)));
    members.noted.reaches(n).await;
    drop(held);
    members.gone.reaches(n).await;
    stage.cost_since(cpu).await
}

/// Only half of the actors may be held, so that half of them make room for others.
pub(crate) async fn over_the_limit(n: usize) -> Duration {
    let client = node().exports(n.div_ceil(2));
    let (mut stage, mut members) = (Stage::with(node(), client).await, Members::start(n));
    let cpu = Cpu::now();
    let held = hold(&mut stage, &mut members).await;
    members.gone.reaches(n / 2).await;
    drop(held);
    members.gone.reaches(n).await;
    stage.cost_since(cpu).await
}

/// The server holds that many handles of one actor.
pub(crate) async fn of_one_actor(n: usize) -> Duration {
    let (mut stage, members) = (Stage::new().await, Members::start(1));
    let Members { mut all, gone, .. } = members;
    let cpu = Cpu::now();
    let held = stage.introduce(vec![all.remove(0); n]).await;
    drop(held);
    gone.reaches(1).await;
    stage.cost_since(cpu).await
}

/// Other nodes, which hold nothing, are connected to the exporting node over a link of their own.
async fn bystanders(n: usize, go: impl AsyncFnOnce(&Wire, Vec<Node>)) -> Duration {
    let (mut stage, mut members) = (Stage::new().await, Members::start(n));
    let _held = hold(&mut stage, &mut members).await;
    let _inbox = stage.client.mailbox::<Fence>().name("inbox").open().expect("the name is free");
    let at = stage.client.listen("127.0.0.1:0").await.expect("a free port");
    let link = Wire::to(at.as_ref()).expect("a free port");
    let (up, down) = connections(&stage.client);
    let others: Vec<Node> = (0..BYSTANDERS).map(|_| node().start()).collect();
    for other in &others {
        other.remote(&link.endpoint, "inbox").expect("an endpoint").do_send(Fence);
    }
    up.reaches(BYSTANDERS).await;
    let cpu = Cpu::now();
    go(&link, others).await;
    down.reaches(BYSTANDERS).await;
    stage.cost_since(cpu).await
}

/// The bystanders say goodbye.
pub(crate) async fn of_others_at_goodbye(n: usize) -> Duration {
    bystanders(n, async |_, others| shut_down(others).await).await
}

/// The connections of the bystanders break.
pub(crate) async fn of_others_at_loss(n: usize) -> Duration {
    bystanders(n, async |link, _| link.end()).await
}
