//! Boxes that are watched over one connection.

use std::time::Duration;

use actix_hermod::Address;
use actix_hermod::CloseReason;
use actix_hermod::Mailbox;
use tokio::task::JoinHandle;

use crate::cpu::Cpu;
use crate::stage::Introduce;
use crate::stage::Note;
use crate::stage::Stage;
use crate::stage::all;
use crate::stage::watch;

/// Boxes of the server, each of which the client watches.
struct Watched {
    stage: Stage,
    /// The boxes, which stay open, and their addresses.
    held: (Vec<Mailbox<Note>>, Vec<Address<Note>>),
    watches: Vec<JoinHandle<CloseReason>>,
}

impl Watched {
    async fn start(n: usize) -> Watched {
        let stage = Stage::new().await;
        let held = (stage.open(n), stage.addresses(n));
        let watches = watch(&held.1);
        stage.settle(n).await;
        Watched { stage, held, watches }
    }
}

/// The watched boxes close.
pub(crate) async fn closing(n: usize) -> Duration {
    let stage = Stage::new().await;
    let boxes = stage.open(n);
    let addresses = stage.addresses(n);
    let cpu = Cpu::now();
    let watches = watch(&addresses);
    stage.settle(n).await;
    drop(boxes);
    assert!(all(watches).await.into_iter().all(|why| matches!(why, Ok(CloseReason::BoxClosed))));
    stage.cost_since(cpu).await
}

/// The node of the boxes says goodbye.
pub(crate) async fn goodbye(n: usize) -> Duration {
    let Watched { stage, watches, held: _held } = Watched::start(n).await;
    let cpu = Cpu::now();
    stage.server.shutdown().await;
    all(watches).await;
    stage.cost_since(cpu).await
}

/// The node of the boxes cannot be reached any more.
pub(crate) async fn lost(n: usize) -> Duration {
    let Watched { stage, watches, held: _held } = Watched::start(n).await;
    let cpu = Cpu::now();
    stage.link.end();
    assert!(all(watches).await.into_iter().all(|why| matches!(why, Ok(CloseReason::ConnectionLost))));
    stage.cost_since(cpu).await
}

/// A connection at both ends of which boxes are watched breaks, and is made again.
pub(crate) async fn asked_again(n: usize) -> Duration {
    let mut stage = Stage::new().await;
    let boxes = stage.open(n / 2);
    let addresses = stage.addresses(n / 2);
    let others: Vec<_> = (0..n / 2).map(|_| stage.client.mailbox().open().expect("a box without a name")).collect();
    let mut theirs = Vec::new();
    for other in &others {
        theirs.extend(stage.send(Introduce { to: Vec::new(), boxes: vec![other.address()] }).await.boxes);
    }
    let (watches, their_watches) = (watch(&addresses), watch(&theirs));
    stage.settle(n).await;
    let cpu = Cpu::now();
    stage.link.cut();
    stage.settle(n).await;
    drop((boxes, others));
    all(watches).await;
    all(their_watches).await;
    stage.cost_since(cpu).await
}

/// The waiters are dropped.
pub(crate) async fn dropped(n: usize) -> Duration {
    let Watched { stage, watches, held: _held } = Watched::start(n).await;
    let cpu = Cpu::now();
    watches.iter().for_each(|watch| watch.abort());
    all(watches).await;
    stage.settle(n).await;
    stage.cost_since(cpu).await
}
