//! Every message is delivered, or dropped for one reason that is counted and reported; and a sender sees it coming.

mod backpressure;
mod conservation;
mod drop_reports;
mod panicking_drops;
