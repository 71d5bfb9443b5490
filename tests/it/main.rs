//! The tests of whole nodes, a folder for each promise, in one program: so the crate is linked once, and not for each file.
//!
//! All of them run side by side in one process. A test that needs a process of its own, because it measures memory or
//! uses up something that the process has once, is run by [`support::process::alone`]; one that needs several processes
//! starts this program again (see [`support::process`]). Tests that count allocations, flood the process, or belong to a
//! feature are programs of their own, beside this folder.

// `types::shapes` has types of all kinds, some of them deep.
#![recursion_limit = "512"]

#[path = "../peer/mod.rs"]
mod peer;
#[path = "../support/mod.rs"]
mod support;

mod delivery;
mod faults;
mod hostile;
mod losses;
mod observability;
mod pointers;
mod processes;
mod requests;
mod resources;
mod third_party;
mod types;
mod watch;
