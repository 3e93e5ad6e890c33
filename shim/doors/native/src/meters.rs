//! Prometheus metrics: one recorder for the process, and the descriptions of the doors' own
//! metrics.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::process;

/// The upper bounds of histogram buckets in seconds: from an embedded store's commit to that of a
/// slow cloud store, in steps of a factor of two to three.
const BUCKETS_S: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
];
/// The interval at which histograms are condensed if they are not scraped.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The recorder behind `/metrics`. Install it before the node starts: a node keeps the counters
/// that it finds then.
#[derive(Debug, Clone)]
pub struct Meters(PrometheusHandle);

impl Meters {
    /// Installs the recorder of the process. Later calls return the same one.
    ///
    /// # Panics
    /// Panics if the process already has another recorder.
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
                    "Time from the head of a call to the head of its answer, by route and method"
                );
                describe_gauge!("aft_http_connections", "Open connections");
                describe_counter!(
                    "aft_http_connections_closed_total",
                    "Connections closed to make room, by reason (idle, or peer: its address had too many in use)"
                );
                describe_counter!(
                    "aft_http_unauthorized_total",
                    "Calls rejected because of their credential (missing, malformed, unknown, certificate, expired) or of what it does not allow (right, prefix)"
                );
                describe_counter!("aft_credential_calls_total", "Calls by credential");
                describe_counter!(
                    "aft_credential_bytes_total",
                    Unit::Bytes,
                    "Bytes of bodies, in and out, by credential"
                );
                describe_counter!("aft_credential_limited_total", "Calls rejected at a limit of their credential, by credential and limit");
                describe_gauge!("aft_credential_open_transactions", "Open transactions by credential");
                process::describe();
                Meters(handle)
            })
            .clone()
    }

    /// Returns the text of `/metrics`.
    pub(crate) fn render(&self) -> String {
        process::read();
        self.0.run_upkeep();
        self.0.render()
    }

    /// Condenses histograms at regular intervals. It never returns.
    pub(crate) async fn upkeep(&self) {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            self.0.run_upkeep();
        }
    }
}
