//! What the targets have in common.

/// Runs a function and says how many bytes it held at once, at most.
pub fn meter(run: &mut dyn FnMut()) -> u64 {
    allocation_counter::measure(run).bytes_max
}
