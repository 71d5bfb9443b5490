//! Messages arrive: on one node, between two, in pieces, in batches, and from any thread.

mod batches;
mod fairness;
mod fragments;
mod hermod_parity;
mod latest_by_key;
mod one_node;
mod threads;
mod two_nodes;

use actix_hermod::Endpoint;
use actix_hermod::IoThread;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::Ping;
use support::Pong;
use support::within;

/// Answers pings until the mailbox is closed.
async fn answer(mut pings: Mailbox<Ping>) {
    while let Some(ping) = pings.recv().await {
        ping.return_to.do_send(Pong(ping.n));
    }
}

/// Starts a node that listens there and answers pings.
async fn server(thread: IoThread, at: &str) -> (Node, Endpoint) {
    let node = Node::builder().io_thread(thread).start();
    let endpoint = within(node.listen(at)).await.expect("it can listen there");
    actix::spawn(answer(node.mailbox().name("ping-box").open().expect("the name is free")));
    (node, endpoint)
}
