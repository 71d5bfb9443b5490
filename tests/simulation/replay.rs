//! The same seed gives the same run, to the last message and the last count; and only in simulations.

use actix::System;
use actix_hermod::Node;
use actix_hermod::seed_simulation;
use tokio::net::TcpStream;

use crate::conservation;
use crate::seeds::for_each_seed;

const SEEDS: u64 = 10;

#[test]
fn a_seed_is_replayed() {
    for_each_seed("a_seed_is_replayed", SEEDS, |seed| {
        let (first, stats) = conservation::run(seed);
        seed_simulation(seed);
        let (second, same_stats) = conservation::run(seed);
        assert!(!first.is_empty());
        for (at, (one, other)) in first.iter().zip(&second).enumerate() {
            assert_eq!(one, other, "message {at}");
        }
        assert_eq!(first.len(), second.len());
        assert_eq!(format!("{stats:#?}"), format!("{same_stats:#?}"));
    });
}

/// An id that can be guessed is an open door.
#[test]
fn a_seed_is_not_for_nodes_outside_of_simulations() {
    let id = || {
        seed_simulation(1);
        Node::start().id()
    };
    assert_ne!(id(), id());
}

#[test]
fn nodes_outside_of_simulations_use_the_system_s_network() {
    System::new().block_on(async {
        let there = Node::start();
        let endpoint = there.listen("127.0.0.1:0").await.expect("a free port");
        let socket = TcpStream::connect(endpoint.as_ref()).await;
        assert!(socket.is_ok(), "{socket:?}");
    });
}
