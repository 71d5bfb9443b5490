//! Trouble: peers that mean harm, bad links, losses, boxes, nodes and processes that end, and the log and figures that
//! tell of it. A program of its own beside `it`, which describes all tests of whole nodes.

mod faults;
mod hostile;
mod losses;
mod observability;
mod processes;
mod resources;
mod watch;
