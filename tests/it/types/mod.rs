//! Two nodes agree on a type or refuse it: shapes, mismatches, and types that cannot be encoded.

mod mismatch;
mod preflight;
mod shapes;
mod two_builds;
