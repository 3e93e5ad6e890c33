//! A record of a batch, as an event of its own.

use serde_json::Value;

use crate::identity::Identity;
use crate::json::Document;
use crate::rejected::Rejected;

/// A record of a batch.
#[derive(Debug, Clone)]
pub struct Record {
    /// An event that has this record only, as the service wrote it.
    pub event: Vec<u8>,
    /// The identity of that event. A record that is rejected is not run: it has failed.
    pub identity: Result<Identity, Rejected>,
    /// The name of the record in a list of failures: its message ID or sequence number.
    pub(crate) item: String,
    /// The record's message group; records of other groups do not wait for it.
    pub(crate) group: String,
}

impl Record {
    /// Returns true if a function's response says that its one record failed: it must be aborted,
    /// not committed. As for Lambda itself, a list of failures that cannot be read is a failure.
    #[must_use]
    pub fn is_failed_by(response: &[u8]) -> bool {
        let Some(document) = Document::parse(response) else { return false };
        match document.tree.get("batchItemFailures") {
            None | Some(Value::Null) => false,
            Some(failures) => failures.as_array().is_none_or(|failures| !failures.is_empty()),
        }
    }
}
