//! The memory of processes, which is known only on Linux: elsewhere it is 0.

/// Returns the resident memory of a process, in KiB.
pub fn resident(process: u32) -> u64 {
    field(&process.to_string(), "VmRSS:")
}

/// Returns the peak of a process's resident memory, in MB.
pub fn peak(process: u32) -> u64 {
    field(&process.to_string(), "VmHWM:") / 1024
}

/// Returns the peak of this process's resident memory since the last [reset](reset_peak), in MB.
pub fn own_peak() -> u64 {
    field("self", "VmHWM:") / 1024
}

/// Begins anew to observe the peak of this process's memory.
pub fn reset_peak() {
    // Where this is not possible, the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Returns a field of a process's status, in KiB.
fn field(process: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix(name));
    field.and_then(|field| field.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
