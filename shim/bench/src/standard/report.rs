//! What a run of the standard transaction found.

use std::fmt;

/// What a run found. `Display` is the table for people; [`Report::json`] the object for programs.
#[derive(Debug, Clone)]
pub struct Report {
    /// Transactions that saw an own write missing, and fractured reads.
    pub anomalies: u64,
}

impl Report {
    /// One JSON object, on one line.
    pub fn json(&self) -> String {
        String::new()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.anomalies)
    }
}
