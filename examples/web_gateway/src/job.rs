//! The message between the two processes.

use actix::Message;
use serde::Deserialize;
use serde::Serialize;

/// Asks for the square of a number, which any `i64` has in a `u128`.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u128")]
pub struct Job {
    pub n: i64,
    /// Whether the worker takes a minute for it.
    pub slow: bool,
}
