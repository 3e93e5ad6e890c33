//! What every run tells, as one JSON object: the names are stable, and the same for the benchmark and for both runs of the demo.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::latency::LatencyMs;

/// The fields that every run has. `W` is the load, which differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures<W> {
    /// Transactions that committed (without the shim: that ran to their end). In the demo: requests that were acknowledged.
    pub transactions: u64,
    /// Attempts that they took, those that failed included.
    pub attempts: u64,
    /// Of those transactions, how many a second.
    pub transactions_per_s: f64,
    /// From when a transaction started (open pace: was due) to its acknowledgement, all of its attempts included.
    pub latency_ms: LatencyMs,
    /// Those who saw one: transactions; in the demo functions and audits.
    pub anomalies: Anomalies,
    /// Transactions that read what was older than their session had committed or read; left out where clients do not go from server to server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_broken: Option<u64>,
    /// Requests to the store by call, per transaction. Publishing, maintenance and audits that happened meanwhile are included.
    pub requests_per_transaction: BTreeMap<String, f64>,
    /// What those consumed of the units by which the store charges, per transaction; left out where it does not charge so.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub consumed_per_transaction: BTreeMap<String, f64>,
    /// The list price of those requests in US dollars, per million transactions; null where the store does not charge by request. Storage and traffic are not
    /// in it.
    pub cost_per_million_transactions: Option<f64>,
    /// Attempts that failed, by code; `gave_up` and `not_started` count transactions. What the demo does to an attempt on purpose is not
    /// here.
    pub errors: BTreeMap<String, u64>,
    /// Gives the same keys, or requests and fates, again.
    pub seed: u64,
    /// The store's URL, or the server's.
    pub store: String,
    /// The load.
    pub workload: W,
    /// Whether the shim was left out.
    pub direct: bool,
}

/// How many saw an anomaly of a kind (see the paper's table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Anomalies {
    /// Read a key that they had written, and got another write.
    pub own_write: u64,
    /// Read a version together with one that is too old for it, or read a key twice and got two versions.
    pub fractured: u64,
}

/// One JSON object, on one line.
pub(crate) fn json(figures: &impl Serialize) -> String {
    serde_json::to_string(figures).expect("figures are finite numbers and texts under text keys")
}
