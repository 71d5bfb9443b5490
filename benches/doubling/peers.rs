//! Many nodes that are connected to one, the hub.

use std::rc::Rc;
use std::time::Duration;

use actix_hermod::Address;
use actix_hermod::Mailbox;
use actix_hermod::Node;

use crate::cpu::Cpu;
use crate::stage::Count;
use crate::stage::Introduce;
use crate::stage::Members;
use crate::stage::NEVER;
use crate::stage::Note;
use crate::stage::Wire;
use crate::stage::all;
use crate::stage::connections;
use crate::stage::node;
use crate::stage::shut_down;
use crate::stage::watch;

/// Boxes of each peer that the hub watches.
const WATCHED: usize = 32;

/// The approximate time between two peers that come back.
const APART: Duration = Duration::from_millis(2);

/// Actors of the hub whose recipients each peer gets; half as many may be held.
const LEASED: usize = 64;

/// A hub, and the peers that have introduced their boxes to it.
struct Crowd {
    hub: Node,
    link: Wire,
    up: Rc<Count>,
    peers: Vec<Node>,
    /// Held, so that the peers go on dialling.
    wanted: Vec<Address<Introduce>>,
    /// The boxes of the peers; `known` has the hub's addresses of them.
    boxes: Vec<Mailbox<Note>>,
    known: Vec<Address<Note>>,
}

impl Crowd {
    /// Connects n peers to a hub. After a break, they dial again after about `pause`.
    async fn gather(n: usize, pause: Duration) -> Crowd {
        // The hub does not dial them at intervals.
        let hub = node().reconnect(NEVER..=NEVER).start();
        let at = hub.listen("127.0.0.1:0").await.expect("a free port");
        let link = Wire::to(at.as_ref()).expect("a free port");
        let mut inbox: Mailbox<Introduce> = hub.mailbox().name("inbox").open().expect("the name is free");
        let (up, _) = connections(&hub);
        let (peers, wanted, boxes, known) = Default::default();
        let mut crowd = Crowd { hub, link, up, peers, wanted, boxes, known };
        for _ in 0..n {
            let peer = node().reconnect(pause..=pause).start();
            let open = || peer.mailbox().open().expect("a box without a name");
            let opened: Vec<Mailbox<Note>> = (0..WATCHED).map(|_| open()).collect();
            let boxes = opened.iter().map(Mailbox::address).collect();
            let to: Address<Introduce> = peer.remote(&crowd.link.endpoint, "inbox").expect("an endpoint");
            to.do_send(Introduce { to: Vec::new(), boxes });
            crowd.known.extend(inbox.recv().await.expect("the box is open").boxes);
            crowd.boxes.extend(opened);
            crowd.wanted.push(to);
            crowd.peers.push(peer);
        }
        crowd
    }

    /// Sends a note to each of the boxes, and waits until it arrives.
    async fn reach_all(&mut self) {
        for _ in 0..2 {
            self.known.iter().for_each(|address| address.do_send(Note(1)));
            for mailbox in &mut self.boxes {
                mailbox.recv().await.expect("the box is open");
            }
        }
    }

    /// Returns the cost since then, and ends all nodes.
    async fn cost_since(self, cpu: Cpu) -> Duration {
        let cost = cpu.elapsed();
        shut_down(self.peers).await;
        self.hub.shutdown().await;
        cost
    }
}

/// All peers go at once.
pub(crate) async fn goodbye(n: usize) -> Duration {
    let mut crowd = Crowd::gather(n, Duration::ZERO).await;
    let watches = watch(&crowd.known);
    crowd.reach_all().await;
    let cpu = Cpu::now();
    shut_down(std::mem::take(&mut crowd.peers)).await;
    all(watches).await;
    crowd.cost_since(cpu).await
}

/// All connections break at once, and the peers come back one by one.
pub(crate) async fn come_back(n: usize) -> Duration {
    let mut crowd = Crowd::gather(n, n as u32 * APART).await;
    let watches = watch(&crowd.known);
    crowd.reach_all().await;
    let cpu = Cpu::now();
    crowd.link.cut();
    crowd.up.reaches(2 * n).await;
    crowd.reach_all().await;
    crowd.boxes.clear();
    all(watches).await;
    crowd.cost_since(cpu).await
}

/// All peers hold equally many, and together as many as they may: for each lease that one gets, another has to make
/// room.
pub(crate) async fn over_the_limit(n: usize) -> Duration {
    let hub = node().exports(n * LEASED / 2).start();
    let (mut inboxes, mut ways, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n {
        let peer = node().start();
        inboxes.push(peer.mailbox::<Introduce>().name("inbox").open().expect("the name is free"));
        let at = peer.listen("127.0.0.1:0").await.expect("a free port");
        ways.push(hub.remote::<Introduce>(&at, "inbox").expect("an endpoint"));
        peers.push(peer);
    }
    let cpu = Cpu::now();
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..LEASED {
        let Members { all, gone: of_these, .. } = Members::start(n);
        for (way, member) in ways.iter().zip(all) {
            way.do_send(Introduce { to: vec![member], boxes: Vec::new() });
        }
        for inbox in &mut inboxes {
            there.extend(inbox.recv().await.expect("the box is open").to);
        }
        gone.push(of_these);
    }
    drop(there);
    for gone in gone {
        gone.reaches(n).await;
    }
    let cost = cpu.elapsed();
    shut_down(peers).await;
    hub.shutdown().await;
    cost
}
