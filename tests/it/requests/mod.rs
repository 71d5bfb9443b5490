//! Requests: their results, their cancellation, and workers that are killed.

mod cancellation;
mod killed_worker;
mod results;
