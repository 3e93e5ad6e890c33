//! Events that are not run.

use crate::Source;

/// An event that is not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The sender of the event.
    pub source: Source,
    /// The reason.
    pub reason: Reason,
    /// A message for the caller: what happened, and what to do. It repeats nothing from the event.
    pub message: String,
}

// By hand: the derive would take the field `source` for a cause.
impl std::error::Error for Rejected {}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// The reason why an event is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The rules require a request ID, and there is none.
    KeyMissing,
    /// The request has two different request IDs.
    SeveralKeys,
    /// The header with the request ID cannot be read.
    KeyMalformed,
}
