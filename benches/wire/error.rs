//! Errors of a bench: of any kind, since they are only shown.

/// The result with any error.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
