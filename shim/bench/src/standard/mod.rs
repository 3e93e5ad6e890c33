//! The paper's standard transaction as a load: two functions, each with one write and two reads of
//! 4 KiB, and keys drawn from a Zipf distribution (section 6 of the paper).
//!
//! * [`Options`] – the settings of a run; [`Report`] – its results; [`Comparison`] – the results of
//!   runs without the shim and with it, side by side.
//! * `plan`, `value` – the keys of each transaction; the contents of a value.
//! * `backend` – access to a server, to a node in this process, or to the store itself.
//! * `pace`, `load` – the times at which transactions start; how they are run, retried and counted.
//! * `detect`, `session`, `history` – anomalies, sessions that read stale versions, and the history
//!   for `aft check`.
//! * `requests` – counts of the requests to the store.
//!
//! A run has three phases with the same clients: every key is written once, the load warms up, the
//! load is measured.

pub(crate) mod backend;
mod comparison;
mod detect;
mod history;
mod load;
mod options;
mod pace;
mod phases;
mod plan;
mod report;
pub(crate) mod requests;
mod session;
pub(crate) mod target;
mod value;

pub use comparison::{Comparison, Ratio, compare};
pub use options::{Dataset, Length, Options, Pace, Prepare, StoreTarget, Target, Token, Way, Workload};
pub use report::{Report, Shape};

use crate::error::{Error, Result};
use crate::figures::{Anomalies, Figures};
use phases::{Measured, Phases};
use target::Opened;

/// Runs the load and measures it. Prints nothing but progress, if the options ask for it.
///
/// # Errors
/// Returns an error if the options contradict each other, or if the target cannot be reached or
/// prepared. Transactions that fail are counted in the report. If the target goes away during the
/// measurement, the report has the figures until then, and the reason in [`Report::failed`].
pub async fn run(options: Options) -> Result<Report> {
    options.check()?;
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let opened = Opened::open(&options).await?;
    let mut phases = Phases::new(&options, seed, opened.clients());
    phases.prepare(options.workload.prepare, opened.name()).await?;
    phases.warm_up(&options).await;
    // Requests to the store are counted during the measurement only.
    let before = opened.counter().asked().await?;
    let measured = phases.measure(&options).await;
    // From here on a failure is a part of the report: the figures took their time.
    let mut failed = measured.is_gone.then(|| gone(opened.name(), &measured));
    let mut note = |why: Error| {
        failed.get_or_insert(why.to_string());
    };
    let asked = opened.counter().asked().await.map(|asked| asked.since(&before));
    let asked = asked.map_err(&mut note).unwrap_or_default();
    // Close before writing the history, so that a failed write leaves no objects in the store.
    let _ = opened.close(&options).await.map_err(&mut note);
    if let Some(path) = &options.history {
        let _ = phases.take_log().write(path).map_err(&mut note);
    }

    let tally = measured.tally;
    let elapsed_s = measured.elapsed.as_secs_f64();
    let figures = Figures {
        transactions: tally.transactions,
        attempts: tally.attempts,
        transactions_per_s: tally.transactions as f64 / elapsed_s.max(f64::EPSILON),
        latency_ms: tally.latencies.summary(),
        anomalies: Anomalies { own_write: tally.own_write, fractured: tally.fractured },
        sessions_broken: matches!(options.target, Target::Servers { .. }).then_some(tally.sessions_broken),
        requests_per_transaction: asked.per_transaction(tally.transactions),
        consumed_per_transaction: asked.units_per_transaction(tally.transactions),
        cost_per_million_transactions: asked.cost_per_million(tally.transactions),
        errors: tally.errors,
        seed,
        store: opened.name().to_owned(),
        workload: Shape::new(&options.workload, &options),
        direct: options.way.is_direct(),
    };
    Ok(Report { failed, ..Report::new(figures, options.command, elapsed_s) })
}

/// Returns the reason why a measurement ended early.
fn gone(target: &str, measured: &Measured) -> String {
    let seconds = measured.elapsed.as_secs_f64();
    format!(
        "{target} went away: it answered nothing after {seconds:.1} s of the measurement, which ended there; the \
         figures are those until then. Look at the server's log, and run it again"
    )
}

#[cfg(test)]
mod tests;
