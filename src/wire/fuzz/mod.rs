//! Promises for any bytes, as functions that take bytes: fuzzers run these, `cargo test` runs them over inputs found by
//! fuzzers and over random bytes, and the properties beside them use their parts.
//!
//! These functions are compiled for tests and for fuzzers only, so they may panic where the protocol may not: that is
//! how they fail.

pub(crate) mod decided;
pub(crate) mod deviation;
pub(crate) mod ends;
pub(crate) mod frames;
pub(crate) mod greeting;
pub(crate) mod kinds;
pub(crate) mod meant;
pub(crate) mod pieces;
pub(crate) mod plain;
pub(crate) mod runs;
pub(crate) mod stream;
pub(crate) mod values;
pub(crate) mod writer;
