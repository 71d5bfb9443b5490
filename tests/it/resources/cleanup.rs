//! Things that a node releases, leaves alone, and does not say.

use std::fs;
use std::time::Duration;

use actix::Message;
use actix::Recipient;
use actix::System;
use actix_hermod::DropReason;
use actix_hermod::Event;
use actix_hermod::ListenError;
use actix_hermod::Node;
use serde::Deserialize;
use serde::Serialize;
use support::Number;
use support::Scratch;
use support::catcher;
use support::deserted;
use support::dropped;
use support::events;
use support::listening;
use support::on_either_thread;
use support::peer;
use support::process::alone;
use support::settled;
use support::within;
use tokio::net::TcpListener;

#[test]
fn an_unpublished_actor_is_let_go_although_a_peer_has_sent_to_it() {
    on_either_thread(|thread| async move {
        let (server, endpoint) = listening(Node::builder().io_thread(thread)).await;
        let (actor, mut caught) = catcher();
        server.publish("numbers", actor).expect("the name is free");
        let client = Node::start();
        let to = client.remote::<Number>(&endpoint, "numbers").expect("an address");
        // More than once, so that the peer gives it a number.
        for n in 0..3 {
            to.do_send(Number(n));
            assert_eq!(caught.next().await, n);
        }
        assert!(server.unpublish("numbers"));
        caught.gone().await;
    });
}

#[test]
fn an_unpublished_actor_is_let_go_although_its_address_is_held() {
    on_either_thread(|thread| async move {
        let node = Node::builder().io_thread(thread).start();
        let (actor, mut caught) = catcher();
        let held = node.publish("numbers", actor).expect("the name is free");
        held.do_send(Number(1));
        assert_eq!(caught.next().await, 1);
        assert!(node.unpublish("numbers"));
        caught.gone().await;
        assert!(!held.connected());
    });
}

#[test]
fn listening_leaves_alone_a_file_that_is_no_socket() {
    System::new().block_on(async {
        let scratch = Scratch::new();
        let endpoint = scratch.endpoint();
        let path = endpoint.strip_prefix("unix:").expect("a unix endpoint");
        fs::write(path, "somebody's work").expect("a file");
        let refused = within(Node::start().listen(&endpoint)).await;
        assert!(matches!(refused, Err(ListenError::Io(_))), "{refused:?}");
        assert_eq!(fs::read_to_string(path).expect("the file is there"), "somebody's work");
    });
}

/// A message with a way back.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Job {
    #[serde(with = "actix_hermod::recipient")]
    report_to: Recipient<Number>,
}

/// The machine's memory that this process holds, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux system");
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the field is there");
    field.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
#[cfg(target_os = "linux")]
fn recipients_in_messages_that_never_leave_cost_no_memory() {
    const HOUR: Duration = Duration::from_secs(3600);
    alone(|| {
        System::new().block_on(async {
            let client = Node::builder().reconnect(HOUR..=HOUR).start();
            let endpoint = deserted().await;
            let to = client.remote::<Job>(&endpoint, "jobs").expect("an address");
            let (actor, _caught) = catcher();
            to.do_send(Job { report_to: actor.clone() });
            settled(|| dropped(&client, DropReason::NotConnected) == 1).await;
            let before = resident();
            // In one go: whatever is left for the node's own tasks to clear up piles up.
            for _ in 0..100_000 {
                to.do_send(Job { report_to: actor.clone() });
            }
            let grown = resident().saturating_sub(before);
            assert_eq!(dropped(&client, DropReason::NotConnected), 100_001);
            assert!(grown < 40 << 20, "{grown} bytes for nothing");
        });
    });
}

#[test]
fn one_that_only_claims_to_be_a_node_is_not_told_as_that_node_gone() {
    System::new().block_on(async {
        let pauses = Duration::from_millis(1)..=Duration::from_millis(20);
        let (_server, endpoint) = listening(Node::builder()).await;
        let client = Node::builder().reconnect(pauses).start();
        let mut ears = events(&client);
        let up = |event: &Event| if let Event::PeerUp { peer } = event { Some(*peer) } else { None };
        let down = |event: &Event| if let Event::PeerDown { peer, .. } = event { Some(*peer) } else { None };
        client.remote::<Number>(&endpoint, "numbers").expect("an address").do_send(Number(1));
        let known = ears.find(up).await;

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound").to_string();
        let to = client.remote::<Number>(at, "numbers").expect("an address");
        to.do_send(Number(2));
        let mut impostor = peer::Peer::accept(&listener).await;
        let key = peer::Peer::stranger(endpoint.as_ref()).await.key;
        let hello = peer::Hello { key, ..peer::Hello::of(peer::fresh_id()) };
        assert_eq!(impostor.answers(&hello).await, None, "the node names nothing");
        // The attempt after it is a node of its own, and is the next that is told of.
        let mut honest = peer::Peer::accept(&listener).await;
        honest.welcomes(&peer::Hello::of(peer::fresh_id())).await;
        let other = ears.find(up).await;
        assert_ne!(other, known);
        drop(honest);
        assert_eq!(ears.find(down).await, other);
    });
}
