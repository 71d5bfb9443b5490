//! The tests of whole nodes, a folder for each promise, in three programs of about the same size, so that two cores
//! compile them side by side: this one, `trouble` (`trouble.rs`), and `types` (`types/main.rs`).
//!
//! The tests of a program run side by side in one process. A test that needs a process of its own, because it measures
//! memory or uses up something that the process has once, is run by [`support::process::alone`]; one that needs several
//! processes starts its program again (see [`support::process`]). Tests that count allocations, flood the process, or
//! belong to a feature are programs of their own, beside this folder.
//!
//! The folders of this program: messages, and the handles that they go through.

mod delivery;
mod pointers;
mod requests;
mod third_party;
