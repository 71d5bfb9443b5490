//! Whole nodes with real actors and mailboxes on simulated hosts: network and time are turmoil's, chance comes from a
//! seed, and a run that fails can be run again.
//!
//! - [`conservation`]: random traffic under random trouble; afterwards the books of all nodes balance exactly. Every third
//!   seed runs over TLS, and every third with a shared key, if the build has the features.
//! - [`scenarios`]: one kind of trouble each, from beginning to end.
//! - [`thirds`]: pointers that lead through other hosts, which go or are cut off.
//! - [`replay`]: the same seed gives the same run.
//!
//! `HERMOD_SEEDS=5000` runs that many seeds instead of the usual few hundred, `HERMOD_SEED=42` only that one.

mod conservation;
mod ledger;
mod protection;
mod replay;
mod scenarios;
mod seeds;
mod station;
mod thirds;
mod town;
