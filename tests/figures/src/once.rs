//! The figure *exactly-once*: a run of `aft bench exactly-once` as three cells.

use std::time::Duration;

use aft_bench::exactly_once::{Figures, Options, run as bench};

use crate::data::{Seen, Speed};
use crate::plan::{AFT, PLAIN};
use crate::site::{Failed, Site};

/// The name of the way with an idempotency record, as is usual today.
pub(crate) const RECORD: &str = "idempotency record";

/// The figure's description.
pub(crate) const ABOUT: &str = "Requests of two functions, each of which counts one up.\n\
    Every fifth attempt dies before or after one of its steps, every twentieth request is delivered twice at the same time,\n\
    and an attempt that failed is retried after one second, and once more after two.\n\
    The ways are: plain; with the usual idempotency record (in progress, work, done); through aft with a request ID.\n\
    A double effect counts twice what should count once; a half effect has only one of the two counts at the end.\n\
    Fractured are halves that readers saw meanwhile.\n\
    Latency includes waiting for retries.";

/// The time that an attempt may run and that a record may be in progress: shorter than the default,
/// because a figure has little time.
const FUNCTION_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Runs all three ways with `requests` requests each, and returns each way with what was seen.
///
/// # Errors
/// Returns why the store could not be opened, or why the run failed.
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
