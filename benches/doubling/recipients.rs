//! Recipients, each with an actix channel and a pump.

use std::time::Duration;

use actix::Recipient;
use actix_hermod::Address;
use tokio::task::LocalSet;

use crate::cpu::Cpu;
use crate::stage::Introduce;
use crate::stage::Members;
use crate::stage::Note;
use crate::stage::Stage;
use crate::stage::node;

fn recipients(addresses: &[Address<Note>]) -> Vec<Recipient<Note>> {
    addresses.iter().map(Address::recipient).collect()
}

/// Recipients are made of that many pointers, and dropped.
pub(crate) async fn made(n: usize) -> Duration {
    let stage = Stage::new().await;
    let addresses = stage.addresses(n);
    let cpu = Cpu::now();
    let all = recipients(&addresses);
    stage.settle(n).await;
    drop(all);
    stage.settle(n).await;
    stage.cost_since(cpu).await
}

/// Existing recipients are found by equal pointers.
pub(crate) async fn equal(n: usize) -> Duration {
    let stage = Stage::new().await;
    let first = recipients(&stage.addresses(n));
    stage.settle(n).await;
    let equal = stage.addresses(n);
    let cpu = Cpu::now();
    let again = recipients(&equal);
    assert!(first == again);
    stage.settle(n).await;
    stage.cost_since(cpu).await
}

/// The connection of the recipients breaks, and is made again.
pub(crate) async fn reconnected(n: usize) -> Duration {
    let stage = Stage::new().await;
    let mut boxes = stage.open(n);
    let all = recipients(&stage.addresses(n));
    stage.settle(n).await;
    let cpu = Cpu::now();
    stage.link.cut();
    stage.settle(n).await;
    all.iter().for_each(|recipient| recipient.do_send(Note(1)));
    for mailbox in &mut boxes {
        mailbox.recv().await.expect("the box is open");
    }
    stage.cost_since(cpu).await
}

/// The thread of the recipients' node ends while they are held, or after they were dropped but before it has noticed.
pub(crate) async fn cut_off(n: usize) -> Duration {
    let mut cost = Duration::ZERO;
    for are_held in [false, true] {
        let thread = LocalSet::new();
        let begin = async {
            let node = node().start();
            let one = |n| node.remote::<Note>("127.0.0.1:1", format!("box {n}")).expect("an endpoint").recipient();
            let all: Vec<_> = (0..n).map(one).collect();
            for _ in 0..n / 64 + 16 {
                tokio::task::yield_now().await;
            }
            all
        };
        let mut all = thread.run_until(begin).await;
        let cpu = Cpu::now();
        if !are_held {
            all.clear();
        }
        drop(thread);
        drop(all);
        cost += cpu.elapsed();
    }
    cost
}

/// A publisher sends each recipient a note.
pub(crate) async fn published(n: usize) -> Duration {
    let (mut stage, mut members) = (Stage::new().await, Members::start(n));
    let subscribers = stage.introduce(std::mem::take(&mut members.all)).await;
    let cpu = Cpu::now();
    for round in 1..=2 {
        subscribers.iter().for_each(|subscriber| subscriber.do_send(Note(1)));
        members.noted.reaches(round * n).await;
    }
    stage.cost_since(cpu).await
}

/// One actor has subscribed that many times.
pub(crate) async fn subscribed_again(n: usize) -> Duration {
    let (mut stage, members) = (Stage::new().await, Members::start(1));
    let cpu = Cpu::now();
    let subscribers = stage.introduce(vec![members.all[0].clone(); n]).await;
    subscribers.iter().for_each(|subscriber| subscriber.do_send(Note(1)));
    members.noted.reaches(n).await;
    drop(subscribers);
    stage.settle(n).await;
    stage.cost_since(cpu).await
}

/// One message brings that many recipients.
pub(crate) async fn in_one_message(n: usize) -> Duration {
    let (mut stage, mut members) = (Stage::new().await, Members::start(n));
    let to = std::mem::take(&mut members.all);
    let cpu = Cpu::now();
    let there = stage.send(Introduce { to, boxes: Vec::new() }).await;
    there.to.iter().for_each(|member| member.do_send(Note(1)));
    members.noted.reaches(n).await;
    drop(there);
    members.gone.reaches(n).await;
    stage.cost_since(cpu).await
}

/// One message brings that many addresses.
pub(crate) async fn addresses_in_one_message(n: usize) -> Duration {
    let mut stage = Stage::new().await;
    let mut open: Vec<_> = (0..n).map(|_| stage.client.mailbox().open().expect("a box without a name")).collect();
    let boxes = open.iter().map(|mailbox| mailbox.address()).collect();
    let cpu = Cpu::now();
    let there = stage.send(Introduce { to: Vec::new(), boxes }).await;
    there.boxes.iter().for_each(|address| address.do_send(Note(1)));
    for mailbox in &mut open {
        mailbox.recv().await.expect("the box is open");
    }
    stage.cost_since(cpu).await
}
