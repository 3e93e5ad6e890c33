//! The platform's counts of one run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::latency::Latencies;

/// The platform's counts of one run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Attempts that began, of all requests.
    pub(crate) attempts: u64,
    /// Attempts that died at their point.
    pub(crate) died: u64,
    /// Attempts that paused at their point and were abandoned.
    pub(crate) late: u64,
    /// Requests that were delivered twice at the same time.
    pub(crate) duplicates: u64,
    /// Attempts that were rejected in favour of another one, of the same or another request.
    pub(crate) conflicts: u64,
    /// The numbers of the acknowledged requests.
    pub(crate) acknowledged: BTreeSet<u64>,
    /// The time of the last request's acknowledgement, if one was acknowledged.
    pub(crate) last_acknowledged: Option<Instant>,
    /// Requests that were never acknowledged.
    pub(crate) given_up: u64,
    /// Attempts that failed for other reasons, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The times from the first delivery of a request to its acknowledgement.
    pub(crate) latencies: Latencies,
}

impl Tally {
    /// Counts an attempt that failed with `code`.
    pub(crate) fn error(&mut self, code: String) {
        *self.errors.entry(code).or_default() += 1;
    }
}
