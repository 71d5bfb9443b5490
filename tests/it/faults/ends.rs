//! Ends while the other side is stopped: nobody waits for it longer than he said he would.

use std::time::Duration;

use actix::System;
use actix_hermod::Address;
use actix_hermod::DropReason;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::Elsewhere;
use support::dropped;
use support::next;
use support::on_either_thread;
use support::process::Process;
use support::settled;
use support::within;

use super::Ask;
use super::Told;
use super::eager;
use super::other_process;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(86_400);

/// A server that is stopped, a node that has given it more than it and the system on the way can hold, and the address
/// by which it has.
async fn flooded(server: &mut Process, node: &Node, at: &str) -> (Address<Ask>, Mailbox<Told>) {
    let to = node.remote::<Ask>(at, "asked").expect("an address");
    let mut told = node.mailbox::<Told>().open().expect("a mailbox");
    to.do_send(Ask::light(&told.address(), 0));
    assert_eq!(next(&mut told).await.n, 0);
    server.stop();
    let mut n = 0;
    settled(|| {
        n += 1;
        to.do_send(Ask { load: "heavy".repeat(10_000), ..Ask::light(&told.address(), n) });
        dropped(node, DropReason::OutboxFull) > 0
    })
    .await;
    (to, told)
}

/// Whether each message is dropped or in doubt, but for the first, which the server may have told that it has read.
fn is_conserved(node: &Node) -> bool {
    let stats = node.stats();
    stats.in_doubt > 0 && stats.sent - (stats.in_doubt + stats.dropped_total()) <= 1
}

#[test]
fn a_shutdown_does_not_wait_for_a_peer_that_is_stopped() {
    on_either_thread(|thread| async move {
        let mut server = other_process("server", "127.0.0.1:0");
        let at = server.says("listening").await;
        // Nothing but its own limit ends the shutdown.
        let builder = eager().heartbeat(NEVER).dead_after(NEVER).shutdown_timeout(Duration::from_millis(200));
        let node = builder.io_thread(thread).start();
        let (to, told) = flooded(&mut server, &node, &at).await;
        within(node.shutdown()).await;
        assert_eq!(node.stats().connections.len(), 0);
        assert!(is_conserved(&node), "{:?}", node.stats());
        let before = dropped(&node, DropReason::Shutdown);
        to.do_send(Ask::light(&told.address(), 1));
        assert_eq!(dropped(&node, DropReason::Shutdown), before + 1);
    });
}

#[test]
fn a_system_that_ends_without_a_shutdown_does_not_wait_for_a_peer_that_is_stopped() {
    System::new().block_on(async {
        for thread in [IoThread::Current, IoThread::Own] {
            let mut server = other_process("server", "127.0.0.1:0");
            let at = server.says("listening").await;
            let elsewhere = Elsewhere::start();
            let begin = move || async move {
                let node = eager().heartbeat(NEVER).dead_after(NEVER).io_thread(thread).start();
                let (to, told) = flooded(&mut server, &node, &at).await;
                (node, to, told, server)
            };
            let (node, to, _told, server) = elsewhere.run(begin).await;
            // It waits for the end of its thread, which must not panic.
            elsewhere.end();
            settled(|| is_conserved(&node)).await;
            assert!(!to.connected());
            drop(server);
        }
    });
}
