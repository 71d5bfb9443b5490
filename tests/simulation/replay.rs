//! The same seed gives the same run, to the last message and the last count; and only in simulations.

use actix_hermod::Node;
use actix_hermod::seed_simulation;

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
        assert_eq!(stats, same_stats);
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
