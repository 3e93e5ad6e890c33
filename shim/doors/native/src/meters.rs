//! Prometheus: one recorder for the process, and what the doors count themselves.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of histogram buckets in seconds: from an embedded store's commit to a slow cloud's, twofold to threefold steps.
const BUCKETS_S: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
];
/// How often histograms are condensed when nobody scrapes them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What `/metrics` shows. Install it before the node starts: a node keeps the counters that it finds then.
#[derive(Debug, Clone)]
pub struct Meters(PrometheusHandle);

impl Meters {
    /// Makes this the process's recorder, the first time; later calls give the same one.
    ///
    /// # Panics
    /// If the process has another recorder.
    pub fn install() -> Meters {
        static INSTALLED: OnceLock<Meters> = OnceLock::new();
        INSTALLED
            .get_or_init(|| {
                let handle = PrometheusBuilder::new()
                    .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS_S)
                    .expect("there are buckets")
                    .install_recorder()
                    .expect("the process has no other recorder");
                describe_counter!("aft_http_requests_total", "Calls answered, by route, method and status");
                describe_histogram!(
                    "aft_http_request_seconds",
                    Unit::Seconds,
                    "From a call's head to its answer's, by route and method"
                );
                describe_gauge!("aft_http_connections", "Open connections");
                describe_counter!(
                    "aft_http_unauthorized_total",
                    "Calls refused for want of a credential (missing, malformed, unknown, certificate, expired) or of what it allows (right, prefix)"
                );
                describe_counter!("aft_credential_calls_total", "Calls by credential");
                describe_counter!(
                    "aft_credential_bytes_total",
                    Unit::Bytes,
                    "Bytes of bodies by credential, in and out"
                );
                describe_counter!("aft_credential_limited_total", "Calls refused at a credential's own limit");
                describe_gauge!("aft_credential_open_transactions", "Open transactions by credential");
                Meters(handle)
            })
            .clone()
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }

    /// Condenses histograms from time to time, for ever.
    pub(crate) async fn upkeep(&self) {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            self.0.run_upkeep();
        }
    }
}
