//! What a node takes from its process, and gives back: at its start, while it runs, at its end.

mod cleanup;
mod shutdown;
mod start;
