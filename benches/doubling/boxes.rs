//! Boxes of a node that has a connection.

use std::time::Duration;

use actix_hermod::Buffer;
use actix_hermod::Mailbox;
use serde::Deserialize;
use serde::Serialize;

use crate::cpu::Cpu;
use crate::stage::Members;
use crate::stage::Note;
use crate::stage::Stage;
use crate::stage::node;

/// A message that is sent in pieces.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Large(Vec<u8>);

/// Bytes of a message that takes more than one piece, with small pieces.
const LARGE: usize = 1024;

/// All boxes close that a peer has sent to; the peer sends to each once more.
pub(crate) async fn closing(n: usize) -> Duration {
    let stage = Stage::new().await;
    let mut boxes = stage.open(n);
    let addresses = stage.addresses(n);
    addresses.iter().for_each(|address| address.do_send(Note(1)));
    for mailbox in &mut boxes {
        mailbox.recv().await.expect("the box is open");
    }
    let cpu = Cpu::now();
    drop(boxes);
    addresses.iter().for_each(|address| address.do_send(Note(2)));
    stage.settle(n).await;
    stage.cost_since(cpu).await
}

/// Each box drops a message, which is reported to the peer.
pub(crate) async fn dropping(n: usize) -> Duration {
    let stage = Stage::new().await;
    let small = |n| stage.server.mailbox().name(format!("box {n}")).buffer(Buffer::dropping(1)).open();
    let boxes: Result<Vec<Mailbox<Note>>, _> = (0..n).map(small).collect();
    let addresses = stage.addresses(n);
    let cpu = Cpu::now();
    (0..2).for_each(|_| addresses.iter().for_each(|address| address.do_send(Note(1))));
    // Reports are gathered before they are sent.
    while stage.client.stats().reported.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.settle(n).await;
    let cost = cpu.elapsed();
    drop(boxes);
    stage.end().await;
    cost
}

/// Each box is filled, which is reported to the peer, and emptied.
pub(crate) async fn pressed(n: usize) -> Duration {
    let stage = Stage::new().await;
    let small = |n| stage.server.mailbox().name(format!("box {n}")).buffer(Buffer::dropping(4)).open();
    let mut boxes: Vec<Mailbox<Note>> = (0..n).map(|n| small(n).expect("the name is free")).collect();
    let addresses = stage.addresses(n);
    let cpu = Cpu::now();
    (0..4).for_each(|_| addresses.iter().for_each(|address| address.do_send(Note(1))));
    while addresses.iter().any(|address| address.pressure() < 0.9) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for mailbox in &mut boxes {
        while mailbox.try_recv().is_some() {}
    }
    while addresses.iter().any(|address| address.pressure() > 0.1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.cost_since(cpu).await
}

/// For each box a large message waits, and a small one behind it.
pub(crate) async fn behind_large(n: usize) -> Duration {
    let stage = Stage::with(node().fragment(256), node().fragment(256)).await;
    let mut inboxes: Vec<Mailbox<Large>> =
        (0..n).map(|n| stage.server.mailbox().name(format!("large {n}")).open().expect("the name is free")).collect();
    let remote = |n| stage.client.remote::<Large>(&stage.endpoint, format!("large {n}")).expect("an endpoint");
    let addresses: Vec<_> = (0..n).map(remote).collect();
    let cpu = Cpu::now();
    for len in [LARGE, 1] {
        addresses.iter().for_each(|address| address.do_send(Large(vec![0; len])));
    }
    for inbox in &mut inboxes {
        for len in [LARGE, 1] {
            assert_eq!(inbox.recv().await.expect("the box is open").0.len(), len);
        }
    }
    stage.cost_since(cpu).await
}

/// A peer asks for the names of all boxes.
pub(crate) async fn listed(n: usize) -> Duration {
    let stage = Stage::new().await;
    let _boxes = stage.open(n);
    let cpu = Cpu::now();
    let shapes = stage.client.shapes_at(&stage.endpoint).await.expect("the peer answers");
    let cost = cpu.elapsed();
    assert!(shapes.len() > n);
    stage.end().await;
    cost
}

/// The node of that many published actors, each with work to do, shuts down.
pub(crate) async fn shut_down(n: usize) -> Duration {
    let stage = Stage::new().await;
    let members = Members::start(n);
    for (n, member) in members.all.iter().enumerate() {
        stage.server.publish(format!("box {n}"), member.clone()).expect("the name is free");
    }
    let addresses = stage.addresses(n);
    addresses.iter().for_each(|address| address.do_send(Note(1)));
    let cpu = Cpu::now();
    members.noted.reaches(n).await;
    stage.server.shutdown().await;
    stage.cost_since(cpu).await
}

/// One box keeps the latest message of each key; each key is replaced once.
pub(crate) async fn keys(n: usize) -> Duration {
    let stage = Stage::new().await;
    let latest = Buffer::latest_by(|note: &Note| note.0).capacity(2 * n);
    let mut inbox = stage.server.mailbox().name("box 0").buffer(latest).open().expect("the name is free");
    let address = stage.addresses(1).remove(0);
    let cpu = Cpu::now();
    (0..2).for_each(|_| (0..n as u64).for_each(|key| address.do_send(Note(key))));
    stage.pass().await;
    for _ in 0..n {
        inbox.recv().await.expect("the box is open");
    }
    stage.cost_since(cpu).await
}
