//! Two nodes agree on a type or refuse it: shapes, mismatches, and types that cannot be encoded.
//!
//! A program of its own beside `it`, which describes all tests of whole nodes.

// `shapes` has types of all kinds, some of them deep.
#![recursion_limit = "512"]

mod licence_key;
mod mismatch;
mod preflight;
mod shapes;
mod two_builds;
