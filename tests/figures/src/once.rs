//! `aft bench exactly-once`, as three cells.

use std::time::Duration;

use aft_bench::exactly_once::{Figures, Options, run as bench};

use crate::data::{Seen, Speed};
use crate::plan::{AFT, PLAIN};
use crate::site::{Failed, Site};

/// With an idempotency record, as people do it today.
pub(crate) const RECORD: &str = "idempotency record";

/// What it shows.
pub(crate) const ABOUT: &str = "Requests of two functions, each of which counts one up; every fifth attempt dies before or after one of its steps, every twentieth request is delivered twice \
    at the same time, and an attempt that failed comes again twice at most, a second later. Plain, with the usual idempotency record (in progress, work, done), and through aft with a request ID. A \
    double effect counts twice what should count once, a half one has only one of the two at the end; fractured: halves that readers saw meanwhile. Latency includes waiting for \
    retries.";

/// How long an attempt may run, and a record be in progress: shorter than by default, since a figure has little time.
const FUNCTION_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Runs it.
///
/// # Errors
/// If the store cannot be opened or the run not be carried out.
pub(crate) async fn run(
    site: &Site,
    speed: Speed,
    requests: usize,
    clients: usize,
) -> Result<Vec<(String, Seen)>, Failed> {
    let options = Options {
        requests: requests as u64,
        clients,
        function_timeout: FUNCTION_TIMEOUT,
        retry_delay: RETRY_DELAY,
        seed: Some(site.seed),
        ..Options::default()
    };
    let report = bench(site.open("exactly-once", speed).await?, options).await;
    let runs = report.map_err(|why| why.to_string())?.runs;
    Ok([(PLAIN, runs.plain), (RECORD, runs.record), (AFT, runs.aft)]
        .map(|(way, figures)| (way.to_owned(), seen(figures)))
        .into())
}

fn seen(figures: Figures) -> Seen {
    Seen {
        transactions: figures.acknowledged,
        attempts: figures.attempts,
        transactions_per_s: figures.acknowledged_per_s,
        p50_ms: figures.latency_ms.p50,
        p99_ms: figures.latency_ms.p99,
        own_write: 0,
        fractured: figures.halves_seen,
        double: figures.double_effects,
        half: figures.half_effects + figures.lost_effects,
        removed: None,
        requests: figures.store_requests_per_request,
        dollars_per_million: figures.cost_per_million_requests,
        errors: figures.errors,
    }
}
