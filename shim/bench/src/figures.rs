//! The results of a run, as one JSON object. Its field names are stable, and the same for the
//! benchmark and for both runs of the demo.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::latency::LatencyMs;

/// The fields that every run has. `W` describes the load, which differs between runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures<W> {
    /// Transactions that committed (without the shim: that finished). In the demo: requests that
    /// were acknowledged.
    pub transactions: u64,
    /// Attempts that those transactions took, failed ones included.
    pub attempts: u64,
    /// Committed transactions per second.
    pub transactions_per_s: f64,
    /// The time from a transaction's start (open pace: from when it was due) to its
    /// acknowledgement, all of its attempts included.
    pub latency_ms: LatencyMs,
    /// The number of transactions that saw an anomaly; in the demo, of functions and audits.
    pub anomalies: Anomalies,
    /// Transactions that read something older than their session had committed or read. Left out
    /// unless clients move between servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_broken: Option<u64>,
    /// Requests to the store per transaction, by call. Publishing, maintenance and audits during
    /// the run are included.
    pub requests_per_transaction: BTreeMap<String, f64>,
    /// The store's billing units that those requests consumed, per transaction. Left out if the
    /// store does not charge by units.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub consumed_per_transaction: BTreeMap<String, f64>,
    /// The list price of those requests in US dollars, per million transactions; null if the store
    /// does not charge by request. Storage and traffic are not included.
    pub cost_per_million_transactions: Option<f64>,
    /// Attempts that failed, by code; `gave_up` and `not_started` count transactions. Attempts that
    /// the demo kills or delays on purpose are not counted.
    pub errors: BTreeMap<String, u64>,
    /// The seed. The same seed draws the same keys (in the demo: the same requests and fates).
    pub seed: u64,
    /// The URL of the store, or of the server.
    pub store: String,
    /// The description of the load.
    pub workload: W,
    /// True if the run went directly to the store, without the shim.
    pub direct: bool,
}

/// Numbers of transactions (in the demo: of functions and audits) that saw an anomaly, by kind
/// (table 2 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Anomalies {
    /// Transactions that read a key after writing it, and got somebody else's write.
    pub own_write: u64,
    /// Transactions that read a version together with one that is too old for it, or read a key
    /// twice and got two versions.
    pub fractured: u64,
}

/// Returns `figures` as one JSON object on one line.
pub(crate) fn json(figures: &impl Serialize) -> String {
    serde_json::to_string(figures).expect("figures consist of finite numbers and strings under string keys")
}
