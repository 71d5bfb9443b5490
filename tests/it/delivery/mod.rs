//! Messages arrive: on one node, between two, in pieces, in batches, and from any thread.

mod batches;
mod fairness;
mod fragments;
mod hermod_parity;
mod latest_by_key;
mod one_node;
mod threads;
mod two_nodes;
