//! The common parts of the targets.

/// Runs a function, and returns the most bytes that it held at once.
pub fn meter(run: &mut dyn FnMut()) -> u64 {
    allocation_counter::measure(run).bytes_max
}
