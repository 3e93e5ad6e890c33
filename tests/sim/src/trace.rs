//! The story of a run.

use std::sync::{Arc, Mutex, PoisonError};

/// The lines of a story. All clones share them, so they survive a panic in the world that writes
/// them.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    /// Adds a line.
    pub fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Adds a line with the time at which it happened, in milliseconds since the start of the run.
    pub fn say(&self, at_ms: u64, line: &str) {
        self.push(format!("{at_ms:>9} {line}"));
    }

    /// Returns all lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
