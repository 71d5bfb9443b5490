//! What a node says of itself: its statistics and its log.

mod log;
mod stats;
