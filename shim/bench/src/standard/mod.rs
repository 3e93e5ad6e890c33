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

use crate::error::Result;
use crate::figures::{Anomalies, Figures};
use phases::Phases;
use target::Opened;

/// Runs the load and measures it. Prints nothing.
///
/// # Errors
/// Returns an error if the options contradict each other, if the target cannot be reached or
/// prepared, or if the history cannot be written. Transactions that fail are counted in the report.
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
    let asked = opened.counter().asked().await?.since(&before);
    // Close before writing the history, so that a failed write leaves no objects in the store.
    opened.close(&options).await?;
    if let Some(path) = &options.history {
        phases.take_log().write(path)?;
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
    Ok(Report::new(figures, options.command, elapsed_s))
}

#[cfg(test)]
mod tests;
