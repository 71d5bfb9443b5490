//! Shared by the demos: their other processes, their arguments, their exit status, and the memory of processes.

pub mod arguments;
pub mod child;
pub mod memory;

use std::error::Error;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

/// The result of a step of a demo.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The longest wait for anything that has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something, but not forever.
///
/// # Errors
/// If it takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    let limited = tokio::time::timeout(PATIENCE, future).await;
    limited.map_err(|_| format!("{what}: not within {PATIENCE:?}").into())
}

/// Returns the exit status of a demo: 0 if its promise holds, 1 if not, 2 if it could not run.
pub fn exit_code(name: &str, outcome: Outcome<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}
